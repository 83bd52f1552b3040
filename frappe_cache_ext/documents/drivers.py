"""Connections of each kind of database, made to give the same values and to wait as long for a lock."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine

from .fieldtypes import parse_date, parse_datetime, parse_time

LOCK_TIMEOUT: Final = 10
"""Seconds to wait for what another transaction has locked."""

CONNECT_TIMEOUT: Final = 5
"""Seconds to wait for a database server to answer at first."""

BEGIN: Final = "frappe_begin"
"""The execution option of a connection that says how SQLite begins its next transaction: with a lock or without."""

# A process keeps few connections and never waits for one: it is the database that says when there are too many.
_POOL: Final[dict[str, Any]] = {"pool_size": 2, "max_overflow": -1}


# --- SQLite -----------------------------------------------------------------------------------------------------------


class _BufferedCursor(sqlite3.Cursor):
    """Fetches every row at once, as the drivers of the servers do.

    A row that cannot be computed is then an error of the statement, and no half-read result keeps a lock.
    """

    _rows: list[Any]

    def execute(self, *arguments: Any) -> _BufferedCursor:
        super().execute(*arguments)
        self._rows = super().fetchall()
        return self

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = _BufferedCursor) -> Any:
        return super().cursor(factory)


def create_sqlite(url: URL) -> Engine:
    """An engine for an SQLite file, which several processes and threads may use."""
    # Converters belong to the process, not to a connection; they act only where a connection asks for them, as this
    # one does. Without, a column read by the user's own SQL would be text here and a moment on the other databases.
    for declared, parse in (
        ("DATETIME", parse_datetime),
        ("TIMESTAMP", parse_datetime),
        ("DATE", parse_date),
        ("TIME", parse_time),
    ):
        sqlite3.register_converter(declared, _converter(parse))
    engine = sa.create_engine(
        url,
        connect_args={
            "timeout": LOCK_TIMEOUT,
            "isolation_level": None,
            "check_same_thread": False,
            "detect_types": sqlite3.PARSE_DECLTYPES,
            "factory": _Connection,
        },
        poolclass=sa.QueuePool,
        **_POOL,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _converter(parse: Any) -> Any:
    def convert(data: bytes) -> Any:
        text = data.decode("utf-8", "replace")
        return parse(text) or text

    return convert


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    cursor = connection.cursor()
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # Changing the mode does not wait for a lock by itself. A file that may only be read keeps its mode.
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
                break
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN"))


# --- MariaDB ----------------------------------------------------------------------------------------------------------

_MARIADB_SESSION: Final = (
    "SET SESSION sql_mode='STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', "
    f"innodb_lock_wait_timeout={LOCK_TIMEOUT}, lock_wait_timeout={LOCK_TIMEOUT}"
)
_UNKNOWN_VARIABLE: Final = 1193


def create_mariadb(url: URL) -> Engine:
    """An engine for a MariaDB or MySQL server, over PyMySQL."""
    # A driver is loaded by those who use it; PyMySQL has no type hints.
    from pymysql.constants import FIELD_TYPE  # type: ignore[import-untyped]  # noqa: PLC0415
    from pymysql.converters import conversions  # type: ignore[import-untyped]  # noqa: PLC0415

    as_float = {FIELD_TYPE.DECIMAL: float, FIELD_TYPE.NEWDECIMAL: float}
    engine = sa.create_engine(
        url,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "conv": conversions | as_float,
            "init_command": _MARIADB_SESSION,
            "autocommit": False,
        },
        isolation_level="REPEATABLE READ",
        pool_pre_ping=True,
        **_POOL,
    )
    event.listen(engine, "connect", _prepare_mariadb)
    return engine


def _prepare_mariadb(connection: Any, _: Any) -> None:
    # From 11.6 on, a row that changed since the transaction's first look could not be written any more.
    with contextlib.closing(connection.cursor()) as cursor:
        try:
            cursor.execute("SET SESSION innodb_snapshot_isolation=0")
        except Exception as error:
            if error.args[:1] != (_UNKNOWN_VARIABLE,):
                raise


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def create_postgres(url: URL) -> Engine:
    """An engine for a PostgreSQL server, over psycopg 3."""
    from psycopg.adapt import Loader  # noqa: PLC0415
    from psycopg.types.numeric import FloatLoader  # noqa: PLC0415
    from psycopg.types.string import TextLoader  # noqa: PLC0415

    class TimeLoader(Loader):
        def load(self, data: Any) -> Any:
            text = bytes(data).decode()
            return parse_time(text) or text

    def prepare(connection: Any, _: Any) -> None:
        for name, loader in (
            ("numeric", FloatLoader),
            ("time", TimeLoader),
            ("json", TextLoader),
            ("jsonb", TextLoader),
        ):
            connection.adapters.register_loader(name, loader)

    # The user's own come last, and so hold.
    given = url.query.get("options", ())
    options = " ".join((f"-c lock_timeout={LOCK_TIMEOUT * 1000}", *([given] if isinstance(given, str) else given)))
    engine = sa.create_engine(
        url,
        # Prepared behind the caller's back, a `select *` would fail once its table has one column more.
        connect_args={"connect_timeout": CONNECT_TIMEOUT, "options": options, "prepare_threshold": None},
        isolation_level="REPEATABLE READ",
        pool_pre_ping=True,
        **_POOL,
    )
    event.listen(engine, "connect", prepare)
    return engine
