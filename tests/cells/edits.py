"""What can be edited in one cell, found in its syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

OPERATORS = {
    **{
        "Add": ("+", "-"),
        "Sub": ("-", "+"),
        "Mult": ("*", "+"),
        "Div": ("/", "*"),
        "Mod": ("%", "+"),
        "Pow": ("**", "*"),
    },
    **{
        "Lt": ("<", "<="),
        "LtE": ("<=", "<"),
        "Gt": (">", "<"),
        "GtE": (">=", ">"),
        "Eq": ("==", "!="),
        "NotEq": ("!=", "=="),
    },
    **{
        "Is": ("is", "is not"),
        "In": ("in", "not in"),
        "NotIn": ("not in", "in"),
        "And": ("and", "or"),
        "Or": ("or", "and"),
    },
}
DTYPES = {
    **{"float64": "float32", "float32": "float64", "int64": "int32", "int32": "int64", "f4": "f8", "U5": "U4"},
    **{"int": "float", "category": "object"},
}


def without_magics(source: str) -> str:
    """The same text with a `pass` in place of each line that is not Python, so that positions stay."""
    return re.sub(r"(?m)^([%!]|\w+ = [!%]).*$", lambda found: "pass".ljust(len(found.group())), source)


@dataclass(frozen=True)
class Edit:
    """A new text for a part of a cell."""

    kind: str
    start: int
    end: int
    text: str


class Editor:
    """Finds what can be edited in a cell.

    Args:
        source: the cell's text.
        read_by_functions: the names that functions of the notebook read.
    """

    def __init__(self, source: str, read_by_functions: set[str]) -> None:
        self.source = source
        self.read_by_functions = read_by_functions
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def edits(self, tree: ast.Module) -> Iterator[Edit]:
        """All edits of a cell."""
        yield Edit("comment", 0, 0, "# A remark, and an empty line.\n\n")
        yield Edit("comment", len(self.source), len(self.source), "  # a remark")
        yield from self._statements(tree.body)
        for statement in tree.body:
            kind = "constant"
            if isinstance(statement, ast.Assign | ast.AnnAssign) and self._stored(statement) & self.read_by_functions:
                kind = "constant of a helper"
            yield from self._within(statement, kind)

    def _stored(self, statement: ast.stmt) -> set[str]:
        return {
            node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }

    def _within(self, node: ast.AST, kind: str) -> Iterator[Edit]:
        if isinstance(node, ast.FunctionDef):
            inner = "helper of a helper" if node.name in self.read_by_functions else "helper"
            yield from self._statements(node.body)
            for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                yield from self._within(default, "default")
            for child in (*node.body, *node.decorator_list):
                yield from self._within(child, inner)
            return
        yield from self._here(node, kind)
        for child in ast.iter_child_nodes(node):
            if not isinstance(node, ast.JoinedStr):  # the parts of f-strings have no positions of their own in 3.11
                yield from self._within(child, "class" if isinstance(node, ast.ClassDef) else kind)

    def _here(self, node: ast.AST, kind: str) -> Iterator[Edit]:
        if isinstance(node, ast.Constant):
            for changed, text in _other_constants(node.value):
                yield self._edit(changed or kind, node, text)
        elif isinstance(node, ast.BinOp):
            yield from self._operator(node.left, node.op, node.right)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            yield from self._operator(node.left, node.ops[0], node.comparators[0])
        elif isinstance(node, ast.BoolOp):
            yield from self._operator(node.values[0], node.op, node.values[1])
        elif isinstance(node, ast.Dict) and len(node.values) > 1 and None not in node.keys[:2]:
            yield from self._swapped_pairs(node)

    def _operator(self, left: ast.expr, operator: ast.AST, right: ast.expr) -> Iterator[Edit]:
        signs = OPERATORS.get(type(operator).__name__)
        start, end = self._span(left)[1], self._span(right)[0]
        if signs and signs[0] in self.source[start:end]:
            yield Edit("operator", start, end, self.source[start:end].replace(*signs, 1))

    def _swapped_pairs(self, node: ast.Dict) -> Iterator[Edit]:
        assert node.keys[0] is not None
        assert node.keys[1] is not None
        one = (self._span(node.keys[0])[0], self._span(node.values[0])[1])
        other = (self._span(node.keys[1])[0], self._span(node.values[1])[1])
        yield Edit("order of a dict", one[0], other[1], self._swap(one, other))

    def _statements(self, body: Sequence[ast.stmt]) -> Iterator[Edit]:
        for statement in body:
            if len(body) > 1:
                yield self._edit("statement dropped", statement, "pass")
        for statement, following in pairwise(body):
            one, other = self._span(statement), self._span(following)
            if statement.lineno < following.lineno:
                yield Edit("statements swapped", one[0], other[1], self._swap(one, other))

    def _swap(self, one: tuple[int, int], other: tuple[int, int]) -> str:
        source = self.source
        return source[slice(*other)] + source[one[1] : other[0]] + source[slice(*one)]

    def _edit(self, kind: str, node: ast.expr | ast.stmt, text: str) -> Edit:
        return Edit(kind, *self._span(node), text)

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        decorators = getattr(node, "decorator_list", None)
        first = decorators[0] if decorators else node
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.starts[first.lineno - 1] + first.col_offset - (1 if decorators else 0)
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset


def _other_constants(value: object) -> list[tuple[str, str]]:
    if isinstance(value, bool):
        return [("", repr(not value))]
    if isinstance(value, int):
        return [("", repr(value + 1)), ("type of a constant", repr(float(value)))]
    if isinstance(value, float):
        return [("", repr(value * 1.5)), ("type of a constant", repr(str(value)))]
    if isinstance(value, str):
        return [("dtype", repr(DTYPES[value]))] if value in DTYPES else [("", repr(f"{value}x"))]
    return [("", "0")] if value is None else []
