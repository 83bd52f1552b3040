"""What a curve is: the same work at growing sizes, and what has to stay as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.rows import SECONDS, Judgement, Setting, Unit, ratio, size
from tests.benchmarks.timing import Field, Figures, Missing

Point = Sequence[Figures | Missing]
"""What came of one size: ours first, then the peers, in the field's order."""


@dataclass(frozen=True, slots=True)
class Flat:
    """How many times of what it was at the smallest size a figure may be at the largest.

    Attributes:
        factor: so many times at most.
        names: whose figures.
    """

    factor: float
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' and '.join(self.names)}: at the end ≤ {self.factor:g}x of the beginning"

    def judge(self, points: Mapping[int, Point]) -> Judgement:
        """Compare the largest size with the smallest."""
        growths = [growth for name in self.names if (growth := _growth(points, name)) is not None]
        if len(growths) < len(self.names):
            return Judgement("not all were measured", None)
        return Judgement(", ".join(map(ratio, growths)), max(growths) <= self.factor)


def _growth(points: Mapping[int, Point], name: str) -> float | None:
    found = [
        figures.median
        for _, point in sorted(points.items())
        for figures in point
        if figures.name == name and isinstance(figures, Figures)
    ]
    return found[-1] / found[0] if len(found) == len(points) and found[0] > 0 else None


def plain_number(number: float) -> str:
    """A number of keys or threads: ``1,000``."""
    return f"{number:,.0f}"


def size_of_value(number: float) -> str:
    """A number of bytes: ``100 B``, ``100 MB``."""
    return size(number)


@dataclass(frozen=True, slots=True)
class Curve:
    """The same work at growing sizes.

    Attributes:
        name: what `--only` calls it.
        title: the work.
        axis: what grows.
        sizes: the sizes, the smallest first.
        quick: some of them, or smaller ones, to show that it works.
        begin: makes ready in the process that measures; what it returns gives the field for a size.
        rounds: how often each contender does the work, at each size.
        goal: what must not grow; None where nothing was promised.
        show: a size as people read it.
        unit: what is measured.
    """

    name: str
    title: str
    axis: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    begin: Callable[[Setting], Callable[[int], Field]]
    rounds: int = 15
    goal: Flat | None = None
    show: Callable[[float], str] = plain_number
    unit: Unit = SECONDS


@dataclass(frozen=True, slots=True)
class Grown:
    """What came of a curve.

    Attributes:
        curve: the curve.
        points: by size; none where it failed.
        judgement: whether the goal was reached; None where there is none, or at small sizes.
        failure: why there are no points.
    """

    curve: Curve
    points: Mapping[int, Point]
    judgement: Judgement | None = None
    failure: str = ""

    @property
    def missing(self) -> list[Missing]:
        """Who could not take part, at one size or all."""
        return [figures for point in self.points.values() for figures in point if isinstance(figures, Missing)]
