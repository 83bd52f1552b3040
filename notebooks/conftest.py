"""Gives nbval's kernels a server: ``pytest --nbval notebooks --nbval-sanitize-with notebooks/sanitize.cfg``.

Fixtures do not run for a notebook's cells, so this is done in hooks, through the environment that kernels inherit.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from frappe_cache_ext import server
from frappe_cache_ext.errors import ServerNotFound

_home = pytest.StashKey[Path]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start a server for this run alone, unless FRAPPE_CACHE_URL names one; no setting of the machine's counts."""
    if not session.config.getoption("nbval", False):
        return
    for name in list(os.environ):
        if name.startswith("FRAPPE_CACHE_") and name != "FRAPPE_CACHE_URL":
            del os.environ[name]
    home = session.config.stash[_home] = Path(tempfile.mkdtemp(prefix="fcn-"))
    os.environ["FRAPPE_CACHE_HOME"] = str(home)
    # A learner's start-up files for IPython are no part of a notebook.
    os.environ["IPYTHONDIR"] = str(home / "ipython")
    if "FRAPPE_CACHE_URL" not in os.environ:
        try:
            server.start(home / "server")
        except ServerNotFound:
            os.environ["FRAPPE_CACHE_URL"] = "memory://"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Name the notebook's site before its kernel starts, with its first cell."""
    if item.path.suffix == ".ipynb":
        os.environ["FRAPPE_CACHE_SITE"] = f"nbval-{item.path.stem}-{os.getpid()}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the server that was started, and leave nothing behind."""
    home = session.config.stash.get(_home, None)
    if home is not None:
        server.stop(home / "server")
        shutil.rmtree(home, ignore_errors=True)
