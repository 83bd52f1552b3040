"""Results of functions, which one command makes unreachable however many there are."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from typing import Any

from ..codec import hold
from ..effects import Owe, Pipeline, Steps, Unlink
from ..errors import MISS, CacheUnavailable
from .common import Scope, decoded, when_away
from .loading import computed, load
from .strings import delete, find, received


def load_result(
    scope: Scope,
    generation_name: bytes,
    name_for: Callable[[str], bytes],
    function: Callable[[], Any],
    expiry: int,
    wanted: Callable[[Any], bool] | None = None,
) -> Steps[Any]:
    """The result of a call: stored, or computed now and stored.

    A result's name holds its function's *generation*, a random token that `clear` replaces; so one command makes all
    results of a function unreachable, however many there are, and they fall to their expiry or to eviction. A token
    that got lost (evicted, flushed) is replaced by another random one, never by one that was in use before.
    """
    try:
        name, value = yield from _look_up(scope, generation_name, name_for)
    except CacheUnavailable:
        return (yield from computed(scope, function, None))
    if value is not MISS:
        return value
    return (yield from load(scope, name, function, expiry, root="result", wanted=wanted))


def _look_up(scope: Scope, generation_name: bytes, name_for: Callable[[str], bytes]) -> Steps[tuple[bytes, Any]]:
    """The name of a result, and its value or MISS.

    Generations seldom change, so the one known from last time is asked for together with the entry under it: one round
    trip, and a second one only where the generation is another by now.
    """
    local = scope.local
    known = scope.generations.get(generation_name)
    if known is None or (local is not None and local.get_held(generation_name) is not None):
        name = name_for((yield from _generation(scope, generation_name)))
        held = None if local is None else local.get_held(name)
        if held is not None and (value := held.value()) is not MISS:
            scope.stats.local_hits += 1
            return name, value
        return name, (yield from find(scope, name))
    data, token = known
    name = name_for(token)
    asked = time.monotonic()
    ask_left = (("PTTL", name),) if local is not None else ()
    current, *replies = yield Pipeline((("GET", generation_name), ("GET", name), *ask_left))
    if current == data:
        if local is not None:
            local.strings[generation_name] = hold(token, b"", math.inf)
        return name, received(scope, name, asked, *replies)
    name = name_for((yield from _generation(scope, generation_name)))
    return name, (yield from find(scope, name))


def _generation(scope: Scope, name: bytes) -> Steps[str]:
    if scope.local is not None and (held := scope.local.get_held(name)) is not None:
        return str(held.value())
    (data,) = yield Pipeline((("GET", name),))
    if data is None:
        _, data = yield Pipeline((("SET", name, _new_generation(scope, name), "NX"), ("GET", name)))
    token = decoded(scope, data, name)
    if token is MISS:  # unreadable, or a full server did not take it: whatever is stored now is found by nobody
        data = _new_generation(scope, name)
        token = scope.codec.decode(data, name)
        yield Pipeline((("SET", name, data),))
    scope.generations[name] = data, token
    if scope.local is not None:
        scope.local.strings[name] = hold(token, b"", math.inf)
    return str(token)


def _new_generation(scope: Scope, name: bytes) -> bytes:
    return scope.codec.encode(secrets.token_hex(6), name)


@when_away(bytes)
def entry_name(scope: Scope, generation_name: bytes, name_for: Callable[[str], bytes]) -> Steps[bytes]:
    """The name of a result; empty while the server cannot be reached, which alone knows the generation."""
    return name_for((yield from _generation(scope, generation_name)))


def clear(scope: Scope, generation_name: bytes) -> Steps[None]:
    """Make every result of a function unreachable."""
    if scope.local is not None:
        scope.local.forget(generation_name)
    try:
        (reply,) = yield Pipeline((("SET", generation_name, _new_generation(scope, generation_name)),))
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(names=(generation_name,))
        return
    if isinstance(reply, Exception):
        # A full server takes no new value, but deleting always works, and a lost token does the same.
        yield Unlink((generation_name,))


def invalidate(scope: Scope, generation_name: bytes, name_for: Callable[[str], bytes]) -> Steps[None]:
    """Delete one result of a function."""
    try:
        name = name_for((yield from _generation(scope, generation_name)))
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(names=(generation_name,))
        return
    yield from delete(scope, (name,))
