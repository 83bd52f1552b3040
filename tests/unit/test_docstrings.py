"""Every example in a docstring runs and shows what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import frappe_cache_ext

# Both need an IPython to be in, and have tests of their own.
ELSEWHERE = ("frappe_cache_ext.notebook", "frappe_cache_ext.__main__")
MODULES = [
    found.name
    for found in pkgutil.walk_packages(frappe_cache_ext.__path__, "frappe_cache_ext.")
    if not found.name.startswith(ELSEWHERE)
]


def test_the_modules_were_found() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_some_were_found() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(len(test.examples) for module in modules for test in finder.find(module)) > 30
