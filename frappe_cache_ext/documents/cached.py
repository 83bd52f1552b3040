"""Cached documents: `frappe.get_cached_doc` and what clears it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from .. import keys, operations
from ..effects import Pipeline, Steps
from ..errors import MISS, CacheUnavailable, DocumentError, DoesNotExistError, ValidationError
from ..operations import NEVER, Log, Reading, Scope
from ..operations.common import decoded
from ..stand_ins import StandIn, _dict
from .database import Database
from .document import Document, load_document
from .ledger import as_logged
from .schema import get_doctype, table_of
from .transactions import Transaction, current_transaction


def get_cached_doc(doctype: str, name: str | int | Mapping[str, Any] | None = None) -> Document:
    """A document, from the cache if it is there: never one that was replaced before this call.

    Each call returns an object of its own. What the current transaction has changed is read from the database.

    Example::

        frappe.get_cached_doc("User", "anna@example.com").full_name
        frappe.get_cached_doc("System Settings").time_zone

    Args:
        doctype: the DocType.
        name: the document's name, or a filter for it; None for a single DocType.

    Raises:
        DoesNotExistError: there is no such document or DocType.
    """
    return _cached_doc(doctype, name, None)


def copied_doc(doctype: str, name: str | int | None, scope: Scope) -> tuple[Document, bool]:
    """The same, from a copy in this process if there is one; and whether there was.

    Args:
        doctype: the DocType.
        name: the document's name; None for a single DocType.
        scope: with the copies, if there can be any.

    Raises:
        DoesNotExistError: there is no such document or DocType.
    """
    entries = current_transaction().changes.coherence.log.entries
    entry = entries + keys.encode(as_logged((doctype, _name(doctype, name))))
    was_here = scope.copies is not None and scope.copies.find(entry) is not None
    return _cached_doc(doctype, name, scope), was_here


def _cached_doc(doctype: str, name: str | int | Mapping[str, Any] | None, scope: Scope | None) -> Document:
    name = _name(doctype, name)
    transaction = current_transaction()
    if transaction.changes.has_touched(doctype, name):
        return Document.from_fields(load_document(transaction, doctype, name))
    fields = as_fields(_read(transaction, doctype, name, scope or transaction.changes.coherence.scope()))
    if fields is None:  # something else lies under the document's key
        fields = _load(transaction, doctype, name, transaction.changes.reading)
    return Document.from_fields(fields)


def get_cached_value(
    doctype: str,
    name: str | int | Mapping[str, Any] | None = None,
    fieldname: str | Sequence[str] = "name",
    as_dict: bool = False,
) -> Any:
    """One or more fields of a cached document; None where there is no such document.

    Args:
        doctype: the DocType.
        name: the document's name, or a filter for it; None for a single DocType.
        fieldname: a field, or some fields.
        as_dict: return a dictionary of the fields.

    Returns:
        The field's value; for some fields a list of their values.
    """
    try:
        document = get_cached_doc(doctype, name)
    except DoesNotExistError:
        return None
    names = [fieldname] if isinstance(fieldname, str) else list(fieldname)
    values = [document.get(each) for each in names]
    if as_dict:
        return _dict(zip(names, values, strict=True))
    return values[0] if isinstance(fieldname, str) else values


def clear_document_cache(doctype: str, name: str | int | None = None) -> None:
    """Let no reader use what is cached of a document, or of all documents of a DocType.

    Needed after a change that did not go through the document layer: ``frappe.db.sql``, or another program. Within a
    transaction that has changed something, it also holds for what is cached until the commit.

    Args:
        doctype: the DocType.
        name: the document's name; None for all of them.
    """
    transaction = current_transaction()
    documents = [(doctype, None if name is None else _stored_name(transaction, doctype, _name(doctype, name)))]
    coherence = transaction.changes.coherence
    logged = list(map(as_logged, documents))
    coherence.run(operations.log_changes(coherence.scope(), coherence.log, secrets.token_hex(8), logged))
    if transaction.has_changes:
        transaction.changes.touch(documents)


def _name(doctype: Any, name: Any) -> str:
    if not isinstance(doctype, str) or not doctype:
        raise ValidationError(f"A DocType's name is text, such as 'User', not {doctype!r}.")
    if name is None:
        return doctype
    if isinstance(name, Mapping):
        found = Database().get_value(doctype, name, "name")
        if found is None:
            raise DoesNotExistError(f"No {doctype} matches {dict(name)!r}.")
        return str(found)
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ValidationError(f"The name of a {doctype} is text or a number, not {type(name).__name__}.")
    return str(name)


def _stored_name(transaction: Transaction, doctype: str, name: str) -> str:
    """The name under which a document is kept, where the database takes ANNA for Anna."""
    if transaction.engine.dialect.name != "mysql" or name == doctype:
        return name
    try:
        with transaction.alone():
            table = table_of(transaction, get_doctype(transaction, doctype))
            found = transaction.execute(select(table.c.name).where(table.c.name == name)).scalar()
    except DocumentError:  # there is no such DocType, or no database: nothing can be cached under another spelling
        return name
    return name if found is None else str(found)


def _read(transaction: Transaction, doctype: str, name: str, scope: Scope) -> Any:
    changes, settings = transaction.changes, transaction.settings
    coherence = changes.coherence

    def load_now(reading: Reading | None) -> Any:
        return _load(transaction, doctype, name, reading)

    if settings.bench is not None:
        # A Frappe site's own cache: Frappe's processes do not tell us what they change, so nothing is stored there.
        value = coherence.run(_find_as_frappe_does(scope, coherence.log, doctype, name))
        return load_now(None) if value is MISS else value
    return coherence.run(
        operations.read_document(
            scope,
            coherence.log,
            as_logged((doctype, name)),
            load_now,
            round(settings.document_ttl * 1000),
            _reading(transaction),
            # A database that takes ANNA for Anna finds the one document under both names; it is kept under its own.
            wanted=lambda fields: fields["name"] == name,
        )
    )


def _reading(transaction: Transaction) -> Reading | None:
    if not transaction.is_open:
        return None
    # What a raw statement has changed is in no list, and not committed: nothing that this transaction sees is stored.
    return NEVER if transaction.has_changes else transaction.changes.reading


def _load(transaction: Transaction, doctype: str, name: str, reading: Reading | None) -> _dict:
    if not transaction.is_open:
        transaction.changes.expect(reading)
    with transaction.alone():
        return load_document(transaction, doctype, name)


def _find_as_frappe_does(scope: Scope, log: Log, doctype: str, name: str) -> Steps[Any]:
    key = log.entries + keys.encode(as_logged((doctype, name)))
    try:
        (data,) = yield Pipeline((("GET", key),))
    except CacheUnavailable:
        return MISS
    return decoded(scope, data, key)


def as_fields(value: Any) -> _dict | None:
    """The fields of what the cache holds of a document: of ours, or of one that Frappe pickled."""
    if isinstance(value, StandIn):
        return _of_stand_in(value)
    return value if isinstance(value, _dict) and "doctype" in value else None


_NOT_FIELDS = ("flags", "dont_update_if_missing")


def _of_stand_in(document: StandIn) -> _dict:
    fields = {
        name: value for name, value in vars(document).items() if not name.startswith("_") and name not in _NOT_FIELDS
    }
    return _dict(
        {
            name: [_of_stand_in(row) if isinstance(row, StandIn) else row for row in value]
            if isinstance(value, list)
            else value
            for name, value in fields.items()
        }
    )
