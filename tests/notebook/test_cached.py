"""`%cached EXPR`: evaluated once, and evaluated anew whenever something about it changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import frappe_cache_ext
from frappe_cache_ext import context
from tests.support import free_port

from .conftest import Shell

cache = frappe_cache_ext.cache


def _calls(shell: Shell) -> int:
    return len(Path(shell.ip.user_ns["NOTES"]).read_text())


# The functions here note their calls in a file. A list would be a part of what they depend on, and would be put back.
NOTED = """
import pathlib
def note():
    with open(NOTES, "a") as file:
        file.write(".")
def slow(a, b=2):
    note()
    return a + b
"""

COMPUTED = re.compile(r"computed · [\d.]+ m?s\n")
CACHED = re.compile(r"cached · [\d.]+ m?s saved · \d+ B · just now · expires in 60 min\n")


@pytest.fixture
def noted(shell: Shell, tmp_path: Path) -> Shell:
    notes = tmp_path / "notes"
    notes.touch()
    shell.run(f"NOTES = {str(notes)!r}")
    shell.run(NOTED)
    return shell


class TestHits:
    def test_the_second_time_it_comes_from_the_cache(self, noted: Shell) -> None:
        assert noted.run("%cached slow(40)") == 42
        assert COMPUTED.fullmatch(noted.out)
        assert noted.run("%cached slow(40)") == 42
        assert CACHED.fullmatch(noted.out)
        assert _calls(noted) == 1

    def test_it_can_be_assigned(self, noted: Shell) -> None:
        noted.run("x = %cached slow(1)\ny = %cached slow(1)")
        assert (noted.ip.user_ns["x"], noted.ip.user_ns["y"], _calls(noted)) == (3, 3, 1)

    @pytest.mark.parametrize("same", ["slow( 40 )", "slow(40) # a remark", "slow(\t40)", "(slow(40))", "slow(0x28)"])
    def test_layout_does_not_matter(self, noted: Shell, same: str) -> None:
        noted.run("%cached slow(40)")
        noted.run(f"%cached {same}")
        assert _calls(noted) == 1

    def test_none_is_a_value(self, noted: Shell) -> None:
        noted.run("def nothing():\n    note()")
        for _ in range(2):
            assert noted.run("%cached nothing()") is None
        assert _calls(noted) == 1

    def test_what_is_done_to_a_value_changes_nothing_for_the_next(self, noted: Shell) -> None:
        noted.run("def names():\n    note()\n    return ['a']")
        noted.run("x = %cached names()\nx.append('b')")
        assert noted.run("%cached names()") == ["a"]

    def test_inside_a_function(self, noted: Shell) -> None:
        noted.run("def ask(n):\n    return get_ipython().run_line_magic('cached', 'slow(n)')")
        assert noted.run("[ask(1), ask(2), ask(1), ask(2)]") == [3, 4, 3, 4]
        assert _calls(noted) == 2


class TestChanges:
    @pytest.mark.parametrize(
        "change",
        [
            "n = 2",
            "n = 1.0",
            "n = True",
            "def slow(a, b=3):\n    note()\n    return a + b",
            "def slow(a, b=2):\n    note()\n    return a - b",
            "def helper(x):\n    return x + 1",
            "factor = 3",
        ],
    )
    def test_it_is_evaluated_anew_when_something_changes(self, noted: Shell, change: str) -> None:
        noted.run("n, factor = 1, 2\ndef helper(x):\n    return x * factor\ndef outer(x):\n    return helper(slow(x))")
        for _ in range(2):
            noted.run("%cached outer(n)")
        assert _calls(noted) == 1
        noted.run(change)
        noted.run("%cached outer(n)")
        assert _calls(noted) == 2

    def test_what_changes_without_being_read_does_not_matter(self, noted: Shell) -> None:
        noted.run("n, other = 1, 1")
        noted.run("%cached slow(n)")
        noted.run("other = 2")
        noted.run("%cached slow(n)")
        assert _calls(noted) == 1

    def test_the_code_behind_a_wrapper_counts(self, noted: Shell) -> None:
        define = "import functools\n@functools.lru_cache\ndef f(x):\n    note()\n    return x {} 1"
        noted.run(define.format("+"))
        assert noted.run("%cached f(3)") == 4
        noted.run(define.format("-"))
        assert noted.run("%cached f(3)") == 2

    def test_the_code_of_a_class_counts(self, noted: Shell) -> None:
        define = "step = {}\nclass Counter:\n    def next(self, x):\n        return x {} step"
        noted.run(define.format(1, "+"))
        assert noted.run("%cached Counter().next(3)") == 4
        noted.run(define.format(1, "-"))
        assert noted.run("%cached Counter().next(3)") == 2
        noted.run("step = 2")
        assert noted.run("%cached Counter().next(3)") == 1
        noted.run("counter = Counter()")
        assert noted.run("%cached counter.next(3)") == 1
        noted.run("step = 3")
        assert noted.run("%cached counter.next(3)") == 0
        noted.run("ask = counter.next")
        assert noted.run("%cached ask(3)") == 0
        noted.run("step = 4")
        assert noted.run("%cached ask(3)") == -1

    def test_a_function_that_calls_itself_ends(self, shell: Shell) -> None:
        shell.run("def down(n):\n    return n and down(n - 1)")
        assert shell.run("%cached down(3)") == 0

    def test_refresh_evaluates_and_stores(self, noted: Shell) -> None:
        noted.run("%cached slow(1)")
        for line in ("%cached slow(1) --refresh", "%cached --refresh slow(1)"):
            assert noted.run(line) == 3
            assert COMPUTED.fullmatch(noted.out)
        noted.run("%cached slow(1)")
        assert _calls(noted) == 3

    def test_sites_keep_their_own(self, noted: Shell) -> None:
        site = context.current_settings().site
        noted.run("%cached slow(1)")
        noted.run(f"%cache_site {site}-other")
        noted.run("%cached slow(1)")
        assert _calls(noted) == 2
        noted.run("%cache_clear")


class TestExpiry:
    def test_of_one_value(self, noted: Shell) -> None:
        noted.run("%cached slow(1) --ttl 60")
        noted.run("%cached slow(2) --ttl none")
        expiries = sorted(cache.redis.ttl(name) for name in cache.get_keys("cell::"))
        assert expiries == [-1, 60]

    def test_of_all(self, noted: Shell) -> None:
        noted.run("%config CacheMagics.cached_ttl = None")
        try:
            noted.run("%cached slow(1)")
            (name,) = cache.get_keys("cell::")
            assert cache.redis.ttl(name) == -1
        finally:
            noted.run("%config CacheMagics.cached_ttl = 3600")


class TestWhatIsNotCached:
    def test_an_error_is_told_and_not_stored(self, shell: Shell) -> None:
        shell.run("def fails():\n    return 1 / 0")
        for _ in range(2):
            said = shell.fails("%cached fails()")
            assert said == "ZeroDivisionError: division by zero (in fails; %tb shows where)"
        assert cache.get_keys("cell::") == []
        assert (
            shell.fails("%cached nothing")
            == "NameError: name 'nothing' is not defined (a text stands in quotes: 'nothing')"
        )

    def test_a_value_without_bytes_is_returned_all_the_same(self, shell: Shell) -> None:
        shell._run("%cached (each for each in (1, 2))")
        assert list(shell.done.result) == [1, 2]
        assert shell.out.endswith("not cached: the result is a generator\n")

    def test_an_argument_that_nothing_tells_apart(self, shell: Shell) -> None:
        shell.run("import threading\nlock = threading.Lock()")
        shell._run("%cached lock.locked()")
        assert shell.done.result is False
        assert shell.out == "not cached: lock is a lock – use --ignore lock, or --key\n"

    def test_without_a_server_it_is_evaluated(self, noted: Shell) -> None:
        url = f"redis://127.0.0.1:{free_port()}"
        noted.run(f"frappe.init(url={url!r})")
        for _ in range(2):
            noted._run("%cached slow(1)")
            assert noted.done.result == 3
            assert noted.out.startswith(f"not cached: the cache at {url} cannot be reached: ")
            assert noted.out.count("\n") == 1
        assert _calls(noted) == 2

    def test_a_statement_is_none(self, shell: Shell) -> None:
        assert shell.fails("%cached x = 1").endswith(
            "(an assignment has no value; to keep what a magic returns, write x = %magic ...)"
        )
