"""What is asked of single objects: how a part is reached, what a class defines, what a reducer says of an object."""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ..errors import NotCacheable

Path = str | tuple["Path", str, Any]
"""How a part is reached: a name; or a path, the form of a further step, and what stands in it. Few are ever spelled."""


def spell(path: Path) -> str:
    """A path as the user would write it: ``value['conn'][0]``."""
    steps: list[str] = []
    while not isinstance(path, str):
        path, form, part = path
        steps.append(form if part is None and "%" not in form else form % (part,))
    return path + "".join(reversed(steps))


_NOT_MEMBERS: Final = frozenset(
    (
        *("__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "_abc_impl"),
        *("__slotnames__", "__firstlineno__", "__static_attributes__", "__annotations_cache__"),
    )
)


def members_of(kind: Any) -> dict[str, Any]:
    """What a class defines itself, in order; not what Python keeps there for its own use."""
    return {name: member for name, member in vars(kind).items() if name not in _NOT_MEMBERS}


def layout_of(node: Any) -> Any:
    """What must be known of a node as it was, for its change to be put back in place; None where nothing must."""
    if is_array(node):
        return node.dtype, node.shape, node.strides
    return members_of(node) if isinstance(node, type) else None


def is_array(value: Any) -> bool:
    """Whether a value is a NumPy array, and of no subclass."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray


def owner_of(array: Any) -> Any:
    """The array that owns the memory which an array shows."""
    while type(array.base) is type(array):
        array = array.base
    return array


def address_of(array: Any) -> int:
    """Where an array's first element lies in memory."""
    address: int = array.__array_interface__["data"][0]
    return address


@dataclass(slots=True)
class State:
    """What an object's reducer says of it.

    Attributes:
        make: the function or class that makes such an object.
        args: its arguments.
        state: what is set then.
        items: what is appended.
        pairs: what is put in by key.
        own: the `id` of each part that is the object's own, and not made for the occasion.
    """

    make: Any
    args: tuple[Any, ...]
    state: Any
    items: list[Any]
    pairs: list[tuple[Any, Any]]
    own: frozenset[int]
    _kept: Any = None

    @classmethod
    def of(cls, value: Any, path: Path) -> State:
        """The state of an object.

        Raises:
            NotCacheable: it has none.
        """
        first, second = _reduced(value, path), _reduced(value, path)
        make, args, state, items, pairs = first
        # What a reducer makes anew is another object each time, both being alive.
        own = frozenset(map(id, _parts(first))) & frozenset(map(id, _parts(second)))
        return cls(make, args, state, items, pairs, own, (first, second))


def kind_name(kind: type) -> str:
    """The name of a type as users know it: with its module, unless that is the notebook or a private one."""
    is_apart = kind.__module__.startswith("_") or kind.__module__ == "builtins"
    return kind.__qualname__ if is_apart else f"{kind.__module__}.{kind.__qualname__}"


def _reduced(value: Any, path: Path) -> tuple[Any, tuple[Any, ...], Any, list[Any], list[tuple[Any, Any]]]:
    kind = type(value)
    if kind is object:
        raise NotCacheable(spell(path), "a bare object(), which is nothing but itself")
    try:
        reducer = copyreg.dispatch_table.get(kind)
        reduced = reducer(value) if reducer is not None else value.__reduce_ex__(4)
    except NotCacheable:
        raise
    except Exception as error:  # a reducer of the user's can raise anything
        raise NotCacheable(spell(path), kind_name(kind)) from error
    if isinstance(reduced, str):
        return reduced, (), None, [], []
    make, args, state, items, pairs = [*reduced, None, None, None][:5]
    return make, args, state, list(items or ()), list(pairs or ())


def _parts(reduced: tuple[Any, tuple[Any, ...], Any, list[Any], list[tuple[Any, Any]]]) -> Iterable[Any]:
    _, args, state, items, pairs = reduced
    yield from _flat(args)
    yield from _flat(state)
    yield from items
    for pair in pairs:
        yield from pair


def _flat(value: Any) -> Iterable[Any]:
    yield value
    if type(value) is tuple:
        for item in value:
            yield from _flat(item)
    elif type(value) is dict:
        for key, part in value.items():
            yield key
            yield from _flat(part)
