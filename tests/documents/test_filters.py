"""Frappe's filters, fields and orders: what they find, and what they refuse."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from frappe_cache_ext.documents.fieldtypes import DateTime
from frappe_cache_ext.documents.filters import clause, field_columns, order_clauses
from frappe_cache_ext.documents.schema import define_doctype, get_doctype, table_of
from frappe_cache_ext.documents.transactions import current_transaction
from frappe_cache_ext.errors import ValidationError
from frappe_cache_ext.settings import Settings

ROWS: list[dict[str, Any]] = [
    {"name": "a", "title": "Apple", "qty": 1, "day": datetime.date(2026, 1, 1), "rate": 0.5},
    {"name": "b", "title": "banana_1", "qty": 2, "day": datetime.date(2026, 1, 2), "rate": 1.5},
    {"name": "c", "title": "", "qty": 3, "day": None, "rate": 2.5},
    {"name": "d", "title": None, "qty": 4, "day": datetime.date(2026, 1, 4), "rate": 3.5},
    {"name": "5", "title": "50% off", "qty": 0, "day": datetime.date(2026, 1, 5), "rate": 0.0},
]


@pytest.fixture
def things(site: Settings) -> Iterator[sa.Table]:
    """Some documents, and their table."""
    define_doctype(
        "Thing", {"title": "Data", "qty": "Int", "day": "Date", "at": "Time", "moment": "Datetime", "rate": "Float"}
    )
    transaction = current_transaction()
    table = table_of(transaction, get_doctype(transaction, "Thing"))
    for number, row in enumerate(ROWS):
        moment = datetime.datetime(2026, 1, 1 + number, 23, 59, 59, 999_999)
        transaction.write(sa.insert(table).values(**row, moment=moment, at=datetime.timedelta(hours=number)))
    yield table
    transaction.rollback()


def found(table: sa.Table, filters: Any, or_filters: Any = None) -> str:
    """The names of what is found, in order."""
    statement = sa.select(table.c.name)
    condition = clause(table, "Thing", filters, or_filters)
    if condition is not None:
        statement = statement.where(condition)
    return "".join(sorted(current_transaction().execute(statement).scalars()))


CASES: list[tuple[Any, str]] = [
    (None, "5abcd"),
    ({}, "5abcd"),
    ([], "5abcd"),
    ("a", "a"),
    ("", ""),
    (5, "5"),
    ({"name": 5}, "5"),
    ({"qty": 2}, "b"),
    ({"qty": "2"}, "b"),
    ({"qty": True}, "a"),
    ({"qty": 2, "name": "a"}, ""),
    ({"qty": [">", 2]}, "cd"),
    ({"qty": (">=", 2)}, "bcd"),
    ({"qty": ["<", 1.5]}, "5a"),
    ({"qty": ["<=", "1"]}, "5a"),
    ({"qty": ["!=", 2]}, "5acd"),
    ({"qty": ["<>", 2]}, "5acd"),
    ({"qty": ["==", 2]}, "b"),
    ({"qty": ["in", [1, "2"]]}, "ab"),
    ({"qty": ["IN", {1, 2}]}, "ab"),
    ({"qty": ["in", "1, 2"]}, "ab"),
    ({"qty": ["in", range(2)]}, "5a"),
    ({"qty": ["in", []]}, ""),
    ({"qty": ["not in", []]}, "5abcd"),
    ({"qty": ["Not  In", [1, 2]]}, "5cd"),
    ({"qty": ["between", [1, 3]]}, "abc"),
    ({"qty": ["is", "set"]}, "5abcd"),
    ({"rate": decimal.Decimal("1.5")}, "b"),
    ({"rate": [">", "1"]}, "bcd"),
    # Texts: null is empty.
    ({"title": None}, "d"),
    ({"title": ["!=", None]}, "5abc"),
    ({"title": ""}, "cd"),
    ({"title": ["!=", ""]}, "5ab"),
    ({"title": ["!=", "Apple"]}, "5bcd"),
    ({"title": ["is", "set"]}, "5ab"),
    ({"title": ["is", "Not Set"]}, "cd"),
    ({"title": ["in", ["Apple", ""]]}, "acd"),
    ({"title": ["in", ["Apple", None]]}, "ad"),
    ({"title": ["not in", ["Apple"]]}, "5bcd"),
    ({"title": ["not in", ["Apple", ""]]}, "5b"),
    ({"title": ["not in", ["Apple", None]]}, "5bc"),
    ({"title": ["like", "APP%"]}, "a"),
    ({"title": ["like", "%an%"]}, "b"),
    ({"title": ["like", r"50\% off"]}, "5"),
    ({"title": ["like", r"%\_1"]}, "b"),
    ({"title": ["like", "App_e"]}, "a"),
    ({"title": ["like", "x\\"]}, ""),
    ({"title": ["not like", "%a%"]}, "5cd"),
    ({"qty": ["like", "2%"]}, "b"),
    # Days, moments and times.
    ({"day": "2026-01-02"}, "b"),
    ({"day": datetime.date(2026, 1, 2)}, "b"),
    ({"day": datetime.datetime(2026, 1, 2, 5)}, "b"),
    ({"day": [">", "2026-01-02"]}, "5d"),
    ({"day": ["!=", "2026-01-02"]}, "5acd"),
    ({"day": ["between", ["2026-01-01", "2026-01-04"]]}, "abd"),
    ({"day": ["is", "not set"]}, "c"),
    ({"day": None}, "c"),
    ({"moment": ["between", ["2026-01-01", "2026-01-02"]]}, "ab"),
    ({"moment": ["between", [datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)]]}, "ab"),
    ({"moment": ["between", ["2026-01-01", "2026-01-02 12:00:00"]]}, "a"),
    ({"moment": [">", datetime.datetime(2026, 1, 4)]}, "5d"),
    ({"moment": "2026-01-01T23:59:59.999999"}, "a"),
    ({"at": "02:00:00"}, "c"),
    ({"at": [">", datetime.timedelta(hours=2)]}, "5d"),
    ({"at": ["<", datetime.time(1)]}, "a"),
    # Lists.
    ([["qty", ">", 1], ["qty", "<", 3]], "b"),
    ([["Thing", "qty", "=", 1]], "a"),
    ([("qty", 1)], "a"),
    ([["qty", ["in", [1, 2]]]], "ab"),
    ([{"qty": 1}], "a"),
    ({"`tabThing`.`qty`": 1}, "a"),
    ({"tabThing.qty": 1}, "a"),
]


class TestFinding:
    def test_everything(self, things: sa.Table) -> None:
        for filters, expected in CASES:
            assert found(things, filters) == expected, filters

    def test_one_of_several(self, things: sa.Table) -> None:
        assert found(things, None, {"qty": 1, "title": "banana_1"}) == "ab"
        assert found(things, {"qty": [">", 1]}, [["name", "=", "a"], ["name", "=", "b"]]) == "b"

    @pytest.mark.parametrize(
        "text",
        ["'", '"', "`", "\\", ";", "--", "' or 1=1 --", "%s", ":x", "::text", "ä’", "a\nb", "\\'", "/*", "%(x)s"],
    )
    def test_texts_are_only_texts(self, things: sa.Table, text: str) -> None:
        assert found(things, text) == ""
        for operator in ("=", "in", "like", "between"):
            value: Any = {"in": [text], "between": [text, text]}.get(operator, text)
            assert found(things, {"title": [operator, value]}) == ""
        current_transaction().write(sa.update(things).where(things.c.name == "a").values(title=text))
        assert found(things, {"title": text}) == "a"


TABLE = sa.Table(
    "tabThing",
    sa.MetaData(),
    sa.Column("name", sa.String(140)),
    sa.Column("title", sa.String(140)),
    sa.Column("qty", sa.Integer()),
    sa.Column("rate", sa.Numeric(21, 9, asdecimal=False)),
    sa.Column("moment", DateTime()),
)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"titel": 1}, "Thing has no field 'titel' in its table; did you mean title"),
        ({"zzzzz": 1}, "there are name, title, qty, rate, moment"),
        ({"qty; drop table x": 1}, "has no field"),
        ({None: 1}, "has no field"),
        ({"qty": ["inn", [1]]}, "no operator 'inn'; did you mean in?"),
        ({"qty": ["= 1 or 1=1 --", 1]}, "no operator"),
        ({"qty": [1, 2]}, "['in', [1, 2]]"),
        ({"qty": [1, 2, 3]}, "Operators are =, !="),
        ({"qty": {1, 2}}, "['in', [1, 2]]"),
        ({"title": ["a", "b"]}, "no operator 'a'"),
        ({"qty": "abc"}, "qty holds whole numbers, which 'abc' is not"),
        ({"qty": "nan"}, "whole numbers"),
        ({"rate": float("inf")}, "numbers"),
        ({"rate": {"a": 1}}, "numbers"),
        ({"moment": "yesterday"}, "moments such as"),
        ({"moment": 5}, "moments such as"),
        ({"title": b"x"}, "title holds text, which b'x' is not"),
        ({"title": {"a": 1}}, "title holds text"),
        ({"qty": ["between", 1]}, "two values after 'between'"),
        ({"qty": ["between", [1, None]]}, "two values after 'between'"),
        ({"qty": ["in", 1]}, "a list after 'in'"),
        ({"title": ["is", "null"]}, "'set' or 'not set'"),
        ({"title": ["is", None]}, "'set' or 'not set'"),
        ({"title": ["like", None]}, "a text after 'like'"),
        ({"qty": [">", None]}, "finds nothing; write 'is'"),
        (["qty", "=", 1], "[[field, '=', value]]"),
        ([["qty"]], "[field, operator, value]"),
        ([["a", "b", "c", "d", "e"]], "[field, operator, value]"),
        ([["Other", "qty", "=", 1]], "not about those of 'Other'"),
        (True, "a name, a dictionary or a list"),
        (1.5, "a name, a dictionary or a list"),
        (object(), "not object"),
    ],
)
def test_what_is_refused(filters: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        clause(TABLE, "Thing", filters)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


class TestFields:
    def test_values_under_their_names(self, things: sa.Table) -> None:
        def first(fields: Any) -> dict[str, Any]:
            statement = sa.select(*field_columns(things, fields)).where(things.c.name == "b")
            return dict(current_transaction().execute(statement).mappings().one())

        assert first(None) == {"name": "b"}
        assert first(["name", "qty as number"]) == {"name": "b", "number": 2}
        assert first("name, `qty`") == {"name": "b", "qty": 2}
        assert set(first("*")) == set(things.columns.keys())
        assert first(["`tabThing`.`name` AS `n`"]) == {"n": "b"}
        assert first(["count(*) as n", "count(name)", "sum(qty) as s", "avg(rate)", "min(day) as m"]) == {
            "n": 1,
            "count(name)": 1,
            "s": 2,
            "avg(rate)": 1.5,
            "m": datetime.date(2026, 1, 2),
        }
        assert first(["MAX( `qty` )"]) == {"max(qty)": 2}

    @pytest.mark.parametrize(
        "field",
        [
            "nme",
            "",
            None,
            5,
            "count(*",
            "sum(*)",
            "sleep(5)",
            "count(name) + 1",
            "count(name; drop table x)",
            "(select 1)",
            "1",
            "name as a b",
            "name as `x`; --",
            "name, qty",
        ],
    )
    def test_anything_else_is_refused(self, field: Any) -> None:
        with pytest.raises(ValidationError):
            field_columns(TABLE, [field])

    @pytest.mark.parametrize("fields", [[], {}, {"name": 1}, 5])
    def test_what_is_no_list(self, fields: Any) -> None:
        with pytest.raises(ValidationError, match="Fields are a list of names"):
            field_columns(TABLE, fields)


class TestOrders:
    def test_in_order(self, things: sa.Table) -> None:
        def ordered(text: str | None) -> str:
            statement = sa.select(things.c.name).order_by(*order_clauses(things, text))
            return "".join(current_transaction().execute(statement).scalars())

        assert ordered("qty") == "5abcd"
        assert ordered("qty desc") == "dcba5"
        assert ordered("docstatus ASC, qty DESC") == "dcba5"
        assert ordered("`tabThing`.`qty` desc") == "dcba5"
        assert ordered("tabThing.qty\n asc") == "5abcd"

    def test_nothing(self) -> None:
        assert order_clauses(TABLE, None) == order_clauses(TABLE, "") == []

    @pytest.mark.parametrize(
        "text",
        ["nme", "name descending", "name desc desc", "name;", "name,", "1", "(select 1)", "name desc; drop table x", 5],
    )
    def test_anything_else_is_refused(self, text: Any) -> None:
        with pytest.raises(ValidationError):
            order_clauses(TABLE, text)
