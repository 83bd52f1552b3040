"""`make bench`: everybody takes turns, only work that was done is timed, and the table says who is missing."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from frappe_cache_ext.server import Server
from tests.benchmarks import bench, crowds, filling, page, plot, table
from tests.benchmarks.callers import prove
from tests.benchmarks.calls import prove_own
from tests.benchmarks.cells import TimedCell
from tests.benchmarks.clears import Ours
from tests.benchmarks.companions import Companion
from tests.benchmarks.curves import Curve, Flat, Grown, Point
from tests.benchmarks.functions import profile
from tests.benchmarks.rows import (
    BYTES,
    RUNS,
    AllOf,
    AtLeastPerSecond,
    AtMost,
    AtMostTimes,
    Goal,
    Judgement,
    Row,
    Setting,
    Sizes,
    TimesFaster,
    duration,
    peer,
    ratio,
    runs,
    size,
)
from tests.benchmarks.table import Result
from tests.benchmarks.timing import Contender, Field, Figures, Gauge, Missing, NotMeasured, measure, percentile
from tests.support import takes_minutes

ROOT = Path(__file__).resolve().parents[2]


# --- timing


class Clock:
    """A clock that only what is timed moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def contender(self, name: str, *seconds: float) -> Contender:
        """One whose rounds take these seconds, the one that does not count first."""
        left = iter(seconds)

        def call() -> None:
            self.now += next(left)
            self.log.append(name)

        return Contender(name, call, before=self.waste, after=self.waste)

    def waste(self) -> None:
        self.now += 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    return clock


def test_everybody_takes_turns_and_no_one_is_always_first(clock: Clock) -> None:
    field = Field(
        clock.contender("ours", 1, 1, 1, 1), [clock.contender("a", 1, 1, 1, 1), clock.contender("b", 1, 1, 1, 1)]
    )
    measure(field, 3)
    assert clock.log[3:] == ["ours", "a", "b", "a", "b", "ours", "b", "ours", "a"]


def test_the_median_counts_and_the_first_round_does_not(clock: Clock) -> None:
    ours, peers = measure(Field(clock.contender("ours", 99, 4, 2, 9), [clock.contender("a", 99, 8, 8, 8)]), 3)
    assert ours == Figures("ours", 4, 2, 9)
    assert peers == [Figures("a", 8, 8, 8)]


def test_what_the_work_takes_without_a_cache_is_taken_off_in_each_round(clock: Clock) -> None:
    field = Field(clock.contender("ours", 0, 5, 105, 7), [], baseline=clock.contender("no cache", 0, 3, 101, 3))
    ours, _ = measure(field, 3)
    assert ours == Figures("ours", 4, 2, 4)


def test_what_is_too_short_for_the_clock_is_called_many_times(clock: Clock) -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        clock.now += 1e-3

    ours, _ = measure(Field(Contender("ours", call), []), 2)
    assert ours.median == pytest.approx(1e-3)
    assert calls == 1 + (1 + 2 + 4 + 8) + 2 * 8


def test_a_gauge_finds_its_figure_itself_once_in_each_round() -> None:
    figures = iter([99.0, 4.0, 2.0, 9.0])
    ours, peers = measure(Field(Gauge("ours", lambda: next(figures)), [Gauge("a", lambda: 8.0)]), 3)
    assert ours == Figures("ours", 4, 2, 9)
    assert peers == [Figures("a", 8, 8, 8)]
    assert next(figures, None) is None


def test_percentiles_are_figures_that_were_measured() -> None:
    hundred = [float(number) for number in range(100, 0, -1)]
    assert [percentile(hundred, share) for share in (0.5, 0.99, 0.07, 1.0, 0.0)] == [50, 99, 7, 100, 1]
    assert percentile([3.0], 0.5) == 3
    with pytest.raises(ValueError, match="no figures"):
        percentile([], 0.5)


def test_a_peer_that_fails_is_missing_and_the_others_are_measured(clock: Clock) -> None:
    def fail() -> None:
        raise TypeError("its API changed\nlong ago")

    field = Field(clock.contender("ours", 1, 1), [Contender("a", fail), clock.contender("b", 1, 2)])
    ours, peers = measure(field, 1)
    assert ours.median == 1
    assert peers == [Missing("a", "fails: TypeError: its API changed"), Figures("b", 2, 2, 2)]


def test_a_peer_that_fails_later_is_missing_too(clock: Clock) -> None:
    # Its seconds run out in the second round.
    field = Field(clock.contender("ours", 1, 1, 2, 3), [clock.contender("a", 1, 1), clock.contender("b", 1, 4, 5, 6)])
    ours, (gone, other) = measure(field, 3)
    assert ours == Figures("ours", 2, 1, 3)
    assert isinstance(gone, Missing)
    assert other == Figures("b", 5, 4, 6)


def test_ours_must_not_fail(clock: Clock) -> None:
    def check() -> None:
        raise NotMeasured("not cached: conn is a Lock")

    with pytest.raises(NotMeasured, match="conn is a Lock"):
        measure(Field(Contender("ours", clock.waste, after=check), []), 1)


def test_a_peer_whose_interface_changed_is_missing() -> None:
    assert peer("json", "json", lambda module: module.no_such_name) == Missing(
        "json", "fails: AttributeError: module 'json' has no attribute 'no_such_name'"
    )


def test_a_peer_that_is_not_installed_says_so_and_what_to_do() -> None:
    found = peer("some cache", "no_such_module", lambda module: pytest.fail("there is none"), "install it")
    assert isinstance(found, Missing)
    assert found.reason == "not to be imported (No module named 'no_such_module'); install it"


# --- cells


def timed_cell(*, was_hit: bool | None, value: str = "right") -> TimedCell:
    """A cell that a cache answered or not, whatever it was asked for."""
    names: dict[str, Any] = {}
    way: Any = SimpleNamespace(
        shell=SimpleNamespace(
            names=names,
            run=lambda text: names.update(x=value),
            forget=lambda gone: [names.pop(name, None) for name in gone],
        ),
        work=SimpleNamespace(names=("x",), is_right=lambda names, number: names.get("x") == "right"),
        ready=lambda number, *, hit: None,
        store=lambda number: f"store {number}",
        load=lambda number: f"load {number}",
        was_hit=lambda: was_hit,
    )
    return TimedCell(way)


@pytest.mark.parametrize("hit", [True, False])
def test_a_miss_is_not_timed_as_a_hit_nor_a_hit_as_a_miss(*, hit: bool) -> None:
    contender = timed_cell(was_hit=not hit).contender("ours", hit=hit)
    with pytest.raises(NotMeasured, match="was to be timed"):
        measure(Field(contender, []), 1)


def test_a_wrong_result_is_not_timed() -> None:
    with pytest.raises(NotMeasured, match="another result"):
        measure(Field(timed_cell(was_hit=False, value="wrong").contender("ours", hit=False), []), 1)


def test_a_hit_brings_back_what_is_no_longer_there() -> None:
    cell = timed_cell(was_hit=None)
    cell.be_stored()
    assert (cell.text, cell.way.shell.names) == ("load 1", {})
    cell.be_new()
    assert (cell.text, cell.way.shell.names) == ("store 2", {})


@pytest.mark.parametrize(("line", "hit"), [("cached · 2 ms saved · 1 kB", True), ("computed · 2 ms", False)])
def test_the_magics_line_tells_what_it_did(line: str, *, hit: bool) -> None:
    assert said(f"what the cell prints\n{line}\n") is hit


@pytest.mark.parametrize("shown", ["not cached: conn is a Lock\n", ""])
def test_a_cell_that_was_not_cached_is_not_timed(shown: str) -> None:
    with pytest.raises(NotMeasured, match=shown.strip() or "nothing"):
        said(shown)


def said(shown: str) -> bool:
    from tests.benchmarks.ways import Cached

    way = Cached.__new__(Cached)
    way.shell = SimpleNamespace(shown=shown)  # type: ignore[assignment]
    return way.was_hit()


# --- goals and the table


@pytest.mark.parametrize(
    ("goal", "text", "ours", "figure", "reached"),
    [
        (AtMost(5e-3), "≤ 5 ms", 4.9e-3, "4.9 ms", True),
        (AtMost(5e-3), "≤ 5 ms", 5.1e-3, "5.1 ms", False),
        (AtLeastPerSecond(5e9, 100_000_000), "≥ 5 GB/s", 0.019, "5.3 GB/s", True),
        (AtLeastPerSecond(5e9, 100_000_000), "≥ 5 GB/s", 0.021, "4.8 GB/s", False),
        (AtMostTimes(0.3, "joblib"), "≤ 0.3x joblib", 0.25, "0.25x", True),
        (AtMostTimes(0.3, "joblib"), "≤ 0.3x joblib", 0.35, "0.35x", False),
        (AtMostTimes(0.3, "marimo"), "≤ 0.3x marimo", 0.25, "marimo is missing", None),
        (TimesFaster(2, "joblib"), "2x faster than joblib", 0.49, "2x faster", True),
        (TimesFaster(2, "joblib"), "2x faster than joblib", 0.55, "1.8x faster", False),
        (TimesFaster(2, "marimo"), "2x faster than marimo", 0.1, "marimo is missing", None),
        (AtMost(1, RUNS), "≤ 1 run", 1, "1 run", True),
        (AtMost(1, RUNS), "≤ 1 run", 400, "400 runs", False),
        (AtMost(64e6, BYTES), "≤ 64 MB", 63.25e6, "63.2 MB", True),
    ],
)
def test_goals(goal: Goal, text: str, ours: float, figure: str, *, reached: bool | None) -> None:
    assert str(goal) == text
    assert goal.judge(ours, {"joblib": 1.0}) == Judgement(figure, reached)


BOTH = AllOf(AtMostTimes(1.6, "bare"), TimesFaster(2, "joblib"))


@pytest.mark.parametrize(
    ("ours", "peers", "figure", "reached"),
    [
        (1.5, {"bare": 1.0, "joblib": 3.3}, "1.5x, 2.2x faster", True),
        (1.7, {"bare": 1.0, "joblib": 3.4}, "1.7x, 2x faster", False),
        (1.5, {"bare": 1.0, "joblib": 1.5}, "1.5x, 1x faster", False),
        (1.5, {"bare": 1.0}, "1.5x, joblib is missing", None),
        (1.7, {"bare": 1.0}, "1.7x, joblib is missing", False),
    ],
)
def test_of_several_goals_each_has_to_be_reached(
    ours: float, peers: dict[str, float], figure: str, *, reached: bool | None
) -> None:
    assert str(BOTH) == "≤ 1.6x bare, 2x faster than joblib"
    assert BOTH.judge(ours, peers) == Judgement(figure, reached)


def test_a_difference_that_is_noise_is_neither_divided_nor_judged() -> None:
    assert AtMostTimes(0.5, "a").judge(1.0, {"a": -1e-6}).reached is None
    assert TimesFaster(2, "a").judge(-1e-6, {"a": 1.0}).reached is None
    result = Result(row(), "some work", Figures("ours", 1.0, 1.0, 1.0), [Figures("a", -1e-6, -1.0, 1.0)])
    assert "| a    | -1 µs  | –         |" in table.as_text(table.machine("Valkey", 0.5), [result])
    assert table.as_plain({}, [result], quick=False)["rows"][0]["peers"][0]["ratio"] is None


def test_a_title_tells_the_size_that_was_measured() -> None:
    setting = Setting(Path(), "", Sizes(frame_rows=10_000))
    assert setting.fill("{array}, {rows} rows, {results} of {others}") == "100 MB, 10,000 rows, 100,000 of 1,000,000"
    assert setting.fill("{processes} x {threads}") == "8 x 50"


def test_numbers_are_short() -> None:
    assert [duration(seconds) for seconds in (2.3e-7, 1.384e-6, 0.01234, 2.309, -5e-6, 0)] == [
        *("230 ns", "1.38 µs", "12.3 ms", "2.31 s", "-5 µs", "0 ns")
    ]
    assert [ratio(times) for times in (0.0831, 1.249, 16.4)] == ["0.083x", "1.2x", "16x"]
    assert [size(number) for number in (100, 64_213, 1e6, 1.5e9)] == ["100 B", "64.2 kB", "1 MB", "1.5 GB"]
    assert [runs(number) for number in (1, 2, 1.5)] == ["1 run", "2 runs", "1.5 runs"]


def row(name: str = "some-row") -> Row:
    return Row(name, "some work", AtMostTimes(2, "a"), lambda setting: pytest.fail("not measured here"))


def test_the_table_has_a_line_for_each_contender_and_a_note_for_each_missing_one() -> None:
    timings = Figures("ours", 1e-3, 1e-3, 2e-3), Figures("a", 4e-3, 1e-3, 5e-3)
    measured = Result(row(), "some work", timings[0], [timings[1], Missing("b", "fails")], Judgement("0.25x", True))
    about = table.machine("Valkey 9.1.2", 0.5)
    lines = table.as_text(about, [measured, measured]).splitlines()
    assert [line for line in lines if line.startswith("| ")][2:5] == [
        "| some work | ours | 1 ms    |           | ≤ 2x a | yes: 0.25x |",
        "|           | a    | 4 ms    | 0.25x     |        |            |",
        "|           | b    | missing |           |        |            |",
    ]
    assert lines.count("b: fails") == 1
    assert "server: Valkey 9.1.2" in lines


def test_the_rows_after_one_that_fails_are_measured_and_the_run_has_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = {
        "first": Result(row("first"), "first", failure="NotMeasured: it said nothing"),
        "second": Result(row("second"), "second", Figures("ours", 1.0, 1.0, 1.0)),
    }
    monkeypatch.setattr(bench, "ROWS", {name: result.row for name, result in results.items()})
    monkeypatch.setattr(bench, "CURVES", {})
    monkeypatch.setattr(bench, "_in_a_process", lambda row, *, quick: ("Valkey", results[row.name]))
    assert bench.main(["--json", str(tmp_path / "out.json")]) == 1
    printed = capsys.readouterr().out
    assert "| first  | ours | failed |           | ≤ 2x a | not measured" in printed
    assert "first failed: NotMeasured: it said nothing" in printed
    first, second = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert (first["ours"], first["failure"]) == (None, "NotMeasured: it said nothing")
    assert (second["unit"], second["ours"]["median"], second["failure"]) == ("seconds", 1.0, None)
    assert bench.main(["--only", "second"]) == 0


def test_a_count_is_shown_as_a_count() -> None:
    counted = Row("crowd", "one cold key", AtMost(1, RUNS), lambda setting: pytest.fail("not here"), unit=RUNS)
    result = Result(counted, "one cold key", Figures("ours", 1, 1, 1), [Figures("a", 400, 390, 400)])
    lines = table.as_text(table.machine("Valkey", 0.5), [result]).splitlines()
    assert "| one cold key | ours | 1 run    |           | ≤ 1 run | not asked at this size |" in lines
    assert "|              | a    | 400 runs | 0.0025x   |         |                        |" in lines


# --- growth


FLAT = Curve(
    "growth-keys",
    "a hit",
    "keys",
    (1_000, 1_000_000),
    (10,),
    lambda setting: pytest.fail("not measured here"),
    goal=Flat(1.5, ("ours",)),
)


def grown(first: float = 1e-6, last: float = 1.4e-6) -> Grown:
    points: dict[int, Point] = {
        1_000: [Figures("ours", first, first, first), Figures("a", 1e-4, 1e-4, 1e-4), Missing("b", "fails")],
        1_000_000: [Figures("ours", last, last, last), Figures("a", 1e-2, 1e-2, 1e-2), Missing("b", "fails")],
    }
    return Grown(FLAT, points, FLAT.goal.judge(points) if FLAT.goal else None)


@pytest.mark.parametrize(
    ("goal", "last", "figure", "reached"),
    [
        (Flat(1.5, ("ours",)), 1.4e-6, "1.4x", True),
        (Flat(1.5, ("ours",)), 1.6e-6, "1.6x", False),
        (Flat(1.5, ("ours", "a")), 1.4e-6, "1.4x, 100x", False),
        (Flat(1.5, ("ours", "b")), 1.4e-6, "not all were measured", None),
        (Flat(1.5, ("ours",)), 0.5e-6, "0.5x", True),
    ],
)
def test_what_must_not_grow_is_compared_with_its_beginning(
    goal: Flat, last: float, figure: str, *, reached: bool | None
) -> None:
    assert goal.judge(grown(last=last).points) == Judgement(figure, reached)


def test_a_curve_is_a_table_of_its_own() -> None:
    text = table.as_text(table.machine("Valkey", 0.5), [], [grown(), grown()])
    lines = text.splitlines()
    assert "a hit, by keys; goal ours: at the end ≤ 1.5x of the beginning; reached yes: 1.4x" in lines
    assert "| keys | 1,000   | 1,000,000 |" in lines
    assert "| ours | 1 µs    | 1.4 µs    |" in lines
    assert "| b    | missing | missing   |" in lines
    assert lines.count("b: fails") == 1
    assert "a hit, by keys: failed" in table.as_text(
        table.machine("Valkey", 0.5), [], [Grown(FLAT, {}, failure="NotMeasured: nothing")]
    )


def all_results() -> dict[str, Any]:
    """A run of one row and one curve, as JSON holds it."""
    peers: list[Figures | Missing] = [Figures("a", 4e-3, 1e-3, 5e-3), Missing("b", "fails")]
    done = Result(row(), "some work", Figures("ours", 1e-3, 1e-3, 2e-3), peers, Judgement("0.25x", True))
    failed = Result(row(), "other work", failure="NotMeasured: it said nothing")
    about = table.machine("Valkey 9.1.2", 0.5)
    plain = table.as_plain(about, [done, failed], [grown(), Grown(FLAT, {}, failure="NotMeasured")], quick=False)
    read_back: dict[str, Any] = json.loads(json.dumps(plain))
    return read_back


def test_the_page_has_one_line_for_each_row_and_none_for_who_is_missing() -> None:
    lines = page.as_markdown(all_results()).splitlines()
    assert lines[0].startswith("Measured on ")
    assert "Valkey 9.1.2" in lines[0]
    assert "small sizes" not in lines[0]
    assert "| some work  | 1 ms   | 0.25x a (4 ms) | ≤ 2x a | yes: 0.25x |" in lines
    assert "| other work | failed |                | ≤ 2x a | no         |" in lines
    assert "| a hit, by keys | 1,000  | 1,000,000 |" in lines
    assert "| ours           | 1 µs   | 1.4 µs    |" in lines
    assert "| b              | –      | –         |" in lines
    assert sum(line.startswith("| a hit, by keys") for line in lines) == 1


def test_the_page_says_that_a_quick_run_is_no_measurement() -> None:
    assert "small sizes" in page.as_markdown(all_results() | {"quick": True})


def test_the_plot_has_a_panel_for_each_curve_and_text_that_can_be_read(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "growth.svg"
    assert plot.draw(all_results(), file)
    drawn = file.read_text()
    for text in ("a hit", "keys", "1,000,000", "ours", "10 ms"):
        assert f">{text}</text>" in drawn
    assert plot.INK in drawn
    assert "#ffffff" not in drawn  # transparent: on a dark page it would be a white block
    assert plot.draw(all_results(), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == drawn


def test_without_a_curve_there_is_no_plot(tmp_path: Path) -> None:
    assert not plot.draw(all_results() | {"growth": []}, tmp_path / "growth.svg")
    assert not (tmp_path / "growth.svg").exists()


def test_pages_are_made_again_from_the_results_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "_measured", lambda *arguments, **options: pytest.fail("it measures"))
    (tmp_path / "last.json").write_text(json.dumps(all_results()))
    made = tmp_path / "made" / "page.md"
    assert bench.main(["--results", str(tmp_path / "last.json"), "--markdown", str(made)]) == 0
    assert made.read_text() == page.as_markdown(all_results())
    with pytest.raises(SystemExit):
        bench.main(["--results", str(made)])
    assert "holds no results" in capsys.readouterr().err


# --- parts that need a server or another process


@pytest.fixture
def client(embedded_server: Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(embedded_server.url) as opened:
        opened.set("asked", 1)
        yield opened


@pytest.mark.slow
def test_a_hit_from_the_server_is_not_timed_as_one_from_a_copy(client: redis.Redis, embedded_server: Server) -> None:
    prove(lambda: client.get("asked"), embedded_server.url, asks=True)
    with pytest.raises(NotMeasured, match="a hit from the server, where one from a copy"):
        prove(lambda: client.get("asked"), embedded_server.url, asks=False)


@pytest.mark.slow
def test_a_hit_from_a_copy_is_not_timed_as_one_from_the_server(embedded_server: Server) -> None:
    prove(lambda: None, embedded_server.url, asks=False)
    with pytest.raises(NotMeasured, match="a hit from a copy, where one from the server"):
        prove(lambda: None, embedded_server.url, asks=True)


def test_a_result_that_two_callers_share_is_not_timed_as_a_copy() -> None:
    prove_own(lambda: profile(1))
    shared = profile(1)
    with pytest.raises(NotMeasured, match="the next one gets"):
        prove_own(lambda: shared)
    inside = shared["orders"]
    with pytest.raises(NotMeasured, match="the next one gets"):
        prove_own(lambda: profile(1) | {"orders": inside})


def test_a_clear_that_clears_nothing_is_not_timed() -> None:
    names = itertools.count()
    cleared: Any = SimpleNamespace(clear_cache=lambda: None, cache_key=lambda *args: next(names))
    kept: Any = SimpleNamespace(clear_cache=lambda: None, cache_key=lambda *args: 0)
    way = Ours.__new__(Ours)
    way.cached = [cleared, cleared]
    assert way.each() >= 0
    way.cached = [cleared, kept]
    with pytest.raises(NotMeasured, match="found after it was cleared"):
        way.each()


def test_a_crowd_in_which_one_gets_something_else_is_not_counted() -> None:
    crowds.at_once(lambda number: number * number, 3, 4, threading.Barrier(1))
    calls = itertools.count()
    with pytest.raises(NotMeasured, match="4 threads got 4 results"):
        crowds.at_once(lambda number: 9 if next(calls) else 10, 3, 4, threading.Barrier(1))


def test_a_server_is_filled_part_by_part(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "AT_ONCE", 10)
    filling.fill(client, b"filled:", 3, 27, b"value")
    assert {*client.keys("filled:*")} == {b"filled:%d" % number for number in range(3, 28)}
    assert client.get("filled:27") == b"value"
    client.delete(*client.keys("filled:*"))


def test_a_server_settles_and_syncs_as_before(client: redis.Redis) -> None:
    before = client.config_get("appendfsync")
    filling.settle(client)
    assert client.config_get("appendfsync") == before


def test_a_companion_answers_in_turn_and_its_error_is_told() -> None:
    companion = Companion(functools.partial, int)
    companion.ask("7")
    companion.ask("8")
    assert (companion.answer(), companion.answer()) == (7, 8)
    companion.ask("nine")
    with pytest.raises(NotMeasured, match="ValueError: invalid literal"):
        companion.answer()
    with pytest.raises(NotMeasured, match="has ended"):
        companion.answer()
    companion.process.join(10)


# --- all of it


def run_quickly(folder: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """What a quick run printed, and what it wrote."""
    file = folder / "results.json"
    command = [sys.executable, str(ROOT / "tests/benchmarks/bench.py"), "--quick", "--json", str(file), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads(file.read_text())


@pytest.mark.slow
def test_a_quick_run_of_what_is_cheap_works(tmp_path: Path) -> None:
    names = ("integers-digest", "miss", "clear", "growth-values")
    only = [word for name in names for word in ("--only", name)]
    printed, written = run_quickly(tmp_path, *only, "--markdown", str(tmp_path / "page.md"))
    assert [each["name"] for each in (*written["rows"], *written["growth"])] == list(names)
    assert [each["failure"] for each in (*written["rows"], *written["growth"])] == [None] * len(names)
    assert "f.clear_cache(), 1,000 results of its own, 10,000 other keys" in printed
    assert [point["size"] for point in written["growth"][0]["points"]] == [100, 100_000]
    assert (tmp_path / "page.md").read_text() == page.as_markdown(written)


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    return run_quickly(tmp_path_factory.mktemp("bench"))


@takes_minutes
@pytest.mark.timeout(600)
def test_a_quick_run_measures_every_row(quick_run: tuple[str, dict[str, Any]]) -> None:
    printed, written = quick_run
    assert written["quick"] is True
    assert [each["name"] for each in written["rows"]] == list(bench.ROWS)
    for each in written["rows"]:
        assert each["title"] in printed
        assert each["ours"]["least"] <= each["ours"]["median"] <= each["ours"]["most"]
        assert each["goal"]
        assert (each["reached"], each["failure"]) == (None, None)
        assert each["peers"]


@takes_minutes
@pytest.mark.timeout(600)
def test_a_quick_run_measures_every_curve(quick_run: tuple[str, dict[str, Any]]) -> None:
    printed, written = quick_run
    assert [each["name"] for each in written["growth"]] == list(bench.CURVES)
    for each in written["growth"]:
        curve = bench.CURVES[each["name"]]
        assert each["title"] in printed
        assert (each["reached"], each["failure"]) == (None, None)
        assert [point["size"] for point in each["points"]] == list(curve.quick)
        assert all(figures["median"] > 0 for point in each["points"] for figures in point["figures"])


PACKAGES = {
    "Frappe's @redis_cache, cold": "frappe",
    "Frappe's @redis_cache, warm": "frappe",
    "cachetools.TTLCache, lock": "cachetools",
    "cashews": "cashews",
    "diskcache": "diskcache",
    "django-redis": "django_redis",
    "dogpile.cache, Redis": "dogpile",
    "dogpile.cache, lock on the server": "dogpile",
    "import dogpile.cache.region": "dogpile",
    "import joblib": "joblib",
    "import pandas": "pandas",
    "ipycache": "ipycache",
    "joblib.Memory": "joblib",
    "joblib.hash": "joblib",
    "marimo.persistent_cache": "marimo",
}
"""What has to be installed for whom; the others are here in any case."""


@takes_minutes
@pytest.mark.timeout(600)
def test_a_quick_run_names_who_is_missing(quick_run: tuple[str, dict[str, Any]]) -> None:
    printed, written = quick_run
    found = [other for each in written["rows"] for other in each["peers"]]
    assert PACKAGES.keys() <= {other["name"] for other in found}
    for other in found:
        installed = importlib.util.find_spec(PACKAGES.get(other["name"], "json")) is not None
        if "missing" in other:
            assert not installed, other
            assert f"{other['name']}: {other['missing']}" in printed
        else:
            assert installed
            assert {"median", "least", "most", "ratio"} <= other.keys()


@takes_minutes
@pytest.mark.timeout(600)
def test_a_quick_run_says_what_it_was_measured_with(quick_run: tuple[str, dict[str, Any]]) -> None:
    _, written = quick_run
    about = written["about"]
    assert {"machine", "cores", "load", "python", "server", *table.PACKAGES} == about.keys()
    assert about["numpy"] == __import__("numpy").__version__
