"""Hashes, lists and sets, on every kind of server."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from frappe_cache_ext import context
from frappe_cache_ext.errors import MISS, NotCacheable, NotCachedWarning, UnreadableValueWarning
from frappe_cache_ext.redis_wrapper import RedisWrapper
from tests.contract.test_strings import elsewhere


class TestHashes:
    def test_the_guides_user(self, cache: RedisWrapper) -> None:
        cache.hset("user|admin", "name", "Admin")
        cache.hset("user|admin", "email", "")
        assert cache.hget("user|admin", "name") == "Admin"
        assert cache.hgetall("user|admin") == {"name": "Admin", "email": ""}

    def test_fields_are_told_apart_and_missing_ones_are_none(self, cache: RedisWrapper) -> None:
        cache.hset("hash", "a", 1)
        assert cache.hget("hash", "b") is None
        assert cache.hget("hash", "b", default=MISS) is MISS
        assert cache.hexists("hash", "a")
        assert not cache.hexists("hash", "b")

    def test_a_stored_none_is_a_hit(self, cache: RedisWrapper) -> None:
        cache.hset("hash", "a", None)
        assert cache.hget("hash", "a", lambda: pytest.fail("made again"), default=5) is None
        assert elsewhere(lambda: cache.hget("hash", "a", default=5)) is None

    def test_fields_that_are_not_text(self, cache: RedisWrapper) -> None:
        cache.hset("hash", 5, "five")
        cache.hset("hash", b"raw", "bytes")
        assert cache.hgetall("hash") == {"5": "five", "raw": "bytes"}
        assert cache.hget("hash", "5") == "five"
        assert cache.hget("hash", "raw") == "bytes"

    def test_hkeys_are_bytes(self, cache: RedisWrapper) -> None:
        cache.hset("hash", "a", 1)
        assert cache.hkeys("hash") == [b"a"]
        assert cache.hkeys("none") == []

    def test_the_generator(self, cache: RedisWrapper) -> None:
        calls: list[int] = []
        for _ in range(2):
            assert cache.hget("hash", "a", lambda: calls.append(1) or "made") == "made"
        assert calls == [1]
        assert elsewhere(lambda: cache.hget("hash", "a")) == "made"
        with pytest.warns(NotCachedWarning, match=r"value: _thread.lock"):
            cache.hget("hash", "b", threading.Lock)

    def test_a_field_that_cannot_be_pickled(self, cache: RedisWrapper) -> None:
        with pytest.raises(NotCacheable, match=r"_thread\.lock"):
            cache.hset("hash", "a", threading.Lock())
        assert not cache.hexists("hash", "a")

    def test_hdel(self, cache: RedisWrapper) -> None:
        for field in "abcd":
            cache.hset("hash", field, field)
        assert cache.hdel("hash", "a") == 1
        assert cache.hdel("hash", ["b", "none"]) == 1
        assert cache.hdel("hash", (field for field in "c")) == 1
        assert cache.hget("hash", "a") is None
        assert cache.hgetall("hash") == {"d": "d"}

    def test_hdel_names_and_hdel_keys(self, cache: RedisWrapper) -> None:
        for name in ("user:1", "user:2", "users", "other"):
            cache.hset(name, "a", 1)
            cache.hset(name, "b", 1)
        assert cache.hdel_names(["user:1", "other"], "a") == 2
        assert cache.hdel_keys("user:", "b") == 2
        assert [sorted(cache.hgetall(name)) for name in ("user:1", "user:2", "users", "other")] == [
            [],
            ["a"],
            ["a", "b"],
            ["b"],
        ]

    def test_shared_hashes(self, cache: RedisWrapper, site: str) -> None:
        cache.hset(f"{site}-hash", "a", 1, shared=True)
        assert cache.hget(f"{site}-hash", "a", shared=True) == 1
        assert cache.hget(f"{site}-hash", "a") is None
        assert cache.hgetall(f"{site}-hash", shared=True) == {"a": 1}
        assert cache.hdel(f"{site}-hash", "a", shared=True) == 1

    def test_the_request_holds_fields(self, cache: RedisWrapper) -> None:
        cache.hset("hash", "a", "old")
        elsewhere(lambda: cache.hset("hash", "a", "new"))
        assert cache.hget("hash", "a") == "old"
        assert context.local.cache[cache.make_key("hash")] == {"a": "old"}
        assert cache.hget("hash", "a", use_local_cache=False) == "new"
        cache.hset("hash", "a", "hidden", cache_locally=False)
        assert cache.make_key("hash") not in context.local.cache
        assert cache.hget("hash", "a") == "hidden"

    def test_a_field_does_not_outlive_its_hash_in_the_request(self, cache: RedisWrapper) -> None:
        cache.hset("hash", "a", 1)
        cache.expire_key("hash", 0.2)
        assert cache.hget("hash", "a") == 1
        time.sleep(0.25)
        assert cache.hget("hash", "a") is None

    def test_an_unreadable_field_is_a_miss(self, cache: RedisWrapper) -> None:
        cache.hset("hash", "a", 1)
        cache.redis.hset(cache.make_key("hash"), "b", b"junk")
        with pytest.warns(UnreadableValueWarning):
            assert cache.hget("hash", "b") is None
        with pytest.warns(UnreadableValueWarning):
            assert cache.hgetall("hash") == {"a": 1}

    def test_a_key_that_is_no_hash(self, cache: RedisWrapper) -> None:
        cache.set_value("key", 1)
        with pytest.warns(UnreadableValueWarning, match="WRONGTYPE"):
            assert cache.hget("key", "a") is None
        with pytest.warns(UnreadableValueWarning, match="WRONGTYPE"):
            assert cache.hgetall("key") == {}
        with pytest.raises(Exception, match="WRONGTYPE"):
            cache.hset("key", "a", 1)


class TestListsAndSets:
    def test_lists_take_and_give_raw_bytes(self, cache: RedisWrapper) -> None:
        assert cache.rpush("list", "b", "c") == 2
        assert cache.lpush("list", b"a") == 3
        assert cache.lrange("list", 0, -1) == [b"a", b"b", b"c"]
        assert cache.llen("list") == 3
        assert cache.lpop("list") == b"a"
        assert cache.rpop("list") == b"c"
        assert cache.ltrim("list", 1, 0)
        assert cache.lpop("list") is None

    def test_blpop(self, cache: RedisWrapper) -> None:
        cache.rpush("list", "x")
        assert cache.blpop(["none", "list"], timeout=1) == (cache.make_key("list"), b"x")
        started = time.monotonic()
        assert cache.blpop("list", timeout=0.2) is None
        assert 0.15 < time.monotonic() - started < 1.5

    def test_blpop_waits_for_good_where_no_time_is_given(self, cache: RedisWrapper) -> None:
        settings = context.current_settings()

        def push() -> None:
            context._settings.set(settings)
            time.sleep(0.3)
            cache.rpush("list", "late")

        thread = threading.Thread(target=push)
        thread.start()
        assert cache.blpop("list") == (cache.make_key("list"), b"late")
        thread.join()

    def test_sets(self, cache: RedisWrapper) -> None:
        assert cache.sadd("set", "a", "b") == 2
        assert cache.sismember("set", "a")
        assert not cache.sismember("set", "z")
        assert cache.smembers("set") == {b"a", b"b"}
        assert cache.srandmember("set") in {b"a", b"b"}
        assert sorted(cache.srandmember("set", 2)) == [b"a", b"b"]
        assert cache.srem("set", "a") == 1
        assert cache.spop("set") == b"b"
        assert cache.spop("set") is None

    def test_they_lie_under_the_sites_prefix(self, cache: RedisWrapper) -> None:
        cache.sadd("set", "a")
        cache.rpush("list", "a")
        assert cache.get_keys() == [cache.make_key("list"), cache.make_key("set")]


class TestPrefixes:
    def test_get_all_gives_every_key(self, cache: RedisWrapper) -> None:
        cache.set_value("a:1", 1)
        cache.set_value("a:2", {"x": None})
        cache.hset("a:hash", "f", "v")
        cache.rpush("a:list", "m")
        cache.sadd("a:set", "m")
        cache.set_value("b", 1)
        assert cache.get_all("a:") == {
            "a:1": 1,
            "a:2": {"x": None},
            "a:hash": {"f": "v"},
            "a:list": [b"m"],
            "a:set": {b"m"},
        }

    @pytest.mark.parametrize("special", [*"*?[]\\^-!{}|:", "[a-z]", "\\*", "ä*", "\n"])
    def test_the_prefix_is_taken_literally(self, cache: RedisWrapper, special: str) -> None:
        cache.set_value(f"{special}x", 1)
        cache.set_value("ax", 2)
        cache.set_value("zz", 3)
        assert cache.get_keys(special) == [cache.make_key(f"{special}x")]
        assert cache.get_all(special) == {f"{special}x": 1}
        cache.delete_keys(special)
        assert cache.get_all("") == {"ax": 2, "zz": 3}

    def test_many_keys(self, cache: RedisWrapper) -> None:
        with cache.redis.pipeline(transaction=False) as pipeline:
            for number in range(3000):
                pipeline.set(cache.make_key(f"many:{number}"), b"\x80\x05N.")
            pipeline.execute()
        cache.set_value("other", 1)
        assert len(cache.get_keys("many:")) == 3000
        assert len(cache.get_all("many:")) == 3000
        cache.delete_keys("many:")
        assert cache.get_keys() == [cache.make_key("other")]

    def test_names_of_another_site_are_refused(self, cache: RedisWrapper) -> None:
        with pytest.raises(ValueError, match="not the name of a key of site"):
            cache.delete_value(b"_other|key", make_keys=False)


class TestAwayFromTheServer:
    """The same answers from every method; what an outage costs is in tests/faults."""

    CALLS: tuple[tuple[str, tuple[Any, ...], Any], ...] = (
        ("get_value", ("k",), None),
        ("set_value", ("k", 1), None),
        ("exists", ("k",), 0),
        ("expire_key", ("k", 1), False),
        ("get_expiry", ("k",), None),
        ("get_all", ("k",), {}),
        ("get_keys", ("k",), []),
        ("delete_keys", ("k",), None),
        ("delete_value", ("k",), None),
        ("hset", ("h", "f", 1), None),
        ("hget", ("h", "f"), None),
        ("hgetall", ("h",), {}),
        ("hexists", ("h", "f"), False),
        ("hdel", ("h", "f"), 0),
        ("hdel_names", (["h"], "f"), 0),
        ("hdel_keys", ("h", "f"), 0),
        ("hkeys", ("h",), []),
        ("lpush", ("l", 1), 0),
        ("rpush", ("l", 1), 0),
        ("lpop", ("l",), None),
        ("rpop", ("l",), None),
        ("blpop", ("l", 0.05), None),
        ("llen", ("l",), 0),
        ("lrange", ("l", 0, -1), []),
        ("ltrim", ("l", 0, -1), False),
        ("sadd", ("s", 1), 0),
        ("srem", ("s", 1), 0),
        ("sismember", ("s", 1), False),
        ("spop", ("s",), None),
        ("srandmember", ("s",), None),
        ("smembers", ("s",), set()),
    )

    @pytest.mark.parametrize(("method", "arguments", "answer"), CALLS, ids=[call[0] for call in CALLS])
    @pytest.mark.filterwarnings("ignore::frappe_cache_ext.errors.CacheUnavailableWarning")
    def test_reads_miss_and_writes_are_dropped(self, method: str, arguments: tuple[Any, ...], answer: Any) -> None:
        context.init("away.test", url="redis://127.0.0.1:1/0")
        assert getattr(RedisWrapper(), method)(*arguments) == answer
