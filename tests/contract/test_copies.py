"""Copies in this process: `client_cache` and `@redis_cache`, on each kind of server."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import frappe_cache_ext as frappe
from frappe_cache_ext import context, redis_cache
from frappe_cache_ext.client_caching import ClientCache
from frappe_cache_ext.connections import Connection, current_connection
from frappe_cache_ext.errors import NotCacheable
from frappe_cache_ext.redis_wrapper import RedisWrapper
from tests.support import stranger_to, until

RUNS: list[Any] = []

# On the others there are no copies.
on_servers_that_tell = pytest.mark.parametrize("server_url", ["embedded", "redis-server"], indirect=True)


@redis_cache
def double(x: Any) -> Any:
    RUNS.append(x)
    return x * 2


@redis_cache
def shelf(x: Any, *, of: str = "books") -> dict[str, Any]:
    RUNS.append(x)
    return {"of": of, "rows": [x]}


@redis_cache(copies=False)
def asking(x: Any) -> Any:
    RUNS.append(x)
    return x


@redis_cache(user=True)
def mine(x: Any) -> Any:
    RUNS.append(x)
    return context.current_user(), x


@redis_cache(ttl=0.5)
def short(x: Any) -> Any:
    RUNS.append(x)
    return len(RUNS)


@redis_cache(key=len)
def by_length(rows: Any) -> Any:
    RUNS.append(rows)
    return len(rows)


RATE = 2


@redis_cache
def priced(x: Any) -> Any:
    RUNS.append(x)
    return x * RATE + extra()


def extra() -> int:
    return 0


@redis_cache
async def slowly(x: Any) -> Any:
    RUNS.append(x)
    await asyncio.sleep(0)
    return [x]


@pytest.fixture(autouse=True)
def no_runs() -> None:
    RUNS.clear()


@pytest.fixture
def connection(cache: RedisWrapper) -> Connection:
    """The site's connection, used once, so that it is listened to."""
    cache.exists("anything")
    until(lambda: frappe.client_cache.healthy, what="listening")
    return current_connection()


@pytest.fixture
def stranger(connection: Connection) -> Iterator[RedisWrapper]:
    """Somebody else on the same server."""
    with stranger_to(connection) as other:
        yield other


def asked(connection: Connection, what: Callable[[], Any]) -> int:
    """How many commands reach the server while something is done."""
    own = Connection(connection.settings)
    try:
        before = own.client.info("commandstats")
        what()
        after = own.client.info("commandstats")
    finally:
        own.close()
    ours = {
        name: stat["calls"] for name, stat in after.items() if not name.startswith(("cmdstat_info", "cmdstat_ping"))
    }
    return sum(ours.values()) - sum(before[name]["calls"] for name in ours if name in before)


class TestClientCache:
    def test_it_reads_as_the_cache_does(self, cache: RedisWrapper) -> None:
        copies = ClientCache()
        copies.set_value("color", {"name": "green"})
        for _ in range(3):
            assert copies.get_value("color") == {"name": "green"}
        assert cache.get_value("color") == {"name": "green"}
        copies.delete_value("color")
        assert copies.get_value("color") is None

    @pytest.mark.parametrize("key", ["text", 7, ("a", 1), "ü\x1f|"])
    def test_keys_of_any_kind(self, cache: RedisWrapper, key: Any) -> None:
        for value in (1, "two", None):
            frappe.client_cache.set_value(key, value)
            for _ in range(3):
                assert frappe.client_cache.get_value(key) == value == cache.get_value(key)

    def test_a_generator(self, cache: RedisWrapper) -> None:
        for _ in range(3):
            assert frappe.client_cache.get_value("made", generator=lambda: RUNS.append(1) or "made") == "made"
        assert RUNS == [1]

    def test_a_stored_none_is_a_hit(self, cache: RedisWrapper) -> None:
        frappe.client_cache.set_value("none", None)
        for _ in range(3):
            assert frappe.client_cache.get_value("none", generator=lambda: 1) is None

    def test_keys_that_belong_to_no_site(self, cache: RedisWrapper, site: str) -> None:
        key = f"shared-{site}"
        frappe.client_cache.set_value(key, 1, shared=True)
        cache.set_value(key, 2, shared=True)
        assert frappe.client_cache.get_value(key, shared=True) == 2
        assert frappe.client_cache.get_value(key) is None
        frappe.client_cache.delete_value(key, shared=True)
        assert frappe.client_cache.get_value(key, shared=True) is None

    def test_several_keys_and_prefixes(self, cache: RedisWrapper) -> None:
        for key in ("a1", "a2", "b1", "b2", "c"):
            frappe.client_cache.set_value(key, key)
            frappe.client_cache.get_value(key)
            frappe.client_cache.get_value(key)
        frappe.client_cache.delete_value(["a1", "a2"])
        frappe.client_cache.delete_keys("b")
        assert [frappe.client_cache.get_value(key) for key in ("a1", "a2", "b1", "b2", "c")] == [None] * 4 + ["c"]

    def test_what_cannot_be_stored_says_so(self, cache: RedisWrapper) -> None:
        with pytest.raises(NotCacheable):
            frappe.client_cache.set_value("lock", threading.Lock())

    def test_where_nobody_tells_of_changes_it_says_why(self, cache: RedisWrapper) -> None:
        cache.exists("anything")
        told = not current_connection().settings.url.startswith(("memory:", "cluster:"))
        until(lambda: frappe.client_cache.healthy is told, what="listening")
        until(lambda: told or current_connection().listener.refused, what="a reason")
        assert ("cluster" in repr(frappe.client_cache)) is not told
        assert frappe.client_cache.statistics.healthy is told


@on_servers_that_tell
class TestCopies:
    def test_a_second_read_does_not_ask(self, connection: Connection) -> None:
        frappe.client_cache.set_value("key", [1])
        frappe.client_cache.get_value("key")
        frappe.client_cache.reset_statistics()

        def read() -> None:
            for _ in range(10):
                assert frappe.client_cache.get_value("key") == [1]

        until(lambda: asked(connection, read) == 0, what="a copy")
        assert frappe.client_cache.statistics.hits >= 10
        assert frappe.client_cache.statistics.hit_ratio is not None

    def test_a_change_by_somebody_else_is_seen(self, connection: Connection, stranger: RedisWrapper) -> None:
        frappe.client_cache.set_value("key", 1)
        until(lambda: connection.copies.find(stranger.make_key("key")) or frappe.client_cache.get_value("key") is None)
        for number in range(2, 20):
            stranger.set_value("key", number)
            until(lambda: frappe.client_cache.get_value("key") == number, what="the change")  # noqa: B023
        stranger.delete_value("key")
        until(lambda: frappe.client_cache.get_value("key") is None, what="the deletion")

    @pytest.mark.parametrize(
        "change",
        [
            lambda cache, key: cache.set_value(key, "new"),
            lambda cache, key: cache.delete_value(key),
            lambda cache, key: cache.delete_value([key]),
            lambda cache, key: cache.delete_value(cache.make_key(key), make_keys=False),
            lambda cache, key: cache.delete_keys("k"),
            lambda cache, key: cache.expire_key(key, 0.001) and time.sleep(0.01),
            lambda cache, key: frappe.clear_cache(),
        ],
    )
    def test_what_one_changes_oneself_is_seen_at_once(
        self, cache: RedisWrapper, connection: Connection, change: Callable[[RedisWrapper, str], Any]
    ) -> None:
        for _ in range(20):
            cache.set_value("key", "old")
            frappe.client_cache.get_value("key")
            frappe.client_cache.get_value("key")
            change(cache, "key")
            assert frappe.client_cache.get_value("key") in {None, "new"}

    def test_a_copy_ends_with_its_entry(self, cache: RedisWrapper, connection: Connection) -> None:
        started = time.monotonic()
        cache.set_value("key", 1, expires_in_sec=0.5)
        while frappe.client_cache.get_value("key") == 1:
            assert time.monotonic() - started < 5
        assert time.monotonic() - started >= 0.49

    def test_nobody_shares_a_value_that_can_be_changed(self, connection: Connection) -> None:
        frappe.client_cache.set_value("key", {"rows": [1]})
        for _ in range(5):
            frappe.client_cache.get_value("key")["rows"].append(2)
        assert frappe.client_cache.get_value("key") == {"rows": [1]}

    def test_sites_do_not_mix(self, connection: Connection, site: str) -> None:
        frappe.client_cache.set_value("key", 1)
        for _ in range(3):
            assert frappe.client_cache.get_value("key") == 1
        with context.visiting(context.Settings.load(site=f"other-{site}", url=connection.settings.url)):
            frappe.client_cache.set_value("key", 2)
            for _ in range(3):
                assert frappe.client_cache.get_value("key") == 2
        for _ in range(3):
            assert frappe.client_cache.get_value("key") == 1

    def test_a_flush_by_somebody_else(self, connection: Connection, stranger: RedisWrapper) -> None:
        frappe.client_cache.set_value("key", 1)
        frappe.client_cache.get_value("key")
        names = [name for name in stranger.get_keys() if name]
        assert names
        stranger.redis.delete(*names)
        until(lambda: frappe.client_cache.get_value("key") is None, what="the flush")


@on_servers_that_tell
class TestFunctions:
    def test_a_third_call_does_not_ask(self, connection: Connection) -> None:
        double(4)

        def call() -> None:
            for _ in range(10):
                assert double(4) == 8

        until(lambda: asked(connection, call) == 0, what="a copy")
        assert RUNS == [4]

    def test_one_that_is_to_ask_asks(self, connection: Connection) -> None:
        asking(4)

        def call() -> None:
            for _ in range(10):
                with frappe.request():
                    assert asking(4) == 4

        assert asked(connection, call) >= 10

    @pytest.mark.parametrize("argument", [4, 4.5, "four", b"4", None, True, [4], {"a": [4]}, (4, "x"), {4}, 0.0])
    def test_arguments_of_any_kind(self, connection: Connection, argument: Any) -> None:
        for _ in range(5):
            assert shelf(argument) == {"of": "books", "rows": [argument]}
            assert shelf(argument, of="maps") == {"of": "maps", "rows": [argument]}
        assert len(RUNS) == 2

    def test_equal_arguments_of_different_types_stay_apart(self, connection: Connection) -> None:
        for _ in range(5):
            assert [type(double(x)) for x in (1, 1.0, True, 0.0, -0.0)] == [int, float, int, float, float]
            assert str(double(-0.0)) == "-0.0"
        assert len(RUNS) == 5

    def test_the_counts_are_right(self, connection: Connection) -> None:
        before = shelf.cache_info()
        for _ in range(7):
            shelf(1)
            shelf([2])
            shelf(3, of="x")
        now = shelf.cache_info()
        assert (now.hits - before.hits, now.misses - before.misses) == (18, 3)

    def test_a_result_can_be_changed_without_harm(self, connection: Connection) -> None:
        for _ in range(5):
            assert shelf(9)["rows"] == [9]
            shelf(9)["rows"].append(0)

    def test_clearing_is_seen_at_once_here(self, connection: Connection) -> None:
        for number in range(1, 20):
            double(4)
            double(4)
            double.clear_cache()
            double(4)
            assert len(RUNS) == number * 2 - (number - 1)

    def test_and_soon_elsewhere(self, connection: Connection, stranger: RedisWrapper) -> None:
        for _ in range(3):
            double(4)
        (name,) = [name for name in stranger.get_keys() if name.endswith(b"double::generation")]
        stranger.redis.set(name, pickle.dumps("another"))
        until(lambda: double(4) == 8 and RUNS == [4, 4], what="the clearing")

    def test_one_call_can_be_forgotten(self, connection: Connection) -> None:
        for _ in range(3):
            double(4), double(5)
        double.invalidate(4)
        double(4), double(5)
        assert RUNS == [4, 5, 4]

    def test_users_do_not_mix(self, connection: Connection) -> None:
        for _ in range(4):
            for user in ("anna@example.com", "bob@example.com"):
                frappe.set_user(user)
                assert mine(1) == (user, 1)
        assert len(RUNS) == 2

    def test_sites_do_not_mix(self, connection: Connection, site: str) -> None:
        other = context.Settings.load(site=f"other-{site}", url=connection.settings.url)
        for _ in range(4):
            assert double(4) == 8
            with context.visiting(other):
                assert double(4) == 8
        assert RUNS == [4, 4]

    def test_an_expired_result_is_computed_anew(self, connection: Connection) -> None:
        started = time.monotonic()
        while short(1) == 1:
            assert time.monotonic() - started < 5
        assert time.monotonic() - started >= 0.49

    def test_what_the_key_function_says_counts(self, connection: Connection) -> None:
        for _ in range(4):
            assert by_length([1, 2]) == by_length("ab") == 2
            assert by_length([1]) == 1
        assert len(RUNS) == 2

    def test_within_a_request_too_a_change_is_seen(self, connection: Connection, stranger: RedisWrapper) -> None:
        assert context.current_request() is not None
        for _ in range(3):
            double(4)
        (name,) = [name for name in stranger.get_keys() if b"double::" in name and not name.endswith(b"generation")]
        stranger.delete_value(name, make_keys=False)
        until(lambda: double(4) == 8 and RUNS == [4, 4], what="the deletion")

    def test_coroutines(self, connection: Connection) -> None:
        async def main() -> None:
            for _ in range(5):
                assert await slowly(1) == [1]
                (await slowly(1)).append(2)

        asyncio.run(main())
        assert RUNS == [1]

    def test_threads(self, connection: Connection) -> None:
        wrong: list[Any] = []
        settings = context.current_settings()

        def work() -> None:
            context.enter(settings)
            for number in range(300):
                if double(number % 10) != (number % 10) * 2:
                    wrong.append(number)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert sorted(RUNS) == list(range(10))


@on_servers_that_tell
class TestEdits:
    """What the function is may change between two calls."""

    @pytest.fixture(autouse=True)
    def as_it_was(self, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("RATE", "extra"):
            monkeypatch.setitem(globals(), name, globals()[name])

    def warm(self, function: Callable[[Any], Any], x: Any) -> Any:
        for _ in range(4):
            result = function(x)
        assert len(RUNS) == 1
        return result

    def test_a_constant_that_it_reads(self) -> None:
        assert self.warm(priced, 10) == 20
        globals()["RATE"] = 3
        assert priced(10) == 30
        globals()["RATE"] = 2
        assert priced(10) == 20
        assert RUNS == [10, 10]

    def test_a_helper_that_it_calls(self) -> None:
        assert self.warm(priced, 10) == 20
        globals()["extra"] = lambda: 5
        assert priced(10) == 25

    def test_a_variable_of_its_closure(self) -> None:
        factor = 2

        @redis_cache
        def scaled(x: int) -> int:
            RUNS.append(x)
            return x * factor

        assert self.warm(scaled, 10) == 20
        factor = 3
        assert scaled(10) == 30
        factor = 2
        assert scaled(10) == 20
        assert len(RUNS) == 2

    def test_a_list_in_its_closure(self) -> None:
        factors = [2]

        @redis_cache
        def scaled(x: int) -> int:
            RUNS.append(x)
            return x * sum(factors)

        assert self.warm(scaled, 10) == 20
        factors.append(1)
        assert scaled(10) == 30

    def test_a_function_in_its_closure_and_what_that_one_closes_over(self) -> None:
        factor = 2

        def factor_now() -> int:
            return factor

        @redis_cache
        def scaled(x: int) -> int:
            RUNS.append(x)
            return x * factor_now()

        assert self.warm(scaled, 10) == 20
        factor = 3
        assert scaled(10) == 30

    def test_a_list_among_its_defaults(self) -> None:
        @redis_cache
        def scaled(x: int, factors: list[int] = [2]) -> int:  # noqa: B006  (that is what may change)
            RUNS.append(x)
            return x * sum(factors)

        assert self.warm(scaled, 10) == 20
        scaled.__wrapped__.__defaults__[0].append(1)  # type: ignore[attr-defined]
        assert scaled(10) == 30

    def test_its_code_replaced_in_place_from_the_next_cell_on(self) -> None:
        """As IPython's autoreload does it."""

        def once(x: Any) -> Any:
            RUNS.append(x)
            return x * 2

        def twice(x: Any) -> Any:
            RUNS.append(x)
            return x * 4

        cached = redis_cache(once)
        assert self.warm(cached, 10) == 20
        once.__code__ = twice.__code__
        context.end_cell()
        assert cached(10) == 40


class TestRefreshing:
    @on_servers_that_tell
    def test_an_old_result_is_no_copy(self, connection: Connection) -> None:
        @redis_cache(ttl=0.6, stale=60)
        def number(x: int) -> int:
            RUNS.append(x)
            return len(RUNS)

        assert number(1) == 1
        assert [number(1) for _ in range(3)] == [1, 1, 1]
        time.sleep(0.7)
        assert [number(1) for _ in range(3)] == [2, 2, 2]

    @on_servers_that_tell
    def test_the_last_result_in_place_of_an_error(self, connection: Connection) -> None:
        @redis_cache(ttl=0.1, stale=60)
        def number(x: int) -> int:
            RUNS.append(x)
            if len(RUNS) > 1:
                raise OSError("no answer")
            return 7

        assert number(1) == 7
        time.sleep(0.15)
        with pytest.warns(frappe.errors.NotCachedWarning, match="no answer"):
            assert number(1) == 7

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"ttl": None, "stale": 1}, "give it a ttl"),
            ({"ttl": None, "early": 1}, "give it a ttl"),
            ({"stale": 0}, "not possible"),
            ({"stale": -1}, "not possible"),
            ({"early": -1}, "is a number"),
            ({"early": "soon"}, "is a number"),
            ({"early": float("inf")}, "is a number"),
        ],
    )
    def test_nonsense_is_refused(self, options: dict[str, Any], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            redis_cache(**options)(lambda: 1)
