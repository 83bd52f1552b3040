"""Rows on calls of cached functions: hits in the process, hits on the server, misses."""

from __future__ import annotations

import functools
import itertools
import pickle
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

from frappe_cache_ext import redis_cache
from tests.benchmarks import callers
from tests.benchmarks.callers import (
    BARE,
    CACHETOOLS,
    CASHEWS,
    DISKCACHE,
    DJANGO,
    DOGPILE,
    FRAPPE,
    LRU,
    REDIS_PY,
    TTL,
    Calling,
    Function,
)
from tests.benchmarks.functions import convert, price, profile
from tests.benchmarks.rows import AllOf, AtMostTimes, Row, Setting, TimesFaster, peer
from tests.benchmarks.timing import Contender, Field, NotMeasured

LOADS: Final = "pickle.loads alone"
GET_AND_SET: Final = "redis-py, GET + SET"
DOGPILE_LOCK: Final = "dogpile.cache, lock on the server"

_EMPTY: Final = Contender("an empty call", lambda: None)
"""What calling anything costs in the loop that is timed; beside a hit in the process that is not little."""


def positional(setting: Setting) -> Field:
    """Hits in the process, called with positional arguments."""

    def call(cached: Function) -> Callable[[], object]:
        return lambda: cached(40, 2)

    return _in_the_process(price, setting, call)


def keywords(setting: Setting) -> Field:
    """Hits in the process, called with keyword arguments."""

    def call(cached: Function) -> Callable[[], object]:
        return lambda: cached(40, rate=0.25, currency="INR")

    return _in_the_process(convert, setting, call)


def _in_the_process(function: Function, setting: Setting, call: Calling) -> Field:
    return Field(
        callers.ours(function, setting, call, copies=True),
        callers.others((LRU, CACHETOOLS, FRAPPE), function, setting, call),
        _EMPTY,
    )


def record(setting: Setting) -> Field:
    """Hits in the process whose result may be changed by who gets it, so that each gets one of his own."""
    data = pickle.dumps(profile(1), protocol=5)
    ours = callers.ours(profile, setting, _with_one, copies=True)
    prove_own(ours.call)
    return Field(
        ours,
        [Contender(LOADS, lambda: pickle.loads(data)), *callers.others((FRAPPE,), profile, setting, _with_one)],
        _EMPTY,
    )


def prove_own(call: Callable[[], Any]) -> None:
    """See that what one caller of `profile(1)` changes no other gets.

    Raises:
        NotMeasured: two get the same.
    """
    one = call()
    one["city"] = "changed"
    one["orders"].append("changed")
    if call() != profile(1):
        raise NotMeasured("what one caller changes the next one gets")


def on_the_server(setting: Setting) -> Field:
    """Hits that ask the server."""
    names = (BARE, REDIS_PY, DOGPILE, CASHEWS, DJANGO, DISKCACHE, FRAPPE)
    return Field(
        callers.ours(profile, setting, _with_one, copies=False),
        callers.others(names, profile, setting, _with_one, warm=False),
    )


def _with_one(cached: Function) -> Callable[[], object]:
    return lambda: cached(1)


def miss(setting: Setting) -> Field:
    """Calls that miss, compute next to nothing and store it."""
    return Field(
        Contender("ours", _anew(redis_cache(ttl=TTL)(profile))),
        [
            peer(GET_AND_SET, "redis", lambda redis: _anew(callers.by_redis_py(redis, profile, setting))),
            peer(DOGPILE_LOCK, "dogpile.cache.region", lambda region: _anew(callers.dogpile(region, profile, setting))),
            peer(DISKCACHE, "diskcache", functools.partial(_diskcache, setting)),
        ],
    )


def _diskcache(setting: Setting, diskcache: ModuleType) -> Callable[[], object]:
    return _anew(diskcache.Cache(str(setting.folder / "diskcache")).memoize(expire=TTL)(profile))


def _anew(cached: Callable[..., Any]) -> Callable[[], object]:
    """A call with an argument that none had before."""
    numbers: Iterator[int] = itertools.count(1)
    return lambda: cached(next(numbers))


ROWS: Final = (
    Row(
        "hit-positional",
        "@redis_cache, copy in the process: f(40, 2)",
        AtMostTimes(2.5, LRU),
        positional,
        rounds=51,
    ),
    Row(
        "hit-keywords",
        "@redis_cache, copy in the process: f(40, rate=…, currency=…)",
        AtMostTimes(6, LRU),
        keywords,
        rounds=51,
    ),
    Row("hit-record", "the same, a dict of ten fields", AtMostTimes(1.5, LOADS), record, rounds=51),
    Row(
        "hit-server",
        "@redis_cache, hit on the server: a dict of ten fields",
        AllOf(AtMostTimes(1.6, BARE), TimesFaster(2, REDIS_PY)),
        on_the_server,
        rounds=51,
    ),
    Row("miss", "@redis_cache, miss: look, lease, compute, store", AtMostTimes(1.3, GET_AND_SET), miss, rounds=51),
)
