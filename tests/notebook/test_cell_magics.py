"""What goes with `%%cached`: why, list, clear, and every slow cell by itself."""

from __future__ import annotations

import traceback

import pytest

import frappe_cache_ext

from .conftest import Shell

cache = frappe_cache_ext.cache


def test_why_tells_what_was_different(shell: Shell) -> None:
    shell.run("limit = 1\ndef over(x):\n    return x > limit")
    shell.run("%%cached\nfound = over(2)")
    shell.run("limit = 1.5")
    shell.run("%%cached --explain\nfound = over(2)")
    assert "miss because: limit 1 -> 1.5" in shell.out
    shell.run("def over(x):\n    return x >= limit")
    shell.run("%%cached\nfound = over(2)")
    shell.run("%cached_why")
    assert shell.out == "miss because: over() line 2 changed\n"
    shell.run("%%cached\nfound = over(2)")
    shell.run("%cached_why")
    assert shell.out.startswith("a hit: cached · ")


def test_list_and_clear_by_name(shell: Shell) -> None:
    shell.run("%%cached first\na = 1")
    shell.run("%%cached second\nb = 2")
    table = shell.run("%cached_list")
    assert sorted(row[:2] for row in table.rows) == [("first", "a = 1"), ("second", "b = 2")]
    shell.run("%cached_clear first")
    assert shell.out == "cleared 1 cell\n"
    assert [row[0] for row in shell.run("%cached_list").rows] == ["second"]
    shell.run("%cached_clear")
    assert cache.get_keys("cell::") == []


def test_a_cell_that_draws_counts_once(shell: Shell) -> None:
    shell.run("import random\nrandom.seed(1)")
    shell.run("%%cached\nx = random.random()")
    assert len(cache.get_keys("cell::")) == 2  # one says which generator it draws from
    assert len(shell.run("%cached_list").rows) == 1
    shell.run("%cached_clear")
    assert shell.out == "cleared 1 cell\n"


class TestAuto:
    def test_slow_cells_are_stored_and_others_are_not(self, shell: Shell) -> None:
        shell.run("%cached_auto on --slower-than 0.2")
        try:
            for said in ("computed · ", "cached · "):
                shell.run("import time\ntime.sleep(0.3)\nx = 1")
                assert shell.out.startswith(said)
            shell.run("y = 2")
            assert shell.out == ""
            shell.run("import threading\nlock = threading.Lock()")
            assert shell.out == ""
        finally:
            shell.run("%cached_auto off")
        assert shell.out == "cells are cached on demand\n"
        shell.run("time.sleep(0.3)\nx = 1")
        assert shell.out == ""
        assert len(cache.get_keys("cell::")) == 1

    def test_lines_of_a_traceback_are_the_cells_own(self, shell: Shell) -> None:
        shell.run("%cached_auto on")
        try:
            shell._run("x = 1\n1 / 0")
            error = shell.done.error_in_exec
        finally:
            shell.run("%cached_auto off")
        assert isinstance(error, ZeroDivisionError)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.line == "1 / 0"]
        assert lines == [2]


def test_a_cell_below_nothing_is_told(shell: Shell) -> None:
    assert shell.fails("%%cached\n \n") == "%%cached: there is nothing below it to run"


def test_a_result_that_cannot_be_kept_is_named_with_a_way_out(shell: Shell) -> None:
    shell.run("%%cached\nimport threading\nlock = threading.Lock()\nx = [lock]")
    assert shell.out == "not cached: lock is a lock – end with del lock, or name what to keep with --vars\n"
    shell.run("%%cached\nwith lock: y = 1")
    assert shell.out == "not cached: lock is a lock – use --ignore lock, or --key\n"


@pytest.mark.parametrize("option", ["--vars a-b", "--ignore 1", "--ttl soon", "--unknown"])
def test_with_a_wrong_option_the_cell_is_not_run(shell: Shell, option: str) -> None:
    assert "Usage: %%cached [" in shell.fails(f"%%cached {option}\nran = True")
    assert "ran" not in shell.ip.user_ns


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("raise redis.ConnectionError('mine')", "ConnectionError"),
        ("raise errors.CacheError('mine')", "CacheError"),
        ("raise UsageError('mine')", "UsageError"),
        ("import asyncio\nawait asyncio.sleep(0)\nraise errors.CacheError('mine')", "CacheError"),
    ],
)
def test_an_error_of_the_body_is_the_users_whatever_its_kind(shell: Shell, cell: str, kind: str) -> None:
    shell.run("import redis\nfrom frappe_cache_ext import errors\nfrom IPython.core.error import UsageError")
    shell._run(f"%%cached\n{cell}")
    assert type(shell.done.error_in_exec).__name__ == kind
    assert str(shell.done.error_in_exec) == "mine"
    assert "reached" not in shell.shown + shell.err
    assert "Usage:" not in shell.err


def test_making_sure_that_an_entry_can_be_read_makes_nothing_of_the_users(shell: Shell) -> None:
    """A class that counts its instances counts as without the magic, when the cell runs and when it does not."""
    shell.run(
        "class Counted:\n    made = 0\n    def __new__(cls):\n"
        "        cls.made += 1\n        return super().__new__(cls)"
    )
    for _ in range(2):
        shell.run("Counted.made = 0")
        shell.run("%%cached\nc = Counted()")
        assert shell.run("Counted.made") == 1
    assert shell.run("%cached_list").rows[0][1] == "c = Counted()"


def test_what_cannot_describe_itself_is_cached_all_the_same(shell: Shell) -> None:
    shell.run(
        "class Shy:\n    def __repr__(self):\n        raise RuntimeError\n    shape = property(lambda self: 1 / 0)"
    )
    shell.run("shy = Shy()")
    for said in ("computed", "cached"):
        shell.run("%%cached\nok = shy is not None")
        assert shell.out.startswith(said)
