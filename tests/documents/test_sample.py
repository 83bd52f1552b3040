"""The site to learn with."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from frappe_cache_ext import context
from frappe_cache_ext.documents import sample
from frappe_cache_ext.documents.database import Database
from frappe_cache_ext.documents.document import delete_doc, get_doc
from frappe_cache_ext.documents.sample import ITEMS, ORDERS, sample_site
from frappe_cache_ext.documents.transactions import current_transaction
from tests.support import run_python

db = Database()


def test_it_has_documents_that_belong_together(database_url: str) -> None:
    context.init("before.test", url="memory://sample", database_url=database_url)
    settings = sample_site("learn.test")
    assert context.current_settings() is settings
    assert (settings.site, settings.url, settings.database_url) == ("learn.test", "memory://sample", database_url)
    assert get_doc("System Settings").time_zone == "Asia/Kolkata"
    assert get_doc("System Settings").enable_scheduler == 1
    assert (db.count("User"), db.count("Item"), db.count("Sales Order")) == (12, ITEMS, ORDERS)
    anna = get_doc("User", "anna@example.com")
    assert (anna.full_name, anna.enabled, anna.language) == ("Anna Müller", 1, "en")
    assert anna.roles
    for order in (get_doc("Sales Order", name) for name in db.get_all("Sales Order", pluck="name", limit=10)):
        assert 2 <= len(order.items) <= 5
        assert order.grand_total == pytest.approx(sum(row.amount for row in order.items))
        assert all(db.exists("Item", row.item) for row in order.items)
        assert all(row.amount == pytest.approx(row.qty * row.rate) for row in order.items)


def contents() -> list[Any]:
    orders = db.get_all("Sales Order", fields=["name", "customer", "grand_total"], order_by="name")
    return [orders, db.get_all("Item", fields=["name", "item_name", "rate"], order_by="name")]


def test_it_is_the_same_everywhere_and_filled_once(tmp_path: Any) -> None:
    context.init("a.test", url="memory://sample", home=str(tmp_path / "one"))
    sample_site()
    first = contents()
    assert (tmp_path / "one" / "sites").is_dir()
    context.init("b.test", url="memory://sample2", home=str(tmp_path / "two"))
    sample_site()
    assert contents() == first
    db.set_value("Item", "ITEM-0001", "rate", 1)
    db.commit()
    statements: list[str] = []
    engine = current_transaction().engine
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    sample_site()
    assert db.get_value("Item", "ITEM-0001", "rate") == 1
    assert not [statement for statement in statements if not statement.startswith(("SELECT", "BEGIN"))]
    assert len(statements) < 12


def test_settings_that_were_deleted_come_back(tmp_path: Any) -> None:
    context.init("a.test", url="memory://sample3", home=str(tmp_path))
    sample_site()
    delete_doc("System Settings", "System Settings")
    db.commit()
    sample_site()
    assert get_doc("System Settings").app_name == "Frappe"
    assert db.count("User") == 12


def test_who_comes_second_changes_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context.init("a.test", url="memory://sample4", home=str(tmp_path))
    sample_site()
    db.set_single_value("System Settings", "app_name", "Mine")
    db.commit()
    # As if this one had looked before the other one was done.
    monkeypatch.setattr(sample, "_is_there", lambda transaction: False)
    sample_site()
    assert get_doc("System Settings").app_name == "Mine"
    assert (db.count("User"), db.count("Item")) == (12, ITEMS)


def test_several_processes_fill_it_once(tmp_path: Any) -> None:
    code = """
import subprocess, sys
one = '''
from frappe_cache_ext import context
from frappe_cache_ext.documents.sample import sample_site
from frappe_cache_ext.documents.database import Database
import sys
context.init("x.test", url="memory://", home=sys.argv[1])
sample_site()
print(Database().count("User"), Database().count("Sales Order"))
'''
started = [subprocess.Popen([sys.executable, "-c", one, sys.argv[1]], stdout=subprocess.PIPE) for _ in range(3)]
for each in started:
    print(each.communicate()[0].decode().strip(), each.returncode)
"""
    assert run_python(code, str(tmp_path)).split("\n")[:3] == [f"12 {ORDERS} 0"] * 3
