"""The objects that a cell can reach, each by its place: what the cell depends on, and what it changed in place.

A `Graph` walks from the names that a cell reads to everything behind them. Whatever can be changed, or told from its
equals with ``is``, is a *node*: a list, a dictionary, an array, a frame, an instance, a function, a class. A node gets
a number when it is first met, and a *mark*: a digest of what it holds itself, its parts given by their numbers. So

- the marks of all nodes together are a digest of the values *and* of who shares what with whom: two names for one list
  are another input than two equal lists, because a cell that changes one changes both;
- a node that has another mark after the cell has run is one that the cell changed in place;
- the same digest means the same numbers, so an entry can speak of a node of another kernel's graph by its number.

Functions and classes of the user's own are followed: their code, defaults, closure and members are theirs, and every
global name that they read is walked to like a name of the cell's.

How far aliasing is followed: through every container and instance here, members of sets included. Not into the cells of
a frame, nor into what an object's own `__reduce__` or `__getstate__` makes anew each time it is asked: these count by
content. A tuple has no number either; what it holds has.
"""

from __future__ import annotations

import builtins
import hashlib
import sys
import types
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ..errors import MISS
from ..fingerprint import DIGEST_SIZE, FORMAT, Stream
from . import modules
from .analysis import Read, code_refusal, names_in_texts
from .code import GlobalUse, global_use
from .installed import installed_name, is_as_installed, module_of
from .nodes import Nodes
from .objects import Path, layout_of, spell

_STATES: Final = frozenset(
    (
        *("sys.path", "sys.modules", "sys.stdin", "sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"),
        *("os.environ", "os.environb", "warnings.filters", "random._inst"),
        *("matplotlib.rcParams", "matplotlib.pyplot.rcParams", "pandas.options", "numpy.random.mtrand"),
    )
)
"""Parts of modules that hold a state of the whole process."""


class Location(NamedTuple):
    """Where a value is found: a global name, and attributes of modules behind it.

    Attributes:
        module: whose global name it is.
        name: the name.
        chain: attributes of modules that lead on from there.
    """

    module: str
    name: str
    chain: tuple[str, ...] = ()

    def __str__(self) -> str:
        dotted = ".".join((self.name, *self.chain))
        return dotted if self.module in ("", "__main__") else f"{self.module}.{dotted}"


class Refused(Exception):
    """A cell cannot be cached; the text says why, and reads on after ``not cached:``."""


@dataclass(slots=True)
class Root:
    """A value that the cell starts from.

    Attributes:
        location: where it is.
        value: the value; MISS where there is none.
        mark: its own content, its parts by number.
        start: the number of the first node that was met on the way from here.
        end: one more than that of the last one.
    """

    location: Location
    value: Any
    mark: bytes = b""
    start: int = 0
    end: int = 0


@dataclass(slots=True, kw_only=True)
class Graph(Nodes):
    """What a cell depends on, as it is now.

    Attributes:
        names: the notebook's names.
        ignored: names that are not looked at.
        local: names that go before the notebook's, for an expression that stands in a function.
        marks: what each node held when it was walked.
        roots: what the walk started from.
        writes: global names that functions on the way can bind or delete.
        uses: what each of these functions does to global names, and whose names these are.
        layouts: of arrays, by number, type, shape and strides; of classes, their members.
    """

    names: dict[str, Any]
    ignored: frozenset[str] = frozenset()
    local: Mapping[str, Any] = field(default_factory=dict)
    marks: list[bytes] = field(default_factory=list)
    roots: dict[Location, Root] = field(default_factory=dict)
    writes: set[Location] = field(default_factory=set)
    uses: list[tuple[GlobalUse, Mapping[str, Any]]] = field(default_factory=list)
    layouts: dict[int, Any] = field(default_factory=dict)
    _bound: frozenset[str] = frozenset()
    _waiting: deque[Location] = field(default_factory=deque)
    _walked: bool = False

    def walk(self, reads: Mapping[str, Read], imports: Iterable[str] = ()) -> None:
        """Walk from the names that a cell reads, and the modules that it imports.

        Raises:
            NotCacheable: something on the way has no content by which it could be told from another.
            Refused: a function on the way does what cannot be followed.
        """
        # A function that the cell calls does not see what a name held before the cell bound it. Of two functions first
        # used at two places the earlier one decides for both.
        followed = [
            read.bound for name, read in reads.items() if not _is_plain(self.local.get(name, self.names.get(name)))
        ]
        self._bound = frozenset.intersection(*followed) if followed else frozenset()
        for name in sorted(reads):
            if name in self.local:
                self._read(self.local, "", name, reads[name].chains)
            elif name not in self.ignored:
                self._read(self.names, "__main__", name, reads[name].chains)
        for name in sorted(imports):
            self._import(name)
        while self._waiting:
            self._walk_from(self.roots[self._waiting.popleft()])
        self._walked = True

    def digest(self) -> bytes:
        """A digest of everything that was walked."""
        hasher = hashlib.blake2b(FORMAT, digest_size=DIGEST_SIZE)
        for location, root in self.roots.items():
            hasher.update(b"%s=%b;" % (repr(tuple(location)).encode("utf-8", "surrogatepass"), root.mark))
        for mark in self.marks:
            hasher.update(mark)
        return hasher.digest()

    def root_digest(self, root: Root) -> str:
        """A digest of what was first met on the way from one root, as hex digits."""
        hasher = hashlib.blake2b(root.mark, digest_size=8)
        for mark in self.marks[root.start : root.end]:
            hasher.update(mark)
        return hasher.hexdigest()

    def changed(self) -> list[int]:
        """The numbers of the nodes that hold something else than when they were walked."""
        walked = len(self.nodes)
        return [number for number in range(walked) if self.mark_again(number) != self.marks[number]]

    def meet_module(self, module: types.ModuleType) -> None:
        """Walk to all global names of an own module."""
        for attribute in sorted(modules.own_globals(module)):
            self._add(Location(module.__name__, attribute), vars(module)[attribute])

    # --- the walk -------------------------------------------------------------------------------------------------

    def _read(self, names: Mapping[str, Any], module: str, name: str, chains: Iterable[tuple[str, ...]]) -> None:
        if name not in names:
            if not hasattr(builtins, name):
                self._add(Location(module, name), MISS)
            return
        value = names[name]
        if not isinstance(value, types.ModuleType):
            self._add(Location(module, name), value)
            return
        for chain in sorted(chains or [()]):
            self._read_chain(Location(module, name), value, chain)

    def _import(self, name: str) -> None:
        """An own module counts as it is now, or by its source if it is not loaded; an installed one by its version."""
        if modules.is_own(name):
            module = sys.modules.get(name)
            self._add(Location(name, "source"), modules.source_digest(name) if module is None else module)
        else:
            self.note_plots(name)
            self._add(Location(name, "version"), modules.version_of(name))

    def _read_chain(self, location: Location, value: Any, chain: tuple[str, ...]) -> None:
        """Follow attributes of modules as far as they are modules; what comes then is the value that is read."""
        for position, attribute in enumerate(chain):
            if not isinstance(value, types.ModuleType):
                break
            if f"{value.__name__}.{attribute}" in _STATES:
                break  # which `states` looks after
            if not modules.is_own(value.__name__):
                self.note_plots(value.__name__)
                found = getattr(value, attribute, MISS)
                if not isinstance(found, types.ModuleType) and is_as_installed(found, value):
                    break  # a part of an installed package: its version says all
            value = getattr(value, attribute, MISS)
            location = location._replace(chain=chain[: position + 1])
        self._add(location, value)

    def _add(self, location: Location, value: Any) -> None:
        if not self._walked and location not in self.roots:
            self.roots[location] = Root(location, value)
            self._waiting.append(location)

    def _walk_from(self, root: Root) -> None:
        root.start = len(self.nodes)
        stream = Stream()
        if root.value is MISS:
            stream.write(b"nothing")
        else:
            self.feed(stream, root.value, str(root.location))
        root.mark = stream.hash.digest()
        while len(self.marks) < len(self.nodes):
            self._walk_node(len(self.marks))
        root.end = len(self.nodes)

    def _walk_node(self, number: int) -> None:
        node = self.nodes[number]
        layout = layout_of(node)
        if layout is not None:
            self.layouts[number] = layout
        self.marks.append(self.mark(number))
        if isinstance(node, types.FunctionType) and modules.is_own(module_of(node)):
            self._follow(node, self._paths[number])

    def _follow(self, function: types.FunctionType, path: Path) -> None:
        module, use = module_of(function), global_use(function.__code__)
        refusal = code_refusal(use) or sets_refusal(use, function.__globals__)
        if refusal is not None:
            raise Refused(f"{spell(path)}() is called, and {refusal}")
        self.uses.append((use, function.__globals__))
        self.writes.update(Location(module, name) for name in use.writes)
        # A text such as "price > @limit" can be looked up in the names of who passes it on.
        texts = {name: frozenset({()}) for name in names_in_texts(use) if name in function.__globals__}
        reads = {**texts, **use.reads}
        for name in sorted(reads):
            if module != "__main__" or name not in self._bound | self.ignored:
                self._read(function.__globals__, module, name, reads[name])


def sets_refusal(use: GlobalUse, names: Mapping[str, Any]) -> str | None:
    """Why code that sets attributes of global names cannot be followed; None where it can.

    An attribute of a module, or of a class that is not the user's own, is seen by code that nobody here looks at.
    """
    for name, chain in sorted(use.sets_attributes):
        owner = names.get(name)
        for attribute in chain[:-1]:
            owner = getattr(owner, attribute, None)
        if isinstance(owner, types.ModuleType) or (isinstance(owner, type) and not modules.is_own(owner.__module__)):
            return f"sets {'.'.join((name, *chain))}, which other code can depend on"
    return None


def _is_plain(value: Any) -> bool:
    """Whether no function of the user's own can be behind a value."""
    if isinstance(value, types.ModuleType):
        return not modules.is_own(value.__name__)
    return Stream().feed_atom(value) or installed_name(value) is not None
