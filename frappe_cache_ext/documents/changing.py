"""Changing fields in the database directly, as `frappe.db.set_value` and `doc.db_set` do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ValidationError
from .filters import clause
from .rows import as_stored, change_matching, no_such_field
from .schema import DocType, Field, table_of
from .singles import set_single
from .transactions import Transaction
from .values import STANDARD, shown, stored


def set_values(
    transaction: Transaction, doctype: DocType, filters: Any, values: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Give fields of all documents that match new values.

    Args:
        transaction: what it happens in.
        doctype: the documents' DocType.
        filters: a name or a filter, as `filters.clause` takes it; for a single DocType None or its name.
        values: the new values by field.

    Returns:
        The values as they are stored; None where no document matches.

    Raises:
        ValidationError: a field is unknown or cannot hold its value.
    """
    for fieldname in values:
        if not isinstance(fieldname, str):
            raise ValidationError(f"A field's name is text, not {shown(fieldname)}.")
    if "name" in values:
        raise ValidationError(f"A {doctype.name} gets another name by frappe.rename_doc.")
    if doctype.issingle:
        converted = _as_stored_single(doctype, values)
        if filters not in (None, doctype.name):
            raise ValidationError(f"{doctype.name} is a single DocType: give None or {doctype.name!r} as its name.")
        set_single(transaction, doctype, converted)
        return converted
    table = table_of(transaction, doctype)
    converted = as_stored(doctype, table, values)
    changed = change_matching(transaction, doctype, clause(table, doctype.name, filters), converted)
    return converted if changed else None


def single_field(doctype: DocType, fieldname: Any) -> Field:
    """A field of a single DocType, or one that every DocType has.

    Raises:
        ValidationError: there is no such field.
    """
    field = None
    if isinstance(fieldname, str):
        field = doctype.field(fieldname) or STANDARD.get(fieldname)
    if field is None or not field.has_column:
        raise no_such_field(doctype, fieldname, [*(each.fieldname for each in doctype.fields), *STANDARD])
    return field


def _as_stored_single(doctype: DocType, values: Mapping[str, Any]) -> dict[str, Any]:
    fields = {fieldname: single_field(doctype, fieldname) for fieldname in values}
    return {fieldname: stored(doctype, fields[fieldname], value) for fieldname, value in values.items()}
