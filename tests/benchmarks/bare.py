"""The least that a value's way to the server and back can cost."""

from __future__ import annotations

import socket
from typing import Final
from urllib.parse import unquote, urlsplit

PIECE: Final = 2 << 20
"""Bytes. The server takes and gives pieces of a few megabytes several times faster than one value of a hundred."""


class BareConnection:
    """SET and GET on a unix socket with nothing around them.

    Args:
        url: the server's, as ``unix:///path``.
    """

    def __init__(self, url: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(unquote(urlsplit(url).path))
        self.replies = self.socket.makefile("rb")

    def set(self, key: str, value: memoryview) -> None:
        """Store bytes under a key.

        Raises:
            OSError: the server did not take them.
        """
        name = key.encode()
        self.socket.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(name), name, value.nbytes))
        self.socket.sendall(value)
        self.socket.sendall(b"\r\n")
        reply = self.replies.readline()
        if reply != b"+OK\r\n":
            raise OSError(f"SET was answered by {reply!r}")

    def get(self, key: str) -> bytearray:
        """The bytes under a key, read straight into memory that can be written.

        Raises:
            OSError: there are none, or the server went away.
        """
        value = bytearray(self._ask_for(key))
        self._read_into(memoryview(value))
        return value

    def set_pieces(self, key: str, value: memoryview) -> None:
        """Store bytes as pieces, each under a key of its own.

        Raises:
            OSError: the server did not take them.
        """
        for start in range(0, value.nbytes, PIECE):
            self.set(f"{key}:{start}", value[start : start + PIECE])

    def get_pieces(self, key: str, size: int) -> bytearray:
        """The bytes that were stored as pieces, `size` of them.

        Raises:
            OSError: a piece is not there or not of its size, or the server went away.
        """
        value = bytearray(size)
        whole = memoryview(value)
        for start in range(0, size, PIECE):
            piece = whole[start : start + PIECE]
            if self._ask_for(f"{key}:{start}") != piece.nbytes:
                raise OSError(f"{key}:{start} does not hold {piece.nbytes} bytes")
            self._read_into(piece)
        return value

    def _ask_for(self, key: str) -> int:
        """Send a GET, and return the number of bytes that come."""
        name = key.encode()
        self.socket.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name))
        head = self.replies.readline()
        if not head.startswith(b"$") or head == b"$-1\r\n":
            raise OSError(f"GET was answered by {head!r}")
        return int(head[1:])

    def _read_into(self, memory: memoryview) -> None:
        if self.replies.readinto(memory) != memory.nbytes or self.replies.readline() != b"\r\n":
            raise OSError("the server went away in the middle of a value")
