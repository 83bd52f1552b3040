"""Frappe's field types: the column each has in the three databases, and the Python value it stands for.

The columns are those of Frappe's own schema. A number with decimals is a `float`, and a time of day a `timedelta`, on
every database: what Frappe's connection to MariaDB gives.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from ..errors import ValidationError
from .columntypes import (
    Date,
    DateTime,
    Declared,
    Time,
    format_time,
    parse_date,
    parse_datetime,
    parse_time,
    since_midnight,
)

__all__ = [
    "FLOAT_TYPES",
    "INTEGER_TYPES",
    "NOT_NULL_TYPES",
    "TABLE_TYPES",
    "VARCHAR_LENGTH",
    "WITHOUT_COLUMN",
    "Date",
    "DateTime",
    "Time",
    "cast",
    "check_fieldtype",
    "column_type",
    "format_time",
    "kind_of",
    "parse_date",
    "parse_datetime",
    "parse_time",
    "plain_type",
    "since_midnight",
]

VARCHAR_LENGTH: Final = 140
"""Characters in a name, a link and any other short text."""


def _varchar() -> TypeEngine[Any]:
    return sa.String(VARCHAR_LENGTH)


def _text() -> TypeEngine[Any]:
    return sa.Text()


def _long_text() -> TypeEngine[Any]:
    return sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def _int() -> TypeEngine[Any]:
    return sa.Integer().with_variant(mysql.INTEGER(display_width=11), "mysql", "mariadb")


def _long_int() -> TypeEngine[Any]:
    whole = sa.BigInteger().with_variant(mysql.BIGINT(display_width=20), "mysql", "mariadb")
    return whole.with_variant(sa.Integer(), "sqlite")


def _check() -> TypeEngine[Any]:
    whole = sa.SmallInteger().with_variant(mysql.TINYINT(display_width=4), "mysql", "mariadb")
    return whole.with_variant(sa.Integer(), "sqlite")


def _decimal() -> TypeEngine[Any]:
    return sa.Numeric(21, 9, asdecimal=False).with_variant(sa.REAL(), "sqlite")


def _rating() -> TypeEngine[Any]:
    return sa.Numeric(3, 2, asdecimal=False).with_variant(sa.REAL(), "sqlite")


def _json() -> TypeEngine[Any]:
    # As text: SQLAlchemy's own JSON type would take the text of a document for a value to be written as JSON.
    return sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb").with_variant(Declared("JSON"), "postgresql")


_COLUMNS: Final[dict[str, Callable[[], TypeEngine[Any]]]] = {
    "Attach": _text,
    "Attach Image": _text,
    "Autocomplete": _varchar,
    "Barcode": _long_text,
    "Check": _check,
    "Code": _long_text,
    "Color": _varchar,
    "Currency": _decimal,
    "Data": _varchar,
    "Date": Date,
    "Datetime": DateTime,
    "Duration": _decimal,
    "Dynamic Link": _varchar,
    "Float": _decimal,
    "Geolocation": _long_text,
    "HTML Editor": _long_text,
    "Icon": _varchar,
    "Int": _int,
    "JSON": _json,
    "Link": _varchar,
    "Long Int": _long_int,
    "Long Text": _long_text,
    "Markdown Editor": _long_text,
    "Password": _text,
    "Percent": _decimal,
    "Phone": _varchar,
    "Rating": _rating,
    "Read Only": _varchar,
    "Select": _varchar,
    "Signature": _long_text,
    "Small Text": _text,
    "Text": _text,
    "Text Editor": _long_text,
    "Time": Time,
}

TABLE_TYPES: Final = ("Table", "Table MultiSelect")
"""Fields whose value is the rows of another DocType."""

WITHOUT_COLUMN: Final = (
    *TABLE_TYPES,
    *("Button", "Column Break", "Fold", "HTML", "Heading", "Image", "Section Break", "Tab Break"),
)
"""Fields of which the table of their DocType has no column."""

INTEGER_TYPES: Final = ("Check", "Int", "Long Int")
FLOAT_TYPES: Final = ("Currency", "Float", "Percent")
NOT_NULL_TYPES: Final = (*INTEGER_TYPES, *FLOAT_TYPES)
"""Fields whose column is never null: 0 is their empty value."""


def check_fieldtype(fieldtype: str) -> None:
    """Refuse what is none of Frappe's field types.

    Example:
        >>> check_fieldtype("Curency")
        Traceback (most recent call last):
            ...
        frappe_cache_ext.errors.ValidationError: There is no field type 'Curency'; did you mean Currency...

    Raises:
        ValidationError: there is no such type; the message lists those that are close.
    """
    known = (*_COLUMNS, *WITHOUT_COLUMN)
    if fieldtype in known:
        return
    close = difflib.get_close_matches(str(fieldtype), known, 3, 0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(known))}."
    raise ValidationError(f"There is no field type {fieldtype!r}; {hint}")


def column_type(fieldtype: str) -> TypeEngine[Any] | None:
    """The type of the column that a field of some type has; None for a field without a column.

    Raises:
        ValidationError: there is no such field type.
    """
    check_fieldtype(fieldtype)
    make = _COLUMNS.get(fieldtype)
    return None if make is None else make()


def plain_type(reflected: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type that a column found in a database is read and written with."""
    if isinstance(reflected, sa.Float):
        return sa.Float()
    if isinstance(reflected, sa.Numeric):
        return sa.Numeric(reflected.precision, reflected.scale, asdecimal=False)
    for kind, own in ((sa.DateTime, DateTime()), (sa.Date, Date()), (sa.Time, Time())):
        if isinstance(reflected, kind):
            return own
    # PostgreSQL's; on MariaDB a JSON column is a long text.
    return _json() if isinstance(reflected, sa.JSON) else reflected


def kind_of(fieldtype: str) -> str | None:
    """The name of the kind of column that a field type has, the same for all types with the same; None without one."""
    make = _COLUMNS.get(fieldtype)
    return None if make is None else make.__name__.strip("_").lower()


def cast(fieldtype: str, value: Any) -> Any:
    """The value of a field that was kept as text: in `tabSingles`, or as a default.

    Example:
        >>> cast("Check", "1"), cast("Float", "2.50"), cast("Int", None), cast("Data", None)
        (1, 2.5, 0, None)

    Args:
        fieldtype: the field's type.
        value: the text; None where nothing is kept.

    Returns:
        As Frappe's own cast: 0 for what is no number, None for what is no date or time.

    Raises:
        ValidationError: there is no such field type.
    """
    check_fieldtype(fieldtype)
    if fieldtype in INTEGER_TYPES:
        return _as_int(value)
    if fieldtype in FLOAT_TYPES:
        return _as_float(value)
    parse = _PARSERS.get(fieldtype)
    if parse is not None:
        return parse(value) if isinstance(value, str) else value
    return value if value is None or isinstance(value, str) else str(value)


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "Date": parse_date,
    "Datetime": parse_datetime,
    "Time": parse_time,
}


def _as_int(value: Any) -> int:
    if isinstance(value, str):
        value = {"true": 1, "false": 0}.get(value.strip().lower(), value)
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0


def _as_float(value: Any) -> float:
    try:
        return float(value.replace(",", "") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
