"""Loading one document with its child rows."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from ..context import current_user
from ..errors import DoesNotExistError
from ..stand_ins import _dict
from .fieldtypes import cast
from .schema import DocType, Field, get_doctype, table_of
from .singles import read_single
from .transactions import Transaction
from .values import STANDARD, check_text, default_of, is_number, shown


def load_document(transaction: Transaction, doctype: str, name: str) -> _dict:
    """The fields of one document, with `doctype` among them; child rows are dictionaries of the same kind.

    Args:
        transaction: where to read.
        doctype: the DocType.
        name: the document's name; a single DocType's is that of the DocType.

    Raises:
        DoesNotExistError: there is no such document or DocType.
        ValidationError: no document can have this name.
    """
    meta = get_doctype(transaction, doctype)
    if meta.issingle:
        if name != meta.name:
            raise DoesNotExistError(f"{meta.name} is a single DocType; its only document is called {meta.name!r}.")
        return _load_single(transaction, meta)
    check_text(f"{meta.name}.name", name)
    table = table_of(transaction, meta)
    row = transaction.execute(select(table).where(table.c.name == name)).mappings().first()
    if row is None:
        raise DoesNotExistError(f"{meta.name} {shown(name)} not found.")
    fields = _of_row(meta, row)
    for field in meta.table_fields:
        fields[field.fieldname] = load_children(transaction, meta, fields["name"], field)
    return fields


def load_children(transaction: Transaction, doctype: DocType, name: str, field: Field) -> list[_dict]:
    """The rows of one child table of a document, in their order."""
    child = get_doctype(transaction, field.options or "")
    table = table_of(transaction, child)
    rows = transaction.execute(
        select(table)
        .where(table.c.parent == name, table.c.parenttype == doctype.name, table.c.parentfield == field.fieldname)
        .order_by(table.c.idx, table.c.name)
    ).mappings()
    return [_of_row(child, row) for row in rows]


def cast_single(doctype: DocType, stored: Mapping[str, str | None]) -> dict[str, Any]:
    """What `tabSingles` holds of a single DocType, by field and as the type that the field has."""
    found = {}
    for fieldname, text in stored.items():
        field = doctype.field(fieldname) or STANDARD.get(fieldname)
        found[fieldname] = text if field is None else cast(field.fieldtype, text)
    return found


def _load_single(transaction: Transaction, doctype: DocType) -> _dict:
    stored = read_single(transaction, doctype)
    values = cast_single(doctype, stored)
    fields = _dict(doctype=doctype.name, name=doctype.name)
    for fieldname in ("owner", "creation", "modified", "modified_by"):
        fields[fieldname] = values.get(fieldname)
    fields.update(docstatus=values.get("docstatus") or 0, idx=values.get("idx") or 0)
    for field in doctype.fields:
        if field.is_table:
            fields[field.fieldname] = load_children(transaction, doctype, doctype.name, field)
        elif field.has_column:
            value = values.get(field.fieldname)
            if not stored:  # never saved: it has its defaults
                value = default_of(field, current_user(), datetime.datetime.now())
                value = cast(field.fieldtype, value) if isinstance(value, str) else value
            fields[field.fieldname] = 0 if value is None and is_number(field) else value
    return fields


def _of_row(doctype: DocType, row: Mapping[Any, Any]) -> _dict:
    fields = _dict(doctype=doctype.name)
    for column, value in row.items():
        # PostgreSQL has a type of its own for JSON; everywhere else, and in Frappe, it is text.
        fields[str(column)] = json.dumps(value) if isinstance(value, dict | list) else value
    return fields
