"""`frappe-cache keys`: what a site keeps, without reading any of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from . import keys
from .cli_text import WIDTH, Terminal, count, printable
from .connections import Connection
from .effects import Pipeline

_BATCH: Final = 500
_SIZES: Final = {
    "string": ("STRLEN", "byte"),
    "hash": ("HLEN", "field"),
    "list": ("LLEN", "item"),
    "set": ("SCARD", "member"),
    "zset": ("ZCARD", "member"),
    "stream": ("XLEN", "entry"),
}
"""For each of Redis' types the command that measures it, and what it counts."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a site.

    Attributes:
        key: the key, without the site's prefix.
        type: Redis' name for its type.
        size: bytes of a string, fields of a hash, items of a list, members of a set; None for other types.
        unit: what `size` counts.
        expires_in_sec: seconds until it is gone; None for one that stays.
    """

    key: str
    type: str
    size: int | None
    unit: str
    expires_in_sec: float | None


def list_keys(connection: Connection, db_name: str, names: Sequence[bytes]) -> Iterator[Entry]:
    """Look some keys up; those that are gone meanwhile are left out.

    Args:
        connection: the server.
        db_name: the site's prefix.
        names: their names on the wire.

    Raises:
        CacheUnavailable: the server went away.
    """
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        kinds = [_text(kind) for kind in connection.perform(Pipeline([("TYPE", name) for name in batch]))]
        left = connection.perform(Pipeline([("PTTL", name) for name in batch]))
        measured = [(_SIZES[kind][0], name) for name, kind in zip(batch, kinds, strict=True) if kind in _SIZES]
        sizes = iter(connection.perform(Pipeline(measured)) if measured else ())
        for name, kind, milliseconds in zip(batch, kinds, left, strict=True):
            size = next(sizes) if kind in _SIZES else None
            if kind == "none" or milliseconds == -2:  # PTTL's answer for a key that is not there
                continue
            yield Entry(
                key=keys.strip_site(db_name, name),
                type=kind,
                size=size if isinstance(size, int) else None,  # an error where the key became another type just now
                unit=_SIZES[kind][1] if kind in _SIZES else "",
                expires_in_sec=milliseconds / 1000 if isinstance(milliseconds, int) and milliseconds >= 0 else None,
            )


def print_keys(found: Iterator[Entry], site: str, total: int, *, as_json: bool) -> None:
    """Print a table of keys for people, or JSON for programs.

    Args:
        found: what to show.
        site: whose keys they are.
        total: how many there are in all.
        as_json: one array of objects with the attributes of `Entry`.
    """
    if as_json:
        fields = Entry.__slots__
        print(json.dumps([{field: getattr(entry, field) for field in fields} for entry in found], indent=2))
        return
    terminal = Terminal()
    rows = [(printable(entry.key), printable(entry.type), _size(entry), _expiry(entry)) for entry in found]
    if rows:
        heads = ("key", "type", "size", "expires")
        kind, size, expiry = (max(len(row[column]) for row in [heads, *rows]) for column in (1, 2, 3))
        # A long key goes past its column rather than being cut: it is there to be copied.
        room = min(max(len(row[0]) for row in [heads, *rows]), max(10, WIDTH - kind - size - expiry - 6))
        for index, row in enumerate([heads, *rows]):
            line = f"{row[0]:<{room}}  {row[1]:<{kind}}  {row[2]:>{size}}  {row[3]}"
            print(terminal.paint("bold", line) if index == 0 else line)
        print()
    shown = f", {len(rows):,} shown (--limit 0 shows all)" if len(rows) < total else ""
    print(f"{count(total, 'key')} of site {printable(site)}{shown}")


def _text(reply: object) -> str:
    if isinstance(reply, Exception):  # this user may not ask for it
        return "?"
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)


def _size(entry: Entry) -> str:
    return "-" if entry.size is None else count(entry.size, entry.unit)


def _expiry(entry: Entry) -> str:
    seconds = entry.expires_in_sec
    if seconds is None:
        return "never"
    if seconds < 120:
        return f"in {math.ceil(seconds)} s"
    minutes = seconds / 60
    if minutes < 120:
        return f"in {minutes:.0f} min"
    return f"in {minutes / 60:.0f} h" if minutes < 2880 else f"in {minutes / 1440:,.0f} days"
