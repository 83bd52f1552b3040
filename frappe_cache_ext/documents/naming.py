"""What a document is called: the name it was given, or what its DocType's `autoname` makes of it."""

from __future__ import annotations

import datetime
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from ..errors import ValidationError
from .schema import DocType, series_table
from .transactions import Transaction
from .values import check_text, shown

LONGEST_NAME: Final = 140
_LONGEST_SERIES: Final = 100
_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"
_DEFAULT_DIGITS: Final = "#####"


def new_name(transaction: Transaction, doctype: DocType, values: Mapping[str, Any]) -> str:
    """The name of a document that is about to be inserted.

    A name that was given wins. Otherwise `autoname` says: ``prompt`` (there has to be one), ``field:email``,
    ``naming_series:``, a series such as ``SO-.YYYY.-.#####``, ``format:SO-{YYYY}-{#####}``, or ``hash``.

    Args:
        transaction: counts a series on in here.
        doctype: the document's DocType.
        values: the document's fields.

    Raises:
        ValidationError: the name is missing or no name can be this.
    """
    if doctype.issingle:
        return doctype.name
    given = values.get("name")
    if given is not None and given != "":
        return check_name(doctype, given)
    autoname = (doctype.autoname or "hash").strip()
    if autoname.lower() == "prompt":
        raise ValidationError(f"A {doctype.name} needs a name; give it one: name='…'.")
    return check_name(doctype, _made_name(transaction, doctype, autoname, values))


def random_name() -> str:
    """Ten random letters and digits: the name of a child row, and of a document whose DocType says nothing else."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(10))


def check_name(doctype: DocType, name: Any) -> str:
    """The name, if a document can be called that; a number becomes text.

    Raises:
        ValidationError: the message says what is wrong with it.
    """
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ValidationError(f"The name of a {doctype.name} is text, not {shown(name)}.")
    text = str(name).strip()
    if not text:
        raise ValidationError(f"The name of a {doctype.name} is blank; give it one: name='…'.")
    check_text(f"{doctype.name}.name", text)
    if len(text) > LONGEST_NAME:
        raise ValidationError(
            f"The name of a {doctype.name} has at most {LONGEST_NAME} characters, and {shown(text)} has {len(text)}."
        )
    if any(character in "<>" or unicodedata.category(character) == "Cc" for character in text):
        raise ValidationError(
            f"The name of a {doctype.name} holds neither < nor > nor control characters; {shown(text)} does."
        )
    if text == doctype.name and not doctype.issingle:
        raise ValidationError(f"No {doctype.name} is called {text!r}, as its DocType is; give it another name.")
    return text


def _made_name(transaction: Transaction, doctype: DocType, autoname: str, values: Mapping[str, Any]) -> str:
    kind, colon, rest = autoname.partition(":")
    kind = kind.lower()
    if kind == "hash":
        return random_name()
    if colon and kind == "field":
        return _from_field(doctype, rest.strip(), values)
    if colon and kind == "naming_series":
        return _counted(transaction, doctype, _parts(_series_of(doctype, values)), values)
    if colon and kind == "format":
        return _counted(transaction, doctype, re.split(r"(\{[^{}]*\})", rest), values)
    if "#" in autoname:
        return _counted(transaction, doctype, _parts(autoname), values)
    raise ValidationError(
        f"The autoname {shown(autoname)} of DocType {doctype.name} is none of hash, prompt, field:…, naming_series:, "
        "format:…, or a series such as 'SO-.#####'."
    )


def _from_field(doctype: DocType, fieldname: str, values: Mapping[str, Any]) -> str:
    value = values.get(fieldname)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValidationError(f"A {doctype.name} is named after its field {fieldname!r}, which has no value; set it.")
    return str(value)


def _series_of(doctype: DocType, values: Mapping[str, Any]) -> str:
    series = values.get("naming_series")
    field = doctype.field("naming_series")
    if not series and field is not None:
        choices = [line.strip() for line in (field.options or "").splitlines() if line.strip()]
        series = field.default or (choices[0] if choices else None)
    if not isinstance(series, str) or not series.strip():
        raise ValidationError(f"A {doctype.name} is named by its naming_series, which has no value; set it.")
    return series.strip()


def _parts(series: str) -> Iterable[str]:
    # As Frappe: a series without a counter gets one of five digits.
    return (series if "#" in series else f"{series}.{_DEFAULT_DIGITS}").split(".")


def _counted(transaction: Transaction, doctype: DocType, parts: Iterable[str], values: Mapping[str, Any]) -> str:
    today, made, counted = datetime.datetime.now(), "", False
    for part in parts:
        word = part[1:-1] if part.startswith("{") and part.endswith("}") else part
        if word and not word.strip("#"):
            if not counted:  # a name has one counter, whose series is what comes before it
                made += f"{_next(transaction, made):0{len(word)}d}"
                counted = True
        elif word in _DATES:
            made += today.strftime(_DATES[word])
        elif word != part or (doctype.field(word) is not None and values.get(word)):
            made += _field_text(doctype, word, values)
        else:
            made += part
    return made


_DATES: Final = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "JJJ": "%j", "WW": "%V"}


def _field_text(doctype: DocType, fieldname: str, values: Mapping[str, Any]) -> str:
    if doctype.field(fieldname) is None:
        raise ValidationError(f"The autoname of DocType {doctype.name} names {shown(fieldname)}, which is no field.")
    return _from_field(doctype, fieldname, values)


def _next(transaction: Transaction, series: str) -> int:
    """Count a series on, and return where it stands; nobody else can until the transaction ends."""
    if len(series) > _LONGEST_SERIES:
        raise ValidationError(f"A series has at most {_LONGEST_SERIES} characters before its number: {shown(series)}.")
    table = series_table(transaction)
    dialect = transaction.engine.dialect.name
    first = {"name": series, "current": 1}
    # One statement: after an update of no row, two transactions would each wait for the other's insert.
    if dialect in ("mysql", "mariadb"):
        transaction.write(
            mysql.insert(table).values(first).on_duplicate_key_update(current=table.c.current + 1),
        )
    else:
        kind = postgresql if dialect == "postgresql" else sqlite
        transaction.write(
            kind.insert(table)
            .values(first)
            .on_conflict_do_update(index_elements=[table.c.name], set_={"current": table.c.current + 1})
        )
    return int(transaction.execute(select(table.c.current).where(table.c.name == series)).scalar_one())
