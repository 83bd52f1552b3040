"""Every order in which readers, a writer and the server's word of changes can take their steps.

The steps are those of the real operations: each effect that one yields is a point at which somebody else can go on. The
server is the one inside this process; what changes on it is noted, and told to the copies when the order says so, and
at the latest in the end. A copy that is left then has to be what a new reader would get from the server.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from frappe_cache_ext import operations
from frappe_cache_ext.connections import Connection, Generation, _changed
from frappe_cache_ext.copies import Copies
from frappe_cache_ext.effects import Compute, Effect, Outcome, Pause, Pipeline, Steps
from frappe_cache_ext.operations import Scope
from frappe_cache_ext.settings import Settings
from tests.support import LONG

GENERATION = b"_site|f::generation"
Run = Callable[["World"], Iterator[None]]


def name_for(token: str) -> bytes:
    return f"_site|f::{token}".encode()


class World:
    """A server, the copies of one process, and what the server has not said yet."""

    connection = Connection(Settings(url="memory://interleavings"))

    def __init__(self) -> None:
        self.connection.client.flushall()
        self.copies = Copies()
        self.copies.good_until = math.inf
        self.untold: list[bytes] = []
        self.answer = 0
        # What the process knows of the function from before.
        self.generations: dict[bytes, Generation] = {}
        self.finish(operations.load_result(self.scope(), GENERATION, name_for, lambda: self.answer, 60_000))
        self.tell()

    def scope(self, copies: Copies | None = None) -> Scope:
        return Scope(self.connection.codec, self.connection.stats, self.generations, copies=copies)

    def perform(self, effect: Effect) -> Any:
        if isinstance(effect, Compute):
            return Outcome(value=effect.function())
        if isinstance(effect, Pause):
            return None
        answer = self.connection.perform(effect)  # type: ignore[arg-type]  (nothing is owed here)
        self.untold += _changed(effect)  # type: ignore[arg-type]
        return answer

    def steps(self, operation: Steps[Any]) -> Iterator[None]:
        """Carry out an operation; each of its effects is a step."""
        try:
            effect = next(operation)
            while True:
                answer = self.perform(effect)
                yield
                effect = operation.send(answer)
        except StopIteration:
            return

    def finish(self, operation: Steps[Any]) -> None:
        for _ in self.steps(operation):
            pass

    def tell(self) -> None:
        names, self.untold = self.untold, []
        self.copies.drop(names)

    def wrong(self) -> str | None:
        """What is wrong with a copy that is left, if something is."""
        self.tell()
        (now,) = self.connection.perform(Pipeline((("GET", GENERATION),)))
        token = None if now is None else self.connection.codec.decode(now, GENERATION)
        for name in list(self.copies._held):
            copy = self.copies.find(name)
            if copy is None:
                continue
            (data,) = self.connection.perform(Pipeline((("GET", name),)))
            if token is None or name != name_for(token):
                # Of another generation: harmless only if nobody would look for it.
                known = self.generations.get(GENERATION)
                if known is not None and name_for(known.token) == name:
                    return f"a copy of a generation that is gone: {name!r}"
            elif data is None or self.connection.codec.decode(data, name) != copy.read():
                return f"{copy.read()!r} in place of {data!r}"
        return None


def reader(world: World) -> Iterator[None]:
    """Calls the function in the process whose copies these are."""
    scope = world.scope(world.copies)
    yield from world.steps(operations.load_result(scope, GENERATION, name_for, lambda: world.answer, 60_000))


def clearer(world: World) -> Iterator[None]:
    """Somebody else changes what the function returns, and clears its results."""
    world.answer += 1
    other = Scope(world.connection.codec, world.connection.stats, {})
    yield from world.steps(operations.clear(other, GENERATION))


def forgetter(world: World) -> Iterator[None]:
    """Somebody else changes what the function returns, and forgets this result."""
    world.answer += 1
    other = Scope(world.connection.codec, world.connection.stats, {})
    yield from world.steps(operations.invalidate(other, GENERATION, name_for))


def storer(world: World) -> Iterator[None]:
    """Somebody else sets the entry to another value."""
    world.answer += 1
    (data,) = world.connection.perform(Pipeline((("GET", GENERATION),)))
    name = name_for(world.connection.codec.decode(data, GENERATION))
    yield from world.steps(operations.set_value(world.scope(), name, world.answer, 60_000))


def server(world: World) -> Iterator[None]:
    """Tells what has changed so far, twice."""
    for _ in range(2):
        world.tell()
        yield


def one_order(actors: list[Run], choose: Callable[[int, int], int]) -> tuple[list[int], list[int], str | None]:
    """One order of the actors' steps: what was chosen, from how many, and what is wrong after it.

    Args:
        actors: who takes steps.
        choose: which of some that can go on does, by the number of the step and of these.
    """
    world = World()
    running = {number: actor(world) for number, actor in enumerate(actors)}
    order: list[int] = []
    options: list[int] = []
    while running:
        can = sorted(running)
        at = choose(len(order), len(can))
        options.append(len(can))
        order.append(at)
        try:
            next(running[can[at]])
        except StopIteration:
            del running[can[at]]
    return order, options, world.wrong()


def every_order(actors: list[Run]) -> Iterator[tuple[list[int], str | None]]:
    """Each order of the actors' steps, and what is wrong after it."""
    choices: list[int] = []
    while True:

        def as_chosen(step: int, _: int, choices: list[int] = choices) -> int:
            return choices[step] if step < len(choices) else 0

        order, options, wrong = one_order(actors, as_chosen)
        yield order, wrong
        while order and order[-1] + 1 == options[len(order) - 1]:
            order.pop()
        if not order:
            return
        order[-1] += 1
        choices = [*order]


@pytest.mark.slow
@pytest.mark.parametrize("writer", [clearer, forgetter, storer] if LONG else [storer])
def test_one_reader(writer: Run) -> None:
    orders = list(every_order([reader, writer, server]))
    assert len(orders) > 20
    assert [(order, wrong) for order, wrong in orders if wrong] == []


@pytest.mark.parametrize("writer", [clearer, forgetter, storer])
def test_two_readers(writer: Run) -> None:
    """Of some hundred thousand orders as many as there is time for."""
    dice = random.Random(7)
    for _ in range(30_000 if LONG else 300):
        order, _, wrong = one_order([reader, reader, writer, server], lambda _, of: dice.randrange(of))
        assert wrong is None, (order, wrong)


def test_without_the_token_an_old_value_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proof that the search can find one."""

    def keep_anything(self: Copies, fetch: Any, value: object, body: bytes, deadline: float) -> None:
        self._remove(fetch.name)
        again = self.expect(fetch.name, fetch.group)
        assert again is not None
        keep(self, again, value, body, deadline)

    keep = Copies.keep
    monkeypatch.setattr(Copies, "keep", keep_anything)
    assert any(wrong for _, wrong in every_order([reader, storer, server]))


@pytest.mark.slow
def test_without_the_group_a_cleared_value_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    expect = Copies.expect
    monkeypatch.setattr(Copies, "expect", lambda self, name, group=b"": expect(self, name))
    assert any(wrong for _, wrong in every_order([reader, clearer, server]))
