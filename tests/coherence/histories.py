"""What several processes read and wrote, and whether a reading was older than it may be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from tests.support import LONG

GRACE = 0.05 if LONG else 0.5
"""Seconds after the end of a write within which an idle reader may still get what was there before.

Where other tests take the processor from a reader meanwhile, it is not idle: 50 ms are for `make long` on its own.
"""


class Event(NamedTuple):
    """One operation on one key.

    Attributes:
        kind: ``read`` or ``write``.
        key: the key.
        value: what was read or written; None for nothing, as after a deletion.
        start: when it began, in seconds of the machine's monotonic clock, which its processes share.
        end: when it ended; ``inf`` for a write of which it is not known when it took effect, if ever.
    """

    kind: str
    key: str
    value: int | None
    start: float
    end: float


def too_old(events: Iterable[Event], grace: float = GRACE) -> list[tuple[Event, Event]]:
    """The readings that are older than they may be, each with a write that it should have seen.

    A reading is right if some write of its value can have been the last one: that write began before the reading ended,
    and no other write lies wholly between the two. Before anything was written every key held nothing.
    """
    by_key: dict[str, tuple[list[Event], list[Event]]] = {}
    for event in events:
        reads, writes = by_key.setdefault(event.key, ([], [Event("write", event.key, None, -math.inf, -math.inf)]))
        (reads if event.kind == "read" else writes).append(event)
    wrong = []
    for reads, writes in by_key.values():
        for read in reads:
            sources = [write for write in writes if write.value == read.value and write.start <= read.end]
            hidden = [_hides(writes, source, read, grace) for source in sources]
            if not sources or None not in hidden:
                wrong.append((read, hidden[-1] if hidden else read))  # type: ignore[arg-type]  (None is not in it)
    return wrong


def _hides(writes: list[Event], source: Event, read: Event, grace: float) -> Event | None:
    """A write of another value that came after one, and whose end lies well before a reading."""
    for write in writes:
        if write.value != source.value and source.end < write.start and write.end + grace < read.start:
            return write
    return None
