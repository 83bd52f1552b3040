"""The teaching helpers outside a notebook: what they print, when they object, and that no check ever raises."""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import image

from frappe_cache_ext import context, server
from frappe_cache_ext.caching import redis_cache, request_cache
from frappe_cache_ext.connections import current_connection
from frappe_cache_ext.errors import MISS
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.teaching import check, lesson, make_sites, plots, predict, start, timing, work
from frappe_cache_ext.teaching.verdict import NotYet, Verdict, duration
from frappe_cache_ext.teaching.verdict import check as as_check

cache = RedisWrapper()
numbers = itertools.count()


@pytest.fixture(autouse=True)
def in_a_site() -> None:
    context.init(f"teaching{next(numbers)}", url="memory://teaching")


def cached_by_hand(a: int, b: int) -> int:
    key = f"sum|{a}+{b}"
    if found := cache.get_value(key):
        return int(found)
    work(0.05)
    cache.set_value(key, a + b)
    return a + b


# --- timing -------------------------------------------------------------------------------------------------------


@pytest.mark.alone
class TestDemo:
    LINE = "first call: slow · second call: cached · >10x · computed once"

    def test_says_the_same_each_time_and_has_the_numbers(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = timing.demo(cached_by_hand, 40, 2, at_least=10)
        assert capsys.readouterr().out == f"{self.LINE}\n"
        assert repr(shown) == self.LINE
        assert shown.first >= 0.05
        assert shown.second < shown.first / 10
        assert shown.ratio == shown.first / shown.second
        assert shown.runs == 1

    def test_counts_the_misses_of_a_decorated_function(self) -> None:
        @redis_cache
        def slow(a: int) -> int:
            time.sleep(0.05)
            return a

        assert timing.demo(slow, 1, at_least=10).runs == 1

    def test_shows_nothing_of_what_no_one_counts(self) -> None:
        def slow(a: int) -> Any:
            return cache.get_value(f"key {a}", generator=lambda: time.sleep(0.05))

        shown = timing.demo(slow, a=1, at_least=10)
        assert shown.runs is None
        assert repr(shown) == "first call: slow · second call: cached · >10x"

    def test_objects_when_the_second_call_computes_again(self) -> None:
        def uncached() -> None:
            work(0.01)

        with pytest.raises(AssertionError, match=r"uncached\(\): the second call computed again \(1\d\.\d ms, then "):
            timing.demo(uncached)

    def test_objects_at_once_however_patient_it_is(self) -> None:
        calls: list[int] = []
        with pytest.raises(AssertionError, match="computed again"):
            timing.demo(lambda: (work(0), calls.append(1)))
        assert len(calls) == 2

    def test_objects_when_the_second_call_is_not_faster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(timing, "PATIENCE", 0.05)
        with pytest.raises(AssertionError, match=r"call\(1\): .* was not 1000 times faster \(1\d\.\d ms, "):
            timing.demo(lambda _: time.sleep(0.01), 1, name="call(1)")

    def test_objects_when_the_first_call_finds_the_result_of_an_earlier_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(timing, "PATIENCE", 0.05)
        cached_by_hand(1, 2)
        with pytest.raises(AssertionError, match="its result was in the cache already"):
            timing.demo(cached_by_hand, 1, 2)

    def test_objects_when_the_cached_answer_is_another(self) -> None:
        def mistaken() -> str:
            if cache.get_value("there"):
                return "other"
            work(0.05)
            cache.set_value("there", True)
            return "one"

        with pytest.raises(AssertionError, match="the first call returned 'one', the second 'other'"):
            timing.demo(mistaken, at_least=10)

    def test_repeats_a_second_call_that_the_machine_disturbed(self) -> None:
        disturbed = iter([0.05, 0.05, 0.05])

        def cached() -> None:
            time.sleep(next(disturbed, 0))

        assert timing.demo(cached, at_least=100).second < 0.005

    def test_takes_no_answer_of_the_requests_own_copy(self) -> None:
        """Both calls go to the server; a copy would be a thousand times faster than any cache."""
        with context.request():
            before = current_connection().stats.local_hits
            timing.demo(cached_by_hand, 5, 6, at_least=10)
            assert current_connection().stats.local_hits == before


@pytest.mark.alone
class TestCompare:
    def compare(self, slow: Callable[[], Any], fast: Callable[[], Any]) -> timing.Timing:
        return timing.compare(slow, fast, at_least=10, labels=("far", "near"), name="reading")

    def test_says_the_same_each_time(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = self.compare(lambda: time.sleep(0.001), lambda: None)
        assert capsys.readouterr().out == "far: slow · near: fast · >10x\n"
        assert shown.ratio >= 10

    def test_objects_to_another_result(self) -> None:
        with pytest.raises(AssertionError, match="reading: far returned 1, near 2"):
            self.compare(lambda: 1, lambda: 2)

    def test_objects_when_it_is_not_faster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(timing, "PATIENCE", 0.05)
        with pytest.raises(AssertionError, match="near was not 10 times faster than far"):
            self.compare(lambda: time.sleep(0.001), lambda: time.sleep(0.001))


# --- pictures -----------------------------------------------------------------------------------------------------


def test_a_chart_has_its_words_and_no_background() -> None:
    picture = plots.bars({"first call": 1.0, "second call": 0.0002}, "slow()", 'Bars: "much" shorter')
    shown = picture._repr_mimebundle_()
    assert shown["text/plain"] == repr(picture) == '[Bars: "much" shorter]'
    assert 'alt="Bars: &quot;much&quot; shorter"' in shown["text/html"]
    assert f'width="{picture.width}"' in shown["text/html"]
    pixels = image.imread(io.BytesIO(picture.png))
    assert pixels[0, 0, 3] == 0
    assert 0.5 < np.mean(pixels[..., 3] == 0) < 0.95
    # No colour is near to white or to black: what is drawn can be seen on both pages.
    solid = pixels[pixels[..., 3] > 0.95][:, :3]
    assert len(solid)
    assert solid.max(axis=1).min() > 0.4
    assert solid.min(axis=1).max() < 0.6


def test_a_longer_bar_is_a_longer_time() -> None:
    def coloured(colour: str, **seconds: float) -> int:
        pixels = image.imread(io.BytesIO(plots.bars(seconds, "", "").png))
        wanted = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        return int((np.abs(pixels[..., :3] - wanted).max(axis=2) < 0.01).sum())

    slow = coloured(plots.COLOURS[0], slow=1.0, fast=0.001)
    fast = coloured(plots.COLOURS[1], slow=1.0, fast=0.001)
    assert slow > 3 * fast > 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(0, "0 s"), (1, "1.00 s"), (0.99999, "1.00 s"), (12.34, "12.3 s"), (99.99, "100 s"), (123.4, "123 s")],
        *[(0.0123, "12.3 ms"), (0.00021, "210 µs"), (0.0000004, "0.40 µs"), (0.00000999, "9.99 µs")],
    ],
)
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    assert plots.seconds_as_text(seconds) == text


def test_without_matplotlib_a_chart_says_and_shows_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> tuple[dict[str, str], bytes]:
        bundle = plots.bars({"<first>": 1.0, "second": 0.0002}, "a & b", 'Bars: "much" shorter')._repr_mimebundle_()
        kind, source = re.findall(r"data:image/([a-z+]+);base64,([^\"]+)", bundle["text/html"])[0]
        return bundle | {"text/html": bundle["text/html"].replace(f"{kind};base64,{source}", "")}, b64decode(source)

    with_it, _ = shown()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    without, drawing = shown()
    assert without == with_it
    root = ElementTree.fromstring(drawing)  # noqa: S314  (our own)
    texts = [each.text for each in root.findall("{*}text")]
    assert texts[:5] == ["a & b", "<first>", "1.00 s", "second", "200 µs"]
    assert texts[5:] == ["100 µs", "1 ms", "10 ms", "100 ms", "1 s"]
    slow, fast = (float(each.attrib["width"]) for each in root.findall("{*}rect"))
    assert float(root.attrib["width"]) > slow > 3 * fast > 0


def test_matplotlib_is_loaded_by_whoever_draws_only() -> None:
    code = "import sys, frappe_cache_ext.teaching; print(sorted({'matplotlib', 'IPython'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- the ground ---------------------------------------------------------------------------------------------------


def test_a_notebook_begins_with_an_empty_site_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAPPE_CACHE_URL", "memory://lesson")
    start("01 strings")
    site = context.current_settings().site
    assert site.startswith("01-strings-")
    assert lesson.short_name(site) == "01-strings"
    cache.set_value("left over", 1)
    capsys.readouterr()
    start("01 strings")
    assert capsys.readouterr().out == "Ready: this notebook has a cache of its own, and it is empty.\n"
    assert context.current_settings().site == site
    assert cache.get_keys() == []
    library, museum = make_sites("library", "museum")
    assert context.current_settings().site == site
    assert [lesson.short_name(each) for each in (library, museum)] == ["library", "museum"]
    cache.set_value("at the end", 1)
    lesson._clear_started()
    assert cache.get_keys() == []


def test_at_the_end_no_server_is_started(tmp_path: Path) -> None:
    home = tmp_path / "h"
    code = (
        "from pathlib import Path; from frappe_cache_ext import connections, server, teaching\n"
        "from frappe_cache_ext.teaching import documents; teaching.start('x'); documents.sample_documents()\n"
        f"connections.close_all(); server.stop(Path({str(home)!r}) / 'server')"
    )
    environment = {"FRAPPE_CACHE_HOME": str(home), "PYTHONPATH": ":".join(filter(None, sys.path))}
    run = [sys.executable, "-W", "error", "-c", code]
    assert subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stderr == ""
    assert not server.stop(home / "server")


def test_two_kernels_have_two_sites_of_one_name() -> None:
    code = "from frappe_cache_ext import context, teaching; teaching.start('x'); print(context.local.site)"
    environment = {"FRAPPE_CACHE_URL": "memory://", "PYTHONPATH": ":".join(filter(None, sys.path))}
    run = [sys.executable, "-W", "error", "-c", code]
    sites = {subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(sites) == 2


def test_a_prediction_begins_with_a_line_that_gives_nothing_away(capsys: pytest.CaptureFixture[str]) -> None:
    predict()
    assert capsys.readouterr().out == "Compare with your prediction:\n"


def test_work_takes_time_and_is_counted() -> None:
    before, begun = lesson.count_runs(), time.perf_counter()
    work(0.02)
    assert time.perf_counter() - begun >= 0.02
    assert lesson.count_runs() - before == 1


def test_a_trial_is_quick_and_leaves_no_trace() -> None:
    cache.set_value("mine", 1)
    begun = time.perf_counter()
    with lesson.trial() as client:
        assert cache.get_value("mine", default=MISS) is MISS
        cache.set_value("bare", 1, shared=True)
        cached_by_hand(1, 2)
        work(10)
        assert len(client.keys("*")) == 2
    assert time.perf_counter() - begun < 5
    assert cache.get_value("mine") == 1
    assert cache.get_keys() == [cache.make_key("mine")]
    with lesson.trial() as client:
        assert client.keys("*") == []


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_a_verdict_is_true_or_false_and_reads_as_it_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    cache.set_value("color", "green")
    right, wrong = check.value_stored("color", "green"), check.value_stored("color", "blue")
    assert right
    assert not wrong
    assert capsys.readouterr().out == f"{right!r}\n{wrong!r}\n"
    assert repr(right) == "✓ Under 'color' lies 'green'."
    assert repr(wrong).startswith("✗ Under 'color' lies 'green', not 'blue'.\n  Hint: ")


def test_no_check_raises_whatever_the_learner_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*args: Any) -> None:
        raise KeyError("price")

    table = {"tea": 1, "coffee": 2}
    verdicts = [
        check.counts_once(broken, 1),
        check.key_is_unique(broken, (1,), (2,)),
        check.never_stale(broken, broken, table, "tea", 2, other="coffee"),
        check.asks_server(broken, at_most=1),
        check.answered_per_request(broken),
        check.counts_once(None),  # type: ignore[arg-type]
        check.names_call("x", b"no pickle"),
    ]
    assert not any(verdicts)
    assert table == {"tea": 1, "coffee": 2}
    assert "✗ Your code raised KeyError: 'price'" in capsys.readouterr().out


def test_a_check_of_a_server_that_is_away_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    context.init("away", url="redis://127.0.0.1:1/0")
    verdict = check.value_stored("color", "green")
    assert not verdict
    assert "does not answer" in repr(verdict)


def test_every_check_is_one_that_never_raises() -> None:
    for name in check.__all__:
        if name != "Verdict":
            assert hasattr(getattr(check, name), "__wrapped__"), name


def test_an_exception_of_the_check_itself_is_a_verdict_too() -> None:
    @as_check
    def failing() -> str:
        raise NotYet("no", "try")

    assert failing() == Verdict(False, "✗ no\n  Hint: try")


# --- hints --------------------------------------------------------------------------------------------------------
# Most are tried by learners in tests/suite; here are those that no exercise of today leads to.


def hint(verdict: Verdict) -> str:
    assert not verdict
    return repr(verdict)


def test_a_value_may_be_somewhere_else() -> None:
    cache.set_value("color", "green", user="ada")
    assert "add user=" not in hint(check.value_stored("color", "green"))
    context.set_user("ada")
    assert "for user 'ada' only; leave user= out" in hint(check.value_stored("color", "green"))
    cache.set_value("shape", "round", shared=True)
    assert "leave shared=True out" in hint(check.value_stored("shape", "round"))
    cache.hset("size", "shoe", 42)
    assert "use set_value instead of hset" in hint(check.value_stored("size", 42))
    cache.redis.set(cache.make_key("raw"), "42")
    assert "frappe.cache cannot read it" in hint(check.value_stored("raw", 42))


def test_true_is_not_one_and_text_is_no_number() -> None:
    cache.set_value("flag", 1)
    assert "that is of type int, and bool is wanted" in hint(check.value_stored("flag", True))
    cache.set_value("flag", "1")
    assert "that is text" in hint(check.value_stored("flag", 1))


def test_a_value_inside_another_has_its_type_too() -> None:
    cache.set_value("order", {"pieces": [1, 2.0], "paid": 1})
    assert "'pieces' is [1, 2.0], and [1, 2] is wanted" in hint(
        check.value_stored("order", {"pieces": [1, 2], "paid": True})
    )
    cache.set_value("order", {"pieces": [1, 2], "paid": 1})
    assert "'paid' is 1, and True is wanted" in hint(check.value_stored("order", {"pieces": [1, 2], "paid": True}))
    assert "'pieces' is not wanted in it" in hint(check.value_stored("order", {"paid": 1}))


def test_an_expiry_is_told_in_the_unit_that_was_meant() -> None:
    for seconds, fragment in ((2, "not as minutes"), (120_000, "not as milliseconds"), (300, "120 of them")):
        cache.set_value("offer", 1, expires_in_sec=seconds)
        assert fragment in hint(check.ttl_expires("offer", 120))
    cache.set_value("offer", 1, expires_in_sec=1)
    assert "not as hours" in hint(check.ttl_expires("offer", 3600))
    cache.set_value("offer", 1, expires_in_sec=120)
    assert check.ttl_expires("offer", 120)
    assert repr(check.ttl_expires("offer", 120)) == "✓ 'offer' will be gone 2 minutes after you stored it."


def test_a_key_that_is_another_each_time_is_found_out() -> None:
    def restless(a: int) -> int:
        key = f"restless|{a}|{next(numbers)}"
        if (found := cache.get_value(key)) is not None:
            return int(found)
        work()
        cache.set_value(key, a)
        return a

    assert "under another key" in hint(check.counts_once(restless, 1))


def test_parts_that_run_together_are_found_out() -> None:
    def area(width: int, height: int) -> int:
        key = f"area|{width}{height}"
        if found := cache.get_value(key):
            return int(found)
        work()
        cache.set_value(key, width * height)
        return width * height

    assert "put a separator between" in hint(check.key_is_unique(area, (1, 12), (11, 2)))
    assert check.key_is_unique(area, (1, 12), (2, 13))


def test_a_cache_in_the_fields_of_a_hash_is_a_cache() -> None:
    def area(width: int, height: int) -> int:
        field = f"{width} by {height}"
        if found := cache.hget("area", field):
            return int(found)
        work()
        cache.hset("area", field, width * height)
        return width * height

    assert check.key_is_unique(area, (1, 12), (11, 2), (2, 12))
    assert check.counts_once(area, 3, 4, gives=12)
    assert "and it was 13" in hint(check.counts_once(area, 3, 4, gives=13))


def test_a_key_without_the_arguments_is_found_out_by_another_call() -> None:
    def area(width: int, height: int) -> int:
        if found := cache.get_value("area"):
            return int(found)
        work()
        cache.set_value("area", width * height)
        return width * height

    assert "area(4, 5) was answered with the result of area(3, 4)" in hint(check.counts_once(area, 3, 4))


@pytest.mark.parametrize("made", [object, lambda: next(numbers)])
def test_a_key_that_changes_by_itself_is_found_out_whatever_it_is_next_time(made: Callable[[], object]) -> None:
    def twice(a: int) -> int:
        key = f"twice|{a}|{made()}"
        if found := cache.get_value(key):
            return int(found)
        work()
        cache.set_value(key, 2 * a)
        return 2 * a

    assert "something in it that changes by itself" in hint(check.key_is_unique(twice, (1,), (2,)))


def test_results_may_be_kept_by_hand_as_well() -> None:
    def rate(seconds: float | None) -> float:
        if found := cache.get_value("rate"):
            return float(found)
        work()
        cache.set_value("rate", 0.85, expires_in_sec=seconds)
        return 0.85

    assert check.cached_for(rate, 30, 30)
    assert "add expires_in_sec=30" in hint(check.cached_for(rate, 30, None))
    assert "30 seconds are 30 of them" in hint(check.cached_for(rate, 30, 25))


TABLE = {"tea": 1, "coffee": 2}


def price_of(item: str) -> int:
    if (found := cache.get_value(f"price|{item}")) is not None:
        return int(found)
    work()
    cache.set_value(f"price|{item}", TABLE[item])
    return TABLE[item]


def late(item: str, price: int) -> None:
    TABLE[item] = price
    cache.delete_value(f"price|{item}")


def early(item: str, price: int) -> None:
    cache.delete_value(f"price|{item}")
    TABLE[item] = price


def updating(item: str, price: int) -> None:
    TABLE.update({item: price})
    cache.delete_value(f"price|{item}")


def widely(item: str, price: int) -> None:
    TABLE[item] = price
    cache.delete_keys(f"price|{item}")


def one_only(item: str, price: int) -> None:
    TABLE[item] = price
    cache.delete_value("price|tea")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (late, "✓"),
        (updating, "✓"),
        (early, "First change, then throw away"),
        (widely, "delete_keys takes what keys begin with"),
        (one_only, "that one looks like 'price|coffee'"),
    ],
)
def test_never_stale_looks_in_between_and_at_other_items(change: Callable[[str, int], None], said: str) -> None:
    table = TABLE
    verdict = check.never_stale(price_of, change, TABLE, "tea", 7, other="coffee")
    assert said in verdict.text
    assert TABLE is table
    assert TABLE == {"tea": 1, "coffee": 2}


def test_a_stored_result_must_be_the_returned_one() -> None:
    def rounded(a: float) -> float:
        if (found := cache.get_value("rounded")) is not None:
            return float(found)
        work()
        cache.set_value("rounded", round(a))
        return a

    assert "what is stored must be what is returned" in hint(check.counts_once(rounded, 1.5))


def test_a_request_cache_passes_where_one_is_wanted() -> None:
    @request_cache
    def rights(user: str) -> set[str]:
        work()
        return {user}

    assert check.answered_per_request(rights, "ada")
    assert "computed twice" in hint(check.counts_once(rights, "ada"))


def test_checks_of_functions_work_from_a_thread_too() -> None:
    verdicts: list[Verdict] = []
    thread = threading.Thread(target=lambda: verdicts.append(check.counts_once(cached_by_hand, 1, 2)))
    context.destroy()
    thread.start()
    thread.join()
    assert verdicts == [Verdict(True, "✓ Two calls, one computation: 3 both times.")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (90, "90 seconds"), (600, "10 minutes"), (3600, "1 hour"), (0.5, "0.5 seconds")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
