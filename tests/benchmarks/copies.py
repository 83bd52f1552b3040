"""Rows on copies in the process: how soon they are gone when the value changes, and what memory they take."""

from __future__ import annotations

import functools
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import redis

from frappe_cache_ext import redis_cache
from frappe_cache_ext.copies import MOST_BYTES
from tests.benchmarks.callers import LRU, TTL, prove
from tests.benchmarks.companions import Companion
from tests.benchmarks.rows import BYTES, AtMost, Row, Setting
from tests.benchmarks.timing import Field, Gauge, NotMeasured, percentile

CALL: Final = "the writer's call itself"
PUBLISHED: Final = "redis-py, PUBLISH to a reader that waits"

KEY: Final = "watched"

PAUSE: Final = 20e-6
"""Seconds between two looks of a reader who is otherwise idle; what it takes to notice includes one of them."""

SETTLING: Final = 1e-3
"""Seconds that the writer leaves the reader, so that it is back at looking."""

LARGE: Final = 64_000
"""Bytes of each value where memory is measured."""

BESIDE: Final = 1.1
"""Times the bound on copies: what is remembered of calls is bounded by their number, and does not count as a copy."""


class Invalidations:
    """Changes of a value of which another process holds a copy.

    Times are `time.monotonic`, one clock for all processes of a machine.

    Args:
        setting: where, and how many changes a round has.
    """

    def __init__(self, setting: Setting) -> None:
        from frappe_cache_ext import client_cache

        self.cache = client_cache
        self.count = setting.sizes.messages
        self.number = 0
        self.change()
        self.reader = Companion(_reader)
        self.calls: list[float] = []

    def change(self) -> None:
        """Set the value to another number."""
        self.number += 1
        self.cache.set_value(KEY, self.number)

    def seen(self, share: float) -> float:
        """Seconds after the return of the writer's call at which the reader saw the new value: a percentile."""
        return percentile([self._once() for _ in range(self.count)], share)

    def called(self, share: float) -> float:
        """Seconds that the writer's call took, in the round of `seen` before: a percentile."""
        return percentile(self.calls[-self.count :], share)

    def _once(self) -> float:
        self.reader.ask(self.number)
        self.reader.answer()  # it holds a copy
        self.reader.ask(self.number + 1)
        time.sleep(SETTLING)
        begun = time.monotonic()
        self.change()
        returned = time.monotonic()
        self.calls.append(returned - begun)
        seen: float = self.reader.answer()
        return seen - returned


def _reader() -> Callable[[int], float]:
    from frappe_cache_ext import client_cache

    def see(number: int) -> float:
        while client_cache.get_value(KEY) != number:
            time.sleep(PAUSE)
        seen = time.monotonic()
        client_cache.get_value(KEY)  # the next look is at a copy
        return seen

    return see


class Published:
    """Messages to a process that waits for them in a read: what such a way takes at least.

    Args:
        setting: where, and how many messages a round has.
    """

    def __init__(self, setting: Setting) -> None:
        self.client = redis.Redis.from_url(setting.url)
        self.count = setting.sizes.messages
        self.reader = Companion(_subscriber, setting.url)

    def seen(self, share: float) -> float:
        """Seconds after the return of the writer's call at which the reader had the message: a percentile."""
        return percentile([self._once() for _ in range(self.count)], share)

    def _once(self) -> float:
        self.reader.ask()
        time.sleep(SETTLING)
        while not self.client.publish(KEY, b"changed"):  # as long as nobody has subscribed yet
            time.sleep(SETTLING)
        returned = time.monotonic()
        seen: float = self.reader.answer()
        return seen - returned


def _subscriber(url: str) -> Callable[[], float]:
    subscription = redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(KEY)
    subscription.get_message(timeout=10)

    def see() -> float:
        while subscription.get_message(timeout=10) is None:
            pass
        return time.monotonic()

    return see


def invalidation(setting: Setting, *, share: float) -> Field:
    """When another process, idle but for a look now and then, sees a change."""
    _prove_copies(setting)
    ours = Invalidations(setting)
    published = Published(setting)
    return Field(
        Gauge("ours", functools.partial(ours.seen, share)),
        [
            Gauge(CALL, functools.partial(ours.called, share)),
            Gauge(PUBLISHED, functools.partial(published.seen, share)),
        ],
    )


def _prove_copies(setting: Setting) -> None:
    """See that a second look at a value is at a copy, or there is nothing to be seen here.

    Raises:
        NotMeasured: it is not.
    """
    from frappe_cache_ext import client_cache

    client_cache.set_value("proof", 1)
    client_cache.get_value("proof")
    prove(lambda: client_cache.get_value("proof"), setting.url, asks=False)


def memory(setting: Setting) -> Field:
    """Memory of the copies of far more values than there is room for."""
    count = (2 if setting.sizes.quick else 4) * MOST_BYTES // LARGE
    # Whatever is loaded and connected for the first call is no copy.
    _ask_for_all(redis_cache(ttl=TTL)(_large), 1)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()

    def ours() -> float:
        cached = redis_cache(ttl=TTL)(_large)
        _ask_for_all(cached, count)
        prove(lambda: cached(count - 1), setting.url, asks=False)
        # Those of the rounds before have to be gone: it is all that was taken since the beginning.
        return tracemalloc.get_traced_memory()[0] - before

    def unbounded() -> float:
        begun, _ = tracemalloc.get_traced_memory()
        cached = functools.lru_cache(maxsize=None)(_large)
        _ask_for_all(cached, count)
        return tracemalloc.get_traced_memory()[0] - begun

    return Field(Gauge("ours", ours), [Gauge(f"{LRU}, no bound", unbounded)])


def _large(number: int) -> bytes:
    return number.to_bytes(8, "big") * (LARGE // 8)


def _ask_for_all(cached: Callable[[int], Any], count: int) -> None:
    for number in range(count):
        if cached(number) != cached(number):
            raise NotMeasured("a hit is not what was stored")


def _seen(name: str, title: str, share: float, limit: float) -> Row:
    return Row(name, title, AtMost(limit), functools.partial(invalidation, share=share), rounds=5)


ROWS: Final = (
    _seen("invalidation-p50", "a change is seen by another idle process: p50", 0.5, 0.3e-3),
    _seen("invalidation-p99", "a change is seen by another idle process: p99", 0.99, 1e-3),
    Row(
        "copies-memory",
        "memory of copies, of several times as many values as there is room for",
        AtMost(MOST_BYTES * BESIDE, BYTES),
        memory,
        rounds=1,
        unit=BYTES,
    ),
)
