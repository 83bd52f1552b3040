"""The bench of notebooks 10 and 14: its server, the shelf on it, and what was recorded."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import frappe_cache_ext as frappe
from frappe_cache_ext import context
from frappe_cache_ext.bench_sites import list_sites, read_site
from frappe_cache_ext.errors import ServerNotFound
from frappe_cache_ext.server_binary import find_binary
from frappe_cache_ext.stand_ins import StandIn
from frappe_cache_ext.teaching import benches
from frappe_cache_ext.teaching.benches import Bench, find_bench, make_bench, read_recording
from frappe_cache_ext.teaching.evictions import Shelf
from tests.suite import record_bench
from tests.suite.learner import ROOT, code_cells, learner, read
from tests.support import requires, until

AGES = {"a": 60, "b": 50, "c": 40, "d": 30, "e": 20, "f": 10}


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    try:
        find_binary()
    except ServerNotFound:
        requires(False, "a binary for the bench's server")
    yield
    benches.close_made()


@pytest.fixture(params=["embedded", "redis-server"])
def shelf(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    if request.param == "redis-server":
        binary = request.getfixturevalue("redis_server").binary
        monkeypatch.setattr(benches, "find_binary", lambda: Path(binary))
    bench = make_bench("library.localhost", maxmemory_mb=4)
    frappe.init("library.localhost", bench=bench.folder)
    return Shelf(bench)


def evicted(shelf: Shelf) -> list[str]:
    return sorted(key for key, each in shelf.look().items() if each.state == "evicted")


# --- the server


def test_it_runs_from_the_files_that_a_bench_has() -> None:
    bench = make_bench("library.localhost", "school.localhost", maxmemory_mb=7)
    assert list_sites(bench.folder) == ["library.localhost", "school.localhost"]
    site = read_site(bench.folder, "school.localhost")
    assert (site.db_name, site.redis_cache) == ("_school", bench.url)
    with redis.Redis.from_url(bench.url, decode_responses=True) as client:
        assert client.config_get("maxmemory")["maxmemory"] == str(7 * 1024 * 1024)
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"
        assert client.config_get("save")["save"] == ""
        assert client.info("server")["config_file"] == str(bench.config.conf_path)
    assert (bench.folder / "Procfile").read_text() == "redis_cache: redis-server config/redis_cache.conf\n"


def test_a_restart_empties_it_and_closing_leaves_nothing() -> None:
    bench = make_bench("library.localhost")
    with redis.Redis.from_url(bench.url) as client:
        client.set("a", 1)
        bench.restart()
        assert client.dbsize() == 0
    bench.close()
    assert not bench.folder.parent.exists()
    with redis.Redis.from_url(bench.url) as client, pytest.raises(redis.exceptions.ConnectionError):
        client.ping()


def test_making_another_closes_the_one_before() -> None:
    before = make_bench("library.localhost")
    after = make_bench("library.localhost")
    assert not before.folder.exists()
    assert after.folder.exists()


def test_a_server_that_does_not_start_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benches, "find_binary", lambda: Path("/bin/ls"))
    with pytest.raises(frappe.ServerError, match=r"did not start\. It said:\n.*redis_cache\.conf"):
        make_bench("library.localhost")


def test_it_ends_with_its_process_even_if_that_is_killed() -> None:
    program = (
        "import os, signal\n"
        "from frappe_cache_ext.teaching.benches import make_bench\n"
        "print(make_bench('library.localhost').url, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == -signal.SIGKILL
    with redis.Redis.from_url(child.stdout.strip()) as client:

        def is_gone() -> bool:
            try:
                return not client.ping()
            except redis.exceptions.ConnectionError:
                return True

        until(is_gone, what="the end of the server")


# --- the shelf


def test_the_report_that_was_not_used_for_longest_is_evicted_one_for_each_new(shelf: Shelf) -> None:
    report = shelf.fill(**AGES)
    assert [(key, each.minutes, each.state) for key, each in shelf.look().items()] == [
        (f"report|{name}", minutes, "") for name, minutes in reversed(AGES.items())
    ]
    gone = []
    for name in ("g", "h", "i", "j"):
        with context.request():
            frappe.cache.set_value(f"report|{name}", report)
        gone.append(evicted(shelf))
    assert gone == [[f"report|{each}" for each in "abcd"[:count]] for count in (1, 2, 3, 4)]


def test_reading_is_using_and_looking_is_not(shelf: Shelf) -> None:
    report = shelf.fill(**AGES)
    with context.request():
        frappe.cache.get_value("report|a")
        frappe.cache.exists("report|b")
        frappe.cache.get_expiry("report|b")
        shelf.look()
        frappe.cache.set_value("report|g", report)
    assert evicted(shelf) == ["report|b"]
    assert shelf.look()["report|a"].state == "read"


def test_a_shelf_that_is_filled_again_remembers_nothing(shelf: Shelf) -> None:
    for first in "ab":
        report = shelf.fill(**AGES)
        with context.request():
            if first == "b":
                frappe.cache.get_value("report|a")
            frappe.cache.set_value("report|g", report)
        assert evicted(shelf) == [f"report|{first}"]


def test_what_is_shown_without_a_notebook_is_a_table(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    report = shelf.fill(a=60, b=5)
    with context.request():
        frappe.cache.set_value("report|g", report)
    shelf.show()
    assert capsys.readouterr().out.splitlines() == [
        "report|g   just now      new",
        "report|b   5 min ago",
        "report|a   60 min ago    evicted",
    ]


# --- what was recorded


def test_the_recording_is_what_its_script_makes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(record_bench, "RECORDED", tmp_path / "again.json.gz")
    record_bench.main()
    assert json.loads(gzip.decompress((tmp_path / "again.json.gz").read_bytes())) == read_recording()


def test_the_recorded_bench_is_read_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    folder = find_bench()
    assert "recorded" in capsys.readouterr().out
    frappe.init("library.localhost", bench=folder)
    assert len(frappe.cache.get_keys("")) == 26
    anna = frappe.cache.get_value("document_cache::User::anna@example.com")
    assert isinstance(anna, StandIn)
    assert [row.role for row in anna.roles] == ["Librarian", "Reader"]  # type: ignore[attr-defined]
    assert frappe.cache.get_expiry("doctype:count:Loan") == pytest.approx(24 * 60 * 60, abs=120)
    assert sorted(frappe.cache.hgetall("bootinfo")) == ["anna@example.com", "ben@example.com"]


def contents(url: str) -> dict[bytes, Any]:
    with redis.Redis.from_url(url) as client:
        return {name: (client.dump(name), client.pttl(name) > 0) for name in client.scan_iter()}


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_server")
def test_the_notebook_changes_nothing_on_a_bench_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    recording = read_recording()
    bench = Bench(recording["sites"], maxmemory_mb=64)
    try:
        benches.fill(bench.url, recording["keys"])
        before = contents(bench.url)
        with learner() as pupil:
            for cell in code_cells(read("14_a_real_bench")):
                shown = pupil.run(cell.source.replace("find_bench()", f"find_bench({str(bench.folder)!r})"))
                assert "Error" not in shown, shown
                if cell.id == "start":
                    assert "This is the bench frappe-bench, with 2 sites." in shown
        assert contents(bench.url) == before
    finally:
        bench.close()


def test_what_is_no_bench_is_refused(tmp_path: Path) -> None:
    with pytest.raises(frappe.BenchError, match="is no bench"):
        find_bench(str(tmp_path))
