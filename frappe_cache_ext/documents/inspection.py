"""A cached document beside the database's: what `%cache_doc` shows.

The cached one is read without importing or running anything that its bytes name, so it may be anybody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from .. import keys
from ..effects import Pipeline
from ..errors import DatabaseUnavailable, DoesNotExistError, UnreadableValue
from .cached import as_fields
from .document import load_document
from .ledger import as_logged
from .transactions import current_transaction


@dataclass(frozen=True, slots=True)
class Comparison:
    """One document as the cache and as the database have it.

    Attributes:
        doctype: the DocType.
        name: the document's name.
        cached: the cached fields; None where the document is not cached.
        stored: the database's fields; None where it has no such document, or cannot be asked.
        unreadable: why the cached bytes are no document; empty otherwise.
        unreachable: why the database cannot be asked; empty otherwise.
    """

    doctype: str
    name: str
    cached: dict[str, Any] | None
    stored: dict[str, Any] | None
    unreadable: str = ""
    unreachable: str = ""

    @property
    def fields(self) -> list[str]:
        """The fields of either, the database's first, each in its own order."""
        return list(dict.fromkeys([*(self.stored or ()), *(self.cached or ())]))

    @property
    def differing(self) -> list[str]:
        """The fields that both know and that differ.

        A field that only the cached document has is a virtual one, which Frappe computes and no database holds.
        """
        if self.cached is None or self.stored is None:
            return []
        cached, stored = self.cached, self.stored
        return [name for name in stored if name in cached and not _equal(cached[name], stored[name])]

    @property
    def verdict(self) -> str:
        """The outcome in one line."""
        if self.unreadable:
            return f"what is cached cannot be read: {self.unreadable}"
        if self.cached is None:
            return "not cached" if self.stored is not None or self.unreachable else "neither cached nor in the database"
        if self.unreachable:
            return f"cached; the database cannot be asked: {self.unreachable}"
        if self.stored is None:
            return "cached, and not in the database: OUTDATED"
        differing = self.differing
        return "cache and database agree" if not differing else f"OUTDATED: they differ in {', '.join(differing)}"


def reach_database() -> str:
    """Make sure that the current site's database answers, and say what it is, without its password.

    Raises:
        DatabaseUnavailable: it does not answer.
    """
    transaction = current_transaction()
    with transaction.alone():
        transaction.execute(select(1))
    return f"at {transaction.engine.url}"


def compare(doctype: str, name: str | None = None) -> Comparison:
    """Read a document from the cache and from the database, changing neither.

    Args:
        doctype: the DocType.
        name: the document's name; None for a single DocType.

    Raises:
        CacheUnavailable: the cache cannot be reached.
    """
    name = doctype if name is None else name
    transaction = current_transaction()
    coherence = transaction.changes.coherence
    key = coherence.log.entries + keys.encode(as_logged((doctype, name)))
    (data,) = coherence.connection.perform(Pipeline((("GET", key),)))
    cached, unreadable = None, ""
    if isinstance(data, bytes):
        try:
            cached = as_fields(coherence.connection.codec.inspect(data, key))
        except UnreadableValue as error:
            unreadable = str(error)
        if cached is None and not unreadable:
            unreadable = "it is no document"
    stored, unreachable = None, ""
    try:
        transaction.end_reading()  # the newest, not what an older snapshot shows
        with transaction.alone():
            stored = load_document(transaction, doctype, name)
    except DoesNotExistError:
        pass
    except DatabaseUnavailable as error:
        unreachable = str(error)
    return Comparison(doctype, name, cached, stored, unreadable, unreachable)


def _equal(cached: Any, stored: Any) -> bool:
    """Whether two values are the same; of the rows of child tables, what both sides know."""
    if not isinstance(cached, list) or not isinstance(stored, list):
        return bool(cached == stored)
    return len(cached) == len(stored) and all(map(_rows_equal, cached, stored))


def _rows_equal(cached: Any, stored: Any) -> bool:
    if not isinstance(cached, dict) or not isinstance(stored, dict):
        return bool(cached == stored)
    return all(cached[name] == stored[name] for name in cached if name in stored)
