"""`@redis_cache` on every kind of server."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from redis.exceptions import ResponseError

from frappe_cache_ext import context
from frappe_cache_ext.caching import redis_cache
from frappe_cache_ext.cells.called import Called
from frappe_cache_ext.errors import NotCachedWarning
from frappe_cache_ext.redis_wrapper import RedisWrapper
from tests.contract.test_strings import elsewhere


class Counted:
    """A function that counts how often it runs."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, **options: Any) -> Any:
        calls = self.calls

        @redis_cache(key=lambda *args, **kwargs: (args, tuple(kwargs.items())), version=1, **options)
        def function(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            return args, kwargs

        return function


# At the level of the module, as functions usually stand: what they note is no part of them.
CALLS: list[Any] = []


@redis_cache
def add(a: int, b: int) -> int:
    CALLS.append((a, b))
    return a + b


@redis_cache(ttl=60)
def echo(*args: Any, **kwargs: Any) -> Any:
    CALLS.append((args, kwargs))
    return args, kwargs


@redis_cache(user=True)
def mine(x: int) -> str:
    CALLS.append(x)
    return f"{context.current_user()} {x}"


@redis_cache(shared=True)
def everybodys(x: Any) -> Any:
    CALLS.append(x)
    return x


@redis_cache
async def later(x: int) -> int:
    CALLS.append(x)
    await asyncio.sleep(0.05)
    if x < 0:
        raise ValueError(x)
    return x * 2


@dataclass
class Rectangle:
    width: int
    height: int

    @redis_cache
    def area(self, scale: int = 1) -> int:
        CALLS.append(self)
        return self.width * self.height * scale

    @classmethod
    @redis_cache
    def sides(cls) -> int:
        CALLS.append(cls)
        return 4

    @staticmethod
    @redis_cache
    def corners() -> int:
        CALLS.append("corners")
        return 4


class WithLock:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    @redis_cache
    def method(self) -> int:
        CALLS.append(self)
        return 1


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


class TestCalls:
    def test_the_second_call_does_not_run(self, cache: RedisWrapper) -> None:
        assert [add(40, 2), add(40, 2), elsewhere(lambda: add(40, 2))] == [42, 42, 42]
        assert CALLS == [(40, 2)]

    def test_it_is_found_by_the_next_request(self, cache: RedisWrapper) -> None:
        add(1, 2)
        with context.request():
            assert add(1, 2) == 3
        assert len(CALLS) == 1

    @pytest.mark.parametrize(
        "calls",
        [
            [(-1,), (-2,)],
            [(1,), (1.0,), (True,), ("1",), (b"1",)],
            [(0,), ("",), (None,), (False,), ([],), ({},), ((),)],
            [((1,),), ((True,),), ([1],)],
            [({"a": 1, "b": 2},), ({"b": 2, "a": 1},)],
            [("a", "b"), ("ab",), (("a", "b"),)],
            [(0.0,), (-0.0,)],
            [(np.zeros(4),), (np.zeros((2, 2)),), (np.zeros(4, "f4"),), (np.zeros(3),)],
            [(pd.DataFrame({"a": [1]}),), (pd.DataFrame({"b": [1]}),), (pd.DataFrame({"a": [1.0]}),)],
            [(Rectangle(1, 2),), (Rectangle(2, 1),)],
            [(datetime.date(2026, 1, 2),), (datetime.datetime(2026, 1, 2),)],
            [(len,), (max,), (int,)],
        ],
        ids=lambda calls: str(calls)[:30],
    )
    def test_different_arguments_are_different_calls(self, cache: RedisWrapper, calls: list[tuple[Any, ...]]) -> None:
        for _ in range(2):
            for arguments in calls:
                echo(*arguments)
        assert len(CALLS) == len(calls)

    def test_equal_arguments_are_the_same_call(self, cache: RedisWrapper) -> None:
        for _ in range(2):
            echo([1, {"a": {1, 2, 3}}], np.arange(3), pd.DataFrame({"a": [1]}), Rectangle(1, 2), when=1)
        assert len(CALLS) == 1

    def test_positional_and_keyword_are_two_entries_as_in_frappe(self, cache: RedisWrapper) -> None:
        for _ in range(2):
            add(1, 2)
            add(1, b=2)
        assert len(CALLS) == 2

    def test_an_edited_function_answers_anew(self, cache: RedisWrapper) -> None:
        def define(body: str) -> Callable[[int], int]:
            namespace: dict[str, Any] = {"redis_cache": redis_cache, "__name__": "notebook"}
            exec(f"@redis_cache\ndef f(x):\n    # a comment\n    return {body}", namespace)
            return namespace["f"]  # type: ignore[no-any-return]

        assert define("x + 1")(1) == 2
        assert define("x + 2")(1) == 3
        assert define("x + 1")(1) == 2

    def test_what_a_closure_holds_is_part_of_the_function(self, cache: RedisWrapper) -> None:
        def make(step: int) -> Callable[[int], int]:
            @redis_cache
            def f(x: int) -> int:
                return x + step

            return f

        assert [make(1)(1), make(2)(1), make(1)(1)] == [2, 3, 2]

    def test_version_stands_for_the_code(self, cache: RedisWrapper) -> None:
        def define(body: str, version: int) -> Callable[[int], int]:
            namespace: dict[str, Any] = {"redis_cache": redis_cache, "__name__": "notebook"}
            exec(f"@redis_cache(version={version})\ndef f(x): return {body}", namespace)
            return namespace["f"]  # type: ignore[no-any-return]

        assert [define("x + 1", 1)(1), define("x + 2", 1)(1), define("x + 2", 2)(1)] == [2, 2, 3]

    def test_key_tells_calls_apart(self, cache: RedisWrapper) -> None:
        @redis_cache(key=lambda row, connection: row)
        def load(row: int, connection: object) -> int:
            return id(connection)

        first, second = threading.Lock(), threading.Lock()
        assert load(1, first) == load(1, second) == id(first)

    @pytest.mark.parametrize("value", [None, 0, "", False, []])
    def test_falsy_results_are_stored(self, cache: RedisWrapper, value: Any) -> None:
        assert [everybodys(value), everybodys(value)] == [value, value]
        assert len(CALLS) == 1
        everybodys.clear_cache()

    def test_none_is_not_stored_when_told_so(self, cache: RedisWrapper) -> None:
        counted = Counted()

        @redis_cache(cache_none=False, key=lambda x: x, version=1)
        def maybe(x: int) -> int | None:
            counted.calls.append(x)
            return x or None

        assert [maybe(0), maybe(0), maybe(1), maybe(1)] == [None, None, 1, 1]
        assert counted.calls == [0, 0, 1]

    def test_results_are_not_shared_between_callers(self, cache: RedisWrapper) -> None:
        echo(1)[1]["spoiled"] = True
        assert echo(1) == ((1,), {})
        echo(1)[1]["spoiled"] = True
        assert echo(1) == ((1,), {})

    def test_errors_are_raised_and_not_stored(self, cache: RedisWrapper) -> None:
        tries: list[int] = []

        @redis_cache(key=lambda: 0, version=1)
        def fail() -> None:
            tries.append(1)
            raise LookupError("mine")

        for _ in range(2):
            with pytest.raises(LookupError, match="mine"):
                fail()
        assert len(tries) == 2

    def test_recursion(self, cache: RedisWrapper) -> None:
        namespace: dict[str, Any] = {"redis_cache": redis_cache, "__name__": "notebook"}
        exec("@redis_cache\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)", namespace)
        assert namespace["fib"](30) == 832040


class TestExpiry:
    def test_an_hour_unless_told_otherwise(self, cache: RedisWrapper) -> None:
        add(1, 2)
        echo(1)
        assert 3500_000 < cache.redis.pttl(add.cache_key(1, 2)) <= 3600_000
        assert 50_000 < cache.redis.pttl(echo.cache_key(1)) <= 60_000

    def test_none_is_for_good(self, cache: RedisWrapper) -> None:
        @redis_cache(ttl=None)
        def forever() -> int:
            return 1

        forever()
        assert cache.redis.pttl(forever.cache_key()) == -1

    def test_it_runs_again_afterwards(self, cache: RedisWrapper) -> None:
        counted = Counted()
        function = counted(ttl=0.2)
        function(1)
        function(1)
        time.sleep(0.25)
        function(1)
        assert len(counted.calls) == 2

    @pytest.mark.parametrize("ttl", [0, -1])
    def test_zero_and_negative_are_refused_at_once(self, ttl: int) -> None:
        with pytest.raises(ValueError, match="more than zero"):
            redis_cache(ttl=ttl)


class TestClearing:
    def test_one_call_is_forgotten_whatever_the_request_remembers(self, cache: RedisWrapper) -> None:
        add(1, 2)  # this request knows the function's generation now
        (generation,) = [name for name in cache.get_keys() if name.endswith(b"add::generation")]
        cache.redis.set(generation, pickle.dumps("another"))  # somebody else clears it
        with context.request():
            add(1, 2)
        add.invalidate(1, 2)
        with context.request():
            add(1, 2)
        assert CALLS == [(1, 2)] * 3

    def test_exactly_this_function(self, cache: RedisWrapper) -> None:
        add(1, 2)
        echo(1)
        add.clear_cache()
        add(1, 2)
        echo(1)
        assert len(CALLS) == 3

    def test_for_all_users(self, cache: RedisWrapper) -> None:
        for user in ("anna@example.com", "bob@example.com"):
            context.set_user(user)
            mine(1)
        mine.clear_cache()
        for user in ("anna@example.com", "bob@example.com"):
            context.set_user(user)
            assert mine(1) == f"{user} 1"
        assert len(CALLS) == 4

    def test_shared_results(self, cache: RedisWrapper, server_url: str) -> None:
        everybodys("x")
        context.init("another-site.test", url=server_url)
        everybodys("x")
        assert len(CALLS) == 1
        everybodys.clear_cache()
        everybodys("x")
        assert len(CALLS) == 2
        everybodys.clear_cache()

    def test_another_sites_results_stay(self, cache: RedisWrapper, server_url: str, site: str) -> None:
        add(1, 2)
        context.init(f"another-{site}", url=server_url)
        add(1, 2)
        add.clear_cache()
        context.init(site, url=server_url)
        add(1, 2)
        assert len(CALLS) == 2

    def test_one_command_however_many_entries(self, cache: RedisWrapper) -> None:
        for number in range(50):
            echo(number)
        before = _commands(cache)
        echo.clear_cache()
        assert _commands(cache) - before <= 2  # the clear, and the question itself
        echo(1)
        assert len(CALLS) == 51

    def test_one_result(self, cache: RedisWrapper) -> None:
        add(1, 2)
        add(3, 4)
        add.invalidate(1, 2)
        add(1, 2)
        add(3, 4)
        assert CALLS == [(1, 2), (3, 4), (1, 2)]

    def test_a_lost_generation_brings_no_old_result_back(self, cache: RedisWrapper) -> None:
        generation = cache.make_key(f"{__name__}.add::generation")
        add(1, 2)
        assert cache.redis.delete(generation) == 1
        with context.request():
            add(1, 2)
        assert len(CALLS) == 2

    def test_a_result_computed_before_the_clear_is_not_found_after_it(self, cache: RedisWrapper) -> None:
        @redis_cache(key=lambda: 0, version=1)
        def slow() -> str:
            if not CALLS:
                CALLS.append(1)
                elsewhere(slow.clear_cache)
                return "old"
            return "new"

        assert slow() == "old"
        with context.request():
            assert slow() == "new"

    def test_clearing_by_prefix_as_frappe_does(self, cache: RedisWrapper) -> None:
        add(1, 2)
        cache.delete_keys(f"{__name__}.add")
        add(1, 2)
        assert len(CALLS) == 2


def _commands(cache: RedisWrapper) -> int:
    try:
        return int(cache.redis.info("stats")["total_commands_processed"])
    except (KeyError, ResponseError):  # the server inside this process does not count
        return 0


class TestUsersAndSites:
    def test_each_user_has_his_own(self, cache: RedisWrapper) -> None:
        for user in ("anna@example.com", "bob@example.com", "anna@example.com"):
            context.set_user(user)
            assert mine(1) == f"{user} 1"
        assert len(CALLS) == 2
        assert cache.get_keys("user:anna@example.com:") != []

    def test_each_site_has_its_own(self, cache: RedisWrapper, server_url: str, site: str) -> None:
        add(1, 2)
        context.init(f"other-{site}", url=server_url)
        add(1, 2)
        assert len(CALLS) == 2


class TestMethods:
    def test_they_are_keyed_on_the_objects_value(self, cache: RedisWrapper) -> None:
        assert [Rectangle(2, 3).area(), Rectangle(2, 3).area(), Rectangle(3, 3).area(), Rectangle(2, 3).area(2)] == [
            6,
            6,
            9,
            12,
        ]
        assert len(CALLS) == 3

    def test_class_and_static_methods(self, cache: RedisWrapper) -> None:
        assert [Rectangle.sides(), Rectangle(1, 1).sides(), Rectangle.corners(), Rectangle.corners()] == [4] * 4
        assert len(CALLS) == 2

    def test_an_object_without_content_is_named_and_the_method_runs(self, cache: RedisWrapper) -> None:
        thing = WithLock()
        for _ in range(2):
            with pytest.warns(NotCachedWarning, match=r"WithLock.method\(\): args\[0\].lock: _thread.lock.*key="):
                assert thing.method() == 1
        assert len(CALLS) == 2


class Lazy:
    """A proxy of something that is not there yet."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("outside of a request")


class TestNoKey:
    def test_an_argument_that_cannot_be_looked_at(self, cache: RedisWrapper) -> None:
        @redis_cache
        def work(x: object) -> int:
            CALLS.append(x)
            return len(CALLS)

        told = r"not cached: .*work\(\): no key can be made for it \(RuntimeError: outside of a request\)"
        for times in (1, 2):
            with pytest.warns(NotCachedWarning, match=told):
                assert work(Lazy()) == times
        assert work(3) == work(3) == 3

    def test_a_key_function_that_fails(self, cache: RedisWrapper) -> None:
        @redis_cache(key=lambda row: row["id"])
        def work(row: dict[str, int]) -> int:
            CALLS.append(row)
            return len(CALLS)

        with pytest.warns(NotCachedWarning, match="KeyError: 'id'"):
            assert work({}) == 1
        assert work({"id": 1}) == work({"id": 1}) == 2

    def test_the_same_for_a_coroutine(self, cache: RedisWrapper) -> None:
        @redis_cache
        async def work(_x: object) -> int:
            return 5

        with pytest.warns(NotCachedWarning, match="outside of a request"):
            assert asyncio.run(work(Lazy())) == 5


class TestThreads:
    def test_code_is_not_taken_by_halves_from_another_who_looks_at_it(
        self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here: dict[str, Any] = {"__name__": "__main__"}
        exec("def helper(x): return x\ndef double(x): return 2 * helper(x)", here)
        second_looks, end = threading.Event(), threading.Event()
        walk = Called._walk_function

        def slow_walk(self: Called, stream: Any, function: Any, *rest: Any) -> None:
            thread = threading.current_thread().name
            if thread == "first" and function is here["helper"]:  # it has seen half of it
                second.start()
                second_looks.wait(0.5)
            elif thread == "second":
                second_looks.set()
                end.wait(20)
            walk(self, stream, function, *rest)

        monkeypatch.setattr(Called, "_walk_function", slow_walk)
        double = redis_cache(here["double"])
        first, second = (
            threading.Thread(target=contextvars.copy_context().run, args=(double, 1), name=name)
            for name in ("first", "second")
        )
        first.start()
        first.join()
        exec("def helper(x): return x + 1", here)
        try:
            assert double(1) == 4
        finally:
            end.set()
            second.join()


class TestAsync:
    def test_a_coroutine_is_awaited_once(self, cache: RedisWrapper) -> None:
        async def main() -> list[int]:
            return [await later(1), await later(1), *await asyncio.gather(*(later(2) for _ in range(5)))]

        assert asyncio.run(main()) == [2, 2, 4, 4, 4, 4, 4]
        assert CALLS == [1, 2]

    def test_its_error_is_raised(self, cache: RedisWrapper) -> None:
        with pytest.raises(ValueError, match="-1"):
            asyncio.run(later(-1))

    def test_a_cancelled_call_frees_the_key(self, cache: RedisWrapper) -> None:
        async def main() -> int:
            task = asyncio.create_task(later(3))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await asyncio.wait_for(later(3), 2)

        assert asyncio.run(main()) == 6

    def test_the_loop_is_not_blocked_meanwhile(self, cache: RedisWrapper) -> None:
        async def main() -> int:
            ticks = 0
            task = asyncio.create_task(later(4))
            while not task.done():
                ticks += 1
                await asyncio.sleep(0.005)
            return ticks

        assert asyncio.run(main()) > 3


class TestTheFunction:
    def test_it_keeps_its_name_and_its_original(self, cache: RedisWrapper) -> None:
        assert add.__name__ == "add"  # type: ignore[attr-defined]
        assert add.__wrapped__(1, 2) == 3

    def test_cache_info_counts(self, cache: RedisWrapper) -> None:
        function = Counted()(ttl=7)
        for _ in range(3):
            function(1)
        assert function.cache_info() == (2, 1, 7)

    def test_cache_key_is_the_name_on_the_wire(self, cache: RedisWrapper) -> None:
        add(1, 2)
        assert add.cache_key(1, 2) in cache.get_keys(f"{__name__}.add::")

    @pytest.mark.parametrize("wrong", [5.5j, "text", [1]])
    def test_what_is_no_function_is_refused(self, wrong: Any) -> None:
        with pytest.raises(TypeError):
            redis_cache(wrong)(wrong) if not callable(wrong) else redis_cache(wrong)

    def test_generators_are_refused(self) -> None:
        def numbers() -> Any:
            yield 1

        with pytest.raises(TypeError, match="read only once"):
            redis_cache(numbers)

    def test_the_order_of_decorators(self) -> None:
        with pytest.raises(TypeError, match="below @classmethod"):
            redis_cache(classmethod(lambda cls: 1))  # type: ignore[call-overload]

    def test_a_result_that_cannot_be_stored_is_returned(self, cache: RedisWrapper) -> None:
        @redis_cache(key=lambda: 0, version=1)
        def lock() -> dict[str, Any]:
            CALLS.append(1)
            return {"conn": threading.Lock()}

        for _ in range(2):
            with pytest.warns(NotCachedWarning, match=r"result\['conn'\]: _thread.lock"):
                lock()
        assert len(CALLS) == 2
