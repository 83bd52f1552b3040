"""Every change announces exactly the documents that it changes, by their stored names, before its statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from frappe_cache_ext.documents.changes import Changes
from frappe_cache_ext.documents.database import Database
from frappe_cache_ext.documents.document import delete_doc, get_doc, new_doc
from frappe_cache_ext.documents.renaming import rename_doc
from frappe_cache_ext.documents.schema import define_doctype
from frappe_cache_ext.documents.transactions import current_transaction
from frappe_cache_ext.errors import ValidationError

db = Database()
WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


@pytest.fixture
def doctypes(site: Any) -> Iterator[None]:
    define_doctype("Row", {"person": ("Link", "Person"), "qty": "Int"}, istable=True)
    define_doctype("Person", {"age": "Int", "boss": ("Link", "Person"), "rows": ("Table", "Row")}, autoname="P-.##")
    define_doctype("Club", {"head": ("Link", "Person")})
    define_doctype("House", {"keeper": ("Link", "Person"), "floors": "Int"}, single=True)
    for name, rows in (("anna", ["a1", "a2"]), ("bob", ["b1"]), ("carl", [])):
        new_doc("Person", name=name, age=3, rows=[{"name": row, "person": "carl"} for row in rows]).insert()
    new_doc("Club", name="chess", head="carl").insert()
    db.set_single_value("House", "keeper", "carl")
    db.commit()
    yield
    current_transaction().rollback()


def watched(change: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[set[Any]]:
    """What was announced, call by call; and no statement that writes came before."""
    happened: list[Any] = []
    touch = Changes.touch

    def recorded(self: Changes, documents: Iterable[Any]) -> None:
        documents = list(documents)
        assert len(documents) == len(set(documents))
        happened.append(set(documents))
        touch(self, documents)

    def executed(*arguments: Any) -> None:
        statement = arguments[2].lstrip()
        if statement.startswith(WRITES) and "tabSeries" not in statement and "__cache" not in statement:
            happened.append(statement)

    engine = current_transaction().engine
    event.listen(engine, "before_cursor_execute", executed)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Changes, "touch", recorded)
            change()
    finally:
        event.remove(engine, "before_cursor_execute", executed)
    announced = [each for each in happened if isinstance(each, set)]
    if happened:
        assert isinstance(happened[0], set), happened[0]
        assert len(announced) < len(happened), "announced, and nothing was written"
    return announced


def _save(doctype: str, name: str, change: Callable[[Any], Any]) -> None:
    document = get_doc(doctype, name)
    change(document)
    document.save()


def _rows(document: Any) -> None:
    document.rows[0].qty = 5
    document.remove(document.rows[1])
    document.append("rows", {"name": "a3"})


CHANGES: list[tuple[str, Callable[[], Any], list[set[Any]]]] = [
    ("set_value", lambda: db.set_value("Person", "anna", "age", 4), [{("Person", "anna")}]),
    (
        "set_value by filter",
        lambda: db.set_value("Person", {"age": 3}, "age", 4),
        [{("Person", "anna"), ("Person", "bob"), ("Person", "carl")}],
    ),
    ("set_value of nothing", lambda: db.set_value("Person", {"age": 99}, "age", 4), []),
    ("set_value of nobody", lambda: db.set_value("Person", "nobody", "age", 4), []),
    ("set_value of a row", lambda: db.set_value("Row", "a1", "qty", 1), [{("Row", "a1"), ("Person", "anna")}]),
    (
        "set_value of rows",
        lambda: db.set_value("Row", {"name": ["in", ["a1", "b1"]]}, "qty", 1),
        [{("Row", "a1"), ("Row", "b1"), ("Person", "anna"), ("Person", "bob")}],
    ),
    (
        "a row moves",
        lambda: db.set_value("Row", "a1", "parent", "carl"),
        [{("Row", "a1"), ("Person", "anna"), ("Person", "carl")}],
    ),
    ("set_single_value", lambda: db.set_single_value("House", "floors", 4), [{("House", "House")}]),
    ("set_value of a single", lambda: db.set_value("House", None, "floors", 4), [{("House", "House")}]),
    ("delete", lambda: db.delete("Person", {"name": "bob"}), [{("Person", "bob")}]),
    ("delete rows", lambda: db.delete("Row", {"parent": "anna"}), [{("Row", "a1"), ("Row", "a2"), ("Person", "anna")}]),
    ("delete a single", lambda: db.delete("House"), [{("House", "House")}]),
    (
        "delete_doc",
        lambda: delete_doc("Person", "anna"),
        [{("Person", "anna"), ("Row", "a1"), ("Row", "a2")}],
    ),
    ("delete_doc of a row", lambda: delete_doc("Row", "b1"), [{("Row", "b1"), ("Person", "bob")}]),
    ("delete_doc of nobody", lambda: delete_doc("Person", "nobody"), []),
    (
        "insert",
        lambda: new_doc("Person", name="dora", rows=[{"name": "d1"}]).insert(),
        [{("Person", "dora"), ("Row", "d1")}],
    ),
    ("insert of a series", lambda: new_doc("Person").insert(), [{("Person", "P-01")}]),
    (
        "insert of a row",
        lambda: new_doc("Row", name="c1", parent="carl", parenttype="Person", parentfield="rows").insert(),
        [{("Row", "c1"), ("Person", "carl")}],
    ),
    ("save", lambda: _save("Person", "anna", lambda d: d.set("age", 9)), [{("Person", "anna")}]),
    (
        "save of rows",
        lambda: _save("Person", "anna", _rows),
        [{("Person", "anna"), ("Row", "a1"), ("Row", "a2"), ("Row", "a3")}],
    ),
    (
        "save of a row",
        lambda: _save("Row", "a1", lambda d: d.set("parent", "bob")),
        [{("Row", "a1"), ("Person", "anna"), ("Person", "bob")}],
    ),
    ("save of a single", lambda: _save("House", "House", lambda d: d.set("floors", 2)), [{("House", "House")}]),
    ("db_set", lambda: get_doc("Person", "bob").db_set("age", 1), [{("Person", "bob")}]),
    (
        "db_set of a row",
        lambda: get_doc("Person", "bob").rows[0].db_set("qty", 1),
        [{("Row", "b1"), ("Person", "bob")}],
    ),
    ("db_set of a single", lambda: get_doc("House").db_set("floors", 1), [{("House", "House")}]),
    (
        "rename",
        lambda: rename_doc("Person", "anna", "anne"),
        [{("Person", "anna"), ("Person", "anne"), ("Row", "a1"), ("Row", "a2")}],
    ),
    (
        "rename of what is linked to",
        lambda: rename_doc("Person", "carl", "karl"),
        [
            {
                *(("Person", name) for name in ("anna", "bob", "carl", "karl")),
                *(("Row", name) for name in ("a1", "a2", "b1")),
                *(("Club", "chess"), ("House", "House")),
            }
        ],
    ),
    (
        "merge",
        lambda: rename_doc("Person", "anna", "bob", merge=True),
        [{("Person", "anna"), ("Person", "bob"), ("Row", "a1"), ("Row", "a2")}],
    ),
    ("sql", lambda: db.sql("select 1"), []),
]


@pytest.mark.usefixtures("doctypes")
def test_what_is_changed_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    for what, change, expected in CHANGES:
        assert watched(change, monkeypatch) == expected, what
        db.rollback()


@pytest.mark.parametrize("database_kind", ["mariadb"])  # it alone takes ANNA for anna
@pytest.mark.usefixtures("doctypes")
def test_a_name_is_announced_as_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    for change, expected in (
        (lambda: db.set_value("Person", "ANNA ", "age", 4), [{("Person", "anna")}]),
        (lambda: delete_doc("Person", "Anna"), [{("Person", "anna"), ("Row", "a1"), ("Row", "a2")}]),
        (lambda: db.set_value("Row", "A1", "qty", 4), [{("Row", "a1"), ("Person", "anna")}]),
        (
            lambda: db.set_value("Row", "b1", "parent", "ANNA"),
            [{("Row", "b1"), ("Person", "bob"), ("Person", "anna"), ("Person", "ANNA")}],
        ),
        (
            lambda: rename_doc("Person", "ANNA", "Anna"),
            [{("Person", "anna"), ("Person", "Anna"), ("Row", "a1"), ("Row", "a2")}],
        ),
    ):
        assert watched(change, monkeypatch) == expected
        db.rollback()


@pytest.mark.usefixtures("doctypes")
def test_very_many_are_announced_as_one_doctype(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(501):
        db.sql("insert into `tabPerson` (name, age) values (%s, 50)", f"p{number}")
        db.sql("insert into `tabRow` (name, qty, parent, parenttype) values (%s, 7, 'anna', 'Person')", f"r{number}")
    db.commit()
    assert watched(lambda: db.set_value("Person", {"age": 50}, "age", 51), monkeypatch) == [{("Person", None)}]
    assert watched(lambda: db.set_value("Row", {"qty": 7}, "qty", 8), monkeypatch) == [
        {("Row", None), ("Person", "anna")}
    ]
    assert watched(lambda: db.delete("Person", {"age": 51}), monkeypatch) == [{("Person", None)}]
    assert db.count("Person") == 3


@pytest.mark.usefixtures("doctypes")
def test_writing_sql_announces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[Any] = []
    monkeypatch.setattr(Changes, "touch", lambda self, documents: touched.append(documents))
    db.sql("update `tabPerson` set age = 5")
    assert touched == []
    assert current_transaction().has_changes


@pytest.mark.usefixtures("doctypes")
def test_what_is_refused_announces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[Any] = []
    monkeypatch.setattr(Changes, "touch", lambda self, documents: touched.append(documents))
    for refused in (
        lambda: db.set_value("Person", "anna", "age", "old"),
        lambda: db.set_value("Person", "anna", "aeg", 1),
        lambda: _save("Person", "anna", lambda document: document.set("age", "old")),
        lambda: new_doc("Person", name="a<b").insert(),
        lambda: rename_doc("Person", "anna", "bob"),
    ):
        with pytest.raises((ValidationError, Exception)):
            refused()
    assert touched == []
