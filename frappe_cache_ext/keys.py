"""Names in Redis: what a key is called on the wire. Pure functions of text.

The forms are Frappe's: ``{db_name}|{key}`` for a site, ``{db_name}|user:{user}:{key}`` for one user of it, and the bare
key for what all sites share.
"""

from __future__ import annotations

import re
from typing import Final

from .bench_sites import check_db_name

SEPARATOR: Final = "|"
DOCUMENT_PREFIX: Final = "document_cache::"

_GLOB: Final = re.compile(rb"([*?\[\]\\^-])")
_AMBIGUOUS_PERCENT: Final = re.compile("%(?=3A|25)")


def make_key(db_name: str, key: object, user: str | None = None, shared: bool = False) -> bytes:
    """The name of a key on the wire.

    Example:
        >>> make_key("_library", "color")
        b'_library|color'
        >>> make_key("_library", "color", user="anna@example.com")
        b'_library|user:anna@example.com:color'

    Args:
        db_name: the site's prefix.
        key: the key; what is not text is formatted, as Frappe does it.
        user: the user whose key it is; None or empty for everybody's.
        shared: True for a key that belongs to no site.
    """
    text = key if isinstance(key, str) else repr(key) if isinstance(key, bytes) else f"{key}"
    if shared:
        return encode(text)
    if user:
        text = f"{user_prefix(user)}{text}"
    return encode(f"{db_name}{SEPARATOR}{text}")


def user_prefix(user: str) -> str:
    """What a user's keys begin with inside a site.

    A colon in the user's name is written ``%3A``, so that the keys of ``a:b`` are no keys of ``a``. No user of Frappe's
    has one: it allows e-mail addresses, ``Administrator`` and ``Guest``.
    """
    return f"user:{_AMBIGUOUS_PERCENT.sub('%25', user).replace(':', '%3A')}:"


def site_prefix(db_name: str) -> bytes:
    """What all names of a site begin with.

    Raises:
        SettingsError: the prefix would reach into another site's names.
    """
    check_db_name(db_name)
    return encode(db_name + SEPARATOR)


def encode(text: str) -> bytes:
    """Text as Redis keeps it: UTF-8, and for lone surrogates the bytes that UTF-8 would give them."""
    return text.encode("utf-8", "surrogatepass")


def decode(name: bytes) -> str:
    r"""A name on the wire as text; bytes that are no text of ours are shown as ``\xNN``."""
    try:
        return name.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return name.decode("utf-8", "backslashreplace")


def strip_site(db_name: str, name: bytes) -> str:
    """The key that `make_key` was given, from its name on the wire; a user's part stays in it."""
    prefix = encode(db_name + SEPARATOR)
    return decode(name.removeprefix(prefix))


def starts_with(prefix: bytes) -> bytes:
    r"""The SCAN pattern that matches exactly the names beginning with these bytes.

    Example:
        >>> starts_with(b"a*|")
        b'a\\*|*'

    Source: the Redis documentation of KEYS; `^` and `-` mean something inside brackets only, and a backslash before
    any character makes it literal.
    """
    return _GLOB.sub(rb"\\\1", prefix) + b"*"


def document_key(doctype: str, name: str) -> str:
    """The key under which Frappe caches a document."""
    return f"{DOCUMENT_PREFIX}{doctype}::{name}"


def change_log_name(db_name: str) -> bytes:
    """The name on the wire of a site's change log.

    No site's names contain it, so that clearing a site's cache does not make its documents wait for a new log.
    """
    return encode(f"document_changes:{db_name}")


def function_key(module: str, qualname: str) -> str:
    """What the keys of a function's results begin with."""
    return f"{module}.{qualname}::"


def generation_key(function: str) -> str:
    """The key of a function's generation; see `operations.load_result`."""
    return f"{function}generation"


def result_key(function: str, generation: str, digest: str) -> str:
    """The key of one result of a function.

    Args:
        function: from `function_key`.
        generation: the function's generation, a random token that `clear_cache` replaces.
        digest: hex digits that tell the function's code and the call's arguments apart.
    """
    return f"{function}{generation}:{digest}"
