"""`import frappe` where there is no Frappe, and hands off where there is one."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import frappe_cache_ext
from frappe_cache_ext import caching, context, redis_wrapper, shim
from frappe_cache_ext.codec import Codec
from frappe_cache_ext.stand_ins import StandIn, stand_in_class
from tests.support import run_python


def _frappe_modules() -> list[str]:
    return sorted(name for name in sys.modules if name.partition(".")[0] == "frappe")


@pytest.fixture
def no_frappe() -> Iterator[None]:
    if shim.real_frappe_exists():
        pytest.skip("a real Frappe is installed here")
    yield
    shim.uninstall()
    assert _frappe_modules() == []


@pytest.fixture
def installed(no_frappe: None) -> None:
    shim.install()


@pytest.mark.usefixtures("installed")
class TestInstalled:
    def test_the_lines_of_frappe_code_import(self) -> None:
        names: dict[str, object] = {}
        exec(
            "import frappe\n"
            "import frappe.utils.caching\n"
            "import frappe.cache_manager as manager\n"
            "from frappe import _dict, utils\n"
            "from frappe.utils.caching import redis_cache, request_cache, site_cache\n"
            "from frappe.utils.redis_wrapper import RedisWrapper\n",
            names,
        )
        assert names["redis_cache"] is caching.redis_cache
        assert names["site_cache"] is caching.site_cache
        assert names["request_cache"] is caching.request_cache
        assert names["RedisWrapper"] is redis_wrapper.RedisWrapper
        assert names["_dict"] is frappe_cache_ext._dict
        assert names["frappe"].utils is names["utils"]  # type: ignore[attr-defined]

    def test_every_public_name_is_there(self) -> None:
        frappe = importlib.import_module("frappe")
        for name in frappe_cache_ext.__all__:
            if name != "conf":  # made anew each time
                assert getattr(frappe, name) is getattr(frappe_cache_ext, name)
        assert set(frappe_cache_ext.__all__) <= set(dir(frappe))
        names: dict[str, object] = {}
        exec("from frappe import *", names)
        assert names["cache"] is frappe_cache_ext.cache

    def test_frappes_dictionary_is_pickled_by_reference(self) -> None:
        value = frappe_cache_ext._dict(color="green")
        pickled = pickle.dumps(value, protocol=5)
        assert b"frappe" in pickled
        loaded = pickle.loads(pickled)
        assert type(loaded) is frappe_cache_ext._dict
        assert loaded.color == "green"

    def test_a_document_of_a_real_site_is_read_as_before(self) -> None:
        codec = Codec()
        document = stand_in_class("frappe.desk.doctype.tag.tag", "Tag")()
        document.__dict__["name"] = "urgent"
        loaded = codec.decode(codec.encode(document, b"k"), b"k")
        assert isinstance(loaded, StandIn)
        assert loaded.__dict__ == {"name": "urgent"}

    def test_what_looks_for_the_modules_finds_them(self) -> None:
        for name in ("frappe", "frappe.utils", "frappe.utils.caching"):
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.name == name
        assert importlib.util.find_spec("frappe.model") is None

    def test_what_is_not_there_is_named(self) -> None:
        frappe = importlib.import_module("frappe")
        with pytest.raises(
            AttributeError, match=r"module 'frappe', which frappe_cache_ext stands in for, .* 'nothing'"
        ):
            _ = frappe.nothing
        with pytest.raises(AttributeError):  # nobody may take this for a release of Frappe
            _ = frappe.__version__
        with pytest.raises(ModuleNotFoundError, match=r"frappe\.model"):
            importlib.import_module("frappe.model")

    def test_installing_twice_changes_nothing(self) -> None:
        before = {name: sys.modules[name] for name in _frappe_modules()}
        assert shim.install() is before["frappe"]
        assert {name: sys.modules[name] for name in _frappe_modules()} == before

    def test_the_repr_says_what_it_is(self) -> None:
        assert repr(sys.modules["frappe"]) == "<module 'frappe' (frappe_cache_ext stands in for it)>"


class TestCacheManager:
    @pytest.fixture(autouse=True)
    def site(self, installed: None) -> None:
        context.init("shim.test", url="memory://shim")
        frappe_cache_ext.cache.delete_keys("")

    def test_it_clears_one_user(self) -> None:
        from frappe.cache_manager import clear_user_cache  # type: ignore[import-not-found]

        cache = frappe_cache_ext.cache
        cache.set_value("a", 1, user="anna")
        cache.set_value("a", 1, user="ben")
        cache.hset("bootinfo", "anna", 1)
        clear_user_cache("anna")
        assert cache.get_value("a", user="anna") is None
        assert cache.hget("bootinfo", "anna") is None
        assert cache.get_value("a", user="ben") == 1

    def test_it_clears_all_users_and_nothing_else(self) -> None:
        from frappe.cache_manager import clear_user_cache

        cache = frappe_cache_ext.cache
        cache.set_value("a", 1, user="anna")
        cache.hset("bootinfo", "anna", 1)
        cache.set_value("b", 2)
        clear_user_cache()
        assert cache.get_keys() == [cache.make_key("b")]

    def test_it_clears_doctypes(self) -> None:
        from frappe.cache_manager import clear_doctype_cache

        cache = frappe_cache_ext.cache
        cache.set_value("document_cache::Tag::x", 1)
        cache.hset("doctype_meta", "Tag", 1)
        cache.hset("doctype_meta", "Note", 2)
        clear_doctype_cache("Tag")
        assert cache.hgetall("doctype_meta") == {"Note": 2}
        cache.set_value("document_cache::Note::x", 1)
        clear_doctype_cache()
        assert cache.get_keys() == []

    def test_it_clears_defaults_and_everything(self) -> None:
        from frappe.cache_manager import clear_defaults_cache, clear_global_cache

        cache = frappe_cache_ext.cache
        for user in ("anna", "ben"):
            cache.hset("defaults", user, 1)
        cache.set_value("b", 2)
        clear_defaults_cache("anna")
        assert cache.hgetall("defaults") == {"ben": 1}
        clear_defaults_cache()
        assert cache.hgetall("defaults") == {}
        clear_global_cache()
        assert cache.get_keys() == []


class TestRealFrappe:
    def test_a_frappe_that_can_be_imported_is_left_alone(
        self, no_frappe: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "frappe").mkdir()
        (tmp_path / "frappe" / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        assert shim.install() is None
        assert _frappe_modules() == []

    def test_a_frappe_that_is_imported_stays(self, no_frappe: None, monkeypatch: pytest.MonkeyPatch) -> None:
        real = type(sys)("frappe")  # no spec at all, as an embedding program may make one
        monkeypatch.setitem(sys.modules, "frappe", real)
        assert shim.install() is None
        shim.uninstall()
        assert sys.modules["frappe"] is real
        monkeypatch.undo()

    def test_a_bare_folder_of_that_name_is_no_frappe(
        self, no_frappe: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "frappe").mkdir()
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        assert shim.install() is not None

    def test_uninstalling_leaves_what_others_put_there(self, no_frappe: None, monkeypatch: pytest.MonkeyPatch) -> None:
        shim.install()
        other = type(sys)("frappe.other")
        monkeypatch.setitem(sys.modules, "frappe.other", other)
        shim.uninstall()
        assert _frappe_modules() == ["frappe.other"]
        monkeypatch.undo()


def test_installing_loads_nothing_heavy() -> None:
    printed = run_python(
        "import sys\n"
        "from frappe_cache_ext import shim\n"
        "shim.install()\n"
        "import frappe.utils.caching\n"
        "print([name for name in ('redis', 'IPython', 'frappe_cache_ext.caching') if name in sys.modules])\n"
    )
    assert printed == "[]\n"
