"""The learner's shell: the magic for predictions, and which cells have run, for the checks to run them again."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any, Final

_ran: Final[deque[str]] = deque(maxlen=1000)


def enter() -> None:
    """Make ``%%predict`` known, take down from now on which cells run, and let ``%%cached`` give its hints anew."""
    shell = current_shell()
    if shell is None:
        return
    shell.register_magic_function(_predict_cell, "cell", "predict")
    # Not IPython's history, in which nothing stands of a cell that nbval runs. Registered twice it is called once.
    shell.events.register("pre_run_cell", _take_down)
    _ran.clear()
    magics = cell_magics(shell)
    if magics is not None:
        magics.last = None
        magics.hinted.clear()


def predict() -> None:
    """Begin a cell whose outcome the learner says before running it.

    A notebook is stored with such a cell's outputs hidden, but JupyterLab shows the first line of what it hides: this
    one, which gives nothing away. Above a cell magic, which has to stand first in its cell, it is ``%%predict``.
    """
    print("Compare with your prediction:")


def _predict_cell(line: str, cell: str) -> None:
    predict()
    current_shell().run_cell(cell)


def _take_down(info: Any) -> None:
    _ran.append(info.raw_cell.lstrip())


def cells_run() -> list[str]:
    """The cells that have run since `enter`, the last one first."""
    return list(reversed(_ran))


def current_shell() -> Any:
    """IPython's own object; None where nobody has started it."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def cell_magics(shell: Any) -> Any:
    """What remembers how the last cell under ``%%cached`` fared; None where the extension is not loaded."""
    return shell.magics_manager.registry.get("CellMagics")
