"""What `frappe.db` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import func, select

from ..errors import ValidationError
from ..stand_ins import _dict
from .changing import single_field
from .filters import field_columns
from .loading import cast_single
from .queries import (
    condition_of,
    limited,
    looks_like_filters,
    select_fields,
    shaped,
    single_doctype,
    split_fields,
    values_of_single,
    where,
)
from .schema import get_doctype, table_of
from .singles import read_single
from .transactions import current_transaction

NEWEST_FIRST: Final = "modified desc"


class ReadingDatabase:
    """The part of `frappe.db` that reads; see `Database`."""

    def get_value(
        self,
        doctype: str,
        filters: Any = None,
        fieldname: str | Sequence[str] = "name",
        *,
        as_dict: bool = False,
        order_by: str | None = NEWEST_FIRST,
        for_update: bool = False,
        pluck: bool = False,
        distinct: bool = False,
    ) -> Any:
        """One or more fields of the first document that matches; None where none does.

        Example::

            frappe.db.get_value("User", "anna@example.com", "full_name")
            frappe.db.get_value("User", {"enabled": 1}, ["name", "full_name"], as_dict=True)
            frappe.db.get_value("System Settings", None, "time_zone")

        Args:
            doctype: the DocType.
            filters: a name or a filter; None or the DocType's name for a single DocType.
            fieldname: a field, several, or ``"*"``.
            as_dict: return a dictionary of the fields.
            order_by: which document is first.
            for_update: let nobody else change it until the transaction ends.
            pluck: return the first field alone.
            distinct: pass over rows that are alike.

        Returns:
            The value; of several fields a tuple; a dictionary for ``"*"`` and `as_dict`.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: a field, operator or filter is unknown.
        """
        found = self.get_values(
            doctype,
            filters,
            fieldname,
            as_dict=as_dict,
            order_by=order_by,
            for_update=for_update,
            pluck=pluck,
            distinct=distinct,
            limit=1,
        )
        if not found:
            return None
        row = found[0]
        return row if pluck or isinstance(row, dict) or len(row) > 1 else row[0]

    def get_values(
        self,
        doctype: str,
        filters: Any = None,
        fieldname: str | Sequence[str] = "name",
        *,
        as_dict: bool = False,
        order_by: str | None = NEWEST_FIRST,
        for_update: bool = False,
        pluck: bool = False,
        distinct: bool = False,
        limit: int | None = None,
    ) -> Sequence[Any]:
        """One or more fields of all documents that match: a tuple of tuples, or a list of dictionaries.

        Args:
            doctype: the DocType.
            filters: a name, a filter, or a list of names; None or the DocType's name for a single DocType.
            fieldname: a field, several, or ``"*"``.
            as_dict: return dictionaries.
            order_by: in which order.
            for_update: let nobody else change them until the transaction ends.
            pluck: return a list of the first field.
            distinct: pass over rows that are alike.
            limit: how many at most.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: a field, operator or filter is unknown.
        """
        transaction = current_transaction()
        meta = get_doctype(transaction, doctype)
        if meta.issingle:
            return values_of_single(transaction, meta, filters, fieldname, as_dict, for_update, pluck)
        if filters is None:  # as Frappe, which looks for a single DocType: nothing is no name
            return [] if as_dict or pluck else ()
        if isinstance(filters, list | tuple | set) and filters and all(isinstance(each, str) for each in filters):
            filters = {"name": ["in", list(filters)]}
        statement = select_fields(transaction, meta, fieldname, filters, order_by=None if distinct else order_by)
        statement = limited(statement.distinct() if distinct else statement, limit, 0)
        result = transaction.execute(statement.with_for_update() if for_update else statement)
        return shaped(result, as_dict=as_dict or fieldname == "*", pluck=pluck)

    def get_single_value(self, doctype: str, fieldname: str) -> Any:
        """A field of a single DocType, as the type that the field has.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: it is no single DocType, or has no such field.
        """
        transaction = current_transaction()
        meta = single_doctype(transaction, doctype)
        field = single_field(meta, fieldname)
        stored = read_single(transaction, meta)
        return cast_single(meta, {field.fieldname: stored.get(field.fieldname)})[field.fieldname]

    def get_singles_dict(self, doctype: str, *, cast: bool = False, for_update: bool = False) -> _dict:
        """What is stored of a single DocType, by field: as text, or as the types that the fields have.

        Args:
            doctype: the DocType.
            cast: give each value the type of its field.
            for_update: let nobody else change it until the transaction ends.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: it is no single DocType.
        """
        transaction = current_transaction()
        meta = single_doctype(transaction, doctype)
        stored = read_single(transaction, meta, for_update=for_update)
        return _dict(cast_single(meta, stored) if cast else stored)

    def exists(self, doctype: str | Mapping[str, Any], name: Any = None) -> str | None:
        """The name of the first document that matches; None where none does.

        Example::

            frappe.db.exists("User", "anna@example.com")
            frappe.db.exists("User", {"full_name": "Anna"})
            frappe.db.exists({"doctype": "User", "full_name": "Anna"})

        Args:
            doctype: the DocType; or a filter in which `doctype` names it.
            name: a name or a filter; None or the DocType's name for a single DocType.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: a field, operator or filter is unknown.
        """
        named: Any = doctype
        if isinstance(doctype, Mapping):
            name = {key: value for key, value in doctype.items() if key != "doctype"}
            named = doctype.get("doctype")
        meta = get_doctype(current_transaction(), named)
        if meta.issingle and name in (None, meta.name):
            return meta.name
        found = self.get_value(meta.name, name, "name", order_by=None)
        return None if found is None else str(found)

    def count(self, doctype: str, filters: Any = None, *, distinct: bool = False) -> int:
        """How many documents match.

        Args:
            doctype: the DocType.
            filters: a name or a filter; None for all.
            distinct: count a name once only.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: a field, operator or filter is unknown.
        """
        transaction = current_transaction()
        meta = get_doctype(transaction, doctype)
        if meta.issingle:
            raise ValidationError(f"{meta.name} is a single DocType, whose only document there is nothing to count of.")
        table = table_of(transaction, meta)
        counted = func.count(table.c.name.distinct()) if distinct else func.count()
        statement = where(select(counted).select_from(table), condition_of(transaction, meta, filters))
        return int(transaction.execute(statement).scalar_one())

    def get_all(
        self,
        doctype: str,
        filters: Any = None,
        fields: str | Sequence[str] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        limit_start: int = 0,
        limit_page_length: int | None = None,
        pluck: str | None = None,
        or_filters: Any = None,
        group_by: str | None = None,
        as_list: bool = False,
        distinct: bool = False,
    ) -> list[Any]:
        """Fields of all documents that match, as a list of dictionaries, the newest first.

        Example::

            frappe.db.get_all("Item", {"item_group": "Tools"}, ["name", "rate"], order_by="rate desc", limit=5)
            frappe.db.get_all("Sales Order", fields=["status", "count(name) as number"], group_by="status")
            frappe.db.get_all("Item", pluck="name")

        Args:
            doctype: the DocType.
            filters: a filter; None for all.
            fields: names, ``"*"``, ``"field as name"``, ``"count(field) as name"`` (also sum, avg, min, max).
            order_by: in which order, such as ``"modified desc, name"``.
            limit: how many at most.
            limit_start: how many to pass over first.
            limit_page_length: the same as `limit`.
            pluck: return a list of this field's values.
            or_filters: of these, one has to match, too.
            group_by: fields, of which equal ones make one row.
            as_list: return tuples.
            distinct: pass over rows that are alike.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: a field, operator, filter or order is unknown.
        """
        transaction = current_transaction()
        meta = get_doctype(transaction, doctype)
        if meta.issingle:
            raise ValidationError(f"{meta.name} is a single DocType: use frappe.get_doc({meta.name!r}).")
        if looks_like_filters(fields):  # Frappe takes the two in either order
            filters, fields = fields, filters
        wanted = pluck or fields or "name"
        if order_by is None and not group_by and not distinct:
            order_by = NEWEST_FIRST
        statement = select_fields(transaction, meta, wanted, filters, or_filters=or_filters, order_by=order_by)
        if group_by:
            statement = statement.group_by(*field_columns(table_of(transaction, meta), split_fields(group_by)))
        if distinct:
            statement = statement.distinct()
        statement = limited(statement, limit if limit is not None else limit_page_length, limit_start)
        result = transaction.execute(statement)
        return list(shaped(result, as_dict=not as_list, pluck=pluck is not None))

    get_list = get_all
