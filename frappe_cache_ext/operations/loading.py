"""Computing a missing value: one caller does, the others wait for it.

On a miss, one caller gets the right to compute the entry. The right is a key beside the entry with a random token in
it, a *lease*, which runs out after `LEASE` seconds unless its holder, still at work, renews it. Storing takes the
token: whoever deletes or sets the entry meanwhile deletes its lease in the same step, and a value computed before that
can no longer be stored after it. (Leases: Nishtala et al., *Scaling Memcache at Facebook*, NSDI 2013, section 3.2.1.)

Of the callers in one process only one asks for the lease, or for the value that another process computes; the others
wait for that one in the process, and then look at the server once more.

Where an entry lies, in a key of its own or in a field of a hash, and with what scripts its lease is kept, its `Place`
says.
"""

from __future__ import annotations

import binascii
import contextlib
import functools
import itertools
import math
import random
import secrets
import time
from collections.abc import Callable, Collection, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from ..codec import Held, hold
from ..context import LocalCache
from ..effects import Compute, FunctionRaised, Lease, Outcome, Pause, Pipeline, RunScript, Steps
from ..errors import MISS, CacheUnavailable, NotCacheable, NotCachedWarning, warn
from ..flights import Flight, Seat, Subject
from ..scripts.field_leases import RELEASE_FIELD_LEASE, RENEW_FIELD_LEASE
from ..scripts.leases import RELEASE_LEASE, RENEW_LEASE, STORE_UNDER_LEASE, TAKE_LEASE
from .common import Scope, decoded, warn_dropped, when_away

LEASE: Final = 5.0
"""Seconds for which a lease is good; a dead holder keeps the others waiting no longer than this."""

FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.05
"""Seconds between two looks at an entry that another process computes: doubled from the first to the longest."""

LEASE_MARK: Final = b"\x1flease"


def lease_name(name: bytes) -> bytes:
    """The name of an entry's lease, in the entry's cluster slot.

    It begins with the entry's own name, so that whoever deletes by prefix (a real Frappe, too) deletes the lease with
    it. A slot is computed from what stands between the first ``{`` and the next ``}``, where there is something, and
    else from the whole name. A name with a single brace of these needs something between that leads to its slot.
    """
    if b"{" not in name and b"}" not in name:
        return name + b"{" + name + b"}" + LEASE_MARK
    return name + LEASE_MARK if _tag(name) else _searched_name(name)


def _tag(name: bytes) -> bytes:
    """What a name's slot is computed from, if that is not the whole name; empty otherwise.

    Source: the Redis cluster specification, section "Hash tags".
    """
    _, brace, rest = name.partition(b"{")
    tag, end, _ = rest.partition(b"}")
    return tag if brace and end else b""


@functools.lru_cache(maxsize=1024)
def _searched_name(name: bytes) -> bytes:
    """A lease's name, in the slot of a name that has no tag and yet a brace, which each process finds alike."""
    beginning = name if b"{" in name else name + b"{"
    rest = beginning.partition(b"{")[2]
    # What the slot is computed from, before and after the number: the tag, or the whole name where that is empty.
    before, after = (beginning, b"}" + LEASE_MARK) if rest.startswith(b"}") else (rest, b"")
    seed, wanted = binascii.crc_hqx(before, 0), binascii.crc_hqx(name, 0) % _SLOTS
    for number in itertools.count():  # about 5 ms
        if binascii.crc_hqx(b"%x%b" % (number, after), seed) % _SLOTS == wanted:
            return b"%b%x}%b" % (beginning, number, LEASE_MARK)
    raise AssertionError("numbers have no end")


_SLOTS: Final = 16384


# --- where a value belongs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a computed value belongs: a key of its own. `hashes` and `results` have other kinds.

    Attributes:
        name: the key's name on the wire.
        root: how a warning calls the value.
        expiry: milliseconds, 0 for none.
    """

    name: bytes
    root: str
    expiry: int = 0

    def lease(self) -> Lease:
        """A lease on it, with a token that was never used before."""
        return Lease(lease_name(self.name), secrets.token_hex(8).encode())

    def look(self) -> Pipeline:
        """Asks for the value's bytes: the first reply."""
        return Pipeline((("GET", self.name),))

    def remove(self) -> Pipeline:
        """Deletes the value: the first reply."""
        return Pipeline((("UNLINK", self.name),))

    def take(self, lease: Lease) -> RunScript:
        """Asks for the value or the lease; the reply begins with `VALUE`, `YOURS` or 0."""
        return RunScript(TAKE_LEASE, (self.name, lease.name), (lease.token, int(LEASE * 1000)))

    def store(self, lease: Lease, data: bytes) -> RunScript:
        """Stores a value under a lease."""
        return RunScript(STORE_UNDER_LEASE, (self.name, lease.name), (lease.token, data, self.expiry))

    def kept_for(self, stored: Any) -> float | None:
        """For how many seconds a request may hold what was stored, by the reply to that; None if it was not."""
        return None if not stored else self.expiry / 1000 if self.expiry else math.inf

    def encode(self, scope: Scope, value: Any, cost: float) -> bytes:
        """The bytes of a value that took some seconds to compute."""
        return scope.codec.encode(value, self.name, root=self.root)

    def decode(self, scope: Scope, data: Any) -> Any:
        """The value of some bytes, MISS where there are none or they cannot be read."""
        return decoded(scope, data, self.name)

    def body(self, scope: Scope, data: bytes) -> bytes:
        """The pickle in a value's bytes."""
        return scope.codec.body(data, self.name)

    def keep(self, local: LocalCache, held: Held) -> None:
        """Hold a value for the request."""
        local.strings[self.name] = held

    def forget_miss(self, local: LocalCache) -> None:
        """Forget that the request met none."""
        local.strings.pop(self.name, None)


# --- computing it -------------------------------------------------------------------------------------------------


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
    return (yield from load_into(scope, Place(name, root, expiry), function, wanted=wanted, may_store=may_store))


def load_into(
    scope: Scope,
    place: Place,
    function: Callable[[], Any],
    *,
    wanted: Callable[[Any], bool] | None = None,
    may_store: Callable[[], Steps[bool]] | None = None,
    look: Callable[[Lease], RunScript] | None = None,
) -> Steps[Any]:
    """The same for a value whose place is not, or not only, a key.

    Args:
        scope: what to work with.
        place: where the value belongs.
        function: computes the value.
        wanted: whether a value is worth storing; None for every one.
        may_store: asked under the lease when the value is there, whether it still may be stored.
        look: where nobody has looked whether the value is there, what asks for its lease if it is not.

    Raises:
        LookFirst: `look` did not get the lease.
    """
    lease = place.lease()
    if is_held(lease):  # the function that computes the entry asks for it
        return (yield from computed(scope, function, None))
    with Seat(scope.flights, lease.subject) as seat:
        try:
            if look is None:
                value, is_mine = yield from _take_lease(scope, place, lease, seat)
            else:
                yield from _look_for_lease(scope, look, lease, seat)
                value, is_mine = MISS, True
        except CacheUnavailable:
            value, is_mine = MISS, False
        if value is not MISS:
            scope.stats.waited += 1
            return value
        if not is_mine:
            seat.leave()  # nothing will be stored that the others could wait for
            return (yield from computed(scope, function, None))
        started = time.monotonic()
        value = yield from computed(scope, function, lease)
        cost = time.monotonic() - started
        yield from store(scope, place, value, lease, cost, wanted=wanted, may_store=may_store)
        return value


def computed(scope: Scope, function: Callable[[], Any], lease: Lease | None) -> Steps[Any]:
    """What the user's function returns; its error ends the operation, and the lease."""
    outcome = yield from attempted(scope, function, lease)
    if outcome.error is not None:
        yield from release(lease)
        raise FunctionRaised(outcome.error)
    return outcome.value


def attempted(scope: Scope, function: Callable[[], Any], lease: Lease | None) -> Steps[Outcome]:
    """What the user's function does, with a lease kept alive meanwhile."""
    with _holding(lease):
        outcome: Outcome = yield Compute(function, lease)
    scope.stats.computed += 1
    return outcome


def store(
    scope: Scope,
    place: Place,
    value: Any,
    lease: Lease,
    cost: float,
    *,
    wanted: Callable[[Any], bool] | None,
    may_store: Callable[[], Steps[bool]] | None = None,
) -> Steps[None]:
    """Store a value under a lease, or give the lease back.

    Args:
        scope: what to work with.
        place: where it belongs.
        value: the value.
        lease: the lease.
        cost: the seconds that the value took to compute.
        wanted: whether a value is worth storing; None for every one.
        may_store: asked whether it still may be stored.
    """
    if wanted is not None and not wanted(value):
        yield from release(lease)
        return
    if may_store is not None and not (yield from when_away(lambda: False)(may_store)()):
        yield from release(lease)
        return
    try:
        yield from _store_under_lease(scope, place, value, lease, cost)
    except NotCacheable as error:
        warn(f"not cached: {error}", NotCachedWarning)
        yield from release(lease)


def _store_under_lease(scope: Scope, place: Place, value: Any, lease: Lease, cost: float) -> Steps[None]:
    data = place.encode(scope, value, cost)
    asked = time.monotonic()
    try:
        stored = yield from ask(place.store(lease, data), lease)
    except CacheUnavailable:
        scope.stats.dropped += 1
        return
    if isinstance(stored, Exception):
        warn_dropped(scope, place.name, stored)
        return
    seconds = place.kept_for(stored)
    if seconds is not None:
        scope.stats.writes += 1
        if scope.local is not None:
            place.keep(scope.local, hold(value, place.body(scope, data), asked + seconds))


class LookFirst(Exception):
    """Whoever took it for granted that there was no value has to look for it like everybody else."""


def _look_for_lease(scope: Scope, look: Callable[[Lease], RunScript], lease: Lease, seat: Seat) -> Steps[None]:
    """Take a lease in the same step in which the value is looked for."""
    if seat.another() is not None:
        raise LookFirst
    reply = yield from ask(look(lease), lease)
    if isinstance(reply, Exception) or reply[0] != YOURS:
        raise LookFirst
    seat.take_over()
    scope.stats.misses += 1


def _take_lease(scope: Scope, place: Place, lease: Lease, seat: Seat) -> Steps[tuple[Any, bool]]:
    """The entry's value; or (MISS, True) for who got the lease; or (MISS, False) to compute without storing."""
    pause, started = FIRST_PAUSE, time.monotonic()
    while True:
        flight = seat.another()
        if flight is not None:
            value = yield from _wait_for(scope, place, flight)
            if value is not MISS:
                return value, False
            if flight.landed and not _waits_too_long(started):
                continue
        reply = yield from ask(place.take(lease), lease)
        if isinstance(reply, Exception):
            # A list or set of somebody's under this name is not ours to overwrite, and nothing to complain of again.
            if "WRONGTYPE" not in str(reply):
                warn_dropped(scope, place.name, reply)
            return MISS, False
        if reply[0] == YOURS:
            seat.take_over()  # from a flight that the server knows nothing of, if any
            return MISS, True
        if reply[0] == VALUE:
            value = _waited_for(scope, place, reply[1])
            # Unreadable bytes are in the way of a good value.
            if value is not MISS or isinstance((yield place.remove())[0], Exception):
                return value, False
            continue
        if _waits_too_long(started):
            return MISS, False
        if flight is None:
            yield Pause(pause * (0.5 + random.random()))  # noqa: S311  (spreads the askers; nothing secret)
            pause = min(2 * pause, LONGEST_PAUSE)


def _wait_for(scope: Scope, place: Place, flight: Flight) -> Steps[Any]:
    """The value that another caller in this process sees to; MISS if there is none then, or not in time."""
    yield Pause(LEASE, until=flight)
    return _waited_for(scope, place, (yield place.look())[0]) if flight.landed else MISS


def _waited_for(scope: Scope, place: Place, data: Any) -> Any:
    value = place.decode(scope, data)
    if value is not MISS and scope.local is not None:
        place.forget_miss(scope.local)
    return value


def _waits_too_long(started: float) -> bool:
    """Whether to go on alone: two computations that wait for each other's entries would wait for good."""
    return bool(_held_leases.get()) and time.monotonic() - started > LEASE


VALUE: Final = 1
YOURS: Final = 2
_held_leases: ContextVar[frozenset[Subject]] = ContextVar("frappe_cache_leases", default=frozenset())


def is_held(lease: Lease) -> bool:
    """Whether a function that is running here computes the entry of a lease."""
    return lease.subject in _held_leases.get()


class _holding:  # noqa: N801  (reads as a statement)
    """Marks, for functions called meanwhile in this context, that their caller holds a lease."""

    def __init__(self, lease: Lease | None) -> None:
        self.lease = lease

    def __enter__(self) -> None:
        if self.lease is not None:
            self.token = _held_leases.set(_held_leases.get() | {self.lease.subject})

    def __exit__(self, *exception: object) -> None:
        if self.lease is not None:
            with contextlib.suppress(ValueError):  # steps that were given up are closed in a context of somebody's
                _held_leases.reset(self.token)


def ask(question: RunScript, lease: Lease) -> Steps[Any]:
    """The reply to who asks for a lease; who is interrupted meanwhile keeps none."""
    try:
        return (yield question)
    except (CacheUnavailable, GeneratorExit):
        raise
    except BaseException:  # perhaps the server has given it
        yield from release(lease)
        raise


def release(lease: Lease | None) -> Steps[None]:
    """Give a lease back; nothing happens without one, or while the server cannot be reached."""
    if lease is None:
        return
    try:
        if lease.field is None:
            yield RunScript(RELEASE_LEASE, (lease.name,), (lease.token,))
        else:
            yield RunScript(RELEASE_FIELD_LEASE, (lease.name,), (lease.field, lease.token))
    except CacheUnavailable:
        return


def void(scope: Scope, lease_names: Iterable[bytes], fields: Collection[bytes] | None = None) -> None:
    """Have nobody in this process wait for values that will not be stored: their leases were just deleted.

    Args:
        scope: what to work with.
        lease_names: the leases' names.
        fields: for leases on fields of a hash, which; None for all.
    """
    if scope.flights is not None:
        scope.flights.void(lease_names, fields)


def lease_renewal(lease: Lease, seconds: float) -> RunScript:
    """What the holder of a lease has to repeat, so that it is good for so many seconds more."""
    milliseconds = int(seconds * 1000)
    if lease.field is None:
        return RunScript(RENEW_LEASE, (lease.name,), (lease.token, milliseconds))
    return RunScript(RENEW_FIELD_LEASE, (lease.name,), (lease.field, lease.token, milliseconds))
