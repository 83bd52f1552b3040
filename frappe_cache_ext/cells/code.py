"""What compiled code does to global names, read from its byte code.

From byte code and not from source, because the source of a function can be gone, or be another one by now: a file was
edited, a cell was run again. What is found is never less than what the code can do: a class body's own names, for one,
count as global names too, because only a run could tell them apart.
"""

from __future__ import annotations

import dis
import functools
import inspect
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Chain = tuple[str, ...]
"""Names of attributes, one behind the other."""

CACHED_CODES: Final = 4096

_LOADS: Final = frozenset(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"))
_ATTRIBUTE_LOADS: Final = frozenset(("LOAD_ATTR", "LOAD_METHOD"))
_ATTRIBUTE_STORES: Final = frozenset(("STORE_ATTR", "DELETE_ATTR"))
_NO_WORK: Final = frozenset(("EXTENDED_ARG", "CACHE", "NOP", "PUSH_NULL", "PRECALL", "KW_NAMES"))
"""Instructions that stand between two others that belong together in some versions of Python, and not in others."""


@dataclass(frozen=True, slots=True)
class GlobalUse:
    """What a piece of code does to global names; the functions, comprehensions and classes inside of it included.

    Attributes:
        reads: the names that it reads or deletes, each with the chains of attributes that follow; an empty chain stands
            for a use of the name by itself. ``np.random.normal(0, 1)`` gives ``{"np": {("random", "normal")}}``.
        writes: the names that it binds or deletes.
        strings: its text constants.
        attributes: the names of all attributes that it loads, of whatever object.
        imports: the modules that it imports, by dotted name. A relative import keeps its leading dots, as
            `importlib.util.resolve_name` takes them. An import whose module is not written out, as in
            ``importlib.import_module(name)``, is a read of ``__import__`` instead.
        sets_attributes: attributes that it sets or deletes on what a global name leads to: ``np.foo = 1`` gives
            ``("np", ("foo",))``. An asterisk stands for an attribute whose name is computed.
    """

    reads: Mapping[str, frozenset[Chain]]
    writes: frozenset[str]
    strings: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[str]
    sets_attributes: frozenset[tuple[str, Chain]]


@functools.lru_cache(maxsize=CACHED_CODES)
def global_use(code: types.CodeType) -> GlobalUse:
    """What a code object does to global names.

    Example:
        >>> use = global_use((lambda x: np.random.normal(x)).__code__)
        >>> dict(use.reads)
        {'np': frozenset({('random', 'normal')})}

    Args:
        code: of a function, or of a module, a cell or an expression. Names that the latter bind are global names.
    """
    use = _Use()
    use.scan(code, is_module=not code.co_flags & inspect.CO_OPTIMIZED)
    return use.frozen()


def merged(uses: Iterable[GlobalUse]) -> GlobalUse:
    """What several pieces of code do together."""
    whole = _Use()
    for use in uses:
        for name, chains in use.reads.items():
            whole.reads.setdefault(name, set()).update(chains)
        for attribute in ("writes", "strings", "attributes", "imports", "sets_attributes"):
            getattr(whole, attribute).update(getattr(use, attribute))
    return whole.frozen()


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object, and all that are inside of it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_in(constant)


@dataclass(slots=True)
class _Use:
    """A `GlobalUse` in the making."""

    reads: dict[str, set[Chain]] = field(default_factory=dict)
    writes: set[str] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    sets_attributes: set[tuple[str, Chain]] = field(default_factory=set)

    def frozen(self) -> GlobalUse:
        """It, complete."""
        return GlobalUse(
            types.MappingProxyType({name: frozenset(chains) for name, chains in self.reads.items()}),
            frozenset(self.writes),
            frozenset(self.strings),
            frozenset(self.attributes),
            frozenset(self.imports),
            frozenset(self.sets_attributes),
        )

    def scan(self, code: types.CodeType, *, is_module: bool) -> None:
        """Take down what a code object does, and those inside of it."""
        self.strings.update(_texts(code.co_consts))
        light = code.replace(co_consts=tuple(map(_light, code.co_consts)))
        instructions = [found for found in dis.get_instructions(light) if found.opname not in _NO_WORK]
        for position, instruction in enumerate(instructions):
            self._step(instructions, position, instruction, is_module)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.scan(constant, is_module=False)

    def _step(
        self, instructions: Sequence[dis.Instruction], position: int, instruction: dis.Instruction, is_module: bool
    ) -> None:
        operation, name = instruction.opname, instruction.argval
        if operation in _LOADS:
            if not _is_pythons_own(instructions, position):
                self._load(instructions, position)
        elif operation in _ATTRIBUTE_LOADS or operation.startswith("LOAD_SUPER_"):
            self.attributes.add(name)
        elif operation == "STORE_GLOBAL" or (operation == "STORE_NAME" and is_module):
            self.writes.add(name)
        elif operation == "DELETE_GLOBAL" or (operation == "DELETE_NAME" and is_module):
            # Deleting a name needs it to be there.
            self.writes.add(name)
            self._read(name, ())
        elif operation == "IMPORT_NAME":
            level = instructions[position - 2].argval
            self.imports.add("." * level + name)

    def _read(self, name: str, chain: Chain) -> None:
        self.reads.setdefault(name, set()).add(chain)

    def _load(self, instructions: Sequence[dis.Instruction], position: int) -> None:
        name, chain, after = _path_at(instructions, position)
        if (chain[-1] if chain else name) in ("__import__", "import_module"):
            module = _only_text(instructions[after:])
            if module is None:
                self._read("__import__", ())
            else:
                self.imports.add(module)
            if name == "__import__":
                return
        self._read(name, chain)
        if name in ("setattr", "delattr") and not chain:
            self._set_by_name(instructions, after, deletes=name == "delattr")
        elif after < len(instructions):
            self._set(instructions, name, chain, after)

    def _set(self, instructions: Sequence[dis.Instruction], name: str, chain: Chain, after: int) -> None:
        follower = instructions[after]
        if follower.opname == "COPY" and after + 1 < len(instructions):
            # `np.foo += 1` keeps the owner on the stack while it computes.
            follower = instructions[after + 1]
            if follower.opname in _ATTRIBUTE_LOADS:
                self.sets_attributes.add((name, (*chain, follower.argval)))
        elif follower.opname in _ATTRIBUTE_STORES:
            self.sets_attributes.add((name, (*chain, follower.argval)))

    def _set_by_name(self, instructions: Sequence[dis.Instruction], position: int, *, deletes: bool) -> None:
        """Take down ``setattr(np, "foo", 1)``."""
        if position < len(instructions) and instructions[position].opname in _LOADS:
            name, chain, after = _path_at(instructions, position)
            following = instructions[after : after + 2]
            # One argument and a call: the name is that of a function, whose result has an attribute set on it.
            if len(following) == 2 and (deletes or not following[1].opname.startswith("CALL")):
                attribute = following[0].argval if following[0].opname == "LOAD_CONST" else "*"
                self.sets_attributes.add((name, (*chain, attribute)))


def _light(constant: Any) -> Any:
    """A constant, if it is one that is looked at; `dis` writes out each, and fails where an integer is too long."""
    kept = (isinstance(constant, int) and abs(constant) < 1 << 64) or (
        isinstance(constant, str) and len(constant) < 256
    )
    return constant if kept else None


def _path_at(instructions: Sequence[dis.Instruction], position: int) -> tuple[str, Chain, int]:
    """The name that is loaded at a position, the attributes that follow, and the position behind them."""
    after = position + 1
    while after < len(instructions) and instructions[after].opname in _ATTRIBUTE_LOADS:
        after += 1
    chain = tuple(instruction.argval for instruction in instructions[position + 1 : after])
    return instructions[position].argval, chain, after


def _only_text(instructions: Sequence[dis.Instruction]) -> str | None:
    """The first argument of a call, if it is a text that is written out."""
    if len(instructions) < 2 or instructions[0].opname != "LOAD_CONST":
        return None
    complete = instructions[1].opname.startswith(("CALL", "LOAD_CONST"))
    text = instructions[0].argval
    return text if complete and isinstance(text, str) else None


def _is_pythons_own(instructions: Sequence[dis.Instruction], position: int) -> bool:
    """Whether a load is not in the source, but Python's for the `__module__` and the annotations of a class."""
    name = instructions[position].argval
    followers = [(found.opname, found.argval) for found in instructions[position + 1 : position + 3]]
    if name == "__name__":
        return followers[:1] == [("STORE_NAME", "__module__")]
    return name == "__annotations__" and len(followers) == 2 and followers[1][0] == "STORE_SUBSCR"


def _texts(constants: Iterable[Any]) -> Iterator[str]:
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple | frozenset):
            yield from _texts(constant)
