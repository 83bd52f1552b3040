"""The values of single DocTypes: rows of text in `tabSingles`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select

from .rows import announce, lock_doctype, locked
from .schema import DocType, singles_table
from .transactions import Transaction
from .values import as_single_text


def read_single(transaction: Transaction, doctype: DocType, *, for_update: bool = False) -> dict[str, str | None]:
    """What `tabSingles` holds of a single DocType: text by field.

    Args:
        transaction: where to read.
        doctype: the DocType.
        for_update: let nobody else change it until the transaction ends.
    """
    table = singles_table(transaction)
    statement = select(table.c.field, table.c.value).where(table.c.doctype == doctype.name)
    if not for_update:
        return {row.field: row.value for row in transaction.execute(statement)}
    # Its rows can be missing, and nobody can lock what is not there: the DocType's own row stands for them.
    lock_doctype(transaction, doctype.name)
    return {row.field: row.value for row in locked(transaction, statement)}


def write_single(transaction: Transaction, doctype: DocType, values: Mapping[str, Any]) -> None:
    """Replace values of a single DocType, which is locked and announced.

    Args:
        transaction: what it happens in.
        doctype: the DocType.
        values: the new values, as a column would store them.
    """
    table = singles_table(transaction)
    transaction.write(delete(table).where(table.c.doctype == doctype.name, table.c.field.in_(sorted(values))))
    rows = [
        {"doctype": doctype.name, "field": fieldname, "value": as_single_text(value)}
        for fieldname, value in values.items()
    ]
    if rows:
        transaction.write(insert(table), rows)


def set_single(transaction: Transaction, doctype: DocType, values: Mapping[str, Any]) -> None:
    """Change values of a single DocType, given as a column would store them."""
    lock_doctype(transaction, doctype.name)
    announce(transaction, [(doctype.name, doctype.name)])
    write_single(transaction, doctype, values)


def delete_single(transaction: Transaction, doctype: DocType) -> None:
    """Delete what is stored of a single DocType, which is locked and announced."""
    table = singles_table(transaction)
    transaction.write(delete(table).where(table.c.doctype == doctype.name))
