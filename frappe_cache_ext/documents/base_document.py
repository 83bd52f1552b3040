"""A document in memory: its fields as attributes, its child rows, and what differs from what was loaded."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final, Self

from ..errors import ValidationError
from ..stand_ins import _dict
from .fieldtypes import TABLE_TYPES
from .schema import DocType, get_doctype
from .transactions import current_transaction
from .values import STANDARD, shown

PARENT_FIELDS: Final = ("parent", "parentfield", "parenttype")
"""What only child rows have."""


class BaseDocument:
    """The fields of a document, without a word about where they are kept.

    The fields are the object's `__dict__`, as in Frappe; whatever else it knows lies in slots beside it. Rows of a
    child table are documents in a list. Names that are no field can be assigned too; they are not saved.

    Attributes:
        doctype: the DocType's name.
        name: the document's name, None as long as it has none.
        owner: who inserted it.
        creation: when.
        modified: when it was last saved: what `save` compares.
        modified_by: who did that.
        docstatus: 0 draft, 1 submitted, 2 cancelled.
        idx: a row's number in its child table, from 1.
    """

    __slots__ = ("__dict__", "__weakref__", "_before", "_loaded", "_new")

    doctype: str
    name: str | None
    owner: str | None
    creation: datetime.datetime | None
    modified: datetime.datetime | None
    modified_by: str | None
    docstatus: int
    idx: int
    _loaded: dict[str, Any]
    _before: dict[str, Any] | None
    _new: bool

    def __init__(self, fields: Mapping[str, Any] | None = None, /, **values: Any) -> None:
        given = {**(fields or {}), **values}
        doctype = given.pop("doctype", None)
        if not isinstance(doctype, str) or not doctype:
            raise ValidationError(f"A new document needs its DocType, such as doctype='User', not {shown(doctype)}.")
        self._loaded = _blank(get_doctype(current_transaction(), doctype))
        self._before, self._new = None, True
        own = self.__dict__
        own.update(self._loaded)
        for name, value in self._loaded.items():
            if type(value) is list:
                own[name] = []
        self.update(given)

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """The document that some loaded fields describe, without asking the database.

        The dictionary stays the document's memory of what was loaded: nobody may change it afterwards.

        Args:
            fields: the fields by name, `doctype` among them; a child table is a list of the same kind.
        """
        self = cls._of_row(fields)
        own = self.__dict__
        for name, value in fields.items():
            if type(value) is list:
                own[name] = [cls._of_row(row) for row in value]
        return self

    @classmethod
    def _of_row(cls, fields: dict[str, Any]) -> Self:
        self = cls.__new__(cls)
        self._loaded, self._before, self._new = fields, None, False
        self.__dict__.update(fields)  # rows have no child tables of their own
        return self

    @property
    def meta(self) -> DocType:
        """The document's DocType."""
        return get_doctype(current_transaction(), self.doctype)

    def is_new(self) -> bool:
        """Whether it was made here and not inserted yet."""
        return self._new

    def get(self, key: str, filters: Any = None, limit: int | None = None, default: Any = None) -> Any:
        """A field's value, or the rows of a child table that match.

        Example::

            order.get("customer", "nobody")
            order.get("items", {"qty": 1})

        Args:
            key: the field.
            filters: for a child table, the values that a row must have; otherwise the default.
            limit: how many rows at most.
            default: what to return where there is no such field.
        """
        if isinstance(filters, Mapping):
            rows = self.__dict__.get(key) or []
            found = [row for row in rows if all(row.__dict__.get(name) == value for name, value in filters.items())]
            return found[:limit] if limit else found
        value = self.__dict__.get(key, default if filters is None else filters)
        return value[:limit] if limit and isinstance(value, list) else value

    def set(self, key: str, value: Any) -> None:
        """Give a field a value; a child table gets new rows, of dictionaries or documents.

        Raises:
            ValidationError: the rows are none.
        """
        if key == "doctype":
            return
        if isinstance(self._loaded.get(key), list):
            self.__dict__[key] = []
            self.extend(key, value or ())
        else:
            self.__dict__[key] = value

    def update(self, values: Mapping[str, Any]) -> Self:
        """Give several fields their values, and return the document."""
        if not isinstance(values, Mapping):
            raise ValidationError(f"A document is updated with a dictionary, not with {shown(values)}.")
        for key, value in values.items():
            self.set(key, value)
        return self

    def append(self, key: str, value: Mapping[str, Any] | BaseDocument | None = None, position: int = -1) -> Self:
        """Add a row to a child table.

        Example::

            order.append("items", {"item": "ITEM-0001", "qty": 2})

        Args:
            key: the child table's field.
            value: the row's fields.
            position: where to put it, from 0; the end by default.

        Returns:
            The row, a document.

        Raises:
            ValidationError: there is no such child table, or the row is none.
        """
        if not isinstance(self._loaded.get(key), list):
            tables = ", ".join(name for name, value in self._loaded.items() if isinstance(value, list)) or "none"
            raise ValidationError(f"{self.doctype} has no child table {shown(key)}; its child tables: {tables}.")
        rows = self.__dict__.get(key)
        if rows is None:
            rows = self.__dict__[key] = []
        row = self._as_row(key, value)
        if position == -1:
            rows.append(row)
        else:
            rows.insert(position, row)
        number_rows(rows)
        return row

    def extend(self, key: str, values: Iterable[Any]) -> None:
        """Add several rows to a child table."""
        if isinstance(values, str | Mapping | BaseDocument) or not isinstance(values, Iterable):
            raise ValidationError(f"The rows of {self.doctype}.{key} come in a list, not as {shown(values)}.")
        for value in list(values):
            self.append(key, value)

    def remove(self, row: BaseDocument) -> None:
        """Take a row out of its child table.

        Raises:
            ValidationError: it is in none of them.
        """
        for name, before in self._loaded.items():
            rows = self.__dict__.get(name) if isinstance(before, list) else None
            if isinstance(rows, list) and any(each is row for each in rows):
                rows[:] = [each for each in rows if each is not row]
                number_rows(rows)
                return
        raise ValidationError(f"{row!r} is no row of {self!r}.")

    def _as_row(self, key: str, value: Any) -> Self:
        if isinstance(value, type(self)) and (value._new or value.__dict__.get("parent") == self.name):
            row = value
        else:
            fields = dict(value.as_dict() if isinstance(value, BaseDocument) else value or {})
            if isinstance(value, BaseDocument):  # a row of another document: a copy, which gets a name of its own
                fields.pop("name", None)
            field = self.meta.field(key)
            row = type(self)({**fields, "doctype": field.options if field is not None else fields.get("doctype")})
        row.__dict__.update(parent=self.name, parentfield=key, parenttype=self.doctype)
        return row

    def as_dict(
        self, *, no_nulls: bool = False, no_default_fields: bool = False, convert_dates_to_str: bool = False
    ) -> _dict:
        """The fields as a dictionary; child rows are dictionaries too.

        Args:
            no_nulls: leave out fields without a value.
            no_default_fields: leave out the fields that every DocType has.
            convert_dates_to_str: write dates and times as text.
        """
        found = _dict()
        for name in self._loaded:
            value = self.__dict__.get(name)
            if isinstance(value, list):
                value = [
                    row.as_dict(
                        no_nulls=no_nulls,
                        no_default_fields=no_default_fields,
                        convert_dates_to_str=convert_dates_to_str,
                    )
                    if isinstance(row, BaseDocument)
                    else row
                    for row in value
                ]
            elif convert_dates_to_str and isinstance(value, datetime.date | datetime.time | datetime.timedelta):
                value = str(value)
            if not (no_nulls and value is None) and not (no_default_fields and name in STANDARD):
                found[name] = value
        return found

    @property
    def dirty_fields(self) -> AbstractSet[str]:
        """The fields whose value is not the loaded one any more, child tables included."""
        own = self.__dict__
        return {name for name, before in self._loaded.items() if _differs(own.get(name), before)}

    def get_doc_before_save(self) -> Self | None:
        """The document as it was before it was last saved here; None before that, and after an insert."""
        return None if self._before is None else self.from_fields(self._before)

    def has_value_changed(self, fieldname: str) -> bool:
        """Whether a field differs from what it was before the last save, or, before any, from what was loaded."""
        before = self._loaded if self._before is None else self._before
        return self._new or _differs(self.__dict__.get(fieldname), before.get(fieldname))

    def __getstate__(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None, bool]:
        return self.__dict__.copy(), _plain(self._loaded), self._before and _plain(self._before), self._new

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None, bool]) -> None:
        own, self._loaded, self._before, self._new = state
        self.__dict__.update(own)

    # A type checker is told that there may be any field, since only the site knows which.
    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        doctype = own.get("doctype")
        if doctype is None or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        close = difflib.get_close_matches(name, [*own], 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise AttributeError(f"{doctype} has no field {name!r}.{hint}")

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __repr__(self) -> str:
        own = self.__dict__
        status = f" docstatus={own['docstatus']}" if own.get("docstatus") else ""
        parent = f" parent={own['parent']}" if own.get("parent") else ""
        return f"<{own.get('doctype')}: {own.get('name') or 'unsaved'}{status}{parent}>"

    def __str__(self) -> str:
        return f"{self.__dict__.get('doctype')}({self.__dict__.get('name') or 'unsaved'})"


def number_rows(rows: Iterable[BaseDocument]) -> None:
    """Number the rows of a child table from 1."""
    for number, row in enumerate(rows, 1):
        row.__dict__["idx"] = number


def adopt(document: BaseDocument, fields: dict[str, Any]) -> None:
    """Take over a document's fields as they are stored now: it is clean, and the objects of its rows stay.

    Args:
        document: the document.
        fields: as for `BaseDocument.from_fields`, with as many child rows, in this order, as the document has.
    """
    document._before = None if document._new else document._loaded
    document._loaded, document._new = fields, False
    own = document.__dict__
    for name, value in fields.items():
        if type(value) is list:
            for row, stored in zip(own[name], value, strict=True):
                adopt(row, stored)
        else:
            own[name] = value


def replace(document: BaseDocument, fields: dict[str, Any]) -> None:
    """Let a document become the one that some loaded fields describe; nothing of what it was stays."""
    fresh = document.from_fields(fields)
    document.__dict__.clear()
    document.__dict__.update(fresh.__dict__)
    document._loaded, document._before, document._new = fields, None, False


def remember(document: BaseDocument, fields: dict[str, Any]) -> None:
    """Let a document that was made here count as loaded, with these fields; its own stay and may differ."""
    document._loaded, document._before, document._new = fields, None, False


def loaded_fields(document: BaseDocument) -> Mapping[str, Any]:
    """The fields as they were loaded, or last stored here; those of a new document are blank."""
    return document._loaded


def _blank(doctype: DocType) -> dict[str, Any]:
    fields: dict[str, Any] = {"doctype": doctype.name}
    fields.update((name, None) for name in STANDARD if doctype.istable or name not in PARENT_FIELDS)
    fields.update(docstatus=0, idx=0)
    for field in doctype.fields:
        if field.has_column or field.is_table:
            fields[field.fieldname] = [] if field.fieldtype in TABLE_TYPES else None
    return fields


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields in plain dictionaries: the type of loaded ones names a module that is not there to unpickle them."""
    return {name: [dict(row) for row in value] if type(value) is list else value for name, value in fields.items()}


def _differs(now: Any, before: Any) -> bool:
    if type(before) is not list:
        return bool(now != before)
    if not isinstance(now, list) or len(now) != len(before):
        return bool(now) or bool(before)
    return any(
        not isinstance(row, BaseDocument)
        or any(_differs(row.__dict__.get(name), value) for name, value in loaded.items())
        for row, loaded in zip(now, before, strict=True)
    )
