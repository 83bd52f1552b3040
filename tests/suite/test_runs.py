"""Notebooks run by two learners at once, run twice, and run on a cache that does not keep anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.suite.learner import NAMES, ROOT, as_text, code_cells, learner, learner_at_once, read

pytestmark = pytest.mark.slow

FORGETFUL = """
from frappe_cache_ext import connections, context

perform = connections.Connection.perform

def forgetful(self, effect):
    self.client.flushall()
    return perform(self, effect)

connections.Connection.perform = forgetful
context.LocalCache.get_held = lambda self, name: None
"""


@pytest.fixture(autouse=True)
def kernels_find_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


async def run_twice(name: str) -> list[str]:
    """Every output of a notebook that is not the stored one, in a first run and in a second one in the same kernel."""
    different = []
    async with learner_at_once() as pupil:
        for turn in (1, 2):
            for cell in code_cells(read(name)):
                shown = await pupil.run_async(cell.source)
                if cell.id == "start" and turn == 2:  # IPython says, too, that the extension is loaded already
                    shown = shown[shown.index("Ready:") :]
                if shown != as_text(cell.outputs):
                    different.append(f"run {turn}, {cell.id}: {shown}")
    return different


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("embedded_server")
def test_two_learners_at_once_and_a_second_run_see_what_is_stored(name: str) -> None:
    async def both() -> list[list[str]]:
        return await asyncio.gather(run_twice(name), run_twice(name))

    assert asyncio.run(both()) == [[], []]


MEASURING = [name for name in NAMES if any("timing." in cell.source for cell in code_cells(read(name)))]


def test_the_notebooks_that_claim_a_speed_up_are_known() -> None:
    assert MEASURING == [
        "00_start_here",
        "03_cached_documents",
        "04_a_cache_by_hand",
        "06_redis_cache",
        "09_the_requests_own_cache",
        "11_cached_cells",
        "13_copies_in_the_process",
    ]


@pytest.mark.parametrize("name", MEASURING)
def test_no_speed_up_is_claimed_of_a_cache_that_forgets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAPPE_CACHE_URL", "memory://forgetful")
    measured = 0
    with learner() as pupil:
        for cell in code_cells(read(name)):
            shown = pupil.run(cell.source)
            if cell.id == "start":
                assert "Error" not in pupil.run(FORGETFUL)
            if "timing.demo(" in cell.source or "timing.compare(" in cell.source:
                measured += 1
                assert "AssertionError: " in shown, cell.id
                assert "slow" not in shown.replace("slow_", ""), cell.id
    assert measured
