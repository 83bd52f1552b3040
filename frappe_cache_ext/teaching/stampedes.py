"""Many callers at once, drawn as a timeline: who computed, who waited, and who was answered at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .actors import crowd
from .lesson import witnessed
from .plots import COLOURS, INK, Picture, new_axes, picture_of, show


@dataclass(frozen=True, slots=True)
class Call:
    """What one caller met.

    Attributes:
        begun: when they called, in seconds of `time.perf_counter`.
        ended: when they had their answer.
        computed: whether they computed it.
    """

    begun: float
    ended: float
    computed: bool


@dataclass(frozen=True, slots=True, repr=False)
class Stampede:
    """Calls that were made at the same moment.

    Attributes:
        name: the function's name.
        calls: one for each caller.
    """

    name: str
    calls: Sequence[Call]

    @property
    def computed(self) -> int:
        """How many computed."""
        return sum(call.computed for call in self.calls)

    @property
    def waiting(self) -> list[Call]:
        """Those who waited for the one who computed."""
        # Whoever computes stores the answer before they have it themselves, so the end tells nothing: half-time does.
        half = min(((call.begun + call.ended) / 2 for call in self.calls if call.computed), default=math.inf)
        return [call for call in self.calls if not call.computed and call.begun < half < call.ended]

    @property
    def waited(self) -> int:
        """How many they are."""
        return len(self.waiting)

    @property
    def at_once(self) -> int:
        """How many were answered without either."""
        return len(self.calls) - self.computed - self.waited

    def __repr__(self) -> str:
        return f"{len(self.calls)} callers: {self.computed} computed, {self.waited} waited, {self.at_once} at once"

    def _ipython_display_(self) -> None:
        """Nothing: as the last line of a cell it has shown itself already."""

    @property
    def alt(self) -> str:
        """The picture in words."""
        return (
            f"Timeline of {len(self.calls)} calls of {self.name} at the same moment, one line for each caller: "
            f"{self.computed} computed, {self.waited} waited for an answer, {self.at_once} got one at once."
        )


def stampede(function: Callable[[], Any], people: int = 50) -> Stampede:
    """Let many call a function at the same moment, and show who computed and who waited.

    Args:
        function: what they call; its work is done by `work`.
        people: how many they are.
    """
    calls: list[Call] = []
    lock = threading.Lock()

    def call() -> None:
        begun = time.perf_counter()
        with witnessed() as seen:
            function()
        ended = time.perf_counter()
        with lock:
            calls.append(Call(begun, ended, bool(seen)))

    crowd(call, people)
    result = Stampede(getattr(function, "__name__", "the function"), calls)
    show(lambda: draw(result))
    print(repr(result))
    return result


def draw(result: Stampede) -> Picture:
    """The picture of a stampede: time runs to the right, and each caller has a line.

    Raises:
        ImportError: matplotlib is not installed.
    """
    axes = new_axes(9.0, 3.2)
    first = min(call.begun for call in result.calls)
    ordered = sorted(result.calls, key=lambda call: (not call.computed, call.ended))
    waiting = result.waiting
    groups = (
        ("computes", COLOURS[2], [call for call in ordered if call.computed]),
        ("waits", COLOURS[0], [call for call in ordered if call in waiting]),
    )
    for label, colour, calls in groups:
        if calls:
            axes.barh(
                [ordered.index(call) for call in calls],
                [call.ended - call.begun for call in calls],
                left=[call.begun - first for call in calls],
                height=0.7,
                color=colour,
                label=label,
            )
    answered = [call for call in ordered if not call.computed and call not in waiting]
    if answered:  # their bars would be too short to see
        rows = [ordered.index(call) for call in answered]
        axes.plot([call.ended - first for call in answered], rows, ".", color=COLOURS[1], label="answered at once")
    axes.set_ylim(len(ordered), -1)
    axes.set_yticks([])
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds", color=INK, fontsize=11)
    axes.set_ylabel(f"{len(ordered)} callers", color=INK, fontsize=12)
    legend = axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=11)
    for text in legend.get_texts():
        text.set_color(INK)
    return picture_of(axes, result.alt)
