"""Cached documents on each kind of database: what is read from where, and what clears it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import frappe_cache_ext as frappe
from frappe_cache_ext import context
from frappe_cache_ext.documents.engine import engine_for
from frappe_cache_ext.errors import UnreadableValueWarning
from frappe_cache_ext.keys import change_log_name
from tests.support import RedisServer


class Statements(list[str]):
    """The SQL statements that reached the driver."""


@pytest.fixture
def statements(site: str) -> Iterator[Statements]:
    seen = Statements()
    engine = engine_for(context.current_settings())

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", note)


@pytest.fixture(autouse=True)
def shop(site: str) -> None:
    frappe.define_doctype("Item", {"item_name": "Data", "rate": "Currency"})
    frappe.define_doctype("Sales Order Item", {"item": ("Link", "Item"), "qty": "Int"})
    frappe.define_doctype("Sales Order", {"customer": "Data", "items": ("Table", "Sales Order Item")})
    frappe.define_doctype("Shop Settings", {"currency": "Data", "tax": "Percent"}, single=True)
    for name, rate in (("Tea", 4.5), ("Coffee", 7.0), ("Milk", 1.0)):
        frappe.get_doc({"doctype": "Item", "name": name, "item_name": name, "rate": rate}).insert()
    order = frappe.get_doc({"doctype": "Sales Order", "name": "SO-1", "customer": "Anna"})
    order.append("items", {"item": "Tea", "qty": 2})
    order.append("items", {"item": "Milk", "qty": 1})
    order.insert()
    settings = frappe.get_doc("Shop Settings")
    settings.currency = "EUR"
    settings.save()
    frappe.db.commit()


def elsewhere(function: Callable[[], Any]) -> Any:
    """What a function returns in another thread, which has a transaction of its own."""
    found: list[Any] = []
    settings = context.current_settings()

    def work() -> None:
        context.enter(settings)
        found.append(function())
        context.destroy()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def is_cached(doctype: str, name: str) -> bool:
    return bool(frappe.cache.exists(f"document_cache::{doctype}::{name}"))


def test_a_hit_costs_no_statement_and_opens_no_transaction(statements: Statements) -> None:
    assert frappe.get_cached_doc("Item", "Tea").rate == 4.5
    statements.clear()
    assert frappe.get_cached_doc("Item", "Tea").rate == 4.5
    assert frappe.get_cached_value("Item", "Tea", "rate") == 4.5
    assert statements == []


def test_a_document_handed_out_twice_is_two_objects() -> None:
    first, second = frappe.get_cached_doc("Sales Order", "SO-1"), frappe.get_cached_doc("Sales Order", "SO-1")
    assert first is not second
    first.customer = "Bert"
    first.items[0].qty = 99
    assert (second.customer, second.items[0].qty) == ("Anna", 2)
    assert frappe.get_cached_doc("Sales Order", "SO-1").items[0].qty == 2


def test_it_equals_the_database_and_can_be_saved() -> None:
    frappe.get_cached_doc("Sales Order", "SO-1")
    cached = frappe.get_cached_doc("Sales Order", "SO-1")
    assert cached.as_dict() == frappe.get_doc("Sales Order", "SO-1").as_dict()
    assert not cached.dirty_fields
    cached.items[0].qty = 5
    cached.save()
    frappe.db.commit()
    assert frappe.get_cached_doc("Sales Order", "SO-1").items[0].qty == 5


def test_the_guides_single() -> None:
    system_settings = frappe.get_cached_doc("Shop Settings")
    assert system_settings.currency == "EUR"
    assert is_cached("Shop Settings", "Shop Settings")
    frappe.db.set_single_value("Shop Settings", "currency", "CHF")
    frappe.db.commit()
    assert frappe.get_cached_doc("Shop Settings").currency == "CHF"
    assert frappe.get_cached_value("Shop Settings", "Shop Settings", "currency") == "CHF"


def test_values() -> None:
    assert frappe.get_cached_value("Item", "Tea", ["item_name", "rate"]) == ["Tea", 4.5]
    assert frappe.get_cached_value("Item", "Tea", ["rate"], as_dict=True) == {"rate": 4.5}
    assert frappe.get_cached_value("Item", "Tea") == "Tea"
    assert frappe.get_cached_value("Item", "Nothing", "rate") is None
    assert frappe.get_cached_doc("Item", {"item_name": "Coffee"}).name == "Coffee"


def test_what_is_not_there_is_not_cached() -> None:
    for _ in range(2):
        with pytest.raises(frappe.DoesNotExistError, match="Nothing"):
            frappe.get_cached_doc("Item", "Nothing")
    with pytest.raises(frappe.DoesNotExistError, match="Itm"):
        frappe.get_cached_doc("Itm", "Tea")
    with pytest.raises(frappe.DoesNotExistError, match="matches"):
        frappe.get_cached_doc("Item", {"item_name": "Nothing"})
    assert frappe.cache.get_keys("document_cache::") == []
    frappe.get_doc({"doctype": "Item", "name": "Nothing", "rate": 1}).insert()
    frappe.db.commit()
    assert frappe.get_cached_doc("Item", "Nothing").rate == 1


@pytest.mark.parametrize("name", [True, 1.5, b"Tea", ["Tea"]])
def test_a_name_that_is_none(name: Any) -> None:
    with pytest.raises(frappe.ValidationError, match="name"):
        frappe.get_cached_doc("Item", name)
    with pytest.raises(frappe.ValidationError, match="DocType"):
        frappe.get_cached_doc("", "Tea")


def set_by_name() -> None:
    frappe.db.set_value("Item", "Tea", "rate", 9)


def set_by_filter() -> None:
    frappe.db.set_value("Item", {"item_name": ["like", "te%"]}, {"rate": 9})


def set_on_document() -> None:
    frappe.get_doc("Item", "Tea").db_set("rate", 9)


def save() -> None:
    item = frappe.get_doc("Item", "Tea")
    item.rate = 9
    item.save()


@pytest.mark.parametrize("change", [set_by_name, set_by_filter, set_on_document, save])
def test_every_way_to_change_clears_exactly_what_it_touches(change: Callable[[], None]) -> None:
    assert [frappe.get_cached_doc("Item", name).rate for name in ("Tea", "Coffee")] == [4.5, 7]
    change()
    assert not is_cached("Item", "Tea")
    # The writer sees what it wrote, the others what is committed; nobody stores it.
    assert frappe.get_cached_doc("Item", "Tea").rate == 9
    assert elsewhere(lambda: frappe.get_cached_doc("Item", "Tea").rate) == 4.5
    assert not is_cached("Item", "Tea")
    frappe.db.commit()
    assert elsewhere(lambda: frappe.get_cached_doc("Item", "Tea").rate) == 9
    assert frappe.get_cached_doc("Item", "Tea").rate == 9
    assert is_cached("Item", "Tea")
    assert is_cached("Item", "Coffee")


@pytest.mark.parametrize("change", [set_by_name, set_by_filter, set_on_document, save])
def test_what_is_rolled_back_was_never_there(change: Callable[[], None]) -> None:
    frappe.get_cached_doc("Item", "Tea")
    frappe.db.savepoint("before")
    change()
    assert frappe.get_cached_doc("Item", "Tea").rate == 9
    frappe.db.rollback(save_point="before")
    assert frappe.get_cached_doc("Item", "Tea").rate == 4.5
    assert not is_cached("Item", "Tea")
    frappe.db.rollback()
    assert frappe.get_cached_doc("Item", "Tea").rate == 4.5
    assert is_cached("Item", "Tea")


def test_a_childs_change_clears_its_parent() -> None:
    row = frappe.get_cached_doc("Sales Order", "SO-1").items[0].name
    frappe.db.set_value("Sales Order Item", row, "qty", 7)
    frappe.db.commit()
    assert frappe.get_cached_doc("Sales Order", "SO-1").items[0].qty == 7
    frappe.db.set_value("Sales Order Item", {"item": "Milk"}, "qty", 8)
    frappe.db.commit()
    assert [row.qty for row in frappe.get_cached_doc("Sales Order", "SO-1").items] == [7, 8]
    # And the parent's change its children's, where somebody asked for one.
    assert frappe.get_cached_doc("Sales Order Item", row).qty == 7
    order = frappe.get_doc("Sales Order", "SO-1")
    order.items[0].qty = 3
    order.save()
    frappe.db.commit()
    assert frappe.get_cached_doc("Sales Order Item", row).qty == 3


def test_deleting_and_renaming() -> None:
    frappe.get_cached_doc("Item", "Coffee")
    frappe.delete_doc("Item", "Coffee")
    frappe.db.commit()
    with pytest.raises(frappe.DoesNotExistError):
        frappe.get_cached_doc("Item", "Coffee")
    row = frappe.get_cached_doc("Sales Order", "SO-1").items[0]
    assert (row.item, frappe.get_cached_doc("Item", "Tea").name) == ("Tea", "Tea")
    frappe.rename_doc("Item", "Tea", "Green Tea")
    frappe.db.commit()
    with pytest.raises(frappe.DoesNotExistError):
        frappe.get_cached_doc("Item", "Tea")
    assert frappe.get_cached_doc("Item", "Green Tea").rate == 4.5
    assert frappe.get_cached_doc("Sales Order", "SO-1").items[0].item == "Green Tea"
    frappe.rename_doc("Sales Order", "SO-1", "SO-2")
    frappe.db.commit()
    assert frappe.get_cached_doc("Sales Order", "SO-2").items[0].parent == "SO-2"


def test_a_raw_query_goes_stale_and_the_remedy() -> None:
    frappe.get_cached_doc("Item", "Tea"), frappe.get_cached_doc("Item", "Milk")
    frappe.db.sql("update `tabItem` set rate = %s where name = %s", (9, "Tea"))
    frappe.db.commit()
    assert frappe.get_cached_doc("Item", "Tea").rate == 4.5
    frappe.clear_document_cache("Item", "Tea")
    assert frappe.get_cached_doc("Item", "Tea").rate == 9
    assert is_cached("Item", "Milk")
    frappe.db.sql("update `tabItem` set rate = rate + 1")
    frappe.db.commit()
    frappe.clear_document_cache("Item")
    assert [frappe.get_cached_doc("Item", name).rate for name in ("Tea", "Milk")] == [10, 2]


def test_the_remedy_before_the_commit_holds_after_it() -> None:
    frappe.get_cached_doc("Item", "Tea")
    frappe.db.sql("update `tabItem` set rate = 9 where name = 'Tea'")
    frappe.clear_document_cache("Item", "Tea")
    assert elsewhere(lambda: frappe.get_cached_doc("Item", "Tea").rate) == 4.5
    frappe.db.commit()
    assert elsewhere(lambda: frappe.get_cached_doc("Item", "Tea").rate) == 9


def test_what_a_raw_query_has_changed_is_not_stored_before_the_commit() -> None:
    frappe.db.sql("update `tabItem` set rate = 9 where name = 'Tea'")
    assert frappe.get_cached_doc("Item", "Tea").rate == 9
    assert not is_cached("Item", "Tea")
    frappe.db.rollback()
    assert frappe.get_cached_doc("Item", "Tea").rate == 4.5


def test_an_old_view_of_the_database_is_not_stored() -> None:
    assert frappe.db.get_value("Item", "Milk", "rate") == 1  # the transaction begins
    elsewhere(lambda: (set_by_name(), frappe.db.commit()))
    assert frappe.get_cached_doc("Item", "Tea").rate == 4.5  # as this transaction sees the database
    assert not is_cached("Item", "Tea")
    frappe.db.rollback()
    assert frappe.get_cached_doc("Item", "Tea").rate == 9


def test_another_spelling_makes_no_second_entry(statements: Statements) -> None:
    if context.current_settings().database_url is None or "mysql" not in str(
        engine_for(context.current_settings()).url
    ):
        with pytest.raises(frappe.DoesNotExistError):
            frappe.get_cached_doc("Item", "TEA")
        return
    assert frappe.get_cached_doc("Item", "TEA").name == "Tea"
    assert frappe.get_cached_doc("Item", "tea ").rate == 4.5
    assert frappe.cache.get_keys("document_cache::Item") == []
    frappe.get_cached_doc("Item", "Tea")
    frappe.db.set_value("Item", "TEA", "rate", 9)
    frappe.db.commit()
    assert frappe.get_cached_doc("Item", "Tea").rate == 9
    frappe.db.sql("update `tabItem` set rate = 3")
    frappe.db.commit()
    frappe.clear_document_cache("Item", "TEA")
    assert frappe.get_cached_doc("Item", "Tea").rate == 3


def test_many_at_once_are_announced_as_their_doctype() -> None:
    for number in range(600):
        frappe.get_doc({"doctype": "Item", "name": f"Item {number:03}", "rate": 1}).insert()
    frappe.db.commit()
    assert frappe.get_cached_doc("Item", "Item 007").rate == 1
    frappe.db.set_value("Item", {"name": ["like", "Item %"]}, "rate", 2)
    assert not is_cached("Item", "Item 007")
    assert elsewhere(lambda: frappe.get_cached_doc("Item", "Item 007").rate) == 1
    frappe.db.commit()
    assert frappe.get_cached_doc("Item", "Item 007").rate == 2
    assert is_cached("Item", "Item 007")


def test_clearing_the_whole_cache_does_not_stop_documents_from_being_cached() -> None:
    frappe.get_cached_doc("Item", "Tea")
    frappe.clear_cache()
    assert not is_cached("Item", "Tea")
    frappe.get_cached_doc("Item", "Tea")
    assert is_cached("Item", "Tea")


def test_something_else_under_the_key() -> None:
    key = "document_cache::Item::Tea"
    frappe.cache.set_value(key, "not a document")
    assert frappe.get_cached_doc("Item", "Tea").rate == 4.5
    frappe.cache.delete_value(key)
    frappe.cache.redis.set(frappe.cache.make_key(key), b"\x80broken")
    with pytest.warns(UnreadableValueWarning):
        assert frappe.get_cached_doc("Item", "Tea").rate == 4.5


def test_the_entry_expires() -> None:
    settings = context.current_settings()
    context.init(settings.site, url=settings.url, database_url=settings.database_url, document_ttl=60)
    frappe.get_cached_doc("Item", "Tea")
    assert 55 < (frappe.cache.get_expiry("document_cache::Item::Tea") or 0) <= 60


def test_two_sites_on_one_database_are_refused(redis_server: RedisServer) -> None:
    settings = context.current_settings()
    context.init("first.test", url=redis_server.url, database_url=settings.database_url)
    assert frappe.get_cached_doc("Item", "Tea").rate == 4.5
    context.init("other.test", url=redis_server.url, database_url=settings.database_url)
    with pytest.raises(frappe.SettingsError, match="give each a database"):
        frappe.get_doc("Item", "Tea")


def test_a_new_database_is_not_served_the_old_ones_documents(redis_server: RedisServer, tmp_path: Path) -> None:
    """As after somebody has deleted his SQLite file, and not his cache."""
    for rate in (1, 2):
        context.init("again.test", url=redis_server.url, database_url=f"sqlite:///{tmp_path}/{rate}.db")
        frappe.define_doctype("Item", {"rate": "Int"})
        frappe.get_doc({"doctype": "Item", "name": "Tea", "rate": rate}).insert()
        frappe.db.commit()
        assert frappe.get_cached_doc("Item", "Tea").rate == rate
        assert frappe.get_cached_doc("Item", "Tea").rate == rate
        assert is_cached("Item", "Tea") == (rate == 1)  # the second waits for the quarantine to end
    frappe.cache.delete_keys("")
    frappe.cache.redis.delete(change_log_name(context.current_settings().db_name))


def test_fields_of_the_document_class_are_readable_by_frappe() -> None:
    """What is stored is a `frappe._dict` of plain values, which Frappe 15 and 16 unpickle."""
    frappe.get_cached_doc("Sales Order", "SO-1")
    value = frappe.cache.get_value("document_cache::Sales Order::SO-1")
    assert type(value) is frappe._dict
    assert type(value["items"][0]) is frappe._dict
    assert value["doctype"] == "Sales Order"
