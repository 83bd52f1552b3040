"""No order of steps leaves an outdated document in the cache; and the search that shows it can fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from frappe_cache_ext.codec import Codec
from frappe_cache_ext.connections import Stats
from frappe_cache_ext.effects import Compute, Outcome, Owe, Pipeline, ScanPage, Steps, Unlink
from frappe_cache_ext.errors import MISS, CacheUnavailable
from frappe_cache_ext.keys import starts_with
from frappe_cache_ext.operations import Log, Scope, change_log, loading
from frappe_cache_ext.operations.common import decoded
from frappe_cache_ext.scripts import Script
from frappe_cache_ext.scripts import change_log as log_scripts
from tests.documents.interleavings import (
    ENTRY,
    IDENTITY,
    LOG,
    Actor,
    Budgets,
    Found,
    ModelServer,
    Play,
    World,
    freeze,
    reader,
    reader_in_transaction,
    thaw,
    warm_server,
    writer,
)
from tests.support import takes_minutes

ANY_END = ("commit", "rollback", "savepoint")


def reads(name: str = "reader", *, warm: bool = True) -> Actor:
    return Actor(name, (reader,), warm=warm)


def reads_in_transaction(name: str = "reader in a transaction", *, warm: bool = True) -> Actor:
    return Actor(name, (reader_in_transaction,), warm=warm)


def writes(name: str = "writer", *ways: str, warm: bool = True, **options: Any) -> Actor:
    return Actor(name, (writer(*ways or ("commit",), **options),), is_writer=True, warm=warm)


def shown(world: World, at_least: int = 1000) -> None:
    """Nothing bad can come about, and that says something."""
    found = world.explore()
    print(found)
    assert found.schedule is None, str(found)
    assert found.states > at_least


BOTH_LEVELS = pytest.mark.parametrize("repeatable_read", [True, False], ids=["repeatable-read", "read-committed"])


# --- the protocol -------------------------------------------------------------------------------------------------


@BOTH_LEVELS
@pytest.mark.parametrize("entry", [None, 0], ids=["no-entry", "entry"])
def test_two_readers_and_a_writer_that_ends_in_any_way(repeatable_read: bool, entry: int | None) -> None:
    actors = [reads_in_transaction(), reads(), writes("writer", *ANY_END)]
    shown(World(actors, warm_server(entry), Budgets(crashes=1), repeatable_read=repeatable_read))


def test_a_commit_that_fails_or_whose_answer_gets_lost() -> None:
    actors = [reads_in_transaction(), reads(), writes("writer", *ANY_END)]
    shown(World(actors, warm_server(0), Budgets(crashes=1, sleeps=1), refusals=True))


@BOTH_LEVELS
def test_a_writer_that_reads_the_document_before_it_changes_it(repeatable_read: bool) -> None:
    actors = [reads_in_transaction(), writes("writer", *ANY_END, reads=True)]
    shown(World(actors, warm_server(None), Budgets(crashes=1, sleeps=1), repeatable_read=repeatable_read))


def test_a_cluster_where_an_entry_and_its_lease_are_not_deleted_at_once() -> None:
    actors = [reads_in_transaction(), reads(), writes("writer", *ANY_END)]
    shown(World(actors, warm_server(0), Budgets(crashes=1), is_cluster=True))


def test_all_documents_of_a_doctype_changed_at_once() -> None:
    actors = [reads_in_transaction(), writes("writer", *ANY_END, documents=("T",))]
    shown(World(actors, warm_server(0), Budgets(crashes=1), announced="T"))


def test_two_writers_and_a_reader() -> None:
    actors = [reads_in_transaction(), writes("writer 1", *ANY_END), writes("writer 2", *ANY_END)]
    shown(World(actors, warm_server(0), Budgets(crashes=1)))


def test_a_lost_log() -> None:
    actors = [reads_in_transaction(), writes("writer", *ANY_END)]
    shown(World(actors, warm_server(0), Budgets(crashes=1, lost=1)))


def test_the_first_log_of_a_site() -> None:
    actors = [reads_in_transaction(warm=False), writes("writer", warm=False)]
    shown(World(actors, (), Budgets(crashes=1), trace=False))


def test_a_server_that_comes_back_with_an_older_snapshot() -> None:
    shown(World([reads_in_transaction(), writes()], warm_server(0), Budgets(crashes=1, restarts=1)))


def test_two_threads_of_one_process() -> None:
    both = Actor("process", (reader_in_transaction, reader), warm=True)
    shown(World([both, writes("writer", *ANY_END)], warm_server(0), Budgets(crashes=1)))


@BOTH_LEVELS
def test_a_writer_that_cannot_reach_the_server_for_a_while(repeatable_read: bool) -> None:
    actors = [reads_in_transaction(), writes()]
    shown(World(actors, warm_server(0), Budgets(outages=1), repeatable_read=repeatable_read))


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestMore:
    """The same with more actors, or more that goes wrong."""

    @takes_minutes
    def test_the_first_log_of_a_site_is_lost(self) -> None:
        actors = [reads_in_transaction(warm=False), writes(warm=False)]
        shown(World(actors, (), Budgets(crashes=1, lost=1), trace=False), 100_000)

    def test_two_writers_and_two_readers(self) -> None:
        actors = [reads_in_transaction(), reads(), writes("writer 1"), writes("writer 2", *ANY_END)]
        shown(World(actors, warm_server(0)), 100_000)

    def test_a_lost_log_and_two_readers(self) -> None:
        actors = [reads_in_transaction(), reads(), writes()]
        shown(World(actors, warm_server(0), Budgets(crashes=1, lost=1)), 100_000)

    @takes_minutes
    def test_an_older_snapshot_and_a_lost_log(self) -> None:
        """A server that came back with entries of before and without its log."""
        shown(World([reads(), writes()], warm_server(0), Budgets(lost=1, restarts=1)), 100_000)

    def test_an_older_snapshot_of_a_log_that_nobody_had_checked(self) -> None:
        """Its readings are as old as it is, though it claims no entries."""
        server = ModelServer(thaw(warm_server(0)))
        server.hdel(LOG, b"run")
        shown(World([reads_in_transaction(), writes()], freeze(server.keys), Budgets(restarts=1)), 10_000)

    def test_two_lost_logs(self) -> None:
        actors = [reads_in_transaction(), writes()]
        shown(World(actors, warm_server(0), Budgets(crashes=1, lost=2)), 50_000)

    @takes_minutes
    def test_an_outage_of_a_writer_that_ends_in_any_way(self) -> None:
        actors = [reads_in_transaction(), writes("writer", *ANY_END)]
        shown(World(actors, warm_server(0), Budgets(crashes=1, outages=1, sleeps=1), refusals=True), 100_000)

    def test_an_older_snapshot_on_a_cluster_and_all_documents_of_a_doctype_changed(self) -> None:
        actors = [reads_in_transaction(), writes(documents=("T",))]
        budgets = Budgets(restarts=1)
        shown(World(actors, warm_server(0), budgets, announced="T", is_cluster=True), 100_000)


# --- what a search for wrong answers does not see: that there is an answer -----------------------------------------


class OneDatabase:
    """The ledger of a database that has had a log before, and has nothing in its outbox."""

    def leave_trace(self, _identity: str) -> tuple[str, bool]:
        return IDENTITY, False

    def outbox(self) -> list[tuple[int, str]]:
        return []

    def empty_outbox(self, numbers: Any) -> None:
        assert not numbers


def log_of_a_process() -> Log:
    return Log(LOG, b"site|", OneDatabase(), sockets=lambda: 1)


def checked(log: Log, server: ModelServer, *, breaks: type | None = None) -> bool:
    """What `check` says; the connection breaks at the first effect of a kind."""
    steps = change_log.check(Scope(Codec(), Stats(), {}), log)
    try:
        effect = next(steps)
        while True:
            if breaks is not None and isinstance(effect, breaks):
                effect = steps.throw(CacheUnavailable("the connection broke"))
            elif isinstance(effect, Compute):
                effect = steps.send(Outcome(effect.function()))
            elif isinstance(effect, Owe):
                effect = steps.send(None)
            else:
                effect = steps.send(server.perform(effect))
    except StopIteration as stop:
        return bool(stop.value)


@pytest.mark.parametrize("breaks", [ScanPage, Unlink])
def test_who_was_interrupted_while_deleting_entries_goes_on_before_the_deadline(breaks: type) -> None:
    server = ModelServer(thaw(warm_server(0)), run=1)
    log = log_of_a_process()
    with pytest.raises(CacheUnavailable):
        checked(log, server, breaks=breaks)
    assert not checked(log_of_a_process(), server), "somebody else waits for whoever has begun"
    assert checked(log, server)
    assert ENTRY not in server.keys
    assert checked(log_of_a_process(), server)


# --- the search can fail: an algorithm that is wrong ---------------------------------------------------------------


def reads_naively(play: Play, _session: int) -> Steps[Any]:
    (data,) = yield Pipeline((("GET", ENTRY),))
    value = decoded(play.scope, data, ENTRY)
    if value is MISS:
        value = (yield play.database("load")).value
        yield Pipeline((("SET", ENTRY, play.scope.codec.encode(value, ENTRY)),))
    return value


def writes_naively(play: Play, _session: int) -> Steps[Any]:
    yield play.database("change")
    yield Unlink((ENTRY,))
    yield play.database("commit")
    yield Unlink((ENTRY,))


def test_get_load_set_and_delete_on_change_is_found_wrong() -> None:
    actors = [Actor("reader", (reads_naively,)), Actor("writer", (writes_naively,), is_writer=True)]
    found = World(actors, ()).explore()
    assert found.schedule is not None
    steps = [step for step in found.schedule if not step.startswith("afterwards")]
    assert steps[-1].startswith("reader: SET")
    assert any(step.startswith("writer: commit") for step in steps)


def test_a_reading_taken_after_the_first_statement_is_found_wrong() -> None:
    def reads_its_log_too_late(play: Play, _session: int) -> Steps[Any]:
        yield play.database("begin")
        reading = yield from change_log.read_log(play.log)
        return (yield from change_log.read_document(play.scope, play.log, "T::d", play.load, 0, reading))

    actors = [Actor("reader", (reads_its_log_too_late,), warm=True), writes()]
    assert World(actors, warm_server(0)).explore().schedule is not None


# --- the search can fail: each guard taken out --------------------------------------------------------------------


def without_pending() -> Any:
    mark = Script(lua="", plain=lambda _execute, _names, _arguments: 1)
    renew = Script(lua="", plain=lambda _execute, _names, arguments: len(arguments) - 2)
    return mock.patch.multiple(change_log, MARK_PENDING=mark, RENEW_MARKS=renew)


def without_unlease() -> Any:
    return mock.patch.object(change_log, "lease_name", lambda name: name + b" (not)")


def without_log() -> Any:
    return mock.patch.object(change_log, "LOG_CHANGES", Script(lua="", plain=log_scripts.DROP_MARKS.plain))


def without_epoch() -> Any:
    whole = change_log.LogState.allows

    def allows(self: change_log.LogState, reading: change_log.Reading) -> bool:
        return whole(self, dataclasses.replace(reading, epoch=self.epoch))

    return mock.patch.object(change_log.LogState, "allows", allows)


def without_quarantine() -> Any:
    return mock.patch.object(change_log, "QUARANTINE", 0.0)


def without_expire() -> Any:
    def other_marks(self: Any, document: bytes, own: bytes) -> list[bytes]:
        found = log_scripts._MARK.findall(self.get(b"p:" + document) or b"")
        return [token + b":" + clock for token, clock in found if token != own and int(clock) > self.now]

    return mock.patch.object(log_scripts._Log, "other_marks", other_marks)


def without_ask() -> Any:
    def load_unasked(*arguments: Any, may_store: Any, **options: Any) -> Steps[Any]:
        return loading.load(*arguments, **options)

    return mock.patch.object(change_log, "load", load_unasked)


def without_lease() -> Any:
    def store(execute: Any, names: Any, arguments: Any) -> int:
        execute("SET", names[0], arguments[1])
        return 1

    return mock.patch.object(loading, "STORE_UNDER_LEASE", Script(lua="", plain=store))


def without_a_look_at_the_marks() -> Any:
    def is_announced(_scope: Scope, log: Log, transaction: str, documents: Any) -> Steps[bool]:
        yield change_log.renewal(log, transaction, documents)
        return True

    return mock.patch.object(change_log, "_is_announced", is_announced)


def without_forgetting_the_entry_of_a_lost_mark() -> Any:
    def is_announced(_scope: Scope, log: Log, transaction: str, documents: Any) -> Steps[bool]:
        found = yield change_log.renewal(log, transaction, documents)
        return found == len(documents) or (yield from change_log._mark(log, transaction, documents))

    return mock.patch.object(change_log, "_is_announced", is_announced)


def without_reset() -> Any:
    def clear(*_: Any) -> Steps[bool]:
        yield from ()
        return True

    return mock.patch.object(change_log, "_clear", clear)


def without_a_second_round() -> Any:
    def delete_prefix(_scope: Scope, prefix: bytes) -> Steps[bool]:
        _, names = yield ScanPage(starts_with(prefix))
        yield Unlink(names)
        return True

    return mock.patch.object(change_log, "delete_prefix", delete_prefix)


def without_a_trace() -> Any:
    def leave_trace(self: Play, _identity: str) -> tuple[str, bool]:
        self.ask("trace")
        return IDENTITY, True

    return mock.patch.object(Play, "leave_trace", leave_trace)


def without_a_look_at_the_sockets() -> Any:
    return mock.patch.object(Log, "is_checked", lambda self: self.checked is not None and not self.unlogged)


def crashing() -> World:
    return World([reads_in_transaction(), writes("writer", *ANY_END)], warm_server(0), Budgets(crashes=1))


def losing() -> World:
    return World([reads_in_transaction(), writes()], warm_server(0), Budgets(crashes=1, lost=1))


def losing_before_a_newcomer() -> World:
    return World([reads_in_transaction(warm=False), writes()], warm_server(0), Budgets(crashes=1, lost=1))


def restarting() -> World:
    return World([reads_in_transaction(), writes()], warm_server(0), Budgets(restarts=1))


def changing_a_doctype() -> World:
    actors = [reads_in_transaction(), writes(documents=("T",))]
    return World(actors, warm_server(0), Budgets(crashes=1), announced="T")


def cut_off(**options: Any) -> World:
    return World([reads_in_transaction(), writes()], warm_server(0), Budgets(outages=1, crashes=1), **options)


@pytest.mark.parametrize(
    ("without", "world"),
    [
        (without_pending, crashing),
        (without_unlease, crashing),
        (without_log, crashing),
        (without_epoch, losing),
        (without_quarantine, losing),
        (without_expire, crashing),
        (without_ask, crashing),
        (without_lease, crashing),
        (without_a_look_at_the_marks, losing),
        (without_forgetting_the_entry_of_a_lost_mark, losing),
        (without_reset, restarting),
        (without_a_look_at_the_sockets, restarting),
        (without_a_second_round, changing_a_doctype),
        (without_a_trace, losing_before_a_newcomer),
    ],
)
def test_without_one_guard_a_stale_document_is_found(without: Callable[[], Any], world: Callable[[], World]) -> None:
    with without():
        found: Found = world().explore()
    assert found.schedule is not None, str(found)


@pytest.mark.parametrize("missing", ["outbox", "always_checks"])
def test_without_an_emptied_outbox_a_stale_document_is_found(missing: str) -> None:
    found = cut_off(**{missing: False}).explore()
    assert found.schedule is not None, str(found)
