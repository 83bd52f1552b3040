"""`frappe.client_cache`: values read once, kept in this process, and dropped the moment they change on the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from . import context, keys, operations
from .call_slots import NotPlain, Slots, new_slots
from .copies import Copies, Slot
from .operations import Scope
from .redis_wrapper import RedisWrapper, run

if TYPE_CHECKING:
    from .documents.document import Document
    from .settings import Settings


class ClientCacheStatistics(NamedTuple):
    """What the callers of a `ClientCache` met in this process.

    Attributes:
        hits: values that came from a copy in this process.
        misses: values that the server was asked for.
        capacity: how many copies there can be, those of `@redis_cache` included.
        used: how many there are.
        utilization: `used` in relation to `capacity`.
        hit_ratio: `hits` in relation to all; None before the first.
        healthy: whether copies can be used now.
        bytes: what they take, about.
        dropped: how many were dropped because they changed on the server.
    """

    hits: int
    misses: int
    capacity: int
    used: int
    utilization: float
    hit_ratio: float | None
    healthy: bool
    bytes: int
    dropped: int


class ClientCache:
    """The cache of the current site with copies in this process.

    Reading a value that is here takes about a microsecond and no network. The server says which keys change, whoever
    changes them, and their copies are dropped: in an idle process mostly within a millisecond, and at the latest a
    second after the change, even if the connection is dead and does not look it (see `invalidations.BOUND`). What this
    process itself writes through `frappe.cache` is dropped at once. A copy ends with its entry's expiry, and each
    reader gets a value of his own.

    On a cluster and on ``memory://`` there are no copies: every read asks the server, and `healthy` is False. The same
    goes for values that belong to no site (``shared=True``).

    Example:
        >>> import frappe_cache_ext as frappe
        >>> frappe.init("library.localhost", url="memory://").site
        'library.localhost'
        >>> frappe.client_cache.set_value("color", "green")
        >>> frappe.client_cache.get_value("color")
        'green'

    Args:
        cache: the cache underneath; None for `frappe.cache`.
    """

    def __init__(self, cache: RedisWrapper | None = None) -> None:
        self._cache = cache or RedisWrapper()
        self._near: tuple[Settings | None, Slots, Copies] = (None, new_slots(), Copies())
        self.reset_statistics()

    def get_value(self, key: object, *, shared: bool = False, generator: Callable[[], Any] | None = None) -> Any:
        """The value of a key; None where there is none.

        Args:
            key: the key.
            shared: True for a key that belongs to no site.
            generator: computes the value on a miss; it is stored, and returned. One caller computes, the others wait.
        """
        slot = None
        if not shared:
            settings, slots, copies = self._near
            if settings is not context.current_settings():
                slots, copies = self._move()
            slot = _slot(slots, key)
            copy = None if slot is None else slot.copy
            if copy is not None and copies.serves(copy):
                self._hits += 1
                return copy.read()
        name = self._cache.make_key(key, shared=shared)
        scope = self._scope(shared)
        if scope.copies is not None and (copy := scope.copies.find(name)) is not None:
            self._hits += 1
            if slot is not None:
                copy.link(slot)
            return copy.read()
        self._misses += 1
        return run(operations.get_value(scope, name, generator, None), self._cache.connection)

    def set_value(self, key: object, val: Any, *, shared: bool = False) -> None:
        """Store a value on the server; every process that has a copy of the one before drops it.

        Raises:
            NotCacheable: a part of the value cannot be pickled; nothing was stored.
        """
        self._cache.set_value(key, val, shared=shared)

    def delete_value(self, key: object, *, shared: bool = False) -> None:
        """Delete one key, or each of an iterable of keys, on the server and in every process."""
        self._cache.delete_value(key, shared=shared)

    def delete_keys(self, prefix: object) -> None:
        """Delete every key of the site that begins with this text, which is taken literally."""
        self._cache.delete_keys(prefix)

    def get_doc(self, doctype: str, name: str | int | None = None) -> Document:
        """A cached document, as `frappe.get_cached_doc` gives it, without asking the server while there is a copy.

        `get_cached_doc` never returns a document that was replaced before the call; this one may be as far behind as
        any other copy.

        Args:
            doctype: the DocType.
            name: the document's name; None for a single DocType.

        Raises:
            DoesNotExistError: there is no such document or DocType.
        """
        from .documents.cached import copied_doc  # noqa: PLC0415  (documents need SQLAlchemy, the rest does not)

        document, was_here = copied_doc(doctype, name, self._scope(shared=False))
        if was_here:
            self._hits += 1
        else:
            self._misses += 1
        return document

    @property
    def healthy(self) -> bool:
        """Whether this process hears of what changes on the current site, so that copies can be used."""
        connection = self._cache.connection
        return connection.is_open and connection.listener.hears_of(self._prefix())

    @property
    def statistics(self) -> ClientCacheStatistics:
        """What was met since the process began, or since `reset_statistics`."""
        copies = self._cache.connection.copies
        hits, misses, used = self._hits, self._misses, len(copies)
        return ClientCacheStatistics(
            hits=hits,
            misses=misses,
            capacity=copies.most,
            used=used,
            utilization=used / copies.most,
            hit_ratio=hits / (hits + misses) if hits + misses else None,
            healthy=self.healthy,
            bytes=copies.bytes,
            dropped=copies.dropped,
        )

    def reset_statistics(self) -> None:
        """Count hits and misses from zero again."""
        self._hits = self._misses = 0

    def __repr__(self) -> str:
        connection = self._cache.connection
        state = "healthy" if self.healthy else connection.listener.refused or "not listening"
        return f"<ClientCache of site {context.current_settings().site!r}: {len(connection.copies)} copies, {state}>"

    def _prefix(self) -> bytes:
        return keys.site_prefix(context.current_settings().db_name)

    def _move(self) -> tuple[Slots, Copies]:
        slots, copies = new_slots(), self._cache.connection.copies
        self._near = context.current_settings(), slots, copies
        return slots, copies

    def _scope(self, shared: bool) -> Scope:
        scope = self._cache.scope()
        connection = self._cache.connection
        if shared or not connection.is_open or not connection.listener.hears_of(self._prefix()):
            return scope
        # What a request remembers could be older than a copy that has been dropped since.
        return dataclasses.replace(scope, local=None, copies=connection.copies)


def _slot(slots: Slots, key: object) -> Slot | None:
    try:
        return slots(key)
    except NotPlain:
        return None
    except Exception:  # a key's own `__hash__` can raise anything; it has a name on the wire all the same
        return None
