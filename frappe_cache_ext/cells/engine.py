"""One run of a cell: found and put back, or run, taken down and stored.

The steps are an operation like those on keys: a generator that asks for effects, run by the blocking driver for a plain
cell and by the asynchronous one for a cell with ``await``. Nothing here knows IPython; the notebook stands behind the
protocol `Notebook`.

1. The cell is analysed and everything it reads is walked (`graph`); together that makes its key.
2. An entry under the key is put back. One of a cell that drew from a global random generator says so instead, and the
   entry is looked for under a second key, of which the generator's state is a part: whether a cell draws from one
   cannot be known before it ran, and is the same each time the first key is.
3. Else the cell runs, under a lease, so that one kernel computes and the others wait. What it bound, deleted and
   changed is found by comparing with what was there before (`before`), packed and stored.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pickle
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from .. import operations
from ..effects import Compute, Lease, Outcome, Pause, Steps
from ..errors import MISS, CacheError, CacheUnavailable, NotCacheable, in_words
from ..operations import Scope
from . import manifest, packing, patches, states
from .before import Before, bind
from .dependencies import dependencies
from .graph import Graph, Refused
from .host import Notebook, Options, Ran
from .objects import kind_name
from .plan import FORMAT, Plan, make_plan
from .report import Report

FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.1
"""Seconds between two looks at a cell that another kernel computes."""

_MANIFEST_EXPIRY: Final = 7 * 86400 * 1000
"""Milliseconds for which it is known what a cell depended on."""

_OUT_OF_REACH: Final = "the cache cannot be reached"


class Cell:
    """One execution of a cell.

    Args:
        notebook: where it runs.
        options: how it is cached.
        scope: the cache it is kept in.
        name_for: from a digest to a name on the wire.
        identities: what tells this cell from others across edits, best first; for `Report.why`.
        prefix: what names on the wire begin with, of what is noted for that.
    """

    def __init__(
        self,
        notebook: Notebook,
        options: Options,
        scope: Scope,
        name_for: Callable[[str], bytes],
        identities: Sequence[str] = (),
        prefix: bytes = b"",
    ) -> None:
        self.notebook = notebook
        self.source = notebook.source
        self.options = options
        self.scope = scope
        self.name_for = name_for
        self.identities = identities
        self.prefix = prefix
        self.report = Report()
        self._manifest: manifest.Manifest = {}

    def steps(self) -> Steps[Report]:
        """Put the cell back, or run it."""
        plan, reason = self._plan()
        if plan is None:
            return (yield from self._run_only(reason))
        self.report.hints = plan.code.hints
        try:
            name, record = yield from self._find(plan)
            if record is not MISS and not self.options.refresh and (yield from self._put_back(plan, name, record)):
                return self.report
            yield from self._compare(plan)
            lease, name, record = yield from self._turn(plan, name)
            if record is not MISS and (yield from self._put_back(plan, name, record)):
                return self.report
        except CacheUnavailable:
            return (yield from self._run_only(_OUT_OF_REACH))
        return (yield from self._run_and_store(plan, name, lease))

    def _plan(self) -> tuple[Plan | None, str]:
        """What is known of the cell; or None, and why it is only run."""
        try:
            return make_plan(self.notebook, self.options), ""
        except NotCacheable as error:
            return None, f"{_plainly(error)} – use --ignore {_first_name(error)}, or --key"
        except Refused as error:
            return None, str(error)
        except SyntaxError:
            return None, "it is not Python"  # what is wrong with it IPython tells, when it is run
        except CacheError:
            raise
        except Exception as error:  # what the user's own objects raise when they are looked at, or a fault of ours
            return None, f"it could not be looked through ({in_words(error)})"

    # --- a hit ----------------------------------------------------------------------------------------------------

    def _find(self, plan: Plan) -> Steps[tuple[bytes, Any]]:
        name = self.name_for(plan.digest.hex())
        return (yield from self._resolved(plan, name, (yield from operations.find_cell(self.scope, name))))

    def _resolved(self, plan: Plan, name: bytes, record: Any) -> Steps[tuple[bytes, Any]]:
        """The cell's own entry, where there is only one that says which generators it draws from."""
        if record is MISS or "generators" not in record:
            return name, record
        digest = plan.second_digest(record["generators"], states.generator_digest)
        name = self.name_for(digest.hex())
        return name, (yield from operations.find_cell(self.scope, name))

    def _put_back(self, plan: Plan, name: bytes, record: dict[str, Any]) -> Steps[bool]:
        """Do what the cell would; False, and nothing done, where the entry cannot be read."""
        if record.get("format") != FORMAT:
            yield from operations.delete_cells(self.scope, (name,))
            return False
        try:
            parts = yield from operations.read_parts(self.scope, name, record)
            if parts is MISS:
                return False
            done, outputs = self._unpacked(plan, record, parts)
            patches.check(done["patches"], plan.graph.nodes)
            self._describe(record["meta"])
        except CacheUnavailable:
            raise
        except (MemoryError, OSError) as error:  # of no room for what is stored; the cell itself may need less
            self.report.why.append(f"it cannot be put back here ({in_words(error)})")
            return False
        except Exception as error:  # whatever a class of the user's raises while it is unpickled
            self.report.why.append(f"the entry could not be read ({in_words(error)})")
            yield from operations.delete_cells(self.scope, (name,))
            return False
        try:
            states.check(done["states"])
        except Exception as error:  # a directory or a locale that is not here is no fault of the entry's
            self.report.why.append(f"it cannot be put back here ({in_words(error)})")
            return False
        patches.put_back(done["patches"], plan.graph.nodes)
        bind(self.notebook.names, done["bound"], done["deleted"])
        states.restore(states.without_imported(done["states"]) if record["meta"]["imports"] else done["states"])
        self.report.found = True
        self.notebook.replay(outputs, done["result"][0] if done["result"] else MISS)
        return True

    def _describe(self, meta: dict[str, Any]) -> None:
        self.report.seconds, self.report.size, self.report.created = meta["seconds"], meta["size"], meta["created"]
        self.report.left = meta["expires"] - time.time() if meta["expires"] else None

    def _unpacked(self, plan: Plan, record: dict[str, Any], parts: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        waiting = list(parts)
        body = record["body"] if record["body"] is not None else waiting.pop(0)
        outputs = record["outputs"] if record["outputs"] is not None else waiting.pop(0)
        # A module that is imported for this may print, and did so when the cell ran: that is among the outputs.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            for module in record["meta"]["imports"]:
                importlib.import_module(module)
            done = packing.unpack(body, waiting, plan.graph, (record["meta"]["file"], self.notebook.file()))
        return done, pickle.loads(outputs)  # noqa: S301  (as trusted as the record, which was checked)

    # --- a miss ---------------------------------------------------------------------------------------------------

    def _compare(self, plan: Plan) -> Steps[None]:
        """Find out what differs from the last time that this cell ran, and note how it is now."""
        try:
            now = self._manifest = dependencies(self.source, plan.graph, plan.parts)
        except Exception:  # what the user's own objects raise when they are asked what they are; the cell is not
            return
        then = yield from operations.recall_manifest(self.scope, self.identities, self.prefix)
        before = None if then is MISS else manifest.from_plain(then)
        self.report.why += manifest.explain(before, now)
        if before is not None and not self.report.why:
            self.report.why.append("nothing differs; its entry was cleared, evicted or has expired")
        plain = manifest.to_plain(now)
        remembered = operations.remember_manifest(self.scope, self.identities, plain, _MANIFEST_EXPIRY, self.prefix)
        yield from remembered

    def _turn(self, plan: Plan, name: bytes) -> Steps[tuple[Lease | None, bytes, Any]]:
        """The right to compute the cell; or its entry, if another kernel was faster; or neither."""
        if self.options.refresh:
            return None, name, MISS
        lease, found = yield from self._wait_for_turn(name)
        name, record = yield from self._resolved(plan, name, found)
        if found is not MISS and record is MISS:  # another kernel has found out that the cell draws from a generator
            lease, record = yield from self._wait_for_turn(name)
        return lease, name, record

    def _wait_for_turn(self, name: bytes) -> Steps[tuple[Lease | None, Any]]:
        pause, started = FIRST_PAUSE, time.monotonic()
        while True:
            turn = yield from operations.take_cell(self.scope, name, self.notebook.holder)
            if turn.record is not MISS or turn.lease is not None or not turn.holder:
                return turn.lease, turn.record
            if self.options.wait is not None and time.monotonic() - started >= self.options.wait:
                return None, MISS
            if not self.report.waited:
                self.report.waited = turn.holder
                self.notebook.waiting(turn.holder)
            try:
                yield Pause(pause)
            except KeyboardInterrupt:
                self.report.waited = ""
                return None, MISS
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _run_only(self, reason: str) -> Steps[Report]:
        outcome: Outcome = yield Compute(self.notebook.run)
        self._ran(outcome)
        self.report.reason = reason
        return self.report

    def _ran(self, outcome: Outcome) -> Any:
        if outcome.error is not None:
            self.report.error = outcome.error
            return None
        self.report.ran = outcome.value
        self.report.error = outcome.value.error
        return outcome.value

    def _run_and_store(self, plan: Plan, name: bytes, lease: Lease | None) -> Steps[Report]:
        try:
            before = Before(plan, self.notebook.names)
        except Exception as error:  # what the user's own objects raise when they are looked at, or a fault of ours
            yield from operations.release_cell(self.scope, lease)
            return (yield from self._run_only(f"what is here could not be taken down ({in_words(error)})"))
        before.set_aside()
        started = time.perf_counter()
        ended = False
        try:
            outcome: Outcome = yield Compute(self.notebook.run, lease)
            self.report.seconds = time.perf_counter() - started
            ran = self._ran(outcome)
            ended = self.report.error is None
        finally:
            before.bring_back(ended=ended)
        try:
            if self.report.error is None:
                yield from self._store(plan, name, lease, before, ran)
        except Refused as error:
            self.report.reason = str(error)
        except NotCacheable as error:
            self.report.reason = f"{_plainly(error)}{_how_to_do_without(error, plan)}"
        except CacheUnavailable:
            self.report.reason = _OUT_OF_REACH
        except Exception as error:  # what the user's own objects raise when they are looked at, or a fault of ours
            self.report.reason = f"what it did could not be taken down ({in_words(error)})"
        if self.report.error is not None or self.report.reason:
            yield from operations.release_cell(self.scope, lease)
        return self.report

    def _store(self, plan: Plan, name: bytes, lease: Lease | None, before: Before, ran: Ran) -> Steps[None]:
        if self.report.seconds < self.options.slower_than:
            raise Refused(f"it took no longer than {self.options.slower_than:g} s")
        if not ran.complete:
            raise Refused(ran.reason or "not all that it shows can be shown again")
        after = states.snapshot()
        changes = states.changes(before.states, after, plan.seeded)
        if changes.irreversible:
            raise Refused(changes.irreversible[0])
        done = before.done(self.options.variables)
        # Some libraries draw from `random` while they are imported, or set a filter; imported they are on a hit, too.
        done["states"] = {} if plan.only_imports else changes.values
        done["result"] = (ran.result,) if ran.result is not MISS else ()
        body, outputs, buffers = self._packed(plan, done, ran.outputs)
        size = len(body) + len(outputs) + sum(buffer.nbytes for buffer in buffers)
        self.report.size = size
        if size > self.options.max_bytes:
            raise Refused(
                f"{size:,} bytes are more than CacheMagics.cell_max_bytes allows ({self.options.max_bytes:,})"
            )
        record, parts = self._record(plan, body, outputs, buffers)
        generators = states.generators_used(before.states, after, plan.seeded)
        if generators and not plan.only_imports:
            first, name = name, self.name_for(plan.second_digest(generators, before.states.generator_digest).hex())
            trace = {"format": FORMAT, "generators": list(generators)}
            self.report.reason = (
                yield from operations.store_cell(self.scope, first, trace, [], lease, self.options.expiry)
            ) or ""
            lease = None
        if not self.report.reason:
            stored = operations.store_cell(self.scope, name, record, parts, lease, self.options.expiry)
            self.report.reason = (yield from stored) or ""

    def _packed(self, plan: Plan, done: dict[str, Any], outputs: list[Any]) -> tuple[bytes, bytes, list[memoryview]]:
        try:
            body, buffers = packing.pack(done, plan.graph)
        except Exception:
            raise _unpicklable(done, plan.graph) from None
        return body, pickle.dumps(outputs, protocol=5), buffers

    def _record(
        self, plan: Plan, body: bytes, outputs: bytes, buffers: list[memoryview]
    ) -> tuple[dict[str, Any], list[Any]]:
        apart = [part for part in (body, outputs) if len(part) >= packing.APART]
        now = time.time()
        record = {
            "format": FORMAT,
            "body": body if len(body) < packing.APART else None,
            "outputs": outputs if len(outputs) < packing.APART else None,
            "meta": {
                "name": self.options.name,
                "seconds": self.report.seconds,
                "size": self.report.size,
                "created": now,
                "expires": now + self.options.expiry / 1000 if self.options.expiry else 0.0,
                "holder": self.notebook.holder,
                "host": platform.node(),
                "python": platform.python_version(),
                "file": self.notebook.file(),
                "imports": sorted(name for name in plan.code.imports if name in sys.modules),
                "source": self.source[:400],
            },
            "manifest": manifest.to_plain(self._manifest),
        }
        return record, [*apart, *buffers]


def _first_name(error: NotCacheable) -> str:
    return re.split(r"\W", error.path, maxsplit=1)[0]


def _how_to_do_without(error: NotCacheable, plan: Plan) -> str:
    name = _first_name(error)
    return f" – end with del {name}, or name what to keep with --vars" if name in plan.code.binds else ""


def _plainly(error: NotCacheable) -> str:
    what = error.reason
    article = "" if what.startswith(("a ", "an ")) else "an " if what[0] in "aeiouAEIOU" else "a "
    return f"{error.path} is {article}{what}"


def _unpicklable(done: dict[str, Any], graph: Graph) -> NotCacheable:
    """Which of the things that a cell did cannot be pickled."""
    for (_, name), value in done["bound"].items():
        try:
            packing.pack(value, graph)
        except NotCacheable as error:
            return error
        except Exception:
            return NotCacheable(name, kind_name(type(value)))
    return NotCacheable("the result", kind_name(type(done["result"][0])) if done["result"] else "change in place")
