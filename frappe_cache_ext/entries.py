"""What stands under a name: its type, size and expiry, without reading any of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

Send = Callable[[Sequence[tuple[Any, ...]]], Sequence[Any]]
"""Sends commands together; an error of the server's stands in its command's place."""

BATCH: Final = 500

_MEASURES: Final = {
    "string": ("STRLEN", "byte", "bytes"),
    "hash": ("HLEN", "field", "fields"),
    "list": ("LLEN", "item", "items"),
    "set": ("SCARD", "member", "members"),
    "zset": ("ZCARD", "member", "members"),
    "stream": ("XLEN", "entry", "entries"),
}
"""For each of Redis' types the command that measures it, and what it counts."""

_GONE: Final = -2
"""PTTL's answer for a key that is not there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key on the server.

    Attributes:
        name: its name on the wire.
        type: Redis' name for its type; ``?`` where this user may not ask.
        size: bytes of a string, fields of a hash, items of a list, members of a set; None where it is not known.
        unit: what `size` counts, in the singular; empty where it is not known.
        expires_in_sec: seconds until it is gone; None for one that stays.
    """

    name: bytes
    type: str
    size: int | None
    unit: str
    expires_in_sec: float | None

    @property
    def size_text(self) -> str:
        """The size with its unit, for people."""
        if self.size is None:
            return "-"
        _, one, many = _MEASURES[self.type]
        return f"{self.size:,} {one if self.size == 1 else many}"

    @property
    def expiry_text(self) -> str:
        """The time left, rounded up, so that a key just stored for a minute says so."""
        if self.expires_in_sec is None:
            return "never"
        seconds = math.ceil(self.expires_in_sec)
        for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
            if seconds >= 2 * size or seconds == size:
                return f"{math.ceil(seconds / size)} {unit}"
        return f"{seconds} s"


def look_up(names: Sequence[bytes], send: Send) -> Iterator[Entry]:
    """Look some names up, a batch at a time; those that are gone meanwhile are left out.

    Args:
        names: names on the wire.
        send: how commands get to the server.
    """
    for start in range(0, len(names), BATCH):
        yield from _look_up_batch(names[start : start + BATCH], send)


def _look_up_batch(names: Sequence[bytes], send: Send) -> Iterator[Entry]:
    replies = send([command for name in names for command in (("TYPE", name), ("PTTL", name))])
    kinds = [_text(kind) for kind in replies[::2]]
    measured = [(_MEASURES[kind][0], name) for name, kind in zip(names, kinds, strict=True) if kind in _MEASURES]
    sizes = iter(send(measured) if measured else ())
    for name, kind, left in zip(names, kinds, replies[1::2], strict=True):
        size = next(sizes) if kind in _MEASURES else None
        if kind == "none" or left == _GONE:
            continue
        known = isinstance(size, int)  # an error where the key became another type just now
        yield Entry(
            name=name,
            type=kind,
            size=size if known else None,
            unit=_MEASURES[kind][1] if known else "",
            expires_in_sec=left / 1000 if isinstance(left, int) and left >= 0 else None,
        )


def _text(reply: object) -> str:
    if isinstance(reply, Exception):
        return "?"
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
