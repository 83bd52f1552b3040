"""Curves: hits on a server that fills up, in more and more threads; values that get larger and larger."""

from __future__ import annotations

import functools
import itertools
import pickle
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import redis

from frappe_cache_ext import cache, redis_cache
from tests.benchmarks.callers import REDIS_PY, TTL, Function, by_redis_py, prove
from tests.benchmarks.curves import Curve, Flat, size_of_value
from tests.benchmarks.filling import fill
from tests.benchmarks.functions import profile
from tests.benchmarks.rows import Setting
from tests.benchmarks.timing import Contender, Field, Gauge, NotMeasured

COPY: Final = "in the process"
SERVER: Final = "on the server"

RESULTS: Final = 100
"""Results that hits are of, in turn."""

PATIENCE: Final = 120.0
"""Seconds in which redis-py has a large value's reply, on a busy machine."""

AT_LEAST: Final = 0.05
"""Seconds that a stretch in threads takes about, of calls that take some tens of microseconds each."""


def _ways(setting: Setting) -> dict[str, Function]:
    """Cached functions that hold results of `RESULTS` calls, by what the curves call them."""
    ways: dict[str, Function] = {
        COPY: redis_cache(ttl=TTL, copies=True)(profile),
        SERVER: redis_cache(ttl=TTL, copies=False)(profile),
        REDIS_PY: by_redis_py(redis, profile, setting),
    }
    for cached in ways.values():
        # Twice: what a call has just stored may be known from the server alone until it is asked for.
        for number in [*range(RESULTS)] * 2:
            if cached(number) != profile(number):
                raise NotMeasured("a hit is not what was stored")
    prove(_in_turn(ways[COPY]), setting.url, asks=False)
    prove(_in_turn(ways[SERVER]), setting.url, asks=True)
    return ways


def _in_turn(cached: Function) -> Callable[[], object]:
    numbers = itertools.cycle(range(RESULTS))
    return lambda: cached(next(numbers))


def keys(setting: Setting) -> Callable[[int], Field]:
    """Hits on a server with more and more keys that are others'."""
    client = redis.Redis.from_url(setting.url, socket_timeout=PATIENCE)
    ways = _ways(setting)
    contenders = [Contender(name, _in_turn(cached)) for name, cached in ways.items()]

    def field(size: int) -> Field:
        held: Any = client.dbsize()
        fill(client, b"other:", held + 1, size, b"x" * 32)
        # A server that runs one script for a second gives no sign of life meanwhile, and the copies are dropped.
        prove(_in_turn(ways[COPY]), setting.url, asks=False)
        return Field(contenders[0], contenders[1:])

    return field


def threads(setting: Setting) -> Callable[[int], Field]:
    """Hits in more and more threads at once; seconds of the clock for each, however many went on meanwhile."""
    ways = _ways(setting)
    # The first stretch only says how many calls the others are of.
    counts = {name: max(int(AT_LEAST / _alone(cached)), 64) for name, cached in ways.items()}

    def field(size: int) -> Field:
        pool = ThreadPoolExecutor(size)
        gauges = [Gauge(name, functools.partial(_each, pool, size, ways[name], counts[name])) for name in ways]
        return Field(gauges[0], gauges[1:])

    return field


def _alone(cached: Function) -> float:
    call, begun = _in_turn(cached), time.perf_counter()
    for _ in range(RESULTS):
        call()
    return (time.perf_counter() - begun) / RESULTS


def _each(pool: ThreadPoolExecutor, size: int, cached: Function, count: int) -> float:
    """Seconds for each of about `count` calls that are shared out to all threads of a pool."""
    together = threading.Barrier(size + 1)
    share = max(count // size, 1)

    def work() -> None:
        call = _in_turn(cached)
        together.wait(PATIENCE)
        for _ in range(share):
            call()

    working = [pool.submit(work) for _ in range(size)]
    together.wait(PATIENCE)
    begun = time.perf_counter()
    for each in working:
        each.result(PATIENCE)
    return (time.perf_counter() - begun) / (share * size)


def values(setting: Setting) -> Callable[[int], Field]:
    """Storing and loading values of more and more bytes."""
    client = redis.Redis.from_url(setting.url, socket_timeout=PATIENCE)

    def field(size: int) -> Field:
        value = random.Random(size).randbytes(size)

        def theirs_set() -> None:
            client.set("value", pickle.dumps(value, protocol=5))

        def theirs_get() -> Any:
            data: Any = client.get("value")
            return pickle.loads(data)

        def ours_set() -> None:
            cache.set_value("value", value)

        def ours_get() -> Any:
            return cache.get_value("value")

        ours_set()
        theirs_set()
        if ours_get() != value or theirs_get() != value:
            raise NotMeasured("what is loaded is not what was stored")
        return Field(
            Contender("set_value", ours_set),
            [
                Contender("redis-py, dumps + set", theirs_set),
                Contender("get_value", ours_get),
                Contender(REDIS_PY, theirs_get),
            ],
        )

    return field


CURVES: Final = (
    Curve(
        "growth-keys",
        "a hit of @redis_cache, a dict of ten fields",
        "keys on the server",
        (1_000, 10_000, 100_000, 1_000_000),
        (1_000, 10_000),
        keys,
        rounds=31,
        goal=Flat(1.5, (COPY, SERVER)),
    ),
    Curve(
        "growth-threads",
        "seconds for each hit of @redis_cache",
        "threads at once",
        (1, 2, 4, 8, 16, 32, 64),
        (1, 4),
        threads,
        rounds=9,
    ),
    Curve(
        "growth-values",
        "storing and loading bytes",
        "bytes of the value",
        (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000),
        (100, 100_000),
        values,
        rounds=9,
        show=size_of_value,
    ),
)
