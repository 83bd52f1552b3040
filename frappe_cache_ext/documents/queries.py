"""The statements behind `frappe.db.get_value` and `get_all`, and the shapes that their results have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, select

from ..errors import ValidationError
from ..stand_ins import _dict
from .changing import single_field
from .filters import clause, field_columns, order_clauses
from .loading import cast_single
from .schema import DocType, get_doctype, table_of
from .singles import read_single
from .transactions import Transaction
from .values import shown


def condition_of(
    transaction: Transaction, doctype: DocType, filters: Any, or_filters: Any = None
) -> ColumnElement[bool] | None:
    """What filters stand for; None where there are none."""
    if filters is None and or_filters is None:
        return None
    return clause(table_of(transaction, doctype), doctype.name, filters, or_filters)


def where(statement: Select[Any], condition: ColumnElement[bool] | None) -> Select[Any]:
    """A statement that a condition, if there is one, narrows."""
    return statement if condition is None else statement.where(condition)


def select_fields(
    transaction: Transaction,
    doctype: DocType,
    fields: str | Sequence[str],
    filters: Any,
    *,
    or_filters: Any = None,
    order_by: str | None,
) -> Select[Any]:
    """The statement that selects fields of the documents that match."""
    table = table_of(transaction, doctype)
    columns = field_columns(table, [fields] if isinstance(fields, str) else list(fields))
    statement = where(select(*columns).select_from(table), condition_of(transaction, doctype, filters, or_filters))
    return statement.order_by(*order_clauses(table, order_by)) if order_by else statement


def limited(statement: Select[Any], limit: Any, start: Any) -> Select[Any]:
    """A statement for one page of its rows; a limit of 0 is none, as in Frappe.

    Raises:
        ValidationError: a number of rows is none.
    """
    for number, what in ((limit, "limit"), (start, "limit_start")):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise ValidationError(f"{what} is a number of rows, from 0, not {shown(number)}.")
    if limit:
        statement = statement.limit(limit)
    elif start:
        statement = statement.limit(2**31 - 1)  # MariaDB has no offset without a limit
    return statement.offset(start) if start else statement


def shaped(result: Any, *, as_dict: bool, pluck: bool) -> Sequence[Any]:
    """The rows of a result: a tuple of tuples, a list of dictionaries, or a list of the first column's values."""
    if pluck:
        return list(result.scalars())
    if as_dict:
        return [_dict(row) for row in result.mappings()]
    return tuple(tuple(row) for row in result)


def looks_like_filters(value: Any) -> bool:
    """Whether this is no list of fields, but filters."""
    if isinstance(value, Mapping):
        return True
    return isinstance(value, list) and bool(value) and isinstance(value[0], list | tuple)


def split_fields(text: str) -> list[str]:
    """The fields that a text with commas names."""
    if not isinstance(text, str):
        raise ValidationError(f"group_by is text such as 'status, owner', not {shown(text)}.")
    return [part.strip() for part in text.split(",")]


def single_doctype(transaction: Transaction, doctype: str) -> DocType:
    """A single DocType by its name.

    Raises:
        DoesNotExistError: there is no such DocType.
        ValidationError: it is not single.
    """
    meta = get_doctype(transaction, doctype)
    if not meta.issingle:
        raise ValidationError(f"{meta.name} is not a single DocType; use frappe.db.get_value and set_value.")
    return meta


def values_of_single(
    transaction: Transaction,
    doctype: DocType,
    filters: Any,
    fieldname: str | Iterable[str],
    as_dict: bool,
    for_update: bool,
    pluck: bool,
) -> Sequence[Any]:
    """Fields of a single DocType, in the shape that `get_values` gives documents of others."""
    stored = read_single(transaction, doctype, for_update=for_update)
    values = {"name": doctype.name, **cast_single(doctype, stored)}
    if isinstance(filters, Mapping):
        if any(values.get(single_field(doctype, key).fieldname) != value for key, value in filters.items()):
            return []
    elif filters not in (None, doctype.name):
        return []
    if fieldname == "*":
        return [_dict(values)]
    names = [fieldname] if isinstance(fieldname, str) else list(fieldname)
    for name in names:
        single_field(doctype, name)
    row = tuple(values.get(name) for name in names)
    if pluck:
        return [row[0]]
    return [_dict(zip(names, row, strict=True))] if as_dict else (row,)
