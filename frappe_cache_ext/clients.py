"""From a URL to a client of redis-py: every topology, and the time limits of all of them.

redis-py is heavy (0.1 s to import), so only whoever opens a connection loads it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from . import server
from .errors import (
    CacheUnavailable,
    CacheWarning,
    ServerError,
    ServerNotFound,
    SettingsError,
    TrustWarning,
    warn,
)
from .forks import open_in_child
from .settings import Settings, mask_url

# redis-py's clients share no useful base, and their `execute_command` is not typed; nor are their connections.
Client = Any
Link = Any
"""One connection of such a client."""

TIMEOUT: Final = 2.0
"""Seconds that one call waits for a server which does not answer."""

NO_LIMIT: Final = 1 << 31
"""Connections of one client: each thread has one of its own, and redis-py would give out a hundred."""

_LOCAL_HOSTS: Final = frozenset(("localhost", "127.0.0.1", "::1", "", None))


@dataclass(frozen=True, slots=True)
class Opened:
    """A client, which may not have connected yet.

    Attributes:
        client: redis-py's.
        alone: for a server inside this process, which runs a script command by command: the lock that keeps everybody
            else out meanwhile.
    """

    client: Client
    alone: threading.RLock | None = None


def open_client(settings: Settings, connected: Callable[[Link], None]) -> Opened:
    """Open the server that some settings name; the embedded one is started if need be.

    Args:
        settings: what to open.
        connected: called with each connection of redis-py that has been made, before anything is asked through it.

    Raises:
        SettingsError: the URL is not one of a server.
        CacheUnavailable: the embedded server cannot be started.
    """
    scheme = settings.url.partition("://")[0]
    if scheme == "embedded":
        return _open_embedded(settings, connected)
    if scheme == "memory":
        return _open_memory(settings.url)
    _warn_about_trust(settings)
    try:
        return Opened(_OPENERS[scheme](settings.url, connected))
    except ValueError as error:
        raise SettingsError(f"{mask_url(settings.url)!r} is not the URL of a server: {error}.") from error


def _open_embedded(settings: Settings, connected: Callable[[Link], None]) -> Opened:
    try:
        running = server.start(settings.server_home)
    except ServerNotFound as error:
        warn(f"{error} Using memory:// meanwhile: a cache in this process only, gone when it ends.", CacheWarning)
        return _open_memory("memory://")
    except ServerError as error:
        raise CacheUnavailable(str(error)) from error
    return Opened(_open_url(running.url, connected))


def _warn_about_trust(settings: Settings) -> None:
    host = urlsplit(settings.url).hostname
    if settings.secret is None and not settings.url.startswith("unix://") and host not in _LOCAL_HOSTS:
        warn(
            f"Values are unpickled from {host}, and whoever can write there can run code here. "
            "Set FRAPPE_CACHE_SECRET to accept only values signed with it.",
            TrustWarning,
        )


def _client_options(connected: Callable[[Link], None]) -> dict[str, Any]:
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    def greet(connection: Any) -> None:
        connection.on_connect()
        connected(connection)

    # Its own retries would make the first call of an outage wait for seconds, and could push to a list twice.
    return {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "redis_connect_func": greet,
    }


def _open_url(url: str, connected: Callable[[Link], None]) -> Client:
    import redis  # noqa: PLC0415

    client: Client = redis.Redis.from_url(_without_retries(url), max_connections=NO_LIMIT, **_client_options(connected))
    return client


def _without_retries(url: str) -> str:
    """The URL without what `_client_options` decides; the rest of its query is redis-py's."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in ("retry", "protocol")]
    return parts._replace(query=urlencode(kept)).geturl() if kept else url


def _open_sentinel(url: str, connected: Callable[[Link], None]) -> Client:
    from redis.sentinel import Sentinel  # noqa: PLC0415

    hosts, service, credentials = _split_hosts(url)
    if not service:
        raise ValueError("name the service after the hosts, as in sentinel://host1:26379,host2:26379/mymaster")
    options = _client_options(connected)
    # A Sentinel is no server of ours, and what is to be done with each connection is for those to the master.
    asking = {name: value for name, value in options.items() if name != "redis_connect_func"}
    sentinel: Any = Sentinel
    found = sentinel(hosts, sentinel_kwargs=asking, max_connections=NO_LIMIT, **options, **credentials)
    return found.master_for(service)


def _open_cluster(url: str, connected: Callable[[Link], None]) -> Client:
    from redis.cluster import ClusterNode, RedisCluster  # noqa: PLC0415
    from redis.exceptions import RedisClusterException  # noqa: PLC0415

    hosts, _, credentials = _split_hosts(url)
    options: dict[str, Any] = _client_options(connected) | credentials
    # The cluster's client greets by itself, and passes on what else is to be done.
    options["redis_connect_func"] = connected
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

_memory_servers: dict[str, tuple[Any, threading.RLock]] = {}


def _open_memory(url: str) -> Opened:
    import fakeredis  # noqa: PLC0415

    shared, alone = _memory_servers.setdefault(url, (fakeredis.FakeServer(), threading.RLock()))
    for lock in (shared.lock, alone):
        open_in_child(lock)
    return Opened(fakeredis.FakeRedis(server=shared, protocol=2), alone)


def is_cluster(client: Client) -> bool:
    """Whether a client speaks to a cluster, where keys lie in slots."""
    return hasattr(client, "get_primaries")


def pool_of(client: Client) -> Any:
    """The pool behind a client of one server; None for one that has several, or none."""
    return None if is_cluster(client) else getattr(client, "connection_pool", None)


def address(link: Link) -> object:
    """Where a connection leads: two with the same address lead to the same server."""
    return getattr(link, "path", None) or (getattr(link, "host", None), getattr(link, "port", None))


def has_masters(pool: Any) -> bool:
    """Whether where the connections of a pool are to lead is Sentinel's to say, and can change."""
    return hasattr(pool, "get_master_address")


def leads_to(client: Client, *, ask: bool) -> object:
    """Where a new connection of a client's would lead; None where that is not known.

    Args:
        client: redis-py's.
        ask: whether to ask Sentinel, if it is Sentinel who knows; else it is what was known last.
    """
    pool = pool_of(client)
    if pool is None:
        return None
    if not has_masters(pool):
        options = pool.connection_kwargs
        return options.get("path") or (options.get("host", "localhost"), options.get("port", 6379))
    if ask:
        try:
            return pool.get_master_address()
        except connection_errors():  # no Sentinel in reach, or none that knows the master
            return None
    return pool.master_address


def connection_errors() -> tuple[type[Exception], ...]:
    """What redis-py and the sockets raise when a server cannot be reached, or does not answer as one, or in time."""
    from redis import exceptions  # noqa: PLC0415

    # The third: whoever listens there is no Redis, a web server for instance.
    return exceptions.ConnectionError, exceptions.TimeoutError, exceptions.InvalidResponse, OSError


def out_of_reach() -> tuple[type[Exception], ...]:
    """The same, and what we make of it."""
    return *connection_errors(), CacheUnavailable, ServerError


def broken_connection() -> tuple[type[Exception], ...]:
    """The same without time limits: the connection broke, and a new one may well work."""
    from redis import exceptions  # noqa: PLC0415

    return exceptions.ConnectionError, ConnectionError


def explain(error: BaseException) -> str:
    """What to tell the user of an error."""
    # What Sentinel's client says goes on with the `repr` of its connections.
    return str(error).partition(" : <")[0].rstrip(".") or type(error).__name__
