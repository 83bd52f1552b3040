"""Names in texts: in the lines of magics, in queries and formulas."""

from __future__ import annotations

import re


def identifiers(text: str) -> list[str]:
    """All identifiers in a text."""
    return re.findall(r"[^\W\d]\w*", text)


def behind_at(text: str) -> list[str]:
    """The identifiers behind an ``@``, as in ``df.query("price > @limit")``."""
    return re.findall(r"@([^\W\d]\w*)", text)


def expanded(line: str) -> set[str]:
    """The identifiers in a magic's line in whose place IPython puts values: in ``$name`` and ``{expression}``."""
    found = set(re.findall(r"\$\$?([^\W\d]\w*)", line))
    for expression in re.findall(r"\{([^{}]*)\}?", line):
        found.update(identifiers(expression))
    return found
