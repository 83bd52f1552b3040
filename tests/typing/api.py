"""What a type checker makes of the public calls; checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, assert_type

import frappe_cache_ext as frappe
from frappe_cache_ext.caching import CacheInfo


@frappe.redis_cache
def bare(a: int, b: str = "") -> list[int]:
    return [a]


@frappe.redis_cache(ttl=60, user=True, key=lambda a: a)
def with_options(a: int) -> str:
    return str(a)


@frappe.redis_cache
async def later(a: int) -> bytes:
    return bytes(a)


@frappe.site_cache(ttl=60, maxsize=10)
def local(a: int) -> dict[str, int]:
    return {"a": a}


@frappe.request_cache
def briefly(a: int) -> float:
    return float(a)


class Shelf:
    @frappe.redis_cache
    def books(self, topic: str) -> int:
        return len(topic)


assert_type(bare(1, "x"), list[int])
assert_type(with_options(1), str)
assert_type(local(1), dict[str, int])
assert_type(briefly(1), float)
assert_type(Shelf().books("caching"), int)
assert_type(bare.cache_key(1), bytes)
assert_type(bare.cache_info(), CacheInfo)


async def check() -> None:
    assert_type(await later(1), bytes)
    awaitable: Awaitable[bytes] = later(1)
    await awaitable


bare.clear_cache()
bare.invalidate(1)
local.clear_cache()
briefly.clear_cache()

bare("one")  # type: ignore[arg-type]
bare(1, "x", 3)  # type: ignore[call-arg]
bare.invalidate("one")  # type: ignore[arg-type]
Shelf().books(5)  # type: ignore[arg-type]

assert_type(frappe.cache.get_value("key"), Any)
assert_type(frappe.cache.get_keys("key"), list[bytes])
assert_type(frappe.cache.exists("key"), int)
assert_type(frappe.cache.get_expiry("key"), float | None)
frappe.cache.set_value("key", 1, expires_in_sec="60")  # type: ignore[arg-type]


async def number() -> int:
    return 1


async def check_async_cache(cache: frappe.AsyncRedisWrapper) -> None:
    assert_type(cache.make_key("key", user=True), bytes)
    await cache.set_value("key", 1, user=True, expires_in_sec=60)
    assert_type(await cache.get_value("key"), Any)
    assert_type(await cache.get_value("key", number, default=0), Any)
    assert_type(await cache.get_value("key", generator=lambda: 1, use_local_cache=False), Any)
    assert_type(await cache.exists("key", "other", shared=True), int)
    assert_type(await cache.expire_key("key", 60), bool)
    assert_type(await cache.get_expiry("key"), float | None)
    assert_type(await cache.get_keys("key"), list[bytes])
    assert_type(await cache.get_all("key"), dict[str, Any])
    await cache.delete_keys("key")
    await cache.delete_value(["key", "other"])
    await cache.delete_key("key", make_keys=True)
    assert_type(await cache.hget("hash", "field", number), Any)
    assert_type(await cache.hgetall("hash"), dict[str, Any])
    assert_type(await cache.hexists("hash", "field"), bool)
    assert_type(await cache.hdel("hash", "field"), int)
    assert_type(await cache.hkeys("hash"), list[bytes])
    assert_type(await cache.lpush("list", 1, "a"), int)
    assert_type(await cache.lpop("list"), bytes | None)
    assert_type(await cache.blpop("list", timeout=1), tuple[bytes, bytes] | None)
    assert_type(await cache.lrange("list", 0, -1), list[bytes])
    assert_type(await cache.ltrim("list", 0, -1), bool)
    assert_type(await cache.sadd("set", 1), int)
    assert_type(await cache.sismember("set", 1), bool)
    assert_type(await cache.smembers("set"), set[bytes])
    assert_type(await cache.incrby("counter", 2), Any)
    coroutine: Coroutine[Any, Any, int] = cache.llen("list")
    assert_type(await coroutine, int)
    await cache.get_value()  # type: ignore[call-arg]
    await cache.set_value("key", 1, expires_in_sec="60")  # type: ignore[arg-type]
    await cache.get_value("key", nonsense=1)  # type: ignore[call-arg]
