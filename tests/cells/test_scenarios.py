"""The promise of `%%cached`, scenario by scenario: a hit leaves the notebook exactly as running the cell would have.

Each scenario is a small notebook. It is played in real kernels, with the magic and without it: at first, again in the
same kernel, after an edit in a new kernel, and again there. Values, outputs, shared objects and global state have to be
the same each time, and the magic has to do what the table says: find, run and store, or run and say why not.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from .kernels import NotebookKernel, Run, differences, play, side_by_side, statuses, write_files
from .scenarios import Scenario, identifier
from .scenarios_changes import CHANGES
from .scenarios_code import CODE
from .scenarios_outputs import SHOWN
from .scenarios_values import KEPT

TABLE: list[Scenario] = [*CODE, *CHANGES, *SHOWN, *KEPT]
RUNS = ("at first", "again", "after the restart", "again after the restart")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test plays all scenarios

Played = dict[tuple[str, bool], list[Run]]
"""By the scenario's title and whether it was under the magic: its runs, in the order of `RUNS`."""


class Players:
    """Four kernels that play scenarios: as they are and edited, without the magic and with it.

    Args:
        scenarios: what is played.
        environment: what the kernels get.
        folder: where each scenario has a folder of its own.
    """

    def __init__(self, scenarios: list[Scenario], environment: dict[str, str], folder: Path) -> None:
        self.scenarios = scenarios
        self.environment = environment
        self.folder = folder
        self.runs: Played = {(each.title, cached): [] for each in scenarios for cached in (False, True)}

    def play(self) -> Played:
        """Play all of them; at any time a kernel without the magic beside one with it."""
        for edited in (False, True):
            for each in self.scenarios:
                write_files(each, self._folder(each), edited=edited)
            side_by_side(*(partial(self._go_through, cached, edited) for cached in (False, True)))
        return self.runs

    def _go_through(self, cached: bool, edited: bool) -> None:
        preamble = "%load_ext frappe_cache_ext" if cached else "pass"  # a cell each, so that both count alike
        kernel = NotebookKernel(self.environment, preamble)
        try:
            for each in self.scenarios:
                try:
                    self.runs[each.title, cached] += play(
                        kernel, each, self._folder(each), edited=edited, cached=cached
                    )
                except AssertionError as error:  # it says nothing any more: that is one scenario's fault
                    self.runs[each.title, cached].append(Run([], {}, str(error)))
                    kernel.stop()
                    kernel = NotebookKernel(self.environment, preamble)
        finally:
            kernel.stop()

    def _folder(self, each: Scenario) -> Path:
        return self.folder / str(each.number)


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest, kernels: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Played:
    """All scenarios that were asked for, played."""
    asked = {id(item.callspec.params.get("each")) for item in request.session.items if hasattr(item, "callspec")}
    folder = tmp_path_factory.mktemp("scenarios")
    return Players([each for each in TABLE if id(each) in asked], kernels, folder).play()


@pytest.mark.parametrize("each", TABLE, ids=lambda each: identifier(each.title))
def test_a_hit_is_as_good_as_a_run(each: Scenario, played: Played) -> None:
    wrong = []
    broken = [run.broken for cached in (False, True) for run in played[each.title, cached] if run.broken]
    assert not broken, "\n".join(broken)
    runs = zip(_runs(each), played[each.title, False], played[each.title, True], strict=True)
    for (when, words, cells), plain, cached in runs:
        done = statuses(cells, cached)
        said = [line for shown in cached.cells for line in shown.said]
        if done != words:
            wrong.append(f"{when}: {done} instead of {words}; it says {said}")
        if "refused" in words and not any(re.search(each.says, line) for line in said):
            wrong.append(f"{when}: {each.says!r} is not in {said}")
        if each.shows and when in RUNS[2:]:
            text = cached.cells[-1].text
            wrong += [] if text == each.shows else [f"{when}: the last cell shows {text!r} instead of {each.shows!r}"]
        else:
            wrong += [f"{when}: {difference}" for difference in differences(plain, cached)]
    assert not wrong, "\n".join(wrong)


def _runs(each: Scenario) -> list[tuple[str, str, tuple]]:
    both = zip(RUNS, each.expected(), (each.cells, each.cells, each.edited_cells, each.edited_cells), strict=True)
    return [run for run in both if each.reruns or "again" not in run[0]]
