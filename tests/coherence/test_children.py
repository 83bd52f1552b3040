"""Children of a process that has copies, a listener, leases and busy threads: they share the server with it, no more.

The parent of these children is a process of its own, which a test starts: children of pytest itself would have all that
other tests left in it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import pytest

import frappe_cache_ext as frappe
from frappe_cache_ext import connections, context, invalidations, leases, redis_cache, site_cache
from frappe_cache_ext.connections import current_connection
from frappe_cache_ext.operations import lease_name, loading
from tests.documents.processes import own_redis
from tests.support import RedisServer, until

ROOT = Path(__file__).parents[2]
SITE = "children.test"
CHILDREN = 20
SPAWNED = 4
"""Children that begin with a new interpreter, which takes a second of a processor each."""

FIRING = 3
"""Threads of the parent that use the cache all the time."""

FIXED = 50
"""Keys whose values nobody changes."""

ROUNDS = 100
PATIENCE = 30.0
"""Seconds within which a child has to end: one that waits for what never comes would not end at all."""

HUNG = 10.0
"""The same for children that do little."""

BOUND = 20.0
"""Seconds for which copies are good in the parent under test, and would be in a child that used them."""


# --- the processes under test -----------------------------------------------------------------------------------------


def begin(url: str) -> None:
    """Work for the site, in which nothing is stored, and listen."""
    frappe.init(SITE, url=url)
    frappe.cache.delete_keys("")
    listen()


def listen() -> None:
    frappe.cache.exists("anything")  # nobody listens before something was asked
    until(lambda: frappe.client_cache.healthy, PATIENCE, "listening")


def is_hit(key: str) -> bool:
    """Whether a key's value came from a copy."""
    hits = frappe.client_cache.statistics.hits
    frappe.client_cache.get_value(key)
    return frappe.client_cache.statistics.hits > hits


@redis_cache
def double(number: int) -> int:
    return 2 * number


@site_cache
def triple(number: int) -> int:
    return 3 * number


def use(mine: str, number: int) -> None:
    """Read what never changes and write what is one's own: a reply meant for somebody else would be seen."""
    fixed = number % FIXED
    assert frappe.client_cache.get_value(f"fixed{fixed}") == f"value of {fixed}"
    assert frappe.cache.get_value(f"fixed{fixed}", use_local_cache=False) == f"value of {fixed}"
    frappe.cache.set_value(mine, number)
    assert frappe.cache.get_value(mine, use_local_cache=False) == number
    assert double(fixed) == 2 * fixed


class Fire:
    """Threads that use the cache for as long as a block runs; none of them may meet with anything odd."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.over = threading.Event()
        self.failures: list[str] = []
        self.rounds = [0] * FIRING
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(FIRING)]

    def work(self, number: int) -> None:
        try:
            frappe.init(SITE, url=self.url)
            while not self.over.is_set():
                use(f"own{number}", self.rounds[number])
                self.rounds[number] += 1
        except BaseException:
            self.failures.append(traceback.format_exc())

    def __enter__(self) -> Fire:
        for number in range(FIXED):
            frappe.cache.set_value(f"fixed{number}", f"value of {number}")
        frappe.cache.set_value("changing", "before")
        for thread in self.threads:
            thread.start()
        until(lambda: all(done > 5 for done in self.rounds), PATIENCE, "threads at work")
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert self.failures == []


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """The same thread has to listen over the same connection at the end of the block, and copies have to be right."""
    listener = current_connection().listener
    before = listener._thread, listener.number
    assert None not in before
    yield
    assert (listener._thread, listener.number) == before
    assert frappe.client_cache.healthy
    frappe.client_cache.set_value("changing", "after")
    until(lambda: is_hit("changing"), PATIENCE, "a copy")
    assert frappe.client_cache.get_value("changing") == "after"


def child(number: int, url: str, pipe: Pipe, inherits: bool) -> None:
    """What a child does: it answers the parent's questions, and uses the cache as the parent does."""
    if not inherits:
        frappe.init(SITE, url=url)
    with frappe.request():
        wanted = pipe.recv()  # written after the fork
        pipe.send(frappe.client_cache.get_value("changing") == wanted)
    for turn in range(ROUNDS):
        use(f"child{number}", turn)
    listen()
    until(lambda: is_hit("changing"), PATIENCE, "a copy")
    pipe.send("copied")
    wanted = pipe.recv()  # written when this process had a copy of its own
    until(lambda: frappe.client_cache.get_value("changing") == wanted, PATIENCE, "the change")
    until(lambda: is_hit("changing"), PATIENCE, "a copy again")
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda thread: in_thread(url, f"child{number}-{thread}"), range(2)))
    frappe.destroy()
    # What it had of its parent's must not be in its way at the end either.
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("frappe-cache-copies")]


def in_thread(url: str, mine: str) -> None:
    frappe.init(SITE, url=url)
    for turn in range(10):
        use(mine, turn)


Process = Any
Start = Callable[..., Process]


class Forked:
    """A child made by `os.fork`, with the little of `multiprocessing.Process` that is needed here."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.target, self.args = target, args
        self.exitcode: int | None = None

    def start(self) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.target(*self.args)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)

    def join(self, seconds: float) -> None:
        with contextlib.suppress(AssertionError):
            until(self._has_ended, seconds)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def _has_ended(self) -> bool:
        if self.exitcode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.exitcode = os.waitstatus_to_exitcode(status) if pid else None
        return self.exitcode is not None


def starter(method: str) -> Start:
    return Forked if method == "os.fork" else multiprocessing.get_context(method).Process


def ends_of(processes: list[Process], seconds: float) -> list[Any]:
    """The exit codes of processes, None for those that had to be killed."""
    deadline = time.monotonic() + seconds
    found = []
    for process in processes:
        process.join(max(0.1, deadline - time.monotonic()))
        found.append(process.exitcode)
        if process.exitcode is None:
            process.kill()
            process.join(5)
    return found


def children(url: str, method: str) -> Any:
    """Have children while threads use the cache, and change what they are about to read."""
    begin(url)
    inherits = method != "spawn"
    processes, pipes = [], []
    with Fire(url) as fire, undisturbed():
        for number in range(CHILDREN if inherits else SPAWNED):
            frappe.cache.set_value("changing", f"old {number}")
            until(lambda: is_hit("changing"), PATIENCE, "a copy")
            mine, its = multiprocessing.Pipe()
            process = starter(method)(target=child, args=(number, url, its, inherits))
            process.start()
            frappe.cache.set_value("changing", f"new {number}")
            mine.send(f"new {number}")
            assert heard(mine) is True, f"child {number} read what was replaced before it asked"
            its.close()
            processes.append(process)
            pipes.append(mine)
        assert [heard(pipe) for pipe in pipes] == ["copied"] * len(pipes)
        frappe.cache.set_value("changing", "newest")
        for pipe in pipes:
            pipe.send("newest")
        ends = ends_of(processes, PATIENCE)
        rounds = list(fire.rounds)
        until(lambda: all(now > then for now, then in zip(fire.rounds, rounds, strict=True)), what="threads at work")
    frappe.destroy()
    return ends


def heard(pipe: Pipe) -> Any:
    assert pipe.poll(PATIENCE), "a child hangs"
    return pipe.recv()


# --- executors


def task(arguments: tuple[str, str, int]) -> tuple[int, bool]:
    """What a process of a pool does with one piece of work: its number, and whether it used a copy of its own."""
    url, wanted, number = arguments
    frappe.init(SITE, url=url)
    listen()
    until(lambda: frappe.client_cache.get_value("changing") == wanted, PATIENCE, "the change")
    until(lambda: is_hit("changing"), PATIENCE, "a copy")
    for turn in range(ROUNDS // 10):
        use(f"task{number}", turn)
    return os.getpid(), frappe.client_cache.get_value("changing") == wanted


def pools(url: str, method: str) -> Any:
    """Let an executor's processes, or threads, read and write what changes between one piece of work and another."""
    begin(url)
    context_of = multiprocessing.get_context
    with Fire(url), undisturbed():
        pool = ThreadPoolExecutor(4) if method == "threads" else ProcessPoolExecutor(4, context_of(method))
        with pool:
            processes = set()
            for turn in range(5):
                frappe.cache.set_value("changing", turn)
                done = list(pool.map(task, [(url, turn, number) for number in range(8)]))
                assert [right for _, right in done] == [True] * 8
                processes |= {process for process, _ in done}
    frappe.destroy()
    return (os.getpid() in processes) == (method == "threads")


# --- leases


class Computing:
    """A thread that computes an entry, and has the lease on it, until the block ends."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.end = threading.Event()
        self.found: list[Any] = []
        self.begun = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self) -> None:
        frappe.init(SITE, url=self.url)
        self.found.append(frappe.cache.get_value("entry", self.compute))

    def compute(self) -> str:
        self.begun.set()
        self.end.wait()
        return "parent's"

    def __enter__(self) -> Computing:
        self.thread.start()
        assert self.begun.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join()


def lease() -> Any:
    """What stands in the lease on the entry."""
    return frappe.cache.redis.get(lease_name(frappe.cache.make_key("entry")))


def short_leases(seconds: float) -> None:
    """Leases that run out after so long unless they are renewed, which is done much more often."""
    loading.LEASE = leases.LEASE = seconds  # type: ignore[misc,attr-defined]
    leases.BEAT = seconds / 10  # type: ignore[misc]


def waiting_for_a_lease(url: str) -> Any:
    """Children made while a thread computes: some go at once, one by one, others wait for the result."""
    short_leases(1.0)
    begin(url)
    with Computing(url) as computing:
        token = lease()
        assert token

        def leave() -> None:
            frappe.destroy()

        def work() -> None:
            assert frappe.cache.get_value("another", lambda: (time.sleep(0.3), os.getpid())[1]) is not None

        def wait() -> None:
            with frappe.request():
                assert frappe.cache.get_value("entry", lambda: "child's") == "parent's"

        passing = [Forked(target, ()) for target in (leave, work)]
        for process in passing:
            process.start()
        assert ends_of(passing, HUNG) == [0] * len(passing)
        waiting = [Forked(wait, ()) for _ in range(5)]
        for process in waiting:
            process.start()
        time.sleep(1.5)  # longer than the lease is good for: it is the parent who renews it
        assert lease() == token
        computing.end.set()
        assert ends_of(waiting, PATIENCE) == [0] * len(waiting)
    return computing.found


def orphan(url: str) -> Any:
    """Leave a child that computes something of its own, and end as a crash would, with a thread that has a lease."""
    short_leases(0.5)
    begin(url)
    with Computing(url):

        def compute() -> None:
            frappe.cache.get_value("another", lambda: time.sleep(PATIENCE))

        child = Forked(compute, ())
        child.start()
        until(lambda: frappe.cache.redis.get(lease_name(frappe.cache.make_key("another"))), what="the child's lease")
        print(json.dumps([child.pid, frappe.cache.make_key("entry").decode()]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


# --- locks


def use_everything() -> None:
    """Go where there are locks."""
    frappe.cache.set_value("color", "green")
    assert frappe.cache.get_value("absent", lambda: 1, use_local_cache=False) == 1
    listen()
    assert double(1) == 2
    assert triple(1) == 3
    default = threading.Thread(target=lambda: frappe.local.site)  # which chose none: it works for the default one
    default.start()
    default.join()
    frappe.sample_site()
    assert frappe.get_cached_doc("Item", "ITEM-0001").name == "ITEM-0001"
    settings = current_connection().settings
    frappe.init("another.test", url=f"{settings.url}?client_name=another", home=settings.home)  # a server not known yet
    with contextlib.suppress(frappe.DoesNotExistError):
        frappe.get_cached_doc("Nothing", "nobody")
    frappe.destroy()


def locks() -> dict[str, Any]:
    """What one thread may hold while another one forks."""
    from frappe_cache_ext.documents import changes, engine, tables

    connection = current_connection()
    shelves = next(
        cell.cell_contents.__self__
        for cell in triple.__closure__ or ()  # type: ignore[attr-defined]
        if hasattr(getattr(cell.cell_contents, "__self__", None), "by_site")
    )
    return {
        "connection": connection._lock,
        "copies": connection.copies._lock,
        "listener": connection.listener._lock,
        "leases": leases.heartbeat._wake,
        "engines": engine._lock,
        "tables": tables._lock,
        "connections": connections._connections_lock,
        "default site": context._defaults.lock,
        "site_cache": shelves.lock,
        "change logs": changes._lock,
    }


LOCKS = (
    *("connection", "copies", "listener", "leases", "engines", "tables"),
    *("connections", "default site", "site_cache", "change logs"),
)
"""The locks that a child finds open, whoever held them."""


def holding_locks(url: str, home: str) -> Any:
    """Have a child while another thread holds a lock, for each lock; which of the children hang."""
    frappe.init(SITE, url=url, home=home)
    frappe.cache.exists("anything")
    listen()
    frappe.sample_site()
    frappe.init(SITE, url=url, home=home)
    processes = {}
    found = locks()
    assert set(found) == set(LOCKS)
    for name, lock in found.items():
        held, over = threading.Event(), threading.Event()

        def hold(lock: Any = lock, held: threading.Event = held, over: threading.Event = over) -> None:
            with lock:
                held.set()
                over.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        processes[name] = Forked(use_everything, ())
        try:
            processes[name].start()
        finally:
            over.set()
            thread.join()
    return dict(zip(processes, ends_of([*processes.values()], HUNG), strict=True))


# --- the tests --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def parent(role: Callable[..., Any], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that plays a role; at the end of the block all its children end, too."""
    code = f"import sys; from tests.coherence import test_children as t; t.play(t.{role.__name__}, *sys.argv[1:])"
    # From Python 3.12 on a fork beside threads is warned of: that is what is tried here.
    options = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    process = subprocess.Popen(
        [sys.executable, *options, "-c", code, *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("FRAPPE_CACHE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def play(role: Callable[..., Any], *arguments: str) -> None:
    """Be such a process."""
    # What copies of the parent's would still be good for in a child; and a busy machine must not end them in between.
    invalidations.BOUND = BOUND  # type: ignore[misc]
    try:
        print(json.dumps(role(*arguments)), flush=True)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os.killpg(os.getpid(), signal.SIGKILL)  # children that hang would keep the test waiting


def outcome(role: Callable[..., Any], *arguments: str) -> Any:
    """What a role came to; nobody may have complained of anything."""
    with parent(role, *arguments) as process:
        said, complaint = process.communicate(timeout=110)
        assert (process.returncode, complaint) == (0, "")
        return json.loads(said)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with own_redis() as started:
        yield started


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["os.fork", "fork"])
def test_twenty_children_of_a_busy_parent(server: RedisServer, method: str) -> None:
    assert outcome(children, server.url, method) == [0] * CHILDREN


@pytest.mark.slow
def test_children_that_begin_with_a_new_interpreter(server: RedisServer) -> None:
    assert outcome(children, server.url, "spawn") == [0] * SPAWNED


@pytest.mark.slow
@pytest.mark.parametrize("method", ["threads", "fork", "spawn"])
def test_an_executor_of_a_busy_parent(server: RedisServer, method: str) -> None:
    assert outcome(pools, server.url, method) is True


@pytest.mark.slow
def test_a_lease_of_the_parent_is_not_the_childs(server: RedisServer) -> None:
    assert outcome(waiting_for_a_lease, server.url) == ["parent's"]


@pytest.mark.slow
def test_a_child_does_not_renew_what_its_dead_parent_held(server: RedisServer) -> None:
    with parent(orphan, server.url) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said, process.communicate()[1]
        child, name = json.loads(said)
        process.wait(PATIENCE)
        entry, another = (lease_name(key.encode()).decode() for key in (name, name.removesuffix("entry") + "another"))
        until(lambda: server.command("EXISTS", f'"{entry}"') == ":0\r\n", what="the end of the lease")
        # Else it was nobody who renewed nothing.
        os.kill(child, 0)
        assert server.command("EXISTS", f'"{another}"') == ":1\r\n"


@pytest.fixture(scope="module")
def ends(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int | None]:
    """How the children ended that were made while a lock was held, by the lock."""
    found: dict[str, int | None] = outcome(holding_locks, server.url, str(tmp_path_factory.mktemp("home")))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_that_another_thread_held_is_open_in_the_child(ends: dict[str, int | None], lock: str) -> None:
    assert ends[lock] == 0
