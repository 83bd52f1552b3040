"""Callers of one process who want the same entry: one of them sees to it, the others wait for that one here.

Nothing here locks: what a thread held when another one forks would stay locked in the child for good. The steps that
two threads can take at once are single ones on a dictionary or a list.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from types import TracebackType

Subject = tuple[bytes, bytes | None]
"""What a lease is about: its name on the wire and, for a field of a hash, the field."""


class Flight:
    """One caller's work on an entry, until it lands: the entry was found or stored, or it was given up.

    Attributes:
        landed: whether it is over.
    """

    __slots__ = ("_process", "_wakers", "landed")

    def __init__(self) -> None:
        self.landed = False
        self._wakers: list[Callable[[], None]] = []
        self._process = os.getpid()

    def land(self) -> None:
        """It is over: wake whoever waits for it."""
        self.landed = True
        if os.getpid() == self._process:  # the threads and loops that wait stayed with the parent
            self._wake()

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have something called once when it lands, in whatever thread, or at once if it has; until the block ends."""
        self._wakers.append(wake)
        if self.landed:
            self._wake()
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                self._wakers.remove(wake)

    def wait(self, seconds: float) -> None:
        """Block until it lands, for so many seconds at most."""
        asleep = threading.Lock()
        asleep.acquire()
        with self.waking(asleep.release):
            asleep.acquire(timeout=seconds)

    def _wake(self) -> None:
        while self._wakers:
            with contextlib.suppress(IndexError):  # another thread was faster
                self._wakers.pop()()


class Flights:
    """What is under way on one connection; nothing is kept of what has landed."""

    def __init__(self) -> None:
        self._under_way: dict[Subject, Flight] = {}

    def forget(self) -> None:
        """Begin anew in a child process: whoever was at something stayed with the parent."""
        self._under_way = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def board(self, subject: Subject, own: Flight) -> Flight:
        """The flight that is under way for a subject: somebody else's, or else from now on one's own."""
        return self._under_way.setdefault(subject, own)

    def replace(self, subject: Subject, own: Flight) -> None:
        """Put one's own in place of one that will not land: its thread is gone, or its coroutine is not run again."""
        lost = self._under_way.get(subject)
        self._under_way[subject] = own
        if lost is not None and lost is not own:
            lost.land()

    def void(self, names: Iterable[bytes], fields: Collection[bytes] | None = None) -> None:
        """Have nobody wait any more for values that will not be stored, as their leases were deleted.

        Args:
            names: the leases' names.
            fields: for leases on fields of a hash, which; None for whatever the names are about.
        """
        if not self._under_way:
            return
        gone = set(names)
        for subject in list(self._under_way):
            if subject[0] in gone and (fields is None or subject[1] in fields):
                self._end(subject, self._under_way.get(subject))

    def leave(self, subject: Subject, own: Flight) -> None:
        """Land one's own."""
        self._end(subject, own)

    def _end(self, subject: Subject, flight: Flight | None) -> None:
        if flight is not None:
            flight.land()  # first: whoever is told to go on alone must not find it as if it were under way
            if self._under_way.get(subject) is flight:
                self._under_way.pop(subject, None)


class Seat:
    """One caller's place among those who want an entry; left at the end of the block at the latest.

    Args:
        flights: those of the connection; None where each caller sees to everything alone.
        subject: what the entry's lease is about.
    """

    __slots__ = ("_flights", "_own", "_subject")

    def __init__(self, flights: Flights | None, subject: Subject) -> None:
        self._flights = flights
        self._subject = subject
        self._own = Flight()

    def another(self) -> Flight | None:
        """The flight of another caller, to wait for; None where it is on this one to see to the entry."""
        if self._flights is None:
            return None
        if self._own.landed:  # somebody made it void, or took it over
            self._own = Flight()
        flight = self._flights.board(self._subject, self._own)
        return None if flight is self._own else flight

    def take_over(self) -> None:
        """See to the entry in place of whoever was at it."""
        if self._flights is not None:
            self._flights.replace(self._subject, self._own)

    def leave(self) -> None:
        """Be at it no longer: whoever waits looks for himself."""
        if self._flights is not None:
            self._flights.leave(self._subject, self._own)

    def __enter__(self) -> Seat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()
