"""Measure the cache beside its peers, and print tables: ``python tests/benchmarks/bench.py``.

Each row and each curve is measured in a process of its own, on a cache server of its own in a temporary folder. Times
of machines that others use too are noise, so everybody in a row takes turns, medians are compared, and the figure is
the ratio.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import redis

# Run as a script, it finds its own folder on the path, and not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from frappe_cache_ext import server
from tests.benchmarks import (
    calls,
    cells,
    clears,
    copies,
    crowds,
    fingerprints,
    growth,
    page,
    plot,
    starts,
    table,
)
from tests.benchmarks.curves import Curve, Grown, Point
from tests.benchmarks.rows import FULL, QUICK, Row, Setting
from tests.benchmarks.table import Result
from tests.benchmarks.timing import Figures, Missing, measure

T = TypeVar("T")

ROWS: Final = {
    row.name: row
    for row in (
        *calls.ROWS,
        *clears.ROWS,
        *crowds.ROWS,
        *copies.ROWS,
        *starts.ROWS,
        *fingerprints.ROWS,
        *cells.ROWS,
    )
}

CURVES: Final = {curve.name: curve for curve in growth.CURVES}

QUICK_ROUNDS: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 1 if something could not be measured, 0 however slow it is."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.results is None:
        plain, failed = _measured(given.only or [*ROWS, *CURVES], quick=given.quick)
    else:
        try:
            plain, failed = json.loads(given.results.read_text(encoding="utf-8")), False
        except (OSError, ValueError) as error:
            parser.error(f"{given.results} holds no results of a run: {error}")
    _write(plain, given.json, lambda file: _text(file, json.dumps(plain, indent=1, ensure_ascii=False) + "\n"))
    _write(plain, given.markdown, lambda file: _text(file, page.as_markdown(plain)))
    _write(plain, given.plot, lambda file: plot.draw(plain, file))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the cache beside its peers.", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: shows that all of it works")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results to a file, too")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write short tables for a page to a file, too")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the curves as an SVG, too")
    parser.add_argument(
        "--results", metavar="FILE", type=Path, help="measure nothing; take what --json wrote for --markdown and --plot"
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        choices=[*ROWS, *CURVES],
        help=f"measure this row or curve; again for more: {', '.join([*ROWS, *CURVES])}",
    )
    return parser


def _measured(names: Sequence[str], *, quick: bool) -> tuple[dict[str, Any], bool]:
    """Measure and print; returns the results as JSON holds them, and whether something failed."""
    load = os.getloadavg()[0]
    about: dict[str, str] = {}
    results: list[Result] = []
    grown: list[Grown] = []
    for name in names:
        print(f"measuring {name} …", end="", file=sys.stderr, flush=True)
        begun = time.monotonic()
        if name in ROWS:
            version, result = _in_a_process(ROWS[name], quick=quick)
            results.append(result)
        else:
            version, points = _curve_in_a_process(CURVES[name], quick=quick)
            grown.append(points)
        print(f" {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
        about = about or table.machine(version, load)
    print(table.as_text(about, results, grown))
    failed = any(result.failure for result in results) or any(curve.failure for curve in grown)
    return table.as_plain(about, results, grown, quick=quick), failed


def _write(plain: Mapping[str, Any], file: Path | None, write: Callable[[Path], object]) -> None:
    """Write a file that was asked for, into a folder that need not be there."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        if write(file) is False:
            print(f"{file} is not written: no curve was measured", file=sys.stderr)


def _text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _in_a_process(row: Row, *, quick: bool) -> tuple[str, Result]:
    """Measure a row beside a server that nobody else uses; returns the server's version, too."""
    with _beside_a_server(quick=quick) as (version, setting):
        title = setting.fill(row.title)
        try:
            ours, peers = _spawned(_measure, row.name, setting, QUICK_ROUNDS if quick else row.rounds)
        except Exception as error:  # whatever it is, the other rows are measured all the same
            return version, Result(row, title, failure=f"{type(error).__name__}: {error}")
    measured = {peer.name: peer.median for peer in peers if isinstance(peer, Figures)}
    # What a small size takes says nothing about the goal.
    judgement = None if quick else row.goal.judge(ours.median, measured)
    return version, Result(row, title, ours, peers, judgement)


def _curve_in_a_process(curve: Curve, *, quick: bool) -> tuple[str, Grown]:
    """The same for a curve: one process and one server for all of its sizes, the smallest first."""
    with _beside_a_server(quick=quick) as (version, setting):
        try:
            points = _spawned(_grow, curve.name, setting)
        except Exception as error:
            return version, Grown(curve, {}, failure=f"{type(error).__name__}: {error}")
    judgement = None if quick or curve.goal is None else curve.goal.judge(points)
    return version, Grown(curve, points, judgement)


@contextmanager
def _beside_a_server(*, quick: bool) -> Iterator[tuple[str, Setting]]:
    """A server of one's own for a while: its version, and the setting to measure in."""
    # A short path: a socket's name must not be long.
    with tempfile.TemporaryDirectory(prefix="fcb-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "server"
        running = server.start(home, maxmemory="1gb")
        try:
            _quieten(running.url)
            work = Path(folder) / "work"
            work.mkdir()
            yield running.version, Setting(work, running.url, QUICK if quick else FULL)
        finally:
            server.stop(home)


def _quieten(url: str) -> None:
    """Keep a server from rewriting its file: it forks for that, in the middle of whoever's turn it is."""
    with redis.Redis.from_url(url) as client:
        client.config_set("auto-aof-rewrite-percentage", 0)


def _spawned(function: Callable[..., T], *arguments: Any) -> T:
    """What a function returns in a process that begins without anything that this one, or a row before, has loaded."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _measure(name: str, setting: Setting, rounds: int) -> tuple[Figures, list[Figures | Missing]]:
    """Measure a row; what the process of its own runs."""
    _settle_in(setting)
    return measure(ROWS[name].field(setting), rounds)


def _grow(name: str, setting: Setting) -> dict[int, Point]:
    """Measure a curve, size by size; what the process of its own runs."""
    _settle_in(setting)
    curve, quick = CURVES[name], setting.sizes.quick
    field_for = curve.begin(setting)
    points: dict[int, Point] = {}
    for size in curve.quick if quick else curve.sizes:
        ours, peers = measure(field_for(size), QUICK_ROUNDS if quick else curve.rounds)
        points[size] = [ours, *peers]
    return points


def _settle_in(setting: Setting) -> None:
    """Use the setting's server, whatever the environment says."""
    for variable in [variable for variable in os.environ if variable.startswith("FRAPPE_CACHE_")]:
        del os.environ[variable]
    os.environ |= {"FRAPPE_CACHE_URL": setting.url, "FRAPPE_CACHE_HOME": str(setting.folder)}


if __name__ == "__main__":
    sys.exit(main())
