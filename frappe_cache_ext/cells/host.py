"""What the engine is told: how a cell is cached, and what it runs in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Options:
    """How a cell is cached.

    Attributes:
        name: a name for the cell, to list and clear it by.
        expiry: milliseconds its entry is kept; 0 for as long as there is room.
        variables: the names that are kept; None for all that the cell binds.
        ignored: names that do not count.
        files: paths of files whose content counts.
        environment: environment variables that count.
        key: an expression whose value counts in place of the values that the cell reads.
        version: counts, and means nothing else.
        refresh: run the cell whatever is stored.
        wait: seconds to wait while another kernel computes; None for as long as it does.
        max_bytes: the largest entry that is stored.
        slower_than: seconds that it has to run to be stored.
    """

    name: str = ""
    expiry: int = 0
    variables: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    key: str | None = None
    version: str | None = None
    refresh: bool = False
    wait: float | None = None
    max_bytes: int = 1 << 30
    slower_than: float = 0.0


class Ran(Protocol):
    """What came of running a cell's body."""

    outputs: list[Any]
    error: BaseException | None
    result: Any
    complete: bool
    reason: str


class Notebook(Protocol):
    """The shell that a cell runs in.

    Attributes:
        names: the notebook's names.
        local: names that go before these, for an expression that stands in a function.
        holder: how other kernels call this one while they wait.
        source: the body as Python, after IPython's transformation.
    """

    names: dict[str, Any]
    local: Mapping[str, Any]
    holder: str
    source: str

    def run(self) -> Any:
        """Run the body, recording what it shows: a `Ran`, or an awaitable of one."""

    def replay(self, outputs: list[Any], result: Any) -> None:
        """Show it again."""

    def file(self) -> str:
        """The name of the file that the body's code is of."""

    def transform(self, source: str) -> str:
        """A nested cell's body as Python."""

    def evaluate(self, expression: str) -> Any:
        """The value of an expression among the notebook's names."""

    def waiting(self, holder: str) -> None:
        """Say that another kernel computes the cell."""
