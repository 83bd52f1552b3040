"""The ways to keep what a cell computes that are measured beside each other.

Each gives the text of two cells: one for when nothing is stored yet, one for afterwards. All run in the same shell, so
that everybody pays alike for what IPython does around a cell. Caches of function calls get the work as a function;
unlike a cached cell, they need not find out what it reads, nor bring back what it printed.
"""

from __future__ import annotations

import logging
from types import ModuleType
from typing import ClassVar, Final

import redis

from tests.benchmarks import workloads
from tests.benchmarks.bare import BareConnection
from tests.benchmarks.rows import Setting
from tests.benchmarks.shell import Shell
from tests.benchmarks.timing import NotMeasured
from tests.benchmarks.works import Work

PATIENCE: Final = 120.0
"""Seconds in which a peer's reply comes: on a busy machine 100 MB take longer than a client waits by itself."""


class Uncached:
    """The cell as it is, and what all the others have in common.

    Args:
        shell: where the cells run.
        work: what they do.
    """

    def __init__(self, shell: Shell, work: Work) -> None:
        self.shell = shell
        self.work = work

    def store(self, number: int) -> str:
        """The cell that computes and stores the result for a number."""
        return self.work.cell(number)

    def load(self, number: int) -> str:
        """The cell that gets back what `store` stored; the same text, where a cache decides which of the two it is."""
        return self.store(number)

    def ready(self, number: int, *, hit: bool) -> None:
        """Prepare for one of the two, off the clock."""

    def was_hit(self) -> bool | None:
        """Whether a cache answered the cell that ran last; None where the text alone decides that."""
        return None


class Cached(Uncached):
    """Ours, ``%%cached``."""

    def __init__(self, shell: Shell, work: Work) -> None:
        super().__init__(shell, work)
        shell.run("%load_ext frappe_cache_ext")

    def store(self, number: int) -> str:
        """The cell under the magic."""
        return f"%%cached\n{self.work.cell(number)}"

    def ready(self, number: int, *, hit: bool) -> None:
        """Make room for what is stored next; what is known of the cell's last run stays."""
        if not hit:
            self.shell.run("%cached_clear")

    def was_hit(self) -> bool:
        """What the magic's line says.

        Raises:
            NotMeasured: it says neither; nothing was cached, then.
        """
        return _said(self.shell, hit="cached · ", miss="computed · ")


class Ipycache(Uncached):
    """``%%cache`` of ipycache: the named variables in a file that is named too, as long as the text is the same."""

    def __init__(self, shell: Shell, work: Work, setting: Setting) -> None:
        super().__init__(shell, work)
        self.file = setting.folder / "ipycache.pkl"
        shell.run("%load_ext ipycache")

    def store(self, number: int) -> str:
        """The cell under the magic."""
        return f"%%cache {self.file} {' '.join(self.work.names)}\n{self.work.cell(number)}"

    def was_hit(self) -> bool:
        """What the magic says.

        Raises:
            NotMeasured: it says neither.
        """
        return _said(self.shell, hit="[Skipped the cell's code", miss="[Saved variables")


class JoblibMemory(Uncached):
    """``joblib.Memory``: results of function calls, in files."""

    def __init__(self, shell: Shell, work: Work, setting: Setting, joblib: ModuleType) -> None:
        super().__init__(shell, work)
        memory = joblib.Memory(setting.folder / "joblib", verbose=0)
        shell.names["joblib_function"] = memory.cache(getattr(workloads, work.function))
        self.stored = False

    def store(self, number: int) -> str:
        """A call of the function."""
        return self.work.call("joblib_function", number)

    def ready(self, number: int, *, hit: bool) -> None:
        """Look whether it has the result."""
        self.shell.run(f"stored = {self.work.called('joblib_function.check_call_in_cache', number)}")
        self.stored = self.shell.names["stored"]

    def was_hit(self) -> bool:
        """Whether it had the result before the call."""
        return self.stored


class MarimoCache(Uncached):
    """``marimo.persistent_cache``: results of function calls, in files."""

    def __init__(self, shell: Shell, work: Work, setting: Setting, marimo: ModuleType) -> None:
        super().__init__(shell, work)
        # It warns that this is no notebook of its own.
        logging.getLogger("marimo").setLevel(logging.ERROR)
        # It takes the names of the module that asks for those around the function: here, and not in the shell's.
        function = getattr(workloads, work.function)
        self.function = marimo.persistent_cache(function, save_path=str(setting.folder / "marimo"))
        shell.names["marimo_function"] = self.function
        self.hits = 0

    def store(self, number: int) -> str:
        """A call of the function."""
        return self.work.call("marimo_function", number)

    def ready(self, number: int, *, hit: bool) -> None:
        """Note how many hits it has counted so far."""
        self.hits = self.function.cache_info().hits

    def was_hit(self) -> bool:
        """Whether it has counted one more."""
        return bool(self.function.cache_info().hits > self.hits)


class InBand(Uncached):
    """A pickle with everything in it, sent through redis-py: what is done without any of these."""

    key: ClassVar = "pickle"

    def __init__(self, shell: Shell, work: Work, setting: Setting) -> None:
        super().__init__(shell, work)
        self.client = shell.names["client"] = redis.Redis.from_url(setting.url, socket_timeout=PATIENCE)

    def store(self, number: int) -> str:
        """The cell, and one more line."""
        return f"{self.work.cell(number)}\nclient.set({self.key!r}, pickle.dumps({self.work.names[0]}))"

    def load(self, number: int) -> str:
        """The one line."""
        return f"{self.work.names[0]} = pickle.loads(client.get({self.key!r}))"

    def ready(self, number: int, *, hit: bool) -> None:
        """Make room."""
        stored = [] if hit else list(self.client.scan_iter(f"{self.key}*"))
        if stored:
            self.client.unlink(*stored)


class Bare(InBand):
    """An array's bytes on the socket, and nothing else."""

    key: ClassVar = "bytes"

    def __init__(self, shell: Shell, work: Work, setting: Setting) -> None:
        super().__init__(shell, work, setting)
        shell.names["bare"] = BareConnection(setting.url)

    def store(self, number: int) -> str:
        """The cell, and a SET."""
        return f"{self.work.cell(number)}\nbare.set({self.key!r}, memoryview({self.work.names[0]}).cast('B'))"

    def load(self, number: int) -> str:
        """A GET."""
        return f"{self.work.names[0]} = numpy.frombuffer(bare.get({self.key!r}))"


class BarePieces(Bare):
    """The same in pieces: nothing that keeps an array's bytes on this server can be faster."""

    key: ClassVar = "pieces"

    def __init__(self, shell: Shell, work: Work, setting: Setting) -> None:
        super().__init__(shell, work, setting)
        self.size = setting.sizes.array_bytes

    def store(self, number: int) -> str:
        """The cell, and a SET for each piece."""
        return f"{self.work.cell(number)}\nbare.set_pieces({self.key!r}, memoryview({self.work.names[0]}).cast('B'))"

    def load(self, number: int) -> str:
        """A GET for each piece."""
        return f"{self.work.names[0]} = numpy.frombuffer(bare.get_pieces({self.key!r}, {self.size}))"


def _said(shell: Shell, *, hit: str, miss: str) -> bool:
    """Which of two beginnings a line of the last cell's has.

    Raises:
        NotMeasured: none has either.
    """
    for line in shell.shown.splitlines():
        if line.startswith((hit, miss)):
            return line.startswith(hit)
    raise NotMeasured(f"the cell says neither {hit!r} nor {miss!r} but: {shell.shown.strip() or 'nothing'}")
