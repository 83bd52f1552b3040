"""The results as a part of a page, such as the README: short, from the JSON of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.benchmarks.rows import BYTES, RUNS, SECONDS, ratio
from tests.benchmarks.table import aligned

_UNITS: Final = {unit.name: unit for unit in (BYTES, RUNS, SECONDS)}
_REACHED: Final = {True: "yes", False: "no", None: "–"}


def as_markdown(results: Mapping[str, Any]) -> str:
    """The tables of a run: one line for each row, with the ratios to all who took part, then one for each curve.

    Args:
        results: what `table.as_plain` returned, or what the file of a run holds.
    """
    about = results["about"]
    measured = f"Measured on {about['machine']}, {about['cores']} cores, with {about['python']} and {about['server']}"
    # A quick run shows that all of it works, and nothing else.
    parts = [f"{measured}{', at small sizes: no figure to rely on' if results['quick'] else ''}."]
    if results["rows"]:
        head = ("what", "ours", "ours ÷ others", "goal", "reached")
        parts.append("\n".join(aligned([head, *map(_line, results["rows"])])))
    parts += ["\n".join(_growth(growth)) for growth in results["growth"] if growth["points"]]
    return "\n\n".join(parts) + "\n"


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["ours"] is None:
        return row["title"], "failed", "", row["goal"], "no"
    ours = _UNITS[row["unit"]].show(row["ours"]["median"])
    beside = ", ".join(_beside(row["unit"], peer) for peer in row["peers"] if "missing" not in peer)
    figure = row["figure"]
    reached = _REACHED[row["reached"]] + (f": {figure}" if figure and row["reached"] is not None else "")
    return row["title"], ours, beside, row["goal"], reached


def _beside(unit: str, peer: Mapping[str, Any]) -> str:
    shown = "" if peer["ratio"] is None else f"{ratio(peer['ratio'])} "
    return f"{shown}{peer['name']} ({_UNITS[unit].show(peer['median'])})"


def _growth(growth: Mapping[str, Any]) -> Sequence[str]:
    points = growth["points"]
    names = list(dict.fromkeys(figures["name"] for point in points for figures in point["figures"]))
    head = [f"{growth['title']}, by {growth['axis']}", *(point["shown"] for point in points)]
    return aligned([head, *([name, *(_at(growth["unit"], point, name) for point in points)] for name in names)])


def _at(unit: str, point: Mapping[str, Any], name: str) -> str:
    found = [figures for figures in point["figures"] if figures["name"] == name and "missing" not in figures]
    return _UNITS[unit].show(found[0]["median"]) if found else "–"
