"""The source of a cell, and of the code that its magics run: parsed, compiled, and as text that tells what counts."""

from __future__ import annotations

import ast
import inspect
import re
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from .code import GlobalUse, codes_in, global_use
from .magics import magic_of, meaning_of

_AWAITS: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

_TIMED: Final = "_timed"
"""The name of the function that a magic puts its code into."""


@dataclass(slots=True)
class Body:
    """A piece of source.

    Attributes:
        source: it.
        tree: its syntax.
        use: what it does to global names.
        codes: the code objects of the functions in it, by name and line; several where these are the same.
    """

    source: str
    tree: ast.Module
    use: GlobalUse
    codes: dict[tuple[str, int], list[types.CodeType]]


@dataclass(slots=True)
class Bodies:
    """The bodies of a cell: its own, and those that magics in it run.

    Attributes:
        transform: what makes Python of a magic's body.
        uses: what each body does to global names.
        trees: the syntax of each.
        awaits: whether the cell's own body awaits something outside of a function.
    """

    transform: Callable[[str], str]
    uses: list[GlobalUse] = field(default_factory=list)
    trees: list[ast.Module] = field(default_factory=list)
    awaits: bool = False
    _bodies: dict[tuple[str, ...], Body] = field(default_factory=dict)

    def main(self, source: str) -> Body:
        """The body of the cell itself.

        Raises:
            SyntaxError: it is not Python.
        """
        tree = _parse(source)
        code = _compile(tree)
        self.awaits = bool(code.co_flags & _AWAITS)
        return self._body(source, tree, code)

    def of(self, text: str) -> Body:
        """The body that a magic runs, from its text.

        Raises:
            SyntaxError: it is not Python.
        """
        if (text,) not in self._bodies:
            source = self.transform(text)
            tree = _parse(source)
            self._bodies[text,] = self._body(source, tree, _compile(tree))
        return self._bodies[text,]

    def timed(self, setup: str, text: str) -> Body:
        """The body of a function that a magic makes of two texts; what they bind is local to it.

        Raises:
            SyntaxError: they are not Python.
        """
        if (setup, text) not in self._bodies:
            wrapper = _parse(f"def {_TIMED}(): pass")
            for part in (setup, text):
                wrapper.body[0].body += _parse(self.transform(part)).body  # type: ignore[attr-defined]
            code = next(found for found in codes_in(_compile(wrapper)) if found.co_name == _TIMED)
            self._bodies[setup, text] = self._body(text, wrapper, code)
        return self._bodies[setup, text]

    def dump(self, body: Body) -> str:
        """A body's syntax as text in which neither comments nor layout are left, nor those of what its magics run.

        Literals keep their type: ``1``, ``1.0`` and ``True`` are three. A semicolon that hides the last value counts.
        """
        parts: list[str] = []
        self._dump_body(body, parts)
        return "\n".join(parts)

    def _body(self, source: str, tree: ast.Module, code: types.CodeType) -> Body:
        codes: dict[tuple[str, int], list[types.CodeType]] = {}
        for found in codes_in(code):
            codes.setdefault((found.co_name, found.co_firstlineno), []).append(found)
        body = Body(source, tree, global_use(code), codes)
        self.uses.append(body.use)
        self.trees.append(tree)
        return body

    def _dump_body(self, body: Body, parts: list[str]) -> None:
        parts.append(f"hidden:{hides_value(body)}")
        self._dump(body.tree.body, parts)

    def _dump(self, node: Any, parts: list[str]) -> None:
        if isinstance(node, ast.Call) and self._dump_magic(node, parts):
            return
        if isinstance(node, ast.AST):
            parts.append(type(node).__name__)
            for name in node._fields:
                if name != "kind":  # of a text: whether it was written u"…"
                    self._dump(getattr(node, name, None), parts)
        elif isinstance(node, list):
            parts.append(f"[{len(node)}")
            for part in node:
                self._dump(part, parts)
        else:
            # `repr` refuses integers of more than a few thousand digits.
            parts.append(hex(node) if type(node) is int else repr(node))

    def _dump_magic(self, call: ast.Call, parts: list[str]) -> bool:
        magic = magic_of(call)
        meaning = None if magic is None else meaning_of(magic)
        if meaning is None or meaning.code is None:
            return False
        parts.append(f"{magic} {meaning.options!r}")
        if meaning.setup is not None:
            self._dump(self.timed(meaning.setup, meaning.code).tree.body, parts)
        else:
            self._dump_body(self.of(meaning.code), parts)
        return True


def hides_value(body: Body) -> bool:
    """Whether a semicolon behind the last expression keeps IPython from showing its value."""
    last = body.tree.body[-1] if body.tree.body else None
    if not isinstance(last, ast.Expr) or last.end_lineno is None or last.end_col_offset is None:
        return False
    first, *more = re.split(r"\r\n|\r|\n", body.source)[last.end_lineno - 1 :]
    rest = "\n".join([first.encode()[last.end_col_offset :].decode(), *more])
    return re.match(r"[\s\\]*;", rest) is not None


def _parse(source: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            # What is worth a warning is said when the cell is run.
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, lone surrogates; brackets in brackets
        raise SyntaxError(str(error)) from None


def _compile(tree: ast.Module) -> types.CodeType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code: types.CodeType = compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code
