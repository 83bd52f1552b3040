"""Notebooks run by two learners at once, and by each of them twice.

With TEST_LONG it is every notebook; otherwise it is those whose cells do not wait for long.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.suite.learner import NAMES, ROOT, as_text, code_cells, learner_at_once, read
from tests.support import LONG

pytestmark = pytest.mark.slow

WAITS = ("00_start_here", "04_a_cache_by_hand", "06_redis_cache", "12_races_and_stampedes")
PLAYED = NAMES if LONG else [name for name in NAMES if name not in WAITS]


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


@pytest.mark.parametrize("name", PLAYED)
@pytest.mark.usefixtures("embedded_server")
def test_two_learners_at_once_and_a_second_run_see_what_is_stored(name: str) -> None:
    async def both() -> list[list[str]]:
        return await asyncio.gather(run_twice(name), run_twice(name))

    assert asyncio.run(both()) == [[], []]
