"""Decorators that cache what functions return: in Redis, in this process, or for one request.

* `redis_cache` keeps results on the server, for all processes of a site.
* `site_cache` keeps the objects themselves in this process, for each site apart.
* `request_cache` keeps the objects themselves until the request ends.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from datetime import timedelta
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, Protocol, TypeVar, overload

from . import context, fingerprint, keys, operations
from .effects import Steps
from .errors import MISS, NotCacheable, NotCachedWarning, warn
from .operations import milliseconds
from .redis_wrapper import RedisWrapper, run

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
) -> Callable[[Callable[P, T]], CachedFunction[P, T]]: ...
def redis_cache(
    ttl: Any = DEFAULT_TTL,
    user: str | bool | None = None,
    shared: bool = False,
    *,
    cache_none: bool = True,
    key: Callable[..., Any] | None = None,
    version: Hashable | None = None,
) -> Any:
    """Keep what a function returns on the server, for all processes of the site.

    A result is found again for the same code and the same arguments: an edited function computes anew, and ``1``,
    ``1.0`` and ``True`` are different arguments. Of callers that miss at the same time, in whatever process, one
    computes and the others wait for its result. Where the cache cannot help (the server is away, an argument or the
    result has no content to store) the function simply runs; a warning says what was not cached, and why.

    Example:
        >>> context.init("library.localhost", url="memory://").site
        'library.localhost'
        >>> @redis_cache(ttl=60)
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

    Raises:
        TypeError: what is decorated is not a function, or returns a generator.
        ValueError: the ttl is zero or negative.
    """
    if callable(ttl):
        return _RedisCache(DEFAULT_TTL, user, shared, cache_none, key, version).decorate(ttl)
    if isinstance(ttl, classmethod | staticmethod):
        raise TypeError(f"Write @redis_cache below @{type(ttl).__name__}, not above it.")
    return _RedisCache(ttl, user, shared, cache_none, key, version).decorate


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
    ) -> None:
        self.ttl = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
        self.expiry = milliseconds(ttl)
        self.user = user
        self.shared = shared
        self.wanted: Callable[[Any], bool] | None = None if cache_none else _is_not_none
        self.key = key
        self.version = version

    def decorate(self, function: Callable[..., Any]) -> Any:
        """The function with its cache in front."""
        _check_function(function, "redis_cache")
        self.function = function
        self.prefix = keys.function_key(function.__module__, function.__qualname__)
        self.cache = RedisWrapper()
        self.hits = 0
        self.misses = 0
        cached: Any = self._asynchronous() if inspect.iscoroutinefunction(function) else self._blocking()
        cached.__frappe_cached__ = True
        cached.clear_cache = self.clear_cache
        cached.invalidate = self.invalidate
        cached.cache_key = self.cache_key
        cached.cache_info = self.cache_info
        return cached

    def _blocking(self) -> Callable[..., Any]:
        @functools.wraps(self.function)
        def cached(*args: Any, **kwargs: Any) -> Any:
            steps = self.steps(args, kwargs)
            if steps is None:
                return self.function(*args, **kwargs)
            return run(steps, self.cache.connection)

        return cached

    def _asynchronous(self) -> Callable[..., Awaitable[Any]]:
        from .aio import run_async  # noqa: PLC0415  (asyncio is not loaded for those who do without)

        @functools.wraps(self.function)
        async def cached(*args: Any, **kwargs: Any) -> Any:
            steps = self.steps(args, kwargs)
            if steps is None:
                return await self.function(*args, **kwargs)
            return await run_async(steps, self.cache.connection)

        return cached

    def steps(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Steps[Any] | None:
        """What a call does; None where no key can be made for it."""
        try:
            digest = self._digest(args, kwargs)
        except NotCacheable as error:
            self.misses += 1
            warn(
                f"not cached: {self.function.__qualname__}(): {error}. Leave it out with key=, a function of the "
                "arguments that returns what tells calls apart.",
                NotCachedWarning,
            )
            return None

        self.hits += 1

        def compute() -> Any:
            self.hits -= 1
            self.misses += 1
            return self.function(*args, **kwargs)

        return operations.load_result(
            self.cache.scope(), self._generation_name(), self._entry_name(digest), compute, self.expiry, self.wanted
        )

    def clear_cache(self) -> None:
        """Forget all results of this function on the current site, those of all users."""
        run(operations.clear(self.cache.scope(), self._generation_name()), self.cache.connection)

    def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Forget the result of one call."""
        name_for = self._entry_name(self._digest(args, kwargs))
        run(operations.invalidate(self.cache.scope(), self._generation_name(), name_for), self.cache.connection)

    def cache_key(self, *args: Any, **kwargs: Any) -> bytes:
        """The name on the wire of the result of one call."""
        name_for = self._entry_name(self._digest(args, kwargs))
        steps = operations.entry_name(self.cache.scope(), self._generation_name(), name_for)
        return run(steps, self.cache.connection)

    def cache_info(self) -> CacheInfo:
        """How many calls of this process hit and missed."""
        return CacheInfo(self.hits, self.misses, self.ttl)

    def _digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if self.key is not None:
            args, kwargs = (self.key(*args, **kwargs),), {}
        if self.version is not None:
            call = ("version", self.version, args, tuple(kwargs.items()))
            return fingerprint.digest(call, self.function.__qualname__)
        return fingerprint.call_digest(self.function, args, kwargs)

    def _generation_name(self) -> bytes:
        return self.cache.make_key(keys.generation_key(self.prefix), shared=self.shared)

    def _entry_name(self, digest: str) -> Callable[[str], bytes]:
        return lambda generation: self.cache.make_key(
            keys.result_key(self.prefix, generation, digest), self.user, self.shared
        )


def _is_not_none(value: object) -> bool:
    return value is not None


def _check_function(function: Any, decorator: str) -> None:
    if isinstance(function, classmethod | staticmethod):
        raise TypeError(f"Write @{decorator} below @{type(function).__name__}, not above it.")
    if not callable(function) or not hasattr(function, "__qualname__"):
        raise TypeError(f"@{decorator} stands before a function, not before a {type(function).__name__}.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{function.__qualname__}() returns a generator, which can be read only once. "
            "Return a list, or cache the function that consumes it."
        )


# --- in this process ----------------------------------------------------------------------------------------------


class LocalFunction(Protocol[P, T_co]):
    """A function under `site_cache` or `request_cache`."""

    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """The result, kept or computed now."""

    @overload
    def __get__(self, instance: None, owner: type) -> LocalFunction[P, T_co]: ...
    @overload
    def __get__(
        self: LocalFunction[Concatenate[S, Q], T_co], instance: S, owner: type | None = None
    ) -> LocalFunction[Q, T_co]: ...

    def clear_cache(self) -> None:
        """Forget this function's results, of all sites or of this request."""


@overload
def site_cache(function: Callable[P, T], /) -> LocalFunction[P, T]: ...
@overload
def site_cache(
    ttl: float | timedelta | None = None, maxsize: int | None = None
) -> Callable[[Callable[P, T]], LocalFunction[P, T]]: ...
def site_cache(ttl: Any = None, maxsize: int | None = None) -> Any:
    """Keep what a function returns in this process, for each site apart.

    The object itself is kept and handed out, so it need not be picklable, and whoever changes it changes it for all.
    Arguments that cannot be hashed are not cached: the function runs.

    Example:
        >>> @site_cache(ttl=60, maxsize=100)
        ... def alphabet(language):
        ...     print("loading", language)
        ...     return list("abc")
        >>> alphabet("en") is alphabet("en")
        loading en
        True

    Args:
        ttl: seconds for which each result is kept; None for as long as the process lives.
        maxsize: how many results are kept for a site; past it the one not used for longest goes. None for no limit.

    Raises:
        TypeError: what is decorated is not a function, or returns a generator.
        ValueError: the ttl or maxsize is zero or negative.
    """
    if callable(ttl):
        return site_cache()(ttl)
    seconds = milliseconds(ttl) / 1000
    if maxsize is not None and maxsize < 1:
        raise ValueError(f"maxsize is at least 1, or None for no limit, not {maxsize!r}.")

    def decorate(function: Callable[..., Any]) -> Any:
        _check_function(function, "site_cache")
        shelves = _Shelves(seconds or None, maxsize)
        cached = _local_wrapper(function, _typed_key, shelves.get, shelves.put)
        cached.clear_cache = shelves.clear
        _every_site_cache.add(shelves)
        return cached

    return decorate


class _Shelves:
    """Results by site and call, each with its own end; past `maxsize` the least recently used goes."""

    def __init__(self, seconds: float | None, maxsize: int | None) -> None:
        self.seconds = seconds
        self.maxsize = maxsize
        self.lock = threading.Lock()
        self.by_site: dict[str, OrderedDict[Hashable, tuple[Any, float]]] = {}

    def get(self, key: Hashable) -> Any:
        """A result, or MISS."""
        site = context.current_settings().db_name
        with self.lock:
            shelf = self.by_site.get(site)
            found = None if shelf is None else shelf.get(key)
            if shelf is None or found is None:
                return MISS
            value, deadline = found
            if deadline <= time.monotonic():
                del shelf[key]
                return MISS
            shelf.move_to_end(key)
            return value

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a result."""
        site = context.current_settings().db_name
        deadline = float("inf") if self.seconds is None else time.monotonic() + self.seconds
        with self.lock:
            shelf = self.by_site.setdefault(site, OrderedDict())
            shelf[key] = value, deadline
            shelf.move_to_end(key)
            if self.maxsize is not None and len(shelf) > self.maxsize:
                shelf.popitem(last=False)

    def clear(self, site: str | None = None) -> None:
        """Forget the results of one site, by its prefix, or of all."""
        with self.lock:
            if site is None:
                self.by_site.clear()
            else:
                self.by_site.pop(site, None)


_every_site_cache: weakref.WeakSet[_Shelves] = weakref.WeakSet()


def clear_site_caches() -> None:
    """Forget what `site_cache` keeps for the current site."""
    site = context.current_settings().db_name
    for shelves in list(_every_site_cache):
        shelves.clear(site)


def request_cache(function: Callable[P, T]) -> LocalFunction[P, T]:
    """Keep what a function returns until the request ends.

    The object itself is kept and handed out. Arguments are compared by ``==``, so ``120`` and ``120.0`` share a result,
    as in Frappe; arguments that cannot be hashed are not cached, and outside any request nothing is: the function runs.

    Example:
        >>> @request_cache
        ... def rate(currency):
        ...     print("asking for", currency)
        ...     return 1.1
        >>> with context.request():
        ...     rate("EUR"), rate("EUR")
        asking for EUR
        (1.1, 1.1)

    Raises:
        TypeError: what is decorated is not a function, or returns a generator.
    """
    _check_function(function, "request_cache")

    def results() -> dict[Hashable, Any] | None:
        request = context.current_request()
        return None if request is None else request.results.setdefault(cached, {})

    def get(key: Hashable) -> Any:
        kept = results()
        return MISS if kept is None else kept.get(key, MISS)

    def put(key: Hashable, value: Any) -> None:
        kept = results()
        if kept is not None:
            kept[key] = value

    def clear_cache() -> None:
        kept = results()
        if kept is not None:
            kept.clear()

    cached = _local_wrapper(function, lambda args, kwargs: (args, tuple(kwargs.items())), get, put)
    cached.clear_cache = clear_cache
    result: LocalFunction[P, T] = cached
    return result


def _local_wrapper(
    function: Callable[..., Any],
    make_key: Callable[[tuple[Any, ...], dict[str, Any]], Hashable],
    get: Callable[[Hashable], Any],
    put: Callable[[Hashable, Any], None],
) -> Any:
    """A function with a look into a dictionary before it and a note into it after."""

    def look(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Hashable, Any]:
        try:
            key = make_key(args, kwargs)
            return key, get(key)
        except TypeError:  # an argument cannot be hashed
            return MISS, MISS

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaiting(*args: Any, **kwargs: Any) -> Any:
            key, value = look(args, kwargs)
            if value is MISS:
                value = await function(*args, **kwargs)
                if key is not MISS:
                    put(key, value)
            return value

        awaiting.__frappe_cached__ = True  # type: ignore[attr-defined]
        return awaiting

    @functools.wraps(function)
    def calling(*args: Any, **kwargs: Any) -> Any:
        key, value = look(args, kwargs)
        if value is MISS:
            value = function(*args, **kwargs)
            if key is not MISS:
                put(key, value)
        return value

    calling.__frappe_cached__ = True  # type: ignore[attr-defined]
    return calling


def _typed_key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
    return tuple(map(_typed, args)), tuple((name, _typed(value)) for name, value in kwargs.items())


def _typed(value: Any) -> Hashable:
    """A stand-in that equals another's only if the types agree too, inside tuples and frozensets as well."""
    kind = type(value)
    if kind is tuple:
        return kind, tuple(map(_typed, value))
    if kind is frozenset:
        return kind, frozenset(map(_typed, value))
    if kind is float:
        return kind, value.hex()  # 0.0 and -0.0 are two
    return kind, value
