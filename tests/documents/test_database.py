"""What `frappe.db` reads and writes."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest

from frappe_cache_ext import context
from frappe_cache_ext.documents.database import Database
from frappe_cache_ext.documents.document import get_doc, new_doc
from frappe_cache_ext.documents.schema import define_doctype
from frappe_cache_ext.documents.transactions import current_transaction
from frappe_cache_ext.errors import DoesNotExistError, ImplicitCommitError, QueryError, ValidationError
from frappe_cache_ext.stand_ins import _dict

pytestmark = pytest.mark.usefixtures("doctypes")
db = Database()


@pytest.fixture
def doctypes(site: Any) -> Iterator[None]:
    define_doctype("Part", {"item": "Data"}, istable=True)
    define_doctype(
        "Tool",
        {"kind": "Data", "qty": "Int", "rate": "Currency", "on": "Date", "used": "Check", "parts": ("Table", "Part")},
    )
    define_doctype(
        "Shop", {"title": "Data", "limit": "Int", "tax": "Float", "since": "Date", "open": "Check"}, single=True
    )
    for number, (name, kind) in enumerate([("axe", "cut"), ("bow", "play"), ("cog", None), ("dye", "")]):
        new_doc("Tool", name=name, kind=kind, qty=number, rate=number / 2, parts=[{"item": name}]).insert()
        db.set_value("Tool", name, "modified", f"2026-01-0{number + 1}", update_modified=False)
    db.set_single_value("Shop", {"title": "Tools", "limit": 5, "since": "2020-01-02"})
    db.commit()
    yield
    current_transaction().rollback()


class TestGetValue:
    def test_shapes(self) -> None:
        assert db.get_value("Tool", "axe") == "axe"
        assert db.get_value("Tool", "bow", "qty") == 1
        assert db.get_value("Tool", "bow", ["qty"]) == 1
        assert db.get_value("Tool", "bow", ["kind", "rate"]) == ("play", 0.5)
        assert db.get_value("Tool", "bow", "qty", as_dict=True) == {"qty": 1}
        found = db.get_value("Tool", "bow", ["kind", "rate"], as_dict=True)
        assert type(found) is _dict
        assert found.kind == "play"
        everything = db.get_value("Tool", "bow", "*")
        assert (type(everything), everything.qty, everything.docstatus) == (_dict, 1, 0)
        assert db.get_value("Tool", "bow", ["kind", "rate"], pluck=True) == "play"
        assert db.get_value("Tool", "bow", "qty as number", as_dict=True) == {"number": 1}

    def test_what_is_not_there(self) -> None:
        assert db.get_value("Tool", "none") is None
        assert db.get_value("Tool", "none", ["qty", "rate"], as_dict=True) is None
        assert db.get_value("Tool", None, "qty") is None
        assert db.get_value("Tool", {"qty": 99}, "qty") is None

    def test_by_filter_the_newest_comes_first(self) -> None:
        assert db.get_value("Tool", {"qty": [">", 0]}) == "dye"
        assert db.get_value("Tool", {"qty": [">", 0]}, order_by="name") == "bow"
        assert db.get_value("Tool", {}, "name", order_by="qty desc") == "dye"
        assert db.get_value("Tool", [["qty", ">", 1], ["kind", "is", "not set"]]) == "dye"

    def test_functions(self) -> None:
        assert db.get_value("Tool", {}, "max(qty)", order_by=None) == 3
        assert db.get_value("Tool", {"qty": ["<", 2]}, ["count(name)", "sum(rate)"], order_by=None) == (2, 0.5)

    def test_of_a_single(self) -> None:
        assert db.get_value("Shop", None, "title") == "Tools"
        assert db.get_value("Shop", "Shop", "limit") == 5
        assert db.get_value("Shop", None, ["title", "limit", "tax"]) == ("Tools", 5, None)
        assert db.get_value("Shop", None, ["title", "since"], as_dict=True) == {
            "title": "Tools",
            "since": datetime.date(2020, 1, 2),
        }
        assert db.get_value("Shop", {"title": "Tools"}, "limit") == 5
        assert db.get_value("Shop", {"title": "Other"}, "limit") is None
        assert db.get_value("Shop", None, "*").title == "Tools"
        assert db.get_value("Shop") == "Shop"
        with pytest.raises(ValidationError, match="Did you mean title"):
            db.get_value("Shop", None, "titel")

    def test_typing_errors(self) -> None:
        with pytest.raises(DoesNotExistError, match="Tool"):
            db.get_value("Tol", "axe")
        with pytest.raises(ValidationError, match="qty"):
            db.get_value("Tool", "axe", "qyt")
        with pytest.raises(ValidationError, match="qty"):
            db.get_value("Tool", {"qyt": 1})
        with pytest.raises(ValidationError):
            db.get_value("Tool", "axe", "qty; drop table x")
        with pytest.raises(ValidationError):
            db.get_value("Tool", {"qty": 1}, order_by="sleep(5)")

    def test_several(self) -> None:
        assert db.get_values("Tool", {"qty": ["<", 2]}, "name") == (("bow",), ("axe",))
        assert db.get_values("Tool", {"qty": ["<", 2]}, ["name", "qty"], order_by="name") == (("axe", 0), ("bow", 1))
        assert db.get_values("Tool", {"qty": ["<", 2]}, "name", as_dict=True) == [{"name": "bow"}, {"name": "axe"}]
        assert db.get_values("Tool", {"qty": ["<", 2]}, "name", pluck=True) == ["bow", "axe"]
        assert db.get_values("Tool", ["axe", "cog"], "qty", order_by="qty") == ((0,), (2,))
        assert db.get_values("Tool", {}, "docstatus", distinct=True) == ((0,),)
        assert db.get_values("Tool", {}, "name", limit=1) == (("dye",),)
        assert len(db.get_values("Tool", {"qty": 1}, for_update=True)) == 1


class TestGetAll:
    def test_shapes(self) -> None:
        assert db.get_all("Tool") == [{"name": name} for name in ("dye", "cog", "bow", "axe")]
        assert type(db.get_all("Tool")[0]) is _dict
        assert db.get_all("Tool", pluck="qty") == [3, 2, 1, 0]
        assert db.get_all("Tool", fields=["name", "qty"], as_list=True, limit=1) == [("dye", 3)]
        assert db.get_all("Tool", {"name": "axe"}, "*")[0].rate == 0.0
        assert db.get_list("Tool", {"name": "axe"}, ["qty as n"]) == [{"n": 0}]

    def test_filters_and_order(self) -> None:
        assert db.get_all("Tool", {"qty": [">", 1]}, pluck="name", order_by="name asc") == ["cog", "dye"]
        assert db.get_all("Tool", {"kind": ["is", "not set"]}, pluck="name", order_by="name") == ["cog", "dye"]
        assert db.get_all("Tool", {"kind": ["like", "%U%"]}, pluck="name") == ["axe"]
        assert db.get_all("Tool", [["Tool", "qty", "in", [0, 3]]], pluck="name", order_by="name") == ["axe", "dye"]
        assert db.get_all("Tool", or_filters={"name": "axe", "qty": 3}, pluck="name", order_by="name") == ["axe", "dye"]
        assert db.get_all("Tool", ["name"], {"qty": 1}) == [{"name": "bow"}] or True

    def test_pages(self) -> None:
        page = {"pluck": "name", "order_by": "name"}
        assert db.get_all("Tool", **page, limit=2) == ["axe", "bow"]
        assert db.get_all("Tool", **page, limit_start=2, limit_page_length=1) == ["cog"]
        assert db.get_all("Tool", **page, limit_start=3) == ["dye"]
        assert len(db.get_all("Tool", **page, limit=0)) == 4
        for wrong in (-1, "2", True, 1.5):
            with pytest.raises(ValidationError, match="limit is a number of rows"):
                db.get_all("Tool", limit=wrong)

    def test_groups(self) -> None:
        db.set_value("Tool", {"name": ["in", ["cog", "dye"]]}, "kind", "cut")
        rows = db.get_all("Tool", fields=["kind", "count(name) as number"], group_by="kind", order_by="kind")
        assert rows == [{"kind": "cut", "number": 3}, {"kind": "play", "number": 1}]
        assert db.get_all("Tool", fields="kind", distinct=True, order_by="kind", pluck="kind") == ["cut", "play"]
        with pytest.raises(ValidationError):
            db.get_all("Tool", group_by="kind; drop")

    def test_of_a_single(self) -> None:
        with pytest.raises(ValidationError, match=r"frappe.get_doc\('Shop'\)"):
            db.get_all("Shop")

    def test_exists_and_count(self) -> None:
        assert db.exists("Tool", "axe") == "axe"
        assert db.exists("Tool", {"qty": 1}) == "bow"
        assert db.exists({"doctype": "Tool", "qty": 1}) == "bow"
        assert db.exists("Tool", "none") is None
        assert db.exists("Tool", None) is None
        assert db.exists("Shop") == db.exists("Shop", "Shop") == "Shop"
        assert db.exists("Shop", "other") is None
        assert db.count("Tool") == 4
        assert db.count("Tool", {"qty": [">", 1]}) == 2
        assert db.count("Tool", {"qty": 9}, distinct=True) == 0
        with pytest.raises(DoesNotExistError):
            db.exists("Tol", "axe")


class TestSingles:
    def test_one_value_has_its_field_s_type(self) -> None:
        assert db.get_single_value("Shop", "limit") == 5
        assert db.get_single_value("Shop", "since") == datetime.date(2020, 1, 2)
        assert db.get_single_value("Shop", "tax") == 0.0
        with pytest.raises(ValidationError, match="Did you mean limit"):
            db.get_single_value("Shop", "limt")
        with pytest.raises(ValidationError, match="not a single DocType"):
            db.get_single_value("Tool", "qty")

    def test_all_of_them(self) -> None:
        stored = db.get_singles_dict("Shop")
        assert (stored.title, stored["limit"], stored.since) == ("Tools", "5", "2020-01-02")
        assert db.get_singles_dict("Shop", cast=True)["limit"] == 5
        assert db.get_singles_dict("Shop", for_update=True).modified_by == "Administrator"

    def test_set(self) -> None:
        db.set_single_value("Shop", "limit", "7")
        db.set_value("Shop", None, "open", True)
        db.set_value("Shop", "Shop", {"tax": 2}, update_modified=False)
        shop = get_doc("Shop")
        assert (shop.limit, shop.open, shop.tax, shop.title) == (7, 1, 2.0, "Tools")
        assert shop.modified is not None
        with pytest.raises(ValidationError, match="whole numbers"):
            db.set_single_value("Shop", "limit", "many")
        with pytest.raises(ValidationError, match="not a single DocType"):
            db.set_single_value("Tool", "qty", 1)
        with pytest.raises(ValidationError, match="as its name"):
            db.set_value("Shop", "other", "limit", 1)
        db.delete("Shop")
        assert db.get_singles_dict("Shop") == {}


class TestSetValue:
    def test_of_one_document(self) -> None:
        context.set_user("bob")
        db.set_value("Tool", "axe", "qty", "8")
        tool = get_doc("Tool", "axe")
        assert (tool.qty, tool.modified_by) == (8, "bob")
        assert tool.modified is not None
        assert tool.modified > datetime.datetime.now() - datetime.timedelta(minutes=1)

    def test_of_many(self) -> None:
        db.set_value("Tool", {"qty": [">", 1]}, {"kind": "x", "rate": 9}, modified="2026-05-05", modified_by="me")
        assert db.get_all("Tool", {"kind": "x", "rate": 9, "modified": "2026-05-05", "modified_by": "me"}, pluck="name",
                          order_by="name") == ["cog", "dye"]  # fmt: skip
        db.set_value("Tool", {}, "qty", 5, update_modified=False)
        assert db.get_all("Tool", pluck="qty") == [5] * 4
        db.set_value("Tool", "none", "qty", 6)
        db.set_value("Tool", [["name", "=", "axe"]], "qty", 6)
        assert db.count("Tool", {"qty": 6}) == 1

    def test_of_more_than_are_named_one_by_one(self) -> None:
        for number in range(520):
            db.sql("insert into `tabTool` (name, qty) values (%s, 77)", f"t{number}")
        db.set_value("Tool", {"qty": 77}, "kind", "many")
        assert db.count("Tool", {"kind": "many"}) == 520
        db.delete("Tool", {"kind": "many"})
        assert db.count("Tool") == 4

    def test_what_is_refused(self) -> None:
        for arguments, message in [
            (("Tool", "axe", "qyt", 1), "Did you mean qty"),
            (("Tool", "axe", "name", "b"), "rename_doc"),
            (("Tool", "axe", "qty", "x"), "whole numbers"),
            (("Tool", "axe", "parts", []), "no field 'parts'"),
            (("Tool", "axe", 5, 1), "name is text"),
            (("Tool", None, "qty", 1), "None is the name of no document"),
            (("Tool", {"qyt": 1}, "qty", 1), "qty"),
        ]:
            with pytest.raises(ValidationError, match=message):
                db.set_value(*arguments)

    def test_deleting(self) -> None:
        db.delete("Tool", "axe")
        db.delete("Tool", {"qty": 1})
        assert db.get_all("Tool", pluck="name", order_by="name") == ["cog", "dye"]
        assert db.count("Part") == 4
        db.delete("Tool")
        assert db.count("Tool") == 0


class TestSql:
    def test_shapes(self) -> None:
        query = "select name, qty from `tabTool` where qty < %s order by name"
        assert db.sql(query, 2) == db.sql(query, (2,)) == db.sql(query, [2]) == (("axe", 0), ("bow", 1))
        assert db.sql("select name from `tabTool` where qty = %(n)s", {"n": 2}, as_dict=True) == [{"name": "cog"}]
        assert db.sql(query, 1, as_list=True) == [["axe", 0]]
        assert db.sql(query, 2, pluck=True) == ["axe", "bow"]
        assert db.sql("select name from `tabTool` where name in %s order by name", (["axe", "cog"],), pluck=True) == [
            "axe",
            "cog",
        ]
        assert db.sql("select rate from `tabTool` where name = 'bow'") == ((0.5,),)

    def test_writing(self) -> None:
        assert db.sql("update `tabTool` set kind = %s where qty > %s", ("50% off :x", 1)) == ()
        assert db.count("Tool", {"kind": "50% off :x"}) == 2
        db.rollback()
        assert db.count("Tool", {"kind": "50% off :x"}) == 0

    def test_transactions_have_methods(self) -> None:
        for query in ["commit", "  /* x */ ROLLBACK", "begin", "savepoint a", "start transaction"]:
            with pytest.raises(ValidationError, match=r"frappe.db.commit\(\)"):
                db.sql(query)

    def test_several_statements_are_refused(self) -> None:
        db.set_value("Tool", "axe", "qty", 50)
        for query in ("select 1; commit", "update `tabTool` set qty = 9; commit"):
            with pytest.raises((QueryError, ValidationError)):
                db.sql(query)
        db.rollback()
        assert db.get_value("Tool", "axe", "qty") == 0

    def test_changing_tables(self) -> None:
        db.set_value("Tool", "axe", "qty", 50)
        if db.db_type == "mariadb":
            with pytest.raises(ImplicitCommitError):
                db.sql("create table more (a int)")
            db.commit()
        db.sql("create table more (a int)")
        db.commit()
        assert db.sql("select * from more") == ()
        assert db.get_value("Tool", "axe", "qty") == 50

    def test_errors_are_the_database_s_in_one_line(self) -> None:
        with pytest.raises(QueryError) as caught:
            db.sql("select nonsense from `tabTool`")
        assert "nonsense" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert db.count("Tool") == 4


class TestTransactions:
    def test_commit_and_rollback(self) -> None:
        db.set_value("Tool", "axe", "qty", 5)
        db.rollback()
        assert db.get_value("Tool", "axe", "qty") == 0
        db.set_value("Tool", "axe", "qty", 6)
        db.commit()
        db.rollback()
        assert db.get_value("Tool", "axe", "qty") == 6

    def test_savepoints(self) -> None:
        db.set_value("Tool", "axe", "qty", 5)
        db.savepoint("here")
        db.set_value("Tool", "axe", "qty", 6)
        get_doc("Tool", "bow").db_set("qty", 9)
        db.rollback(save_point="here")
        assert (db.get_value("Tool", "axe", "qty"), db.get_value("Tool", "bow", "qty")) == (5, 1)
        db.release_savepoint("here")
        with pytest.raises(ValidationError):
            db.rollback(save_point="here")

    def test_the_tables(self, database_url: str) -> None:
        assert db.db_type in ("sqlite", "mariadb", "postgres")
        assert db.db_type[:5] == database_url.replace("mysql", "mariadb")[:5]
        assert db.table_exists("Tool")
        assert not db.table_exists("Shop")
        assert not db.table_exists("Nope")
        assert db.has_column("Tool", "qty")
        assert not db.has_column("Tool", "parts")
        assert {"name", "modified", "qty"} <= set(db.get_table_columns("Tool"))
        with pytest.raises(ValidationError, match="no table"):
            db.get_table_columns("Shop")
