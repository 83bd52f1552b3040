"""Notebooks run twice, with a cache and without it, in real kernels: what differs, and what should have been a hit."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cells.comparison import GENERATORS, STATUS, Run, Step, differences, masked, outputs_of
from tests.cells.forking import Kernel, Nursery, StartedKernel
from tests.cells.mutants import Cell, Mutant, cells_of, mutants_of

NOTEBOOKS = Path(__file__).parent / "notebooks"
# The kernel writes down its state by itself: no name of the helper's gets into the notebook.
SNAPSHOT = "__import__('tests.cells.state', fromlist=['snapshot']).snapshot({shown})"
IDENTIFIER = re.compile(r"[^\W\d]\w*")


def sources_of(notebook: str) -> list[str]:
    """The cells of a notebook that is kept as a script, each after a line `# %%`."""
    text = (NOTEBOOKS / f"{notebook}.ipy").read_text()
    return [cell.strip("\n") for cell in re.split(r"(?m)^# %%\n", text)[1:]]


@dataclass(frozen=True)
class Magic:
    """A `%%cached` to be tested.

    Attributes:
        setup: the line magics that load it and give it a place of its own; {} stands for the place.
    """

    setup: tuple[str, ...]


EXTENSION = Magic(("%load_ext frappe_cache_ext", "%cache_site {}"))
NAIVE = Magic(("%load_ext tests.cells.naive", "%cached_folder {}"))


def run_in(kernel: Kernel, cells: Sequence[Cell], setup: Sequence[str], cached: bool, shown: int = 80) -> Run:
    """Run cells in a fresh kernel.

    Args:
        kernel: the kernel.
        cells: the cells.
        setup: what is run before them, silently.
        cached: whether cells that can be cached are.
        shown: how much of each value's description is kept for people to read, in characters.
    """
    for line in setup:
        _, reply = kernel.run(line, "", silent=True)
        assert reply["status"] == "ok", reply
    run = Run(snapshot(kernel, shown))
    for cell in cells:
        source = f"%%cached\n{cell.source}" if cached and cell.cached else cell.source
        messages, reply = kernel.run(source, SNAPSHOT.format(shown=shown))
        outputs, line = outputs_of(messages)
        failed = reply["status"] != "ok"
        state = snapshot(kernel, shown) if failed else state_of(reply)
        error = f"{reply['ename']}: {masked(reply['evalue'])}" if failed else ""
        status = next((status for words, status in STATUS.items() if line.startswith(words)), "plain")
        run.steps.append(Step(outputs, error, state, status, line))
        if failed:
            break
    return run


def snapshot(kernel: Kernel, shown: int) -> dict[str, Any]:
    """What a notebook holds, asked for by itself."""
    return state_of(kernel.run("", SNAPSHOT.format(shown=shown), silent=True)[1])


def state_of(reply: dict[str, Any]) -> dict[str, Any]:
    """What a notebook held when a cell had ended, from the kernel's reply."""
    asked = reply["user_expressions"]["asked"]
    assert asked["status"] == "ok", "\n".join(asked["traceback"])
    state: dict[str, Any] = json.loads(ast.literal_eval(asked["data"]["text/plain"]))
    return state


def reach(source: str, *states: dict[str, Any]) -> set[str]:
    """Every name that a cell could read, functions that it could call included; rather too many than too few."""
    found: set[str] = set()
    pending = set(IDENTIFIER.findall(source))
    while pending:
        name = pending.pop()
        found.add(name)
        for state in states:
            pending |= set(state["names"].get(name, {}).get("reads", ())) - found
    return found


def is_unreached(base: Run, at: int, mutant: Run, number: int, source: str) -> bool:
    """Whether a change can have no bearing on a cell: all that it could read is as it was.

    Args:
        base: the unchanged notebook, run without a cache.
        at: the cell's number in it.
        mutant: the changed notebook, run without a cache.
        number: the cell's number in that.
        source: the cell's text.
    """
    before, now = base.before(at), mutant.before(number)
    names = reach(source, before, now)

    def seen(state: dict[str, Any]) -> tuple[Any, ...]:
        values = {name: state["names"].get(name, {}).get("digest") for name in names}
        return values, [group for group in state["sharing"] if len(names & set(map(_root, group))) > 1]

    if seen(before) != seen(now):
        return False
    drawn = base.steps[at].state["states"]
    return all(
        now["states"].get(name) == state or (name in GENERATORS and drawn.get(name) == state)
        for name, state in before["states"].items()
    )


def _root(path: str) -> str:
    found = IDENTIFIER.search(path.removeprefix("values of ").removeprefix("type("))
    return found.group() if found else ""


def _is_own(name: str, text: str) -> bool:
    """Whether a name holds something of the notebook's, and neither an imported class nor a result of IPython's."""
    imported = text.startswith("class ") and not text.startswith("class __main__.")
    return not imported and not re.match("_|Out$", name)


@dataclass
class Outcome:
    """What came of a changed notebook.

    Attributes:
        mutant: the change.
        differences: what a cache did that the cells would not have done.
        hits: how many cells were hits.
        missed: the cells that the change cannot have reached and which ran nevertheless.
        unreached: how many cells the change cannot have reached.
    """

    mutant: Mutant
    differences: list[str]
    hits: int
    missed: list[str]
    unreached: int


class Trial:
    """One notebook under one magic.

    Args:
        notebook: its name.
        nursery: where kernels come from.
        magic: the magic.
        folder: a folder for the runs; for the naive cache, its entries are there, too.
        environment: what a kernel that is not forked gets beside this process's environment.
    """

    def __init__(
        self, notebook: str, nursery: Nursery, magic: Magic, folder: Path, environment: dict[str, str]
    ) -> None:
        self.sources = sources_of(notebook)
        self.cells = cells_of(self.sources)
        self.nursery = nursery
        self.environment = environment
        self.folder = folder
        # A site has the name of a host, and for the naive cache the same text is a folder.
        place = str(folder / "entries") if magic is NAIVE else f"{notebook}.test"
        self.setup = [line.format(place) for line in magic.setup]
        self.base: Run
        self.filled: Run

    def run(self, cells: Sequence[Cell], cached: bool, started: bool = False, shown: int = 80) -> Run:
        """Run cells in a fresh kernel.

        Args:
            cells: the cells.
            cached: whether they run under the magic.
            started: whether the kernel starts from nothing, and not from a fork.
            shown: see `run_in`.
        """
        directory = self.folder / ("cached" if cached else "plain") / "work"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        with StartedKernel(directory, self.environment) if started else self.nursery.kernel(directory) as kernel:
            return run_in(kernel, cells, self.setup, cached, shown)

    def both(self, cells: Sequence[Cell], started: bool = False) -> tuple[Run, Run]:
        """Run cells without the cache and, at the same time, with it."""
        with ThreadPoolExecutor(1) as other:
            plain = other.submit(self.run, cells, False, started)
            cached = self.run(cells, True, started)
            return plain.result(), cached

    def fill(self) -> list[str]:
        """Run the notebook unchanged under an empty cache, in a kernel that starts from nothing; say what differs."""
        expected, self.filled = self.both(self.cells, started=True)
        self.base = self.run(self.cells, cached=False)
        return differences(expected, self.filled)

    def mutants(self, number: int) -> list[Mutant]:
        """Changes of the notebook that has been filled, the first of which changes nothing."""
        kinds = [
            {name: held["kind"] for name, held in step.state["names"].items() if _is_own(name, held["text"])}
            for step in self.base.steps
        ]
        return [Mutant("nothing", "", self.cells), *mutants_of(self.sources, kinds, number)]

    def outcomes(self, mutants: Sequence[Mutant], started: bool = False) -> Iterator[Outcome]:
        """Run changed notebooks without the cache and with it; never two at a time with it."""
        with ThreadPoolExecutor(1) as other:
            plain = [other.submit(self.run, mutant.cells, False, started) for mutant in mutants]
            for mutant, expected in zip(mutants, plain, strict=True):
                got = self.run(mutant.cells, True, started)
                yield self._outcome(mutant, expected.result(), got, started)

    def _outcome(self, mutant: Mutant, expected: Run, got: Run, started: bool) -> Outcome:
        missed, unreached = [], 0
        for number, (cell, step) in enumerate(zip(mutant.cells, got.steps, strict=False)):
            at = cell.origin
            if at is None or not cell.cached or self.filled.steps[at].status == "refused":
                continue
            if not started and is_unreached(self.base, at, expected, number, cell.source):
                unreached += 1
                if step.status != "hit":
                    missed.append(f"cell {number} ({step.line}): {cell.source.splitlines()[0]}")
        hits = sum(step.status == "hit" for step in got.steps)
        return Outcome(mutant, differences(expected, got, started), hits, missed, unreached)
