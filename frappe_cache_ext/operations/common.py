"""What all operations share: what they work with, and what they make of a reply."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, ParamSpec, TypeVar

from .. import keys
from ..codec import Codec
from ..connections import Generation, Stats
from ..context import LocalCache
from ..copies import Copies, Fetch
from ..effects import Effect, Steps
from ..errors import MISS, CacheUnavailable, NotCachedWarning, UnreadableValue, UnreadableValueWarning, warn
from ..flights import Flights

P = ParamSpec("P")
T = TypeVar("T")

GONE: Final = -2
"""The answer of PTTL for a key that does not exist."""

_TROUBLED: Final = ("OOM", "MISCONF", "NOREPLICAS", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY")
_TROUBLED_CLASSES: Final = (
    *("OutOfMemoryError", "ReadOnlyError", "MasterDownError", "ClusterDownError", "TryAgainError", "NoPermissionError"),
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What an operation works with.

    Attributes:
        codec: values to bytes and back.
        stats: where hits and misses are counted.
        generations: by its key's name, each function's generation as last seen.
        local: what the request holds; None outside any.
        copies: what this process keeps; None where an operation is not to read or make copies.
        flights: what callers of this process are computing on the connection; None for those who do not share it.
        one_server: whether a script can be told any keys; on a cluster they would have to lie in one slot.
    """

    codec: Codec
    stats: Stats
    generations: dict[bytes, Generation]
    local: LocalCache | None = None
    copies: Copies | None = None
    flights: Flights | None = None
    one_server: bool = True


def when_away(default: Callable[[], Any]) -> Callable[[Callable[P, Steps[T]]], Callable[P, Steps[T]]]:
    """Let an operation answer with a default, made anew each time, while the server cannot be reached."""

    def decorate(operation: Callable[P, Steps[T]]) -> Callable[P, Steps[T]]:
        @functools.wraps(operation)
        def steps(*args: P.args, **kwargs: P.kwargs) -> Generator[Effect, Any, T]:
            try:
                return (yield from operation(*args, **kwargs))
            except CacheUnavailable:
                result: T = default()
                return result

        return steps

    return decorate


def milliseconds(expires_in_sec: float | timedelta | None) -> int:
    """An expiry as the whole milliseconds that go over the wire; 0 for none.

    Raises:
        TypeError: it is not a number of seconds or a timedelta.
        ValueError: it is not positive, or not finite.
    """
    if expires_in_sec is None:
        return 0
    if isinstance(expires_in_sec, timedelta):
        seconds = expires_in_sec.total_seconds()
    elif type(expires_in_sec) in (int, float):  # a bool is an int, and no number of seconds
        seconds = expires_in_sec
    else:
        raise TypeError(f"An expiry is a number of seconds or a timedelta, not {type(expires_in_sec).__name__}.")
    if not 0 < seconds < _LONGEST_EXPIRY:
        raise ValueError(
            f"An expiry of {expires_in_sec!r} seconds is not possible; it is more than zero, or None for no expiry. "
            "To remove a key, delete it."
        )
    return max(1, round(seconds * 1000))


_LONGEST_EXPIRY: Final = 100 * 365.25 * 86400


def decoded(scope: Scope, data: Any, name: bytes, held_field: str = "") -> Any:
    """The value of a reply's bytes; MISS for none, and with a warning for what cannot be read."""
    if data is None:
        return MISS
    if isinstance(data, Exception):
        warn_unreadable(scope, name, str(data))
        return MISS
    try:
        return scope.codec.decode(data, name, held_field)
    except UnreadableValue as error:
        warn_unreadable(scope, name, str(error))
        return MISS


def fields(scope: Scope, name: bytes, reply: dict[bytes, bytes]) -> dict[str, Any]:
    """The fields of a hash that can be read, by their names as text."""
    texts = {keys.decode(field): data for field, data in reply.items()}
    values = {field: decoded(scope, data, name, field) for field, data in texts.items()}
    return {field: value for field, value in values.items() if value is not MISS}


def keep(scope: Scope, fetch: Fetch | None, value: Any, data: Any, deadline: float) -> None:
    """Make a copy of what came for a fetch, or forget that it was expected.

    Args:
        scope: what to work with.
        fetch: what was expected; None for nothing.
        value: what came; MISS for nothing.
        data: its bytes on the wire.
        deadline: the `time.monotonic` in seconds at which the entry expires; ``-inf`` where that is not known.
    """
    if fetch is None or scope.copies is None:
        return
    if value is MISS or deadline == -math.inf:
        scope.copies.forget(fetch)
    else:
        scope.copies.keep(fetch, value, scope.codec.body(data, fetch.name), deadline)


def deadline_of(asked: float, left: Any) -> float:
    """When an entry expires, in seconds of `time.monotonic`; ``inf`` for never, ``-inf`` where it is gone already.

    Args:
        asked: the `time.monotonic` in seconds before it was asked for.
        left: the reply to its PTTL, in milliseconds.
    """
    if not isinstance(left, int) or left == GONE:
        return -math.inf
    return asked + left / 1000 if left >= 0 else math.inf


def count(scope: Scope, value: Any) -> None:
    """Count a look-up as a hit or a miss."""
    if value is MISS:
        scope.stats.misses += 1
    else:
        scope.stats.hits += 1


def is_trouble(error: Exception) -> bool:
    """Whether the server could not do what it was rightly asked: it is full, a replica, or not well."""
    # redis-py takes the code off the message where it has a class for it.
    return type(error).__name__ in _TROUBLED_CLASSES or str(error).startswith(_TROUBLED)


def answered(reply: Any) -> Any:
    """The reply, or the server's error raised: a list where a hash was asked for is the caller's mistake."""
    if isinstance(reply, Exception):
        raise reply
    return reply


def warn_unreadable(scope: Scope, name: bytes, reason: str) -> None:
    """Count and report an entry that counts as a miss."""
    scope.stats.unreadable += 1
    warn(f"The entry {keys.decode(name)!r} could not be read and counts as a miss: {reason}.", UnreadableValueWarning)


def warn_dropped(scope: Scope, name: bytes, error: Exception) -> None:
    """Count and report a write that the server did not take."""
    scope.stats.dropped += 1
    warn(
        f"not cached: the server takes no change of {keys.decode(name)!r} ({type(error).__name__}: {error}).",
        NotCachedWarning,
    )


def as_iterable(names: object) -> Iterable[Any]:
    """One key or any iterable of keys, as an iterable."""
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        return (names,)
    return names
