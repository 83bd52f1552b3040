"""The checks of the exercises: each names what is right now, or gives the hint that fits what it found.

Those about values (`values`) look at the notebook's own cache. Those about functions (`functions`) call them on a cache
that is made for the check, as often as it takes, and leave no trace. Each returns a `Verdict`, and none raises.
"""

from __future__ import annotations

from .functions import (
    answered_per_request,
    asks_server,
    cached_for,
    counts_once,
    key_is_unique,
    names_call,
    never_stale,
)
from .values import deleted, field_deleted, hash_field, ttl_expires, value_stored
from .verdict import Verdict

__all__ = [
    "Verdict",
    "answered_per_request",
    "asks_server",
    "cached_for",
    "counts_once",
    "deleted",
    "field_deleted",
    "hash_field",
    "key_is_unique",
    "names_call",
    "never_stale",
    "ttl_expires",
    "value_stored",
]
