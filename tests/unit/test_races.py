"""Races on a stage: the naive cache goes stale, documents do not, and a stage plays nothing but what it is told."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image

from frappe_cache_ext import context
from frappe_cache_ext.caching import redis_cache
from frappe_cache_ext.documents import cached as cached_documents
from frappe_cache_ext.documents.cached import get_cached_doc
from frappe_cache_ext.documents.database import Database
from frappe_cache_ext.documents.document import new_doc
from frappe_cache_ext.documents.engine import engine_for
from frappe_cache_ext.documents.schema import define_doctype
from frappe_cache_ext.documents.transactions import current_transaction
from frappe_cache_ext.errors import ImplicitCommitError
from frappe_cache_ext.operations.change_log import LogState
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.teaching import actors as actors_module
from frappe_cache_ext.teaching import check, timeline
from frappe_cache_ext.teaching.races import Stage, WrongOrder, crowd, pause

Function = Callable[[], Any]

cache = RedisWrapper()
database = Database()

READER = ("reader looks", "reader loads", "reader stores")
WRITER = ("writer changes", "writer commits", "writer deletes")
LATE_STORE = (*READER[:2], *WRITER, READER[2])
OLD_SNAPSHOT = ("reader begins", *WRITER, *READER)
UNCOMMITTED = ("writer changes", "writer looks", "writer loads", "writer stores", "writer rolls back", *READER)


# --- the actors ---------------------------------------------------------------------------------------------------


def naive_read() -> Any:
    rate = cache.get_value("rate|tea")
    if rate is None:
        pause("looks", None)
        rate = database.get_value("Item", "tea", "rate")
        pause("loads", rate)
        cache.set_value("rate|tea", rate)
    return rate


def change() -> None:
    database.set_value("Item", "tea", "rate", 120)
    pause("changes", 120)
    database.commit()
    pause("commits")


def naive_write() -> None:
    change()
    cache.delete_value("rate|tea")


@redis_cache
def rate_of(item: str) -> Any:
    pause("looks", None)
    rate = database.get_value("Item", item, "rate")
    pause("loads", rate)
    return rate


def leased_read() -> Any:
    return rate_of("tea")


def leased_write() -> None:
    change()
    rate_of.invalidate("tea")


def cached_read() -> Any:
    return get_cached_doc("Item", "tea").rate


def in_transaction(read: Function) -> Function:
    def reader() -> Any:
        database.get_value("Item", "tea", "item_group")
        pause("begins")
        return read()

    return reader


def changing_their_mind(read: Function) -> Function:
    def writer() -> None:
        database.set_value("Item", "tea", "rate", 120)
        pause("changes", 120)
        pause("stores", read())
        database.rollback()
        pause("rolls back")

    return writer


NAIVE = naive_read, naive_write
LEASED = leased_read, leased_write
DOCUMENTS = cached_read, change


def prepare(url: str, site: str, folder: Path) -> Stage:
    context.init(site, url=url, database_url=f"sqlite:///{folder}/shop.db")
    define_doctype("Item", {"item_group": "Data", "rate": "Currency"})
    new_doc("Item", name="tea", item_group="drinks", rate=1).insert()
    database.commit()
    return Stage("Item", "tea", "rate", at_first=100)


@pytest.fixture
def stage(site: str, tmp_path: Path) -> Iterator[Stage]:
    yield prepare("memory://races", site, tmp_path)
    close()


def close() -> None:
    cache.delete_keys("")
    current_transaction().close()
    engine_for(context.current_settings()).dispose()


# --- the three races ----------------------------------------------------------------------------------------------


def play_all(stage: Stage, read: Function, write: Function) -> list[bool]:
    """For each of the three races whether the cache goes stale."""
    return [
        stage.run(LATE_STORE, reader=read, writer=write).is_stale,
        stage.run(OLD_SNAPSHOT, reader=in_transaction(read), writer=write).is_stale,
        stage.run(UNCOMMITTED, reader=read, writer=changing_their_mind(read)).is_stale,
    ]


def test_only_documents_stand_all_three_races_on_every_kind_of_server(
    server_url: str, site: str, tmp_path: Path
) -> None:
    stage = prepare(server_url, site, tmp_path)
    assert play_all(stage, *NAIVE) == [True, True, True]
    assert play_all(stage, *LEASED) == [False, True, True]
    assert play_all(stage, *DOCUMENTS) == [False, False, False]
    close()


def test_the_stage_would_show_documents_without_a_log(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogState, "allows", lambda self, reading: True)
    assert play_all(stage, *DOCUMENTS) == [False, True, False]
    monkeypatch.setattr(current_transaction().changes.__class__, "has_touched", lambda self, doctype, name: False)
    assert play_all(stage, *DOCUMENTS) == [False, True, True]


def test_documents_are_cached_again_after_each_race(stage: Stage) -> None:
    scene = stage.run((*LATE_STORE, "late looks", "late loads", "late stores"), **actors(*DOCUMENTS), late=cached_read)
    assert (scene.cached, scene.stored, scene.is_stale) == (120, 120, False)


def actors(read: Function, write: Function) -> dict[str, Function]:
    return {"reader": read, "writer": write}


# --- what is shown ------------------------------------------------------------------------------------------------

TABLE = """\
    reader           writer         cache   database
1   looks: nothing                  –       100
2   loads: 100                      –       100
3                    changes: 120   –       100
4                    commits        –       120
5                    deletes        –       120
6   stores: 100                     100 ✗   120

✗ The cache says 100, the database 120: every reader gets the wrong one, until the next change.
"""


def test_it_prints_the_same_table_each_time(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        scene = stage.play(LATE_STORE, **actors(*NAIVE))
        assert capsys.readouterr().out == TABLE
        assert f"{scene!r}\n" == TABLE


def test_it_tells_what_was_not_stored_and_who_had_finished(stage: Stage) -> None:
    texts = [
        moment.text for moment in stage.run(OLD_SNAPSHOT, reader=in_transaction(cached_read), writer=change).moments
    ]
    assert texts[-3:] == ["looks: nothing", "loads: 100", "stores: nothing"]
    texts = [moment.text for moment in stage.run((*READER, *READER, *WRITER), **actors(*NAIVE)).moments]
    assert texts[3:6] == ["has finished"] * 3


def test_the_picture_says_in_words_what_it_shows(stage: Stage) -> None:
    picture = timeline.draw(stage.run(LATE_STORE, **actors(*NAIVE)))
    assert image.imread(io.BytesIO(picture.png)).shape[2] == 4
    assert picture.alt == (
        "Timeline of a race for the rate of Item tea, one lane for each actor: reader looks: nothing; reader "
        "loads: 100; writer changes: 120; writer commits; writer deletes; reader stores: 100. From step 6 on the "
        "cache's lane is red. The cache says 100, the database 120: every reader gets the wrong one, until the next "
        "change."
    )
    alt = stage.run((*READER, *WRITER), **actors(*NAIVE)).alt
    assert "The cache's lane is red in step 5. The cache is empty, and the next reader finds 120" in alt
    alt = stage.run((*WRITER, *READER), **actors(*NAIVE)).alt
    assert "The cache's lane is never red. Cache and database agree: 120." in alt


@pytest.mark.parametrize("colours", [*timeline._ACTORS, timeline._RIGHT, timeline._WRONG, timeline._PLAIN])
def test_text_in_the_picture_has_contrast(colours: tuple[str, str]) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = map(luminance, colours)
    assert (lighter + 0.05) / (darker + 0.05) > 7


# --- orders that cannot be followed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("bob looks",), "Nobody here is called 'bob'. The actors are reader, writer."),
        (("reader",), "'reader' names no step."),
        ((7,), "7 is no step."),
        (("reader loads",), "The reader cannot do 'loads' yet: 'looks' comes first."),
        (("reader looks",), "The order ends too early: reader loads after that."),
    ],
)
def test_an_order_that_cannot_be_followed_is_refused(stage: Stage, order: Sequence[Any], message: str) -> None:
    with pytest.raises(WrongOrder) as raised:
        stage.run(order, **actors(*NAIVE))
    assert str(raised.value).startswith(message)
    assert_nothing_goes_on(stage)


def test_an_actor_who_waits_for_another_is_not_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors_module, "PATIENCE", 1.5)
    with pytest.raises(WrongOrder, match="The first does not come to the end of this step"):
        stage.run(["second changes", "first changes"], first=change, second=change)
    monkeypatch.undo()
    assert_nothing_goes_on(stage)


def test_an_actors_error_is_the_plays(stage: Stage) -> None:
    def stumble() -> None:
        database.set_value("Item", "tea", "rate", 7)
        raise LookupError("stumbled")

    with pytest.raises(LookupError, match="stumbled"):
        stage.run(["writer changes"], reader=cached_read, writer=stumble)
    assert database.get_value("Item", "tea", "rate") == 100
    assert_nothing_goes_on(stage)


def test_the_callers_own_changes_are_not_lost(stage: Stage) -> None:
    database.set_value("Item", "tea", "rate", 7)
    with pytest.raises(ImplicitCommitError, match=r"frappe\.db\.commit\(\) or frappe\.db\.rollback\(\) first"):
        stage.run(LATE_STORE, **actors(*NAIVE))
    assert database.get_value("Item", "tea", "rate") == 7


def assert_nothing_goes_on(stage: Stage) -> None:
    assert vars(cached_documents)["load_document"].__name__ == "load_document"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("teaching-")]
    assert not stage.run((*READER, *WRITER), **actors(*NAIVE)).is_stale


def test_a_pause_is_nothing_where_nobody_plays(stage: Stage) -> None:
    pause("looks", None)
    assert naive_read() == cached_read() == 1


# --- a crowd ------------------------------------------------------------------------------------------------------


def test_a_crowd_computes_as_often_as_nothing_stops_it(site: str) -> None:
    context.init(site, url="memory://races")
    computed = itertools.count()

    def naive() -> Any:
        value = cache.get_value("report")
        if value is None:
            pause("looks")
            next(computed)
            value = "the report"
            cache.set_value("report", value)
        return value

    @redis_cache
    def report() -> str:
        return "the report"

    assert crowd(naive, 6) == ["the report"] * 6
    assert next(computed) == 6
    assert crowd(report, 6) == ["the report"] * 6
    assert report.cache_info().misses == 1


def test_who_fails_in_a_crowd_does_not_keep_the_others(site: str) -> None:
    context.init(site, url="memory://races")
    turns = itertools.count()

    def stumble() -> None:
        if next(turns) == 0:
            raise LookupError("stumbled")
        pause("here")

    with pytest.raises(LookupError, match="stumbled"):
        crowd(stumble, 3)


# --- the checks ---------------------------------------------------------------------------------------------------


def test_the_check_tries_each_order_out(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    for places in itertools.combinations(range(6), 3):
        reader, writer = iter(READER), iter(WRITER)
        order = [next(reader) if place in places else next(writer) for place in range(6)]
        goes_stale = order.index("reader loads") < order.index("writer commits") and order[-1] == "reader stores"
        verdict = check.goes_stale(order, stage, **actors(*NAIVE))
        assert verdict.passed == goes_stale, order
        assert ("Not stale: " in verdict.text) != goes_stale
        assert ("loads after the commit" in verdict.text) == (
            order.index("reader loads") > order.index("writer commits")
        ), order
    assert "✓ The cache says 100, the database 120" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("order", "hint"),
    [
        ("late", "write the steps in brackets"),
        (None, "The order is not a list"),
        ([*LATE_STORE, "reader bites"], "There is no step 'reader bites'"),
        ([*LATE_STORE, 3], "There is no step 3"),
        (LATE_STORE[:-1], "'reader stores' is missing"),
        ([*LATE_STORE, "reader looks"], "'reader looks' stands there twice"),
        ([*READER[::-1], *WRITER], "'looks' comes first"),
    ],
)
def test_the_check_says_what_is_wrong_with_an_order(stage: Stage, order: Any, hint: str) -> None:
    verdict = check.goes_stale(order, stage, **actors(*NAIVE))
    assert not verdict
    assert hint in verdict.text


def test_the_check_leaves_no_trace(stage: Stage) -> None:
    cache.set_value("bystander", "here")
    assert check.goes_stale(LATE_STORE, stage, **actors(*NAIVE))
    assert cache.get_value("bystander") == "here"
    assert database.get_value("Item", "tea", "rate") == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"late store": "lease", "old snapshot": "log", "uncommitted": "log"}, "✓ Right"),
        ({"late store": "log", "old snapshot": "log", "uncommitted": "log"}, "'late store' needs less"),
        ({"late store": "lease", "old snapshot": "lease", "uncommitted": "log"}, "'old snapshot' gets past leases"),
        ({"late store": "lease", "old snapshot": "log", "uncommitted": ...}, "no answer yet for 'uncommitted'"),
        ({"late store": "lease", "old snapshot": [], "uncommitted": "log"}, "[] is none of the two"),
        ({"late store": "lease"}, "no dictionary of the three races"),
        (None, "no dictionary of the three races"),
    ],
)
def test_guards(answer: Any, said: str) -> None:
    assert said in check.guards(answer).text


def test_the_answer_about_guards_is_what_the_stage_shows(stage: Stage) -> None:
    found = ["log" if stale else "lease" for stale in play_all(stage, *LEASED)]
    assert check.guards(dict(zip(("late store", "old snapshot", "uncommitted"), found, strict=True)))
