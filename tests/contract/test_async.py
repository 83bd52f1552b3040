"""The cache for coroutines: what the blocking one promises, and an event loop that goes on meanwhile."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from frappe_cache_ext import aio, context, operations
from frappe_cache_ext.aio import AsyncRedisWrapper, run_async
from frappe_cache_ext.connections import TIMEOUT, Connection, connection_for
from frappe_cache_ext.errors import CacheUnavailableWarning
from frappe_cache_ext.redis_wrapper import BLOCKING_SLICE, RedisWrapper
from frappe_cache_ext.settings import Settings
from tests.contract import test_hashes, test_strings
from tests.support import RedisServer, until

pytestmark = pytest.mark.slow  # many seconds, on every kind of server

SERVERS = pytest.mark.parametrize("server_url", ["redis-server", "cluster", "memory"], indirect=True)
SOME_SERVERS = pytest.mark.parametrize("server_url", ["redis-server", "memory"], indirect=True)
ONE_SERVER = pytest.mark.parametrize("server_url", ["redis-server"], indirect=True)


class Awaiting:
    """The cache for coroutines as blocking code sees it: each call runs in an event loop of its own."""

    def __init__(self, asynchronous: AsyncRedisWrapper) -> None:
        self.asynchronous = asynchronous

    def __call__(self) -> Awaiting:
        return self

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.asynchronous, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *args, **kwargs: asyncio.run(found(*args, **kwargs))


@pytest.fixture
def cache(cache: RedisWrapper) -> Awaiting:
    return Awaiting(AsyncRedisWrapper())


@pytest.fixture
def awaited(cache: Awaiting) -> AsyncRedisWrapper:
    context._request.set(None)  # nothing held by a request hides what the server answers
    cache.redis.ping()  # what it takes to connect is not measured here
    return cache.asynchronous


@SOME_SERVERS
class TestGetAndSet(test_strings.TestGetAndSet):
    pass


@SOME_SERVERS
class TestExpiry(test_strings.TestExpiry):
    pass


@SOME_SERVERS
class TestGenerator(test_strings.TestGenerator):
    test_its_error_reaches_the_caller_and_frees_the_key = None  # a StopIteration cannot leave a coroutine


@SOME_SERVERS
class TestTheRequestsCopies(test_strings.TestTheRequestsCopies):
    pass


@SOME_SERVERS
class TestBadValues(test_strings.TestBadValues):
    pass


@SOME_SERVERS
class TestDeleting(test_strings.TestDeleting):
    pass


@SOME_SERVERS
class TestLeases(test_strings.TestLeases):
    pass


@SOME_SERVERS
class TestHashes(test_hashes.TestHashes):
    pass


@SOME_SERVERS
class TestListsAndSets(test_hashes.TestListsAndSets):
    pass


@SOME_SERVERS
class TestPrefixes(test_hashes.TestPrefixes):
    pass


CALLS = test_hashes.TestAwayFromTheServer.CALLS


@pytest.mark.parametrize(("method", "arguments", "answer"), CALLS, ids=[call[0] for call in CALLS])
@pytest.mark.filterwarnings("ignore::frappe_cache_ext.errors.CacheUnavailableWarning")
def test_away_from_the_server_reads_miss_and_writes_are_dropped(
    method: str, arguments: tuple[Any, ...], answer: Any
) -> None:
    context.init("away.test", url="redis://127.0.0.1:1/0")
    assert asyncio.run(getattr(AsyncRedisWrapper(), method)(*arguments)) == answer


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """The seconds between one turn of the event loop and the next, while a block awaits something."""
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - before)

    task = asyncio.create_task(tick())
    try:
        yield gaps
    finally:
        task.cancel()


MOST_GAP = 0.8
"""Seconds: far more than a turn of the loop takes on a busy machine, and far less than what is waited for here."""


def lease_of(cache: AsyncRedisWrapper, key: str) -> bytes:
    return operations.lease_name(cache.make_key(key))


class TestTheWrapper:
    def test_it_has_every_method_to_be_awaited(self) -> None:
        for name, method in inspect.getmembers(RedisWrapper, inspect.isfunction):
            if not name.startswith("_"):
                found = vars(AsyncRedisWrapper)[name]
                assert inspect.iscoroutinefunction(found) == (name not in ("make_key", "scope")), name
                assert found.__wrapped__ is method
                assert found.__doc__ == method.__doc__

    @pytest.mark.parametrize("server_url", ["memory"], indirect=True)
    def test_what_the_request_holds_is_answered_without_a_thread(
        self, cache: Awaiting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache.set_value("key", "value")
        cache.hset("hash", "field", "value")
        monkeypatch.setattr(aio, "_in_thread", lambda *_: pytest.fail("a thread was asked"))
        before = cache.stats.local_hits
        assert cache.get_value("key") == cache.hget("hash", "field") == "value"
        assert cache.stats.local_hits == before + 2

    @ONE_SERVER
    def test_it_shares_all_with_the_blocking_wrapper(self, awaited: AsyncRedisWrapper) -> None:
        blocking = RedisWrapper()
        assert awaited.connection is blocking.connection
        assert awaited.stats is blocking.stats
        assert awaited.redis is blocking.redis
        asyncio.run(awaited.set_value("key", [1]))
        assert blocking.get_value("key") == [1]

    def test_one_beside_it_keeps_what_a_request_holds_apart(self) -> None:
        context.init("beside.test", url="memory://one")

        async def main() -> list[Any]:
            own, other = AsyncRedisWrapper(), AsyncRedisWrapper(Connection(Settings(url="memory://two")))
            await own.set_value("key", 1)
            await other.set_value("key", 2)
            return [await own.get_value("key"), await other.get_value("key")]

        assert asyncio.run(main()) == [1, 2]

    @SERVERS
    def test_each_task_works_for_its_own_site(self, awaited: AsyncRedisWrapper, server_url: str, site: str) -> None:
        async def work(number: int) -> tuple[Any, Any]:
            context.init(f"{number}-{site}", url=server_url)
            for _ in range(5):
                await awaited.set_value("key", number)
                await awaited.hset("hash", "field", number)
            context.begin_request()
            found = await awaited.get_value("key"), await awaited.hget("hash", "field")
            await awaited.delete_keys("")
            return found

        async def main() -> list[tuple[Any, Any]]:
            return await asyncio.gather(*(work(number) for number in range(10)))

        assert asyncio.run(main()) == [(number, number) for number in range(10)]
        assert asyncio.run(awaited.get_value("key")) is None

    @SERVERS
    def test_other_commands_go_to_the_client(self, awaited: AsyncRedisWrapper, site: str) -> None:
        async def main() -> list[Any]:
            counter = f"{site}:counter"
            return [await awaited.incrby(counter, 2), await awaited.get(counter), await awaited.delete(counter)]

        assert asyncio.run(main()) == [2, b"2", 1]

    def test_protocols_and_unknown_names(self) -> None:
        context.init("names.test", url="memory://names")
        cache = AsyncRedisWrapper()
        assert not hasattr(cache, "__aenter__")
        assert not hasattr(cache, "_repr_html_")
        with pytest.raises(AttributeError, match="get_vale"):
            asyncio.run(cache.get_vale("key"))

    def test_it_says_what_it_is(self) -> None:
        context.init("names.test", url="memory://names")
        assert repr(AsyncRedisWrapper()) == "<AsyncRedisWrapper of site 'names.test'>"


class Fetching:
    async def __call__(self) -> str:
        await asyncio.sleep(0)
        return f"made by {threading.current_thread().name}"


async def fetch(name: str = "by") -> str:
    await asyncio.sleep(0)
    return f"made {name} {threading.current_thread().name}"


@ONE_SERVER
class TestFunctions:
    @pytest.mark.parametrize(
        "function",
        [fetch, functools.partial(fetch, "by"), Fetching(), lambda: fetch("by")],
        ids=["function", "partial", "object", "lambda"],
    )
    @pytest.mark.parametrize("field", [False, True])
    def test_an_async_one_is_awaited_in_the_loop(self, awaited: AsyncRedisWrapper, function: Any, field: bool) -> None:
        async def main() -> list[Any]:
            if field:
                return [await awaited.hget("hash", "field", function), await awaited.hget("hash", "field")]
            return [await awaited.get_value("key", generator=function), await awaited.get_value("key")]

        assert asyncio.run(main()) == [f"made by {threading.current_thread().name}"] * 2

    def test_a_plain_one_is_called_in_a_thread_for_the_callers_user(self, awaited: AsyncRedisWrapper) -> None:
        called: list[Any] = []

        def compute() -> str:
            called.append((threading.get_ident(), context.current_user()))
            return "made"

        async def main() -> str:
            context.set_user("anna@example.com")
            made: str = await awaited.get_value("key", compute)
            return made

        assert asyncio.run(main()) == "made"
        ((thread, user),) = called
        assert thread != threading.get_ident()
        assert user == "anna@example.com"

    @pytest.mark.alone
    def test_a_plain_one_does_not_hold_up_the_loop(self, awaited: AsyncRedisWrapper) -> None:
        async def main() -> list[float]:
            async with ticking() as gaps:
                await awaited.get_value("key", lambda: time.sleep(1.5))
            return gaps

        gaps = asyncio.run(main())
        assert max(gaps) < MOST_GAP
        assert len(gaps) > 10

    @pytest.mark.alone
    def test_slow_plain_ones_keep_nobody_else_waiting(self, awaited: AsyncRedisWrapper) -> None:
        async def main() -> float:
            slow = [asyncio.create_task(awaited.get_value(f"slow{n}", lambda: time.sleep(1))) for n in range(40)]
            await asyncio.sleep(0.2)
            started = time.monotonic()
            await awaited.get_value("other")
            took = time.monotonic() - started
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            return took

        assert asyncio.run(main()) < 0.9

    @pytest.mark.parametrize("kind", ["async", "plain"])
    def test_its_error_reaches_the_caller_and_frees_the_key(self, awaited: AsyncRedisWrapper, kind: str) -> None:
        for error in (KeyError("mine"), StopIteration(3), KeyboardInterrupt(), SystemExit(3)):

            def plain(error: BaseException = error) -> None:
                raise error

            async def later(error: BaseException = error) -> None:
                raise error

            # No coroutine can let a StopIteration through: Python makes a RuntimeError of it.
            seen = RuntimeError if isinstance(error, StopIteration) else type(error)
            with pytest.raises(seen) as caught:
                asyncio.run(awaited.get_value("key", later if kind == "async" else plain))
            assert error in (caught.value, caught.value.__cause__)
        started = time.monotonic()
        assert asyncio.run(awaited.get_value("key", lambda: "made")) == "made"
        assert time.monotonic() - started < 1

    def test_it_may_ask_for_the_key_it_makes(self, awaited: AsyncRedisWrapper) -> None:
        async def inner() -> str:
            return "inner"

        async def outer() -> str:
            return await awaited.get_value("key", inner) + " outer"  # type: ignore[no-any-return]

        assert asyncio.run(asyncio.wait_for(awaited.get_value("key", outer), 3)) == "inner outer"
        blocking = RedisWrapper()
        nested = lambda: blocking.get_value("other", lambda: "inner") + " outer"  # noqa: E731
        assert asyncio.run(asyncio.wait_for(awaited.get_value("other", nested), 3)) == "inner outer"

    @pytest.mark.alone
    @pytest.mark.parametrize("plain", [True, False])
    def test_one_of_a_hundred_coroutines_computes(self, awaited: AsyncRedisWrapper, plain: bool) -> None:
        calls: list[int] = []

        def slow() -> str:
            calls.append(1)
            time.sleep(1.5)
            return "made"

        async def slow_too() -> str:
            calls.append(1)
            await asyncio.sleep(1.5)
            return "made"

        async def main() -> tuple[list[Any], list[float]]:
            async with ticking() as gaps:
                asked = [awaited.get_value("key", slow if plain else slow_too) for _ in range(100)]
                return await asyncio.gather(*asked), gaps

        found, gaps = asyncio.run(main())
        assert found == ["made"] * 100
        assert calls == [1]
        assert max(gaps) < MOST_GAP


@pytest.mark.alone
@ONE_SERVER
class TestCancelling:
    @pytest.mark.parametrize("plain", [True, False])
    def test_a_task_that_computes_gives_its_lease_back(self, awaited: AsyncRedisWrapper, plain: bool) -> None:
        async def main() -> None:
            begun = threading.Event()

            def compute() -> None:
                begun.set()
                time.sleep(1.5)

            async def compute_too() -> None:
                begun.set()
                await asyncio.sleep(10)

            task = asyncio.create_task(awaited.get_value("key", compute if plain else compute_too))
            while not begun.is_set():
                await asyncio.sleep(0.01)
            assert awaited.redis.exists(lease_of(awaited, "key"))
            started = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - started < MOST_GAP
            assert not awaited.redis.exists(lease_of(awaited, "key"))
            assert await asyncio.wait_for(awaited.get_value("key", fetch), 1) is not None

        asyncio.run(main())

    def test_a_task_that_waits_leaves_nothing_behind(self, awaited: AsyncRedisWrapper) -> None:
        async def slow() -> str:
            await asyncio.sleep(0.5)
            return "made"

        async def main() -> None:
            first = asyncio.create_task(awaited.get_value("key", slow))
            await asyncio.sleep(0.1)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(awaited.get_value("key", lambda: pytest.fail("it computes")), 0.1)
            assert await first == "made"

        asyncio.run(main())
        assert awaited.redis.keys(f"*{awaited.make_key('').decode()}*") == [awaited.make_key("key")]

    def test_a_lease_that_was_on_its_way_is_given_back(
        self, awaited: AsyncRedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrives_late(monkeypatch, awaited.connection)

        async def main() -> float:
            task = asyncio.create_task(awaited.get_value("key", lambda: pytest.fail("it computes")))
            await asyncio.to_thread(until, lambda: awaited.redis.exists(lease_of(awaited, "key")))
            started = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - started

        assert asyncio.run(main()) < 0.8, "the task waited for the server"
        until(lambda: not awaited.redis.exists(lease_of(awaited, "key")), 2, "the lease to be given back")

    def test_what_no_thread_had_come_to_is_not_sent_later(
        self, awaited: AsyncRedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with ThreadPoolExecutor(1) as only_one:
            monkeypatch.setattr(aio._threads, "commands", only_one)

            async def main() -> None:
                free = threading.Event()
                only_one.submit(free.wait)
                task = asyncio.create_task(awaited.rpush("list", 1))
                await asyncio.sleep(0.1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                free.set()

            asyncio.run(main())
        assert RedisWrapper().llen("list") == 0

    def test_a_lease_under_which_nothing_was_stored_is_given_back(
        self, awaited: AsyncRedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with ThreadPoolExecutor(1) as only_one:
            monkeypatch.setattr(aio._threads, "commands", only_one)

            async def main() -> None:
                computing, free = asyncio.Event(), threading.Event()

                async def compute() -> None:
                    only_one.submit(free.wait)
                    computing.set()

                task = asyncio.create_task(awaited.get_value("key", compute))
                await computing.wait()
                await asyncio.sleep(0.1)
                task.cancel()
                asyncio.get_running_loop().call_later(0.1, free.set)
                with pytest.raises(asyncio.CancelledError):
                    await task
                free.set()

            asyncio.run(main())
        assert RedisWrapper().redis.keys(f"*{awaited.make_key('').decode()}*") == []

    @pytest.mark.parametrize("method", ["blpop", "lpop", "rpop", "spop"])
    def test_a_value_that_was_popped_for_it_is_put_back(
        self, awaited: AsyncRedisWrapper, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blocking = RedisWrapper()
        put, count = (blocking.sadd, awaited.redis.scard) if method == "spop" else (blocking.rpush, blocking.llen)
        name = awaited.make_key("key") if method == "spop" else "key"
        put("key", "a", "b")
        arrives_late(monkeypatch, awaited.connection, ("BLPOP", "LPOP", "RPOP", "SPOP"))

        async def main() -> None:
            task = asyncio.create_task(getattr(awaited, method)("key"))
            await asyncio.to_thread(until, lambda: count(name) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        until(lambda: count(name) == 2, 2, "the value to be put back")
        if method != "spop":
            assert blocking.lrange("key", 0, -1) == [b"a", b"b"]

    def test_what_is_pushed_after_a_wait_was_over_stays(self, awaited: AsyncRedisWrapper) -> None:
        async def main() -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(awaited.blpop("jobs"), 0.2)
            await awaited.rpush("jobs", "job")

        asyncio.run(main())
        time.sleep(BLOCKING_SLICE + 0.1)
        assert asyncio.run(awaited.lrange("jobs", 0, -1)) == [b"job"]

    def test_a_write_that_was_on_its_way_is_no_copy_of_the_requests(
        self, awaited: AsyncRedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrives_late(monkeypatch, awaited.connection, ("UNLINK", "SET"))

        async def main() -> None:
            context.begin_request()
            task = asyncio.create_task(awaited.set_value("key", "old"))
            await asyncio.to_thread(until, lambda: awaited.redis.exists(awaited.make_key("key")))
            task.cancel()
            await asyncio.sleep(0.5)
            RedisWrapper().redis.delete(awaited.make_key("key"))
            assert await awaited.get_value("key") is None

        asyncio.run(main())

    def test_nobody_computes_for_a_caller_who_is_gone(
        self, awaited: AsyncRedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[int] = []
        arrives_late(monkeypatch, awaited.connection)

        async def main() -> None:
            task = asyncio.create_task(awaited.get_value("key", lambda: calls.append(1)))
            await asyncio.to_thread(until, lambda: awaited.redis.exists(lease_of(awaited, "key")))
            task.cancel()
            await asyncio.sleep(0.5)

        asyncio.run(main())
        assert calls == []


def arrives_late(
    monkeypatch: pytest.MonkeyPatch, connection: Connection, commands: tuple[str, ...] | None = None
) -> None:
    """Have answers arrive 0.3 s after the server gave them: those of scripts, or of some commands."""
    perform = connection.perform

    def slowly(effect: Any) -> Any:
        answer = perform(effect)
        if (
            hasattr(effect, "script")
            if commands is None
            else getattr(effect, "commands", ((),))[0][:1] in [(command,) for command in commands]
        ):
            time.sleep(1.5)
        return answer

    monkeypatch.setattr(connection, "perform", slowly)


class TestBlpop:
    @SERVERS
    def test_many_that_wait_keep_nobody_else_waiting(self, awaited: AsyncRedisWrapper) -> None:
        async def main() -> tuple[float, list[Any], list[float]]:
            async with ticking() as gaps:
                waiting = [asyncio.create_task(awaited.blpop(f"list{n}", timeout=5)) for n in range(40)]
                await asyncio.sleep(0.2)
                started = time.monotonic()
                await awaited.set_value("key", 1)
                assert await awaited.get_value("key") == 1
                took = time.monotonic() - started
                for number in range(40):
                    await awaited.rpush(f"list{number}", number)
                return took, await asyncio.gather(*waiting), gaps

        took, popped, gaps = asyncio.run(main())
        assert took < 3
        assert popped == [(awaited.make_key(f"list{n}"), str(n).encode()) for n in range(40)]
        assert max(gaps) < 3

    @ONE_SERVER
    def test_its_time_is_kept(self, awaited: AsyncRedisWrapper) -> None:
        started = time.monotonic()
        assert asyncio.run(awaited.blpop("list", timeout=0.3)) is None
        assert 0.25 < time.monotonic() - started < 1


@pytest.fixture
def own_server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server that a test may kill."""
    started = RedisServer(redis_server.binary).start()
    context.init("outage.test", url=started.url)
    context._request.set(None)
    yield started
    connection = connection_for(context.current_settings())
    started.stop()
    connection.close()


class TestOutages:
    def test_one_warning_at_the_users_line_however_many_calls(self, own_server: RedisServer) -> None:
        async def main() -> None:
            cache = AsyncRedisWrapper()
            await cache.set_value("key", 1)
            own_server.kill()
            for _ in range(20):
                assert await cache.get_value("key") is None
                await cache.set_value("key", 2)
                assert await cache.get_value("made", fetch) is not None

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            asyncio.run(main())
        assert [warning.category for warning in caught] == [CacheUnavailableWarning]
        assert caught[0].filename == __file__, "the warning does not point at the user's line"

    def test_a_write_that_was_dropped_leaves_no_old_value(self, own_server: RedisServer) -> None:
        cache = AsyncRedisWrapper()
        asyncio.run(cache.set_value("key", "old"))
        own_server.freeze()
        with pytest.warns(CacheUnavailableWarning):
            asyncio.run(cache.set_value("key", "new"))
        own_server.thaw()
        until(lambda: cache.connection.down is None, what="the connection")
        assert asyncio.run(cache.get_value("key")) is None

    def test_a_server_that_hangs_does_not_hold_up_the_loop(self, own_server: RedisServer) -> None:
        cache = AsyncRedisWrapper()

        async def main() -> tuple[list[Any], list[float]]:
            await cache.set_value("key", 1)
            own_server.freeze()
            async with ticking() as gaps:
                return await asyncio.gather(*(cache.get_value("key") for _ in range(20))), gaps

        started = time.monotonic()
        with pytest.warns(CacheUnavailableWarning):
            found, gaps = asyncio.run(main())
        assert found == [None] * 20
        assert time.monotonic() - started < TIMEOUT + 1.5
        assert max(gaps) < MOST_GAP
        assert sum(gaps) > TIMEOUT / 2

    def test_a_limit_of_the_callers_own_is_kept_and_nobody_computes_after_it(self, own_server: RedisServer) -> None:
        cache, calls = AsyncRedisWrapper(), []

        async def main() -> float:
            await cache.set_value("key", 1)
            own_server.freeze()
            started = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(cache.get_value("key", lambda: calls.append(1)), 0.2)
            took = time.monotonic() - started
            await asyncio.to_thread(until, lambda: cache.connection.down, what="the thread to find out")
            await asyncio.sleep(0.3)
            return took

        with pytest.warns(CacheUnavailableWarning):
            took = asyncio.run(main())
        assert took < 1
        assert calls == []

    def test_a_deletion_that_nobody_waited_for_is_owed(self, own_server: RedisServer) -> None:
        cache = AsyncRedisWrapper()

        async def main() -> None:
            await cache.set_value("key", "old")
            own_server.freeze()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(cache.delete_value("key"), 0.2)
            await asyncio.to_thread(until, lambda: cache.connection._debts, what="the debt")

        with pytest.warns(CacheUnavailableWarning):
            asyncio.run(main())
        own_server.thaw()
        until(lambda: cache.connection.down is None, what="the connection")
        assert asyncio.run(cache.get_value("key")) is None


class TestThreadsAndProcesses:
    # Python 3.12 and later warn of any fork beside a thread; that it works all the same is the point.
    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
    def test_a_fork_has_threads_of_its_own(self, own_server: RedisServer) -> None:
        cache = AsyncRedisWrapper()
        asyncio.run(cache.set_value("key", "parent"))
        pid = os.fork()
        if pid == 0:
            ok = False
            try:
                ok = asyncio.run(asyncio.wait_for(cache.get_value("key"), 5)) == "parent"
            finally:
                os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def test_without_threads_the_loop_waits(self, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        from frappe_cache_ext.leases import heartbeat

        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        heartbeat.stop()
        monkeypatch.setattr(aio, "_threads", aio._Threads())
        cache = AsyncRedisWrapper()
        calls: list[int] = []
        with monkeypatch.context() as without_threads, LoopOfItsOwn() as loop:
            without_threads.setattr(threading.Thread, "start", start)
            assert loop.run_until_complete(cache.get_value("key", lambda: calls.append(1) or "made")) == "made"
            assert loop.run_until_complete(cache.rpush("list", "once")) == 1
            assert loop.run_until_complete(cache.get_value("later", fetch)) is not None
        # A pool that has a thread again comes to what it was given meanwhile.
        assert asyncio.run(cache.lrange("list", 0, -1)) == [b"once"]
        assert calls == [1]


class LoopOfItsOwn:
    def __enter__(self) -> asyncio.AbstractEventLoop:
        self.loop = asyncio.new_event_loop()
        return self.loop

    def __exit__(self, *exception: object) -> None:
        self.loop.close()


def test_a_cancelled_decorated_call_gives_back_a_lease_that_was_on_its_way(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = RedisWrapper()
    name = cache.make_key("key")
    arrives_late(monkeypatch, cache.connection)

    def steps(function: Callable[[], Any]) -> Any:
        return operations.get_value(cache.scope(), name, function, None)

    async def main() -> None:
        task = asyncio.create_task(run_async(steps(lambda: pytest.fail("it computes")), cache.connection))
        await asyncio.to_thread(until, lambda: cache.redis.exists(operations.lease_name(name)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    until(lambda: not cache.redis.exists(operations.lease_name(name)), 2, "the lease to be given back")


def test_no_thread_is_left_after_destroy(awaited: AsyncRedisWrapper) -> None:
    async def main() -> None:
        await awaited.set_value("key", 1)
        await awaited.blpop("list", timeout=0.05)

    asyncio.run(main())
    before = aio._threads.commands._threads | aio._threads.waits._threads
    assert before
    context.destroy()
    until(lambda: not any(each.is_alive() for each in before), what="the end of their threads")
