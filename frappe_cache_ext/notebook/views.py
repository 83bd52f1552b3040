"""What the magics show of the server: its keys and its counters, as tables."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any, Final

from ..errors import UnreadableValue
from .tables import Table, one_line, shortened
from .target import Target, text_of

PREVIEW_WIDTH: Final = 50
LARGEST_PREVIEWED: Final = 64 * 1024
"""Bytes of a value that is still fetched to be shown."""

_SIZES: Final = {
    "string": ("STRLEN", "byte"),
    "hash": ("HLEN", "field"),
    "list": ("LLEN", "item"),
    "set": ("SCARD", "member"),
    "zset": ("ZCARD", "member"),
    "stream": ("XLEN", "entry"),
}


def list_keys(target: Target, prefix: str, most: int) -> Table:
    """The site's keys that begin with a text.

    Args:
        target: whose keys.
        prefix: what they begin with.
        most: how many are shown.
    """
    names = sorted(target.cache.get_keys(prefix))
    shown, client = names[:most], target.client
    kinds = _each(client, [("TYPE", name) for name in shown])
    types = [text_of(kind) if isinstance(kind, str | bytes) else "-" for kind in kinds]
    sizes = _each(
        client, [(_SIZES.get(kind, ("EXISTS", ""))[0], name) for name, kind in zip(shown, types, strict=True)]
    )
    expiries = _each(client, [("PTTL", name) for name in shown])
    wanted = [
        name
        for name, kind, size in zip(shown, types, sizes, strict=True)
        if kind == "string" and isinstance(size, int) and size <= LARGEST_PREVIEWED
    ]
    values = dict(zip(wanted, _each(client, [("GET", name) for name in wanted]), strict=True))
    site = target.site_prefix()
    rows = [
        (
            text_of(name.removeprefix(site)),
            kind,
            _size(kind, size),
            _expiry(left),
            _preview(target, name, values.get(name)),
        )
        for name, kind, size, left in zip(shown, types, sizes, expiries, strict=True)
        if kind != "none"  # it expired while it was looked at
    ]
    empty = f"no key of site {target.site!r}" + (f" begins with {prefix!r}" if prefix else "")
    return Table(("key", "type", "size", "expires", "value"), rows, more=len(names) - len(shown), empty=empty)


def _each(client: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    """The replies to some commands sent together; an error stands in its command's place."""
    if not commands:
        return []
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies


def _size(kind: str, size: Any) -> str:
    noun = _SIZES.get(kind, ("", ""))[1]
    if not isinstance(size, int) or not noun:
        return "-"
    plural = noun if size == 1 else "entries" if noun == "entry" else noun + "s"
    return f"{size:,} {plural}"


def _expiry(left: Any) -> str:
    """The time left, rounded up, so that a key just stored for a minute says so."""
    if not isinstance(left, int):
        return "-"
    if left < 0:
        return "never"
    seconds = math.ceil(left / 1000)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{seconds} s"


def _preview(target: Target, name: bytes, data: Any) -> str:
    if not isinstance(data, bytes):
        return ""
    try:
        value = target.codec.inspect(data, name)
    except UnreadableValue:
        return shortened(one_line(repr(data)), PREVIEW_WIDTH)
    return shortened(one_line(_brief.repr(value)), PREVIEW_WIDTH)


_brief: Final = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = PREVIEW_WIDTH + 10


# --- counters -----------------------------------------------------------------------------------------------------


def server_facts(target: Target) -> Mapping[str, Any]:
    """What the server says about itself; nothing where it does not know the question."""
    from redis.exceptions import ResponseError  # noqa: PLC0415  (loaded by the first magic, not with the extension)

    try:
        facts = target.client.info()
    except ResponseError:  # the server inside this process
        return {}
    if "redis_version" in facts:
        found: Mapping[str, Any] = facts
        return found
    # A cluster answers with one of these for each node.
    return next(iter(facts.values()), {})


def server_name(facts: Mapping[str, Any]) -> str:
    """The server's name and version: ``Valkey 9.0.1``."""
    if "valkey_version" in facts:
        return f"Valkey {facts['valkey_version']}"
    if "redis_version" in facts:
        return f"Redis {facts['redis_version']}"
    return "fakeredis, a server in this process"


def statistics(target: Target) -> Table:
    """The counters of the server and of this process."""
    facts = server_facts(target)
    rows: list[tuple[str, Any]] = [
        ("server", server_name(facts)),
        ("site", target.site),
        ("keys of this site", len(target.cache.get_keys(""))),
    ]
    if facts:
        hits, misses = facts.get("keyspace_hits", 0), facts.get("keyspace_misses", 0)
        limit = facts.get("maxmemory", 0)
        rows += [
            (
                "memory",
                f"{_megabytes(facts.get('used_memory', 0))} of {_megabytes(limit) if limit else 'all there is'}",
            ),
            ("eviction", facts.get("maxmemory_policy", "-")),
            ("server: hits", hits),
            ("server: misses", misses),
            ("server: hit rate", _rate(hits, misses)),
            ("server: evicted keys", facts.get("evicted_keys", 0)),
            ("server: expired keys", facts.get("expired_keys", 0)),
        ]
    stats = getattr(target.cache, "stats", None)
    if stats is not None:
        rows += [
            ("this process: hits on the server", stats.hits),
            ("this process: hits in the request", stats.local_hits),
            ("this process: misses", stats.misses),
            ("this process: hit rate", _rate(stats.hits + stats.local_hits, stats.misses)),
            ("this process: writes", stats.writes),
            ("this process: dropped writes", stats.dropped),
            ("this process: outages", stats.outages),
        ]
    return Table(("what", "value"), rows)


def _rate(hits: int, misses: int) -> str:
    return f"{hits / (hits + misses):.1%}" if hits + misses else "-"


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MB"
