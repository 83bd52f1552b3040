"""How a value is written down: by what it is made of, never by where it lies in memory.

Two descriptions are equal exactly if no code could tell the two values apart.
"""

from __future__ import annotations

import collections
import decimal
import functools
import hashlib
import itertools
import random
import re
import struct
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

ATOMS = (type(None), bool, int, str, bytes, type(...), type(NotImplemented), range, slice, decimal.Decimal)
CONTAINERS: tuple[type, ...] = (dict, list, set, frozenset, collections.deque)
# What a class has from the interpreter, or from where its text stood.
OF_A_CLASS = {
    # Python keeps these first or last, depending on how the class is made.
    *("__module__", "__doc__"),
    *("__dict__", "__weakref__", "__firstlineno__", "__static_attributes__", "_abc_impl", "__annotations_cache__"),
    "__slotnames__",  # left by whoever pickled an instance
}


def summary_of(text: str, shown: int) -> dict[str, Any]:
    """A text's digest, and as much of it as a person reads."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return {"digest": digest, "text": text[:shown]}


class Description:
    """The description of one value.

    Args:
        namespace: the notebook's.

    Attributes:
        objects: the path to each object in it that can be told from an equal one, by its id.
        arrays: the path to each array.
        reads: the names that functions in it look up in the notebook.
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.namespace = namespace
        self.parts: list[str] = []
        self.objects: dict[int, str] = {}
        self.arrays: list[tuple[str, Any]] = []
        self.reads: set[str] = set()
        self.kind = ""
        self._kept: list[Any] = []  # an id is an object's own only while the object lives

    def summary(self, shown: int) -> dict[str, Any]:
        """The digest, and what the comparison needs to know beside it."""
        return summary_of("".join(self.parts), shown) | {"kind": self.kind, "reads": sorted(self.reads)}

    def add(self, value: Any, path: str) -> None:
        """Describe a value at the end of what is described already."""
        self.kind = self.kind or type(value).__name__
        if type(value) in ATOMS:
            self.write(type(value).__name__, repr(value))
        elif type(value) is float:
            self.write("float", struct.pack(">d", value).hex())
        elif type(value) is complex:
            self.write("complex", struct.pack(">dd", value.real, value.imag).hex())
        elif type(value) is tuple:
            self.items("tuple", value, path)
        elif not self._seen(value, path):
            self._object(value, path)

    def write(self, *words: str) -> None:
        """Write words."""
        self.parts.append(f"{' '.join(words)}; ")

    def items(self, head: str, values: Iterable[Any], path: str) -> None:
        """Describe values one after the other."""
        self.write(f"{head}[")
        for number, value in enumerate(values):
            self.add(value, f"{path}[{number}]")
        self.write("]")

    def pairs(self, head: str, pairs: Mapping[Any, Any], path: str) -> None:
        """Describe a mapping in its order."""
        self.write(f"{head}{{")
        for key, value in pairs.items():
            self.add(key, f"{path} key {key!r}")
            self.add(value, f"{path}[{key!r}]")
        self.write("}")

    def _seen(self, value: Any, path: str) -> bool:
        if id(value) in self.objects:
            # How the first path is spelt does not matter, that it is the same object does.
            self.write("again", self.objects[id(value)].partition("[")[0], str(list(self.objects).index(id(value))))
            return True
        if is_told_apart(value):
            self.objects[id(value)] = path
            self._kept.append(value)
        return False

    def _object(self, value: Any, path: str) -> None:
        for type_, describe in describers():
            if isinstance(value, type_):
                describe(self, value, path)
                return
        if type(value).__module__.startswith("matplotlib."):
            self.write(qualified(type(value)))
            return
        self._instance(value, path)

    def _instance(self, value: Any, path: str) -> None:
        of_class = type(value)
        self.write("a", qualified(of_class))
        if of_class.__module__ == "__main__":
            self.add(of_class, f"type({path})")
        for container in (*CONTAINERS, tuple):
            if isinstance(value, container):
                contents(self, container, value, path)
        if isinstance(value, BaseException):
            self.items("args", value.args, path)
        attributes = getattr(value, "__dict__", None)
        slots = [name for base in of_class.__mro__ for name in slots_of(base) if hasattr(value, name)]
        if attributes is not None or slots:
            self.pairs("attributes", {**(attributes or {}), **{name: getattr(value, name) for name in slots}}, path)
        elif not isinstance(value, (*CONTAINERS, tuple, BaseException)):
            self._reduced(value, path)

    def _reduced(self, value: Any, path: str) -> None:
        try:
            reduced = value.__reduce_ex__(4)
        except TypeError:  # a lock, a socket: its type is all that can be said
            self.write("opaque")
            return
        self._kept.append(reduced)
        if isinstance(reduced, str):
            self.write("by name", reduced)
            return
        for part in reduced[1:3]:
            self.add(part, path)
        for part in reduced[3:5]:
            self.items("more", list(part or ()), path)


def contents(description: Description, container: type, value: Any, path: str) -> None:
    """Describe what a container, or an object of a class that inherits from one, contains."""
    if container is dict:
        description.pairs("dict", value, path)
    elif container in (set, frozenset):
        texts = []
        for element in value:
            alone = Description(description.namespace)
            alone.add(element, path)
            texts.append("".join(alone.parts))
        description.write(container.__name__, *sorted(texts))
    else:
        description.items(container.__name__, value, path)


def is_told_apart(value: Any) -> bool:
    """Whether it matters which one of several equal objects this is."""
    if isinstance(value, (type, types.FunctionType)):
        return value.__module__ == "__main__"
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    plain: tuple[type, ...] = (types.ModuleType, types.BuiltinFunctionType, re.Pattern, re.Match, frozenset)
    if numpy is not None:
        plain += (numpy.generic, numpy.dtype, numpy.ufunc)
    if pandas is not None:
        plain += (pandas.Index, pandas.api.extensions.ExtensionDtype)
    return not isinstance(value, plain)


def qualified(of_class: type) -> str:
    """A class's full name."""
    return f"{of_class.__module__}.{of_class.__qualname__}"


def slots_of(of_class: type) -> list[str]:
    """The attributes that a class keeps outside of `__dict__`."""
    slots = of_class.__dict__.get("__slots__", ())
    return [name for name in ([slots] if isinstance(slots, str) else slots) if name not in {"__dict__", "__weakref__"}]


Describer = Callable[[Description, Any, str], None]
Described = type | tuple[type, ...]


def describers() -> list[tuple[Described, Describer]]:
    """How objects of each kind are described; the first kind that fits is the one."""
    return _describers(tuple(name for name in ("numpy", "pandas", "matplotlib") if name in sys.modules))


@functools.cache
def _describers(libraries: tuple[str, ...]) -> list[tuple[Described, Describer]]:
    from tests.cells import description_of_libraries  # it needs this module

    found: list[tuple[Described, Describer]] = [
        (types.ModuleType, lambda to, value, path: to.write("module", value.__name__)),
        (type, _class),
        (types.FunctionType, _function),
        (types.CodeType, _code),
        (types.MethodType, lambda to, value, path: to.items("method", [value.__self__, value.__func__], path)),
        ((types.BuiltinFunctionType, types.MethodWrapperType), _builtin),
        (
            functools.partial,
            lambda to, value, path: to.items("partial", [value.func, value.args, value.keywords], path),
        ),
        (functools._lru_cache_wrapper, _lru_cache),
        (types.CellType, lambda to, value, path: to.items("cell", cell_contents(value), path)),
        (types.GeneratorType, _generator),
        ((classmethod, staticmethod), lambda to, value, path: to.items(type(value).__name__, [value.__func__], path)),
        (property, lambda to, value, path: to.items("property", [value.fget, value.fset, value.fdel], path)),
        ((types.MemberDescriptorType, types.GetSetDescriptorType), lambda to, value, path: to.write(value.__name__)),
        (re.Pattern, lambda to, value, path: to.write(repr(value), str(value.flags))),
        (re.Match, lambda to, value, path: to.items("match", [value.re, value.string, value.regs], path)),
        (random.Random, lambda to, value, path: to.items("Random", value.getstate(), path)),
        (itertools.count, lambda to, value, path: to.write(repr(value))),
        (bytearray, lambda to, value, path: to.write("bytearray", bytes(value).hex())),
    ]
    for library in libraries:
        found += description_of_libraries.describers(library)
    for container in CONTAINERS:
        found.append((container, functools.partial(_container, container)))
    return found


def _container(container: type, to: Description, value: Any, path: str) -> None:
    if type(value) is container:
        if isinstance(value, collections.deque):
            to.write("maxlen", repr(value.maxlen))
        contents(to, container, value, path)
    else:
        if isinstance(value, collections.defaultdict):
            to.add(value.default_factory, f"{path}.default_factory")
        to._instance(value, path)


def _class(to: Description, value: type, path: str) -> None:
    to.write("class", qualified(value))
    if value.__module__ != "__main__":
        return
    to.items("bases", [type(value), *value.__bases__], path)
    body = {name: held for name, held in vars(value).items() if name not in OF_A_CLASS}
    if {"__slots__", "__abstractmethods__", "__parameters__"} & body.keys():
        # What else makes members, and when, is the affair of who makes the class.
        body = dict(sorted(body.items()))
    to.pairs("body", body | {"__doc__": value.__doc__}, path)


def _function(to: Description, value: types.FunctionType, path: str) -> None:
    to.write("function", str(value.__module__), value.__qualname__)
    if value.__module__ != "__main__":
        return
    to.write("global names are the notebook's:", str(value.__globals__ is to.namespace))
    _code(to, value.__code__, path)
    to.items("defaults", [value.__defaults__, value.__kwdefaults__, value.__closure__, value.__annotations__], path)
    to.pairs("attributes", {"doc": value.__doc__, **value.__dict__}, path)


def _code(to: Description, code: types.CodeType, path: str) -> None:
    to.reads.update(name for name in code.co_names if name in to.namespace)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    to.write("code", code.co_name, hashlib.blake2b(code.co_code, digest_size=12).hexdigest(), *map(str, counts))
    to.write(repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)))
    to.items("constants", code.co_consts, path)


def _builtin(to: Description, value: Any, path: str) -> None:
    to.write("builtin", value.__qualname__)
    if not isinstance(value.__self__, types.ModuleType | None):
        to.add(value.__self__, f"{path}.__self__")


def _lru_cache(to: Description, value: Any, path: str) -> None:
    to.write("lru_cache", repr(value.cache_parameters()))
    to.items("of", [value.__wrapped__, value.cache_parameters()], path)


def _generator(to: Description, value: types.GeneratorType[Any, Any, Any], path: str) -> None:
    to.write("generator", value.__qualname__)
    if value.gi_frame is not None:
        to.write("at", str(value.gi_frame.f_lasti))
        to.pairs("locals", value.gi_frame.f_locals if value.gi_code.co_name != "<genexpr>" else {}, path)


def cell_contents(cell: types.CellType) -> list[Any]:
    """What a closure's cell holds: nothing, or one value."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []
