"""Processes that read and write the same keys through copies, on a server to which something happens meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.coherence.histories import Event, too_old
from tests.coherence.workers import KEYS
from tests.documents.processes import own_redis
from tests.support import LONG, RedisServer

PROCESSES = 4
ROOT = Path(__file__).parents[2]
SECONDS = 20.0 if LONG else 3.0

pytestmark = pytest.mark.slow


class TestTheChecker:
    """It refuses what is wrong, and nothing else."""

    def write(self, value: int | None, start: float, end: float) -> Event:
        return Event("write", "k", value, start, end)

    def read(self, value: int | None, start: float) -> Event:
        return Event("read", "k", value, start, start + 0.001)

    def test_what_was_written_last(self) -> None:
        assert not too_old([self.write(1, 0, 1), self.write(2, 2, 3), self.read(2, 4)])

    def test_what_was_written_before_that(self) -> None:
        assert too_old([self.write(1, 0, 1), self.write(2, 2, 3), self.read(1, 4)])

    def test_within_the_grace(self) -> None:
        assert not too_old([self.write(1, 0, 1), self.write(2, 2, 3), self.read(1, 3.04)], grace=0.05)
        assert too_old([self.write(1, 0, 1), self.write(2, 2, 3), self.read(1, 3.06)], grace=0.05)

    def test_two_at_the_same_time_come_in_either_order(self) -> None:
        writes = [self.write(1, 0, 2), self.write(2, 1, 3)]
        assert not too_old([*writes, self.read(1, 4)])
        assert not too_old([*writes, self.read(2, 4)])

    def test_what_was_deleted(self) -> None:
        writes = [self.write(1, 0, 1), self.write(None, 2, 3)]
        assert too_old([*writes, self.read(1, 4)])
        assert not too_old([*writes, self.read(None, 4)])
        assert too_old([*writes, self.write(3, 5, 6), self.read(None, 7)])

    def test_what_nobody_wrote(self) -> None:
        assert too_old([self.read(1, 0)])
        assert not too_old([self.read(None, 0)])
        assert too_old([self.write(1, 2, 3), self.read(1, 1)])

    def test_a_write_that_may_not_have_happened(self) -> None:
        writes = [self.write(1, 0, 1), self.write(2, 2, float("inf"))]
        assert not too_old([*writes, self.read(1, 9)])
        assert not too_old([*writes, self.read(2, 9)])


def nothing(server: RedisServer) -> None:
    time.sleep(0.2)


def cut_off(server: RedisServer) -> None:
    server.command("CLIENT", "KILL", "TYPE", "pubsub")
    time.sleep(0.3)


def flush(server: RedisServer) -> None:
    server.command("FLUSHALL")
    time.sleep(0.5)


def restart(server: RedisServer) -> None:
    server.kill()
    time.sleep(0.1)
    server.start()
    time.sleep(1.5)


def hang(server: RedisServer) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(0.6)
    server.process.send_signal(signal.SIGCONT)
    time.sleep(0.6)


@pytest.mark.parametrize("happens", [nothing, cut_off, flush, restart, hang])
def test_nobody_reads_what_was_replaced(happens: Callable[[RedisServer], None], tmp_path: Path, site: str) -> None:
    events: list[Event] = []
    with own_redis() as server:
        files = [tmp_path / f"{number}.json" for number in range(PROCESSES)]
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.coherence.workers", server.url, site, str(n), str(SECONDS), str(file)],
                cwd=ROOT,
            )
            for n, file in enumerate(files)
        ]
        try:
            while any(worker.poll() is None for worker in workers):
                start = time.monotonic()
                happens(server)
                if happens in {flush, restart}:  # all is gone, some time in between
                    keys = [f"{kind}{number}" for kind in ("k", "fk") for number in range(KEYS)]
                    events += [Event("write", key, None, start, time.monotonic()) for key in keys]
        finally:
            for worker in workers:
                worker.kill()
        assert [worker.returncode for worker in workers] == [0] * PROCESSES
    done = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for each in done:
        events += [Event(*event) for event in each["events"]]
    assert too_old(events) == []
    reads = sum(event.kind == "read" for event in events)
    assert reads > 100 * SECONDS, "too little was read to tell"
    assert all(each["dropped"] for each in done), "somebody had no copies"
