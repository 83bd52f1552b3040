"""What ``%load_ext`` puts into a shell, and how ``%unload_ext`` takes all of it out again."""

from __future__ import annotations

import importlib
from typing import Any

from .. import context, shim
from .completion import make_matcher
from .document_magics import DocumentMagics
from .expression_magics import ExpressionMagics
from .magics import CacheMagics
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
        self.frappe, real = _frappe()
        magics = CacheMagics(self.frappe if real else None, shell=ipython)
        others = (ServerMagics, DocumentMagics, ExpressionMagics)
        self.magics = (magics, *(kind(magics, shell=ipython) for kind in others))
        # What these names meant before, in a shell where somebody else had defined them.
        registered = ipython.magics_manager.magics["line"]
        self.hidden = {
            name: registered[name] for part in self.magics for name in part.magics["line"] if name in registered
        }
        ipython.register_magics(*self.magics)
        ipython.Completer.custom_matchers.append(self.matcher)
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
        manager = ipython.magics_manager
        for part in self.magics:
            for name, function in part.magics["line"].items():
                # Another extension may have taken the name since.
                if manager.magics["line"].get(name) == function:
                    del manager.magics["line"][name]
            manager.registry.pop(type(part).__name__, None)
            ipython.configurables[:] = [other for other in ipython.configurables if other is not part]
        manager.magics["line"].update(self.hidden)
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
