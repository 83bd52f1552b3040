"""Documents as Frappe has them: `frappe.get_doc`, `frappe.new_doc`, `doc.save` and their kin."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self

from sqlalchemy import select

from ..context import current_user
from ..errors import DoesNotExistError, ValidationError
from ..stand_ins import _dict
from . import renaming, saving
from .base_document import BaseDocument, loaded_fields, remember, replace
from .changing import set_values
from .checks import later_than, set_defaults
from .filters import clause, order_clauses
from .loading import load_document
from .schema import DocType, get_doctype, table_of
from .transactions import Transaction, current_transaction
from .values import shown

__all__ = ["Document", "delete_doc", "get_doc", "load_document", "new_doc"]


class Document(BaseDocument):
    """A document of the current site's database.

    Example::

        order = frappe.get_doc("Sales Order", "SO-2026-00001")
        order.status = "Closed"
        order.items[0].qty = 3
        order.save()
        frappe.db.commit()

    Reading a name that is no field raises AttributeError; `get` gives None, or a default.
    """

    __slots__ = ()

    def insert(self, ignore_if_duplicate: bool = False) -> Self:
        """Write a new document with its child rows, and return it.

        Args:
            ignore_if_duplicate: do nothing where there is a document of that name already.

        Raises:
            DuplicateEntryError: there is a document of that name already.
            MandatoryError: a field that must have a value has none.
            UniqueValidationError: another document has a value that only one may have.
            ValidationError: a value does not fit its field.
        """
        saving.insert_document(self, ignore_if_duplicate=ignore_if_duplicate)
        return self

    def save(self) -> Self:
        """Write what changed since the document was loaded, and return it; a new one is inserted.

        Raises:
            TimestampMismatchError: somebody saved it after it was read here; `reload` it and change it again.
            DoesNotExistError: it was deleted or renamed after it was read here.
            MandatoryError: a field that must have a value has none.
            UniqueValidationError: another document has a value that only one may have.
            ValidationError: a value does not fit its field.
        """
        saving.save_document(self)
        return self

    def submit(self) -> Self:
        """Save it as submitted (docstatus 1).

        Raises:
            ValidationError: it is cancelled; see also `save`.
        """
        return self._save_as(1)

    def cancel(self) -> Self:
        """Save it as cancelled (docstatus 2); nothing of it can change afterwards.

        Raises:
            ValidationError: it is not submitted; see also `save`.
        """
        return self._save_as(2)

    def db_set(
        self,
        fieldname: str | Mapping[str, Any],
        value: Any = None,
        *,
        update_modified: bool = True,
        commit: bool = False,
    ) -> None:
        """Write one or more fields at once, and nothing else that changed; neither checks nor timestamp are asked.

        Args:
            fieldname: the field, or values by field.
            value: the field's new value.
            update_modified: also say that it was modified now, by the session's user.
            commit: commit the transaction.

        Raises:
            DoesNotExistError: the document is not in the database.
            ValidationError: a value does not fit its field, or the document is new.
        """
        if self.is_new():
            raise ValidationError(f"{self!r} is not in the database yet; call insert() first.")
        given = dict(fieldname) if isinstance(fieldname, Mapping) else {fieldname: value}
        transaction = current_transaction()
        loaded = loaded_fields(self)
        if update_modified:
            given.setdefault("modified", later_than(loaded.get("modified")))
            given.setdefault("modified_by", current_user())
        stored = set_values(transaction, get_doctype(transaction, self.doctype), loaded["name"], given)
        if stored is None:
            raise DoesNotExistError(f"{self!r} not found: it was deleted or renamed.")
        self.__dict__.update(stored)
        remember(self, _dict({**loaded, **stored}))
        if commit:
            transaction.commit()

    def delete(self) -> None:
        """Delete it with its child rows.

        Raises:
            DoesNotExistError: it is not in the database.
        """
        saving.delete_document(self.doctype, self.name or "", ignore_missing=False)

    def rename(self, name: str | int, *, merge: bool = False) -> None:
        """Give it another name; its child rows and the links to it follow. What was not saved is lost.

        Args:
            name: the name from now on.
            merge: give it up for the document that has this name already.

        Raises:
            DuplicateEntryError: there is a document of that name already.
            ValidationError: no document can have it, or this one is new.
        """
        if self.is_new():
            raise ValidationError(f"{self!r} is not in the database yet; set its name, then call insert().")
        renamed = renaming.rename_doc(self.doctype, loaded_fields(self)["name"], name, merge=merge)
        replace(self, load_document(current_transaction(), self.doctype, renamed))

    def reload(self) -> Self:
        """Read it again, and return it; what was not saved is lost.

        Raises:
            DoesNotExistError: it is not in the database.
        """
        if self.is_new():
            raise DoesNotExistError(f"{self!r} is not in the database yet; call insert() first.")
        replace(self, load_document(current_transaction(), self.doctype, loaded_fields(self)["name"]))
        return self

    def _save_as(self, docstatus: int) -> Self:
        before, self.__dict__["docstatus"] = self.__dict__.get("docstatus"), docstatus
        try:
            return self.save()
        except BaseException:
            self.__dict__["docstatus"] = before
            raise


def get_doc(*args: Any, **kwargs: Any) -> Document:
    """A document from the database, or a new one from its fields.

    Example::

        frappe.get_doc("User", "anna@example.com")
        frappe.get_doc("User", {"full_name": "Anna"})
        frappe.get_doc("System Settings")
        frappe.get_doc({"doctype": "User", "email": "bob@example.com"}).insert()
        frappe.get_doc(doctype="User", email="bob@example.com").insert()

    Args:
        *args: a DocType and a name or filter; a single DocType alone; or the fields of a new document.
        **kwargs: the fields of a new document.

    Returns:
        The document. One that is given is given back.

    Raises:
        DoesNotExistError: there is no such document or DocType.
        ValidationError: the arguments are neither of these.
    """
    if not args:
        return Document(kwargs)
    first, *rest = args
    if isinstance(first, Document):
        return first
    if isinstance(first, Mapping) and not rest:
        return Document(first, **kwargs)
    if not isinstance(first, str) or len(rest) > 1 or kwargs.keys() - {"for_update"}:
        raise ValidationError(
            "get_doc takes a DocType and a name or filter, a single DocType, or the fields of a new document."
        )
    transaction = current_transaction()
    meta = get_doctype(transaction, first)
    name = _found(transaction, meta, rest[0] if rest else None)
    if kwargs.get("for_update"):
        saving.lock_document(transaction, meta, name)
    return Document.from_fields(load_document(transaction, first, name))


def new_doc(doctype: str, /, **values: Any) -> Document:
    """A new document with its DocType's defaults, not inserted yet.

    Example::

        user = frappe.new_doc("User", email="bob@example.com")
        user.insert()

    Raises:
        DoesNotExistError: there is no such DocType.
    """
    document = Document(values, doctype=doctype)
    set_defaults(document, document.meta, datetime.datetime.now())
    return document


def delete_doc(doctype: str, name: str | int, *, ignore_missing: bool = True) -> bool:
    """Delete a document with its child rows.

    Args:
        doctype: the DocType.
        name: the document's name.
        ignore_missing: do nothing where there is no such document.

    Returns:
        Whether there was one.

    Raises:
        DoesNotExistError: there is no such DocType; or no such document, and that is not to be ignored.
    """
    return saving.delete_document(doctype, _as_name(doctype, name), ignore_missing=ignore_missing)


def _found(transaction: Transaction, doctype: DocType, wanted: Any) -> str:
    if wanted is None:
        if not doctype.issingle:
            raise ValidationError(f"Name the {doctype.name}: get_doc({doctype.name!r}, name).")
        return doctype.name
    if not isinstance(wanted, Mapping | list):
        return _as_name(doctype.name, wanted)
    if doctype.issingle:
        raise ValidationError(f"{doctype.name} is a single DocType; get_doc({doctype.name!r}) takes no filter.")
    table = table_of(transaction, doctype)
    statement = select(table.c.name).order_by(*order_clauses(table, "modified desc")).limit(1)
    condition = clause(table, doctype.name, wanted)
    found = transaction.execute(statement if condition is None else statement.where(condition)).scalar()
    if found is None:
        raise DoesNotExistError(f"No {doctype.name} matches {shown(wanted)}.")
    return str(found)


def _as_name(doctype: str, name: Any) -> str:
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ValidationError(f"The name of a {doctype} is text or a number, not {shown(name)}.")
    return str(name)
