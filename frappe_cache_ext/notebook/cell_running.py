"""One execution of a cell or an expression under the cache: from the magic's line to what it says at the end."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from .. import keys
from ..aio import run_async
from ..cells.engine import Cell
from ..cells.host import Options
from ..cells.report import Report
from ..errors import CacheError
from ..operations import milliseconds
from ..redis_wrapper import run
from .arguments import UserError
from .cell_hosts import CellHost, ExpressionHost, Host
from .cell_lines import because, line_of
from .magics import not_given
from .running import reraise

if TYPE_CHECKING:
    from .cell_magics import CellMagics


class Execution:
    """One execution under ``%%cached`` or ``%cached``.

    Args:
        magics: whose magic it is.
        given: the magic's arguments.
        host: the body, in its shell.
    """

    def __init__(self, magics: CellMagics, given: Namespace, host: Host) -> None:
        self.magics = magics
        self.common = magics.common
        self.given = given
        self.host = host

    @classmethod
    def of_cell(cls, magics: CellMagics, given: Namespace, body: str) -> Execution:
        """The execution of a cell."""
        return cls(magics, given, CellHost(magics.shell, body, above=0 if given.auto else 1))

    @classmethod
    def of_expression(cls, magics: CellMagics, given: Namespace, local_ns: dict[str, Any] | None) -> Execution:
        """The evaluation of an expression.

        Raises:
            UserError: it is none.
        """
        given.name = ""
        return cls(magics, given, ExpressionHost(magics.shell, given.expression, local_ns))

    def start(self) -> Any:
        """Do it; for a body that awaits, a coroutine that does."""
        if self.host.awaits:
            return self._run_async()
        cell, reason = self._cell_or_why_not()
        if cell is None:
            return self._finish(self._plainly(self.host.run(), reason))
        return self._finish(run(cell.steps(), self.common.target.connection))

    async def _run_async(self) -> Any:
        cell, reason = self._cell_or_why_not()
        if cell is None:
            return self._finish(self._plainly(await self.host.run(), reason))
        return self._finish(await run_async(cell.steps(), self.common.target.connection))

    def _cell_or_why_not(self) -> tuple[Cell | None, str]:
        if self.given.condition is not None and not self.host.evaluate(self.given.condition):
            return None, f"--if {self.given.condition}: it is false here"
        try:
            self.common.target.check()
            return self._cell(), ""
        except (UserError, CacheError) as error:  # a server that is away, or a wrong setting, is no reason not to run
            return None, str(error)

    def _cell(self) -> Cell:
        given, target = self.given, self.common.target
        ttl = self.host.default_ttl(self.common) if not_given(given.ttl) else given.ttl
        options = Options(
            name=given.name,
            expiry=milliseconds(ttl or None),
            variables=given.vars,
            ignored=given.ignore,
            files=tuple(given.file),
            environment=tuple(given.env),
            key=given.key,
            version=given.version,
            refresh=given.refresh,
            wait=0.0 if given.no_wait else given.wait,
            max_bytes=self.common.cell_max_bytes,
            slower_than=given.slower_than or 0.0,
        )

        def name_for(digest: str) -> bytes:
            name: bytes = target.cache.make_key(keys.cell_key(given.name, digest), given.user, given.shared)
            return name

        prefix: bytes = target.cache.make_key("", given.user, given.shared)
        identities = self.host.identities(given.name)
        return Cell(self.host, options, target.cell_scope(), name_for, identities, prefix)

    def _plainly(self, ran: Any, reason: str) -> Report:
        return Report(reason=reason, error=ran.error, ran=ran)

    def _finish(self, report: Report) -> Any:
        self.magics.last = report
        if report.error is not None:
            reraise(report.error)
        silent = self.given.quiet or self.common.quiet or (self.given.auto and bool(report.reason))
        if not silent:
            self._tell(report)
        return self.host.value(report)

    def _tell(self, report: Report) -> None:
        lines = [line_of(report)]
        if self.given.explain and not report.found:
            lines.append(because(report.why))
        if report.hints and not report.found and not report.reason and not self.magics.hinted.issuperset(report.hints):
            self.magics.hinted.update(report.hints)
            again = ", ".join(report.hints)
            lines.append(f"hint: its result is frozen, and a hit does not do this again: {again}; --ttl limits that")
        for line in lines:
            self.host.say(line)
