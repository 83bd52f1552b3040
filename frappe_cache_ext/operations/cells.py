"""Cells of notebooks: what one did, found, stored, listed and deleted.

An entry is a record with parts beside it (see `cell_parts`), of which anything that is missing, cut off or false makes
it a miss. Whose turn it is to compute a missing one is the business of `cell_turns`.

Every step raises `CacheUnavailable` while the server cannot be reached, unless it says otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .. import keys
from ..effects import Lease, Owe, Pipeline, RunScript, ScanPage, Steps, Unlink
from ..errors import MISS, CacheUnavailable, Missing, UnreadableValue
from ..scripts.leases import STORE_UNDER_LEASE
from . import cell_parts
from .cell_parts import PARTS, Buffer, Parts, Record, decoded_record, part_names
from .cell_turns import release_cell
from .common import Scope, count, warn_dropped, warn_unreadable, when_away
from .loading import LEASE_MARK, lease_name

AWAY: Final = "the server went away"
CLEARED: Final = "somebody cleared it meanwhile"
OVERTAKEN: Final = "another kernel took over meanwhile"
FULL: Final = "the server is full, and may not evict anything for it"
NO_ROOM: Final = "the server has no room for it, and evicted a part of it at once"
"""Why an entry was not stored."""

_BATCH: Final = 100


# --- reading ------------------------------------------------------------------------------------------------------


def find_cell(scope: Scope, name: bytes) -> Steps[Record | Missing]:
    """The record under a name on the wire, or MISS; what a request holds does not count."""
    (data,) = yield Pipeline((("GET", name),))
    record = decoded_record(scope, data, name)
    count(scope, record)
    return record


def read_parts(scope: Scope, name: bytes, record: Mapping[str, Any]) -> Steps[list[cell_parts.Writable] | Missing]:
    """The parts of a record, in memory of the caller's own; MISS, and the record deleted, if one is gone or false.

    Args:
        scope: what to work with.
        name: the record's name on the wire.
        record: from `find_cell` or `take_cell`.
    """
    if PARTS not in record:
        return []
    try:
        parts = Parts.from_plain(record[PARTS])
        buffers = yield from cell_parts.read(name, parts)
    except UnreadableValue as error:
        warn_unreadable(scope, name, str(error))
        buffers = None
    if buffers is not None:
        return buffers
    # In the way of a good one, which others could not wait for while this one is there.
    yield from _delete_if_same(scope, name, record)
    return MISS


def _delete_if_same(scope: Scope, name: bytes, record: Mapping[str, Any]) -> Steps[None]:
    (data,) = yield Pipeline((("GET", name),))
    found = decoded_record(scope, data, name)
    if found is not MISS and found.get(PARTS) == record[PARTS]:
        yield from delete_cells(scope, (name,))


# --- storing ------------------------------------------------------------------------------------------------------


def store_cell(
    scope: Scope,
    name: bytes,
    record: Mapping[str, Any],
    parts: Sequence[Buffer],
    lease: Lease | None,
    expiry: int,
) -> Steps[str | None]:
    """Store what a cell did; None if that was done, else in a few words why not.

    Where it was not, nothing of it is left, nor of what was to be replaced.

    Args:
        scope: what to work with.
        name: the record's name on the wire.
        record: plain types alone; ``parts`` is a key of ours.
        parts: what is too large for it, each in one piece of memory that nobody changes meanwhile.
        lease: from `take_cell` for this name, and given back; None replaces whatever is stored.
        expiry: milliseconds, 0 for none.
    """
    laid_out = Parts.of(parts)
    plain = {**record, PARTS: laid_out.to_plain()} if parts else dict(record)
    data = scope.codec.encode(plain, name, root="record")
    try:
        reason = yield from _store(scope, name, data, laid_out, parts, lease, expiry)
    except CacheUnavailable:
        scope.stats.dropped += 1
        # A record of which it is not known whether it was stored finds no parts, and is a miss.
        yield Owe(names=(*laid_out.names(name), *((name, lease_name(name)) if lease is None else ())))
        return AWAY
    except GeneratorExit:
        raise
    except BaseException:  # interrupted
        yield from _undo(scope, name, laid_out, lease)
        raise
    if reason is None:
        scope.stats.writes += 1
    else:
        scope.stats.dropped += 1
        yield from _undo(scope, name, laid_out, lease)
    return reason


def _store(
    scope: Scope,
    name: bytes,
    data: bytes,
    laid_out: Parts,
    parts: Sequence[Buffer],
    lease: Lease | None,
    expiry: int,
) -> Steps[str | None]:
    if lease is None:
        yield from _delete(scope, (name,))
    error = yield from cell_parts.write(name, laid_out, parts)
    if error is not None:
        return _refusal(error)
    if lease is None:
        reason = yield from _replace(scope, name, data, expiry)
    else:
        reason = yield from _store_under_claim(name, data, lease, expiry)
    if reason is None and not (yield from cell_parts.settle(name, laid_out, expiry)):
        yield from _delete(scope, (name,))
        return NO_ROOM
    return reason


def _store_under_claim(name: bytes, data: bytes, lease: Lease, expiry: int) -> Steps[str | None]:
    claim = lease_name(name)
    reply = yield RunScript(STORE_UNDER_LEASE, (name, claim), (lease.token, data, expiry))
    if isinstance(reply, Exception):
        return _refusal(reply)
    if reply:
        return None
    by_others = yield Pipeline((("EXISTS", name), ("EXISTS", claim)))
    return OVERTAKEN if 1 in by_others else CLEARED


def _replace(scope: Scope, name: bytes, data: bytes, expiry: int) -> Steps[str | None]:
    """Store a record whatever is stored, and over it nothing that was computed before."""
    store = ("SET", name, data, "PX", expiry) if expiry else ("SET", name, data)
    _, old, reply = yield Pipeline((("UNLINK", lease_name(name)), ("GET", name), store))
    if isinstance(reply, Exception):
        return _refusal(reply)
    if doomed := part_names(scope, old, name):  # of another's who replaced it, too
        yield Unlink(doomed)
    return None


def _undo(scope: Scope, name: bytes, laid_out: Parts, lease: Lease | None) -> Steps[None]:
    """Leave nothing of what could not be stored, nor of what it was to replace."""
    with contextlib.suppress(CacheUnavailable):  # they are gone after `cell_parts.STAGED` seconds
        yield Unlink(laid_out.names(name))
    if lease is None:
        yield from delete_cells(scope, (name,))
    yield from release_cell(scope, lease)


def _refusal(error: Exception) -> str:
    if type(error).__name__ == "OutOfMemoryError":
        return FULL
    return f"the server does not take it ({type(error).__name__}: {error})"


# --- many ---------------------------------------------------------------------------------------------------------


@when_away(list)
def list_cells(scope: Scope, prefix: bytes, fields: Sequence[str] = ("meta",)) -> Steps[list[tuple[bytes, Record]]]:
    """The records whose names begin with these bytes, sorted by name; none while the server cannot be reached.

    Args:
        scope: what to work with.
        prefix: a beginning of names on the wire.
        fields: what to keep of each record, of what it has of these: there may be many, and some are large.
    """
    found: dict[bytes, Record] = {}  # SCAN may name a key twice
    cursor = None
    while True:
        page: tuple[Any, list[bytes]] = yield ScanPage(keys.starts_with(prefix), cursor)
        cursor, names = page
        names = [name for name in names if not name.endswith(LEASE_MARK) and not keys.is_cell_part(name)]
        for batch in _batches(names):
            replies = yield Pipeline([("GET", name) for name in batch])
            for name, data in zip(batch, replies, strict=True):
                record = decoded_record(scope, data, name)
                if record is not MISS:
                    found[name] = {field: record[field] for field in fields if field in record}
        if cursor is None:
            return sorted(found.items())


def delete_cells(scope: Scope, names: Sequence[bytes]) -> Steps[int]:
    """Delete records with their parts, and whoever computes one cannot store it; how many records there were.

    While the server cannot be reached they are owed: nobody here reads them before they are deleted. Of their parts
    nothing is known then, which are left to eviction.
    """
    deleted = 0
    try:
        for batch in _batches(names):
            deleted += yield from _delete(scope, batch)
    except CacheUnavailable:
        scope.stats.dropped += 1
        yield Owe(names=(*names, *map(lease_name, names)))
    return deleted


def _delete(scope: Scope, names: Sequence[bytes]) -> Steps[int]:
    # A record goes after its parts: without it nobody would know of them any more.
    records = yield Pipeline([("GET", name) for name in names])
    doomed = [part for name, data in zip(names, records, strict=True) for part in part_names(scope, data, name)]
    reply = yield Unlink([*map(lease_name, names), *doomed])
    if isinstance(reply, Exception):
        warn_dropped(scope, names[0], reply)
        return 0
    replies = yield Pipeline([command for name in names for command in (("GET", name), ("UNLINK", name))])
    replaced = [
        part
        for name, before, data in zip(names, records, replies[::2], strict=True)
        for part in (part_names(scope, data, name) if data != before else ())
    ]
    if replaced:  # since they were read
        yield Unlink(replaced)
    return sum(reply for reply in replies[1::2] if isinstance(reply, int))


def _batches(names: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]
