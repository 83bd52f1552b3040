"""Cached documents that are never older than the database: what a writer announces, and what a reader asks.

A lease (see `loading`) keeps a value out that was computed before an entry was deleted. A document can be outdated in
two more ways: it was loaded in a transaction that began before the change was committed, or by the very transaction
that has not committed yet. So every site has a *change log* on its cache server (`scripts.change_log` tells how it
looks there), and

* a **writer** marks a document as pending before the statement that changes it, and then deletes the entry; right
  before the commit it looks that the mark is still there; after the commit it logs the change, takes the mark off and
  deletes the entry again. A mark whose deadline passes counts as a change;
* a **reader** takes a `Reading` of the log before the first statement of its transaction. What it has loaded it may
  store if the log, asked afterwards, is still the same one, no change of the document is pending, and none was logged
  after the reading.

*A log that got lost* took marks with it. The next one is in quarantine for longer than a writer takes from its look to
its commit; readings of that time never store. A site's first log needs none, and a trace in the database, left before
any transaction begins, tells first from lost. *A server that came back* with an older snapshot may hold entries that
were deleted, and so may any server whose log is new: which run of the server, and which database, the entries are of
stands in the log, and before entries of another are used all of them are deleted. *A server out of the writer's reach*:
the writer leaves the document's name in an outbox, in the same database transaction; whoever connects next empties it
before using entries.

Every interleaving of these steps is walked through in ``tests/documents/test_interleavings.py``. Change nothing here
without it.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from .. import keys
from ..effects import Compute, FunctionRaised, Outcome, Owe, Pipeline, RunScript, ServerRun, Steps, Unlink
from ..errors import MISS, CacheUnavailable
from ..scripts.change_log import (
    BEGIN_CLEARING,
    DROP_MARKS,
    END_CLEARING,
    END_QUARANTINE,
    LOG_CHANGES,
    MARK_PENDING,
    OPEN_LOG,
    READ_LOG,
    RENEW_MARKS,
)
from .common import Scope, count, deadline_of, decoded, keep, when_away
from .loading import lease_name, load, void
from .strings import delete_prefix

PENDING: Final = 10.0
"""Seconds for which a mark is good without being renewed."""

QUARANTINE: Final = 10.0
"""Seconds for which a log that replaces a lost one lets nobody store: longer than a look and its commit can take."""

CLEARING: Final = 30.0
"""Seconds after which whoever is deleting an earlier run's entries is taken for dead."""

SECOND_LOOK: Final = 0.2
"""Seconds after which a log that could not be used is looked at again."""

_TRIES: Final = 5


class Ledger(Protocol):
    """The database's part: what has to outlive the cache server."""

    def leave_trace(self, identity: str) -> tuple[str, bool] | None:
        """Note that the site has a log, and give the database this identity if it has none.

        Returns:
            Its identity, and whether it was given now; None where no documents of ours are kept.
        """

    def outbox(self) -> list[tuple[int, str]]:
        """The committed changes that the cache was not told of: a number and a document each."""

    def empty_outbox(self, numbers: Sequence[int]) -> None:
        """Take these out: the cache has been told."""


@dataclass(slots=True)
class Log:
    """One site's change log, as this process knows it.

    Attributes:
        name: its name on the wire.
        entries: what the names of the site's document entries begin with.
        ledger: the database's part.
        sockets: how many sockets to the server have been connected so far.
        checked: the number of sockets up to which the entries are known to be of this run of the server.
        identity: what tells the database from any other; None until the trace is known to be there.
        again_at: the `time.monotonic` in seconds before which it is not worth looking whether entries can be used.
        unlogged: by transaction, the documents whose change was committed and could not be logged.
        interrupted: the epoch in which this process began to delete an earlier run's entries and could not go on.
    """

    name: bytes
    entries: bytes
    ledger: Ledger
    sockets: Callable[[], int]
    checked: int | None = None
    identity: str | None = None
    again_at: float = 0.0
    unlogged: dict[str, list[str]] = field(default_factory=dict)
    interrupted: bytes | None = None

    def is_checked(self) -> bool:
        """Whether no new socket, and so no new run of the server, has come up since the entries were checked."""
        return self.checked == self.sockets() and not self.unlogged


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a log was before a transaction began."""

    epoch: bytes
    number: int
    in_quarantine: bool


NEVER: Final = Reading(b"", -1, True)
"""The reading of a transaction whose documents are never stored."""


@dataclass(frozen=True, slots=True)
class LogState:
    """What a log says.

    Attributes:
        epoch: the token it was made with.
        began: the run of the server in which it was opened.
        run: the run of the server, and the database, that the entries are of; empty until that is certain.
        number: how many changes it has counted.
        reach: the number from which on every change is listed.
        in_quarantine: whether it is so new that a change which it does not know of may be under way.
        is_pending: whether a transaction is about to change one of the documents asked about.
        changed: the number at which the latest of these changed.
    """

    epoch: bytes
    began: bytes
    run: bytes
    number: int
    reach: int
    in_quarantine: bool
    is_pending: bool
    changed: int

    @property
    def reading(self) -> Reading:
        """This state as a transaction remembers it."""
        return Reading(self.epoch, self.number, self.in_quarantine)

    def allows(self, reading: Reading) -> bool:
        """Whether what was loaded in a transaction that began after the reading is what the database holds now."""
        return (
            reading.epoch == self.epoch
            and not reading.in_quarantine
            and not self.is_pending
            and self.changed <= reading.number
            and self.reach <= reading.number
        )


# --- readers ------------------------------------------------------------------------------------------------------


def read_log(log: Log) -> Steps[Reading]:
    """How far the log is: before a transaction's first statement. `NEVER` where nothing of it may be stored."""
    state: LogState | None = None
    try:
        state = yield from _present(log)
        if (yield from _leave_trace(log, state)):
            state = yield from _state(log)
    except CacheUnavailable:
        # A writer that begins now will open a log that has no trace, unless there is one already.
        yield from when_away(lambda: False)(_leave_trace)(log, None)
        return NEVER
    return NEVER if state is None or log.identity is None else state.reading


def read_document(
    scope: Scope,
    log: Log,
    document: str,
    load_document: Callable[[Reading | None], Any],
    expiry: int,
    reading: Reading | None = None,
    wanted: Callable[[Any], bool] | None = None,
) -> Steps[Any]:
    """A document from the cache, or loaded now and stored if no newer one can be in the database by then.

    Args:
        scope: what to work with.
        log: the site's change log.
        document: the document, as the log calls it.
        load_document: loads it from the database; given a reading, in a transaction that begins now.
        expiry: milliseconds, 0 for none.
        reading: that of the transaction that is open; None where there is none.
        wanted: whether what was loaded is worth storing; None for everything.
    """
    name = log.entries + keys.encode(document)
    try:
        copy = None if scope.copies is None or not log.is_checked() else scope.copies.find(name)
        if copy is not None:
            return copy.read()
        value = yield from _find(scope, log, name)
        count(scope, value)
        if value is not MISS:
            return value
        state = yield from _state(log, document) if log.is_checked() else _nothing()
    except CacheUnavailable:
        state = None
    if state is None:
        return (yield from _load_only(load_document, reading))
    before = reading or state.reading
    if not state.allows(before):  # waiting for a lease would be in vain
        return (yield from _load_only(load_document, before))

    loaded = False

    def load_now() -> Any:
        nonlocal loaded
        loaded = True
        return load_document(before)

    def may_store() -> Steps[bool]:
        after = yield from _state(log, document)
        return after is not None and after.allows(before) and log.is_checked()

    value = yield from load(scope, name, load_now, expiry, root="document", wanted=wanted, may_store=may_store)
    if loaded or log.is_checked():
        return value
    return (yield from _load_only(load_document, before))  # another caller's, perhaps of an earlier run


def _find(scope: Scope, log: Log, name: bytes) -> Steps[Any]:
    """The entry's value, or MISS; no entry of an earlier run of the server counts."""
    for _ in range(_TRIES):
        if not log.is_checked() and not (yield from check(scope, log)):
            break
        fetch = None if scope.copies is None else scope.copies.expect(name)
        asked = time.monotonic()
        data, *left = yield Pipeline((("GET", name), *((("PTTL", name),) if fetch is not None else ())))
        if log.is_checked():
            value = decoded(scope, data, name)
            keep(scope, fetch, value, data, deadline_of(asked, *left) if left else -math.inf)
            return value
    return MISS


def _load_only(load_document: Callable[[Reading | None], Any], reading: Reading | None) -> Steps[Any]:
    outcome: Outcome = yield Compute(lambda: load_document(reading))
    return _result(outcome)


def _nothing() -> Steps[None]:
    return None
    yield


# --- writers ------------------------------------------------------------------------------------------------------


def announce(scope: Scope, log: Log, transaction: str, documents: Sequence[str]) -> Steps[bool]:
    """Mark documents as about to change, and only then delete their entries; False if the log cannot be told."""
    try:
        marked = yield from _mark(log, transaction, documents)
        yield from _forget(scope, log, documents)
        return marked
    except CacheUnavailable:
        yield from _forget_later(scope, log, documents)
        return False


def commit(
    scope: Scope,
    log: Log,
    transaction: str,
    documents: Sequence[str],
    do_commit: Callable[[], None],
    leave_in_outbox: Callable[[], None],
) -> Steps[None]:
    """Commit a transaction that changes documents.

    Args:
        scope: what to work with.
        log: the site's change log.
        transaction: its token.
        documents: what it changes.
        do_commit: commits in the database.
        leave_in_outbox: called before that if the log cannot be told; leaves the documents' names in the database, or
            raises to stop the commit.
    """
    if not (yield from _is_announced(scope, log, transaction, documents)):
        _result((yield Compute(leave_in_outbox)))
        log.checked = None  # so that this process, for one, empties the outbox
    outcome: Outcome = yield Compute(do_commit)
    # Committed, or nobody knows: a change that did not happen costs a miss, one that was not logged a stale document.
    yield from log_changes(scope, log, transaction, documents)
    _result(outcome)


def log_changes(scope: Scope, log: Log, transaction: str, documents: Sequence[str]) -> Steps[None]:
    """Log that documents have changed, take the transaction's marks off, and only then delete their entries."""
    try:
        _replied((yield RunScript(LOG_CHANGES, (log.name,), (transaction, *_encoded(documents)))))
        yield from _forget(scope, log, documents)
    except CacheUnavailable:
        log.unlogged[transaction] = list(documents)
        yield from _forget_later(scope, log, documents)


def drop_marks(log: Log, transaction: str, documents: Sequence[str]) -> Steps[None]:
    """Say that a transaction was rolled back."""
    try:
        yield RunScript(DROP_MARKS, (log.name,), (transaction, *_encoded(documents)))
    except CacheUnavailable:
        return  # they count as a change when their deadline passes: a miss, no worse


def renewal(log: Log, transaction: str, documents: Iterable[str]) -> RunScript:
    """What a transaction that lasts has to repeat, so that its marks are not taken for those of a dead one."""
    return RunScript(RENEW_MARKS, (log.name,), (transaction, int(PENDING * 1000), *_encoded(documents)))


def _mark(log: Log, transaction: str, documents: Sequence[str]) -> Steps[bool]:
    for _ in range(_TRIES):
        reply = yield RunScript(MARK_PENDING, (log.name,), (transaction, int(PENDING * 1000), *_encoded(documents)))
        if isinstance(reply, Exception):  # full, or a replica
            return False
        if reply:
            return True
        yield from _present(log)
    return False


def _is_announced(scope: Scope, log: Log, transaction: str, documents: Sequence[str]) -> Steps[bool]:
    """Whether all marks are in the log, right before the commit; lost ones are set anew, and entries deleted anew."""
    try:
        for _ in range(_TRIES):
            found = yield renewal(log, transaction, documents)
            if found == len(documents):
                return True
            if not (yield from announce(scope, log, transaction, documents)):
                return False
    except CacheUnavailable:
        pass
    return False


def _forget(scope: Scope, log: Log, documents: Sequence[str]) -> Steps[None]:
    """Delete entries and their leases, leases first: what was loaded before must not be stored between the two."""
    names = [log.entries + keys.encode(document) for document in documents if _SEPARATOR in document]
    for name in names:
        _forget_held(scope, name)
    if names:
        _replied((yield Unlink([*map(lease_name, names), *names])))
        void(scope, map(lease_name, names))
    for prefix in _prefixes(log, documents):
        if not (yield from delete_prefix(scope, prefix)):
            raise CacheUnavailable("the entries of a DocType cannot be deleted")


def _forget_later(scope: Scope, log: Log, documents: Sequence[str]) -> Steps[None]:
    names = [log.entries + keys.encode(document) for document in documents if _SEPARATOR in document]
    for name in names:
        _forget_held(scope, name)
    scope.stats.dropped += 1
    yield Owe(names=[*map(lease_name, names), *names], prefixes=_prefixes(log, documents))


def _forget_held(scope: Scope, name: bytes) -> None:
    if scope.local is not None:  # `frappe.cache.get_value` of the entry's key
        scope.local.forget(name)


def _prefixes(log: Log, documents: Iterable[str]) -> list[bytes]:
    whole = [document for document in documents if _SEPARATOR not in document]
    return [log.entries + keys.encode(doctype + _SEPARATOR) for doctype in whole]


_SEPARATOR: Final = "::"


# --- the log itself -----------------------------------------------------------------------------------------------


def check(scope: Scope, log: Log) -> Steps[bool]:
    """Make sure that document entries can be used: that none is of an earlier run, and none was changed unheard.

    Returns:
        False where they cannot be used for now.
    """
    if time.monotonic() < log.again_at:
        return False
    for _ in range(_TRIES):
        sockets = log.sockets()
        state = yield from _present(log)
        yield from _leave_trace(log, state)
        if state is None or log.identity is None:
            break
        server: bytes = yield ServerRun()
        run = server + b" " + log.identity.encode()
        if (state.began, state.run) != (server, run) and not (yield from _clear(scope, log, state, server, run)):
            break
        yield from _log_unheard(scope, log)
        if sockets == log.sockets() and not log.unlogged:
            log.checked = sockets
            return True
    log.again_at = time.monotonic() + SECOND_LOOK
    return False


def _present(log: Log) -> Steps[LogState | None]:
    """What the log says; where there is none it is opened, in quarantine."""
    state = yield from _state(log)
    if state is None:
        yield from _begin_epoch(log, b"", (yield ServerRun()))
        state = yield from _state(log)
    return state


def _state(log: Log, document: str | None = None) -> Steps[LogState | None]:
    asked = [] if document is None else [document, document.partition(_SEPARATOR)[0]]
    reply = _replied((yield RunScript(READ_LOG, (log.name,), _encoded(asked))))
    if not reply:
        return None
    epoch, began, run, number, reach, quarantined, pending, changed = reply
    return LogState(epoch, began, run, number, reach, bool(quarantined), bool(pending), changed)


def _leave_trace(log: Log, state: LogState | None) -> Steps[bool]:
    """Leave the trace, unless it is known to be there; True if it is the first, so that the log needs no quarantine.

    Whoever begins a transaction leaves one before. So where it was missing, no writer can have been under way when this
    state of the log was seen, and none can have lost its mark with an earlier log.
    """
    if log.identity is not None:
        return False
    token = secrets.token_hex(8)
    left: tuple[str, bool] | None = _result((yield Compute(lambda: log.ledger.leave_trace(token))))
    if left is None:
        return False
    log.identity, is_first = left
    if not is_first or state is None:
        return False
    return bool(_replied((yield RunScript(END_QUARANTINE, (log.name,), (state.epoch,)))))


def _clear(scope: Scope, log: Log, state: LogState, server: bytes, run: bytes) -> Steps[bool]:
    """Delete the entries of another run, in an epoch of which this run knows; False while somebody else does."""
    epoch = state.epoch
    if state.run or state.began != server:
        # What a log says of changes that came back with the server is as old as the entries; another database's says
        # nothing of this one.
        new = yield from _begin_epoch(log, state.epoch, server)
        if new is None:
            return False
        epoch = new
    try:
        is_ours = _replied((yield RunScript(BEGIN_CLEARING, (log.name,), (epoch, int(CLEARING * 1000)))))
        if not is_ours and log.interrupted != epoch:
            return False
        if not (yield from delete_prefix(scope, log.entries)):
            raise CacheUnavailable("the entries of another run cannot be deleted")
        return bool(_replied((yield RunScript(END_CLEARING, (log.name,), (epoch, run)))))
    except BaseException:
        # A connection that breaks just after a server came back is nothing rare, and nobody could use entries until the
        # deadline. To delete them twice does no harm.
        log.interrupted = epoch
        raise


def _begin_epoch(log: Log, ending: bytes, server: bytes) -> Steps[bytes | None]:
    """Begin an epoch in place of another; its token, or None if somebody was faster."""
    epoch = secrets.token_hex(8).encode()
    opened = _replied((yield RunScript(OPEN_LOG, (log.name,), (ending, epoch, int(QUARANTINE * 1000), server))))
    return epoch if opened else None


def _log_unheard(scope: Scope, log: Log) -> Steps[None]:
    """Log the changes that were committed while the log could not be told."""
    for transaction, documents in list(log.unlogged.items()):
        log.unlogged.pop(transaction, None)
        yield from log_changes(scope, log, transaction, documents)
    waiting: list[tuple[int, str]] = _result((yield Compute(log.ledger.outbox)))
    if not waiting:
        return
    token = secrets.token_hex(8)
    yield from log_changes(scope, log, token, sorted({document for _, document in waiting}))
    if token not in log.unlogged:
        _result((yield Compute(lambda: log.ledger.empty_outbox([number for number, _ in waiting]))))


def _encoded(documents: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(map(keys.encode, documents))


def _replied(reply: Any) -> Any:
    """A reply, unless the server could not do it: nothing is certain then, as if it had not been reached."""
    if isinstance(reply, Exception):
        raise CacheUnavailable(str(reply))
    return reply


def _result(outcome: Outcome) -> Any:
    if outcome.error is not None:
        raise FunctionRaised(outcome.error)
    return outcome.value
