"""Computing a missing value: one caller does, the others wait for it.

On a miss, one caller gets the right to compute the entry. The right is a key beside the entry with a random token in
it, a *lease*, which runs out after `LEASE` seconds unless its holder, still at work, renews it. Storing takes the
token: whoever deletes or sets the entry meanwhile deletes its lease in the same step, and a value computed before that
can no longer be stored after it. (Leases: Nishtala et al., *Scaling Memcache at Facebook*, NSDI 2013, section 3.2.1.)
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from ..codec import hold
from ..effects import Compute, FunctionRaised, Lease, Outcome, Pause, RunScript, Steps, Unlink
from ..errors import MISS, CacheUnavailable, NotCacheable, NotCachedWarning, warn
from ..scripts.leases import RELEASE_LEASE, STORE_UNDER_LEASE, TAKE_LEASE
from .common import Scope, decoded, warn_dropped, when_away

LEASE: Final = 5.0
"""Seconds for which a lease is good; a dead holder keeps the others waiting no longer than this."""

FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.05
"""Seconds between two looks at an entry that somebody else computes: doubled from the first to the longest."""

LEASE_MARK: Final = b"\x1flease"


def lease_name(name: bytes) -> bytes:
    """The name of an entry's lease, in the entry's cluster slot.

    It begins with the entry's own name, so that whoever deletes by prefix (a real Frappe, too) deletes the lease with
    it. A slot is computed from what stands between the first ``{`` and the next ``}``, where there is something, and
    else from the whole name; a name with a single brace of these is the one case for which no such name exists.
    """
    return name + LEASE_MARK if b"{" in name else name + b"{" + name + b"}" + LEASE_MARK


def load(
    scope: Scope,
    name: bytes,
    function: Callable[[], Any],
    expiry: int,
    *,
    root: str,
    wanted: Callable[[Any], bool] | None = None,
    may_store: Callable[[], Steps[bool]] | None = None,
) -> Steps[Any]:
    """Compute and store the value of a key that missed; one caller does, the others wait for it.

    Args:
        scope: what to work with.
        name: the key's name on the wire.
        function: computes the value.
        expiry: milliseconds, 0 for none.
        root: how a warning calls the value.
        wanted: whether a value is worth storing; None for every one.
        may_store: asked under the lease when the value is there, whether it still may be stored.
    """
    try:
        value, lease = yield from _take_lease(scope, name)
    except CacheUnavailable:
        value, lease = MISS, None
    if value is not MISS:
        scope.stats.waited += 1
        return value
    value = yield from computed(scope, function, lease)
    if lease is None or (wanted is not None and not wanted(value)):
        yield from _release(lease)
        return value
    if may_store is not None and not (yield from when_away(lambda: False)(may_store)()):
        yield from _release(lease)
        return value
    try:
        yield from _store_under_lease(scope, name, value, lease, expiry, root)
    except NotCacheable as error:
        warn(f"not cached: {error}", NotCachedWarning)
        yield from _release(lease)
    return value


def computed(scope: Scope, function: Callable[[], Any], lease: Lease | None) -> Steps[Any]:
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
        warn_dropped(scope, name, stored)
    elif stored:
        scope.stats.writes += 1
        if scope.local is not None:
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
            # A list or set of somebody's under this name is not ours to overwrite, and nothing to complain of again.
            if "WRONGTYPE" not in str(reply):
                warn_dropped(scope, name, reply)
            break
        if reply[0] == _YOURS:
            return MISS, lease
        if reply[0] == _VALUE:
            value = decoded(scope, reply[1], name)
            if value is not MISS:
                return value, None
            # Unreadable bytes are in the way of a good value.
            if isinstance((yield Unlink((name,))), Exception):
                break
            continue
        if held and time.monotonic() - started > LEASE:
            break  # two computations that wait for each other's entries would wait for good
        yield Pause(pause * (0.5 + random.random()))  # noqa: S311  (spreads the askers; nothing secret)
        pause = min(2 * pause, LONGEST_PAUSE)
    return MISS, None


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
