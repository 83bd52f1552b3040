"""Whole notebooks, changed in every way a cell cache could overlook: each run equals one without the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cells.comparison import differences
from tests.cells.forking import Kernel, Nursery
from tests.cells.mutants import cells_of, mutants_of
from tests.cells.mutation import EXTENSION, NAIVE, NOTEBOOKS, Trial, snapshot
from tests.support import LONG

NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipy"))
# Of each of the six notebooks.
MUTANTS = 36 if LONG else 1


@pytest.fixture(scope="module")
def environment(session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What kernels are told: a server, settings and a history of the tests' own."""
    home = str(tmp_path_factory.mktemp("ipython"))
    return {
        "FRAPPE_CACHE_HOME": str(session_home),
        "IPYTHONDIR": home,
        "JUPYTER_CONFIG_DIR": home,
        "PYTHONHASHSEED": "1",
    }


@pytest.fixture(scope="module")
def nursery(environment: dict[str, str]) -> Iterator[Nursery]:
    """Where kernels come from; their sets have another order than those of kernels that start from nothing."""
    with Nursery(environment | {"PYTHONHASHSEED": "2"}) as started:
        yield started


def test_mutants_are_the_same_each_time_and_differ_from_one_another() -> None:
    sources = ["LIMIT = 3\n\ndef f(x, y=1):\n    return x * LIMIT + y", "z = {'a': 1, 'b': 2}", "f(z['a']) > 2"]
    kinds = [{"LIMIT": "int"}, {"LIMIT": "int", "z": "dict"}, {}]
    mutants = mutants_of(sources, kinds, 60)
    assert mutants == mutants_of(sources, kinds, 60)
    assert len({mutant.cells for mutant in mutants}) == len(mutants) == 60
    assert cells_of(sources) not in {mutant.cells for mutant in mutants}
    assert {mutant.kind for mutant in mutants} >= {
        *("comment", "constant", "constant of a helper", "default", "operator", "order of a dict", "column renamed"),
        *("statement dropped", "statements swapped", "type of a constant", "cell moved", "cell run again"),
        *("value touched", "name touched", "name deleted", "alias", "ambient"),
    }


def test_cells_with_nothing_but_magics_are_not_cached() -> None:
    assert [cell.cached for cell in cells_of(["%cd /", "# look\n!ls", "%%time\nx = 1", "%time x = 1\ny = 2", "x"])] == [
        *(False, False, False, True, True)
    ]


# Pairs of cells after which a notebook is not the same, however alike the values print.
TOLD_APART = [
    ("x = 1", "x = True"),
    ("x = 0.0", "x = -0.0"),
    ("x = [1, 2]", "x = [2, 1]"),
    ("x = {'a': 1, 'b': 2}", "x = {'b': 2, 'a': 1}"),
    ("x = []; y = x", "x = []; y = []"),
    ("x = []; y = [x, x]", "x = []; y = [x, []]"),
    ("x = np.arange(3)", "x = np.arange(3, dtype='int32')"),
    ("x = np.eye(2)", "x = np.asfortranarray(np.eye(2))"),
    ("x = np.arange(3); y = x[1:]", "x = np.arange(3); y = x[1:].copy()"),
    ("x = np.random.default_rng(1)", "x = np.random.default_rng(1); x.random()"),
    ("x = pd.DataFrame({'a': [1]})", "x = pd.DataFrame({'a': [1]}); x.attrs['b'] = 1"),
    ("x = pd.Series([1], index=[0])", "x = pd.Series([1])"),
    ("def x(y=1): return y", "def x(y=2): return y"),
    ("def x(): return 1", "def x(): return 2"),
    ("class x:\n    y = 1\n    z = 2", "class x:\n    z = 2\n    y = 1"),
    ("class x: pass\ny = x()", "class x: pass\ny = x()\nclass x: pass"),
    ("x = iter('abc')", "x = iter('abc'); next(x)"),
    ("np.random.seed(1)", "np.random.seed(2)"),
    ("os.environ['TEA'] = 'a'", "os.environ['TEA'] = 'b'"),
    ("warnings.simplefilter('ignore')", "warnings.simplefilter('default')"),
]


@pytest.mark.slow
def test_what_a_later_cell_could_tell_apart_is_told_apart(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.kernel(tmp_path) as kernel:
        kernel.run("import os, warnings; import numpy as np, pandas as pd", "")
        overlooked = []
        for cells in TOLD_APART:
            one, again, other = (_state_after(kernel, cell) for cell in (cells[0], cells[0], cells[1]))
            assert one == again, cells[0]
            if one == other:
                overlooked.append(cells)
    assert overlooked == []


def _state_after(kernel: Kernel, cell: str) -> dict[str, Any]:
    kernel.run("x = y = None", "")
    assert kernel.run(cell, "")[1]["status"] == "ok"
    return snapshot(kernel, 0)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("notebook", NAMES)
def test_a_changed_notebook_under_the_cache_equals_one_without(
    notebook: str, nursery: Nursery, environment: dict[str, str], tmp_path: Path
) -> None:
    trial = Trial(notebook, nursery, EXTENSION, tmp_path, environment)
    assert trial.fill() == []
    mutants = trial.mutants(MUTANTS)
    forked = list(trial.outcomes(mutants))
    # A forked kernel has imported the libraries already; that this is all the same, a few that have not show.
    started = list(trial.outcomes([mutants[0], mutants[-1]], started=True))
    assert [(out.mutant.kind, out.mutant.change, out.differences) for out in forked + started if out.differences] == []
    assert started[0].hits == forked[0].hits == sum(step.status == "computed" for step in trial.filled.steps)
    unreached = sum(out.unreached for out in forked)
    missed = [f"{out.mutant.change}: {cell}" for out in forked for cell in out.missed]
    print(
        f"{notebook}: {len(forked)} runs, {sum(out.hits for out in forked)} hits, {len(missed)} of {unreached} missed"
    )
    print(*missed, sep="\n")
    assert len(missed) <= unreached / 10, missed
    assert [out.mutant.change for out in forked if out.mutant.kind == "comment" and out.missed] == []


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NAMES)
def test_two_runs_without_a_cache_are_equal(notebook: str, nursery: Nursery, tmp_path: Path) -> None:
    trial = Trial(notebook, nursery, EXTENSION, tmp_path, {})
    one, other = (trial.run(trial.cells, cached=False) for _ in range(2))
    assert [step.error for step in one.steps] == [""] * len(trial.cells)
    assert differences(one, other, started=False) == []


@pytest.mark.slow
@pytest.mark.parametrize("notebook", ["cleaning", "simulation"])
def test_a_naive_cache_is_caught(notebook: str, nursery: Nursery, environment: dict[str, str], tmp_path: Path) -> None:
    trial = Trial(notebook, nursery, NAIVE, tmp_path, environment)
    trial.fill()
    outcomes = list(trial.outcomes(trial.mutants(11)))
    assert sum(out.hits for out in outcomes) > len(outcomes)
    assert len([out for out in outcomes if out.differences]) > len(outcomes) / 2
