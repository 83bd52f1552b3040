"""Columns of a DocType's table by the names that a user writes, the orders by them, and values that fit them."""

from __future__ import annotations

import datetime
import decimal
import difflib
import math
import re
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from ..errors import ValidationError
from .fieldtypes import Date, DateTime, Time, parse_datetime, parse_time, since_midnight


def shown(value: object) -> str:
    """A value for a message, cut short where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_ALIASED: Final = re.compile(r"(.+?)\s+as\s+[`\"]?(\w+)[`\"]?\Z", re.IGNORECASE | re.DOTALL)
_AGGREGATE: Final = re.compile(r"(count|sum|avg|min|max)\s*\(\s*(.+?)\s*\)\Z", re.IGNORECASE | re.DOTALL)
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "avg": sa.func.avg,
    "count": sa.func.count,
    "max": sa.func.max,
    "min": sa.func.min,
    "sum": sa.func.sum,
}


def column_of(table: sa.Table, doctype: str, field: Any) -> sa.Column[Any]:
    """A column of a DocType's table by its name, which may be in backticks and follow the table's.

    Raises:
        ValidationError: there is none; the message lists those that are close.
    """
    name = field.strip() if isinstance(field, str) else ""
    for prefix in (f"`{table.name}`.", f"{table.name}."):
        name = name.removeprefix(prefix)
    if len(name) > 2 and name[0] == name[-1] == "`":
        name = name[1:-1]
    column: sa.Column[Any] | None = table.columns.get(name)
    if column is None:
        close = difflib.get_close_matches(name, table.columns.keys(), 3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(table.columns.keys())}."
        raise ValidationError(f"{doctype} has no field {shown(field)} in its table; {hint}")
    return column


def field_columns(table: sa.Table, fields: Any) -> list[sa.ColumnElement[Any]]:
    """What `get_all` selects for its fields, each under the name that its value gets.

    Args:
        table: the DocType's table.
        fields: names, ``*``, ``field as alias`` and ``count``, ``sum``, ``avg``, ``min`` or ``max`` of a field or of
            ``*``, in a list or in one text with commas; None for the name alone.

    Raises:
        ValidationError: one of them is something else, or there is no such field.
    """
    if fields is None:
        fields = ["name"]
    if isinstance(fields, str):
        fields = fields.split(",")
    if not isinstance(fields, (list, tuple, set, frozenset)) or not fields:
        raise ValidationError(f"Fields are a list of names, such as ['name', 'modified'], not {shown(fields)}.")
    found: list[sa.ColumnElement[Any]] = []
    for field in fields:
        if isinstance(field, str) and field.strip() in ("*", f"`{table.name}`.*"):
            found.extend(table.columns)
        else:
            found.append(_field_column(table, field))
    return found


def _field_column(table: sa.Table, field: Any) -> sa.ColumnElement[Any]:
    text = field.strip() if isinstance(field, str) else ""
    aliased = _ALIASED.match(text)
    alias = None
    if aliased is not None:
        text, alias = aliased[1].strip(), aliased[2]
    doctype = table.name.removeprefix("tab")
    aggregate = _AGGREGATE.match(text)
    if aggregate is None:
        column = column_of(table, doctype, text or field)
        return column if alias is None else column.label(alias)
    function, argument = aggregate[1].lower(), aggregate[2]
    if argument == "*" and function != "count":
        raise ValidationError(f"{function}(*) is no number; name a field: {function}(name).")
    made = _FUNCTIONS[function](*([] if argument == "*" else [column_of(table, doctype, argument)]))
    if argument == "*":
        made = sa.func.count(sa.literal_column("*"))
    labelled: sa.ColumnElement[Any] = made.label(alias or f"{function}({argument.strip('`')})")
    return labelled


def order_clauses(table: sa.Table, text: str | None) -> list[sa.ColumnElement[Any]]:
    """What ``modified desc, name asc`` orders by; nothing where it is empty.

    Raises:
        ValidationError: it holds anything but columns with `asc` or `desc`, or there is no such column.
    """
    if text is None or text == "":
        return []
    if not isinstance(text, str):
        raise ValidationError(f"An order is text, such as 'modified desc', not {shown(text)}.")
    found: list[sa.ColumnElement[Any]] = []
    for part in text.split(","):
        words = re.match(r"\s*(.*?)(?:\s+(asc|desc))?\s*\Z", part, re.IGNORECASE | re.DOTALL)
        name, direction = (words[1], words[2]) if words else (part, None)
        if re.search(r"\s", name.replace(f"`{table.name}`", "").replace(table.name, "")) or not name:
            raise ValidationError(f"An order is columns with asc or desc, such as 'modified desc', not {shown(text)}.")
        column = column_of(table, table.name.removeprefix("tab"), name)
        descending = direction is not None and direction.lower() == "desc"
        found.append(column.desc() if descending else column.asc())
    return found


def is_text(column: sa.Column[Any]) -> bool:
    """Whether a column holds text."""
    return isinstance(column.type, sa.String)


def is_number(column: sa.Column[Any]) -> bool:
    """Whether a column holds numbers."""
    return isinstance(column.type, (sa.Integer, sa.Numeric))


def fitting(column: sa.Column[Any], value: Any) -> Any:
    """A value as it can be compared with a column, without the database guessing what is meant.

    Raises:
        ValidationError: it is of another kind.
    """
    found = _fitting(column.type, value)
    if found is None:
        kind = next((name for kind, name in _KINDS if isinstance(column.type, kind)), "text")
        raise ValidationError(f"{column.name} holds {kind}, which {shown(value)} is not.")
    return found


_KINDS: Final[tuple[tuple[type[TypeEngine[Any]], str], ...]] = (
    (sa.Integer, "whole numbers"),
    (sa.Numeric, "numbers"),
    (DateTime, "moments such as 2026-01-31 10:00:00"),
    (Date, "days such as 2026-01-31"),
    (Time, "times such as 10:00:00"),
)


def _fitting(kind: TypeEngine[Any], value: Any) -> Any:
    for known, convert in _CONVERSIONS:
        if isinstance(kind, known):
            return convert(value)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (str, int, float, decimal.Decimal, datetime.date, datetime.timedelta)):
        return str(value)
    return None


def _number(value: Any) -> int | float | None:
    if isinstance(value, int):
        return int(value)
    try:
        number = float(value) if isinstance(value, (str, float, decimal.Decimal)) else None
    except ValueError:
        return None
    if number is None or not math.isfinite(number):
        return None
    if isinstance(value, str):
        # Whole numbers stay whole, whatever their length.
        return int(value) if re.fullmatch(r"\s*[+-]?\d+\s*", value, re.ASCII) else number
    return number


def _moment(value: Any) -> datetime.datetime | None:
    if isinstance(value, datetime.datetime):
        return value
    if isinstance(value, datetime.date):
        return datetime.datetime.combine(value, datetime.time())
    return parse_datetime(value) if isinstance(value, str) else None


def _day(value: Any) -> datetime.date | None:
    moment = _moment(value)
    return None if moment is None else moment.date()


def _span(value: Any) -> datetime.timedelta | None:
    if isinstance(value, datetime.time):
        return since_midnight(value)
    return parse_time(value) if isinstance(value, str) else value if isinstance(value, datetime.timedelta) else None


_CONVERSIONS: Final[tuple[tuple[type[TypeEngine[Any]], Callable[[Any], Any]], ...]] = (
    (sa.Integer, _number),
    (sa.Numeric, _number),
    (DateTime, _moment),
    (Date, _day),
    (Time, _span),
)
