"""Actors: functions that run in threads of their own, step by step, or all together."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .. import context
from ..documents.transactions import current_transaction
from ..errors import MISS

PATIENCE: Final = 30.0
"""Seconds that a step may take before its actor is given up: more than one waits for a lock of the database."""


class WrongOrder(ValueError):
    """An order of steps that the actors cannot follow.

    Args:
        what: what is wrong with it.
        hint: what to do.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what} {hint}")
        self.what = what
        self.hint = hint


def pause(step: str, value: Any = MISS) -> None:
    """Say that a step ends here, and wait for the next one to be called; where nobody plays, do nothing.

    Args:
        step: what the step is called in the order.
        value: what came out of it, to be shown; None is shown as ``nothing``.
    """
    waiting = _waiting.get()
    if waiting is not None:
        waiting.pause(step, value)


class _Waiting(Protocol):
    def pause(self, step: str, value: Any) -> None: ...


_waiting: contextvars.ContextVar[_Waiting | None] = contextvars.ContextVar("teaching_waiting", default=None)


@dataclass(frozen=True, slots=True)
class Stop:
    """Where an actor has come to.

    Attributes:
        step: the step that has ended; None for the last, which ends with the function.
        value: what came out of it; MISS where nothing is said.
        error: what the function raised.
    """

    step: str | None
    value: Any = MISS
    error: BaseException | None = None


class _Leave(BaseException):
    """Ends an actor who is not needed any more."""


class Actor:
    """A function in a thread of its own, which goes on only when it is told to.

    Args:
        name: what the actor is called in the order.
        function: what they do.

    Attributes:
        has_ended: whether the function has returned.
    """

    def __init__(self, name: str, function: Callable[[], Any]) -> None:
        self.name = name
        self.has_ended = False
        self._function = function
        self._may_go = threading.Semaphore(0)
        self._leaves = False
        self._stops: queue.SimpleQueue[Stop] = queue.SimpleQueue()
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name=f"teaching-{name}", daemon=True)
        self._thread.start()

    def advance(self, step: str) -> Stop | None:
        """Let the actor take a step; None where they have taken their last one before.

        Raises:
            WrongOrder: it is another step's turn.
        """
        if self.has_ended:
            return None
        stop = self._go_on()
        if stop.step not in (None, step):
            raise WrongOrder(
                f"The {self.name} cannot do {step!r} yet: {stop.step!r} comes first.",
                "One actor's own steps keep their order; only how they mix with the others' is free.",
            )
        return stop

    def finish(self) -> None:
        """See that the actor has nothing left to do.

        Raises:
            WrongOrder: there was a step more.
        """
        if not self.has_ended and (stop := self._go_on()).step is not None:
            raise WrongOrder(f"The order ends too early: {self.name} {stop.step} after that.", "Name each step once.")

    def dismiss(self) -> None:
        """Let the actor leave, wherever they are."""
        self._leaves = True
        self._may_go.release()

    def join(self) -> None:
        """Wait until they have left."""
        self._thread.join(PATIENCE)

    def pause(self, step: str, value: Any) -> None:
        """End a step, and wait."""
        self._stops.put(Stop(step, value))
        self._wait()

    def _go_on(self) -> Stop:
        self._may_go.release()
        try:
            stop = self._stops.get(timeout=PATIENCE)
        except queue.Empty:
            raise WrongOrder(
                f"The {self.name} does not come to the end of this step.", "Let the other one go on first."
            ) from None
        self.has_ended = stop.step is None
        if stop.error is not None:
            raise stop.error
        return stop

    def _wait(self) -> None:
        self._may_go.acquire()
        if self._leaves:
            raise _Leave

    def _run(self) -> None:
        _waiting.set(self)
        try:
            with context.request():
                self._wait()
                try:
                    answer = self._function()
                finally:
                    current_transaction().close()
        except _Leave:
            return
        except BaseException as error:
            self._stops.put(Stop(None, error=error))
        else:
            self._stops.put(Stop(None, MISS if answer is None else answer))


@contextlib.contextmanager
def cast_of(actors: Mapping[str, Callable[[], Any]]) -> Iterator[dict[str, Actor]]:
    """The actors of a play, by name; all of them have left when the block ends."""
    cast: dict[str, Actor] = {}
    try:
        for name, function in actors.items():
            cast[name] = Actor(name, function)
        yield cast
    finally:
        for actor in cast.values():  # all of them first: one may wait for what another holds
            actor.dismiss()
        for actor in cast.values():
            actor.join()


# --- a crowd ------------------------------------------------------------------------------------------------------


class _Meeting:
    """Where all of a crowd wait for each other, once for each pause."""

    def __init__(self, people: int) -> None:
        self._barrier = threading.Barrier(people)

    def pause(self, step: str, value: Any) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):  # somebody did not come here; go on without
            self._barrier.wait(PATIENCE)

    def leave(self) -> None:
        self._barrier.abort()


def crowd(function: Callable[[], Any], people: int = 8) -> list[Any]:
    """Let many call a function at the same moment, each in a thread and a request of their own.

    At a `pause` all of them wait for each other.

    Args:
        function: what they call.
        people: how many they are.

    Returns:
        What each of them got.
    """
    meeting = _Meeting(people)
    answers: list[Any] = [None] * people
    errors: list[BaseException] = []

    def call(number: int) -> None:
        _waiting.set(meeting)
        try:
            with context.request():
                pause("is there")
                answers[number] = function()
        except BaseException as error:
            errors.append(error)
            meeting.leave()

    threads = [threading.Thread(target=contextvars.copy_context().run, args=(call, each)) for each in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return answers
