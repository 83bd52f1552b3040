"""One transaction for each thread or task and site: what it reads is one state, and what it writes lasts as a whole.

A transaction begins with its first statement and lasts until `commit` or `rollback`, as in Frappe. One that has only
read so far gives up its view of the database when it begins to write: SQLite refuses to write upon a view that is out
of date, and PostgreSQL to change a row that somebody else changed since. On MariaDB the view stays, as in Frappe.
"""

from __future__ import annotations

import contextlib
import os
import re
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, CursorResult, Engine, Inspector

from ..errors import CacheError, DatabaseUnavailable, InReadOnlyMode, ValidationError
from ..settings import Settings
from .changes import Changes
from .dberrors import ended_transaction, translated
from .engine import engine_for, inherited, reading, writing
from .ledger import DocumentName
from .sql import LOCKING
from .tables import is_foreign, prepare

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]

_SAVE_POINT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}", re.ASCII)
_STATEMENT: Final = "frappe_cache_statement"

every: weakref.WeakSet[Transaction] = weakref.WeakSet()
"""The transactions of this process."""

abandoned: deque[tuple[int, Connection, Changes]] = deque()
"""What the garbage collector found open: the process that opened it, its connection and its changes."""


class Transaction:
    """The open or coming transaction of one thread (or task) with one site's database.

    Args:
        settings: the site.

    Attributes:
        settings: the site.
        changes: what it changes, as the site's change log is told.
        memo: what was found out in it, forgotten as soon as its view of the database ends.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.memo: dict[Any, Any] = {}
        self.changes = Changes(settings, _execute_in(weakref.ref(self)))
        self._connection: Connection | None = None
        self._begun = False
        self._writing = False
        self._changed = False
        self._save_points: list[str] = []
        self._process = os.getpid()
        every.add(self)

    @property
    def engine(self) -> Engine:
        """The site's database."""
        return engine_for(self.settings)

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open."""
        return self._connection is not None

    @property
    def has_changes(self) -> bool:
        """Whether something was written, or announced to be, since it began."""
        return self._changed

    # --- statements -----------------------------------------------------------------------------------------------

    def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """Carry out a statement that reads; begins a transaction if none is open.

        Raises:
            DatabaseUnavailable: the database cannot be reached; what was open counts as rolled back.
            QueryError: the database refused the statement.
        """
        # What is locked in order to be changed must not be let go again when the change comes.
        locking = getattr(statement, "_for_update_arg", None) is not None
        locking = locking or LOCKING in statement.get_execution_options()
        return self._run(self._open(writing=locking), statement, parameters)

    def write(self, statement: sa.Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """Carry out a statement that changes something.

        Raises:
            InReadOnlyMode: the database is a Frappe site's.
            DatabaseUnavailable: the database cannot be reached, or another transaction holds what is to be changed.
            DuplicateEntryError: there is a row of that name already.
            UniqueValidationError: another row has a value that only one may have.
            QueryError: the database refused the statement. What was written before it is still there.
        """
        self._refuse_foreign()
        connection = self._open(writing=True)
        self._changed = True
        return self._run(connection, statement, parameters)

    def touch(self, documents: Iterable[DocumentName]) -> None:
        """Announce that documents are about to change; to be called before the statement that changes them.

        Raises:
            InReadOnlyMode: the database is a Frappe site's.
            DatabaseUnavailable: the database cannot be reached.
        """
        touched = list(documents)
        if not touched:
            return
        self._refuse_foreign()
        self._open(writing=True)
        self._changed = True
        self.changes.touch(touched)

    def inspect(self) -> Inspector:
        """What tells of the database's tables, as the transaction sees them.

        Raises:
            DatabaseUnavailable: the database cannot be reached.
        """
        connection = self._open(writing=False)
        with translated(self.engine):
            return sa.inspect(connection)

    # --- the end --------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Make the changes last; nothing happens where nothing is open.

        Raises:
            DatabaseUnavailable: the database went away. Whether the changes last is then unknown.
            CacheUnavailable: the site is strict and its cache cannot be told; the transaction is still open.
        """
        if self._connection is None and not self.changes.touched:
            self._save_points.clear()
            return
        self.changes.commit(self._commit_in_database)

    def rollback(self, *, save_point: str | None = None) -> None:
        """Undo what was changed since the transaction began, or since a savepoint.

        Args:
            save_point: a savepoint's name; the transaction stays open, and the savepoint with it.

        Raises:
            ValidationError: there is no such savepoint.
        """
        if save_point is not None:
            self._to_save_point("ROLLBACK TO SAVEPOINT", save_point, keep=True)
        elif self._connection is None and not self.changes.touched:
            self._save_points.clear()
        else:
            self.changes.rollback(self._rollback_in_database)

    def savepoint(self, name: str) -> None:
        """Set a savepoint, which `rollback` can go back to; one of the same name is replaced.

        Raises:
            ValidationError: the name is none.
        """
        if type(name) is not str or not _SAVE_POINT.fullmatch(name):
            raise ValidationError(f"A savepoint's name is made of letters, digits and _, up to 60, not {name!r}.")
        if self._connection is not None:
            self._control(self._connection, "SAVEPOINT", name)
        if name in self._save_points:
            self._save_points.remove(name)
        self._save_points.append(name)

    def release_savepoint(self, name: str) -> None:
        """Forget a savepoint and those set after it; what was changed since stays changed.

        Raises:
            ValidationError: there is no such savepoint.
        """
        self._to_save_point("RELEASE SAVEPOINT", name, keep=False)

    def end_reading(self) -> None:
        """End a transaction that has only read, so that the next statement sees what is committed by then."""
        if self._connection is not None and not self._changed:
            save_points = list(self._save_points)
            self.changes.rollback(self._rollback_in_database)
            # Nothing was written since they were set: the next transaction begins with them.
            self._save_points = save_points

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Run a block that reads: in the open transaction, or else in one that ends with the block."""
        if self._connection is not None:
            yield
            return
        try:
            yield
        finally:
            self.end_reading()

    def close(self) -> None:
        """Roll back what is open and let go of the connection; never fails."""
        if self._process != os.getpid():
            # A fork's copy: the parent goes on using the connection.
            inherited.append(self._connection)
            self._connection = None
            return
        with contextlib.suppress(CacheError):
            self.rollback()

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is not None:
            # The garbage collector may stand anywhere, in the middle of a lock too: somebody else cleans up.
            abandoned.append((self._process, connection, self.changes))

    # --- beginning ------------------------------------------------------------------------------------------------

    def _open(self, *, writing: bool) -> Connection:
        connection = self._connection
        if connection is None:
            connection = self._begin(writing)
        elif writing and not self._writing:
            self._begin_to_write(connection)
        return connection

    def _begin(self, to_write: bool) -> Connection:
        engine = self.engine
        prepare(engine, of_bench=self.settings.bench is not None)
        if not self._begun:
            # The reading of the change log comes before the first look at the database.
            self._begun = True
            try:
                self.changes.begin()
            except BaseException:
                self._begun = False
                raise
        return self._connect(to_write)

    def _connect(self, to_write: bool) -> Connection:
        if self._connection is not None:  # `changes` has looked at the database itself
            return self._open(writing=to_write)
        engine = self.engine
        try:
            with translated(engine):
                connection = engine.connect()
                try:
                    self._begin_in_database(connection, to_write)
                except BaseException:
                    connection.close()
                    raise
        except BaseException:
            self.changes.rollback(_nothing)
            self._begun = False
            raise
        self._connection = connection
        return connection

    def _begin_in_database(self, connection: Connection, to_write: bool) -> None:
        options = (writing if to_write else reading)(connection.engine)
        connection.execution_options(**options)
        connection.begin()
        for name in self._save_points:
            self._control(connection, "SAVEPOINT", name)
        self._writing = to_write

    def _begin_to_write(self, connection: Connection) -> None:
        """Exchange a transaction that has only read for one that may write; MariaDB's can do both."""
        if connection.dialect.name == "mysql":
            self._writing = True
            return
        self.memo.clear()
        try:
            with translated(self.engine):
                connection.rollback()
                self._begin_in_database(connection, True)
        except BaseException:
            self._lost()
            raise

    def _refuse_foreign(self) -> None:
        if is_foreign(self.engine):
            raise InReadOnlyMode(
                f"The database {self.engine.url} belongs to a Frappe site, and only its controllers keep its documents "
                "in order: change it with Frappe itself (bench console)."
            )

    # --- in the database ------------------------------------------------------------------------------------------

    def _run(
        self, connection: Connection, statement: sa.Executable, parameters: Parameters | None
    ) -> CursorResult[Any]:
        # PostgreSQL refuses everything after an error; on the other databases only the statement has failed.
        postgres = connection.dialect.name == "postgresql"
        try:
            with translated(self.engine):
                if not postgres or not self._writing:
                    return connection.execute(statement, parameters)
                return self._run_guarded(connection, statement, parameters)
        except BaseException as error:
            if _is_over(connection, error):
                self._lost()
            elif postgres and not self._writing:
                self.end_reading()
            raise

    def _run_guarded(
        self, connection: Connection, statement: sa.Executable, parameters: Parameters | None
    ) -> CursorResult[Any]:
        self._control(connection, "SAVEPOINT", _STATEMENT)
        try:
            result = connection.execute(statement, parameters)
        except exc.DBAPIError as error:
            if not error.connection_invalidated:
                self._control(connection, "ROLLBACK TO SAVEPOINT", _STATEMENT)
            raise
        self._control(connection, "RELEASE SAVEPOINT", _STATEMENT)
        return result

    def _control(self, connection: Connection, command: str, name: str) -> None:
        connection.exec_driver_sql(f"{command} {connection.dialect.identifier_preparer.quote_identifier(name)}")

    def _to_save_point(self, command: str, name: str, *, keep: bool) -> None:
        if name not in self._save_points:
            there = f"there are {', '.join(self._save_points)}" if self._save_points else "none is set"
            raise ValidationError(f"There is no savepoint {name!r} in this transaction; {there}.")
        if self._connection is not None:
            self.memo.clear()
            try:
                with translated(self.engine):
                    self._control(self._connection, command, name)
            except BaseException as error:
                if _is_over(self._connection, error):
                    self._lost()
                raise
        del self._save_points[self._save_points.index(name) + keep :]

    def _commit_in_database(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            with translated(self.engine):
                connection.commit()
        finally:
            self._release()

    def _rollback_in_database(self) -> None:
        connection = self._connection
        try:
            # Where it cannot be told to, the database rolls back on its own.
            with contextlib.suppress(DatabaseUnavailable), translated(self.engine):
                if connection is not None:
                    connection.rollback()
        finally:
            self._release()

    def _lost(self) -> None:
        """The database has ended the transaction: it counts as rolled back."""
        self._release()
        self.changes.rollback(_nothing)

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        self._begun = self._writing = self._changed = False
        self._save_points.clear()
        self.memo.clear()
        if connection is not None:
            with contextlib.suppress(exc.SQLAlchemyError):
                connection.close()


def _nothing() -> None:
    pass


def _is_over(connection: Connection, error: BaseException) -> bool:
    """Whether the database has ended the transaction that an error happened in."""
    if connection.invalidated or connection.closed or ended_transaction(error):
        return True
    if connection.dialect.name != "sqlite":
        return False
    return not getattr(connection.connection.dbapi_connection, "in_transaction", False)


def _execute_in(found: weakref.ref[Transaction]) -> Callable[..., CursorResult[Any]]:
    """What `Changes` carries out its own statements with; without a reference that would keep the transaction."""

    def execute(statement: sa.Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        transaction = found()
        if transaction is None:
            raise DatabaseUnavailable("The transaction is over.")
        if isinstance(statement, sa.UpdateBase):
            return transaction.write(statement, parameters)
        return transaction.execute(statement, parameters)

    return execute
