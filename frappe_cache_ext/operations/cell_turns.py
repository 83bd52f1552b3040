"""Whose turn it is to run a cell: one kernel does, and the others can say which.

It stands beside the cell's record, in its cluster slot, in two keys that hold the same random token: the *claim*, which
is the lease of other entries (see `loading`) but lasts, and the *pulse*, which lasts as long as its holder gives signs
of life. While both are there, others wait. When the pulse is gone they may take over, which makes a new claim.

Storing takes the claim, not the pulse. So a kernel that was suspended, or kept from its signs of life by one long call
into C, still stores what it computed, unless somebody took over, set or deleted the entry meanwhile; and whoever does
that deletes the claim, as the lease of any entry.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from .. import keys
from ..effects import Lease, RunScript, Steps, Unlink
from ..errors import MISS, CacheUnavailable, Missing
from ..scripts.leases import RELEASE_LEASE, TAKE_CELL
from .cell_parts import Record, decoded_record
from .common import Scope
from .loading import LEASE, LEASE_MARK, lease_name

CLAIM: Final = 30 * 86400.0
"""Seconds for which a claim is good: longer than any cell runs."""

LONGEST_HOLDER: Final = 200
"""Characters of what a holder is called."""

_PULSE_MARK: Final = b"\x1fpulse"
_VALUE, _YOURS = 1, 2
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is to compute a cell.

    Attributes:
        record: the cell's, if another kernel has stored it by now.
        lease: the right to compute it, to be kept alive meanwhile.
        holder: how the kernel is called that computes it; empty for none. Without a record, a lease and a holder the
            server does not let anybody take turns.
        milliseconds: how long that one's last sign of life still counts.
    """

    record: Record | Missing = MISS
    lease: Lease | None = None
    holder: str = ""
    milliseconds: int = 0


def take_cell(scope: Scope, name: bytes, holder: str) -> Steps[Turn]:
    """Ask for the right to compute a cell.

    Args:
        scope: what to work with.
        name: the record's name on the wire.
        holder: how the others are to call this kernel while they wait for it.
    """
    token = f"{secrets.token_hex(8)} {holder[:LONGEST_HOLDER]}"
    lease = Lease(_pulse_name(name), keys.encode(token))
    for _ in range(_TRIES):
        reply = yield from _ask_for_turn(scope, name, lease)
        if isinstance(reply, Exception):
            break
        if reply[0] == _YOURS:
            return Turn(lease=lease)
        if reply[0] != _VALUE:
            return Turn(holder=_holder_of(reply[2]), milliseconds=max(0, reply[1]))
        record = decoded_record(scope, reply[1], name)
        if record is not MISS:
            scope.stats.waited += 1
            return Turn(record)
        yield Unlink((name,))  # unreadable bytes are in the way of a good record
    return Turn()


def release_cell(scope: Scope, lease: Lease | None) -> Steps[None]:
    """Give the right to compute a cell back; nothing happens without one, or while the server cannot be reached."""
    if lease is not None:
        claim = lease.name.removesuffix(_PULSE_MARK + LEASE_MARK) + LEASE_MARK
        try:
            yield RunScript(RELEASE_LEASE, (claim,), (lease.token,))  # without its claim a pulse means nothing
        except CacheUnavailable:
            return


def _ask_for_turn(scope: Scope, name: bytes, lease: Lease) -> Steps[Any]:
    arguments = (lease.token, int(LEASE * 1000), int(CLAIM * 1000))
    try:
        return (yield RunScript(TAKE_CELL, (name, lease_name(name), lease.name), arguments))
    except (CacheUnavailable, GeneratorExit):
        raise
    except BaseException:  # interrupted, and perhaps the server has given it
        yield from release_cell(scope, lease)
        raise


def _pulse_name(name: bytes) -> bytes:
    return lease_name(name).removesuffix(LEASE_MARK) + _PULSE_MARK + LEASE_MARK


def _holder_of(claim: bytes) -> str:
    """Who holds a claim: token, space, holder, colon, run of the server."""
    return keys.decode(claim.partition(b" ")[2].rpartition(b":")[0]) or "another kernel"
