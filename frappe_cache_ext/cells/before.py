"""What was there before a cell ran, and what it did by that.

Names that the cell perhaps binds, and that nothing on its way reads, are taken away while it runs: only so can binding
one to the object it held already be told from leaving it alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..errors import MISS
from . import patches, states
from .graph import Location, Refused
from .plan import Plan

_KERNELS_OWN: Final = re.compile(
    r"_(i?\d+|_{0,2}|i{1,3}|[iod]h)|In|Out|exit|quit|get_ipython|__(builtins?|name|doc|annotat\w+|conditional_annotations)__"
)
"""Names that IPython itself sets with every cell."""


class Before:
    """What was there before a cell ran."""

    def __init__(self, plan: Plan, names: dict[str, Any]) -> None:
        self.plan = plan
        self.names = names
        self.held = dict(names)
        self.annotations = dict(names.get("__annotations__", ()))
        self.states = states.snapshot()
        self.places = {*plan.graph.writes, *(Location("__main__", name) for name in plan.code.binds)}
        read = {location.name for location in plan.graph.roots if location.module == "__main__"}
        self.aside = {
            place.name: names[place.name]
            for place in self.places
            if place.module == "__main__" and place.name in names and place.name not in read
        }

    def set_aside(self) -> None:
        """Take away the names of which only so can be seen whether the cell binds them."""
        for name in self.aside:
            self.names.pop(name, None)

    def bring_back(self, *, ended: bool) -> None:
        """Bring back those that the cell did not bind.

        Args:
            ended: whether it ran to its end, so that what it certainly binds and is not there it has deleted.
        """
        settled = self.plan.code.settled if ended else frozenset()
        self.left_alone = {
            name: value for name, value in self.aside.items() if name not in self.names and name not in settled
        }
        self.names.update(self.left_alone)

    def done(self, wanted: tuple[str, ...] | None) -> dict[str, Any]:
        """What the cell bound, deleted and changed in place."""
        bound: dict[tuple[str, str], Any] = {}
        for name, value in self.names.items():
            binds = Location("__main__", name) in self.places
            if name in self.left_alone or (not binds and _KERNELS_OWN.fullmatch(name)):
                continue
            if binds or name not in self.held or self.held[name] is not value:
                bound["__main__", name] = value
        for place in self.places:
            if place.module != "__main__" and place.name in vars(sys.modules[place.module]):
                bound[place.module, place.name] = vars(sys.modules[place.module])[place.name]
        noted = self.names.get("__annotations__", {})
        annotations = {name: noted[name] for name in noted if noted[name] is not self.annotations.get(name, MISS)}
        if annotations:
            bound["__main__", "__annotations__"] = annotations
        # A name that the cell bound and deleted again goes on a hit, too, even if it was not there when the cell ran.
        deleted = [
            name
            for name in dict.fromkeys((*self.held, *sorted(self.plan.code.settled)))
            if name not in self.names and not _KERNELS_OWN.fullmatch(name)
        ]
        if wanted is not None:
            missing = [name for name in wanted if ("__main__", name) not in bound]
            if missing:
                raise Refused(f"--vars names {', '.join(missing)}, which the cell does not set")
            bound = {place: value for place, value in bound.items() if place[1] in wanted}
        return {"bound": bound, "deleted": deleted, "patches": patches.take(self.plan.graph)}


def bind(names: dict[str, Any], bound: Mapping[tuple[str, str], Any], deleted: Sequence[str]) -> None:
    """Bind and delete names as a cell did."""
    for (module, name), value in bound.items():
        if name == "__annotations__":
            names.setdefault(name, {}).update(value)
        else:
            (names if module == "__main__" else vars(sys.modules[module]))[name] = value
    for name in deleted:
        names.pop(name, None)
