"""What happens in a child process, first of all: locks that it finds open, whoever held them in its parent.

A fork copies the thread that forks and no other. What another thread held at that moment nobody would ever let go of in
the child. That is harmless to undo where a lock only keeps single steps apart, each of which leaves things in order.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

Lock = TypeVar("Lock")

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def open_in_child(lock: Lock) -> Lock:
    """Have a lock, of whatever kind, open in each child process; the lock."""
    _locks.add(lock)
    return lock


def new_lock() -> threading.Lock:
    """A lock like any other, but open in each child process."""
    return open_in_child(threading.Lock())


def when_forked(call: Callable[[], object]) -> None:
    """Have a function called in each child process, before anything else; never where none can be, in the browser."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def _after_fork() -> None:
    for lock in _locks:
        lock._at_fork_reinit()  # as the standard library does it, in `logging` for instance


when_forked(_after_fork)
