"""A notebook's ground: sites of its own on the server, work that is counted, and a cache to try functions on."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import dataclasses
import re
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

from .. import context
from ..clearing import clear_cache
from ..connections import current_connection
from ..settings import Settings
from . import shell

_TOKEN: Final = secrets.token_hex(4)
"""Tells this kernel's sites from those of every other learner, and every other kernel, on the same server."""

_TRIAL_URL: Final = "memory://teaching-checks"

_started: list[Settings] = []


def start(notebook: str) -> None:
    """Give a notebook a cache of its own, empty, and forget whatever an earlier run of its cells left there.

    The site's name has a part that is new with each kernel, so that nobody who works on the same server meets another's
    keys; when the kernel ends, they are deleted.

    Args:
        notebook: the notebook's name.

    Raises:
        CacheUnavailable: the server does not answer; the message says why.
        ServerError: the embedded server cannot be started.
    """
    _enter_site(notebook)
    shell.enter()
    print("Ready: this notebook has a cache of its own, and it is empty.")


def make_sites(*names: str) -> tuple[str, ...]:
    """Make more sites for a notebook, empty as well, and return their full names; the current site stays.

    Args:
        *names: what the sites' names begin with.
    """
    current = context.current_settings()
    sites = tuple(_enter_site(name) for name in names)
    context.enter(current)
    return sites


def _enter_site(name: str) -> str:
    site = f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{_TOKEN}"
    # Not `init`, which would look for the site on a bench that the learner's settings name.
    settings = dataclasses.replace(context.current_settings(), site=site, db_name="", user="Administrator")
    context.enter(settings)
    current_connection().check()
    clear_cache()
    if settings not in _started:
        if not _started:
            atexit.register(_clear_started)
        _started.append(settings)
    return settings.site


def _clear_started() -> None:
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # the server may have gone first
        warnings.simplefilter("ignore")
        for settings in _started:
            with context.visiting(settings):
                if current_connection().is_open:  # not to start a server for it
                    clear_cache()
    _started.clear()


def short_name(site: str) -> str:
    """A site's name as `start` and `make_sites` were given it, without the part that is new with each kernel."""
    return site.removesuffix(f"-{_TOKEN}")


@contextlib.contextmanager
def trial() -> Iterator[Any]:
    """Run a block on an empty cache in memory, where no work takes time; yields the client underneath.

    A learner's function can be called there as often as a check needs, whatever keys it writes, and the notebook's own
    cache knows nothing of it.
    """
    settings = dataclasses.replace(context.current_settings(), url=_TRIAL_URL, secret=None, site="trial", db_name="")
    with unpaid(), context.visiting(settings):
        client = current_connection().client
        client.flushall()
        yield client


# --- work that is counted -----------------------------------------------------------------------------------------

_unpaid: contextvars.ContextVar[bool] = contextvars.ContextVar("teaching_unpaid", default=False)


@contextlib.contextmanager
def unpaid() -> Iterator[None]:
    """Run a block in which no work takes time, though it is counted."""
    token = _unpaid.set(True)
    try:
        yield
    finally:
        _unpaid.reset(token)


class _Counter:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0


_counter: Final = _Counter()


_witness: contextvars.ContextVar[list[float] | None] = contextvars.ContextVar("teaching_witness", default=None)


@contextlib.contextmanager
def witnessed() -> Iterator[list[float]]:
    """Take down the work that this thread does in a block, each by its seconds."""
    seen: list[float] = []
    token = _witness.set(seen)
    try:
        yield seen
    finally:
        _witness.reset(token)


def work(seconds: float = 1) -> None:
    """Stand for an expensive computation: take some time, and be counted.

    Args:
        seconds: how long it takes.
    """
    with _counter.lock:
        _counter.count += 1
    witness = _witness.get()
    if witness is not None:
        witness.append(seconds)
    if not _unpaid.get():
        time.sleep(seconds)


def count_runs(function: Callable[..., Any] | None = None) -> int:
    """How often the work was done so far in this process.

    Args:
        function: where it counts its own misses, as a function under `redis_cache` does, those are meant; for any other
            function, and for None, it is the calls of `work`.
    """
    info = getattr(function, "cache_info", None)
    misses: int = info().misses if callable(info) else _counter.count
    return misses
