"""An IPython shell whose cells are timed."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.benchmarks.timing import NotMeasured


class Shell:
    """The one shell of this process.

    Args:
        folder: for what IPython writes.

    Attributes:
        names: its variables.
        shown: what the last cell printed.
    """

    def __init__(self, folder: Path) -> None:
        os.environ["IPYTHONDIR"] = str(folder / "ipython")
        config = Config()
        config.HistoryManager.hist_file = ":memory:"
        self.ipython = InteractiveShell.instance(config=config)
        self.names: dict[str, Any] = self.ipython.user_ns
        self.shown = ""

    def run(self, cell: str) -> None:
        """Run a cell as a notebook does, history and all.

        Raises:
            NotMeasured: it failed.
        """
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            done = self.ipython.run_cell(cell, store_history=True)
        self.shown = printed.getvalue()
        if not done.success:
            raise NotMeasured(f"the cell failed: {done.error_before_exec or done.error_in_exec!r}\n{cell}")

    def forget(self, names: tuple[str, ...]) -> None:
        """Take variables away, as they are in a new kernel."""
        for name in names:
            self.names.pop(name, None)
