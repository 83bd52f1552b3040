"""The one quiet line that is said of a cell."""

from __future__ import annotations

import html
import time
from typing import Any

from ..cells.report import Report


class Line:
    """A line under a cell: grey in a notebook, plain in a terminal."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f'<small style="opacity:0.65">{html.escape(self.text)}</small>'


def line_of(report: Report) -> str:
    """What is said of a cell that ended well.

    Example:
        >>> line_of(Report(found=True, seconds=2.31, size=14_200, created=time.time() - 180, left=3420))
        'cached · 2.31 s saved · 14.2 kB · 3 minutes ago · expires in 57 min'
        >>> line_of(Report(seconds=2.31))
        'computed · 2.31 s'
        >>> line_of(Report(reason="conn is a lock"))
        'not cached: conn is a lock'
    """
    if report.found:
        parts = ["cached", f"{duration(report.seconds)} saved", size(report.size), age(time.time() - report.created)]
        if report.left is not None:
            parts.append(f"expires in {time_left(report.left)}")
    elif report.reason:
        return f"not cached: {report.reason}"
    else:
        parts = ["computed", duration(report.seconds)]
    if report.waited:
        parts.append(f"waited for {report.waited}")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """A time that something took: ``2.31 s``, ``12 ms``, ``3 min 20 s``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 99.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes / 60:.3g} h"


def size(number: float) -> str:
    """A number of bytes: ``850 B``, ``14.2 kB``."""
    unit = "B"
    for larger in ("kB", "MB", "GB"):
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    return f"{number:.3g} {unit}"


def age(seconds: float) -> str:
    """How long ago something was: ``just now``, ``3 minutes ago``."""
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            number = int(seconds // length)
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "just now" if seconds < 2 else f"{int(seconds)} seconds ago"


def time_left(seconds: float) -> str:
    """How long something still lasts: ``57 min``."""
    for length, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def because(reasons: list[str]) -> str:
    """Why a cell missed, in one line."""
    if not reasons:
        return "miss because: nothing is known of an earlier run"
    return f"miss because: {'; '.join(reasons)}"


def show(shell: Any, text: str) -> None:
    """Show a line under the cell."""
    line = Line(text)
    shell.display_pub.publish({"text/plain": text, "text/html": line._repr_html_()})
