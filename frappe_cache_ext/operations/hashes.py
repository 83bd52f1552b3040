"""Hashes: one field at a time, or all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from .. import keys
from ..codec import hold
from ..effects import Owe, Pipeline, Steps
from ..errors import MISS, CacheUnavailable, NotCacheable, NotCachedWarning, warn
from .common import (
    GONE,
    Scope,
    answered,
    count,
    decoded,
    fields,
    is_trouble,
    warn_dropped,
    warn_unreadable,
    when_away,
)
from .loading import computed
from .strings import names_starting


def hfind(scope: Scope, name: bytes, held_field: bytes) -> Steps[Any]:
    """The value of one field of a hash, or MISS; held for the request with the hash's own expiry."""
    local, text = scope.local, keys.decode(held_field)
    asked = time.monotonic()
    data, left = yield Pipeline((("HGET", name, held_field), ("PTTL", name)))
    value = decoded(scope, data, name, text)
    if local is not None and value is not MISS and isinstance(left, int) and left != GONE:
        deadline = asked + left / 1000 if left >= 0 else math.inf
        local.hashes.setdefault(name, {})[text] = hold(value, scope.codec.body(data, name, text), deadline)
    elif local is not None and value is MISS:
        local.hashes.setdefault(name, {})[text] = hold(MISS, b"", math.inf)
    count(scope, value)
    return value


def hget(scope: Scope, name: bytes, held_field: bytes, generator: Callable[[], Any] | None, default: Any) -> Steps[Any]:
    """The value of one field; on a miss the generator's, stored, or the default."""
    try:
        value = yield from hfind(scope, name, held_field)
    except CacheUnavailable:
        value = MISS
    if value is not MISS:
        return value
    if generator is None:
        return default
    value = yield from computed(scope, generator, None)
    try:
        yield from hset(scope, name, held_field, value)
    except NotCacheable as error:
        warn(f"not cached: {error}", NotCachedWarning)
    return value


def hset(scope: Scope, name: bytes, held_field: bytes, value: Any) -> Steps[None]:
    """Store one field of a hash."""
    text = keys.decode(held_field)
    data = scope.codec.encode(value, name, text)
    if scope.local is not None:
        scope.local.forget_field(name, text)
    asked = time.monotonic()
    try:
        reply, left = yield Pipeline((("HSET", name, held_field, data), ("PTTL", name)))
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(fields=((name, held_field),))
        return
    if isinstance(reply, Exception):
        if not is_trouble(reply):
            raise reply
        warn_dropped(scope, name, reply)
        yield Owe(fields=((name, held_field),))
        return
    scope.stats.writes += 1
    if scope.local is not None:
        deadline = asked + left / 1000 if left >= 0 else math.inf
        scope.local.hashes.setdefault(name, {})[text] = hold(value, scope.codec.body(data, name, text), deadline)


@when_away(dict)
def hgetall(scope: Scope, name: bytes) -> Steps[dict[str, Any]]:
    """All fields of a hash, by their names as text."""
    (reply,) = yield Pipeline((("HGETALL", name),))
    if isinstance(reply, Exception):
        warn_unreadable(scope, name, str(reply))
        return {}
    return fields(scope, name, reply)


@when_away(lambda: False)
def hexists(name: bytes, held_field: bytes) -> Steps[bool]:
    """Whether a hash has a field."""
    (reply,) = yield Pipeline((("HEXISTS", name, held_field),))
    return bool(answered(reply))


def hdel(scope: Scope, names: Sequence[bytes], held_fields: Sequence[bytes]) -> Steps[int]:
    """Delete fields from each of some hashes; how many there were."""
    if scope.local is not None:
        for name in names:
            for held_field in held_fields:
                scope.local.forget_field(name, keys.decode(held_field))
    if not names or not held_fields:
        return 0
    try:
        replies = yield Pipeline([("HDEL", name, *held_fields) for name in names])
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(fields=[(name, held_field) for name in names for held_field in held_fields])
        return 0
    # Of hashes found by prefix some may be no hashes; one that was named is worth an error.
    if len(names) == 1:
        return int(answered(replies[0]))
    return sum(reply for reply in replies if isinstance(reply, int))


@when_away(lambda: 0)
def hdel_starting(scope: Scope, prefix: bytes, held_field: bytes) -> Steps[int]:
    """Delete one field from every hash whose name begins with these bytes; how many there were."""
    names: list[bytes] = yield from names_starting(prefix)
    return (yield from hdel(scope, names, (held_field,)))
