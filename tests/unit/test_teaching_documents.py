"""The teaching helpers for documents: a database of one's own, statements counted, somebody else, and the checks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frappe_cache_ext import context
from frappe_cache_ext.caching import redis_cache
from frappe_cache_ext.clearing import clear_cache
from frappe_cache_ext.connections import current_connection
from frappe_cache_ext.documents.cached import clear_document_cache, get_cached_doc, get_cached_value
from frappe_cache_ext.documents.database import Database
from frappe_cache_ext.documents.document import get_doc
from frappe_cache_ext.documents.engine import engine_for
from frappe_cache_ext.documents.transactions import current_transaction
from frappe_cache_ext.errors import DoesNotExistError
from frappe_cache_ext.keys import change_log_name
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.server import Server
from frappe_cache_ext.settings import Settings
from frappe_cache_ext.teaching import check, documents, start
from frappe_cache_ext.teaching.documents import apart, elsewhere, sample_documents, statements

database = Database()
cache = RedisWrapper()
ANNA = "anna@example.com"


@pytest.fixture(scope="module")
def lesson() -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FRAPPE_CACHE_URL", "memory://teaching-lesson")
        start("03 cached documents")
        sample_documents()
        settings = context.current_settings()
    yield settings
    engine_for(settings).dispose()


@pytest.fixture
def in_lesson(lesson: Settings) -> Iterator[None]:
    context.enter(lesson)
    yield
    current_transaction().close()


pytestmark = pytest.mark.usefixtures("in_lesson")


def test_start_gives_a_database_that_nobody_else_has(lesson: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert database.count("Item") == 150
    database.set_value("Item", "ITEM-0001", "rate", 1)
    database.commit()
    sample_documents()
    assert capsys.readouterr().out == "Its database is its own, too: the documents of a small shop.\n"
    again = context.current_settings()
    assert (again.site, again.url) == (lesson.site, lesson.url)
    assert again.database_url != lesson.database_url
    assert database.get_value("Item", "ITEM-0001", "rate") == 283.81
    current_transaction().close()
    engine_for(again).dispose()


def test_documents_look_the_same_each_time() -> None:
    shown = get_doc("User", ANNA).as_dict()
    assert str(shown.creation) == str(shown.modified) == "2026-01-05 09:00:00"


def test_a_database_that_the_settings_name_is_left_alone(lesson: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAPPE_CACHE_DATABASE_URL", "mysql://nobody@127.0.0.1:1/shop")
    monkeypatch.setenv("FRAPPE_CACHE_URL", "memory://teaching-lesson")
    context.destroy()
    context._defaults.settings = None
    start("03 cached documents")
    sample_documents()
    settings = context.current_settings()
    assert str(settings.database_url).startswith("sqlite:///")
    assert database.count("User") == 12
    current_transaction().close()
    engine_for(settings).dispose()


def test_statements_about_documents_are_counted_and_no_others() -> None:
    with statements() as asked:
        for _ in range(3):
            get_doc("System Settings")
        elsewhere(get_doc, "System Settings")
    assert len(asked) == 3
    with statements() as asked:
        get_doc("User", ANNA)
    assert ["tabUser" in asked[0], "tabHas Role" in asked[1]] == [True, True]
    assert len(asked) == 2
    get_cached_doc("User", ANNA)
    with statements() as asked:
        get_cached_doc("User", ANNA)
        current_transaction().end_reading()
    assert asked == []
    get_doc("User", ANNA)
    assert asked == []


def test_elsewhere_is_another_thread_request_and_transaction() -> None:
    database.set_value("User", ANNA, "language", "pt")
    assert database.get_value("User", ANNA, "language") == "pt"
    assert elsewhere(database.get_value, "User", ANNA, "language") == "en"
    assert elsewhere(threading.get_ident) != threading.get_ident()
    assert elsewhere(context.current_request) is not context.current_request()
    with pytest.raises(DoesNotExistError):
        elsewhere(get_doc, "User", "nobody@example.com")


def test_what_happens_apart_leaves_no_trace() -> None:
    cache.set_value("here", 1)
    with apart() as settings:
        assert cache.get_value("here") is None
        database.set_value("User", ANNA, "language", "pt")
        database.commit()
        assert elsewhere(get_cached_value, "User", ANNA, "language") == "pt"
        file = Path(str(engine_for(settings).url.database))
        assert file.is_file()
    assert not list(file.parent.glob(f"{file.name}*"))
    assert cache.get_value("here") == 1
    assert get_cached_value("User", ANNA, "language") == "en"


def test_without_documents_a_check_says_what_to_do(tmp_path: Path) -> None:
    context.init("empty.localhost", url="memory://teaching-empty", home=str(tmp_path))
    verdict = check.read_from_cache(cached_value, "User", ANNA, "language", then="sv")
    assert "run its first cell again" in verdict.text


PROGRAM = """
from frappe_cache_ext.teaching import documents, start
start("03 cached documents")
documents.sample_documents()
print(documents._folder._path)
"""


def test_files_and_change_log_are_gone_when_the_kernel_ends(embedded_server: Server) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = Path(tempfile.mkdtemp(prefix=f"{documents._PREFIX}{dead.pid}-"))
    mine = Path(tempfile.mkdtemp(prefix=f"{documents._PREFIX}{os.getpid()}-"))
    context.init("other.localhost", url=embedded_server.url)
    client = current_connection().client
    before = set(client.keys("document_changes:*"))
    environment = os.environ | {"FRAPPE_CACHE_URL": embedded_server.url}
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    folder = Path(ended.stdout.splitlines()[-1])
    assert documents._PREFIX in folder.name
    assert not folder.exists()
    assert not left.exists()  # of a kernel that was killed
    assert mine.exists()
    mine.rmdir()
    assert change_log_name("_x").startswith(b"document_changes:")
    assert set(client.keys("document_changes:*")) == before


# --- the checks ---------------------------------------------------------------------------------------------------


def cached_value(user: str) -> Any:
    return get_cached_value("User", user, "language")


def whole_document(user: str) -> Any:
    return get_doc("User", user).language


def value(user: str) -> Any:
    return database.get_value("User", user, "language")


def nothing(user: str) -> None:
    cached_value(user)


def other_field(user: str) -> Any:
    return get_cached_doc("User", user).full_name


@redis_cache
def by_hand(user: str) -> Any:
    return get_doc("User", user).language


def changing(user: str) -> Any:
    database.set_value("User", user, "enabled", 1)
    return cached_value(user)


def committing(user: str) -> Any:
    changing(user)
    database.commit()
    return cached_value(user)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (cached_value, "✓ cached_value() answers from the cache"),
        (whole_document, "frappe.get_doc always does"),
        (value, "frappe.db.get_value always does"),
        (nothing, "nothing() answers None"),
        (other_field, "and language is 'en'"),
        (by_hand, "a cache of your own does not hear"),
        (changing, "changing() changes the document"),
        (committing, "committing() changes the document"),
    ],
)
def test_read_from_cache(function: Callable[[str], Any], said: str) -> None:
    verdict = check.read_from_cache(function, "User", ANNA, "language", then="sv")
    assert said in verdict.text
    assert verdict.passed == (function is cached_value)
    assert elsewhere(value, ANNA) == "en"


def query(group: str, rate: float) -> None:
    database.sql("update `tabItem` set rate = %s where item_group = %s", (rate, group))


def names(group: str) -> list[str]:
    return database.get_all("Item", {"item_group": group}, pluck="name")


def raw(group: str, rate: float) -> None:
    query(group, rate)
    database.commit()


def set_value(group: str, rate: float) -> None:
    database.set_value("Item", {"item_group": group}, "rate", rate)
    database.commit()


def clearing_all(group: str, rate: float) -> None:
    raw(group, rate)
    clear_document_cache("Item")


def clearing_each(group: str, rate: float) -> None:
    raw(group, rate)
    for name in names(group):
        clear_document_cache("Item", name)


def clearing_before_commit(group: str, rate: float) -> None:
    query(group, rate)
    clear_document_cache("Item")
    database.commit()


def clearing_first(group: str, rate: float) -> None:
    clear_document_cache("Item")
    raw(group, rate)


def clearing_other(group: str, rate: float) -> None:
    raw(group, rate)
    clear_document_cache("Item", group)


def clearing_one(group: str, rate: float) -> None:
    raw(group, rate)
    clear_document_cache("Item", names(group)[0])


def clearing_everything(group: str, rate: float) -> None:
    raw(group, rate)
    clear_cache()


def everybody(group: str, rate: float) -> None:
    set_value(group, rate)
    set_value("Tables", rate)


def only_one(group: str, rate: float) -> None:
    database.set_value("Item", names(group)[0], "rate", rate)
    database.commit()


RIGHT = set_value, clearing_all, clearing_each, clearing_before_commit


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *((change, "✓ All 33 items of Lamps cost 25") for change in RIGHT),
        (raw, "the cache has not heard of the query"),
        (query, "query() leaves its change uncommitted"),
        (clearing_first, "you cleared before the change"),
        (clearing_other, "you cleared something else"),
        (clearing_one, "1 of 33 items are right"),
        (clearing_everything, "throws everybody's entries away"),
        (everybody, "which is in another group"),
        (only_one, "all items of the group are to change"),
    ],
)
def test_nobody_pays_old_price(change: Callable[[str, float], None], said: str) -> None:
    verdict = check.nobody_pays_old_price(change, "Lamps", 25)
    assert said in verdict.text
    assert verdict.passed == (change in RIGHT)
    assert elsewhere(database.count, "Item", {"rate": 25}) == 0
