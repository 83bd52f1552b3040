"""How the command writes: units, columns, colours, and texts that a terminal must not take for commands."""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO

PROGRAM: Final = "frappe-cache"

WIDTH: Final = 80
"""Columns; what is laid out here fits the smallest usual terminal."""

_STYLES: Final = {"bold": "1", "dim": "2", "good": "32", "bad": "31"}


def complain(text: str) -> None:
    """One line on the error stream."""
    print(f"{PROGRAM}: {text}", file=sys.stderr)


class Terminal:
    """One stream, and what it can show.

    Attributes:
        coloured: whether it is a terminal whose user has nothing against colours (see https://no-color.org).
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self.coloured = self.stream.isatty() and not plain

    def paint(self, style: str, text: str) -> str:
        """The text in one of the `_STYLES`, as it is where there are no colours."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.coloured and text else text

    def pick(self, best: str, plain: str) -> str:
        """The first text if the stream's encoding has its characters, else the second, in ASCII."""
        try:
            best.encode(self.stream.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return plain
        return best

    def duration(self, seconds: float) -> str:
        """A time in the unit it is read best in: ``897 µs``, ``12.3 ms``, ``1.00 s``."""
        if seconds < 999.5e-6:
            return f"{seconds * 1e6:.0f} {self.pick('µs', 'us')}"
        if seconds < 0.9995:
            return f"{seconds * 1e3:.3g} ms"
        return f"{seconds:.2f} s"

    def bar(self, share: float, width: int) -> str:
        """A bar of text; `share` is from 0 to 1, and what is too short for one character is still a sliver."""
        full = round(share * width)
        return self.pick("█", "#") * full if full else self.pick("▏", "|")


def count(number: int, thing: str) -> str:
    """A number and its noun: ``1 key``, ``1,204 keys``, ``2 entries``."""
    if number != 1:
        thing = thing[:-1] + "ies" if thing.endswith("ry") else thing + "s"
    return f"{number:,} {thing}"


def memory(size: int) -> str:
    """A size in bytes as Redis writes it in its configuration, rounded: ``1.2mb``."""
    amount = float(size)
    for unit in ("b", "kb", "mb"):
        if amount < 1023.95:
            return f"{amount:.1f}".removesuffix(".0") + unit
        amount /= 1024
    return f"{amount:.1f}".removesuffix(".0") + "gb"


def printable(text: str) -> str:
    r"""The text with everything a terminal would act upon, or could not show, written as an escape: ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
