"""`@redis_cache`: keep what a function returns on the server, for all processes of a site.

Its two neighbours, which keep results in this process, are in `local_caching`; all three are found here, as in Frappe's
`frappe.utils.caching`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Hashable
from datetime import timedelta
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, Protocol, TypeVar, overload

from . import fingerprint, keys, operations
from .effects import Steps
from .errors import NotCacheable, NotCachedWarning, warn
from .local_caching import check_function, request_cache, site_cache
from .operations import milliseconds
from .redis_wrapper import RedisWrapper, run

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
        check_function(function, "redis_cache")
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
