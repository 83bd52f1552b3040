"""What is found by its name in what is installed: there a version says all."""

from __future__ import annotations

import sys
import types
from typing import Any, Final

from ..errors import MISS
from . import modules


def is_as_installed(value: Any, module: types.ModuleType) -> bool:
    """Whether a part of an installed package is as the package made it: anything but data has a home of its own."""
    if value is MISS:
        return False
    home = getattr(value, "__module__", None) or getattr(type(value), "__module__", "")
    return callable(value) and isinstance(home, str) and not modules.is_own(home)


def module_of(function: types.FunctionType) -> str:
    """Whose global names a function reads; its `__module__` can be another's after `functools.wraps`."""
    name = function.__globals__.get("__name__")
    return name if isinstance(name, str) and (name == "__main__" or name in sys.modules) else function.__module__


def installed_name(value: Any) -> str | None:
    """The name and version of a function or class that is found by its name in what is installed; None for others."""
    if not isinstance(value, _NAMED):
        return None
    module = getattr(value, "__module__", None)
    if isinstance(value, types.BuiltinFunctionType) and value.__self__ is not None:
        owner = value.__self__
        if isinstance(owner, type):
            module = owner.__module__
        elif not isinstance(owner, types.ModuleType):
            return None  # a bound method of some object
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(module, str):  # of a class of classes that was made in C it is a descriptor
        module = "builtins"
    if not isinstance(name, str):
        name = repr(value)
    if modules.is_own(module):
        return None
    if isinstance(value, type):
        # A class that a package made while running, as `type()` or `namedtuple` do, is told by its members.
        return f"{module}:{name} {modules.version_of(module)}" if "<locals>" not in name else None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(value, types.FunctionType) and found is not value:
        return None
    return f"{module}:{name} {modules.version_of(module)}"


_NAMED: Final = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
)
