"""Values kept in this process beside the server's, for as long as they are the server's.

A copy is good only while this process hears of every change (see `invalidations`): up to `Copies.good_until`, which
moves on as long as the server answers. What was asked for and has not come yet is a `Fetch`, which stands where the
copy will: a change that is heard of meanwhile removes it, and what comes then is not kept. Each fetch is another
object, so a slow reader never puts an old value where a faster one has begun anew.

How many copies there are, and of how many bytes, is bounded; past that those go which were not used since they were
last looked at (the *clock* of Corbató, *A Paging Experiment with the Multics System*, 1968), so that a hit writes down
nothing but that there was one.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, Final

from .codec import is_immutable, loads

MOST_COPIES: Final = 16_384
MOST_BYTES: Final = 64 << 20
"""How many copies one connection keeps, and of how many bytes in all."""

_LARGEST_SHARE: Final = 4
"""A value of more than a quarter of the room is not kept: it would push out all that is used more."""

_BESIDE: Final = 512
"""Bytes that a copy takes besides its value and name."""

_MOST_SLOTS: Final = 8
"""How many slots lead to one copy: those of calls seldom made are made anew again and again, each time another one."""


class Slot:
    """A place that leads straight to a copy, without its name: one for each call of a function with plain arguments.

    Attributes:
        copy: the copy; None while there is none.
        call: what the owner remembers of the call.
    """

    __slots__ = ("call", "copy")

    def __init__(self) -> None:
        self.copy: Copy | None = None
        self.call: Any = None


class Fetch:
    """A value that was asked for."""

    __slots__ = ("group", "name")

    def __init__(self, name: bytes, group: bytes) -> None:
        self.name = name
        self.group = group


class Copy:
    """A value as it stands on the server.

    Attributes:
        value: what is handed out, where nobody can change it.
        body: otherwise the pickle from which each reader gets a value of his own.
        load: makes that value of the pickle.
        deadline: the `time.monotonic` in seconds at which the entry expires; ``-inf`` once the copy was dropped.
        used: whether it was, since the clock's hand last came by.
    """

    __slots__ = ("body", "deadline", "group", "load", "name", "size", "slots", "used", "value")

    def __init__(self, fetch: Fetch, value: object, body: bytes, deadline: float) -> None:
        self.name = fetch.name
        self.group = fetch.group
        plain = is_immutable(value)
        self.size = (_taken_by(value) if plain else len(body)) + len(fetch.name) + _BESIDE
        self.value = value if plain else None
        self.body = None if plain else body
        # Only names of Frappe's may need the stand-ins for which `loads` looks first.
        self.load = loads if b"frappe" in body else pickle.loads
        self.deadline = deadline
        self.used = False
        self.slots: list[Slot] = []

    def read(self) -> Any:
        """The value, which nobody else holds if it can be changed."""
        return self.value if self.body is None else self.load(self.body)

    def link(self, slot: Slot) -> None:
        """Let a slot lead here for as long as this is a copy."""
        self.slots.append(slot)
        slot.copy = self
        if len(self.slots) > _MOST_SLOTS:
            with contextlib.suppress(IndexError):  # other threads were faster
                self._unlink(self.slots.pop(0))
        if self.deadline == -math.inf:  # dropped by another thread just now, and the slot perhaps not seen
            slot.copy = None

    def end(self) -> None:
        """Be no copy any more."""
        self.deadline = -math.inf
        for slot in tuple(self.slots):
            self._unlink(slot)

    def _unlink(self, slot: Slot) -> None:
        if slot.copy is self:
            slot.copy = None


def _taken_by(value: Any) -> int:
    """Bytes that a value takes in memory which nobody can change: of a tuple of integers, a dozen times its pickle."""
    size = sys.getsizeof(value)
    return size + sum(map(_taken_by, value)) if isinstance(value, tuple | frozenset) else size


class Copies:
    """The copies of one connection, by their names on the wire.

    Args:
        most: how many there can be.
        most_bytes: of how many bytes in all.

    Attributes:
        good_until: the `time.monotonic` in seconds up to which copies may be used; ``-inf`` while nobody listens.
        dropped: how many were, because they changed on the server.
    """

    def __init__(self, most: int = MOST_COPIES, most_bytes: int = MOST_BYTES) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.good_until = -math.inf
        self.dropped = 0
        self.bytes = 0
        self._lock = threading.RLock()
        self._held: dict[bytes, Copy | Fetch] = {}
        self._groups: dict[bytes, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def good(self) -> bool:
        """Whether copies may be used now."""
        return time.monotonic() < self.good_until

    def expect(self, name: bytes, group: bytes = b"") -> Fetch | None:
        """Say that a value is about to be asked for; None where its copy could not be kept right.

        Args:
            name: the key's name on the wire.
            group: another key, whose change makes this one's value worthless, too.
        """
        if not self.good:
            return None
        fetch = Fetch(name, group)
        with self._lock:
            self._remove(name)
            self._add(fetch)
            self._make_room()
        return fetch

    def keep(self, fetch: Fetch, value: object, body: bytes, deadline: float) -> Copy | None:
        """Keep what came, unless it may have changed since it was asked for.

        Args:
            fetch: what `expect` gave.
            value: the value.
            body: its pickle.
            deadline: the `time.monotonic` in seconds at which the entry expires; ``inf`` for never.
        """
        copy = Copy(fetch, value, body, deadline)
        with self._lock:
            if self._held.get(fetch.name) is not fetch:
                return None
            self._remove(fetch.name)
            if copy.size * _LARGEST_SHARE > self.most_bytes:
                return None
            self._add(copy)
            self._make_room()
        return copy

    def forget(self, fetch: Fetch) -> None:
        """Expect no more what was not found."""
        with self._lock:
            if self._held.get(fetch.name) is fetch:
                self._remove(fetch.name)

    def find(self, name: bytes) -> Copy | None:
        """The copy of a key's value, if it may be used now."""
        copy = self._held.get(name)
        return copy if isinstance(copy, Copy) and self.serves(copy) else None

    def serves(self, copy: Copy) -> bool:
        """Whether a copy may be used now."""
        now = time.monotonic()
        if now >= copy.deadline or now >= self.good_until:
            return False
        copy.used = True
        return True

    def drop(self, names: Iterable[bytes]) -> None:
        """Forget keys that have changed, and all that stands in a group of theirs."""
        held, groups = self._held, self._groups
        # Not even a look without the lock: a copy that is just taking the place of its fetch is nowhere for a moment.
        with self._lock:
            for name in names:
                if name in held:
                    self.dropped += 1
                    self._remove(name)
                if name in groups:
                    for member in tuple(groups[name]):
                        self.dropped += 1
                        self._remove(member)

    def drop_all(self) -> None:
        """Forget everything."""
        with self._lock:
            for copy in self._held.values():
                if isinstance(copy, Copy):
                    copy.end()
            self.dropped += len(self._held)
            self._held.clear()
            self._groups.clear()
            self.bytes = 0

    def stop(self) -> None:
        """Forget everything, and keep nothing until somebody listens again."""
        self.good_until = -math.inf
        self.drop_all()

    def after_fork(self) -> None:
        """Begin anew in a child process, where nobody listens and no lock's holder lives."""
        self._lock = threading.RLock()
        self.stop()

    def _add(self, entry: Copy | Fetch) -> None:
        self._held[entry.name] = entry
        if entry.group:
            self._groups.setdefault(entry.group, set()).add(entry.name)
        self.bytes += _size(entry)

    def _remove(self, name: bytes) -> None:
        entry = self._held.pop(name, None)
        if entry is None:
            return
        self.bytes -= _size(entry)
        if entry.group:
            members = self._groups[entry.group]
            members.discard(name)
            if not members:
                del self._groups[entry.group]
        if isinstance(entry, Copy):
            entry.end()

    def _make_room(self) -> None:
        held = self._held
        while len(held) > self.most or self.bytes > self.most_bytes:
            name = next(iter(held))
            entry = held[name]
            if isinstance(entry, Copy) and entry.used:
                entry.used = False
                held[name] = held.pop(name)
            else:
                self._remove(name)


def _size(entry: Copy | Fetch) -> int:
    return entry.size if isinstance(entry, Copy) else len(entry.name) + _BESIDE
