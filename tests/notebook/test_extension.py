"""What `%load_ext` puts into a shell, and that `%unload_ext` leaves nothing of it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from frappe_cache_ext import context
from frappe_cache_ext.notebook import extension
from tests.support import RedisServer, run_python

MAGICS = {
    *("cache_connect", "cache_site", "cache_user", "cache_set", "cache_get", "cache_del", "cache_hset", "cache_hget"),
    *("cache_hgetall", "cache_hdel", "cache_keys", "cache_ttl", "cache_stats", "cache_clear", "redis"),
    *("cached", "cached_auto", "cached_clear", "cached_list", "cached_why"),
    "cache_doc",
}


def _everything(ip: InteractiveShell) -> dict[str, Any]:
    """All that an extension could leave in a shell."""
    manager = ip.magics_manager
    return {
        "line": dict(manager.magics["line"]),
        "cell": dict(manager.magics["cell"]),
        "registry": dict(manager.registry),
        "configurables": list(ip.configurables),
        "matchers": list(ip.Completer.custom_matchers),
        "transformers": list(ip.input_transformers_post),
        "events": {name: list(found) for name, found in ip.events.callbacks.items()},
        # IPython itself notes what was typed: _i, _i1, ...
        "names": {name for name in ip.user_ns if not name.startswith("_")},
        "hidden": {name for name in ip.user_ns_hidden if not name.startswith("_")},
        "modules": {name for name in sys.modules if name.partition(".")[0] == "frappe"},
        "follows": context._defaults.follows_cells,
        "request": context.current_request(),
    }


@pytest.fixture
def bare(ip: InteractiveShell) -> Iterator[InteractiveShell]:
    ip.user_ns.pop("frappe", None)
    yield ip
    extension.unload(ip)
    ip.user_ns.pop("frappe", None)


def test_the_magics_are_there_and_no_others(bare: InteractiveShell) -> None:
    before = _everything(bare)
    extension.load(bare)
    after = _everything(bare)
    assert set(after["line"]) - set(before["line"]) == MAGICS
    assert set(after["cell"]) - set(before["cell"]) == {"cached"}


def test_unloading_leaves_nothing(bare: InteractiveShell) -> None:
    before = _everything(bare)
    extension.load(bare)
    changed = [name for name, value in _everything(bare).items() if value != before[name]]
    assert set(changed) == set(before) - {"hidden"}
    bare.run_cell("%cache_set a 1", store_history=True)
    extension.unload(bare)
    assert _everything(bare) == before


def test_loading_twice_is_loading_once(bare: InteractiveShell) -> None:
    extension.load(bare)
    once = _everything(bare)
    extension.load(bare)
    assert _everything(bare) | {"request": None} == once | {"request": None}


def test_unloading_what_is_not_loaded_does_nothing(bare: InteractiveShell) -> None:
    before = _everything(bare)
    extension.unload(bare)
    assert _everything(bare) == before


def test_the_usual_magics_load_and_unload_it(bare: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    before = _everything(bare)
    for cell in ("load_ext", "reload_ext", "load_ext", "unload_ext"):
        assert bare.run_cell(f"%{cell} frappe_cache_ext", store_history=True).success
    assert "already loaded" in capsys.readouterr().out
    assert _everything(bare) == before


def test_frappe_is_what_import_frappe_gives(bare: InteractiveShell) -> None:
    extension.load(bare)
    assert bare.user_ns["frappe"] is importlib.import_module("frappe")


def test_a_name_of_the_users_is_kept(bare: InteractiveShell) -> None:
    bare.user_ns["frappe"] = 42
    extension.load(bare)
    assert bare.user_ns["frappe"] == 42
    extension.unload(bare)
    assert bare.user_ns["frappe"] == 42


def test_a_name_that_the_user_gave_away_is_kept(bare: InteractiveShell) -> None:
    extension.load(bare)
    bare.user_ns["frappe"] = 42
    extension.unload(bare)
    assert bare.user_ns["frappe"] == 42


def test_a_magic_that_was_there_comes_back(bare: InteractiveShell) -> None:
    def redis(line: str) -> str:
        return line

    bare.register_magic_function(redis, "line")
    try:
        extension.load(bare)
        assert bare.magics_manager.magics["line"]["redis"] != redis
        extension.unload(bare)
        assert bare.magics_manager.magics["line"]["redis"] == redis
    finally:
        del bare.magics_manager.magics["line"]["redis"]


def test_a_magic_that_came_later_stays(bare: InteractiveShell) -> None:
    def cached(line: str) -> str:
        return line

    extension.load(bare)
    bare.register_magic_function(cached, "line")
    try:
        extension.unload(bare)
        assert bare.magics_manager.magics["line"]["cached"] == cached
    finally:
        bare.magics_manager.magics["line"].pop("cached", None)


def test_settings_come_from_ipythons_configuration(bare: InteractiveShell) -> None:
    bare.config.CacheMagics.max_rows = 7
    try:
        extension.load(bare)
        assert bare.magics_manager.registry["CacheMagics"].max_rows == 7
    finally:
        del bare.config["CacheMagics"]


@pytest.mark.alone
def test_loading_is_quick_and_loads_nothing_heavy(tmp_path: Path) -> None:
    code = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
ip = InteractiveShell(config=config)
before = set(sys.modules)
# Loading is work for the processor alone; how long others have it meanwhile is not the extension's.
started = time.process_time()
ip.run_line_magic("load_ext", "frappe_cache_ext")
took = time.process_time() - started
heavy = ("redis", "fakeredis", "asyncio", "numpy", "pandas", "matplotlib", "sqlalchemy", "platformdirs")
print(json.dumps([took, [name for name in heavy if name in set(sys.modules) - before]]))
"""
    # Users' interpreters keep what they have compiled; those of a container may be told not to.
    settings = {"IPYTHONDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    runs = [json.loads(run_python(code, **settings)) for _ in range(3)]
    assert [heavy for _, heavy in runs] == [[], [], []]
    # On a machine half as fast it takes twice as long, as does whatever else is imported there.
    other = "import time; started = time.process_time(); import redis; print(time.process_time() - started)"
    assert min(took for took, _ in runs) < max(0.15, min(float(run_python(other)) for _ in range(3)))


FAKE_FRAPPE = '''
calls = []

class Cache:
    """Records what is asked of it, as much of Frappe's wrapper as the magics use."""

    def __init__(self):
        self.entries = {}
        self.hashes = {}

    def make_key(self, key, user=None, shared=False):
        return f"db|{'user:' + user + ':' if user else ''}{key}".encode()

    def ping(self):
        calls.append("ping")

    def type(self, name):
        return b"string" if name in self.entries else b"hash" if name in self.hashes else b"none"

    def set_value(self, key, val, user=None, expires_in_sec=None, shared=False):
        calls.append(("set_value", key, val, user, expires_in_sec, shared))
        self.entries[self.make_key(key, user, shared)] = val

    def get_value(self, key, generator=None, user=None, expires=False, shared=False):
        return self.entries.get(self.make_key(key, user, shared))

    def exists(self, *names, user=None, shared=False):
        return sum(self.make_key(name, user, shared) in self.entries for name in names)

    def delete_value(self, keys, user=None, make_keys=True, shared=False):
        calls.append(("delete_value", keys))
        for key in keys:
            self.entries.pop(self.make_key(key, user, shared), None)

    def hset(self, name, key, value):
        self.hashes.setdefault(self.make_key(name), {})[key] = value

    def hget(self, name, key):
        return self.hashes.get(self.make_key(name), {}).get(key)

    def hexists(self, name, key):
        return key in self.hashes.get(self.make_key(name), {})

    def hgetall(self, name):
        return {key.encode(): value for key, value in self.hashes[self.make_key(name)].items()}

    def get_keys(self, key):
        return [name for name in (*self.entries, *self.hashes) if name.startswith(self.make_key(key))]


class Local:
    site = "real.localhost"
    session = None

local = Local()
cache = Cache()
session = None

def clear_cache(user=None, doctype=None):
    calls.append(("clear_cache", user, doctype))
    cache.entries.clear()

def init(site):
    if site == "nowhere":
        raise OSError("nowhere does not exist")
    calls.append(("init", site))
    local.site = site

def destroy():
    calls.append("destroy")

def set_user(user):
    calls.append(("set_user", user))
'''


class TestRealFrappe:
    @pytest.fixture
    def frappe(self, bare: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        (tmp_path / "frappe").mkdir()
        (tmp_path / "frappe" / "__init__.py").write_text(FAKE_FRAPPE)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        extension.load(bare)
        yield sys.modules["frappe"]
        extension.unload(bare)
        del sys.modules["frappe"]

    def test_it_stays_what_it_is(self, frappe: Any, bare: InteractiveShell) -> None:
        assert frappe.__file__.endswith("__init__.py")
        assert bare.user_ns["frappe"] is frappe
        assert "frappe.utils" not in sys.modules
        extension.unload(bare)
        assert sys.modules["frappe"] is frappe
        assert "frappe" not in bare.user_ns

    def test_the_magics_work_on_its_cache(self, frappe: Any, bare: InteractiveShell) -> None:
        bare.run_line_magic("cache_set", "color 'green' --ttl 60 --user anna")
        assert frappe.calls[-1] == ("set_value", "color", "green", "anna", 60.0, False)
        assert bare.run_line_magic("cache_get", "color --user anna") == "green"
        bare.run_line_magic("cache_hset", "h name 'Admin'")
        assert bare.run_line_magic("cache_hget", "h name") == "Admin"
        assert bare.run_line_magic("cache_hgetall", "h") == {"name": "Admin"}
        bare.run_line_magic("cache_del", "color shape")
        assert frappe.calls[-1] == ("delete_value", ["color", "shape"])

    def test_a_stored_none_is_told_from_a_miss(
        self, frappe: Any, bare: InteractiveShell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bare.run_line_magic("cache_set", "nothing None")
        assert bare.run_line_magic("cache_get", "nothing") is None
        assert capsys.readouterr().out == ""
        assert bare.run_line_magic("cache_get", "missing") is None
        assert capsys.readouterr().out == "no such key: 'missing'\n"

    def test_cells_are_cached_on_its_server(
        self,
        frappe: Any,
        bare: InteractiveShell,
        capsys: pytest.CaptureFixture[str],
        redis_server: RedisServer,
    ) -> None:
        frappe.local.conf = {"redis_cache": redis_server.url}
        for said in ("computed", "cached"):
            bare.run_cell("%%cached\nanswer = 6 * 7")
            assert bare.user_ns.pop("answer") == 42
            assert capsys.readouterr().out.startswith(said)
        assert redis_server.command("KEYS", "db|cell::*") != ""

    def test_without_a_server_cells_run(
        self, frappe: Any, bare: InteractiveShell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bare.run_cell("%%cached\nanswer = 6 * 7")
        assert bare.user_ns.pop("answer") == 42
        assert capsys.readouterr().out == "not cached: Frappe's configuration names no redis_cache\n"

    def test_site_and_user_are_its_own(
        self, frappe: Any, bare: InteractiveShell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert bare.run_line_magic("cache_site", "") == "real.localhost"
        bare.run_line_magic("cache_site", "other.localhost")
        assert frappe.calls[-2:] == ["destroy", ("init", "other.localhost")]
        bare.run_line_magic("cache_user", "anna")
        assert frappe.calls[-1] == ("set_user", "anna")
        capsys.readouterr()
        assert not bare.run_cell("%cache_site nowhere", store_history=True).success
        assert capsys.readouterr().err == "OSError: nowhere does not exist\n"
        assert not bare.run_cell("%cache_connect redis://localhost", store_history=True).success
        assert capsys.readouterr().err.startswith("Frappe itself is installed here")

    def test_it_clears_itself(self, frappe: Any, bare: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        bare.run_line_magic("cache_set", "color 1")
        bare.run_line_magic("cache_clear", "")
        assert frappe.calls[-1] == ("clear_cache", None, None)
        assert capsys.readouterr().out == "cleared 1 key: site real.localhost\n"
