"""The expressions of a cell, walked through in the order in which Python evaluates them; see `flow`."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from .binding import Binding, Deferred
from .code import GlobalUse, global_use
from .magics import Meaning, magic_of, meaning_of
from .sources import Bodies, Body
from .texts import behind_at, expanded, identifiers

_QUIET: Final = (ast.Name, ast.Constant, ast.Lambda, ast.Tuple, ast.List, ast.Slice, ast.NamedExpr)
"""Expressions that run nothing but what is in them."""

_PLAIN: Final = (
    *(ast.Constant, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Slice),
    *(ast.Subscript, ast.JoinedStr, ast.FormattedValue, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
    ast.expr_context,
)
"""What expressions are made of that work on constants alone."""


class Expressions(ast.NodeVisitor):
    """A walk through what is evaluated.

    Args:
        bodies: the cell's body, and those that its magics run.
        names: the names that exist in the notebook.
        all_texts: whether any identifier in a text constant can be one of them, and not only those behind an ``@``.

    Attributes:
        binding: which names were read and bound.
        ran: the expressions that may have run, but for those of functions.
        refusals: why the cell cannot be cached, as its syntax and its magics say.
        own_scope: functions such as `locals`, where they would show the notebook's own names.
        hints: what its magics do outside.
    """

    def __init__(self, bodies: Bodies, names: Container[str], *, all_texts: bool) -> None:
        self.bodies = bodies
        self.names = names
        self.all_texts = all_texts
        self.binding = Binding()
        self.ran: list[ast.AST] = []
        self.refusals: list[str] = []
        self.own_scope: set[str] = set()
        self.hints: set[str] = set()
        self._body: Body | None = None
        self._classes: list[_ClassScope] = []
        self._calm = False

    def walk(self, body: Body) -> None:
        """Walk through a body, from the state where the walk is."""
        outer, self._body = self._body, body
        for statement in body.tree.body:
            self.visit(statement)
        self._body = outer

    def everything_ran(self) -> Iterator[ast.AST]:
        """The syntax of what may have run, a node at a time."""
        yield from self.ran
        for function in self.binding.ran:
            yield from ast.walk(function)

    # --- names ----------------------------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> None:
        """Read, bind or delete a name."""
        name = self._mangled(node.id)
        if isinstance(node.ctx, ast.Store):
            self._bind(node.id)
        elif isinstance(node.ctx, ast.Del):
            if self._is_global(name):
                self.binding.delete_global(name)
            else:
                self.binding.delete(name)
        else:
            if name == "locals" and self.binding.is_free(name):
                self.own_scope.add(name)
            self.binding.load(name)

    def _bind(self, name: str) -> None:
        name = self._mangled(name)
        if self._is_global(name):
            self.binding.bind_global(name)
        else:
            self.binding.bind(name)

    def _is_global(self, name: str) -> bool:
        """Whether the class body that is walked declares a name global."""
        return bool(self._classes) and name in self._classes[-1].declared

    def _mangled(self, name: str) -> str:
        return self._classes[-1].mangled(name) if self._classes else name

    def _names_in(self, text: str) -> list[str]:
        """The names of the notebook that a text may speak of."""
        find = identifiers if self.all_texts else behind_at
        return [name for name in find(text) if name in self.names]

    def _read_all(self, names: Iterable[str]) -> None:
        for name in names:
            self.binding.load(name)

    # --- running and pending --------------------------------------------------------------------------------------

    def _step(self, node: ast.AST | None = None, but: str = "") -> None:
        """Something is done that can run the functions made so far; unless it is done to constants alone."""
        if not self.binding.state.pending or self._calm:
            return
        if node is None or not all(isinstance(part, _PLAIN) for part in ast.walk(node)):
            self.binding.step(but)

    def _defer(self, node: ast.AST, name: str, line: int) -> None:
        """Take down what a function or lambda reads when it is run."""
        assert self._body is not None  # noqa: S101  (a node is always one of a body)
        codes = self._body.codes.get((name, line))
        if codes is None:  # Python has left it out as never reached; or else it could read whatever the body does
            self._defer_use(node, self._body.use)
            return
        for code in codes:
            use = global_use(code)
            self.binding.may_bind(use.writes)
            self._defer_use(node, use)

    def _defer_use(self, node: ast.AST, use: GlobalUse) -> None:
        found = (name for text in use.strings for name in self._names_in(text))
        self.binding.defer(Deferred(frozenset((*use.reads, *found)), node))

    @contextmanager
    def _calmly(self, calm: bool) -> Iterator[None]:
        """Take it that what is evaluated meanwhile runs none of the cell's functions."""
        outer, self._calm = self._calm, calm
        yield
        self._calm = outer

    # --- expressions ----------------------------------------------------------------------------------------------

    def generic_visit(self, node: ast.AST) -> None:
        """Visit the parts of any other node, in the order in which Python evaluates them."""
        super().generic_visit(node)
        if isinstance(node, ast.expr) and not isinstance(node, _QUIET):
            self.ran.append(node)
            self._step(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Read what a text may speak of."""
        if isinstance(node.value, str):
            self._read_all(self._names_in(node.value))

    def visit_Tuple(self, node: ast.Tuple | ast.List) -> None:
        """Make a tuple or list, or take one apart."""
        if isinstance(node.ctx, ast.Store):
            self._step()
        self.generic_visit(node)

    visit_List = visit_Tuple  # noqa: N815  (the name that `ast` looks for)

    def visit_Dict(self, node: ast.Dict) -> None:
        """Make a dictionary; that hashes its keys."""
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None:
                self.visit(key)
            self.visit(value)
        if not all(isinstance(key, ast.Constant) for key in node.keys):
            self._step(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Bind the name after its value was found."""
        self.visit(node.value)
        self.visit(node.target)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Make a function."""
        self._arguments(node.args)
        self._defer(node, "<lambda>", node.lineno)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """Evaluate one of two expressions."""
        self._condition(node.test)
        other = self.binding.state.copy()
        self.visit(node.body)
        self.binding.state, other = other, self.binding.state
        self.visit(node.orelse)
        self.binding.state.join(other)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Evaluate the first operand, and perhaps the others."""
        self._condition(node.values[0])
        self._perhaps(node.values[1:])

    def visit_Compare(self, node: ast.Compare) -> None:
        """Compare the first two operands, and perhaps the others."""
        self.visit(node.left)
        self.visit(node.comparators[0])
        if not all(isinstance(operator, ast.Is | ast.IsNot) for operator in node.ops):
            self._step(node)
        self._perhaps(node.comparators[1:])

    def _perhaps(self, operands: Sequence[ast.expr]) -> None:
        if operands:
            before = self.binding.state.copy()
            for operand in operands:
                self._condition(operand)
            self.binding.state.join(before)

    def _condition(self, node: ast.expr) -> None:
        """Evaluate an expression, and ask whether it is true."""
        self.visit(node)
        self._step(node)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> None:
        """Run a comprehension; a generator as if it were used up at once, which reads no less."""
        self._comprehension(node.generators, [node.elt])

    visit_SetComp = visit_GeneratorExp = visit_ListComp  # noqa: N815

    def visit_DictComp(self, node: ast.DictComp) -> None:
        """Run a comprehension."""
        self._comprehension(node.generators, [node.key, node.value])

    def _comprehension(self, generators: Sequence[ast.comprehension], elements: Sequence[ast.expr]) -> None:
        self.visit(generators[0].iter)
        self._step(generators[0].iter)
        before, outer = self.binding.state.copy(), self.binding.local
        # It does not see the names of the class that it stands in.
        inner, self.binding.state.inner = self.binding.state.inner, None
        targets = (part for generator in generators for part in ast.walk(generator.target))
        self.binding.local = outer | {part.id for part in targets if isinstance(part, ast.Name)}
        for position, generator in enumerate(generators):
            if position:
                self.visit(generator.iter)
                self._step()
            self.visit(generator.target)
            for condition in generator.ifs:
                self._condition(condition)
        for element in elements:
            self.visit(element)
        self._step()
        self.binding.local, self.binding.state.inner = outer, inner
        self.binding.state.join(before)

    def visit_Call(self, node: ast.Call) -> None:
        """Call something: a function, or a magic."""
        magic = magic_of(node)
        if magic is not None and self.binding.is_free("get_ipython"):
            self._magic(meaning_of(magic))
            return
        function = node.func
        if isinstance(function, ast.Name) and self.binding.is_free(function.id):
            if function.id in ("vars", "dir") and not node.args and not node.keywords:
                self.own_scope.add(function.id)
            if function.id == "__import__" and all(isinstance(argument, ast.Constant) for argument in node.args):
                self._step()  # as good as the statement
                return
        self.generic_visit(node)

    def _arguments(self, arguments: ast.arguments) -> None:
        """Evaluate the defaults and annotations of a function."""
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default)
        named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        for argument in named:
            if argument is not None:
                self._annotation(argument.annotation)

    def _annotation(self, node: ast.expr | None) -> None:
        if node is not None:
            with self._calmly(not calls_something(node)):
                self.visit(node)

    @contextmanager
    def _type_parameters(self, node: Any) -> Iterator[None]:
        """Take the parameters of a generic function, class or type as local names (from Python 3.12 on)."""
        outer = self.binding.local
        parameters = getattr(node, "type_params", ())
        self.binding.local = outer | {parameter.name for parameter in parameters}
        for parameter in parameters:
            self._annotation(getattr(parameter, "bound", None))
            self._annotation(getattr(parameter, "default_value", None))
        yield
        self.binding.local = outer

    @contextmanager
    def _class_scope(self, node: ast.ClassDef) -> Iterator[None]:
        """Take names that are bound as those of a class."""
        outer, self.binding.state.inner = self.binding.state.inner, set()
        self._classes.append(_ClassScope(node))
        yield
        self._classes.pop()
        self.binding.state.inner = outer

    # --- magics ---------------------------------------------------------------------------------------------------

    def _magic(self, meaning: Meaning) -> None:
        if meaning.refusal is not None:
            self.refusals.append(meaning.refusal)
            return
        self._read_all(name for name in expanded(meaning.text) if name in self.names)
        self._read_all(meaning.shows)
        self._step()
        self.hints.update(meaning.hints)
        if meaning.setup is not None and meaning.code is not None:
            self._run_timed(self.bodies.timed(meaning.setup, meaning.code))
        elif meaning.code is not None:
            self._run_code(self.bodies.of(meaning.code), may_stop=meaning.may_stop)
        for name in meaning.binds:
            self.binding.bind_global(name)
        for name in meaning.deletes:
            self.binding.delete_global(name)

    def _run_code(self, body: Body, *, may_stop: bool) -> None:
        if may_stop:
            self.binding.trap()
        self.walk(body)
        if may_stop:
            self.binding.state.join(self.binding.untrap())

    def _run_timed(self, body: Body) -> None:
        self.binding.may_bind(body.use.writes)
        self._defer_use(body.tree, body.use)
        self.binding.step()


def _calls(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Call) for part in ast.walk(node))


def calls_something(node: ast.AST) -> bool:
    """Whether there is a call in an expression."""
    return any(isinstance(part, ast.Call) for part in ast.walk(node))


class _ClassScope:
    """A class whose body is walked.

    Attributes:
        declared: names that it declares global.
    """

    def __init__(self, node: ast.ClassDef) -> None:
        self._prefix = f"_{node.name.lstrip('_')}" if node.name.strip("_") else ""
        self.declared = {self.mangled(name) for statement in node.body for name in _globals_of(statement)}

    def mangled(self, name: str) -> str:
        """What Python makes of a name inside of the class: ``__x`` becomes ``_Name__x``."""
        private = name.startswith("__") and not name.endswith("__")
        return self._prefix + name if private else name


def _globals_of(statement: ast.AST) -> Iterator[str]:
    if isinstance(statement, ast.Global):
        yield from statement.names
    elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for part in ast.iter_child_nodes(statement):
            yield from _globals_of(part)
