"""The extension in a real IPython in a real terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).parents[2]
COLOUR = r"(?:\x1b\[[\d;]*m)*"
ESCAPES = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]|\x1b[=>]|\r")


class Terminal:
    """IPython behind a pseudo-terminal."""

    def __init__(self, environment: dict[str, str], *options: str) -> None:
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", "--no-banner", "--no-confirm-exit", *options],
            env=os.environ | environment | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"},
            encoding="utf-8",
            timeout=30,
            dimensions=(50, 200),
        )
        self.number = 1
        self._wait()

    def run(self, line: str) -> str:
        """Type a line, and return what is printed up to the next prompt."""
        self.child.sendline(line)
        self.number += 1
        return self._wait()

    def _wait(self) -> str:
        self.child.expect(rf"In {COLOUR}\[{COLOUR}{self.number}{COLOUR}\]: ")
        return ESCAPES.sub("", self.child.before or "")

    def close(self) -> None:
        self.child.sendline("exit")
        self.child.expect(pexpect.EOF)
        self.child.close()


@pytest.fixture(scope="module")
def environment(session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"FRAPPE_CACHE_HOME": str(session_home), "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython"))}


@pytest.fixture
def simple(environment: dict[str, str], site: str) -> Iterator[Terminal]:
    """With a prompt that echoes plainly."""
    terminal = Terminal(environment, "--simple-prompt")
    terminal.run("%load_ext frappe_cache_ext")
    terminal.run(f"%cache_site {site}")
    yield terminal
    terminal.run("%cache_clear")
    terminal.close()


def test_a_session(simple: Terminal) -> None:
    simple.run('%cache_set color "green"')
    assert "'green'" in simple.run("%cache_get color")
    assert "no such key: 'nothing'" in simple.run("%cache_get nothing")
    simple.run('%cache_hset user|admin name "Admin"')
    shown = [line.rstrip() for line in simple.run("%cache_keys").splitlines()]
    assert "color       string  20 bytes  never    'green'" in shown
    assert "user|admin  hash    1 field   never" in shown
    assert "PONG" in simple.run("%redis PING")
    assert "usage" not in simple.run("%cache_get --help").lower()


def test_an_error_is_one_line(simple: Terminal) -> None:
    for line, said in (
        ("%cache_set k nothing + 1", "NameError: name 'nothing' is not defined"),
        ("%cache_get --foo", "%cache_get: there is no option --foo. Usage: %cache_get [--user [U]] [--shared] KEY"),
        (
            "%cache_connect foo://",
            "'foo://' is not the URL of a server; it begins with one of redis://, rediss://, "
            "unix://, sentinel://, cluster://, embedded://, memory://.",
        ),
    ):
        printed = [each for each in simple.run(line).splitlines() if each.strip()]
        assert [each for each in printed if each != line] == [said]


def test_cells_are_requests(simple: Terminal) -> None:
    simple.run("frappe.cache.set_value('k', 1)")
    assert "(1, 1)" in simple.run("frappe.cache.get_value('k'), len(frappe.local.cache)")
    assert "Out[5]: 0" in simple.run("len(frappe.local.cache)")
    simple.run("import asyncio")
    assert "(1, 1)" in simple.run("await asyncio.sleep(0, 1), len([frappe.cache.get_value('k')])")
    assert ": 0" in simple.run("len(frappe.local.cache)")


def test_unloading(simple: Terminal) -> None:
    simple.run("%unload_ext frappe_cache_ext")
    assert "not found" in simple.run("%cache_get k")
    assert "No module named 'frappe'" in simple.run("import frappe")
    simple.run("%load_ext frappe_cache_ext")


def test_tab_completes_a_key(environment: dict[str, str], site: str) -> None:
    terminal = Terminal(environment)
    try:
        terminal.run("%load_ext frappe_cache_ext")
        terminal.run(f"%cache_site {site}")
        terminal.run("%cache_set a_long_key_name 41 + 1")
        terminal.child.send("%cache_get a_lo\t")
        terminal.child.expect("a_long_key_name")
        assert "42" in terminal.run("")
        terminal.run("%cache_clear")
    finally:
        terminal.close()
