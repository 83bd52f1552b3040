"""Starting the processes of `workers`, judging what they saw, and cutting the wires between them and a server."""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import frappe_cache_ext as frappe
from frappe_cache_ext import keys
from frappe_cache_ext.connections import current_connection
from frappe_cache_ext.settings import default_db_name
from tests.support import RedisServer, requires

ROOT = Path(__file__).parents[2]
GRACE = 0.1
"""Seconds by which a cached read may lag behind a commit."""

START = 0.3
"""Seconds from the moment all workers are ready to the common start."""

SITE = "stress.test"
LOG = keys.change_log_name(default_db_name(SITE)).decode()
ENTRY = keys.make_key(default_db_name(SITE), keys.document_key("Thing", "fast")).decode()
"""The names on the wire of the workers' change log, and of the document `fast` in the cache."""


class Worker:
    """A process of `workers`; everything it says has to come within `patience` seconds."""

    def __init__(self, role: str, patience: float = 30.0, **options: Any) -> None:
        self.role = role
        self.patience = patience
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.documents.workers", role],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("FRAPPE_CACHE_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._said = b""
        self.tell(options)

    def tell(self, what: Any) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: `answer` says of what
            self.process.stdin.write(json.dumps(what).encode() + b"\n")
            self.process.stdin.flush()

    def answer(self) -> Any:
        """The next line that it says."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + self.patience
        while b"\n" not in self._said:
            if not select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self.process.kill()
                raise AssertionError(f"the {self.role} said nothing for {self.patience} s:\n{self._complaint()}")
            said = os.read(self.process.stdout.fileno(), 1 << 20)
            if not said:
                raise AssertionError(f"the {self.role} failed:\n{self._complaint()}")
            self._said += said
        line, _, self._said = self._said.partition(b"\n")
        return json.loads(line)

    def ready(self) -> Worker:
        assert self.answer() == "ready"
        return self

    def order(self, what: str, *arguments: Any) -> Any:
        """Have a session do something, and return what came of it."""
        found = self.attempt(what, *arguments)
        assert "error" not in found, f"{what}{arguments}: {found}"
        return found["value"]

    def attempt(self, what: str, *arguments: Any) -> dict[str, Any]:
        """The same where it may fail: {"value": …} or {"error": class, "text": message}."""
        self.tell([what, *arguments])
        found: dict[str, Any] = self.answer()
        return found

    def finish(self) -> None:
        """Wait for its end; it must not complain."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(self.patience)
        complaint = self._complaint()
        assert (self.process.returncode, complaint) == (0, ""), complaint

    def stop(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _complaint(self) -> str:
        assert self.process.stderr is not None
        return "" if self.process.stderr.closed else self.process.stderr.read().decode()[-3000:]


@contextlib.contextmanager
def workers() -> Iterator[Callable[..., Worker]]:
    """Starts workers, and stops them all at the end."""
    started: list[Worker] = []

    def start(role: str, **options: Any) -> Worker:
        started.append(Worker(role, **options))
        return started[-1]

    try:
        yield start
    finally:
        for worker in started:
            worker.stop()


@contextlib.contextmanager
def own_redis(*options: str) -> Iterator[RedisServer]:
    """A server that a test may kill."""
    binary = shutil.which("redis-server")
    requires(binary, "redis-server")
    assert binary is not None
    started = RedisServer(binary, *options)
    try:
        yield started.start()
    finally:
        started.stop()


def site_of(url: str, database_url: str, **options: Any) -> dict[str, Any]:
    """What workers are told of their site: its cache server, its database, and how they are to be."""
    return {"site": SITE, "url": url, "database_url": database_url, **options}


def prepare(site: dict[str, Any], names: Iterable[str]) -> None:
    """Make documents of these names, each with the value 0."""
    frappe.init(site["site"], url=site["url"], database_url=site["database_url"])
    frappe.define_doctype("Thing", {"value": "Int", "code": {"fieldtype": "Data", "unique": True}})
    for name in names:
        frappe.get_doc({"doctype": "Thing", "name": name, "code": name, "value": 0}).insert()
    frappe.db.commit()
    connection = current_connection()
    frappe.destroy()
    connection.close()


# --- stress -----------------------------------------------------------------------------------------------------------

Read = tuple[str, float | None, float, float, int, bool]
Commit = tuple[int, float, float]


@dataclass
class Seen:
    """What the readers of one document saw.

    Attributes:
        reads: how many times they read it.
        hits: how many of these came from the cache.
        stale: those that returned an older version than they had to.
        impossible: those that returned what nobody had begun to commit by then.
        last_hit: when the last hit began, on the workers' clock.
        oldest: by how many seconds the worst read was too old.
    """

    reads: int = 0
    hits: int = 0
    stale: list[Read] = field(default_factory=list)
    impossible: list[Read] = field(default_factory=list)
    last_hit: float = 0.0
    oldest: float = 0.0

    @property
    def hit_share(self) -> float:
        return self.hits / max(1, self.reads)

    def __str__(self) -> str:
        return f"{self.reads} reads, {self.hit_share:.1%} hits, {len(self.stale)} stale (oldest {self.oldest:.2f} s)"


def judge(reads: Iterable[Read], commits: list[Commit]) -> Seen:
    """Compare what was read of one document with what was committed by then.

    A read is stale if it returned an older version than one committed more than `GRACE` before it began. On a busy
    machine a process may stand still for longer than that between its transaction's first statement and the cached
    read; what the transaction began with is then right, as it is in the database itself.
    """
    seen = Seen()
    for read in reads:
        _, began, asked, answered, value, hit = read
        must_see = asked - GRACE if began is None else min(asked - GRACE, began)
        newest = max((version for version, _, done in commits if done < must_see), default=0)
        seen.reads += 1
        if hit:
            seen.hits += 1
            seen.last_hit = max(seen.last_hit, asked)
        if value < newest:
            seen.stale.append(read)
            replaced = min(done for version, _, done in commits if version > value)
            seen.oldest = max(seen.oldest, asked - replaced)
        if not any(version == value and begun <= answered for version, begun, _ in [(0, 0.0, 0.0), *commits]):
            seen.impossible.append(read)
    return seen


def stress(
    start: Callable[..., Worker],
    site: dict[str, Any],
    gaps: dict[str, tuple[float, float]],
    seconds: float,
    *,
    in_transaction: float = 0.7,
    naive: bool = False,
    meanwhile: Callable[[float], None] | None = None,
) -> tuple[dict[str, Seen], dict[str, Seen], set[str]]:
    """Two readers of some documents, and a writer of each.

    Args:
        start: starts a worker.
        site: what every worker is told.
        gaps: by document, the shortest and the longest pause of its writer in seconds.
        seconds: how long it lasts.
        in_transaction: the share of reads made in a transaction that has read something else first.
        naive: use the naive algorithm.
        meanwhile: called with the time of the start, to disturb the run.

    Returns:
        By document, what was seen in transactions and outside any; and the isolation levels that the database named.
    """
    common = {**site, "naive": naive, "patience": seconds + 40}
    readers = [
        start("reader", documents=list(gaps), in_transaction=in_transaction, seed=seed, **common) for seed in (1, 2)
    ]
    writers = {
        name: start("writer", document=name, gap=gap, seed=seed, **common)
        for seed, (name, gap) in enumerate(gaps.items(), 3)
    }
    everybody = [*readers, *writers.values()]
    for worker in everybody:
        worker.ready()
    begins = time.monotonic() + START
    for worker in everybody:
        worker.tell({"start": begins, "end": begins + seconds})
    if meanwhile is not None:
        meanwhile(begins)
    heard = [reader.answer() for reader in readers]
    commits: dict[str, list[Commit]] = {name: worker.answer()["commits"] for name, worker in writers.items()}
    for worker in everybody:
        worker.finish()
    reads: list[Read] = [read for each in heard for read in each["reads"]]
    inside, outside = (
        {
            name: judge(
                (read for read in reads if read[0] == name and (read[1] is not None) == is_inside), commits[name]
            )
            for name in gaps
        }
        for is_inside in (True, False)
    )
    return inside, outside, {each["isolation"] for each in heard}


# --- a wire that can be cut -------------------------------------------------------------------------------------------


class Proxy:
    """Passes bytes to a port and back, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self.mend()

    def mend(self) -> None:
        """Let everybody connect again."""
        assert self._thread is None
        listener = socket.create_server(("127.0.0.1", self.port))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._pass, args=(listener, self._stop), daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End every connection, and refuse new ones."""
        if self._thread is not None and self._stop is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def _pass(self, listener: socket.socket, stop: threading.Event) -> None:
        with contextlib.ExitStack() as closing, selectors.DefaultSelector() as selector:
            selector.register(closing.enter_context(listener), selectors.EVENT_READ)
            while not stop.is_set():
                for key, _ in selector.select(0.02):
                    if key.fileobj is listener:
                        self._join(selector, closing, listener)
                    else:
                        self._forward(selector, key)

    def _join(self, selector: selectors.BaseSelector, closing: contextlib.ExitStack, listener: socket.socket) -> None:
        near, _ = listener.accept()
        closing.enter_context(near)
        try:
            far = closing.enter_context(socket.create_connection(self.target, 5))
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(one, selectors.EVENT_READ, other)

    def _forward(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        source: Any = key.fileobj
        try:
            data = source.recv(1 << 16)
            key.data.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (source, key.data):
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(end)
                end.close()
