"""The checks of the exercises: each names what is right now, or gives the hint that fits what it found.

Those about values (`values`) look at the notebook's own cache. Those about functions (`functions`) call them on a cache
that is made for the check, as often as it takes, and leave no trace. Each returns a `Verdict`, and none raises.

The others are loaded by the first use: those about documents (`document_checks`, `race_checks`) need SQLAlchemy, those
about cells under ``%%cached`` (`cell_checks`) IPython, those about a bench (`bench_checks`) a server of their own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

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

if TYPE_CHECKING:
    from .bench_checks import config_says, counts_expiring, names_largest, outlives, policies, reads_language
    from .cell_checks import comes_back, hears_of, names_cause
    from .copy_checks import drops_when_told, gains_from_copies
    from .document_checks import nobody_pays_old_price, read_from_cache
    from .race_checks import goes_stale, guards, spares

_HOMES: Final = {
    "comes_back": "cell_checks",
    "config_says": "bench_checks",
    "counts_expiring": "bench_checks",
    "drops_when_told": "copy_checks",
    "gains_from_copies": "copy_checks",
    "goes_stale": "race_checks",
    "guards": "race_checks",
    "hears_of": "cell_checks",
    "names_cause": "cell_checks",
    "names_largest": "bench_checks",
    "nobody_pays_old_price": "document_checks",
    "outlives": "bench_checks",
    "policies": "bench_checks",
    "read_from_cache": "document_checks",
    "reads_language": "bench_checks",
    "spares": "race_checks",
}

__all__ = [
    "Verdict",
    "answered_per_request",
    "asks_server",
    "cached_for",
    "comes_back",
    "config_says",
    "counts_expiring",
    "counts_once",
    "deleted",
    "drops_when_told",
    "field_deleted",
    "gains_from_copies",
    "goes_stale",
    "guards",
    "hash_field",
    "hears_of",
    "key_is_unique",
    "names_call",
    "names_cause",
    "names_largest",
    "never_stale",
    "nobody_pays_old_price",
    "outlives",
    "policies",
    "read_from_cache",
    "reads_language",
    "spares",
    "ttl_expires",
    "value_stored",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{_HOMES[name]}", __package__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
