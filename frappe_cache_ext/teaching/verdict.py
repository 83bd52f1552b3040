"""What a check says: a line with ✓, or one with ✗ and a hint. It never raises, so that *Run All* always finishes."""

from __future__ import annotations

import ast
import functools
import linecache
import math
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

from ..connections import current_connection
from . import shell

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
    return str(NotYet(f"Your code raised {type(error).__name__}: {error}", _where(error)))


def _where(error: Exception) -> str:
    """The learner's own line: the last one that is none of a module's."""
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        line = linecache.getline(frame.f_code.co_filename, number).strip()
        if frame.f_globals.get("__name__") == "__main__" and line:
            return f"it was in line {number} of its cell: {line}"
    return "run it in a cell of its own to see in which line."


# --- what the learner wrote ---------------------------------------------------------------------------------------


class Written:
    """What the learner wrote: a hint can name a mistake that has left no trace in the cache.

    Args:
        statements: where; in the cell that runs, without its checks, where None.

    Attributes:
        calls: the calls, by the last part of the name that is called.
        mentions: names after a dot that are not called.
        sets: names that are set.
        texts: the texts that stand there.
    """

    def __init__(self, statements: Iterable[ast.stmt] | None = None) -> None:
        self.calls: dict[str, list[ast.Call]] = {}
        self.mentions: set[str] = set()
        self.sets: set[str] = set()
        self.texts: set[str] = set()
        for statement in _learners_statements() if statements is None else statements:
            for node in ast.walk(statement):
                self._note(node)
        self.mentions -= set(self.calls)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            self.calls.setdefault(node.func.attr, []).append(node)
        elif isinstance(node, ast.Attribute):
            self.mentions.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            self.sets.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.texts.add(node.value)

    def only_mentions(self, name: str) -> bool:
        """Whether a method is named and never called."""
        return name in self.mentions

    def positional(self, name: str) -> int:
        """How many arguments without a name a method was called with at most; 0 where it was not called."""
        return max((len(call.args) for call in self.calls.get(name, ())), default=0)


def _learners_statements() -> list[ast.stmt]:
    current = shell.current_shell()
    ran = shell.cells_run()
    if current is None or not ran:
        return []
    try:
        tree = ast.parse(current.transform_cell(ran[0]))
    except SyntaxError:
        return []
    return [statement for statement in tree.body if not ast.unparse(statement).startswith("check.")]


# --- what both kinds of checks say --------------------------------------------------------------------------------


def check_ttl(left: float | None, seconds: float, what: str, argument: str, *, just_now: bool = False) -> None:
    """Raise `NotYet` unless what is left of an expiry fits the seconds it was to be set to, just now or a while ago."""
    if left is None or left == math.inf:
        raise NotYet(f"{what} has no expiry: it stays until it is deleted.", f"add {argument}{seconds:g} to the call.")
    # The value may have been stored a while ago: what is left is at most what was set.
    if 0.9 * seconds <= left <= seconds + 1:
        return
    if 0.5 * seconds < left < seconds and not just_now:
        raise NotYet(
            f"{what} has {duration(round(left))} left, of {duration(seconds)}.",
            f"{argument} takes seconds, {seconds:g} of them; if you wrote that, a while ago, store it once more.",
        )
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
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


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
