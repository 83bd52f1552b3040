"""What names stand for, as far as a cell's own imports tell: ``t.time`` is ``time.time`` after ``import time as t``."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Final

_USUAL: Final = {"np": "numpy", "pd": "pandas", "plt": "matplotlib.pyplot"}
"""What these names stand for in nearly every notebook, imported in another cell."""


class Aliases:
    """The modules, and parts of modules, that names stand for.

    Args:
        trees: the syntax of the cell and of what its magics run.
    """

    def __init__(self, trees: Iterable[ast.AST]) -> None:
        self._imported: dict[str, str] = {}
        self._doubtful: set[str] = set()
        for tree in trees:
            for node in ast.walk(tree):
                self._note(node)

    def dotted(self, node: ast.expr) -> str:
        """The dotted name that an expression is; empty where it is none.

        A name that the cell does not import is taken by itself: a module mostly has its own name.
        """
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        root = self._imported.get(node.id) or _USUAL.get(node.id, node.id)
        return ".".join((root, *reversed(chain)))

    def doubtful(self, name: str) -> bool:
        """Whether something in the cell other than one import binds a name."""
        return name in self._doubtful

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                self._doubtful.add(node.id)
        elif isinstance(node, ast.Import):
            for part in node.names:
                top = part.name.partition(".")[0]
                self._import(part.asname or top, part.name if part.asname else top)
        elif isinstance(node, ast.ImportFrom):
            for part in node.names if node.module and not node.level else ():
                self._import(part.asname or part.name, f"{node.module}.{part.name}")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._doubtful.add(node.name)

    def _import(self, name: str, target: str) -> None:
        if self._imported.setdefault(name, target) != target:
            self._doubtful.add(name)


def root_of(node: ast.expr) -> str:
    """The name that a dotted name begins with; empty where an expression is none."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
