"""``%cached_auto``: every cell runs as under ``%%cached``, and is stored if it proves slow."""

from __future__ import annotations

from typing import Any, Final

from .running import is_body

_PLAIN_CALLS: Final = ("get_ipython().run_cell_magic(", "get_ipython().run_line_magic(")


class AutoCaching:
    """Puts cells under ``%%cached`` after IPython has made Python of them, and before it runs them.

    Cells that are nothing but a magic stay as they are. A cell that cannot be cached, or is quicker than the limit,
    just runs, and nothing is said of it.

    Args:
        shell: IPython's own object.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.slower_than: float | None = None

    def turn_on(self, slower_than: float) -> None:
        """Begin; or go on with another limit.

        Args:
            slower_than: seconds that a cell has to take to be stored.
        """
        if self.slower_than is None:
            # Before what puts `await` before the magic.
            self.shell.input_transformers_post.insert(0, self)
        self.slower_than = slower_than

    def turn_off(self) -> None:
        """End."""
        if self.slower_than is not None:
            self.shell.input_transformers_post.remove(self)
            self.slower_than = None

    def __call__(self, lines: list[str]) -> list[str]:
        """The call of the magic, in place of the cell."""
        source = "".join(lines)
        if is_body() or not source.strip() or _is_magic(source):
            return lines
        return [f"get_ipython().run_cell_magic('cached', '--auto --slower-than {self.slower_than:g}', {source!r})\n"]


def _is_magic(source: str) -> bool:
    """Whether a cell is a magic and nothing else."""
    return source.startswith(_PLAIN_CALLS) and len(source.strip().splitlines()) == 1
