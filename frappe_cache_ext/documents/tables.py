"""The tables that every site has, made on first use; a database that a Frappe site made is told from one of ours."""

from __future__ import annotations

import contextlib
import hashlib
import weakref
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Connection, Engine

from ..errors import DatabaseUnavailable, DoesNotExistError
from ..forks import new_lock
from .engine import LOCK_TIMEOUT, begun, translated
from .fieldtypes import VARCHAR_LENGTH, DateTime, column_type
from .ledger import OUTBOX, TRACE

__all__ = ["DOCFIELD", "DOCTYPE", "OUTBOX", "SERIES", "SINGLES", "TRACE", "is_foreign", "locked", "prepare"]

MARIADB_OPTIONS: Final[dict[str, Any]] = {
    "mysql_engine": "InnoDB",
    "mysql_row_format": "DYNAMIC",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_unicode_ci",
}


def standard_columns(*, child: bool) -> list[sa.Column[Any]]:
    """The columns of every DocType's table, and those of the rows of a table field."""
    names = ("parent", "parentfield", "parenttype") if child else ()
    return [
        sa.Column("name", sa.String(VARCHAR_LENGTH), primary_key=True),
        sa.Column("creation", DateTime()),
        sa.Column("modified", DateTime()),
        sa.Column("modified_by", sa.String(VARCHAR_LENGTH)),
        sa.Column("owner", sa.String(VARCHAR_LENGTH)),
        whole("docstatus"),
        whole("idx"),
        *(sa.Column(name, sa.String(VARCHAR_LENGTH)) for name in names),
    ]


def whole(name: str, fieldtype: str = "Int") -> sa.Column[Any]:
    """A column for whole numbers that is never null."""
    return sa.Column(name, column_type(fieldtype), nullable=False, server_default=sa.text("0"))


def _varchar(name: str, length: int = VARCHAR_LENGTH) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length))


def _long_text(name: str) -> sa.Column[Any]:
    return sa.Column(name, column_type("Long Text"))


_METADATA: Final = sa.MetaData()

DOCTYPE: Final = sa.Table(
    "tabDocType",
    _METADATA,
    *standard_columns(child=False),
    _varchar("module"),
    whole("issingle", "Check"),
    whole("istable", "Check"),
    whole("custom", "Check"),
    _varchar("autoname"),
    **MARIADB_OPTIONS,
)
DOCFIELD: Final = sa.Table(
    "tabDocField",
    _METADATA,
    *standard_columns(child=True),
    _varchar("fieldname"),
    _varchar("fieldtype"),
    _varchar("label"),
    sa.Column("options", sa.Text()),
    whole("reqd", "Check"),
    whole("unique", "Check"),
    sa.Column("default", sa.Text()),
    whole("is_virtual", "Check"),
    sa.Index("docfield_parent", "parent"),
    **MARIADB_OPTIONS,
)
SINGLES: Final = sa.Table(
    "tabSingles",
    _METADATA,
    _varchar("doctype", 255),
    _varchar("field", 255),
    _long_text("value"),
    sa.Index("singles_doctype_field_index", "doctype", "field"),
    **MARIADB_OPTIONS,
)
SERIES: Final = sa.Table(
    "tabSeries",
    _METADATA,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column(
        "current",
        sa.Integer().with_variant(mysql.INTEGER(display_width=10), "mysql"),
        nullable=False,
        server_default=sa.text("0"),
    ),
    **MARIADB_OPTIONS,
)

_foreign: weakref.WeakKeyDictionary[Engine, bool] = weakref.WeakKeyDictionary()
_lock = new_lock()


def prepare(engine: Engine, *, of_bench: bool = False) -> None:
    """Make the tables that every site has, unless the database has them; asked once per process and database.

    Args:
        engine: the database.
        of_bench: whether a bench's files name it; then Frappe has made the tables, and nothing is made here.

    Raises:
        DoesNotExistError: a bench's database holds no Frappe site.
        DatabaseUnavailable: the database cannot be reached.
        QueryError: it refuses to make them.
    """
    if engine in _foreign:
        return
    with _lock:
        if engine in _foreign:
            return
        with translated(engine):
            prepared = sa.inspect(engine).has_table(DOCTYPE.name)
        if not prepared and of_bench:
            raise DoesNotExistError(
                f"The database {engine.url} holds no Frappe site (there is no table {DOCTYPE.name}); "
                "is the site installed, and does its site_config.json name the right database?"
            )
        if not prepared:
            with begun(engine) as connection, locked(connection, "prepare"):
                # The trace first and the DocTypes last: whoever sees the DocTypes sees that they are ours, also on
                # MariaDB, which commits each table by itself.
                for table in (TRACE, OUTBOX, SINGLES, SERIES, DOCFIELD, DOCTYPE):
                    table.create(connection, checkfirst=True)
        with translated(engine):
            _foreign[engine] = of_bench or not sa.inspect(engine).has_table(TRACE.name)


def is_foreign(engine: Engine) -> bool:
    """Whether a Frappe site made the database, whose documents only Frappe itself may change.

    Raises:
        DocumentError: the database cannot be reached or prepared.
    """
    prepare(engine)
    return _foreign[engine]


@contextlib.contextmanager
def locked(connection: Connection, name: str) -> Iterator[None]:
    """Let one process at a time into a block that changes the database's tables.

    On SQLite the transaction that writes is alone anyway. On MariaDB the lock outlives the commits within the block.

    Raises:
        DatabaseUnavailable: another process does not come out of it.
    """
    dialect = connection.dialect.name
    digest = hashlib.sha1(f"{connection.engine.url.database}|{name}".encode(), usedforsecurity=False).hexdigest()
    if dialect == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(int(digest[:15], 16)))).close()
    if dialect != "mysql":
        yield
        return
    key = f"frappe-cache-{digest}"
    if connection.execute(sa.select(sa.func.get_lock(key, LOCK_TIMEOUT))).scalar() != 1:
        raise DatabaseUnavailable(f"Another process is changing the tables of {connection.engine.url}; try again.")
    try:
        yield
    finally:
        # Where the connection broke, the server has let go of the lock.
        if not connection.invalidated:
            connection.execute(sa.select(sa.func.release_lock(key))).close()
