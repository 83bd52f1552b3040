"""What `destroy` leaves of a process that used everything: no thread, no open file, no connection to the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import frappe_cache_ext as frappe
from frappe_cache_ext import leases, redis_cache
from frappe_cache_ext.connections import current_connection
from frappe_cache_ext.pinned import Pinned
from tests.documents.processes import own_redis
from tests.support import RedisServer, until

ROOT = Path(__file__).parents[2]
CYCLES = 20
WORKERS = 4
BEAT = 0.02
"""Seconds between two renewals of a lease in the process under test, where nobody wants to compute for seconds."""

SITE = "leftovers.test"

State = dict[str, list[str]]
Order = Callable[[str], Any]


# --- the process under test -------------------------------------------------------------------------------------------


@redis_cache
def slow(number: int) -> int:
    """What takes long enough for its lease to be renewed."""
    time.sleep(5 * BEAT)
    return 2 * number


@redis_cache
async def awaited(number: int) -> int:
    await asyncio.sleep(0)
    return 3 * number


class Process:
    """Carries out the test's orders in a process whose threads and files are all its own.

    Args:
        url: the server.
        home: where the site's SQLite file lies.
    """

    def __init__(self, url: str, home: str) -> None:
        self.url, self.home = url, home
        self.idle = ThreadPoolExecutor(2, "idle")
        leases.BEAT = BEAT  # type: ignore[misc]
        # What is loaded late, or opened by the interpreter at some first time, was not opened by the cache.
        self.before = state()

    def obey(self) -> None:
        """Carry out what the lines of standard input order, and answer each with a line."""
        for order in sys.stdin:
            print(json.dumps(getattr(self, order.strip())()), flush=True)

    def use(self) -> State:
        """Use everything; what was open and running at the end of that."""
        self.init()
        frappe.cache.delete_keys("")
        seen: set[str] = set()
        assert slow(1) == slow(1) == 2
        assert asyncio.run(self.coroutines(seen)) == [2, 2, 3, 3]
        threads = [threading.Thread(target=self.work, args=(number,), name="ended") for number in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # These are still there when the cache is told to let go, with nothing to do.
        assert list(self.idle.map(self.work, range(WORKERS))) == [*range(WORKERS)]
        self.read_copies()
        frappe.sample_site()
        assert frappe.get_cached_doc("System Settings").language == "en"
        assert frappe.get_cached_doc("Item", "ITEM-0001").name == "ITEM-0001"
        self.init()
        self.read_copies()
        at_work = state()
        return {"threads": sorted({*at_work["threads"], *seen}), "files": at_work["files"]}

    def destroy(self) -> State:
        """Let go of everything; what is left after that."""
        frappe.destroy()
        return self.left()

    def left(self) -> State:
        """What there is that was not there before, once what is ending has ended."""

        def more() -> State:
            now = state()
            threads = [name for name in now["threads"] if not name.startswith("idle")]
            files = [name for name in now["files"] if name not in self.before["files"]]
            # Of the database's, only how many there are: their numbers are given anew each time.
            databases = [name.partition(" ")[2] for name in files if self.home in name]
            return {
                "threads": [name for name in threads if name not in self.before["threads"]],
                "files": [name for name in files if self.home not in name],
                "databases": sorted(databases),
            }

        with contextlib.suppress(AssertionError):
            until(lambda: not any(more()[what] for what in ("threads", "files")), 5)
        return more()

    def cycles(self) -> list[State]:
        """Use everything and let go of it again and again; what was left each time."""
        found = []
        for _ in range(CYCLES):
            self.use()
            found.append(self.destroy())
            if found[-1]["threads"] or found[-1]["files"]:  # each time it would be waited for again
                break
        return found

    def destroy_while_a_lease_is_renewed(self) -> State:
        """Let go of everything in the moment in which a renewal has been sent, and its answer has not been read."""
        under_way = threading.Event()
        take = Pinned._take

        def slowly(pinned: Pinned) -> Any:
            link = take(pinned)
            if threading.current_thread().name == "frappe-cache-leases":
                under_way.set()
                time.sleep(0.3)
            return link

        self.init()
        frappe.cache.delete_value("renewed")
        Pinned._take = slowly  # type: ignore[method-assign]
        try:
            assert frappe.cache.get_value("renewed", lambda: under_way.wait(5)) is True
            return self.destroy()
        finally:
            Pinned._take = take  # type: ignore[method-assign]

    def init(self) -> None:
        frappe.init(SITE, url=self.url, home=self.home)

    def work(self, number: int) -> int:
        """What one thread does: values, hashes, results, and a document."""
        self.init()
        frappe.cache.set_value(f"value{number}", number)
        frappe.cache.hset("hash", str(number), number)
        assert slow(1) == 2
        assert frappe.client_cache.get_value(f"value{number}") == number
        frappe.sample_site()
        assert frappe.get_cached_doc("Item", f"ITEM-000{number + 1}").name == f"ITEM-000{number + 1}"
        self.init()
        found: int = frappe.cache.get_value(f"value{number}")
        return found

    def read_copies(self) -> None:
        """Have copies, and know that they are used."""
        frappe.client_cache.set_value("copied", ["a", "b"])
        until(lambda: frappe.client_cache.healthy, what="listening")

        def is_hit() -> bool:
            hits = frappe.client_cache.statistics.hits
            assert frappe.client_cache.get_value("copied") == ["a", "b"]
            return frappe.client_cache.statistics.hits > hits

        until(is_hit, what="a copy")
        assert len(current_connection().copies) > 0

    async def coroutines(self, seen: set[str]) -> list[Any]:
        """What coroutines do; notes the threads that were there meanwhile."""
        cache = frappe.AsyncRedisWrapper()
        await cache.set_value("color", 2)
        found = await asyncio.gather(cache.get_value("color"), cache.get_value("color"), awaited(1), awaited(1))
        seen.update(thread.name for thread in threading.enumerate())
        return found


def state() -> State:
    """The threads and the open files of this process."""
    files = []
    proc = Path("/proc/self/fd")
    for number in os.listdir(proc if proc.is_dir() else "/dev/fd"):  # noqa: PTH208  (names, not paths)
        with contextlib.suppress(OSError):  # the folder's own, which is closed by now
            what = (proc / number).readlink() if proc.is_dir() else os.fstat(int(number))
            files.append(f"{number} {what}")
    return {"threads": sorted(thread.name for thread in threading.enumerate()), "files": sorted(files)}


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with own_redis() as started:
        yield started


@pytest.fixture
def order(server: RedisServer, tmp_path: Path) -> Iterator[Order]:
    """Orders for a process; in the end it has complained of nothing."""
    code = "import sys; from tests.coherence.test_leftovers import Process; Process(*sys.argv[1:]).obey()"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, server.url, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def give(what: str) -> Any:
        stdin.write(f"{what}\n")
        stdin.flush()
        line = stdout.readline()
        assert line, process.communicate()[1]
        return json.loads(line)

    try:
        yield give
        complaint = process.communicate(timeout=30)[1]
        assert (process.returncode, complaint) == (0, "")
    finally:
        process.kill()
        process.communicate()


def clients(server: RedisServer) -> list[str]:
    """Who is connected to a server, beside whoever asks."""
    lines = server.command("CLIENT", "LIST").splitlines()
    return [line for line in lines if line.startswith("id=") and "cmd=client|list" not in line]


def test_nothing_is_left_and_all_can_be_used_again(server: RedisServer, order: Order) -> None:
    for _ in range(2):
        at_work = order("use")
        # Without these at work there would be nothing to let go of.
        at_least = {"MainThread", "frappe-cache-copies", "frappe-cache-leases", "frappe-cache-command_0", "idle_0"}
        assert at_least <= set(at_work["threads"])
        assert sum("socket:" in name for name in at_work["files"]) > WORKERS or sys.platform != "linux"
        assert len(clients(server)) > 2
        left = order("destroy")
        assert (left["threads"], left["files"]) == ([], [])
        assert clients(server) == []


@pytest.mark.slow
def test_nothing_grows_from_one_time_to_the_next(server: RedisServer, order: Order) -> None:
    first, *others = order("cycles")
    assert (first["threads"], first["files"]) == ([], [])
    assert others == [first] * (CYCLES - 1)
    assert clients(server) == []


def test_no_database_is_left_open(order: Order) -> None:
    order("use")
    assert order("destroy")["databases"] == []


def test_nothing_is_left_where_a_lease_was_just_being_renewed(server: RedisServer, order: Order) -> None:
    left = order("destroy_while_a_lease_is_renewed")
    assert (left["threads"], left["files"]) == ([], [])
    assert clients(server) == []
