"""A scenario: a small notebook, what is edited in it, and what `%%cached` must do with each of its cells."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Cell:
    """A cell of a scenario.

    Attributes:
        body: its code.
        options: of the magic.
        cached: whether it is under the magic.
        aside: whether it belongs to the extension, and is left out of the notebook without it.
    """

    body: str
    options: str = ""
    cached: bool = False
    aside: bool = False

    def text(self, *, cached: bool) -> str:
        """What is sent to the kernel."""
        if cached and self.cached:
            return f"%%cached {self.options}".rstrip() + f"\n{self.body}"
        if self.aside and not cached:
            return "pass"
        # So that the lines of the body have the numbers that they have under the magic.
        return f"# plain\n{self.body}" if self.cached and not self.body.startswith("%%") else self.body


@dataclass(frozen=True)
class Scenario:
    """A small notebook, played at first, again in the same kernel, edited after a restart, and again there.

    Attributes:
        title: what it is about.
        cells: the notebook.
        edit: what is replaced before the restart, in cells and files: a text and what stands there then.
        first: what the magic does with each cell under it; one word for all of them, or one each.
        again: the same, in the second run in the same kernel.
        restarted: the same, after the edit and the restart.
        restarted_again: the same, in the second run after the restart.
        says: a pattern of what the magic says when it does not cache a cell.
        files: what lies in the current directory.
        reruns: whether the notebook can run twice in one kernel.
        shows: what the last cell shows after the restart, where that is on purpose not what it shows without the magic.
    """

    title: str
    cells: tuple[Cell, ...]
    edit: tuple[tuple[str, str], ...] = ()
    first: str = "computed"
    again: str = "hit"
    restarted: str = "hit"
    restarted_again: str = "hit"
    says: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    reruns: bool = True
    shows: str = ""
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def site(self) -> str:
        """A site of its own."""
        return f"scenario{self.number}.test"

    @property
    def edited_cells(self) -> tuple[Cell, ...]:
        """The notebook after the edit."""
        return tuple(
            Cell(self._edited(cell.body), self._edited(cell.options), cell.cached, cell.aside) for cell in self.cells
        )

    @property
    def edited_files(self) -> dict[str, str]:
        """The files after the edit."""
        return {name: self._edited(text) for name, text in self.files.items()}

    def expected(self) -> list[str]:
        """What the magic does in each of the runs, a word for each cell under it."""
        runs = [self.first, self.again, self.restarted, self.restarted_again]
        return [self._for_each_cell(words) for words in runs]

    def _for_each_cell(self, words: str) -> str:
        number = sum(cell.cached for cell in self.cells)
        return words if " " in words or number == 1 else " ".join([words] * number)

    def _edited(self, text: str) -> str:
        for old, new in self.edit:
            text = text.replace(old, new)
        return text


def cached(body: str, options: str = "") -> Cell:
    """A cell under the magic."""
    return Cell(_code(body), options, cached=True)


def aside(body: str) -> Cell:
    """A cell that belongs to the extension."""
    return Cell(_code(body), aside=True)


def scenario(
    title: str,
    *cells: str | Cell,
    edit: tuple[str, str] | Sequence[tuple[str, str]] = (),
    first: str = "computed",
    again: str = "hit",
    restarted: str = "hit",
    restarted_again: str | None = None,
    says: str = "",
    files: Mapping[str, str] | None = None,
    reruns: bool = True,
    shows: str = "",
) -> Scenario:
    """A scenario; text alone is a cell without the magic.

    Raises:
        ValueError: the edit changes nothing.
    """
    edits: Sequence[tuple[str, str]] = [edit] if edit and isinstance(edit[0], str) else edit  # type: ignore[list-item,assignment]
    made = Scenario(
        title=title,
        cells=tuple(cell if isinstance(cell, Cell) else Cell(_code(cell)) for cell in cells),
        edit=tuple(edits),
        first=first,
        again=again,
        restarted=restarted,
        restarted_again=again if restarted_again is None else restarted_again,
        says=says,
        files={name: _code(text) + "\n" for name, text in (files or {}).items()},
        reruns=reruns,
        shows=shows,
    )
    if edits and (made.edited_cells, made.edited_files) == (made.cells, dict(made.files)):
        raise ValueError(f"{title}: the edit {edits} changes nothing")
    return made


def edited(title: str, *cells: str | Cell, edit: tuple[str, str], files: Mapping[str, str] | None = None) -> Scenario:
    """A scenario whose edit makes the cells under the magic run again."""
    return scenario(title, *cells, edit=edit, files=files, restarted="computed")


def refused(
    title: str, *cells: str | Cell, says: str, reruns: bool = True, files: Mapping[str, str] | None = None
) -> Scenario:
    """A scenario whose cells are never cached, for a reason that is said."""
    words = {"first": "refused", "again": "refused", "restarted": "refused"}
    return scenario(title, *cells, says=says, reruns=reruns, files=files, **words)


def identifier(title: str) -> str:
    """A title as the name of a test."""
    return re.sub(r"\W+", "-", title).strip("-")


def _code(text: str) -> str:
    return textwrap.dedent(text).strip("\n")
