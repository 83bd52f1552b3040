"""What several tests need: servers of their own, and a way to miss a part honestly."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frappe_cache_ext.connections import Connection
from frappe_cache_ext.redis_wrapper import RedisWrapper

_kernels = itertools.count(1)

# Made here and not at first use: kernels are started from several threads, and the folder that loses is removed.
_sockets = tempfile.mkdtemp(prefix="fck-")
atexit.register(shutil.rmtree, _sockets, ignore_errors=True)

LONG = "TEST_LONG" in os.environ
"""Whether tests that could go on for as long as one likes go on for minutes: `make long`."""

takes_minutes = pytest.mark.skipif(not LONG, reason="takes minutes: make long")


def requires(found: Any, what: str) -> None:
    """Skip a test whose part is missing on this machine; where every part must be there, fail it."""
    if found:
        return
    if os.environ.get("TESTS_REQUIRE_ALL"):
        pytest.fail(f"{what} is missing, and TESTS_REQUIRE_ALL is set")
    pytest.skip(f"{what} is missing")


def kernel_address() -> dict[str, str]:
    """Where a test speaks to a kernel: settings for its `KernelManager`.

    A TCP port is found free, let go and named to the kernel, which is too late where others look for one, too. So it is
    sockets with names of their own, except on macOS, where those of temporary files are too long.
    """
    return {"transport": "ipc", "ip": f"{_sockets}/{next(_kernels)}"} if sys.platform == "linux" else {}


@contextlib.contextmanager
def stranger_to(connection: Connection) -> Iterator[RedisWrapper]:
    """Somebody else on the same server: another connection, as another process would have."""
    other = Connection(connection.settings)
    try:
        yield RedisWrapper(other)
    finally:
        other.close()


def until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "the condition") -> Any:
    """Wait for a condition, and return what it found."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {seconds} s")
        time.sleep(0.01)


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """A `redis-server` (or any binary like it) on a port of its own, in a folder of its own."""

    def __init__(self, binary: str | Path, *options: str) -> None:
        self.binary = str(binary)
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix="frappe-cache-test-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    def start(self) -> RedisServer:
        self.process = subprocess.Popen(
            [
                *(self.binary, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--dir", str(self.folder), *self.options),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            until(self.answers, what=f"{self.binary} on port {self.port}")
        except AssertionError:
            self.stop()
            raise
        return self

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
                connection.settimeout(0.5)
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def command(self, *words: str) -> str:
        """Have it carry out a command, and return the reply as it came."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall((" ".join(words) + "\r\n").encode())
            return connection.recv(65536).decode()

    def kill(self) -> None:
        """Kill it as a crash would."""
        self.running.kill()
        self.running.wait()

    def freeze(self) -> None:
        """Let it hang: it keeps its connections and answers nothing."""
        self.running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.running.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


def run_python(code: str, *arguments: str, **environment: str) -> str:
    """Run code in a Python of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
