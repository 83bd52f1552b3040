"""What may happen to a notebook between two runs: every way of changing it that a cache could overlook.

Mutants are made from the notebook's syntax tree, in the same order everywhere. Some of them raise; so do edits.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.cells.edits import Editor, without_magics

# What a cell between two others may do to a name, by the type of the value; {} is the name.
TOUCHES: dict[str, tuple[str, ...]] = {
    "list": ("{}.reverse()", "{}.append({}[0])", "{}[:] = {}[1:]", "{} = list({})"),
    "dict": ("{}[next(iter({}))] = {}.pop(next(iter({})))", "{}.pop(next(iter({})))", "{} = dict({})"),
    "Counter": ("{}.update(['tea'])",),
    "OrderedDict": ("{}.move_to_end(next(iter({})))",),
    "defaultdict": ("{}['EXTRA']",),
    "deque": ("{}.rotate()",),
    "set": ("{}.add('extra')", "{} = set({})"),
    "ndarray": ("{}.flat[0] = {}.flat[-1]", "{} = {}.copy()", "{}[...] = {}[::-1]", "{}.flags.writeable = False"),
    "DataFrame": (
        "{}.iloc[0, -1] = {}.iloc[1, -1]",
        "{}['extra'] = 1",
        "{}.attrs['seen'] = True",
        "{} = {}.iloc[::-1]",
    ),
    "Series": ("{}.iloc[0] = {}.iloc[-1]", "{}.name = 'renamed'"),
    "int": ("{} = {} + 1", "{} = float({})", "{} = bool({})"),
    "float": ("{} = -{}", "{} = str({})"),
    "str": ("{} = {}.upper()", "{} = {} + ' '"),
    "Generator": ("{}.random()",),
    "Pipeline": ("{}.set_params(verbose=False, classifier__tol=0.01)",),
    "Figure": ("{}.set_dpi(50)",),
    "type": ("{}.extra = 1",),
    "function": ("{}.note = 1", "{}.__defaults__ = tuple(reversed({}.__defaults__ or ()))"),
}
TOUCHES["Item"] = TOUCHES["Node"] = TOUCHES["Tree"] = ("{}.extra = 1", "vars({}).update(reversed(vars({}).items()))")
# What it may do without any name of the notebook.
AMBIENT = (
    "import numpy; numpy.random.seed(99)",
    "import random; random.seed(7)",
    "import random; random.random()",
    "import numpy; numpy.random.random()",
    "import os; os.environ['TEA_HOUSE'] = 'shut'",
    "import warnings; warnings.simplefilter('ignore')",
    "import numpy; numpy.set_printoptions(precision=2)",
    "import pandas; pandas.set_option('display.precision', 1)",
    "import matplotlib; matplotlib.rcParams['lines.linewidth'] = 2.0",
)


@dataclass(frozen=True)
class Cell:
    """A code cell.

    Attributes:
        source: its text.
        cached: whether it runs under ``%%cached``.
        origin: the number of the notebook's cell that has the same code; None for an edited or a new one.
    """

    source: str
    cached: bool = True
    origin: int | None = None


@dataclass(frozen=True)
class Mutant:
    """A changed notebook.

    Attributes:
        kind: what sort of change it is.
        change: the change itself.
        cells: the notebook's cells afterwards.
    """

    kind: str
    change: str
    cells: tuple[Cell, ...]


def cells_of(sources: Sequence[str]) -> tuple[Cell, ...]:
    """The cells of a notebook that nobody changed; those with nothing but magics cannot be cached."""
    return tuple(Cell(source, _has_code(source), number) for number, source in enumerate(sources))


def mutants_of(sources: Sequence[str], kinds: Sequence[Mapping[str, str]], number: int) -> list[Mutant]:
    """Changes of a notebook, of all sorts alike.

    Args:
        sources: the notebook's cells.
        kinds: the type of each name's value after each cell.
        number: how many to make.
    """
    cells = cells_of(sources)
    found: dict[str, list[Mutant]] = {}
    for mutant in (*_edited(cells), *_renamed(cells), *_rearranged(cells), *_inserted(cells, kinds)):
        found.setdefault(mutant.kind, []).append(mutant)
    for mutants in found.values():
        random.Random(sources[0]).shuffle(mutants)  # a fixed seed, and another one for each notebook
    chosen: dict[tuple[Cell, ...], Mutant] = {}
    while len(chosen) < number and any(found.values()):
        for mutants in found.values():
            if mutants:
                mutant = mutants.pop()
                chosen.setdefault(mutant.cells, mutant)
    return list(chosen.values())[:number]


def _has_code(source: str) -> bool:
    lines = [line for line in source.splitlines() if line.strip() and not line.startswith("#")]
    return not source.startswith("%%") and any(not line.startswith(("%", "!")) for line in lines)


def _edited(cells: Sequence[Cell]) -> Iterator[Mutant]:
    trees = [ast.parse(without_magics(cell.source)) for cell in cells]
    read_by_functions = {
        node.id
        for tree in trees
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    for number, (cell, tree) in enumerate(zip(cells, trees, strict=True)):
        for edit in Editor(cell.source, read_by_functions).edits(tree):
            source = f"{cell.source[: edit.start]}{edit.text}{cell.source[edit.end :]}"
            origin = number if edit.kind == "comment" else None
            old = cell.source[edit.start : edit.end]
            yield Mutant(
                edit.kind,
                f"cell {number}: {old.strip()!r} -> {edit.text.strip()!r}",
                (*cells[:number], Cell(source, cell.cached, origin), *cells[number + 1 :]),
            )


def _renamed(cells: Sequence[Cell]) -> Iterator[Mutant]:
    """Another name for a column or a key, where it is made or everywhere."""
    keys: dict[str, int] = {}
    for number, cell in enumerate(cells):
        for node in ast.walk(ast.parse(without_magics(cell.source))):
            held = [node.slice] if isinstance(node, ast.Subscript) else node.keys if isinstance(node, ast.Dict) else []
            for constant in held:
                if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                    keys.setdefault(constant.value, number)
    for key, first in keys.items():
        pattern = re.compile(rf"([\"']){re.escape(key)}\1")
        changed = [Cell(pattern.sub(f'"{key}_"', cell.source), cell.cached) for cell in cells]
        everywhere = tuple(cell if cell.source == new.source else new for cell, new in zip(cells, changed, strict=True))
        yield Mutant("column renamed", f"{key!r} in every cell", everywhere)
        yield Mutant(
            "column renamed", f"{key!r} in cell {first}", (*cells[:first], changed[first], *cells[first + 1 :])
        )


def _rearranged(cells: Sequence[Cell]) -> Iterator[Mutant]:
    for number, cell in enumerate(cells):
        others = [*cells[:number], *cells[number + 1 :]]
        for place in range(len(cells)):
            if place not in {number, number - 1}:
                moved = (*others[:place], cell, *others[place:])
                yield Mutant("cell moved", f"cell {number} to {place}", moved)
            if place > number:
                again = (*cells[: place + 1], cell, *cells[place + 1 :])
                yield Mutant("cell run again", f"cell {number} after {place}", again)
        yield Mutant("cell left out", f"cell {number}", tuple(others))


def _inserted(cells: Sequence[Cell], kinds: Sequence[Mapping[str, str]]) -> Iterator[Mutant]:
    turns = random.Random(len(cells))

    def insert(kind: str, after: int, source: str) -> Mutant:
        new = Cell(source, cached=turns.random() < 0.5)
        change = f"after cell {after}{', cached' if new.cached else ''}: {source}"
        return Mutant(kind, change, (*cells[: after + 1], new, *cells[after + 1 :]))

    for after, types in enumerate(kinds[:-1]):
        for name, kind in types.items():
            for source in (text.replace("{}", name) for text in TOUCHES.get(kind, ())):
                yield insert("name touched" if source.startswith(f"{name} =") else "value touched", after, source)
            if kind not in {"module", "int", "float", "str", "function"}:
                yield insert("alias", after, f"alias = {name}")
                yield insert("held", after, f"holder = [{name}, {{'same': {name}}}]")
            yield insert("name deleted", after, f"del {name}")
        for source in AMBIENT:
            yield insert("ambient", after, source)
