"""Computing a missing field of a hash, on every kind of server: one caller does, and nothing old is stored."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from frappe_cache_ext import context, operations
from frappe_cache_ext.connections import Connection
from frappe_cache_ext.effects import Compute, FunctionRaised, Outcome, Owe, Pause, Pipeline, RunScript, Unlink
from frappe_cache_ext.errors import CacheUnavailable, NotCachedWarning
from frappe_cache_ext.operations import hashes, lease_name, loading
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.scripts.field_leases import (
    MOST_LEASES,
    RELEASE_FIELD_LEASE,
    RENEW_FIELD_LEASE,
    STORE_FIELD_UNDER_LEASE,
    TAKE_FIELD_LEASE,
)
from frappe_cache_ext.settings import Settings
from tests.contract.test_strings import elsewhere
from tests.support import until

pytestmark = pytest.mark.slow  # many seconds, on every kind of server

_numbers = itertools.count(1)


def together(*functions: Callable[[], Any]) -> list[Any]:
    """What some functions return, each in a thread of its own that works for the same site."""
    found: list[Any] = [None] * len(functions)
    settings = context.current_settings()

    def run(number: int) -> None:
        context._settings.set(settings)
        found[number] = functions[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return found


class TestOneComputes:
    def test_one_of_many_threads_does(self, cache: RedisWrapper) -> None:
        calls: list[int] = []

        def slow() -> str:
            calls.append(1)
            time.sleep(0.2)
            return "made"

        assert together(*[lambda: cache.hget("hash", "a", slow)] * 30) == ["made"] * 30
        assert calls == [1]

    def test_one_of_two_processes_does(self, cache: RedisWrapper, server_url: str) -> None:
        # Two connections stand for two processes: what one of them computes the other cannot know of.
        other = RedisWrapper(Connection(Settings.load(site=context.current_settings().site, url=server_url)))
        calls: list[int] = []

        def slow() -> str:
            calls.append(1)
            time.sleep(0.2)
            return "made"

        assert together(*[lambda: cache.hget("hash", "a", slow), lambda: other.hget("hash", "a", slow)] * 5) == (
            ["made"] * 10
        )
        assert calls == [1]
        other.connection.close()

    def test_fields_are_computed_side_by_side(self, cache: RedisWrapper) -> None:
        both = threading.Barrier(2)

        def make(value: str) -> str:
            both.wait(5)
            return value

        found = together(
            lambda: cache.hget("hash", "a", lambda: make("A")), lambda: cache.hget("hash", "b", lambda: make("B"))
        )
        assert found == ["A", "B"]
        assert cache.hget("hash", "a") == "A"
        assert cache.hget("hash", "b") == "B"

    def test_the_function_may_ask_for_its_own_field_and_for_others(self, cache: RedisWrapper) -> None:
        def outer() -> list[Any]:
            return [cache.hget("hash", "a", lambda: "inner"), cache.hget("hash", "b", lambda: "other")]

        started = time.monotonic()
        assert cache.hget("hash", "a", outer) == ["inner", "other"]
        assert time.monotonic() - started < 2
        with context.request():
            assert cache.hget("hash", "a") == ["inner", "other"]
            assert cache.hget("hash", "b") == "other"

    def test_an_error_frees_the_field(self, cache: RedisWrapper) -> None:
        def fail() -> None:
            raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            cache.hget("hash", "a", fail)
        assert no_lease(cache)
        with pytest.warns(NotCachedWarning, match="value: _thread.lock"):
            cache.hget("hash", "a", threading.Lock)
        assert no_lease(cache)
        assert cache.hget("hash", "a", lambda: "made") == "made"

    def test_a_holder_at_work_keeps_its_lease(self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
        from frappe_cache_ext import leases

        for module in (loading, hashes, leases):
            monkeypatch.setattr(module, "LEASE", 0.3)
        monkeypatch.setattr(leases, "BEAT", 0.1)
        leases.heartbeat.stop()  # one that already waits does so by the old beat
        calls: list[int] = []

        def slow() -> str:
            calls.append(1)
            time.sleep(1)
            return "made"

        assert together(*[lambda: cache.hget("hash", "a", slow)] * 3) == ["made"] * 3
        assert calls == [1]

    def test_a_dead_holder_keeps_nobody_waiting_for_long(self, cache: RedisWrapper) -> None:
        name = cache.make_key("hash")
        assert take(cache.connection, name, "dead", 300) == [2]
        assert take(cache.connection, name, "late", 300)[0] == 0
        started = time.monotonic()
        assert cache.hget("hash", "a", lambda: "made") == "made"
        assert 0.1 < time.monotonic() - started < 2
        assert no_lease(cache)

    def test_a_lease_of_an_earlier_run_of_the_server_is_nobodys(self, cache: RedisWrapper) -> None:
        later = int(time.time() * 1000) + 60_000
        cache.redis.hset(lease_name(cache.make_key("hash")), "a", f"a1:another:{later}")
        started = time.monotonic()
        assert cache.hget("hash", "a", lambda: "made") == "made"
        assert time.monotonic() - started < 1

    def test_a_lease_is_nobodys_key(self, cache: RedisWrapper) -> None:
        listed: list[Any] = []

        def look() -> str:
            listed.extend((cache.get_keys(), cache.get_keys("hash"), cache.get_all("")))
            return "made"

        cache.hget("hash", "a", look)
        assert listed == [[], [], {}]
        assert no_lease(cache), "a lease was left behind"

    @pytest.mark.parametrize("key", ["a{b", "a}b", "a{}b", "{a}b", "}{"])
    def test_a_name_with_braces(self, cache: RedisWrapper, key: str) -> None:
        assert cache.hget(key, "a", lambda: "made") == "made"
        assert elsewhere(lambda: cache.hget(key, "a")) == "made"
        assert cache.get_value(f"{key}2", lambda: "made") == "made"
        cache.delete_keys(key)
        assert cache.get_keys() == []


def no_lease(cache: RedisWrapper) -> bool:
    return cache.redis.exists(lease_name(cache.make_key("hash"))) == 0


def take(connection: Connection, name: bytes, token: str, milliseconds: int, field: str = "a") -> Any:
    return connection.perform(RunScript(TAKE_FIELD_LEASE, (name, lease_name(name)), (field, token, milliseconds)))


class TestTheHash:
    def test_its_expiry_stays_what_it_was(self, cache: RedisWrapper) -> None:
        cache.hset("hash", "a", 1)
        cache.hget("hash", "b", lambda: 2)
        assert cache.redis.pttl(cache.make_key("hash")) == -1
        cache.expire_key("hash", 50)
        cache.hget("hash", "c", lambda: 3)
        assert 40_000 < cache.redis.pttl(cache.make_key("hash")) <= 50_000

    def test_the_request_holds_a_computed_field_no_longer_than_the_hash(self, cache: RedisWrapper) -> None:
        cache.hset("hash", "a", 1)
        cache.expire_key("hash", 0.3)
        assert cache.hget("hash", "b", lambda: 2) == 2
        elsewhere(lambda: cache.redis.hset(cache.make_key("hash"), "b", b"\x80\x05K\x05."))
        assert cache.hget("hash", "b") == 2
        time.sleep(0.35)
        assert cache.hget("hash", "b") is None

    def test_a_miss_is_forgotten_when_another_has_computed_the_field(self, cache: RedisWrapper) -> None:
        assert cache.hget("hash", "a") is None
        elsewhere(lambda: cache.hset("hash", "a", 1))
        assert cache.hget("hash", "a", lambda: pytest.fail("it is there"), use_local_cache=False) == 1
        assert cache.hget("hash", "a") == 1

        assert cache.hget("hash", "b") is None
        started, done = threading.Event(), threading.Event()

        def slow() -> str:
            started.set()
            done.wait(5)
            return "made"

        settings = context.current_settings()

        def compute() -> None:
            context._settings.set(settings)
            cache.hget("hash", "b", slow)

        thread = threading.Thread(target=compute)
        thread.start()
        started.wait(5)
        threading.Timer(0.05, done.set).start()
        assert cache.hget("hash", "b", lambda: pytest.fail("another does")) == "made"
        assert cache.hget("hash", "b") == "made"
        thread.join()

    def test_setting_a_field_is_one_round_trip(self, cache: RedisWrapper) -> None:
        name = cache.make_key("hash")
        for steps in (
            operations.hset(cache.scope(), name, b"a", 1),
            operations.hdel(cache.scope(), [name], [b"a", b"b"]),
        ):
            effect = next(steps)
            with pytest.raises(StopIteration):
                steps.send(cache.connection.perform(effect))

    def test_a_field_under_the_name_of_another_kind_of_key_is_computed_and_not_stored(
        self, cache: RedisWrapper
    ) -> None:
        cache.rpush("list", "x")
        with pytest.warns(UserWarning, match="WRONGTYPE") as told:
            assert cache.hget("list", "a", lambda: "made") == "made"
        assert len(told) == 1
        assert cache.lrange("list", 0, -1) == [b"x"]

    def test_a_value_and_a_field_of_one_name_do_not_hurt_each_other(self, cache: RedisWrapper) -> None:
        def compute() -> str:
            assert elsewhere(lambda: cache.hget("name", "a", lambda: "field")) == "field"  # the lease is no hash
            elsewhere(lambda: cache.hset("name", "a", "set"))
            return "value"

        assert cache.get_value("name", compute) == "value"
        with context.request():
            assert cache.hgetall("name") == {"a": "set"}


# What makes a field's old value old: the field is gone then, or holds what was set.
CHANGES: dict[str, Callable[[RedisWrapper], Any]] = {
    "hset": lambda cache: cache.hset("hash", "a", "new"),
    "hdel": lambda cache: cache.hdel("hash", "a"),
    "hdel of several": lambda cache: cache.hdel("hash", ["b", "a"]),
    "hdel_names": lambda cache: cache.hdel_names(["other", "hash"], "a"),
    "hdel_keys": lambda cache: (cache.hset("hash", "z", 1), cache.hdel_keys("ha", "a")),
    "delete_value": lambda cache: cache.delete_value("hash"),
    "delete_keys": lambda cache: cache.delete_keys("ha"),
    "set_value": lambda cache: (cache.set_value("hash", 1), cache.delete_value("hash")),
    "as Frappe deletes by prefix": lambda cache: [
        cache.redis.delete(name) for name in list(cache.redis.scan_iter(cache.make_key("ha") + b"*"))
    ],
}


class TestWhatIsOldIsNotStored:
    @pytest.mark.parametrize("change", CHANGES)
    def test_a_value_computed_before_a_change(self, cache: RedisWrapper, change: str) -> None:
        def compute() -> str:
            # While the old value is on its way, the field is changed.
            elsewhere(lambda: CHANGES[change](cache))
            return "old"

        assert cache.hget("hash", "a", compute) == "old"
        with context.request():
            assert cache.hget("hash", "a") == ("new" if change == "hset" else None)

    def test_a_change_that_was_owed(self, cache: RedisWrapper) -> None:
        # The writer cannot reach the server, the reader can: two connections, in two processes.
        name = cache.make_key("hash")

        def write_unreached(steps: Any) -> None:
            next(steps)
            owed = steps.throw(CacheUnavailable("away"))
            assert isinstance(owed, Owe)
            cache.connection.owe(owed)

        def compute() -> str:
            write_unreached(operations.hset(cache.scope(), name, b"a", "dropped"))
            return "old"

        assert cache.hget("hash", "a", compute) == "old"
        with context.request():
            assert cache.hget("hash", "a") is None

        def compute_again() -> str:
            write_unreached(operations.hdel(cache.scope(), [name], [b"a"]))
            return "old"

        assert cache.hget("hash", "a", compute_again, use_local_cache=False) == "old"
        with context.request():
            assert cache.hget("hash", "a") is None

    def test_other_fields_leases_stay(self, cache: RedisWrapper) -> None:
        def compute() -> str:
            elsewhere(lambda: (cache.hset("hash", "b", 1), cache.hdel("hash", ["c", "d"])))
            return "made"

        assert cache.hget("hash", "a", compute) == "made"
        with context.request():
            assert cache.hget("hash", "a") == "made"

    @pytest.mark.parametrize("write", ["hset", "hdel", "delete hash", "delete_prefix", "set_value", "delete"])
    def test_no_order_of_steps_leaves_an_old_value(self, cache: RedisWrapper, write: str) -> None:
        orders = 0
        for order in merged(8, 6):
            self.play(cache, write, order)
            orders += 1
        assert orders > 100

    def play(self, cache: RedisWrapper, write: str, order: tuple[bool, ...]) -> None:
        name, scope = cache.make_key(f"{write}{next(_numbers)}"), plain(cache)
        is_string = write in ("set_value", "delete")
        truth = ["old"]

        def read() -> Any:
            if is_string:
                return operations.get_value(scope, name, lambda: truth[0], None)
            return operations.hget(scope, name, b"a", lambda: truth[0], None)

        def written() -> Any:
            truth[0] = "new"
            yield Pause(0)  # the database has changed, and the cache not yet
            yield from {
                "hset": lambda: operations.hset(scope, name, b"a", "set"),
                "hdel": lambda: operations.hdel(scope, [name], [b"a"]),
                "delete hash": lambda: operations.delete(scope, [name]),
                "delete_prefix": lambda: operations.delete_prefix(scope, name),
                "set_value": lambda: operations.set_value(scope, name, "set", 0),
                "delete": lambda: operations.delete(scope, [name]),
            }[write]()

        reader, writer = one_by_one(read(), cache.connection), one_by_one(written(), cache.connection)
        for is_readers in order:
            next(reader if is_readers else writer, None)
        for actor in (reader, writer):
            for _ in actor:
                pass
        data = cache.redis.get(name) if is_string else cache.redis.hget(name, "a")
        left = None if data is None else cache.connection.codec.decode(data, name, "" if is_string else "a")
        assert left in (("set",) if "set" in write else (None, "new")), f"{left!r} after {order}"
        assert cache.redis.exists(lease_name(name)) == 0


def plain(cache: RedisWrapper) -> Any:
    """A scope of somebody who shares nothing with the others in this process."""
    return operations.Scope(cache.connection.codec, cache.connection.stats, {})


def merged(of_reader: int, of_writer: int) -> Iterator[tuple[bool, ...]]:
    """Orders in which two actors can take their steps; True is the reader's."""
    chance = random.Random(f"{of_reader} {of_writer}")
    steps = of_reader + of_writer
    every = list(itertools.combinations(range(steps), of_writer))
    for of_the_writer in chance.sample(every, 150):
        yield tuple(step not in of_the_writer for step in range(steps))


def one_by_one(steps: Any, connection: Connection) -> Iterator[None]:
    """Run an operation, stopping before each command that it sends: others may come between any two."""
    answer: Any = None
    while True:
        try:
            effect = steps.send(answer)
        except (StopIteration, FunctionRaised):
            return
        if isinstance(effect, Pipeline):
            answer = []
            for command in effect.commands:
                yield
                answer += connection.perform(Pipeline((command,)))
        elif isinstance(effect, Unlink):
            answer = 0
            for name in effect.names:
                yield
                answer += connection.perform(Unlink((name,)))
        else:
            yield
            if isinstance(effect, Compute):
                value = effect.function()
                yield  # it is known, and on its way
                answer = Outcome(value=value)
            else:
                answer = None if isinstance(effect, Pause) else connection.perform(effect)


class TestScripts:
    """The same steps in Lua and in plain commands."""

    TOKENS = ("a1", "b2", "c3")

    @pytest.mark.parametrize("seed", range(3))
    def test_any_steps_have_the_same_replies(self, cache: RedisWrapper, seed: int) -> None:
        chance = random.Random(seed)
        model = Connection(Settings.load(url=f"memory://field-leases-{seed}-{next(_numbers)}"))
        name = cache.make_key("hash")
        names = name, lease_name(name)
        for _ in range(150):
            field, token = chance.choice("ab"), chance.choice(self.TOKENS)
            effect = chance.choice(
                (
                    RunScript(TAKE_FIELD_LEASE, names, (field, token, 60_000)),
                    RunScript(STORE_FIELD_UNDER_LEASE, names, (field, token.encode(), b"value")),
                    RunScript(RENEW_FIELD_LEASE, names[1:], (field, token, 60_000)),
                    RunScript(RELEASE_FIELD_LEASE, names[1:], (field.encode(), token)),
                    Pipeline((("HDEL", name, field),)),
                    Pipeline((("HSET", name, field, b"value"),)),
                    Pipeline((("PEXPIRE", name, 100_000),)),
                )
            )
            found, expected = cache.connection.perform(effect), model.perform(effect)
            if isinstance(found, list) and found[0] == 0 and len(found) == 2:
                assert expected[0] == 0
                assert 0 < found[1] <= 60_000
            elif isinstance(found, int) and found > 1:
                assert 90_000 < found <= 100_000
                assert 90_000 < expected <= 100_000
            else:
                assert found == expected
            for one in names:
                assert cache.redis.hkeys(one) == model.client.hkeys(one)
                assert (cache.redis.pttl(one) > 0) == (model.client.pttl(one) > 0)

    def test_a_lease_that_nobody_took_over_still_counts_when_it_has_run_out(self, cache: RedisWrapper) -> None:
        name = cache.make_key("hash")
        names = name, lease_name(name)
        take(cache.connection, name, "other", 60_000, "b")  # keeps the key there
        assert take(cache.connection, name, "a1", 1) == [2]
        time.sleep(0.01)
        assert cache.connection.perform(RunScript(STORE_FIELD_UNDER_LEASE, names, ("a", "a1", b"v"))) == -1
        assert take(cache.connection, name, "a1", 1, "c") == [2]
        time.sleep(0.01)
        assert take(cache.connection, name, "b2", 60_000, "c") == [2]
        assert cache.connection.perform(RunScript(STORE_FIELD_UNDER_LEASE, names, ("c", "a1", b"v"))) == -2

    def test_leases_of_dead_holders_do_not_pile_up(self, cache: RedisWrapper) -> None:
        name = cache.make_key("hash")
        take(cache.connection, name, "alive", 60_000, "alive")
        held = cache.redis.hget(lease_name(name), "alive")
        dead = held.rpartition(b":")[0] + b":1"
        for number in range(MOST_LEASES - 2):
            cache.redis.hset(lease_name(name), f"dead{number}", dead)
        take(cache.connection, name, "next", 60_000, "next")
        assert cache.redis.hlen(lease_name(name)) == MOST_LEASES
        take(cache.connection, name, "last", 60_000, "last")
        assert sorted(cache.redis.hkeys(lease_name(name))) == [b"alive", b"last", b"next"]

    def test_the_key_of_the_leases_runs_out(self, cache: RedisWrapper) -> None:
        name = cache.make_key("hash")
        take(cache.connection, name, "a1", 100)
        take(cache.connection, name, "b2", 300, "b")
        assert 200 < cache.redis.pttl(lease_name(name)) <= 300
        take(cache.connection, name, "c3", 100, "c")
        assert 200 < cache.redis.pttl(lease_name(name)) <= 300
        until(lambda: cache.redis.exists(lease_name(name)) == 0, what="the end of the leases")
