"""The project's own files: they agree with each other, and the Makefile does what it promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import requires

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = ("lab", "demo", "lite", "site", "notebooks", "test", "check", "lint", "long", "bench", "clean", "help")


def supported_pythons() -> list[str]:
    found = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in PROJECT["classifiers"])
    return [match[1] for match in found if match]


# --- pyproject.toml


def test_the_lowest_python_is_the_same_everywhere() -> None:
    lowest = supported_pythons()[0]
    assert PROJECT["requires-python"] == f">={lowest}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == lowest
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + lowest.replace(".", "")
    assert f"sys.version_info < ({lowest.replace('.', ', ')})" in MAKEFILE


def test_the_workflow_runs_every_supported_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == supported_pythons()


def test_every_dependency_has_a_lower_bound() -> None:
    extras = PROJECT["optional-dependencies"]
    for requirement in [*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines)]:
        own = re.match(r"frappe-cache-ext\[([\w,-]+)\]$", requirement)
        if own:
            assert set(own[1].split(",")) <= set(extras), requirement
        else:
            assert ">=" in requirement.partition(";")[0], requirement


def test_plain_import_needs_no_notebook_and_no_database() -> None:
    needed = " ".join(PROJECT["dependencies"]).lower()
    assert not re.search(r"ipython|jupyter|sqlalchemy|matplotlib|numpy|pandas", needed)


def test_each_lint_exception_gives_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    start = lines.index("[tool.ruff.lint]")
    rules = [line for line in lines[start:] if re.match(r'  "[A-Z]+\d*",', line)]
    assert rules
    without = [line for line in rules if "#" not in line]
    assert without == ['  "S106",']  # shares the reason of the line before it


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "frappe_cache_ext/py.typed").is_file()


# --- the Makefile


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    requires(shutil.which("make"), "make")
    kept = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=kept | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that holds only what make reads."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def made_clone(clone: Path) -> Path:
    """The same with an environment that counts as filled, whose Python only writes down what it is asked for."""
    binaries = clone / ".venv" / "bin"
    binaries.mkdir(parents=True)
    python = binaries / "python"
    python.write_text(
        '#!/bin/sh\necho "$@" >>asked\n'
        'case "$*" in *pip*install*) exit 0;; *nbval*) exit ${NBVAL_EXIT:-0};; '
        '*"-m alone"*) exit ${ALONE_EXIT:-0};; *) exit ${TESTS_EXIT:-0};; esac\n'
    )
    python.chmod(0o755)
    for stamp in (".made", ".lab", ".lite", ".test", ".bench"):
        (clone / ".venv" / stamp).touch()
    return clone


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def test_help_lists_every_target(clone: Path) -> None:
    result = make(clone)
    assert result.returncode == 0
    assert sorted(re.findall(r"^  make (\w+) +\S", result.stdout, re.MULTILINE)) == sorted(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_no_file_can_shadow_a_target(target: str) -> None:
    assert f".PHONY: {target}\n" in MAKEFILE


def test_the_makefile_uses_nothing_newer_than_make_3_81() -> None:
    assert ".ONESHELL" not in MAKEFILE
    assert "$(file " not in MAKEFILE
    assert not re.search(r"^\s*\w+\s*(!=|::=|:::=)", MAKEFILE, re.MULTILINE)


def test_an_old_python_is_refused_with_a_remedy(clone: Path) -> None:
    old = clone / "python2"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = make(clone, ".venv/.made", f"PYTHON={old}")
    assert result.returncode != 0
    assert "needs Python 3.11 or later" in result.stderr
    assert "make PYTHON=" in result.stderr
    assert not (clone / ".venv").exists()


def test_a_failing_venv_leaves_no_half_environment(clone: Path) -> None:
    broken = clone / "python-without-venv"
    broken.write_text('#!/bin/sh\ncase "$*" in *venv*) mkdir .venv; exit 1;; esac\n')
    broken.chmod(0o755)
    result = make(clone, ".venv/.made", f"PYTHON={broken}")
    assert result.returncode != 0
    assert "python3-venv" in result.stderr
    assert not (clone / ".venv").exists()


def test_a_python_that_is_new_enough_is_found_on_path(clone: Path) -> None:
    folder = clone / "path"
    folder.mkdir()
    (folder / "python3").write_text("#!/bin/sh\nexit 1\n")
    (folder / "python3.12").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for file in folder.iterdir():
        file.chmod(0o755)
    result = make(clone, "--dry-run", ".venv/.made", PATH=f"{folder}:{os.environ['PATH']}")
    assert "python3.12 -m venv .venv" in result.stdout


def test_the_environment_is_filled_again_when_pyproject_changes(made_clone: Path) -> None:
    assert "pip" not in make(made_clone, "--dry-run", "test").stdout
    later = (made_clone / ".venv" / ".test").stat().st_mtime + 10
    os.utime(made_clone / "pyproject.toml", (later, later))
    result = make(made_clone, "notebooks")
    assert result.returncode == 0, result.stderr
    first, second = asked(made_clone)
    assert "pip" in first
    assert first.endswith("install --no-compile --editable .[test,dev]")
    assert "--nbval notebooks" in second


@pytest.mark.parametrize("target", ["lab", "demo"])
def test_a_learner_installs_no_test_tools(clone: Path, target: str) -> None:
    recipe = make(clone, "--dry-run", target).stdout
    assert "--editable '.[lab]'" in recipe
    assert "test" not in re.findall(r"\.\[([\w,]+)\]", recipe)


@pytest.mark.parametrize(
    ("tests", "alone", "notebooks", "passes"),
    [
        ("0", "0", "0", True),
        ("1", "0", "0", False),
        ("0", "1", "0", False),
        ("0", "0", "1", False),
        ("5", "0", "0", False),
        ("0", "5", "0", False),
        ("1", "1", "1", False),
    ],
)
def test_tests_those_alone_and_notebooks_all_run_and_all_count(
    made_clone: Path, tests: str, alone: str, notebooks: str, *, passes: bool
) -> None:
    result = make(made_clone, "test", TESTS_EXIT=tests, ALONE_EXIT=alone, NBVAL_EXIT=notebooks)
    assert (result.returncode == 0) is passes
    first, second, third = asked(made_clone)
    assert first.startswith("-m pytest tests -m not alone ")
    assert second == "-m pytest tests -m alone", "short times were taken beside other tests"
    assert third.startswith("-m pytest --nbval notebooks ")


def test_clean_keeps_the_sources(made_clone: Path) -> None:
    for folder in ("editions", "frappe_cache_ext/__pycache__", "tests", "notebooks/.ipynb_checkpoints", "dist"):
        (made_clone / folder).mkdir(parents=True)
    (made_clone / "frappe_cache_ext" / "keys.py").touch()
    (made_clone / "notebooks" / "00.ipynb").touch()
    result = make(made_clone, "clean")
    assert result.returncode == 0, result.stderr
    left = sorted(str(path.relative_to(made_clone)) for path in made_clone.rglob("*") if path.is_file())
    assert left == ["Makefile", "frappe_cache_ext/keys.py", "notebooks/00.ipynb", "pyproject.toml"]


# --- the full run


def test_the_full_run_is_a_program_that_bash_can_read() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_full_run_skips_nothing() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "export TESTS_REQUIRE_ALL=1" in script
    assert re.search(r"^make lint\b.*\|\| status=1$", script, re.MULTILINE)
    assert re.search(r"^make test\b.*\|\| status=1$", script, re.MULTILINE)
    assert 'exit "$status"' in script
