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

import array
import copyreg
import enum
import functools
import hashlib
import struct
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from .errors import NotCacheable

FORMAT: Final = b"2"
"""Goes into every digest; changed whenever the stream changes, so that old digests match nothing."""

DIGEST_SIZE: Final = 16

BIG_BUFFER: Final = 1 << 16
"""Bytes from which a buffer is hashed on its own, by the fastest cryptographic hash there is."""


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


def call_digest(
    function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object], called: bytes = b""
) -> str:
    """A digest of a call: of the function's code and of its arguments as they were passed.

    Args:
        function: the function.
        args: its arguments.
        kwargs: its arguments by name.
        called: a digest of the code that it calls.

    Raises:
        NotCacheable: an argument, a default or a variable of the closure has no content.
    """
    return CallDigests(function, called).of(args, kwargs)


class CallDigests:
    """Digests of many calls of one function, as long as nothing that makes it what it is changes.

    Args:
        function: the function.
        called: a digest of the code that it calls.

    Raises:
        NotCacheable: a default or a variable of the closure has no content.
    """

    __slots__ = ("_begun",)

    def __init__(self, function: Callable[..., Any], called: bytes = b"") -> None:
        stream = Stream()
        stream.write(b"call", _code_of_call(function) + called)
        self._begun = stream.hash

    def of(self, args: tuple[object, ...], kwargs: dict[str, object]) -> str:
        """The digest of one call, of its arguments as they were passed.

        Raises:
            NotCacheable: an argument has no content.
        """
        content = self._begun.copy()
        for argument in args:
            if not _fed_plainly(content, argument):
                Stream(content=content).feed(argument, f"args[{_position(args, argument)}]")
        for name, argument in kwargs.items():
            key = name.encode("utf-8", "surrogatepass")
            content.update(b"2:kw%d:%b" % (len(key), key))
            if not _fed_plainly(content, argument):
                Stream(content=content).feed(argument, name)
        digest: str = content.hexdigest()
        return digest


def _position(args: tuple[object, ...], argument: object) -> int:
    return next(index for index, each in enumerate(args) if each is argument)


def _fed_plainly(content: Any, value: Any) -> bool:
    """What `Stream.feed` does with a small plain value, in one step; False, and nothing done, for any other."""
    atom = _ATOM_BYTES.get(type(value))
    if atom is None:
        return False
    head, to_bytes = atom
    data = to_bytes(value)
    if len(data) >= _SMALL:
        return False
    content.update(b"%b%d:%b" % (head, len(data), data))
    return True


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
    stream = Stream()
    stream.feed_code(code, code.co_qualname)
    return stream.hash.digest()


def _digest(value: object, root: str) -> bytes:
    stream = Stream()
    stream.feed(value, root)
    return stream.hash.digest()


_SMALL: Final = 512
"""Bytes up to which it is faster to copy them than to call twice."""


class Stream:
    """The bytes of a value, on their way into a hash."""

    __slots__ = ("hash", "open")

    def __init__(self, parents: dict[int, int] | None = None, content: Any = None) -> None:
        self.hash = hashlib.blake2b(FORMAT, digest_size=DIGEST_SIZE) if content is None else content
        # Where each object being written stands, so that one that contains itself ends.
        self.open: dict[int, int] = {} if parents is None else dict(parents)

    def write(self, tag: bytes, data: bytes | memoryview = b"") -> None:
        """Write some bytes, so that no other tag and bytes give the same stream."""
        self._write_under(b"%d:%b" % (len(tag), tag), data)

    def _write_under(self, head: bytes, data: bytes | memoryview) -> None:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if size < _SMALL:
            self.hash.update(b"%b%d:%b" % (head, size, bytes(data)))
            return
        self.hash.update(b"%b%d:" % (head, size))
        self.hash.update(data if size < BIG_BUFFER else buffer_digest(data))

    def feed_atom(self, value: Any) -> bool:
        """Write a plain value; False, and nothing written, for any other."""
        atom = _ATOM_BYTES.get(type(value))
        if atom is None:
            return False
        head, to_bytes = atom
        self._write_under(head, to_bytes(value))
        return True

    def feed(self, value: Any, path: str) -> None:
        """Write any value, with all that is in it."""
        if self.feed_atom(value):
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
        """Write values one after the other."""
        values = list(values)
        self.write(tag, b"%d" % len(values))
        if self.feed_atoms(values):
            return
        for index, value in enumerate(values):
            self.feed(value, f"{path}[{index}]")

    def feed_pairs(self, tag: bytes, pairs: Iterable[tuple[Any, Any]], path: str) -> None:
        """Write keys with their values, in their order."""
        pairs = list(pairs)
        self.write(tag, b"%d" % len(pairs))
        if len(pairs) >= _MANY and self.feed_atoms([part for pair in pairs for part in pair]):
            return
        for key, value in pairs:
            self.feed(key, f"{path} (key {key!r})")
            self.feed(value, f"{path}[{key!r}]")

    def feed_atoms(self, values: Sequence[Any]) -> bool:
        """Write many plain values at once, a type at a time; False, and nothing written, where some are not plain.

        A loop in Python over a million numbers takes half a second. What comes of it is another stream than one by one
        would give, and as good: which of the two is taken depends on the values alone.
        """
        if len(values) < _MANY:
            return False
        kinds = set(map(type, values))
        if not kinds <= _BULK.keys():
            return False
        if len(kinds) > 1:
            self.write(b"kinds", bytes(map(_BULK_CODES.__getitem__, map(type, values))))
        for kind in sorted(kinds, key=_BULK_CODES.__getitem__):
            of_kind = values if len(kinds) == 1 else [value for value in values if type(value) is kind]
            self.write(b"atoms", kind.__name__.encode())
            for part in _BULK[kind](of_kind):
                self.write(b"part", part)
        return True

    def feed_code(self, code: types.CodeType, path: str) -> None:
        """Write what a code object does, wherever it stands."""
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


_ATOM_BYTES: Final[dict[type, tuple[bytes, Callable[[Any], bytes]]]] = {
    kind: (b"%d:%b" % (len(tag), tag), to_bytes)
    for kind, tag, to_bytes in (
        (type(None), b"None", lambda _: b""),
        (type(...), b"...", lambda _: b""),
        (type(NotImplemented), b"NotImplemented", lambda _: b""),
        (bool, b"bool", lambda value: b"1" if value else b"0"),
        (int, b"int", lambda value: value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)),
        (float, b"float", lambda value: struct.pack("<d", value)),
        (complex, b"complex", lambda value: struct.pack("<dd", value.real, value.imag)),
        (str, b"str", lambda value: value.encode("utf-8", "surrogatepass")),
        (bytes, b"bytes", bytes),
    )
}
"""How plain values are written: their tags with the tags' lengths, and their bytes."""


_MANY: Final = 16
"""From how many values on they are written a type at a time."""


def _bulk_ints(values: Sequence[int]) -> Iterable[bytes | memoryview]:
    try:
        return (memoryview(array.array("q", values)).cast("B"),)
    except OverflowError:
        return _bulk_bytes([value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True) for value in values])


def _bulk_bytes(values: Sequence[bytes]) -> Iterable[bytes | memoryview]:
    return memoryview(array.array("q", map(len, values))).cast("B"), b"".join(values)


def _bulk_texts(values: Sequence[str]) -> Iterable[bytes | memoryview]:
    lengths = memoryview(array.array("q", map(len, values))).cast("B")
    return lengths, "".join(values).encode("utf-8", "surrogatepass")


_BULK: Final[dict[type, Callable[[Sequence[Any]], Iterable[bytes | memoryview]]]] = {
    type(None): lambda values: (b"%d" % len(values),),
    bool: lambda values: (bytes(values),),
    int: _bulk_ints,
    float: lambda values: (memoryview(array.array("d", values)).cast("B"),),
    str: _bulk_texts,
    bytes: _bulk_bytes,
}
_BULK_CODES: Final = {kind: code for code, kind in enumerate(_BULK)}


def buffer_digest(data: bytes | memoryview) -> bytes:
    """A digest of many bytes, at the speed at which memory can be read.

    BLAKE3 on all cores where it is installed, else BLAKE2b, whose digests are others: two such machines do not find
    each other's entries, and never a wrong one.
    """
    hasher = blake3_hasher()
    if hasher is None:
        return b"2" + hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()
    digest: bytes = hasher(data, max_threads=hasher.AUTO).digest(length=DIGEST_SIZE)
    return b"3" + digest


@functools.cache
def blake3_hasher() -> Any:
    """BLAKE3, None where it is not installed."""
    try:
        from blake3 import blake3  # noqa: PLC0415  (the first big buffer loads it)
    except ImportError:
        return None
    return blake3


def _feed_set(stream: Stream, value: Any, path: str) -> None:
    stream.write(type(value).__name__.encode(), b"%d" % len(value))
    members = []
    for member in value:
        inner = Stream(stream.open)
        inner.feed(member, f"{path} (member {member!r})")
        members.append(inner.hash.digest())
    for member_digest in sorted(members):
        stream.hash.update(member_digest)


def _feed_function(stream: Stream, function: Any, path: str) -> None:
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


def _feed_class(stream: Stream, kind: Any, path: str) -> None:
    _feed_name(stream, b"class", kind)
    if kind.__module__ == "__main__":
        # A class of a notebook is edited and defined anew under its old name.
        stream.feed_each(b"bases", kind.__bases__, path)
        for name, member in sorted(vars(kind).items()):
            function = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(function, types.FunctionType):
                stream.write(b"member", name.encode())
                stream.feed(function, f"{path}.{name}")


def _feed_name(stream: Stream, tag: bytes, value: Any) -> None:
    module = getattr(value, "__module__", None) or ""
    stream.write(tag, f"{module}:{value.__qualname__}".encode("utf-8", "surrogatepass"))


def _feed_enum(stream: Stream, member: enum.Enum, path: str) -> None:
    stream.feed(type(member), path)
    stream.write(b"member", (member.name or "").encode())
    stream.feed(member.value, path)


def _feed_builtin(stream: Stream, function: Any, path: str) -> None:
    _feed_name(stream, b"builtin", function)
    owner = function.__self__
    if owner is not None and not isinstance(owner, types.ModuleType):
        stream.feed(owner, f"{path}.__self__")


def _feed_method(stream: Stream, method: Any, path: str) -> None:
    stream.write(b"method")
    stream.feed(method.__func__, path)
    stream.feed(method.__self__, f"{path}.__self__")


_COMPOUNDS: Final[dict[type, Callable[[Stream, Any, str], None]]] = {
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


def _feed_other(stream: Stream, value: Any, path: str) -> None:
    if isinstance(value, type):
        _feed_class(stream, value, path)
    elif isinstance(value, enum.Enum):
        _feed_enum(stream, value, path)
    elif type(value) is object:
        raise NotCacheable(path, "a bare object(), which is nothing but itself")
    elif not _feed_scientific(stream, value, path):
        _feed_pickled(stream, value, path)


def _feed_scientific(stream: Stream, value: Any, path: str) -> bool:
    """Write an array or a frame, without importing the library it came from."""
    package = type(value).__module__.partition(".")[0]
    if package == "numpy":
        return _feed_numpy(stream, value, path)
    if package == "pandas":
        return _feed_pandas(stream, value, path)
    return False


def _feed_numpy(stream: Stream, value: Any, path: str) -> bool:
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
    write_array(stream, value, path)
    return True


def write_array(stream: Stream, value: Any, path: str) -> None:
    """Write a NumPy array: its type, shape, order and bytes."""
    numpy = sys.modules["numpy"]
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    stream.feed(value.dtype, path)
    stream.feed(value.shape, path)
    stream.write(b"order", b"F" if fortran else b"C")
    if value.dtype.hasobject:
        stream.feed_each(b"objects", value.ravel(order="K" if fortran else "C").tolist(), path)
    else:
        flat = value.T if fortran else numpy.ascontiguousarray(value)
        stream.write(b"array", memoryview(flat.reshape(-1).view(numpy.uint8)))


def _feed_pandas(stream: Stream, value: Any, path: str) -> bool:
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


def _feed_column(stream: Stream, series: Any, path: str) -> None:
    stream.write(b"column", str(series.dtype).encode())
    array = series.array
    stream.feed(array.to_numpy() if type(array).__name__ == "NumpyExtensionArray" else array, path)


def _feed_pickled(stream: Stream, value: Any, path: str) -> None:
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
