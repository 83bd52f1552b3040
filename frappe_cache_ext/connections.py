"""One connection for each server: what its callers wait for, what they are spared, and what is owed.

* *Time limits.* A caller waits `TIMEOUT` seconds at most for a server that hangs, once. Nothing is retried behind the
  caller's back except a command that does no harm twice, on a connection that broke.
* *The breaker.* After the first failure every call fails at once, without touching the network, until a thread in the
  background has reached the server again. That thread also starts a crashed embedded server anew.
* *Debts.* A write or deletion that the server never saw leaves the old value behind. What was to be changed is
  remembered, and deleted before anything is read again: after an outage an entry may be missing, but never outdated.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from . import large_replies, server
from .clients import (
    NO_LIMIT,
    TIMEOUT,
    Client,
    Link,
    address,
    broken_connection,
    connection_errors,
    explain,
    is_cluster,
    leads_to,
    open_client,
    out_of_reach,
    pool_of,
)
from .codec import Codec
from .context import current_settings, when_destroyed, when_request_begins
from .copies import Copies
from .effects import Command, Owe, Pipeline, ReadInto, RunScript, ScanPage, Sent, ServerRun, Unlink
from .errors import CacheUnavailable, CacheUnavailableWarning, ServerNotFound, warn
from .flights import Flights
from .forks import new_lock, when_forked
from .invalidations import Listener, Refused
from .keys import starts_with
from .pinned import Pinned
from .scripts import Script
from .settings import Settings, mask_url

__all__ = ["TIMEOUT", "Client", "Connection", "Stats", "close_all", "connection_for", "current_connection"]

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

_READS: Final = frozenset(
    (
        *("GET", "MGET", "EXISTS", "PTTL", "TYPE", "SCAN", "PING", "INFO", "HGET", "HGETALL", "HEXISTS", "HKEYS"),
        *("LLEN", "LRANGE", "SISMEMBER", "SMEMBERS", "SRANDMEMBER"),
    )
)
_OF_MANY: Final = frozenset(("DEL", "UNLINK"))


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
class Generation:
    """What this process knows of the generation of a function's results; see `operations.results`.

    Attributes:
        data: its bytes on the server.
        token: what these say.
        missed: whether the last look for a result in it met none.
    """

    data: bytes
    token: str
    missed: bool = False


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
        generations: what `operations.load_result` knows of functions from last time.
        flights: what callers of this process are computing now.
        sockets: how many were connected so far. A server that came back is reached through new ones only, so whatever
            was learnt of it while this number stayed the same is true of one run of it.
        when_back: what to call, in a thread of the background, after an outage.
        copies: what this process keeps of the values there.
        listener: keeps the copies right.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.codec = Codec(settings.secret)
        self.stats = Stats()
        self.generations: dict[bytes, Generation] = {}
        self.flights = Flights()
        self.sockets = 0
        self.when_back: list[Callable[[], None]] = []
        self.copies = Copies()
        self.listener = Listener(self.copies, self._listening_link, self._leads_to)
        self._connected = itertools.count(1)
        self._client: Client | None = None
        self._inherited: list[Client] = []
        self._pinned: Pinned | None = None
        self._scripts: dict[Script, Any] = {}
        self._lock = threading.RLock()
        self._alone: threading.RLock | None = None
        self._debts = Debts()
        self._down: str | None = None
        self._prober: threading.Thread | None = None
        self._closed = False
        _every_connection.add(self)

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
                    opened = open_client(self.settings, self._count_socket)
                    self._alone = opened.alone
                    pool = None if opened.alone is not None else pool_of(opened.client)
                    # Under a limit that somebody set there may be fewer connections than threads.
                    self._pinned = Pinned(opened.client) if getattr(pool, "max_connections", 0) >= NO_LIMIT else None
                    client = self._client = opened.client
        return client

    @property
    def is_memory(self) -> bool:
        """Whether the server is one inside this process."""
        return self._alone is not None

    @property
    def one_server(self) -> bool:
        """Whether all keys lie on one server, so that one script can be told any of them."""
        return not self.settings.url.startswith("cluster://")

    @property
    def is_open(self) -> bool:
        """Whether something was asked of the server since this was made or closed, and the server can be reached."""
        return self._client is not None and self._down is None

    @property
    def down(self) -> str | None:
        """Why the server cannot be reached at the moment; None while it can, as far as is known."""
        return self._down

    def perform(self, effect: Sent) -> Any:
        """Carry out one effect and return its answer.

        Raises:
            CacheUnavailable: the server cannot be reached. Only the first call of an outage waits for that.
        """
        if self._down is not None:
            raise CacheUnavailable(self._down)
        try:
            pinned = self._pinned
            if pinned is not None and type(effect) is Pipeline and _only_reads(effect.commands):
                return self._read(pinned, effect.commands)  # the way that has to be fast
            try:
                return self._send(effect)
            finally:
                # The server's word of it comes in a moment; whoever has just written must not read what was before.
                self.copies.drop(_changed(effect))
        except CacheUnavailable as error:
            self._went_down(str(error))
            raise
        except connection_errors() as error:
            self._went_down(explain(error))
            raise CacheUnavailable(explain(error)) from error

    def owe(self, owed: Owe) -> None:
        """Have values deleted that are out of date, now or as soon as the server can be reached."""
        try:
            with self._lock:
                self._debts.add(owed)
                if self._down is None:
                    self._pay_debts()
        except out_of_reach() as error:
            self._went_down(explain(error))
        finally:
            self.copies.drop(owed.names)

    def check(self) -> None:
        """Ask the server for a sign of life, whatever the breaker says.

        Raises:
            CacheUnavailable: there is none; the message says why.
            ServerError: the embedded server cannot be started.
        """
        try:
            self._revive()
        except connection_errors() as error:
            raise CacheUnavailable(explain(error)) from error
        self._came_back()

    def close(self) -> None:
        """Close the sockets and end the thread in the background; the next effect opens anew."""
        self.listener.stop()
        with self._lock:
            self._closed = True
            client, self._client, self._pinned = self._client, None, None
            self._scripts.clear()
            prober = self._prober
        if client is not None:
            client.close()
        if prober is not None and prober is not threading.current_thread():
            prober.join()
        self._closed = False
        self._down = None

    def close_idle(self) -> None:
        """Close what nobody is using at this moment; everything if nobody uses anything."""
        self.listener.stop()
        if self._pinned is not None:
            self._pinned.close_idle()
            if self._pinned.busy:
                return
        self.close()

    # --- sending --------------------------------------------------------------------------------------------------

    def _count_socket(self, link: Link) -> None:
        self.sockets = next(self._connected)
        self.listener.lead_to(address(link))

    def _leads_to(self, *, ask: bool) -> object:
        """Where new connections lead."""
        client = self._client
        return None if client is None else leads_to(client, ask=ask)

    def _listening_link(self) -> Link:
        """A connection for the listener, beside those of the pool."""
        client = self._client
        if client is None or self._down is not None:
            raise CacheUnavailable(self._down or "it is closed")
        pool = pool_of(client)
        if self._alone is not None or pool is None:
            raise Refused("a server inside this process, or a cluster, names no changed keys")
        link = pool.connection_class(**pool.connection_kwargs)
        link.connect()
        return link

    def _send(self, effect: Sent) -> Any:
        _ = self.client  # opened now, if need be: only then is it known what kind it is
        if self._alone is None:
            return self._send_now(effect)
        with self._alone:
            return self._send_now(effect)

    def _send_now(self, effect: Sent) -> Any:
        if isinstance(effect, Pipeline):
            return self._send_commands(effect.commands)
        if isinstance(effect, RunScript):
            return self._run_script(effect)
        if isinstance(effect, ReadInto):
            return self._read_into(effect.names, effect.places)
        if isinstance(effect, ScanPage):
            return self._scan_page(effect)
        if isinstance(effect, ServerRun):
            return self._server_run()
        return self._unlink(effect.names)

    @staticmethod
    def _read(pinned: Pinned, commands: Sequence[Command]) -> list[Any]:
        asked = tuple(commands)
        try:
            return pinned.read(asked)
        except broken_connection():  # the server may have closed it since it was last used
            return pinned.read(asked)

    def _send_commands(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return self._send_once(commands)
        except broken_connection():
            # A pooled connection may have been closed by the server since it was last used.
            if not _is_harmless_twice(commands):
                raise
            return self._send_once(commands)

    def _send_once(self, commands: Sequence[Command]) -> list[Any]:
        from redis.exceptions import ResponseError  # noqa: PLC0415  (redis is heavy: only those who use it load it)

        client = self.client
        if self._pinned is not None and commands:
            return self._pinned.send(commands, twice=_is_harmless_twice(commands))
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
            if isinstance(reply, connection_errors()):
                raise reply
        return replies

    def _read_into(self, names: Sequence[bytes], places: Sequence[memoryview]) -> list[int | Exception | None]:
        if not self.is_memory and not is_cluster(self.client):
            with contextlib.suppress(large_replies.Unusual, *broken_connection()):
                return [*large_replies.read_into(self.client, names, places)]
        values = self._send_commands([("GET", name) for name in names])
        for value, place in zip(values, places, strict=True):
            if isinstance(value, bytes) and len(value) == len(place):
                place[:] = value
        return [len(value) if isinstance(value, bytes) else value for value in values]

    def _run_script(self, effect: RunScript) -> Any:
        from redis.exceptions import ResponseError  # noqa: PLC0415

        try:
            if self.is_memory:
                return effect.script.plain(
                    self.client.execute_command, (*effect.names, *effect.reads), effect.arguments
                )
            if self._pinned is not None:
                return _unwrapped(self._run_pinned(self._pinned, effect))
            script = self._scripts.get(effect.script)
            if script is None:
                script = self._scripts[effect.script] = self.client.register_script(effect.script.lua)
            return script((*effect.names, *effect.reads), effect.arguments)
        except ResponseError as error:
            return _unwrapped(error)

    @staticmethod
    def _run_pinned(pinned: Pinned, effect: RunScript) -> Any:
        names = (*effect.names, *effect.reads)
        rest = (len(names), *names, *effect.arguments)
        (reply,) = pinned.send([("EVALSHA", effect.script.sha, *rest)], twice=False)
        if isinstance(reply, Exception) and type(reply).__name__ == "NoScriptError":
            (reply,) = pinned.send([("EVAL", effect.script.lua, *rest)], twice=False)
        return reply

    def _server_run(self) -> bytes:
        """The run id of the server, of all nodes for a cluster; empty where INFO is not allowed or not known."""
        from redis.exceptions import ResponseError  # noqa: PLC0415

        try:
            if not is_cluster(self.client):
                return str(self.client.info("server")["run_id"]).encode()
            nodes = self.client.get_primaries()
            runs = [self.client.execute_command("INFO", "server", target_nodes=node)["run_id"] for node in nodes]
        except ResponseError:
            return b""
        return ",".join(sorted(runs)).encode()

    def _scan_page(self, effect: ScanPage) -> tuple[Any, list[bytes]]:
        nodes: list[Any] = self.client.get_primaries() if is_cluster(self.client) else [None]
        index, cursor = effect.cursor or (0, 0)
        where = {} if nodes[index] is None else {"target_nodes": nodes[index]}
        reply = self.client.execute_command("SCAN", cursor, "MATCH", effect.pattern, "COUNT", SCAN_COUNT, **where)
        following, names = reply
        if isinstance(following, dict):  # of a cluster: by node
            following = next(iter(following.values()))
        if int(following):
            return (index, int(following)), names
        return ((index + 1, 0) if index + 1 < len(nodes) else None), names

    def _unlink(self, names: Sequence[bytes]) -> int | Exception:
        if not names:
            return 0
        # On a cluster one command takes the names of one slot only.
        size = 1 if is_cluster(self.client) else UNLINK_BATCH
        batches = [names[start : start + size] for start in range(0, len(names), size)]
        replies = self._send_commands([("UNLINK", *batch) for batch in batches])
        return next((reply for reply in replies if isinstance(reply, Exception)), None) or sum(replies)

    # --- outages --------------------------------------------------------------------------------------------------

    def _went_down(self, reason: str) -> None:
        with self._lock:
            if self._down is not None or self._closed:
                return
            self._down = reason
            self.copies.stop()
            self.stats.outages += 1
            self._prober = threading.Thread(target=self._probe, name="frappe-cache-probe", daemon=True)
            try:
                self._prober.start()
            except RuntimeError:
                # No threads here, or no more: every call has to find out for itself.
                self._prober, self._down = None, None
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
            except out_of_reach():
                continue
            if self._came_back():
                return

    def _revive(self) -> None:
        if self.settings.url.startswith("embedded://") and (self._client is None or self._has_crashed()):
            # Without a binary the client is one of a server inside this process, and says so.
            with contextlib.suppress(ServerNotFound):
                server.start(self.settings.server_home)
        from redis.exceptions import ResponseError  # noqa: PLC0415

        # A server that cannot write to its disk answers even PING with an error; it lives, and serves what it has.
        with contextlib.suppress(ResponseError):
            self.client.ping()

    def _has_crashed(self) -> bool:
        # One that was stopped on purpose stays stopped.
        return server.crashed(self.settings.server_home)

    def _came_back(self) -> bool:
        with self._lock:
            try:
                self._pay_debts()
            except out_of_reach():
                return False
            was_away, self._down = self._down is not None, None
            self._prober = None
        for callback in self.when_back if was_away else ():
            with contextlib.suppress(*out_of_reach()):
                callback()
        return True

    def _pay_debts(self) -> None:
        debts = self._debts
        for _ in range(2):  # a value computed before may be stored while this goes on: see `operations.delete_prefix`
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
        # The client's pool has such a lock, too, and its sockets are the parent's: the child opens its own. What it
        # inherited is kept, for to be closed, by the garbage collector for instance, it would take that lock.
        if self._client is not None:
            self._inherited.append(self._client)
        self._client = self._pinned = None
        self._scripts.clear()
        self.flights.forget()
        self._prober = None
        self._down = None
        self._closed = False
        self.listener.after_fork()


def _is_harmless_twice(commands: Sequence[Command]) -> bool:
    return all(command[0] in _HARMLESS_TWICE for command in commands)


def _only_reads(commands: Sequence[Command]) -> bool:
    for command in commands:  # noqa: SIM110  (a generator takes three times as long)
        if command[0] not in _READS:
            return False
    return True


def _changed(effect: Sent) -> Sequence[bytes]:
    """The names of the keys that an effect may change."""
    if isinstance(effect, Pipeline):
        return [
            name
            for command in effect.commands
            if command[0] not in _READS
            for name in (command[1:] if command[0] in _OF_MANY else command[1:2])
        ]
    return effect.names if isinstance(effect, RunScript | Unlink) else ()


_IN_A_SCRIPT: Final = re.compile(r"Error running script .*@user_script: ?\d+: -?(.+?)\.?", re.DOTALL)
"""What a server before Redis 7 puts around the error of a command that a script called."""


def _unwrapped(reply: Any) -> Any:
    """The reply to a script; an error of one of its commands as that command alone would have told it."""
    if isinstance(reply, Exception) and (found := _IN_A_SCRIPT.fullmatch(str(reply))):
        from redis.connection import DefaultParser  # noqa: PLC0415

        parser: Any = DefaultParser
        return parser.parse_error(found[1])
    return reply


_every_connection: weakref.WeakSet[Connection] = weakref.WeakSet()
_connections: dict[tuple[str, str | None, Path], Connection] = {}
_connections_lock = new_lock()


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


def _close_idle() -> None:
    for connection in list(_connections.values()):
        connection.close_idle()


def _hear() -> None:
    """Read what has come of changes: a request that begins now sees what was changed before."""
    for connection in list(_connections.values()):
        connection.listener.poll()


when_destroyed(_close_idle)
when_request_begins(_hear)


def _after_fork() -> None:
    for connection in list(_every_connection):
        connection._after_fork()


when_forked(_after_fork)


def every_connection() -> Iterable[Connection]:
    """The connections of this process, for `%cache_stats` and `doctor`."""
    return tuple(_connections.values())
