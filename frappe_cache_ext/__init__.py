"""Frappe's cache without Frappe: on Redis, Valkey or in memory, in scripts, services and notebooks.

Example::

    import frappe_cache_ext as frappe

    frappe.cache.set_value("color", "green", expires_in_sec=60)
    frappe.cache.get_value("color")

In a notebook, ``%load_ext frappe_cache_ext`` brings the magics.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .caching import redis_cache, request_cache, site_cache
    from .clearing import clear_cache
    from .context import destroy, init, local, request, session, set_user
    from .errors import MISS, BenchError, CacheError, CacheUnavailable, NotCacheable, ServerError, SettingsError
    from .redis_wrapper import RedisWrapper
    from .stand_ins import _dict

    cache: RedisWrapper
    conf: dict[str, Any]

_HOMES: Final = {
    "BenchError": "errors",
    "CacheError": "errors",
    "CacheUnavailable": "errors",
    "MISS": "errors",
    "NotCacheable": "errors",
    "RedisWrapper": "redis_wrapper",
    "ServerError": "errors",
    "SettingsError": "errors",
    "_dict": "stand_ins",
    "clear_cache": "clearing",
    "destroy": "context",
    "init": "context",
    "local": "context",
    "redis_cache": "caching",
    "request": "context",
    "request_cache": "caching",
    "session": "context",
    "set_user": "context",
    "site_cache": "caching",
}
"""Where each public name lives: a module is loaded when the first of its names is used."""

__all__ = [
    "MISS",
    "BenchError",
    "CacheError",
    "CacheUnavailable",
    "NotCacheable",
    "RedisWrapper",
    "ServerError",
    "SettingsError",
    "_dict",
    "cache",
    "clear_cache",
    "conf",
    "connect",
    "destroy",
    "init",
    "local",
    "redis_cache",
    "request",
    "request_cache",
    "session",
    "set_user",
    "site_cache",
]


def connect(site: str | None = None, **settings: Any) -> None:
    """Choose the site to work for, as `init` does, and make sure that its server answers.

    Raises:
        SettingsError: a setting is unknown or malformed.
        CacheUnavailable: the server does not answer; the message says why.
        ServerError: the embedded server cannot be started.
    """
    from .connections import current_connection  # noqa: PLC0415  (see `_HOMES`)
    from .context import init  # noqa: PLC0415

    if site is not None or settings:
        init(site, **settings)
    current_connection().check()


def __getattr__(name: str) -> Any:
    if name == "conf":
        from .context import local  # noqa: PLC0415

        return local.conf
    if name == "cache":
        from .redis_wrapper import RedisWrapper  # noqa: PLC0415

        value: Any = RedisWrapper()
    elif name in _HOMES:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: Any) -> None:
    """Register the magics: ``%load_ext frappe_cache_ext``."""
    from .notebook.extension import load  # noqa: PLC0415

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Undo all of it: ``%unload_ext frappe_cache_ext``."""
    from .notebook.extension import unload  # noqa: PLC0415

    unload(ipython)
