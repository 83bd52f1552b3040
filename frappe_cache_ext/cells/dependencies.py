"""What a cell depends on, in words: so that a miss can be explained by comparing it with what was there before."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import sys
import textwrap
import types
from collections.abc import Mapping
from typing import Any, Final

from ..errors import MISS
from . import modules, states
from .graph import Graph, Root
from .manifest import LONGEST_TEXT, Dependency

LONGEST_VALUE: Final = 60
"""Characters that are kept of a value."""


def dependencies(source: str, graph: Graph, options: Mapping[str, Any]) -> dict[str, Dependency]:
    """What a cell depends on, by the names under which it is told to the user.

    Args:
        source: the cell as Python.
        graph: what it reads.
        options: what its options name, with their values.
    """
    version = ".".join(map(str, sys.version_info[:2]))
    found = {"the cell": _text("code", source), "Python": Dependency("python", version, version)}
    for root in graph.roots.values():
        name, dependency = _of_root(graph, root)
        found[name] = dependency
    for name, value in options.items():
        if name.startswith("file "):
            found[name] = Dependency("file", str(value), "")
        elif value is not None:
            found[name] = Dependency("option", repr(value), str(value)[:LONGEST_VALUE])
    for name, shown in states.ambient_parts(graph.plots).items():
        found[name] = Dependency("state", shown, shown)
    return found


def _of_root(graph: Graph, root: Root) -> tuple[str, Dependency]:
    name, value, digest = str(root.location), root.value, graph.root_digest(root)
    if value is MISS:
        return name, Dependency("value", digest, "nothing")
    if isinstance(value, types.ModuleType):
        return name, Dependency("module", digest, modules.version_of(value.__name__))
    function = inspect.unwrap(value) if callable(value) else value
    if isinstance(function, types.FunctionType):
        return f"{name}()", _text("function", _source_of(function), digest)
    if isinstance(value, type):
        return f"class {name}", _text("class", _source_of(value), digest)
    return name, Dependency("value", digest, shown(value))


def shown(value: Any) -> str:
    """A value in a few words."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        size = " x ".join(map(str, shape))
        kind = getattr(value, "dtype", None)
        return f"{size} {kind}" if kind is not None and len(shape) != 0 else size
    if isinstance(value, list | tuple | set | frozenset | dict) and len(value) > 8:
        return f"{type(value).__name__} of {len(value)}"
    try:
        text = repr(value)
    except Exception:  # a `__repr__` of the user's can raise anything
        return type(value).__name__
    return text if len(text) <= LONGEST_VALUE and "\n" not in text else type(value).__name__


def _text(kind: str, source: str, digest: str = "") -> Dependency:
    with contextlib.suppress(SyntaxError, ValueError):
        source = ast.unparse(ast.parse(textwrap.dedent(source)))
    return Dependency(
        kind,
        digest or hashlib.blake2b(source.encode("utf-8", "replace"), digest_size=8).hexdigest(),
        source[:LONGEST_TEXT],
    )


def _source_of(value: Any) -> str:
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return ""
