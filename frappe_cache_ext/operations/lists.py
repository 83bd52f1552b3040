"""Lists and sets: raw bytes in and out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Final

from ..effects import Pause, Pipeline, Steps
from ..errors import CacheUnavailable
from .common import Scope, answered, is_trouble, warn_dropped

LOOK: Final = 0.01
"""Seconds between two looks at lists that cannot be waited for."""


def raw(scope: Scope, default: Any, *command: Any) -> Steps[Any]:
    """One command whose reply is passed on as it is; the default where the server cannot carry it out."""
    try:
        (reply,) = yield Pipeline((command,))
    except CacheUnavailable:
        return default
    if isinstance(reply, Exception) and is_trouble(reply):
        warn_dropped(scope, command[1], reply)
        return default
    return answered(reply)


def blocking_pop(
    scope: Scope, names: Sequence[bytes], timeout: float, slice_seconds: float
) -> Steps[tuple[bytes, bytes] | None]:
    """Pop from the first of some lists that has a value, waiting for one; None when the time is over.

    One list is waited for on the server. Several are looked at in turn, every `LOOK` seconds: on a cluster they lie on
    different servers.

    Args:
        scope: what to work with.
        names: the lists' names on the wire.
        timeout: seconds to wait at most; 0 for as long as it takes.
        slice_seconds: how long one command may block: less than what the connection waits for a reply.
    """
    deadline = time.monotonic() + timeout if timeout else math.inf
    while True:
        left = min(slice_seconds, deadline - time.monotonic())
        if left <= 0:
            return None
        if len(names) == 1:
            popped = yield from raw(scope, None, "BLPOP", *names, max(LOOK, round(left, 3)))
            if popped is not None:
                return popped[0], popped[1]
        else:
            for name in names:
                value = yield from raw(scope, None, "LPOP", name)
                if value is not None:
                    return name, value
        if len(names) > 1 or timeout == 0:
            # Away or merely empty: a caller that waits must not spin.
            yield Pause(LOOK)
