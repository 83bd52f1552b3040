"""Objects by number, and what each of them holds."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import NotCacheable
from ..fingerprint import Stream, digest
from ..fingerprint import write_array as write_array_content
from . import modules
from .installed import installed_name, module_of
from .objects import Path, State, address_of, is_array, members_of, owner_of, spell

PLOTTING: Final = frozenset(("matplotlib", "mpl_toolkits", "pylab", "seaborn", "plotnine"))
WRAPPERS: Final = (functools.cached_property, type(functools.lru_cache(lambda: None)))


@dataclass(slots=True)
class Nodes:
    """Objects by number.

    Attributes:
        nodes: the objects.
        numbers: the number of the node with an `id`.
        plots: whether something that was met belongs to matplotlib.
    """

    nodes: list[Any] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    plots: bool = False
    _owners: dict[int, int] = field(default_factory=dict)
    _paths: list[Path] = field(default_factory=list)

    def path(self, number: int) -> str:
        """How a node is called in what is said to the user."""
        return spell(self._paths[number])

    def meet_module(self, module: types.ModuleType) -> None:
        """Take note of an own module that is a part of something; its global names are no part of that."""

    def note_plots(self, module: object) -> None:
        """Take note of whose part something is; of a class of classes made in C that is no text."""
        self.plots = self.plots or str(module).partition(".")[0] in PLOTTING

    def mark(self, number: int) -> bytes:
        """A digest of what a node holds itself, its parts given by their numbers.

        Raises:
            NotCacheable: a part of it has no content.
        """
        stream = Stream()
        node, path = self.nodes[number], self._paths[number]
        kind = type(node)
        writer = _WRITERS.get(kind)
        if writer is not None:
            writer(self, stream, node, path)
        elif isinstance(node, type):
            self._write_class(stream, node, path)
        elif not self._write_scientific(stream, node, path):
            self._write_instance(stream, node, path)
        return stream.hash.digest()

    def mark_again(self, number: int) -> bytes:
        """A digest of what a node holds by now; empty where it holds something without content."""
        try:
            return self.mark(number)
        except NotCacheable:
            return b""

    # --- what a node holds ----------------------------------------------------------------------------------------

    def feed(self, stream: Stream, value: Any, path: Path) -> None:
        """Write a part of a node: plain values and tuples as they are, anything else by its number."""
        if stream.feed_atom(value):
            return
        kind = type(value)
        if kind is tuple:
            self._feed_items(stream, b"tuple", value, path)
        elif kind is frozenset:
            self._write_set(stream, value, path)
        elif kind is types.ModuleType:
            self._feed_module(stream, value)
        elif (inline := installed_name(value)) is not None:
            self.note_plots(getattr(value, "__module__", None))
            stream.write(b"installed", inline.encode("utf-8", "surrogatepass"))
        elif kind is types.MappingProxyType:
            self._feed_pairs(stream, b"mappingproxy", list(value.items()), path)
        elif kind.__module__ == "numpy" and isinstance(value, sys.modules["numpy"].generic):
            stream.feed(value, spell(path))
        elif getattr(value, "__frappe_cached__", False) or kind in WRAPPERS:
            # A cache in front of a function: what it answers is decided by the function.
            stream.write(b"cache of", repr(getattr(value, "cache_parameters", dict)()).encode())
            self.feed(stream, value.func if kind is functools.cached_property else value.__wrapped__, path)
        elif kind is types.MethodType:
            stream.write(b"method")
            self.feed(stream, value.__func__, path)
            self.feed(stream, value.__self__, (path, ".__self__", None))
        else:
            stream.write(b"node", b"%d" % self._number(value, path))

    def _number(self, value: Any, path: Path) -> int:
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.nodes)
            self.nodes.append(value)
            self._paths.append(path)
        return number

    def _feed_items(self, stream: Stream, tag: bytes, items: Any, path: Path) -> None:
        stream.write(tag, b"%d" % len(items))
        if not stream.feed_atoms(items):
            for index, item in enumerate(items):
                self.feed(stream, item, (path, "[%r]", index))

    def _feed_pairs(self, stream: Stream, tag: bytes, pairs: list[tuple[Any, Any]], path: Path) -> None:
        stream.write(tag, b"%d" % len(pairs))
        if not stream.feed_atoms([part for pair in pairs for part in pair]):
            for key, value in pairs:
                self.feed(stream, key, (path, " (key %r)", key))
                self.feed(stream, value, (path, "[%r]", key))

    def _feed_named(self, stream: Stream, parts: Mapping[str, Any], path: Path) -> None:
        """Attributes; the order in which they were set is no part of a value."""
        for name in sorted(parts):
            stream.write(b"attribute", name.encode("utf-8", "surrogatepass"))
            self.feed(stream, parts[name], (path, ".%s", name))

    def _feed_module(self, stream: Stream, module: types.ModuleType) -> None:
        name = module.__name__
        self.note_plots(name)
        stream.write(b"module", name.encode())
        if not modules.is_own(name):
            stream.write(b"version", modules.version_of(name).encode())
            return
        self.meet_module(module)

    def _write_list(self, stream: Stream, value: list[Any], path: Path) -> None:
        self._feed_items(stream, b"list", value, path)

    def _write_dict(self, stream: Stream, value: dict[Any, Any], path: Path) -> None:
        self._feed_pairs(stream, b"dict", list(value.items()), path)

    def _write_set(self, stream: Stream, value: Any, path: Path) -> None:
        """Members in the order of their digests: the order of a set is another in every process."""
        members = list(value)
        stream.write(type(value).__name__.encode(), b"%d" % len(members))
        if len({type(member) for member in members}) == 1 and type(members[0]) in (int, str, bytes):
            self._feed_items(stream, b"members", sorted(members), path)
            return
        for member in sorted(members, key=lambda member: digest(member, spell((path, " (member %r)", member)))):
            self.feed(stream, member, (path, " (member %r)", member))

    def _write_function(self, stream: Stream, function: types.FunctionType, path: Path) -> None:
        stream.write(b"function", f"{module_of(function)}:{function.__qualname__}".encode("utf-8", "surrogatepass"))
        if not modules.is_own(module_of(function)):
            stream.write(b"version", modules.version_of(module_of(function)).encode())
        stream.write(b"code", _code_digest(function.__code__))
        self.feed(stream, function.__defaults__, (path, ".__defaults__", None))
        # Not the dictionaries themselves: a function has one of its own, made when it is asked for.
        self._feed_named(stream, function.__kwdefaults__ or {}, (path, ".__kwdefaults__", None))
        self._feed_named(stream, function.__dict__, path)
        closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        self._feed_named(stream, closure, (path, " (closure variable)", None))

    def _write_cell(self, stream: Stream, cell: types.CellType, path: Path) -> None:
        try:
            content = cell.cell_contents
        except ValueError:  # not filled yet
            stream.write(b"empty")
            return
        self.feed(stream, content, path)

    def _write_class(self, stream: Stream, kind: Any, path: Path) -> None:
        stream.write(b"class", f"{kind.__module__}:{kind.__qualname__}".encode("utf-8", "surrogatepass"))
        self.feed(stream, type(kind), (path, ", its type", None))
        self.feed(stream, kind.__bases__, (path, ".__bases__", None))
        for name, member in members_of(kind).items():
            stream.write(b"member", name.encode("utf-8", "surrogatepass"))
            self._feed_member(stream, member, (path, ".%s", name))

    def _feed_member(self, stream: Stream, member: Any, path: Path) -> None:
        kind = type(member)
        if kind in (staticmethod, classmethod):
            stream.write(kind.__name__.encode())
            self.feed(stream, member.__func__, path)
        elif kind is property:
            stream.write(b"property")
            for function in (member.fget, member.fset, member.fdel):
                self.feed(stream, function, path)
        elif kind in (types.MemberDescriptorType, types.GetSetDescriptorType):
            stream.write(b"descriptor")
        else:
            self.feed(stream, member, path)

    def _write_scientific(self, stream: Stream, value: Any, path: Path) -> bool:
        package = type(value).__module__.partition(".")[0]
        if is_array(value):
            self._write_array(stream, value, path)
            return True
        if package == "pandas":
            pandas = sys.modules["pandas"]
            if isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index):
                stream.feed(value, spell(path))
                return True
        if package in PLOTTING:
            self.note_plots(package)
            if any(base.__name__ == "Artist" for base in type(value).__mro__):
                raise NotCacheable(spell(path), f"a {type(value).__name__} of matplotlib, which belongs to a figure")
        return False

    def _write_array(self, stream: Stream, array: Any, path: Path) -> None:
        stream.write(b"layout", repr((array.strides, array.flags.writeable)).encode())
        # Arrays over the same memory see each other's changes.
        base = owner_of(array)
        first = self._owners.setdefault(id(base), self.numbers[id(array)])
        if self.nodes[first] is not array:
            offset = address_of(array) - address_of(self.nodes[first])
            stream.write(b"shares", b"%d,%d" % (first, offset))
        if array.dtype.hasobject:
            stream.feed(array.dtype, spell(path))
            stream.feed(array.shape, spell(path))
            self._feed_items(stream, b"objects", array.ravel(order="K").tolist(), path)
        else:
            write_array_content(stream, array, spell(path))

    def _write_instance(self, stream: Stream, value: Any, path: Path) -> None:
        state = State.of(value, path)
        self.feed(stream, type(value), (path, ", its type", None))
        self.feed(stream, state.make, path)
        self._feed_own(stream, state, state.args, path)
        if isinstance(state.state, dict) and all(type(name) is str for name in state.state):
            for name in sorted(state.state):
                stream.write(b"attribute", name.encode("utf-8", "surrogatepass"))
                self._feed_own(stream, state, state.state[name], (path, ".%s", name))
        else:
            self._feed_own(stream, state, state.state, path)
        stream.write(b"items", b"%d" % len(state.items))
        if not stream.feed_atoms(state.items):
            for index, item in enumerate(state.items):
                self._feed_own(stream, state, item, (path, "[%r]", index))
        self._feed_pairs(stream, b"pairs", state.pairs, path)

    def _feed_own(self, stream: Stream, state: State, value: Any, path: Path) -> None:
        """Write a part of what a reducer says: the object's own parts by number, what was made anew by content."""
        if type(value) is tuple:
            stream.write(b"tuple", b"%d" % len(value))
            for index, item in enumerate(value):
                self._feed_own(stream, state, item, (path, "[%r]", index))
        elif id(value) in state.own or isinstance(value, type | types.FunctionType):
            self.feed(stream, value, path)
        elif type(value) is dict:
            stream.write(b"dict", b"%d" % len(value))
            for key, part in value.items():
                self._feed_own(stream, state, key, (path, " (key %r)", key))
                self._feed_own(stream, state, part, (path, "[%r]", key))
        else:
            stream.feed(value, spell(path))


_WRITERS: Final[dict[type, Callable[[Nodes, Stream, Any, Path], None]]] = {
    list: Nodes._write_list,
    dict: Nodes._write_dict,
    set: Nodes._write_set,
    types.FunctionType: Nodes._write_function,
    types.CellType: Nodes._write_cell,
    bytearray: lambda _, stream, value, __: stream.write(b"bytearray", memoryview(value)),
}


@functools.lru_cache(maxsize=4096)
def _code_digest(code: types.CodeType) -> bytes:
    stream = Stream()
    stream.feed_code(code, code.co_qualname)
    return stream.hash.digest()
