"""Real kernels that play notebooks, with `%%cached` and without, and what can be told of them afterwards."""

from __future__ import annotations

import ast
import json
import queue
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jupyter_core.utils import ensure_event_loop

from ..notebook.conftest import COLOURS, Kernel
from .scenarios import Cell, Scenario

Output = tuple[Any, ...]
Result = TypeVar("Result")

SAID = re.compile(r"(cached · |computed · |not cached: |computing in |hint: |miss because: ).*")
"""What the magic says of a cell, beside what the cell itself shows."""

MASKS = (
    (re.compile(r"\b0x[0-9a-f]{6,}"), "0x…"),
    (re.compile(r"(/\S*/ipykernel_\d+/|(?<=\())\d+\.py"), "the cell"),
    # The first line, which is the magic's own or the comment that stands in for it.
    (re.compile(r"(?m)^ +1 (# plain)?$"), "1"),
    (re.compile(r"(CPU times|Wall time)[^\n]*"), r"\1 …"),
)
"""What differs between two runs of the same notebook without a magic."""

INSIDE = "__import__('tests.cells.inside', fromlist=['begin'])"

_RANDOM_ID = re.compile(r"[0-9a-f]{32}")


@dataclass
class Shown:
    """What a kernel sent for one cell.

    Attributes:
        outputs: the cell's own, in order.
        said: what the magic said beside them.
        reply: ``ok``, or ``error``.
    """

    outputs: list[Output] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    reply: str = ""

    @property
    def status(self) -> str:
        """What the magic did: ``hit``, ``computed``, ``refused``, or ``silent``."""
        words = {"cached ·": "hit", "computed ·": "computed", "not cached:": "refused"}
        found = [status for line in self.said for begins, status in words.items() if line.startswith(begins)]
        return " and ".join(found) or "silent"

    @property
    def text(self) -> str:
        """All its text, as one reads it."""
        texts = [_text_of(output) for output in self.outputs]
        return "".join(texts)

    def add(self, kind: str, content: dict[str, Any]) -> None:
        """Take up a message."""
        if kind == "stream":
            self._stream(content["name"], content["text"])
        elif kind in {"display_data", "update_display_data"}:
            text = content["data"].get("text/plain", "")
            if kind == "display_data" and SAID.fullmatch(text):
                self.said.append(text)
            else:
                identity = content.get("transient", {}).get("display_id")
                self.outputs.append((kind, content["data"], content["metadata"], identity))
        elif kind == "execute_result":
            self.outputs.append((kind, content["data"], content["metadata"], content["execution_count"]))
        elif kind == "clear_output":
            self.outputs.append((kind, content["wait"]))
        elif kind == "error":
            traceback = COLOURS.sub("", "\n".join(content["traceback"]))
            self.outputs.append((kind, content["ename"], content["evalue"], traceback))

    def _stream(self, name: str, text: str) -> None:
        if self.outputs and self.outputs[-1][:2] == ("stream", name):
            text = self.outputs.pop()[2] + text
        lines = text.splitlines(keepends=True)
        self.said += [line.rstrip("\n") for line in lines if SAID.match(line)]
        own = "".join(line for line in lines if not SAID.match(line))
        if own:
            self.outputs.append(("stream", name, own))


def _text_of(output: Output) -> str:
    if output[0] in {"display_data", "update_display_data", "execute_result"}:
        return str(output[1].get("text/plain", ""))
    return str(output[-1]) if output[0] in {"stream", "error"} else ""


class NotebookKernel(Kernel):
    """A kernel whose outputs are kept in their order.

    Args:
        environment: what it gets beside this process's environment.
        preamble: a cell that is run at once.
    """

    def __init__(self, environment: dict[str, str], preamble: str = "") -> None:
        self.unfinished: dict[str, Shown] = {}
        super().__init__(environment)
        if preamble:
            shown = self.play(preamble)
            assert shown.reply == "ok", shown.text

    @property
    def pid(self) -> int:
        """Its process."""
        found: int = self.manager.provisioner.pid
        return found

    def play(self, code: str, timeout: float = 60) -> Shown:
        """Run a cell, and wait for all that it shows."""
        return self.finish(self.begin(code), timeout)

    def begin(self, code: str, *, counts: bool = True) -> str:
        """Send a cell, and return the message's id; one that does not count leaves no trace in the history."""
        asked = str(self.client.execute(code, stop_on_error=False, store_history=counts))
        self.unfinished[asked] = Shown()
        return asked

    def finish(self, asked: str, timeout: float = 60) -> Shown:
        """Wait until the kernel has nothing more to say of a cell."""
        while not self._hear(asked, timeout):
            pass
        shown = self.unfinished.pop(asked)
        shown.reply = self._reply(asked, timeout)["status"]
        return shown

    def until(self, asked: str, text: str, timeout: float = 30) -> Shown:
        """Wait until a cell shows, or the magic says, some text."""
        deadline = time.monotonic() + timeout
        shown = self.unfinished[asked]
        while text not in "\n".join([shown.text, *shown.said]):
            assert time.monotonic() < deadline, f"{text!r} did not come; there is {shown}"
            assert not self._hear(asked, timeout), f"the cell ended without {text!r}: {shown}"
        return shown

    def _hear(self, asked: str, timeout: float) -> bool:
        try:
            message = self.client.get_iopub_msg(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"the kernel says nothing more; there is {self.unfinished[asked]}") from None
        of, kind, content = message["parent_header"].get("msg_id"), message["msg_type"], message["content"]
        if of in self.unfinished:
            self.unfinished[of].add(kind, content)
        return bool(of == asked and kind == "status" and content["execution_state"] == "idle")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, a literal, without a cell being run for it."""
        return self.value_of(self.ask(expression))

    def ask(self, expression: str) -> str:
        """Send an expression, and return the message's id."""
        return str(self.client.execute("", silent=True, user_expressions={"it": expression}))

    def value_of(self, asked: str) -> Any:
        """The value of an expression that was sent."""
        answer = self._reply(asked, 60)["user_expressions"]["it"]
        assert answer["status"] == "ok", COLOURS.sub("", "\n".join(answer["traceback"]))
        return ast.literal_eval(answer["data"].get("text/plain", "None"))

    def interrupt(self) -> None:
        """Do what the stop button does."""
        self.manager.interrupt_kernel()


def side_by_side(*tasks: Callable[[], Result]) -> list[Result]:
    """Run tasks at once, in threads whose event loops, which Jupyter's client makes, are closed afterwards."""

    def closing(task: Callable[[], Result]) -> Result:
        try:
            return task()
        finally:
            ensure_event_loop().close()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(closing, tasks))


@dataclass
class Run:
    """One run of a notebook.

    Attributes:
        cells: what each showed.
        state: what the kernel held afterwards.
        broken: why there is no more of it; empty where there is.
    """

    cells: list[Shown]
    state: dict[str, Any]
    broken: str = ""


def play(kernel: NotebookKernel, scenario: Scenario, folder: Path, *, edited: bool, cached: bool) -> list[Run]:
    """Play a scenario from a fresh start, and again in what that left, unless it cannot run twice."""
    seed, site = (2 if edited else 1), (scenario.site if cached else "")
    begun = kernel.finish(kernel.begin(f"{INSIDE}.begin({str(folder)!r}, {seed}, {site!r})", counts=False))
    assert begun == Shown(reply="ok"), begun
    return [_run(kernel, scenario, edited=edited, cached=cached) for _ in range(2 if scenario.reruns else 1)]


def _run(kernel: NotebookKernel, scenario: Scenario, *, edited: bool, cached: bool) -> Run:
    cells = scenario.edited_cells if edited else scenario.cells
    # All at once: the kernel has the next cell when it is done with one, as after *Run All*.
    sent = [kernel.begin(cell.text(cached=cached)) for cell in cells]
    state = kernel.ask(f"{INSIDE}.state()")
    shown = [kernel.finish(asked) for asked in sent]
    return Run(shown, json.loads(kernel.value_of(state)))


def write_files(scenario: Scenario, folder: Path, *, edited: bool) -> None:
    """Write the scenario's modules and data into its folder."""
    folder.mkdir(exist_ok=True)
    for name, text in (scenario.edited_files if edited else scenario.files).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def statuses(cells: Sequence[Cell], run: Run) -> str:
    """What the magic did with each of the cells under it."""
    return " ".join(shown.status for cell, shown in zip(cells, run.cells, strict=True) if cell.cached)


def differences(expected: Run, found: Run) -> list[str]:
    """What tells a run under the cache from one without it."""
    told: list[str] = []
    pairs = zip(_comparable(expected.cells), _comparable(found.cells), strict=True)
    for number, (one, other) in enumerate(pairs, 1):
        if one != other:
            told.append(f"cell {number} shows\n    {other}\n  instead of\n    {one}")
    names, others = expected.state["names"], found.state["names"]
    for name in sorted(names.keys() | others.keys()):
        one, other = names.get(name), others.get(name)
        if one is None or other is None or one["digest"] != other["digest"]:
            told.append(f"{name} is\n    {_readable(other)}\n  instead of\n    {_readable(one)}")
    shared, otherwise = ([_masked(group, {}) for group in run.state["sharing"]] for run in (expected, found))
    told += [f"shared no more: {group}" for group in shared if group not in otherwise]
    told += [f"shared now: {group}" for group in otherwise if group not in shared]
    states, others = expected.state["states"], found.state["states"]
    for name in sorted(states.keys() & others.keys()):
        if states[name]["digest"] != others[name]["digest"]:
            told.append(f"{name} is\n    {_readable(others[name])}\n  instead of\n    {_readable(states[name])}")
    return told


def _readable(described: dict[str, Any] | None) -> str:
    return "not there" if described is None else str(described["text"])


def _comparable(cells: Iterable[Shown]) -> list[tuple[str, Any]]:
    identities: dict[str, str] = {}
    return [(shown.reply, [_masked(output, identities) for output in shown.outputs]) for shown in cells]


def _masked(value: Any, identities: dict[str, str]) -> Any:
    if isinstance(value, str):
        if _RANDOM_ID.fullmatch(value):
            return identities.setdefault(value, f"display {len(identities)}")
        for pattern, put in MASKS:
            value = pattern.sub(put, value)
        return value
    if isinstance(value, (tuple, list)):
        return [_masked(element, identities) for element in value]
    return {key: _masked(held, identities) for key, held in value.items()} if isinstance(value, dict) else value
