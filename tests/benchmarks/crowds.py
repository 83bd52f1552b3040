"""A row on many who want one value that nobody has: how often it is computed."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from threading import Barrier
from typing import Any, Final

import redis

from frappe_cache_ext import redis_cache
from tests.benchmarks import callers
from tests.benchmarks.callers import TTL, Function
from tests.benchmarks.companions import PATIENCE, SPAWN, Companion
from tests.benchmarks.rows import RUNS, AtMost, Row, Setting, peer
from tests.benchmarks.timing import Field, Gauge, NotMeasured

DOGPILE: Final = "dogpile.cache, lock on the server"
NAIVE: Final = "redis-py, GET or compute + SET"

COMPUTING: Final = 0.2
"""Seconds that the value takes to compute: all have asked for it by then."""


class Crowd:
    """Processes that wait for each other, and then ask for one value, in all of their threads at once.

    Args:
        setting: where, and how many there are.
    """

    def __init__(self, setting: Setting) -> None:
        count = setting.sizes.processes
        # Kept: without it the others, which have yet to start, would not find it.
        self.together = SPAWN.Barrier(count)
        self.members = [Companion(_member, setting, self.together) for _ in range(count)]
        self.numbers = itertools.count(1)

    def executions(self, way: str) -> float:
        """How often all of them together computed one value that was new."""
        number = next(self.numbers)
        for member in self.members:
            member.ask(way, number)
        return float(sum(member.answer() for member in self.members))


def cold(setting: Setting) -> Field:
    """Everybody wants the same at once, and nobody has it."""
    crowd = Crowd(setting)

    def gauge(name: str) -> Gauge:
        return Gauge(name, lambda: crowd.executions(name))

    return Field(
        gauge("ours"),
        [
            peer(DOGPILE, "dogpile.cache", lambda _: gauge(DOGPILE)),
            gauge(NAIVE),
        ],
    )


def _member(setting: Setting, together: Barrier) -> Callable[[str, int], int]:
    ways = {"ours": _ours, DOGPILE: _dogpile, NAIVE: _naive}
    computed: list[int] = []
    cached: dict[str, Function] = {}

    def slow(number: int) -> int:
        computed.append(number)
        time.sleep(COMPUTING)
        return number * number

    def answer(way: str, number: int) -> int:
        computed.clear()
        if way not in cached:
            cached[way] = ways[way](slow, setting)
        at_once(cached[way], number, setting.sizes.threads, together)
        return len(computed)

    return answer


def _ours(function: Function, setting: Setting) -> Function:
    # What it counts is a part of the function, and would make it another one with each run.
    return redis_cache(ttl=TTL, version="crowd")(function)


def _dogpile(function: Function, setting: Setting) -> Function:
    from dogpile.cache import region

    return callers.dogpile(region, function, setting)


def _naive(function: Function, setting: Setting) -> Function:
    return callers.by_redis_py(redis, function, setting)


def at_once(cached: Function, number: int, count: int, together: Barrier) -> None:
    """Call a function in so many threads at once, as the other processes do at the same moment."""
    here = threading.Barrier(count + 1)
    results: list[Any] = []

    def ask() -> None:
        here.wait(PATIENCE)
        results.append(cached(number))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    together.wait(PATIENCE)
    here.wait(PATIENCE)
    for thread in threads:
        thread.join(PATIENCE)
    if results != [number * number] * count:
        raise NotMeasured(f"{count} threads got {len(results)} results, {set(results)}")


ROWS: Final = (
    Row(
        "cold-crowd",
        "one cold key, {processes} processes x {threads} threads: computed",
        AtMost(1, RUNS),
        cold,
        rounds=3,
        unit=RUNS,
    ),
)
