"""``%cache_doc``, on documents of our own and on those of a recorded Frappe site."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

import frappe_cache_ext as frappe
from frappe_cache_ext import context
from frappe_cache_ext.documents.engine import dispose_all
from tests.notebook.conftest import Shell
from tests.support import RedisServer
from tests.unit.test_codec import RECORDED

_RECORDED: dict[str, Any] = json.loads(gzip.decompress(RECORDED.read_bytes()))
SITE = "recorded.localhost"
TODO = "8lt856efk3"


@pytest.fixture
def shop(shell: Shell, site: str, tmp_path: Path) -> Shell:
    context.init(site, url=f"memory://{site}", database_url=f"sqlite:///{tmp_path}/site.db")
    shell.run('frappe.define_doctype("Item", {"item_name": "Data", "rate": "Currency"})')
    shell.run('frappe.get_doc({"doctype": "Item", "name": "Green Tea", "rate": 4.5}).insert(); frappe.db.commit()')
    return shell


class TestOwnDocuments:
    def test_agreeing(self, shop: Shell) -> None:
        assert "not cached" in repr(shop.run("%cache_doc Item 'Green Tea'"))
        shop.run('frappe.get_cached_doc("Item", "Green Tea")')
        table = shop.run("%cache_doc Item 'Green Tea'")
        assert table.title == "Item Green Tea: cache and database agree"
        assert ("rate", "4.5", "4.5", "") in table.rows
        assert "item_name" not in [row[0] for row in table.rows]
        assert "item_name" in [row[0] for row in shop.run("%cache_doc Item 'Green Tea' --all").rows]

    def test_outdated(self, shop: Shell) -> None:
        shop.run('frappe.get_cached_doc("Item", "Green Tea")')
        shop.run('frappe.db.sql("update tabItem set rate = 9"); frappe.db.commit()')
        table = shop.run("%cache_doc Item 'Green Tea'")
        assert table.title == "Item Green Tea: OUTDATED: they differ in rate"
        assert ("rate", "4.5", "9.0", "≠") in table.rows
        shop.run('frappe.clear_document_cache("Item", "Green Tea")')
        assert shop.run("%cache_doc Item 'Green Tea'").title.endswith("not cached")

    def test_deleted_behind_the_caches_back(self, shop: Shell) -> None:
        shop.run('frappe.get_cached_doc("Item", "Green Tea")')
        shop.run('frappe.db.sql("delete from tabItem"); frappe.db.commit()')
        assert shop.run("%cache_doc Item 'Green Tea'").title.endswith("cached, and not in the database: OUTDATED")

    def test_neither(self, shop: Shell) -> None:
        assert shop.run("%cache_doc Item Nothing").title.endswith("neither cached nor in the database")
        assert shop.run("%cache_doc Nothing").title.endswith("neither cached nor in the database")

    def test_bytes_that_are_no_document(self, shop: Shell) -> None:
        shop.run('frappe.get_cached_doc("Item", "Green Tea")')
        frappe.cache.set_value("document_cache::Item::Green Tea", [1, 2])
        assert "what is cached cannot be read: it is no document" in shop.run("%cache_doc Item 'Green Tea'").title

    def test_mistakes_are_one_line(self, shop: Shell) -> None:
        assert "DOCTYPE" in shop.fails("%cache_doc")


@pytest.fixture
def bench(tmp_path: Path, redis_server: RedisServer) -> Path:
    """A bench whose site has the recorded cache, and a database with two of its documents, as Frappe keeps them."""
    site = tmp_path / "sites" / SITE
    (site / "db").mkdir(parents=True)
    (tmp_path / "apps").mkdir()
    (tmp_path / "sites" / "common_site_config.json").write_text(json.dumps({"redis_cache": redis_server.url}))
    (site / "site_config.json").write_text(json.dumps({"db_name": "s15db", "db_type": "sqlite"}))
    _make_database(site / "db" / "s15db.db")
    context.init(SITE, bench=tmp_path)
    for entry in _RECORDED["keys"]:
        if "|document_cache::" in entry["key_text"]:
            frappe.cache.redis.set(base64.b64decode(entry["key"]), base64.b64decode(entry["value"]))
    context.destroy()
    return tmp_path


def _make_database(path: Path) -> None:
    """Tables in Frappe's physical form, from what the recording says of them."""
    todo = _RECORDED["expected"]["s15db|document_cache::DocType::ToDo"]
    fields = [
        {name: field.get(name) for name in ("fieldname", "fieldtype", "options", "label", "reqd", "unique", "idx")}
        for field in todo["fields"]
    ]
    known = {field["fieldname"] for field in fields}
    row = _RECORDED["expected"][f"s15db|document_cache::ToDo::{TODO}"]
    custom = {"golden_amount": "Currency", "golden_pct": "Percent", "golden_time": "Time", "golden_json": "JSON"}
    types = {"Currency": "decimal(21,9)", "Percent": "decimal(21,9)", "Time": "time(6)", "Date": "date"}
    with sqlite3.connect(path) as database:
        head = "name varchar(140) primary key, creation datetime(6), modified datetime(6), modified_by varchar(140), "
        head += "owner varchar(140), docstatus int not null default 0, idx int not null default 0"
        database.execute(f"create table tabDocType ({head}, issingle int, istable int, autoname varchar(255))")
        field = (
            'fieldname varchar(140), fieldtype varchar(140), options text, label varchar(140), reqd int, "unique" int'
        )
        child = "parent varchar(140), parentfield varchar(140), parenttype varchar(140)"
        database.execute(f'create table tabDocField ({head}, {child}, {field}, "default" text, is_virtual int)')
        database.execute(f"create table `tabCustom Field` ({head}, dt varchar(140), {field})")
        database.execute("create table tabSingles (doctype varchar(255), field varchar(255), value text)")
        stamps = todo["creation"], todo["modified"]
        database.execute("insert into tabDocType values ('ToDo', ?, ?, '', '', 0, 0, 0, 0, 'hash')", stamps)
        for number, field in enumerate(fields):
            database.execute(
                "insert into tabDocField (name, parent, parentfield, parenttype, fieldname, fieldtype, options, label, "
                "reqd, \"unique\", idx) values (?, 'ToDo', 'fields', 'DocType', ?, ?, ?, ?, ?, ?, ?)",
                (f"f{number}", *(field[name] for name in field)),
            )
        for name, fieldtype in custom.items():
            statement = "insert into `tabCustom Field` (name, dt, fieldname, fieldtype) values (?, 'ToDo', ?, ?)"
            database.execute(statement, (f"ToDo-{name}", name, fieldtype))
        kinds = {field["fieldname"]: field["fieldtype"] for field in fields} | custom
        own = [name for name in row if name in known or name in custom]
        columns = ", ".join(f"`{name}` {types.get(kinds[name], 'text')}" for name in own)
        database.execute(f"create table tabToDo ({head}, _user_tags text, {columns})")
        names = [name for name in row if name != "doctype"]
        marks = ", ".join("?" for _ in names)
        quoted = ", ".join(f"`{name}`" for name in names)
        values = [row[name] for name in names]
        database.execute(f"insert into tabToDo ({quoted}) values ({marks})", values)  # noqa: S608
    database.close()


@pytest.fixture
def connected(shell: Shell, bench: Path) -> Any:
    shell.run(f"%cache_connect --bench {bench} --site {SITE}")
    yield shell
    context.destroy()
    dispose_all()


class TestFrappesDocuments:
    def test_connecting_says_that_the_database_can_be_read(self, connected: Shell) -> None:
        assert connected.out.startswith("connected to Redis 7")
        assert f"site {SITE}, " in connected.out
        assert connected.out.endswith("s15db.db can be read\n")

    def test_what_frappe_pickled_beside_its_row(self, connected: Shell) -> None:
        table = connected.run(f"%cache_doc ToDo {TODO}")
        assert table.title == f"ToDo {TODO}: cache and database agree"
        rows = {row[0]: row[1:] for row in table.rows}
        assert rows["golden_amount"] == ("1234.5678", "1234.5678", "")
        assert rows["golden_time"] == ("13:14:15", "13:14:15", "")
        assert rows["date"] == ("2026-02-03", "2026-02-03", "")
        assert not any(name.partition(".")[0] == "frappe" and name.count(".") > 2 for name in sys.modules)

    def test_a_change_that_frappes_cache_has_not_heard_of(self, connected: Shell, bench: Path) -> None:
        with sqlite3.connect(bench / "sites" / SITE / "db" / "s15db.db") as database:
            database.execute("update tabToDo set priority = 'High'")
        database.close()
        assert connected.run(f"%cache_doc ToDo {TODO}").title.endswith("OUTDATED: they differ in priority")

    def test_reading_through_the_cache_stores_nothing(self, connected: Shell) -> None:
        assert connected.run(f'frappe.get_cached_doc("ToDo", "{TODO}").golden_amount') == 1234.5678
        connected.run(f'frappe.cache.delete_value("document_cache::ToDo::{TODO}")')
        assert connected.run(f'frappe.get_cached_doc("ToDo", "{TODO}").priority') == "Low"
        assert not frappe.cache.exists(f"document_cache::ToDo::{TODO}")
        assert connected.run(f'frappe.db.get_value("ToDo", "{TODO}", "status")') == "Open"

    def test_the_site_is_not_written_to(self, connected: Shell) -> None:
        for change in (
            f'frappe.db.set_value("ToDo", "{TODO}", "status", "Closed")',
            f'frappe.get_doc("ToDo", "{TODO}").save()',
            'frappe.db.sql("update tabToDo set status = 1")',
        ):
            with pytest.raises(frappe.InReadOnlyMode, match="Frappe"):
                exec(change, {"frappe": frappe})

    def test_without_its_database(self, shell: Shell, bench: Path) -> None:
        config = bench / "sites" / SITE / "site_config.json"
        config.write_text(
            json.dumps({"db_name": "s15db", "db_host": "127.0.0.1", "db_port": 1, "db_password": "geheim"})
        )
        shell.run(f"%cache_connect --bench {bench} --site {SITE}")
        assert "; its database cannot be read: " in shell.out
        assert "geheim" not in shell.out
        table = shell.run(f"%cache_doc ToDo {TODO}")
        assert f"ToDo {TODO}: cached; the database cannot be asked: " in table.title
        assert ("priority", "Low", "–", "") in table.rows
        context.destroy()
