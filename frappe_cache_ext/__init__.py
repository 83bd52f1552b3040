"""Frappe's cache without Frappe: on Redis, Valkey or in memory, in scripts, services and notebooks.

Example::

    import frappe_cache_ext as frappe

    frappe.cache.set_value("color", "green", expires_in_sec=60)
    frappe.cache.get_value("color")

In a notebook, ``%load_ext frappe_cache_ext`` brings the magics.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .aio import AsyncRedisWrapper
    from .caching import redis_cache, request_cache, site_cache
    from .clearing import clear_cache
    from .client_caching import ClientCache
    from .context import destroy, init, local, request, session, set_user
    from .documents.cached import clear_document_cache, get_cached_doc, get_cached_value
    from .documents.database import Database, get_all, get_list
    from .documents.document import delete_doc, get_doc, new_doc
    from .documents.renaming import rename_doc
    from .documents.sample import sample_site
    from .documents.schema import define_doctype
    from .errors import (
        MISS,
        BenchError,
        CacheError,
        CacheUnavailable,
        DatabaseUnavailable,
        DocumentError,
        DoesNotExistError,
        DuplicateEntryError,
        ImplicitCommitError,
        InReadOnlyMode,
        MandatoryError,
        NotCacheable,
        QueryError,
        ServerError,
        SettingsError,
        TimestampMismatchError,
        UniqueValidationError,
        ValidationError,
    )
    from .redis_wrapper import RedisWrapper
    from .stand_ins import _dict

    cache: RedisWrapper
    client_cache: ClientCache
    conf: dict[str, Any]
    db: Database

_HOMES: Final = {
    "AsyncRedisWrapper": "aio",
    "BenchError": "errors",
    "CacheError": "errors",
    "CacheUnavailable": "errors",
    "ClientCache": "client_caching",
    "DatabaseUnavailable": "errors",
    "DocumentError": "errors",
    "DoesNotExistError": "errors",
    "DuplicateEntryError": "errors",
    "ImplicitCommitError": "errors",
    "InReadOnlyMode": "errors",
    "MISS": "errors",
    "MandatoryError": "errors",
    "NotCacheable": "errors",
    "QueryError": "errors",
    "RedisWrapper": "redis_wrapper",
    "ServerError": "errors",
    "SettingsError": "errors",
    "TimestampMismatchError": "errors",
    "UniqueValidationError": "errors",
    "ValidationError": "errors",
    "_dict": "stand_ins",
    "clear_cache": "clearing",
    "clear_document_cache": "documents.cached",
    "define_doctype": "documents.schema",
    "delete_doc": "documents.document",
    "destroy": "context",
    "get_all": "documents.database",
    "get_cached_doc": "documents.cached",
    "get_cached_value": "documents.cached",
    "get_doc": "documents.document",
    "get_list": "documents.database",
    "init": "context",
    "local": "context",
    "new_doc": "documents.document",
    "redis_cache": "caching",
    "rename_doc": "documents.renaming",
    "request": "context",
    "request_cache": "caching",
    "sample_site": "documents.sample",
    "session": "context",
    "set_user": "context",
    "site_cache": "caching",
}
"""Where each public name lives: a module is loaded when the first of its names is used."""

__all__ = [
    "MISS",
    "AsyncRedisWrapper",
    "BenchError",
    "CacheError",
    "CacheUnavailable",
    "ClientCache",
    "DatabaseUnavailable",
    "DocumentError",
    "DoesNotExistError",
    "DuplicateEntryError",
    "ImplicitCommitError",
    "InReadOnlyMode",
    "MandatoryError",
    "NotCacheable",
    "QueryError",
    "RedisWrapper",
    "ServerError",
    "SettingsError",
    "TimestampMismatchError",
    "UniqueValidationError",
    "ValidationError",
    "_dict",
    "cache",
    "clear_cache",
    "clear_document_cache",
    "client_cache",
    "conf",
    "connect",
    "db",
    "define_doctype",
    "delete_doc",
    "destroy",
    "get_all",
    "get_cached_doc",
    "get_cached_value",
    "get_doc",
    "get_list",
    "init",
    "local",
    "new_doc",
    "redis_cache",
    "rename_doc",
    "request",
    "request_cache",
    "sample_site",
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
    elif name == "client_cache":
        value = _load("client_caching").ClientCache()
    elif name == "db":
        value = _load("documents.database").Database()
    elif name in _HOMES:
        value = getattr(_load(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _load(home: str) -> ModuleType:
    try:
        return importlib.import_module(f".{home}", __name__)
    except ModuleNotFoundError as error:
        if error.name != "sqlalchemy":
            raise
        raise ImportError("Documents need SQLAlchemy: pip install 'frappe-cache-ext[documents]'.") from error


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
