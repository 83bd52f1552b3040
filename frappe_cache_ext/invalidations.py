"""Hearing of what changes on the server, so that copies in this process never outlive what they are copies of.

A connection of its own asks the server to name every key of some sites that changes, whoever read it
(`CLIENT TRACKING … BCAST PREFIX`, https://redis.io/docs/latest/develop/reference/client-side-caching/), and reads these
names in a thread. Asking for prefixes, not for the keys that were read, is what makes copies sound: the server forgets
which keys a connection has read the moment that connection closes, and says nothing of it, so that every thread's end
or lost socket would leave copies which nobody keeps right. The price, measured: 20,000 names of changed keys take a
process 2 ms.

* *Losing the connection.* The copies are dropped, nothing is kept, and once it stands again copies begin anew.
* *A connection that is dead and does not look it*, a server that hangs, a process that was stopped: the server is
  asked for a sign of life every `BEAT` seconds, and copies are good for `BOUND` seconds from the question that it
  answered last; what it was told to say before that has arrived before the answer. So in every case, without anybody's
  having to notice, a copy is at most `BOUND` seconds behind.
* *Not a moment later than needed.* While Python is busy in one thread another waits for it up to some milliseconds.
  So whoever has to ask the server anyway reads first what has come (`poll`), and so does every request as it begins.

The protocol is RESP2, in which a connection may redirect the names of changed keys to itself once it has subscribed to
them. Redis understands it from 6.0 on, Valkey always, and one connection is all it takes.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

from .clients import Link, address, out_of_reach
from .copies import Copies
from .wires import Wire

BEAT: Final = 0.3
"""Seconds between two questions for a sign of life."""

BOUND: Final = 1.0
"""Seconds for which copies are good after such a question was sent, if it was answered."""

FIRST_TRY: Final = 0.02
LAST_TRY: Final = 0.5
"""Seconds between two tries to listen again: doubled from the first to the last."""

FIRST_WAIT: Final = 0.25
"""Seconds that the first caller of all waits for the thread to listen: what it asks for is worth keeping, too."""

CHANNEL: Final = b"__redis__:invalidate"


class LeadsTo(Protocol):
    """Says where new connections lead."""

    def __call__(self, *, ask: bool) -> object:
        """An `address`; None where it is not known."""


class Refused(Exception):
    """The server names no changed keys to this user, or at all."""


class _Session:
    """One connection's life as a listener.

    Attributes:
        link: the connection.
        wire: what comes over it.
        number: by which the server knows it.
        prefixes: what the names of keys that it hears of begin with.
        address: where it leads.
        asked: when each question that is not answered yet was sent, in seconds of `time.monotonic`.
        over: whether it has ended.
    """

    def __init__(self, link: Link, prefixes: frozenset[bytes]) -> None:
        self.link = link
        self.wire = Wire(link)
        self.number = 0
        self.prefixes = prefixes
        self.address = address(link)
        self.asked: deque[float] = deque()
        self.over = False


class Listener:
    """Keeps the copies of one connection right.

    Args:
        copies: the copies.
        connect: makes a connection of redis-py, or raises what means that the server cannot be reached.
        leads_to: where new connections lead by now, None if that is not known; with ``ask=True`` whoever decides it is
            asked.

    Attributes:
        refused: why the server does not tell; None as far as is known.
    """

    def __init__(self, copies: Copies, connect: Callable[[], Link], leads_to: LeadsTo) -> None:
        self.copies = copies
        self.refused: str | None = None
        self._connect = connect
        self._leads_to = leads_to
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._listening = threading.Condition(self._lock)
        self._wanted: frozenset[bytes] = frozenset()
        self._session: _Session | None = None
        self._thread: threading.Thread | None = None
        self._waker: tuple[socket.socket, socket.socket] | None = None

    @property
    def number(self) -> int | None:
        """The number by which the server knows the listening connection; None while there is none."""
        session = self._session
        return None if session is None else session.number

    def hears_of(self, prefix: bytes, wait: float = FIRST_WAIT) -> bool:
        """Whether copies of keys with a prefix are kept right; if not yet, it is seen to.

        Args:
            prefix: what the keys' names begin with.
            wait: seconds to wait if nobody has listened before.
        """
        session = self._session
        if session is not None and prefix in session.prefixes:
            self.poll()
            return self.copies.good
        if self.refused is not None:
            return False
        return self._want(prefix, wait)

    def poll(self) -> None:
        """Read what has come, without waiting."""
        session = self._session
        if session is not None:
            try:
                self._read(session)
            except out_of_reach():
                self._end(session)

    def lead_to(self, where: object) -> None:
        """Learn where a connection that has just been made leads: with a listener elsewhere, copies begin anew."""
        if threading.current_thread() is self._thread:  # the listener's own, which may be the last to learn
            return
        session = self._session
        if session is not None and session.address != where:
            self.interrupt()

    def interrupt(self) -> None:
        """Drop the copies, and listen over a new connection."""
        session = self._session
        self.copies.stop()
        if session is not None:
            self._end(session)
            self._wake()

    def stop(self) -> None:
        """Drop the copies, end the thread and close its connection; the next copy begins anew."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._wanted = frozenset()
            self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.refused = None
        self.copies.stop()

    def after_fork(self) -> None:
        """Begin anew in a child process, which has no threads and must not read from its parent's sockets."""
        self._begin_anew()
        self.copies.after_fork()

    def _want(self, prefix: bytes, wait: float) -> bool:
        with self._lock:
            if prefix not in self._wanted:
                self._wanted |= {prefix}
                self._wake()
            if self._thread is not None:
                return False  # it tries, or has begun to
            try:
                self._waker = waker = socket.socketpair()
                waker[0].setblocking(False)
            except OSError:  # no more files
                return False
            self._thread = threading.Thread(target=self._listen, args=(waker,), name="frappe-cache-copies", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no threads here, or no more
                self._thread = None
                _close(waker)
                return False
            self._listening.wait_for(lambda: self.copies.good or self._thread is None, wait)
            return self.copies.good

    # --- the thread -----------------------------------------------------------------------------------------------

    def _listen(self, waker: tuple[socket.socket, socket.socket]) -> None:
        pause = FIRST_TRY
        try:
            while self._goes_on():
                try:
                    session = self._open()
                except Refused as error:
                    self.refused = str(error)
                    return
                except out_of_reach():
                    self._sleep(waker[0], pause)
                    pause = min(2 * pause, LAST_TRY)
                    continue
                pause = FIRST_TRY
                with contextlib.suppress(*out_of_reach()):
                    self._follow(session, waker[0])
                self._end(session)
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None
                self._listening.notify_all()
            _close(waker)

    def _goes_on(self, session: _Session | None = None) -> bool:
        if session is not None and (session.over or session.prefixes != self._wanted):
            return False
        return self._thread is threading.current_thread()

    def _open(self) -> _Session:
        with self._lock:
            prefixes = self._wanted
        link = self._connect()
        session = _Session(link, prefixes)
        try:
            asked = time.monotonic()
            session.number = _answer(session.wire, "CLIENT", "ID")
            options = [part for prefix in sorted(prefixes) for part in ("PREFIX", prefix)]
            _answer(session.wire, "CLIENT", "TRACKING", "ON", "REDIRECT", session.number, "BCAST", *options)
            _answer(session.wire, "PING")  # not every user may, and later it would look like a server that is not well
            _answer(session.wire, "SUBSCRIBE", CHANNEL)
            session.wire.stop_waiting()
        except BaseException:
            link.disconnect()
            raise
        with self._lock:
            if not self._goes_on():
                link.disconnect()
                raise ConnectionError("nobody wants to know any more")
            # Others may have been led elsewhere while this one was on its way.
            if self._leads_to(ask=False) not in {None, session.address}:
                link.disconnect()
                raise ConnectionError("the others lead to another server by now")
            self.copies.drop_all()
            self._session = session
            self.copies.good_until = asked + BOUND
            self._listening.notify_all()
        return session

    def _follow(self, session: _Session, waker: socket.socket) -> None:
        """Read from a connection until it breaks, or another is wanted."""
        ready = select.poll()
        with self._lock:
            if not self._goes_on(session):
                return
            ready.register(session.wire.socket, select.POLLIN)
        ready.register(waker, select.POLLIN)
        woken = waker.fileno()
        due = time.monotonic() + BEAT
        while self._goes_on(session):
            now = time.monotonic()
            if now >= due:
                self._ask_for_life(session, now)
                due = now + BEAT
            for file, _ in ready.poll(max(0, due - now) * 1000):
                if file == woken:
                    _empty(waker)
                else:
                    self._read(session)

    def _ask_for_life(self, session: _Session, now: float) -> None:
        if session.asked and now - session.asked[0] > BOUND:
            raise TimeoutError("the server gives no sign of life")
        # A master that was replaced while it was well answers as before, and for seconds nobody tells it.
        if self._leads_to(ask=True) not in {None, session.address}:
            raise ConnectionError("there is another master")
        with self._lock:
            if not session.over:
                session.asked.append(now)
                session.link.send_command("PING", check_health=False)

    def _read(self, session: _Session) -> None:
        with self._lock:
            try:
                if not session.over:
                    for message in session.wire.read():
                        self._take(session, message)
            except BaseException:  # half a message may have been read
                self._end(session)
                raise

    def _take(self, session: _Session, message: Any) -> None:
        if isinstance(message, Exception):  # to a sign of life, while a script runs for instance
            raise ConnectionError(f"the server gives no sign of life: {message}")
        kind = message[0]
        if kind == b"message":
            names: Collection[bytes] | None = message[2]
            if names is None:  # everything was flushed
                self.copies.drop_all()
            else:
                self.copies.drop(names)
        elif kind == b"pong" and session.asked:
            self.copies.good_until = session.asked.popleft() + BOUND

    def _end(self, session: _Session) -> None:
        with self._lock:
            if not session.over:
                session.over = True
                if self._session is session:
                    self._session = None
                    self.copies.stop()
                session.link.disconnect()

    def _sleep(self, waker: socket.socket, seconds: float) -> None:
        # Not select.select, which knows the first 1024 files of a process only.
        ready = select.poll()
        ready.register(waker, select.POLLIN)
        ready.poll(seconds * 1000)
        _empty(waker)

    def _wake(self) -> None:
        if self._waker is not None:
            with contextlib.suppress(OSError):  # the thread has ended
                self._waker[1].send(b"!")


def _answer(wire: Wire, *command: Any) -> Any:
    reply = wire.ask(*command)
    if isinstance(reply, Exception):
        if str(reply).startswith("BUSY"):  # a script runs, and that is over some time
            raise ConnectionError(str(reply))
        words = [part.decode() if isinstance(part, bytes) else part for part in command[:2]]
        raise Refused(f"{' '.join(words)}: {reply}")
    return reply


def _close(waker: tuple[socket.socket, socket.socket]) -> None:
    for end in waker:
        end.close()


def _empty(waker: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while waker.recv(64):
            pass
