"""Rows on cells: what ``%%cached`` adds to one that has to run, and what one costs that need not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from tests.benchmarks import works
from tests.benchmarks.rows import AtMost, AtMostTimes, Row, Setting, peer
from tests.benchmarks.timing import Contender, Field, Missing, NotMeasured, Party
from tests.benchmarks.works import Work

if TYPE_CHECKING:
    from tests.benchmarks.shell import Shell
    from tests.benchmarks.ways import Uncached

IPYCACHE: Final = "ipycache"
JOBLIB: Final = "joblib.Memory"
MARIMO: Final = "marimo.persistent_cache"
PICKLE: Final = "pickle in band, redis-py"
BARE: Final = "bare SET, GET"
PIECES: Final = "bare SETs, GETs of 2 MiB"

LARGE_ROUNDS: Final = 7
"""Each leaves hundreds of megabytes on the disk, which are removed with the row's folder."""


class TimedCell:
    """A cell that is run one way, and what has to be so before and after.

    Args:
        way: how it is cached.
    """

    def __init__(self, way: Uncached) -> None:
        self.way = way
        self.number = 0
        self.text = ""

    def contender(self, name: str, *, hit: bool) -> Contender:
        """It as a contender in a row on hits or on misses."""
        before = self.be_stored if hit else self.be_new
        return Contender(name, self.run, before, functools.partial(self.check, hit=hit))

    def run(self) -> None:
        """Run it: what is timed."""
        self.way.shell.run(self.text)

    def be_new(self) -> None:
        """Become a cell that has never run, in a notebook without its variables."""
        self.number += 1
        self.way.ready(hit=False, number=self.number)
        self._write(self.way.store(self.number))

    def be_stored(self) -> None:
        """Become a cell that has run once, in a notebook without its variables."""
        if self.number == 0:
            self.be_new()
            self.run()
            self.check(hit=False)
        self.way.ready(hit=True, number=self.number)
        self._write(self.way.load(self.number))

    def check(self, *, hit: bool) -> None:
        """See that it did what its time is to stand for.

        Raises:
            NotMeasured: it did something else.
        """
        found = self.way.was_hit()
        if found is not None and found is not hit:
            was, wanted = ("miss", "hit") if hit else ("hit", "miss")
            raise NotMeasured(f"a {was}, where a {wanted} was to be timed: {self.text}")
        if not self.way.work.is_right(self.way.shell.names, self.number):
            raise NotMeasured(f"another result than that of running the cell: {self.text}")

    def _write(self, text: str) -> None:
        self.way.shell.forget(self.way.work.names)
        self.text = text


def _field(setting: Setting, work: Work, names: Sequence[str], *, hit: bool) -> Field:
    from tests.benchmarks.shell import Shell
    from tests.benchmarks.ways import Cached, Uncached

    shell = Shell(setting.folder)
    shell.run(work.setup)

    def contender(name: str, way: Uncached) -> Contender:
        return TimedCell(way).contender(name, hit=hit)

    return Field(
        contender("ours", Cached(shell, work)),
        [_peer(name, shell, work, setting, contender) for name in names],
        None if hit else contender("no cache", Uncached(shell, work)),
    )


def _peer(
    name: str, shell: Shell, work: Work, setting: Setting, contender: Callable[[str, Uncached], Contender]
) -> Party | Missing:
    from tests.benchmarks.ways import Bare, BarePieces, InBand, Ipycache, JoblibMemory, MarimoCache

    if name == IPYCACHE:
        remedy = "its last release is for Python 2, the head of its repository runs"
        return peer(name, "ipycache", lambda _: contender(name, Ipycache(shell, work, setting)), remedy)
    if name == JOBLIB:
        return peer(name, "joblib", lambda joblib: contender(name, JoblibMemory(shell, work, setting, joblib)))
    if name == MARIMO:
        return peer(name, "marimo", lambda marimo: contender(name, MarimoCache(shell, work, setting, marimo)))
    on_the_server = {PICKLE: InBand, BARE: Bare, PIECES: BarePieces}
    return contender(name, on_the_server[name](shell, work, setting))


def _both(
    name: str,
    work: Callable[[Setting], Work],
    titles: tuple[str, str],
    goals: tuple[AtMost | AtMostTimes, AtMost | AtMostTimes],
    peers: Sequence[str],
    rounds: int,
) -> tuple[Row, Row]:
    """The row on running a cell for the first time, less the cell itself, and the row on a whole hit."""

    def field(setting: Setting, *, hit: bool) -> Field:
        return _field(setting, work(setting), peers, hit=hit)

    miss, hit = (functools.partial(field, hit=hit) for hit in (False, True))
    return Row(f"{name}-miss", titles[0], goals[0], miss, rounds), Row(f"{name}-hit", titles[1], goals[1], hit, rounds)


ROWS: Final = (
    *_both(
        "small-cell",
        works.small,
        ("%%cached, small cell: added to a miss", "%%cached, small cell: a whole hit"),
        (AtMost(5e-3), AtMost(4e-3)),
        (IPYCACHE, JOBLIB, MARIMO),
        rounds=51,
    ),
    *_both(
        "array-cell",
        works.array,
        ("%%cached, {array} float64 array: store", "%%cached, {array} float64 array: load"),
        (AtMostTimes(1.3, BARE), AtMostTimes(2.5, BARE)),
        (BARE, PIECES, PICKLE, JOBLIB, MARIMO),
        LARGE_ROUNDS,
    ),
    *_both(
        "frame-cell",
        works.frame,
        ("%%cached, frame of {rows} x 4 with categories: store", "%%cached, frame of {rows} x 4 with categories: load"),
        (AtMostTimes(0.5, PICKLE), AtMostTimes(0.5, PICKLE)),
        (PICKLE, JOBLIB, MARIMO),
        LARGE_ROUNDS,
    ),
)
