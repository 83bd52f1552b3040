"""What each cache operation does, once: as generators that yield effects and receive their answers.

Nothing here sends a byte. `redis_wrapper` runs these generators over a blocking client; a wrapper over asyncio runs the
very same ones. What all of them keep to:

* A server that cannot be reached raises `CacheUnavailable` at the ``yield``. Reads then miss and writes are dropped; a
  dropped write leaves a debt (see `connections`), so that the value it would have replaced is not read later.
* A value that cannot be read counts as a miss, with a warning.
* What a request holds of an entry is forgotten before the entry changes, and held again only after it has changed.

**Leases.** On a miss, one caller gets the right to compute the entry, and the others wait for its value. The right is a
key beside the entry with a random token in it, a *lease*, which runs out after `LEASE` seconds unless its holder, still
at work, renews it. Storing takes the token: whoever deletes or sets the entry meanwhile deletes its lease in the same
step, and a value computed before that can no longer be stored after it. (Leases: Nishtala et al., *Scaling Memcache at
Facebook*, NSDI 2013, section 3.2.1.)
"""

from __future__ import annotations

import functools
import math
import random
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, ParamSpec, TypeVar

from . import keys
from .codec import Codec, hold
from .connections import Stats
from .context import LocalCache
from .effects import (
    Command,
    Compute,
    Effect,
    FunctionRaised,
    Lease,
    Outcome,
    Owe,
    Pause,
    Pipeline,
    RunScript,
    ScanPage,
    Steps,
    Unlink,
)
from .errors import (
    MISS,
    CacheUnavailable,
    NotCacheable,
    NotCachedWarning,
    UnreadableValue,
    UnreadableValueWarning,
    warn,
)
from .scripts import RELEASE_LEASE, STORE_UNDER_LEASE, TAKE_LEASE

P = ParamSpec("P")
T = TypeVar("T")

LEASE: Final = 5.0
"""Seconds for which a lease is good; a dead holder keeps the others waiting no longer than this."""

FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.05
"""Seconds between two looks at an entry that somebody else computes: doubled from the first to the longest."""

_LEASE_MARK: Final = b"\x1flease"
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
        local: what the request holds; None outside any.
    """

    codec: Codec
    stats: Stats
    local: LocalCache | None = None


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


def lease_name(name: bytes) -> bytes:
    """The name of an entry's lease, in the entry's cluster slot.

    It begins with the entry's own name, so that whoever deletes by prefix (a real Frappe, too) deletes the lease with
    it. A slot is computed from what stands between the first ``{`` and the next ``}``, where there is something, and
    else from the whole name; a name with a single brace of these is the one case for which no such name exists.
    """
    return name + _LEASE_MARK if b"{" in name else name + b"{" + name + b"}" + _LEASE_MARK


# --- strings ------------------------------------------------------------------------------------------------------


def find(scope: Scope, name: bytes) -> Steps[Any]:
    """The value of a key, or MISS; held for the request with the entry's own expiry."""
    local = scope.local
    if local is None:
        (data,) = yield Pipeline((("GET", name),))
        value = _decoded(scope, data, name)
    else:
        asked = time.monotonic()
        data, left = yield Pipeline((("GET", name), ("PTTL", name)))
        value = _decoded(scope, data, name)
        if value is MISS:
            local.strings[name] = hold(MISS, b"", math.inf)
        elif isinstance(left, int) and left != _GONE:
            deadline = asked + left / 1000 if left >= 0 else math.inf
            local.strings[name] = hold(value, scope.codec.body(data, name), deadline)
    _count(scope, value)
    return value


_GONE: Final = -2
"""The answer of PTTL for a key that does not exist."""


def get_value(scope: Scope, name: bytes, generator: Callable[[], Any] | None, default: Any) -> Steps[Any]:
    """The value of a key; on a miss the generator's, stored, or the default."""
    try:
        value = yield from find(scope, name)
    except CacheUnavailable:
        value = MISS
    if value is not MISS:
        return value
    if generator is None:
        return default
    return (yield from load(scope, name, generator, 0, root="value"))


def load(
    scope: Scope,
    name: bytes,
    function: Callable[[], Any],
    expiry: int,
    *,
    root: str,
    wanted: Callable[[Any], bool] | None = None,
) -> Steps[Any]:
    """Compute and store the value of a key that missed; one caller does, the others wait for it.

    Args:
        scope: what to work with.
        name: the key's name on the wire.
        function: computes the value.
        expiry: milliseconds, 0 for none.
        root: how a warning calls the value.
        wanted: whether a value is worth storing; None for every one.
    """
    try:
        value, lease = yield from _take_lease(scope, name)
    except CacheUnavailable:
        value, lease = MISS, None
    if value is not MISS:
        scope.stats.waited += 1
        return value
    value = yield from _computed(scope, function, lease)
    if lease is None or (wanted is not None and not wanted(value)):
        yield from _release(lease)
        return value
    try:
        yield from _store_under_lease(scope, name, value, lease, expiry, root)
    except NotCacheable as error:
        warn(f"not cached: {error}", NotCachedWarning)
        yield from _release(lease)
    return value


def _computed(scope: Scope, function: Callable[[], Any], lease: Lease | None) -> Steps[Any]:
    """What the user's function returns; its error ends the operation, and the lease."""
    with _holding(lease):
        outcome: Outcome = yield Compute(function, lease)
    scope.stats.computed += 1
    if outcome.error is not None:
        yield from _release(lease)
        raise FunctionRaised(outcome.error)
    return outcome.value


def _store_under_lease(scope: Scope, name: bytes, value: Any, lease: Lease, expiry: int, root: str) -> Steps[None]:
    data = scope.codec.encode(value, name, root=root)
    asked = time.monotonic()
    try:
        stored = yield RunScript(STORE_UNDER_LEASE, (name, lease.name), (lease.token, data, expiry))
    except CacheUnavailable:
        scope.stats.dropped += 1
        return
    if isinstance(stored, Exception):
        _warn_dropped(scope, name, stored)
    elif stored and scope.local is not None:
        scope.stats.writes += 1
        deadline = asked + expiry / 1000 if expiry else math.inf
        scope.local.strings[name] = hold(value, scope.codec.body(data, name), deadline)


def _take_lease(scope: Scope, name: bytes) -> Steps[tuple[Any, Lease | None]]:
    """The entry's value, (MISS, a lease) for who is to compute it, or (MISS, None) to compute without storing."""
    lease = Lease(lease_name(name), secrets.token_hex(8).encode())
    held = _held_leases.get()
    if lease.name in held:
        return MISS, None  # the function that computes the entry asks for it
    pause, started = FIRST_PAUSE, time.monotonic()
    while True:
        reply = yield RunScript(TAKE_LEASE, (name, lease.name), (lease.token, int(LEASE * 1000)))
        if isinstance(reply, Exception):
            if "WRONGTYPE" in str(reply):
                # A list or set of somebody's stands under this name: it is not ours to overwrite.
                return MISS, None
            _warn_dropped(scope, name, reply)
            return MISS, None
        if reply[0] == _VALUE:
            value = _decoded(scope, reply[1], name)
            if value is not MISS:
                return value, None
            # Unreadable bytes are in the way of a good value.
            yield Unlink((name,))
            continue
        if reply[0] == _YOURS:
            return MISS, lease
        if held and time.monotonic() - started > LEASE:
            return MISS, None  # two computations that wait for each other's entries would wait for good
        yield Pause(pause * (0.5 + random.random()))  # noqa: S311  (spreads the askers; nothing secret)
        pause = min(2 * pause, LONGEST_PAUSE)


_VALUE, _YOURS = 1, 2
_held_leases: ContextVar[frozenset[bytes]] = ContextVar("frappe_cache_leases", default=frozenset())


class _holding:  # noqa: N801  (reads as a statement)
    """Marks, for functions called meanwhile in this context, that their caller holds a lease."""

    def __init__(self, lease: Lease | None) -> None:
        self.lease = lease

    def __enter__(self) -> None:
        if self.lease is not None:
            self.token = _held_leases.set(_held_leases.get() | {self.lease.name})

    def __exit__(self, *exception: object) -> None:
        if self.lease is not None:
            _held_leases.reset(self.token)


def _release(lease: Lease | None) -> Steps[None]:
    if lease is None:
        return
    try:
        yield RunScript(RELEASE_LEASE, (lease.name,), (lease.token,))
    except CacheUnavailable:
        return


def set_value(scope: Scope, name: bytes, value: Any, expiry: int) -> Steps[None]:
    """Store a value; an old expiry is dropped, and no value computed before can be stored over it."""
    data = scope.codec.encode(value, name)
    if scope.local is not None:
        scope.local.forget(name)
    asked = time.monotonic()
    store: Command = ("SET", name, data, "PX", expiry) if expiry else ("SET", name, data)
    try:
        *_, reply = yield Pipeline((("UNLINK", lease_name(name)), store))
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(names=(name, lease_name(name)))
        return
    if isinstance(reply, Exception):
        _warn_dropped(scope, name, reply)
        yield Owe(names=(name,))
        return
    scope.stats.writes += 1
    if scope.local is not None:
        deadline = asked + expiry / 1000 if expiry else math.inf
        scope.local.strings[name] = hold(value, scope.codec.body(data, name), deadline)


@when_away(lambda: 0)
def exists(names: Sequence[bytes]) -> Steps[int]:
    """How many of the keys exist."""
    replies = yield Pipeline([("EXISTS", name) for name in names])
    return sum(map(int, replies))


@when_away(lambda: False)
def expire_key(scope: Scope, name: bytes, expiry: int) -> Steps[bool]:
    """Let a key expire in some milliseconds; False where there is none."""
    if scope.local is not None:
        scope.local.forget(name)
    (reply,) = yield Pipeline((("PEXPIRE", name, expiry),))
    return bool(reply)


@when_away(lambda: None)
def time_to_live(name: bytes) -> Steps[float | None]:
    """Seconds until a key expires; ``inf`` without an expiry, None where there is no such key."""
    (left,) = yield Pipeline((("PTTL", name),))
    return None if left == _GONE else math.inf if left < 0 else left / 1000


def delete(scope: Scope, names: Sequence[bytes]) -> Steps[None]:
    """Delete keys, and the leases of whoever is computing them."""
    if scope.local is not None:
        for name in names:
            scope.local.forget(name)
    doomed = [*names, *map(lease_name, names)]
    try:
        yield Unlink(doomed)
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(names=doomed)


def delete_prefix(scope: Scope, prefix: bytes) -> Steps[None]:
    """Delete every key whose name begins with these bytes, leases included."""
    if scope.local is not None:
        for name in [name for name in (*scope.local.strings, *scope.local.hashes) if name.startswith(prefix)]:
            scope.local.forget(name)
    try:
        cursor = None
        while True:
            page: tuple[Any, list[bytes]] = yield ScanPage(keys.starts_with(prefix), cursor)
            cursor, names = page
            yield Unlink(names)
            if cursor is None:
                return
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(prefixes=(prefix,))


@when_away(list)
def names_starting(prefix: bytes) -> Steps[list[bytes]]:
    """The names of all keys that begin with these bytes, sorted; leases are not keys of anybody's."""
    found: set[bytes] = set()  # SCAN may name a key twice
    cursor = None
    while True:
        page: tuple[Any, list[bytes]] = yield ScanPage(keys.starts_with(prefix), cursor)
        cursor, names = page
        found.update(name for name in names if not name.endswith(_LEASE_MARK))
        if cursor is None:
            return sorted(found)


@when_away(dict)
def get_all(scope: Scope, prefix: bytes) -> Steps[dict[bytes, Any]]:
    """The value of each key that begins with these bytes; a hash as a dictionary, a list or set with raw members."""
    names: list[bytes] = yield from names_starting(prefix)
    kinds = yield Pipeline([("TYPE", name) for name in names]) if names else Pipeline(())
    reads = {b"string": "GET", b"hash": "HGETALL", b"list": "LRANGE", b"set": "SMEMBERS"}
    wanted = [(name, _text(kind)) for name, kind in zip(names, kinds, strict=True) if _text(kind) in reads]
    found: dict[bytes, Any] = {}
    for start in range(0, len(wanted), _READ_BATCH):
        batch = wanted[start : start + _READ_BATCH]
        replies = yield Pipeline([(reads[kind], name, *((0, -1) if kind == b"list" else ())) for name, kind in batch])
        for (name, kind), reply in zip(batch, replies, strict=True):
            value = _read_as(scope, name, kind, reply)
            if value is not MISS:
                found[name] = value
    return found


_READ_BATCH: Final = 500


def _read_as(scope: Scope, name: bytes, kind: bytes, reply: Any) -> Any:
    if kind == b"string":
        return _decoded(scope, reply, name)
    if isinstance(reply, Exception):  # deleted or replaced since its type was asked for
        return MISS
    if kind == b"hash":
        return _fields(scope, name, reply)
    return set(reply) if kind == b"set" else list(reply)


def _text(reply: Any) -> bytes:
    return reply.encode() if isinstance(reply, str) else bytes(reply)


# --- hashes -------------------------------------------------------------------------------------------------------


def hfind(scope: Scope, name: bytes, held_field: bytes) -> Steps[Any]:
    """The value of one field of a hash, or MISS; held for the request with the hash's own expiry."""
    local, text = scope.local, keys.decode(held_field)
    asked = time.monotonic()
    data, left = yield Pipeline((("HGET", name, held_field), ("PTTL", name)))
    value = _decoded(scope, data, name, text)
    if local is not None and value is not MISS and isinstance(left, int) and left != _GONE:
        deadline = asked + left / 1000 if left >= 0 else math.inf
        local.hashes.setdefault(name, {})[text] = hold(value, scope.codec.body(data, name, text), deadline)
    elif local is not None and value is MISS:
        local.hashes.setdefault(name, {})[text] = hold(MISS, b"", math.inf)
    _count(scope, value)
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
    value = yield from _computed(scope, generator, None)
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
        if not _is_trouble(reply):
            raise reply
        _warn_dropped(scope, name, reply)
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
        _warn_unreadable(scope, name, str(reply))
        return {}
    return _fields(scope, name, reply)


def _fields(scope: Scope, name: bytes, reply: dict[bytes, bytes]) -> dict[str, Any]:
    decoded = {keys.decode(field): _decoded(scope, data, name, keys.decode(field)) for field, data in reply.items()}
    return {field: value for field, value in decoded.items() if value is not MISS}


@when_away(lambda: False)
def hexists(name: bytes, held_field: bytes) -> Steps[bool]:
    """Whether a hash has a field."""
    (reply,) = yield Pipeline((("HEXISTS", name, held_field),))
    return bool(_answered(reply))


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
        return int(_answered(replies[0]))
    return sum(reply for reply in replies if isinstance(reply, int))


@when_away(lambda: 0)
def hdel_starting(scope: Scope, prefix: bytes, held_field: bytes) -> Steps[int]:
    """Delete one field from every hash whose name begins with these bytes; how many there were."""
    names: list[bytes] = yield from names_starting(prefix)
    return (yield from hdel(scope, names, (held_field,)))


# --- lists and sets: raw bytes in and out ------------------------------------------------------------------------


def raw(scope: Scope, default: Any, *command: Any) -> Steps[Any]:
    """One command whose reply is passed on as it is; the default where the server cannot carry it out."""
    try:
        (reply,) = yield Pipeline((command,))
    except CacheUnavailable:
        return default
    if isinstance(reply, Exception) and _is_trouble(reply):
        _warn_dropped(scope, command[1], reply)
        return default
    return _answered(reply)


def blocking_pop(
    scope: Scope, names: Sequence[bytes], timeout: float, slice_seconds: float
) -> Steps[tuple[bytes, bytes] | None]:
    """Pop from the first of some lists that has a value, waiting for one; None when the time is over.

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
        popped = yield from raw(scope, None, "BLPOP", *names, max(0.01, round(left, 3)))
        if popped is not None:
            return popped[0], popped[1]
        if timeout == 0:
            # Away or merely empty: a caller that waits for good must not spin.
            yield Pause(0.01)


# --- results of functions ----------------------------------------------------------------------------------------


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
        name = name_for((yield from _generation(scope, generation_name)))
        value = yield from _find_held(scope, name)
    except CacheUnavailable:
        return (yield from _computed(scope, function, None))
    if value is not MISS:
        return value
    return (yield from load(scope, name, function, expiry, root="result", wanted=wanted))


def _find_held(scope: Scope, name: bytes) -> Steps[Any]:
    """The value that the request holds, or else the server's."""
    if scope.local is not None and (held := scope.local.get_held(name)) is not None:
        value = held.value()
        if value is not MISS:
            scope.stats.local_hits += 1
            return value
    return (yield from find(scope, name))


def _generation(scope: Scope, name: bytes) -> Steps[str]:
    if scope.local is not None and (held := scope.local.get_held(name)) is not None:
        return str(held.value())
    (data,) = yield Pipeline((("GET", name),))
    if data is None:
        _, data = yield Pipeline((("SET", name, _new_generation(scope, name), "NX"), ("GET", name)))
    token = _decoded(scope, data, name)
    if token is MISS:  # unreadable, or a full server did not take it: whatever is stored now is found by nobody
        data = _new_generation(scope, name)
        token = scope.codec.decode(data, name)
        yield Pipeline((("SET", name, data),))
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


# --- replies ------------------------------------------------------------------------------------------------------


def _decoded(scope: Scope, data: Any, name: bytes, held_field: str = "") -> Any:
    if data is None:
        return MISS
    if isinstance(data, Exception):
        _warn_unreadable(scope, name, str(data))
        return MISS
    try:
        return scope.codec.decode(data, name, held_field)
    except UnreadableValue as error:
        _warn_unreadable(scope, name, str(error))
        return MISS


def _count(scope: Scope, value: Any) -> None:
    if value is MISS:
        scope.stats.misses += 1
    else:
        scope.stats.hits += 1


def _is_trouble(error: Exception) -> bool:
    """Whether the server could not do what it was rightly asked: it is full, a replica, or not well."""
    # redis-py takes the code off the message where it has a class for it.
    return type(error).__name__ in _TROUBLED_CLASSES or str(error).startswith(_TROUBLED)


def _answered(reply: Any) -> Any:
    """The reply, or the server's error raised: a list where a hash was asked for is the caller's mistake."""
    if isinstance(reply, Exception):
        raise reply
    return reply


def _warn_unreadable(scope: Scope, name: bytes, reason: str) -> None:
    scope.stats.unreadable += 1
    warn(f"The entry {keys.decode(name)!r} could not be read and counts as a miss: {reason}.", UnreadableValueWarning)


def _warn_dropped(scope: Scope, name: bytes, error: Exception) -> None:
    scope.stats.dropped += 1
    warn(f"not cached: {keys.decode(name)!r}: {type(error).__name__}: {error}", NotCachedWarning)


def as_iterable(names: object) -> Iterable[Any]:
    """One key or any iterable of keys, as an iterable."""
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        return (names,)
    return names
