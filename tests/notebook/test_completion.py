"""What Tab offers, and that it never keeps the prompt waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter

import frappe_cache_ext
from frappe_cache_ext import connections, context
from tests.support import RedisServer, free_port

from .conftest import Shell

cache = frappe_cache_ext.cache


@pytest.fixture
def tab(shell: Shell) -> Callable[[str], list[str]]:
    """The whole lines that Tab would make of one."""

    def lines(text: str) -> list[str]:
        shell.capsys.readouterr()
        with provisionalcompleter():
            found = list(shell.ip.Completer.completions(text, len(text)))
        assert shell.capsys.readouterr() == ("", "")
        # Where we have nothing to offer, IPython offers what it has: files, keywords.
        return [text[: each.start] + each.text for each in found if each.type in ("cache", "instance")]

    return lines


@pytest.mark.usefixtures("shell")
class TestKeys:
    @pytest.fixture(autouse=True)
    def entries(self, shell: Shell) -> None:
        cache.set_value("color", 1)
        cache.set_value("colour scheme", 1)
        cache.hset("colors", "red", 1)
        cache.hset("colors", "rosé wine", 1)
        cache.set_value("a*b", 1)
        cache.set_value("back\nslash", 1)
        cache.set_value("color", 1, user="anna")

    def test_values_for_what_reads_values(self, tab: Callable[[str], list[str]]) -> None:
        assert tab("%cache_get col") == ["%cache_get color"]
        assert tab("%cache_get ") == [
            "%cache_get 'colour scheme'",
            "%cache_get a*b",
            "%cache_get color",
            "%cache_get user:anna:color",
        ]

    def test_hashes_and_fields_for_what_reads_hashes(self, tab: Callable[[str], list[str]]) -> None:
        assert tab("%cache_hget ") == ["%cache_hget colors"]
        assert tab("%cache_hgetall col") == ["%cache_hgetall colors"]
        assert tab("%cache_hget colors ") == ["%cache_hget colors 'rosé wine'", "%cache_hget colors red"]
        assert tab("%cache_hdel colors red re") == ["%cache_hdel colors red red"]
        assert tab("%cache_hgetall colors ") == []

    def test_all_of_them_for_what_deletes(self, tab: Callable[[str], list[str]]) -> None:
        assert tab("%cache_del x col") == ["%cache_del x color", "%cache_del x colors"]
        assert tab("%cache_ttl col") == ["%cache_ttl color", "%cache_ttl colors"]

    def test_in_quotes(self, tab: Callable[[str], list[str]]) -> None:
        assert tab("%cache_get 'col") == ["%cache_get 'color'", "%cache_get 'colour scheme'"]
        assert tab('%cache_get "colour s') == ['%cache_get "colour scheme"']

    def test_what_is_typed_is_taken_literally(self, tab: Callable[[str], list[str]]) -> None:
        assert tab("%cache_get a*") == ["%cache_get a*b"]
        assert tab("%cache_get [a-z]") == []

    def test_where_the_value_is_assigned_and_without_the_percent_sign(self, tab: Callable[[str], list[str]]) -> None:
        assert tab("x = %cache_get colo") == ["x = %cache_get color"]
        assert tab("cache_get colo") == ["cache_get color"]
        assert tab("a = 1\n%cache_get colo")[0].endswith("%cache_get color")

    def test_names_on_the_wire_for_raw_commands(self, tab: Callable[[str], list[str]]) -> None:
        name = cache.make_key("color").decode()
        assert f"%redis GET {name}" in tab("%redis GET ")
        assert tab(f"%redis GET {name}") == [f"%redis GET {name}", f"%redis GET {name}s"]

    def test_only_this_sites(self, shell: Shell, tab: Callable[[str], list[str]]) -> None:
        shell.run("%cache_site elsewhere.test")
        assert tab("%cache_get ") == []

    def test_no_more_than_some_hundreds(self, tab: Callable[[str], list[str]]) -> None:
        with cache.redis.pipeline() as pipeline:
            for number in range(2000):
                pipeline.set(cache.make_key(f"n{number}"), b"\x80\x05N.")
            pipeline.execute()
        assert len(tab("%cache_get n")) == 300

    def test_leases_are_no_keys(self, tab: Callable[[str], list[str]]) -> None:
        from frappe_cache_ext.operations import lease_name

        cache.redis.set(lease_name(cache.make_key("color")), b"token")
        assert tab("%cache_get colo") == ["%cache_get color"]


class TestOptions:
    @pytest.mark.parametrize(
        ("line", "options"),
        [
            ("%cache_set --", ["--help", "--shared", "--ttl", "--user"]),
            ("%cache_set k 1 --t", ["--ttl"]),
            ("%cache_get --s", ["--shared"]),
            ("%cached f(3) --r", ["--refresh"]),
            ("%cached --re", ["--refresh"]),
            ("%cached --a", []),
            ("%%cached --i", ["--if", "--ignore"]),
            ("%%cached name --wai", ["--wait"]),
            ("%cache_connect --", ["--bench", "--help", "--site"]),
            ("%cache_clear --d", ["--doctype"]),
            ("%cache_stats --", ["--help"]),
        ],
    )
    def test_of_each_magic(self, tab: Callable[[str], list[str]], line: str, options: list[str]) -> None:
        head = line[: line.rindex("--")]
        assert tab(line) == [head + option for option in options]

    def test_servers(self, tab: Callable[[str], list[str]]) -> None:
        assert tab("%cache_connect re") == ["%cache_connect redis://", "%cache_connect rediss://"]

    def test_expressions_are_pythons(self, shell: Shell, tab: Callable[[str], list[str]]) -> None:
        shell.run("temperature = 20")
        assert tab("%cached temperat") == ["%cached temperature"]
        assert tab("%cached 1 + temperat") == ["%cached 1 + temperature"]
        assert tab("%cache_set k f(temperat") == ["%cache_set k f(temperature"]
        assert tab("%cache_set k x.temperat") == []

    def test_other_lines_are_not_ours(self, tab: Callable[[str], list[str]]) -> None:
        cache.set_value("color", 1)
        for line in ("print(colo", "%time colo", "# %cache_get colo", "cached = colo"):
            assert not any(found.endswith("color") for found in tab(line))


class TestSites:
    def test_of_the_bench(self, shell: Shell, tab: Callable[[str], list[str]], tmp_path: Path) -> None:
        (tmp_path / "sites").mkdir()
        (tmp_path / "sites" / "common_site_config.json").write_text("{}")
        for site in ("a.localhost", "b.localhost"):
            (tmp_path / "sites" / site).mkdir()
            (tmp_path / "sites" / site / "site_config.json").write_text(f'{{"db_name": "_{site[0]}"}}')
        assert tab("%cache_site ") == []
        line = f"%cache_connect --bench {tmp_path} --site "
        assert tab(line) == [f"{line}a.localhost", f"{line}b.localhost"]
        shell.run(f"frappe.init('a.localhost', bench={str(tmp_path)!r}, url='memory://sites')")
        assert tab("%cache_site ") == ["%cache_site a.localhost", "%cache_site b.localhost"]
        assert tab("%cache_site b") == ["%cache_site b.localhost"]
        assert tab("%cache_connect --site b") == ["%cache_connect --site b.localhost"]


class TestTrouble:
    def test_a_server_that_is_away(self, shell: Shell, tab: Callable[[str], list[str]]) -> None:
        shell.run(f"frappe.init(url='redis://127.0.0.1:{free_port()}')")
        assert tab("%cache_get c") == []
        assert connections.current_connection().down is None  # nobody has asked for anything yet

    @pytest.mark.alone
    def test_a_server_that_hangs(
        self, shell: Shell, tab: Callable[[str], list[str]], redis_server: RedisServer
    ) -> None:
        shell.run(f"%cache_connect {redis_server.url}")
        tab("%cache_get c")
        redis_server.freeze()
        try:
            started = time.monotonic()
            assert tab("%cache_get c") == []
            assert time.monotonic() - started < 0.3
        finally:
            redis_server.thaw()
        for thread in _completion_threads():
            thread.join(5)

    def test_a_wrong_setting(self, tab: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FRAPPE_CACHE_SITTE", "x")
        context._defaults.settings = None
        assert tab("%cache_get c") == []
        monkeypatch.delenv("FRAPPE_CACHE_SITTE")


def _completion_threads() -> list[Any]:
    import threading

    return [thread for thread in threading.enumerate() if thread.name == "frappe-cache-completion"]
