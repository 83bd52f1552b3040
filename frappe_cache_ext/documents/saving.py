"""Inserting, saving and deleting documents: what is checked, what is written, what is announced before."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, insert, select, update

from ..context import current_user
from ..errors import DoesNotExistError, DuplicateEntryError, ValidationError
from ..stand_ins import _dict
from .base_document import BaseDocument, adopt, loaded_fields, remember
from .checks import check_mandatory, check_status, check_timestamp, later_than, set_defaults
from .children import TablePlan, child_names, delete_children, plan_tables
from .ledger import DocumentName
from .loading import cast_single, load_document
from .naming import new_name
from .rows import announce, as_stored, column_values, locked, parents_of, whole
from .schema import DocType, get_doctype, table_of
from .singles import delete_single, read_single, write_single
from .transactions import Transaction, current_transaction
from .values import STANDARD, shown, stored


def insert_document(document: BaseDocument, *, ignore_if_duplicate: bool = False) -> None:
    """Insert a new document with its child rows.

    Args:
        document: the document; it is clean afterwards.
        ignore_if_duplicate: do nothing where there is a document of that name already.

    Raises:
        DuplicateEntryError: there is a document of that name already.
        ValidationError: a value does not fit, or is missing; see also its kin.
    """
    transaction = current_transaction()
    doctype = get_doctype(transaction, document.doctype)
    if not document.is_new():
        raise DuplicateEntryError(f"{document!r} is in the database already; save() writes what changed.")
    check_status(document, None)
    now, user = datetime.datetime.now(), current_user()
    set_defaults(document, doctype, now)
    if doctype.issingle:
        _save_single(transaction, doctype, document)
        return
    name = new_name(transaction, doctype, document.__dict__)
    table = table_of(transaction, doctype)
    fields = column_values(table, document)
    fields.update(name=name, owner=document.owner or user, creation=document.creation or now)
    fields.update(modified=now, modified_by=user)
    row = as_stored(doctype, table, fields)
    check_mandatory(doctype, document)
    tables = plan_tables(transaction, doctype, document, name, now)
    _announce(transaction, doctype, name, tables, [row])
    try:
        with whole(transaction):
            transaction.write(insert(table).values(row))
            _write(transaction, tables)
    except DuplicateEntryError:
        if not ignore_if_duplicate:
            raise
        return
    adopt(document, _fields(doctype, row, tables))


def save_document(document: BaseDocument) -> None:
    """Write what changed in a document since it was loaded, child rows included; insert a new one.

    Raises:
        TimestampMismatchError: somebody saved it after it was read here.
        DoesNotExistError: it was deleted or renamed after it was read here.
        ValidationError: a value does not fit, or is missing; see also its kin.
    """
    transaction = current_transaction()
    doctype = get_doctype(transaction, document.doctype)
    if document.is_new() and not _recall(transaction, doctype, document):
        insert_document(document)
    elif doctype.issingle:
        _save_single(transaction, doctype, document)
    else:
        _save(transaction, doctype, document)


def _save(transaction: Transaction, doctype: DocType, document: BaseDocument) -> None:
    loaded = loaded_fields(document)
    name = loaded["name"]
    if document.name != name:
        raise ValidationError(f"{doctype.name} {shown(name)} gets another name by rename({shown(document.name)}).")
    table = table_of(transaction, doctype)
    columns = [table.c.name, table.c.modified, table.c.docstatus]
    columns += [table.c.parenttype, table.c.parent] if doctype.istable else []
    there = locked(transaction, select(*columns).where(table.c.name == name))
    if not there:
        raise DoesNotExistError(f"{doctype.name} {shown(name)} not found: it was deleted or renamed.")
    row = as_stored(doctype, table, column_values(table, document))
    check_timestamp(document, there[0].modified, row["modified"])
    check_status(document, there[0].docstatus)
    row.update(modified=later_than(there[0].modified), modified_by=current_user(), docstatus=document.docstatus)
    check_mandatory(doctype, document)
    tables = plan_tables(transaction, doctype, document, name, row["modified"])
    changed = {column: value for column, value in row.items() if column not in loaded or loaded[column] != value}
    before = [{"parenttype": each.parenttype, "parent": each.parent} for each in there if doctype.istable]
    _announce(transaction, doctype, name, tables, [*before, row])
    with whole(transaction):
        transaction.write(update(table).where(table.c.name == name).values(changed))
        _write(transaction, tables)
    adopt(document, _fields(doctype, row, tables))


def _recall(transaction: Transaction, doctype: DocType, document: BaseDocument) -> bool:
    """Whether a document that was made here is one of the database, as of an `as_dict`: it then knows what it was."""
    if document.name is None or document.modified is None or doctype.issingle:
        return False
    try:
        fields = load_document(transaction, doctype.name, document.name)
    except DoesNotExistError:
        return False
    remember(document, fields)
    return True


def _announce(
    transaction: Transaction,
    doctype: DocType,
    name: str,
    tables: Iterable[TablePlan],
    versions: Iterable[Mapping[str, Any]],
) -> None:
    touched: set[DocumentName] = {(doctype.name, name)}
    for table in tables:
        touched |= table.touched
    if doctype.istable:
        touched |= parents_of(transaction, [(row.get("parenttype"), row.get("parent")) for row in versions])
    announce(transaction, touched)


def _write(transaction: Transaction, tables: Iterable[TablePlan]) -> None:
    for table in tables:
        table.write(transaction)


def _fields(doctype: DocType, row: Mapping[str, Any], tables: Iterable[TablePlan]) -> _dict:
    return _dict({"doctype": doctype.name, **row, **{table.fieldname: table.rows for table in tables}})


def _save_single(transaction: Transaction, doctype: DocType, document: BaseDocument) -> None:
    held = cast_single(doctype, read_single(transaction, doctype, for_update=True))
    own = document.__dict__
    values = {
        field.fieldname: stored(doctype, field, own.get(field.fieldname))
        for field in doctype.fields
        if field.has_column
    }
    modified = stored(doctype, STANDARD["modified"], own.get("modified"))
    if held.get("modified") is not None and not document.is_new():
        check_timestamp(document, held["modified"], modified)
    check_status(document, held.get("docstatus") or 0)
    check_mandatory(doctype, document)
    now, user = later_than(held.get("modified")), current_user()
    history = {"name": doctype.name, "owner": own.get("owner") or user, "creation": own.get("creation") or now}
    history |= {"modified": now, "modified_by": user, "docstatus": document.docstatus, "idx": 0}
    tables = plan_tables(transaction, doctype, document, doctype.name, now)
    changed = {
        fieldname: value
        for fieldname, value in {**values, **history}.items()
        if fieldname not in held or held[fieldname] != value
    }
    _announce(transaction, doctype, doctype.name, tables, [])
    with whole(transaction):
        write_single(transaction, doctype, changed)
        _write(transaction, tables)
    adopt(document, _fields(doctype, {**history, **values}, tables))


def lock_document(transaction: Transaction, doctype: DocType, name: str) -> None:
    """Let nobody else change a document until the transaction ends; nothing happens where there is none."""
    if doctype.issingle:
        read_single(transaction, doctype, for_update=True)
        return
    table = table_of(transaction, doctype)
    locked(transaction, select(table.c.name).where(table.c.name == name))


def delete_document(doctype_name: str, name: str, *, ignore_missing: bool = True) -> bool:
    """Delete a document with its child rows.

    Args:
        doctype_name: the DocType.
        name: the document's name.
        ignore_missing: do nothing where there is no such document.

    Returns:
        Whether there was one.

    Raises:
        DoesNotExistError: there is no such DocType, or no such document and this matters.
    """
    transaction = current_transaction()
    doctype = get_doctype(transaction, doctype_name)
    if doctype.issingle:
        return _delete_single(transaction, doctype)
    table = table_of(transaction, doctype)
    columns = [table.c.name, *([table.c.parenttype, table.c.parent] if doctype.istable else [])]
    found = locked(transaction, select(*columns).where(table.c.name == name))
    if not found:
        if ignore_missing:
            return False
        raise DoesNotExistError(f"{doctype.name} {shown(name)} not found.")
    touched: set[DocumentName] = {(doctype.name, found[0].name)}
    if doctype.istable:
        touched |= parents_of(transaction, [(found[0].parenttype, found[0].parent)])
    children = child_names(transaction, doctype, found[0].name)
    announce(transaction, touched | {(child.name, row) for child, names in children for row in names})
    with whole(transaction):
        delete_children(transaction, children)
        transaction.write(delete(table).where(table.c.name == found[0].name))
    return True


def _delete_single(transaction: Transaction, doctype: DocType) -> bool:
    if not read_single(transaction, doctype, for_update=True):
        return False
    children = child_names(transaction, doctype, doctype.name)
    rows = {(child.name, row) for child, names in children for row in names}
    announce(transaction, {(doctype.name, doctype.name), *rows})
    with whole(transaction):
        delete_children(transaction, children)
        delete_single(transaction, doctype)
    return True
