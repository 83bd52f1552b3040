"""Tables that read well in a notebook, in either theme, and in a terminal.

Nothing in them changes from one run to the next but what they show: no ids, no addresses, no colours of their own.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final

_NUMBER_STYLE: Final = ' style="text-align:right"'
_TEXT_STYLE: Final = ' style="text-align:left"'


class Table:
    """Rows under headings, shown as HTML or as text.

    Example:
        >>> Table(("key", "size"), [("color", 20), ("shape", 7)])
        key    size
        ───────────
        color    20
        shape     7

    Args:
        columns: the headings; an empty list of them shows none.
        rows: one tuple a row; numbers are aligned right.
        more: how many further rows there are that the table does not hold.
        empty: what is shown in place of rows where there are none.
        title: stands above the table.
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        more: int = 0,
        empty: str = "nothing",
        title: str = "",
    ) -> None:
        self.columns = tuple(columns)
        self.rows = [tuple(row) for row in rows]
        self.more = more
        self.empty = empty
        self.title = title

    def __len__(self) -> int:
        return len(self.rows) + self.more

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return (self.columns, self.rows, self.more) == (other.columns, other.rows, other.more)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        lines = [self.title] if self.title else []
        if self.rows:
            lines += self._text_rows()
        else:
            lines.append(self.empty)
        if self.more:
            lines.append(f"and {self.more:,} more")
        return "\n".join(lines)

    def _text_rows(self) -> list[str]:
        cells = [[one_line(cell_text(cell)) for cell in row] for row in self.rows]
        right = self._numbers()
        widths = [max(text_width(cell) for cell in column) for column in zip(self.columns, *cells, strict=True)]
        lines = [_joined(row, widths, right) for row in (self.columns, *cells)]
        return [lines[0], "─" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]

    def _repr_html_(self) -> str:
        right = self._numbers()
        styles = [_NUMBER_STYLE if number else _TEXT_STYLE for number in right]
        parts = ["<table>"]
        if self.title:
            parts.append(f"<caption>{_escaped(self.title)}</caption>")
        parts.append(f"<thead>{_html_row('th', self.columns, styles)}</thead>\n<tbody>")
        parts += [_html_row("td", [cell_text(cell) for cell in row], styles) for row in self.rows]
        note = self.empty if not self.rows else f"and {self.more:,} more" if self.more else ""
        if note:
            parts.append(f'<tr><td colspan="{len(self.columns)}"{_TEXT_STYLE}><i>{_escaped(note)}</i></td></tr>')
        parts.append("</tbody></table>")
        return "\n".join(parts)

    def _numbers(self) -> list[bool]:
        return [
            bool(self.rows) and all(isinstance(row[index], int | float) for row in self.rows)
            for index in range(len(self.columns))
        ]


def cell_text(cell: object) -> str:
    """A cell's text: thousands are set apart, nothing is left out."""
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    return str(cell)


def one_line(text: str) -> str:
    r"""A text in which nothing breaks the line: control characters are written as ``\n`` or ``\x1b``."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def text_width(text: str) -> int:
    """How many columns of a terminal a text takes: two for a wide character, none for one that joins the last.

    Example:
        >>> text_width("naïve"), text_width("日本")
        (5, 4)
    """
    return sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, width: int) -> str:
    """A text cut to a width in columns, ``…`` included."""
    if text_width(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += _character_width(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _joined(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = []
    for cell, width, number in zip(row, widths, right, strict=True):
        space = " " * (width - text_width(cell))
        cells.append(space + cell if number else cell + space)
    return "  ".join(cells).rstrip()


def _html_row(tag: str, cells: Iterable[str], styles: Iterable[str]) -> str:
    inner = "".join(f"<{tag}{style}>{_escaped(cell)}</{tag}>" for cell, style in zip(cells, styles, strict=True))
    return f"<tr>{inner}</tr>"


def _escaped(text: str) -> str:
    # A dollar sign would begin a formula in JupyterLab.
    return html.escape(one_line(text)).replace("$", "&#36;")
