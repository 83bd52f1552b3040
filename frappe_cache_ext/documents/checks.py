"""What is looked at before a document is written: defaults, mandatory fields, its status, its timestamp."""

from __future__ import annotations

import datetime
from typing import Any, Final

from ..context import current_user
from ..errors import MandatoryError, TimestampMismatchError, ValidationError
from .base_document import BaseDocument
from .schema import DocType
from .values import default_of, is_empty, shown

_STATUSES: Final = {0: "draft", 1: "submitted", 2: "cancelled"}
_NEXT: Final = {None: (0, 1), 0: (0, 1), 1: (1, 2), 2: ()}


def set_defaults(document: BaseDocument, doctype: DocType, now: datetime.datetime) -> None:
    """Give the fields of a new document that have no value their defaults."""
    own = document.__dict__
    for field in doctype.fields:
        if own.get(field.fieldname) is None and field.has_column:
            own[field.fieldname] = default_of(field, current_user(), now)


def check_mandatory(doctype: DocType, document: BaseDocument) -> None:
    """See that every field that must have a value has one.

    Raises:
        MandatoryError: the message names those that have none.
    """
    own = document.__dict__
    missing = [
        field.fieldname
        for field in doctype.fields
        if field.reqd and field.fieldtype != "Check" and not field.is_virtual
        if is_empty(field, own.get(field.fieldname))
    ]
    if missing:
        where = f", row {own['idx']} of {own['parentfield']}" if doctype.istable and own.get("parentfield") else ""
        raise MandatoryError(f"{doctype.name}{where}: {', '.join(missing)} must have a value.")


def check_status(document: BaseDocument, before: int | None) -> None:
    """See that a document may go from one status to another.

    Args:
        document: the document.
        before: its status in the database; None for one that is not there yet.

    Raises:
        ValidationError: the message says where it may go.
    """
    after = document.__dict__.get("docstatus")
    after = 0 if after is None or after == "" else after
    if not isinstance(after, int) or after not in _STATUSES:
        raise ValidationError(
            f"{document.doctype}.docstatus is 0 (draft), 1 (submitted) or 2 (cancelled), not {shown(after)}."
        )
    document.__dict__["docstatus"] = after = int(after)
    if after not in _NEXT.get(before, ()):
        if before == 2:
            raise ValidationError(f"{document!r} is cancelled and cannot change any more; insert a new one.")
        was = "new" if before is None else _STATUSES.get(before, str(before))
        raise ValidationError(
            f"A {was} {document.doctype} cannot become {_STATUSES[after]}; see submit() and cancel()."
        )


def check_timestamp(document: BaseDocument, stored: Any, own: Any) -> None:
    """See that nobody saved a document after it was read here.

    Args:
        document: the document.
        stored: when it was last saved.
        own: when it was last saved as far as the document knows.

    Raises:
        TimestampMismatchError: the two differ.
    """
    if stored != own:
        raise TimestampMismatchError(
            f"{document!r} was saved by somebody else at {stored}, after it was read here ({own}); "
            "call reload() and change it again."
        )


def later_than(modified: datetime.datetime | None) -> datetime.datetime:
    """Now, and later than another time in any case: two saves within one tick of the clock are told apart."""
    now = datetime.datetime.now()
    return now if modified is None else max(now, modified + datetime.timedelta(microseconds=1))
