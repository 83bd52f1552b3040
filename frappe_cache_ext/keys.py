"""Names in Redis: what a key is called on the wire. Pure functions of text.

The forms are Frappe's: ``{db_name}|{key}`` for a site, ``{db_name}|user:{user}:{key}`` for one user of it, and the bare
key for what all sites share.
"""

from __future__ import annotations

import hashlib
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


# --- cells of notebooks -------------------------------------------------------------------------------------------

CELL_PREFIX: Final = "cell::"
CELL_MANIFEST_PREFIX: Final = "cell_manifest::"

_PART_MARK: Final = b"\x1fpart:"
_PART_NAME: Final = re.compile(rb"%s[0-9a-f]+:\d+" % _PART_MARK)
# A colon ends the name; a brace would put all that belongs to the cell into one slot of a cluster.
_CELL_NAME_ESCAPES: Final = str.maketrans({character: f"%{ord(character):02X}" for character in "%:{}"})


def cell_key(cell_name: str, digest: str) -> str:
    """The key of a cell's record.

    Example:
        >>> cell_key("cleaning", "5f0c"), cell_key("step 1: load", "5f0c")
        ('cell::cleaning:5f0c', 'cell::step 1%3A load:5f0c')

    Args:
        cell_name: the name that the user gave to the cell; empty for none.
        digest: hex digits that stand for all that the cell depends on; empty for what the keys of all cells of this
            name begin with.
    """
    return f"{CELL_PREFIX}{cell_name.translate(_CELL_NAME_ESCAPES)}:{digest}"


def cell_part_name(record: bytes, token: str, number: int) -> bytes:
    """The name on the wire of a piece of what is too large for a cell's record.

    It begins with the record's own name, so that whoever deletes by prefix deletes it too; the token is the record's,
    so that the pieces of two records which follow each other under one name are never mixed.

    Args:
        record: the record's name on the wire.
        token: hex digits, drawn at random for each record.
        number: counts all the pieces of the record.
    """
    return record + _PART_MARK + b"%s:%d" % (token.encode(), number)


def is_cell_part(name: bytes) -> bool:
    """Whether a name on the wire is that of such a piece."""
    _, mark, rest = name.rpartition(_PART_MARK)
    return bool(mark) and _PART_NAME.fullmatch(mark + rest) is not None


def cell_manifest_key(identity: str) -> str:
    """The key under which it is kept what a cell depended on when it last ran.

    Args:
        identity: what tells the cell from others across edits: a name, its place in the notebook, its text.
    """
    return f"{CELL_MANIFEST_PREFIX}{hashlib.blake2b(encode(identity), digest_size=16).hexdigest()}"
