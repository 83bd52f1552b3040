"""Defining DocTypes: `frappe.define_doctype`, which writes what `doctypes` reads and makes or widens the table."""

from __future__ import annotations

import contextlib
import datetime
import secrets
from collections.abc import Iterator, Mapping
from typing import Final

import sqlalchemy as sa

from .. import context
from ..errors import DoesNotExistError, ImplicitCommitError, InReadOnlyMode, ValidationError
from . import tables
from .definitions import FieldSpec, definition
from .doctypes import (
    CHILD_FIELDS,
    STANDARD_FIELDS,
    DocType,
    Field,
    get_doctype,
    link_fields_to,
    names_of_doctypes,
    series_table,
    singles_table,
    table_of,
)
from .engine import begun
from .migration import make_child, migrate
from .tables import DOCFIELD, DOCTYPE, OUTBOX, TRACE, locked
from .transactions import Transaction, current_transaction

__all__ = [
    "CHILD_FIELDS",
    "OUTBOX",
    "STANDARD_FIELDS",
    "TRACE",
    "DocType",
    "Field",
    "define_doctype",
    "get_doctype",
    "is_foreign",
    "link_fields_to",
    "prepare",
    "series_table",
    "singles_table",
    "table_of",
]

_DEFINING: Final = "define"


def prepare(transaction: Transaction) -> None:
    """Make the tables that every site has, unless the database has them; asked once per process and database.

    Raises:
        DatabaseUnavailable: the database cannot be reached.
        QueryError: it refuses to make them.
    """
    tables.prepare(transaction.engine)


def is_foreign(transaction: Transaction) -> bool:
    """Whether a Frappe site made the database, whose documents only Frappe itself may change.

    Raises:
        DocumentError: the database cannot be reached or prepared.
    """
    return tables.is_foreign(transaction.engine)


def define_doctype(
    name: str,
    fields: Mapping[str, FieldSpec],
    single: bool = False,
    *,
    istable: bool = False,
    autoname: str | None = None,
) -> DocType:
    r"""Define a kind of document, and make its table; defining it anew adds fields and widens columns.

    It commits by itself. Values are never dropped: a field that is left out keeps its column, and a type that could
    not hold what is there is refused. Defining the same again does nothing.

    Example::

        frappe.define_doctype("Sales Order Item", {"item": "Data", "qty": "Int"})
        frappe.define_doctype("Sales Order", {
            "customer": ("Link", "Customer"),
            "items": ("Table", "Sales Order Item"),
            "status": {"fieldtype": "Select", "options": "Draft\nOpen\nClosed", "default": "Draft", "reqd": True},
        })
        frappe.define_doctype("Shop Settings", {"currency": "Data", "tax": "Percent"}, single=True)

    Args:
        name: the DocType's name: up to 61 letters, digits, spaces, ``-`` and ``_``.
        fields: for each field its type, the type and its options, or any of `fieldtype`, `options`, `label`, `reqd`,
            `unique`, `default` and `is_virtual`.
        single: whether there is one document of it.
        istable: whether its documents are rows of a table field; known by itself of one that a table field names.
        autoname: how a document without a name gets one: ``field:email``, ``SO-.YYYY.-.#####``, ``hash``, ``prompt``.

    Raises:
        ValidationError: a name, type or option is none, or what is stored would not fit a field's new type.
        ImplicitCommitError: the current transaction has changes that nobody committed.
        InReadOnlyMode: the database is a Frappe site's.
        UniqueValidationError: a field is to be unique, and documents share a value.
        DatabaseUnavailable: the database cannot be reached, or somebody holds what is to be changed.
    """
    wanted = definition(name, fields, single=single, istable=istable, autoname=autoname)
    transaction = current_transaction()
    if transaction.has_changes:
        raise ImplicitCommitError(
            f"Defining {name} would commit what the current transaction has changed; "
            "call frappe.db.commit() or frappe.db.rollback() first."
        )
    if is_foreign(transaction):
        raise InReadOnlyMode("The database belongs to a Frappe site; define DocTypes with Frappe itself.")
    transaction.end_reading()
    with transaction.alone():
        if _is_defined(transaction, wanted):
            return get_doctype(transaction, wanted.name)
    try:
        with _one_at_a_time(transaction, wanted):
            _define(transaction, wanted)
    except BaseException:
        transaction.rollback()
        raise
    with transaction.alone():
        return get_doctype(transaction, wanted.name)


@contextlib.contextmanager
def _one_at_a_time(transaction: Transaction, wanted: DocType) -> Iterator[None]:
    engine = transaction.engine
    if engine.dialect.name == "sqlite":
        # Whoever has announced a change is the only one who writes.
        _announce(transaction, wanted)
        yield
        return
    with begun(engine) as other, locked(other, _DEFINING):
        yield


def _define(transaction: Transaction, wanted: DocType) -> None:
    if _is_defined(transaction, wanted):
        transaction.rollback()
        return
    before = _check(transaction, wanted)
    children = [get_doctype(transaction, str(each.options)) for each in wanted.table_fields]
    if transaction.engine.dialect.name == "mysql":
        # MariaDB commits with each change of a table: these come first, and by themselves.
        _migrate(transaction, wanted, before, children)
        transaction.commit()
        _announce(transaction, wanted)
    else:
        _announce(transaction, wanted)
        _migrate(transaction, wanted, before, children)
    now = _later(before)
    _write_doctype(transaction, wanted, before, now)
    for child in children:
        if not child.istable:
            change = sa.update(DOCTYPE).where(DOCTYPE.c.name == child.name)
            transaction.write(change.values(istable=1, modified=_later(child)))
    transaction.commit()


def _announce(transaction: Transaction, wanted: DocType) -> None:
    names = {wanted.name, *(str(each.options) for each in wanted.table_fields)}
    transaction.touch([("DocType", name) for name in sorted(names)])


def _migrate(transaction: Transaction, wanted: DocType, before: DocType | None, children: list[DocType]) -> None:
    for child in children:
        if not child.istable:
            make_child(transaction, child)
    if not wanted.issingle:
        migrate(transaction, wanted, before)


def _is_defined(transaction: Transaction, wanted: DocType) -> bool:
    """Whether the DocType is there exactly as it is wanted, and its children are children."""
    try:
        there = get_doctype(transaction, wanted.name)
        children = [get_doctype(transaction, str(each.options)) for each in wanted.table_fields]
    except DoesNotExistError:
        return False
    return (
        there.fields == wanted.fields
        and there.issingle == wanted.issingle
        and there.autoname == wanted.autoname
        and (there.istable or not wanted.istable)
        and all(child.istable for child in children)
    )


def _check(transaction: Transaction, wanted: DocType) -> DocType | None:
    """Compare with what is there; the DocType as it was before, if it was."""
    longest = transaction.engine.dialect.max_identifier_length
    if len(wanted.table_name) > longest:
        raise ValidationError(
            f"The name {wanted.name!r} is too long: {longest - 3} characters at most on this database."
        )
    for name in names_of_doctypes(transaction):
        if name != wanted.name and name.casefold() == wanted.name.casefold():
            raise ValidationError(f"There is a DocType {name}; choose a name that differs in more than case.")
    for each in wanted.table_fields:
        try:
            child = get_doctype(transaction, str(each.options))
        except DoesNotExistError:
            raise ValidationError(
                f"The table {each.fieldname} of {wanted.name} has rows of {each.options!r}, which is no DocType; "
                "define it first."
            ) from None
        if child.issingle:
            raise ValidationError(f"The table {each.fieldname} has rows of {child.name}, which is a single DocType.")
    try:
        before = get_doctype(transaction, wanted.name)
    except DoesNotExistError:
        return None
    if before.issingle != wanted.issingle:
        kind = "a single DocType" if before.issingle else "no single DocType"
        raise ValidationError(f"{wanted.name} is {kind} and stays so; define another name.")
    return before


def _later(before: DocType | None) -> datetime.datetime:
    """Now, and in any case later than a DocType was changed."""
    now = datetime.datetime.now()
    if before is None or before.modified is None:
        return now
    return max(now, before.modified + datetime.timedelta(microseconds=1))


def _write_doctype(transaction: Transaction, wanted: DocType, before: DocType | None, now: datetime.datetime) -> None:
    user = context.current_user()
    changed = {"modified": now, "modified_by": user}
    made = {"creation": now, "owner": user, **changed}
    istable = wanted.istable or (before is not None and before.istable)
    own = {"issingle": int(wanted.issingle), "istable": int(istable), "autoname": wanted.autoname}
    if before is None:
        row = {"name": wanted.name, "module": "Custom", "custom": 1, **made, **own}
        transaction.write(sa.insert(DOCTYPE).values(row))
    else:
        transaction.write(sa.update(DOCTYPE).where(DOCTYPE.c.name == wanted.name).values(**changed, **own))
        transaction.write(sa.delete(DOCFIELD).where(DOCFIELD.c.parent == wanted.name))
    rows = [
        {
            "name": secrets.token_hex(5),
            **made,
            **{"idx": number, "parent": wanted.name, "parentfield": "fields", "parenttype": "DocType"},
            **{"fieldname": each.fieldname, "fieldtype": each.fieldtype, "options": each.options},
            **{"label": each.label, "reqd": int(each.reqd), "unique": int(each.unique)},
            **{"default": each.default, "is_virtual": int(each.is_virtual)},
        }
        for number, each in enumerate(wanted.fields, 1)
    ]
    if rows:
        transaction.write(sa.insert(DOCFIELD), rows)
