"""A bench for a notebook: the files of one, in a folder of its own, and a Redis that was started from them."""

from __future__ import annotations

import atexit
import base64
import gzip
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..bench import BenchConfig, write_bench_config
from ..bench_sites import COMMON_CONFIG, SITE_CONFIG, list_sites
from ..errors import ServerError
from ..server_binary import find_binary
from .elsewhere import PATIENCE

RECORDED: Final = Path(__file__).with_name("recorded_bench.json.gz")
"""What `tests/suite/record_bench.py` recorded: the sites of a made-up library, and what they had cached."""

_UNTIL_WE_END: Final = """
import os, subprocess, sys, threading

server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)

def end():
    os.read(0, 1)
    server.terminate()

threading.Thread(target=end, daemon=True).start()
sys.exit(server.wait())
"""
"""Runs a server for as long as standard input is open: until this process ends, however that happens."""


class Bench:
    """A bench's folder whose Redis runs as long as this process, or until it is closed.

    Attributes:
        folder: the bench's folder.
        config: what its files were written from.
        url: where its Redis answers.

    Args:
        sites: each site's name and the name of its database, which its keys begin with.
        maxmemory_mb: the memory for cached values, in megabytes.

    Raises:
        ServerError: there is no server's binary, or it does not start; the message quotes its last words.
    """

    def __init__(self, sites: Mapping[str, str], maxmemory_mb: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="frappe-cache-")).resolve() / "frappe-bench"
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)
        try:
            for _ in range(5):  # somebody else may take the port before the server does
                self.config = BenchConfig(self.folder, port=_free_port(), maxmemory_mb=maxmemory_mb)
                self.url = f"redis://127.0.0.1:{self.config.port}"
                _write_files(self.config, self.url, sites)
                if self._launch():
                    return
            raise ServerError(f"The bench's Redis did not start. It said:\n{self._last_words()}")
        except BaseException:
            self.close()
            raise

    def restart(self) -> None:
        """Stop the Redis and start it again from its configuration, as `bench restart` would.

        Raises:
            ServerError: it does not start again.
        """
        self._stop()
        if not self._launch():
            raise ServerError(f"The bench's Redis did not start again. It said:\n{self._last_words()}")

    def close(self) -> None:
        """Stop the Redis and remove the folder."""
        atexit.unregister(self.close)
        self._stop()
        shutil.rmtree(self.folder.parent, ignore_errors=True)

    def __fspath__(self) -> str:
        """The folder, wherever a path is asked for."""
        return str(self.folder)

    def __repr__(self) -> str:
        return f"<Bench {self.folder.name} with {', '.join(list_sites(self.folder))}>"

    def _launch(self) -> bool:
        command = [sys.executable, "-I", "-S", "-c", _UNTIL_WE_END, str(find_binary()), str(self.config.conf_path)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # who interrupts a cell does not mean the server
            )
        # The pid file is the server's last step before it listens; a stranger on the port has not written it.
        deadline = time.monotonic() + PATIENCE
        while not (self._pidfile.exists() and self._answers()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                return False
            time.sleep(0.005)
        return True

    def _stop(self) -> None:
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.config.port), timeout=1) as line:
                line.sendall(b"PING\r\n")
                return line.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    @property
    def _pidfile(self) -> Path:
        return self.folder / "config" / "pids" / "redis_cache.pid"

    @property
    def _log(self) -> Path:
        return self.folder / "logs" / "redis-cache.log"

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-5:]) or "nothing"


def make_bench(*sites: str, maxmemory_mb: int = 64) -> Bench:
    """Write the files of a bench and start its Redis from them.

    Args:
        *sites: the names of its sites; each one's database is named after its first word.
        maxmemory_mb: the memory for cached values, in megabytes.

    Raises:
        ServerError: there is no server's binary, or it does not start.
    """
    return _make({site: f"_{site.partition('.')[0]}" for site in sites}, maxmemory_mb)


_made: Final[list[Bench]] = []
"""The notebook's bench: a cell that is run again replaces the one it made before."""


def _make(sites: Mapping[str, str], maxmemory_mb: int) -> Bench:
    close_made()
    bench = Bench(sites, maxmemory_mb)
    _made.append(bench)
    return bench


def close_made() -> None:
    """Close what `make_bench` or `find_bench` has made last."""
    while _made:
        _made.pop().close()


def find_bench(folder: str | None = None) -> Path:
    """The folder of a bench: the one that is named, or where none is, of a recorded one.

    The recorded one has a Redis of its own, which holds what two sites had cached. It was made by a script of this
    project; no Frappe was involved, but keys and values are as Frappe writes them.

    Args:
        folder: a bench's folder; ``~`` is the user's home.

    Raises:
        BenchError: the folder is no bench.
        ServerError: there is no binary for the recorded one's server, or it does not start.
    """
    if folder is not None:
        named = Path(folder).expanduser()
        print(f"This is the bench {named.name}, with {len(list_sites(named))} sites.")
        return named
    recording = read_recording()
    bench = _make(recording["sites"], maxmemory_mb=64)
    fill(bench.url, recording["keys"])
    print("No bench is named. This is a recorded one, of a library and a school.")
    return bench.folder


def read_recording() -> dict[str, Any]:
    """The recording: ``sites``, each with its database's name, and ``keys``, each with type, expiry and bytes."""
    recording: dict[str, Any] = json.loads(gzip.decompress(RECORDED.read_bytes()))
    return recording


def fill(url: str, recorded: Sequence[Mapping[str, Any]]) -> None:
    """Store recorded keys in a server.

    Args:
        url: the server.
        recorded: for each key ``name``, ``type``, ``ttl`` in seconds or None, and ``value``: a string's text, or a
            hash's pairs of field and text; names, fields and texts in base64.
    """
    import redis  # noqa: PLC0415  (not every notebook has a bench)

    with redis.Redis.from_url(url) as client, client.pipeline(transaction=False) as pipeline:
        for key in recorded:
            name = base64.b64decode(key["name"])
            if key["type"] == "hash":
                pairs = [[base64.b64decode(each) for each in pair] for pair in key["value"]]
                pipeline.hset(name, mapping=dict(pairs))
            else:
                pipeline.set(name, base64.b64decode(key["value"]))
            if key["ttl"] is not None:
                pipeline.expire(name, key["ttl"])
        pipeline.execute()


def _write_files(config: BenchConfig, url: str, sites: Mapping[str, str]) -> None:
    config.directory.mkdir(exist_ok=True)
    write_bench_config(config, force=True)
    folder = config.directory / "sites"
    folder.mkdir(exist_ok=True)
    (folder / COMMON_CONFIG).write_text(json.dumps({"redis_cache": url}, indent=1) + "\n")
    for site, db_name in sites.items():
        (folder / site).mkdir(exist_ok=True)
        (folder / site / SITE_CONFIG).write_text(
            json.dumps({"db_name": db_name, "db_type": "mariadb"}, indent=1) + "\n"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
