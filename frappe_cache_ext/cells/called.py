"""The user's own code behind a function under `redis_cache`: helpers, their helpers, and the constants they read.

A cell's `Graph` looks at every value that a function can reach, each time. For a function that is called a thousand
times a second that is too much, and it is too strict: a function may count its calls in a list, or hold a connection,
and be cached all the same. So what counts here is *code*: functions and classes of the notebook or of the user's own
modules, and plain constants, followed from name to name. Lists, frames and connections that are read as global names do
not count, nor does what the function rebinds itself.

After the first call it is enough to see that each name still holds the object it held.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from ..codec import is_immutable
from ..errors import MISS
from ..fingerprint import Stream, digest
from . import modules
from .code import global_use


class _Watched(NamedTuple):
    """A name that has to hold this object still."""

    names: Mapping[str, Any]
    name: str
    value: Any


class Called:
    """The code behind a function, and whether it is still the same.

    Args:
        function: the function; a partial or wrapped one counts as what is behind it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._watched: list[_Watched] = []
        self._functions: list[tuple[types.FunctionType, types.CodeType, Any]] = []
        self._cells: list[_Cell] | None = []
        self._digest: bytes | None = None

    @property
    def steady(self) -> bool:
        """Whether `holds` notices all that can change what the function itself is, its code object excepted."""
        return self._cells is not None

    @property
    def holds(self) -> Callable[[], bool] | None:
        """Tells whether each name that was read still holds its object; None where no name was."""
        watched, cells, missing = tuple(self._watched), tuple(self._cells or ()), MISS

        # Called before each hit: so no attribute, and nothing global, is looked up.
        def hold() -> bool:
            for names, name, value in watched:
                if names.get(name, missing) is not value:
                    return False
            return not cells or all(_content(cell) is content for cell, content in cells)

        return hold if watched or cells else None

    def digest(self) -> bytes:
        """A digest of that code, the function's own excluded; the same in every process."""
        if self._digest is None or not self._is_the_same():
            self._walk()
        assert self._digest is not None  # noqa: S101  (for the type checker; `_walk` has set it)
        return self._digest

    def _is_the_same(self) -> bool:
        holds = self.holds
        if holds is not None and not holds():
            return False
        for function, code, defaults in self._functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return False
        return True

    def _walk(self) -> None:
        self._watched, self._functions = [], []
        self._cells = _steady_cells(self.function, set())
        stream = Stream()
        waiting = [_behind(self.function)]
        numbers: dict[int, int] = {}
        while waiting:
            value = waiting.pop(0)
            if _is(value, types.FunctionType):
                self._walk_function(stream, value, waiting, numbers)
            elif _is(value, type):
                self._walk_class(stream, value, waiting, numbers)
        self._digest = stream.hash.digest()

    def _walk_function(
        self, stream: Stream, function: types.FunctionType, waiting: list[Any], numbers: dict[int, int]
    ) -> None:
        if not modules.is_own(str(function.__globals__.get("__name__"))):
            return
        self._functions.append((function, function.__code__, function.__defaults__))
        if function is not self.function:
            stream.feed_code(function.__code__, function.__qualname__)
            self._feed(stream, function.__defaults__, waiting, numbers)
        use = global_use(function.__code__)
        for name in sorted(use.reads.keys() - use.writes):
            for chain in sorted(use.reads[name]):
                stream.write(b"name", name.encode())
                self._feed(stream, self._look_up(function.__globals__, name, chain), waiting, numbers)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            stream.write(b"closure", name.encode())
            self._feed(stream, _content(cell), waiting, numbers)

    def _look_up(self, names: Mapping[str, Any], name: str, chain: tuple[str, ...]) -> Any:
        value = names.get(name, MISS)
        self._watched.append(_Watched(names, name, value))
        for attribute in chain:
            if not _is(value, types.ModuleType) or not modules.is_own(value.__name__):
                break
            names, value = vars(value), vars(value).get(attribute, MISS)
            self._watched.append(_Watched(names, attribute, value))
        return value

    def _walk_class(self, stream: Stream, kind: type, waiting: list[Any], numbers: dict[int, int]) -> None:
        for name, member in vars(kind).items():
            function = next((getattr(member, inner) for inner in ("__func__", "fget") if _has(member, inner)), member)
            self._watched.append(_Watched(vars(kind), name, member))
            stream.write(b"member", name.encode())
            self._feed(stream, function, waiting, numbers)
        for base in kind.__bases__:
            self._feed(stream, base, waiting, numbers)

    def _feed(self, stream: Stream, value: Any, waiting: list[Any], numbers: dict[int, int]) -> None:
        value = _behind(value)
        if _is(value, types.FunctionType | type):
            if not modules.is_own(value.__module__ or ""):
                stream.write(b"installed", f"{value.__module__}:{value.__qualname__}".encode())
                return
            if id(value) not in numbers:
                numbers[id(value)] = len(numbers)
                waiting.append(value)
            stream.write(b"code", b"%d" % numbers[id(value)])
        elif value is not MISS and is_immutable(value):
            stream.write(b"constant", digest(value).encode())
        else:
            stream.write(b"other")


_Cell = tuple[types.CellType, Any]


def _steady_cells(function: Any, seen: set[int]) -> list[_Cell] | None:
    """The variables of a function's closure; None where one, or a default, can change and be the same object still."""
    if not _is(function, types.FunctionType):
        return None
    if id(function) in seen:
        return []
    seen.add(id(function))
    if getattr(function, "__frappe_cached__", False):
        return _steady_cells(vars(function)["__wrapped__"], seen)
    if not all(map(is_immutable, (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()))):
        return None
    cells: list[_Cell] = []
    for cell in function.__closure__ or ():
        content = _content(cell)
        cells.append((cell, content))
        if content is MISS or is_immutable(content):
            continue
        inner = _steady_cells(content, seen)
        if inner is None:
            return None
        cells += inner
    return cells


def _is(value: Any, kinds: Any) -> bool:
    """Whether an object is one of these by its type: a proxy's ``__class__`` can be computed, and can raise."""
    return issubclass(type(value), kinds)


def _behind(value: Any) -> Any:
    """The function behind partials, methods and wrappers; no proxy is asked what it stands for."""
    for _ in range(_DEEPEST):
        if _is(value, types.MethodType):
            value = value.__func__
        elif type(value).__name__ in {"partial", "cached_property"} and _has(value, "func"):
            value = value.func
        elif _has(value, "__wrapped__") and not _is(value, type):
            try:
                value = value.__wrapped__
            except Exception:  # a property's
                break
        else:
            break
    return value


def _has(value: Any, name: str) -> bool:
    """Whether an attribute is there already; what `__getattr__` would make of the name does not count."""
    return inspect.getattr_static(value, name, MISS) is not MISS


_DEEPEST: Final = 50


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return MISS
