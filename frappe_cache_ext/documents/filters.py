r"""Frappe's filters, fields and orders, as parts of an SQLAlchemy statement: only columns that the table has.

As Frappe has it, a text that is null counts as an empty one: it is found by ``""``, and by everything that excludes
another value. `like` does not care about upper and lower case, and ``\%`` is a percent sign in it.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from ..errors import ValidationError
from .columns import column_of, field_columns, fitting, is_number, is_text, order_clauses, shown
from .fieldtypes import DateTime

__all__ = ["OPERATORS", "clause", "column_of", "field_columns", "order_clauses"]

OPERATORS: Final = ("=", "!=", ">", "<", ">=", "<=", "in", "not in", "like", "not like", "between", "is")

_COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    ">": lambda column, value: column > value,
    "<": lambda column, value: column < value,
    ">=": lambda column, value: column >= value,
    "<=": lambda column, value: column <= value,
}

Condition = sa.ColumnElement[bool]


class _Like(FunctionElement[bool]):
    """`LIKE`, without regard to case and with a backslash for the characters themselves, on every database."""

    inherit_cache = True
    name = "like"
    type = sa.Boolean()


@compiles(_Like)
def _like(element: Any, compiler: Any, **options: Any) -> str:
    column, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} LIKE {pattern}"


@compiles(_Like, "postgresql")
def _like_on_postgres(element: Any, compiler: Any, **options: Any) -> str:
    column, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} ILIKE {pattern}"


@compiles(_Like, "sqlite")
def _like_on_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    column, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} LIKE {pattern} ESCAPE '\\'"


# --- filters ----------------------------------------------------------------------------------------------------------


def clause(table: sa.Table, doctype: str, filters: Any, or_filters: Any = None) -> Condition | None:
    """The condition that some filters stand for; None where there are none.

    Example:
        >>> user = sa.Table("tabUser", sa.MetaData(), sa.Column("name", sa.String), sa.Column("age", sa.Integer))
        >>> print(clause(user, "User", {"age": [">", 17]}))
        "tabUser".age > :age_1

    Args:
        table: the DocType's table.
        doctype: the DocType's name.
        filters: a document's name; ``{field: value}`` or ``{field: [operator, value]}``; or a list of
            ``[field, operator, value]``, ``[doctype, field, operator, value]`` or ``[field, value]``. All must hold.
        or_filters: the same, of which one must hold.

    Raises:
        ValidationError: a field or operator is unknown, or a value is none that the field can have.
    """
    found = []
    conditions = _conditions(table, doctype, filters)
    if conditions:
        found.append(sa.and_(*conditions))
    alternatives = _conditions(table, doctype, or_filters)
    if alternatives:
        found.append(sa.or_(*alternatives))
    return sa.and_(*found) if found else None


def _conditions(table: sa.Table, doctype: str, filters: Any) -> list[Condition]:
    if filters is None or (isinstance(filters, (Mapping, list, tuple)) and not filters):
        return []
    if isinstance(filters, Mapping):
        return [_from_mapping(table, doctype, field, value) for field, value in filters.items()]
    if isinstance(filters, (list, tuple)):
        return [_from_list(table, doctype, each) for each in filters]
    if isinstance(filters, (str, int)) and not isinstance(filters, bool):
        return [column_of(table, doctype, "name") == str(filters)]
    raise ValidationError(
        f"Filters for {doctype} are a name, a dictionary or a list of [field, operator, value], "
        f"not {type(filters).__name__}."
    )


def _from_mapping(table: sa.Table, doctype: str, field: Any, value: Any) -> Condition:
    column = column_of(table, doctype, field)
    if not isinstance(value, (list, tuple, set, frozenset)):
        return _condition(column, "=", value)
    if isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str):
        return _condition(column, _operator(value[0]), value[1])
    raise ValidationError(
        f"The filter for {field} is {shown(value)}; write the value, or an operator and a value, such as "
        f"['in', {shown(list(value)[:2])}]. Operators are {', '.join(OPERATORS)}."
    )


def _from_list(table: sa.Table, doctype: str, given: Any) -> Condition:
    if isinstance(given, Mapping) and given:
        return sa.and_(*_conditions(table, doctype, given))
    if not isinstance(given, (list, tuple)) or not 2 <= len(given) <= 4:
        raise ValidationError(
            f"A filter in a list is [field, operator, value], not {shown(given)}; write [[field, '=', value]]."
        )
    if len(given) == 2:
        return _from_mapping(table, doctype, *given)
    if len(given) == 4:
        if given[0] != doctype:
            raise ValidationError(
                f"A filter for {doctype} is about its own fields, not about those of {shown(given[0])}; "
                "select the names of the parents first."
            )
        given = given[1:]
    field, operator, value = given
    return _condition(column_of(table, doctype, field), _operator(operator), value)


def _operator(given: Any) -> str:
    operator = " ".join(given.lower().split()) if isinstance(given, str) else ""
    operator = {"==": "=", "<>": "!="}.get(operator, operator)
    if operator not in OPERATORS:
        close = difflib.get_close_matches(operator, OPERATORS, 1) if operator else []
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(OPERATORS)}."
        raise ValidationError(f"There is no operator {shown(given)}; {hint}")
    return operator


def _condition(column: sa.Column[Any], operator: str, value: Any) -> Condition:
    special = _SPECIAL.get(operator)
    return _compared(column, operator, value) if special is None else special(column, value)


def _compared(column: sa.Column[Any], operator: str, value: Any) -> Condition:
    if value is None:
        if operator in ("=", "!="):
            return column.is_(None) if operator == "=" else column.is_not(None)
        raise ValidationError(
            f"The filter {column.name} {operator} None finds nothing; write 'is' and 'set' or 'not set'."
        )
    value = fitting(column, value)
    found: Condition = _COMPARISONS[operator](column, value)
    # Empty and null are the same to Frappe, where there can be both.
    empty = value == "" and is_text(column)
    if (operator == "=" and empty) or (operator == "!=" and not empty and not is_number(column)):
        return found | column.is_(None)
    return found


def _among(column: sa.Column[Any], value: Any, *, negated: bool) -> Condition:
    if isinstance(value, str):
        value = [each.strip() for each in value.split(",")]  # as Frappe does
    if not isinstance(value, (list, tuple, set, frozenset)) and not _is_view(value):
        raise ValidationError(f"The filter for {column.name} needs a list after 'in', not {shown(value)}.")
    values = list(value)
    known = [fitting(column, each) for each in values if each is not None]
    with_empty = len(known) < len(values) or ("" in known and is_text(column))
    found: Condition = column.in_(known)
    if with_empty:
        found = found | column.is_(None)
    if not negated:
        return found
    if with_empty:
        return column.not_in(known) & column.is_not(None)
    return column.not_in(known) if is_number(column) else column.not_in(known) | column.is_(None)


def _is_view(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping))


def _matching(column: sa.Column[Any], value: Any, *, negated: bool) -> Condition:
    pattern = str(value) if isinstance(value, (int, float)) else value
    if not isinstance(pattern, str):
        raise ValidationError(f"The filter for {column.name} needs a text after 'like', not {shown(value)}.")
    if len(pattern) - len(pattern.rstrip("\\")) & 1:
        pattern += "\\"  # a backslash that escapes nothing means itself; PostgreSQL would refuse it
    text: sa.ColumnElement[Any] = column if is_text(column) else sa.cast(column, sa.String(140))
    found = _Like(text, sa.literal(pattern, sa.Text()))
    return sa.or_(sa.not_(found), column.is_(None)) if negated else sa.and_(found)


def _between(column: sa.Column[Any], value: Any) -> Condition:
    if not isinstance(value, (list, tuple)) or len(value) != 2 or None in value:
        raise ValidationError(
            f"The filter for {column.name} needs two values after 'between', [from, to], not {shown(value)}."
        )
    first, last = value
    low, high = fitting(column, first), fitting(column, last)
    if isinstance(column.type, DateTime) and _is_day(last):
        high += datetime.timedelta(days=1, microseconds=-1)  # the last day belongs to it
    return column.between(low, high)


def _is_day(value: Any) -> bool:
    if isinstance(value, str):
        return len(value.strip()) <= len("2026-01-31")
    return not isinstance(value, datetime.datetime)


def _set_or_not(column: sa.Column[Any], value: Any) -> Condition:
    wanted = value.strip().lower() if isinstance(value, str) else ""
    if wanted not in ("set", "not set"):
        raise ValidationError(f"The filter for {column.name} has 'is' {shown(value)}; write 'set' or 'not set'.")
    if not is_text(column):
        return column.is_not(None) if wanted == "set" else column.is_(None)
    return column != "" if wanted == "set" else (column == "") | column.is_(None)


_SPECIAL: Final[dict[str, Callable[[sa.Column[Any], Any], Condition]]] = {
    "between": _between,
    "in": lambda column, value: _among(column, value, negated=False),
    "is": _set_or_not,
    "like": lambda column, value: _matching(column, value, negated=False),
    "not in": lambda column, value: _among(column, value, negated=True),
    "not like": lambda column, value: _matching(column, value, negated=True),
}
