"""`@redis_cache`: keep what a function returns on the server, for all processes of a site.

Its two neighbours, which keep results in this process, are in `local_caching`; all three are found here, as in Frappe's
`frappe.utils.caching`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Hashable
from datetime import timedelta
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, Protocol, TypeVar, overload

from . import context, fingerprint, keys, operations
from .call_slots import NotPlain, new_slots
from .cells.called import Called
from .connections import Connection, current_connection
from .copies import Slot
from .effects import Steps
from .errors import MISS, CacheError, NotCacheable, NotCachedWarning, in_words, warn
from .forks import open_in_child
from .invalidations import FIRST_WAIT
from .local_caching import check_function, request_cache, site_cache
from .operations import Scope, milliseconds
from .redis_wrapper import RedisWrapper, run
from .settings import Settings

__all__ = ["CacheInfo", "CachedFunction", "redis_cache", "request_cache", "site_cache"]

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DEFAULT_TTL: Final = 3600
"""Seconds for which `redis_cache` keeps a result unless told otherwise, as in Frappe."""


class CacheInfo(NamedTuple):
    """What a function's callers met in this process.

    Attributes:
        hits: calls that were answered without running the function.
        misses: calls that ran it.
        ttl: seconds for which a result is kept; None for as long as there is room.
    """

    hits: int
    misses: int
    ttl: float | None


class CachedFunction(Protocol[P, T_co]):
    """A function under `redis_cache`."""

    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """The result, stored or computed now."""

    @overload
    def __get__(self, instance: None, owner: type) -> CachedFunction[P, T_co]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], T_co], instance: S, owner: type | None = None
    ) -> CachedFunction[Q, T_co]: ...

    def clear_cache(self) -> None:
        """Forget all results of this function on the current site, those of all users."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the result of one call."""

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """The name on the wire of the result of one call."""

    def cache_info(self) -> CacheInfo:
        """How many calls of this process hit and missed."""


@overload
def redis_cache(function: Callable[P, T], /) -> CachedFunction[P, T]: ...
@overload
def redis_cache(
    ttl: float | timedelta | None = DEFAULT_TTL,
    user: str | bool | None = None,
    shared: bool = False,
    *,
    cache_none: bool = True,
    key: Callable[..., Any] | None = None,
    version: Hashable | None = None,
    stale: float | timedelta | None = None,
    early: float = 0,
    copies: bool = True,
) -> Callable[[Callable[P, T]], CachedFunction[P, T]]: ...
def redis_cache(
    ttl: Any = DEFAULT_TTL,
    user: str | bool | None = None,
    shared: bool = False,
    *,
    cache_none: bool = True,
    key: Callable[..., Any] | None = None,
    version: Hashable | None = None,
    stale: float | timedelta | None = None,
    early: float = 0,
    copies: bool = True,
) -> Any:
    """Keep what a function returns on the server, for all processes of the site.

    A result is found again for the same code and the same arguments: an edited function computes anew, and so does one
    of whose helpers, or their helpers, one was edited (see `cells.called`); ``1``, ``1.0`` and ``True`` are different
    arguments. Of callers that miss at the same time, in whatever process, one
    computes and the others wait for its result. Where the cache cannot help (the server is away, an argument or the
    result has no content to store) the function simply runs; a warning says what was not cached, and why.

    Example:
        >>> import frappe_cache_ext as frappe
        >>> frappe.init("library.localhost", url="memory://").site
        'library.localhost'
        >>> @frappe.redis_cache(ttl=60)
        ... def shelf(book):
        ...     print("looking for", book)
        ...     return 7
        >>> shelf("Emma"), shelf("Emma")
        looking for Emma
        (7, 7)
        >>> shelf.clear_cache()

    Args:
        ttl: seconds for which a result is kept; None for as long as there is room.
        user: True keeps results for each session's user apart; a name keeps them for that user.
        shared: True shares results between all sites.
        cache_none: False does not store None.
        key: called with the arguments; what it returns tells calls apart, in place of the arguments.
        version: stands for the function's code: with it, results survive an edit until it is changed.
        stale: seconds for which a result is kept after its ttl. While one caller computes it anew, the others get the
            old one without waiting; so does the one, with a warning, if the function raises.
        early: computes a result anew before its ttl is over, the likelier the nearer that is and the longer the
            function takes, so that callers seldom meet a cold key: 1 is the best guess, more is earlier, 0 is off
            (XFetch, see `operations.early`).
        copies: False keeps nothing in this process beyond a request. Else a result that was read once is kept here,
            too, until the server says that it has changed; see `invalidations`.

    Raises:
        TypeError: what is decorated is not a function, or returns a generator.
        ValueError: the ttl, stale or early is zero or negative, or there is no ttl for them to go by.
    """
    if callable(ttl):
        return _RedisCache(DEFAULT_TTL, user, shared, cache_none, key, version, stale, early, copies).decorate(ttl)
    if isinstance(ttl, classmethod | staticmethod):
        raise TypeError(f"Write @redis_cache below @{type(ttl).__name__}, not above it.")
    return _RedisCache(ttl, user, shared, cache_none, key, version, stale, early, copies).decorate


class _RedisCache:
    """One use of `redis_cache`: its options, and the steps that a call takes."""

    def __init__(
        self,
        ttl: float | timedelta | None,
        user: str | bool | None,
        shared: bool,
        cache_none: bool,
        key: Callable[..., Any] | None,
        version: Hashable | None,
        stale: float | timedelta | None,
        early: float,
        copies: bool,
    ) -> None:
        self.ttl = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
        self.expiry = milliseconds(ttl)
        self.user = user
        self.shared = shared
        self.wanted: Callable[[Any], bool] | None = None if cache_none else _is_not_none
        self.key = key
        self.version = version
        self.stale = milliseconds(stale)
        self.early = _beta(early)
        if not self.expiry and (self.stale or self.early):
            raise ValueError("stale= and early= go by the time at which a result expires: give it a ttl.")
        # What belongs to no site has no prefix to listen for.
        self.copies = copies and not shared

    def decorate(self, function: Callable[..., Any]) -> Any:
        """The function with its cache in front."""
        check_function(function, "redis_cache")
        self.function = function
        self.called = Called(function)
        self.looking = open_in_child(threading.RLock())
        self.prefix = keys.function_key(function.__module__, function.__qualname__)
        self.cache = RedisWrapper()
        self.shelves: dict[tuple[Connection, str], _Shelf] = {}
        self.near = _NOWHERE
        self.without_slot = 0
        self.misses = 0
        cached: Any = self._asynchronous() if inspect.iscoroutinefunction(function) else self._blocking()
        cached.__frappe_cached__ = True
        cached.clear_cache = self.clear_cache
        cached.invalidate = self.invalidate
        cached.cache_key = self.cache_key
        cached.cache_info = self.cache_info
        _every_cache.add(self)
        return cached

    def _blocking(self) -> Callable[..., Any]:
        function, chosen, defaults, now = self.function, context.chosen_settings, context.defaults, time.monotonic

        # Everything up to `answer` is repeated millions of times: no call in it, and no look-up, that could be spared.
        @functools.wraps(function)
        def cached(*args: Any, **kwargs: Any) -> Any:
            settings, slots, copies, holds, _ = self.near
            slot: Slot | None = _UNKNOWN
            if settings is (chosen() or defaults.settings):
                try:
                    slot = slots(*args, **kwargs) if kwargs else slots(*args)
                except NotPlain:
                    slot = None
                except Exception:  # an argument's own `__hash__` or `__eq__` can raise anything
                    slot = None
                    self.without_slot += 1
                else:
                    copy = slot.copy
                    if copy is not None:
                        time = now()
                        if time < copy.deadline and time < copies.good_until and (holds is None or holds()):
                            copy.used = True
                            body = copy.body
                            return copy.value if body is None else copy.load(body)
            value, steps = self.answer(args, kwargs, slot)
            if value is not MISS:
                return value
            if steps is None:
                return function(*args, **kwargs)
            return run(steps, self.cache.connection)

        return cached

    def _asynchronous(self) -> Callable[..., Awaitable[Any]]:
        from .aio import run_async  # noqa: PLC0415  (asyncio is not loaded for those who do without)

        @functools.wraps(self.function)
        async def cached(*args: Any, **kwargs: Any) -> Any:
            value, steps = self.answer(args, kwargs, _UNKNOWN, wait=0)
            if value is not MISS:
                return value
            if steps is None:
                return await self.function(*args, **kwargs)
            return await run_async(steps, self.cache.connection)

        return cached

    def answer(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], slot: Slot | None, wait: float = FIRST_WAIT
    ) -> tuple[Any, Steps[Any] | None]:
        """The value of a copy, or MISS and what a call does; ``(MISS, None)`` where no key can be made for it.

        Args:
            args: the call's arguments.
            kwargs: those by name.
            slot: the call's; None if it has none, `_UNKNOWN` if that is not known yet.
            wait: seconds to wait if this process does not listen for changes yet.
        """
        holds, shelf = self.near[3:]
        try:
            if slot is _UNKNOWN or not (holds is None or holds()):
                slot, shelf = _UNKNOWN, self._shelf()
            if self.key is not None:
                given, named = (self.key(*args, **kwargs),), {}
            else:
                given, named = args, kwargs
            if slot is _UNKNOWN:
                slot = self._slot(shelf, given, named)
            call = self._call(shelf, slot, given, named)
        except NotCacheable as error:
            return self._no_key(
                f"{error}. Leave it out with key=, a function of the arguments that returns what tells calls apart."
            )
        except CacheError:  # of the settings, for instance
            raise
        except Exception as error:  # what the user's own objects raise when they are looked at, or their key=
            return self._no_key(f"no key can be made for it ({in_words(error)}).")
        scope = self._scope(shelf, wait)
        if scope.copies is not None:
            known = scope.generations.get(shelf.generation_name)
            copy = None if known is None else scope.copies.find(call.name(known.token))
            if copy is not None:
                if slot is not None:
                    copy.link(slot)
                return copy.read(), None

        def compute() -> Any:
            self.misses += 1
            return self.function(*args, **kwargs)

        name, expiry, wanted, stale, early = shelf.generation_name, self.expiry, self.wanted, self.stale, self.early
        return MISS, operations.load_result(scope, name, call.name, compute, expiry, wanted, stale=stale, early=early)

    def _no_key(self, reason: str) -> tuple[Any, None]:
        self.misses += 1
        warn(f"not cached: {self.function.__qualname__}(): {reason}", NotCachedWarning)
        return MISS, None

    def clear_cache(self) -> None:
        """Forget all results of this function on the current site, those of all users."""
        run(operations.clear(self.cache.scope(), self._generation_name()), self.cache.connection)

    def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Forget the result of one call."""
        call = self._named(args, kwargs)
        run(operations.invalidate(self.cache.scope(), self._generation_name(), call.name), self.cache.connection)

    def cache_key(self, *args: Any, **kwargs: Any) -> bytes:
        """The name on the wire of the result of one call."""
        call = self._named(args, kwargs)
        return run(operations.entry_name(self.cache.scope(), self._generation_name(), call.name), self.cache.connection)

    def cache_info(self) -> CacheInfo:
        """How many calls of this process hit and missed."""
        calls = self.without_slot + sum(shelf.calls() for shelf in self.shelves.values())
        return CacheInfo(calls - self.misses, self.misses, self.ttl)

    def leave(self) -> None:
        """Look again, at the next call, at all that seldom changes."""
        self.near = _NOWHERE

    # --- from a call to the name of its result --------------------------------------------------------------------

    def _shelf(self) -> _Shelf:
        """What belongs to the current site, for the function's code as it is now."""
        settings, connection = context.current_settings(), current_connection()
        with self.looking:  # what another thread is putting together must not be read half made
            return self._shelf_of(settings, connection)

    def _shelf_of(self, settings: Settings, connection: Connection) -> _Shelf:
        shelf = self.shelves.get((connection, settings.db_name))
        if shelf is None:
            shelf = self.shelves[connection, settings.db_name] = _Shelf(
                connection, keys.site_prefix(settings.db_name), self._generation_name()
            )
        if self.version is None:
            shelf.follow(self.called.digest(), self.called.steady)
        if self.key is None and self.user is not True and shelf.steady:
            # A code object put in the function's place is noticed here, and so at the latest in the next cell.
            holds = self.called.holds if self.version is None else None
            self.near = settings, shelf.slots, connection.copies, holds, shelf
        return shelf

    def _slot(self, shelf: _Shelf, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Slot | None:
        if not shelf.steady:
            self.without_slot += 1
            return None
        if self.user is True:
            args = (context.current_user(), *args)
        try:
            return shelf.slots(*args, **kwargs)
        except NotPlain:
            return None
        except Exception:  # an argument's own `__hash__` or `__eq__` can raise anything
            self.without_slot += 1
            return None

    def _call(self, shelf: _Shelf, slot: Slot | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        call: _Call | None = None if slot is None else slot.call
        if call is None:
            call = _Call(self, self._digest(shelf, args, kwargs))
            if slot is not None:
                slot.call = call
        return call

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        if self.key is not None:
            args, kwargs = (self.key(*args, **kwargs),), {}
        return _Call(self, self._digest(self._shelf(), args, kwargs))

    def _digest(self, shelf: _Shelf, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if self.version is not None:
            call = ("version", self.version, args, tuple(kwargs.items()))
            return fingerprint.digest(call, self.function.__qualname__)
        if not shelf.steady:
            return fingerprint.call_digest(self.function, args, kwargs, shelf.called)
        if shelf.digests is None:
            shelf.digests = fingerprint.CallDigests(self.function, shelf.called)
        return shelf.digests.of(args, kwargs)

    def _scope(self, shelf: _Shelf, wait: float) -> Scope:
        connection = shelf.connection
        if self.copies and connection.is_open:
            if connection.listener.hears_of(shelf.site_prefix, wait):
                return shelf.copying
            if connection.listener.refused is None:
                # What a request remembers could be older than a copy that was used since.
                return shelf.plain
        return shelf.plain if context.current_request() is None else self.cache.scope()

    def _generation_name(self) -> bytes:
        return self.cache.make_key(keys.generation_key(self.prefix), shared=self.shared)


class _Shelf:
    """What a function's calls on one site have in common.

    Attributes:
        connection: the site's.
        site_prefix: what the names of its keys begin with.
        generation_name: the name of the key that holds the function's generation.
        plain: what its operations work with outside any request.
        copying: the same where copies are kept.
        called: the digest of the code that the function calls.
        steady: whether calls have slots: not where something that counts can change without a sign.
        digests: digests of the calls of a steady function; None before the first.
        slots: its calls' slots, as long as that code stays the same.
    """

    def __init__(self, connection: Connection, site_prefix: bytes, generation_name: bytes) -> None:
        self.connection = connection
        self.site_prefix = site_prefix
        self.generation_name = generation_name
        self.plain = Scope(
            connection.codec,
            connection.stats,
            connection.generations,
            flights=connection.flights,
            one_server=connection.one_server,
        )
        self.copying = dataclasses.replace(self.plain, copies=connection.copies)
        self.called = b""
        self.steady = True
        self.digests: fingerprint.CallDigests | None = None
        self.slots = new_slots()
        self.earlier = 0

    def follow(self, called: bytes, steady: bool) -> None:
        """Begin anew if the code was looked at again: only then is the digest another object."""
        if called is not self.called:
            self.earlier = self.calls()
            self.called, self.steady = called, steady
            self.digests = None
            self.slots = new_slots()

    def calls(self) -> int:
        """How many calls were looked up."""
        counted = self.slots.cache_info()
        return self.earlier + counted.hits + counted.misses


class _Call:
    """A call, and the name of its result."""

    __slots__ = ("cache", "digest", "last")

    def __init__(self, cache: _RedisCache, digest: str) -> None:
        self.cache = cache
        self.digest = digest
        # A pair, replaced in one step: another thread may ask for the name in another generation.
        self.last = ("", b"")

    def name(self, generation: str) -> bytes:
        """The name on the wire, for the session's user where results belong to users."""
        of, name = self.last
        if of != generation or self.cache.user is True:
            cache = self.cache
            key = keys.result_key(cache.prefix, generation, self.digest)
            name = cache.cache.make_key(key, cache.user, cache.shared)
            self.last = generation, name
        return name


def _nothing(*_args: Any, **_kwargs: Any) -> Any:
    raise NotPlain


_UNKNOWN: Final = Slot()
_NOWHERE: Final[Any] = (object(), _nothing, None, None, None)
"""What is near before a function was called, and after a cell: no site's settings are these."""

_every_cache: weakref.WeakSet[_RedisCache] = weakref.WeakSet()


def _leave_all() -> None:
    for cache in list(_every_cache):
        cache.leave()


context.when_cell_ends(_leave_all)


def _beta(early: Any) -> float:
    if isinstance(early, bool) or not isinstance(early, int | float) or not 0 <= early < math.inf:
        raise ValueError(f"early= is a number, 1 for the best guess and 0 for never, not {early!r}.")
    return float(early)


def _is_not_none(value: object) -> bool:
    return value is not None
