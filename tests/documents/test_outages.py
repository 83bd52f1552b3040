"""The cache server loses something, goes away or comes back; the database goes away; and what a hit costs."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

import frappe_cache_ext as frappe
from frappe_cache_ext import context
from frappe_cache_ext.connections import current_connection
from frappe_cache_ext.documents.engine import dispose_all, engine_for
from tests.documents.processes import ENTRY, LOG, Proxy, Worker, own_redis, prepare, site_of, stress, workers
from tests.support import LONG, RedisServer, until

SECONDS = 9.0
DISTURBED = 3.5
"""How long a disturbed run lasts, and for how long disturbances begin: on a busy machine a restart takes its time."""

QUARANTINE = 1.5
"""Seconds for which a log after a lost one lets nobody store: more than a writer takes to find a server again (0.5)."""

GAPS = {"fast": (0.05, 0.4)}
STRESSED = ["sqlite", "mariadb"] if LONG else ["mariadb" if "TEST_MARIADB_URL" in os.environ else "sqlite"]
SERVERS = pytest.mark.parametrize("database_kind", ["mariadb", "postgres"])


# --- in the middle of a stress ----------------------------------------------------------------------------------------


def flush(server: RedisServer) -> Iterator[None]:
    while True:
        server.command("FLUSHALL")
        yield


def evict_entry(server: RedisServer) -> Iterator[None]:
    while True:
        server.command("DEL", ENTRY)
        yield


def evict_log(server: RedisServer) -> Iterator[None]:
    while True:
        server.command("DEL", LOG)
        yield


def restart(server: RedisServer) -> Iterator[None]:
    while True:
        server.kill()
        server.start()
        yield


def restart_from_old(server: RedisServer) -> Iterator[None]:
    """Bring an old snapshot back, in which there are an entry and the log of that time."""
    until(lambda: server.command("EXISTS", ENTRY, LOG) == ":2\r\n", what="an entry")
    server.command("SAVE")
    old = shutil.copy(server.folder / "dump.rdb", server.folder / "old.rdb")
    yield
    while True:
        server.kill()
        shutil.copy(old, server.folder / "dump.rdb")
        server.start()
        assert server.command("EXISTS", LOG) == ":1\r\n", "nothing came back with the snapshot"
        yield


@pytest.mark.slow
@pytest.mark.parametrize("database_kind", STRESSED)
@pytest.mark.parametrize(
    ("disturb", "every"),
    [
        pytest.param(disturb, every, id=disturb.__name__)
        for disturb, every in (
            (flush, 1.0),
            (evict_entry, 0.05),
            (evict_log, 0.7),
            (restart, 1.2),
            (restart_from_old, 1.2),
        )
    ],
)
def test_nobody_reads_what_was_replaced(
    database_kind: str,
    database_url: str,
    disturb: Callable[[RedisServer], Iterator[None]],
    every: float,
    record_property: Any,
) -> None:
    with own_redis() as server, workers() as start:
        site = site_of(server.url, database_url, seconds={"QUARANTINE": QUARANTINE}, outages=True)
        prepare(site, [*GAPS, "bystander"])
        began, disturbed = [], []

        def meanwhile(begins: float) -> None:
            began.append(begins)
            disturbance = disturb(server)
            time.sleep(max(0.0, begins + 0.5 - time.monotonic()))
            while time.monotonic() < begins + DISTURBED:
                next(disturbance)
                disturbed.append(disturb)
                time.sleep(every)

        inside, outside, _ = stress(start, site, GAPS, SECONDS, meanwhile=meanwhile)
    assert len(disturbed) > 1, "hardly disturbed"
    for where, seen in (("in a transaction", inside["fast"]), ("outside any", outside["fast"])):
        record_property(where, str(seen))
        print(f"{database_kind}, {disturb.__name__}, {where}: {seen}")
        assert (seen.stale, seen.impossible) == ([], []), where
        assert seen.last_hit > began[0] + SECONDS - 1, f"no hits came back: {seen}"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with own_redis() as started:
        yield started


@pytest.fixture
def start() -> Iterator[Callable[..., Worker]]:
    with workers() as starter:
        yield starter


@pytest.fixture
def wire(server: RedisServer) -> Iterator[Proxy]:
    proxy = Proxy("127.0.0.1", server.port)
    yield proxy
    proxy.cut()


class TestBackWithAnOldSnapshot:
    """What a transaction learnt from the log before the restart says nothing about the log that came back."""

    @pytest.mark.parametrize("log", ["there", "lost before"])
    def test_an_old_transaction_stores_nothing(
        self, database_url: str, server: RedisServer, start: Callable[..., Worker], log: str
    ) -> None:
        site = site_of(server.url, database_url, seconds={"QUARANTINE": 0.5, "LEASE": 0.5}, outages=True)
        prepare(site, ["thing", "bystander"])
        reader, older, writer = everybody = [start("session", **site) for _ in range(3)]
        for worker in everybody:
            worker.ready()
            until(lambda worker=worker: worker.order("cached", "thing") == [0, True], what="the document in the cache")
        if log == "lost before":
            server.command("DEL", LOG)
            reader.order("open")  # begins another log, which no new process has looked at
            reader.order("rollback")
            time.sleep(0.6)
        older.order("open")
        server.command("SAVE")
        writer.order("set", "thing", 5)
        writer.order("commit")
        assert reader.order("cached", "thing") == [5, False]
        server.kill()
        server.start()
        until(lambda: older.order("read", "thing") and older.order("down") is None, what="the cache server")
        for _ in range(8):
            assert older.order("read", "thing")[0] in (0, 5)
            assert reader.order("cached", "thing")[0] == 5
            time.sleep(0.1)
        until(lambda: reader.order("cached", "thing") == [5, True], what="the new value in the cache")


# --- the cache server out of the writer's reach -----------------------------------------------------------------------


class TestOutOfTheWritersReach:
    @pytest.fixture
    def reader(self, server: RedisServer, database_url: str, start: Callable[..., Worker]) -> Worker:
        site = site_of(server.url, database_url)
        prepare(site, ["thing", "bystander"])
        reader = start("session", **site).ready()
        until(lambda: reader.order("cached", "thing") == [0, True], what="the document in the cache")
        return reader

    @pytest.fixture
    def writer(self, wire: Proxy, reader: Worker, database_url: str, start: Callable[..., Worker]) -> Worker:
        return self.writer_of(wire, database_url, start)

    def writer_of(self, wire: Proxy, database_url: str, start: Callable[..., Worker], **options: Any) -> Worker:
        site = site_of(f"redis://127.0.0.1:{wire.port}/0", database_url, outages=True, **options)
        writer = start("session", **site).ready()
        assert writer.order("cached", "thing") == [0, True]
        return writer

    def is_told(self, reader: Worker, writer: Worker, value: int) -> None:
        """By the thread of the writer that finds the server again: the writer itself is not asked anything."""
        until(lambda: reader.order("cached", "thing")[0] == value, 5, what="the new value at the reader")
        until(lambda: reader.order("outbox") == 0, 5, what="an empty outbox")
        until(lambda: reader.order("cached", "thing") == [value, True], 5, what="the new value in the cache")
        assert writer.order("cached", "thing") == [value, True]

    def test_cut_before_the_change(self, reader: Worker, writer: Worker, wire: Proxy) -> None:
        wire.cut()
        writer.order("set", "thing", 5)
        writer.order("commit")
        assert reader.order("outbox") == 1
        assert reader.order("database", "thing") == 5
        assert reader.order("cached", "thing") in ([0, True], [5, False])
        assert writer.order("cached", "thing") == [5, False]
        wire.mend()
        self.is_told(reader, writer, 5)

    def test_cut_before_the_commit(self, reader: Worker, writer: Worker, wire: Proxy) -> None:
        writer.order("set", "thing", 5)
        wire.cut()
        writer.order("commit")
        assert reader.order("outbox") == 1
        assert reader.order("cached", "thing") == [5, False], "the mark is there, so nobody stored the old value"
        wire.mend()
        self.is_told(reader, writer, 5)

    def test_cut_before_the_change_and_mended_before_the_commit(
        self, reader: Worker, writer: Worker, wire: Proxy
    ) -> None:
        wire.cut()
        writer.order("set", "thing", 5)
        wire.mend()
        until(lambda: writer.order("down") is None, what="the writer's connection")
        writer.order("commit")
        assert reader.order("cached", "thing")[0] == 5
        self.is_told(reader, writer, 5)

    def test_the_writer_ends_and_the_next_process_empties_the_outbox(
        self, reader: Worker, writer: Worker, wire: Proxy, server: RedisServer, database_url: str, start: Any
    ) -> None:
        wire.cut()
        writer.order("set", "thing", 5)
        writer.order("commit")
        writer.finish()
        assert reader.order("outbox") == 1
        late = start("session", **site_of(server.url, database_url)).ready()
        assert late.order("cached", "thing")[0] == 5
        assert late.order("outbox") == 0
        until(lambda: reader.order("cached", "thing") == [5, True], 5, what="the new value in the cache")

    def test_a_rolled_back_change_leaves_nothing(self, reader: Worker, writer: Worker, wire: Proxy) -> None:
        wire.cut()
        writer.order("set", "thing", 5)
        writer.order("rollback")
        assert reader.order("outbox") == 0
        assert reader.order("cached", "thing")[0] == 0
        wire.mend()
        until(lambda: reader.order("cached", "thing") == [0, True], 5, what="the document in the cache again")

    def test_strict_refuses_the_commit(
        self, reader: Worker, wire: Proxy, database_url: str, start: Callable[..., Worker]
    ) -> None:
        writer = self.writer_of(wire, database_url, start, strict=True)
        wire.cut()
        writer.order("set", "thing", 5)
        refused = writer.attempt("commit")
        assert refused["error"] == "CacheUnavailable"
        assert "commit again" in refused["text"]
        assert (writer.order("is_open"), writer.order("has_changes")) == (True, True)
        assert reader.order("database", "thing") == 0
        assert reader.order("outbox") == 0
        wire.mend()
        until(lambda: writer.order("down") is None, what="the writer's connection")
        writer.order("commit")
        assert reader.order("database", "thing") == 5
        self.is_told(reader, writer, 5)

    def test_strict_lets_roll_back(
        self, reader: Worker, wire: Proxy, database_url: str, start: Callable[..., Worker]
    ) -> None:
        writer = self.writer_of(wire, database_url, start, strict=True)
        wire.cut()
        writer.order("set", "thing", 5)
        assert writer.attempt("commit")["error"] == "CacheUnavailable"
        writer.order("rollback")
        assert (writer.order("is_open"), writer.order("has_changes")) == (False, False)
        assert writer.order("cached", "thing") == [0, False]
        wire.mend()
        until(lambda: writer.order("cached", "thing") == [0, True], 5, what="the document in the cache again")


# --- the database away ------------------------------------------------------------------------------------------------


@SERVERS
class TestDatabaseAway:
    @pytest.fixture
    def cable(self, database_url: str) -> Iterator[Proxy]:
        url = sa.make_url(database_url)
        assert url.host
        assert url.port
        proxy = Proxy(url.host, url.port)
        yield proxy
        proxy.cut()

    @pytest.fixture
    def site(self, server: RedisServer, cable: Proxy, database_url: str) -> dict[str, Any]:
        prepare(site_of(server.url, database_url), ["thing", "other", "bystander"])
        through = sa.make_url(database_url).set(host="127.0.0.1", port=cable.port)
        return site_of(server.url, through.render_as_string(hide_password=False))

    def test_what_is_cached_is_served(self, site: dict[str, Any], cable: Proxy, start: Callable[..., Worker]) -> None:
        reader = start("session", **site).ready()
        until(lambda: reader.order("cached", "thing") == [0, True], what="the document in the cache")
        cable.cut()
        assert reader.order("cached", "thing") == [0, True]
        missed = reader.attempt("cached", "other")
        assert missed["error"] == "DatabaseUnavailable"
        assert "\n" not in missed["text"]
        assert reader.order("cached", "thing") == [0, True]
        assert reader.attempt("set", "thing", 5)["error"] == "DatabaseUnavailable"
        cable.mend()
        assert reader.order("cached", "other")[0] == 0
        until(lambda: reader.order("cached", "other") == [0, True], what="the document in the cache")
        reader.order("set", "thing", 6)
        reader.order("commit")
        assert reader.order("cached", "thing")[0] == 6
        reader.finish()

    def test_a_process_that_never_reached_it(
        self, site: dict[str, Any], cable: Proxy, start: Callable[..., Worker]
    ) -> None:
        """It cannot know whether changes wait in the outbox, so it may use nothing."""
        first = start("session", **site).ready()
        until(lambda: first.order("cached", "thing") == [0, True], what="the document in the cache")
        cable.cut()
        late = start("session", **site).ready()
        assert late.attempt("cached", "thing")["error"] == "DatabaseUnavailable"
        cable.mend()
        until(lambda: late.order("cached", "thing") == [0, True], what="the document in the cache")
        late.finish()

    def test_a_change_under_way_is_lost(
        self, site: dict[str, Any], cable: Proxy, start: Callable[..., Worker], database_url: str
    ) -> None:
        writer = start("session", **site).ready()
        direct = start("session", **(site | {"database_url": database_url})).ready()
        until(lambda: direct.order("cached", "thing") == [0, True], what="the document in the cache")
        writer.order("set", "thing", 5)
        cable.cut()
        assert writer.attempt("commit")["error"] == "DatabaseUnavailable"
        assert writer.order("has_changes") is False
        cable.mend()
        assert writer.order("cached", "thing")[0] == 0
        until(lambda: direct.order("cached", "thing") == [0, True], what="the document in the cache again")

    def test_both_away_and_back(
        self, site: dict[str, Any], cable: Proxy, server: RedisServer, start: Callable[..., Worker]
    ) -> None:
        reader = start("session", **(site | {"outages": True, "seconds": {"QUARANTINE": 0.5}})).ready()
        until(lambda: reader.order("cached", "thing") == [0, True], what="the document in the cache")
        cable.cut()
        server.kill()
        assert reader.attempt("cached", "thing")["error"] == "DatabaseUnavailable"
        server.start()
        until(lambda: reader.order("down") is None, what="the cache server")
        assert reader.attempt("cached", "thing")["error"] == "DatabaseUnavailable"
        cable.mend()
        until(lambda: reader.order("cached", "thing") == [0, True], what="the document in the cache")
        reader.finish()

    def test_the_cache_server_comes_back_first(
        self, site: dict[str, Any], cable: Proxy, wire: Proxy, start: Callable[..., Worker]
    ) -> None:
        through = site | {"url": f"redis://127.0.0.1:{wire.port}/0", "outages": True}
        reader = start("session", **through).ready()
        until(lambda: reader.order("cached", "thing") == [0, True], what="the document in the cache")
        wire.cut()
        cable.cut()
        assert reader.attempt("cached", "thing")["error"] == "DatabaseUnavailable"
        wire.mend()
        until(lambda: reader.order("down") is None, what="the cache server")
        assert reader.attempt("cached", "thing")["error"] == "DatabaseUnavailable"
        cable.mend()
        until(lambda: reader.order("cached", "thing") == [0, True], what="the document in the cache")
        reader.finish()


# --- what a hit costs -------------------------------------------------------------------------------------------------


class TestAHit:
    @pytest.fixture(autouse=True)
    def cached(self, server: RedisServer, database_url: str) -> Iterator[None]:
        site = site_of(server.url, database_url)
        prepare(site, ["thing", "bystander"])
        frappe.init(site["site"], url=site["url"], database_url=site["database_url"])
        until(self.is_hit, what="the document in the cache")
        yield
        connection = current_connection()
        frappe.destroy()
        connection.close()
        dispose_all()

    def is_hit(self) -> bool:
        before = frappe.cache.stats.hits
        frappe.get_cached_doc("Thing", "thing")
        return frappe.cache.stats.hits > before

    @pytest.fixture
    def statements(self) -> Iterator[list[str]]:
        """What was sent to the database, and the connections taken for it."""
        engine, seen = engine_for(context.current_settings()), []

        def sent(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        def taken(*_: Any) -> None:
            seen.append("a connection")

        listeners = [(engine, "before_cursor_execute", sent), (engine, "checkout", taken), (engine, "begin", taken)]
        for listener in listeners:
            event.listen(*listener)
        yield seen
        for listener in listeners:
            event.remove(*listener)

    def test_no_statement_and_one_command(self, server: RedisServer, statements: list[str]) -> None:
        server.command("CONFIG", "RESETSTAT")
        for _ in range(50):
            assert frappe.get_cached_doc("Thing", "thing").value == 0
            assert frappe.get_cached_value("Thing", "thing", "value") == 0
        assert commands(server) == {"get": 100}
        assert statements == []

    def test_the_count_finds_a_miss(self, server: RedisServer, statements: list[str]) -> None:
        frappe.clear_document_cache("Thing", "thing")
        server.command("CONFIG", "RESETSTAT")
        statements.clear()
        assert frappe.get_cached_doc("Thing", "thing").value == 0
        assert set(commands(server)) > {"get"}
        assert any("tabThing" in statement for statement in statements)

    def test_in_a_transaction_that_is_open(self, server: RedisServer, statements: list[str]) -> None:
        frappe.db.get_value("Thing", "bystander", "value")
        server.command("CONFIG", "RESETSTAT")
        statements.clear()
        for _ in range(50):
            assert frappe.get_cached_doc("Thing", "thing").value == 0
        assert commands(server) == {"get": 50}
        assert statements == []
        frappe.db.rollback()

    def test_each_caller_has_an_object_of_its_own(self) -> None:
        one, other = frappe.get_cached_doc("Thing", "thing"), frappe.get_cached_doc("Thing", "thing")
        assert one is not other
        one.value = 7
        assert (other.value, frappe.get_cached_doc("Thing", "thing").value) == (0, 0)

    def test_two_threads(self, statements: list[str]) -> None:
        """Neither waits for, nor sees, what the other does with its document."""
        pool = frappe.cache.redis.connection_pool
        for socket in [pool.get_connection() for _ in range(3)]:  # a new one means to look who answers there
            pool.release(socket)
        until(self.is_hit, what="the document in the cache")
        statements.clear()
        found: list[Any] = []
        both = threading.Barrier(2)
        settings = context.current_settings()

        def read(number: int) -> None:
            frappe.init(settings.site, url=settings.url, database_url=settings.database_url)
            both.wait(10)
            for _ in range(100):
                document = frappe.get_cached_doc("Thing", "thing")
                found.append((id(document), document.value, document))
                document.value = number

        threads = [threading.Thread(target=read, args=(number,)) for number in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(found) == 200
        assert len({identity for identity, _, _ in found}) == 200
        assert {value for _, value, _ in found} == {0}
        assert statements == []


def commands(server: RedisServer) -> dict[str, int]:
    """What the server has carried out since CONFIG RESETSTAT, but for the connections' greetings."""
    found = {}
    for line in server.command("INFO", "commandstats").splitlines():
        if line.startswith("cmdstat_"):
            name, _, rest = line.removeprefix("cmdstat_").partition(":calls=")
            found[name] = int(rest.partition(",")[0])
    return {name: count for name, count in found.items() if not name.startswith(("config", "info", "client", "hello"))}
