"""Run the notebooks and store their outputs, and nothing else of the run: ``python -m tests.suite.store [01 02]``.

Without numbers it is all of them. The texts are then as `make notebooks` compares them; charts are new each time.
"""

from __future__ import annotations

import sys
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.suite.learner import FOLDER, NAMES, read

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def store(name: str) -> None:
    """Run one notebook and write it back."""
    notebook = read(name)
    NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(FOLDER)}},
    ).execute()
    notebook.metadata = METADATA
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = merged(cell.outputs)
            if cell.metadata.get("tags") == ["predict"]:
                cell.metadata["jupyter"] = {"outputs_hidden": True}
    nbformat.write(notebook, FOLDER / f"{name}.ipynb")


def merged(outputs: list[Any]) -> list[Any]:
    """Pieces of one stream, which arrive as the kernel happens to send them, as one."""
    kept: list[Any] = []
    for output in outputs:
        last = kept[-1] if kept else None
        if last is not None and output.output_type == "stream" and output.get("name") == last.get("name"):
            last.text += output.text
        else:
            kept.append(output)
    return kept


if __name__ == "__main__":
    for each in NAMES:
        if len(sys.argv) == 1 or each[:2] in sys.argv[1:]:
            print(each, flush=True)
            store(each)
