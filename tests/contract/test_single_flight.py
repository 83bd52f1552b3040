"""Callers of one process who miss the same entry: one of them asks the server, the others wait for that one here."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from frappe_cache_ext import context, leases, operations
from frappe_cache_ext.aio import run_async
from frappe_cache_ext.connections import Connection
from frappe_cache_ext.effects import Compute, RunScript
from frappe_cache_ext.errors import CacheUnavailableWarning
from frappe_cache_ext.flights import Flight, Flights, Seat
from frappe_cache_ext.operations import hashes, lease_name, loading
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.scripts.field_leases import TAKE_FIELD_LEASE
from frappe_cache_ext.scripts.leases import TAKE_LEASE, TAKE_TO_REFRESH
from frappe_cache_ext.settings import Settings
from tests.contract.test_hash_leases import together
from tests.contract.test_refreshing import Looks
from tests.contract.test_strings import elsewhere
from tests.support import RedisServer, until

pytestmark = pytest.mark.slow  # many seconds, on every kind of server


@pytest.fixture(autouse=True)
def nothing_stays_under_way(cache: RedisWrapper) -> Iterator[None]:
    yield
    assert len(cache.connection.flights) == 0


def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Begin something in a thread that works for the same site; what is returned waits for its result."""
    found: list[Any] = []
    settings = context.current_settings()

    def run() -> None:
        context._settings.set(settings)
        found.append(function())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(20)
        assert not thread.is_alive()
        return found[0]

    return result


async def never() -> None:
    pytest.fail("another one computes it")


class Work:
    """A function that goes on until it is told to end."""

    def __init__(self, value: Any = "made") -> None:
        self.value = value
        self.begun, self.end = threading.Event(), threading.Event()
        self.calls = 0
        self.ended = 0.0

    def __call__(self) -> Any:
        self.calls += 1
        self.begun.set()
        assert self.end.wait(20)
        self.ended = time.monotonic()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Counting:
    """Counts what a connection is asked for."""

    def __init__(self, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Any] = []
        perform = connection.perform

        def counted(effect: Any) -> Any:
            self.asked.append(effect)
            return perform(effect)

        monkeypatch.setattr(connection, "perform", counted)

    def scripts(self, script: Any) -> int:
        return sum(isinstance(effect, RunScript) and effect.script is script for effect in list(self.asked))


def waiting(cache: RedisWrapper, count: int) -> None:
    """Wait until so many callers wait in the process for another."""
    flights = cache.connection.flights
    until(lambda: sum(len(flight._wakers) for flight in list(flights._under_way.values())) == count, what="the waiting")


class TestThreads:
    def test_fifty_threads_ask_the_server_for_little(
        self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work, counting = Work(), Counting(cache.connection, monkeypatch)
        results = [in_thread(lambda: cache.get_value("key", work)) for _ in range(50)]
        waiting(cache, 49)
        before = len(counting.asked)
        time.sleep(0.3)
        assert len([e for e in counting.asked[before:] if not isinstance(e, RunScript)]) == 0, (
            "they ask while they wait"
        )
        work.end.set()
        assert [result() for result in results] == ["made"] * 50
        assert work.calls == 1
        assert counting.scripts(TAKE_LEASE) <= 3

    def test_so_the_server_says(self, redis_server: RedisServer, site: str) -> None:
        context.init(site, url=redis_server.url)
        cache, work = RedisWrapper(), Work()
        redis_server.command("CONFIG", "RESETSTAT")
        results = [in_thread(lambda: cache.hget("hash", "a", work)) for _ in range(50)]
        waiting(cache, 49)
        work.end.set()
        assert [result() for result in results] == ["made"] * 50
        said = redis_server.command("INFO", "commandstats")
        scripts = sum(int(calls) for calls in re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", said))
        assert scripts <= 8  # to take the lease and to store, twice where the server did not know the script
        assert work.calls == 1

    @pytest.mark.alone
    def test_they_wake_when_it_is_stored_and_not_a_pause_later(
        self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loading, "FIRST_PAUSE", 30.0)
        monkeypatch.setattr(loading, "LONGEST_PAUSE", 30.0)
        work = Work()
        results = [in_thread(lambda: (cache.get_value("key", work), time.monotonic())) for _ in range(5)]
        waiting(cache, 4)
        work.end.set()
        late = [result()[1] - work.ended for result in results]
        assert max(late) < 5
        assert sorted(late)[2] < 0.5

    def test_each_gets_a_value_of_his_own(self, cache: RedisWrapper) -> None:
        work = Work({"a": []})
        results = [in_thread(lambda: cache.get_value("key", work)) for _ in range(3)]
        waiting(cache, 2)
        work.end.set()
        found = [result() for result in results]
        assert found == [{"a": []}] * 3
        assert len({id(each) for each in found}) == 3

    def test_when_the_function_raises_the_next_one_computes(self, cache: RedisWrapper) -> None:
        first, second = Work(LookupError("mine")), Work()

        def failing() -> Any:
            with pytest.raises(LookupError, match="mine"):
                cache.get_value("key", first)

        results = [in_thread(failing)]
        first.begun.wait(5)
        results += [in_thread(lambda: cache.get_value("key", second)) for _ in range(3)]
        waiting(cache, 3)
        started = time.monotonic()
        first.end.set()
        second.end.set()
        assert [result() for result in results] == [None, "made", "made", "made"]
        assert time.monotonic() - started < 1
        assert second.calls == 1

    def test_a_value_that_is_not_stored(self, cache: RedisWrapper) -> None:
        # Nobody can have the first one's value, so the others compute theirs.
        calls: list[int] = []

        def unpicklable() -> Any:
            calls.append(1)
            return threading.Lock()

        with pytest.warns(UserWarning, match="not cached"):
            together(*[lambda: cache.get_value("key", unpicklable)] * 4)
        assert len(calls) == 4

    def test_the_holder_may_ask_for_its_own_entry(self, cache: RedisWrapper) -> None:
        started = time.monotonic()
        assert cache.get_value("key", lambda: cache.get_value("key", lambda: "inner") + " outer") == "inner outer"
        assert time.monotonic() - started < 2
        with context.request():
            assert cache.get_value("key") == "inner outer"

    def test_two_that_ask_for_each_others_entries(self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loading, "LEASE", 0.5)
        monkeypatch.setattr(leases, "LEASE", 30.0)
        monkeypatch.setattr(leases, "BEAT", 0.1)
        leases.heartbeat.stop()  # one that already waits does so by the old beat
        both = threading.Barrier(2)

        def ask(one: str, other: str) -> Any:
            def compute() -> str:
                both.wait(5)
                return one + cache.get_value(other, lambda: other)

            return cache.get_value(one, compute)

        started = time.monotonic()
        found = together(lambda: ask("a", "b"), lambda: ask("b", "a"))
        assert sorted(found)[0].startswith("ab")
        assert sorted(found)[1].startswith("ba")
        assert time.monotonic() - started < 5

    def test_a_caller_after_a_change_does_not_wait_for_what_began_before_it(self, cache: RedisWrapper) -> None:
        for change in (
            lambda: cache.delete_value("key"),
            lambda: cache.delete_keys("k"),
            lambda: (cache.set_value("key", 1), cache.delete_value("key")),
        ):
            work = Work("before")
            result = in_thread(lambda work=work: cache.get_value("key", work))
            work.begun.wait(5)
            elsewhere(change)
            started = time.monotonic()
            assert elsewhere(lambda: cache.get_value("key", lambda: "after")) == "after"
            assert time.monotonic() - started < 1
            work.end.set()
            assert result() == "before"
            assert elsewhere(lambda: cache.get_value("key")) == "after"
            elsewhere(lambda: cache.delete_value("key"))

    @pytest.mark.parametrize("change", ["hset", "hdel", "delete_value", "delete_keys"])
    def test_nor_for_a_field(self, cache: RedisWrapper, change: str) -> None:
        work, other = Work("before"), Work("other")
        results = [
            in_thread(lambda: cache.hget("hash", "a", work)),
            in_thread(lambda: cache.hget("hash", "b", other)),
        ]
        work.begun.wait(5)
        other.begun.wait(5)
        results.append(in_thread(lambda: cache.hget("hash", "a", lambda: "after")))
        waiting(cache, 1)
        arguments = {"hset": ("hash", "a", "after"), "hdel": ("hash", "a")}.get(change, ("hash",))
        elsewhere(lambda: getattr(cache, change)(*arguments))
        assert results[2]() == "after"
        assert elsewhere(lambda: cache.hget("hash", "a", lambda: "after")) == "after"
        work.end.set()
        other.end.set()
        assert [result() for result in results] == ["before", "other", "after"]
        assert elsewhere(lambda: cache.hget("hash", "a")) == "after"
        assert elsewhere(lambda: cache.hget("hash", "b")) == (None if change.startswith("delete") else "other")

    def test_two_servers_do_not_wait_for_each_other(self, cache: RedisWrapper) -> None:
        beside = RedisWrapper(Connection(Settings.load(site=context.current_settings().site, url="memory://beside")))
        both = threading.Barrier(2)

        def compute() -> str:
            both.wait(5)
            return "made"

        assert together(lambda: cache.get_value("key", compute), lambda: beside.get_value("key", compute)) == (
            ["made", "made"]
        )
        beside.connection.close()

    def test_while_the_server_is_away_nobody_waits_for_another(self, cache: RedisWrapper) -> None:
        away = RedisWrapper(Connection(Settings.load(site="away.test", url="redis://127.0.0.1:1/0")))
        with pytest.warns(CacheUnavailableWarning):
            away.get_value("key")
        both = threading.Barrier(2)

        def compute() -> str:
            both.wait(2)
            return "made"

        assert together(*[lambda: away.get_value("key", compute)] * 2) == ["made"] * 2
        assert len(away.connection.flights) == 0
        away.connection.close()

    def test_those_who_go_on_with_an_old_result_ask_for_no_lease(
        self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks = Looks(cache)
        looks("old")
        looks.make_old()
        counting, work = Counting(cache.connection, monkeypatch), Work()
        result = in_thread(lambda: looks("new", work))
        work.begun.wait(5)
        assert together(*[lambda: looks("not me")] * 20) == ["old"] * 20
        work.end.set()
        assert result() == "new"
        assert counting.scripts(TAKE_TO_REFRESH) == 1

    def test_an_interrupted_holder_lets_the_next_one_go_on(self, cache: RedisWrapper) -> None:
        waiter: list[Any] = []

        def compute() -> str:
            waiter.append(in_thread(lambda: cache.get_value("key", lambda: "made")))
            waiting(cache, 1)
            signal.raise_signal(signal.SIGINT)
            return "never"

        with pytest.raises(KeyboardInterrupt):
            cache.get_value("key", compute)
        assert waiter[0]() == "made"

    @pytest.mark.parametrize("script", [TAKE_LEASE, TAKE_FIELD_LEASE, TAKE_TO_REFRESH], ids=["key", "field", "result"])
    def test_who_is_interrupted_while_asking_keeps_no_lease(
        self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch, script: Any
    ) -> None:
        looks, perform = Looks(cache), cache.connection.perform
        looks("old")
        looks.make_old()

        def interrupted(effect: Any) -> Any:
            reply = perform(effect)
            if isinstance(effect, RunScript) and effect.script is script:
                assert reply == [2]
                raise KeyboardInterrupt
            return reply

        def ask_for_all() -> None:
            cache.get_value("key", lambda: "made")
            cache.hget("hash", "a", lambda: "made")
            looks("new")

        monkeypatch.setattr(cache.connection, "perform", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ask_for_all()
        names = [cache.make_key("key"), cache.make_key("hash"), looks.name]
        assert [cache.redis.exists(lease_name(name)) for name in names] == [0, 0, 0]

    def test_an_interrupted_waiter_leaves_nothing_behind(self, cache: RedisWrapper) -> None:
        work = Work()
        result = in_thread(lambda: cache.get_value("key", work))
        work.begun.wait(5)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            cache.get_value("key", work)
        waiting(cache, 0)
        work.end.set()
        assert result() == "made"


class TestWhoIsGone:
    def test_a_holder_whose_thread_ended_in_the_middle(
        self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loading, "LEASE", 0.3)
        abandoned = self.abandon(cache)
        started = time.monotonic()
        assert together(*[lambda: cache.get_value("key", lambda: "made")] * 5) == ["made"] * 5
        assert time.monotonic() - started < 3
        assert len(cache.connection.flights) == 0, "whoever misses next would wait for nobody"
        abandoned.close()

    def test_one_that_nobody_refers_to_any_more(self, cache: RedisWrapper) -> None:
        abandoned = self.abandon(cache)
        result = in_thread(lambda: cache.get_value("key", lambda: "made"))
        waiting(cache, 1)
        cache.delete_value("key")  # its lease would last for some seconds
        del abandoned
        gc.collect()
        assert result() == "made"

    def abandon(self, cache: RedisWrapper) -> Any:
        """Steps that have got the lease, and will not be taken any further."""
        steps = operations.get_value(cache.scope(), cache.make_key("key"), lambda: "never", None)

        def begin() -> None:
            effect = next(steps)
            while not isinstance(effect, Compute):
                effect = steps.send(cache.connection.perform(effect))

        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
        assert len(cache.connection.flights) == 1
        return steps

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_child_waits_for_no_thread_of_its_parent(self, cache: RedisWrapper, server_url: str) -> None:
        work = Work()
        results = [in_thread(lambda: cache.get_value("key", work)) for _ in range(5)]
        waiting(cache, 4)
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            try:
                context.begin_request()
                if server_url.startswith(
                    "memory"
                ):  # the child's own by now, where the parent's lease is never given back
                    cache.redis.delete(lease_name(cache.make_key("key")))
                found = cache.get_value("key", lambda: "made")
                os._exit(0 if found == "made" and time.monotonic() - started < 4 else 1)
            finally:
                os._exit(9)
        time.sleep(0.3)
        work.end.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [result() for result in results] == ["made"] * 5

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_function_that_forks(self, cache: RedisWrapper) -> None:
        waiter: list[Any] = []

        def compute() -> str:
            waiter.append(in_thread(lambda: cache.get_value("key", lambda: "waiter's")))
            waiting(cache, 1)
            child = os.fork()
            if child == 0:
                return "child's"
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            return "parent's"

        parent = os.getpid()
        try:
            found = cache.get_value("key", compute)
        finally:
            if os.getpid() != parent:
                os._exit(0 if found == "child's" else 1)
        assert found in ("parent's", "child's")
        assert waiter[0]() in ("parent's", "child's")


class TestCoroutines:
    def test_a_hundred_coroutines_ask_the_server_for_little(
        self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counting = Counting(cache.connection, monkeypatch)
        calls: list[int] = []

        async def slow() -> str:
            calls.append(1)
            await asyncio.sleep(0.3)
            return "made"

        assert asyncio.run(self.gather(cache, *[slow] * 100)) == ["made"] * 100
        assert calls == [1]
        assert counting.scripts(TAKE_LEASE) <= 3

    async def gather(self, cache: RedisWrapper, *functions: Any) -> list[Any]:
        return await asyncio.gather(*(self.get(cache, function) for function in functions))

    async def get(self, cache: RedisWrapper, function: Any) -> Any:
        steps = operations.get_value(cache.scope(), cache.make_key("key"), function, None)
        return await run_async(steps, cache.connection)

    def test_a_coroutine_waits_for_a_thread(self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loading, "FIRST_PAUSE", 30.0)
        work = Work()
        result = in_thread(lambda: cache.get_value("key", work))
        work.begun.wait(5)

        async def main() -> tuple[Any, float, int]:
            task, ticks = asyncio.create_task(self.get(cache, never)), 0
            while not task.done():
                ticks += 1
                await asyncio.sleep(0.01)
                if ticks == 20:
                    work.end.set()
            return task.result(), time.monotonic() - work.ended, ticks

        found, late, ticks = asyncio.run(main())
        assert (found, result()) == ("made", "made")
        assert late < 2
        assert ticks >= 20

    def test_a_thread_waits_for_a_coroutine(self, cache: RedisWrapper) -> None:
        waiter: list[Any] = []

        async def slow() -> str:
            waiter.append(in_thread(lambda: cache.get_value("key", lambda: "never")))
            await asyncio.sleep(0.3)
            return "made"

        assert asyncio.run(self.gather(cache, slow)) == ["made"]
        assert waiter[0]() == "made"

    def test_a_cancelled_waiter_leaves_nothing_behind(self, cache: RedisWrapper) -> None:
        work = Work()
        result = in_thread(lambda: cache.get_value("key", work))
        work.begun.wait(5)

        async def main() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(self.get(cache, never), 0.2)

        asyncio.run(main())
        waiting(cache, 0)
        work.end.set()
        assert result() == "made"

    def test_a_cancelled_holder_lets_the_next_one_go_on(self, cache: RedisWrapper) -> None:
        async def forever() -> None:
            await asyncio.sleep(60)

        async def quick() -> str:
            return "made"

        async def main() -> Any:
            holder = asyncio.create_task(self.get(cache, forever))
            await asyncio.sleep(0.1)
            waiter = asyncio.create_task(self.get(cache, quick))
            await asyncio.sleep(0.1)
            holder.cancel()
            return await asyncio.wait_for(waiter, 3)

        assert asyncio.run(main()) == "made"

    def test_a_loop_that_ended_is_not_woken(self, cache: RedisWrapper) -> None:
        work = Work()
        result = in_thread(lambda: cache.get_value("key", work))
        work.begun.wait(5)
        loop = asyncio.new_event_loop()
        task = loop.create_task(self.get(cache, never))
        loop.run_until_complete(asyncio.sleep(0.2))
        loop.close()
        work.end.set()
        assert result() == "made"
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]


class TestFlights:
    SUBJECT = (b"lease", None)

    def test_a_wait_ends_when_it_lands_or_the_time_is_over(self) -> None:
        flight = Flight()
        started = time.monotonic()
        flight.wait(0.05)
        assert time.monotonic() - started >= 0.05
        threading.Timer(0.05, flight.land).start()
        flight.wait(20)
        flight.wait(20)
        assert flight.landed
        assert time.monotonic() - started < 5

    def test_each_waiter_is_woken_once(self) -> None:
        for _ in range(200):
            flight, woken = Flight(), []
            landing = threading.Thread(target=flight.land)
            landing.start()
            with flight.waking(lambda woken=woken: woken.append(1)):
                landing.join()
            assert woken == [1]

    def test_one_seat_at_a_time_is_in_charge(self) -> None:
        flights = Flights()
        with Seat(flights, self.SUBJECT) as first, Seat(flights, self.SUBJECT) as second:
            assert first.another() is None
            flight = second.another()
            assert flight is not None
            first.leave()
            assert flight.landed
            assert second.another() is None
            assert first.another() is not None
        assert len(flights) == 0

    def test_a_void_seat_boards_anew(self) -> None:
        flights = Flights()
        with Seat(flights, self.SUBJECT) as seat, Seat(flights, self.SUBJECT) as other:
            assert seat.another() is None
            flights.void([b"lease"])
            assert seat.another() is None
            flight = other.another()
            assert flight is not None
            assert not flight.landed, "whoever waits for it would not wait"

    def test_one_that_was_taken_over_does_not_end_the_others_flight(self) -> None:
        flights = Flights()
        with Seat(flights, self.SUBJECT) as lost, Seat(flights, self.SUBJECT) as next_one:
            assert lost.another() is None
            flight = next_one.another()
            next_one.take_over()
            assert flight is not None
            assert flight.landed
            lost.leave()
            assert len(flights) == 1
            assert next_one.another() is None
        assert len(flights) == 0

    def test_alone_each_sees_to_everything(self) -> None:
        with Seat(None, self.SUBJECT) as seat, Seat(None, self.SUBJECT) as other:
            assert seat.another() is None
            assert other.another() is None
            other.take_over()


def test_the_lengths_of_leases_agree() -> None:
    assert hashes.LEASE == loading.LEASE
