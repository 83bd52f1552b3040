"""Lists and sets: raw bytes in and out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from ..effects import GivenUp, Pause, Pipeline, Steps
from ..errors import CacheUnavailable
from .common import Scope, answered, is_trouble, warn_dropped

T = TypeVar("T")

LOOK: Final = 0.01
"""Seconds between two looks at lists that cannot be waited for."""

_PUTS_BACK: Final = {"BLPOP": "LPUSH", "LPOP": "LPUSH", "RPOP": "RPUSH", "SPOP": "SADD"}
"""What undoes a command that takes a value out."""


def raw(scope: Scope, default: T, convert: Callable[[Any], T], *command: Any) -> Steps[T]:
    """One command.

    Args:
        scope: what to work with.
        default: the result where the server cannot carry it out.
        convert: makes the result of the reply.
        command: the command, its key, its arguments.
    """
    try:
        (reply,) = yield Pipeline((command,))
    except CacheUnavailable:
        return default
    except GivenUp as given_up:
        yield from _put_back(given_up.answer[0], *command)
        raise
    if isinstance(reply, Exception) and is_trouble(reply):
        warn_dropped(scope, command[1], reply)
        return default
    return convert(answered(reply))


def bytes_or_none(reply: Any) -> bytes | None:
    """The reply as it is, one value or none."""
    value: bytes | None = reply
    return value


def _name_and_value(reply: Any) -> tuple[bytes, bytes] | None:
    return None if reply is None else (reply[0], reply[1])


def _put_back(reply: Any, command: str, name: bytes, *_: Any) -> Steps[None]:
    """Put back where it was what was taken out for a caller who is gone; a value in a list is a job to somebody."""
    if command not in _PUTS_BACK or reply is None or isinstance(reply, Exception):
        return
    yield Pipeline(((_PUTS_BACK[command], name, reply[1] if command == "BLPOP" else reply),))


def blocking_pop(
    scope: Scope, names: Sequence[bytes], timeout: float, slice_seconds: float
) -> Steps[tuple[bytes, bytes] | None]:
    """Pop from the first of some lists that has a value, waiting for one; None when the time is over.

    One list is waited for on the server. Several are looked at in turn, every `LOOK` seconds: on a cluster they lie on
    different servers. So is one for which no command may block.

    Args:
        scope: what to work with.
        names: the lists' names on the wire.
        timeout: seconds to wait at most; 0 for as long as it takes.
        slice_seconds: how long one command may block, less than what the connection waits for a reply; 0: not at all.
    """
    deadline = time.monotonic() + timeout if timeout else math.inf
    blocks = len(names) == 1 and slice_seconds > 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        if blocks:
            left = min(slice_seconds, left)
            popped = yield from raw(scope, None, _name_and_value, "BLPOP", *names, max(LOOK, round(left, 3)))
            if popped is not None:
                return popped
        else:
            for name in names:
                value = yield from raw(scope, None, bytes_or_none, "LPOP", name)
                if value is not None:
                    return name, value
        if not blocks or timeout == 0:
            # Away or merely empty: a caller that waits must not spin.
            yield Pause(LOOK)
