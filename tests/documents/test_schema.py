"""DocTypes: defined, defined again, and read from a database that a Frappe site made."""

# ruff: noqa: S608  (the tests' own SQL is made of the tests' own names)

from __future__ import annotations

import datetime
import subprocess
import sys
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from frappe_cache_ext import context
from frappe_cache_ext.documents import migration, schema
from frappe_cache_ext.documents.definitions import definition
from frappe_cache_ext.documents.doctypes import columns_of
from frappe_cache_ext.documents.engine import database_url, dispose_all, engine_for
from frappe_cache_ext.documents.schema import (
    STANDARD_FIELDS,
    Field,
    define_doctype,
    get_doctype,
    link_fields_to,
    table_of,
)
from frappe_cache_ext.documents.transactions import current_transaction
from frappe_cache_ext.errors import (
    DoesNotExistError,
    ImplicitCommitError,
    InReadOnlyMode,
    QueryError,
    UniqueValidationError,
    ValidationError,
)
from frappe_cache_ext.settings import Settings

ALL_TYPES = {
    "text": "Data",
    "long": "Long Text",
    "number": "Int",
    "big": "Long Int",
    "flag": "Check",
    "amount": "Currency",
    "stars": "Rating",
    "day": "Date",
    "moment": "Datetime",
    "at": "Time",
    "extra": "JSON",
    "heading": "Section Break",
}
VALUES = {
    "text": "Ä 𝄞",
    "long": "x" * 70_000,
    "number": -5,
    "big": 2**40,
    "flag": 1,
    "amount": 12.5,
    "stars": 0.75,
    "day": datetime.date(2026, 1, 31),
    "moment": datetime.datetime(2026, 1, 31, 10, 0, 0, 1),
    "at": datetime.timedelta(hours=9, microseconds=5),
    "extra": '{"a": [1]}',
}


def inserted(doctype: str, **values: Any) -> None:
    transaction = current_transaction()
    transaction.write(sa.insert(table_of(transaction, get_doctype(transaction, doctype))).values(values))


def rows_of(doctype: str) -> list[dict[str, Any]]:
    transaction = current_transaction()
    table = table_of(transaction, get_doctype(transaction, doctype))
    return [dict(row) for row in transaction.execute(sa.select(table).order_by(table.c.name)).mappings()]


def indexes_of(table: str) -> set[tuple[str, bool]]:
    found = current_transaction().inspect().get_indexes(table)
    return {(str(index["column_names"][0]), bool(index["unique"])) for index in found}


@pytest.mark.usefixtures("site")
class TestDefining:
    def test_every_type_keeps_its_values(self) -> None:
        define_doctype("Thing", ALL_TYPES)
        inserted("Thing", name="a", **VALUES)
        inserted("Thing", name="b")
        current_transaction().commit()
        first, second = rows_of("Thing")
        assert {name: first[name] for name in VALUES} == VALUES
        assert {type(first[name]) for name in ("amount", "stars")} == {float}
        zeros = {"number", "big", "flag", "amount", "docstatus", "idx"}
        assert {name for name, value in second.items() if value == 0} == zeros
        assert {name for name, value in second.items() if value is None} == {*second} - zeros - {"name"}

    def test_raw_sql_gives_the_same_values(self) -> None:
        define_doctype("Thing", ALL_TYPES)
        inserted("Thing", name="a", **VALUES)
        columns = ", ".join(map(quoted, VALUES))
        row = current_transaction().execute(sa.text(f"select {columns} from {quoted('tabThing')}")).one()
        assert dict(row._mapping) == VALUES

    def test_the_doctype_tells_what_was_defined(self) -> None:
        define_doctype("Row", {"qty": "Int"})
        made = define_doctype(
            "Order",
            {
                "customer": ("Link", "Customer"),
                "status": {"fieldtype": "Select", "options": ["Open", "Closed"], "default": "Open", "reqd": True},
                "code": {"fieldtype": "Data", "unique": True, "label": "The Code"},
                "rows": ("Table", "Row"),
                "computed": {"fieldtype": "Int", "is_virtual": 1},
            },
            autoname="SO-.#####",
        )
        assert made.fields == (
            Field("customer", "Link", options="Customer", label="Customer"),
            Field("status", "Select", options="Open\nClosed", label="Status", reqd=True, default="Open"),
            Field("code", "Data", label="The Code", unique=True),
            Field("rows", "Table", options="Row", label="Rows"),
            Field("computed", "Int", label="Computed", is_virtual=True),
        )
        assert (made.issingle, made.istable, made.autoname) == (False, False, "SO-.#####")
        assert [each.fieldname for each in made.table_fields] == ["rows"]
        columns = columns_of(current_transaction(), "tabOrder")
        assert set(columns) == {*STANDARD_FIELDS, "customer", "status", "code"}
        assert indexes_of("tabOrder") == {("modified", False), ("code", True)}

    def test_a_child_gets_the_columns_of_its_parent(self) -> None:
        define_doctype("Row", {"qty": "Int"})
        inserted("Row", name="old", qty=1)
        current_transaction().commit()
        define_doctype("Order", {"rows": ("Table", "Row")})
        inserted("Row", name="new", qty=2, parent="SO-1", parentfield="rows", parenttype="Order", idx=1)
        assert [row["parent"] for row in rows_of("Row")] == ["SO-1", None]
        assert get_doctype(current_transaction(), "Row").istable
        assert ("parent", False) in indexes_of("tabRow")

    def test_a_child_stays_one_when_it_is_defined_anew(self) -> None:
        define_doctype("Row", {"qty": "Int"}, istable=True)
        assert indexes_of("tabRow") == {("parent", False)}
        again = define_doctype("Row", {"qty": "Int", "rate": "Float"})
        assert again.istable
        assert set(columns_of(current_transaction(), "tabRow")) >= {"parent", "parentfield", "parenttype", "rate"}

    def test_the_same_again_writes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = define_doctype("Thing", {"qty": "Int"})
        monkeypatch.setattr(type(current_transaction()), "write", None)
        assert define_doctype("Thing", {"qty": "Int"}) == made
        assert not current_transaction().is_open

    def test_a_single_has_no_table(self) -> None:
        made = define_doctype("Shop Settings", {"tax": "Percent"}, single=True)
        assert made.issingle
        assert columns_of(current_transaction(), "tabShop Settings") == {}
        with pytest.raises(ValidationError, match="single DocType: it has no table"):
            table_of(current_transaction(), made)

    def test_nothing_uncommitted_is_committed(self) -> None:
        define_doctype("Thing", {"qty": "Int"})
        inserted("Thing", name="a")
        with pytest.raises(ImplicitCommitError, match=r"frappe\.db\.commit\(\)"):
            define_doctype("Other", {"qty": "Int"})
        current_transaction().rollback()
        assert rows_of("Thing") == []

    def test_what_was_only_read_is_no_obstacle(self) -> None:
        define_doctype("Thing", {"qty": "Int"})
        assert rows_of("Thing") == []
        define_doctype("Thing", {"qty": "Int", "more": "Data"})
        inserted("Thing", name="a", more="x")
        assert rows_of("Thing")[0]["more"] == "x"


@pytest.mark.usefixtures("site")
class TestDefiningAgain:
    def test_fields_are_added_and_values_stay(self) -> None:
        define_doctype("Thing", {"qty": "Int"})
        inserted("Thing", name="a", qty=3)
        current_transaction().commit()
        define_doctype("Thing", {"title": "Data", "qty": "Int", "rate": "Float"})
        assert [(row["qty"], row["title"], row["rate"]) for row in rows_of("Thing")] == [(3, None, 0.0)]

    def test_a_field_left_out_keeps_its_column(self) -> None:
        define_doctype("Thing", {"qty": "Int", "title": "Data"})
        inserted("Thing", name="a", title="kept")
        current_transaction().commit()
        assert define_doctype("Thing", {"qty": "Int"}).field("title") is None
        assert rows_of("Thing")[0]["title"] == "kept"
        current_transaction().rollback()
        define_doctype("Thing", {"qty": "Int", "title": "Data"})
        assert rows_of("Thing")[0]["title"] == "kept"

    @pytest.mark.parametrize(
        ("old", "value", "new", "later"),
        [
            ("Check", 1, "Int", 1),
            ("Int", 7, "Long Int", 7),
            ("Int", 7, "Currency", 7.0),
            ("Int", 7, "Data", "7"),
            ("Long Int", 2**40, "Text", str(2**40)),
            ("Data", "007", "Long Text", "007"),
            ("Small Text", "x", "Code", "x"),
            ("Data", "x", "Select", "x"),
            ("Date", datetime.date(2026, 1, 2), "Datetime", datetime.datetime(2026, 1, 2)),
            ("Date", datetime.date(2026, 1, 2), "Data", "2026-01-02"),
        ],
    )
    def test_a_wider_type_keeps_the_values(self, old: str, value: Any, new: str, later: Any) -> None:
        define_doctype("Thing", {"field": old})
        inserted("Thing", name="a", field=value)
        current_transaction().commit()
        define_doctype("Thing", {"field": new})
        found = rows_of("Thing")[0]["field"]
        assert (found, type(found)) == (later, type(later))
        table = table_of(current_transaction(), get_doctype(current_transaction(), "Thing"))
        assert current_transaction().execute(sa.select(table.c.name).where(table.c.field == later)).scalar() == "a"
        current_transaction().rollback()
        inserted("Thing", name="b")
        assert rows_of("Thing")[1]["field"] in (None, 0)

    @pytest.mark.parametrize(
        ("old", "value", "new"), [("Data", "x", "Int"), ("Float", 1.5, "Int"), ("Int", 3, "Check")]
    )
    def test_a_narrower_type_is_refused(self, old: str, value: Any, new: str) -> None:
        define_doctype("Thing", {"field": old})
        inserted("Thing", name="a", field=value)
        current_transaction().commit()
        with pytest.raises(ValidationError, match=f"field of Thing is {old} and holds values that would not all fit"):
            define_doctype("Thing", {"field": new})
        assert not current_transaction().is_open
        assert get_doctype(current_transaction(), "Thing").fields[0].fieldtype == old
        assert rows_of("Thing")[0]["field"] == value

    def test_a_narrower_type_is_fine_where_nothing_is_held(self) -> None:
        define_doctype("Thing", {"field": {"fieldtype": "Data", "unique": True}, "number": "Float"})
        inserted("Thing", name="a")
        current_transaction().commit()
        define_doctype("Thing", {"field": "Int", "number": "Check"})
        assert (rows_of("Thing")[0]["field"], rows_of("Thing")[0]["number"]) == (0, 0)

    def test_a_column_that_is_no_field_any_more_is_not_narrowed(self) -> None:
        define_doctype("Thing", {"field": "Long Text"})
        inserted("Thing", name="a", field="much")
        current_transaction().commit()
        define_doctype("Thing", {"other": "Data"})
        with pytest.raises(ValidationError, match="holds values"):
            define_doctype("Thing", {"field": "Int"})

    def test_unique_comes_and_goes(self) -> None:
        define_doctype("Thing", {"code": "Data"})
        inserted("Thing", name="a", code="x")
        inserted("Thing", name="b", code="x")
        current_transaction().commit()
        with pytest.raises(UniqueValidationError, match="code cannot become unique: documents share a value"):
            define_doctype("Thing", {"code": {"fieldtype": "Data", "unique": True}})
        current_transaction().write(sa.text(f"update {quoted('tabThing')} set code = name"))
        current_transaction().commit()
        define_doctype("Thing", {"code": {"fieldtype": "Data", "unique": True}})
        with pytest.raises(UniqueValidationError):
            inserted("Thing", name="c", code="a")
        current_transaction().rollback()
        define_doctype("Thing", {"code": "Data"})
        inserted("Thing", name="c", code="a")

    def test_single_and_not_single_do_not_change(self) -> None:
        define_doctype("Thing", {"qty": "Int"})
        with pytest.raises(ValidationError, match="no single DocType and stays so"):
            define_doctype("Thing", {"qty": "Int"}, single=True)

    def test_another_process_is_noticed(self, site: Settings) -> None:
        define_doctype("Thing", {"qty": "Int"})
        assert get_doctype(current_transaction(), "Thing").field("more") is None
        current_transaction().rollback()
        in_another_process(site, "define_doctype('Thing', {'qty': 'Int', 'more': 'Data'})")
        inserted("Thing", name="a", more="seen")
        assert get_doctype(current_transaction(), "Thing").field("more") is not None

    def test_what_was_rolled_back_is_not_remembered(self) -> None:
        define_doctype("Thing", {"qty": "Int"})
        transaction = current_transaction()
        changed = sa.update(schema.DOCTYPE).where(schema.DOCTYPE.c.name == "Thing")
        transaction.write(changed.values(autoname="hash", modified=datetime.datetime(2099, 1, 1)))
        assert get_doctype(transaction, "Thing").autoname in ("hash", None)
        transaction.rollback()
        assert get_doctype(transaction, "Thing").autoname is None


def quoted(name: str) -> str:
    return current_transaction().engine.dialect.identifier_preparer.quote(name)


def in_another_process(site: Settings, *lines: str) -> None:
    code = "\n".join(
        [
            "import sys",
            "from frappe_cache_ext import context",
            "from frappe_cache_ext.documents.schema import define_doctype",
            "context.init(sys.argv[1], url=sys.argv[2], database_url=sys.argv[3])",
            *lines,
        ]
    )
    arguments = (site.site, site.url, str(site.database_url))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def define_on_nothing(name: Any, fields: Any) -> None:
    definition(name, fields, single=False, istable=False, autoname=None)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "name",
        ["", "1st", "Thing ", "a" * 62, "Thi`ng", 'T"', "Ta;ble", "Tab\nle", "Größe", "DocType", "singles", None, 5],
    )
    def test_names(self, name: Any) -> None:
        with pytest.raises(ValidationError):
            define_on_nothing(name, {"qty": "Int"})

    @pytest.mark.parametrize(
        "fieldname", ["", "Qty", "q ty", "1qty", "q`ty", "a" * 62, "name", "parent", "doctype", "save", "get", None, 5]
    )
    def test_fieldnames(self, fieldname: Any) -> None:
        with pytest.raises(ValidationError, match="field"):
            define_on_nothing("Thing", {fieldname: "Int"})

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("Integer", "did you mean Int"),
            ({"type": "Int"}, "no property 'type'; did you mean fieldtype?"),
            ({"label": "x"}, "needs a field type"),
            (("Link", "User", "x"), "is a type"),
            ("Link", "needs the name of a DocType"),
            ("Table", "needs the name of a DocType"),
            (("Table", "Thing"), "cannot have rows of Thing itself"),
            ({"fieldtype": "Text", "unique": True}, "cannot be unique"),
            ({"fieldtype": "Data", "default": object()}, "default is text or a number"),
            (7, "is a type"),
        ],
    )
    def test_fields(self, spec: Any, message: str) -> None:
        with pytest.raises(ValidationError) as caught:
            define_on_nothing("Thing", {"field": spec})
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("site")
class TestWhatTheDatabaseRefuses:
    def test_rows_of_what_is_not_defined(self) -> None:
        with pytest.raises(ValidationError, match="'Nowhere', which is no DocType; define it first"):
            define_doctype("Thing", {"rows": ("Table", "Nowhere")})
        assert columns_of(current_transaction(), "tabThing") == {}

    def test_rows_of_a_single(self) -> None:
        define_doctype("Shop Settings", {"tax": "Percent"}, single=True)
        with pytest.raises(ValidationError, match="single DocType"):
            define_doctype("Thing", {"rows": ("Table", "Shop Settings")})

    def test_names_that_differ_in_case_alone(self) -> None:
        define_doctype("Thing", {"qty": "Int"})
        with pytest.raises(ValidationError, match="There is a DocType Thing; choose"):
            define_doctype("THING", {"qty": "Int"})
        with pytest.raises(DoesNotExistError, match="did you mean Thing"):
            get_doctype(current_transaction(), "thing")

    def test_a_doctype_that_is_not_there(self) -> None:
        define_doctype("Sales Order", {"qty": "Int"})
        with pytest.raises(DoesNotExistError, match="no DocType 'Sale Order'; did you mean Sales Order"):
            get_doctype(current_transaction(), "Sale Order")
        with pytest.raises(DoesNotExistError, match="define_doctype"):
            get_doctype(current_transaction(), "Zebra")


class TestAtTheSameTime:
    def test_threads_that_define_the_same_on_an_empty_database(self, site: Settings) -> None:
        failed: list[BaseException] = []
        together = threading.Barrier(4)

        def define(number: int) -> None:
            try:
                context.enter(site)
                together.wait()
                define_doctype("Row", {"qty": "Int"})
                define_doctype("Thing", {"title": "Data", "rows": ("Table", "Row"), f"own{number % 2}": "Data"})
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=define, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        inserted("Thing", name="a", title="x")
        fields = get_doctype(current_transaction(), "Thing").fields
        assert {each.fieldname for each in fields} in ({"title", "rows", "own0"}, {"title", "rows", "own1"})
        assert {"own0", "own1"} <= set(columns_of(current_transaction(), "tabThing"))

    def test_processes_that_define_the_same_on_an_empty_database(self, site: Settings) -> None:
        threads = [
            threading.Thread(target=in_another_process, args=(site, "define_doctype('Thing', {'qty': 'Int'})"))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        transaction = current_transaction()
        count = sa.select(sa.func.count()).select_from(schema.DOCFIELD)
        assert transaction.execute(count).scalar() == 1
        assert get_doctype(transaction, "Thing").fields[0].fieldname == "qty"


@pytest.mark.usefixtures("site")
class TestLinks:
    def test_the_fields_that_name_documents_of_a_doctype(self) -> None:
        define_doctype("Customer", {"title": "Data"})
        define_doctype("Order", {"customer": ("Link", "Customer"), "user": ("Link", "User")})
        define_doctype("Shop Settings", {"walk_in": ("Link", "Customer")}, single=True)
        found = [(doctype.name, each.fieldname) for doctype, each in link_fields_to(current_transaction(), "Customer")]
        assert found == [("Order", "customer"), ("Shop Settings", "walk_in")]


def frappe_s_own(kind: str) -> list[str]:
    """A small Frappe 15 site's tables, as its own SQL makes them."""
    stamp = {"mariadb": "datetime(6)", "postgres": "timestamp(6)", "sqlite": "datetime(6)"}[kind]
    check = {"mariadb": "tinyint(4)", "postgres": "smallint", "sqlite": "INTEGER"}[kind]
    long = "longtext" if kind == "mariadb" else "text"
    time = "TIME" if kind == "sqlite" else "time(6)"
    head = (
        f"name varchar(140) primary key, creation {stamp}, modified {stamp}, modified_by varchar(140), "
        f"owner varchar(140), docstatus {check} not null default '0', idx int not null default '0'"
    )
    child = "parent varchar(140), parentfield varchar(140), parenttype varchar(140)"
    when = "'2024-05-06 07:08:09.000010'"
    field = (
        f"fieldname varchar(140), label varchar(140), fieldtype varchar(140) default 'Data', `options` text, "
        f"reqd {check} not null default 0, `unique` {check} not null default 0, `default` text, hidden {check}"
    )

    def docfield(number: int, name: str, fieldtype: str, options: str = "null") -> str:
        return (
            f"insert into `tabDocField` (name, parent, parentfield, parenttype, idx, fieldname, fieldtype, `options`, "
            f"label) values ('f{number}', 'ToDo', 'fields', 'DocType', {number}, '{name}', '{fieldtype}', {options}, "
            "'L')"
        )

    return [
        f"create table `tabDocType` ({head}, module varchar(140), issingle {check} not null default 0, "
        f"istable {check} not null default 0, autoname varchar(140), engine varchar(140) default 'InnoDB')",
        f"create table `tabDocField` ({head}, {child}, {field}, is_virtual {check} not null default 0)",
        f"create table `tabCustom Field` ({head}, dt varchar(140), {field})",
        f"create table `tabSingles` (doctype varchar(255), field varchar(255), value {long})",
        f"create table `tabToDo` ({head}, status varchar(140) default 'Open', description {long}, date date, "
        f"at {time}, amount decimal(21,9) not null default 0, my_own varchar(140), _user_tags text)",
        f"insert into `tabDocType` (name, modified, issingle, istable, autoname) values ('ToDo', {when}, 0, 0, 'hash')",
        f"insert into `tabDocType` (name, modified, issingle, istable) values ('System Settings', {when}, 1, 0)",
        docfield(2, "status", "Select", "'Open\nClosed'"),
        docfield(1, "description", "Text Editor"),
        docfield(3, "break_1", "Column Break"),
        docfield(4, "date", "Date"),
        docfield(5, "at", "Time"),
        docfield(6, "amount", "Currency"),
        f"insert into `tabCustom Field` (name, dt, fieldname, fieldtype, `options`, idx, modified) "
        f"values ('ToDo-my_own', 'ToDo', 'my_own', 'Link', 'User', 7, {when})",
        f"insert into `tabToDo` (name, modified, status, date, at, amount, _user_tags) "
        f"values ('t1', {when}, 'Open', '2024-05-06', '09:00:00', 1.5, ',x')",
    ]


@pytest.fixture
def frappe_site(site: Settings, database_kind: str) -> Settings:
    """A site whose database Frappe made."""
    engine = sa.create_engine(database_url(site), poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in frappe_s_own(database_kind):
            quoted = statement.replace("`", '"') if database_kind == "postgres" else statement
            connection.exec_driver_sql(quoted)
    return site


@pytest.mark.usefixtures("frappe_site")
class TestAFrappeSite:
    def test_it_is_read(self) -> None:
        transaction = current_transaction()
        assert schema.is_foreign(transaction)
        todo = get_doctype(transaction, "ToDo")
        names = ["description", "status", "break_1", "date", "at", "amount", "my_own"]
        assert [each.fieldname for each in todo.fields] == names
        assert todo.field("status") == Field("status", "Select", options="Open\nClosed", label="L")
        assert (todo.autoname, todo.modified) == ("hash", datetime.datetime(2024, 5, 6, 7, 8, 9, 10))
        assert get_doctype(transaction, "System Settings").issingle
        (row,) = rows_of("ToDo")
        assert row["_user_tags"] == ",x"
        assert row["modified"] == datetime.datetime(2024, 5, 6, 7, 8, 9, 10)
        assert (row["date"], row["at"]) == (datetime.date(2024, 5, 6), datetime.timedelta(hours=9))
        assert (row["amount"], type(row["amount"])) == (1.5, float)
        assert [each.fieldname for _, each in link_fields_to(transaction, "User")] == ["my_own"]

    def test_a_new_custom_field_is_seen_in_the_next_transaction(self, frappe_site: Settings) -> None:
        transaction = current_transaction()
        assert get_doctype(transaction, "ToDo").field("later") is None
        transaction.rollback()
        with engine_for(frappe_site).begin() as connection:
            table = quoted("tabCustom Field")
            connection.exec_driver_sql(
                f"insert into {table} (name, dt, fieldname, fieldtype) values ('x', 'ToDo', 'later', 'Data')"
            )
        assert get_doctype(transaction, "ToDo").field("later") is not None

    def test_it_is_not_written_to(self, frappe_site: Settings) -> None:
        transaction = current_transaction()
        before = set(transaction.inspect().get_table_names())
        with pytest.raises(InReadOnlyMode, match="change it with Frappe itself"):
            transaction.touch([("ToDo", "t1")])
        with pytest.raises(InReadOnlyMode, match="change it with Frappe itself"):
            inserted("ToDo", name="t2")
        with pytest.raises(InReadOnlyMode):
            define_doctype("Thing", {"qty": "Int"})
        transaction.rollback()
        assert set(sa.inspect(engine_for(frappe_site)).get_table_names()) == before
        assert len(rows_of("ToDo")) == 1

    def test_a_doctype_without_a_table(self) -> None:
        transaction = current_transaction()
        with engine_for(transaction.settings).begin() as connection:
            connection.exec_driver_sql(f"drop table {quoted('tabToDo')}")
        with pytest.raises(DoesNotExistError, match="has no table tabToDo"):
            table_of(transaction, get_doctype(transaction, "ToDo"))


class TestPreparing:
    def test_a_database_of_ours_is_no_foreign_one(self, site: Settings) -> None:
        transaction = current_transaction()
        schema.prepare(transaction)
        assert not schema.is_foreign(transaction)
        dispose_all()
        assert not schema.is_foreign(current_transaction())
        assert schema.singles_table(transaction).name == "tabSingles"
        assert schema.series_table(transaction).name == "tabSeries"

    def test_a_database_that_refuses(self, tmp_path: Any) -> None:
        path = tmp_path / "readonly.db"
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            connection.exec_driver_sql("create table x (a)")
        engine.dispose()
        path.write_bytes(b"no database at all" * 100)
        context.init("broken.test", url="memory://broken", database_url=f"sqlite:///{path}")
        with pytest.raises((QueryError, ConnectionError), match="not a database"):
            schema.prepare(current_transaction())


def test_index_names_are_short_and_of_one_table() -> None:
    assert migration.index_name("tabA", "x" * 61) != migration.index_name("tabB", "x" * 61)
    assert len(migration.index_name("tab" + "y" * 61, "x" * 61)) < 64
