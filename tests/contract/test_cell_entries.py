"""Entries of cells: what is stored comes back whole or not at all, and one kernel computes, on every kind of server."""

from __future__ import annotations

import array
import itertools
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from frappe_cache_ext import context, keys, operations
from frappe_cache_ext.codec import Codec
from frappe_cache_ext.connections import connection_for
from frappe_cache_ext.effects import Lease, Pause, Pipeline, RunScript, ScanPage
from frappe_cache_ext.errors import (
    MISS,
    CacheUnavailable,
    CacheUnavailableWarning,
    NotCachedWarning,
    UnreadableValueWarning,
)
from frappe_cache_ext.operations import Scope, cell_parts, cell_turns, cells
from frappe_cache_ext.redis_wrapper import RedisWrapper, run
from frappe_cache_ext.scripts.leases import RENEW_LEASE
from tests.support import RedisServer, requires, until

RECORD = {"format": 1, "body": b"\x80\x05N.", "outputs": None, "meta": {"name": "clean", "seconds": 2.5, "size": 3}}
DIGEST = "5f0c" * 8
LONG, SHORT = b"".join(i.to_bytes(3, "big") for i in range(1500)), b"short"
PARTS = [LONG, b"", SHORT]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that a few kilobytes take several round trips."""
    monkeypatch.setattr(cell_parts, "CHUNK", 1000)
    monkeypatch.setattr(cell_parts, "BATCH", 2500)


class Kernel:
    """One of the kernels on a server."""

    def __init__(self, cache: RedisWrapper, secret: str | None = None) -> None:
        connection = cache.connection
        self.cache = cache
        self.scope = Scope(Codec(secret), connection.stats, connection.generations)
        self.connection = connection
        self.name = cache.make_key(keys.cell_key("clean", DIGEST))

    def do(self, steps: Any) -> Any:
        return run(steps, self.connection)

    def find(self, name: bytes | None = None) -> Any:
        return self.do(operations.find_cell(self.scope, name or self.name))

    def parts(self, record: Any, name: bytes | None = None) -> Any:
        return self.do(operations.read_parts(self.scope, name or self.name, record))

    def whole(self, name: bytes | None = None) -> Any:
        """The record without what is ours, and the parts."""
        record = self.find(name)
        if record is MISS:
            return MISS
        buffers = self.parts(record, name)
        return MISS if buffers is MISS else ({field: record[field] for field in RECORD}, buffers)

    def take(self, holder: str = "kernel 1 on host", name: bytes | None = None) -> Any:
        return self.do(operations.take_cell(self.scope, name or self.name, holder))

    def store(self, parts: Any = (), lease: Lease | None = None, expiry: int = 0, name: bytes | None = None) -> Any:
        return self.do(operations.store_cell(self.scope, name or self.name, RECORD, list(parts), lease, expiry))

    def delete(self) -> Any:
        return self.do(operations.delete_cells(self.scope, [self.name]))

    def names(self, prefix: bytes | None = None) -> set[bytes]:
        """All that is on the server, leases and parts included."""
        found: set[bytes] = set()
        pattern, cursor = keys.starts_with(self.cache.make_key("") if prefix is None else prefix), None
        while True:
            cursor, names = self.connection.perform(ScanPage(pattern, cursor))
            found.update(names)
            if cursor is None:
                return found

    def part_names(self) -> list[bytes]:
        found = [name for name in self.names() if keys.is_cell_part(name)]
        return sorted(found, key=lambda name: int(name.rpartition(b":")[2]))


@pytest.fixture
def kernel(cache: RedisWrapper) -> Kernel:
    return Kernel(cache)


class TestStoring:
    def test_a_record_without_parts(self, kernel: Kernel) -> None:
        assert kernel.find() is MISS
        assert kernel.store() is None
        assert kernel.find() == RECORD
        assert kernel.parts(kernel.find()) == []
        assert kernel.names() == {kernel.name}

    def test_parts_come_back_in_memory_that_can_be_written_to(self, kernel: Kernel) -> None:
        assert kernel.store(PARTS) is None
        record, buffers = kernel.whole()
        assert record == RECORD
        assert buffers == PARTS
        for buffer in buffers:
            assert not memoryview(buffer).readonly
        assert len(kernel.part_names()) == 6, "a long part is kept in one piece"

    @pytest.mark.parametrize("size", [999, 1000, 1001, 2000, 7001])
    def test_pieces_end_where_a_part_does(self, kernel: Kernel, size: int) -> None:
        part = os.urandom(size)
        assert kernel.store([part, SHORT]) is None
        assert kernel.whole()[1] == [part, SHORT]

    def test_any_memory_can_be_a_part(self, kernel: Kernel) -> None:
        numbers = array.array("d", range(400))
        given = [memoryview(numbers), bytearray(LONG), memoryview(LONG)[10:2000]]
        assert kernel.store(given) is None
        assert kernel.whole()[1] == [numbers.tobytes(), LONG, LONG[10:2000]]

    def test_what_happens_to_the_memory_afterwards_does_not_count(self, kernel: Kernel) -> None:
        part = bytearray(LONG)
        assert kernel.store([part]) is None
        part[:] = bytes(len(part))
        assert kernel.whole()[1] == [LONG]

    def test_without_an_expiry_nothing_of_it_expires(self, kernel: Kernel) -> None:
        assert kernel.store(PARTS) is None
        assert [kernel.cache.redis.pttl(name) for name in kernel.names()] == [-1] * 7

    def test_parts_outlive_their_record_a_little(self, kernel: Kernel) -> None:
        assert kernel.store(PARTS, expiry=20_000) is None
        left = kernel.cache.redis.pttl(kernel.name)
        assert 15_000 < left <= 20_000
        for name in kernel.part_names():
            assert left + 50_000 < kernel.cache.redis.pttl(name) <= 20_000 + 60_000

    def test_an_expired_record_is_a_miss(self, kernel: Kernel) -> None:
        assert kernel.store(PARTS, expiry=30) is None
        until(lambda: kernel.find() is MISS)

    def test_replacing_leaves_nothing_of_the_old_one(self, kernel: Kernel) -> None:
        assert kernel.store([LONG, LONG], expiry=50_000) is None
        old = kernel.part_names()
        assert kernel.store([SHORT]) is None
        assert kernel.whole()[1] == [SHORT]
        assert kernel.names() == {kernel.name, *kernel.part_names()}
        assert not {*old} & {*kernel.part_names()}
        assert kernel.cache.redis.pttl(kernel.name) == -1

    def test_a_record_can_be_looked_at_without_running_anything(self, kernel: Kernel) -> None:
        assert kernel.store(PARTS) is None
        data = kernel.cache.redis.get(kernel.name)
        assert {field: Codec().inspect(data, kernel.name)[field] for field in RECORD} == RECORD

    def test_what_a_request_holds_does_not_count(self, kernel: Kernel) -> None:
        scope = kernel.cache.scope()
        assert scope.local is not None
        assert kernel.do(operations.find_cell(scope, kernel.name)) is MISS
        kernel.store()
        assert kernel.do(operations.find_cell(scope, kernel.name)) == RECORD
        kernel.delete()
        assert kernel.do(operations.find_cell(scope, kernel.name)) is MISS

    def test_hits_misses_and_writes_are_counted(self, kernel: Kernel) -> None:
        stats = kernel.scope.stats
        before = stats.hits, stats.misses, stats.writes
        kernel.find()
        kernel.store(PARTS)
        kernel.find()
        assert (stats.hits, stats.misses, stats.writes) == (before[0] + 1, before[1] + 1, before[2] + 1)


class TestDeleting:
    def test_nothing_of_an_entry_is_left(self, kernel: Kernel) -> None:
        other = kernel.cache.make_key(keys.cell_key("clean", "ab" * 16))
        kernel.store(PARTS)
        kernel.store([SHORT], name=other)
        assert kernel.do(operations.delete_cells(kernel.scope, [kernel.name, b"nothing"])) == 1
        assert {name for name in kernel.names() if not name.startswith(other)} == set()
        assert kernel.whole(other)[1] == [SHORT]

    def test_more_than_fit_into_one_round_trip(self, kernel: Kernel) -> None:
        names = [kernel.cache.make_key(keys.cell_key("many", f"{i:032x}")) for i in range(250)]
        for name in names:
            kernel.store([SHORT], name=name)
        prefix = kernel.cache.make_key(keys.cell_key("many", ""))
        assert [name for name, _ in kernel.do(operations.list_cells(kernel.scope, prefix))] == sorted(names)
        assert kernel.do(operations.delete_cells(kernel.scope, names)) == 250
        assert kernel.names() == set()

    def test_clearing_the_site_takes_parts_and_turns_along(self, kernel: Kernel) -> None:
        kernel.store(PARTS)
        kernel.take(name=kernel.cache.make_key(keys.cell_key("{braces}", DIGEST)))
        kernel.cache.delete_keys("")
        assert kernel.names() == set()


class TestListing:
    def test_records_alone_and_of_each_what_was_asked_for(self, kernel: Kernel) -> None:
        kernel.store(PARTS)
        kernel.take(name=kernel.cache.make_key(keys.cell_key("running", DIGEST)))
        prefix = kernel.cache.make_key(keys.CELL_PREFIX)
        assert kernel.do(operations.list_cells(kernel.scope, prefix)) == [(kernel.name, {"meta": RECORD["meta"]})]
        found = kernel.do(operations.list_cells(kernel.scope, prefix, fields=("format", "missing")))
        assert found == [(kernel.name, {"format": 1})]

    @pytest.mark.parametrize("cell_name", ["clean", "clean:up", "{x}", "a}b{", "%3A", "*", "\x1fpart:ab:1", "ü 🌻", ""])
    def test_names_are_told_apart_whatever_they_are(self, kernel: Kernel, cell_name: str) -> None:
        names = {
            each: kernel.cache.make_key(keys.cell_key(each, DIGEST))
            for each in ("clean", "clean:up", "{x}", "a}b{", "%3A", ":", "*", "\x1fpart:ab:1", "ü 🌻", "", "cleaner")
        }
        assert len({*names.values()}) == len(names)
        for name in names.values():
            assert kernel.store([SHORT], name=name) is None
        prefix = kernel.cache.make_key(keys.cell_key(cell_name, ""))
        assert [name for name, _ in kernel.do(operations.list_cells(kernel.scope, prefix))] == [names[cell_name]]
        turn = kernel.take(name=names[cell_name])
        assert turn.record is not MISS

    def test_what_is_no_record_is_left_out(self, kernel: Kernel) -> None:
        kernel.store()
        other = kernel.cache.make_key(keys.cell_key("other", DIGEST))
        kernel.cache.redis.set(other, pickle.dumps(["a list"]))
        with pytest.warns(UnreadableValueWarning, match="not the record of a cell"):
            found = kernel.do(operations.list_cells(kernel.scope, kernel.cache.make_key(keys.CELL_PREFIX)))
        assert [name for name, _ in found] == [kernel.name]


class TestDamage:
    """Every piece is one that must not be missed."""

    @pytest.mark.parametrize("number", range(6))
    def test_an_evicted_part_is_a_miss_and_nobodys_fault(self, kernel: Kernel, number: int) -> None:
        kernel.store(PARTS)
        kernel.cache.redis.delete(kernel.part_names()[number])
        assert kernel.whole() is MISS
        assert kernel.names() == set(), "what is broken is in the way of a good entry"
        assert kernel.take().lease is not None

    @pytest.mark.parametrize("number", range(6))
    @pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d + b"x", lambda d: bytes((d[0] ^ 1,)) + d[1:]])
    def test_a_part_that_is_not_what_was_stored_is_a_miss(self, kernel: Kernel, number: int, damage: Any) -> None:
        kernel.store(PARTS)
        name = kernel.part_names()[number]
        kernel.cache.redis.set(name, damage(kernel.cache.redis.get(name)))
        with pytest.warns(UnreadableValueWarning, match="part [02] of it"):
            assert kernel.whole() is MISS
        assert kernel.names() == set()

    def test_parts_in_another_order_are_a_miss(self, kernel: Kernel) -> None:
        kernel.store([SHORT, SHORT[::-1]])
        first, second = kernel.part_names()
        kernel.cache.redis.set(first, SHORT[::-1])
        kernel.cache.redis.set(second, SHORT)
        with pytest.warns(UnreadableValueWarning, match="not the one that was stored"):
            assert kernel.whole() is MISS

    def test_a_list_in_place_of_a_part_is_a_miss(self, kernel: Kernel) -> None:
        kernel.store(PARTS)
        name = kernel.part_names()[0]
        kernel.cache.redis.delete(name)
        kernel.cache.redis.rpush(name, "x")
        with pytest.warns(UnreadableValueWarning):
            assert kernel.whole() is MISS

    @pytest.mark.parametrize("data", [b"", b"\x80", b"no pickle", pickle.dumps([1]), pickle.dumps(RECORD)[:-5]])
    def test_a_broken_record_is_a_miss_and_makes_way(self, kernel: Kernel, data: bytes) -> None:
        kernel.cache.redis.set(kernel.name, data)
        with pytest.warns(UnreadableValueWarning):
            assert kernel.find() is MISS
        with pytest.warns(UnreadableValueWarning):
            turn = kernel.take()
        assert kernel.store(lease=turn.lease) is None
        assert kernel.find() == RECORD

    @pytest.mark.parametrize(
        "said",
        [
            7,
            (),
            ("ab", 0, "blake2b", (1,), (b"",)),
            ("ab", 9, "blake2b", (-1,), (b"",)),
            ("ab", 9, "md5", (5,), (b"",)),
        ],
    )
    def test_a_record_that_speaks_of_its_parts_without_sense_is_a_miss(self, kernel: Kernel, said: Any) -> None:
        kernel.cache.redis.set(kernel.name, Codec().encode(RECORD | {"parts": said}, kernel.name))
        kernel.cache.redis.set(keys.cell_part_name(kernel.name, "ab", 0), SHORT)
        with pytest.warns(UnreadableValueWarning):
            assert kernel.whole() is MISS

    def test_a_record_is_not_trusted_with_more_than_plain_types(self, kernel: Kernel) -> None:
        kernel.cache.redis.set(kernel.name, pickle.dumps({"meta": Trap()}))
        assert type(kernel.find()) is dict
        assert type(kernel.take().record) is dict
        assert len(kernel.do(operations.list_cells(kernel.scope, kernel.name))) == 1
        assert kernel.delete() == 1

    def test_only_the_record_that_is_broken_is_deleted(self, kernel: Kernel) -> None:
        kernel.store(PARTS)
        old = kernel.find()
        kernel.store([SHORT])
        assert kernel.parts(old) is MISS
        assert kernel.whole()[1] == [SHORT]

    def test_a_list_of_somebodys_is_not_overwritten(self, kernel: Kernel) -> None:
        kernel.cache.redis.rpush(kernel.name, "x")
        with pytest.warns(UnreadableValueWarning):
            assert kernel.find() is MISS
        assert kernel.take() == cell_turns.Turn()
        assert kernel.cache.redis.lrange(kernel.name, 0, -1) == [b"x"]

    def test_an_entry_that_loses_a_part_while_it_is_stored_is_not_called_stored(self, kernel: Kernel) -> None:
        steps = operations.store_cell(kernel.scope, kernel.name, RECORD, PARTS, kernel.take().lease, 0)
        evicting = meddled(steps, sending("PERSIST"), lambda: kernel.cache.redis.delete(kernel.part_names()[2]))
        assert kernel.do(evicting) == cells.NO_ROOM
        assert {name for name in kernel.names() if not name.endswith(b"lease")} == set()

    def test_hashing_works_without_blake3_too(self, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
        kernel.store(PARTS)
        monkeypatch.setattr(cell_parts, "blake3_hasher", lambda: None)
        with pytest.warns(UnreadableValueWarning, match="'blake3', which is not installed"):
            assert kernel.whole() is MISS
        kernel.store(PARTS)
        assert kernel.whole()[1] == PARTS
        monkeypatch.undo()
        assert kernel.whole()[1] == PARTS


def meddled(steps: Any, moment: Any, meddle: Any) -> Any:
    """An operation; somebody meddles before its first effect for which `moment` is true is carried out."""
    effect, done = next(steps), False
    try:
        while True:
            if not done and moment(effect):
                meddle()
                done = True
            effect = steps.send((yield effect))
    except StopIteration as stop:
        assert done, "nobody meddled"
        return stop.value


def sending(command: str, name: bytes | None = None) -> Callable[[Any], bool]:
    """Whether an effect sends a command, on a name or on any."""
    return lambda effect: (
        isinstance(effect, Pipeline) and any(sent[0] == command and name in (None, sent[1]) for sent in effect.commands)
    )


class Trap:
    """What a tampered pickle would run."""

    def __reduce__(self) -> Any:
        return exec, ("raise AssertionError('a pickle was trusted')",)


class TestSecrets:
    """With a secret, nothing that others wrote is handed out to be unpickled."""

    @pytest.fixture
    def signing(self, cache: RedisWrapper) -> Kernel:
        return Kernel(cache, secret="s3cret")

    def test_the_round_trip(self, signing: Kernel) -> None:
        assert signing.store(PARTS) is None
        assert signing.whole() == (RECORD, PARTS)

    def test_a_part_in_place_of_another_of_its_length(self, signing: Kernel) -> None:
        evil = pickle.dumps(Trap())
        signing.store([evil.replace(b"trusted", b"checked")])
        (name,) = signing.part_names()
        signing.cache.redis.set(name, evil)
        with pytest.warns(UnreadableValueWarning, match="not the one that was stored"):
            assert signing.whole() is MISS

    def test_an_unsigned_record(self, signing: Kernel, kernel: Kernel) -> None:
        kernel.store([SHORT])
        with pytest.warns(UnreadableValueWarning, match="not signed"):
            assert signing.find() is MISS

    def test_a_record_with_hashes_of_other_parts(self, signing: Kernel) -> None:
        signing.store([SHORT])
        data = signing.cache.redis.get(signing.name)
        hashes = cell_parts.Parts.of([b"other"]).hashes[0], cell_parts.Parts.of([SHORT]).hashes[0]
        signing.cache.redis.set(signing.name, data.replace(hashes[1], hashes[0]))
        with pytest.warns(UnreadableValueWarning, match="signature"):
            assert signing.find() is MISS

    def test_another_cells_record(self, signing: Kernel) -> None:
        other = signing.cache.make_key(keys.cell_key("clean", "ab" * 16))
        signing.store([SHORT])
        signing.cache.redis.set(other, signing.cache.redis.get(signing.name))
        with pytest.warns(UnreadableValueWarning, match="signature"):
            assert signing.find(other) is MISS


class TestTurns:
    def test_one_computes_and_the_others_are_told_who(self, kernel: Kernel) -> None:
        mine = kernel.take("kernel 4711 on anna's laptop")
        assert mine.record is MISS
        assert mine.lease is not None
        assert mine.holder == ""
        other = kernel.take("kernel 2 on host")
        assert (other.record, other.lease, other.holder) == (MISS, None, "kernel 4711 on anna's laptop")
        assert 0 < other.milliseconds <= operations.LEASE * 1000

    @pytest.mark.parametrize("holder", ["", "a:b: c", "ü\n🌻", "x" * 500, "\ud800"])
    def test_a_holder_may_be_called_anything(self, kernel: Kernel, holder: str) -> None:
        mine = kernel.take(holder)
        assert kernel.take().holder == (holder[:200] or "another kernel")
        assert kernel.store(lease=mine.lease) is None

    def test_what_was_stored_meanwhile_is_handed_out(self, kernel: Kernel) -> None:
        mine = kernel.take()
        assert kernel.store(PARTS, lease=mine.lease) is None
        turn = kernel.take()
        assert turn.lease is None
        assert kernel.parts(turn.record) == PARTS

    def test_a_turn_given_back_goes_to_the_next(self, kernel: Kernel) -> None:
        mine = kernel.take()
        kernel.do(operations.release_cell(kernel.scope, mine.lease))
        kernel.do(operations.release_cell(kernel.scope, None))
        other = kernel.take()
        assert other.lease is not None
        kernel.do(operations.release_cell(kernel.scope, mine.lease))
        assert kernel.take().lease is None, "a lease that is no more gave back another's turn"

    def test_nothing_is_left_of_a_turn_but_what_runs_out(self, kernel: Kernel) -> None:
        kernel.store(lease=kernel.take().lease)
        (left,) = kernel.names() - {kernel.name}
        assert 0 < kernel.cache.redis.pttl(left) <= operations.LEASE * 1000
        assert kernel.cache.get_keys("") == [kernel.name]

    def test_of_many_at_once_one_computes(self, kernel: Kernel) -> None:
        computed: list[int] = []
        found: list[Any] = []
        settings = context.current_settings()

        def work(number: int) -> None:
            context._settings.set(settings)
            while True:
                turn = kernel.take(f"kernel {number}")
                if turn.record is not MISS:
                    found.append(kernel.parts(turn.record))
                    return
                if turn.lease is not None:
                    computed.append(number)
                    time.sleep(0.05)
                    assert kernel.store(PARTS, lease=turn.lease) is None
                time.sleep(0.005)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(computed) == 1
        assert found == [PARTS] * 6

    def test_the_heartbeat_keeps_a_turn(self, kernel: Kernel) -> None:
        mine = kernel.take()
        assert mine.lease is not None
        kernel.cache.redis.pexpire(mine.lease.name, 1000)
        assert kernel.connection.perform(RunScript(RENEW_LEASE, (mine.lease.name,), (mine.lease.token, 5000))) == 1
        assert kernel.take().milliseconds > 1000

    def test_without_signs_of_life_another_takes_over_and_the_first_cannot_store(self, kernel: Kernel) -> None:
        mine = kernel.take()
        kernel.cache.redis.delete(mine.lease.name)  # as if its time were over
        other = kernel.take()
        assert other.lease is not None
        assert kernel.connection.perform(RunScript(RENEW_LEASE, (mine.lease.name,), (mine.lease.token, 5000))) == 0
        assert kernel.store([LONG], lease=mine.lease) == "another kernel took over meanwhile"
        assert not kernel.part_names()
        assert kernel.store([SHORT], lease=other.lease) is None
        assert kernel.whole()[1] == [SHORT]
        assert kernel.store([LONG], lease=mine.lease) == "another kernel took over meanwhile"
        assert kernel.whole()[1] == [SHORT]

    def test_who_was_silent_and_was_not_replaced_still_stores(self, kernel: Kernel) -> None:
        mine = kernel.take()
        kernel.cache.redis.delete(mine.lease.name)
        assert kernel.store(PARTS, lease=mine.lease) is None
        assert kernel.whole()[1] == PARTS

    @pytest.mark.parametrize(
        "clear",
        [
            lambda kernel: kernel.delete(),
            lambda kernel: kernel.cache.delete_keys(""),
            lambda kernel: kernel.cache.delete_value(keys.cell_key("clean", DIGEST)),
            lambda kernel: kernel.cache.delete_keys(keys.cell_key("clean", "")),
        ],
    )
    def test_what_was_computed_before_it_was_cleared_is_not_stored(self, kernel: Kernel, clear: Any) -> None:
        mine = kernel.take()
        clear(kernel)
        assert kernel.store(PARTS, lease=mine.lease) == "somebody cleared it meanwhile"
        assert not kernel.part_names()
        assert kernel.find() is MISS
        assert kernel.take().lease is not None

    def test_what_was_computed_before_a_refresh_is_not_stored_over_it(self, kernel: Kernel) -> None:
        mine = kernel.take()
        assert kernel.store([SHORT]) is None
        assert kernel.store([LONG], lease=mine.lease) == "another kernel took over meanwhile"
        assert kernel.whole()[1] == [SHORT]

    def test_nor_is_what_was_computed_since_a_refresh_began(self, kernel: Kernel) -> None:
        turns: list[Any] = []
        steps = operations.store_cell(kernel.scope, kernel.name, RECORD, [SHORT], None, 0)
        storing = sending("SET", kernel.name)
        assert kernel.do(meddled(steps, storing, lambda: turns.append(kernel.take()))) is None
        assert kernel.store([LONG], lease=turns[0].lease) == "another kernel took over meanwhile"
        assert kernel.whole()[1] == [SHORT]

    def test_of_two_refreshes_at_once_one_is_left_whole(self, kernel: Kernel) -> None:
        steps = operations.store_cell(kernel.scope, kernel.name, RECORD, [SHORT], None, 0)
        storing = sending("SET", kernel.name)
        assert kernel.do(meddled(steps, storing, lambda: kernel.store([LONG]))) is None
        assert kernel.whole()[1] == [SHORT]
        assert len(kernel.names()) == 2, "parts of the other are left"

    def test_a_refresh_while_it_is_deleted_leaves_no_parts(self, kernel: Kernel) -> None:
        kernel.store([SHORT])
        deleting = sending("UNLINK", kernel.name)
        steps = operations.delete_cells(kernel.scope, [kernel.name])
        assert kernel.do(meddled(steps, deleting, lambda: kernel.store([LONG]))) == 1
        assert kernel.names() == set()


class Stopped(BaseException):
    """Ctrl-C, at a moment of the test's choosing."""


def driven(steps: Any, kernel: Kernel, at: int, error: BaseException | None, done_before: bool) -> Any:
    """Run an operation whose `at`-th effect raises, having been carried out or not; None closes it instead."""
    number, effect = 0, next(steps)
    try:
        while True:
            if number == at:
                if done_before:
                    kernel.connection.perform(effect)
                if error is None:
                    return steps.close()
                effect = steps.throw(error)
            elif isinstance(effect, operations.cells.Owe):
                effect = steps.send(kernel.connection.owe(effect))
            else:
                effect = steps.send(kernel.connection.perform(effect))
            number += 1
    except StopIteration as stop:
        return stop.value


class TestInterruptions:
    """Stopped after any step, before or after the server carried it out."""

    @pytest.mark.parametrize("done_before", [False, True])
    @pytest.mark.parametrize("with_lease", [False, True])
    def test_storing(self, kernel: Kernel, done_before: bool, with_lease: bool) -> None:
        for at in itertools.count():
            steps = self.storing(kernel, with_lease)
            try:
                assert driven(steps, kernel, at, Stopped(), done_before) is None
            except Stopped:
                assert kernel.whole() is MISS
                assert not kernel.part_names()
                assert kernel.take().lease is not None
                kernel.cache.delete_keys("")
            else:
                assert at >= 5
                return

    @pytest.mark.parametrize("done_before", [False, True])
    @pytest.mark.parametrize("with_lease", [False, True])
    def test_the_server_goes_away(self, kernel: Kernel, done_before: bool, with_lease: bool) -> None:
        for at in itertools.count():
            steps = self.storing(kernel, with_lease)
            reason = driven(steps, kernel, at, CacheUnavailable("gone"), done_before)
            if reason is None:
                assert at >= 5
                return
            assert reason == "the server went away"
            assert kernel.whole() is MISS, "what was to be replaced is still there"
            kernel.cache.delete_keys("")

    @staticmethod
    def storing(kernel: Kernel, with_lease: bool) -> Any:
        if not with_lease:
            kernel.store([SHORT, LONG])
        lease = kernel.take().lease
        return operations.store_cell(kernel.scope, kernel.name, RECORD, PARTS, lease, 0)

    @pytest.mark.parametrize("at", range(5))
    def test_closing(self, kernel: Kernel, at: int) -> None:
        for lease in (kernel.take().lease, None):
            steps = operations.store_cell(kernel.scope, kernel.name, RECORD, PARTS, lease, 0)
            driven(steps, kernel, at, None, True)

    @pytest.mark.parametrize("at", range(3))
    def test_a_writer_that_dies_leaves_nothing_for_good(self, kernel: Kernel, at: int) -> None:
        steps = operations.store_cell(kernel.scope, kernel.name, RECORD, PARTS, kernel.take().lease, 0)
        driven(steps, kernel, at, None, True)
        assert kernel.find() is MISS
        assert kernel.part_names()
        for name in kernel.part_names():
            assert 0 < kernel.cache.redis.pttl(name) <= 3_600_000

    @pytest.mark.parametrize("done_before", [False, True])
    def test_asking_for_a_turn(self, kernel: Kernel, done_before: bool) -> None:
        steps = operations.take_cell(kernel.scope, kernel.name, "kernel 1")
        with pytest.raises(Stopped):
            driven(steps, kernel, 0, Stopped(), done_before)
        assert kernel.take().lease is not None


class TestManifests:
    PLAIN: Final = {"threshold": ("value", "ab", "0.5")}

    def test_the_best_identity_that_is_known_decides(self, kernel: Kernel) -> None:
        recall = operations.recall_manifest
        assert kernel.do(recall(kernel.scope, ["name a", "text b"])) is MISS
        kernel.do(operations.remember_manifest(kernel.scope, ["text b"], self.PLAIN, 1000, self.prefix(kernel)))
        kernel.do(operations.remember_manifest(kernel.scope, ["name a"], {}, 1000, self.prefix(kernel)))
        for identities, expected in (
            (["name a", "text b"], {}),
            (["text b", "name a"], self.PLAIN),
            (["place c", "text b"], self.PLAIN),
            (["place c"], MISS),
            ([], MISS),
        ):
            assert kernel.do(recall(kernel.scope, identities, self.prefix(kernel))) == expected

    def test_the_newest_is_kept_for_its_time_under_each_identity(self, kernel: Kernel) -> None:
        identities = ["name a", "x" * 10_000, "\ud800"]
        for plain in ({}, self.PLAIN):
            kernel.do(operations.remember_manifest(kernel.scope, identities, plain, 50_000, self.prefix(kernel)))
        for identity in identities:
            assert kernel.do(operations.recall_manifest(kernel.scope, [identity], self.prefix(kernel))) == self.PLAIN
        assert len(kernel.names()) == 3
        assert all(40_000 < kernel.cache.redis.pttl(name) <= 50_000 for name in kernel.names())

    def test_it_is_no_cells_record(self, kernel: Kernel) -> None:
        kernel.do(operations.remember_manifest(kernel.scope, ["name a"], self.PLAIN, 0, self.prefix(kernel)))
        assert kernel.do(operations.list_cells(kernel.scope, kernel.cache.make_key(keys.CELL_PREFIX))) == []

    def test_one_that_cannot_be_read_is_passed_over(self, kernel: Kernel) -> None:
        kernel.do(operations.remember_manifest(kernel.scope, ["a", "b"], self.PLAIN, 0, self.prefix(kernel)))
        kernel.cache.redis.set(self.prefix(kernel) + keys.encode(keys.cell_manifest_key("a")), b"broken")
        with pytest.warns(UnreadableValueWarning):
            assert kernel.do(operations.recall_manifest(kernel.scope, ["a", "b"], self.prefix(kernel))) == self.PLAIN

    @staticmethod
    def prefix(kernel: Kernel) -> bytes:
        return kernel.cache.make_key("")


# --- servers that fill up, die, and see their clients die ---------------------------------------------------------


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may fill and kill."""
    binary = shutil.which("redis-server")
    requires(binary, "redis-server")
    assert binary is not None
    started = RedisServer(binary).start()
    context.init("cells.test", url=started.url)
    yield started
    connection = connection_for(context.current_settings())
    started.stop()
    connection.close()


@pytest.fixture
def own_kernel(own_server: RedisServer) -> Kernel:
    return Kernel(RedisWrapper())


BIG = bytes(4 << 20)


class TestFull:
    @pytest.fixture(autouse=True)
    def large_pieces(self, small_pieces: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cell_parts, "CHUNK", 1 << 20)
        monkeypatch.setattr(cell_parts, "BATCH", 1 << 20)

    def test_a_server_that_evicts_nothing(self, own_server: RedisServer, own_kernel: Kernel) -> None:
        own_kernel.store([SHORT])
        own_server.command("CONFIG", "SET", "maxmemory", "4mb")
        other = own_kernel.cache.make_key(keys.cell_key("other", DIGEST))
        lease = own_kernel.take(name=other).lease
        assert own_kernel.store([BIG], lease, name=other) == "the server is full, and may not evict anything for it"
        assert {name for name in own_kernel.names(other) if not name.endswith(b"lease")} == set()
        assert own_kernel.take(name=other).lease is not None, "the turn was not given back"
        assert own_kernel.whole()[1] == [SHORT], "another entry suffered"

    def test_a_full_server_gives_no_turns_and_takes_no_records(
        self, own_server: RedisServer, own_kernel: Kernel
    ) -> None:
        own_server.command("CONFIG", "SET", "maxmemory", "1")
        assert own_kernel.take() == cell_turns.Turn()
        assert own_kernel.store() == "the server is full, and may not evict anything for it"

    def test_what_was_to_be_replaced_is_gone(self, own_server: RedisServer, own_kernel: Kernel) -> None:
        own_kernel.store([SHORT])
        own_server.command("CONFIG", "SET", "maxmemory", "1")
        assert own_kernel.store([BIG]) == "the server is full, and may not evict anything for it"
        assert own_kernel.names() == set()

    def test_an_entry_that_pushes_itself_out(self, own_server: RedisServer, own_kernel: Kernel) -> None:
        own_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        own_server.command("CONFIG", "SET", "maxmemory", "6mb")
        lease = own_kernel.take().lease
        reason = own_kernel.store([BIG, BIG], lease)
        assert reason in (cells.NO_ROOM, cells.CLEARED)
        # The claim may have been pushed out, too; what is left of the turn then runs out.
        assert {name for name in own_kernel.names() if not name.endswith(b"lease")} == set()

    def test_a_replica(self, own_server: RedisServer, own_kernel: Kernel) -> None:
        own_server.command("CONFIG", "SET", "replica-read-only", "yes")
        own_server.command("REPLICAOF", "127.0.0.1", "1")
        with pytest.warns(NotCachedWarning):
            assert "ReadOnlyError" in own_kernel.store([SHORT])


class TestDeath:
    def test_a_server_killed_between_parts_and_record(self, own_server: RedisServer, own_kernel: Kernel) -> None:
        lease = own_kernel.take().lease
        steps = operations.store_cell(own_kernel.scope, own_kernel.name, RECORD, PARTS, lease, 0)
        effect = next(steps)
        while not isinstance(effect, RunScript):
            effect = steps.send(own_kernel.connection.perform(effect))
        own_server.kill()
        with pytest.warns(CacheUnavailableWarning), pytest.raises(CacheUnavailable) as gone:
            own_kernel.connection.perform(effect)
        own_kernel.connection.owe(steps.throw(gone.value))
        with pytest.raises(StopIteration, match="the server went away"):
            steps.send(None)
        with pytest.raises(CacheUnavailable):
            own_kernel.find()
        own_server.start()
        until(lambda: own_kernel.connection.down is None, what="the connection")
        assert own_kernel.names() == set()
        assert own_kernel.take().lease is not None

    def test_while_it_is_away(self, own_server: RedisServer, own_kernel: Kernel) -> None:
        scope, prefix = own_kernel.scope, own_kernel.cache.make_key(keys.CELL_PREFIX)
        own_kernel.store([SHORT])
        own_server.kill()
        with pytest.warns(CacheUnavailableWarning):
            assert own_kernel.do(operations.list_cells(scope, prefix)) == []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for steps in (operations.take_cell(scope, own_kernel.name, "k"), operations.find_cell(scope, b"x")):
                with pytest.raises(CacheUnavailable):
                    own_kernel.do(steps)
            assert own_kernel.delete() == 0
            assert own_kernel.store([SHORT]) == "the server went away"
            assert own_kernel.do(operations.release_cell(scope, Lease(b"x", b"y"))) is None
            assert own_kernel.do(operations.remember_manifest(scope, ["a"], {}, 0)) is None
            assert own_kernel.do(operations.recall_manifest(scope, ["a"])) is MISS

    def test_a_restarted_server_takes_nothing_that_was_computed_before(
        self, own_server: RedisServer, own_kernel: Kernel
    ) -> None:
        lease = own_kernel.take().lease
        assert lease is not None
        claim = next(name for name in own_kernel.names() if name != lease.name)
        # As if it had come back with a snapshot.
        own_kernel.cache.redis.set(claim, lease.token + b":another")
        assert own_kernel.store(PARTS, lease) is not None
        assert own_kernel.find() is MISS

    @pytest.mark.slow
    def test_a_turn_lasts_as_long_as_its_holder_lives(self, own_server: RedisServer, own_kernel: Kernel) -> None:
        code = """
import sys, time
from frappe_cache_ext import context, operations
from frappe_cache_ext.effects import Compute
from frappe_cache_ext.redis_wrapper import RedisWrapper, run
context.init("cells.test", url=sys.argv[1])
cache = RedisWrapper()
turn = run(operations.take_cell(cache.scope(), sys.argv[2].encode(), "the other process"), cache.connection)
def wait():
    print("took", flush=True)
    time.sleep(100)
def steps():
    yield Compute(wait, turn.lease)
run(steps(), cache.connection)
"""
        name = own_kernel.name.decode()
        with subprocess.Popen([sys.executable, "-c", code, own_server.url, name], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"took\n"
            deadline = time.monotonic() + operations.LEASE + 1
            while time.monotonic() < deadline:
                assert own_kernel.take().holder == "the other process"
                own_kernel.do(pausing(0.2))
            process.kill()
        killed = time.monotonic()
        until(lambda: own_kernel.take().lease is not None, what="its turn")
        assert time.monotonic() - killed < operations.LEASE + 1


def pausing(seconds: float) -> Any:
    yield Pause(seconds)
