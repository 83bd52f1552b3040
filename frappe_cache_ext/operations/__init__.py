"""What each cache operation does, once: as generators that yield effects and receive their answers.

Nothing here sends a byte. `redis_wrapper` runs these generators over a blocking client, `aio` from a coroutine. What
all of them keep to:

* A server that cannot be reached raises `CacheUnavailable` at the ``yield``. Reads then miss and writes are dropped; a
  dropped write leaves a debt (see `connections`), so that the value it would have replaced is not read later.
* A value that cannot be read counts as a miss, with a warning.
* What a request holds of an entry is forgotten before the entry changes, and held again only after it has changed.
"""

from __future__ import annotations

from .cell_manifests import recall_manifest, remember_manifest
from .cell_turns import Turn, release_cell, take_cell
from .cells import delete_cells, find_cell, list_cells, read_parts, store_cell
from .change_log import (
    NEVER,
    Ledger,
    Log,
    Reading,
    announce,
    check,
    commit,
    drop_marks,
    log_changes,
    read_document,
    read_log,
    renewal,
)
from .common import Scope, as_iterable, milliseconds
from .hashes import hdel, hdel_starting, hexists, hget, hgetall, hset
from .lists import blocking_pop, bytes_or_none, raw
from .loading import LEASE, LEASE_MARK, lease_name, lease_renewal
from .results import clear, entry_name, invalidate, load_result
from .strings import (
    delete,
    delete_prefix,
    delete_starting,
    exists,
    expire_key,
    get_all,
    get_value,
    names_starting,
    set_value,
    time_to_live,
)

__all__ = [
    "LEASE",
    "LEASE_MARK",
    "NEVER",
    "Ledger",
    "Log",
    "Reading",
    "Scope",
    "Turn",
    "announce",
    "as_iterable",
    "blocking_pop",
    "bytes_or_none",
    "check",
    "clear",
    "commit",
    "delete",
    "delete_cells",
    "delete_prefix",
    "delete_starting",
    "drop_marks",
    "entry_name",
    "exists",
    "expire_key",
    "find_cell",
    "get_all",
    "get_value",
    "hdel",
    "hdel_starting",
    "hexists",
    "hget",
    "hgetall",
    "hset",
    "invalidate",
    "lease_name",
    "lease_renewal",
    "list_cells",
    "load_result",
    "log_changes",
    "milliseconds",
    "names_starting",
    "raw",
    "read_document",
    "read_log",
    "read_parts",
    "recall_manifest",
    "release_cell",
    "remember_manifest",
    "renewal",
    "set_value",
    "store_cell",
    "take_cell",
    "time_to_live",
]
