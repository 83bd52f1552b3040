"""Reading large values off a socket straight into memory of the caller's own.

redis-py takes a reply in pieces of 64 KiB, joins them, and gives a copy of that, which the caller copies once more: of
100 MB that is three quarters of the time. Here nothing is copied but what is read together with the line before it.

Only what is usual is understood, values and missing ones. At anything else, an error of the server's for instance, the
connection is given up, and redis-py asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

_AHEAD: Final = 64
"""Bytes read at once where a line is expected: its reply's first ones come with it, and are copied."""

_LONGEST_LINE: Final = 32


class Unusual(Exception):
    """A reply that is neither a value nor the lack of one."""


def read_into(client: Any, names: Sequence[bytes], places: Sequence[memoryview]) -> list[int | None]:
    """Get values into the places for them.

    Args:
        client: redis-py's, of one server.
        names: the keys.
        places: writable bytes for each; one is filled if the value has just its length.

    Returns:
        How many bytes each value has; None where there is none.

    Raises:
        Unusual: the server answered something else, or the client's connections have no socket.
        ConnectionError: of redis-py; the connection broke.
        OSError: the same, or nothing came in time.
    """
    connection = client.connection_pool.get_connection()
    done = False
    try:
        connection.send_packed_command(connection.pack_commands([("GET", name) for name in names]))
        socket = getattr(connection, "_sock", None)
        if socket is None:
            raise Unusual
        replies = _Replies(socket)
        sizes = [replies.next_into(place) for place in places]
        done = not replies.ahead
    finally:
        if not done:  # what is still to come would be taken for the replies to other commands
            connection.disconnect()
        client.connection_pool.release(connection)
    return sizes


class _Replies:
    """The replies that come off a socket.

    Attributes:
        ahead: what was read together with a line, and belongs behind it.
    """

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.ahead = b""

    def next_into(self, place: memoryview) -> int | None:
        line = self._line()
        if line == b"$-1":
            return None
        if line[:1] != b"$" or not line[1:].isdigit():
            raise Unusual
        size = int(line[1:])
        if len(place) != size:
            place = memoryview(bytearray(size))
        at = min(size, len(self.ahead))
        place[:at] = self.ahead[:at]
        self.ahead = self.ahead[at:]
        while at < size:
            at += self._received(self.socket.recv_into(place[at:]))
        if self._line():
            raise Unusual
        return size

    def _line(self) -> bytes:
        while b"\r\n" not in self.ahead:
            if len(self.ahead) > _LONGEST_LINE:
                raise Unusual
            more = self.socket.recv(_AHEAD)
            self._received(len(more))
            self.ahead += more
        line, _, self.ahead = self.ahead.partition(b"\r\n")
        return line

    def _received(self, count: int) -> int:
        if not count:
            from redis.exceptions import ConnectionError  # noqa: PLC0415  (as everywhere: when it is needed)

            raise ConnectionError("the server closed the connection in the middle of a reply")
        return count
