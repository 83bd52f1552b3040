"""``%%cached``: a cell runs once; afterwards its variables and its outputs come back. And ``%cached EXPR``."""

from __future__ import annotations

import argparse
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any, Final

from IPython.core.magic import Magics, magics_class

from .. import keys, operations
from ..effects import Steps
from ..redis_wrapper import run
from .arguments import EXPRESSION, SHARED, TTL, USER, UserError, argument, cache_magic, seconds, variables
from .auto_caching import AutoCaching
from .cell_lines import age, because, duration, line_of, size, time_left
from .magics import CacheMagics, count
from .tables import Table

if TYPE_CHECKING:
    from ..cells.report import Report

OPTIONS: Final = (
    TTL,
    argument("--vars", metavar="A,B", type=variables, help="Keep these names alone."),
    argument("--ignore", metavar="X,Y", type=variables, default=(), help="Names whose values do not count."),
    argument("--file", metavar="PATH", action="append", default=[], help="A file whose content counts."),
    argument("--env", metavar="VAR", action="append", default=[], help="An environment variable that counts."),
    argument("--key", metavar="EXPR", help="An expression whose value counts in place of the data that is read."),
    argument("--version", metavar="V", help="Counts, and means nothing else: another one computes anew."),
    SHARED,
    USER,
    argument("--if", metavar="EXPR", dest="condition", help="Cache it only where this is true."),
    argument("--refresh", action="store_true", help="Run it whatever is stored, and store that."),
    argument("--quiet", action="store_true", help="Say nothing of what was done."),
    argument("--explain", action="store_true", help="Say why it missed."),
    argument("--wait", metavar="S", type=seconds, help="Seconds to wait for a kernel that computes it already."),
    argument("--no-wait", action="store_true", help="Compute at once, even if another kernel does."),
    argument("--slower-than", metavar="S", type=seconds, default=0.0, help="Store it only if it ran longer."),
    argument("--auto", action="store_true", help=argparse.SUPPRESS),
)


@magics_class
class CellMagics(Magics):
    """The magics that run cells and expressions once."""

    def __init__(self, common: CacheMagics, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.common = common
        self.last: Report | None = None
        self.hinted: set[str] = set()
        self.auto = AutoCaching(self.shell)

    @cache_magic(
        argument("name", metavar="NAME", nargs="?", default="", help="A name for the cell."), *OPTIONS, cell=True
    )
    def cached(self, given: Namespace, body: str) -> Any:
        """Run a cell once; afterwards its variables and its outputs come from the cache.

        It runs again when something changes that it depends on: its code, the values and functions that it reads, what
        these read, the state of a random generator that it draws from. Where a hit could not leave the notebook as
        running the cell does, the cell runs, and a line says why.

        Example: ``%%cached --ttl 3600``
        """
        if not body.strip():
            raise UserError("%%cached: there is nothing below it to run")
        from .cell_running import Execution  # noqa: PLC0415  (what it needs is loaded by the first cell that uses it)

        return Execution.of_cell(self, given, body).start()

    @cache_magic(EXPRESSION, *OPTIONS, words=0, name="cached")
    def cached_expression(self, given: Namespace, local_ns: dict[str, Any] | None) -> Any:
        """The value of a Python expression: evaluated the first time, from the cache afterwards.

        What ``%%cached`` says of a cell holds for the expression; in place of nothing, an hour is what it is kept.

        Example: ``total = %cached slow_add(40, 2) --ttl 60``
        """
        from .cell_running import Execution  # noqa: PLC0415

        return Execution.of_expression(self, given, local_ns).start()

    @cache_magic(
        argument("state", metavar="on|off", nargs="?", choices=("on", "off"), help="Begin or end it."),
        argument("--slower-than", metavar="S", type=seconds, default=1.0, help="Seconds that count as slow; 1."),
    )
    def cached_auto(self, given: Namespace) -> None:
        """Run every cell as under ``%%cached`` from now on, and store those that prove slow; or say whether that is so.

        Example: ``%cached_auto on --slower-than 2``
        """
        if given.state == "on":
            self.auto.turn_on(given.slower_than or 0.0)
        elif given.state == "off":
            self.auto.turn_off()
        limit = self.auto.slower_than
        self.common.say("cells are cached on demand" if limit is None else f"cells slower than {limit:g} s are cached")

    @cache_magic()
    def cached_why(self, given: Namespace) -> None:
        """Say why the last cell under ``%%cached`` missed, or that it did not."""
        if self.last is None:
            raise UserError("%cached_why: no cell has run under %%cached yet")
        if self.last.found:
            print(f"a hit: {line_of(self.last)}")
        else:
            print(because(self.last.why))

    @cache_magic(SHARED, USER)
    def cached_list(self, given: Namespace) -> Table:
        """The cells and expressions that are stored, the largest saving first."""
        found = self._run(operations.list_cells(self._scope(), self._prefix(given, "")))
        rows = sorted((record["meta"] for _, record in found if "meta" in record), key=lambda meta: -meta["seconds"])
        shown = rows[: self.common.max_rows]
        columns = ("name", "cell", "saves", "size", "stored", "expires", "by")
        return Table(columns, map(_row, shown), more=len(rows) - len(shown), empty="no cell is stored")

    @cache_magic(
        argument("names", metavar="NAME", nargs="*", help="Names that cells were given; without one, all cells."),
        SHARED,
        USER,
    )
    def cached_clear(self, given: Namespace) -> None:
        """Forget stored cells, and say how many there were.

        Example: ``%cached_clear cleaning``
        """
        self.common.target.check()
        cleared = 0
        for name in given.names or [""]:
            prefix = self._prefix(given, name)
            found = self._run(operations.list_cells(self._scope(), prefix))
            self._run(operations.delete_cells(self._scope(), [stored for stored, _ in found]))
            # What only says which generator a cell draws from is no cell.
            cleared += sum("meta" in record for _, record in found)
        self.common.say(f"cleared {count(cleared, 'cell')}")

    def _prefix(self, given: Namespace, name: str) -> bytes:
        key = keys.cell_key(name, "") if name else keys.CELL_PREFIX
        made: bytes = self.common.target.cache.make_key(key, given.user, given.shared)
        return made

    def _scope(self) -> Any:
        return self.common.target.cell_scope()

    def _run(self, steps: Steps[Any]) -> Any:
        return run(steps, self.common.target.connection)


def _row(meta: dict[str, Any]) -> tuple[Any, ...]:
    now = time.time()
    first = next(iter(meta["source"].strip().splitlines()), "")
    left = time_left(meta["expires"] - now) if meta["expires"] else "never"
    return (
        *(meta["name"], first, duration(meta["seconds"]), size(meta["size"]), age(now - meta["created"])),
        *(left, meta["holder"]),
    )
