"""Keeping alive what runs out unless its holder, still at work, renews it: a lease, a transaction's marks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

from .connections import Connection
from .context import when_destroyed
from .effects import Lease, RunScript
from .errors import CacheUnavailable
from .forks import when_forked
from .operations import LEASE, lease_renewal

BEAT: Final = LEASE / 3
"""Seconds between two renewals: two may fail before the lease runs out."""


class Heartbeat:
    """One thread for the whole process that sends again and again what keeps its callers' rights alive."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._wake = threading.Condition()
        self._kept: dict[object, tuple[RunScript, Connection]] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def keep(self, lease: Lease, connection: Connection) -> Iterator[None]:
        """Renew a lease until the block ends."""
        self.begin(lease, lease_renewal(lease, LEASE), connection)
        try:
            yield
        finally:
            self.end(lease)

    def begin(self, holder: object, renewal: RunScript, connection: Connection) -> None:
        """Send a renewal every `BEAT` seconds until `end` is called; for the same holder, in place of the last one."""
        with self._wake:
            self._kept[holder] = renewal, connection
            if self._thread is None:
                thread = threading.Thread(target=self._beat, name="frappe-cache-leases", daemon=True)
                # Where there are no threads, or no more, a lease runs out early: the work may be done twice, no worse.
                # Marks that run out are set anew before the commit.
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    self._thread = None

    def end(self, holder: object) -> None:
        """Renew it no more."""
        with self._wake:
            self._kept.pop(holder, None)

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
                kept = list(self._kept.values())
            for renewal, connection in kept:
                # Out of reach, or lost to another: storing will be refused, and nothing else needs to know.
                with contextlib.suppress(CacheUnavailable):
                    connection.perform(renewal)


heartbeat = Heartbeat()
when_destroyed(heartbeat.stop)
when_forked(heartbeat._forget)
