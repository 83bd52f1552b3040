"""Which modules are the user's own, and what stands for the others.

A module is the user's own if its file lies outside of the places into which Python and its packages are installed: the
standard library, and every folder ``site-packages`` or ``dist-packages``. A script beside the notebook is own, a
project that was installed as editable is own, and so is what a notebook makes with `types.ModuleType`. The reason is
who edits it: an installed package changes when another version of it is installed, so its version stands for its code,
while an own module changes at any time under one name, so its code itself has to count.

Not own are Python's built-in and frozen modules, what is imported from a zip file, and this package with its stand-in
for Frappe, even in a working copy of it: what a cell asks of a cache is no part of its own code. A module of which
nothing can be found out counts as own, since looking at its content is then the one thing that is left.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import os
import re
import site
import sys
import sysconfig
import types
import weakref
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Final

from ..forks import new_lock

_PACKAGE: Final = __name__.partition(".")[0]
_PYTHON: Final = f"python {sys.version_info.major}.{sys.version_info.minor}"
_PACKAGE_FOLDERS: Final = frozenset(("site-packages", "dist-packages"))

_IMPORT_SYSTEMS: Final = frozenset(
    (
        *("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__path__", "__file__", "__cached__"),
        *("__builtins__", "__warningregistry__"),
    )
)
"""Global names of a module that Python sets, not its code."""


# --- whose module it is -----------------------------------------------------------------------------------------------

_known: weakref.WeakKeyDictionary[types.ModuleType, bool] = weakref.WeakKeyDictionary()
_known_installed: set[str] = set()
"""Of modules that are not loaded only those that are installed are remembered: others can come to be any time."""


def is_own(module_name: str) -> bool:
    """Whether a module is the user's own, so that its code counts and not a version.

    Example:
        >>> is_own("__main__"), is_own("json"), is_own("json.decoder")
        (True, False, False)

    Args:
        module_name: its dotted name; it need not be loaded, nor exist.
    """
    module = sys.modules.get(module_name)
    if not isinstance(module, types.ModuleType):
        return _is_own_unloaded(module_name)
    own = _known.get(module)
    if own is None:
        own = _known[module] = _is_own_loaded(module_name, module)
    return own


def _is_own_loaded(name: str, module: types.ModuleType) -> bool:
    if name in ("__main__", "__mp_main__"):
        return True
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None)
    if name.partition(".")[0] == _PACKAGE or origin in (_PACKAGE, "built-in", "frozen"):
        return False
    file = getattr(module, "__file__", None) or origin
    if isinstance(file, str):
        return not _is_installed(file)
    folders = getattr(module, "__path__", None)
    if folders is not None and list(folders):  # a namespace package
        return not all(_is_installed(folder) for folder in folders)
    # Made while running: by a package inside of itself, as `six.moves`, or by whoever else.
    parent = name.rpartition(".")[0]
    return is_own(parent) if parent else True


def _is_own_unloaded(name: str) -> bool:
    top = name.partition(".")[0]
    if top == _PACKAGE or top in _known_installed:
        return False
    if top != name and top in sys.modules:
        return is_own(top)
    spec = _find_spec(top)
    if spec is None:
        return True
    own = not _is_installed_spec(spec)
    if not own:
        _known_installed.add(top)
    return own


def _is_installed_spec(spec: ModuleSpec) -> bool:
    if spec.origin in (_PACKAGE, "built-in", "frozen"):
        return True
    places = [spec.origin] if spec.origin is not None else list(spec.submodule_search_locations or ())
    return bool(places) and all(_is_installed(place) for place in places)


def _is_installed(path: str) -> bool:
    return _is_installed_folder(os.path.dirname(path) if path.endswith((".py", ".pyc", ".so", ".pyd")) else path)  # noqa: PTH120


@functools.lru_cache(maxsize=4096)
def _is_installed_folder(folder: str) -> bool:
    for path in {Path(folder).absolute(), Path(folder).resolve()}:
        if not _PACKAGE_FOLDERS.isdisjoint(path.parts) or any(path.is_relative_to(place) for place in _places()):
            return True
        if any(
            part.endswith(".zip") and Path(*path.parts[: index + 1]).is_file() for index, part in enumerate(path.parts)
        ):
            return True
    return False


_places_lock = new_lock()


@functools.cache
def _places() -> tuple[Path, ...]:
    """The folders into which Python and packages are installed."""
    with _places_lock:  # what `sysconfig` fills at first it reads in another thread meanwhile
        found = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple({path for place in found if place for path in (Path(place), Path(place).resolve())})


# --- what stands for an installed one ---------------------------------------------------------------------------------

_versions: dict[str, str] = {}


def version_of(module_name: str) -> str:
    """The distribution that a module came with and its version, or Python's version for the standard library.

    Example:
        >>> version_of("json")
        'python 3.11'

    Args:
        module_name: its dotted name; it need not be loaded.

    Returns:
        As ``"numpy 2.4.6"``. A module in ``site-packages`` that belongs to no distribution has a digest of its file in
        place of a version, and an own module one of its source.
    """
    version = _versions.get(module_name)
    if version is not None:
        return version
    if is_own(module_name):
        return f"{module_name} ({source_digest(module_name).hex()[:8]})"
    version = _versions[module_name] = _version_of_installed(module_name)
    return version


def _version_of_installed(name: str) -> str:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return _PYTHON
    if top == _PACKAGE:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a working copy on the path
            return f"{_PACKAGE} {importlib.metadata.version(_PACKAGE)}"
        return _PACKAGE
    # Several distributions can lie in one namespace; there the module itself says which it is of.
    place = _place_of(top) or _place_of(name)
    if place is None:
        return name
    return _version_at(top, *place)


def _place_of(name: str) -> tuple[str, str] | None:
    """The folder for packages that a module's file lies in, and the file's path in there; None for a namespace."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None) or getattr(_find_spec(name), "origin", None)
    parts = Path(file).parts if isinstance(file, str) else ()
    depths = [depth for depth, part in enumerate(parts, 1) if part in _PACKAGE_FOLDERS]
    return (str(Path(*parts[: depths[-1]])), "/".join(parts[depths[-1] :])) if depths else None


@functools.lru_cache(maxsize=1024)
def _version_at(top: str, folder: str, file: str) -> str:
    """Name and version of the distribution whose list of files has a file."""
    line = f"\n{file},".encode()
    # One that has the module's name is nearly always it; else ``sklearn`` is of ``scikit-learn``, which no name tells.
    for name, version, record in sorted(_distributions(folder), key=lambda it: _plain_name(it[0]) != _plain_name(top)):
        try:
            with open(record, "rb") as listed:  # noqa: PTH123  (there can be hundreds)
                if line in b"\n" + listed.read():
                    return f"{name} {version}"
        except OSError:  # Debian's own packages have no such list
            if _plain_name(name) == _plain_name(top):
                return f"{name} {version}"
    return f"{top} ({hashlib.blake2b(Path(folder, file).read_bytes(), digest_size=4).hexdigest()})"


def _distributions(folder: str) -> Iterator[tuple[str, str, str]]:
    """Name, version and list of files of what is installed in a folder, from the names of folders alone."""
    for entry in os.listdir(folder):  # noqa: PTH208  (the same)
        found = re.fullmatch(r"([^-]+)-([^-]+)(-py[\d.]+)?\.(dist|egg)-info", entry)
        if found is not None:
            yield found[1].replace("_", "-"), found[2], f"{folder}{os.sep}{entry}{os.sep}RECORD"


def _plain_name(name: str) -> str:
    return name.lower().replace("_", "-")


# --- what stands for an own one ---------------------------------------------------------------------------------------


def own_globals(module: types.ModuleType) -> dict[str, Any]:
    """The global names of an own module that its code can see, and others can set.

    Those that Python's import system keeps there are left out, any others with two underscores are not. Submodules are
    in: a package that is handed on as a whole gives access to them. Which of them are loaded depends on who imported
    what before, and that costs a miss at times; to leave them out could cost a wrong result.
    """
    return {name: value for name, value in vars(module).items() if name not in _IMPORT_SYSTEMS}


def source_digest(module_name: str) -> bytes:
    """A digest of an own module's source, and of all that it imports in turn, without running any of it.

    Own modules count by their code, so that comments and layout do not; installed ones by their version; one that is
    not there by its absence. An import counts wherever it stands, also where it is never reached. What a module imports
    by a name that it computes is not seen.

    Args:
        module_name: its dotted name. The packages that it is in count too, as they are run before it.
    """
    found: dict[str, bytes] = {}
    waiting = [module_name]
    while waiting:
        name = waiting.pop()
        for part in _with_parents(name):
            if part in found:
                continue
            if not is_own(part):
                found[part] = version_of(part).encode()
                break  # what is inside of an installed package is of its version, too
            spec = _find_spec(part)
            if spec is None:
                found[part] = b"nowhere"
                break
            found[part], imported = _source_of(spec)
            waiting += imported
    hasher = hashlib.blake2b(digest_size=16)
    for name in sorted(found):
        hasher.update(b"%d:%b%d:%b" % (len(name), name.encode(), len(found[name]), found[name]))
    return hasher.digest()


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        yield ".".join(parts[:depth])


def _source_of(spec: ModuleSpec) -> tuple[bytes, list[str]]:
    """A digest of one module's source, and the names of what it imports."""
    if spec.origin is None or not Path(spec.origin).is_file():
        return b"namespace", []
    content = Path(spec.origin).read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # an extension module; or a mistake, which has its own content
        return hashlib.blake2b(content, digest_size=16).digest(), []
    package = spec.name if spec.submodule_search_locations is not None else spec.name.rpartition(".")[0]
    return hashlib.blake2b(ast.dump(tree).encode("utf-8", "surrogatepass"), digest_size=16).digest(), sorted(
        {name for node in ast.walk(tree) for name in _imported_by(node, package)}
    )


def _imported_by(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join((*above, *([base] if base else ())))
        if base:
            yield base
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            # A name that is imported can be a module of its own; of an installed package the version says it.
            if base and alias.name != "*" and is_own(base) and _find_spec(submodule) is not None:
                yield submodule


def _find_spec(name: str) -> ModuleSpec | None:
    """Where a module would be imported from; unlike `importlib.util.find_spec` without importing its parents."""
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    for part in _with_parents(name):
        spec = _ask_finders(part, path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and part != name:
            return None
    return spec


def _ask_finders(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, path) if find is not None else None
        if spec is not None:
            return spec if isinstance(spec, ModuleSpec) else None
    return None
