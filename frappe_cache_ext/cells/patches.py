"""What a cell changed in place: taken down after it ran, put back into the same objects on a hit."""

from __future__ import annotations

import sys
import types
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final

from .graph import Graph, Refused
from .objects import State, is_array, layout_of, members_of

Patch = tuple[int, Any]
"""A node's number, and what it holds now."""


def take(graph: Graph) -> list[Patch]:
    """What the nodes of a graph hold now that did not hold it before.

    Raises:
        Refused: an object was changed that cannot be changed in the same way from outside.
    """
    return [(number, _taken(graph, number)) for number in graph.changed()]


def check(patches: list[Patch], nodes: list[Any]) -> None:
    """Make sure, before anything is changed, that the patches fit these nodes.

    Raises:
        LookupError: there is no such node.
    """
    for number, _ in patches:
        nodes[number]


def put_back(patches: list[Patch], nodes: list[Any]) -> None:
    """Change the nodes of another graph of the same digest as the cell would."""
    for number, held in patches:
        _put(nodes[number], held)


def _taken(graph: Graph, number: int) -> Any:
    node, path = graph.nodes[number], graph.path(number)
    kind = type(node)
    if kind in _PLAIN:
        return _PLAIN[kind][0](node)
    if isinstance(node, type):
        before, now = graph.layouts[number], members_of(node)
        gone = [name for name in before if name not in now]
        return {name: now[name] for name in now if now[name] is not before.get(name, _NOTHING)}, gone
    if is_array(node):
        if layout_of(node) != graph.layouts[number]:
            raise Refused(f"it gives the array {path} another type or shape in place")
        return node.copy(order="K"), bool(node.flags.writeable)
    if _is_pandas(node):
        return _taken_from_pandas(node, path)
    state = State.of(node, path)
    own = state.args[1:] if state.args and isinstance(state.args[0], type) else state.args
    if isinstance(state.make, str) or not all(
        isinstance(argument, type | str) or id(argument) in graph.numbers for argument in own
    ):
        raise Refused(f"it changes {path}, and a {kind.__qualname__} cannot be changed back in place")
    return state.state, state.items, state.pairs


def _taken_from_pandas(node: Any, path: str) -> Any:
    pandas = sys.modules["pandas"]
    if isinstance(node, pandas.Index):
        return list(node.names)  # the one thing about an index that can be changed
    if not _copies_on_write(pandas):
        raise Refused(f"it changes {path} in place, and before pandas 3 other names could share its memory")
    return node.__getstate__()


def _copies_on_write(pandas: Any) -> bool:
    return int(pandas.__version__.partition(".")[0]) >= 3 or bool(pandas.options.mode.copy_on_write)


def _put(node: Any, held: Any) -> None:
    kind = type(node)
    if kind in _PLAIN:
        _PLAIN[kind][1](node, held)
    elif isinstance(node, type):
        _put_members(node, *held)
    elif is_array(node):
        _put_into_array(node, *held)
    elif _is_pandas(node):
        if isinstance(node, sys.modules["pandas"].Index):
            node.names = held
        else:
            node.__setstate__(held)
    else:
        _put_state(node, *held)


def _put_into_array(node: Any, values: Any, writeable: bool) -> None:
    if not node.flags.writeable:
        node.flags.writeable = True
    node[...] = values
    node.flags.writeable = writeable


def _put_members(kind: type, now: dict[str, Any], gone: list[str]) -> None:
    for name in gone:
        delattr(kind, name)
    for name, member in now.items():
        setattr(kind, name, member)


def _put_state(node: Any, state: Any, items: list[Any], pairs: list[tuple[Any, Any]]) -> None:
    attributes = getattr(node, "__dict__", None)
    if isinstance(attributes, dict):
        attributes.clear()
    if hasattr(type(node), "__setstate__"):
        node.__setstate__(state)
    else:
        _set_attributes(node, state)
    if isinstance(node, dict):
        dict.clear(node)
        dict.update(node, pairs)
    elif isinstance(node, list):
        list.__setitem__(node, slice(None), items)
    elif hasattr(node, "clear") and hasattr(node, "extend"):
        node.clear()
        node.extend(items)


def _set_attributes(node: Any, state: Any) -> None:
    """Set what `object` puts into its state: the attributes, and those of slots beside them."""
    named, slots = state if isinstance(state, tuple) else (state, None)
    if named:
        node.__dict__.update(named)
    if slots is not None:
        for kind in type(node).__mro__:
            for name in _slots_of(kind):
                if name not in slots and hasattr(node, name):
                    delattr(node, name)
        for name, value in slots.items():
            object.__setattr__(node, name, value)


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in {"__dict__", "__weakref__"})


def _is_pandas(node: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(node, pandas.DataFrame | pandas.Series | pandas.Index)


def _put_items(node: Any, items: Any) -> None:
    node[:] = items


def _put_pairs(node: dict[Any, Any], pairs: list[tuple[Any, Any]]) -> None:
    node.clear()
    node.update(pairs)


def _put_into_set(node: set[Any], members: list[Any]) -> None:
    node.clear()
    node.update(members)


def _put_into_ordered(node: Any, pairs: list[tuple[Any, Any]]) -> None:
    for key in list(node):
        del node[key]
    for key, value in pairs:
        node[key] = value


def _put_into_deque(node: deque[Any], items: list[Any]) -> None:
    node.clear()
    node.extend(items)


def _taken_from_cell(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _put_into_cell(cell: types.CellType, content: tuple[Any, ...]) -> None:
    if content:
        (cell.cell_contents,) = content
    else:
        del cell.cell_contents


def _taken_from_function(function: types.FunctionType) -> Any:
    return function.__code__, function.__defaults__, function.__kwdefaults__, dict(function.__dict__)


def _put_into_function(function: types.FunctionType, held: Any) -> None:
    code, function.__defaults__, function.__kwdefaults__, attributes = held
    if function.__code__ != code:
        function.__code__ = code
    function.__dict__.clear()
    function.__dict__.update(attributes)


_PLAIN: Final[dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], None]]]] = {
    list: (list, _put_items),
    dict: (lambda node: list(node.items()), _put_pairs),
    set: (list, _put_into_set),
    bytearray: (bytes, _put_items),
    Counter: (lambda node: list(node.items()), _put_into_ordered),
    OrderedDict: (lambda node: list(node.items()), _put_into_ordered),
    deque: (list, _put_into_deque),
    types.CellType: (_taken_from_cell, _put_into_cell),
    types.FunctionType: (_taken_from_function, _put_into_function),
}

_NOTHING: Final = object()
