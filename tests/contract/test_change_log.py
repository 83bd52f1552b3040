"""The change log and the leases on real servers: each script does there what its plain form does in the model."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from frappe_cache_ext import keys
from frappe_cache_ext.codec import Codec
from frappe_cache_ext.effects import Compute, Pause, Pipeline, RunScript
from frappe_cache_ext.operations import lease_name
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.scripts import Script
from frappe_cache_ext.scripts.change_log import (
    BEGIN_CLEARING,
    DROP_MARKS,
    END_CLEARING,
    END_QUARANTINE,
    KEPT_CHANGES,
    LOG_CHANGES,
    MARK_PENDING,
    MOST_FIELDS,
    OPEN_LOG,
    READ_LOG,
    RENEW_MARKS,
)
from frappe_cache_ext.scripts.leases import RELEASE_LEASE, RENEW_LEASE, STORE_UNDER_LEASE, TAKE_LEASE
from tests.documents.interleavings import (
    Actor,
    Database,
    Ended,
    ModelServer,
    Play,
    Transaction,
    World,
    ask_database,
    reader,
    reader_in_transaction,
    requested,
    writer,
)

SOON, PAST = 600_000, -1000
"""Milliseconds: a deadline that does not pass during the test, and one that has passed."""

DOCUMENTS = ("T::d", "T", "Größe::ein Name: 1:2", "T::%d {x} 'q' \\ \n")
TOKENS = ("a1", "b2", "c3")


class Both:
    """A real server and the model, told the same."""

    def __init__(self, cache: RedisWrapper, key: str) -> None:
        self.cache = cache
        self.model = ModelServer()
        self.name = cache.make_key(key)

    def run(self, script: Script, names: tuple[bytes, ...], *arguments: Any) -> Any:
        """The reply of both, which is the same one."""
        effect = RunScript(script, names, arguments)
        found, expected = self.cache.connection.perform(effect), self.model.perform(effect)
        found = tuple(found) if isinstance(found, list) else found
        assert found == expected, (script.lua, arguments)
        return found

    def write(self, name: bytes, *pairs: Any) -> None:
        """Write fields of a hash."""
        (reply,) = self.cache.connection.perform(Pipeline((("HSET", name, *pairs),)))
        assert not isinstance(reply, Exception)
        self.model.hset(name, *pairs)

    def compare(self) -> None:
        """The logs are the same, but for the clocks in them."""
        assert without_clocks(self.cache.redis.hgetall(self.name)) == without_clocks(self.model.hgetall(self.name))


def without_clocks(log: dict[bytes, bytes]) -> dict[bytes, Any]:
    return {
        part: sorted(mark.partition(b":")[0] for mark in held.split())
        if part.startswith(b"p:")
        else None
        if part in (b"quarantine", b"clearing")
        else held
        for part, held in log.items()
    }


@pytest.fixture
def both(cache: RedisWrapper) -> Both:
    return Both(cache, "log")


class TestChangeLog:
    @pytest.mark.parametrize("seed", range(6))
    def test_any_steps_have_the_same_replies_and_leave_the_same_log(self, both: Both, seed: int) -> None:
        chance = random.Random(seed)
        epoch = ""

        def some() -> list[bytes]:
            return [keys.encode(document) for document in chance.sample(DOCUMENTS, chance.randint(1, 3))]

        def deadline() -> int:
            return chance.choice((SOON, SOON, PAST))

        def open_log() -> tuple[Any, ...]:
            nonlocal epoch
            ending = chance.choice((epoch, epoch, "other"))
            if ending == epoch:
                epoch = f"e{chance.randrange(10**6)}"
            return OPEN_LOG, ending, epoch, chance.choice((0, SOON)), "run"

        steps: list[Callable[[], tuple[Any, ...]]] = [
            lambda: (READ_LOG, *some()),
            lambda: (END_QUARANTINE, chance.choice((epoch, "other"))),
            lambda: (BEGIN_CLEARING, chance.choice((epoch, epoch, "other")), deadline()),
            lambda: (END_CLEARING, chance.choice((epoch, "other")), chance.choice(("run", "another run"))),
            *[lambda: (MARK_PENDING, chance.choice(TOKENS), deadline(), *some())] * 3,
            lambda: (RENEW_MARKS, chance.choice(TOKENS), deadline(), *some()),
            *[lambda: (LOG_CHANGES, chance.choice(TOKENS), *some())] * 2,
            lambda: (DROP_MARKS, chance.choice(TOKENS), *some()),
        ]
        for step in [*chance.choices(steps, k=5), open_log, *chance.choices([*steps, open_log], k=120)]:
            script, *arguments = step()
            both.run(script, (both.name,), *arguments)
            both.compare()

    def test_a_mark_past_its_deadline_counts_as_a_change_for_whoever_looks(self, both: Both) -> None:
        both.run(OPEN_LOG, (both.name,), "", "e1", 0, "run")
        both.run(MARK_PENDING, (both.name,), "a1", PAST, "T::d")
        assert both.run(READ_LOG, (both.name,)) == (b"e1", b"run", b"", 0, 0, 0, 0, 0)
        assert both.run(READ_LOG, (both.name,), "T::d") == (b"e1", b"run", b"", 1, 0, 0, 0, 1)
        assert both.run(RENEW_MARKS, (both.name,), "a1", SOON, "T::d") == 0

    def test_a_log_that_grows_long_forgets_its_oldest_changes_and_dead_marks(self, both: Both) -> None:
        both.run(OPEN_LOG, (both.name,), "", "e1", 0, "run")
        most = MOST_FIELDS - 6
        pairs = [pair for number in range(1, most + 1) for pair in (f"c:T::{number}", number)]
        both.write(both.name, "number", most, *pairs)
        both.run(MARK_PENDING, (both.name,), "a1", PAST, "T::dead")
        both.run(MARK_PENDING, (both.name,), "b2", SOON, "T::alive")
        assert both.cache.redis.hlen(both.name) == MOST_FIELDS

        both.run(LOG_CHANGES, (both.name,), "c3", "T::new")  # one more than it keeps
        both.compare()
        _, _, _, number, reach, *_, pending, changed = both.run(READ_LOG, (both.name,), "T::alive", "T::dead")
        assert (number, reach) == (most + 2, most + 1 - KEPT_CHANGES)
        assert (pending, changed) == (1, most + 2)
        assert both.cache.redis.hlen(both.name) < KEPT_CHANGES + 12
        assert both.run(READ_LOG, (both.name,), f"T::{reach + 1}")[-1] == reach + 1
        assert both.run(READ_LOG, (both.name,), f"T::{reach}")[-1] == 0


class TestLeases:
    @pytest.mark.parametrize("seed", range(3))
    def test_any_steps_have_the_same_replies(self, both: Both, seed: int) -> None:
        chance = random.Random(seed)
        names = both.name, lease_name(both.name)
        lease = names[1:]
        for _ in range(80):
            token = chance.choice(TOKENS)
            choices: tuple[tuple[Any, ...], ...] = (
                (TAKE_LEASE, names, token, SOON),
                (STORE_UNDER_LEASE, names, token, b"value", chance.choice((0, SOON))),
                (RENEW_LEASE, lease, token, SOON),
                (RELEASE_LEASE, lease, token),
                (None, names),
            )
            script, on, *arguments = chance.choice(choices)
            if script is None:
                both.cache.redis.delete(names[0])
                both.model.unlink(names[0])
            elif script is TAKE_LEASE:
                effect = RunScript(script, on, arguments)
                found, expected = both.cache.connection.perform(effect), both.model.perform(effect)
                assert found[0] == expected[0]
                assert (0 < found[1] <= SOON) if found[0] == 0 else found[1:] == list(expected[1:])
            else:
                both.run(script, on, *arguments)
            assert both.cache.redis.get(names[0]) == both.model.get(names[0])
            assert both.cache.redis.exists(names[1]) == both.model.exists(names[1])

    def test_one_given_by_another_run_of_the_server_is_void(self, both: Both) -> None:
        names = both.name, lease_name(both.name)
        both.cache.redis.set(names[1], b"a1:another")
        both.model.set(names[1], b"a1:another")
        assert both.run(STORE_UNDER_LEASE, names, "a1", b"value", 0) == 0
        assert both.run(RENEW_LEASE, names[1:], "a1", SOON) == 0
        assert both.run(RELEASE_LEASE, names[1:], "a1") == 0
        assert both.cache.redis.get(names[0]) is None


class TestSchedules:
    """The same steps as in the model, in some of their orders, with a real server answering them."""

    WAYS = ("commit", "rollback", "savepoint")

    @pytest.mark.parametrize("repeatable_read", [True, False])
    def test_no_order_of_steps_leaves_an_old_document(self, cache: RedisWrapper, repeatable_read: bool) -> None:
        for seed in range(25):
            self.walk(cache, random.Random(seed), repeatable_read)

    def walk(self, cache: RedisWrapper, chance: random.Random, repeatable_read: bool) -> None:
        actors = [
            Actor("reader", (reader,)),
            Actor("reader in a transaction", (reader_in_transaction,)),
            Actor("writer 1", (writer(*self.WAYS),)),
            Actor("writer 2", (writer(*self.WAYS, reads=True),)),
        ]
        world = World(actors, (), repeatable_read=repeatable_read, first_session=list(range(len(actors))))
        database = Database(0, True, (), (Transaction(),) * len(actors))
        entries = cache.make_key("documents ")
        name = cache.make_key("log")
        cache.connection.perform(RunScript(OPEN_LOG, (name,), ("", "e1", 0, "run")))
        running = [Play(number, actor, world, (name, entries)) for number, actor in enumerate(actors)]
        while running:
            play = chance.choice(running)
            effect = play.next[0]
            if isinstance(effect, Compute):
                answers = ask_database(database, play.number, requested(effect), world)
                if not answers:
                    continue
                answer, database = chance.choice(answers)
            else:
                answer = None if isinstance(effect, Pause) else cache.connection.perform(effect)
            play.feed((0, False, answer))
            if isinstance(play.next[0], Ended):
                running.remove(play)
        held = cache.redis.get(entries + b"T::d")
        assert held in (None, Codec().encode(database.committed, b""))
        cache.delete_keys("")
