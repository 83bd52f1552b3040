"""What one database transaction changes, announced to the site's change log before, and confirmed after, it commits."""

from __future__ import annotations

import contextlib
import secrets
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

from sqlalchemy import Engine

from .. import keys, operations
from ..connections import Connection, connection_for
from ..context import current_request
from ..effects import Steps
from ..errors import CacheError, CacheUnavailable
from ..forks import new_lock
from ..leases import heartbeat
from ..operations import NEVER, Log, Reading, Scope
from ..redis_wrapper import run
from ..settings import Settings
from .engine import engine_for
from .ledger import DatabaseLedger, DocumentName, as_logged

MOST_NAMED: Final = 500
"""Documents of one DocType that a transaction names one by one; beyond, it announces the whole DocType."""


class Coherence:
    """The change log of one site, on its cache server and in its database, for all threads of this process.

    Args:
        settings: the site.
        engine: its database.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.connection: Connection = connection_for(settings)
        self.ledger = DatabaseLedger(engine, settings.db_name, lambda: self.connection.is_memory)
        self.log = Log(
            name=keys.change_log_name(settings.db_name),
            entries=keys.make_key(settings.db_name, keys.DOCUMENT_PREFIX),
            ledger=self.ledger,
            sockets=lambda: self.connection.sockets,
        )
        self.connection.when_back.append(_checking(weakref.ref(self)))

    def run(self, steps: Steps[Any]) -> Any:
        """Carry out steps on the site's cache server."""
        return run(steps, self.connection)

    def scope(self) -> Scope:
        """What operations work with, here and now."""
        connection, request = self.connection, current_request()
        local = None if request is None else request.cache
        return Scope(connection.codec, connection.stats, connection.generations, local, flights=connection.flights)


def _checking(found: weakref.ref[Coherence]) -> Callable[[], None]:
    """Empties the outbox as soon as the cache server is back, whether or not anybody reads a document."""

    def check() -> None:
        coherence = found()
        if coherence is not None:
            coherence.log.again_at = 0.0
            # In a thread of nobody's: whoever reads next is told what is wrong with the database.
            with contextlib.suppress(CacheError):
                coherence.run(operations.check(coherence.scope(), coherence.log))

    return check


def coherence_for(settings: Settings) -> Coherence:
    """The change log of a site; the same one for all threads of this process."""
    engine = engine_for(settings)
    key = connection_for(settings), settings.db_name, engine
    found = _known.get(key)
    if found is None:
        with _lock:
            found = _known.get(key) or _known.setdefault(key, Coherence(settings, engine))
    return found


_known: dict[tuple[Connection, str, Engine], Coherence] = {}
_lock = new_lock()


class Changes:
    """What the transaction of one thread with one site's database has changed so far.

    Args:
        settings: the site.
        execute: carries out an SQLAlchemy statement on the transaction's own connection and returns its result.

    Attributes:
        touched: the documents that it is about to change or has changed.
        reading: how far the change log was before its first statement; None while none is open.
    """

    def __init__(self, settings: Settings, execute: Callable[..., Any]) -> None:
        self.settings = settings
        self.touched: set[DocumentName] = set()
        self.reading: Reading | None = None
        self._execute = execute
        self._coherence: Coherence | None = None
        self._coming: Reading | None = None
        self._token = secrets.token_hex(8)

    @property
    def coherence(self) -> Coherence:
        """The site's change log."""
        found = self._coherence
        if found is None:
            found = self._coherence = coherence_for(self.settings)
        return found

    def begin(self) -> None:
        """A transaction is about to begin: called before its first statement."""
        if self.settings.bench is not None:  # a Frappe site's own, of which nothing is stored
            self.reading = NEVER
        else:
            coherence = self.coherence
            self.reading = self._coming or coherence.run(operations.read_log(coherence.log))
        self._token = secrets.token_hex(8)

    def expect(self, reading: Reading | None) -> None:
        """The transaction that begins next has this reading already."""
        self._coming = reading

    def touch(self, documents: Iterable[DocumentName]) -> None:
        """Some documents are about to change: called before the statement that changes them."""
        new = sorted(set(documents) - self.touched, key=as_logged)
        for doctype in {doctype for doctype, _ in new}:
            if sum(1 for other, _ in self.touched | set(new) if other == doctype) > MOST_NAMED:
                new = [document for document in new if document[0] != doctype] + [(doctype, None)]
        new = [document for document in new if document not in self.touched and (document[0], None) not in self.touched]
        if not new:
            return
        self.touched.update(new)
        coherence = self.coherence
        log = coherence.log
        coherence.run(operations.announce(coherence.scope(), log, self._token, list(map(as_logged, new))))
        heartbeat.begin(self, operations.renewal(log, self._token, self._documents()), coherence.connection)

    def has_touched(self, doctype: str, name: str) -> bool:
        """Whether the transaction changes a document, which it then has to read from the database."""
        return (doctype, name) in self.touched or (doctype, None) in self.touched

    def commit(self, commit: Callable[[], None]) -> None:
        """Commit: `commit` does it in the database.

        Raises:
            CacheUnavailable: the cache cannot be told and the site is strict; the transaction is still open.
        """
        if not self.touched:
            commit()
        else:
            coherence = self.coherence
            documents = self._documents()
            scope, log = coherence.scope(), coherence.log
            try:
                coherence.run(operations.commit(scope, log, self._token, documents, commit, self._leave_in_outbox))
            except CacheUnavailable:
                raise
            except BaseException:
                self._end()
                raise
        self._end()

    def rollback(self, rollback: Callable[[], None]) -> None:
        """Roll the whole transaction back: `rollback` does it in the database."""
        try:
            rollback()
        finally:
            if self.touched:
                coherence = self.coherence
                coherence.run(operations.drop_marks(coherence.log, self._token, self._documents()))
            self._end()

    def _documents(self) -> list[str]:
        return sorted(map(as_logged, self.touched))

    def _leave_in_outbox(self) -> None:
        if self.settings.strict:
            raise CacheUnavailable(
                f"The cache cannot be told that {', '.join(self._documents()[:3])} changed, and the site is strict. "
                "The transaction is still open: commit again when the server is back, or roll back."
            )
        self.coherence.ledger.leave_in_outbox(self._execute, self.touched)

    def _end(self) -> None:
        heartbeat.end(self)
        self.touched.clear()
        self.reading = self._coming = None
