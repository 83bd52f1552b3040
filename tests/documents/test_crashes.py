"""A writer killed at every step it takes: what readers get afterwards is what the database holds, and is cached again.

The writer changes two documents in one transaction. It is killed (SIGKILL, by itself) before its first step, its
second, … until it survives: each effect on the cache server, each statement and the commit in the database is a step.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from frappe_cache_ext.documents.ledger import OUTBOX
from tests.documents.processes import LOG, Worker, own_redis, prepare, site_of, workers
from tests.support import RedisServer, until

SHORT = {"PENDING": 0.5, "QUARANTINE": 0.5, "LEASE": 0.5}
"""Seconds for which a dead writer's marks, a lost log's successor and a dead reader's lease keep others waiting."""

MOST_STEPS = 50


def agrees(reader: Worker, name: str) -> int:
    """What a reader that begins anew gets, which has to be what the database holds."""
    held: int = reader.order("database", name)
    value, _ = reader.order("cached", name)
    assert value == held, f"{name}: the cache gives {value}, the database {held}"
    return held


def becomes_cached(reader: Worker, names: list[str]) -> None:
    for name in names:
        until(lambda name=name: reader.order("cached", name)[1], what=f"{name} in the cache")  # type: ignore[misc]
        agrees(reader, name)


@pytest.mark.slow
@pytest.mark.parametrize("without_log", [False, True], ids=["log there", "log lost"])
def test_a_writer_killed_at_each_step(database_url: str, without_log: bool) -> None:
    names = [f"thing-{number}" for number in range(MOST_STEPS)]
    pairs = [[name, f"{name}-other"] for name in names]
    with own_redis() as server, workers() as start:
        site = site_of(server.url, database_url, seconds=SHORT)
        prepare(site, ["bystander", *itertools.chain(*pairs)])
        reader, older, oldest = (start("session", **site) for _ in range(3))
        writers = start("killed", work="change", without_log=without_log, **site)
        for worker in (reader, older, oldest, writers):
            worker.ready()
        becomes_cached(reader, list(itertools.chain(*pairs)))
        oldest.order("open")

        held: dict[str, int] = {}
        steps = None
        for pair in pairs:
            older.order("open")
            writers.tell(pair[0])
            steps = writers.answer()["survived"]
            for name in pair:
                older.order("read", name)  # from before the change: right for this reader, and for nobody else
                held[name] = agrees(reader, name)
            older.order("rollback")
            assert held[pair[0]] == held[pair[1]], "half of a transaction"
            if steps is not None:
                break
        assert steps is not None, f"the writer takes more than {MOST_STEPS} steps"
        assert len(held) == 2 * (len(steps) + 1), "it was not killed at every step"
        commit = steps.index("database: COMMIT")
        assert [held[name] for name in names[: len(steps) + 1]] == [0] * (commit + 1) + [2] * (len(steps) - commit)
        # Marked before the first change, looked for before the commit, logged after it.
        marked, looked = steps.index("cache: MARK_PENDING"), steps.index("cache: RENEW_MARKS")
        assert marked < steps.index("database: UPDATE") < looked < commit < steps.index("cache: LOG_CHANGES")

        time.sleep(max(SHORT.values()))
        late = start("session", **site).ready()
        for name, value in held.items():
            oldest.order("read", name)
            assert agrees(reader, name) == agrees(late, name) == value, f"{name} after the deadline"
        becomes_cached(late, list(held))
        for worker in (writers, reader, older, oldest, late):
            worker.finish()


class TestMarksLost:
    """The look right before the commit, and the quarantine of a log that replaces a lost one.

    What a living writer does after the commit would cover these up: so it is killed before that.
    """

    @pytest.fixture
    def server(self) -> Iterator[RedisServer]:
        with own_redis() as started:
            yield started

    @pytest.fixture
    def people(self, server: RedisServer, database_url: str) -> Iterator[tuple[Worker, Worker, Worker]]:
        """A reader, a reader with an older transaction, and a writer that will not live past its next commit."""
        with workers() as start:
            site = site_of(server.url, database_url, seconds=SHORT)
            prepare(site, ["bystander", "thing"])
            reader, older, writer = [worker.ready() for worker in [start("session", **site) for _ in range(3)]]
            for worker in (reader, older):  # whoever comes anew to a new log first deletes what is cached
                becomes_cached(worker, ["thing"])
            writer.order("set", "thing", 5)
            writer.order("die_after_commit")
            assert reader.order("cached", "thing") == [0, False]
            yield reader, older, writer

    @pytest.mark.parametrize("loss", ["lapsed", "log lost"])
    def test_before_the_look(self, server: RedisServer, people: tuple[Worker, Worker, Worker], loss: str) -> None:
        reader, older, writer = people
        writer.process.send_signal(signal.SIGSTOP)
        if loss == "log lost":
            server.command("DEL", LOG)
        becomes_cached(reader, ["thing"])
        older.order("open")
        assert older.order("read", "thing") == [0, True]
        writer.process.send_signal(signal.SIGCONT)
        assert writer.order("read", "thing") == [5, False], "its own change"
        self.commits_and_dies(reader, older, writer)

    def test_between_the_look_and_the_commit(self, server: RedisServer, people: tuple[Worker, Worker, Worker]) -> None:
        reader, older, writer = people
        writer.order("stop_before_commit")
        writer.tell(["commit"])
        until(lambda: is_stopped(writer), what="the writer before its commit")
        server.command("DEL", LOG)
        older.order("open")
        for _ in range(5):
            assert reader.order("cached", "thing") == [0, False]
            time.sleep(SHORT["QUARANTINE"] / 20)
        writer.process.send_signal(signal.SIGCONT)
        self.is_dead(reader, older, writer)

    def commits_and_dies(self, reader: Worker, older: Worker, writer: Worker) -> None:
        writer.tell(["commit"])
        self.is_dead(reader, older, writer)

    def is_dead(self, reader: Worker, older: Worker, writer: Worker) -> None:
        assert writer.process.wait(10) == -signal.SIGKILL
        older.order("read", "thing")
        assert agrees(reader, "thing") == 5
        time.sleep(SHORT["PENDING"])
        older.order("read", "thing")
        assert agrees(reader, "thing") == 5
        becomes_cached(reader, ["thing"])
        assert reader.order("cached", "thing") == [5, True]


def is_stopped(worker: Worker) -> bool:
    return Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.slow
def test_whoever_empties_the_outbox_is_killed_at_each_step(database_url: str) -> None:
    names = [f"thing-{number}" for number in range(MOST_STEPS)]
    engine = sa.create_engine(database_url)
    with own_redis() as server, workers() as start:
        site = site_of(server.url, database_url, seconds=SHORT)
        prepare(site, ["bystander", *names])
        reader, emptiers = start("session", **site), start("killed", work="read", **site)
        reader.ready()
        emptiers.ready()
        becomes_cached(reader, names)
        steps = None
        for name in names:
            # What a writer out of the cache server's reach has committed.
            with engine.begin() as connection:
                connection.execute(sa.insert(OUTBOX), {"doctype": "Thing", "name": name})
                things = sa.table("tabThing", sa.column("name"), sa.column("value"))
                connection.execute(sa.update(things).where(things.c.name == name).values(value=5))
            emptiers.tell(name)
            steps = emptiers.answer()["survived"]
            value, waiting = reader.order("cached", name)[0], reader.order("outbox")
            assert value == 5 or waiting, f"{name} is told to nobody"
            if steps is not None:
                break
        assert steps is not None, f"it takes more than {MOST_STEPS} steps"
        assert steps.index("cache: LOG_CHANGES") < steps.index("cache: Unlink") < steps.index("database: DELETE")
        assert reader.order("outbox") == 0
        for name in names[: len(steps) + 1]:
            assert agrees(reader, name) == 5
        emptiers.finish()
        reader.finish()
    engine.dispose()
