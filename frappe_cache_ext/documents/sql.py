"""SQL that a user writes, with Frappe's placeholders: ``%s`` and ``%(name)s`` become parameters that are bound.

What stands in literals, quoted names and comments is left alone, whatever it looks like.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import numbers
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import TextClause
from sqlalchemy.types import NullType

from ..errors import QueryError, ValidationError
from .fieldtypes import format_time, since_midnight
from .statements import Kind, classify, parts

__all__ = ["LOCKING", "Kind", "classify", "translate"]

LOCKING: Final = "frappe_locking"
"""The execution option of a statement that locks what it reads."""


# --- placeholders -----------------------------------------------------------------------------------------------------

_PLACEHOLDER: Final = re.compile(r"%\((?P<name>[^()]*)\)s(?!\w)|%s(?!\w)|%%")
_MARK: Final = "\0"
# What `sqlalchemy.text` takes for a parameter, and for a colon that is none.
_LOOKS_BOUND: Final = re.compile(r"(?<![:\w\x5c]):(?=\w+(?![:\w]))")
_LOOKS_ESCAPED: Final = re.compile(r"\x5c(?=:\w*(?![:\w]))")
# Each way leads to the first mark that is left.
_EMPTY_IN: Final = re.compile(rf"\b(not\s+)?in\s*{_MARK}|{_MARK}", re.IGNORECASE)
_UNQUOTED_TABLE: Final = re.compile(r"(?<![\w.$])tab[A-Z]\w*")
_LOCK: Final = re.compile(r"\bfor\s+(?:no\s+key\s+)?(?:update|share)\b|\block\s+in\s+share\s+mode\b", re.IGNORECASE)
_LOCK_AT_END: Final = re.compile(r"\s+for\s+update(?:\s+(?:nowait|skip\s+locked))?\s*;?\s*\Z", re.IGNORECASE)


def translate(query: str, values: Any, dialect_name: str) -> tuple[TextClause, dict[str, Any]]:
    """A query in Frappe's style as a statement of SQLAlchemy's, with its parameters.

    Example:
        >>> statement, parameters = translate("select * from tabUser where name = %s", "anna", "sqlite")
        >>> " ".join(statement.text.split()), parameters
        ('select * from tabUser where name = :p0', {'p0': 'anna'})

    Args:
        query: the SQL, with ``%s`` or ``%(name)s`` where values belong; ``%%`` is a percent sign then.
        values: a list or tuple for ``%s``, a dictionary for ``%(name)s``, or the one value; a list or tuple in it
            stands for ``in``. Where there are none, the query is taken as it is.
        dialect_name: SQLAlchemy's name for the kind of database.

    Raises:
        ValidationError: values and placeholders do not match, or a value is none that a database knows.
        QueryError: the query is empty, or more than one.
    """
    if not _is_text(query) or not query.strip():
        raise QueryError('The query is empty; write SQL, such as "select name from `tabUser`".')
    if _MARK in query:
        raise QueryError("The query holds a NUL character, which no database takes; pass data as values.")
    given = _Values(values)
    pieces: list[str] = []
    locking = False
    for is_code, piece in parts(query, dialect_name):
        if is_code:
            locking = locking or _LOCK.search(piece) is not None
            pieces.append(given.take(_code(piece, dialect_name)))
        else:
            pieces.append(_quoted(given.unescaped(piece), dialect_name))
    if dialect_name == "postgresql":
        _check_single(query)
    text = _with_in_lists("".join(pieces))
    if dialect_name == "sqlite":
        text = _LOCK_AT_END.sub("", text)  # it has no locks on rows; Frappe drops the words there as well
    names = given.finish()
    text = _LOOKS_BOUND.sub(r"\:", _LOOKS_ESCAPED.sub(r"\\\\", text))
    parameters = {}
    for name, value in zip(names, given.taken, strict=True):
        plain = _plain(value, dialect_name, given.called(name))
        if plain == [] and dialect_name == "postgresql":
            text = _EMPTY_IN.sub(_empty_in, text, count=1)
            continue
        text = text.replace(_MARK, f" :{name} ", 1)
        parameters[name] = plain
    bound = [
        sa.bindparam(name, type_=NullType(), expanding=isinstance(value, list)) for name, value in parameters.items()
    ]
    statement = sa.text(text).bindparams(*bound) if bound else sa.text(text)
    return (statement.execution_options(**{LOCKING: True}) if locking else statement), parameters


def _is_text(value: object) -> bool:
    return isinstance(value, str)


class _Values:
    """Values on the way to their placeholders."""

    def __init__(self, values: Any) -> None:
        if values is None or (isinstance(values, (Mapping, list, tuple)) and not values):
            values = ()
        elif not isinstance(values, (Mapping, list, tuple)):
            values = (values,)
        self.values: Mapping[str, Any] | Sequence[Any] = values
        self.taken: list[Any] = []
        self._wanted = 0
        self._missing: list[str] = []
        self._names: list[str] = []

    def unescaped(self, piece: str) -> str:
        """A literal: a percent sign is doubled in it where there are values."""
        return piece.replace("%%", "%") if self.values else piece

    def take(self, piece: str) -> str:
        """Put a mark where each placeholder stands, and take its value."""
        return _PLACEHOLDER.sub(self._take_one, piece)

    def _take_one(self, found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%" if self.values else "%%"
        name = found["name"]
        if name is None:
            self._take_next()
        else:
            self._take_named(name)
        return _MARK

    def _take_next(self) -> None:
        if isinstance(self.values, Mapping):
            raise ValidationError("The query has %s and its values are a dictionary; give a list, or write %(name)s.")
        if self._wanted < len(self.values):
            self.taken.append(self.values[self._wanted])
            self._names.append(f"value {self._wanted + 1}")
        self._wanted += 1

    def _take_named(self, name: str) -> None:
        if not isinstance(self.values, Mapping):
            if not self.values:
                self._missing.append(name)
                return
            raise ValidationError(f"The query has %({name})s and its values are no dictionary; give {{{name!r}: ...}}.")
        if name in self.values:
            self.taken.append(self.values[name])
            self._names.append(f"the value of {name}")
        else:
            self._missing.append(name)

    def finish(self) -> list[str]:
        """The parameters' names, once all have their values.

        Raises:
            ValidationError: there are too few values, or too many.
        """
        if self._missing:
            raise ValidationError(f"The query's values lack {', '.join(dict.fromkeys(self._missing))}.")
        if not isinstance(self.values, Mapping) and self._wanted != len(self.values):
            hint = " For `in %s` give a list in the list: ([1, 2],)." if 0 < self._wanted < len(self.values) else ""
            wanted, given = _counted(self._wanted, "placeholder"), _counted(len(self.values), "value")
            raise ValidationError(f"The query has {wanted} and {given}.{hint}")
        return [f"p{number}" for number in range(len(self.taken))]

    def called(self, name: str) -> str:
        """What a message calls a parameter."""
        return self._names[int(name[1:])]


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _code(piece: str, dialect_name: str) -> str:
    # PostgreSQL would look for `tabuser`; Frappe quotes these names there as well.
    return _UNQUOTED_TABLE.sub(r'"\g<0>"', piece) if dialect_name == "postgresql" else piece


def _quoted(piece: str, dialect_name: str) -> str:
    if dialect_name == "postgresql" and piece.startswith("`"):
        name = piece[1:-1].replace("``", "`").replace('"', '""')
        return f'"{name}"'
    return piece


def _with_in_lists(text: str) -> str:
    """Without the parentheses around the placeholder of an `in`: those of its values come with them."""
    return re.sub(rf"(\bin\s*)\(\s*{_MARK}\s*\)", rf"\1{_MARK}", text, flags=re.IGNORECASE)


def _empty_in(found: re.Match[str]) -> str:
    """A list of nothing: PostgreSQL wants to know nothing of which type, except in an array."""
    if len(found[0]) == 1:
        raise ValidationError("A list of no values stands where it is not after `in`; give it values.")
    return "<> all ('{}')" if found[1] else "= any ('{}')"


def _check_single(query: str) -> None:
    """Refuse several statements in one: of the drivers only PostgreSQL's would carry them all out."""
    ended = False
    for is_code, piece in parts(query, "postgresql"):
        if not is_code:
            if ended and not piece.startswith(("--", "/*")):
                break
            continue
        _, semicolon, after = piece.partition(";")
        if (ended and piece.strip("; \t\r\n")) or (semicolon and after.strip("; \t\r\n")):
            break
        ended = ended or bool(semicolon)
    else:
        return
    raise QueryError("The query holds more than one statement; carry out one at a time.")


def _plain(value: Any, dialect_name: str, called: str) -> Any:
    """A value as the driver takes it; a list for what stands in an `in`."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain_one(each, dialect_name, called) for each in value]
    return _plain_one(value, dialect_name, called)


def _plain_one(value: Any, dialect_name: str, called: str) -> Any:
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, (str, uuid.UUID)):
        return str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, (decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)):
        return _for_sqlite(value) if dialect_name == "sqlite" else value
    raise ValidationError(
        f"{called[0].upper()}{called[1:]} is of type {type(value).__name__}, which no database knows; "
        "give text, a number, a date or time, bytes or None."
    )


def _for_sqlite(value: Any) -> Any:
    """A value as SQLite's columns keep it: it has no type for decimals, dates and times."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")
    if isinstance(value, datetime.date):
        return value.isoformat()
    return format_time(since_midnight(value) if isinstance(value, datetime.time) else value)
