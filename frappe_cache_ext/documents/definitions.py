"""What a user writes to define a DocType, checked and made into one; nothing here looks at a database."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Final

from ..errors import ValidationError
from .doctypes import CHILD_FIELDS, STANDARD_FIELDS, DocType, Field
from .fieldtypes import TABLE_TYPES, check_fieldtype, kind_of

FieldSpec = str | tuple[str, str] | Mapping[str, Any]
"""A field's type, the type with its options, or any of its properties by name."""

_NAME: Final = re.compile(r"[A-Za-z](?:[A-Za-z0-9 _-]{0,59}[A-Za-z0-9_-])?", re.ASCII)
_FIELDNAME: Final = re.compile(r"[a-z][a-z0-9_]{0,60}", re.ASCII)
_RESERVED_NAMES: Final = frozenset(("custom field", "docfield", "doctype", "property setter", "series", "singles"))
_RESERVED_FIELDS: Final = frozenset(
    (
        *(*STANDARD_FIELDS, *CHILD_FIELDS, "doctype", "flags", "fields"),
        # What a document does: a field of that name would hide it.
        *("append", "as_dict", "cancel", "db_set", "delete", "dirty_fields", "extend", "from_fields"),
        *("get", "get_doc_before_save", "has_value_changed", "insert", "is_new", "reload", "remove", "rename"),
        *("save", "set", "submit", "update"),
    )
)
_PROPERTIES: Final = ("fieldtype", "options", "label", "reqd", "unique", "default", "is_virtual")
_LINKS: Final = ("Link", *TABLE_TYPES)


def definition(
    name: str, fields: Mapping[str, FieldSpec], *, single: bool, istable: bool, autoname: str | None
) -> DocType:
    """A DocType as a user defines it.

    Example:
        >>> order = definition("Order", {"qty": "Int"}, single=False, istable=False, autoname=None)
        >>> order.fields[0].label
        'Qty'

    Raises:
        ValidationError: something in it is none of what it may be; the message says what may.
    """
    if type(name) is not str or not _NAME.fullmatch(name):
        raise ValidationError(
            f"{name!r} is no name for a DocType: it begins with a letter and is made of up to 61 letters, digits, "
            "spaces, - and _."
        )
    if name.lower() in _RESERVED_NAMES:
        raise ValidationError(f"{name} is a name of Frappe's own; choose another.")
    if not _is_mapping(fields):
        raise ValidationError(f"The fields of {name} are a dictionary, such as {{'title': 'Data'}}, not {fields!r}.")
    if single and istable:
        raise ValidationError(f"{name} cannot be single and the rows of a table at once.")
    if autoname is not None and (type(autoname) is not str or not autoname or len(autoname) > 140):
        raise ValidationError(
            f"The autoname of {name} is text, such as 'field:title' or 'SO-.#####', not {autoname!r}."
        )
    made = tuple(_field(name, fieldname, spec) for fieldname, spec in fields.items())
    return DocType(name, made, issingle=bool(single), istable=bool(istable), autoname=autoname, modified=None)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _field(doctype: str, fieldname: str, spec: FieldSpec) -> Field:
    if type(fieldname) is not str or not _FIELDNAME.fullmatch(fieldname):
        raise ValidationError(
            f"{fieldname!r} is no name for a field: it begins with a letter and is made of up to 61 lowercase letters, "
            "digits and _."
        )
    if fieldname in _RESERVED_FIELDS:
        raise ValidationError(f"{fieldname!r} has a meaning of its own in every document; choose another field name.")
    where = f"The field {fieldname} of {doctype}"
    given = _properties(where, spec)
    fieldtype = given.get("fieldtype")
    if not isinstance(fieldtype, str):
        raise ValidationError(f"{where} needs a field type, such as 'Data' or 'Int'.")
    check_fieldtype(fieldtype)
    field = Field(
        fieldname=fieldname,
        fieldtype=fieldtype,
        options=_options(where, given.get("options")),
        label=_text(where, "label", given.get("label")) or fieldname.replace("_", " ").title(),
        reqd=bool(given.get("reqd")),
        unique=bool(given.get("unique")),
        default=_text(where, "default", given.get("default")),
        is_virtual=bool(given.get("is_virtual")),
    )
    if fieldtype in _LINKS and not field.options:
        raise ValidationError(f"{where} needs the name of a DocType: ({fieldtype!r}, 'User').")
    if field.is_table and field.options == doctype:
        raise ValidationError(f"{where} cannot have rows of {doctype} itself.")
    if field.unique and (not field.has_column or kind_of(fieldtype) in ("text", "long_text", "json")):
        raise ValidationError(f"{where} is {fieldtype} and cannot be unique; Data can.")
    return field


def _properties(where: str, spec: FieldSpec) -> Mapping[str, Any]:
    if isinstance(spec, str):
        return {"fieldtype": spec}
    if isinstance(spec, Mapping):
        for name in spec:
            if name not in _PROPERTIES:
                close = difflib.get_close_matches(str(name), _PROPERTIES, 1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(_PROPERTIES)}."
                raise ValidationError(f"{where} has no property {name!r}; {hint}")
        return spec
    if type(spec) in (tuple, list) and len(spec) == 2:
        return {"fieldtype": spec[0], "options": spec[1]}
    raise ValidationError(
        f"{where} is a type ('Int'), a type with options (('Link', 'User')) or a dictionary, not {spec!r}."
    )


def _options(where: str, options: Any) -> str | None:
    if isinstance(options, (list, tuple)) and all(isinstance(choice, str) for choice in options):
        return "\n".join(options)
    return _text(where, "options", options)


def _text(where: str, what: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValidationError(f"{where}: its {what} is text or a number, not {value!r}.")
