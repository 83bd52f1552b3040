"""Documents that get another name, and what refers to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from frappe_cache_ext.documents.database import Database
from frappe_cache_ext.documents.document import get_doc, new_doc
from frappe_cache_ext.documents.renaming import rename_doc
from frappe_cache_ext.documents.schema import define_doctype
from frappe_cache_ext.documents.transactions import current_transaction
from frappe_cache_ext.errors import DoesNotExistError, DuplicateEntryError, ValidationError

pytestmark = pytest.mark.usefixtures("doctypes")
db = Database()


@pytest.fixture
def doctypes(site: Any) -> Iterator[None]:
    define_doctype("Friend", {"person": ("Link", "Person"), "since": "Int"}, istable=True)
    define_doctype(
        "Person",
        {"email": "Data", "boss": ("Link", "Person"), "friends": ("Table", "Friend")},
        autoname="field:email",
    )
    define_doctype("Club", {"head": ("Link", "Person"), "deputy": ("Link", "Person"), "town": "Data"})
    define_doctype("House", {"owner_of_it": ("Link", "Person"), "floors": "Int"}, single=True)
    for name, boss in (("anna", None), ("bob", "anna"), ("carl", "carl")):
        new_doc("Person", email=name, boss=boss, friends=[{"person": "anna"}, {"person": name}]).insert()
    new_doc("Club", name="chess", head="anna", deputy="anna", town="Ulm").insert()
    new_doc("Club", name="go", head="bob", deputy="anna").insert()
    db.set_single_value("House", "owner_of_it", "anna")
    db.commit()
    yield
    current_transaction().rollback()


def test_child_rows_and_links_follow() -> None:
    assert rename_doc("Person", "anna", " anne ") == "anne"
    db.commit()
    anne = get_doc("Person", "anne")
    assert anne.email == "anne"
    assert [row.person for row in anne.friends] == ["anne", "anne"]
    assert {row.parent for row in anne.friends} == {"anne"}
    assert [row.person for row in get_doc("Person", "bob").friends] == ["anne", "bob"]
    assert get_doc("Person", "bob").boss == "anne"
    assert (get_doc("Club", "chess").head, get_doc("Club", "chess").deputy) == ("anne", "anne")
    assert (get_doc("Club", "go").head, get_doc("Club", "go").deputy) == ("bob", "anne")
    assert db.get_single_value("House", "owner_of_it") == "anne"
    assert not db.exists("Person", "anna")
    assert db.count("Friend") == 6


def test_a_document_that_links_to_itself() -> None:
    rename_doc("Person", "carl", "karl")
    karl = get_doc("Person", "karl")
    assert (karl.boss, [row.person for row in karl.friends]) == ("karl", ["anna", "karl"])


def test_merged_it_is_given_up() -> None:
    with pytest.raises(DuplicateEntryError, match="merge=True"):
        rename_doc("Person", "anna", "bob")
    assert rename_doc("Person", "anna", "bob", merge=True) == "bob"
    db.commit()
    bob = get_doc("Person", "bob")
    assert (bob.email, bob.boss, [row.person for row in bob.friends]) == ("bob", "bob", ["bob", "bob"])
    assert db.get_all("Person", pluck="name", order_by="name") == ["bob", "carl"]
    assert db.count("Friend") == 4
    assert get_doc("Club", "chess").head == "bob"


def test_merging_one_that_links_to_itself_leaves_the_other_s_link() -> None:
    rename_doc("Person", "carl", "bob", merge=True)
    assert get_doc("Person", "bob").boss == "anna"


def test_merging_needs_both() -> None:
    with pytest.raises(DoesNotExistError, match="nothing can be merged"):
        rename_doc("Person", "anna", "nobody", merge=True)


def test_only_the_letters_case_changes() -> None:
    assert rename_doc("Person", "anna", "Anna") == "Anna"
    db.commit()
    assert get_doc("Person", "Anna").name == "Anna"
    assert db.get_value("Club", "go", "deputy") == "Anna"


def test_a_document_renames_itself() -> None:
    person = get_doc("Person", "bob")
    person.rename("rob")
    assert (person.name, person.email, person.dirty_fields) == ("rob", "rob", set())
    person.boss = None
    person.save()


def test_what_is_no_name() -> None:
    for new in ["", "  ", "a<b", "x" * 141, None, True, "a\x00"]:
        with pytest.raises(ValidationError):
            rename_doc("Person", "anna", new)
    assert db.exists("Person", "anna")


def test_what_cannot_be_renamed() -> None:
    with pytest.raises(DoesNotExistError, match="Person 'nobody' not found"):
        rename_doc("Person", "nobody", "x")
    with pytest.raises(ValidationError, match="single DocType"):
        rename_doc("House", "House", "x")
    with pytest.raises(ValidationError, match="not in the database yet"):
        new_doc("Person").rename("x")
    assert rename_doc("Person", "anna", "anna") == "anna"


def test_rolled_back_nothing_has_happened() -> None:
    rename_doc("Person", "anna", "anne")
    db.rollback()
    assert get_doc("Person", "anna").friends[0].person == "anna"
    assert not db.exists("Person", "anne")
