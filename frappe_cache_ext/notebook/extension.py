"""What ``%load_ext`` puts into a shell, and how ``%unload_ext`` takes all of it out again."""

from __future__ import annotations

import importlib
from typing import Any

from .. import context, shim
from .cell_magics import CellMagics
from .completion import make_matcher
from .document_magics import DocumentMagics
from .magics import CacheMagics
from .running import AwaitTransformer
from .server_magics import ServerMagics


def load(ipython: Any) -> None:
    """Put everything into a shell; a shell that has it already keeps it."""
    if ipython not in _loaded:
        _loaded[ipython] = _Loaded(ipython)


def unload(ipython: Any) -> None:
    """Take everything out of a shell again."""
    loaded = _loaded.pop(ipython, None)
    if loaded is not None:
        loaded.undo()


class _Loaded:
    """What was put into one shell."""

    def __init__(self, ipython: Any) -> None:
        self.ipython = ipython
        self.cells = _Cells()
        self.matcher = make_matcher(ipython)
        self.awaits = AwaitTransformer()
        self.frappe, real = _frappe()
        magics = CacheMagics(self.frappe if real else None, shell=ipython)
        self.cell_magics = CellMagics(magics, shell=ipython)
        others = (ServerMagics, DocumentMagics)
        self.magics = (magics, self.cell_magics, *(kind(magics, shell=ipython) for kind in others))
        # What these names meant before, in a shell where somebody else had defined them.
        registered = ipython.magics_manager.magics
        self.hidden = {
            kind: {name: found[name] for part in self.magics for name in part.magics[kind] if name in found}
            for kind, found in registered.items()
        }
        ipython.register_magics(*self.magics)
        ipython.Completer.custom_matchers.append(self.matcher)
        self.awaits.install(ipython)
        ipython.events.register("pre_run_cell", self.cells.begin)
        ipython.events.register("post_run_cell", self.cells.end)
        self.pushed = {} if "frappe" in ipython.user_ns else {"frappe": self.frappe}
        ipython.push(self.pushed)
        context.follow_cells(True)
        # The cell that loads the extension is a request too, from here on.
        context.begin_cell()

    def undo(self) -> None:
        ipython = self.ipython
        context.end_cell()
        context.follow_cells(False)
        ipython.drop_by_id(self.pushed)
        ipython.events.unregister("pre_run_cell", self.cells.begin)
        ipython.events.unregister("post_run_cell", self.cells.end)
        ipython.Completer.custom_matchers.remove(self.matcher)
        self.awaits.remove(ipython)
        self.cell_magics.auto.turn_off()
        manager = ipython.magics_manager
        for part in self.magics:
            for kind, functions in part.magics.items():
                for name, function in functions.items():
                    # Another extension may have taken the name since.
                    if manager.magics[kind].get(name) == function:
                        del manager.magics[kind][name]
            manager.registry.pop(type(part).__name__, None)
            ipython.configurables[:] = [other for other in ipython.configurables if other is not part]
        for kind, functions in self.hidden.items():
            manager.magics[kind].update(functions)
        shim.uninstall()


_loaded: dict[Any, _Loaded] = {}


def _frappe() -> tuple[Any, bool]:
    """What `frappe` means in this shell, and whether that is a real Frappe."""
    stand_in = shim.install()
    return (importlib.import_module("frappe"), True) if stand_in is None else (stand_in, False)


class _Cells:
    """Tells the context where a cell begins and ends.

    ``%%capture`` and its like run a cell inside a cell; the request is the outer one's.
    """

    def __init__(self) -> None:
        self.running: Any = None

    def begin(self, info: Any) -> None:
        # A cell with a prompt of its own is never an inner one: whatever went wrong before, a request begins here.
        if self.running is None or info.store_history:
            self.running = info
            context.begin_cell()

    def end(self, result: Any) -> None:
        if result is None or self.running is None or result.info is self.running:
            self.running = None
            context.end_cell()
