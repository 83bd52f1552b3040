"""`frappe-cache keys`: what a site keeps, without reading any of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from . import keys
from .cli_text import WIDTH, Terminal, count, printable
from .connections import Connection
from .effects import Pipeline
from .entries import Entry, look_up


def list_keys(connection: Connection, names: Sequence[bytes]) -> Iterator[Entry]:
    """Look some keys up; those that are gone meanwhile are left out.

    Args:
        connection: the server.
        names: their names on the wire.

    Raises:
        CacheUnavailable: the server went away.
    """
    return look_up(names, lambda commands: connection.perform(Pipeline(commands)))


def print_keys(found: Iterator[Entry], site: str, db_name: str, total: int, *, as_json: bool) -> None:
    """Print a table of keys for people, or JSON for programs.

    Args:
        found: what to show.
        site: whose keys they are.
        db_name: the site's prefix, which is not shown.
        total: how many there are in all.
        as_json: one array of objects with the attributes of `Entry`, and the key in place of the name.
    """
    if as_json:
        print(json.dumps([_as_object(entry, db_name) for entry in found], indent=2))
        return
    terminal = Terminal()
    rows = [
        (printable(keys.strip_site(db_name, entry.name)), printable(entry.type), entry.size_text, entry.expiry_text)
        for entry in found
    ]
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


def _as_object(entry: Entry, db_name: str) -> dict[str, str | float | None]:
    return {
        "key": keys.strip_site(db_name, entry.name),
        "type": entry.type,
        "size": entry.size,
        "unit": entry.unit,
        "expires_in_sec": entry.expires_in_sec,
    }
