"""What an operation asks of the world: the vocabulary between `operations` and whoever runs them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .flights import Flight, Subject
from .scripts import Argument, Script

T = TypeVar("T")

Command = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands to send together. The answer: their replies; an error of the server's stands in its command's place."""

    commands: Sequence[Command]


@dataclass(frozen=True, slots=True)
class ReadInto:
    """Values to get into memory of the caller's own, a writable place of bytes for each.

    The answer: for each value how many bytes it has, its place filled if these are just as many; None for a missing
    one, and for one that could not be had the server's error.
    """

    names: Sequence[bytes]
    places: Sequence[memoryview]


@dataclass(frozen=True, slots=True)
class RunScript:
    """A script to run. The answer: its reply.

    Attributes:
        script: the script.
        names: keys that it may change.
        arguments: what else it is told.
        reads: keys that it only reads; it knows them after the others.
    """

    script: Script
    names: Sequence[bytes]
    arguments: Sequence[Argument]
    reads: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class ScanPage:
    """One page of the names that match a pattern. The answer: (the next page's cursor or None, names)."""

    pattern: bytes
    cursor: Any = None


@dataclass(frozen=True, slots=True)
class Unlink:
    """Names to delete, in whatever slots. The answer: how many there were, or the server's error."""

    names: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class ServerRun:
    """Which run of the server this is. The answer: an id that each start of the server, or of a node, renews."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to compute one entry, until it runs out unrenewed.

    Attributes:
        name: the lease's name on the wire.
        token: tells it from the one before and the one after.
        field: for a field of a hash, which; the leases of all its fields have one name.
    """

    name: bytes
    token: bytes
    field: bytes | None = None

    @property
    def subject(self) -> Subject:
        """What it is about: the same for all who want to compute the entry."""
        return self.name, self.field


@dataclass(frozen=True, slots=True)
class Compute:
    """The user's function to call while the lease, if any, is kept alive. The answer: an `Outcome`."""

    function: Callable[[], Any]
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the user's function did: it returned `value`, or raised `error`."""

    value: Any = None
    error: BaseException | None = None


class GivenUp(BaseException):
    """Ends an operation that nobody waits for any more, at the ``yield`` of what had gone to the server by then.

    Attributes:
        answer: that effect's answer.
    """

    def __init__(self, answer: Any) -> None:
        super().__init__("nobody waits for the operation any more")
        self.answer = answer


class FunctionRaised(Exception):
    """Ends an operation because the user's function raised; the driver raises `error` in its place.

    A generator cannot let a `StopIteration` of the user's through, and no frame of ours belongs between the user's
    error and the user.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds to wait; less where what another caller in this process is at has come to its end before."""

    seconds: float
    until: Flight | None = None


@dataclass(frozen=True, slots=True)
class Owe:
    """Names, fields or prefixes whose values are out of date and could not be removed; see `connections.Debts`."""

    names: Sequence[bytes] = ()
    fields: Sequence[tuple[bytes, bytes]] = ()
    prefixes: Sequence[bytes] = ()


Sent = Pipeline | ReadInto | RunScript | ScanPage | Unlink | ServerRun
"""What goes to the server."""

Effect = Sent | Compute | Pause | Owe

Steps = Generator[Effect, Any, T]
"""An operation under way: yields effects, receives their answers, returns its result."""
