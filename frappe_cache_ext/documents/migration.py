"""Making a DocType's table as Frappe makes it, and changing it without losing what it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable, DropIndex
from sqlalchemy.types import TypeEngine

from ..errors import UniqueValidationError, ValidationError
from .doctypes import CHILD_FIELDS, DocType, Field, columns_of
from .engine import translated
from .fieldtypes import (
    NOT_NULL_TYPES,
    VARCHAR_LENGTH,
    Date,
    DateTime,
    Time,
    column_type,
    kind_of,
)
from .tables import MARIADB_OPTIONS, standard_columns, whole
from .transactions import Transaction

_TEXTS: Final = frozenset(("varchar", "text", "long_text"))
_WIDER: Final[dict[str, frozenset[str]]] = {
    "check": frozenset(("int", "long_int", "decimal")) | _TEXTS,
    "int": frozenset(("long_int", "decimal")) | _TEXTS,
    "long_int": _TEXTS,
    "rating": frozenset(("decimal",)),
    "date": frozenset(("datetime",)) | _TEXTS,
    "datetime": _TEXTS,
    "time": _TEXTS,
    "varchar": frozenset(("text", "long_text")),
    "text": frozenset(("long_text",)),
    "json": frozenset(("long_text",)),
}
"""For each kind of column the kinds that can hold whatever it holds."""


def migrate(transaction: Transaction, wanted: DocType, before: DocType | None) -> None:
    """Make the table of a DocType, or change it so that it has every field's column.

    Raises:
        ValidationError: what a column holds would not fit its field's new type.
        UniqueValidationError: a field is to be unique, and rows share a value.
        DocumentError: the database refuses.
    """
    there = columns_of(transaction, wanted.table_name)
    table = _table(wanted, child=wanted.istable or (before is not None and before.istable))
    if not there:
        _create(transaction, table)
    unique = _unique_columns(transaction, table) if there else {}
    for each in wanted.fields:
        if each.has_column and each.fieldname in there:
            old = _fieldtype(before, each.fieldname, there[each.fieldname])
            _change(transaction, table.columns[each.fieldname], each, old, unique)
    if there:
        _add_missing(transaction, table, there)
    for each in wanted.fields:
        if each.unique and each.fieldname not in unique:
            _make_unique(transaction, table, each)


def _create(transaction: Transaction, table: sa.Table) -> None:
    transaction.write(CreateTable(table))
    for index in table.indexes:
        transaction.write(CreateIndex(index))


def _add_missing(transaction: Transaction, table: sa.Table, there: Mapping[str, Any]) -> None:
    missing = [column for column in table.columns if column.name not in there]
    for column in missing:
        _alter(transaction, table, f"ADD COLUMN {_specification(transaction, column)}")
    if any(column.name == CHILD_FIELDS[0] for column in missing):
        transaction.write(CreateIndex(_index(table, CHILD_FIELDS[0])))


def _change(transaction: Transaction, column: sa.Column[Any], field: Field, old: str, unique: dict[str, str]) -> None:
    """Bring a column from one field type to another; an index that does not outlive that leaves `unique`."""
    changes = kind_of(old) != kind_of(field.fieldtype)
    if column.name in unique and (changes or not field.unique):
        transaction.write(DropIndex(sa.Index(unique.pop(column.name), column)))
    if changes:
        _change_type(transaction, column, old, field.fieldtype)


def make_child(transaction: Transaction, child: DocType) -> None:
    """Give the table of a DocType the columns that tell whose its rows are.

    Raises:
        DocumentError: the database refuses.
    """
    there = columns_of(transaction, child.table_name)
    _add_missing(transaction, _table(DocType(child.name, (), False, True, None, None), child=True), there)


def _table(doctype: DocType, *, child: bool) -> sa.Table:
    columns = [_column(each) for each in doctype.fields if each.has_column]
    table = sa.Table(doctype.table_name, sa.MetaData(), *standard_columns(child=child), *columns, **MARIADB_OPTIONS)
    _index(table, "parent" if child else "modified")
    return table


def _column(field: Field) -> sa.Column[Any]:
    if field.fieldtype in NOT_NULL_TYPES:
        return whole(field.fieldname, field.fieldtype)
    return sa.Column(field.fieldname, column_type(field.fieldtype))


def _index(table: sa.Table, column: str, *, unique: bool = False) -> sa.Index:
    return sa.Index(index_name(table.name, column), table.columns[column], unique=unique)


def index_name(table: str, column: str) -> str:
    """An index's name, which no other table's index may have on SQLite and PostgreSQL."""
    digest = hashlib.sha1(f"{table}.{column}".encode(), usedforsecurity=False).hexdigest()[:16]
    return f"{column[:40]}_{digest}"


def _make_unique(transaction: Transaction, table: sa.Table, field: Field) -> None:
    try:
        transaction.write(CreateIndex(_index(table, field.fieldname, unique=True)))
    except UniqueValidationError as error:
        raise UniqueValidationError(
            f"{field.fieldname} cannot become unique: documents share a value ({error})."
        ) from error.__cause__


def _unique_columns(transaction: Transaction, table: sa.Table) -> dict[str, str]:
    """The columns that are unique by themselves, and the names of their indexes."""
    inspector = transaction.inspect()
    with translated(transaction.engine):
        indexes = inspector.get_indexes(table.name)
    return {
        str(index["column_names"][0]): str(index["name"])
        for index in indexes
        if index["unique"] and len(index["column_names"]) == 1
    }


# --- changing a type --------------------------------------------------------------------------------------------------


def _fieldtype(before: DocType | None, fieldname: str, found: TypeEngine[Any]) -> str:
    """The type of the field that a column was made for; of one that was left out since, what the column tells."""
    field = None if before is None else before.field(fieldname)
    if field is not None and field.has_column:
        return field.fieldtype
    for kind, fieldtype in (
        (Date, "Date"),
        (DateTime, "Datetime"),
        (Time, "Time"),
        (sa.SmallInteger, "Check"),
        (sa.BigInteger, "Long Int"),
        (sa.Integer, "Int"),
        (sa.Numeric, "Float"),
    ):
        if isinstance(found, kind):
            return fieldtype
    length = getattr(found, "length", None)
    return "Data" if length is not None and length <= VARCHAR_LENGTH else "Long Text"


def _change_type(transaction: Transaction, column: sa.Column[Any], old: str, new: str) -> None:
    table = column.table
    if str(kind_of(new)) in _WIDER.get(str(kind_of(old)), ()):
        _convert(transaction, column, old, new)
        return
    holds: sa.ColumnElement[bool] = column.is_not(None)
    if old in NOT_NULL_TYPES:
        holds = column != sa.literal_column("0")
    used = transaction.execute(sa.select(sa.literal(1)).select_from(table).where(holds).limit(1)).first()
    if used is not None:
        doctype = table.name.removeprefix("tab")
        raise ValidationError(
            f"The field {column.name} of {doctype} is {old} and holds values that would not all fit {new}; "
            "define a field of another name."
        )
    # Nothing is lost with a column that holds nothing.
    name = _quoted(transaction, column.name)
    _alter(transaction, table, f"DROP COLUMN {name}")
    _alter(transaction, table, f"ADD COLUMN {_specification(transaction, column)}")


def _convert(transaction: Transaction, column: sa.Column[Any], old: str, new: str) -> None:
    dialect = transaction.engine.dialect
    table = column.table
    if dialect.name == "mysql":
        _alter(transaction, table, f"MODIFY COLUMN {_specification(transaction, column)}")
    elif dialect.name == "postgresql":
        name, kind = _quoted(transaction, column.name), column.type.compile(dialect)
        change = f"ALTER COLUMN {name}"
        _alter(transaction, table, f"{change} DROP DEFAULT, {change} DROP NOT NULL")
        _alter(transaction, table, f"{change} TYPE {kind} USING {name}::{kind}")
        if new in NOT_NULL_TYPES:
            _alter(transaction, table, f"{change} SET DEFAULT 0, {change} SET NOT NULL")
    elif column.type.compile(dialect) != _compiled(old, dialect):
        _convert_on_sqlite(transaction, column, old, new)


def _convert_on_sqlite(transaction: Transaction, column: sa.Column[Any], old: str, new: str) -> None:
    """SQLite cannot change a column's type: another column takes over its values and its name."""
    dialect = transaction.engine.dialect
    wide = sa.Column(
        f"{column.name}__wider", column.type, nullable=column.nullable, server_default=column.server_default
    )
    other = sa.Table(column.table.name, sa.MetaData(), wide, sa.Column(column.name, sa.Text()))
    _alter(transaction, column.table, f"ADD COLUMN {CreateColumn(wide).compile(dialect=dialect)}")
    value: sa.ColumnElement[Any] = sa.cast(
        other.columns[column.name], sa.REAL() if new in NOT_NULL_TYPES else sa.Text()
    )
    if new == "Datetime":
        value = value + " 00:00:00.000000"
    transaction.write(sa.update(other).values({wide.name: sa.type_coerce(value, sa.Text())}))
    name = _quoted(transaction, column.name)
    _alter(transaction, column.table, f"DROP COLUMN {name}")
    _alter(transaction, column.table, f"RENAME COLUMN {_quoted(transaction, wide.name)} TO {name}")


def _compiled(fieldtype: str, dialect: Dialect) -> str:
    kind = column_type(fieldtype)
    return "" if kind is None else kind.compile(dialect)


def _alter(transaction: Transaction, table: Any, change: str) -> None:
    # SQLAlchemy has no such statement. Every name in it is quoted by the dialect and was checked when it was defined.
    name = transaction.engine.dialect.identifier_preparer.format_table(table)
    transaction.write(sa.text(f"ALTER TABLE {name} {change}".replace(":", r"\:")))


def _specification(transaction: Transaction, column: sa.Column[Any]) -> str:
    return str(CreateColumn(column).compile(dialect=transaction.engine.dialect))


def _quoted(transaction: Transaction, name: str) -> str:
    return transaction.engine.dialect.identifier_preparer.quote(name)
