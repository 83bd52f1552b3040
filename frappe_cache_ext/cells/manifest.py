"""What a cell depends on, taken down in words: so that a miss can be explained.

Two manifests of one cell, of its last run and of now, are compared by digest; what the user is told is made of the
short texts beside the digests. Pure: who makes manifests is `dependencies`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LONGEST_TEXT: Final = 20_000
"""Characters of a source text; one of this length is taken for cut off."""

MOST_PLACES: Final = 3
"""Places in a source text that are named."""

_TEXTS: Final = frozenset(("class", "code", "function"))


@dataclass(frozen=True, slots=True)
class Dependency:
    """One thing that a cell depends on.

    Attributes:
        kind: ``value``, ``function``, ``class``, ``module``, ``file``, ``variable``, ``state``, ``code``, ``option``
            or ``python``.
        digest: the same as long as it is.
        shown: a short text for the user, empty where there is none; of a function, a class or the cell the source,
            without comments and in one layout, cut off at `LONGEST_TEXT`.
    """

    kind: str
    digest: str
    shown: str


Manifest = Mapping[str, Dependency]
"""By the name that the user is shown: ``threshold``, ``clean()``, ``the cell``, ``numpy``, ``file data.csv``."""


def explain(old: Manifest | None, new: Manifest) -> list[str]:
    """What differs between the manifest of a cell's last run and one of now.

    Example:
        >>> then = {"threshold": Dependency("value", "1", "0.5")}
        >>> explain(then, {"threshold": Dependency("value", "2", "0.7"), "x": Dependency("value", "3", "8")})
        ['threshold 0.5 -> 0.7', 'x is new']

    Args:
        old: of the last run; None where nothing is known of one.
        new: of now.

    Returns:
        A few words for each difference, in the order of `new`, then what is gone. Nothing where nothing differs, and
        where nothing is known.
    """
    if old is None:
        return []
    found = [_change(name, old[name], now) for name, now in new.items() if name in old and _differs(old[name], now)]
    found += [_appearance(name, now) for name, now in new.items() if name not in old]
    return found + [_disappearance(name, then) for name, then in old.items() if name not in new]


def to_plain(manifest: Manifest) -> dict[str, tuple[str, str, str]]:
    """A manifest in plain types, to be stored."""
    return {name: (each.kind, each.digest, each.shown) for name, each in manifest.items()}


def from_plain(plain: Any) -> Manifest | None:
    """The manifest of what `to_plain` returned; None for anything else, which another release may have stored."""
    try:
        return {str(name): Dependency(*map(str, parts)) for name, parts in plain.items()}
    except (AttributeError, TypeError, ValueError):
        return None


def _differs(old: Dependency, new: Dependency) -> bool:
    return (old.kind, old.digest) != (new.kind, new.digest)


def _appearance(name: str, new: Dependency) -> str:
    if new.kind == "state":  # only what deviates from its default is part of a manifest
        return f"{name} is {new.shown} now" if new.shown else f"{name} is no longer at its default"
    return f"{name} is new"


def _disappearance(name: str, old: Dependency) -> str:
    if old.kind == "state":
        return f"{name} is back at its default"
    return f"{name} is given no more" if old.kind == "option" else f"{name} is read no more"


def _change(name: str, old: Dependency, new: Dependency) -> str:
    if old.kind != new.kind:
        return f"{name} changed ({old.kind} -> {new.kind})"
    if new.kind in _TEXTS:
        return f"{name} {_text_change(old.shown, new.shown)}"
    if old.shown == new.shown:
        return f"{name} changed ({new.shown})" if new.shown else f"{name} changed"
    if not old.shown or not new.shown:
        return f"{name} changed"
    if new.kind == "module":
        return _version_change(name, old.shown, new.shown)
    return f"{name} {old.shown} -> {new.shown}"


def _version_change(name: str, old: str, new: str) -> str:
    """``numpy 2.3.1 -> 2.4.6``, whether a distribution's name stands before the versions or not."""
    distribution, blank, version = old.rpartition(" ")
    if version.startswith("("):  # a digest, of what has no version
        return f"{name} changed"
    if blank and new.startswith(distribution + blank):
        return f"{old} -> {new.removeprefix(distribution + blank)}"
    return f"{name} {old} -> {new}"


def _text_change(old: str, new: str) -> str:
    before, after = old.splitlines(), new.splitlines()
    if not before or not after:
        return "changed"
    if before == after:
        return "changed, though not its code" if len(new) < LONGEST_TEXT else "changed"
    blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    differing = [block for block in blocks if block[0] != "equal"]
    if all(tag == "delete" for tag, *_ in differing):
        return f"{_places([(first, last) for _, first, last, _, _ in differing])} removed"
    kept = [(first, last) for tag, _, _, first, last in differing if tag != "delete"]
    return f"{_places(kept)} {'added' if all(tag == 'insert' for tag, *_ in differing) else 'changed'}"


def _places(ranges: list[tuple[int, int]]) -> str:
    """Ranges of lines in words, counted from 1: ``line 3``, ``lines 2-4 and 9``."""
    texts = [f"{first + 1}-{last}" if last - first > 1 else f"{first + 1}" for first, last in ranges[:MOST_PLACES]]
    if len(ranges) > MOST_PLACES:
        texts.append("others")
    listed = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"{'line' if listed.isdigit() else 'lines'} {listed}"
