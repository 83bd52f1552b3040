"""Which global names a cell can read before it has bound them itself: definite assignment, over the syntax tree.

The tree is walked in the order in which Python evaluates it, keeping account of the names that are certainly bound by
then. Where two ways meet, only what is bound on both is. A loop may not run at all, a ``try`` may stop anywhere, and so
may a ``with``, unless its manager is known not to swallow errors.

The body of a function or lambda runs later, if at all: what it reads is *pending* from where it is made, and counts at
the next step that can run code. That is nearly every one: a call, an attribute, an operator, a loop. Nothing is run by
names, constants and displays of lists and tuples. Annotations without a call are taken to run nothing of the cell's
either, and so are a few decorators and base classes of the standard library: else a function whose annotation is
``np.ndarray`` would make an input of each function that is defined below it.

Not followed: finalisers (a ``__del__`` of the user's, run because a name is bound to something else), and decorators
that at once call a function which calls itself by its name: what it calls then is what the name held before.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Sequence
from typing import Any

from . import known
from .aliases import Aliases, root_of
from .binding import State
from .expressions import Expressions, calls_something
from .sources import Bodies


class Flow(Expressions, ast.NodeVisitor):
    """A walk through a cell.

    Args:
        bodies: the cell's body, and those that its magics run.
        aliases: what imported names stand for.
        names: the names that exist in the notebook.
        all_texts: whether any identifier in a text constant can be one of them, and not only those behind an ``@``.
    """

    def __init__(self, bodies: Bodies, aliases: Aliases, names: Container[str], *, all_texts: bool) -> None:
        super().__init__(bodies, names, all_texts=all_texts)
        self._aliases = aliases
        # What is known at the `break`s and at the `continue`s of each loop around the walk.
        self._loops: list[tuple[State, State]] = []

    def _block(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            self.visit(statement)

    # --- simple statements ----------------------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> None:
        """Evaluate an expression; showing its value calls what makes a text of it."""
        self._condition(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Bind names after their value was found."""
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Read a name, and bind it again."""
        if isinstance(node.target, ast.Name):
            self.visit(ast.Name(node.target.id, ast.Load()))
        self.visit(node.value)
        self._step()
        self.visit(node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Bind a name if it is given a value, and evaluate its annotation."""
        if node.value is not None:
            self.visit(node.value)
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)
        self._annotation(node.annotation)

    def visit_Delete(self, node: ast.Delete) -> None:
        """Delete names or parts of objects."""
        for target in node.targets:
            self.visit(target)

    def visit_Import(self, node: ast.Import) -> None:
        """Import modules; that runs them."""
        for part in node.names:
            self._step()
            self._bind(part.asname or part.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Import names from a module; that runs it."""
        if node.module == "__future__":
            self.refusals.append("from __future__ changes how later cells are compiled; put it in a cell of its own")
        self._step()
        for part in node.names:
            if part.name == "*":
                self.refusals.append("import * binds names that cannot be known beforehand; name them")
            else:
                self._bind(part.asname or part.name)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave for the next ``except``."""
        self.generic_visit(node)
        self._step()
        self.binding.state.dead = True

    def visit_Assert(self, node: ast.Assert) -> None:
        """Go on only where a condition holds."""
        self._condition(node.test)
        if node.msg is not None:
            self._perhaps([node.msg])

    # --- functions and classes ------------------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Make a function, and bind its name."""
        wraps = self._decorators(node.decorator_list)
        with self._type_parameters(node):
            self._arguments(node.args)
            self._annotation(node.returns)
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        self._defer(node, node.name, first)
        if not wraps:
            self._step(but=node.name)
        self._bind(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  (the name that `ast` looks for)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Run a class body, make the class, and bind its name."""
        wraps = self._decorators(node.decorator_list)
        with self._type_parameters(node):
            for part in (*node.bases, *(keyword.value for keyword in node.keywords)):
                with self._calmly(not calls_something(part)):
                    self.visit(part)
            with self._class_scope(node):
                self._block(node.body)
        derives = all(self._is_known(base, known.BASES) for base in node.bases) and not node.keywords
        if not (wraps and derives):
            self._step(but=node.name)
        self._bind(node.name)

    def _decorators(self, decorators: Sequence[ast.expr]) -> bool:
        """Evaluate decorators; whether all of them are known not to call what they decorate."""
        all_wrap = True
        for decorator in decorators:
            target = decorator.func if isinstance(decorator, ast.Call) else decorator
            wraps = self._is_known(target, known.WRAPPING) or self._is_of_property(target)
            all_wrap = all_wrap and wraps
            arguments = [*decorator.args, *decorator.keywords] if isinstance(decorator, ast.Call) else []
            with self._calmly(wraps and not any(map(calls_something, arguments))):
                self.visit(decorator)
        return all_wrap

    def _is_of_property(self, target: ast.expr) -> bool:
        """Whether a decorator is the ``value.setter`` of a property ``value`` of the same class."""
        inner = self.binding.state.inner
        named = isinstance(target, ast.Attribute) and target.attr in ("setter", "getter", "deleter")
        return named and inner is not None and root_of(target) in inner

    def _is_known(self, node: ast.expr, things: Container[str]) -> bool:
        """Whether an expression is one of some things of the standard library and of well-known packages."""
        dotted, root = self._aliases.dotted(node), root_of(node)
        if dotted not in things or self._aliases.doubtful(root):
            return False
        # IPython has an `open` of its own among the notebook's names.
        return "." in dotted or root == "open" or root not in self.names

    def visit_TypeAlias(self, node: Any) -> None:
        """Bind the name of a type; what it stands for is evaluated when somebody asks."""
        with self._type_parameters(node):
            self._annotation(node.value)
        self.visit(node.name)

    # --- branches and loops ---------------------------------------------------------------------------------------

    def visit_If(self, node: ast.If) -> None:
        """Take one of two ways."""
        self._condition(node.test)
        other = self.binding.state.copy()
        self._block(node.body)
        self.binding.state, other = other, self.binding.state
        self._block(node.orelse)
        self.binding.state.join(other)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        """Run a body for each of some items."""
        self.visit(node.iter)
        self._step()
        before = self.binding.state.copy()
        self.visit(node.target)
        self._loop(node, before if not self._has_items(node.iter) else None)

    visit_AsyncFor = visit_For  # noqa: N815

    def visit_While(self, node: ast.While) -> None:
        """Run a body as long as a condition holds."""
        self._condition(node.test)
        before = self.binding.state.copy()
        endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        before.dead = before.dead or endless
        self._loop(node, before, again=node.test, endless=endless)

    def _loop(
        self,
        node: ast.For | ast.AsyncFor | ast.While,
        skipped: State | None,
        again: ast.expr | None = None,
        endless: bool = False,
    ) -> None:
        """Walk a loop's body, and on.

        Args:
            node: the loop.
            skipped: what is known where the body does not run; None where it does at least once.
            again: what is evaluated before each turn but the first.
            endless: whether only a ``break`` leaves it.
        """
        left, turned = State(dead=True), State(dead=True)
        self._loops.append((left, turned))
        self._block(node.body)
        self._loops.pop()
        self.binding.state.join(turned)
        if again is not None:
            self.visit(again)
        self._step()
        if endless:
            self.binding.state.dead = True
        if skipped is not None:
            self.binding.state.join(skipped)
        self._block(node.orelse)
        self.binding.state.join(left)

    def _has_items(self, node: ast.expr) -> bool:
        """Whether what a loop runs over certainly has an item."""
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return any(not isinstance(item, ast.Starred) for item in node.elts)
        match node:
            case ast.Constant(value=str(text)):
                return bool(text)
            case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int(count))], keywords=[]):
                return count > 0 and self._is_known(node.func, ("range",))
        return False

    def visit_Break(self, node: ast.Break) -> None:
        """Leave the loop."""
        self._loops[-1][0].join(self.binding.state.copy())
        self.binding.state.dead = True

    def visit_Continue(self, node: ast.Continue) -> None:
        """Go on with the next turn."""
        self._loops[-1][1].join(self.binding.state.copy())
        self.binding.state.dead = True

    def visit_Match(self, node: ast.Match) -> None:
        """Take the way of the first case that fits."""
        self._condition(node.subject)
        unmatched, done = self.binding.state, State(dead=True)
        for case in node.cases:
            self.binding.state = unmatched.copy()
            self.visit(case.pattern)
            self._step()
            fits_all = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
            if case.guard is not None:
                self._condition(case.guard)
            elif fits_all:
                unmatched.dead = True
            self._block(case.body)
            done.join(self.binding.state)
        done.join(unmatched)
        self.binding.state = done

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        """Bind what a pattern captures."""
        self.generic_visit(node)
        if node.name is not None:
            self._bind(node.name)

    visit_MatchStar = visit_MatchAs  # noqa: N815

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        """Bind what a pattern captures."""
        self.generic_visit(node)
        if node.rest is not None:
            self._bind(node.rest)

    # --- what may stop anywhere -----------------------------------------------------------------------------------

    def visit_Try(self, node: Any) -> None:
        """Run a body that may stop anywhere, and what follows on that."""
        whole = self.binding.trap() if node.finalbody else None
        self.binding.trap()
        self._block(node.body)
        stopped = self.binding.untrap()
        self._block(node.orelse)
        done = self.binding.state
        for handler in node.handlers:
            self.binding.state = stopped.copy()
            self._handler(handler)
            done.join(self.binding.state)
        self.binding.state = done
        if whole is not None:
            self.binding.untrap()
            self._finally(node.finalbody, whole)

    visit_TryStar = visit_Try  # noqa: N815

    def _handler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None:
            self.visit(node.type)
        if node.name is None:
            self._block(node.body)
            return
        self._bind(node.name)
        self._block(node.body)
        self.visit(ast.Name(node.name, ast.Del()))

    def _finally(self, statements: Sequence[ast.stmt], stopped: State) -> None:
        """Walk what runs however the rest ends: its reads are as if that had stopped anywhere."""
        done = self.binding.state
        self.binding.state = stopped
        self.binding.traps.append(done)
        self._block(statements)
        self.binding.traps.pop()
        ended = self.binding.state
        done.bound |= ended.bound
        done.gone |= ended.gone
        done.pending |= ended.pending
        if done.inner is not None and ended.inner is not None:
            done.inner |= ended.inner
        done.dead = done.dead or ended.dead
        self.binding.state = done

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        """Run a body that may stop anywhere where the manager swallows errors."""
        self._with(node, 0)

    visit_AsyncWith = visit_With  # noqa: N815

    def _with(self, node: ast.With | ast.AsyncWith, position: int) -> None:
        if position == len(node.items):
            self._block(node.body)
            return
        manager, target = node.items[position].context_expr, node.items[position].optional_vars
        self.visit(manager)
        self._step()
        if target is not None:
            self.visit(target)
        if isinstance(manager, ast.Call) and self._is_known(manager.func, known.RAISING):
            self._with(node, position + 1)
        else:
            self.binding.trap()
            self._with(node, position + 1)
            self.binding.state.join(self.binding.untrap())
        self._step()
