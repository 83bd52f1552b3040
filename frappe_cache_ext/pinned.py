"""One socket for each thread, in place of a pool: a command then costs half as much.

Taking a connection from redis-py's pool looks at the socket, takes a lock twice and counts; for a value of a few bytes
that is more than the rest. A thread's connection goes to the next thread when it ends.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from .clients import Client, Link, address, has_masters

LARGE: Final = 16 << 10
"""Bytes from which on a value is handed to the socket as it is, not copied into the command around it."""

Pieces = list[bytes | memoryview]
"""What is sent to a socket, one after the other."""


class Pinned:
    """The connections of one client's threads.

    Args:
        client: redis-py's, of one server; its pool makes them.
    """

    def __init__(self, client: Client) -> None:
        from redis.exceptions import ConnectionError, ResponseError  # noqa: PLC0415  (heavy, and loaded by now)

        self.client = client
        self.pool = client.connection_pool
        # What redis-py makes of a reply: a dictionary of HGETALL's, for instance.
        self._made_of: dict[str, Callable[[Any], Any]] = dict(client.response_callbacks)
        self._closed: type[Exception] = ConnectionError
        self._refused: type[Exception] = ResponseError
        self._can_move = has_masters(self.pool)
        self._own = threading.local()
        self._holders: weakref.WeakSet[_Holder] = weakref.WeakSet()
        self._spare: deque[Link] = deque()

    def read(self, commands: tuple[tuple[Any, ...], ...]) -> list[Any]:
        """Send commands that only read, as `send` does; what was sent lately is not put together again."""
        return self._exchange(commands, packed_reads(commands), twice=True)

    def send(self, commands: Sequence[tuple[Any, ...]], *, twice: bool) -> list[Any]:
        """Send commands together; their replies, an error of the server's in its command's place.

        Args:
            commands: names and arguments; ``bytes``, text and integers.
            twice: whether it does no harm if they are sent a second time. If not, a connection that the server closed
                meanwhile is noticed before, and not by losing what was sent.

        Raises:
            ConnectionError: of redis-py; the connection broke.
            TimeoutError: of redis-py; nothing came in time.
        """
        return self._exchange(commands, pack(commands), twice=twice)

    def _exchange(self, commands: Sequence[tuple[Any, ...]], packed: Pieces | None, *, twice: bool) -> list[Any]:
        link = self._take()
        done = False
        try:
            if packed is None:
                packed = link.pack_commands(commands)
            if not twice and link.can_read(0):
                raise self._closed("the server closed the connection")
            link.send_packed_command(packed)
            replies = []
            for command in commands:
                try:
                    reply = link.read_response(disable_decoding=True)
                except self._refused as error:
                    reply = error
                else:
                    if (make := self._made_of.get(command[0])) is not None:
                        reply = make(reply)
                replies.append(reply)
            done = True
        finally:
            # Whatever went wrong, an interrupt for instance: replies that are still to come would be taken for others.
            holder = self._own.holder
            if done and holder.link is None:  # a signal handler's own command may have left one there
                holder.link = link
            else:
                self._give_up(link)
            holder.busy -= 1
        return replies

    @property
    def busy(self) -> bool:
        """Whether a command is under way in some thread."""
        return any(holder.busy for holder in list(self._holders))

    def close_idle(self) -> None:
        """Close the connections over which no command is under way."""
        for holder in list(self._holders):
            link, holder.link = holder.link, None
            if link is not None:
                self._give_up(link)
        while self._spare:
            with contextlib.suppress(IndexError):
                self._give_up(self._spare.popleft())

    def _take(self) -> Link:
        """This thread's connection; while a command is under way nobody has it, a signal handler neither."""
        try:
            holder = self._own.holder
        except AttributeError:
            holder = self._own.holder = _Holder(self._spare)
            self._holders.add(holder)
        holder.busy += 1
        link, holder.link = holder.link, None
        try:
            while link is None or (self._can_move and address(link) != self.pool.master_address):
                if link is not None:
                    self._give_up(link)  # what it leads to is the master no more
                try:
                    link = self._spare.popleft()
                except IndexError:  # there is none
                    return self.pool.get_connection()
            return link
        except BaseException:
            holder.busy -= 1
            raise

    def _give_up(self, link: Link) -> None:
        link.disconnect()
        self.pool.release(link)


class _Holder:
    """What a thread keeps its connection in; ends with the thread."""

    __slots__ = ("__weakref__", "busy", "link", "spare")

    def __init__(self, spare: deque[Link]) -> None:
        self.link: Link | None = None
        self.busy = 0
        self.spare = spare

    def __del__(self) -> None:
        if self.link is not None:
            self.spare.append(self.link)


def pack(commands: Sequence[tuple[Any, ...]]) -> Pieces | None:
    r"""Commands in the protocol's own form, large values in pieces of their own, which nobody copies.

    The form is RESP, https://redis.io/docs/latest/develop/reference/protocol-spec/. None for arguments of types that
    are redis-py's to turn into bytes, or to refuse.

    Example:
        >>> pack([("GET", b"color")])
        [b'*2\r\n$3\r\nGET\r\n$5\r\ncolor\r\n']
    """
    pieces: Pieces = []
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for part in command:
            kind = type(part)
            if kind is bytes or kind is memoryview:
                size = len(part) if kind is bytes else part.nbytes
                if size >= LARGE:
                    parts.append(b"$%d\r\n" % size)
                    pieces += (b"".join(parts), part)
                    parts = [b"\r\n"]
                else:
                    parts.append(b"$%d\r\n%b\r\n" % (size, part))
            elif kind is str:
                data = part.encode()
                parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
            elif kind is int:
                data = b"%d" % part
                parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
            else:
                return None
    pieces.append(b"".join(parts))
    return pieces


@functools.lru_cache(1024)
def packed_reads(commands: tuple[tuple[Any, ...], ...]) -> Pieces | None:
    """The same for a few names, which are asked for again and again."""
    return pack(commands)
