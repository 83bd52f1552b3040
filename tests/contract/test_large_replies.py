"""Values read off the socket into memory of the caller's own: as GET has them, from every kind of server."""

from __future__ import annotations

import itertools
import mmap
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError, ResponseError

from frappe_cache_ext import large_replies
from frappe_cache_ext.connections import Connection
from frappe_cache_ext.effects import ReadInto
from frappe_cache_ext.errors import CacheUnavailable
from frappe_cache_ext.large_replies import Unusual, _Replies
from frappe_cache_ext.operations import cell_parts
from frappe_cache_ext.redis_wrapper import RedisWrapper

LARGE = bytes(range(256)) * 20_000
"""Five megabytes, more than a socket takes at once."""


@pytest.fixture
def stored(cache: RedisWrapper) -> dict[bytes, bytes]:
    """What is on the server, by name on the wire."""
    values = {cache.make_key(f"v{i}"): value for i, value in enumerate([LARGE, b"", b"\r\n$3\r\nabc\r\n", LARGE[:70]])}
    for name, value in values.items():
        cache.redis.set(name, value)
    return values


def read(connection: Connection, *wanted: tuple[bytes, int]) -> tuple[list[int | Exception | None], list[bytes]]:
    places = [bytearray(size) for _, size in wanted]
    sizes = connection.perform(ReadInto([name for name, _ in wanted], [memoryview(place) for place in places]))
    return sizes, [bytes(place) for place in places]


def test_each_value_is_in_its_place(cache: RedisWrapper, stored: dict[bytes, bytes]) -> None:
    sizes, places = read(cache.connection, *((name, len(value)) for name, value in stored.items()))
    assert sizes == [len(value) for value in stored.values()]
    assert places == list(stored.values())


def test_of_another_length_it_is_left_out(cache: RedisWrapper, stored: dict[bytes, bytes]) -> None:
    (large, *_, small), missing = stored, cache.make_key("nothing")
    sizes, places = read(cache.connection, (large, 5), (missing, 3), (small, 71), (small, 70))
    assert sizes == [len(LARGE), None, 70, 70]
    assert places == [bytes(5), bytes(3), bytes(71), LARGE[:70]]


def test_an_error_stands_in_its_values_place_and_nothing_is_mistaken_afterwards(
    cache: RedisWrapper, stored: dict[bytes, bytes]
) -> None:
    large, *_, small = stored
    cache.hset("hash", "field", 1)
    sizes, places = read(cache.connection, (large, len(LARGE)), (cache.make_key("hash"), 3), (small, 70))
    assert [type(size) for size in sizes] == [int, ResponseError, int]
    assert places == [LARGE, bytes(3), LARGE[:70]]
    assert cache.redis.get(small) == LARGE[:70]


def test_a_server_that_is_gone(cache: RedisWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(large_replies, "read_into", refuse)
    monkeypatch.setattr(Connection, "_send_once", refuse)
    connection = Connection(cache.connection.settings)
    with pytest.warns(match="gone"), pytest.raises(CacheUnavailable):
        connection.perform(ReadInto([b"x"], [memoryview(bytearray(1))]))
    connection.close()


def test_a_connection_that_broke_is_replaced(
    cache: RedisWrapper, stored: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(replies: _Replies, place: memoryview) -> int:
        replies.socket.close()
        raise ConnectionError("the server closed the connection")

    monkeypatch.setattr(_Replies, "next_into", break_off)
    large, *_ = stored
    assert read(cache.connection, (large, len(LARGE))) == ([len(LARGE)], [LARGE])


def test_many_threads(cache: RedisWrapper, stored: dict[bytes, bytes]) -> None:
    wrong: list[object] = []
    connection = cache.connection

    def work() -> None:
        for _ in range(5):
            sizes, places = read(connection, *((name, len(value)) for name, value in stored.items()))
            if places != list(stored.values()):
                wrong.append(sizes)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class Wire:
    """A socket's other end, which sends some bytes in pieces of some sizes.

    Args:
        data: what it sends; afterwards it is closed.
        sizes: of the pieces, round and round.
    """

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data = data
        self.sizes = itertools.cycle(sizes)

    def recv(self, most: int) -> bytes:
        size = min(most, next(self.sizes))
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def recv_into(self, place: memoryview) -> int:
        taken = self.recv(len(place))
        place[: len(taken)] = taken
        return len(taken)


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=200)), max_size=6),
    st.lists(st.integers(1, 100), min_size=1, max_size=5),
)
def test_however_the_bytes_come(values: list[bytes | None], sizes: list[int]) -> None:
    data = b"".join(b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value) for value in values)
    places = [bytearray(len(value or b"")) for value in values]
    replies = _Replies(Wire(data, sizes))
    got = [replies.next_into(memoryview(place)) for place in places]
    assert got == [None if value is None else len(value) for value in values]
    assert [bytes(place) for place in places] == [value or b"" for value in values]
    assert replies.ahead == b""


@pytest.mark.parametrize("data", [b"-ERR no\r\n", b":1\r\n", b"$x\r\n", b"$2\r\nabc\r\n", b"HTTP/1.1 400 " + b"x" * 99])
def test_what_is_no_value_is_left_to_redis_py(data: bytes) -> None:
    with pytest.raises(Unusual):
        _Replies(Wire(data, [7])).next_into(memoryview(bytearray(2)))


@pytest.mark.parametrize("data", [b"", b"$2", b"$2\r\na", b"$2\r\nab\r"])
def test_a_reply_that_breaks_off(data: bytes) -> None:
    with pytest.raises(ConnectionError, match="in the middle of a reply"):
        _Replies(Wire(data, [3])).next_into(memoryview(bytearray(2)))


def test_a_reply_that_does_not_come_in_time() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.05)
        theirs.sendall(b"$2\r\na")
        with pytest.raises(TimeoutError):
            _Replies(ours).next_into(memoryview(bytearray(2)))


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="large pages are Linux's")
def test_a_large_part_is_in_large_pages_of_this_process_alone() -> None:
    room = cell_parts._room(cell_parts._LARGE)
    assert isinstance(room, mmap.mmap)
    assert bytes(room[:10]) == bytes(10)
    assert isinstance(cell_parts._room(cell_parts._LARGE - 1), bytearray)
