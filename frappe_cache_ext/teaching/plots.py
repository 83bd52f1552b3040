"""Charts that read well on a light page, on a dark one and on a projector.

A chart is an image with an alternative text, inside HTML: that is the one form in which JupyterLab passes the text on
to screen readers. The background is transparent, and every colour has enough contrast to white and to near-black.
"""

from __future__ import annotations

import base64
import html
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

INK: Final = "#7a7a7a"
"""Text and axes: a contrast of 4.3 to white and of 4.4 to JupyterLab's darkest page."""

COLOURS: Final = ("#8d8d93", "#189e86", "#c77d1a", "#6a7fd1")

_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_DOTS_PER_INCH: Final = 160
_SHOWN_PER_INCH: Final = 80


@dataclass(frozen=True, slots=True)
class Picture:
    """An image to show in a notebook.

    Attributes:
        png: the image's bytes.
        alt: what it shows, in words. Equal for equal lessons, whatever the clock said.
        width: how wide it is shown, in pixels of the page.
    """

    png: bytes
    alt: str
    width: int

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        encoded = base64.b64encode(self.png).decode("ascii")
        source = f"data:image/png;base64,{encoded}"
        image = f'<img src="{source}" width="{self.width}" alt="{html.escape(self.alt)}">'
        return {"text/html": image, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"[{self.alt}]"


def seconds_as_text(seconds: float) -> str:
    """A duration with three digits and its unit.

    Example:
        >>> seconds_as_text(0.00021), seconds_as_text(1.0), seconds_as_text(0)
        ('210 µs', '1.00 s', '0 s')
    """
    if seconds <= 0:
        return "0 s"
    size, unit = next((pair for pair in _UNITS if seconds >= 0.9995 * pair[0]), _UNITS[-1])
    value = seconds / size
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def bars(durations: Mapping[str, float], title: str, alt: str) -> Picture:
    """Durations as horizontal bars on a logarithmic scale, where each step is ten times the one before.

    Args:
        durations: seconds by the bar's name, first on top.
        title: what was measured.
        alt: what the chart shows, in words.

    Raises:
        ImportError: matplotlib is not installed.
    """
    # On a machine's first chart matplotlib says on stderr that it looks for fonts; its own are all that is needed.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    from matplotlib.figure import Figure  # noqa: PLC0415  (only those who draw pay for it)

    names, seconds = list(durations), [max(each, 1e-9) for each in durations.values()]
    figure = Figure(figsize=(7.0, 0.9 + 0.55 * len(names)), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.barh(names, seconds, color=[COLOURS[index % len(COLOURS)] for index in range(len(names))], height=0.62)
    axes.bar_label(drawn, labels=[seconds_as_text(each) for each in seconds], padding=6, color=INK, fontsize=12)
    axes.invert_yaxis()
    axes.set_xscale("log")
    lowest, highest = min(seconds) / 5, max(seconds) * 8  # room for the shortest bar, and for the longest one's label
    axes.set_xlim(lowest, highest)
    ticks = _decades(lowest, max(seconds) * 1.5)
    axes.set_xticks(ticks, [_tick(each) for each in ticks])
    axes.minorticks_off()
    axes.set_title(title, color=INK, fontsize=12, loc="left")
    axes.tick_params(colors=INK, labelsize=11, length=3)
    axes.tick_params(axis="y", length=0, labelsize=12)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", transparent=True, metadata={"Software": None})
    return Picture(sink.getvalue(), alt, round(7.0 * _SHOWN_PER_INCH))


def _decades(lowest: float, highest: float) -> Sequence[float]:
    return [float(f"1e{power}") for power in range(-9, 4) if lowest <= float(f"1e{power}") <= highest]


def _tick(seconds: float) -> str:
    size, unit = next((pair for pair in _UNITS if seconds >= 0.999 * pair[0]), _UNITS[-1])
    return f"{seconds / size:g} {unit}"
