"""The ways to keep what a function returns that are measured beside each other.

Each is made from a function and gives one that is called like it. What an own cache of one's own would take, without
any library around it, is here as well: a GET and `pickle.loads`, through redis-py or on the bare socket.
"""

from __future__ import annotations

import asyncio
import functools
import json
import pickle
import threading
import time
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import redis

from frappe_cache_ext import redis_cache
from tests.benchmarks.bare import BareConnection
from tests.benchmarks.rows import Setting, peer
from tests.benchmarks.timing import Contender, Gauge, Missing, NotMeasured, Party

Function = Callable[..., Any]
Calling = Callable[[Function], Callable[[], object]]
"""From a function to the call of it that is timed, written out: `functools.partial` would cost more than a hit."""

BARE: Final = "bare GET + loads"
CACHETOOLS: Final = "cachetools.TTLCache, lock"
CASHEWS: Final = "cashews"
DISKCACHE: Final = "diskcache"
DJANGO: Final = "django-redis"
DOGPILE: Final = "dogpile.cache, Redis"
FRAPPE: Final = "Frappe's @redis_cache"
LRU: Final = "functools.lru_cache"
REDIS_PY: Final = "redis-py, get + loads"

TTL: Final = 3600
"""Seconds; far more than any row takes."""

ASKED: Final = 100
"""Calls by which it is seen whether a hit asks the server."""

TRIES: Final = 10
PAUSE: Final = 0.3
"""How often that is looked at until it is as it should be, and the seconds between two looks."""

IN_A_LOOP: Final = 50
"""Calls in a row inside one asyncio loop, so that starting the loop counts for nothing."""


def ours(function: Function, setting: Setting, call: Calling, *, copies: bool) -> Contender:
    """A hit of `@redis_cache`, proven to be what it is to stand for.

    Args:
        function: what is cached.
        setting: where.
        call: how it is called.
        copies: whether the hit is answered from a copy in the process, or by the server.

    Raises:
        NotMeasured: it is the other of the two.
    """
    timed = call(redis_cache(ttl=TTL, copies=copies)(function))
    if timed() != timed():
        raise NotMeasured(f"two calls of {function.__name__}() return two results")
    prove(timed, setting.url, asks=not copies)
    return Contender("ours", timed)


def prove(call: Callable[[], object], url: str, *, asks: bool) -> None:
    """See whether calls reach the server.

    Args:
        call: does one, and has done so before.
        url: the server's.
        asks: whether they are to.

    Raises:
        NotMeasured: they do where they must not, or do not where they should.
    """
    with redis.Redis.from_url(url) as client:
        for _ in range(TRIES):
            before = _commands(client)
            for _ in range(ASKED):
                call()
            # A few more may be somebody's sign of life.
            if (_commands(client) - before - 1 >= ASKED) is asks:
                return
            time.sleep(PAUSE)  # on a busy machine copies may have been dropped a moment ago
    expected, found = ("the server", "a copy") if asks else ("a copy", "the server")
    raise NotMeasured(f"a hit from {found}, where one from {expected} was to be timed")


def _commands(client: redis.Redis) -> int:
    found: Any = client.info("stats")
    return int(found["total_commands_processed"])


def others(
    names: tuple[str, ...], function: Function, setting: Setting, call: Calling, *, warm: bool = True
) -> list[Party | Missing]:
    """Hits of others' caches, each one filled by a call.

    Args:
        names: who takes part, as the table calls them.
        function: what is cached.
        setting: where.
        call: how it is called.
        warm: whether Frappe may answer from what it holds for the request.
    """
    return [_other(name, function, setting, call, warm) for name in names]


def _other(name: str, function: Function, setting: Setting, call: Calling, warm: bool) -> Party | Missing:
    if name == CASHEWS:
        return peer(name, "cashews", lambda cashews: _cashews(cashews, function, setting, call))
    if name == FRAPPE:
        name += ", warm" if warm else ", cold"
        return peer(name, "frappe", lambda frappe: _frappe(frappe, function, setting, call, warm))
    module, make = _MAKERS[name]

    def timed(imported: ModuleType) -> Callable[[], object]:
        filled = call(make(imported, function, setting))
        filled()
        return filled

    return peer(name, module, timed)


def _lru(functools: ModuleType, function: Function, setting: Setting) -> Function:
    cached: Function = functools.lru_cache(maxsize=None)(function)
    return cached


def _cachetools(cachetools: ModuleType, function: Function, setting: Setting) -> Function:
    store = cachetools.TTLCache(maxsize=1_000_000, ttl=TTL)
    cached: Function = cachetools.cached(store, lock=threading.Lock())(function)
    return cached


def _diskcache(diskcache: ModuleType, function: Function, setting: Setting) -> Function:
    cached: Function = diskcache.Cache(str(setting.folder / "diskcache")).memoize(expire=TTL)(function)
    return cached


def dogpile(region: ModuleType, function: Function, setting: Setting) -> Function:
    """A function under dogpile.cache, with its lock on the server as several processes need it."""
    arguments = {"url": setting.url, "distributed_lock": True, "thread_local_lock": False, "lock_timeout": 60}
    made = region.make_region().configure("dogpile.cache.redis", expiration_time=TTL, arguments=arguments)
    cached: Function = made.cache_on_arguments()(function)
    return cached


def django_cache(cache: ModuleType, setting: Setting) -> Any:
    """Django's cache on the server, without a project around it."""
    from django.conf import settings

    if not settings.configured:
        settings.configure(CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": setting.url}})
    return cache.cache


def _django(cache: ModuleType, function: Function, setting: Setting) -> Function:
    store = django_cache(cache, setting)

    def cached(*args: Any) -> Any:
        key = f"{function.__name__}:{args!r}"
        value = store.get(key)
        if value is None:
            value = function(*args)
            store.set(key, value, TTL)
        return value

    return cached


def by_redis_py(redis: ModuleType, function: Function, setting: Setting) -> Function:
    """What one writes by hand: GET, and where there is nothing compute and SET."""
    client = redis.Redis.from_url(setting.url)

    def cached(*args: Any) -> Any:
        key = f"{function.__name__}:{args!r}"
        data = client.get(key)
        if data is not None:
            return pickle.loads(data)
        value = function(*args)
        client.set(key, pickle.dumps(value, protocol=5), ex=TTL)
        return value

    return cached


def _bare(pickle: ModuleType, function: Function, setting: Setting) -> Function:
    bare = BareConnection(setting.url)

    def cached(*args: Any) -> Any:
        return pickle.loads(bare.get(key))

    key = f"bare:{function.__name__}"
    bare.set(key, memoryview(pickle.dumps(function(1), protocol=5)))
    return cached


_MAKERS: Final[dict[str, tuple[str, Callable[[ModuleType, Function, Setting], Function]]]] = {
    BARE: ("pickle", _bare),
    CACHETOOLS: ("cachetools", _cachetools),
    DISKCACHE: ("diskcache", _diskcache),
    DJANGO: ("django.core.cache", _django),
    DOGPILE: ("dogpile.cache.region", dogpile),
    LRU: ("functools", _lru),
    REDIS_PY: ("redis", by_redis_py),
}


def _cashews(cashews: ModuleType, function: Function, setting: Setting, call: Calling) -> Gauge:
    """A hit of cashews, which is for asyncio alone: many of them in a row inside one loop that stays."""
    from cashews.backends.redis import Redis
    from cashews.picklers import PicklerType

    cashews.register_backend("unix", Redis, pass_uri=True, pickler=PicklerType.DEFAULT)
    cache = cashews.Cache()
    cache.setup(setting.url)

    @functools.wraps(function)
    async def counted(*args: Any, **kwargs: Any) -> Any:
        computed.append(args)
        return function(*args, **kwargs)

    computed: list[Any] = []
    asked: Any = call(cache(ttl=TTL)(counted))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asked())
    loop.run_until_complete(asked())
    if len(computed) != 1:
        raise NotMeasured("it keeps nothing")
    return Gauge(CASHEWS, lambda: loop.run_until_complete(_seconds_each(asked)))


async def _seconds_each(asked: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    for _ in range(IN_A_LOOP):
        await asked()
    return (time.perf_counter() - begun) / IN_A_LOOP


def _frappe(frappe: Any, function: Function, setting: Setting, call: Calling, warm: bool) -> Callable[[], object]:
    """A hit of a real Frappe's, on a site that is a folder with two files and has no database.

    Raises:
        NotMeasured: what can be imported as ``frappe`` is none.
    """
    if not hasattr(frappe, "__version__"):
        raise NotMeasured("what is imported as frappe is none")
    site = "bench.localhost"
    sites = setting.folder / "sites"
    (sites / site).mkdir(parents=True)
    (sites / "apps.txt").write_text("frappe\n", encoding="utf-8")
    (sites / "common_site_config.json").write_text(json.dumps({"redis_cache": setting.url}), encoding="utf-8")
    (sites / site / "site_config.json").write_text(json.dumps({"db_name": "_bench"}), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frappe.init(site, sites_path=str(sites))
    from frappe.utils.caching import redis_cache as theirs

    timed = call(theirs(ttl=TTL)(function))
    timed()
    if warm:
        return timed

    def cold() -> object:
        frappe.local.cache.clear()
        return timed()

    return cold
