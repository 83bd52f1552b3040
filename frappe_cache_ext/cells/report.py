"""What became of a cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Report:
    """What became of a cell.

    Attributes:
        found: whether it was put back instead of run.
        reason: why it is not stored; empty where it is.
        seconds: how long it ran, now or when it was stored.
        size: bytes of its entry.
        created: the `time.time` of its entry.
        left: seconds until the entry expires; None for never.
        waited: who computed it while this kernel waited; empty for nobody.
        error: what the cell raised.
        hints: what makes its result a frozen one.
        why: what differs from the last time, for a miss.
        ran: what came of the body.
    """

    found: bool = False
    reason: str = ""
    seconds: float = 0.0
    size: int = 0
    created: float = 0.0
    left: float | None = None
    waited: str = ""
    error: BaseException | None = None
    hints: tuple[str, ...] = ()
    why: list[str] = field(default_factory=list)
    ran: Any = None
