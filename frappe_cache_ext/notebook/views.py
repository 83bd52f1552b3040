"""What the magics show of the server: its keys and its counters, as tables."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..entries import look_up
from ..errors import UnreadableValue
from .tables import Table, one_line, shortened
from .target import Target, text_of

PREVIEW_WIDTH: Final = 50
LARGEST_PREVIEWED: Final = 64 * 1024
"""Bytes of a value that is still fetched to be shown."""


def list_keys(target: Target, prefix: str, most: int) -> Table:
    """The site's keys that begin with a text.

    Args:
        target: whose keys.
        prefix: what they begin with.
        most: how many are shown.
    """
    names = sorted(target.cache.get_keys(prefix))
    found = list(look_up(names[:most], lambda commands: _each(target.client, commands)))
    wanted = [entry.name for entry in found if entry.type == "string" and (entry.size or 0) <= LARGEST_PREVIEWED]
    values = dict(zip(wanted, _each(target.client, [("GET", name) for name in wanted]), strict=True))
    site = target.site_prefix()
    rows = [
        (
            text_of(entry.name.removeprefix(site)),
            entry.type,
            entry.size_text,
            entry.expiry_text,
            _preview(target, entry.name, values.get(entry.name)),
        )
        for entry in found
    ]
    empty = f"no key of site {target.site!r}" + (f" begins with {prefix!r}" if prefix else "")
    more = len(names) - len(names[:most])
    return Table(("key", "type", "size", "expires", "value"), rows, more=more, empty=empty)


def _each(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The replies to some commands sent together; an error stands in its command's place."""
    if not commands:
        return []
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies


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
