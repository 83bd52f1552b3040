"""Timing: contenders take turns, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

SHORTEST: Final = 5e-3
"""Seconds that a timed stretch takes at least: a single call of a microsecond is below what a clock can tell."""


class NotMeasured(Exception):
    """What was timed did not do what it is there to show; the text says what it did instead."""


def _nothing() -> None:
    """Nothing has to be made ready, nothing looked at."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work of a row.

    Attributes:
        name: what the table calls it.
        call: what is timed.
        before: makes it ready, off the clock.
        after: looks at what it did, off the clock; raises `NotMeasured` if that was something else.
    """

    name: str
    call: Callable[[], Any]
    before: Callable[[], object] = _nothing
    after: Callable[[], object] = _nothing

    @property
    def repeatable(self) -> bool:
        """Whether a second call does the same as the first, so that many can be timed at once."""
        return self.before is _nothing and self.after is _nothing


@dataclass(frozen=True, slots=True)
class Gauge:
    """A contender that finds its figure itself: what another process saw, what a loop of asyncio took, a count.

    Attributes:
        name: what the table calls it.
        read: does the work and returns the figure, in the row's unit.
    """

    name: str
    read: Callable[[], float]


Party = Contender | Gauge
"""Who can take part in a row."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A contender that cannot take part.

    Attributes:
        name: what the table calls it.
        reason: why not, in a few words.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What a contender's rounds gave: seconds a call, unless the row has another unit.

    Attributes:
        name: what the table calls it.
        median: what counts.
        least: the smallest of all rounds.
        most: the largest.
    """

    name: str
    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Field:
    """Who takes part in a row.

    Attributes:
        ours: what this project does.
        peers: what others do.
        baseline: the work without any cache. Each round's time of it is taken off the others' in that round, so that
            what is left is what a cache adds.
    """

    ours: Party
    peers: Sequence[Party | Missing]
    baseline: Party | None = None


def failed(name: str, error: Exception) -> Missing:
    """A contender that raised an error, which is told in one line."""
    first = next(iter(str(error).splitlines()), "")
    return Missing(name, f"fails: {type(error).__name__}: {first}")


def measure(field: Field, rounds: int) -> tuple[Figures, list[Figures | Missing]]:
    """Time everybody in turn, each once in each round, and return ours and the peers', in the field's order.

    A round before the first counts for nothing. A peer that fails is missing from then on: its project may have changed
    since, and what we promise does not depend on it.

    Raises:
        Exception: whatever ours or the baseline raises.
    """
    ours = [field.ours] if field.baseline is None else [field.baseline, field.ours]
    running = [*ours, *(peer for peer in field.peers if not isinstance(peer, Missing))]
    missing = {peer.name: peer for peer in field.peers if isinstance(peer, Missing)}
    counts: dict[str, int] = {}
    taken: dict[str, list[float]] = {contender.name: [] for contender in running}
    # What has been imported is no garbage; without it a collection takes microseconds.
    gc.freeze()
    try:
        for number in range(-1, rounds):
            # Whoever comes first in a round meets another machine than whoever comes last.
            turn = max(number, 0) % len(running)
            for contender in running[turn:] + running[:turn]:
                try:
                    if number < 0:
                        counts[contender.name] = _warm_up(contender)
                    else:
                        taken[contender.name].append(_seconds(contender, counts[contender.name]))
                except Exception as error:
                    if contender in ours:
                        raise
                    missing[contender.name] = failed(contender.name, error)
                    running.remove(contender)
    finally:
        gc.unfreeze()
    return _figures_of(field, taken, missing)


def _figures_of(
    field: Field, taken: dict[str, list[float]], missing: dict[str, Missing]
) -> tuple[Figures, list[Figures | Missing]]:
    """Ours and the peers', less what the baseline took in the same round."""
    without = [0.0] * len(taken[field.ours.name]) if field.baseline is None else taken[field.baseline.name]
    found = {
        name: _figures(name, [one - other for one, other in zip(times, without, strict=True)])
        for name, times in taken.items()
        if name not in missing
    }
    return found[field.ours.name], [missing.get(peer.name) or found[peer.name] for peer in field.peers]


def _warm_up(contender: Party) -> int:
    """Run a contender, and return how many calls of it a round times."""
    # The first call connects and imports; what it takes says nothing about the others.
    _seconds(contender, 1)
    if isinstance(contender, Gauge) or not contender.repeatable:
        return 1
    count = 1
    while _seconds(contender, count) * count < SHORTEST:
        count *= 2
    return count


def _seconds(contender: Party, count: int) -> float:
    """Seconds that a call takes, the mean of `count` calls in a row; of a gauge, what it reads."""
    if isinstance(contender, Gauge):
        with _no_collection():
            return contender.read()
    call, turns = contender.call, range(count)
    contender.before()
    with _no_collection():
        begun = time.perf_counter()
        for _ in turns:
            call()
        taken = time.perf_counter() - begun
    contender.after()
    return taken / count


@contextmanager
def _no_collection() -> Iterator[None]:
    """The collector works before the clock starts, and never for one contender on another's garbage."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _figures(name: str, rounds: Sequence[float]) -> Figures:
    return Figures(name, statistics.median(rounds), min(rounds), max(rounds))


def percentile(figures: Sequence[float], share: float) -> float:
    """The smallest of some figures that this share of all of them does not exceed: 0.99 for the 99th percentile.

    Raises:
        ValueError: there are no figures.
    """
    if not figures:
        raise ValueError("no figures, so no percentile of them")
    # The difference keeps a product such as 0.07 * 100, which is a little more than 7, from counting one more.
    return sorted(figures)[max(math.ceil(share * len(figures) - 1e-9), 1) - 1]
