"""What the database keeps for the change log: a trace that there is one, and an outbox for when it cannot be told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Column, Engine, Executable, Integer, MetaData, String, Table, delete, insert, select
from sqlalchemy.exc import DBAPIError

from ..errors import DuplicateEntryError, SettingsError, UniqueValidationError
from .engine import begun, translated

_METADATA: Final = MetaData()

TRACE: Final = Table(
    "__cache_trace",
    _METADATA,
    Column("name", String(140), primary_key=True),
    Column("epoch", String(32), nullable=False),
    mysql_charset="utf8mb4",
)
"""The site whose documents are here, and a random token that tells this database from any other."""

OUTBOX: Final = Table(
    "__cache_outbox",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("doctype", String(140), nullable=False),
    Column("name", String(140)),
    mysql_charset="utf8mb4",
    # A number that was given twice could take a change out that was never told.
    sqlite_autoincrement=True,
)
"""Documents whose change was committed while the cache could not be told; without a name, all of a DocType."""

_in_this_process: dict[tuple[str, str], str] = {}

_PATIENCE: Final = 50
"""Milliseconds to wait for SQLite's one writer to finish."""

DocumentName = tuple[str, str | None]
"""A DocType and a document's name; None for every document of the DocType. A single's name is its DocType's."""


def as_logged(document: DocumentName) -> str:
    """What the change log calls a document."""
    doctype, name = document
    return doctype if name is None else f"{doctype}::{name}"


class DatabaseLedger:
    """The ledger in a site's database, on connections of its own: see `operations.Ledger`.

    Args:
        engine: the site's database.
        site: the site's db_name.
        in_process: tells whether the cache server ends with this process, so that nobody else can have had a log on it.
    """

    def __init__(self, engine: Engine, site: str, in_process: Callable[[], bool]) -> None:
        self.engine = engine
        self.site = site
        self._in_process = in_process

    def leave_trace(self, identity: str) -> tuple[str, bool] | None:
        """Note that the site has a log, and give the database this identity if it has none.

        Returns:
            Its identity, and whether it was given now; None where no documents of ours are kept.

        Raises:
            SettingsError: the documents are another site's, whose cache would not hear of changes made here.
            DatabaseUnavailable: somebody holds the database.
        """
        if self._in_process():
            # The server is new with each process, and nobody else's marks are on it.
            place = str(self.engine.url)
            known = _in_this_process.setdefault((self.site, place), identity)
            return known, known == identity
        try:
            with self.engine.connect() as connection:
                rows = connection.execute(select(TRACE.c.name, TRACE.c.epoch)).all()
        except DBAPIError:  # no such table: nothing of ours is here
            return None
        found = {row.name: row.epoch for row in rows}
        if self.site in found:
            return found[self.site], False
        if found:
            raise SettingsError(
                f"The database holds the documents of the site with db_name {next(iter(found))!r}, and this site's is "
                f"{self.site!r}. A change made by one would not reach the other's cache: give each a database."
            )
        with contextlib.suppress(DuplicateEntryError, UniqueValidationError), begun(self.engine) as connection:
            connection.execute(insert(TRACE).values(name=self.site, epoch=identity))
            return identity, True
        return self.leave_trace(identity)  # somebody was faster

    def outbox(self) -> list[tuple[int, str]]:
        """The committed changes that the cache was not told of: a number and a document each.

        Raises:
            DatabaseUnavailable: the database cannot be reached.
        """
        if self._in_process():
            return []
        with translated(self.engine), self.engine.connect() as connection:
            rows = connection.execute(select(OUTBOX.c.id, OUTBOX.c.doctype, OUTBOX.c.name)).all()
        return [(row.id, as_logged((row.doctype, row.name))) for row in rows]

    def empty_outbox(self, numbers: Sequence[int]) -> None:
        """Take these out: the cache has been told."""
        with contextlib.suppress(DBAPIError):  # what stays is told once more
            self._change(delete(OUTBOX).where(OUTBOX.c.id.in_(list(numbers))))

    def _change(self, statement: Executable) -> None:
        is_sqlite = self.engine.dialect.name == "sqlite"
        with self.engine.connect() as connection:
            if is_sqlite:  # the lock may be held by the very thread that waits for it here
                connection.connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
            try:
                connection.execute(statement)
                connection.commit()
            finally:
                if is_sqlite:
                    connection.invalidate()

    @staticmethod
    def leave_in_outbox(execute: Callable[..., Any], documents: Iterable[DocumentName]) -> None:
        """Note changes in the transaction that makes them."""
        rows = [{"doctype": doctype, "name": name} for doctype, name in documents]
        execute(insert(OUTBOX), rows)
