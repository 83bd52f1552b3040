"""What is done inside a kernel between two scenarios: everything that the last one touched is as it was at first."""

from __future__ import annotations

import contextlib
import decimal
import importlib
import io
import os
import random
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.core.getipython import get_ipython

from tests.cells.state import snapshot

_SHELL: Any = get_ipython()


class _First:
    """How the kernel was before the first scenario."""

    def __init__(self) -> None:
        plt.figure()  # matplotlib chooses its backend and sets itself up for it when it first draws
        plt.close("all")
        self.names = dict(_SHELL.user_ns)
        self.environment = dict(os.environ)
        self.path = list(sys.path)
        self.filters = list(warnings.filters)
        self.printing: Mapping[str, Any] = np.get_printoptions()
        self.errors = np.geterr()
        self.parameters = dict.copy(mpl.rcParams)
        self.modules = set(sys.modules)
        self.settings = {id(part): dict(part._trait_values) for part in _SHELL.configurables}


_first: list[_First] = []


def begin(folder: str, seed: int, site: str) -> None:
    """Make the kernel as it was before the first scenario, for the next one.

    Args:
        folder: the scenario's own, with its modules and files.
        seed: for the global random generators, which in a fresh kernel are anyhow.
        site: the cache's; empty where the extension is not loaded.
    """
    if not _first:
        _first.append(_First())
    first = _first[0]
    _forget_names(first.names)
    os.environ.clear()
    os.environ.update(first.environment)
    os.chdir(folder)
    sys.path[:] = first.path
    for name in [name for name, module in sys.modules.items() if _is_under(module, folder)]:
        del sys.modules[name]
    importlib.invalidate_caches()
    _restore_libraries(first)
    random.seed(seed)
    np.random.seed(seed)
    for part in _SHELL.configurables:
        for name, value in first.settings.get(id(part), {}).items():
            if type(part).__module__.startswith("frappe_cache_ext") and getattr(part, name) != value:
                setattr(part, name, value)
    if site:
        with contextlib.redirect_stdout(io.StringIO()):
            _SHELL.run_line_magic("cache_site", site)


def state() -> str:
    """What the kernel holds, as JSON; the order inside `rcParams` does not count, whose own methods sort."""
    parameters = sorted(dict.items(mpl.rcParams))
    dict.clear(mpl.rcParams)
    dict.update(mpl.rcParams, parameters)
    return snapshot(shown=240)


def _forget_names(first: Mapping[str, Any]) -> None:
    names = _SHELL.user_ns
    for name in set(names) - set(first):
        del names[name]
    names.update({name: value for name, value in first.items() if name not in {"_", "__", "___", "In", "Out"}})
    names["_oh"].clear()
    hook = _SHELL.displayhook
    hook._, hook.__, hook.___ = "", "", ""
    # IPython binds them only where it finds what it has bound itself.
    for known in (names, _SHELL.user_ns_hidden):
        known.update(dict.fromkeys(("_", "__", "___"), ""))


def _restore_libraries(first: _First) -> None:
    plt.close("all")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dict.update(mpl.rcParams, first.parameters)
        pd.reset_option("all")
    warnings.filters[:] = first.filters  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]
    np.set_printoptions(**first.printing)
    np.seterr(**first.errors)
    decimal.setcontext(decimal.Context(prec=28))


def _is_under(module: Any, folder: str) -> bool:
    return (getattr(module, "__file__", None) or "").startswith(os.path.dirname(folder) + os.sep)  # noqa: PTH120
