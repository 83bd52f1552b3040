"""Hashes: one field at a time, or all of them.

Whoever sets or deletes a field deletes its lease first; the leases of all fields of a hash lie in one key, which goes
with the whole hash (see `scripts.field_leases`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import keys
from ..codec import Held, hold
from ..context import LocalCache
from ..effects import Command, Lease, Owe, Pipeline, RunScript, Steps
from ..errors import MISS, CacheUnavailable
from ..scripts.field_leases import STORE_FIELD_UNDER_LEASE, TAKE_FIELD_LEASE
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
from .loading import LEASE, Place, lease_name, load_into, void
from .strings import names_starting


@dataclass(frozen=True)
class _FieldPlace(Place):
    """A field of a hash, whose expiry is the hash's own.

    Attributes:
        field: its name on the wire.
    """

    field: bytes = b""

    @property
    def text(self) -> str:
        return keys.decode(self.field)

    def lease(self) -> Lease:
        return replace(super().lease(), field=self.field)

    def look(self) -> Pipeline:
        return Pipeline((("HGET", self.name, self.field),))

    def remove(self) -> Pipeline:
        return Pipeline((("HDEL", self.name, self.field),))

    def take(self, lease: Lease) -> RunScript:
        return RunScript(TAKE_FIELD_LEASE, (self.name, lease.name), (self.field, lease.token, int(LEASE * 1000)))

    def store(self, lease: Lease, data: bytes) -> RunScript:
        return RunScript(STORE_FIELD_UNDER_LEASE, (self.name, lease.name), (self.field, lease.token, data))

    def kept_for(self, stored: Any) -> float | None:
        return None if stored == GONE else stored / 1000 if stored >= 0 else math.inf

    def encode(self, scope: Scope, value: Any, cost: float) -> bytes:
        return scope.codec.encode(value, self.name, self.text, root=self.root)

    def decode(self, scope: Scope, data: Any) -> Any:
        return decoded(scope, data, self.name, self.text)

    def body(self, scope: Scope, data: bytes) -> bytes:
        return scope.codec.body(data, self.name, self.text)

    def keep(self, local: LocalCache, held: Held) -> None:
        local.hashes.setdefault(self.name, {})[self.text] = held

    def forget_miss(self, local: LocalCache) -> None:
        local.forget_field(self.name, self.text)


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
    """The value of one field; on a miss the generator's, stored, or the default. One caller computes, others wait."""
    try:
        value = yield from hfind(scope, name, held_field)
    except CacheUnavailable:
        value = MISS
    if value is not MISS:
        return value
    if generator is None:
        return default
    return (yield from load_into(scope, _FieldPlace(name, "value", field=held_field), generator))


def hset(scope: Scope, name: bytes, held_field: bytes, value: Any) -> Steps[None]:
    """Store one field of a hash; no value computed before can be stored over it."""
    text = keys.decode(held_field)
    data = scope.codec.encode(value, name, text)
    if scope.local is not None:
        scope.local.forget_field(name, text)
    asked = time.monotonic()
    try:
        commands = _unlease(name, held_field), ("HSET", name, held_field, data), ("PTTL", name)
        _, reply, left = yield Pipeline(commands)
        void(scope, (lease_name(name),), (held_field,))
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield _owed((name,), (held_field,))
        return
    if isinstance(reply, Exception):
        if not is_trouble(reply):
            raise reply
        warn_dropped(scope, name, reply)
        yield _owed((name,), (held_field,))
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
        commands = [(_unlease(name, *held_fields), ("HDEL", name, *held_fields)) for name in names]
        replies = (yield Pipeline([command for pair in commands for command in pair]))[1::2]
        void(scope, map(lease_name, names), held_fields)
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield _owed(names, held_fields)
        return 0
    # Of hashes found by prefix some may be no hashes; one that was named is worth an error.
    if len(names) == 1:
        return int(answered(replies[0]))
    return sum(reply for reply in replies if isinstance(reply, int))


def _unlease(name: bytes, *held_fields: bytes) -> Command:
    """Deletes the leases of some fields; has to come before what is done to the fields themselves."""
    return ("HDEL", lease_name(name), *held_fields)


def _owed(names: Sequence[bytes], held_fields: Sequence[bytes]) -> Owe:
    # Names are deleted before fields are: no value computed before can be stored between the two.
    fields = [(name, held_field) for name in names for held_field in held_fields]
    return Owe(names=[*map(lease_name, names)], fields=fields)


@when_away(lambda: 0)
def hdel_starting(scope: Scope, prefix: bytes, held_field: bytes) -> Steps[int]:
    """Delete one field from every hash whose name begins with these bytes; how many there were."""
    names: list[bytes] = yield from names_starting(prefix)
    return (yield from hdel(scope, names, (held_field,)))
