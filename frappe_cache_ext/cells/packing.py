"""What a cell did, as bytes and back: one pickle, so that what was shared stays shared.

Beyond what `pickle` does by itself:

- an object that was there before the cell ran is written as its number in the cell's `Graph`, and read as that object;
- functions and classes of the notebook are written by value, their global names being those of the notebook that reads
  them; those of modules, installed or the user's own, by name;
- arrays over one memory stay so, views of an input included, and keep their layout;
- large buffers stay outside of the pickle (PEP 574).
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import io
import marshal
import pickle
import sys
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

import cloudpickle

from ..errors import NotCacheable
from . import modules
from .graph import Graph
from .objects import address_of, is_array, owner_of

APART: Final = 1 << 16
"""Bytes from which a buffer is kept outside of the pickle."""

_LONGEST_ALIAS: Final = 1 << 20
_LruCache: Final = type(functools.lru_cache(lambda: None))


def pack(value: Any, graph: Graph) -> tuple[bytes, list[memoryview]]:
    """The bytes of what a cell did, and the large buffers that belong to them.

    Args:
        value: plain containers of the notebook's objects.
        graph: what the cell started from.

    Raises:
        Exception: whatever `pickle` raises for what cannot be pickled.
    """
    buffers: list[memoryview] = []

    def keep_apart(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not in one piece
            return True
        if view.nbytes < APART:
            return True
        buffers.append(view)
        return False

    sink = io.BytesIO()
    packer = _Packer(sink, value, graph, keep_apart)
    packer.dump(value)
    body = sink.getvalue()
    # A class of the user's own can take note of being made, or of making something.
    if not packer.meets_own_classes:
        _make_sure_it_is_read(body, buffers, graph)
    return body, buffers


def _make_sure_it_is_read(body: bytes, buffers: list[memoryview], graph: Graph) -> None:
    """What cannot be made from its pickle is better not stored than found unreadable each time."""
    try:
        unpack(body, buffers, graph, ("", ""))
    except Exception as error:
        raise NotCacheable("the result", f"value that its pickle does not give back ({error})") from error


def unpack(body: bytes, buffers: Iterable[Any], graph: Graph, file: tuple[str, str]) -> Any:
    """What `pack` was given, made of the objects of this notebook.

    Args:
        body: from `pack`.
        buffers: the large buffers, writable ones for writable values.
        graph: what the cell starts from here; its digest is that of the graph which was packed with.
        file: the file names of the cell's code, there and here.
    """
    unpacker = _Unpacker(io.BytesIO(body), buffers=buffers)
    unpacker.graph, unpacker.file = graph, file
    return unpacker.load()


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    # What cloudpickle makes something else of: a file would come back as its text, a view of memory as a copy.
    dispatch_table: ClassVar[Any] = {
        kind: reducer
        for kind, reducer in cloudpickle.Pickler.dispatch_table.items()
        if kind not in (io.TextIOWrapper, memoryview)
    }

    def __init__(self, sink: io.BytesIO, value: Any, graph: Graph, keep_apart: Any) -> None:
        super().__init__(sink, protocol=5, buffer_callback=keep_apart)
        self.graph = graph
        self.numbers = graph.numbers
        self.walked = len(graph.marks)
        # A value that is an input as it is comes back as that input, also where it is of a kind that has no number.
        self.inputs = {id(root.value): str(i) for i, root in enumerate(graph.roots.values()) if _is_alias(root.value)}
        self.namespaces = {id(graph.names): "__main__"}
        self.owners = {id(owner_of(node)): node for node in graph.nodes[: self.walked] if is_array(node)}
        self.sharing = _sharing(value)
        self.kept: list[Any] = []
        self.meets_own_classes = False

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, type) and not self.meets_own_classes:
            self.meets_own_classes = modules.is_own(str(value.__module__))
        number = self.numbers.get(id(value))
        if number is not None and number < self.walked:
            return number
        if id(value) in self.inputs:
            return self.inputs[id(value)]
        return self.namespaces.get(id(value)) if type(value) is dict else None

    def reducer_override(self, value: Any) -> Any:
        if id(value) in _BY_NAME:
            return getattr, _BY_NAME[id(value)]
        reducer = self._reducer(value)
        if reducer is not None:
            return reducer(value)
        reduced = super().reducer_override(value)
        return self._class(value, reduced) if isinstance(value, type) and isinstance(reduced, tuple) else reduced

    def _reducer(self, value: Any) -> Callable[[Any], Any] | None:
        kind = type(value)
        if kind in (types.FunctionType, _LruCache):
            if _found_by_name(value):
                return lambda _: NotImplemented
            return self._function if kind is types.FunctionType else _reduce_lru_cache
        if is_array(value):
            return self._array
        if _has_attributes_of_its_own(value):
            raise NotCacheable("an array", f"{kind.__qualname__} with attributes, which are not kept")
        return _REDUCERS.get(kind)

    def _function(self, function: types.FunctionType) -> Any:
        module = str(function.__globals__.get("__name__"))
        if getattr(sys.modules.get(module), "__dict__", None) is function.__globals__:
            # Else they are nobody's but the function's, as those of a method of a named tuple are, and go with it.
            self.namespaces[id(function.__globals__)] = module
        cells = function.__closure__
        state = {
            "__defaults__": function.__defaults__,
            "__kwdefaults__": function.__kwdefaults__,
            "__annotations__": function.__annotations__,
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "__name__": function.__name__,
            "__qualname__": function.__qualname__,
        }
        made = (function.__code__, function.__globals__, function.__name__, None, cells)
        return types.FunctionType, made, (state, function.__dict__), None, None, _finish_function

    def _class(self, kind: type, reduced: tuple[Any, ...]) -> Any:
        # cloudpickle hands out the class that it made last time; running the cell again would make a new one.
        make, args, *rest = reduced
        if not rest:  # `NoneType` and its kin
            return reduced
        (members, slots), *rest = rest
        args = (*args[:-2], None, args[-1])
        if make is cloudpickle.cloudpickle._make_skeleton_class:
            # It makes a class of slots without them, and forgets where the class was defined.
            slots_too = "__slots__" in vars(kind) and "__orig_bases__" not in vars(kind)
            own = {"__slots__": vars(kind)["__slots__"]} if slots_too else {}
            args = (*args[:3], {**args[3], **own, "__qualname__": kind.__qualname__}, *args[4:])
        # It sorts the members.
        ordered = {name: members[name] for name in vars(kind) if name in members} | members
        return (make, args, (ordered, slots), *rest)

    def _array(self, array: Any) -> Any:
        owner = owner_of(array)
        layout = array.shape, array.dtype, array.strides, bool(array.flags.writeable)
        node = self.owners.get(id(owner))
        if node is not None and not array.dtype.hasobject:
            offset = address_of(array) - address_of(node)
            low, high = _bounds(node)
            first, last = _bounds(array)
            if first < low or last > high:
                raise NotCacheable("an array", "a view beyond the input that it shares its memory with")
            return _view, (node, offset, *layout)
        if owner is not array and id(owner) in self.sharing and not array.dtype.hasobject:
            self.kept.append(owner)
            return _view, (owner, address_of(array) - address_of(owner), *layout)
        if array.dtype.hasobject:
            return NotImplemented
        if not array.flags.forc:
            return _strided, (array.copy(), array.strides, layout[-1])
        if array.nbytes < APART and array.dtype.names is None:
            return _owned, (array.tobytes(order="A"), *layout[:2], array.flags.c_contiguous, layout[-1])
        return NotImplemented


class _Unpacker(pickle.Unpickler):
    graph: Graph
    file: tuple[str, str]

    def persistent_load(self, reference: Any) -> Any:
        if isinstance(reference, int):
            return self.graph.nodes[reference]
        if reference == "__main__":
            return self.graph.names
        if reference.isdigit():
            return list(self.graph.roots.values())[int(reference)].value
        return vars(importlib.import_module(reference))

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (__name__, "_code"):
            return self._code
        return super().find_class(module, name)

    def _code(self, body: bytes) -> types.CodeType:
        code: types.CodeType = marshal.loads(body)  # noqa: S302  (as trusted as the pickle around it)
        return _moved(code, *self.file)


def _moved(code: types.CodeType, there: str, here: str) -> types.CodeType:
    """Code as if it had been compiled here, so that tracebacks and `inspect` find its lines."""
    if code.co_filename != there:
        return code
    constants = tuple(
        _moved(part, there, here) if isinstance(part, types.CodeType) else part for part in code.co_consts
    )
    return code.replace(co_filename=here, co_consts=constants)


def _is_alias(value: Any) -> bool:
    if type(value) in (tuple, frozenset):
        return bool(value)
    return type(value) in (str, bytes) and len(value) > _LONGEST_ALIAS


def _found_by_name(function: Any) -> bool:
    if function.__module__ == "__main__" or "<locals>" in function.__qualname__:
        return False
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


def _code(body: bytes) -> types.CodeType:
    raise pickle.UnpicklingError("code is read by who knows the cell that it belongs to")


def _cell() -> types.CellType:
    return types.CellType()


def _contents(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _fill_cell(cell: types.CellType, contents: tuple[Any, ...]) -> None:
    if contents:
        (cell.cell_contents,) = contents


def _finish_function(function: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    named, attributes = state
    for name, value in named.items():
        setattr(function, name, value)
    function.__dict__.update(attributes)


def _reduce_lru_cache(function: Any) -> Any:
    return _lru_cache, (function.__wrapped__, *function.cache_parameters().values())


def _reduce_type_variable(variable: Any) -> Any:
    bounds = {"covariant": variable.__covariant__, "contravariant": variable.__contravariant__}
    made = (variable.__name__, variable.__constraints__, variable.__bound__, bounds, variable.__module__)
    return _type_variable, made


def _type_variable(name: str, constraints: Any, bound: Any, variance: dict[str, bool], module: str) -> Any:
    made: Any = typing.TypeVar(name, *constraints, bound=bound, **variance)  # type: ignore[misc]
    made.__module__ = module
    return made


_REDUCERS: Final[dict[type, Callable[[Any], Any]]] = {
    types.CodeType: lambda code: (_code, (marshal.dumps(code),)),
    types.CellType: lambda cell: (_cell, (), _contents(cell), None, None, _fill_cell),
    functools.cached_property: lambda made: (_cached_property, (made.func, made.attrname)),
    types.ModuleType: lambda module: (importlib.import_module, (module.__name__,)),
    typing.TypeVar: _reduce_type_variable,
}

_BY_NAME: Final = {
    id(getattr(dataclasses, name)): (dataclasses, name)
    for name in ("MISSING", "KW_ONLY", "_EMPTY_METADATA", "_HAS_DEFAULT_FACTORY")
    if hasattr(dataclasses, name)
}
"""What is compared with ``is`` and has to stay the one object that it is."""


def _lru_cache(function: Any, maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def _cached_property(function: Any, name: str | None) -> Any:
    made: Any = functools.cached_property(function)
    made.attrname = name
    return made


def _view(array: Any, offset: int, shape: Any, dtype: Any, strides: Any, writeable: bool) -> Any:
    """A view of an array's memory, `offset` bytes after its first element."""
    numpy = sys.modules["numpy"]
    owner = owner_of(array)
    memory = owner.reshape(-1, order="A" if owner.flags.forc else "K").view(numpy.uint8)
    start = address_of(array) - address_of(owner) + offset
    view = numpy.ndarray(shape, dtype, memory, start, strides)
    view.flags.writeable = writeable
    return view


def _owned(data: bytes, shape: Any, dtype: Any, rows_first: bool, writeable: bool) -> Any:
    """An array that owns its memory, as one has to for being resized."""
    numpy = sys.modules["numpy"]
    array = numpy.ndarray(shape, dtype, data, order="C" if rows_first else "F").copy(order="K")
    array.flags.writeable = writeable
    return array


def _strided(values: Any, strides: tuple[int, ...], writeable: bool) -> Any:
    """An array that lies in its memory as it did."""
    numpy = sys.modules["numpy"]
    steps = [(size - 1) * stride for size, stride in zip(values.shape, strides, strict=True)] if values.size else []
    before = -sum(step for step in steps if step < 0)
    after = sum(step for step in steps if step > 0)
    memory = numpy.zeros(before + after + values.dtype.itemsize, numpy.uint8)
    array = numpy.ndarray(values.shape, values.dtype, memory, before, strides)
    array[...] = values
    array.flags.writeable = writeable
    return array


def _has_attributes_of_its_own(value: Any) -> bool:
    """Whether a value is of a subclass of arrays that pickles as arrays do, which leaves its attributes behind."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray):
        return False
    return type(value).__reduce__ is numpy.ndarray.__reduce__ and bool(getattr(value, "__dict__", None))


def _bounds(array: Any) -> tuple[int, int]:
    low, high = sys.modules["numpy"].lib.array_utils.byte_bounds(array)
    return int(low), int(high)


def _sharing(value: Any) -> set[int]:
    """The `id` of the owner of each memory that two or more arrays somewhere in a value show."""
    owners: dict[int, int] = {}
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if is_array(part):
            owners[id(owner_of(part))] = owners.get(id(owner_of(part)), 0) + 1
        elif isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list | tuple | set | frozenset):
            waiting += part
        elif not isinstance(part, type | types.ModuleType | types.FunctionType):
            attributes = getattr(part, "__dict__", None)
            if isinstance(attributes, dict):
                waiting += attributes.values()
    return {owner for owner, arrays in owners.items() if arrays > 1}
