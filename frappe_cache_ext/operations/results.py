"""Results of functions, which one command makes unreachable however many there are.

A result can be computed anew while the last one is still there: one caller does so, everybody else goes on with the
last one. It is *due* for that when its expiry has passed, where it is kept a while longer as an *old* one; and before,
now and then, where it is told how long it took to compute (see `early`). Whether a result is old is seen from its
expiry on the server, which is asked for in the same round trip.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import keys
from ..codec import cost, hold
from ..connections import Generation
from ..context import LocalCache
from ..copies import Fetch
from ..effects import FunctionRaised, Lease, Owe, Pipeline, RunScript, Steps, Unlink
from ..errors import MISS, CacheUnavailable, NotCachedWarning, warn
from ..flights import Seat
from ..scripts.leases import REFRESH_UNDER_LEASE, STORE_UNDER_LEASE, TAKE_LEASE_IN_GENERATION, TAKE_TO_REFRESH
from .common import GONE, Scope, deadline_of, decoded, warn_dropped, when_away
from .early import seconds_ahead
from .loading import (
    LEASE,
    VALUE,
    YOURS,
    LookFirst,
    Place,
    ask,
    attempted,
    computed,
    is_held,
    load_into,
    release,
    store,
)
from .strings import delete, received


@dataclass(frozen=True)
class _ResultPlace(Place):
    """The place of a result.

    Attributes:
        stale: for how many milliseconds after its expiry it is kept as an old one.
        early: XFetch's beta, 0 for computing nothing before it expires.
        seen: what the server said of its expiry when it was found to be due, in milliseconds; None for one that missed.
    """

    stale: int = 0
    early: float = 0.0
    seen: int | None = None

    @property
    def can_be_due(self) -> bool:
        """Whether it is ever computed anew while the last one is still there."""
        return bool(self.stale or self.early)

    def due_in(self, data: Any, left: Any) -> Any:
        """Milliseconds until a look like this one has it computed anew; 0 for now.

        Args:
            data: its bytes.
            left: the reply to its PTTL, which is returned as it is where it says that nothing expires.
        """
        if not isinstance(left, int) or left < 0:
            return left
        left -= self.stale
        if self.early and isinstance(data, bytes) and (seconds := cost(data)) is not None:
            left -= math.ceil(1000 * seconds_ahead(seconds, self.early))
        return max(0, left)

    def take(self, lease: Lease) -> RunScript:
        if self.seen is None:
            return super().take(lease)
        return RunScript(TAKE_TO_REFRESH, (self.name, lease.name), (lease.token, int(LEASE * 1000), self.seen))

    def store(self, lease: Lease, data: bytes) -> RunScript:
        script = STORE_UNDER_LEASE if self.seen is None else REFRESH_UNDER_LEASE
        expiry = self.expiry + self.stale if self.expiry else 0
        return RunScript(script, (self.name, lease.name), (lease.token, data, expiry))

    def encode(self, scope: Scope, value: Any, cost: float) -> bytes:
        return scope.codec.encode(value, self.name, root=self.root, cost=cost if self.early else None)


@dataclass(frozen=True, slots=True)
class _Found:
    """A result that was looked up.

    Attributes:
        name: its name on the wire.
        value: the value, or MISS.
        seen: what the server said of its expiry, if it is due; None otherwise.
    """

    name: bytes
    value: Any
    seen: int | None = None


def load_result(
    scope: Scope,
    generation_name: bytes,
    name_for: Callable[[str], bytes],
    function: Callable[[], Any],
    expiry: int,
    wanted: Callable[[Any], bool] | None = None,
    *,
    stale: int = 0,
    early: float = 0.0,
) -> Steps[Any]:
    """The result of a call: stored, or computed now and stored.

    A result's name holds its function's *generation*, a random token that `clear` replaces; so one command makes all
    results of a function unreachable, however many there are, and they fall to their expiry or to eviction. A token
    that got lost (evicted, flushed) is replaced by another random one, never by one that was in use before.

    Args:
        scope: what to work with.
        generation_name: the name on the wire of the function's generation.
        name_for: the name on the wire of the result in a generation.
        function: computes the result.
        expiry: milliseconds, 0 for none.
        wanted: whether a result is worth storing; None for every one.
        stale: milliseconds for which the result is kept after its expiry, to be returned while one caller computes it
            anew, and in place of an error of the function's; 0 for an entry without an expiry.
        early: XFetch's beta: 1 recomputes before the expiry as is best, more sooner; 0 not at all.
    """

    def place(name: bytes, seen: int | None = None) -> _ResultPlace:
        return _ResultPlace(name, "result", expiry, stale, early, seen)

    known = scope.generations.get(generation_name)
    if known is not None and known.missed and not (stale or early):
        there = place(name_for(known.token))
        with contextlib.suppress(LookFirst):
            return (yield from _load_at_once(scope, generation_name, known, there, function, wanted))
    try:
        found = yield from _look_up(scope, generation_name, lambda token: place(name_for(token)))
    except CacheUnavailable:
        return (yield from computed(scope, function, None))
    if found.value is MISS:
        return (yield from load_into(scope, place(found.name), function, wanted=wanted))
    if found.seen is None:
        return found.value
    return (yield from _refresh(scope, place(found.name, found.seen), function, found.value, wanted))


def _load_at_once(
    scope: Scope,
    generation_name: bytes,
    known: Generation,
    place: _ResultPlace,
    function: Callable[[], Any],
    wanted: Callable[[Any], bool] | None,
) -> Steps[Any]:
    """A result that is thought to be missing, as the last one was: its lease is taken where it would be looked for.

    That spares one of three round trips; where there is a result all the same, it costs one more.

    Raises:
        LookFirst: there is one, somebody else computes it, or the generation is another by now.
    """
    local = scope.local
    if not scope.one_server or (local is not None and _is_held(local, generation_name, known.token, place.name)):
        raise LookFirst

    def look(lease: Lease) -> RunScript:
        arguments = (lease.token, int(LEASE * 1000), known.data)
        return RunScript(TAKE_LEASE_IN_GENERATION, (place.name, lease.name), arguments, (generation_name,))

    value = yield from load_into(scope, place, function, wanted=wanted, look=look)
    if local is not None:
        local.strings[generation_name] = hold(known.token, b"", math.inf)
    return value


def _is_held(local: LocalCache, generation_name: bytes, token: str, name: bytes) -> bool:
    """Whether a request holds a result, or another generation."""
    held = local.get_held(generation_name)
    return held is not None and (held.value() != token or local.get_held(name) is not None)


def _refresh(
    scope: Scope, place: _ResultPlace, function: Callable[[], Any], last: Any, wanted: Callable[[Any], bool] | None
) -> Steps[Any]:
    """Compute a result anew that is due, if nobody else does; the last one otherwise, and where the function raises."""
    lease = place.lease()
    if is_held(lease):
        return last
    with Seat(scope.flights, lease.subject) as seat:
        if seat.another() is not None:
            return last
        value, is_mine = yield from _take_to_refresh(scope, place, lease, last)
        if not is_mine:
            return value
        started = time.monotonic()
        outcome = yield from attempted(scope, function, lease)
        if outcome.error is None:
            seconds = time.monotonic() - started
            yield from store(scope, place, outcome.value, lease, seconds, wanted=wanted)
            return outcome.value
        yield from release(lease)
    if not isinstance(outcome.error, Exception):  # interrupted, or cancelled
        raise FunctionRaised(outcome.error)
    warn(
        f"not cached: {keys.decode(place.name)!r} could not be computed anew and its last value is returned "
        f"({type(outcome.error).__name__}: {outcome.error}).",
        NotCachedWarning,
    )
    return last


def _take_to_refresh(scope: Scope, place: _ResultPlace, lease: Lease, last: Any) -> Steps[tuple[Any, bool]]:
    """(The last value, True) for who got the lease; (a value, False) for who goes on with that."""
    asked = time.monotonic()
    try:
        reply = yield from ask(place.take(lease), lease)
    except CacheUnavailable:
        return last, False
    if isinstance(reply, Exception):
        warn_dropped(scope, place.name, reply)
        return last, False
    if reply[0] != VALUE:
        return last, reply[0] == YOURS
    _, data, left = reply  # somebody was faster
    value = place.decode(scope, data)
    deadline = deadline_of(asked, place.due_in(data, left) or GONE)
    if scope.local is not None and value is not MISS and deadline != -math.inf:
        place.keep(scope.local, hold(value, place.body(scope, data), deadline))
    return (last if value is MISS else value), False


def _look_up(scope: Scope, generation_name: bytes, place_for: Callable[[str], _ResultPlace]) -> Steps[_Found]:
    """A result, under the function's present generation.

    Generations seldom change, so the one known from last time is asked for together with the entry under it: one round
    trip, and a second one only where the generation is another by now.
    """
    local = scope.local
    known = scope.generations.get(generation_name)
    if known is None or (local is not None and local.get_held(generation_name) is not None):
        place = place_for((yield from _generation(scope, generation_name)))
        held = None if local is None else local.get_held(place.name)
        if held is not None and (value := held.value()) is not MISS:
            scope.stats.local_hits += 1
            return _Found(place.name, value)
        return _noted(scope, generation_name, (yield from _find(scope, place)))
    place = place_for(known.token)
    name = place.name
    # Expected before the generation is asked for: if that is replaced meanwhile, the result is no copy of anything.
    fetch = None if scope.copies is None else scope.copies.expect(name, generation_name)
    asked = time.monotonic()
    ask_left = (("PTTL", name),) if local is not None or fetch is not None or place.can_be_due else ()
    current, *replies = yield Pipeline((("GET", generation_name), ("GET", name), *ask_left))
    if current == known.data:
        if local is not None:
            local.strings[generation_name] = hold(known.token, b"", math.inf)
        return _noted(scope, generation_name, _received(scope, place, asked, *replies, fetch=fetch))
    if fetch is not None and scope.copies is not None:
        scope.copies.forget(fetch)
    place = place_for((yield from _generation(scope, generation_name)))
    return _noted(scope, generation_name, (yield from _find(scope, place)))


def _noted(scope: Scope, generation_name: bytes, found: _Found) -> _Found:
    """Remember for the next look whether the server had the result."""
    known = scope.generations.get(generation_name)
    if known is not None:
        known.missed = found.value is MISS
    return found


def _find(scope: Scope, place: _ResultPlace) -> Steps[_Found]:
    """A result, of which no copy is made: nothing was expected of its generation."""
    ask_left = (("PTTL", place.name),) if scope.local is not None or place.can_be_due else ()
    asked = time.monotonic()
    replies = yield Pipeline((("GET", place.name), *ask_left))
    return _received(scope, place, asked, *replies)


def _received(
    scope: Scope, place: _ResultPlace, asked: float, data: Any, left: Any = None, *, fetch: Fetch | None = None
) -> _Found:
    """Take the reply to a GET. Until it is due, and no longer, the request holds the value and there is a copy."""
    due_in = place.due_in(data, left)
    value = received(scope, place.name, asked, data, due_in or GONE, fetch=fetch)
    return _Found(place.name, value, left if due_in == 0 and place.can_be_due else None)


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
    known = scope.generations.get(name)
    if known is None or known.data != data:
        scope.generations[name] = Generation(data, token)
    if scope.local is not None:
        scope.local.strings[name] = hold(token, b"", math.inf)
    return str(token)


def _as_of_now(scope: Scope) -> Scope:
    """For asking the server, whatever the request remembers: somebody may have cleared the function since."""
    return dataclasses.replace(scope, local=None)


def _new_generation(scope: Scope, name: bytes) -> bytes:
    return scope.codec.encode(secrets.token_hex(6), name)


@when_away(bytes)
def entry_name(scope: Scope, generation_name: bytes, name_for: Callable[[str], bytes]) -> Steps[bytes]:
    """The name of a result; empty while the server cannot be reached, which alone knows the generation."""
    return name_for((yield from _generation(_as_of_now(scope), generation_name)))


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
        name = name_for((yield from _generation(_as_of_now(scope), generation_name)))
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(names=(generation_name,))
        return
    yield from delete(scope, (name,))
