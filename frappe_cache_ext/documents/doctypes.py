"""What a site's DocTypes are, as its database tells: fields, tables and links.

The same reading serves a database of ours and a real Frappe site's, whose tables have more columns than are needed
here. A DocType is kept for the process; one look a transaction, at when it was changed last, tells whether it holds.
"""

from __future__ import annotations

import datetime
import difflib
import re
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Engine
from sqlalchemy.types import TypeEngine

from ..errors import DoesNotExistError, ValidationError
from .engine import translated
from .fieldtypes import TABLE_TYPES, WITHOUT_COLUMN, Date, DateTime, Time, plain_type
from .tables import DOCFIELD, DOCTYPE, SERIES, SINGLES, is_foreign
from .transactions import Transaction

STANDARD_FIELDS: Final = ("name", "owner", "creation", "modified", "modified_by", "docstatus", "idx")
"""The columns of every DocType's table, which no DocType lists."""

CHILD_FIELDS: Final = ("parent", "parentfield", "parenttype")
"""What the rows of a table field have besides: whose they are."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a DocType.

    Attributes:
        fieldname: its name, and its column's.
        fieldtype: one of Frappe's field types.
        options: the DocType of a link or table, the choices of a select.
        label: how people call it.
        reqd: whether it must have a value.
        unique: whether no two documents may have the same value.
        default: the value of a new document, as text.
        is_virtual: whether it is computed and kept nowhere.
    """

    fieldname: str
    fieldtype: str
    options: str | None = None
    label: str | None = None
    reqd: bool = False
    unique: bool = False
    default: str | None = None
    is_virtual: bool = False

    @property
    def has_column(self) -> bool:
        """Whether the DocType's table has a column for it."""
        return not self.is_virtual and self.fieldtype not in WITHOUT_COLUMN

    @property
    def is_table(self) -> bool:
        """Whether its value is the rows of another DocType."""
        return not self.is_virtual and self.fieldtype in TABLE_TYPES


@dataclass(frozen=True, slots=True)
class DocType:
    """A kind of document.

    Example:
        >>> fields = (Field("qty", "Int"),)
        >>> order = DocType("Order", fields, issingle=False, istable=False, autoname=None, modified=None)
        >>> order.table_name, order.field("qty").fieldtype, order.field("rate")
        ('tabOrder', 'Int', None)

    Attributes:
        name: its name.
        fields: its fields, in order.
        issingle: whether there is one document of it, kept in `tabSingles`.
        istable: whether its documents are rows of table fields.
        autoname: how a new document gets its name.
        modified: when it was changed last.
    """

    name: str
    fields: tuple[Field, ...]
    issingle: bool
    istable: bool
    autoname: str | None
    modified: datetime.datetime | None
    table_fields: tuple[Field, ...] = field(init=False, repr=False, compare=False)
    _by_name: Mapping[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table_fields", tuple(each for each in self.fields if each.is_table))
        object.__setattr__(self, "_by_name", MappingProxyType({each.fieldname: each for each in self.fields}))

    @property
    def table_name(self) -> str:
        """Its table's name."""
        return f"tab{self.name}"

    def field(self, name: str) -> Field | None:
        """A field by its name; None where there is none, as for the standard ones."""
        return self._by_name.get(name)


@dataclass(slots=True)
class _Known:
    """A DocType as it was read, and what it was changed by until then."""

    doctype: DocType
    stamp: tuple[Any, ...]
    table: sa.Table | None = None


@dataclass(frozen=True, slots=True)
class _Shape:
    """Which of the tables and columns that describe DocTypes a database has."""

    columns: tuple[str, ...]
    custom_columns: tuple[str, ...] | None


_FIELD_COLUMNS: Final = (*("fieldname", "fieldtype", "options", "label", "reqd", "unique", "default", "is_virtual"),)
_CUSTOM_FIELD: Final = sa.table(
    "tabCustom Field",
    sa.column("dt", sa.String()),
    sa.column("idx", sa.Integer()),
    sa.column("modified", DateTime()),
    *(sa.column(name, DOCFIELD.c[name].type) for name in _FIELD_COLUMNS),
)

_known: weakref.WeakKeyDictionary[Engine, dict[str, _Known]] = weakref.WeakKeyDictionary()
_shapes: weakref.WeakKeyDictionary[Engine, _Shape] = weakref.WeakKeyDictionary()


def get_doctype(transaction: Transaction, name: str) -> DocType:
    """A DocType by its name.

    Raises:
        DoesNotExistError: there is none; the message lists those that are close.
        DatabaseUnavailable: the database cannot be reached.
    """
    return _find(transaction, name).doctype


def table_of(transaction: Transaction, doctype: DocType) -> sa.Table:
    """A DocType's table, with every column that it has in the database.

    Raises:
        ValidationError: it is a single DocType, which has none.
        DoesNotExistError: the database has none.
        DatabaseUnavailable: the database cannot be reached.
    """
    known = _find(transaction, doctype.name)
    if known.table is None:
        if doctype.issingle:
            raise ValidationError(f"{doctype.name} is a single DocType: it has no table; its values are in tabSingles.")
        columns = columns_of(transaction, doctype.table_name)
        if not columns:
            raise DoesNotExistError(f"The DocType {doctype.name} has no table {doctype.table_name} in the database.")
        known.table = sa.Table(
            doctype.table_name,
            sa.MetaData(),
            *(sa.Column(name, kind, primary_key=name == "name") for name, kind in columns.items()),
        )
    return known.table


def singles_table(transaction: Transaction) -> sa.Table:
    """Where the values of single DocTypes are: one row a field, as text."""
    is_foreign(transaction.engine)  # makes it, if need be
    return SINGLES


def series_table(transaction: Transaction) -> sa.Table:
    """Where naming series count."""
    is_foreign(transaction.engine)
    return SERIES


def link_fields_to(transaction: Transaction, doctype_name: str) -> list[tuple[DocType, Field]]:
    """The link fields that hold names of a DocType, with the DocTypes that have them."""
    shape = _shape(transaction)
    statement = sa.select(DOCFIELD.c.parent).where(DOCFIELD.c.fieldtype == "Link", DOCFIELD.c.options == doctype_name)
    parents = set(transaction.execute(statement).scalars())
    if shape.custom_columns is not None:
        custom = _CUSTOM_FIELD.c
        statement = sa.select(custom.dt).where(custom.fieldtype == "Link", custom.options == doctype_name)
        parents.update(transaction.execute(statement).scalars())
    found: list[tuple[DocType, Field]] = []
    for parent in sorted(parents):
        try:
            doctype = get_doctype(transaction, parent)
        except DoesNotExistError:  # what is left of a DocType that was deleted
            continue
        found += [
            (doctype, each)
            for each in doctype.fields
            if each.fieldtype == "Link" and each.options == doctype_name and each.has_column
        ]
    return found


def names_of_doctypes(transaction: Transaction) -> list[str]:
    """The names of all DocTypes, sorted."""
    is_foreign(transaction.engine)
    return sorted(transaction.execute(sa.select(DOCTYPE.c.name)).scalars())


# --- reading ----------------------------------------------------------------------------------------------------------


def _find(transaction: Transaction, name: str) -> _Known:
    key = ("DocType", name)
    known: _Known | None = transaction.memo.get(key)
    if known is None:
        known = transaction.memo[key] = _look_up(transaction, name)
    return known


def _look_up(transaction: Transaction, name: str) -> _Known:
    if not name or type(name) is not str:
        raise ValidationError(f"A DocType's name is text, such as 'User', not {name!r}.")
    shape = _shape(transaction)
    stamp = _stamp(transaction, name, shape)
    if stamp is None:
        names = names_of_doctypes(transaction)
        close = difflib.get_close_matches(name, names, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else "define it with frappe.define_doctype."
        raise DoesNotExistError(f"There is no DocType {name!r}; {hint}")
    cache = _known.setdefault(transaction.engine, {})
    known = cache.get(name)
    if known is None or known.stamp != stamp:
        known = cache[name] = _Known(_read(transaction, name, shape), stamp)
    return known


def _shape(transaction: Transaction) -> _Shape:
    engine = transaction.engine
    shape = _shapes.get(engine)
    if shape is None:
        shape = _Shape(_FIELD_COLUMNS, None)
        if is_foreign(engine):
            columns = columns_of(transaction, DOCFIELD.name)
            custom = columns_of(transaction, _CUSTOM_FIELD.name)
            shape = _Shape(
                tuple(name for name in _FIELD_COLUMNS if name in columns),
                tuple(name for name in _FIELD_COLUMNS if name in custom) if custom else None,
            )
        _shapes[engine] = shape
    return shape


def _stamp(transaction: Transaction, name: str, shape: _Shape) -> tuple[Any, ...] | None:
    """What changes with every change of a DocType; None where there is none of exactly this name."""
    columns: list[Any] = [DOCTYPE.c.name, DOCTYPE.c.modified]
    if shape.custom_columns is not None:
        # A custom field leaves its DocType as it is.
        for newest in (sa.func.max(_CUSTOM_FIELD.c.modified), sa.func.count()):
            columns.append(
                sa.select(newest).select_from(_CUSTOM_FIELD).where(_CUSTOM_FIELD.c.dt == name).scalar_subquery()
            )
    row = transaction.execute(sa.select(*columns).where(DOCTYPE.c.name == name)).first()
    # MariaDB finds User for USER; the table's name would not be found.
    return None if row is None or row[0] != name else tuple(row)


def _read(transaction: Transaction, name: str, shape: _Shape) -> DocType:
    c = DOCTYPE.c
    head = transaction.execute(sa.select(c.modified, c.issingle, c.istable, c.autoname).where(c.name == name)).one()
    columns = [DOCFIELD.c[column] for column in shape.columns]
    statement = (
        sa.select(*columns)
        .where(DOCFIELD.c.parent == name, DOCFIELD.c.parentfield == "fields")
        .order_by(DOCFIELD.c.idx, DOCFIELD.c.name)
    )
    rows = list(transaction.execute(statement).mappings())
    if shape.custom_columns is not None:
        custom = sa.select(*(_CUSTOM_FIELD.c[column] for column in shape.custom_columns))
        custom = custom.where(_CUSTOM_FIELD.c.dt == name).order_by(_CUSTOM_FIELD.c.idx, _CUSTOM_FIELD.c.fieldname)
        rows += transaction.execute(custom).mappings()
    return DocType(
        name=name,
        fields=tuple(_field(row) for row in rows if row["fieldname"]),
        issingle=bool(head.issingle),
        istable=bool(head.istable),
        autoname=head.autoname or None,
        modified=head.modified,
    )


def _field(row: Mapping[Any, Any]) -> Field:
    return Field(
        fieldname=row["fieldname"],
        fieldtype=row["fieldtype"],
        options=row.get("options") or None,
        label=row.get("label") or None,
        reqd=bool(row.get("reqd")),
        unique=bool(row.get("unique")),
        default=row.get("default") if row.get("default") not in (None, "") else None,
        is_virtual=bool(row.get("is_virtual")),
    )


# --- columns ----------------------------------------------------------------------------------------------------------


def columns_of(transaction: Transaction, table_name: str) -> dict[str, TypeEngine[Any]]:
    """The columns of a table and the types that they are read with; empty where there is no such table."""
    if transaction.engine.dialect.name == "sqlite":
        # SQLAlchemy warns of the types with a precision that Frappe declares: DATETIME(6).
        rows = transaction.execute(sa.text("SELECT name, type FROM pragma_table_info(:name)"), {"name": table_name})
        return {row.name: _declared_type(row.type) for row in rows}
    inspector = transaction.inspect()
    with translated(transaction.engine):
        try:
            found = inspector.get_columns(table_name)
        except exc.NoSuchTableError:
            return {}
    return {column["name"]: plain_type(column["type"]) for column in found}


def _declared_type(declared: str) -> TypeEngine[Any]:
    word = re.match(r"\w*", declared.upper())
    name = "" if word is None else word[0]
    if name in _DECLARED:
        return _DECLARED[name]
    if "INT" in name:
        return sa.Integer()
    length = re.search(r"CHAR\((\d+)\)", declared.upper())
    return sa.String(int(length[1])) if length else sa.Text()


_DECLARED: Final[dict[str, TypeEngine[Any]]] = {
    "DATE": Date(),
    "DATETIME": DateTime(),
    "DECIMAL": sa.Float(),
    "DOUBLE": sa.Float(),
    "FLOAT": sa.Float(),
    "NUMERIC": sa.Float(),
    "REAL": sa.Float(),
    "TIME": Time(),
    "TIMESTAMP": DateTime(),
}
