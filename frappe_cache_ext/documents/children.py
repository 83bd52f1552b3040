"""What saving or deleting a document does to the rows of its child tables."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, delete, insert, select, update

from ..context import current_user
from ..errors import ValidationError
from ..stand_ins import _dict
from .base_document import BaseDocument, loaded_fields, number_rows
from .checks import check_mandatory, set_defaults
from .ledger import DocumentName
from .naming import check_name, random_name
from .rows import as_stored, chunks, column_values, locked
from .schema import DocType, Field, get_doctype, table_of
from .transactions import Transaction


@dataclass(slots=True)
class TablePlan:
    """What is to happen to one child table of a document.

    Attributes:
        fieldname: the parent's field.
        child: the rows' DocType.
        table: where they are.
        deleted: names of the rows to delete.
        changed: name and changed columns of the rows to update.
        inserted: the rows to insert.
        rows: all rows as they are afterwards, in their order.
    """

    fieldname: str
    child: DocType
    table: Table
    deleted: list[str] = field(default_factory=list)
    changed: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    inserted: list[dict[str, Any]] = field(default_factory=list)
    rows: list[_dict] = field(default_factory=list)

    @property
    def touched(self) -> set[DocumentName]:
        """The rows that change."""
        names = [*self.deleted, *(name for name, _ in self.changed), *(row["name"] for row in self.inserted)]
        return {(self.child.name, name) for name in names}

    def write(self, transaction: Transaction) -> None:
        """Do it."""
        delete_rows(transaction, self.table, self.deleted)
        for name, values in self.changed:
            transaction.write(update(self.table).where(self.table.c.name == name).values(values))
        if self.inserted:
            transaction.write(insert(self.table), self.inserted)


def plan_tables(
    transaction: Transaction, doctype: DocType, document: BaseDocument, name: str, now: datetime.datetime
) -> list[TablePlan]:
    """See what has to happen to the child tables of a document that is about to be saved; nothing is written.

    Args:
        transaction: where to look; rows that are there are locked.
        doctype: the document's DocType.
        document: the document.
        name: what it is, or will be, called.
        now: the time of the change.

    Raises:
        MandatoryError: a row lacks a value that it must have.
        ValidationError: a value does not fit, or a row is there twice.
    """
    return [_plan(transaction, document, each, name, now) for each in doctype.table_fields]


def _plan(
    transaction: Transaction, document: BaseDocument, parentfield: Field, name: str, now: datetime.datetime
) -> TablePlan:
    child = get_doctype(transaction, parentfield.options or "")
    plan = TablePlan(parentfield.fieldname, child, table_of(transaction, child))
    belongs = {"parent": name, "parenttype": document.doctype, "parentfield": parentfield.fieldname}
    there = set() if document.is_new() else set(_names(transaction, plan.table, belongs))
    for row in _rows_of(document, parentfield.fieldname):
        _plan_row(plan, row, {**belongs, "docstatus": document.docstatus}, there, now)
    kept = [row["name"] for row in plan.rows]
    if len(set(kept)) < len(kept):
        twice = next(name for name in kept if kept.count(name) > 1)
        raise ValidationError(f"{document.doctype}.{parentfield.fieldname} holds the row {twice!r} twice.")
    plan.deleted = sorted(there - set(kept))
    return plan


def _plan_row(
    plan: TablePlan, row: BaseDocument, belongs: dict[str, Any], there: set[str], now: datetime.datetime
) -> None:
    own, user = row.__dict__, current_user()
    given = column_values(plan.table, row) | belongs
    if own.get("name") in there:
        values = as_stored(plan.child, plan.table, given)
        loaded = {} if row.is_new() else loaded_fields(row)
        changed = {column: value for column, value in values.items() if loaded.get(column, row) != value}
        if row.is_new():  # named like a row that is there, whose history it does not know
            changed = {column: value for column, value in changed.items() if given[column] is not None}
        if changed:
            values.update(modified=now, modified_by=user)
            changed.update(modified=now, modified_by=user)
            plan.changed.append((values["name"], changed))
    else:
        set_defaults(row, plan.child, now)
        given.update((column, own.get(column)) for column in given if given[column] is None)
        given["name"] = check_name(plan.child, own["name"]) if own.get("name") else random_name()
        given.update(owner=own.get("owner") or user, creation=own.get("creation") or now)
        given.update(modified=now, modified_by=user)
        values = as_stored(plan.child, plan.table, given)
        plan.inserted.append(values)
    check_mandatory(plan.child, row)
    plan.rows.append(_dict({"doctype": plan.child.name, **values}))


def _rows_of(document: BaseDocument, fieldname: str) -> list[BaseDocument]:
    rows = document.__dict__.get(fieldname) or []
    if not isinstance(rows, list) or not all(isinstance(row, BaseDocument) for row in rows):
        document.set(fieldname, rows)  # assigned as plain dictionaries
        rows = document.__dict__[fieldname]
    document.__dict__[fieldname] = rows
    number_rows(rows)
    return rows


def child_names(transaction: Transaction, doctype: DocType, name: str) -> list[tuple[DocType, list[str]]]:
    """The rows of all child tables of a document, locked: their DocType and names."""
    found = []
    for child_doctype in dict.fromkeys(each.options for each in doctype.table_fields):
        child = get_doctype(transaction, child_doctype or "")
        belongs = {"parent": name, "parenttype": doctype.name}
        found.append((child, _names(transaction, table_of(transaction, child), belongs)))
    return found


def delete_children(transaction: Transaction, children: Iterable[tuple[DocType, list[str]]]) -> None:
    """Delete the rows that `child_names` found."""
    for child, names in children:
        delete_rows(transaction, table_of(transaction, child), names)


def delete_rows(transaction: Transaction, table: Table, names: list[str]) -> None:
    """Delete rows by name."""
    for some in chunks(names):
        transaction.write(delete(table).where(table.c.name.in_(some)))


def _names(transaction: Transaction, table: Table, belongs: dict[str, str]) -> list[str]:
    conditions = [table.c[column] == value for column, value in belongs.items()]
    return [row.name for row in locked(transaction, select(table.c.name).where(*conditions))]
