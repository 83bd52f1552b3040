"""Keeping a lease alive while its holder is still at work."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

from .connections import Connection
from .effects import Lease, RunScript
from .errors import CacheUnavailable
from .operations import LEASE
from .scripts import RENEW_LEASE

BEAT: Final = LEASE / 3
"""Seconds between two renewals: two may fail before the lease runs out."""


class Heartbeat:
    """One thread for the whole process that renews the leases under which functions are running."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._wake = threading.Condition()
        self._kept: dict[Lease, Connection] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def keep(self, lease: Lease, connection: Connection) -> Iterator[None]:
        """Renew a lease until the block ends."""
        with self._wake:
            self._kept[lease] = connection
            if self._thread is None:
                thread = threading.Thread(target=self._beat, name="frappe-cache-leases", daemon=True)
                # Where there are no threads, or no more, a lease runs out early: the work may be done twice, no worse.
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    self._thread = None
        try:
            yield
        finally:
            with self._wake:
                self._kept.pop(lease, None)

    def stop(self) -> None:
        """End the thread, if no lease is being kept."""
        with self._wake:
            thread = self._thread
            if thread is None or self._kept:
                return
            self._thread = None
            self._wake.notify_all()
        thread.join()

    def _beat(self) -> None:
        while True:
            with self._wake:
                self._wake.wait(BEAT)
                if self._thread is not threading.current_thread():
                    return
                kept = list(self._kept.items())
            for lease, connection in kept:
                # Out of reach, or lost to another: storing will be refused, and nothing else needs to know.
                with contextlib.suppress(CacheUnavailable):
                    connection.perform(RunScript(RENEW_LEASE, (lease.name,), (lease.token, int(LEASE * 1000))))


heartbeat = Heartbeat()
os.register_at_fork(after_in_child=heartbeat._forget)
