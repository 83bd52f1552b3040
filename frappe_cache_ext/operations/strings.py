"""Keys that hold one value, and groups of keys by their beginning."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from .. import keys
from ..codec import hold
from ..copies import Fetch
from ..effects import Command, Owe, Pipeline, ScanPage, Steps, Unlink
from ..errors import MISS, CacheUnavailable
from .common import GONE, Scope, answered, count, deadline_of, decoded, fields, keep, warn_dropped, when_away
from .loading import LEASE_MARK, lease_name, load, void


def find(scope: Scope, name: bytes) -> Steps[Any]:
    """The value of a key, or MISS; held for the request, and copied, with the entry's own expiry."""
    fetch = None if scope.copies is None else scope.copies.expect(name)
    ask_left = (("PTTL", name),) if scope.local is not None or fetch is not None else ()
    asked = time.monotonic()
    replies = yield Pipeline((("GET", name), *ask_left))
    return received(scope, name, asked, *replies, fetch=fetch)


def received(
    scope: Scope, name: bytes, asked: float, data: Any, left: Any = None, *, fetch: Fetch | None = None
) -> Any:
    """Take the reply to a GET, and hold its value for the request or as a copy.

    Args:
        scope: what to work with.
        name: the key's name on the wire.
        asked: the `time.monotonic` in seconds before it was asked for.
        data: the reply.
        left: the reply to a PTTL that was asked with it, in milliseconds.
        fetch: what was expected; None for who makes no copy.
    """
    value = decoded(scope, data, name)
    count(scope, value)
    deadline = deadline_of(asked, left)
    keep(scope, fetch, value, data, deadline)
    if scope.local is None:
        return value
    if value is MISS:
        scope.local.strings[name] = hold(MISS, b"", math.inf)
    elif deadline != -math.inf:
        scope.local.strings[name] = hold(value, scope.codec.body(data, name), deadline)
    return value


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


def set_value(scope: Scope, name: bytes, value: Any, expiry: int) -> Steps[None]:
    """Store a value; an old expiry is dropped, and no value computed before can be stored over it."""
    data = scope.codec.encode(value, name)
    if scope.local is not None:
        scope.local.forget(name)
    asked = time.monotonic()
    store: Command = ("SET", name, data, "PX", expiry) if expiry else ("SET", name, data)
    try:
        *_, reply = yield Pipeline((("UNLINK", lease_name(name)), store))
        void(scope, (lease_name(name),))
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(names=(name, lease_name(name)))
        return
    if isinstance(reply, Exception):
        warn_dropped(scope, name, reply)
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
    return sum(int(answered(reply)) for reply in replies)


def expire_key(scope: Scope, name: bytes, expiry: int) -> Steps[bool]:
    """Let a key expire in some milliseconds; False where there is none."""
    if scope.local is not None:
        scope.local.forget(name)
    try:
        (reply,) = yield Pipeline((("PEXPIRE", name, expiry),))
    except CacheUnavailable:
        # Left as it is, the value would outlive the end it was given.
        scope.stats.dropped += 1
        yield Owe(names=(name,))
        return False
    if isinstance(reply, Exception):
        warn_dropped(scope, name, reply)
        return False
    return bool(reply)


@when_away(lambda: None)
def time_to_live(name: bytes) -> Steps[float | None]:
    """Seconds until a key expires; ``inf`` without an expiry, None where there is no such key."""
    (reply,) = yield Pipeline((("PTTL", name),))
    left = answered(reply)
    return None if left == GONE else math.inf if left < 0 else left / 1000


def delete(scope: Scope, names: Sequence[bytes]) -> Steps[None]:
    """Delete keys, and the leases of whoever is computing them."""
    if scope.local is not None:
        for name in names:
            scope.local.forget(name)
    # Leases first: a server that is not asked all at once must not take a value between the two.
    doomed = [*map(lease_name, names), *names]
    try:
        reply = yield Unlink(doomed)
        void(scope, doomed)
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(names=doomed)
        return
    if isinstance(reply, Exception):
        warn_dropped(scope, names[0], reply)


def delete_prefix(scope: Scope, prefix: bytes) -> Steps[bool]:
    """Delete every key whose name begins with these bytes, leases included; False where the server could not.

    Twice over: a value that was computed before, and stored while a page of names was looked at, may be in none of the
    pages. Its lease was there all the time up to then, so no value of before can be stored after the first round.
    """
    if scope.local is not None:
        for name in [name for name in (*scope.local.strings, *scope.local.hashes) if name.startswith(prefix)]:
            scope.local.forget(name)
    try:
        for _ in range(2):
            cursor = None
            while True:
                page: tuple[Any, list[bytes]] = yield ScanPage(keys.starts_with(prefix), cursor)
                cursor, names = page
                reply = yield Unlink(names)
                void(scope, names)
                if isinstance(reply, Exception):
                    warn_dropped(scope, prefix, reply)
                    return False
                if cursor is None:
                    break
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(prefixes=(prefix,))
        return False
    return True


def delete_starting(scope: Scope, prefix: bytes) -> Steps[None]:
    """Delete every key whose name begins with these bytes, leases included, as far as the server can."""
    yield from delete_prefix(scope, prefix)


@when_away(list)
def names_starting(prefix: bytes) -> Steps[list[bytes]]:
    """The names of all keys that begin with these bytes, sorted; leases and parts of cells are nobody's."""
    found: set[bytes] = set()  # SCAN may name a key twice
    cursor = None
    while True:
        page: tuple[Any, list[bytes]] = yield ScanPage(keys.starts_with(prefix), cursor)
        cursor, names = page
        found.update(name for name in names if not name.endswith(LEASE_MARK) and not keys.is_cell_part(name))
        if cursor is None:
            return sorted(found)


@when_away(dict)
def get_all(scope: Scope, prefix: bytes, db_name: str) -> Steps[dict[str, Any]]:
    """The value of each key of a site that begins with these bytes, by key without the site.

    A hash appears as a dictionary, a list or set with raw members.
    """
    names: list[bytes] = yield from names_starting(prefix)
    kinds = yield Pipeline([("TYPE", name) for name in names]) if names else Pipeline(())
    reads = {b"string": "GET", b"hash": "HGETALL", b"list": "LRANGE", b"set": "SMEMBERS"}
    wanted = [(name, _text(kind)) for name, kind in zip(names, kinds, strict=True) if _text(kind) in reads]
    found: dict[str, Any] = {}
    for start in range(0, len(wanted), _READ_BATCH):
        batch = wanted[start : start + _READ_BATCH]
        replies = yield Pipeline([(reads[kind], name, *((0, -1) if kind == b"list" else ())) for name, kind in batch])
        for (name, kind), reply in zip(batch, replies, strict=True):
            value = _read_as(scope, name, kind, reply)
            if value is not MISS:
                found[keys.strip_site(db_name, name)] = value
    return found


_READ_BATCH: Final = 500


def _read_as(scope: Scope, name: bytes, kind: bytes, reply: Any) -> Any:
    if kind == b"string":
        return decoded(scope, reply, name)
    if isinstance(reply, Exception):  # deleted or replaced since its type was asked for
        return MISS
    if kind == b"hash":
        return fields(scope, name, reply)
    return set(reply) if kind == b"set" else list(reply)


def _text(reply: Any) -> bytes:
    return reply.encode() if isinstance(reply, str) else bytes(reply)
