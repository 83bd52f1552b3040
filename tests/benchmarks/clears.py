"""Rows on forgetting all results of a function, and on what everybody else waits meanwhile."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from multiprocessing.sharedctypes import Synchronized
from types import FunctionType
from typing import Any, Final

import redis

from frappe_cache_ext import redis_cache
from tests.benchmarks import companions
from tests.benchmarks.bare import BareConnection
from tests.benchmarks.callers import TTL
from tests.benchmarks.companions import Companion
from tests.benchmarks.filling import fill, settle
from tests.benchmarks.functions import price
from tests.benchmarks.rows import AtMost, AtMostTimes, Row, Setting
from tests.benchmarks.timing import Field, Gauge, NotMeasured

INCR: Final = "redis-py, one INCR"
KEYS: Final = "redis-py, KEYS + DEL"
NOTHING: Final = "nothing is cleared"

STORED: Final = b"x" * 32
"""What the other keys hold; what a function returned is as short."""

AROUND: Final = 5e-3
"""Seconds for which the others are watched before and after."""

IN_A_ROW: Final = 10
"""How many functions are cleared one after the other."""

_WATCHED: Final = "watched"


class Ours:
    """Functions with very many results each, which are all forgotten.

    Args:
        setting: where, and how many.
        client: fills the server.
    """

    def __init__(self, setting: Setting, client: redis.Redis) -> None:
        self.client = client
        self.cached = [redis_cache(ttl=TTL)(copy_of(price, number)) for number in range(IN_A_ROW)]
        self.generations = dict(self._fill(cached, setting.sizes.results) for cached in self.cached)

    def _fill(self, cached: Any, count: int) -> tuple[bytes, Any]:
        """Give a function its results; its generation's name and value."""
        cached(40, 2)
        one = cached.cache_key(40, 2)
        prefix = one.rpartition(b":")[0]
        fill(self.client, prefix + b":", 1, count, _bytes(self.client, one))
        generation = prefix.rpartition(b":")[0] + b":generation"
        return generation, _bytes(self.client, generation)

    def be_full(self) -> None:
        """Have all of them again: they are still there, and the generation that finds them is put back."""
        for name, value in self.generations.items():
            self.client.set(name, value)
        settle(self.client)

    def clear(self) -> None:
        """Forget those of one function."""
        self.cached[0].clear_cache()

    def each(self) -> float:
        """Seconds for each of all functions, one cleared after the other.

        Raises:
            NotMeasured: a result is found afterwards.
        """
        before = [cached.cache_key(40, 2) for cached in self.cached]
        taken = seconds_each([cached.clear_cache for cached in self.cached])
        if any(cached.cache_key(40, 2) == name for cached, name in zip(self.cached, before, strict=True)):
            raise NotMeasured("a result is found after it was cleared")
        return taken


class Naive:
    """The same by the pattern of the names, as older Frappe and many a project do it."""

    def __init__(self, setting: Setting, client: redis.Redis) -> None:
        self.client = client
        self.count = setting.sizes.results

    def be_full(self) -> None:
        """Have as many results again."""
        fill(self.client, b"naive:", 1, self.count, STORED)
        settle(self.client)

    def clear(self) -> None:
        """Look for them all, and delete them."""
        found: Any = self.client.keys("naive:*")
        self.client.delete(*found)


def copy_of(function: Any, number: int) -> FunctionType:
    """The same function under another name, so that its results are others."""
    copy = FunctionType(function.__code__, function.__globals__)
    copy.__module__, copy.__qualname__ = function.__module__, f"{function.__qualname__}_{number}"
    return copy


def seconds_each(calls: Sequence[Callable[[], object]]) -> float:
    """Seconds for each of some calls in a row: one alone, after much else, is not as fast as those after it."""
    begun = time.perf_counter()
    for call in calls:
        call()
    return (time.perf_counter() - begun) / len(calls)


def _bytes(client: redis.Redis, name: bytes) -> Any:
    found: Any = client.get(name)
    if found is None:
        raise NotMeasured(f"there is no {name!r}")
    return found


def clearing(setting: Setting) -> Field:
    """What it takes who clears."""
    client, ours, naive = _filled(setting)
    return Field(
        _gauge("ours", ours.be_full, ours.each),
        [
            _gauge(INCR, ours.be_full, lambda: seconds_each([lambda: client.incr("counter")] * IN_A_ROW)),
            _gauge(KEYS, naive.be_full, lambda: seconds_each([naive.clear])),
        ],
    )


def blocking(setting: Setting) -> Field:
    """What it takes everybody else: the longest that another process waits for a GET meanwhile."""
    client, ours, naive = _filled(setting)
    client.set(_WATCHED, STORED)
    watcher = Watcher(setting.url)
    return Field(
        _gauge("ours", ours.be_full, lambda: watcher.longest(ours.clear)),
        [
            _gauge(NOTHING, ours.be_full, lambda: watcher.longest(lambda: None)),
            _gauge(INCR, ours.be_full, lambda: watcher.longest(lambda: client.incr("counter"))),
            _gauge(KEYS, naive.be_full, lambda: watcher.longest(naive.clear)),
        ],
    )


def _gauge(name: str, before: Callable[[], None], seconds: Callable[[], float]) -> Gauge:
    def read() -> float:
        before()
        return seconds()

    return Gauge(name, read)


def _filled(setting: Setting) -> tuple[redis.Redis, Ours, Naive]:
    client = redis.Redis.from_url(setting.url, socket_timeout=60)
    ours = Ours(setting, client)
    # For each function, the other functions' results are others' keys.
    others = setting.sizes.other_keys - (IN_A_ROW - 1) * setting.sizes.results
    fill(client, b"other:", 1, others, STORED)
    return client, ours, Naive(setting, client)


class Watcher:
    """Another process that gets a value again and again, and says how long it had to wait at most.

    Args:
        url: the server's.
    """

    def __init__(self, url: str) -> None:
        self.going = companions.flag()
        self.other = Companion(_watch, url, self.going)

    def longest(self, meanwhile: Callable[[], object]) -> float:
        """Seconds of the slowest of its GETs while something is done, and shortly before and after."""
        self.going.value = 1
        self.other.ask()
        while self.going.value == 1:
            time.sleep(1e-3)
        time.sleep(AROUND)
        meanwhile()
        time.sleep(AROUND)
        self.going.value = 0
        slowest: float = self.other.answer()
        return slowest


def _watch(url: str, going: Synchronized[int]) -> Callable[[], float]:
    bare = BareConnection(url)
    gc.disable()

    def slowest() -> float:
        longest, begun = 0.0, time.perf_counter()
        going.value = 2  # from now on it is watched
        while going.value:
            bare.get(_WATCHED)
            now = time.perf_counter()
            longest, begun = max(longest, now - begun), now
        return longest

    return slowest


ROWS: Final = (
    Row(
        "clear",
        "f.clear_cache(), {results} results of its own, {others} other keys",
        AtMostTimes(2, INCR),
        clearing,
        rounds=11,
    ),
    Row("clear-others", "the longest wait of another process's GET meanwhile", AtMost(5e-3), blocking, rounds=7),
)
