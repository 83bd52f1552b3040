"""Copies across a real failover: a master, its replica, and a Sentinel that puts the one in the other's place."""

from __future__ import annotations

import contextlib
import pickle
import re
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import frappe_cache_ext as frappe
from frappe_cache_ext import context
from frappe_cache_ext.connections import current_connection
from frappe_cache_ext.errors import CacheUnavailableWarning
from frappe_cache_ext.invalidations import BOUND
from tests.coherence.histories import Event, too_old
from tests.documents.processes import own_redis
from tests.support import RedisServer, requires, until

SERVICE = "mymaster"
KEYS = [f"k{number}" for number in range(5)]
ENOUGH = 50
"""Writes before and after a failover without which its test would tell nothing."""

SLACK = 1.0
"""Seconds that a busy machine may add to `BOUND`."""

FAILOVER = 60.0
"""Seconds that Sentinel may take. Alone it promotes a replica within 3 s, and tells the old master 10 s after that."""

pytestmark = pytest.mark.slow


class Sentinel(RedisServer):
    """One Sentinel, whose word alone is enough.

    Args:
        binary: `redis-server`.
        master: the port of the master that it watches.
    """

    def __init__(self, binary: str, master: int) -> None:
        super().__init__(binary)
        self.watched = master

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.port}/{SERVICE}"

    def start(self) -> Sentinel:
        settings = self.folder / "sentinel.conf"
        settings.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.watched} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 3000\n",
            encoding="utf-8",
        )
        self.process = subprocess.Popen([self.binary, str(settings), "--sentinel"], stdout=subprocess.DEVNULL)
        try:
            until(self.answers, what="Sentinel")
        except AssertionError:
            self.stop()
            raise
        return self

    def sends_to(self) -> int | None:
        """The port of the server that clients are sent to; None while there is none."""
        with client_of(self) as client:
            state = client.sentinel_masters()[SERVICE]
        return None if state["is_sdown"] or state["is_odown"] else state["port"]

    def knows_a_replica(self) -> bool:
        with client_of(self) as client:
            return bool(client.sentinel_slaves(SERVICE))


class Set:
    """The three servers.

    Attributes:
        old: the master in the beginning.
        new: its replica, which takes over.
        sentinel: who sees to that.
    """

    def __init__(self, old: RedisServer, new: RedisServer, sentinel: Sentinel) -> None:
        self.old, self.new, self.sentinel = old, new, sentinel

    def is_promoted(self) -> bool:
        """Whether clients that connect now are sent to the new master."""
        return self.sentinel.sends_to() == self.new.port

    def old_is_told(self) -> bool:
        """Whether the old master is a replica by now."""
        with contextlib.suppress(OSError):  # as it is told, every connection to it is closed
            return "role:slave" in self.old.command("INFO", "replication")
        return False

    def plan_a_failover(self) -> None:
        """Have the replica take over from a master that is well."""

        def ordered() -> bool:  # refused until Sentinel has looked at the replica, which it does now and then
            return self.sentinel.command("SENTINEL", "FAILOVER", SERVICE).startswith("+OK")

        until(ordered, FAILOVER, "Sentinel's consent")
        until(self.is_promoted, FAILOVER, "the failover")


@pytest.fixture
def servers(site: str) -> Iterator[Set]:
    """The three servers, and a site whose cache is there."""
    binary = shutil.which("redis-server")
    requires(binary, "redis-server")
    assert binary is not None
    at_once = ("--repl-diskless-sync-delay", "0")
    with contextlib.ExitStack() as stopping:
        old = stopping.enter_context(own_redis(*at_once))
        new = stopping.enter_context(own_redis(*at_once, "--replicaof", "127.0.0.1", str(old.port)))
        until(lambda: "master_link_status:up" in new.command("INFO", "replication"), FAILOVER, "a replica")
        until(lambda: is_passed_on(old), FAILOVER, "the master's first word to it")
        sentinel = Sentinel(binary, old.port)
        stopping.callback(sentinel.stop)
        sentinel.start()
        until(sentinel.knows_a_replica, FAILOVER, "Sentinel's finding the replica")
        frappe.init(site, url=sentinel.url)
        stopping.callback(current_connection().close)
        yield Set(old, new, sentinel)


def client_of(server: RedisServer) -> redis.Redis:
    """Somebody else on one of the servers, who knows nothing of Sentinel and does not wait for a dead one."""
    return redis.Redis(port=server.port, socket_timeout=2, retry=Retry(NoBackoff(), 0))


def is_passed_on(server: RedisServer) -> bool:
    """Whether a replica has what was just written."""
    with client_of(server) as client:
        client.set("written", "now")
        return client.wait(1, 1000) == 1


def change(server: RedisServer, key: str, value: Any) -> None:
    """Change a value on one of the servers directly."""
    with client_of(server) as client:
        client.set(frappe.cache.make_key(key), pickle.dumps(value))


def is_copied(key: str) -> bool:
    return current_connection().copies.find(frappe.cache.make_key(key)) is not None


def listens_to(server: RedisServer) -> bool:
    session = current_connection().listener._session
    return frappe.client_cache.healthy and session is not None and session.address == ("127.0.0.1", server.port)


def warm(key: str, value: Any) -> None:
    """Write a value, and let this process have a copy of it."""
    frappe.client_cache.set_value(key, value)
    until(lambda: frappe.client_cache.get_value(key) == value and is_copied(key), FAILOVER, f"a copy of {key}")


def sees(key: str, value: Any) -> bool:
    """Whether the reader gets a value that was just written, within the time that a copy may lag behind."""
    with contextlib.suppress(AssertionError):
        return bool(until(lambda: frappe.client_cache.get_value(key) == value, BOUND + SLACK))
    return False


def its_changes_are_seen(server: RedisServer) -> None:
    """What somebody else changes on a server is read here soon, and what is read twice is a copy of it."""
    for number in range(3):
        change(server, "color", number)
        assert sees("color", number), f"change {number} on the new master was not seen"
        until(lambda: frappe.client_cache.get_value("color") is not None and is_copied("color"), what="a copy")


# --- while all is well ------------------------------------------------------------------------------------------------


def test_values_are_written_to_the_master_and_kept_as_copies(servers: Set) -> None:
    frappe.client_cache.set_value("color", "green")
    until(lambda: listens_to(servers.old), what="listening")
    warm("color", "red")
    name = frappe.cache.make_key("color")
    with client_of(servers.old) as master, client_of(servers.new) as replica:
        assert b"red" in master.get(name)  # type: ignore[operator]  (not None, and not awaited)
        until(lambda: b"red" in (replica.get(name) or b""), what="the replica's having it")  # type: ignore[operator]
    frappe.client_cache.reset_statistics()
    asked = gets(servers.old)
    assert [frappe.client_cache.get_value("color") for _ in range(100)] == ["red"] * 100
    assert gets(servers.old) == asked
    statistics = frappe.client_cache.statistics
    assert (statistics.hits, statistics.misses, statistics.healthy) == (100, 0, True)
    its_changes_are_seen(servers.old)


def gets(server: RedisServer) -> int:
    """How many values a server was asked for."""
    found = re.search(r"cmdstat_get:calls=(\d+)", server.command("INFO", "commandstats"))
    return int(found[1]) if found else 0


def test_threads_that_connect_leave_copies_and_the_listener_alone(servers: Set) -> None:
    warm("color", "green")
    until(lambda: listens_to(servers.old), what="listening")
    connection = current_connection()
    session, dropped = connection.listener._session, connection.copies.dropped
    servers.sentinel.command("CLIENT", "KILL", "TYPE", "normal")  # so that it is asked over a new connection
    connect_in_threads(8)
    assert connection.copies.dropped == dropped
    assert connection.listener._session is session


# --- the master dies --------------------------------------------------------------------------------------------------


class Writer:
    """Somebody who writes all the time, to whatever server Sentinel names.

    A master that dies takes with it what it has not passed on. So what was written to the old one is certain only once
    the replica has it, too.
    """

    def __init__(self, servers: Set) -> None:
        self.servers = servers
        self.events: list[Event] = []
        self.names = {key: frappe.cache.make_key(key) for key in KEYS}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def certain(self) -> list[Event]:
        """The writes that no failover can undo."""
        return [event for event in self.events if event.end < float("inf")]

    def _work(self) -> None:
        number = 0
        with client_of(self.servers.old) as old, client_of(self.servers.new) as new:
            while not self._done.wait(0.01):
                number += 1
                port = self.servers.sentinel.sends_to()
                if port is not None:
                    self._write(old if port == self.servers.old.port else new, new, KEYS[number % len(KEYS)], number)

    def _write(self, client: redis.Redis, new: redis.Redis, key: str, number: int) -> None:
        start, certain = time.monotonic(), False
        with contextlib.suppress(redis.exceptions.RedisError):
            client.set(self.names[key], pickle.dumps(number))
            certain = client is new or client.wait(1, 500) == 1
        self.events.append(Event("write", key, number, start, time.monotonic() if certain else float("inf")))


class Reader:
    """Reads all the time; what it does not find tells nothing, for a cache that cannot be reached has nothing."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def read_until(self, condition: Callable[[], Any], what: str) -> None:
        """Read until something has come about."""
        deadline = time.monotonic() + FAILOVER
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come about"
            self.read_for(0.1)

    def read_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for key in KEYS:
                start = time.monotonic()
                value = frappe.client_cache.get_value(key)
                if value is not None:
                    self.events.append(Event("read", key, value, start, time.monotonic()))
            time.sleep(0.001)


def test_a_master_that_is_killed(servers: Set) -> None:
    warm("color", "green")
    warm("owed", "old")
    until(lambda: listens_to(servers.old), what="listening")
    until(lambda: is_passed_on(servers.old), what="the replica's having these, too")
    servers.old.kill()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(100):
            assert frappe.client_cache.get_value("color") is None
            frappe.client_cache.set_value("owed", "new")
        assert [warning.category for warning in caught] == [CacheUnavailableWarning]
        assert not frappe.client_cache.healthy
        until(servers.is_promoted, FAILOVER, "the failover")
        until(lambda: frappe.client_cache.get_value("color") == "green", FAILOVER, "the cache's being used again")
        until(lambda: listens_to(servers.new), FAILOVER, "listening to the new master")
        # A new master is taken for dead for a moment, in which who connects is sent nowhere: that is an outage, too.
        assert {warning.category for warning in caught} == {CacheUnavailableWarning}
    assert frappe.client_cache.get_value("owed") is None, "what was replaced during the outage came back"
    its_changes_are_seen(servers.new)
    frappe.client_cache.reset_statistics()
    asked = gets(servers.new)
    assert [frappe.client_cache.get_value("color") for _ in range(100)] == [2] * 100
    assert gets(servers.new) == asked
    assert frappe.client_cache.statistics.hits == 100


def kill(server: RedisServer) -> None:
    server.kill()


def freeze(server: RedisServer) -> None:
    server.freeze()


@pytest.mark.filterwarnings("ignore::frappe_cache_ext.errors.CacheUnavailableWarning")
@pytest.mark.parametrize("happens", [kill, freeze])
def test_nothing_is_read_that_was_replaced_long_ago(servers: Set, happens: Callable[[RedisServer], None]) -> None:
    frappe.cache.exists("anything")
    until(lambda: listens_to(servers.old), what="listening")
    reader = Reader()
    with Writer(servers) as writer:
        reader.read_until(lambda: len(writer.certain()) > ENOUGH, "enough writes")
        before = frappe.client_cache.statistics.hits
        happens(servers.old)
        reader.read_until(servers.is_promoted, "the failover")
        promoted = time.monotonic()
        reader.read_until(lambda: listens_to(servers.new), "listening to the new master")
        servers.old.thaw()  # if it was frozen, it comes back as a master of whom nobody should hear any more
        hits = frappe.client_cache.statistics.hits
        there = time.monotonic() + 3
        reader.read_until(lambda: writer.certain()[-1].start > there, "writes to the new master")
        after = frappe.client_cache.statistics.hits - hits
    assert too_old([*writer.events, *reader.events], grace=BOUND + SLACK) == []
    assert before, "nothing came from copies of the old master"
    assert after, "nothing came from copies of the new master"
    assert sum(event.start > promoted for event in writer.certain()) > ENOUGH, "too little was written to tell"
    assert any(event.start > promoted + 1 for event in reader.events), "nothing was read in the end"


# --- the master is replaced while it is well --------------------------------------------------------------------------


def test_a_planned_failover(servers: Set) -> None:
    warm("color", "green")
    until(lambda: listens_to(servers.old), what="listening")
    servers.plan_a_failover()
    change(servers.new, "color", "red")  # while the reader has its copy of the old one's value, which is still served
    until(servers.old_is_told, FAILOVER, "the old master's becoming a replica")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheUnavailableWarning)  # it has just closed every connection
        assert sees("color", "red")
        until(lambda: listens_to(servers.new), FAILOVER, "listening to the new master")
    its_changes_are_seen(servers.new)


def test_a_reader_follows_a_planned_failover_at_once(servers: Set) -> None:
    warm("color", "green")
    until(lambda: listens_to(servers.old), what="listening")
    servers.plan_a_failover()
    change(servers.new, "color", "red")
    assert sees("color", "red")
    its_changes_are_seen(servers.new)


@pytest.mark.filterwarnings("ignore::frappe_cache_ext.errors.CacheUnavailableWarning")
def test_no_thread_keeps_copies_of_the_old_master_by_listening_to_the_new_one(servers: Set) -> None:
    warm("color", "green")
    until(lambda: listens_to(servers.old), what="listening")
    servers.plan_a_failover()
    change(servers.new, "color", "red")
    connect_in_threads(6)
    until(lambda: listens_to(servers.new), FAILOVER, "listening to the new master")
    for _ in range(2):  # by this thread's own connection, which is older
        frappe.client_cache.get_value("color")
    until(servers.old_is_told, FAILOVER, "the old master's becoming a replica")
    assert sees("color", "red"), "a copy of the old master's value is used for good"


def connect_in_threads(count: int) -> None:
    """Have threads ask the server at the same moment: there are not as many spare connections, so some are new."""
    settings, together = context.current_settings(), threading.Barrier(count)
    asked = []

    def ask() -> None:
        context._settings.set(settings)
        together.wait()
        asked.append(frappe.cache.get_value("color", use_local_cache=False))
        together.wait()  # a connection is handed on when its thread ends

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == count
