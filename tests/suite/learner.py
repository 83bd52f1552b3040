"""The suite's notebooks, and a learner who works through one in a kernel of their own."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbval.plugin import get_sanitize_patterns
from traitlets.config import Config

from tests.support import kernel_address

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [path.stem for path in PATHS]

_patterns = get_sanitize_patterns((FOLDER / "sanitize.cfg").read_text(encoding="utf-8"))


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def tagged(notebook: Any, tag: str) -> list[Any]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def around(notebook: Any, cell: Any) -> tuple[Any, Any]:
    """The cells before and after one."""
    index = notebook.cells.index(cell)
    return notebook.cells[index - 1], notebook.cells[index + 1]


def solution_of(notebook: Any, exercise: Any) -> str:
    """The code in the collapsed cell after an exercise."""
    after = around(notebook, exercise)[1]
    assert "solution" in after.metadata.get("tags", ()), exercise.id
    found = re.search(r"```python\n(.*?)\n```", after.source, re.DOTALL)
    assert found, exercise.id
    return found[1]


def check_lines(exercise: Any) -> str:
    """The end of an exercise, from its first check on: what a learner leaves as it is."""
    found = re.search(r"^check\.", exercise.source, re.MULTILINE)
    assert found, exercise.id
    return exercise.source[found.start() :]


def asked_for(notebook: Any, exercise: Any) -> tuple[str, str]:
    """The code that a learner works on, and the checks of what they made of it.

    The code stands above the checks. Where it is under a cell magic, which takes all below it, it is the cell before.
    """
    checks = check_lines(exercise)
    code = exercise.source.removesuffix(checks)
    return code or around(notebook, exercise)[0].source, checks


def as_cells(code: str, checks: str, exercise: Any) -> list[str]:
    """An answer and its checks, as the exercise divides them into cells."""
    return [code, checks] if exercise.source == checks else [f"{code}\n{checks}"]


def as_text(outputs: list[Any]) -> str:
    """What a cell printed and showed, as nbval compares it."""
    parts = []
    for output in outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type == "error":
            parts.append(f"{output.ename}: {output.evalue}\n")
        else:
            parts.append(output.data.get("text/html", "") + output.data.get("text/plain", "") + "\n")
    text = "".join(parts)
    for pattern, replacement in _patterns:
        text = re.sub(pattern, replacement, text)
    return text


class Learner:
    """Runs cells in a kernel, one after the other, and reads what they show."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client

    def run(self, source: str) -> str:
        cell = nbformat.v4.new_code_cell(source)
        with contextlib.suppress(CellExecutionError):  # the error is among the outputs
            self._client.execute_cell(cell, 0)
        return as_text(cell.outputs)

    async def run_async(self, source: str) -> str:
        cell = nbformat.v4.new_code_cell(source)
        with contextlib.suppress(CellExecutionError):
            await self._client.async_execute_cell(cell, 0)
        return as_text(cell.outputs)


def _client() -> NotebookClient:
    return NotebookClient(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")]),
        timeout=60,
        kernel_name="python3",
        config=Config({"KernelManager": kernel_address()}),
        resources={"metadata": {"path": str(FOLDER)}},
    )


@contextlib.contextmanager
def learner() -> Iterator[Learner]:
    """A learner with a fresh kernel, which ends with the block."""
    client = _client()
    with client.setup_kernel():
        yield Learner(client)


@contextlib.asynccontextmanager
async def learner_at_once() -> AsyncIterator[Learner]:
    """The same beside others."""
    client = _client()
    async with client.async_setup_kernel():
        yield Learner(client)
