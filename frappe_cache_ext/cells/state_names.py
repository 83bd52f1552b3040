"""What a cell's code says about the states outside of names: which generator it seeds, which states it names.

A run does not tell everything. A cell that seeds a generator before it draws does not depend on how that generator was
before, though it moves it on. And one that sets what is set already, or that asks first, as in
``if folder not in sys.path``, changes nothing this time and would change something in another kernel. Both are read
from the code.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from ..errors import MISS
from . import modules
from .state_table import STATES

Reads = Mapping[str, Collection[tuple[str, ...]]]
"""Global names, each with the chains of attributes that follow it."""

_DIRECTORY: Final = "the current directory"
_SEEDS: Final = {"random.seed": "random", "numpy.random.seed": "numpy.random"}

_SETTERS: Final = {
    **_SEEDS,
    "random.setstate": "random",
    "numpy.random.set_state": "numpy.random",
    "os.chdir": _DIRECTORY,
    "os.fchdir": _DIRECTORY,
    "contextlib.chdir": _DIRECTORY,
    "sys.path": "sys.path",
    "site.addsitedir": "sys.path",
}
"""By dotted name what sets a state, or is it."""

_ENVIRONMENT: Final = frozenset(("os.environ", "os.environb", "os.getenv", "os.putenv", "os.unsetenv"))
_DIRECTORY_MAGICS: Final = frozenset(("cd", "pushd", "popd"))
_ENVIRONMENT_MAGICS: Final = frozenset(("env", "set_env"))


class CodeUse(Protocol):
    """What is asked of what code does to global names; `code.GlobalUse` has it.

    Attributes:
        reads: the global names that it reads.
        strings: its text constants.
        imports: the modules that it imports, by dotted name.
    """

    @property
    def reads(self) -> Reads: ...  # noqa: D102

    @property
    def strings(self) -> Collection[str]: ...  # noqa: D102

    @property
    def imports(self) -> Collection[str]: ...  # noqa: D102


# --- seeds ------------------------------------------------------------------------------------------------------------


def seeds(source: str, names: Mapping[str, Any]) -> frozenset[str]:
    r"""The global random generators that a cell certainly seeds before anything could draw from them.

    Only what stands at the very beginning counts: imports of what is installed, names bound to constants, and calls of
    `random.seed` and `numpy.random.seed` with a constant or a name bound to one. Whatever else comes, a function
    definition included, ends the beginning.

    Example:
        >>> import random
        >>> sorted(seeds("import random\nrandom.seed(1)\nx = random.random()", {}))
        ['random']
        >>> seeds("x = random.random()\nrandom.seed(1)", {"random": random})
        frozenset()

    Args:
        source: the cell as Python.
        names: the notebook's names, to find out what ``np`` and ``SEED`` are.

    Raises:
        SyntaxError: the source is not Python.
    """
    found: set[str] = set()
    beginning = _Beginning(names)
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            if not beginning.imports(statement):
                break
        elif isinstance(statement, ast.Assign) and _is_constant(statement.value):
            if not beginning.binds(statement):
                break
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            generator = beginning.seeded_by(statement.value)
            if generator is None:
                break
            found.add(generator)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            break
    return frozenset(found)


class _Beginning:
    """The names as they are while a cell's first statements run."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = names
        self.imported: dict[str, str] = {}
        self.constants: dict[str, Any] = {}

    def imports(self, statement: ast.Import | ast.ImportFrom) -> bool:
        """Note what an import binds; False where it may run code of the user's, which can draw."""
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                if modules.is_own(alias.name):
                    return False
                self._bind(alias.asname or alias.name.partition(".")[0])
                self.imported[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
            return True
        if statement.level or statement.module is None or modules.is_own(statement.module):
            return False
        for alias in statement.names:
            if alias.name == "*":
                return False
            self._bind(alias.asname or alias.name)
            self.imported[alias.asname or alias.name] = f"{statement.module}.{alias.name}"
        return True

    def binds(self, statement: ast.Assign) -> bool:
        """Note constants; False where they are bound to something else than names."""
        for target in statement.targets:
            if not isinstance(target, ast.Name):
                return False
            self._bind(target.id)
            self.constants[target.id] = ast.literal_eval(statement.value)
        return True

    def seeded_by(self, call: ast.Call) -> str | None:
        """The generator that a call seeds with what is known; None for any other call."""
        generator = _SEEDS.get(self._dotted(call.func) or "")
        arguments = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg in ("a", "seed"))]
        if generator is None or len(arguments) != 1 or len(call.args) + len(call.keywords) != 1:
            return None
        return generator if self._is_seed(arguments[0]) else None

    def _bind(self, name: str) -> None:
        self.imported.pop(name, None)
        self.constants.pop(name, None)

    def _is_seed(self, argument: ast.expr) -> bool:
        if isinstance(argument, ast.Constant):
            return type(argument.value) in (int, str, bytes, float)
        if not isinstance(argument, ast.Name) or argument.id in self.imported:
            return False
        value = self.constants.get(argument.id, self.names.get(argument.id))
        return type(value) in (int, str, bytes, float)

    def _dotted(self, function: ast.expr) -> str | None:
        chain: list[str] = []
        while isinstance(function, ast.Attribute):
            chain.insert(0, function.attr)
            function = function.value
        if not isinstance(function, ast.Name) or function.id in self.constants:
            return None
        if function.id in self.imported:
            return ".".join((self.imported[function.id], *chain))
        return _dotted_name(self.names.get(function.id), chain)


def _is_constant(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


# --- states that are named --------------------------------------------------------------------------------------------


def named_parts(uses: Iterable[tuple[CodeUse, Mapping[str, Any]]], seeded: Collection[str] = ()) -> dict[str, str]:
    """The states that code names, as they are now: parts of its key that no run would show.

    Example:
        >>> from frappe_cache_ext.cells.code import global_use
        >>> use = global_use((lambda: os.environ.setdefault("MODE", "fast")).__code__)
        >>> named_parts([(use, {"os": os})])
        {}
        >>> os.environ["MODE"] = "slow"
        >>> named_parts([(use, {"os": os})])
        {'$MODE': 'slow'}
        >>> del os.environ["MODE"]

    Args:
        uses: the code of a cell and of each function of the user's that it calls, with the global names of each.
        seeded: generators that the cell seeds first of all, from `seeds`; how these were does not matter.

    Returns:
        By the name shown to users: the current directory, digests of generators and of `sys.path`, and of the
        environment variables that the code has among its text constants those that are set.
    """
    states: set[str] = set()
    variables: set[str] = set()
    for use, names in uses:
        dotted = set(_dotted_names(use, names))
        magics = set(use.strings) if "get_ipython" in use.reads else set()
        states |= {_SETTERS[name] for name in dotted if name in _SETTERS}
        if magics & _DIRECTORY_MAGICS:
            states.add(_DIRECTORY)
        if dotted & _ENVIRONMENT or magics & _ENVIRONMENT_MAGICS:
            # `%env MODE=fast` and `%env MODE fast` have the name at the front of a text.
            variables |= {re.split(r"[\s=]", text, maxsplit=1)[0] for text in use.strings}
    parts = {name: _part(name) for name in sorted(states.difference(seeded))}
    return parts | {f"${name}": os.environ[name] for name in sorted(variables) if name in os.environ}


def _part(name: str) -> str:
    return str(STATES[name].read()) if name == _DIRECTORY else STATES[name].digest().hex()


def _dotted_names(use: CodeUse, names: Mapping[str, Any]) -> Iterator[str]:
    """Which of the dotted names that are looked for are among what code reads."""
    for root, chains in use.reads.items():
        for path in {(root, *chain[:length]) for chain in chains for length in range(len(chain) + 1)}:
            found = _dotted_name(names[root], path[1:]) if root in names else _imported_name(use.imports, path)
            if found is not None:
                yield found


def _imported_name(imports: Collection[str], path: tuple[str, ...]) -> str | None:
    """The dotted name that a path has if the code itself imports what is at the root of it, under whatever name."""
    for dotted in (*_SETTERS, *_ENVIRONMENT):
        if dotted == ".".join(path):
            return dotted
        for module in imports:
            inside = tuple(dotted.removeprefix(f"{module}.").split("."))
            # `from m import inside`, `import m as x`, `from m import inside as x` with an attribute of it
            known = inside in (path, path[1:]) or (len(path) > 1 and inside[1:] == path[1:])
            if dotted.startswith(f"{module}.") and known:
                return dotted
    return None


def _dotted_name(value: Any, chain: Sequence[str]) -> str | None:
    """The dotted name of what attributes behind a value lead to; None where it is none that is looked for."""
    if isinstance(value, types.ModuleType):
        return ".".join((value.__name__, *chain))
    if chain:
        return None
    return next((dotted for dotted in (*_SETTERS, *_ENVIRONMENT) if _object_at(dotted) is value), None)


def _object_at(dotted: str) -> Any:
    module, _, attribute = dotted.rpartition(".")
    return getattr(sys.modules.get(module), attribute, MISS)
