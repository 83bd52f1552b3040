"""What a user installs: the wheel holds the package and nothing else, and works on its own in a new environment."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support import requires

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path) -> str:
    # A checkout on PYTHONPATH would hide what the wheel lacks.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist and with the wheel that was built from it."""
    requires(importlib.util.find_spec("build"), "the package build")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return built / f"frappe_cache_ext-{VERSION}-py3-none-any.whl"


def files_of_the_package() -> set[str]:
    package = ROOT / "frappe_cache_ext"
    found = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in found}


def test_both_forms_are_built(built: Path, wheel: Path) -> None:
    assert {path.name for path in built.iterdir()} == {wheel.name, f"frappe_cache_ext-{VERSION}.tar.gz"}


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = {name for name in names if name.startswith(f"frappe_cache_ext-{VERSION}.dist-info/")}
    assert f"frappe_cache_ext-{VERSION}.dist-info/licenses/LICENSE" in about
    assert "frappe_cache_ext/py.typed" in names
    assert names - about == files_of_the_package()


def test_the_sdist_holds_sources_and_tests_and_no_leftovers(built: Path) -> None:
    with tarfile.open(built / f"frappe_cache_ext-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files_of_the_package() <= names
    assert {"LICENSE", "Makefile", "README.md", "pyproject.toml", "tests/packaging/test_wheel.py"} <= names
    assert not [name for name in names if name.startswith((".git/", ".venv/")) or "__pycache__" in name]


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that holds only the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=folder)
    return python


def test_it_imports_without_any_extra(python: Path, tmp_path: Path) -> None:
    script = (
        "import sys, frappe_cache_ext\n"
        "print(frappe_cache_ext.__file__)\n"
        "print(sorted({'IPython', 'matplotlib', 'numpy', 'pandas', 'sqlalchemy'} & set(sys.modules)))\n"
    )
    file, heavy = run(python, "-W", "error", "-c", script, cwd=tmp_path).splitlines()
    assert Path(file).is_relative_to(python.parents[1])
    assert heavy == "[]"


def test_what_was_installed_is_consistent(python: Path, tmp_path: Path) -> None:
    run(python, "-m", "pip", "check", "--disable-pip-version-check", cwd=tmp_path)


def test_the_command_is_installed(python: Path, tmp_path: Path) -> None:
    if not (ROOT / "frappe_cache_ext/cli.py").exists():
        pytest.skip("there is no command line yet")
    assert "usage: frappe-cache" in run(python.with_name("frappe-cache"), "--help", cwd=tmp_path)
