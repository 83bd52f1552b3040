"""Reading and writing rows: which documents a statement is about to change is announced before it runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, String, Table, delete, select, update

from ..errors import DoesNotExistError, ValidationError
from .base_document import BaseDocument
from .changes import MOST_NAMED
from .ledger import DocumentName
from .schema import DocType, get_doctype, table_of
from .tables import DOCTYPE
from .transactions import Transaction
from .values import field_named, shown, stored

_SAVEPOINT: Final = "frappe_cache_ext_write"


def locked(transaction: Transaction, statement: Select[Any]) -> list[Any]:
    """The rows that a statement finds, which nobody else changes from now on until the transaction ends."""
    return list(transaction.execute(statement.with_for_update()).all())


def lock_doctype(transaction: Transaction, name: str) -> None:
    """Let nobody else who calls this for the DocType go on until the transaction ends."""
    locked(transaction, select(DOCTYPE.c.name).where(DOCTYPE.c.name == name))


def announce(transaction: Transaction, documents: Iterable[DocumentName]) -> None:
    """Say which documents are about to change, all of a DocType's where they are very many."""
    by_doctype: dict[str, set[str | None]] = defaultdict(set)
    for doctype, name in documents:
        by_doctype[doctype].add(name)
    transaction.touch(
        [
            (doctype, name)
            for doctype, names in by_doctype.items()
            for name in ([None] if None in names or len(names) > MOST_NAMED else sorted(filter(None, names)))
        ]
    )


@contextmanager
def whole(transaction: Transaction) -> Iterator[None]:
    """Run statements of which all or none are to hold, whether or not the caller goes on after an error."""
    transaction.savepoint(_SAVEPOINT)
    try:
        yield
    except BaseException:
        if transaction.is_open:  # else the connection was lost, and with it everything
            transaction.rollback(save_point=_SAVEPOINT)
        raise
    transaction.release_savepoint(_SAVEPOINT)


def chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """The names, as many at a time as one statement takes."""
    for start in range(0, len(names), MOST_NAMED):
        yield names[start : start + MOST_NAMED]


def parents_of(transaction: Transaction, pairs: Iterable[tuple[Any, Any]]) -> set[DocumentName]:
    """The documents that child rows belong to, by the names under which they are stored.

    Args:
        transaction: where to look.
        pairs: `parenttype` and `parent` of each row; rows of no document are passed over.
    """
    by_type: dict[str, set[str]] = defaultdict(set)
    for parenttype, parent in pairs:
        if parenttype and parent:
            by_type[parenttype].add(parent)
    found: set[DocumentName] = {(parenttype, name) for parenttype, names in by_type.items() for name in names}
    if transaction.engine.dialect.name not in ("mysql", "mariadb"):
        return found
    # There a row whose parent is ANNA is a row of Anna, too.
    for parenttype, names in by_type.items():
        try:
            doctype = get_doctype(transaction, parenttype)
        except DoesNotExistError:
            continue
        if doctype.issingle:
            found.add((doctype.name, doctype.name))
            continue
        kept = table_of(transaction, doctype)
        for some in chunks(sorted(names)):
            stored_names = transaction.execute(select(kept.c.name).where(kept.c.name.in_(some))).scalars()
            found.update((doctype.name, name) for name in stored_names)
    return found


def column_values(table: Table, document: BaseDocument) -> dict[str, Any]:
    """A document's value for each column of a table."""
    return {column.name: document.__dict__.get(column.name) for column in table.columns}


def as_stored(doctype: DocType, table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as their columns hold them.

    Raises:
        ValidationError: a field has no column, or its column cannot hold the value.
    """
    converted = {}
    for fieldname, value in values.items():
        column = table.columns.get(fieldname)
        if column is None:
            raise no_such_field(doctype, fieldname, table.columns.keys())
        length = column.type.length if isinstance(column.type, String) else None
        converted[fieldname] = stored(doctype, field_named(doctype, fieldname), value, length)
    return converted


def no_such_field(doctype: DocType, fieldname: object, known: Iterable[str]) -> ValidationError:
    """The error for a field that there is not."""
    close = get_close_matches(str(fieldname), list(known), 3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return ValidationError(f"{doctype.name} has no field {shown(fieldname)}.{hint}")


def change_matching(
    transaction: Transaction, doctype: DocType, condition: ColumnElement[bool] | None, values: Mapping[str, Any]
) -> int:
    """Change the columns of all rows that match, and return how many these are.

    Args:
        transaction: what it happens in.
        doctype: whose documents.
        condition: which of them; None for all.
        values: the new values, as stored.
    """
    table = table_of(transaction, doctype)
    found = _announce_matching(transaction, doctype, condition, new_parent=values)
    _for_each_chunk(transaction, table, found, condition, update(table).values(dict(values)))
    return len(found)


def delete_matching(transaction: Transaction, doctype: DocType, condition: ColumnElement[bool] | None) -> int:
    """Delete all rows that match and nothing of what belongs to them; return how many these were."""
    table = table_of(transaction, doctype)
    found = _announce_matching(transaction, doctype, condition, new_parent={})
    _for_each_chunk(transaction, table, found, condition, delete(table))
    return len(found)


def _announce_matching(
    transaction: Transaction, doctype: DocType, condition: ColumnElement[bool] | None, new_parent: Mapping[str, Any]
) -> list[str]:
    table = table_of(transaction, doctype)
    columns = [table.c.name]
    if doctype.istable:
        columns += [table.c.parenttype, table.c.parent]
    statement = select(*columns)
    if condition is not None:
        statement = statement.where(condition)
    found = locked(transaction, statement)
    touched: set[DocumentName] = {(doctype.name, row.name) for row in found}
    if doctype.istable:
        before = [(row.parenttype, row.parent) for row in found]
        after = [(new_parent.get("parenttype", kind), new_parent.get("parent", parent)) for kind, parent in before]
        touched |= parents_of(transaction, [*before, *after])
    if touched:
        announce(transaction, touched)
    return [row.name for row in found]


def _for_each_chunk(
    transaction: Transaction, table: Table, names: list[str], condition: ColumnElement[bool] | None, statement: Any
) -> None:
    if not names:
        return
    if condition is not None:
        statement = statement.where(condition)
    if len(names) > MOST_NAMED:
        transaction.write(statement)
        return
    transaction.write(statement.where(table.c.name.in_(names)))
