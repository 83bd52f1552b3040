"""Hundreds of callers in several processes who want one cold entry: one computes it, and if that one dies, another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import frappe_cache_ext as frappe
from frappe_cache_ext import context, redis_cache
from frappe_cache_ext.operations.loading import LEASE
from tests.documents.processes import own_redis
from tests.support import until

ROOT = Path(__file__).parents[2]
PROCESSES = 8
THREADS = 50

COMPUTING = 0.5
"""Seconds that the value takes to compute once it may be."""

SLACK = 4.0
"""Seconds that a busy machine may add; waiting for a second lease would take longer."""

PATIENCE = 60.0
"""Seconds for what takes a moment on an idle machine."""

pytestmark = [pytest.mark.slow, pytest.mark.alone]


# --- a process of the crowd -------------------------------------------------------------------------------------------

FOLDER = Path()
"""Where the processes and the test meet: who computes is written to ``log``, and ends once there is ``enough``."""


def compute() -> str:
    """Note who computes; where the first one is to be killed, it never ends."""
    log = os.open(FOLDER / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, f"{os.getpid()}\n".encode())
    os.close(log)
    if (FOLDER / "first-is-killed").exists():
        with contextlib.suppress(FileExistsError):
            (FOLDER / "first").touch(exist_ok=False)
            time.sleep(10 * PATIENCE)
    until((FOLDER / "enough").exists, PATIENCE)
    time.sleep(COMPUTING)
    return f"made by {os.getpid()}"


@redis_cache
def decorated() -> str:
    return compute()


WAYS: dict[str, Callable[[], Any]] = {
    "redis_cache": decorated,
    "get_value": lambda: frappe.cache.get_value("cold", generator=compute),
    "hget": lambda: frappe.cache.hget("hash", "cold", generator=compute),
}


def main(url: str, site: str, way: str, file: str) -> None:
    """Have many threads ask at the moment that comes over stdin, and write down what each got and when."""
    global FOLDER  # noqa: PLW0603  (the function takes no arguments, so that all ask for the same)
    FOLDER = Path(file).parent
    settings = frappe.init(site, url=url)
    frappe.cache.exists("anything")
    begun = threading.Semaphore(0)
    together = threading.Barrier(THREADS + 1)
    answers: list[tuple[str, float]] = []
    start = 0.0

    def ask() -> None:
        context._settings.set(settings)
        together.wait()
        time.sleep(max(0.0, start - time.monotonic()))
        begun.release()
        answers.append((WAYS[way](), time.monotonic()))

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    Path(f"{file}.ready").touch()
    start = float(sys.stdin.readline())
    together.wait()
    for _ in threads:
        begun.acquire()
    Path(f"{file}.begun").touch()
    for thread in threads:
        thread.join()
    Path(file).write_text(json.dumps(answers), encoding="utf-8")
    frappe.destroy()


# --- the crowd --------------------------------------------------------------------------------------------------------


class Crowd:
    """The processes, every thread of which has asked, and one of which computes.

    Args:
        folder: where they and the test meet.
        running: the processes.
    """

    def __init__(self, folder: Path, running: dict[Path, subprocess.Popen[bytes]]) -> None:
        self.folder, self.running = folder, running

    def begin(self) -> None:
        """Have all ask at one moment, and wait until they have."""
        self._all_say("ready")
        start = time.monotonic() + 0.5
        for process in self.running.values():
            assert process.stdin is not None
            process.stdin.write(f"{start}\n".encode())
            process.stdin.flush()
        self._all_say("begun")
        until(self.computing, PATIENCE, "a call of the function")
        time.sleep(0.5)  # those who have said so are about to ask

    def _all_say(self, what: str) -> None:
        until(lambda: all(Path(f"{file}.{what}").exists() for file in self.running), PATIENCE, f"all processes {what}")

    def computing(self) -> list[int]:
        """The processes in which the function was called, in this order."""
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in (self.folder / "log").read_text(encoding="utf-8").split()]
        return []

    def kill(self, pid: int) -> float:
        """Kill one of the processes as a crash would; the moment of that."""
        (file,) = [file for file, process in self.running.items() if process.pid == pid]
        killed = time.monotonic()
        self.running[file].kill()
        assert self.running.pop(file).wait() == -signal.SIGKILL
        return killed

    def may_end(self) -> None:
        """Let the value be computed."""
        (self.folder / "enough").touch()

    def answers(self) -> list[tuple[str, float]]:
        """What each thread got and when, after the end of all processes that live."""
        assert [process.wait(PATIENCE) for process in self.running.values()] == [0] * len(self.running)
        return [(value, end) for file in self.running for value, end in json.loads(file.read_text(encoding="utf-8"))]


@contextlib.contextmanager
def crowd(way: str, site: str, folder: Path) -> Iterator[Crowd]:
    """Processes on a server of their own, in which every thread has asked for one entry in some way."""
    with own_redis() as server, contextlib.ExitStack() as stopping:
        running = {}
        for number in range(PROCESSES):
            file = folder / f"{number}.json"
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.coherence.test_crowds", server.url, site, way, str(file)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
            )
            running[file] = stopping.enter_context(process)
            stopping.callback(process.kill)
        asking = Crowd(folder, running)
        asking.begin()
        yield asking


@pytest.mark.parametrize(
    ("way", "held"), [*((way, 0.0) for way in WAYS), pytest.param("redis_cache", LEASE + 1, id="longer than a lease")]
)
def test_one_computes_for_all(way: str, held: float, site: str, tmp_path: Path) -> None:
    with crowd(way, site, tmp_path) as asking:
        time.sleep(held)
        asking.may_end()
        answers = asking.answers()
        (pid,) = asking.computing()
    assert [value for value, _ in answers] == [f"made by {pid}"] * (PROCESSES * THREADS)


@pytest.mark.parametrize("way", WAYS)
def test_one_takes_over_from_who_was_killed(way: str, site: str, tmp_path: Path) -> None:
    (tmp_path / "first-is-killed").touch()
    with crowd(way, site, tmp_path) as asking:
        asking.may_end()
        (first,) = asking.computing()
        killed = asking.kill(first)
        answers = asking.answers()
        _, second = asking.computing()
    assert second != first
    assert [value for value, _ in answers] == [f"made by {second}"] * ((PROCESSES - 1) * THREADS)
    assert max(end for _, end in answers) - killed < LEASE + COMPUTING + SLACK


if __name__ == "__main__":
    main(*sys.argv[1:])
