"""The shell, as the engine of cached cells sees it: a cell's body, or an expression."""

from __future__ import annotations

import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ..cells.report import Report
from ..errors import MISS
from .arguments import UserError
from .cell_lines import show
from .expressions import compiled, run
from .magics import CacheMagics
from .recording import Recording
from .replaying import replay
from .running import Ran, body_awaits, cell_file, python_of, run_cell, run_cell_async


class Host(ABC):
    """What runs under the cache, in its shell; the `Notebook` of the engine.

    Args:
        shell: IPython's own object.
        source: it as Python.
    """

    awaits = False

    def __init__(self, shell: Any, source: str) -> None:
        self.shell = shell
        self.names: dict[str, Any] = shell.user_ns
        self.local: Mapping[str, Any] = {}
        self.source = source
        self.holder = f"kernel {os.getpid()} on {platform.node()}"

    @abstractmethod
    def run(self) -> Any:
        """Run it, recording what it shows; for one that awaits, a coroutine that does."""

    @abstractmethod
    def replay(self, outputs: list[Any], result: Any) -> None:
        """Show it again."""

    @abstractmethod
    def file(self) -> str:
        """The name of the file that its code is of."""

    @abstractmethod
    def value(self, report: Report) -> Any:
        """What the magic returns."""

    @abstractmethod
    def default_ttl(self, common: CacheMagics) -> float | None:
        """Seconds that it is kept unless something else is said."""

    @abstractmethod
    def identities(self, name: str) -> list[str]:
        """What tells it from others when it is edited, best first."""

    def say(self, text: str) -> None:
        """Say a line about it."""
        show(self.shell, text)

    def transform(self, source: str) -> str:
        """A cell's text as Python."""
        return python_of(self.shell, source)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression among the names.

        Raises:
            UserError: it is none, or raised an error.
        """
        return run(compiled(expression), self._visible())

    def _visible(self) -> dict[str, Any]:
        return {**self.names, **self.local} if self.local else self.names

    def waiting(self, holder: str) -> None:
        """Say that another kernel computes it."""
        self.say(f"computing in {holder} – waiting (interrupt to compute here)")


class CellHost(Host):
    """The body of a cell.

    Args:
        shell: IPython's own object.
        body: the cell's text below the magic's line.
        above: how many lines of the cell stand above it.
    """

    def __init__(self, shell: Any, body: str, above: int) -> None:
        self.python = _python_or_none(shell, body)
        super().__init__(shell, body if self.python is None else self.python)
        self.body = body
        self.above = above
        self.awaits = self.python is not None and body_awaits(shell, body, self.python)

    def run(self) -> Any:
        """Run it, recording what it shows; for one that awaits, a coroutine that does."""
        running = run_cell_async if self.awaits else run_cell
        return running(self.shell, self.body, self.above, self.python)

    def replay(self, outputs: list[Any], result: Any) -> None:
        """Show it again."""
        replay(self.shell, outputs, result)

    def file(self) -> str:
        """The name of the file that its code is of, under which its lines are found from now on."""
        return cell_file(self.shell, self.body, self.above, self.source)

    def value(self, report: Report) -> None:
        """Nothing: the body has shown its own value."""

    def default_ttl(self, common: CacheMagics) -> None:
        """Without a ttl there is none: room and `%cached_clear` decide."""

    def identities(self, name: str) -> list[str]:
        """Its name, its place in the notebook as JupyterLab knows it, its text."""
        parent = self.shell.get_parent() if hasattr(self.shell, "get_parent") else {}
        place = (parent or {}).get("metadata", {}).get("cellId")
        return [*([f"name {name}"] if name else []), *([f"place {place}"] if place else []), f"text {self.source}"]


class ExpressionHost(Host):
    """An expression in a magic's line."""

    def __init__(self, shell: Any, expression: str, local_ns: dict[str, Any] | None) -> None:
        super().__init__(shell, expression.strip())
        if local_ns is not None and local_ns is not self.names:
            self.local = local_ns
        self.code = compiled(expression)
        self.result: Any = MISS

    def run(self) -> Ran:
        """Evaluate it, recording what it prints."""
        error: BaseException | None = None
        with Recording(self.shell) as recording:
            try:
                self.result = run(self.code, self._visible())
            except (UserError, KeyboardInterrupt) as raised:
                error = raised
        return Ran(recording.outputs, error, self.result, recording.complete, reason=recording.reason)

    def replay(self, outputs: list[Any], result: Any) -> None:
        """Print again what it printed."""
        self.result = result
        replay(self.shell, outputs)

    def file(self) -> str:
        """The name of the file that its code is of."""
        return self.code.co_filename

    def value(self, report: Report) -> Any:
        """Its value."""
        return self.result

    def default_ttl(self, common: CacheMagics) -> float | None:
        """What `%config CacheMagics.cached_ttl` says."""
        return common.cached_ttl

    def identities(self, name: str) -> list[str]:
        """Its text."""
        return [f"expression {self.source}"]

    def say(self, text: str) -> None:
        """Print it: an expression is no cell, and shows nothing but its value."""
        print(text)


def _python_or_none(shell: Any, body: str) -> str | None:
    try:
        return python_of(shell, body)
    except Exception:  # what a transformer of the user's raises, IPython shows when the body is run
        return None
