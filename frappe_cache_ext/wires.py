"""What a server says unasked, read off a connection of redis-py with as little work as can be.

Whoever reads here holds up the other threads of the process meanwhile, and does so after each of their writes:
redis-py's own way, which looks at the socket, waits for it and reads it by three calls, takes several times as long.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any, Final

from .clients import Link

_AT_ONCE: Final = 64 << 10
"""Bytes to read in one call."""


class Wire:
    """A connection that nobody else reads from any more.

    Args:
        link: the connection, every reply to which has been read.

    Attributes:
        socket: its socket.
    """

    def __init__(self, link: Link) -> None:
        import hiredis  # noqa: PLC0415  (has no wheel for the browser, where nobody has a wire to read from)

        # redis-py has no other way to what lies beneath.
        self.socket: Any = link._sock
        self._link = link
        # What is no reply at all means that the connection is of no use, as when it breaks.
        self._reader = hiredis.Reader(protocolError=ConnectionError)

    def ask(self, *command: Any) -> Any:
        """The reply to a command; an error of the server's is returned, as a `hiredis.ReplyError`.

        Raises:
            OSError: it broke, or nothing came in time.
        """
        self._link.send_command(*command, check_health=False)
        while (reply := self._reader.gets()) is False:
            self._feed()
        return reply

    def stop_waiting(self) -> None:
        """From now on, read only what is there."""
        self.socket.setblocking(False)

    def read(self) -> Iterator[Any]:
        """Everything that has come, without waiting.

        Raises:
            OSError: it broke.
        """
        # In TLS a full record can lie between the socket and us, of which the socket knows nothing: to the end, then.
        to_the_end = isinstance(self.socket, ssl.SSLSocket)
        more = True
        while more:
            try:
                more = self._feed() == _AT_ONCE or to_the_end
            except (BlockingIOError, ssl.SSLWantReadError):
                more = False
            while (message := self._reader.gets()) is not False:
                yield message

    def _feed(self) -> int:
        data = self.socket.recv(_AT_ONCE)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._reader.feed(data)
        return len(data)
