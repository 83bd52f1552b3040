"""Timing demonstrations whose printed line is the same each time, and which fail when what they claim does not hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .. import context
from . import plots
from .lesson import count_runs

PATIENCE: Final = 3.0
"""Seconds for which calls are repeated on a machine so busy that a single one says nothing."""


@dataclass(frozen=True, slots=True, repr=False)
class Timing:
    """What a demonstration measured.

    Attributes:
        first: seconds of the first call, or of the slower function.
        second: seconds of the second call, or of the faster function; the fastest where calls were repeated.
        runs: how often the computation ran in all; None where nothing counts it.
        line: the line that was printed.
    """

    first: float
    second: float
    runs: int | None
    line: str

    @property
    def ratio(self) -> float:
        """How many times shorter the second was."""
        return self.first / self.second

    def __repr__(self) -> str:
        return self.line

    def _ipython_display_(self) -> None:
        """Nothing: as the last line of a cell it has shown itself already."""


def demo(
    function: Callable[..., Any], *args: Any, at_least: int = 1000, name: str | None = None, **kwargs: Any
) -> Timing:
    """Call a function twice, draw how long each call took, and insist that the second was answered by the cache.

    Each call is a request of its own, so that the server answers and not the copy that a request keeps. On a busy
    machine the second call is repeated until one shows what the cache can do.

    Args:
        function: a function with a cache, and no entry in it yet for these arguments.
        *args: what to call it with.
        at_least: how many times faster the second call has to be.
        name: the chart's title; the call itself where None.
        **kwargs: what to call it with.

    Raises:
        AssertionError: the second call computed again, or was not that much faster.
    """

    def call() -> Any:
        with context.request():
            return function(*args, **kwargs)

    before = count_runs(function)
    first, value = _measure(call)
    in_first = count_runs(function) - before
    second, again, in_second = float("inf"), value, 0
    deadline = time.perf_counter() + PATIENCE
    while first / second < at_least and not in_second and time.perf_counter() < deadline:
        elapsed, again = _measure(call)
        second = min(second, elapsed)
        in_second = count_runs(function) - before - in_first
    title = name or _call_as_text(function, args, kwargs)
    if in_second:
        raise AssertionError(
            f"{title}: the second call computed again ({_both(first, second)}). The cache did not answer: was nothing "
            "stored, is the key another one each time, or is the server away (%cache_stats)?"
        )
    if first / second < at_least:
        raise AssertionError(
            f"{title}: the second call was not {at_least} times faster ({_both(first, second)})."
            + ("" if in_first else " The first was fast, too: its result was in the cache already. Delete it first.")
        )
    if _differs(value, again):
        raise AssertionError(f"{title}: the first call returned {value!r}, the second {again!r}.")
    line = f"first call: slow · second call: cached · >{at_least}x" + (" · computed once" if in_first == 1 else "")
    _show({"first call": first, "second call": second}, title, at_least)
    print(line)
    return Timing(first, second, in_first or None, line)


def compare(
    slow: Callable[[], Any], fast: Callable[[], Any], *, at_least: int, labels: tuple[str, str], name: str
) -> Timing:
    """Time two ways to the same result, draw both, and insist that the second is that much faster.

    Each is called a number of times, and its fastest call counts.

    Args:
        slow: the slower way.
        fast: the faster way.
        at_least: how many times faster it has to be.
        labels: what the bars are called.
        name: the chart's title.

    Raises:
        AssertionError: it was not that much faster, or the results differ.
    """
    expected, found = slow(), fast()
    if _differs(expected, found):
        raise AssertionError(f"{name}: {labels[0]} returned {expected!r}, {labels[1]} {found!r}.")
    slowest = fastest = float("inf")
    deadline = time.perf_counter() + PATIENCE
    for attempt in range(10_000):
        slowest, fastest = min(slowest, _measure(slow)[0]), min(fastest, _measure(fast)[0])
        enough = attempt >= 20 and slowest / fastest >= at_least
        if enough or time.perf_counter() > deadline:
            break
    if slowest / fastest < at_least:
        raise AssertionError(
            f"{name}: {labels[1]} was not {at_least} times faster than {labels[0]} ({_both(slowest, fastest)})."
        )
    line = f"{labels[0]}: slow · {labels[1]}: fast · >{at_least}x"
    _show(dict(zip(labels, (slowest, fastest), strict=True)), name, at_least)
    print(line)
    return Timing(slowest, fastest, None, line)


def _measure(call: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    value = call()
    return max(time.perf_counter() - begun, 1e-9), value


def _both(first: float, second: float) -> str:
    return f"{plots.seconds_as_text(first)}, then {plots.seconds_as_text(second)}"


def _differs(one: Any, other: Any) -> bool:
    try:
        return not bool(one == other)
    except Exception:  # an array has no single answer
        return False


def _call_as_text(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    arguments = [repr(each) for each in args] + [f"{name}={value!r}" for name, value in kwargs.items()]
    return f"{getattr(function, '__name__', 'function')}({', '.join(arguments)})"


def _show(durations: Mapping[str, float], title: str, at_least: int) -> None:
    slow, fast = durations
    alt = (
        f"Bar chart of durations on a logarithmic scale: {title}. The bar “{slow}” stands for more than {at_least} "
        f"times the duration of the bar “{fast}”."
    )
    plots.show(lambda: plots.bars(durations, title, alt))
