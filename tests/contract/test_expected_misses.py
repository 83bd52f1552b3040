"""Results of which the last one was missing: the lease is asked for at once, and nothing else changes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from frappe_cache_ext import context
from frappe_cache_ext.caching import redis_cache
from frappe_cache_ext.connections import Connection, current_connection
from frappe_cache_ext.effects import Pipeline, RunScript, Sent
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.scripts.leases import STORE_UNDER_LEASE, TAKE_LEASE, TAKE_LEASE_IN_GENERATION
from tests.contract.test_strings import elsewhere
from tests.support import until

CALLS: list[int] = []


@redis_cache(version=1, copies=False)
def square(number: int) -> int:
    CALLS.append(number)
    return number**2


@redis_cache(version=1, copies=False, stale=60)
def old_square(number: int) -> int:
    CALLS.append(number)
    return number**2


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What goes to the server: the scripts, and the names of the commands that are sent together."""
    said: list[Any] = []
    perform = Connection.perform

    def note(connection: Connection, effect: Sent) -> Any:
        if isinstance(effect, RunScript):
            said.append(effect.script)
        elif isinstance(effect, Pipeline):
            said.append([command[0] for command in effect.commands])
        return perform(connection, effect)

    monkeypatch.setattr(Connection, "perform", note)
    return said


def another_process(function: Any) -> Any:
    """Run a function in a thread, with nothing known of generations, as another process has it."""
    connection = current_connection()
    known = dict(connection.generations)
    connection.generations.clear()
    try:
        return elsewhere(function)
    finally:
        connection.generations.clear()
        connection.generations.update(known)


def test_the_second_miss_in_a_row_takes_two_round_trips(cache: RedisWrapper, sent: list[Any]) -> None:
    assert square(1) == 1
    sent.clear()
    with context.request():
        assert square(2) == 4
    if cache.connection.one_server:
        assert sent == [TAKE_LEASE_IN_GENERATION, STORE_UNDER_LEASE]
    else:
        assert sent[1:] == [TAKE_LEASE, STORE_UNDER_LEASE]
    assert CALLS == [1, 2]


def test_what_is_there_is_found_and_looked_for_as_usual_from_then_on(cache: RedisWrapper, sent: list[Any]) -> None:
    square(1)
    another_process(lambda: square(2))
    sent.clear()
    for _ in range(2):
        with context.request():
            assert square(2) == 4
    assert sent[-1] == sent[-2] == ["GET", "GET", "PTTL"]
    assert CALLS == [1, 2]
    hits, misses = square.cache_info()[:2]
    sent.clear()
    with context.request():
        assert square(3) == 9
    assert TAKE_LEASE in sent
    assert square.cache_info()[:2] == (hits, misses + 1)


def test_no_request_asks_twice(cache: RedisWrapper, sent: list[Any]) -> None:
    square(1)
    square(2)
    sent.clear()
    assert (square(1), square(2)) == (1, 4)
    assert sent == []
    with context.request():
        assert square(3) == 9
        sent.clear()
        assert square(3) == 9
        assert sent == []


def test_a_clear_that_nobody_here_has_heard_of_is_noticed(cache: RedisWrapper) -> None:
    square(1)
    another_process(square.clear_cache)
    with context.request():
        assert square(2) == 4
        name = square.cache_key(2)
    assert another_process(lambda: square(2)) == 4
    assert CALLS == [1, 2], "it was stored where nobody else looks"
    assert cache.redis.exists(name)


def test_a_clear_under_the_computation_leaves_nothing_to_be_found(cache: RedisWrapper) -> None:
    answers = iter([1, 2, 3])

    @redis_cache(key=lambda number: number, version=1, copies=False)
    def changing(number: int) -> int:
        if number == 2:
            elsewhere(changing.clear_cache)
        return next(answers)

    changing(1)
    with context.request():
        assert changing(2) == 2
    with context.request():
        assert changing(2) == 3


def test_who_computes_it_elsewhere_is_waited_for(cache: RedisWrapper) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    @redis_cache(key=lambda number: number, version=1, copies=False)
    def slow(number: int) -> int:
        CALLS.append(number)
        if number == 2:
            begun.set()
            assert goes_on.wait(10)
        return number

    slow(1)
    settings, found = context.current_settings(), []

    def ask() -> None:
        context._settings.set(settings)
        found.append(slow(2))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    until(lambda: all(thread.is_alive() for thread in threads), what="the others")
    goes_on.set()
    for thread in threads:
        thread.join(10)
    assert found == [2, 2, 2]
    assert CALLS == [1, 2]


def test_one_that_may_be_old_is_looked_for_first(cache: RedisWrapper, sent: list[Any]) -> None:
    old_square(1)
    sent.clear()
    with context.request():
        assert old_square(2) == 4
    assert TAKE_LEASE_IN_GENERATION not in sent


def test_something_else_under_its_name_is_no_error(cache: RedisWrapper) -> None:
    square(1)
    with context.request():
        name = square.cache_key(2)
        cache.redis.rpush(name, "mine")
    with context.request(), pytest.warns(Warning, match="could not be read"):
        assert square(2) == 4
    assert cache.redis.lrange(name, 0, -1) == [b"mine"]
