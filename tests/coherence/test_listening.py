"""What could keep a copy that is no copy any more, or end copies for good: one test for each way."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

import frappe_cache_ext as frappe
from frappe_cache_ext import connections, invalidations, redis_cache
from frappe_cache_ext.connections import Connection, current_connection
from frappe_cache_ext.copies import Copies, Copy, Fetch, Slot
from frappe_cache_ext.errors import CacheUnavailableWarning
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.settings import Settings
from tests.documents.processes import own_redis
from tests.support import RedisServer, requires, run_python, stranger_to, until


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with own_redis() as started:
        yield started
        connections.current_connection().close()


@pytest.fixture
def reader(server: RedisServer, site: str) -> Connection:
    """A connection that hears of changes."""
    frappe.init(site, url=server.url)
    frappe.cache.exists("anything")
    until(lambda: frappe.client_cache.healthy, what="listening")
    return current_connection()


@pytest.fixture
def stranger(reader: Connection) -> Iterator[RedisWrapper]:
    """Somebody else on the same server."""
    with stranger_to(reader) as other:
        yield other


def warm(key: str, value: Any) -> None:
    """Let this process have a copy."""
    frappe.client_cache.set_value(key, value)
    until(lambda: frappe.client_cache.get_value(key) == value and _is_copied(key), what=f"a copy of {key}")


def _is_copied(key: str) -> bool:
    return current_connection().copies.find(frappe.cache.make_key(key)) is not None


# --- a change at the worst moment -------------------------------------------------------------------------------------


class _Slow(Copies):
    """Copies whose only entry is just being replaced when a change comes to be known."""

    def _add(self, entry: Copy | Fetch) -> None:
        if isinstance(entry, Copy):
            self.other = threading.Thread(target=self.drop, args=([entry.name],))
            self.other.start()
            self.other.join(0.1)
        super()._add(entry)


def test_a_change_that_comes_while_what_it_makes_old_is_being_kept() -> None:
    copies = _Slow()
    copies.good_until = time.monotonic() + 60
    fetch = copies.expect(b"only")
    assert fetch is not None
    copies.keep(fetch, "old", b"", time.monotonic() + 60)
    copies.other.join()
    assert copies.find(b"only") is None


def test_a_copy_that_many_slots_once_led_to_remembers_few_of_them() -> None:
    copies = Copies()
    copies.good_until = time.monotonic() + 60
    fetch = copies.expect(b"a")
    assert fetch is not None
    copy = copies.keep(fetch, "value", b"", time.monotonic() + 60)
    assert copy is not None
    slots = [Slot() for _ in range(1000)]
    for slot in slots:
        copy.link(slot)
        assert slot.copy is copy
    assert len(copy.slots) < 100
    copies.drop([b"a"])
    assert {slot.copy for slot in slots} == {None}


# --- what a listener may meet -----------------------------------------------------------------------------------------


def test_a_long_script_on_the_server_ends_copies_for_as_long_as_it_runs_only(
    server: RedisServer, reader: Connection
) -> None:
    warm("color", "green")
    server.command("CONFIG", "SET", "busy-reply-threshold", "50")
    with socket.create_connection(("127.0.0.1", server.port)) as busy:
        busy.sendall(b'EVAL "while true do end" 0\r\n')
        time.sleep(2.5)
        with frappe.request():  # reads what has come: the server's answer to a sign of life is an error now
            pass
        assert not frappe.client_cache.healthy
        server.command("SCRIPT", "KILL")
    until(lambda: frappe.client_cache.healthy, what="listening again")
    assert reader.listener.refused is None
    warm("color", "red")


@pytest.mark.parametrize(
    ("forbidden", "named"), [("-ping", "PING"), ("-client|tracking", "CLIENT TRACKING"), ("-client", "CLIENT ID")]
)
def test_a_user_who_may_not_listen(server: RedisServer, site: str, forbidden: str, named: str) -> None:
    if "|" in forbidden and "redis_version:6" in server.command("INFO", "server"):
        pytest.skip("before Redis 7 no part of a command can be forbidden")
    server.command("ACL", "SETUSER", "mute", "on", ">secret", "~*", "&*", "+@all", forbidden)
    frappe.init(site, url=f"redis://mute:secret@127.0.0.1:{server.port}/0")
    frappe.cache.set_value("color", "green")
    until(lambda: not frappe.client_cache.healthy and current_connection().listener.refused, what="the reason")
    assert named in repr(frappe.client_cache)
    assert frappe.client_cache.get_value("color") == "green"


def test_where_replies_are_to_be_text(server: RedisServer, site: str) -> None:
    frappe.init(site, url=f"{server.url}?decode_responses=true")
    frappe.cache.exists("anything")
    until(lambda: frappe.client_cache.healthy, what="listening")
    with stranger_to(current_connection()) as stranger:
        for number in range(20):
            warm("color", number)
            stranger.set_value("color", -number)
            until(lambda number=number: frappe.client_cache.get_value("color") == -number, 5, "the change")
        sessions = current_connection().listener._session
        time.sleep(2.5 * invalidations.BOUND)
        assert current_connection().listener._session is sessions


def test_the_end_of_an_earlier_connection_leaves_the_present_one(reader: Connection) -> None:
    listener = reader.listener
    session = listener._session
    assert session is not None
    earlier = invalidations._Session(reader.client.connection_pool.get_connection(), session.prefixes)
    listener._end(earlier)
    assert listener._session is session
    assert frappe.client_cache.healthy


def test_a_thread_that_was_told_to_end_does_not_listen_after_all(
    server: RedisServer, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frappe.init(site, url=server.url)
    frappe.cache.exists("anything")
    connection = current_connection()
    listener, connect = connection.listener, connection.listener._connect
    goes_on, connecting = threading.Event(), threading.Event()

    def slowly() -> Any:
        connecting.set()
        goes_on.wait(5)
        return connect()

    listener._connect = slowly
    frappe.client_cache.get_value("color")  # does not wait for it to the end
    assert connecting.wait(5)
    stopping = threading.Thread(target=listener.stop)
    stopping.start()
    until(lambda: listener._thread is None, what="the order to end")
    listened: list[Any] = []
    end = listener._end
    monkeypatch.setattr(listener, "_end", lambda session: (listened.append(session), end(session)))
    goes_on.set()
    stopping.join(5)
    assert not connection.copies.good
    assert (listener._session, listened) == (None, [])


class _Proxy:
    """Passes bytes on between clients and a server; what goes to a listener it can lose, and say nothing."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.loses = False
        self.listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed in the end
            while True:
                client, _ = self.listening.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                listens = threading.Event()
                for pair in ((client, server, listens, None), (server, client, None, listens)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: Any, sink: Any, notes: threading.Event | None, told: threading.Event | None) -> None:
        with suppress(OSError), source, sink:
            while data := source.recv(65536):
                if notes is not None and b"SUBSCRIBE" in data:
                    notes.set()
                if told is None or not told.is_set() or not self.loses:
                    sink.sendall(data)


def test_a_connection_that_is_dead_and_does_not_look_it(server: RedisServer, site: str) -> None:
    proxy = _Proxy(server.port)
    frappe.init(site, url=f"redis://127.0.0.1:{proxy.listening.getsockname()[1]}/0")
    frappe.cache.exists("anything")
    until(lambda: frappe.client_cache.healthy, what="listening")
    warm("color", "green")
    time.sleep(0.5)  # the word of what this process has written itself comes, too
    until(lambda: frappe.client_cache.get_value("color") and _is_copied("color"), what="a copy")
    direct = Connection(Settings.load(site=site, url=server.url))
    try:
        proxy.loses = True
        RedisWrapper(direct).set_value("color", "red")
        changed = time.monotonic()
        assert frappe.client_cache.get_value("color") == "green"  # nobody could know
        until(lambda: frappe.client_cache.get_value("color") == "red", 5 * invalidations.BOUND, "the change")
        assert time.monotonic() - changed < 2 * invalidations.BOUND
        assert not frappe.client_cache.healthy
        proxy.loses = False
        until(lambda: frappe.client_cache.healthy, what="listening again")
        warm("color", "blue")
    finally:
        direct.close()
        current_connection().close()
        proxy.listening.close()


_MANY_FILES = """
import resource, sys, threading
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
files = [open("/dev/null") for _ in range(1100)]
failed = []
threading.excepthook = lambda args: failed.append(args.exc_value)
import frappe_cache_ext as frappe
import time
frappe.init("many.test", url=sys.argv[1])
frappe.client_cache.set_value("a", 1)
frappe.client_cache.get_value("a")
time.sleep(1.5)
print(frappe.client_cache.healthy, failed)
frappe.destroy()
for file in files:
    file.close()
"""


def test_a_process_with_more_than_1024_files_open(server: RedisServer) -> None:
    requires(resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 2048, "leave to open 2048 files")
    assert run_python(_MANY_FILES, server.url).split() == ["True", "[]"]


# --- what a request remembers -----------------------------------------------------------------------------------------

VERSIONS: list[int] = []


@redis_cache
def version(_x: int) -> int:
    return VERSIONS[-1]


def test_losing_the_listener_does_not_bring_back_what_a_request_read_long_ago(
    reader: Connection, stranger: RedisWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    with frappe.request():
        VERSIONS.append(1)
        monkeypatch.setattr(reader.listener, "hears_of", lambda *_: False)
        assert version(7) == 1
        monkeypatch.undo()
        until(lambda: frappe.client_cache.healthy, what="listening")
        VERSIONS.append(2)
        stranger.delete_keys("")
        until(lambda: version(7) == 2, what="the change")
        assert [version(7) for _ in range(3)] == [2, 2, 2]
        monkeypatch.setattr(reader.listener, "hears_of", lambda *_: False)
        reader.listener.stop()
        assert version(7) == 2


# --- what is left of an outage ----------------------------------------------------------------------------------------


def test_after_an_outage_a_connection_can_be_closed(server: RedisServer, site: str) -> None:
    frappe.init(site, url=server.url)
    frappe.cache.set_value("color", "green")
    connection = current_connection()
    server.kill()
    with pytest.warns(CacheUnavailableWarning):
        frappe.cache.get_value("color", use_local_cache=False)
    assert connection._pinned is not None
    assert not connection._pinned.busy
    frappe.destroy()
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("frappe-cache")], what="no thread")


_FORK = """
import os, select, threading
import frappe_cache_ext as frappe
frappe.init("fork.test", url="memory://")
frappe.cache.set_value("a", 1)
busy = threading.Event()
def work():
    frappe.init("fork.test", url="memory://")
    while not busy.is_set():
        frappe.cache.set_value("a", 1)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
hung = 0
for _ in range(5):
    mine, its = os.pipe()
    child = os.fork()
    if child == 0:
        frappe.cache.get_value("a", use_local_cache=False)
        os.write(its, b"1")
        os._exit(0)
    if not select.select([mine], [], [], 20)[0]:
        hung += 1
        os.kill(child, 9)
    os.waitpid(child, 0)
busy.set()
for thread in threads:
    thread.join()
print(hung)
"""


def test_a_child_of_a_process_whose_threads_use_a_server_inside_it() -> None:
    assert run_python(_FORK) == "0\n"


_FORK_IN_A_POOL = """
import os, select, sys, threading
import frappe_cache_ext as frappe
frappe.init("fork.test", url=sys.argv[1])
frappe.cache.set_value("a", 1)
pool = frappe.cache.redis.connection_pool
inside, done = threading.Event(), threading.Event()
def take():
    with pool._lock:
        inside.set()
        done.wait()
thread = threading.Thread(target=take)
thread.start()
inside.wait()
def child(deeper):
    mine, its = os.pipe()
    pid = os.fork()
    if pid == 0:
        heard = b"%d" % frappe.cache.get_value("a", use_local_cache=False)
        os.write(its, heard + child(deeper - 1) if deeper else heard)
        os._exit(0)
    heard = os.read(mine, 9) if select.select([mine], [], [], 20)[0] else b"hung"
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return heard
print(child(2).decode())
done.set()
thread.join()
"""


@pytest.mark.parametrize("inside_it", [True, False])
def test_a_child_of_a_process_one_thread_of_which_was_taking_a_connection(
    inside_it: bool, request: pytest.FixtureRequest
) -> None:
    url = "memory://" if inside_it else request.getfixturevalue("server").url
    assert run_python(_FORK_IN_A_POOL, url) == "111\n"


def test_it_ends_at_once(server: RedisServer, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidations, "BEAT", 60.0)
    frappe.init(site, url=server.url)
    warm("color", "red")
    started = time.monotonic()
    frappe.destroy()
    assert time.monotonic() - started < 10
