"""Days, moments and times of day as columns hold them: the same Python values on every database."""

from __future__ import annotations

import datetime
import re
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

_TIME: Final = re.compile(r"(-?)(\d{1,3}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,6})\d*)?)?\Z", re.ASCII)


def parse_time(text: str) -> datetime.timedelta | None:
    """The time of day (or span, as MariaDB's TIME allows) in a text; None where it is none.

    Example:
        >>> parse_time("10:05:00.5")
        datetime.timedelta(seconds=36300, microseconds=500000)
    """
    found = _TIME.match(text.strip())
    if found is None:
        return None
    sign, hours, minutes, seconds, fraction = found.groups()
    if int(minutes) > 59 or int(seconds or 0) > 59:
        return None
    span = datetime.timedelta(
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds or 0),
        microseconds=int((fraction or "").ljust(6, "0")),
    )
    return -span if sign else span


def format_time(span: datetime.timedelta) -> str:
    """A span as MariaDB writes it, with microseconds.

    Example:
        >>> format_time(datetime.timedelta(hours=9, minutes=5))
        '09:05:00.000000'
    """
    sign, span = ("-", -span) if span < datetime.timedelta(0) else ("", span)
    minutes, seconds = divmod(span.days * 86400 + span.seconds, 60)
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{span.microseconds:06}"


def since_midnight(time: datetime.time) -> datetime.timedelta:
    """How long after midnight a time of day is."""
    return datetime.timedelta(hours=time.hour, minutes=time.minute, seconds=time.second, microseconds=time.microsecond)


def parse_datetime(text: str) -> datetime.datetime | None:
    """The moment in an ISO text, midnight where it holds only a day; None where it is neither."""
    try:
        return datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def parse_date(text: str) -> datetime.date | None:
    """The day in an ISO text, which may go on with a time; None where it is none."""
    found = parse_datetime(text)
    return None if found is None else found.date()


class Declared(UserDefinedType[Any]):
    """A column type of which only the name matters: values pass through it as the driver has them."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """What a table's definition calls it."""
        return self.name


class DateTime(TypeDecorator[datetime.datetime]):
    """A moment to the microsecond."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column of one database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Declared("DATETIME"))
        # Microseconds are what PostgreSQL keeps of itself.
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name == "mysql" else sa.DateTime())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """What the driver is given."""
        if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            value = datetime.datetime.combine(value, datetime.time())
        if dialect.name != "sqlite":
            return value
        found = parse_datetime(value) if isinstance(value, str) else value
        # All of one length, so that texts compare as moments do.
        return found.replace(tzinfo=None).isoformat(" ", "microseconds") if found is not None else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """What the caller sees; SQLite may hold what is no moment, and that comes back as it is."""
        return (parse_datetime(value) or value) if isinstance(value, str) else value


class Date(TypeDecorator[datetime.date]):
    """A day."""

    impl = sa.Date
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column of one database."""
        return dialect.type_descriptor(Declared("DATE") if dialect.name == "sqlite" else sa.Date())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """What the driver is given."""
        if isinstance(value, datetime.datetime):
            value = value.date()
        if dialect.name != "sqlite":
            return value
        found = parse_date(value) if isinstance(value, str) else value
        return found.isoformat() if found is not None else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """What the caller sees."""
        return (parse_date(value) or value) if isinstance(value, str) else value


class Time(TypeDecorator[datetime.timedelta]):
    """A time of day, as the span since midnight."""

    impl = sa.Interval
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column of one database."""
        return dialect.type_descriptor(Declared("TIME" if dialect.name == "sqlite" else "TIME(6)"))

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        """A value that a column of this type is compared with is of this type as well."""
        return self

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """What the driver is given."""
        if isinstance(value, datetime.time):
            value = since_midnight(value)
        if isinstance(value, str):
            value = parse_time(value) or value
        # As text: SQLite has no such type, and PostgreSQL would take a span for an interval.
        return format_time(value) if isinstance(value, datetime.timedelta) and dialect.name != "mysql" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """What the caller sees."""
        if isinstance(value, datetime.time):
            return since_midnight(value)
        return (parse_time(value) or value) if isinstance(value, str) else value
