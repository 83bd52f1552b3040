"""Why code cannot be followed: what it calls can read, set or change what its text does not name."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable
from typing import Final

from .aliases import Aliases
from .code import GlobalUse
from .flow import Flow

_REMEDY: Final = "can read and set any name; with --key and --vars you can say what matters"
_OF_ITS_OWN: Final = "put it in a cell of its own"

_SHELL: Final = "get_ipython"
_LEAVING: Final = ("exit", "quit")
_HISTORY: Final = ("In", "Out", "_ih", "_oh", "_dh")
_IPYTHONS_OWN: Final = frozenset((*_LEAVING, *_HISTORY, _SHELL))
"""Names that IPython sets itself; any other that the notebook has is the user's."""

_COMPUTED_IMPORT: Final = f"an import by a computed name {_REMEDY}"

_BY_NAME: Final[dict[str, str]] = {
    **{name: f"{name}() {_REMEDY}" for name in ("exec", "eval", "compile", "globals")},
    "__import__": _COMPUTED_IMPORT,
    **{name: f"{name}() asks whoever sits at the keyboard; {_OF_ITS_OWN}" for name in ("input", "breakpoint")},
    **{name: f"{name}() ends the kernel" for name in _LEAVING},
    **{name: f"{name} is the history of this kernel; give what you need of it a name" for name in _HISTORY},
    _SHELL: f"get_ipython(), or a magic in a function, can change the kernel itself; {_OF_ITS_OWN}",
}
"""Why code that reads a name cannot be followed, by name."""

_FRAMES: Final = ("sys._getframe", "inspect.currentframe", "inspect.stack", "inspect.trace")
_RUNNING: Final = ("runpy.run_path", "runpy.run_module")
_ASKING: Final = ("getpass.getpass", "pdb.set_trace", "code.interact", "IPython.embed")
_CHANGING: Final = (
    *("sys.setrecursionlimit", "sys.settrace", "sys.setprofile", "sys.setswitchinterval", "signal.signal"),
    *("importlib.reload", "atexit.register", "logging.basicConfig", "logging.config.dictConfig", "logging.disable"),
    *("locale.setlocale", "socket.setdefaulttimeout", "gc.disable", "gc.enable", "tracemalloc.start"),
    *("faulthandler.enable", "multiprocessing.set_start_method", "nest_asyncio.apply", "matplotlib.use"),
    *("matplotlib.pyplot.switch_backend", "matplotlib.pyplot.ion", "matplotlib.pyplot.ioff"),
    *("matplotlib_inline.backend_inline.set_matplotlib_formats", "IPython.display.set_matplotlib_formats"),
    *("tqdm.tqdm.pandas", "tqdm.auto.tqdm.pandas", "tqdm.notebook.tqdm.pandas", "tqdm.pandas"),
)
"""Functions that change the interpreter or a package for everybody, in a way that is not taken down."""

_BY_CALL: Final[dict[str, str]] = {
    **{dotted: f"{dotted}() {_REMEDY}" for dotted in (*_FRAMES, *_RUNNING)},
    **{dotted: f"{dotted}() asks whoever sits at the keyboard; {_OF_ITS_OWN}" for dotted in _ASKING},
    **{dotted: f"{dotted}() changes the kernel itself; {_OF_ITS_OWN}" for dotted in _CHANGING},
    "IPython.get_ipython": _BY_NAME[_SHELL],
    "IPython.core.getipython.get_ipython": _BY_NAME[_SHELL],
}
"""Why code that calls a function cannot be followed, by the function's dotted name."""


def code_refusal(use: GlobalUse) -> str | None:
    """Why a function that a cell calls cannot be followed, as a clause; None where it can.

    Args:
        use: what its code does. `locals`, and `vars` and `dir` without arguments, show only a function's own names, and
            are no hindrance.
    """
    called = {".".join((name, *chain)) for name, chains in use.reads.items() for chain in chains}
    return next(iter(_reasons(use.reads, called, use.imports)), None)


def cell_refusal(
    flow: Flow, ran: Iterable[ast.AST], aliases: Aliases, names: Container[str], use: GlobalUse
) -> tuple[str | None, bool]:
    """Why a cell cannot be cached, and whether that is only because nobody can know which names it reads and sets.

    Args:
        flow: a walk through the cell.
        ran: the syntax of what may have run, a node at a time.
        aliases: what its imported names stand for.
        names: the names that exist in the notebook.
        use: what the cell does, with what its magics run.
    """
    reads = [name for name in flow.binding.reads if name in _IPYTHONS_OWN or name not in names]
    calls = [node for node in ran if isinstance(node, ast.Call)]
    called = {aliases.dotted(call.func) for call in calls}
    reasons = [*flow.refusals, *_reasons(reads, called, use.imports)]
    reasons += [f"{name}() {_REMEDY}" for name in sorted(flow.own_scope) if name not in names]
    if any(aliases.dotted(call.func) == "importlib.import_module" and _is_computed(call) for call in calls):
        reasons.append(_COMPUTED_IMPORT)
    firm = [reason for reason in reasons if not reason.endswith(_REMEDY)]
    return (firm[0], False) if firm else (reasons[0], True) if reasons else (None, False)


def _reasons(reads: Container[str], called: Iterable[str], imports: Container[str]) -> list[str]:
    found = [reason for name, reason in _BY_NAME.items() if name in reads]
    found += [_BY_CALL[dotted] for dotted in sorted(called) if dotted in _BY_CALL]
    return [*found, f"import __main__ {_REMEDY}"] if "__main__" in imports else found


def _is_computed(call: ast.Call) -> bool:
    return not (call.args and isinstance(call.args[0], ast.Constant))
