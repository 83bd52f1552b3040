"""Makes ``import frappe`` work where no Frappe is installed, for as long as it is asked for.

The guide's lines (``from frappe.utils.caching import redis_cache``) then run as they stand, and a pickle that names
``frappe._dict`` finds it. The modules hold nothing themselves: a name is looked up in this package when it is used, so
installing them loads nothing. A real Frappe is never touched: where one can be imported, or is imported already,
`install` does nothing.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

PACKAGE: Final = "frappe_cache_ext"


class _StandInModule(ModuleType):
    """A module of Frappe's whose names are this package's.

    Args:
        name: the module's name, ``frappe.utils.caching``.
        find: finds the value of a name; raises AttributeError for one that there is not.
        names: what the module offers.
    """

    def __init__(self, name: str, find: Callable[[str], Any], names: Callable[[], list[str]]) -> None:
        super().__init__(name, f"Stands in for {name}, with what {PACKAGE} has of it.")
        # Reloading or looking for the module asks its spec, and a package that is one only in name has no folder.
        self.__spec__ = ModuleSpec(name, _Loader(), origin=PACKAGE, is_package=True)
        self.__loader__ = self.__spec__.loader
        self.__package__ = name
        self.__path__: list[str] = []
        self._find = find
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return self._names()
        # Whoever asks for __file__ or __version__ wants to know about a Frappe, and there is none.
        if not name.startswith("__"):
            try:
                return self._find(name)
            except AttributeError:
                pass
        raise AttributeError(f"module {self.__name__!r}, which {PACKAGE} stands in for, has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*self._names(), *(name for name in vars(self) if name not in ("_find", "_names"))})

    def __repr__(self) -> str:
        return f"<module {self.__name__!r} ({PACKAGE} stands in for it)>"


class _Loader(importlib.abc.Loader):
    """What a spec needs in order to count as one; the modules are made without it."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module as it is."""
        return sys.modules.get(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def install() -> ModuleType | None:
    """Make ``import frappe`` work; doing so twice is harmless.

    Returns:
        The module `frappe` that stands in; None where there is a real one.
    """
    present = sys.modules.get("frappe")
    if isinstance(present, _StandInModule):
        return present
    if real_frappe_exists():
        return None
    for name, module in _make_modules().items():
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    return sys.modules["frappe"]


def uninstall() -> None:
    """Take away what `install` put there, and nothing else."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "frappe" and isinstance(module, _StandInModule):
            del sys.modules[name]


def real_frappe_exists() -> bool:
    """Whether `frappe` is imported or can be, and is not the stand-in."""
    present = sys.modules.get("frappe")
    if present is not None:
        return not isinstance(present, _StandInModule)
    try:
        spec = importlib.util.find_spec("frappe")
    except (ImportError, ValueError):
        return False
    # A bare folder of that name, such as the checkout beside which a notebook was opened, can be imported too, and
    # holds nothing.
    return spec is not None and spec.loader is not None and spec.origin is not None


def _make_modules() -> dict[str, ModuleType]:
    package = importlib.import_module(PACKAGE)

    def from_package(name: str) -> Any:
        return getattr(package, name)

    modules: dict[str, ModuleType] = {"frappe": _StandInModule("frappe", from_package, lambda: list(package.__all__))}
    for name, homes in _SUBMODULES.items():
        modules[name] = _StandInModule(name, _finder(homes), lambda homes=homes: sorted(homes))  # type: ignore[misc]
    return modules


def _finder(homes: dict[str, str]) -> Callable[[str], Any]:
    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(name)
        return getattr(importlib.import_module(f"{PACKAGE}.{homes[name]}"), name)

    return find


_SUBMODULES: Final[dict[str, dict[str, str]]] = {
    "frappe.exceptions": dict.fromkeys(
        (
            *("DoesNotExistError", "DuplicateEntryError", "ImplicitCommitError", "InReadOnlyMode", "MandatoryError"),
            *("TimestampMismatchError", "UniqueValidationError", "ValidationError"),
        ),
        "errors",
    ),
    "frappe.utils": {},
    "frappe.utils.caching": {"redis_cache": "caching", "request_cache": "caching", "site_cache": "caching"},
    "frappe.utils.redis_wrapper": {"RedisWrapper": "redis_wrapper"},
    "frappe.cache_manager": {
        "clear_defaults_cache": "shim",
        "clear_doctype_cache": "shim",
        "clear_global_cache": "shim",
        "clear_user_cache": "shim",
    },
}
"""Frappe's modules, parents first, and where in this package each of their names lives."""


# --- frappe.cache_manager -----------------------------------------------------------------------------------------


def clear_user_cache(user: str | None = None) -> None:
    """Clear what is cached for one user of the site, or for all of its users."""
    from . import clearing, redis_wrapper  # noqa: PLC0415  (installing the shim loads nothing)

    if user:
        clearing.clear_cache(user=user)
    else:
        cache = redis_wrapper.RedisWrapper()
        cache.delete_keys("user:")
        cache.delete_value(clearing.USER_HASHES)


def clear_doctype_cache(doctype: str | None = None) -> None:
    """Clear what is cached about one DocType and its documents, or about all of them."""
    from . import clearing, keys, redis_wrapper  # noqa: PLC0415

    if doctype:
        clearing.clear_cache(doctype=doctype)
    else:
        cache = redis_wrapper.RedisWrapper()
        cache.delete_keys(keys.DOCUMENT_PREFIX)
        cache.delete_value(clearing.DOCTYPE_HASHES)


def clear_defaults_cache(user: str | None = None) -> None:
    """Clear the cached defaults of one user of the site, or of all of them."""
    from . import redis_wrapper  # noqa: PLC0415

    cache = redis_wrapper.RedisWrapper()
    if user:
        cache.hdel("defaults", user)
    else:
        cache.delete_value("defaults")


def clear_global_cache() -> None:
    """Clear everything that is cached for the site; shared keys stay."""
    from . import clearing  # noqa: PLC0415

    clearing.clear_cache()
