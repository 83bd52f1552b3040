"""What happened in a race: a table of its steps, and a picture with a lane for each actor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from .plots import INK, Picture, new_axes, picture_of, show

_ACTORS: Final = (("#dbe6f7", "#14315e"), ("#f6e7cf", "#5c3a08"), ("#e6e0f5", "#36246b"))
_RIGHT: Final = ("#d5efe6", "#0c4a3b")
_WRONG: Final = ("#f7dde0", "#6b1622")
_PLAIN: Final = ("#ececec", "#2c2c2c")
"""Boxes: what they are filled with, and their text, which has a contrast of more than 7 to it on any page."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of a race, and how things are after it.

    Attributes:
        actor: who took it.
        text: what happened.
        cached: what the cache holds.
        stored: what is committed in the database.
        is_wrong: whether the cache holds something else than the database.
    """

    actor: str
    text: str
    cached: str
    stored: str
    is_wrong: bool


class Scene:
    """A race that was run.

    Attributes:
        lanes: what the two lowest lanes are called.

    Args:
        title: what the actors raced for.
        actors: their names.
        moments: the steps, in order.
        cached: what the cache holds at the end; None for nothing.
        stored: what is committed at the end.
    """

    lanes: ClassVar[tuple[str, str]] = ("cache", "database")

    def __init__(
        self, title: str, actors: tuple[str, ...], moments: Sequence[Moment], cached: Any, stored: Any
    ) -> None:
        self.title = title
        self.actors = actors
        self.moments = list(moments)
        self.cached = cached
        self.stored = stored

    @property
    def is_stale(self) -> bool:
        """Whether the cache ends up with something else than the database."""
        return self.cached is not None and bool(self.cached != self.stored)

    @property
    def verdict(self) -> str:
        """How it ended, in one line."""
        if self.cached is None:
            return f"The cache is empty, and the next reader finds {_number(self.stored)} in the database."
        if self.is_stale:
            return (
                f"✗ The cache says {_number(self.cached)}, the database {_number(self.stored)}: "
                "every reader gets the wrong one, until the next change."
            )
        return f"Cache and database agree: {_number(self.stored)}."

    def __repr__(self) -> str:
        return f"{self._table()}\n\n{self.verdict}"

    def _ipython_display_(self) -> None:
        """Nothing: as the last line of a cell it has shown itself already."""

    def show(self) -> None:
        """Print the table, and draw the picture where there is a notebook to show it in and matplotlib to draw it."""
        show(lambda: draw(self))
        print(repr(self))

    def _table(self) -> str:
        rows = [("", *self.actors, *self.lanes)]
        for number, moment in enumerate(self.moments, 1):
            lanes = [moment.text if moment.actor == actor else "" for actor in self.actors]
            rows.append((str(number), *lanes, moment.cached + (" ✗" if moment.is_wrong else ""), moment.stored))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    @property
    def alt(self) -> str:
        """The picture in words."""
        steps = "; ".join(f"{moment.actor} {moment.text}" for moment in self.moments)
        wrong = [number for number, moment in enumerate(self.moments, 1) if moment.is_wrong]
        lane = self.lanes[0]
        end = f"From step {wrong[0]} on the {lane}'s lane is red" if wrong else f"The {lane}'s lane is never red"
        if wrong and len(wrong) != len(self.moments) - wrong[0] + 1:
            end = f"The {lane}'s lane is red in step {', '.join(map(str, wrong))}"
        verdict = self.verdict.removeprefix("✗ ")
        return f"Timeline of a race for {self.title}, one lane for each actor: {steps}. {end}. {verdict}"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def draw(scene: Scene) -> Picture:
    """The picture of a race: time runs to the right, each actor has a lane, and so have cache and database.

    Raises:
        ImportError: matplotlib is not installed.
    """
    lanes = [*scene.actors, *scene.lanes]
    axes = new_axes(9.0, 0.35 + 0.62 * len(lanes))
    count = len(scene.moments)
    axes.set_xlim(-0.02, count + 0.02)
    axes.set_ylim(len(lanes) - 0.45, -0.55)
    for index, moment in enumerate(scene.moments):
        lane = scene.actors.index(moment.actor)
        _box(axes, index, index + 1, lane, moment.text.replace(": ", "\n"), _ACTORS[lane % len(_ACTORS)])
    for start, end, text, is_wrong in _stretches([(moment.cached, moment.is_wrong) for moment in scene.moments]):
        if text != "–":
            _box(axes, start, end, len(lanes) - 2, f"{text} ✗" if is_wrong else text, _WRONG if is_wrong else _RIGHT)
    for start, end, text, _ in _stretches([(moment.stored, False) for moment in scene.moments]):
        _box(axes, start, end, len(lanes) - 1, text, _PLAIN)
    axes.axhline(len(scene.actors) - 0.5, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(lanes)), lanes)
    axes.set_xticks([index + 0.5 for index in range(count)], [str(index + 1) for index in range(count)])
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    return picture_of(axes, scene.alt)


def _box(axes: Any, start: float, end: float, lane: int, text: str, colours: tuple[str, str]) -> None:
    axes.barh(lane, end - start - 0.06, left=start + 0.03, height=0.8, color=colours[0], edgecolor=INK, linewidth=0.8)
    axes.text((start + end) / 2, lane, text, color=colours[1], ha="center", va="center", fontsize=10)


def _stretches(values: Sequence[tuple[str, bool]]) -> Iterator[tuple[int, int, str, bool]]:
    """Equal neighbours as one: from where to where, and what they are."""
    start = 0
    for value, group in itertools.groupby(values):
        end = start + len(list(group))
        yield start, end, *value
        start = end
