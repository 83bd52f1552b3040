"""A cell's record as it is on the server, and what is too large for it.

A record is a dictionary of plain types, so that it can be looked at without importing or running anything. Large
*parts* are kept beside it in pieces, each under a name of its own.

The record says how many parts there are, how long each is and what it hashes to, all with a cryptographic hash. So a
part that is missing, cut off, or of another record is never taken for the right one. Nor is one that was tampered
with, where values are signed: the signature covers the record and with it the hashes, and both are checked before a
byte of a part is used. Parts need no signature of their own.

Parts are written before their record, with a time to live that only the stored record ends (`settle`). What a writer
leaves behind that is killed in between is gone after `STAGED` seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .. import keys
from ..effects import Pipeline, ReadInto, Steps
from ..errors import MISS, Missing, UnreadableValue
from ..fingerprint import blake3_hasher
from .common import Scope, warn_unreadable

Record = dict[str, Any]
Writable = bytearray | mmap.mmap
Buffer = bytes | memoryview | Writable

PARTS: Final = "parts"
"""The key under which a record speaks of its parts."""

CHUNK: Final = 2 << 20
"""Bytes of one piece. Each is sent within `connections.TIMEOUT`, also over a slow network, and a server does nothing
else while it takes or gives one; larger ones are no faster."""

BATCH: Final = 16 << 20
"""Bytes that are sent or asked for together: what a server and this process hold twice for a moment."""

STAGED: Final = 3600.0
"""Seconds for which parts wait for their record."""

SPARE: Final = 60.0
"""Seconds that parts outlive their record, for whoever has just read it."""

_LARGE: Final = 4 << 20
"""Bytes from which memory is taken from the system in large pages: see `_room`."""

_MOST_TOGETHER: Final = 500
_HASH_SIZE: Final = 32


def decoded_record(scope: Scope, data: Any, name: bytes) -> Record | Missing:
    """The record of a reply; MISS for none, and with a warning for what is not one."""
    if data is None:
        return MISS
    if isinstance(data, Exception):
        warn_unreadable(scope, name, str(data))
        return MISS
    try:
        record = scope.codec.inspect(data, name)
    except UnreadableValue as error:
        warn_unreadable(scope, name, str(error))
        return MISS
    if type(record) is not dict:
        warn_unreadable(scope, name, f"it is a {type(record).__name__}, not the record of a cell")
        return MISS
    return record


def part_names(scope: Scope, data: Any, name: bytes) -> list[bytes]:
    """The names that belong to a record that was replaced or deleted; none for what is not one."""
    try:
        record = scope.codec.inspect(data, name) if isinstance(data, bytes) else None
        if type(record) is dict and PARTS in record:
            return Parts.from_plain(record[PARTS]).names(name)
    except UnreadableValue:
        pass
    return []


class Piece(NamedTuple):
    """Some bytes of a part: those from `start` to `stop`, under a name on the wire."""

    name: bytes
    part: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What a record says of its parts.

    Attributes:
        token: a random one, in the names of their pieces.
        chunk: the bytes of each piece but a part's last.
        hashed_by: the name of the hash function.
        sizes: the bytes of each part.
        hashes: of each part.
    """

    token: str
    chunk: int
    hashed_by: str
    sizes: tuple[int, ...]
    hashes: tuple[bytes, ...]

    @classmethod
    def of(cls, buffers: Sequence[Buffer]) -> Parts:
        """What is to be said of some buffers."""
        hashed_by = "blake2b" if blake3_hasher() is None else "blake3"
        sizes = tuple(memoryview(buffer).nbytes for buffer in buffers)
        hashes = tuple(_hash(hashed_by, buffer) for buffer in buffers)
        return cls(secrets.token_hex(8), CHUNK, hashed_by, sizes, hashes)

    @classmethod
    def from_plain(cls, plain: Any) -> Parts:
        """What a record says.

        Raises:
            UnreadableValue: it is not what `to_plain` wrote.
        """
        try:
            token, chunk, hashed_by, sizes, hashes = plain
            parts = cls(str(token), int(chunk), str(hashed_by), tuple(map(int, sizes)), tuple(map(bytes, hashes)))
        except (TypeError, ValueError) as error:
            raise UnreadableValue(f"what it says of its parts makes no sense ({error})") from error
        if parts.chunk <= 0 or min(parts.sizes, default=0) < 0 or len(parts.sizes) != len(parts.hashes):
            raise UnreadableValue("what it says of its parts makes no sense")
        return parts

    def to_plain(self) -> tuple[Any, ...]:
        """The same in plain types, for the record."""
        return self.token, self.chunk, self.hashed_by, self.sizes, self.hashes

    def pieces(self, record: bytes) -> list[Piece]:
        """All pieces of all parts, in order.

        Args:
            record: the record's name on the wire.
        """
        places = [
            (part, start, min(start + self.chunk, size))
            for part, size in enumerate(self.sizes)
            for start in range(0, size, self.chunk)
        ]
        return [Piece(keys.cell_part_name(record, self.token, i), *place) for i, place in enumerate(places)]

    def names(self, record: bytes) -> list[bytes]:
        """The names of all pieces."""
        return [piece.name for piece in self.pieces(record)]


def write(record: bytes, parts: Parts, buffers: Sequence[Buffer]) -> Steps[Exception | None]:
    """Write parts, to be settled by the record; the server's error where it did not take one.

    Args:
        record: the record's name on the wire.
        parts: what the record will say of them.
        buffers: the parts, each in one piece of memory.
    """
    views = [_bytes_of(buffer) for buffer in buffers]
    for batch in _batches(parts.pieces(record), BATCH):
        replies = yield Pipeline(
            [("SET", name, views[part][start:stop], "PX", _milliseconds(STAGED)) for name, part, start, stop in batch]
        )
        for reply in replies:
            if isinstance(reply, Exception):
                return reply
    return None


def settle(record: bytes, parts: Parts, expiry: int) -> Steps[bool]:
    """Let parts live as long as their record, which is stored by now; False if one of them is gone already.

    Args:
        record: the record's name on the wire.
        parts: what it says of them.
        expiry: the record's, in milliseconds; 0 for none.
    """
    kept = True
    for batch in _batches(parts.pieces(record), math.inf):
        if expiry:
            replies = yield Pipeline([("PEXPIRE", piece.name, expiry + _milliseconds(SPARE)) for piece in batch])
        else:
            replies = yield Pipeline([("PERSIST", piece.name) for piece in batch])
        kept = kept and all(reply == 1 for reply in replies)
    return kept


def read(record: bytes, parts: Parts) -> Steps[list[Writable] | None]:
    """The parts, in memory of the caller's own that can be written to; None where one is not there any more.

    Raises:
        UnreadableValue: one is not what the record says, or is hashed by a function that is not installed here.
    """
    buffers = [_room(size) for size in parts.sizes]
    for batch in _batches(parts.pieces(record), BATCH):
        places = [memoryview(buffers[part])[start:stop] for _, part, start, stop in batch]
        sizes = yield ReadInto([piece.name for piece in batch], places)
        for (_, part, start, stop), size in zip(batch, sizes, strict=True):
            if size is None:
                return None
            if isinstance(size, Exception):
                raise UnreadableValue(f"part {part} of it: {size}")
            if size != stop - start:
                raise UnreadableValue(f"part {part} of it has {size} bytes in place of {stop - start}")
    for part, buffer in enumerate(buffers):
        if _hash(parts.hashed_by, buffer) != parts.hashes[part]:
            raise UnreadableValue(f"part {part} of it is not the one that was stored with it")
    return buffers


def _room(size: int) -> Writable:
    """Zeroed memory for a part.

    To be given 100 MB in pages of 4 KiB takes longer than to read them from a server beside us; in pages of 2 MiB,
    where the system has them, a fifth of that.
    """
    if size < _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return bytearray(size)
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        room.madvise(mmap.MADV_HUGEPAGE)
    return room


def _batches(pieces: Sequence[Piece], most_bytes: float) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        if batch and (size + piece.stop - piece.start > most_bytes or len(batch) == _MOST_TOGETHER):
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.stop - piece.start
    if batch:
        yield batch


def _bytes_of(buffer: Buffer) -> memoryview:
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(b"")


def _hash(hashed_by: str, buffer: Buffer) -> bytes:
    data = _bytes_of(buffer)
    if hashed_by == "blake2b":
        return hashlib.blake2b(data, digest_size=_HASH_SIZE).digest()
    hasher = blake3_hasher()
    if hashed_by != "blake3" or hasher is None:
        raise UnreadableValue(f"its parts are hashed by {hashed_by!r}, which is not installed here")
    return bytes(hasher(data).digest(length=_HASH_SIZE))


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
