"""What a row of the table is, and what it has to reach."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final, Protocol

from tests.benchmarks.timing import Contender, Field, Gauge, Missing, Party, failed

NOISE: Final = "below what can be told from the work itself"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the work of the rows is.

    Attributes:
        array_bytes: the size of large arrays.
        frame_rows: the length of large frames.
        other_keys: how many keys a server holds that are none of the function's.
        results: how many results a function has on it.
        processes: how many processes want a value at once.
        threads: how many threads of each do.
        messages: how many invalidations a round waits for.
        quick: whether it is only to be shown that all of it works.
    """

    array_bytes: int = 100_000_000
    frame_rows: int = 1_000_000
    other_keys: int = 1_000_000
    results: int = 100_000
    processes: int = 8
    threads: int = 50
    messages: int = 500
    quick: bool = False


FULL: Final = Sizes()
QUICK: Final = Sizes(
    array_bytes=1_000_000,
    frame_rows=10_000,
    other_keys=10_000,
    results=1_000,
    processes=2,
    threads=5,
    messages=20,
    quick=True,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a row is measured, and how large its work is.

    Attributes:
        folder: for files; empty at first, removed afterwards.
        url: the cache server's, a unix socket's.
        sizes: how large the work is.
    """

    folder: Path
    url: str
    sizes: Sizes

    def fill(self, title: str) -> str:
        """A row's title with the sizes in it."""
        return title.format(
            array=f"{self.sizes.array_bytes / 1e6:g} MB",
            rows=f"{self.sizes.frame_rows:,}",
            others=f"{self.sizes.other_keys:,}",
            results=f"{self.sizes.results:,}",
            processes=self.sizes.processes,
            threads=self.sizes.threads,
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a measurement is worth.

    Attributes:
        figure: what is compared with the goal, with its unit.
        reached: whether it is good enough; None where what it is compared with is missing.
    """

    figure: str
    reached: bool | None


def duration(seconds: float) -> str:
    """A time with three digits: ``1.38 µs``, ``12.3 ms``, ``2.31 s``; a difference can be below zero."""
    size = abs(seconds)
    for unit, factor in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3)):
        if size * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def size(number: float) -> str:
    """A number of bytes with three digits: ``100 B``, ``64.2 MB``."""
    for unit, factor in (("B", 1.0), ("kB", 1e3), ("MB", 1e6)):
        if abs(number) < 999.5 * factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number / 1e9:.3g} GB"


def runs(number: float) -> str:
    """How often a function ran: ``1 run``, ``400 runs``."""
    return f"{number:g} run" if number == 1 else f"{number:g} runs"


@dataclass(frozen=True, slots=True)
class Unit:
    """What the figures of a row are.

    Attributes:
        name: what programs call it.
        show: a figure as people read it.
    """

    name: str
    show: Callable[[float], str]


SECONDS: Final = Unit("seconds", duration)
BYTES: Final = Unit("bytes", size)
RUNS: Final = Unit("runs", runs)


class Goal(Protocol):
    """What a row has to reach."""

    def __str__(self) -> str:
        """The goal as the table shows it."""

    def judge(self, ours: float, peers: Mapping[str, float]) -> Judgement:
        """Compare what was measured, in the row's unit, with the goal."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        name: what `--only` calls it.
        title: the work; ``{array}``, ``{rows}`` and their like in it stand for the sizes, see `Setting.fill`.
        goal: what it has to reach, at the full size.
        field: who does it, made ready in the process that measures.
        rounds: how often each of them does.
        unit: what is measured.
    """

    name: str
    title: str
    goal: Goal
    field: Callable[[Setting], Field]
    rounds: int = 15
    unit: Unit = SECONDS


@dataclass(frozen=True, slots=True)
class AtMost:
    """A figure that must not be exceeded, of a unit."""

    limit: float
    unit: Unit = SECONDS

    def __str__(self) -> str:
        return f"≤ {self.unit.show(self.limit)}"

    def judge(self, ours: float, peers: Mapping[str, float]) -> Judgement:
        """Compare the figure itself."""
        return Judgement(self.unit.show(ours), ours <= self.limit)


@dataclass(frozen=True, slots=True)
class AtLeastPerSecond:
    """A number of bytes that must be got through in a second, of work on `size` bytes."""

    speed: float
    size: int

    def __str__(self) -> str:
        return f"≥ {self.speed / 1e9:g} GB/s"

    def judge(self, ours: float, peers: Mapping[str, float]) -> Judgement:
        """Compare the speed."""
        speed = self.size / ours
        return Judgement(f"{speed / 1e9:.2g} GB/s", speed >= self.speed)


@dataclass(frozen=True, slots=True)
class AtMostTimes:
    """A multiple of a peer's time that must not be exceeded."""

    factor: float
    peer: str

    def __str__(self) -> str:
        return f"≤ {self.factor:g}x {self.peer}"

    def judge(self, ours: float, peers: Mapping[str, float]) -> Judgement:
        """Compare the ratio."""
        if self.peer not in peers:
            return Judgement(f"{self.peer} is missing", None)
        times = quotient(ours, peers[self.peer])
        if times is None:
            return Judgement(NOISE, None)
        return Judgement(ratio(times), times <= self.factor)


@dataclass(frozen=True, slots=True)
class TimesFaster:
    """How many times faster than a peer it has to be."""

    factor: float
    peer: str

    def __str__(self) -> str:
        return f"{self.factor:g}x faster than {self.peer}"

    def judge(self, ours: float, peers: Mapping[str, float]) -> Judgement:
        """Compare the ratio, the other way round."""
        if self.peer not in peers:
            return Judgement(f"{self.peer} is missing", None)
        times = quotient(peers[self.peer], ours)
        if times is None:
            return Judgement(NOISE, None)
        return Judgement(f"{ratio(times)} faster", times >= self.factor)


class AllOf:
    """Several goals, each of which has to be reached.

    Args:
        *goals: the goals.
    """

    def __init__(self, *goals: Goal) -> None:
        self.goals = goals

    def __str__(self) -> str:
        return ", ".join(map(str, self.goals))

    def judge(self, ours: float, peers: Mapping[str, float]) -> Judgement:
        """Compare with each; one that is missed settles it, one that cannot be judged leaves it open."""
        judgements = [goal.judge(ours, peers) for goal in self.goals]
        answers = {judgement.reached for judgement in judgements}
        reached = False if False in answers else None if None in answers else True
        return Judgement(", ".join(judgement.figure for judgement in judgements), reached)


def peer(
    name: str, module: str, make: Callable[[ModuleType], Callable[[], object] | Party], remedy: str = ""
) -> Party | Missing:
    """A contender from another project, or what is missing of it.

    Args:
        name: what the table calls it.
        module: what has to be imported for it.
        make: from the imported module to what is timed.
        remedy: what to do where it cannot be imported.
    """
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # an old release may fail in any way on a new Python
        return Missing(name, f"not to be imported ({error})" + (f"; {remedy}" if remedy else ""))
    try:
        made = make(imported)
    except Exception as error:  # its interface may have changed
        return failed(name, error)
    return made if isinstance(made, Contender | Gauge) else Contender(name, made)


def quotient(ours: float, other: float) -> float | None:
    """Our figure as a multiple of another; None where what is left without the baseline is noise."""
    return ours / other if ours > 0 and other > 0 else None


def ratio(times: float) -> str:
    """A ratio with two digits: ``0.083x``, ``1.2x``, ``16x``."""
    return f"{times:.0f}x" if abs(times) >= 9.95 else f"{times:.2g}x"
