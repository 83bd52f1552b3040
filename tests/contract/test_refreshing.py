"""Computing a result anew while the last one is still there, on every kind of server: `stale=` and `early=`."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from frappe_cache_ext import codec, context, operations
from frappe_cache_ext.aio import run_async
from frappe_cache_ext.connections import Connection
from frappe_cache_ext.effects import RunScript
from frappe_cache_ext.errors import NotCachedWarning
from frappe_cache_ext.operations import lease_name, results
from frappe_cache_ext.redis_wrapper import RedisWrapper, run
from frappe_cache_ext.scripts.leases import REFRESH_UNDER_LEASE, STORE_UNDER_LEASE, TAKE_TO_REFRESH
from frappe_cache_ext.settings import Settings
from tests.contract.test_hash_leases import together
from tests.contract.test_strings import elsewhere

pytestmark = pytest.mark.slow  # many seconds, on every kind of server

SHORT = 150
LONG = 60_000

_numbers = itertools.count(1)


class Looks:
    """One result on one cache, looked at with the options of a decorator."""

    def __init__(self, cache: RedisWrapper, **options: Any) -> None:
        self.cache = cache
        self.options = {"expiry": SHORT, "stale": LONG} | options
        self.function = f"function{next(_numbers)}::"
        self.calls = 0

    @property
    def generation(self) -> bytes:
        return self.cache.make_key(f"{self.function}generation")

    def name_for(self, token: str) -> bytes:
        return self.cache.make_key(f"{self.function}{token}:digest")

    @property
    def name(self) -> bytes:
        return run(operations.entry_name(self.cache.scope(), self.generation, self.name_for), self.cache.connection)

    def steps(self, function: Callable[[], Any]) -> Any:
        return operations.load_result(self.cache.scope(), self.generation, self.name_for, function, **self.options)

    def __call__(self, value: Any, work: Callable[[], Any] = lambda: None) -> Any:
        """The result; a function that does some work and returns this value is there to compute it."""

        def function() -> Any:
            self.calls += 1
            work()
            return value

        return run(self.steps(function), self.cache.connection)

    def make_old(self) -> None:
        """Let the expiry pass of what is stored."""
        name = self.name
        self.cache.redis.pexpire(name, self.options["stale"] - 1000)
        local = context.current_request()
        assert local is not None
        local.cache.clear()

    def invalidate(self) -> None:
        steps = operations.invalidate(self.cache.scope(), self.generation, self.name_for)
        run(steps, self.cache.connection)

    def no_lease(self) -> bool:
        return self.cache.redis.exists(lease_name(self.name)) == 0


def fail() -> None:
    raise LookupError("no answer")


class TestStale:
    def test_a_fresh_result_is_returned(self, cache: RedisWrapper) -> None:
        looks = Looks(cache, expiry=LONG, stale=LONG)
        assert [looks(1), elsewhere(lambda: looks(2)), looks(3)] == [1, 1, 1]
        assert LONG * 2 - 5000 < cache.redis.pttl(looks.name) <= LONG * 2

    def test_an_old_one_is_computed_anew_by_who_finds_it(self, cache: RedisWrapper) -> None:
        looks = Looks(cache)
        looks("old")
        looks.make_old()
        assert looks("new") == "new"
        assert looks.no_lease()
        assert elsewhere(lambda: looks("newer")) == "new"
        assert LONG < cache.redis.pttl(looks.name) <= SHORT + LONG

    def test_it_is_old_when_its_expiry_has_passed(self, cache: RedisWrapper) -> None:
        looks = Looks(cache)
        looks("old")
        assert elsewhere(lambda: looks("new")) == "old"
        time.sleep(SHORT / 1000 + 0.05)
        assert elsewhere(lambda: looks("new")) == "new"

    def test_everybody_else_gets_the_old_one_at_once(self, cache: RedisWrapper) -> None:
        looks = Looks(cache)
        looks("old")
        looks.make_old()
        begun, done = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            done.wait(10)

        def look() -> Any:
            begun.wait(10)
            started = time.monotonic()
            found = looks("not me")
            took = time.monotonic() - started
            return found, took < 1

        def end() -> None:
            begun.wait(10)
            time.sleep(0.3)
            done.set()

        found, *others, _ = together(lambda: looks("new", work), *[look] * 10, end)
        assert found == "new"
        assert others == [("old", True)] * 10
        assert looks.calls == 2

    def test_in_another_process_too(self, cache: RedisWrapper, server_url: str) -> None:
        looks = Looks(cache)
        looks("old")
        looks.make_old()
        settings = Settings.load(site=context.current_settings().site, url=server_url)
        others = Looks(RedisWrapper(Connection(settings)))
        others.function = looks.function
        seen: list[Any] = []
        assert looks("new", lambda: seen.append(elsewhere(lambda: others("not me")))) == "new"
        assert seen == ["old"]
        assert elsewhere(lambda: others("not me")) == "new"
        assert others.calls == 0
        others.cache.connection.close()

    def test_the_next_look_of_a_request_that_saw_an_old_one_finds_the_new_one(self, cache: RedisWrapper) -> None:
        looks = Looks(cache, expiry=LONG)
        looks("old")
        looks.make_old()
        seen: list[Any] = []

        def work() -> None:
            with context.request():
                seen.append(looks("not me"))
                assert looks.name not in context.local.cache

        assert looks("new", work) == "new"
        assert seen == ["old"]
        cache.redis.set(looks.name, codec.Codec().encode("newer", b""), px=2 * LONG)
        assert looks("not me") == "new", "the request holds a fresh one"

    def test_a_request_holds_a_fresh_one_no_longer_than_it_is_fresh(self, cache: RedisWrapper) -> None:
        looks = Looks(cache, expiry=300)
        assert looks("old") == "old"
        context.local.cache.clear()
        assert looks("not me") == "old"
        time.sleep(0.35)
        assert looks("new") == "new"
        time.sleep(0.35)
        assert looks("newest") == "newest"

    def test_past_its_second_expiry_it_is_gone(self, cache: RedisWrapper) -> None:
        looks = Looks(cache, expiry=100, stale=100)
        looks("old")
        time.sleep(0.25)
        with pytest.raises(LookupError):
            elsewhere_raising(lambda: looks("new", fail))
        assert looks("new") == "new"

    def test_where_the_function_raises_the_old_one_is_returned(self, cache: RedisWrapper) -> None:
        looks = Looks(cache)
        looks({"a": [1]})
        looks.make_old()
        with pytest.warns(
            NotCachedWarning, match=r"function.*last value is returned \(LookupError: no answer\)"
        ) as told:
            assert looks("new", fail) == {"a": [1]}
        assert len(told) == 1
        assert told[0].filename == __file__
        assert looks.no_lease()
        assert looks("new") == "new"

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_an_interrupt_is_never_swallowed(self, cache: RedisWrapper, kind: type[BaseException]) -> None:
        looks = Looks(cache)
        looks("old")
        looks.make_old()

        def interrupted() -> None:
            raise kind

        with pytest.raises(kind):
            looks("new", interrupted)
        assert looks.no_lease()

    def test_nor_is_a_cancelled_task(self, cache: RedisWrapper) -> None:
        looks = Looks(cache)
        looks("old")
        looks.make_old()

        async def slow() -> str:
            await asyncio.sleep(30)
            return "new"

        async def main() -> None:
            task = asyncio.create_task(run_async(looks.steps(slow), cache.connection))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert looks.no_lease()
        assert looks("new") == "new"

    def test_a_result_that_is_not_wanted_or_cannot_be_stored(self, cache: RedisWrapper) -> None:
        looks = Looks(cache, wanted=lambda value: value is not None)
        looks("old")
        looks.make_old()
        assert looks(None) is None
        assert looks.no_lease()
        with pytest.warns(NotCachedWarning, match=r"result: _thread.lock"):
            assert looks(threading.Lock()) != "old"
        assert looks.no_lease()
        assert elsewhere(lambda: looks("new")) == "new"

    def test_one_computed_before_an_invalidation_is_not_stored_after_it(self, cache: RedisWrapper) -> None:
        looks = Looks(cache)
        looks("old")
        looks.make_old()
        assert looks("before", lambda: elsewhere(looks.invalidate)) == "before"
        assert cache.redis.exists(looks.name) == 0
        with context.request():
            assert looks("after") == "after"

    def test_the_function_may_ask_for_its_own_result(self, cache: RedisWrapper) -> None:
        looks = Looks(cache)
        looks("old")
        looks.make_old()
        seen: list[Any] = []
        assert looks("new", lambda: seen.append(looks("inner"))) == "new"
        assert seen == ["old"]

    def test_one_that_never_expires_is_never_old(self, cache: RedisWrapper) -> None:
        looks = Looks(cache, expiry=0)
        looks("old")
        assert cache.redis.pttl(looks.name) == -1
        assert elsewhere(lambda: looks("new")) == "old"

    def test_nothing_of_it_changes_what_is_stored(self, cache: RedisWrapper) -> None:
        looks = Looks(cache)
        looks({"a": 1})
        assert cache.redis.get(looks.name) == codec.Codec().encode({"a": 1}, b"")


class TestEarly:
    @pytest.fixture
    def draw(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """What is drawn: how many seconds before the expiry a look computes anew."""
        drawn = [0.0]
        monkeypatch.setattr(results, "seconds_ahead", lambda cost, beta: drawn[0])
        return drawn

    def test_what_a_result_cost_is_stored_with_it(self, cache: RedisWrapper) -> None:
        looks = Looks(cache, expiry=LONG, stale=0, early=1.0)
        assert looks("made", lambda: time.sleep(0.2)) == "made"
        data = cache.redis.get(looks.name)
        found = codec.cost(data)
        assert found is not None
        assert 0.19 < found < 2
        assert codec.Codec().decode(data, looks.name) == "made"
        assert 0 < cache.redis.pttl(looks.name) <= LONG
        assert elsewhere(lambda: looks("not me")) == "made"

    def test_who_is_chosen_computes_anew_and_the_others_go_on(self, cache: RedisWrapper, draw: list[float]) -> None:
        looks = Looks(cache, expiry=LONG, stale=0, early=1.0)
        looks("first")
        assert elsewhere(lambda: looks("not me")) == "first"
        draw[0] = 1e6
        seen: list[Any] = []
        assert elsewhere(lambda: looks("second", lambda: seen.append(elsewhere(lambda: looks("third"))))) == "second"
        assert seen == ["first"]
        draw[0] = 0.0
        assert elsewhere(lambda: looks("not me")) == "second"
        assert looks.no_lease()

    def test_a_draw_holds_until_its_time(self, cache: RedisWrapper, draw: list[float]) -> None:
        looks = Looks(cache, expiry=2000, stale=0, early=1.0)
        looks("first")
        context.local.cache.clear()
        draw[0] = 1.8  # chosen a fifth of a second from now, and held until then
        assert looks("not me") == "first"
        assert looks("not me") == "first"
        time.sleep(0.25)
        assert looks("second") == "second"

    def test_where_the_function_raises_the_present_one_is_returned(
        self, cache: RedisWrapper, draw: list[float]
    ) -> None:
        looks = Looks(cache, expiry=LONG, stale=0, early=1.0)
        looks("first")
        context.local.cache.clear()
        draw[0] = 1e6
        with pytest.warns(NotCachedWarning, match="LookupError: no answer"):
            assert looks("second", fail) == "first"
        assert looks.no_lease()

    def test_it_works_with_old_ones(self, cache: RedisWrapper, draw: list[float]) -> None:
        looks = Looks(cache, expiry=LONG, stale=LONG, early=1.0)
        looks("first")
        draw[0] = LONG / 1000 + 1  # the expiry that counts is the first one
        assert elsewhere(lambda: looks("second")) == "second"
        draw[0] = 0.0
        assert elsewhere(lambda: looks("third")) == "second"
        looks.make_old()
        assert looks("fourth") == "fourth"

    def test_one_that_somebody_computed_meanwhile_is_returned(
        self, cache: RedisWrapper, draw: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks = Looks(cache, expiry=LONG, stale=0, early=1.0)
        looks("first")
        name = looks.name
        cache.redis.pexpire(name, LONG // 2)
        draw[0] = 1e6
        steps = looks.steps(lambda: pytest.fail("another did"))
        context.local.cache.clear()
        perform = cache.connection.perform

        def after_another(effect: Any) -> Any:
            if isinstance(effect, RunScript):
                cache.redis.set(name, codec.Codec().encode("second", b"", cost=1.0), px=LONG)
                draw[0] = 0.0
            return perform(effect)

        monkeypatch.setattr(cache.connection, "perform", after_another)
        assert run(steps, cache.connection) == "second"
        assert context.local.cache[name] == "second"

    def test_an_entry_without_a_cost_is_computed_when_it_expires(self, cache: RedisWrapper) -> None:
        looks = Looks(cache, expiry=LONG, stale=0)
        looks("first")
        looks.options["early"] = 1e9
        assert elsewhere(lambda: looks("second")) == "first"

    def test_with_a_secret(self, server_url: str, site: str, draw: list[float]) -> None:
        context.init(site, url=server_url, secret="s3cret")
        cache = RedisWrapper()
        looks = Looks(cache, expiry=LONG, stale=0, early=1.0)
        looks("first")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert elsewhere(lambda: looks("not me")) == "first"
        draw[0] = 1e6
        assert elsewhere(lambda: looks("second")) == "second"
        cache.delete_keys("")


class TestScripts:
    def test_a_lease_to_refresh(self, cache: RedisWrapper) -> None:
        name = cache.make_key("key")
        names = name, lease_name(name)

        def ask(script: Any, on: Any, *arguments: Any) -> Any:
            return cache.connection.perform(RunScript(script, on, arguments))

        assert ask(TAKE_TO_REFRESH, names, "a1", 50_000, 100) == [2], "there is no entry"
        assert ask(STORE_UNDER_LEASE, names, "a1", b"1", 1000) == 1
        assert ask(TAKE_TO_REFRESH, names, "a1", 50_000, 1000) == [2]
        busy = ask(TAKE_TO_REFRESH, names, "b2", 50_000, 1000)
        assert busy[0] == 0
        assert 0 < busy[1] <= 50_000
        assert ask(REFRESH_UNDER_LEASE, names, "b2", b"2", 60_000) == 0
        assert ask(REFRESH_UNDER_LEASE, names, "a1", b"2", 60_000) == 1
        value, left = ask(TAKE_TO_REFRESH, names, "b2", 50_000, 1000)[1:]
        assert value == b"2"
        assert 50_000 < left <= 60_000
        cache.redis.persist(name)
        assert ask(TAKE_TO_REFRESH, names, "b2", 50_000, 1000) == [1, b"2", -1]
        assert cache.redis.exists(names[1]) == 0

    def test_a_lease_for_a_miss_replaces_nothing(self, cache: RedisWrapper) -> None:
        def compute() -> str:
            cache.redis.set(cache.make_key("key"), b"\x80\x05K\x05.")  # by somebody who knows of no leases
            return "made"

        assert cache.get_value("key", compute) == "made"
        assert elsewhere(lambda: cache.get_value("key")) == 5
        assert cache.redis.exists(lease_name(cache.make_key("key"))) == 0


def elsewhere_raising(function: Callable[[], Any]) -> Any:
    """The same as `elsewhere`, and an error of the function's is raised here."""

    def caught() -> Any:
        try:
            return function(), None
        except Exception as error:
            return None, error

    found, error = elsewhere(caught)
    if error is not None:
        raise error
    return found
