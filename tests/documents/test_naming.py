"""What documents are called."""

from __future__ import annotations

import datetime
import re
import threading
from typing import Any

import pytest

from frappe_cache_ext import context
from frappe_cache_ext.documents.document import delete_doc, get_doc, new_doc
from frappe_cache_ext.documents.schema import define_doctype
from frappe_cache_ext.documents.transactions import current_transaction
from frappe_cache_ext.errors import DuplicateEntryError, ValidationError

pytestmark = pytest.mark.usefixtures("site")
YEAR = f"{datetime.datetime.now():%Y}"


def named(autoname: str | None, **values: Any) -> str:
    fields = {"title": "Data", "naming_series": {"fieldtype": "Select", "options": "\nTASK-.#####\nBUG-.###"}}
    define_doctype("Task", fields, autoname=autoname)
    name = new_doc("Task", **values).insert().name
    current_transaction().commit()
    assert name is not None
    return name


def test_without_a_rule_it_is_ten_random_characters() -> None:
    first, second = named(None), named(None)
    assert re.fullmatch(r"[0-9a-v]{10}", first)
    assert first != second


def test_a_given_name_wins() -> None:
    for autoname in [None, "hash", "prompt", "field:title", "T-.###", "naming_series:"]:
        assert named(autoname, name=f"mine {autoname}", title="other") == f"mine {autoname}"


def test_a_number_becomes_text() -> None:
    assert named("prompt", name=7) == "7"


def test_a_prompt_needs_one() -> None:
    with pytest.raises(ValidationError, match="A Task needs a name"):
        named("prompt")


def test_a_field_gives_it() -> None:
    assert named("field:title", title=" Write ") == "Write"
    with pytest.raises(ValidationError, match="named after its field 'title'"):
        named("field:title")
    with pytest.raises(DuplicateEntryError):
        named("field:title", title="Write")


def test_a_series_counts() -> None:
    for autoname, first, second in [
        ("SO-.YYYY.-.#####", f"SO-{YEAR}-00001", f"SO-{YEAR}-00002"),
        ("S-.###", "S-001", "S-002"),
        ("SO-.title.-.##", "SO-blue-01", "SO-blue-02"),
        ("format:{title}/{YYYY}/{###}", f"blue/{YEAR}/001", f"blue/{YEAR}/002"),
        ("format:{title}", "blue", None),
        ("naming_series:", "TASK-00001", "TASK-00002"),
    ]:
        assert named(autoname, title="blue") == first
        if second is not None:
            assert named(autoname, title="blue") == second
        delete_doc("Task", "blue")
        current_transaction().commit()


def test_a_document_chooses_its_series() -> None:
    assert named("naming_series:", naming_series="BUG-.###") == "BUG-001"
    assert named("naming_series:", naming_series="PLAIN-") == "PLAIN-00001"


def test_a_series_counts_back_with_its_transaction() -> None:
    assert named("T-.###") == "T-001"
    current_transaction().commit()
    new_doc("Task").insert()
    current_transaction().rollback()
    assert new_doc("Task").insert().name == "T-002"


def test_threads_never_get_the_same_number() -> None:
    named("T-.####")
    current_transaction().commit()
    names: list[str | None] = []
    settings = context.current_settings()

    def insert() -> None:
        with context.visiting(settings):
            for _ in range(5):
                names.append(new_doc("Task").insert().name)
                current_transaction().commit()

    threads = [threading.Thread(target=insert) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(name) for name in names) == [f"T-{number:04}" for number in range(2, 17)]


def test_what_is_no_name_is_refused() -> None:
    for name, message in [
        ("   ", "is blank"),
        ("x" * 141, "at most 140 characters"),
        ("a<b", "neither < nor >"),
        ("a\nb", "control characters"),
        ("a\x00b", "NUL"),
        ("a\ud800", "surrogate"),
        ("Task", "as its DocType is"),
        (True, "is text, not True"),
        (["x"], "is text"),
    ]:
        with pytest.raises(ValidationError, match=message):
            named(None, name=name)


def test_an_unknown_rule_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"autoname 'wild' of DocType Task is none of"):
        named("wild")


def test_a_series_of_a_field_that_is_none() -> None:
    with pytest.raises(ValidationError, match=r"names 'nothing', which is no field"):
        named("format:{nothing}-{##}")


def test_names_with_blanks_around_lose_them() -> None:
    assert named(None, name=" Anna ") == "Anna"
    assert get_doc("Task", "Anna").name == "Anna"
