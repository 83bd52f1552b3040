"""What a check says: a line with ✓, or one with ✗ and a hint. It never raises, so that *Run All* always finishes."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

from ..connections import current_connection

P = ParamSpec("P")


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """The outcome of a check: true where it passed.

    Attributes:
        passed: whether the exercise is solved.
        text: what was printed.
    """

    passed: bool
    text: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return self.text

    def _ipython_display_(self) -> None:
        """Nothing: as the last line of a cell it has been printed already."""


class NotYet(Exception):
    """The exercise is not solved yet.

    Args:
        what: what the check found.
        hint: what to try next.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"✗ {what}\n  Hint: {hint}")


def check(function: Callable[P, str]) -> Callable[P, Verdict]:
    """Make a check of a function that returns what is right now, or raises `NotYet`; it shows no warnings."""
    told = check_of_cell(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return told(*args, **kwargs)

    return checked


def check_of_cell(function: Callable[P, str]) -> Callable[P, Verdict]:
    """The same, the filters of warnings left alone: they belong to what a cell under ``%%cached`` depends on."""

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        try:
            verdict = Verdict(True, f"✓ {function(*args, **kwargs)}")
        except NotYet as error:
            verdict = Verdict(False, str(error))
        except Exception as error:  # whatever the learner's code raises
            verdict = Verdict(False, _explain(error))
        print(verdict.text)
        return verdict

    return checked


def _explain(error: Exception) -> str:
    down = current_connection().down
    if down is not None:
        return str(NotYet(f"The cache server does not answer: {down}.", "%cache_connect shows what is wrong."))
    kind = type(error).__name__
    return str(NotYet(f"Your code raised {kind}: {error}", "run it in a cell of its own to see in which line."))


# --- what both kinds of checks say --------------------------------------------------------------------------------


def check_ttl(left: float | None, seconds: float, what: str, argument: str) -> None:
    """Raise `NotYet` unless what is left of an expiry fits the seconds it was to be set to, a while ago."""
    if left is None or left == math.inf:
        raise NotYet(f"{what} has no expiry: it stays until it is deleted.", f"add {argument}{seconds:g} to the call.")
    # The value may have been stored a while ago: what is left is at most what was set.
    if 0.5 * seconds < left <= seconds + 1:
        return
    for factor, unit in ((60, "minutes"), (3600, "hours"), (1 / 1000, "milliseconds")):
        if 0.5 * seconds / factor < left <= seconds / factor + min(1, 0.1 * seconds / factor):
            raise NotYet(
                f"{what} would be gone after {duration(seconds / factor)}, not after {duration(seconds)}.",
                f"the number is taken as seconds, not as {unit}.",
            )
    raise NotYet(
        f"{what} would be gone after {duration(round(left))}, not after {duration(seconds)}.",
        f"{argument} takes seconds; {duration(seconds)} are {seconds:g} of them.",
    )


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type: ``True`` is no 1, and ``"1"`` neither."""
    return type(one) is type(other) and bool(one == other)


def short(value: Any) -> str:
    """A value in no more than sixty characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def listed(names: Sequence[str]) -> str:
    """``'a', 'b' and 'c'``."""
    shown = [repr(name) for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def duration(seconds: float) -> str:
    """Seconds in the largest unit that needs no fraction."""
    for size, unit in ((3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size and seconds % size == 0:
            count = seconds / size
            return f"{count:g} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"
