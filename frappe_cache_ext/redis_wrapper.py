"""`frappe.cache`: Frappe's methods over a blocking client."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

from . import context, keys, operations
from .connections import TIMEOUT, Connection, Stats, current_connection
from .context import LocalCache
from .effects import Compute, Effect, FunctionRaised, Outcome, Owe, Pause, Pipeline, Steps
from .errors import MISS
from .leases import heartbeat
from .operations import Scope, milliseconds

T = TypeVar("T")

BLOCKING_SLICE: Final = TIMEOUT / 2


class RedisWrapper:
    """The cache of the current site.

    Every method puts the site's prefix before its keys. What is not a method here goes to the client of redis-py as it
    is, without the prefix: ``cache.incrby("hits", 2)``, ``cache.info()``, ``cache.pipeline()``.

    Example:
        >>> import frappe_cache_ext as frappe
        >>> frappe.init("library.localhost", url="memory://").site
        'library.localhost'
        >>> frappe.cache.set_value("color", "green")
        >>> frappe.cache.get_value("color")
        'green'

    Args:
        connection: the server to keep the current site's keys on; None for the site's own, whichever that is at each
            call.
    """

    def __init__(self, connection: Connection | None = None) -> None:
        self._connection = connection
        self._owner = None if connection is None else id(self)

    def __call__(self) -> RedisWrapper:
        """The cache itself: older code writes ``frappe.cache()``."""
        return self

    @property
    def connection(self) -> Connection:
        """The connection in use."""
        return self._connection or current_connection()

    @property
    def redis(self) -> Any:
        """The client of redis-py underneath, which knows no prefix."""
        return self.connection.client

    @property
    def stats(self) -> Stats:
        """What this process met on the connection in use."""
        return self.connection.stats

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # a look for a protocol, such as `_repr_html_`, must not open a connection
            raise AttributeError(name)
        return getattr(self.redis, name)

    def __repr__(self) -> str:
        return f"<RedisWrapper of site {context.current_settings().site!r}>"

    # --- names ----------------------------------------------------------------------------------------------------

    def make_key(self, key: object, user: str | bool | None = None, shared: bool = False) -> bytes:
        """The name of a key on the wire.

        Args:
            key: the key.
            user: a user whose key it is; True for the session's.
            shared: True for a key that belongs to no site.
        """
        if user is True:
            user = context.current_user()
        return keys.make_key(context.current_settings().db_name, key, user or None, shared)

    # --- strings --------------------------------------------------------------------------------------------------

    def set_value(
        self,
        key: object,
        val: Any,
        user: str | bool | None = None,
        expires_in_sec: float | timedelta | None = None,
        shared: bool = False,
    ) -> None:
        """Store a value.

        Example:
            >>> import frappe_cache_ext as frappe
            >>> frappe.init("library.localhost", url="memory://").site
            'library.localhost'
            >>> frappe.cache.set_value("color", "green", expires_in_sec=60)

        Args:
            key: the key.
            val: anything that can be pickled.
            user: a user whose value it is; True for the session's.
            expires_in_sec: seconds after which it is gone; None for never. Storing again drops an old expiry.
            shared: True for a key that belongs to no site.

        Raises:
            NotCacheable: a part of the value cannot be pickled; nothing was stored.
            ValueError: the expiry is zero or negative.
        """
        name = self.make_key(key, user, shared)
        return self._run(operations.set_value(self.scope(), name, val, milliseconds(expires_in_sec)))

    def get_value(
        self,
        key: object,
        generator: Callable[[], Any] | None = None,
        user: str | bool | None = None,
        expires: bool = False,
        shared: bool = False,
        *,
        use_local_cache: bool = True,
        default: Any = None,
    ) -> Any:
        """The value of a key.

        Args:
            key: the key.
            generator: computes the value on a miss; it is stored, and returned. One caller computes, the others wait.
            user: a user whose value it is; True for the session's.
            expires: True keeps the value out of `frappe.local.cache`.
            shared: True for a key that belongs to no site.
            use_local_cache: False asks the server even if this request has the value already.
            default: what to return on a miss without a generator. A stored None is no miss.
        """
        name = self.make_key(key, user, shared)
        local = self._local()
        if local is not None and use_local_cache and (held := local.get_held(name)) is not None:
            value = held.value()
            if value is not MISS:
                self.stats.local_hits += 1
                return value
            if generator is None:
                return default
        scope = self._scope_with(None if expires else local)
        return self._run(operations.get_value(scope, name, generator, default))

    def exists(self, *names: object, user: str | bool | None = None, shared: bool = False) -> int:
        """How many of the keys exist."""
        return self._run(operations.exists([self.make_key(name, user, shared) for name in names]))

    def expire_key(
        self, key: object, time: float | timedelta, user: str | bool | None = None, shared: bool = False
    ) -> bool:
        """Let a key expire.

        Args:
            key: the key.
            time: seconds from now.
            user: a user whose key it is; True for the session's.
            shared: True for a key that belongs to no site.

        Returns:
            False where there is no such key.

        Raises:
            ValueError: the time is zero or negative.
        """
        name = self.make_key(key, user, shared)
        return self._run(operations.expire_key(self.scope(), name, milliseconds(time)))

    def get_expiry(self, key: object, user: str | bool | None = None, shared: bool = False) -> float | None:
        """Seconds until a key expires: ``inf`` for one without an expiry, None where there is no such key."""
        return self._run(operations.time_to_live(self.make_key(key, user, shared)))

    def get_all(self, key: object) -> dict[str, Any]:
        """The value of every key of the site that begins with this text, by key.

        A hash appears as a dictionary; the members of lists and sets as raw bytes.
        """
        db_name = context.current_settings().db_name
        return self._run(operations.get_all(self.scope(), self.make_key(key), db_name))

    def get_keys(self, key: object = "") -> list[bytes]:
        """The names on the wire of the site's keys that begin with this text, sorted."""
        return self._run(operations.names_starting(self.make_key(key)))

    def delete_keys(self, key: object) -> None:
        """Delete every key of the site that begins with this text, which is taken literally."""
        return self._run(operations.delete_starting(self.scope(), self.make_key(key)))

    def delete_value(
        self,
        keys: object,
        user: str | bool | None = None,
        make_keys: bool = True,
        shared: bool = False,
    ) -> None:
        """Delete one key, or each of an iterable of keys.

        Args:
            keys: a key, or any iterable of keys.
            user: a user whose keys they are; True for the session's.
            make_keys: False for names as they are on the wire, such as `get_keys` returns.
            shared: True for keys that belong to no site.

        Raises:
            ValueError: a name on the wire is another site's.
        """
        if make_keys:
            names = [self.make_key(key, user, shared) for key in operations.as_iterable(keys)]
        else:
            names = [self._own_name(name, shared) for name in operations.as_iterable(keys)]
        return self._run(operations.delete(self.scope(), names))

    delete_key = delete_value

    def _own_name(self, name: object, shared: bool) -> bytes:
        encoded = name if isinstance(name, bytes) else keys.encode(str(name))
        settings = context.current_settings()
        if not shared and not encoded.startswith(keys.site_prefix(settings.db_name)):
            raise ValueError(
                f"{keys.decode(encoded)!r} is not the name of a key of site {settings.site!r}. With make_keys=False, "
                "names are given as get_keys() returns them; a key that belongs to no site takes shared=True."
            )
        return encoded

    # --- hashes ---------------------------------------------------------------------------------------------------

    def hset(self, name: object, key: object, value: Any, shared: bool = False, cache_locally: bool = True) -> None:
        """Store one field of a hash.

        Args:
            name: the hash's key.
            key: the field.
            value: anything that can be pickled.
            shared: True for a hash that belongs to no site.
            cache_locally: False keeps the value out of `frappe.local.cache`.

        Raises:
            NotCacheable: a part of the value cannot be pickled; nothing was stored.
        """
        encoded, field = self.make_key(name, shared=shared), _field(key)
        local = self._local()
        if local is not None and not cache_locally:
            local.forget_field(encoded, keys.decode(field))
            local = None
        return self._run(operations.hset(self._scope_with(local), encoded, field, value))

    def hget(
        self,
        name: object,
        key: object,
        generator: Callable[[], Any] | None = None,
        shared: bool = False,
        *,
        use_local_cache: bool = True,
        default: Any = None,
    ) -> Any:
        """The value of one field of a hash.

        Args:
            name: the hash's key.
            key: the field.
            generator: computes the value on a miss; it is stored, and returned.
            shared: True for a hash that belongs to no site.
            use_local_cache: False asks the server even if this request has the value already.
            default: what to return on a miss without a generator. A stored None is no miss.
        """
        encoded, field = self.make_key(name, shared=shared), _field(key)
        local = self._local()
        if local is not None and use_local_cache:
            held = local.get_held_field(encoded, keys.decode(field))
            if held is not None:
                value = held.value()
                if value is not MISS:
                    self.stats.local_hits += 1
                    return value
                if generator is None:
                    return default
        return self._run(operations.hget(self._scope_with(local), encoded, field, generator, default))

    def hgetall(self, name: object, shared: bool = False) -> dict[str, Any]:
        """All fields of a hash, by their names as text."""
        return self._run(operations.hgetall(self.scope(), self.make_key(name, shared=shared)))

    def hexists(self, name: object, key: object, shared: bool = False) -> bool:
        """Whether a hash has a field."""
        return self._run(operations.hexists(self.make_key(name, shared=shared), _field(key)))

    def hdel(self, name: object, keys: object, shared: bool = False) -> int:
        """Delete one field of a hash, or each of an iterable of fields; how many there were."""
        fields = [_field(key) for key in operations.as_iterable(keys)]
        return self._run(operations.hdel(self.scope(), [self.make_key(name, shared=shared)], fields))

    def hdel_names(self, names: object, key: object) -> int:
        """Delete one field from each of some hashes; how many there were."""
        encoded = [self.make_key(name) for name in operations.as_iterable(names)]
        return self._run(operations.hdel(self.scope(), encoded, (_field(key),)))

    def hdel_keys(self, name_starts_with: object, key: object) -> int:
        """Delete one field from every hash of the site whose key begins with this text; how many there were."""
        return self._run(operations.hdel_starting(self.scope(), self.make_key(name_starts_with), _field(key)))

    def hkeys(self, name: object, shared: bool = False) -> list[bytes]:
        """The fields of a hash, as bytes."""
        return self._raw([], list, "HKEYS", name, shared=shared)

    # --- lists and sets: raw bytes in and out ---------------------------------------------------------------------

    def lpush(self, key: object, *values: Any) -> int:
        """Put values before a list's first; its length then."""
        return self._raw(0, int, "LPUSH", key, *values)

    def rpush(self, key: object, *values: Any) -> int:
        """Put values after a list's last; its length then."""
        return self._raw(0, int, "RPUSH", key, *values)

    def lpop(self, key: object) -> bytes | None:
        """Take a list's first value; None where it is empty."""
        return self._raw(None, operations.bytes_or_none, "LPOP", key)

    def rpop(self, key: object) -> bytes | None:
        """Take a list's last value; None where it is empty."""
        return self._raw(None, operations.bytes_or_none, "RPOP", key)

    def blpop(self, key: object, timeout: float = 0) -> tuple[bytes, bytes] | None:
        """Take the first value of a list, or of the first of some lists that has one, waiting for it.

        Args:
            key: a key, or any iterable of keys.
            timeout: seconds to wait at most; 0 for as long as it takes.

        Returns:
            The list's name on the wire and the value; None when the time is over.
        """
        names = [self.make_key(each) for each in operations.as_iterable(key)]
        connection = self.connection
        # A server inside this process does nothing else while a command blocks.
        inside = connection.is_memory or connection.settings.url.startswith("memory://")
        slice_seconds = 0.0 if inside else BLOCKING_SLICE
        return self._run(operations.blocking_pop(self.scope(), names, timeout, slice_seconds))

    def llen(self, key: object) -> int:
        """The length of a list."""
        return self._raw(0, int, "LLEN", key)

    def lrange(self, key: object, start: int, stop: int) -> list[bytes]:
        """Some values of a list, both ends included."""
        return self._raw([], list, "LRANGE", key, start, stop)

    def ltrim(self, key: object, start: int, stop: int) -> bool:
        """Keep some values of a list, both ends included, and drop the rest."""
        return self._raw(False, bool, "LTRIM", key, start, stop)

    def sadd(self, name: object, *values: Any) -> int:
        """Put members into a set; how many were new."""
        return self._raw(0, int, "SADD", name, *values)

    def srem(self, name: object, *values: Any) -> int:
        """Take members out of a set; how many were in it."""
        return self._raw(0, int, "SREM", name, *values)

    def sismember(self, name: object, value: Any) -> bool:
        """Whether a set has a member."""
        return self._raw(False, bool, "SISMEMBER", name, value)

    def spop(self, name: object) -> bytes | None:
        """Take a random member out of a set; None where it is empty."""
        return self._raw(None, operations.bytes_or_none, "SPOP", name)

    def srandmember(self, name: object, count: int | None = None) -> Any:
        """A random member of a set, or a list of `count` of them."""
        if count is None:
            return self._raw(None, operations.bytes_or_none, "SRANDMEMBER", name)
        return self._raw([], list, "SRANDMEMBER", name, count)

    def smembers(self, name: object) -> set[bytes]:
        """All members of a set."""
        return self._raw(set(), set, "SMEMBERS", name)

    # --- running operations ---------------------------------------------------------------------------------------

    def _local(self) -> LocalCache | None:
        request = context.current_request()
        return None if request is None else request.cache_of(self._owner)

    def scope(self) -> Scope:
        """What operations on this cache work with, here and now."""
        return self._scope_with(self._local())

    def _scope_with(self, local: LocalCache | None) -> Scope:
        connection = self.connection
        return Scope(
            connection.codec,
            connection.stats,
            connection.generations,
            local,
            flights=connection.flights,
            one_server=connection.one_server,
        )

    # Every method ends by returning what `_run` returns: `aio` runs the same methods, and awaits what that stands for.

    def _raw(
        self, default: T, convert: Callable[[Any], T], command: str, key: object, *arguments: Any, shared: bool = False
    ) -> T:
        name = self.make_key(key, shared=shared)
        return self._run(operations.raw(self.scope(), default, convert, command, name, *arguments))

    def _run(self, steps: Steps[T]) -> T:
        return run(steps, self.connection)


def run(steps: Steps[T], connection: Connection) -> T:
    """Run an operation on a connection, blocking, and return its result.

    Whatever an effect raises, the operation sees at its ``yield``, and it may ask for more before it lets it pass.
    """
    raised: BaseException
    try:
        effect = next(steps)
        while True:
            try:
                answer = _perform(effect, connection)
            except BaseException as error:  # KeyboardInterrupt too: the operation may hold a lease, or be half done
                # Without this frame, which the way out through the operation adds: each shows once in a traceback.
                below = error.__traceback__.tb_next if error.__traceback__ is not None else None
                effect = steps.throw(error.with_traceback(below))
            else:
                effect = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    except FunctionRaised as error:
        raised = error.error
    try:
        raise raised
    finally:
        del raised  # its traceback refers to this frame


def _perform(effect: Effect, connection: Connection) -> Any:
    if isinstance(effect, Pipeline):
        return connection.perform(effect)
    if isinstance(effect, Compute):
        return _compute(effect, connection)
    if isinstance(effect, Pause):
        return time.sleep(effect.seconds) if effect.until is None else effect.until.wait(effect.seconds)
    if isinstance(effect, Owe):
        return connection.owe(effect)
    return connection.perform(effect)


def _compute(effect: Compute, connection: Connection) -> Outcome:
    kept = heartbeat.keep(effect.lease, connection) if effect.lease is not None else contextlib.nullcontext()
    try:
        with kept:
            return Outcome(value=effect.function())
    except BaseException as error:  # KeyboardInterrupt too must give the lease back
        return Outcome(error=error)


def _field(key: object) -> bytes:
    return key if isinstance(key, bytes) else keys.encode(f"{key}")
