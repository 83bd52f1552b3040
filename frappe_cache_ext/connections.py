"""From settings to a server: one connection for each, with its time limits, its breaker and its counters.

What is decided here, and nowhere else:

* *Topology.* The URL's scheme: a server over TCP, TLS or a unix socket, Sentinel, Cluster, the embedded server, or one
  inside this process.
* *Time limits.* A caller waits `TIMEOUT` seconds at most for a server that hangs, once. Nothing is retried behind the
  caller's back except a command that does no harm twice, on a connection that broke.
* *The breaker.* After the first failure every call fails at once, without touching the network, until a thread in the
  background has reached the server again. That thread also starts a crashed embedded server anew.
* *Debts.* A write or deletion that the server never saw leaves the old value behind. What was to be changed is
  remembered, and deleted before anything is read again: after an outage an entry may be missing, but never outdated.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from . import server
from .codec import Codec
from .context import current_settings
from .effects import Command, Owe, Pipeline, RunScript, ScanPage, Unlink
from .errors import (
    CacheUnavailable,
    CacheUnavailableWarning,
    CacheWarning,
    ServerError,
    ServerNotFound,
    SettingsError,
    TrustWarning,
    warn,
)
from .keys import starts_with
from .scripts import Script
from .settings import Settings, mask_url

# redis-py's clients share no useful base, and their `execute_command` is not typed.
Client = Any

TIMEOUT: Final = 2.0
"""Seconds that one call waits for a server which does not answer."""

FIRST_PROBE: Final = 0.05
SLOWEST_PROBE: Final = 0.5
"""Seconds between two tries to reach a server that went away: doubled from the first to the slowest."""

SCAN_COUNT: Final = 1000
UNLINK_BATCH: Final = 500
MOST_DEBTS: Final = 100_000

_HARMLESS_TWICE: Final = frozenset(
    (
        *("GET", "MGET", "SET", "DEL", "UNLINK", "EXISTS", "PTTL", "PEXPIRE", "TYPE", "SCAN", "PING", "INFO"),
        *("HGET", "HGETALL", "HSET", "HEXISTS", "HKEYS", "HDEL", "LLEN", "LRANGE", "LTRIM"),
        *("SADD", "SREM", "SISMEMBER", "SMEMBERS", "SRANDMEMBER"),
    )
)
_LOCAL_HOSTS: Final = frozenset(("localhost", "127.0.0.1", "::1", "", None))


@dataclass(slots=True)
class Stats:
    """What a connection's callers met, counted since the process began."""

    hits: int = 0
    misses: int = 0
    local_hits: int = 0
    writes: int = 0
    dropped: int = 0
    unreadable: int = 0
    outages: int = 0
    computed: int = 0
    waited: int = 0


@dataclass(slots=True)
class Debts:
    """Names whose values on the server are out of date, to be deleted before the server is used again."""

    names: set[bytes] = field(default_factory=set)
    fields: set[tuple[bytes, bytes]] = field(default_factory=set)
    prefixes: set[bytes] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.names or self.fields or self.prefixes)

    def add(self, owed: Owe) -> None:
        """Remember more; past `MOST_DEBTS` names, whole sites are owed instead."""
        self.names.update(owed.names)
        self.fields.update(owed.fields)
        self.prefixes.update(owed.prefixes)
        if len(self.names) + len(self.fields) > MOST_DEBTS:
            owing = [*self.names, *(name for name, _ in self.fields)]
            self.prefixes.update(name[: name.find(b"|") + 1] or name for name in owing)
            self.names.clear()
            self.fields.clear()


class Connection:
    """One server, as the callers of this process see it.

    Making one touches no network; the first effect does.

    Attributes:
        settings: what it was made from.
        codec: turns values into bytes for it.
        stats: what its callers met.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.codec = Codec(settings.secret)
        self.stats = Stats()
        self._client: Client | None = None
        self._scripts: dict[Script, Any] = {}
        self._lock = threading.RLock()
        # The server inside this process runs a script command by command: nobody else may come between.
        self._in_one_piece = threading.RLock() if settings.url.startswith("memory://") else None
        self._debts = Debts()
        self._down: str | None = None
        self._prober: threading.Thread | None = None
        self._closed = False
        _every_connection.append(self)

    @property
    def client(self) -> Client:
        """The client of redis-py, opened now if it was not yet.

        Raises:
            CacheUnavailable: the embedded server cannot be started.
        """
        client = self._client
        if client is None:
            with self._lock:
                client = self._client
                if client is None:
                    client = self._client = self._open()
        return client

    @property
    def is_memory(self) -> bool:
        """Whether the server is one inside this process."""
        return self._in_one_piece is not None

    @property
    def down(self) -> str | None:
        """Why the server cannot be reached at the moment; None while it can, as far as is known."""
        return self._down

    def perform(self, effect: Pipeline | RunScript | ScanPage | Unlink) -> Any:
        """Carry out one effect and return its answer.

        Raises:
            CacheUnavailable: the server cannot be reached. Only the first call of an outage waits for that.
        """
        if self._down is not None:
            raise CacheUnavailable(self._down)
        try:
            return self._send(effect)
        except CacheUnavailable as error:
            self._went_down(str(error))
            raise
        except _connection_errors() as error:
            self._went_down(_explain(error))
            raise CacheUnavailable(_explain(error)) from error

    def owe(self, owed: Owe) -> None:
        """Have values deleted that are out of date, now or as soon as the server can be reached."""
        with self._lock:
            self._debts.add(owed)
            if self._down is not None:
                return
            try:
                self._pay_debts()
            except _out_of_reach() as error:
                self._went_down(_explain(error))

    def check(self) -> None:
        """Ask the server for a sign of life, whatever the breaker says.

        Raises:
            CacheUnavailable: there is none; the message says why.
            ServerError: the embedded server cannot be started.
        """
        try:
            self._revive()
        except _connection_errors() as error:
            raise CacheUnavailable(_explain(error)) from error
        self._came_back()

    def close(self) -> None:
        """Close the sockets and end the thread in the background; the next effect opens anew."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
            self._scripts.clear()
            prober = self._prober
        if client is not None:
            client.close()
        if prober is not None and prober is not threading.current_thread():
            prober.join()
        self._closed = False
        self._down = None

    # --- sending --------------------------------------------------------------------------------------------------

    def _send(self, effect: Pipeline | RunScript | ScanPage | Unlink) -> Any:
        if self._in_one_piece is None:
            return self._send_now(effect)
        with self._in_one_piece:
            return self._send_now(effect)

    def _send_now(self, effect: Pipeline | RunScript | ScanPage | Unlink) -> Any:
        if isinstance(effect, Pipeline):
            return self._send_commands(effect.commands)
        if isinstance(effect, RunScript):
            return self._run_script(effect)
        if isinstance(effect, ScanPage):
            return self._scan_page(effect)
        return self._unlink(effect.names)

    def _send_commands(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return self._send_once(commands)
        except _broken_connection():
            # A pooled connection may have been closed by the server since it was last used.
            if not all(command[0] in _HARMLESS_TWICE for command in commands):
                raise
            return self._send_once(commands)

    def _send_once(self, commands: Sequence[Command]) -> list[Any]:
        from redis.exceptions import ResponseError  # noqa: PLC0415  (redis is heavy: only those who use it load it)

        client = self.client
        if len(commands) == 1:
            try:
                return [client.execute_command(*commands[0])]
            except ResponseError as error:
                return [error]
        with client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, _connection_errors()):
                raise reply
        return replies

    def _run_script(self, effect: RunScript) -> Any:
        from redis.exceptions import ResponseError  # noqa: PLC0415

        try:
            if self.is_memory:
                return effect.script.plain(self.client.execute_command, effect.names, effect.arguments)
            script = self._scripts.get(effect.script)
            if script is None:
                script = self._scripts[effect.script] = self.client.register_script(effect.script.lua)
            return script(effect.names, effect.arguments)
        except ResponseError as error:
            return error

    def _scan_page(self, effect: ScanPage) -> tuple[Any, list[bytes]]:
        nodes: list[Any] = self.client.get_primaries() if _is_cluster(self.client) else [None]
        index, cursor = effect.cursor or (0, 0)
        where = {} if nodes[index] is None else {"target_nodes": nodes[index]}
        reply = self.client.execute_command("SCAN", cursor, "MATCH", effect.pattern, "COUNT", SCAN_COUNT, **where)
        following, names = next(iter(reply.values())) if isinstance(reply, dict) else reply
        if int(following):
            return (index, int(following)), names
        return ((index + 1, 0) if index + 1 < len(nodes) else None), names

    def _unlink(self, names: Sequence[bytes]) -> int:
        if not names:
            return 0
        if _is_cluster(self.client):
            return sum(self._send_commands([("UNLINK", name) for name in names]))
        batches = [names[start : start + UNLINK_BATCH] for start in range(0, len(names), UNLINK_BATCH)]
        return sum(self._send_commands([("UNLINK", *batch) for batch in batches]))

    # --- outages --------------------------------------------------------------------------------------------------

    def _went_down(self, reason: str) -> None:
        with self._lock:
            if self._down is not None or self._closed:
                return
            self._down = reason
            self.stats.outages += 1
            self._prober = threading.Thread(target=self._probe, name="frappe-cache-probe", daemon=True)
            self._prober.start()
        warn(
            # The time makes each outage another text: Python shows the same text at the same line only once.
            f"{time.strftime('%H:%M:%S')}: the cache at {mask_url(self.settings.url)} cannot be reached ({reason}). "
            "Code goes on without it: reads miss, writes are dropped.",
            CacheUnavailableWarning,
        )

    def _probe(self) -> None:
        pause = FIRST_PROBE
        while not self._closed:
            time.sleep(pause)
            pause = min(2 * pause, SLOWEST_PROBE)
            try:
                self._revive()
            except _out_of_reach():
                continue
            if self._came_back():
                return

    def _revive(self) -> None:
        if self.settings.url.startswith("embedded://") and (self._client is None or self._has_crashed()):
            server.start(self.settings.server_home)
        self.client.ping()

    def _has_crashed(self) -> bool:
        # One that was stopped on purpose stays stopped.
        return server.crashed(self.settings.server_home)

    def _came_back(self) -> bool:
        with self._lock:
            try:
                self._pay_debts()
            except _out_of_reach():
                return False
            self._down = None
            self._prober = None
            return True

    def _pay_debts(self) -> None:
        debts = self._debts
        for prefix in debts.prefixes:
            cursor = None
            while True:
                cursor, names = self._send(ScanPage(starts_with(prefix), cursor))
                self._send(Unlink(names))
                if cursor is None:
                    break
        self._send(Unlink(list(debts.names)))
        if debts.fields:
            self._send(Pipeline([("HDEL", name, held_field) for name, held_field in debts.fields]))
        self._debts = Debts()

    def _after_fork(self) -> None:
        # Threads do not survive a fork; a lock may have been held by one of them.
        self._lock = threading.RLock()
        if self._in_one_piece is not None:
            self._in_one_piece = threading.RLock()
        self._prober = None
        self._down = None

    # --- opening --------------------------------------------------------------------------------------------------

    def _open(self) -> Client:
        url = self.settings.url
        scheme = url.partition("://")[0]
        if scheme == "embedded":
            return self._open_embedded()
        if scheme == "memory":
            return _open_memory(url)
        self._warn_about_trust()
        try:
            return _OPENERS[scheme](url)
        except ValueError as error:
            raise SettingsError(f"{mask_url(url)!r} is not the URL of a server: {error}.") from error

    def _open_embedded(self) -> Client:
        try:
            running = server.start(self.settings.server_home)
        except ServerNotFound as error:
            warn(
                f"{error} Using memory:// meanwhile: a cache in this process only, gone when it ends.",
                CacheWarning,
            )
            self._in_one_piece = threading.RLock()
            return _open_memory("memory://")
        except ServerError as error:
            raise CacheUnavailable(str(error)) from error
        return _open_url(running.url)

    def _warn_about_trust(self) -> None:
        host = urlsplit(self.settings.url).hostname
        if self.settings.secret is None and not self.settings.url.startswith("unix://") and host not in _LOCAL_HOSTS:
            warn(
                f"Values are unpickled from {host}, and whoever can write there can run code here. "
                "Set FRAPPE_CACHE_SECRET to accept only values signed with it.",
                TrustWarning,
            )


_every_connection: list[Connection] = []
_connections: dict[tuple[str, str | None, Path], Connection] = {}
_connections_lock = threading.Lock()


def connection_for(settings: Settings) -> Connection:
    """The connection of this process to the server that some settings name; the same one each time."""
    home = settings.server_home if settings.url.startswith("embedded://") else Path()
    key = (settings.url, settings.secret, home)
    connection = _connections.get(key)
    if connection is None:
        with _connections_lock:
            connection = _connections.setdefault(key, Connection(settings))
    return connection


_last: tuple[Settings, Connection] | None = None


def current_connection() -> Connection:
    """The connection of the current site."""
    global _last  # noqa: PLW0603  (one pair, so that a hit compares one reference)
    settings = current_settings()
    last = _last
    if last is not None and last[0] is settings:
        return last[1]
    connection = connection_for(settings)
    _last = (settings, connection)
    return connection


def close_all() -> None:
    """Close every connection of this process; each opens anew when it is used."""
    for connection in list(_connections.values()):
        connection.close()


def _after_fork() -> None:
    for connection in _every_connection:
        connection._after_fork()


os.register_at_fork(after_in_child=_after_fork)


# --- redis-py -----------------------------------------------------------------------------------------------------


def _client_options() -> dict[str, Any]:
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    # Its own retries would make the first call of an outage wait for seconds, and could push to a list twice.
    return {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _open_url(url: str) -> Client:
    import redis  # noqa: PLC0415

    client: Client = redis.Redis.from_url(_without_retries(url), **_client_options())
    return client


def _without_retries(url: str) -> str:
    """The URL without what `_client_options` decides; the rest of its query is redis-py's."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in ("retry", "protocol")]
    return parts._replace(query=urlencode(kept)).geturl() if kept else url


def _open_sentinel(url: str) -> Client:
    from redis.sentinel import Sentinel  # noqa: PLC0415

    hosts, service, credentials = _split_hosts(url)
    if not service:
        raise ValueError("name the service after the hosts, as in sentinel://host1:26379,host2:26379/mymaster")
    options = _client_options()
    sentinel: Any = Sentinel
    return sentinel(hosts, sentinel_kwargs=options, **options, **credentials).master_for(service)


def _open_cluster(url: str) -> Client:
    from redis.cluster import ClusterNode, RedisCluster  # noqa: PLC0415
    from redis.exceptions import RedisClusterException  # noqa: PLC0415

    hosts, _, credentials = _split_hosts(url)
    options: dict[str, Any] = _client_options() | credentials
    del options["retry"]  # on a cluster a retry is how a moved slot is followed
    node: Any = ClusterNode
    try:
        return RedisCluster(startup_nodes=[node(host, port) for host, port in hosts], **options)
    except RedisClusterException as error:  # no node can be reached; redis-py does not call that a ConnectionError
        raise ConnectionError(str(error)) from error


def _split_hosts(url: str) -> tuple[list[tuple[str, int]], str, dict[str, str]]:
    """``sentinel://user:password@h1:1,h2:2/service`` in its parts."""
    rest = url.partition("://")[2]
    authority, _, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    credentials = {}
    if at:
        user, _, password = login.partition(":")
        credentials = {"username": unquote(user), "password": unquote(password)}
        credentials = {name: value for name, value in credentials.items() if value}
    found = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":")
        if not name or not port.isdigit():
            raise ValueError(f"{host!r} is not of the form host:port")
        found.append((name.strip("[]"), int(port)))
    return found, unquote(path.partition("?")[0]), credentials


_OPENERS: Final = {
    "redis": _open_url,
    "rediss": _open_url,
    "unix": _open_url,
    "sentinel": _open_sentinel,
    "cluster": _open_cluster,
}

_memory_servers: dict[str, Any] = {}


def _open_memory(url: str) -> Client:
    import fakeredis  # noqa: PLC0415

    shared = _memory_servers.setdefault(url, fakeredis.FakeServer())
    client: Client = fakeredis.FakeRedis(server=shared, protocol=2)
    return client


def _is_cluster(client: Any) -> bool:
    return hasattr(client, "get_primaries")


def _connection_errors() -> tuple[type[Exception], ...]:
    """What redis-py and the sockets raise when a server cannot be reached, or does not answer as one, or in time."""
    from redis import exceptions  # noqa: PLC0415

    # The third: whoever listens there is no Redis, a web server for instance.
    return exceptions.ConnectionError, exceptions.TimeoutError, exceptions.InvalidResponse, OSError


def _out_of_reach() -> tuple[type[Exception], ...]:
    """The same, and what we make of it."""
    return *_connection_errors(), CacheUnavailable, ServerError


def _broken_connection() -> tuple[type[Exception], ...]:
    """The same without time limits: the connection broke, and a new one may well work."""
    from redis import exceptions  # noqa: PLC0415

    return exceptions.ConnectionError, ConnectionError


def _explain(error: BaseException) -> str:
    # What Sentinel's client says goes on with the `repr` of its connections.
    return str(error).partition(" : <")[0].rstrip(".") or type(error).__name__


def every_connection() -> Iterable[Connection]:
    """The connections of this process, for `%cache_stats` and `doctor`."""
    return tuple(_connections.values())
