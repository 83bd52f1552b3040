"""The server goes away, hangs, comes back: what the user's code notices of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frappe_cache_ext import connections, context, server
from frappe_cache_ext.caching import redis_cache
from frappe_cache_ext.connections import Connection, connection_for
from frappe_cache_ext.errors import CacheUnavailable, CacheUnavailableWarning, NotCachedWarning, TrustWarning
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.settings import Settings
from tests.support import RedisServer, requires, until

CALLS: list[int] = []


@redis_cache
def double(x: int) -> int:
    CALLS.append(x)
    return 2 * x


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A server that a test may kill."""
    import shutil

    binary = shutil.which("redis-server")
    requires(binary, "redis-server")
    assert binary is not None
    started = RedisServer(binary).start()
    context.init("outage.test", url=started.url)
    context._request.set(None)  # nothing held by a request hides what the server answers
    CALLS.clear()
    yield started
    connection = connection_for(context.current_settings())
    started.stop()
    connection.close()


def went_away(cache: RedisWrapper) -> None:
    with pytest.warns(CacheUnavailableWarning):
        cache.get_value("key")


def came_back(cache: RedisWrapper) -> None:
    until(lambda: cache.connection.down is None, what="the connection")


class TestGone:
    def test_one_warning_however_many_calls(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        cache.set_value("key", 1)
        own_server.kill()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(100):
                assert cache.get_value("key") is None
                cache.set_value("key", 2)
                assert double(4) == 8
        assert [warning.category for warning in caught] == [CacheUnavailableWarning]
        assert caught[0].filename == __file__, "the warning does not point at the user's line"
        assert "Code goes on without it" in str(caught[0].message)
        assert CALLS == [4] * 100

    @pytest.mark.alone
    def test_a_call_costs_less_than_a_millisecond(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        cache.set_value("key", 1)
        own_server.kill()
        went_away(cache)
        took = []
        for _ in range(200):
            started = time.perf_counter()
            cache.get_value("key")
            cache.set_value("key", 2)
            took.append((time.perf_counter() - started) / 2)
        # The median: on a shared machine single calls are interrupted by others.
        assert sorted(took)[100] < 0.001

    def test_it_is_used_again_within_two_seconds(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        own_server.kill()
        went_away(cache)
        time.sleep(0.5)
        own_server.start()
        started = time.monotonic()
        came_back(cache)
        assert time.monotonic() - started < 2
        cache.set_value("key", 1)
        assert cache.get_value("key") == 1

    def test_the_second_outage_is_said_too(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        for _ in range(2):
            own_server.kill()
            went_away(cache)
            own_server.start()
            came_back(cache)
        assert cache.stats.outages == 2

    def test_a_server_restarted_between_two_calls_is_no_outage(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        cache.set_value("key", 1)
        own_server.kill()
        own_server.start()
        assert cache.get_value("key") is None  # it keeps nothing, and no warning was raised as an error
        assert cache.connection.down is None

    def test_connections_killed_by_the_server_are_no_outage(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        cache.set_value("key", 1)
        with Connection(Settings(url=own_server.url)).client as other:
            other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert cache.get_value("key") == 1

    def test_the_computing_call_loses_the_server_and_keeps_its_result(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()

        def compute() -> str:
            own_server.kill()
            return "made"

        with pytest.warns(CacheUnavailableWarning):
            assert cache.get_value("key", compute) == "made"

    def test_waiting_callers_compute_for_themselves(self, own_server: RedisServer) -> None:
        settings = context.current_settings()
        cache = RedisWrapper()
        found: list[Any] = []
        entered = threading.Event()

        def slow() -> str:
            entered.set()
            time.sleep(0.3)
            return "made"

        def ask() -> None:
            context._settings.set(settings)
            found.append(cache.get_value("key", slow))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheUnavailableWarning)
            threads = [threading.Thread(target=ask) for _ in range(5)]
            for thread in threads:
                thread.start()
            entered.wait(5)
            own_server.kill()
            for thread in threads:
                thread.join()
        assert found == ["made"] * 5


class TestHanging:
    def test_one_call_waits_and_the_others_do_not(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        cache.set_value("key", 1)
        own_server.freeze()
        started = time.monotonic()
        went_away(cache)
        assert time.monotonic() - started < connections.TIMEOUT + 1
        started = time.monotonic()
        for _ in range(100):
            cache.get_value("key")
        assert time.monotonic() - started < 0.5
        own_server.thaw()
        came_back(cache)
        assert cache.get_value("key") == 1


class TestDebts:
    """What could not be changed during an outage is not read after it."""

    @pytest.fixture
    def kept(self, own_server: RedisServer) -> RedisWrapper:
        cache = RedisWrapper()
        for key in ("set", "deleted", "prefix:a", "other"):
            cache.set_value(key, "old")
        cache.hset("hash", "set", "old")
        cache.hset("hash", "deleted", "old")
        cache.hset("hash", "other", "old")
        cache.set_value("expiring", "old")
        assert double(21) == 42
        own_server.freeze()  # it keeps what it has
        went_away(cache)
        return cache

    def test_nothing_outdated_is_read_afterwards(self, own_server: RedisServer, kept: RedisWrapper) -> None:
        kept.set_value("set", "new")
        kept.delete_value("deleted")
        kept.delete_keys("prefix:")
        kept.expire_key("expiring", 0.01)
        kept.hset("hash", "set", "new")
        kept.hdel("hash", "deleted")
        double.clear_cache()
        own_server.thaw()
        came_back(kept)
        assert kept.get_all("") == {
            "other": "old",
            "hash": {"other": "old"},
            **{key: value for key, value in kept.get_all(f"{__name__}.double").items() if "generation" not in key},
        }
        assert double(21) == 42
        assert CALLS == [21, 21]

    def test_an_outage_without_changes_loses_nothing(self, own_server: RedisServer, kept: RedisWrapper) -> None:
        own_server.thaw()
        came_back(kept)
        assert kept.get_value("set") == "old"
        assert double(21) == 42
        assert CALLS == [21]

    def test_very_many_are_paid_by_clearing_the_site(
        self, own_server: RedisServer, kept: RedisWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections, "MOST_DEBTS", 10)
        for number in range(20):
            kept.delete_value(f"many:{number}")
        kept.delete_value("deleted")
        own_server.thaw()
        came_back(kept)
        assert kept.get_value("deleted") is None


class TestTroubledServer:
    def test_a_full_one_takes_no_values_and_serves_the_rest(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        cache.set_value("key", "old")
        cache.redis.config_set("maxmemory-policy", "noeviction")
        cache.redis.config_set("maxmemory", "1")
        with pytest.warns(NotCachedWarning, match="OutOfMemory"):
            cache.set_value("key", "new")
        assert cache.get_value("key") is None, "the old value was left where a new one was meant to be"
        with pytest.warns(NotCachedWarning, match="OutOfMemory"):
            assert cache.get_value("made", lambda: "made") == "made"
        with pytest.warns(NotCachedWarning, match="OutOfMemory"):
            cache.hset("hash", "field", 1)
        with pytest.warns(NotCachedWarning, match="OutOfMemory"):
            assert cache.rpush("list", 1) == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotCachedWarning)
            assert double(1) == 2
            double.clear_cache()
        cache.delete_value("key")
        assert cache.connection.down is None

    def test_a_replica_takes_no_changes_and_serves_the_rest(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        cache.set_value("key", "old")
        cache.redis.set(cache.make_key("broken"), b"no value")
        cache.redis.replicaof("127.0.0.1", "1")
        for change in (
            lambda: cache.set_value("key", "new"),
            lambda: cache.delete_value("key"),
            lambda: cache.delete_keys("k"),
            lambda: cache.expire_key("key", 60),
            lambda: cache.hset("hash", "field", 1),
            lambda: cache.sadd("set", 1),
        ):
            with pytest.warns(NotCachedWarning, match="ReadOnlyError"):
                change()
        assert cache.get_value("key") == "old"
        with pytest.warns(NotCachedWarning, match="ReadOnlyError"):
            assert cache.get_value("missing", lambda: "made") == "made"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert cache.get_value("broken", lambda: "made") == "made"
            assert double(3) == 6
            double.clear_cache()
        assert cache.connection.down is None

    def test_a_wrong_password_is_an_outage_with_its_reason(self, own_server: RedisServer) -> None:
        RedisWrapper().redis.config_set("requirepass", "right")
        context.init("outage.test", url=own_server.url.replace("redis://", "redis://:wrong@"))
        with pytest.warns(CacheUnavailableWarning, match=r"redis://:\*\*\*@.*(WRONGPASS|invalid|password)"):
            assert RedisWrapper().get_value("key") is None
        connection_for(context.current_settings()).close()


class TestEmbedded:
    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        monkeypatch.setenv("FRAPPE_CACHE_HOME", str(tmp_path))
        context.init("embedded.test")
        context._request.set(None)
        yield tmp_path / "server"
        connection_for(context.current_settings()).close()
        server.stop(tmp_path / "server")

    def test_a_killed_one_is_started_again_with_what_it_held(self, home: Path) -> None:
        cache = RedisWrapper()
        cache.set_value("kept", 1)
        cache.set_value("deleted", 1)
        cache.delete_value("deleted")
        running = server.status(home)
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        went_away(cache)
        came_back(cache)
        assert cache.get_value("kept") == 1
        assert cache.get_value("deleted") is None

    def test_a_stopped_one_stays_stopped(self, home: Path) -> None:
        cache = RedisWrapper()
        cache.set_value("key", 1)
        server.stop(home)
        went_away(cache)
        time.sleep(1)
        assert server.status(home) is None
        server.start(home)
        came_back(cache)
        assert cache.get_value("key") == 1

    def test_a_loop_survives_the_kill(self, home: Path) -> None:
        """kill -9 in the middle of a loop: it goes on, warns once, and is soon served again."""
        cache = RedisWrapper()
        results, killed = [], False
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                results.append(double(len(results) % 10))
                if len(results) == 200 and not killed:
                    running = server.status(home)
                    assert running is not None
                    os.kill(running.pid, signal.SIGKILL)
                    killed = True
        assert results == [2 * (number % 10) for number in range(len(results))]
        assert [warning.category for warning in caught] == [CacheUnavailableWarning]
        assert cache.connection.down is None

    def test_one_that_cannot_be_started_costs_no_result(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("in the way")
        monkeypatch.setenv("FRAPPE_CACHE_HOME", str(blocked))
        context.init("embedded.test")
        with pytest.warns(CacheUnavailableWarning, match="file"):
            assert double(1) == 2
        with pytest.raises(CacheUnavailable):
            connection_for(context.current_settings()).perform(None)  # type: ignore[arg-type]
        connection_for(context.current_settings()).close()

    def test_where_there_is_no_binary_memory_takes_over(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from frappe_cache_ext.errors import CacheWarning, ServerNotFound

        def none(*_: Any, **__: Any) -> None:
            raise ServerNotFound("There is no server binary.")

        monkeypatch.setattr(server, "start", none)
        cache = RedisWrapper()
        with pytest.warns(CacheWarning, match=r"memory://"):
            cache.set_value("key", 1)
        assert cache.get_value("key") == 1
        assert cache.get_value("made", lambda: 2) == 2


class TestProcesses:
    # Python 3.12 and later warn of any fork beside a thread; that it works all the same is the point.
    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
    def test_a_fork_has_connections_of_its_own(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        cache.set_value("key", "parent")
        pid = os.fork()
        if pid == 0:
            try:
                ok = cache.get_value("key") == "parent" and cache.get_value("child", lambda: 1) == 1
                cache.set_value("key", "child")
            finally:
                os._exit(0 if ok else 1)
        for _ in range(50):
            assert cache.get_value("key") in ("parent", "child")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert cache.get_value("key") == "child"

    def test_many_processes_on_one_cold_key_compute_once(self, own_server: RedisServer, tmp_path: Path) -> None:
        code = """
import sys, time, threading
from frappe_cache_ext import context, cache
settings = context.init("outage.test", url=sys.argv[1])
def compute():
    with open(sys.argv[2], "a") as file:
        file.write("x")
    time.sleep(0.5)
    return 42
found = []
def ask():
    context._settings.set(settings)
    found.append(cache.get_value("cold", compute))
threads = [threading.Thread(target=ask) for _ in range(10)]
for t in threads: t.start()
for t in threads: t.join()
assert found == [42] * 10, found
"""
        log = tmp_path / "calls"
        running = [subprocess.Popen([sys.executable, "-c", code, own_server.url, str(log)]) for _ in range(4)]
        assert [process.wait(30) for process in running] == [0] * 4
        assert log.read_text() == "x"

    def test_a_killed_holder_is_followed_by_exactly_one(self, own_server: RedisServer, tmp_path: Path) -> None:
        code = """
import sys, time
from frappe_cache_ext import context, cache
context.init("outage.test", url=sys.argv[1])
def compute():
    print("computing", flush=True)
    time.sleep(60)
cache.get_value("cold", compute)
"""
        holder = subprocess.Popen([sys.executable, "-c", code, own_server.url], stdout=subprocess.PIPE)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"computing\n"
        holder.kill()
        holder.wait()
        holder.stdout.close()
        settings = context.current_settings()
        calls: list[int] = []

        def compute() -> int:
            calls.append(1)
            time.sleep(0.1)
            return 7

        def ask() -> None:
            context._settings.set(settings)
            assert RedisWrapper().get_value("cold", compute) == 7

        started = time.monotonic()
        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert calls == [1]
        assert time.monotonic() - started < 7, "they waited longer than the lease"


class TestWithoutThreads:
    """Where no thread can be started (too many, the interpreter is ending), results come all the same."""

    @pytest.fixture(autouse=True)
    def no_threads(self, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        from frappe_cache_ext.leases import heartbeat

        heartbeat.stop()

        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)

    def test_a_lease_is_not_renewed(self) -> None:
        assert RedisWrapper().get_value("key", lambda: "made") == "made"
        assert double(8) == double(8) == 16
        assert CALLS == [8]

    def test_each_call_finds_out_for_itself_whether_the_server_is_back(self, own_server: RedisServer) -> None:
        cache = RedisWrapper()
        own_server.kill()
        for _ in range(2):
            went_away(cache)
        own_server.start()
        cache.set_value("key", 1)
        assert cache.get_value("key") == 1


class TestTrust:
    def test_a_strange_host_without_a_secret_is_warned_of(self) -> None:
        settings = Settings(url="redis://cache.example.invalid:6379/0")
        with pytest.warns(TrustWarning, match=r"cache.example.invalid.*FRAPPE_CACHE_SECRET"):
            _ = Connection(settings).client

    @pytest.mark.parametrize("url", ["redis://localhost:1/0", "redis://127.0.0.1:1", "unix:///nowhere", "memory://t"])
    def test_ones_own_are_not(self, url: str) -> None:
        _ = Connection(Settings(url=url)).client

    def test_nor_one_whose_values_are_signed(self) -> None:
        _ = Connection(Settings(url="redis://cache.example.invalid:6379/0", secret="s")).client

    def test_a_value_moved_to_another_key_is_a_miss(self, own_server: RedisServer) -> None:
        context.init("outage.test", url=own_server.url, secret="s3cret")
        context._request.set(None)
        cache = RedisWrapper()
        cache.set_value("admin", True)
        cache.set_value("guest", False)
        cache.redis.copy(cache.make_key("admin"), cache.make_key("guest"), replace=True)
        with pytest.warns(UserWarning, match="signature"):
            assert cache.get_value("guest") is None
        assert cache.get_value("admin") is True
        assert double(5) == double(5) == 10
        assert CALLS == [5]
        connection_for(context.current_settings()).close()
