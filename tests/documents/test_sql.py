"""Frappe's placeholders, and what a statement is taken for."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from frappe_cache_ext.documents.schema import define_doctype
from frappe_cache_ext.documents.sql import LOCKING, Kind, classify, translate
from frappe_cache_ext.documents.transactions import current_transaction
from frappe_cache_ext.errors import QueryError, ValidationError

DIALECTS = ("sqlite", "mysql", "postgresql")


def one_space(text: str) -> str:
    return " ".join(text.split())


def _named() -> Any:
    return sa.engine.default.DefaultDialect(paramstyle="named")


def shown(query: str, values: Any = None, dialect_name: str = "sqlite") -> tuple[str, dict[str, Any]]:
    statement, parameters = translate(query, values, dialect_name)
    return one_space(str(sa.text(statement.text).compile(dialect=_named()))), parameters


class TestPlaceholders:
    @pytest.mark.parametrize("values", [["a", 5], ("a", 5)])
    def test_positions(self, values: Any) -> None:
        found = shown("select * from t where a=%s and b>%s limit 1", values)
        assert found == ("select * from t where a= :p0 and b> :p1 limit 1", {"p0": "a", "p1": 5})

    def test_names(self) -> None:
        found = shown("select %(b)s, %(a)s, %(b)s", {"a": 1, "b": 2, "unused": 3})
        assert found == ("select :p0 , :p1 , :p2", {"p0": 2, "p1": 1, "p2": 2})

    @pytest.mark.parametrize("value", ["a", 5, 0, datetime.date(2026, 1, 2)])
    def test_one_value_alone(self, value: Any) -> None:
        assert list(shown("select %s", value, "mysql")[1].values()) == [value]

    @pytest.mark.parametrize("values", [None, (), [], {}])
    def test_without_values_the_query_is_what_it_is(self, values: Any) -> None:
        query = "select 10 %% 3, 7 % size, '100%', a %sum from t where x like '%s%%'"
        assert shown(query, values)[0] == query

    def test_a_doubled_percent_sign_is_one_where_there_are_values(self) -> None:
        assert shown("select 10 %% %s, '50%%', 'x%s'", [3])[0] == "select 10 % :p0 , '50%', 'x%s'"

    def test_next_to_other_things(self) -> None:
        assert shown("select (%s),%s||%s,x%s", list("abcd"))[0] == "select ( :p0 ), :p1 || :p2 ,x :p3"
        assert shown("select %s::int", ["5"], "postgresql")[0] == "select :p0 ::int"

    @pytest.mark.parametrize(
        ("query", "values", "message"),
        [
            ("select %s, %s", ["a"], "has 2 placeholders and 1 value."),
            ("select %s", ["a", "b"], "has 1 placeholder and 2 values. For `in %s` give a list in the list"),
            ("select %s", None, "has 1 placeholder and no values."),
            ("select 1", ["a"], "has no placeholders and 1 value."),
            ("select %(a)s, %(b)s, %(a)s", {"c": 1}, "values lack a, b."),
            ("select %(a)s", None, "values lack a."),
            ("select %s", {"a": 1}, "write %(name)s"),
            ("select %(a)s", ["x"], "give {'a': ...}"),
            ("select %s, %(a)s", {"a": 1}, "give a list"),
            ("select %s", [{"a": 1}], "Value 1 is of type dict"),
            ("select %(a)s", {"a": object()}, "The value of a is of type object"),
        ],
    )
    def test_what_does_not_match(self, query: str, values: Any, message: str) -> None:
        with pytest.raises(ValidationError) as caught:
            translate(query, values, "sqlite")
        assert message in str(caught.value)

    @pytest.mark.parametrize("query", ["", "  \n", None, 5, "select '\0'"])
    def test_what_is_no_query(self, query: Any) -> None:
        with pytest.raises(QueryError):
            translate(query, None, "sqlite")


class TestLists:
    @pytest.mark.parametrize("query", ["x in %s", "x in (%s)", "x IN( %s )"])
    def test_parentheses_are_there_once(self, query: str) -> None:
        statement, parameters = translate(f"select * from t where {query}", [("a", "b")], "sqlite")  # noqa: S608
        sql = str(statement.bindparams(**parameters).compile(compile_kwargs={"render_postcompile": True}))
        assert parameters == {"p0": ["a", "b"]}
        assert one_space(sql).lower().endswith("where x in (:p0_1, :p0_2)")

    def test_other_parentheses_stay(self) -> None:
        assert shown("select min(%s)", ["a"])[0] == "select min( :p0 )"

    @pytest.mark.parametrize("values", [{1, 2}, frozenset((1, 2)), [1, 2], (1, 2)])
    def test_kinds(self, values: Any) -> None:
        assert translate("x in %(names)s", {"names": values}, "sqlite")[1] == {"p0": [1, 2]}


class TestWhatIsLeftAlone:
    @pytest.mark.parametrize(
        "piece",
        [
            "'%s'",
            "':name'",
            "'it''s %(x)s :a'",
            '"a %s :b"',
            "`a %s :b`",
            "/* %s :a */ 1",
            "-- %s :a\n 1",
            "'10:30:00'",
            "'\\:x'",
            "'a\\\\:b'",
            "'::'",
            "':a:b:'",
        ],
    )
    @pytest.mark.parametrize("dialect_name", DIALECTS)
    def test_in_every_dialect(self, piece: str, dialect_name: str) -> None:
        expected = piece.replace("`", '"') if dialect_name == "postgresql" else piece
        statement, parameters = translate(f"select {piece}, %s", ["v"], dialect_name)
        found = str(sa.text(statement.text).compile(dialect=_named()))
        assert found == f"select {expected},  :p0 "
        assert parameters == {"p0": "v"}

    @pytest.mark.parametrize(
        ("piece", "dialect_name"),
        [
            (r"'it\'s %s'", "mysql"),
            (r'"say \"%s\""', "mysql"),
            ("# %s\n 1", "mysql"),
            (r"E'it\'s %s'", "postgresql"),
            ("$$ %s $$", "postgresql"),
            ("$tag$ %s $$ %s $tag$", "postgresql"),
            ("[a %s]", "sqlite"),
        ],
    )
    def test_in_one_dialect(self, piece: str, dialect_name: str) -> None:
        assert translate(f"select {piece}, %s", ["v"], dialect_name)[1] == {"p0": "v"}

    def test_a_backslash_ends_no_text_outside_mariadb(self) -> None:
        query = r"select 'C:\' , %s , ':x'"
        assert translate(query, ["v"], "postgresql")[1] == {"p0": "v"}
        assert translate(query, ["v"], "sqlite")[1] == {"p0": "v"}

    def test_casts_and_slices_survive(self) -> None:
        query = "select x::int, a[1:2], (b)::text from t"
        assert shown(query, None, "postgresql")[0] == query

    def test_what_mariadb_carries_out_in_a_comment_is_code(self) -> None:
        assert translate("select /*!50000 %s */", ["v"], "mysql")[1] == {"p0": "v"}

    @given(st.text(alphabet=":\\a1 '%", max_size=12))
    def test_any_text_comes_through(self, text: str) -> None:
        literal = "'" + text.replace("'", "''") + "'"
        statement, _ = translate(f"select {literal}", None, "sqlite")
        assert str(sa.text(statement.text).compile(dialect=_named())) == f"select {literal}"


class TestDialects:
    def test_backticks_on_postgres(self) -> None:
        found = shown('select `name` from `tabSales Order` where `a"b``c` = 1', None, "postgresql")[0]
        assert found == 'select "name" from "tabSales Order" where "a""b`c" = 1'

    def test_tables_without_quotes_on_postgres(self) -> None:
        found = shown("select tabUser.name from tabUser, table_x, a.tabUser", None, "postgresql")[0]
        assert found == 'select "tabUser".name from "tabUser", table_x, a.tabUser'

    def test_locks(self) -> None:
        for dialect_name in DIALECTS:
            statement, _ = translate("select * from t where a = %s for update", ["x"], dialect_name)
            assert statement.get_execution_options()[LOCKING]
            assert ("for update" in statement.text) == (dialect_name != "sqlite")
        assert LOCKING not in translate("select 'for update'", None, "mysql")[0].get_execution_options()

    @pytest.mark.parametrize("query", ["select 1; select 2", "select 1;; commit", "select 1; 'x'", "select 1; /* */ x"])
    def test_several_statements_on_postgres(self, query: str) -> None:
        with pytest.raises(QueryError, match="one at a time"):
            translate(query, None, "postgresql")

    @pytest.mark.parametrize(
        "query", ["select 1;", "select 1; ;\n", "select ';' || 'x'", "select 1; -- ; x\n", "select $$;$$"]
    )
    def test_one_statement_on_postgres(self, query: str) -> None:
        translate(query, None, "postgresql")


class Colour(enum.Enum):
    RED = "red"


class TestValues:
    @pytest.mark.parametrize(
        ("value", "sqlite", "others"),
        [
            (True, 1, 1),
            (None, None, None),
            (b"\0\xff", b"\0\xff", b"\0\xff"),
            (Colour.RED, "red", "red"),
            (uuid.UUID(int=5), str(uuid.UUID(int=5)), str(uuid.UUID(int=5))),
            (decimal.Decimal("1.5"), 1.5, decimal.Decimal("1.5")),
            (datetime.date(2026, 1, 2), "2026-01-02", datetime.date(2026, 1, 2)),
            (datetime.datetime(2026, 1, 2), "2026-01-02 00:00:00.000000", datetime.datetime(2026, 1, 2)),
            (datetime.timedelta(hours=1), "01:00:00.000000", datetime.timedelta(hours=1)),
            (datetime.time(1), "01:00:00.000000", datetime.time(1)),
        ],
    )
    def test_as_the_driver_takes_them(self, value: Any, sqlite: Any, others: Any) -> None:
        for dialect_name, expected in (("sqlite", sqlite), ("mysql", others), ("postgresql", others)):
            found = translate("select %s", [value], dialect_name)[1]["p0"]
            assert (found, type(found)) == (expected, type(expected))


@pytest.mark.usefixtures("site")
class TestOnTheDatabase:
    def run(self, query: str, values: Any = None) -> Any:
        transaction = current_transaction()
        statement, parameters = translate(query, values, transaction.engine.dialect.name)
        return transaction.execute(statement, parameters).all()

    @pytest.mark.parametrize(
        "text", ["it's", "a\\b", "100%", "%s", ":x", "::int", "`", '"', "ä𝄞", "'; drop table x; --", "\\'", "a\nb", ""]
    )
    def test_texts_come_back(self, text: str) -> None:
        assert self.run("select %s as x", [text]) == [(text,)]
        assert self.run("select %(x)s as x", {"x": text}) == [(text,)]

    def test_conditions(self) -> None:
        define_doctype("Thing", {"qty": "Int", "day": "Date", "moment": "Datetime", "rate": "Float"})
        transaction = current_transaction()
        day, moment = datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4, 5, 6)
        dialect = transaction.engine.dialect.name
        for name, number in (("a", 1), ("b", 2), ("c", 3)):
            query = "insert into `tabThing` (name, qty, day, moment, rate) values (%s, %s, %s, %s, %s)"
            transaction.write(*translate(query, (name, number, day, moment, decimal.Decimal("1.5")), dialect))
        for query, values, expected in (
            ("name = %s", "a", "a"),
            ("name in %s", (("a", "c"),), "ac"),
            ("name in (%(names)s)", {"names": ["a", "b"]}, "ab"),
            ("name in %s", [()], ""),
            ("name not in %s", [[]], "abc"),
            ("name in %s and qty in (%s) or qty not in %s", [["a"], [], ()], "abc"),
            ("name in %(some)s and qty not in (%(none)s)", {"some": ["a"], "none": []}, "a"),
            ("qty in %(q)s and name like %(l)s", {"q": {1, 2}, "l": "%"}, "ab"),
            ("qty > %s", [True], "bc"),
            ("day = %s and moment = %s", [day, moment], "abc"),
            ("day = %s and moment > %s", ["2026-01-02", "2026-01-01 00:00:00"], "abc"),
            ("rate = %s", [1.5], "abc"),
            ("name like 'a%%' and qty = %s", [1], "a"),
            ("name like 'a%'", None, "a"),
        ):
            rows = self.run(f"select name from `tabThing` where {query} order by name", values)  # noqa: S608
            assert "".join(row[0] for row in rows) == expected, query
        assert self.run("select day, moment, rate from tabThing where qty = %s", 1) == [(day, moment, 1.5)]


class TestClassify:
    @pytest.mark.parametrize(
        ("query", "kind"),
        [
            ("select 1", Kind.READ),
            ("  SELECT 1", Kind.READ),
            ("(select 1) union (select 2)", Kind.READ),
            ("/* x */ -- y\n # z\n select 1", Kind.READ),
            ("show tables", Kind.READ),
            ("explain select 1", Kind.READ),
            ("explain delete from t", Kind.READ),
            ("describe t", Kind.READ),
            ("desc t", Kind.READ),
            ("pragma table_info(t)", Kind.READ),
            ("values (1)", Kind.READ),
            ("with x as (select 1) select * from x", Kind.READ),
            ("select * from t for update", Kind.READ),
            ("select * from t for no key update", Kind.READ),
            ("select replace(name, 'a', 'b') from t", Kind.READ),
            ("select 'insert into x'", Kind.READ),
            ("select `update` from t", Kind.READ),
            ("select 1 -- into x", Kind.READ),
            ("select * into x from t", Kind.WRITE),
            ("select 1 into outfile 'x'", Kind.WRITE),
            ("with x as (select 1) update t set a = 1", Kind.WRITE),
            ("with x as (delete from t returning *) select * from x", Kind.WRITE),
            ("with x as (select 1) insert into t select * from x", Kind.WRITE),
            ("explain analyze delete from t", Kind.WRITE),
            ("insert into t values (1)", Kind.WRITE),
            ("update t set a = 1", Kind.WRITE),
            ("delete from t", Kind.WRITE),
            ("replace into t values (1)", Kind.WRITE),
            ("merge into t using s on true", Kind.WRITE),
            ("call p()", Kind.WRITE),
            ("set names utf8", Kind.WRITE),
            ("frobnicate", Kind.WRITE),
            ("", Kind.WRITE),
            ("/*!50000 delete from t */", Kind.WRITE),
            ("create table t (a int)", Kind.DDL),
            ("alter table t add a int", Kind.DDL),
            ("DROP TABLE t", Kind.DDL),
            ("truncate t", Kind.DDL),
            ("/*! drop table t */", Kind.DDL),
            ("lock tables t write", Kind.DDL),
            ("commit", Kind.TRANSACTION),
            ("; commit", Kind.TRANSACTION),
            ("/**/ rollback to x", Kind.TRANSACTION),
            ("start transaction", Kind.TRANSACTION),
            ("begin", Kind.TRANSACTION),
            ("savepoint x", Kind.TRANSACTION),
            ("release savepoint x", Kind.TRANSACTION),
            ("end", Kind.TRANSACTION),
            ("set transaction isolation level serializable", Kind.TRANSACTION),
            ("SET SESSION TRANSACTION READ ONLY", Kind.TRANSACTION),
            ("set autocommit = 1", Kind.TRANSACTION),
            ("set @@session.autocommit=1", Kind.TRANSACTION),
            ("prepare transaction 'x'", Kind.TRANSACTION),
            ("xa commit 'x'", Kind.TRANSACTION),
            ("/*M!100100 commit */", Kind.TRANSACTION),
        ],
    )
    def test_by_its_words(self, query: str, kind: Kind) -> None:
        assert classify(query) is kind
