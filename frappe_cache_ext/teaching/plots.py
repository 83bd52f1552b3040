"""Charts that read well on a light page, on a dark one and on a projector.

A chart is an image with an alternative text, inside HTML: that is the one form in which JupyterLab passes the text on
to screen readers. The background is transparent, and every colour has enough contrast to white and to near-black.
"""

from __future__ import annotations

import base64
import html
import io
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

INK: Final = "#7a7a7a"
"""Text and axes: a contrast of 4.3 to white and of 4.4 to JupyterLab's darkest page."""

COLOURS: Final = ("#8d8d93", "#189e86", "#c77d1a", "#6a7fd1")

_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_DOTS_PER_INCH: Final = 160
_WIDTH: Final = 720
"""How wide pictures are shown, in pixels of the page: as wide as the drawings at the notebooks' beginnings."""


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
        return _as_image("image/png", self.png, self.alt, self.width)

    def __repr__(self) -> str:
        return _in_words(self.alt)


@dataclass(frozen=True, slots=True)
class Drawing:
    """The same made of lines and letters, where nothing is there to make pixels of them.

    Attributes:
        svg: the drawing.
        alt: what it shows, in words.
        width: how wide it is shown, in pixels of the page.
    """

    svg: str
    alt: str
    width: int

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return _as_image("image/svg+xml", self.svg.encode(), self.alt, self.width)

    def __repr__(self) -> str:
        return _in_words(self.alt)


def _as_image(kind: str, content: bytes, alt: str, width: int) -> dict[str, str]:
    source = f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
    image = f'<img src="{source}" width="{width}" alt="{html.escape(alt)}">'
    return {"text/html": image, "text/plain": _in_words(alt)}


def _in_words(alt: str) -> str:
    return f"[{alt}]"


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


def new_axes(width: float, height: float) -> Any:
    """Axes to draw on, with a scale below and nothing around.

    Args:
        width: of the whole picture, in inches; it is shown as wide as all others, so more makes letters smaller.
        height: the same.

    Raises:
        ImportError: matplotlib is not installed.
    """
    # On a machine's first chart matplotlib says on stderr that it looks for fonts; its own are all that is needed.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    from matplotlib.figure import Figure  # noqa: PLC0415  (only those who draw pay for it)

    axes = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained").add_subplot()
    axes.tick_params(colors=INK, labelsize=11, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)
    return axes


def show(draw: Callable[[], Picture | Drawing]) -> None:
    """Draw and show a picture where there is a notebook to show it in; elsewhere the words beside it have to do.

    Args:
        draw: makes the picture.
    """
    try:
        from IPython import get_ipython  # noqa: PLC0415  (the words are worth having without)
        from IPython.display import display  # noqa: PLC0415

        if get_ipython() is not None:
            display(draw())  # type: ignore[no-untyped-call]
    except ImportError as error:
        print(f"(no picture: {error.name} is not installed)")


def picture_of(axes: Any, alt: str) -> Picture:
    """The picture with these axes, on a transparent ground."""
    sink = io.BytesIO()
    axes.figure.savefig(sink, format="png", transparent=True, metadata={"Software": None})
    return Picture(sink.getvalue(), alt, _WIDTH)


def bars(durations: Mapping[str, float], title: str, alt: str) -> Picture | Drawing:
    """Durations as horizontal bars on a logarithmic scale, where each step is ten times the one before.

    Args:
        durations: seconds by the bar's name, first on top.
        title: what was measured.
        alt: what the chart shows, in words.

    Returns:
        A picture; where matplotlib is not installed, as in the browser, a plainer drawing.
    """
    names, seconds = list(durations), [max(each, 1e-9) for each in durations.values()]
    lowest, highest = min(seconds) / 5, max(seconds) * 8  # room for the shortest bar, and for the longest one's label
    try:
        axes = new_axes(7.0, 0.9 + 0.55 * len(names))
    except ImportError:
        return _drawn_bars(names, seconds, (lowest, highest), title, alt)
    drawn = axes.barh(names, seconds, color=[COLOURS[index % len(COLOURS)] for index in range(len(names))], height=0.62)
    axes.bar_label(drawn, labels=[seconds_as_text(each) for each in seconds], padding=6, color=INK, fontsize=12)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(lowest, highest)
    ticks = _decades(lowest, max(seconds) * 1.5)
    axes.set_xticks(ticks, [_tick(each) for each in ticks])
    axes.minorticks_off()
    axes.set_title(title, color=INK, fontsize=12, loc="left")
    axes.tick_params(axis="y", length=0, labelsize=12)
    return picture_of(axes, alt)


def _drawn_bars(
    names: Sequence[str], seconds: Sequence[float], limits: tuple[float, float], title: str, alt: str
) -> Drawing:
    """The bars without matplotlib, as wide as with it, on the same scale."""
    width, top, row, letter = _WIDTH, 34, 42, 8.0  # pixels; of a letter, about as wide as it is
    left, base = 16 + letter * max(map(len, names)), top + row * len(names)

    def across(value: float) -> float:
        part = math.log(value / limits[0]) / math.log(limits[1] / limits[0])
        return left + part * (width - left - 8)

    def text(x: float, y: float, words: str, size: int, anchor: str) -> str:
        place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
        return f"<text {place}>{html.escape(words)}</text>"

    parts = [text(left, 20, title, 15, "start")]
    for index, (name, value) in enumerate(zip(names, seconds, strict=True)):
        y, colour = top + row * index, COLOURS[index % len(COLOURS)]
        size = f'width="{across(value) - left:.1f}" height="{row - 16}"'
        parts += [
            f'<rect x="{left:.1f}" y="{y + 8}" {size} fill="{colour}"/>',
            text(left - 8, y + 26, name, 15, "end"),
            text(across(value) + 8, y + 26, seconds_as_text(value), 15, "start"),
        ]
    parts.append(f'<path d="M{left:.1f} {base}H{width - 8}" stroke="{INK}"/>')
    for value in _decades(limits[0], max(seconds) * 1.5):
        parts += [
            f'<path d="M{across(value):.1f} {base}v4" stroke="{INK}"/>',
            text(across(value), base + 20, _tick(value), 13, "middle"),
        ]
    shape = f'width="{width}" height="{base + 30}" viewBox="0 0 {width} {base + 30}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {shape} font-family="sans-serif" fill="{INK}">'
    return Drawing("".join((opening, *parts, "</svg>")), alt, width)


def _decades(lowest: float, highest: float) -> Sequence[float]:
    return [float(f"1e{power}") for power in range(-9, 4) if lowest <= float(f"1e{power}") <= highest]


def _tick(seconds: float) -> str:
    size, unit = next((pair for pair in _UNITS if seconds >= 0.999 * pair[0]), _UNITS[-1])
    return f"{seconds / size:g} {unit}"
