"""Strings: what `set_value` and its kin promise, on every kind of server."""

from __future__ import annotations

import math
import pickle
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from frappe_cache_ext import context, operations
from frappe_cache_ext.errors import MISS, NotCacheable, NotCachedWarning, UnreadableValueWarning
from frappe_cache_ext.redis_wrapper import RedisWrapper
from tests.support import until


def elsewhere(function: Any) -> Any:
    """Run a function as another process would: in a thread, where no request of ours holds anything."""
    found: list[Any] = []
    settings = context.current_settings()

    def run() -> None:
        context._settings.set(settings)
        found.append(function())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


class TestGetAndSet:
    def test_a_value_comes_back(self, cache: RedisWrapper) -> None:
        cache.set_value("key", "value")
        assert cache.get_value("key") == "value"
        assert elsewhere(lambda: cache.get_value("key")) == "value"

    def test_a_missing_key_reads_as_none_or_the_default(self, cache: RedisWrapper) -> None:
        assert cache.get_value("nothing") is None
        assert cache.get_value("nothing", default=7) == 7
        assert cache.get_value("nothing", default=MISS) is MISS

    @pytest.mark.parametrize("value", [None, 0, "", False, [], {}, 0.0])
    def test_a_falsy_value_is_a_hit(self, cache: RedisWrapper, value: object) -> None:
        cache.set_value("key", value)
        assert cache.get_value("key", default=MISS) == value
        assert elsewhere(lambda: cache.get_value("key", default=MISS)) == value

    def test_the_bytes_are_a_plain_pickle_under_the_site_prefix(self, cache: RedisWrapper) -> None:
        cache.set_value("key", {"a": [1]})
        name = f"{context.local.conf['db_name']}|key"
        assert cache.redis.get(name) == pickle.dumps({"a": [1]}, protocol=5)

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_pickles_of_older_protocols_are_read(self, cache: RedisWrapper, protocol: int) -> None:
        cache.redis.set(cache.make_key("key"), pickle.dumps({"a": 1}, protocol=protocol))
        assert cache.get_value("key") == {"a": 1}

    @pytest.mark.parametrize(("key", "text"), [(5, "5"), (None, "None"), ((1, "a"), "(1, 'a')"), (b"k", "b'k'")])
    def test_keys_that_are_not_text_are_formatted(self, cache: RedisWrapper, key: object, text: str) -> None:
        cache.set_value(key, 1)
        assert cache.get_value(text) == 1

    def test_setting_again_drops_the_old_expiry(self, cache: RedisWrapper) -> None:
        cache.set_value("key", 1, expires_in_sec=100)
        cache.set_value("key", 2)
        assert cache.get_expiry("key") == math.inf

    def test_the_wrapper_answers_to_a_call_as_old_code_writes_it(self, cache: RedisWrapper) -> None:
        assert cache() is cache

    def test_other_commands_go_to_the_client_without_the_prefix(self, cache: RedisWrapper, site: str) -> None:
        assert cache.incrby(f"{site}:counter", 2) == 2
        assert cache.get(f"{site}:counter") == b"2"
        cache.redis.delete(f"{site}:counter")


class TestExpiry:
    @pytest.mark.parametrize("expiry", [0.2, timedelta(milliseconds=200)])
    def test_a_value_expires_and_no_request_remembers_it(self, cache: RedisWrapper, expiry: Any) -> None:
        cache.set_value("key", "value", expires_in_sec=expiry)
        assert cache.get_value("key") == "value"
        time.sleep(0.25)
        assert cache.get_value("key") is None

    def test_a_value_read_by_a_request_expires_there_too(self, cache: RedisWrapper) -> None:
        elsewhere(lambda: cache.set_value("key", "value", expires_in_sec=0.2))
        assert cache.get_value("key") == "value"
        assert cache.make_key("key") in context.local.cache
        time.sleep(0.25)
        assert cache.make_key("key") not in context.local.cache
        assert cache.get_value("key") is None

    def test_it_goes_over_the_wire_in_milliseconds(self, cache: RedisWrapper) -> None:
        cache.set_value("key", 1, expires_in_sec=1.5)
        assert 1000 < cache.redis.pttl(cache.make_key("key")) <= 1500

    @pytest.mark.parametrize("expiry", [0, -1, 0.0, timedelta(0), math.nan, math.inf])
    def test_zero_negative_and_endless_are_refused(self, cache: RedisWrapper, expiry: Any) -> None:
        with pytest.raises(ValueError, match="more than zero"):
            cache.set_value("key", 1, expires_in_sec=expiry)
        assert cache.exists("key") == 0

    @pytest.mark.parametrize("expiry", ["60", True, [1]])
    def test_what_is_no_number_of_seconds_is_refused(self, cache: RedisWrapper, expiry: Any) -> None:
        with pytest.raises(TypeError, match="seconds or a timedelta"):
            cache.set_value("key", 1, expires_in_sec=expiry)

    def test_expire_key(self, cache: RedisWrapper) -> None:
        cache.set_value("key", 1)
        assert cache.expire_key("key", 0.1)
        assert not cache.expire_key("other", 0.1)
        time.sleep(0.15)
        assert cache.get_value("key") is None
        with pytest.raises(ValueError, match="more than zero"):
            cache.expire_key("key", 0)

    def test_get_expiry(self, cache: RedisWrapper) -> None:
        cache.set_value("short", 1, expires_in_sec=10)
        cache.set_value("long", 1)
        assert 9 < (cache.get_expiry("short") or 0) <= 10
        assert cache.get_expiry("long") == math.inf
        assert cache.get_expiry("none") is None


class TestGenerator:
    def test_it_is_called_on_a_miss_and_its_value_stored(self, cache: RedisWrapper) -> None:
        calls: list[int] = []
        for _ in range(2):
            assert cache.get_value("key", lambda: calls.append(1) or "made") == "made"
        assert calls == [1]
        assert elsewhere(lambda: cache.get_value("key")) == "made"

    def test_with_expires_too(self, cache: RedisWrapper) -> None:
        assert cache.get_value("key", lambda: "made", expires=True) == "made"
        assert cache.make_key("key") not in context.local.cache
        assert cache.get_value("key") == "made"

    def test_with_shared_it_writes_the_shared_key(self, cache: RedisWrapper, site: str) -> None:
        assert cache.get_value(f"{site}-shared", lambda: "made", shared=True) == "made"
        assert pickle.loads(cache.redis.get(f"{site}-shared")) == "made"
        assert cache.get_keys() == []
        cache.delete_value(f"{site}-shared", shared=True)

    def test_a_stored_none_is_not_made_again(self, cache: RedisWrapper) -> None:
        cache.set_value("key", None)
        assert cache.get_value("key", lambda: pytest.fail("made again")) is None

    def test_a_remembered_miss_does_not_keep_it_from_being_called(self, cache: RedisWrapper) -> None:
        assert cache.get_value("key") is None
        assert cache.get_value("key", lambda: "made") == "made"

    def test_its_error_reaches_the_caller_and_frees_the_key(self, cache: RedisWrapper) -> None:
        for error in (KeyError("mine"), StopIteration(3), KeyboardInterrupt()):

            def fail(error: BaseException = error) -> None:
                raise error

            with pytest.raises(type(error)) as caught:
                cache.get_value("key", fail)
            assert caught.value is error
            assert caught.value.__context__ is None
        started = time.monotonic()
        assert cache.get_value("key", lambda: "made") == "made"
        assert time.monotonic() - started < 1

    def test_what_it_returns_is_returned_even_if_it_cannot_be_stored(self, cache: RedisWrapper) -> None:
        lock = threading.Lock()
        with pytest.warns(NotCachedWarning, match=r"value\['lock'\]: _thread.lock"):
            assert cache.get_value("key", lambda: {"lock": lock})["lock"] is lock
        assert cache.exists("key") == 0

    def test_it_may_ask_for_the_key_it_makes(self, cache: RedisWrapper) -> None:
        assert cache.get_value("key", lambda: cache.get_value("key", lambda: "inner") + " outer") == "inner outer"
        assert cache.get_value("key") == "inner outer"


class TestTheRequestsCopies:
    def test_a_request_does_not_ask_twice(self, cache: RedisWrapper) -> None:
        cache.set_value("key", "old")
        elsewhere(lambda: cache.set_value("key", "new"))
        assert cache.get_value("key") == "old"
        assert cache.get_value("key", use_local_cache=False) == "new"
        assert cache.get_value("key") == "new"

    def test_the_next_request_asks_again(self, cache: RedisWrapper) -> None:
        cache.set_value("key", "old")
        elsewhere(lambda: cache.set_value("key", "new"))
        with context.request():
            assert cache.get_value("key") == "new"

    def test_a_miss_is_remembered_within_the_request(self, cache: RedisWrapper) -> None:
        assert cache.get_value("key") is None
        elsewhere(lambda: cache.set_value("key", 1))
        assert cache.get_value("key", default=5) == 5
        assert cache.make_key("key") not in context.local.cache
        with context.request():
            assert cache.get_value("key") == 1

    def test_changing_a_value_changes_nothing_for_the_next_reader(self, cache: RedisWrapper) -> None:
        mine = {"list": [1]}
        cache.set_value("key", mine)
        mine["list"].append(2)
        first = cache.get_value("key")
        first["list"].append(3)
        assert cache.get_value("key") == {"list": [1]}
        cache.get_value("made", lambda: [1]).append(2)
        assert cache.get_value("made") == [1]
        assert cache.hget("hash", "field", lambda: [1]) == [1]
        cache.hget("hash", "field").append(2)
        assert cache.hget("hash", "field") == [1]
        context.local.cache[cache.make_key("key")]["list"].append(4)
        assert cache.get_value("key") == {"list": [1]}

    def test_a_value_that_cannot_change_is_handed_out_as_it_is(self, cache: RedisWrapper) -> None:
        value = ("a" * 1000, 5, frozenset({1}))
        cache.set_value("key", value)
        assert cache.get_value("key") is value

    def test_outside_a_request_nothing_is_held(self, cache: RedisWrapper) -> None:
        def ask() -> list[Any]:
            cache.set_value("key", 1)
            cache.redis.set(cache.make_key("key"), pickle.dumps(2))
            return [cache.get_value("key"), dict(context.local.cache)]

        assert elsewhere(ask) == [2, {}]

    def test_deleting_reaches_them(self, cache: RedisWrapper) -> None:
        for delete in (
            lambda: cache.delete_value("key"),
            lambda: cache.delete_value(["other", "key"]),
            lambda: cache.delete_keys("k"),
            lambda: cache.expire_key("key", 0.001) and time.sleep(0.01),
        ):
            cache.set_value("key", 1)
            delete()
            assert cache.get_value("key") is None

    def test_two_wrappers_on_two_servers_do_not_share_them(self, cache: RedisWrapper, site: str) -> None:
        from frappe_cache_ext.connections import Connection
        from frappe_cache_ext.settings import Settings

        beside = RedisWrapper(Connection(Settings(site=site, url=f"memory://beside-{site}")))
        cache.set_value("key", "here")
        assert beside.get_value("key") is None
        beside.set_value("key", "there")
        assert (cache.get_value("key"), beside.get_value("key")) == ("here", "there")


class TestBadValues:
    def test_a_value_that_cannot_be_pickled_is_named_and_nothing_stored(self, cache: RedisWrapper) -> None:
        cache.set_value("key", "old")
        with pytest.raises(NotCacheable, match=r"value\['a'\]\[1\]: _thread.lock"):
            cache.set_value("key", {"a": [1, threading.Lock()]})
        assert cache.get_value("key") == "old"

    @pytest.mark.parametrize(
        "data",
        [b"", b"\x80", b"not a pickle", b"5", pickle.dumps("value")[:-3], b"\xfcFC\x01\x01" + b"x" * 40, b"\xfcFC\x09"],
    )
    def test_bytes_that_are_no_value_are_a_miss_with_a_warning(self, cache: RedisWrapper, data: bytes) -> None:
        cache.redis.set(cache.make_key("key"), data)
        with pytest.warns(UnreadableValueWarning, match="'.*|key' could not be read"):
            assert cache.get_value("key", default="none") == "none"

    def test_they_are_replaced_by_the_generators_value(self, cache: RedisWrapper) -> None:
        cache.redis.set(cache.make_key("key"), b"not a pickle")
        with pytest.warns(UnreadableValueWarning):
            assert cache.get_value("key", lambda: "made") == "made"
        assert elsewhere(lambda: cache.get_value("key")) == "made"

    def test_a_key_of_another_type_is_a_miss_with_a_warning(self, cache: RedisWrapper) -> None:
        cache.rpush("key", 1)
        with pytest.warns(UnreadableValueWarning, match="WRONGTYPE"):
            assert cache.get_value("key", lambda: "made") == "made"
        assert cache.lrange("key", 0, -1) == [b"1"], "somebody's list was overwritten"


class TestDeleting:
    def test_any_iterable_of_keys(self, cache: RedisWrapper) -> None:
        for keys in (["a", "b"], ("a", "b"), {"a", "b"}, (key for key in "ab"), {"a": 1, "b": 2}.keys()):
            cache.set_value("a", 1)
            cache.set_value("b", 1)
            cache.delete_value(keys)
            assert cache.exists("a", "b") == 0

    def test_a_users_key(self, cache: RedisWrapper) -> None:
        cache.set_value("key", 1, user="anna@example.com")
        cache.set_value("key", 2)
        cache.delete_value("key", user="anna@example.com")
        assert cache.get_value("key", user="anna@example.com") is None
        assert cache.get_value("key") == 2

    def test_delete_key_is_the_same(self, cache: RedisWrapper) -> None:
        cache.set_value("key", 1)
        cache.delete_key("key")
        assert cache.exists("key") == 0

    def test_names_as_they_are_on_the_wire(self, cache: RedisWrapper) -> None:
        cache.set_value("key", 1)
        cache.delete_value(cache.get_keys("k"), make_keys=False)
        assert cache.exists("key") == 0


class TestLeases:
    def test_one_of_many_threads_computes(self, cache: RedisWrapper) -> None:
        calls: list[int] = []

        def slow() -> str:
            calls.append(1)
            time.sleep(0.2)
            return "made"

        found: list[Any] = []
        settings = context.current_settings()

        def ask() -> None:
            context._settings.set(settings)
            found.append(cache.get_value("key", slow))

        threads = [threading.Thread(target=ask) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == ["made"] * 30
        assert calls == [1]

    @pytest.mark.parametrize("change", ["delete_value", "delete_keys", "set_value"])
    def test_a_value_computed_before_a_change_is_not_stored_after_it(self, cache: RedisWrapper, change: str) -> None:
        def compute() -> str:
            # While the old value is on its way, the key is changed.
            if change == "set_value":
                elsewhere(lambda: cache.set_value("key", "new"))
            else:
                elsewhere(lambda: getattr(cache, change)("key"))
            return "old"

        assert cache.get_value("key", compute) == "old"
        with context.request():
            assert cache.get_value("key") == ("new" if change == "set_value" else None)

    def test_a_lease_is_nobodys_key(self, cache: RedisWrapper) -> None:
        listed: list[Any] = []
        cache.get_value("key", lambda: listed.append((cache.get_keys(), cache.get_all(""))))
        assert listed == [([], {})]
        assert cache.redis.exists(operations.lease_name(cache.make_key("key"))) == 0, "a lease was left behind"

    def test_a_dead_holder_keeps_nobody_waiting_for_long(
        self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from frappe_cache_ext.operations import loading

        monkeypatch.setattr(loading, "LEASE", 0.3)
        name = cache.make_key("key")
        cache.redis.set(operations.lease_name(name), b"of a dead process", px=300)
        started = time.monotonic()
        assert cache.get_value("key", lambda: "made") == "made"
        assert 0.1 < time.monotonic() - started < 2

    def test_a_holder_at_work_keeps_its_lease(self, cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
        from frappe_cache_ext import leases
        from frappe_cache_ext.operations import loading

        monkeypatch.setattr(loading, "LEASE", 0.3)
        monkeypatch.setattr(leases, "LEASE", 0.3)
        monkeypatch.setattr(leases, "BEAT", 0.1)
        leases.heartbeat.stop()  # one that already waits does so by the old beat
        calls: list[int] = []

        def slow() -> str:
            calls.append(1)
            time.sleep(1)
            return "made"

        settings = context.current_settings()

        def ask() -> None:
            context._settings.set(settings)
            assert cache.get_value("key", slow) == "made"

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: calls, what="the first call")
        for thread in threads:
            thread.join()
        assert calls == [1]
