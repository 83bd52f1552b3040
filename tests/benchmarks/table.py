"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.curves import Grown
from tests.benchmarks.rows import Judgement, Row, Unit, quotient, ratio
from tests.benchmarks.timing import Figures, Missing

PACKAGES: Final = (
    "blake3",
    "cachetools",
    "cashews",
    "diskcache",
    "django-redis",
    "dogpile.cache",
    "frappe",
    "hiredis",
    "ipycache",
    "ipython",
    "joblib",
    "marimo",
    "numpy",
    "pandas",
    "redis",
)
"""Distributions whose versions a measurement depends on."""

_COLUMNS: Final = ("what", "by", "figure", "ours ÷ it", "goal", "reached")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a row.

    Attributes:
        row: the row.
        title: its title, with the sizes.
        ours: what we reached; None where it failed.
        peers: what the peers did, in the row's order.
        judgement: whether the goal was reached; None where that was not asked, at a small size.
        failure: why there is no figure.
    """

    row: Row
    title: str
    ours: Figures | None = None
    peers: Sequence[Figures | Missing] = ()
    judgement: Judgement | None = None
    failure: str = ""

    @property
    def measured(self) -> list[Figures]:
        """The peers that took part."""
        return [peer for peer in self.peers if isinstance(peer, Figures)]


def machine(server: str, load: float) -> dict[str, str]:
    """What the numbers belong to, by name.

    Args:
        server: the cache server and its version.
        load: how many processes wanted to run before the first row.
    """
    return {
        "machine": f"{_processor()}, {platform.system()} {platform.release()}",
        "cores": str(os.cpu_count()),
        # Above the number of cores, every time in seconds is partly the neighbours' doing.
        "load": f"{load:.1f} before the first row",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "server": server,
        **{package: _version(package) for package in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def as_text(about: dict[str, str], results: Sequence[Result], grown: Sequence[Grown] = ()) -> str:
    """The tables, as they can stand in a page of Markdown."""
    lines = [f"{name}: {value}" for name, value in about.items() if name not in PACKAGES]
    lines.append("packages: " + ", ".join(f"{package} {about[package]}" for package in PACKAGES))
    if results:
        lines += ["", *aligned([_COLUMNS, *(line for result in results for line in _lines(result))])]
    for growth in grown:
        lines += ["", *_growth_lines(growth)]
    return "\n".join([*lines, *_notes(results, grown)])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown whose columns stand below each other; the first row is its head."""
    rows = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows]


def _growth_lines(grown: Grown) -> list[str]:
    curve = grown.curve
    title = f"{curve.title}, by {curve.axis}"
    if grown.failure:
        return [f"{title}: failed"]
    if curve.goal is not None:
        title += f"; goal {curve.goal}; reached {_verdict(grown.judgement)}"
    names = list(dict.fromkeys(figures.name for point in grown.points.values() for figures in point))
    shown = {(size, each.name): _shown(each, curve.unit) for size, point in grown.points.items() for each in point}
    head = [curve.axis, *(curve.show(size) for size in grown.points)]
    return [title, *aligned([head, *([name, *(shown[size, name] for size in grown.points)] for name in names)])]


def _shown(figures: Figures | Missing, unit: Unit) -> str:
    return "missing" if isinstance(figures, Missing) else unit.show(figures.median)


def _lines(result: Result) -> Iterable[tuple[str, ...]]:
    row = result.row
    if result.ours is None:
        yield result.title, "ours", "failed", "", str(row.goal), "not measured"
        return
    yield result.title, "ours", row.unit.show(result.ours.median), "", str(row.goal), _verdict(result.judgement)
    for peer in result.peers:
        if isinstance(peer, Missing):
            yield "", peer.name, "missing", "", "", ""
        else:
            times = quotient(result.ours.median, peer.median)
            yield "", peer.name, row.unit.show(peer.median), "–" if times is None else ratio(times), "", ""


def _verdict(judgement: Judgement | None) -> str:
    if judgement is None:
        return "not asked at this size"
    answers = {True: "yes", False: "no", None: "unknown"}
    return f"{answers[judgement.reached]}: {judgement.figure}"


def _notes(results: Sequence[Result], grown: Sequence[Grown]) -> list[str]:
    """Why somebody is missing, once for each reason, and why a row or a curve failed."""
    missing = [peer for result in results for peer in result.peers if isinstance(peer, Missing)]
    missing += [peer for growth in grown for peer in growth.missing]
    failed = [f"{result.row.name} failed: {result.failure}" for result in results if result.failure]
    failed += [f"{growth.curve.name} failed: {growth.failure}" for growth in grown if growth.failure]
    notes = dict.fromkeys((*(f"{peer.name}: {peer.reason}" for peer in missing), *failed))
    return ["", *notes] if notes else []


def as_plain(
    about: dict[str, str], results: Sequence[Result], grown: Sequence[Grown] = (), *, quick: bool
) -> dict[str, Any]:
    """The same as JSON holds it; a figure is of its row's unit, most of them seconds."""
    rows, growth = [_plain_row(result) for result in results], [_plain_growth(each) for each in grown]
    return {"about": about, "quick": quick, "rows": rows, "growth": growth}


def _plain_growth(grown: Grown) -> dict[str, Any]:
    curve, judgement = grown.curve, grown.judgement
    return {
        "name": curve.name,
        "title": curve.title,
        "axis": curve.axis,
        "unit": curve.unit.name,
        "points": [
            {"size": size, "shown": curve.show(size), "figures": [_plain(each) for each in point]}
            for size, point in grown.points.items()
        ],
        "goal": None if curve.goal is None else str(curve.goal),
        "figure": None if judgement is None else judgement.figure,
        "reached": None if judgement is None else judgement.reached,
        "failure": grown.failure or None,
    }


def _plain_row(result: Result) -> dict[str, Any]:
    judgement = result.judgement
    return {
        "name": result.row.name,
        "title": result.title,
        "unit": result.row.unit.name,
        "ours": None if result.ours is None else _plain_figures(result.ours),
        "peers": [_plain_peer(peer, result.ours) for peer in result.peers],
        "goal": str(result.row.goal),
        "figure": None if judgement is None else judgement.figure,
        "reached": None if judgement is None else judgement.reached,
        "failure": result.failure or None,
    }


def _plain_figures(figures: Figures) -> dict[str, Any]:
    return {
        "name": figures.name,
        "median": figures.median,
        "least": figures.least,
        "most": figures.most,
    }


def _plain(figures: Figures | Missing) -> dict[str, Any]:
    if isinstance(figures, Missing):
        return {"name": figures.name, "missing": figures.reason}
    return _plain_figures(figures)


def _plain_peer(peer: Figures | Missing, ours: Figures | None) -> dict[str, Any]:
    if isinstance(peer, Missing):
        return _plain(peer)
    return _plain(peer) | {"ratio": None if ours is None else quotient(ours.median, peer.median)}
