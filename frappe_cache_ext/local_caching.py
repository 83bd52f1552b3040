"""Decorators that keep results in this process: for each site, or for one request.

The objects themselves are kept and handed out, so nothing is pickled and nothing copied.
"""

from __future__ import annotations

import functools
import inspect
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from . import context
from .errors import MISS
from .forks import new_lock
from .operations import milliseconds

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def check_function(function: Any, decorator: str) -> None:
    """Refuse what cannot be cached under a decorator.

    Raises:
        TypeError: it is not a function, or returns a generator; the message says what to write instead.
    """
    if isinstance(function, classmethod | staticmethod):
        raise TypeError(f"Write @{decorator} below @{type(function).__name__}, not above it.")
    if not callable(function) or not hasattr(function, "__qualname__"):
        raise TypeError(f"@{decorator} stands before a function, not before a {type(function).__name__}.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{function.__qualname__}() returns a generator, which can be read only once. "
            "Return a list, or cache the function that consumes it."
        )


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
        check_function(function, "site_cache")
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
        self.lock = new_lock()
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
    check_function(function, "request_cache")

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
            hash(key)
        except TypeError:  # an argument cannot be hashed
            return MISS, MISS
        return key, get(key)

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
