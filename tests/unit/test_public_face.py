"""What `import frappe_cache_ext` gives, and what it costs."""

from __future__ import annotations

import pytest

import frappe_cache_ext as frappe
from tests.support import run_python


def test_every_public_name_is_there_and_sorted() -> None:
    # Constants, then classes, then the rest, each by name: the order that ruff keeps.
    assert frappe.__all__ == sorted(frappe.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in frappe.__all__:
        assert getattr(frappe, name) is not None
        assert name in dir(frappe)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        frappe.nonsense  # noqa: B018


def test_star_import() -> None:
    assert run_python("from frappe_cache_ext import *; print(redis_cache.__name__, cache is not None)") == (
        "redis_cache True\n"
    )


def test_the_guides_names() -> None:
    frappe.init("guide.test", url="memory://face")
    frappe.cache.set_value("key", "value")
    assert frappe.cache.get_value("key") == "value"
    assert frappe.cache().get_value("key") == "value"
    assert frappe.conf["db_name"].startswith("_")
    assert frappe.local.site == "guide.test"
    assert frappe.session.user == "Administrator"
    frappe.connect()
    frappe.destroy()


def test_connect_says_what_is_wrong() -> None:
    with pytest.raises(frappe.CacheUnavailable, match="refused"):
        frappe.connect("a.test", url="redis://127.0.0.1:1")


def test_importing_loads_nothing_heavy() -> None:
    code = """
import sys
before = set(sys.modules)
import frappe_cache_ext
frappe_cache_ext.cache
frappe_cache_ext.redis_cache
heavy = ("redis", "fakeredis", "IPython", "asyncio", "numpy", "pandas", "matplotlib", "sqlalchemy", "platformdirs")
print([name for name in heavy if name in set(sys.modules) - before])
"""
    assert run_python(code).strip() == "[]"
