"""Whatever text comes from outside is data or is refused: it never becomes SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from frappe_cache_ext.documents.database import Database
from frappe_cache_ext.documents.document import delete_doc, get_doc, new_doc
from frappe_cache_ext.documents.renaming import rename_doc
from frappe_cache_ext.documents.schema import define_doctype
from frappe_cache_ext.documents.transactions import current_transaction
from frappe_cache_ext.errors import DocumentError

db = Database()

HOSTILE = [
    "'", '"', "`", "''", '""', "``", "\\", "\\'", "'\\", ";", "--", "#", "/*", "*/", "/**/", "(", ")", "%", "%%", "%s",
    "%(name)s", "%d", ":x", ":p0", "::text", "{0}", "{name}", "${x}", "?", "$1", "@@version", "\x00", "a\x00b", "\x1a",
    "\ud800", "\u2019", "\u02bc", "\uff07", "\u0000'", "\n", "\t", "\r\n; drop table `tabItem`", " ", "",
    "' or '1'='1", '" or ""="', "' or 1=1 --", "') or 1=1 --", "1 or 1=1", "1; drop table `tabItem`",
    "x'; delete from `tabItem`; --", "x` ; drop table `tabItem` ; --", "name` = `name", "`name` or 1=1",
    "name; drop table `tabItem`", "name desc; delete from `tabItem`", "name, (select sleep(3))",
    "(select name from `tabItem` limit 1)", "sleep(3)", "pg_sleep(3)", "benchmark(9999999, md5(1))", "count(*)",
    "count(name) from `tabItem` --", "name as x from `tabItem`; --", "name as `x` from `tabItem` --",
    "case when 1=1 then name else qty end", "1 union select 1", "name union select name from `tabUser`",
    "tabItem.name", "*", "name, *", "Item", "tabItem", "Item` where 1=1 --", "__class__", "null", "true", "0", "00",
    "0x00", "char(39)", "x" * 300,
]  # fmt: skip


@pytest.fixture
def before(site: Any) -> Iterator[None]:
    """Two DocTypes with documents; at the end there is nothing more and nothing less."""
    define_doctype("Line", {"note": "Data"}, istable=True)
    define_doctype("Item", {"title": "Long Text", "short": "Data", "qty": "Int", "lines": ("Table", "Line")})
    define_doctype("Shop", {"title": "Long Text"}, single=True)
    for number in range(3):
        new_doc("Item", name=f"i{number}", title=f"title {number}", qty=number, lines=[{"note": "n"}]).insert()
    db.commit()
    tables, contents = _tables(), _contents()
    yield
    db.rollback()
    assert _tables() == tables
    assert _contents() == contents


def _tables() -> list[str]:
    return sorted(current_transaction().inspect().get_table_names())


def _contents() -> list[Any]:
    return [db.get_all(doctype, fields="*", order_by="name") for doctype in ("Item", "Line")]


def _each(call: Callable[[str], Any]) -> list[tuple[str, Any]]:
    """Call with each of them; what comes back, where it is no error of ours."""
    found, messages = [], []
    for text in HOSTILE:
        try:
            found.append((text, call(text)))
        except DocumentError as error:
            messages.append(str(error))
        except BaseException as error:
            raise AssertionError(f"{text!r} got through: {error!r}") from error
        finally:
            db.rollback()
    assert [message for message in messages if "\n" in message or len(message) > 1000] == []
    return found


def _nothing(found: list[tuple[str, Any]]) -> None:
    assert [(text, value) for text, value in found if value not in (None, [], (), 0, False)] == []


def test_there_are_enough_of_them() -> None:
    assert len(set(HOSTILE)) >= 40


@pytest.mark.usefixtures("before")
class TestHostileText:
    def test_as_a_value_it_comes_back_exactly(self) -> None:
        def there_and_back(text: str) -> None:
            made = new_doc("Item", title=text, lines=[{"note": text[:140]}]).insert()
            db.set_single_value("Shop", "title", text)
            found = get_doc("Item", made.name)
            assert (found.title, found.lines[0].note) == (text, text[:140])
            assert get_doc("Shop").title == db.get_single_value("Shop", "title") == text
            db.set_value("Item", "i1", "title", f"{text}!")
            assert db.get_value("Item", "i1", "title") == f"{text}!"
            assert db.count("Item", {"title": f"{text}!"}) == 1
            db.sql("update `tabItem` set title = %s where name = 'i2'", (text,))
            assert db.sql("select title from `tabItem` where name = 'i2'") == ((text,),)
            db.sql("update `tabItem` set title = %(t)s where name = 'i2'", {"t": f"<{text}>"})
            assert db.get_value("Item", "i2", "title") == f"<{text}>"

        kept = {text for text, _ in _each(there_and_back)}
        assert {text for text in HOSTILE if text not in kept} == {
            text for text in HOSTILE if "\0" in text or "\ud800" in text
        }

    def test_as_a_name(self) -> None:
        def insert(text: str) -> str | None:
            made = new_doc("Item", name=text, title="x", lines=[{"note": "y"}]).insert()
            assert db.exists("Item", made.name)
            assert get_doc("Item", made.name).lines[0].parent == made.name
            rename_doc("Item", str(made.name), f"{made.name}-")
            assert db.get_value("Item", f"{made.name}-", "title") == "x"
            delete_doc("Item", f"{made.name}-", ignore_missing=False)
            return made.name

        for text, name in _each(insert):
            assert name == text.strip() or not text

    def test_as_a_name_that_is_looked_up(self) -> None:
        _nothing(_each(lambda text: db.get_value("Item", text, "name")))
        _nothing(_each(lambda text: db.exists("Item", text)))
        _nothing(_each(lambda text: db.count("Item", text)))
        _nothing(_each(lambda text: get_doc("Item", text)))
        _nothing(_each(lambda text: delete_doc("Item", text)))
        _nothing(_each(lambda text: rename_doc("Item", text, "new")))
        _each(lambda text: db.set_value("Item", text, "title", "hit"))

        def changed(text: str) -> int:
            db.set_value("Item", text, "title", "hit")
            db.delete("Item", text)
            return db.count("Item") - 3 or db.count("Item", {"title": "hit"})

        _nothing(_each(changed))

    def test_in_filters(self) -> None:
        _nothing(_each(lambda text: db.get_all("Item", {"title": text})))
        _nothing(_each(lambda text: db.get_all("Item", {"name": ["in", [text]]})))
        _nothing(_each(lambda text: db.get_all("Item", [["name", "=", text]])))
        _nothing(_each(lambda text: db.get_values("Item", [text])))
        _nothing(_each(lambda text: db.get_all("Item", {"short": text} if text else [["qty", "<", 0]])))
        _nothing(_each(lambda text: db.get_all("Item", [[text, "=", "none"]])))
        _nothing(_each(lambda text: db.get_all("Item", {text: "none"})))
        _nothing(_each(lambda text: db.get_all("Item", {"title": [text, "x"]})))
        _nothing(_each(lambda text: db.get_all("Item", [[text, "title", "=", "none"]])))
        _nothing(_each(lambda text: db.get_all("Item", {"qty": text, "name": "none"})))
        _nothing(_each(lambda text: db.get_all("Item", {"title": ["between", [text, text]], "name": "none"})))
        _nothing(_each(lambda text: db.get_all("Item", {"title": ["like", text], "name": "none"})))

    def test_as_a_field(self) -> None:
        allowed = {"*", "count(*)", "tabItem.name", "name, *"}
        for call in (
            lambda text: db.get_value("Item", "i0", text),
            lambda text: db.get_value("Item", "i0", ["name", text]),
            lambda text: db.get_all("Item", fields=[text]),
            lambda text: db.get_all("Item", pluck=text),
            lambda text: db.get_all("Item", fields=["name"], order_by=text),
            lambda text: db.get_all("Item", fields=["count(name) as n"], group_by=text),
            lambda text: db.get_single_value("Shop", text),
            lambda text: db.get_value("Shop", None, text),
        ):
            answered = {text for text, _ in _each(call) if text not in ("", " ")}
            assert answered <= allowed

    def test_as_a_field_that_is_written(self) -> None:
        assert _each(lambda text: db.set_value("Item", "i0", text, "hit", update_modified=False)) == []
        assert _each(lambda text: db.set_single_value("Shop", text, "hit", update_modified=False)) == []
        assert _each(lambda text: get_doc("Item", "i0").db_set(text, "hit", update_modified=False)) == []

        def save(text: str) -> None:
            document = get_doc("Item", "i0")
            document.set(text, "hit")
            document.save()

        _each(save)

    def test_as_a_doctype(self) -> None:
        hostile = [text for text in HOSTILE if text != "Item"]
        for call in (
            lambda text: db.get_value(text, "i0"),
            db.get_all,
            db.count,
            db.delete,
            lambda text: db.set_value(text, "i0", "title", "hit"),
            db.get_table_columns,
            lambda text: get_doc(text, "i0"),
            lambda text: new_doc(text).insert(),
            lambda text: delete_doc(text, "i0"),
            lambda text: rename_doc(text, "i0", "x"),
        ):
            assert [text for text, _ in _each(call) if text in hostile] == []
        assert [text for text, value in _each(db.table_exists) if value] == ["Item"]

    def test_as_a_savepoint(self) -> None:
        def savepoint(text: str) -> None:
            db.set_value("Item", "i0", "title", "hit")
            db.savepoint(text)
            db.rollback(save_point=text)
            db.release_savepoint(text)

        assert {text for text, _ in _each(savepoint)} == {"Item", "tabItem", "__class__", "null", "true"}

    def test_as_a_definition(self) -> None:
        _each(lambda text: define_doctype("Other", {text: "Data"}) if not text.isidentifier() else None)
        _each(lambda text: define_doctype(f"O{text}", {"title": "Dta"}))

    def test_a_number_does_not_match_every_text(self) -> None:
        for name in (0, "0"):
            assert db.get_value("Item", name) is None
            assert db.get_all("Item", {"name": name}) == []
            assert db.get_all("Item", {"title": 0}) == []
            db.set_value("Item", name, "title", "hit")
            db.delete("Item", name)
            assert db.count("Item") == 3
