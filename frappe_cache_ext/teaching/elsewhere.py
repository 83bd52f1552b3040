"""A second process on the learner's site, and the connection over which this one hears of it."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from .. import context
from ..connections import current_connection
from ..redis_wrapper import RedisWrapper

PATIENCE: Final = 15.0
"""Seconds that anything may take on a busy machine before it is given up."""

_PROGRAM: Final = "from frappe_cache_ext.teaching.elsewhere import serve; serve()"
_TOLD: Final = ("url", "secret", "site", "db_name", "user")
"""The settings in which this process may differ from one that starts just so."""

_ALLOWED: Final = frozenset({"get_value", "set_value", "delete_value"})


class Elsewhere:
    """Another Python process on the current site. It starts at once, and ends with this one.

    Attributes:
        pid: its number.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # who interrupts a cell does not mean this process
        )
        self._lock = threading.Lock()
        self.pid = self._process.pid
        atexit.register(self.close)
        settings = context.current_settings()
        self._ask({name: getattr(settings, name) for name in _TOLD})

    def get_value(self, key: str) -> Any:
        """What that process reads."""
        return self._ask(("get_value", key))

    def set_value(self, key: str, value: Any) -> None:
        """Let that process store a value, and wait until it has."""
        self._ask(("set_value", key, value))

    def delete_value(self, key: str) -> None:
        """Let that process delete a key, and wait until it has."""
        self._ask(("delete_value", key))

    def close(self) -> None:
        """End the process."""
        atexit.unregister(self.close)
        with self._lock, contextlib.suppress(OSError):
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process.wait(PATIENCE)

    def _ask(self, request: Any) -> Any:
        """Send one request and wait for its answer.

        Raises:
            RuntimeError: the process could not do it.
        """
        tell, hear = self._process.stdin, self._process.stdout
        if tell is None or hear is None:
            raise RuntimeError("The other process has no pipes.")
        with self._lock:
            pickle.dump(request, tell)
            tell.flush()
            answer, error = pickle.load(hear)  # noqa: S301  (our own child's pipe)
        if error is not None:
            raise RuntimeError(f"The other process: {error}")
        return answer


def serve() -> None:
    """What the other process does: one request of its parent's after the other, until the pipe closes."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    cache = RedisWrapper()
    while True:
        try:
            request = pickle.load(requests)  # noqa: S301  (our own parent's pipe)
        except EOFError:
            return
        answer, error = None, None
        try:
            if isinstance(request, tuple):
                answer = _call(cache, *request)
            else:
                context.enter(dataclasses.replace(context.current_settings(), **request))
        except Exception as problem:  # it is the parent who has to know
            error = repr(problem)
        pickle.dump((answer, error), answers)
        answers.flush()


def _call(cache: RedisWrapper, method: str, *args: Any) -> Any:
    if method not in _ALLOWED:
        raise ValueError(f"{method!r} is none of {sorted(_ALLOWED)}.")
    with context.request():
        return getattr(cache, method)(*args)


# --- the connection that hears of changes -------------------------------------------------------------------------


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it was not, for `PATIENCE` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Nothing has come of it for {PATIENCE:g} seconds.")
        time.sleep(0.002)


@contextlib.contextmanager
def cut_off() -> Iterator[None]:
    """Let the server kill the connection over which this process hears of changes, and allow no new one meanwhile.

    Nobody else's connection is touched. The block begins when the loss is noticed; after it the process connects anew.
    """
    connection = current_connection()
    listener = connection.listener
    names = vars(listener)
    connect = names["_connect"]

    def refuse() -> Any:
        from redis.exceptions import ConnectionError as LostConnection  # noqa: PLC0415  (redis is loaded by now)

        raise LostConnection("cut off for a lesson")

    names["_connect"] = refuse
    try:
        if listener.number is not None:
            connection.client.client_kill_filter(_id=listener.number)
        wait_until(lambda: not connection.copies.good)
        yield
    finally:
        names["_connect"] = connect
