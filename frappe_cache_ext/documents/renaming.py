"""Giving a document another name, with everything that refers to it."""

from __future__ import annotations

from sqlalchemy import delete, select, update

from ..errors import DoesNotExistError, DuplicateEntryError, ValidationError
from .children import child_names, delete_children
from .ledger import DocumentName
from .naming import check_name
from .rows import announce, chunks, locked, parents_of, whole
from .schema import DocType, Field, get_doctype, link_fields_to, table_of
from .singles import read_single, write_single
from .transactions import Transaction, current_transaction
from .values import check_text, shown

Linked = tuple[DocType, Field, list[str]]
"""Documents whose link field holds the old name; of a single DocType, its own name."""


def rename_doc(doctype: str, old: str | int, new: str | int, *, merge: bool = False) -> str:
    """Give a document another name; its child rows and the links to it follow.

    Example::

        frappe.rename_doc("Item", "ITEM-0001", "Blue chair")

    Args:
        doctype: the DocType.
        old: the name until now.
        new: the name from now on.
        merge: give up the document for one that has the new name already: links then lead to that one.

    Returns:
        The new name, as it is stored.

    Raises:
        DoesNotExistError: there is no document of the old name; with `merge`, none of the new one.
        DuplicateEntryError: there is one of the new name, and they are not to be merged.
        ValidationError: no document can have the new name.
    """
    transaction = current_transaction()
    meta = get_doctype(transaction, doctype)
    if meta.issingle:
        raise ValidationError(f"{meta.name} is a single DocType; its only document keeps its name.")
    old_name = _stored_name(transaction, meta, old)
    if old_name is None:
        raise DoesNotExistError(f"{meta.name} {shown(old)} not found.")
    new_name = check_name(meta, new)
    there = _stored_name(transaction, meta, new_name)
    if new_name == old_name:
        return old_name
    if merge:
        # Where capital letters make no difference, "anna" may find the document that is to be renamed to it.
        if there is None or there == old_name:
            raise DoesNotExistError(f"{meta.name} {shown(new_name)} not found, so nothing can be merged into it.")
        new_name = there
    elif there not in (None, old_name):
        raise DuplicateEntryError(f"There is a {meta.name} {shown(new_name)} already; merge=True gives one up for it.")
    _rename(transaction, meta, old_name, new_name, merge=merge)
    return new_name


def _rename(transaction: Transaction, doctype: DocType, old: str, new: str, *, merge: bool) -> None:
    table = table_of(transaction, doctype)
    children = child_names(transaction, doctype, old)
    links = _linked(transaction, doctype, old)
    touched: set[DocumentName] = {(doctype.name, old), (doctype.name, new)}
    touched |= {(child.name, row) for child, rows in children for row in rows}
    for linked, _, names in links:
        touched |= {(linked.name, name) for name in names}
        touched |= _parents(transaction, linked, names)
    touched |= _parents(transaction, doctype, [old, new] if merge else [old])
    announce(transaction, touched)
    with whole(transaction):
        if merge:
            delete_children(transaction, children)
            transaction.write(delete(table).where(table.c.name == old))
        else:
            transaction.write(update(table).where(table.c.name == old).values(_renamed(doctype, new)))
            for child, rows in children:
                rows_table = table_of(transaction, child)
                for some in chunks(rows):
                    transaction.write(update(rows_table).where(rows_table.c.name.in_(some)).values(parent=new))
        for linked, field, names in links:
            # A document of the same kind may be the one that has its new name by now, or is gone.
            renamed = {} if linked.name != doctype.name else {old: None if merge else new}
            now = [renamed.get(name, name) for name in names]
            _relink(transaction, linked, field, new, [name for name in now if name is not None])


def _renamed(doctype: DocType, new: str) -> dict[str, str]:
    kind, _, fieldname = (doctype.autoname or "").partition(":")
    field = doctype.field(fieldname.strip()) if kind.lower() == "field" else None
    return {"name": new} if field is None or not field.has_column else {"name": new, field.fieldname: new}


def _relink(transaction: Transaction, linked: DocType, field: Field, new: str, names: list[str]) -> None:
    if linked.issingle:
        write_single(transaction, linked, {field.fieldname: new})
        return
    table = table_of(transaction, linked)
    for some in chunks(names):
        transaction.write(update(table).where(table.c.name.in_(some)).values({field.fieldname: new}))


def _linked(transaction: Transaction, doctype: DocType, name: str) -> list[Linked]:
    found: list[Linked] = []
    for linked, field in link_fields_to(transaction, doctype.name):
        if linked.issingle:
            if read_single(transaction, linked, for_update=True).get(field.fieldname) == name:
                found.append((linked, field, [linked.name]))
            continue
        table = table_of(transaction, linked)
        rows = locked(transaction, select(table.c.name).where(table.c[field.fieldname] == name))
        if rows:
            found.append((linked, field, [row.name for row in rows]))
    return found


def _parents(transaction: Transaction, doctype: DocType, names: list[str]) -> set[DocumentName]:
    if not doctype.istable:
        return set()
    table = table_of(transaction, doctype)
    found: set[DocumentName] = set()
    for some in chunks(names):
        rows = transaction.execute(select(table.c.parenttype, table.c.parent).where(table.c.name.in_(some)))
        found |= parents_of(transaction, [(row.parenttype, row.parent) for row in rows])
    return found


def _stored_name(transaction: Transaction, doctype: DocType, name: str | int) -> str | None:
    name = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    if not isinstance(name, str):
        raise ValidationError(f"The name of a {doctype.name} is text, not {shown(name)}.")
    check_text(f"{doctype.name}.name", name)
    table = table_of(transaction, doctype)
    found = locked(transaction, select(table.c.name).where(table.c.name == name))
    return found[0].name if found else None
