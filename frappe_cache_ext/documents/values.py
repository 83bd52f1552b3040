"""What a field can hold: a Python value becomes the one that is stored, or is refused by the field's name."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import ValidationError
from .fieldtypes import FLOAT_TYPES, NOT_NULL_TYPES, parse_time, since_midnight
from .schema import DocType, Field

_INTEGERS: Final = {"Check": 1, "Int": 31, "Long Int": 63}

_STANDARD: Final[Mapping[str, str]] = {
    "name": "Data",
    "owner": "Data",
    "creation": "Datetime",
    "modified": "Datetime",
    "modified_by": "Data",
    "docstatus": "Int",
    "idx": "Int",
    "parent": "Data",
    "parentfield": "Data",
    "parenttype": "Data",
}
STANDARD: Final[Mapping[str, Field]] = {name: Field(name, fieldtype) for name, fieldtype in _STANDARD.items()}
"""The columns that every table has and no DocType lists, the three of child rows last."""


def field_named(doctype: DocType, fieldname: str) -> Field:
    """A field of a DocType or one that all have; a column that the DocType does not list holds text."""
    return doctype.field(fieldname) or STANDARD.get(fieldname) or Field(fieldname, "Long Text")


def stored(doctype: DocType, field: Field, value: Any, length: int | None = None) -> Any:
    """The value as the column of a field holds it.

    Example:
        >>> order = DocType("Sales Order", (), issingle=False, istable=False, autoname=None, modified=None)
        >>> stored(order, Field("qty", "Int"), "12")
        12
        >>> stored(order, Field("day", "Date"), "2026-01-02")
        datetime.date(2026, 1, 2)

    Args:
        doctype: whose field it is, for the message.
        field: the field.
        value: what to store; None and blank text are no number, date or time.
        length: how many characters the column takes; None for any number.

    Raises:
        ValidationError: the field cannot hold the value; the message says what it can.
    """
    convert, fitting = _CONVERSIONS.get(field.fieldtype, (_text, "text"))
    try:
        converted = convert(value)
    except (ArithmeticError, TypeError, ValueError):
        raise _refusal(doctype, field, value, fitting) from None
    bits = _INTEGERS.get(field.fieldtype)
    if bits is not None and bits > 1 and not -(2**bits) <= converted < 2**bits:
        raise _refusal(doctype, field, value, f"whole numbers of {bits + 1} bits")
    if isinstance(converted, str):
        if length is not None and len(converted) > length:
            raise _refusal(doctype, field, value, f"text of at most {length} characters, and this is {len(converted)}")
        check_text(f"{doctype.name}.{field.fieldname}", converted)
        if field.unique and not converted.strip():
            return None  # two documents without a value do not have the same one
    return converted


def check_text(what: str, text: str) -> None:
    """Refuse what some of the databases cannot store, so that all of them store the same.

    Raises:
        ValidationError: there is a NUL or half of a surrogate pair in it.
    """
    if "\0" in text:
        raise ValidationError(f"{what} cannot hold a NUL character; remove it from {shown(text)}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValidationError(f"{what} cannot hold half of a surrogate pair; remove it from {shown(text)}.") from None


def is_number(field: Field) -> bool:
    """Whether a field holds numbers, of which a missing one is 0."""
    return field.fieldtype in NOT_NULL_TYPES


def is_empty(field: Field, value: Any) -> bool:
    """Whether a mandatory field lacks its value; 0 is a number like any other, as in Frappe."""
    if field.is_table:
        return not value
    return value is None or (isinstance(value, str) and not value.strip())


def default_of(field: Field, user: str, now: datetime.datetime) -> Any:
    """The value of a new document's field: its default, with Frappe's words for the user and the time.

    Args:
        field: the field.
        user: what ``__user`` and ``user`` mean.
        now: what ``Today`` and ``now`` mean.
    """
    text = field.default
    if text is None or text == "":
        return None
    if text in ("__user", "user"):
        return user
    if field.fieldtype == "Date" and text.lower() in ("today", "now"):
        return now.date()
    if field.fieldtype == "Datetime" and text.lower() in ("today", "now"):
        return now
    if field.fieldtype == "Time" and text.lower() == "now":
        return since_midnight(now.time())
    return text


def as_single_text(value: Any) -> str | None:
    """A stored value as `tabSingles` holds it: text."""
    return None if value is None else str(value)


def shown(value: object, longest: int = 60) -> str:
    """A value for a message: on one line, cut where it is long."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = f"a {type(value).__name__} of very many digits"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _refusal(doctype: DocType, field: Field, value: Any, fitting: str) -> ValidationError:
    return ValidationError(f"{doctype.name}.{field.fieldname} ({field.fieldtype}) holds {fitting}, not {shown(value)}.")


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _integer(value: Any) -> int:
    if _blank(value):
        return 0
    if isinstance(value, int):
        return int(value)
    number = decimal.Decimal(value.strip()) if isinstance(value, str) else value
    # The comparison first: as a whole number, 1e999999999 would fill the memory.
    if isinstance(number, float | decimal.Decimal) and -(2**64) < number < 2**64 and number == int(number):
        return int(number)
    raise ValueError


def _check(value: Any) -> int:
    return int(_integer(value) != 0)


def _float(value: Any) -> float:
    if _blank(value):
        return 0.0
    if not isinstance(value, int | float | str | decimal.Decimal):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _float_or_none(value: Any) -> float | None:
    return None if _blank(value) else _float(value)


def _date(value: Any) -> datetime.date | None:
    if _blank(value):
        return None
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.strip())
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    raise TypeError


def _datetime(value: Any) -> datetime.datetime | None:
    if _blank(value):
        return None
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.strip())
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            raise ValueError
        return value
    if isinstance(value, datetime.date):
        return datetime.datetime.combine(value, datetime.time())
    raise TypeError


def _time(value: Any) -> datetime.timedelta | None:
    if _blank(value):
        return None
    if isinstance(value, str):
        value = parse_time(value)
    if isinstance(value, datetime.time):
        value = since_midnight(value)
    if isinstance(value, datetime.timedelta) and datetime.timedelta() <= value < datetime.timedelta(days=1):
        return value
    raise TypeError


def _text(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    if isinstance(value, bool):
        return str(int(value))  # as MariaDB writes it, which knows no truth values
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | float | decimal.Decimal | datetime.date | datetime.time | datetime.timedelta):
        return str(value)
    raise TypeError


def _json(value: Any) -> str | None:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict | list) else _text(value)


_CONVERSIONS: Final[Mapping[str, tuple[Callable[[Any], Any], str]]] = {
    "Check": (_check, "0 or 1"),
    "Int": (_integer, "whole numbers"),
    "Long Int": (_integer, "whole numbers"),
    **dict.fromkeys(FLOAT_TYPES, (_float, "numbers")),
    **dict.fromkeys(("Duration", "Rating"), (_float_or_none, "numbers")),
    "Date": (_date, "dates such as '2026-01-31'"),
    "Datetime": (_datetime, "times without a time zone such as '2026-01-31 12:30:00'"),
    "Time": (_time, "times of day such as '12:30:00'"),
    "JSON": (_json, "text, a list or a dictionary"),
}
