"""A digest of values by content: the same in every process, different whenever something about the value differs.

Every part is written with a tag for its type and a length before its bytes, so that no two different values give the
same stream: ``1``, ``1.0``, ``True`` and ``"1"`` are four values, ``["ab"]`` and ``["a", "b"]`` two. Nothing here
depends on `hash`, whose value for text changes with every process.

What counts as content: of plain data its value; of arrays and frames also type, shape, order and names; of a function
its code, defaults and closure, not its name, file or comments; of a class its name, and its code too where it is
defined in a notebook; of any other object what `pickle` would write. What has no content (a lock, a generator, a
connection) raises `NotCacheable` naming where it sits.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import struct
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

from .errors import NotCacheable

FORMAT: Final = b"1"
"""Goes into every digest; changed whenever the stream changes, so that old digests match nothing."""

DIGEST_SIZE: Final = 16


def digest(value: object, root: str = "value") -> str:
    """A digest of a value, as 32 hex digits.

    Example:
        >>> digest({"a": 1}) == digest({"a": 1}), digest(1) == digest(True)
        (True, False)

    Args:
        value: the value.
        root: how an error calls it.

    Raises:
        NotCacheable: a part of the value has no content.
    """
    return _digest(value, root).hex()


def call_digest(function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> str:
    """A digest of a call: of the function's code and of its arguments as they were passed.

    Raises:
        NotCacheable: an argument, a default or a variable of the closure has no content.
    """
    stream = _Stream()
    stream.write(b"call", _code_of_call(function))
    for index, argument in enumerate(args):
        stream.feed(argument, f"args[{index}]")
    for name, argument in kwargs.items():
        stream.write(b"kw", name.encode("utf-8", "surrogatepass"))
        stream.feed(argument, name)
    return stream.hash.hexdigest()


def _code_of_call(function: Callable[..., Any]) -> bytes:
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    if target is function and isinstance(function, types.FunctionType) and not _can_vary(function):
        return _plain_code(function.__code__)
    return _digest(function, getattr(function, "__qualname__", "function"))


def _can_vary(function: types.FunctionType) -> bool:
    """Whether something besides its code makes the function what it is."""
    return bool(function.__closure__ or function.__defaults__ or function.__kwdefaults__)


@functools.lru_cache(maxsize=4096)
def _plain_code(code: types.CodeType) -> bytes:
    stream = _Stream()
    stream.feed_code(code, code.co_qualname)
    return stream.hash.digest()


def _digest(value: object, root: str) -> bytes:
    stream = _Stream()
    stream.feed(value, root)
    return stream.hash.digest()


class _Stream:
    """The bytes of a value, on their way into a hash."""

    __slots__ = ("hash", "open")

    def __init__(self, parents: dict[int, int] | None = None) -> None:
        self.hash = hashlib.blake2b(FORMAT, digest_size=DIGEST_SIZE)
        # Where each object being written stands, so that one that contains itself ends.
        self.open: dict[int, int] = {} if parents is None else dict(parents)

    def write(self, tag: bytes, data: bytes | memoryview = b"") -> None:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        self.hash.update(b"%d:%b%d:" % (len(tag), tag, size))
        self.hash.update(data)

    def feed(self, value: Any, path: str) -> None:
        writer = _ATOMS.get(type(value))
        if writer is not None:
            writer(self, value)
            return
        depth = self.open.get(id(value))
        if depth is not None:
            self.write(b"again", b"%d" % depth)
            return
        self.open[id(value)] = len(self.open)
        try:
            _COMPOUNDS.get(type(value), _feed_other)(self, value, path)
        except RecursionError:
            raise NotCacheable(path, f"{type(value).__name__}, nested too deeply") from None
        finally:
            del self.open[id(value)]

    def feed_each(self, tag: bytes, values: Iterable[Any], path: str) -> None:
        values = list(values)
        self.write(tag, b"%d" % len(values))
        for index, value in enumerate(values):
            self.feed(value, f"{path}[{index}]")

    def feed_pairs(self, tag: bytes, pairs: Iterable[tuple[Any, Any]], path: str) -> None:
        pairs = list(pairs)
        self.write(tag, b"%d" % len(pairs))
        for key, value in pairs:
            self.feed(key, f"{path} (key {key!r})")
            self.feed(value, f"{path}[{key!r}]")

    def feed_code(self, code: types.CodeType, path: str) -> None:
        # Byte code, not source: it is what runs, even when the file was edited after the import.
        self.write(b"code", (sys.implementation.cache_tag or sys.version).encode())
        self.write(b"ops", code.co_code)
        self.write(b"exceptions", code.co_exceptiontable)
        self.write(
            b"shape",
            b"%d,%d,%d,%d" % (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        )
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            self.feed_each(b"names", names, path)
        self.write(b"constants", b"%d" % len(code.co_consts))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.feed_code(constant, path)
            else:
                self.feed(constant, path)


def _atom(tag: bytes, to_bytes: Callable[[Any], bytes]) -> Callable[[_Stream, Any], None]:
    return lambda stream, value: stream.write(tag, to_bytes(value))


_ATOMS: Final[dict[type, Callable[[_Stream, Any], None]]] = {
    type(None): _atom(b"None", lambda _: b""),
    type(...): _atom(b"...", lambda _: b""),
    type(NotImplemented): _atom(b"NotImplemented", lambda _: b""),
    bool: _atom(b"bool", lambda value: b"1" if value else b"0"),
    int: _atom(b"int", lambda value: value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)),
    float: _atom(b"float", lambda value: struct.pack("<d", value)),
    complex: _atom(b"complex", lambda value: struct.pack("<dd", value.real, value.imag)),
    str: _atom(b"str", lambda value: value.encode("utf-8", "surrogatepass")),
    bytes: _atom(b"bytes", bytes),
}


def _feed_set(stream: _Stream, value: Any, path: str) -> None:
    stream.write(type(value).__name__.encode(), b"%d" % len(value))
    members = []
    for member in value:
        inner = _Stream(stream.open)
        inner.feed(member, f"{path} (member {member!r})")
        members.append(inner.hash.digest())
    for member_digest in sorted(members):
        stream.hash.update(member_digest)


def _feed_function(stream: _Stream, function: Any, path: str) -> None:
    if getattr(function, "__frappe_cached__", False):
        # One of our own decorators: what it answers is decided by the function that it stands before.
        stream.write(b"cached")
        stream.feed(function.__wrapped__, path)
        return
    stream.feed_code(function.__code__, path)
    stream.feed(function.__defaults__, f"{path}.__defaults__")
    stream.feed(function.__kwdefaults__, f"{path}.__kwdefaults__")
    cells = function.__closure__ or ()
    stream.write(b"closure", b"%d" % len(cells))
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not filled yet
            stream.write(b"empty")
            continue
        stream.feed(content, f"{path} (closure variable {name})")


def _feed_class(stream: _Stream, kind: Any, path: str) -> None:
    _feed_name(stream, b"class", kind)
    if kind.__module__ == "__main__":
        # A class of a notebook is edited and defined anew under its old name.
        stream.feed_each(b"bases", kind.__bases__, path)
        for name, member in sorted(vars(kind).items()):
            function = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(function, types.FunctionType):
                stream.write(b"member", name.encode())
                stream.feed(function, f"{path}.{name}")


def _feed_name(stream: _Stream, tag: bytes, value: Any) -> None:
    module = getattr(value, "__module__", None) or ""
    stream.write(tag, f"{module}:{value.__qualname__}".encode("utf-8", "surrogatepass"))


def _feed_enum(stream: _Stream, member: enum.Enum, path: str) -> None:
    stream.feed(type(member), path)
    stream.write(b"member", (member.name or "").encode())
    stream.feed(member.value, path)


def _feed_builtin(stream: _Stream, function: Any, path: str) -> None:
    _feed_name(stream, b"builtin", function)
    owner = function.__self__
    if owner is not None and not isinstance(owner, types.ModuleType):
        stream.feed(owner, f"{path}.__self__")


def _feed_method(stream: _Stream, method: Any, path: str) -> None:
    stream.write(b"method")
    stream.feed(method.__func__, path)
    stream.feed(method.__self__, f"{path}.__self__")


_COMPOUNDS: Final[dict[type, Callable[[_Stream, Any, str], None]]] = {
    list: lambda stream, value, path: stream.feed_each(b"list", value, path),
    tuple: lambda stream, value, path: stream.feed_each(b"tuple", value, path),
    dict: lambda stream, value, path: stream.feed_pairs(b"dict", value.items(), path),
    set: _feed_set,
    frozenset: _feed_set,
    bytearray: lambda stream, value, _: stream.write(b"bytearray", bytes(value)),
    types.FunctionType: _feed_function,
    types.BuiltinFunctionType: _feed_builtin,
    types.MethodType: _feed_method,
    types.ModuleType: lambda stream, value, _: stream.write(b"module", value.__name__.encode()),
}


def _feed_other(stream: _Stream, value: Any, path: str) -> None:
    if isinstance(value, type):
        _feed_class(stream, value, path)
    elif isinstance(value, enum.Enum):
        _feed_enum(stream, value, path)
    elif type(value) is object:
        raise NotCacheable(path, "a bare object(), which is nothing but itself")
    elif not _feed_scientific(stream, value, path):
        _feed_pickled(stream, value, path)


def _feed_scientific(stream: _Stream, value: Any, path: str) -> bool:
    """Write an array or a frame, without importing the library it came from."""
    package = type(value).__module__.partition(".")[0]
    if package == "numpy":
        return _feed_numpy(stream, value, path)
    if package == "pandas":
        return _feed_pandas(stream, value, path)
    return False


def _feed_numpy(stream: _Stream, value: Any, path: str) -> bool:
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.dtype):
        stream.write(b"dtype", f"{value.str}{value.descr if value.fields else ''}".encode())
        return True
    if isinstance(value, numpy.generic) and not value.dtype.hasobject:
        stream.write(b"scalar", value.dtype.str.encode())
        stream.write(b"data", value.tobytes())
        return True
    if type(value) is not numpy.ndarray:
        return False
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    stream.feed(value.dtype, path)
    stream.feed(value.shape, path)
    stream.write(b"order", b"F" if fortran else b"C")
    if value.dtype.hasobject:
        stream.feed_each(b"objects", value.ravel(order="K" if fortran else "C").tolist(), path)
    else:
        flat = value.T if fortran else numpy.ascontiguousarray(value)
        stream.write(b"array", memoryview(flat.reshape(-1).view(numpy.uint8)))
    return True


def _feed_pandas(stream: _Stream, value: Any, path: str) -> bool:
    pandas = sys.modules["pandas"]
    kind = type(value)
    if kind is pandas.DataFrame:
        stream.write(b"frame", b"%d,%d" % value.shape)
        stream.feed(value.attrs, f"{path}.attrs")
        stream.feed(value.columns, f"{path}.columns")
        stream.feed(value.index, f"{path}.index")
        for position in range(value.shape[1]):
            _feed_column(stream, value.iloc[:, position], f"{path} (column {value.columns[position]!r})")
        return True
    if kind is pandas.Series:
        stream.write(b"series")
        stream.feed(value.attrs, f"{path}.attrs")
        stream.feed(value.name, f"{path}.name")
        stream.feed(value.index, f"{path}.index")
        _feed_column(stream, value, path)
        return True
    return False


def _feed_column(stream: _Stream, series: Any, path: str) -> None:
    stream.write(b"column", str(series.dtype).encode())
    array = series.array
    stream.feed(array.to_numpy() if type(array).__name__ == "NumpyExtensionArray" else array, path)


def _feed_pickled(stream: _Stream, value: Any, path: str) -> None:
    """Write what `pickle` would write of an object: how it is made, and its state."""
    named = f"{type(value).__module__}.{type(value).__qualname__}"
    try:
        reducer = copyreg.dispatch_table.get(type(value))
        reduced = reducer(value) if reducer is not None else value.__reduce_ex__(4)
    except NotCacheable:
        raise
    except Exception as error:  # a reducer of the user's can raise anything
        raise NotCacheable(path, named) from error
    stream.feed(type(value), path)
    if isinstance(reduced, str):
        stream.write(b"global", reduced.encode())
        return
    # Only the first two are always there; a sixth, how to set the state, says nothing about the value.
    parts: list[Any] = [*reduced, None, None, None][:5]
    make, args, state, items, pairs = parts
    stream.feed(make, path)
    stream.feed(args, path)
    if isinstance(state, dict) and all(isinstance(name, str) for name in state):
        # The order in which an object's attributes were set is no part of its value.
        for name in sorted(state):
            stream.write(b"attribute", name.encode("utf-8", "surrogatepass"))
            stream.feed(state[name], f"{path}.{name}")
    else:
        stream.feed(state, path)
    stream.feed_each(b"items", items or (), path)
    stream.feed_pairs(b"pairs", pairs or (), path)
