"""Which warning filters somebody chose, among those that are there anyway.

A filter decides what a cell shows, so the filters are part of every cell's key. But Python starts with some, IPython
adds some, and libraries add theirs when they are imported: two kernels in which nobody touched a filter hold different
lists. The list does not say who added what. So a filter counts unless it is one of these:

- Python's own, at the end of the list and complete, where Python puts them;
- behind one that matches everything, or behind its equal: these are never asked;
- in `LIBRARIES_OWN`, with nothing of the user's behind it. A library puts a filter about its own warnings there when it
  is imported, so it is in force wherever such a warning can be raised, and says nothing more. In front of a filter of
  the user's it overrides that one, and counts.

Whatever is not known here counts. A library with filters of its own that is missing from the table costs a cell that is
run before and after its import one miss; a filter of the user's that looks like a library's cannot slip through.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any, Final

PYTHONS_OWN: Final = (
    "default::DeprecationWarning:__main__",
    "ignore::DeprecationWarning",
    "ignore::PendingDeprecationWarning",
    "ignore::ImportWarning",
    "ignore::ResourceWarning",
)

LIBRARIES_OWN: Final = frozenset(
    (
        "error::IPython.core.completer.ProvisionalCompleterWarning",
        "ignore:.*Trio's signal handling code might have collided.*:RuntimeWarning",
        "always::numpy.exceptions.RankWarning",
        "ignore:numpy.dtype size changed:Warning",
        "ignore:numpy.ndarray size changed:Warning",
        "ignore:numpy.ufunc size changed:Warning",
        "always::scipy.special._sf_error.SpecialFunctionWarning",
        "ignore:the matrix subclass is not the recommended way:Warning",
        r"always::DeprecationWarning:^sklearn\.",
    )
)

_NOTHING_BEHIND: Final = "nothing behind it"
_EVERYTHING: Final = re.compile(r"[a-z]+::Warning")


def chosen(filters: Sequence[tuple[Any, ...]] | None = None) -> tuple[str, ...]:
    """The filters that count, in order, as ``action:message:category:module:line`` without empty ends.

    Example:
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     chosen()
        ('ignore::Warning',)

    Args:
        filters: a list like `warnings.filters`, which it is by default.
    """
    texts = _asked([_text(item) for item in (warnings.filters if filters is None else filters)])
    others = [text for text in texts if text not in LIBRARIES_OWN]
    ending: tuple[str, ...] = (_NOTHING_BEHIND,)
    if tuple(others[-len(PYTHONS_OWN) :]) == PYTHONS_OWN:
        others, ending = others[: -len(PYTHONS_OWN)], ()
    if not others:
        return ending
    if _EVERYTHING.fullmatch(others[-1]):
        ending = ()
    return *texts[: texts.index(others[-1]) + 1], *ending


def _asked(texts: list[str]) -> list[str]:
    """Those that a warning can come to."""
    unique = list(dict.fromkeys(texts))
    for position, text in enumerate(unique):
        if _EVERYTHING.fullmatch(text):
            return unique[: position + 1]
    return unique


def _text(item: tuple[Any, ...]) -> str:
    action, message, category, module, line = item
    home = "" if category.__module__ == "builtins" else f"{category.__module__}."
    parts = (str(action), _pattern(message), f"{home}{category.__qualname__}", _pattern(module), str(line or ""))
    return ":".join(parts).rstrip(":")


def _pattern(pattern: Any) -> str:
    """A regular expression; by itself where it is what `warnings.filterwarnings` makes of it, else with its flags."""
    if not isinstance(pattern, re.Pattern):
        return pattern or ""
    usual = pattern.flags & ~(re.IGNORECASE | re.UNICODE) == 0
    return pattern.pattern if usual else f"{pattern.pattern} ({pattern.flags})"
