"""A cell cache as one writes it in an afternoon: the key is the cell's text, the value is whatever names it changed.

It is here to be caught. A comparison that lets this one pass would let any cache pass.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from IPython.utils.capture import capture_output

from tests.cells.state import IPYTHONS


class NaiveCache:
    """The magics of the naive cache.

    Args:
        shell: the notebook's shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.folder = Path()

    def cached_folder(self, line: str) -> None:
        """Choose the folder where cells are kept."""
        self.folder = Path(line)
        self.folder.mkdir(exist_ok=True, parents=True)

    def cached(self, line: str, cell: str) -> None:
        """Run a cell, or put back what it did when it ran for the first time."""
        file = self.folder / hashlib.sha256(cell.encode()).hexdigest()
        namespace = self.shell.user_ns
        if file.exists():
            names, outputs = pickle.loads(file.read_bytes())
            namespace.update(names)
            outputs()
            print("cached · 0 s saved")
            return
        before = dict(namespace)
        with capture_output() as outputs:
            result: ExecutionResult = self.shell.run_cell(cell)  # type: ignore[no-untyped-call]
        outputs()
        result.raise_error()  # type: ignore[no-untyped-call]
        changed = {name: value for name, value in namespace.items() if before.get(name) is not value}
        names = {name: value for name, value in changed.items() if not IPYTHONS.fullmatch(name)}
        try:
            file.write_bytes(pickle.dumps((names, outputs)))
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            print(f"not cached: {error}")
            return
        print("computed · 0 s")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics."""
    cache = NaiveCache(shell)
    shell.register_magic_function(cache.cached, "cell")  # type: ignore[arg-type]
    shell.register_magic_function(cache.cached_folder, "line")  # type: ignore[arg-type]
