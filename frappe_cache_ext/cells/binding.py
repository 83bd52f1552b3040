"""The names that a cell has bound, at each point of a walk through its syntax: see `flow`."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False, slots=True)
class Deferred:
    """A function that has been made, and that later steps can run.

    Attributes:
        reads: the global names that it reads.
        node: its syntax.
    """

    reads: frozenset[str]
    node: ast.AST


@dataclass(slots=True)
class State:
    """What is known at one point.

    Attributes:
        bound: global names that the cell has certainly bound.
        gone: global names that it has certainly bound and then deleted.
        pending: functions of the cell that may exist, and whose reads do not count yet.
        inner: names that the class body which is being walked has certainly bound; None outside of one.
        dead: whether the point is never reached, as behind a ``raise``.
    """

    bound: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    pending: set[Deferred] = field(default_factory=set)
    inner: set[str] | None = None
    dead: bool = False

    def copy(self) -> State:
        """The same, apart."""
        inner = None if self.inner is None else set(self.inner)
        return State(set(self.bound), set(self.gone), set(self.pending), inner, self.dead)

    def join(self, other: State) -> None:
        """Become what is known where the ways from here and from another point meet."""
        if other.dead:
            return
        if self.dead:
            self.bound, self.gone, self.pending = set(other.bound), set(other.gone), set(other.pending)
            self.inner, self.dead = other.inner, False
            return
        self.bound &= other.bound
        self.gone &= other.gone
        self.pending |= other.pending
        if self.inner is not None and other.inner is not None:
            self.inner &= other.inner


class Binding:
    """The state of a walk, and what it has found.

    Attributes:
        state: what is known where the walk is.
        traps: for each ``try`` around it, what is known wherever in there it may stop.
        local: names that are variables of a comprehension, or parameters of types.
        reads: each name that may be read before the cell has bound it, with the names that it had bound by then.
        binds: names that the cell may bind or delete.
        ran: the syntax of functions that may have run.
    """

    def __init__(self) -> None:
        self.state = State()
        self.traps: list[State] = []
        self.local: frozenset[str] = frozenset()
        self.reads: dict[str, set[str]] = {}
        self.binds: set[str] = set()
        self.ran: list[ast.AST] = []
        self._run: set[Deferred] = set()
        self._own_deleted: set[str] = set()

    def is_free(self, name: str) -> bool:
        """Whether a name can be one that was there before the cell."""
        inner = self.state.inner
        return name not in self.local and name not in self.state.bound and (inner is None or name not in inner)

    def load(self, name: str) -> None:
        """A name is read."""
        if self.is_free(name):
            self.read(name)

    def read(self, name: str) -> None:
        """A name counts as read, whatever is bound."""
        if name in self.reads:
            self.reads[name] &= self.state.bound
        else:
            self.reads[name] = set(self.state.bound)

    def bind(self, name: str) -> None:
        """A name is bound in the scope where the walk is."""
        if name in self.local:
            return
        if self.state.inner is not None:
            self.state.inner.add(name)
        else:
            self.bind_global(name)

    def bind_global(self, name: str) -> None:
        """A global name is bound."""
        self.binds.add(name)
        self.state.bound.add(name)
        for state in (self.state, *self.traps):
            state.gone.discard(name)

    def delete(self, name: str) -> None:
        """A name is deleted in the scope where the walk is."""
        if self.state.inner is None:
            self.delete_global(name)
            return
        self.load(name)
        for state in (self.state, *self.traps):
            if state.inner is not None:
                state.inner.discard(name)

    def delete_global(self, name: str) -> None:
        """A global name is deleted."""
        self.binds.add(name)
        if name in self.state.bound:
            self._own_deleted.add(name)
            self.state.gone.add(name)
        else:
            self.read(name)
        for state in (self.state, *self.traps):
            state.bound.discard(name)

    def end(self) -> None:
        """The walk is over: a name that the cell bound and then perhaps deleted counts as read.

        What is left of it depends on what was there before, unless at the end it is certainly bound or certainly gone.
        """
        for name in self._own_deleted - self.state.gone - self.state.bound:
            self.reads.setdefault(name, set()).clear()

    def defer(self, function: Deferred) -> None:
        """A function is made."""
        for state in (self.state, *self.traps):
            state.pending.add(function)

    def trap(self) -> State:
        """From here on, take down what is known wherever the walk may stop."""
        self.traps.append(self.state.copy())
        return self.traps[-1]

    def untrap(self) -> State:
        """Stop doing so."""
        return self.traps.pop()

    def step(self, but: str = "") -> None:
        """Something is done that can run the functions made so far.

        Args:
            but: a name that none of them reads now: that of the function or class being made.
        """
        for function in self.state.pending:
            if function not in self._run:
                self._run.add(function)
                self.ran.append(function.node)
            for name in function.reads:
                if name != but and name not in self.state.bound:
                    self.read(name)
        self.state.pending.clear()

    def may_bind(self, names: Iterable[str]) -> None:
        """Names are perhaps bound."""
        self.binds.update(names)
