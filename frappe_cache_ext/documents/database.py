"""The current site's database as Frappe shows it: `frappe.db`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Final

from ..context import current_user
from ..errors import DoesNotExistError, ImplicitCommitError, ValidationError
from ..stand_ins import _dict
from .changing import set_values
from .queries import condition_of, single_doctype
from .reading import ReadingDatabase
from .rows import delete_matching
from .saving import delete_document
from .schema import get_doctype, table_of
from .sql import Kind, classify, translate
from .transactions import Transaction, current_transaction


class Database(ReadingDatabase):
    """The database of the current site, in the transaction of the calling thread or task.

    A transaction begins with the first statement and lasts until `commit` or `rollback`.

    Example::

        frappe.db.set_value("User", "anna@example.com", "enabled", 0)
        frappe.db.commit()
        frappe.db.get_all("User", {"enabled": 1}, ["name", "full_name"], order_by="full_name")

    Filters are a name, a dictionary (``{"qty": [">", 2], "status": "Open"}``) or a list (``[["qty", ">", 2]]``).
    """

    # --- writing --------------------------------------------------------------------------------------------------

    def set_value(
        self,
        doctype: str,
        name: Any,
        fieldname: str | Mapping[str, Any],
        value: Any = None,
        *,
        modified: datetime.datetime | str | None = None,
        modified_by: str | None = None,
        update_modified: bool = True,
    ) -> None:
        """Give one or more fields of all documents that match new values; what is cached of them is cleared.

        Example::

            frappe.db.set_value("User", "anna@example.com", "enabled", 0)
            frappe.db.set_value("Item", {"item_group": "Tools"}, {"rate": 10, "description": "cheap"})

        Args:
            doctype: the DocType.
            name: a name or a filter; None or the DocType's name for a single DocType.
            fieldname: the field, or values by field.
            value: the field's new value.
            modified: when they were modified, now by default.
            modified_by: by whom, the session's user by default.
            update_modified: whether to write these two.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: a field, operator or filter is unknown, or a field cannot hold its value.
        """
        transaction = current_transaction()
        meta = get_doctype(transaction, doctype)
        if name is None and not meta.issingle:
            raise ValidationError(f"Name the {meta.name}: None is the name of no document.")
        values = dict(fieldname) if isinstance(fieldname, Mapping) else {fieldname: value}
        if update_modified:
            values["modified"] = modified or values.get("modified") or datetime.datetime.now()
            values["modified_by"] = modified_by or values.get("modified_by") or current_user()
        set_values(transaction, meta, name, values)

    def set_single_value(
        self,
        doctype: str,
        fieldname: str | Mapping[str, Any],
        value: Any = None,
        *,
        modified: datetime.datetime | str | None = None,
        modified_by: str | None = None,
        update_modified: bool = True,
    ) -> None:
        """Give one or more fields of a single DocType new values; see `set_value`.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: it is no single DocType, has no such field, or the field cannot hold its value.
        """
        meta = single_doctype(current_transaction(), doctype)
        self.set_value(
            meta.name,
            meta.name,
            fieldname,
            value,
            modified=modified,
            modified_by=modified_by,
            update_modified=update_modified,
        )

    def delete(self, doctype: str, filters: Any = None) -> None:
        """Delete all documents that match, without their child rows; `frappe.delete_doc` deletes those too.

        Args:
            doctype: the DocType.
            filters: a name or a filter; None for all.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: a field, operator or filter is unknown.
        """
        transaction = current_transaction()
        meta = get_doctype(transaction, doctype)
        if meta.issingle:
            if filters not in (None, meta.name):
                raise ValidationError(f"{meta.name} is a single DocType; delete({meta.name!r}) takes no filter.")
            delete_document(meta.name, meta.name)
            return
        delete_matching(transaction, meta, condition_of(transaction, meta, filters))

    def sql(
        self,
        query: str,
        values: Any = (),
        *,
        as_dict: bool = False,
        as_list: bool = False,
        pluck: bool = False,
    ) -> Any:
        """Carry out a statement in SQL.

        What it changes is cleared from no cache, as in Frappe: call `frappe.clear_document_cache` yourself.

        Example::

            frappe.db.sql("select name from `tabUser` where enabled = %s", 1)
            frappe.db.sql("select name from `tabItem` where rate > %(rate)s", {"rate": 10}, as_dict=True)

        Args:
            query: the statement, with ``%s`` or ``%(name)s`` for values.
            values: the values: a list, a dictionary by name, or one value.
            as_dict: return dictionaries.
            as_list: return lists.
            pluck: return the first column alone.

        Returns:
            The rows, as a tuple of tuples unless otherwise said; empty for a statement that returns none.

        Raises:
            ValidationError: values are missing or left over; or it is a ``commit``, which has a method.
            ImplicitCommitError: it would commit changes that nobody committed (MariaDB, for tables and columns).
            QueryError: the database refuses it.
        """
        transaction = current_transaction()
        kind = classify(query)
        if kind is Kind.TRANSACTION:
            raise ValidationError(
                "Transactions have methods: use frappe.db.commit(), rollback(), savepoint() and release_savepoint()."
            )
        statement, parameters = translate(query, values, transaction.engine.dialect.name)
        if kind is Kind.READ:
            result = transaction.execute(statement, parameters)
        elif kind is Kind.DDL:
            return _change_tables(transaction, statement, parameters)
        else:
            result = transaction.write(statement, parameters)
        if not result.returns_rows:
            return ()
        if pluck:
            return list(result.scalars())
        if as_dict:
            return [_dict(row) for row in result.mappings()]
        return [list(row) for row in result] if as_list else tuple(tuple(row) for row in result)

    # --- the transaction ------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Make the transaction's changes last.

        Raises:
            DatabaseUnavailable: the database went away; whether they last is unknown.
        """
        current_transaction().commit()

    def rollback(self, *, save_point: str | None = None) -> None:
        """Undo the transaction's changes, or those since a savepoint.

        Raises:
            ValidationError: there is no such savepoint.
        """
        current_transaction().rollback(save_point=save_point)

    def savepoint(self, save_point: str) -> None:
        """Set a savepoint that `rollback` can go back to.

        Raises:
            ValidationError: the name is none: letters, digits and ``_``.
        """
        current_transaction().savepoint(save_point)

    def release_savepoint(self, save_point: str) -> None:
        """Forget a savepoint; what was changed since stays changed.

        Raises:
            ValidationError: there is no such savepoint.
        """
        current_transaction().release_savepoint(save_point)

    # --- the tables -----------------------------------------------------------------------------------------------

    @property
    def db_type(self) -> str:
        """What database it is: sqlite, mariadb or postgres."""
        return _TYPES[current_transaction().engine.dialect.name]

    def table_exists(self, doctype: str) -> bool:
        """Whether a DocType has a table; a single DocType has none."""
        transaction = current_transaction()
        try:
            meta = get_doctype(transaction, doctype)
        except DoesNotExistError:
            return False
        return not meta.issingle and transaction.inspect().has_table(meta.table_name)

    def get_table_columns(self, doctype: str) -> list[str]:
        """The names of the columns that a DocType's table has.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: it is a single DocType.
        """
        transaction = current_transaction()
        meta = get_doctype(transaction, doctype)
        if meta.issingle:
            raise ValidationError(f"{meta.name} is a single DocType and has no table.")
        return [column.name for column in table_of(transaction, meta).columns]

    def has_column(self, doctype: str, column: str) -> bool:
        """Whether a DocType's table has a column.

        Raises:
            DoesNotExistError: there is no such DocType.
            ValidationError: it is a single DocType.
        """
        return column in self.get_table_columns(doctype)


_TYPES: Final = {"sqlite": "sqlite", "mysql": "mariadb", "mariadb": "mariadb", "postgresql": "postgres"}


def _change_tables(transaction: Transaction, statement: Any, parameters: Any) -> tuple[()]:
    commits = transaction.engine.dialect.name in ("mysql", "mariadb")
    if commits and transaction.has_changes:
        raise ImplicitCommitError("MariaDB commits before it changes a table: commit or roll back your changes first.")
    transaction.write(statement, parameters)
    if commits:
        transaction.commit()
    return ()


_current: Final = Database()
get_all = _current.get_all
get_list = _current.get_list
