"""The curves of a run as one picture that can be read on a light page and on a dark one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.rows import duration

INK: Final = "#7a7a7a"
"""Text and axes: a contrast of more than four to white and to nearly black."""

COLOURS: Final = ("#1f83c2", "#d55e00", "#009e73", "#b5739d")
"""Blue, vermilion, green and purple, which all kinds of sight tell apart (Okabe and Ito, *Color Universal Design*,
2008), in tones neither too light for white nor too dark for black."""

MARKERS: Final = ("o", "s", "^", "D")
"""Beside the colour: the curves have to be told apart in print, too."""

WIDTH: Final = 4.2
HEIGHT: Final = 3.4
"""Inches of each curve's panel."""

RATES: Final = "growth-threads"
"""The curve of which calls in a second are shown, where the others show seconds."""


_FEW_POWERS: Final = 1000
"""A panel that spans less than this has labels between the powers of ten, too."""


def draw(results: Mapping[str, Any], file: Path) -> bool:
    """Draw the curves of a run as an SVG; False, and no file, where there are none.

    Args:
        results: what `table.as_plain` returned, or what the file of a run holds.
        file: where to write it.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    curves = [growth for growth in results["growth"] if growth["points"]]
    if not curves:
        return False
    # On a machine's first chart it says on stderr that it looks for fonts.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text, and the same figures make the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 9}):
        figure = Figure(figsize=(WIDTH * len(curves), HEIGHT), layout="constrained")
        for axes, growth in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
            _panel(axes, growth)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return True


def _panel(axes: Any, growth: Mapping[str, Any]) -> None:
    from matplotlib.ticker import LogLocator

    rates = growth["name"] == RATES
    points = growth["points"]
    names = list(dict.fromkeys(figures["name"] for point in points for figures in point["figures"]))
    for number, name in enumerate(names):
        found = _line(points, name)
        heights = [1 / figure for figure in found.values()] if rates else list(found.values())
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.plot(found.keys(), heights, color=colour, marker=marker, markersize=4, linewidth=1.5, label=name)
    axes.set_xscale("log", base=2 if rates else 10)
    axes.set_yscale("log")
    axes.set_xticks([point["size"] for point in points], [point["shown"] for point in points])
    axes.set_xticks([], minor=True)
    axes.tick_params(axis="x", labelrotation=30 if len(points) > 4 and not rates else 0)
    axes.yaxis.set_major_formatter(_rate if rates else _seconds)
    # matplotlib labels some lines between powers of ten in its own way, where there are few of those.
    axes.yaxis.set_minor_formatter(_nothing)
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < _FEW_POWERS * low else (1,)))
    axes.set_xlabel(growth["axis"])
    axes.set_title("hits in a second" if rates else growth["title"], fontsize=10)
    _paint(axes)


def _line(points: list[Mapping[str, Any]], name: str) -> dict[int, float]:
    """A contender's figures, by size; those above zero, which alone a logarithm has."""
    return {
        point["size"]: figures["median"]
        for point in points
        for figures in point["figures"]
        if figures["name"] == name and figures.get("median", 0) > 0
    }


def _nothing(_height: float, _position: int | None = None) -> str:
    return ""


def _seconds(height: float, _position: int | None = None) -> str:
    return duration(height)


def _rate(height: float, _position: int | None = None) -> str:
    return f"{height:,.0f}"


def _paint(axes: Any) -> None:
    """Everything that is not a curve in the one grey that both grounds bear."""
    axes.tick_params(which="both", colors=INK)
    axes.grid(visible=True, which="major", color=INK, alpha=0.25, linewidth=0.5)
    for part in (axes.title, axes.xaxis.label, axes.yaxis.label):
        part.set_color(INK)
    for name, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(name in {"bottom", "left"})
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
