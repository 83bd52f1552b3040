"""What the databases and their drivers raise, as the errors of this package: in one line, without the statement."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import exc
from sqlalchemy.engine import Engine

from ..errors import DatabaseUnavailable, DocumentError, DuplicateEntryError, QueryError, UniqueValidationError

_SQLITE_DUPLICATE_NAMES: Final = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID)
_SQLITE_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_SQLITE_BROKEN: Final = (
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PROTOCOL),
)

_MARIADB_DUPLICATES: Final = (1062, 1586)
_MARIADB_DEADLOCK: Final = 1213
_MARIADB_LOCKED: Final = (1020, 1205, _MARIADB_DEADLOCK)
# Refused logins, unknown databases, too many connections, servers that go down, and the client's own network errors.
_MARIADB_AWAY: Final = frozenset(
    (
        *range(2000, 2060),
        1040,
        1043,
        1044,
        1045,
        1049,
        1053,
        1077,
        1129,
        1130,
        1203,
        1226,
        1698,
        1927,
        *range(1152, 1162),
    )
)

_POSTGRES_UNIQUE: Final = "23505"
_POSTGRES_LOCKED: Final = ("40001", "40P01", "55P03")
# Connections, logins, missing databases, resources, and servers that go down.
_POSTGRES_AWAY: Final = re.compile(r"08|28|3D|53|57P|58|XX")


@contextlib.contextmanager
def translated(engine: Engine | None = None) -> Iterator[None]:
    """Turn what SQLAlchemy and a driver raise within the block into errors of ours.

    Args:
        engine: the database, to be named where it cannot be reached.

    Raises:
        DatabaseUnavailable: it cannot be reached, refuses the login, went away, or something stayed locked too long.
        DuplicateEntryError: there is a row of that name already.
        UniqueValidationError: another row has a value that only one may have.
        QueryError: it refused a statement.
    """
    try:
        yield
    except (exc.SQLAlchemyError, UnicodeError, OverflowError) as error:
        # The driver's error is the cause to show: SQLAlchemy's repeats the statement with its parameters.
        raise translate(error, engine) from (getattr(error, "orig", None) or error)


def translate(error: Exception, engine: Engine | None = None) -> DocumentError:
    """The error of ours for one of SQLAlchemy or a driver."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        message = _one_line(error.orig)
        kind = _kind(error.orig)
        if error.connection_invalidated:
            kind = DatabaseUnavailable
    else:
        message = _one_line(error.orig if isinstance(error, exc.StatementError) and error.orig else error)
        kind = DatabaseUnavailable if isinstance(error, exc.TimeoutError) else QueryError
    if kind is DatabaseUnavailable:
        where = "The database" if engine is None else f"The database {engine.url}"
        return DatabaseUnavailable(f"{where} is not available: {message}")
    return kind(message)


def ended_transaction(error: BaseException) -> bool:
    """Whether the database has rolled back the whole transaction that an error happened in."""
    return bool(_code(error.__cause__) == _MARIADB_DEADLOCK)


def _kind(original: BaseException) -> type[DocumentError]:
    if isinstance(original, sqlite3.Error):
        return _kind_of_sqlite(original)
    if type(original).__module__.startswith("psycopg"):
        return _kind_of_postgres(original)
    code = _code(original)
    if code in _MARIADB_DUPLICATES:
        primary = re.search(r"for key '(?:.*\.)?PRIMARY'", str(original))
        return DuplicateEntryError if primary else UniqueValidationError
    if code in _MARIADB_LOCKED or code in _MARIADB_AWAY:
        return DatabaseUnavailable
    # PyMySQL's number for a connection that it has closed itself.
    return DatabaseUnavailable if type(original).__name__ == "InterfaceError" and code == 0 else QueryError


def _kind_of_sqlite(original: sqlite3.Error) -> type[DocumentError]:
    code = getattr(original, "sqlite_errorcode", None)
    if code in _SQLITE_DUPLICATE_NAMES:
        return DuplicateEntryError
    if code == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
        return UniqueValidationError
    if code is not None and code & 0xFF in (*_SQLITE_LOCKED, *_SQLITE_BROKEN):
        return DatabaseUnavailable
    return QueryError


def _kind_of_postgres(original: BaseException) -> type[DocumentError]:
    state = getattr(original, "sqlstate", None)
    if state is None:
        # The client's own complaint: of a broken connection, or of a value that it cannot send.
        broken = type(original).__name__ in ("OperationalError", "ConnectionTimeout")
        return DatabaseUnavailable if broken else QueryError
    if state == _POSTGRES_UNIQUE:
        constraint = getattr(getattr(original, "diag", None), "constraint_name", None) or ""
        return DuplicateEntryError if constraint.endswith("_pkey") else UniqueValidationError
    return DatabaseUnavailable if state in _POSTGRES_LOCKED or _POSTGRES_AWAY.match(state) else QueryError


def _code(original: BaseException | None) -> Any:
    return original.args[0] if original is not None and original.args else None


def _one_line(error: BaseException) -> str:
    """What the database itself said."""
    if len(error.args) == 2 and isinstance(error.args[0], int):  # PyMySQL's: a number and a text
        text = f"{error.args[1]} ({error.args[0]})"
    elif isinstance(error, exc.SQLAlchemyError) and error.args:
        text = str(error.args[0])
    else:
        text = str(error)
    # PostgreSQL shows the line and points at the place: two lines that begin like this one.
    text = re.sub(r"\nLINE \d+:.*\n\s*\^", "", text)
    return " ".join(text.split()) or type(error).__name__
