"""`@site_cache` and `@request_cache`: the objects themselves, in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from frappe_cache_ext import context
from frappe_cache_ext.clearing import clear_cache
from frappe_cache_ext.local_caching import request_cache, site_cache


@pytest.fixture(autouse=True)
def site() -> None:
    context.init("local.test", url="memory://local")


class TestSiteCache:
    def test_the_object_itself_comes_back(self) -> None:
        made: list[Any] = []

        @site_cache
        def lock(name: str) -> Any:
            made.append(name)
            return threading.Lock()

        assert lock("a") is lock("a")
        assert lock("a") is not lock("b")
        assert made == ["a", "b"]

    def test_each_site_has_its_own(self) -> None:
        @site_cache
        def name() -> str:
            return context.local.site

        assert name() == "local.test"
        context.init("other.test", url="memory://local")
        assert name() == "other.test"
        context.init("local.test", url="memory://local")
        assert name() == "local.test"

    def test_it_outlives_the_request(self) -> None:
        made: list[int] = []

        @site_cache
        def once() -> int:
            made.append(1)
            return len(made)

        once()
        with context.request():
            assert once() == 1

    def test_each_entry_expires_for_itself(self) -> None:
        made: list[int] = []

        @site_cache(ttl=0.3)
        def note(x: int) -> int:
            made.append(x)
            return x

        note(1)
        time.sleep(0.2)
        note(2)
        time.sleep(0.15)
        note(2)  # still there
        note(1)  # gone
        assert made == [1, 2, 1]

    def test_the_least_recently_used_goes_and_a_hit_evicts_nothing(self) -> None:
        made: list[int] = []

        @site_cache(maxsize=2)
        def note(x: int) -> int:
            made.append(x)
            return x

        for x in (1, 2, 1, 1, 2, 1, 3, 1, 2):
            note(x)
        assert made == [1, 2, 3, 2]

    @pytest.mark.parametrize(
        "calls",
        [[1, 1.0, True], [0, False, 0.0, -0.0, None, ""], [(1,), (True,), (1.0,)], [frozenset({1}), frozenset({True})]],
    )
    def test_types_are_told_apart(self, calls: list[Any]) -> None:
        made: list[Any] = []

        @site_cache
        def note(x: Any) -> Any:
            made.append(x)
            return x

        for _ in range(2):
            assert [type(note(x)) for x in calls] == [type(x) for x in calls]
        assert len(made) == len(calls)

    def test_none_is_a_result(self) -> None:
        made: list[int] = []

        @site_cache
        def nothing() -> None:
            made.append(1)

        nothing()
        nothing()
        assert made == [1]

    def test_what_cannot_be_hashed_is_not_kept(self) -> None:
        made: list[Any] = []

        @site_cache
        def note(x: Any) -> int:
            made.append(x)
            return len(made)

        assert [note([1]), note([1])] == [1, 2]

    def test_an_error_is_raised_and_a_type_error_is_the_functions_own(self) -> None:
        @site_cache
        def fail() -> None:
            raise TypeError("mine")

        for _ in range(2):
            with pytest.raises(TypeError, match="mine"):
                fail()

    def test_clear_cache(self) -> None:
        made: list[int] = []

        @site_cache
        def note() -> None:
            made.append(1)

        note()
        note.clear_cache()
        note()
        clear_cache()
        note()
        assert len(made) == 3

    def test_clearing_one_site_leaves_the_others(self) -> None:
        made: list[str] = []

        @site_cache
        def note() -> None:
            made.append(context.local.site)

        note()
        context.init("other.test", url="memory://local")
        note()
        clear_cache()
        context.init("local.test", url="memory://local")
        note()
        assert made == ["local.test", "other.test"]

    def test_methods_and_coroutines(self) -> None:
        made: list[int] = []

        class Shelf:
            @site_cache
            def books(self, x: int) -> int:
                made.append(x)
                return x

        shelf = Shelf()
        assert [shelf.books(1), shelf.books(1)] == [1, 1]

        @site_cache
        async def later(x: int) -> int:
            made.append(x)
            return x

        async def main() -> list[int]:
            return [await later(2), await later(2)]

        assert asyncio.run(main()) == [2, 2]
        assert made == [1, 2]

    @pytest.mark.parametrize(
        ("options", "error"), [({"ttl": 0}, ValueError), ({"maxsize": 0}, ValueError), ({"ttl": "5"}, TypeError)]
    )
    def test_options_that_make_no_sense(self, options: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            site_cache(**options)

    def test_many_threads(self) -> None:
        @site_cache(maxsize=5)
        def note(x: int) -> int:
            return x

        wrong: list[int] = []

        def work() -> None:
            context.init("local.test", url="memory://local")
            for number in range(2000):
                if note(number % 10) != number % 10:
                    wrong.append(number)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


class TestRequestCache:
    def test_within_one_request_and_no_longer(self) -> None:
        made: list[int] = []

        @request_cache
        def note(x: int) -> list[int]:
            made.append(x)
            return [x]

        assert note(1) is note(1)
        with context.request():
            note(1)
        assert made == [1, 1]
        assert note(1) == [1]
        assert len(made) == 2

    def test_outside_any_it_runs(self) -> None:
        made: list[int] = []

        @request_cache
        def note() -> None:
            made.append(1)

        context.destroy()
        note()
        note()
        assert len(made) == 2

    def test_equal_numbers_share_a_result_as_in_frappe(self) -> None:
        made: list[Any] = []

        @request_cache
        def note(x: float) -> None:
            made.append(x)

        note(120)
        note(120.0)
        assert made == [120]

    def test_what_cannot_be_hashed_is_not_kept(self) -> None:
        made: list[Any] = []

        @request_cache
        def note(x: Any) -> None:
            made.append(x)

        note([1])
        note([1])
        assert len(made) == 2

    def test_two_functions_do_not_mix(self) -> None:
        @request_cache
        def one(x: int) -> str:
            return "one"

        @request_cache
        def two(x: int) -> str:
            return "two"

        assert [one(1), two(1)] == ["one", "two"]
        one.clear_cache()
        assert two(1) == "two"

    def test_clearing(self) -> None:
        made: list[int] = []

        @request_cache
        def note() -> None:
            made.append(1)

        note()
        note.clear_cache()
        note()
        clear_cache()
        note()
        assert len(made) == 3
        assert len(context.local.request_cache) == 1

    def test_generators_are_refused(self) -> None:
        def numbers() -> Any:
            yield 1

        for decorator in (request_cache, site_cache):
            with pytest.raises(TypeError, match="read only once"):
                decorator(numbers)
