"""Whose a module is, and what stands for it in a key."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frappe_cache_ext import shim
from frappe_cache_ext.cells import modules
from frappe_cache_ext.cells.modules import is_own, own_globals, source_digest, version_of
from tests.support import run_python

ROOT = Path(__file__).parents[2]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules into a folder on the path; what was loaded from there is forgotten afterwards."""
    loaded = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, source: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        importlib.invalidate_caches()
        return path

    yield write
    for name in set(sys.modules) - loaded:
        del sys.modules[name]


class TestWhose:
    @pytest.mark.parametrize("name", ["__main__", "__mp_main__", "tests.unit.test_cell_modules", "nowhere.at_all"])
    def test_own(self, name: str) -> None:
        assert is_own(name)

    @pytest.mark.parametrize(
        "name",
        [
            *("builtins", "sys", "_frozen_importlib", "json", "json.decoder", "os.path", "_socket", "lib2to3.pygram"),
            *("numpy", "numpy.random.mtrand", "pandas", "pytest", "six", "six.moves", "sklearn.nowhere", "zmq"),
            *("frappe_cache_ext", "frappe_cache_ext.cells.modules", "frappe_cache_ext.nowhere"),
        ],
    )
    def test_not_own(self, name: str) -> None:
        assert not is_own(name)

    def test_a_file_on_the_path_before_and_after_its_import(self, write: Write) -> None:
        write("beside.py")
        assert is_own("beside")
        importlib.import_module("beside")
        assert is_own("beside")

    def test_one_that_comes_to_be_installed_is_seen(self, write: Write) -> None:
        assert is_own("later_installed")
        write("venv/site-packages/later_installed.py")
        sys.path.insert(0, str(write("venv/site-packages/other.py").parent))
        importlib.invalidate_caches()
        assert not is_own("later_installed")
        assert not is_own("later_installed.part")

    @pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
    def test_what_lies_in_a_folder_for_packages_is_installed(
        self, write: Write, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(write(f"lib/{folder}/vendored_{folder[:4]}/__init__.py").parents[1])
        assert not is_own(f"vendored_{folder[:4]}")
        importlib.import_module(f"vendored_{folder[:4]}")
        assert not is_own(f"vendored_{folder[:4]}")

    def test_a_link_to_an_installed_folder_is_installed(self, write: Write, tmp_path: Path) -> None:
        target = write("lib/site-packages/linked_target/__init__.py").parent
        (tmp_path / "linked").symlink_to(target)
        assert not is_own("linked")

    def test_namespace_packages_go_by_their_folders(self, write: Write) -> None:
        write("ours_in_parts/part.py")
        importlib.import_module("ours_in_parts.part")
        assert is_own("ours_in_parts")
        assert is_own("ours_in_parts.part")

    def test_a_zip_file_is_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as bundle:
            bundle.writestr("zipped.py", "x = 1")
        monkeypatch.syspath_prepend(tmp_path / "bundle.zip")
        importlib.invalidate_caches()
        assert not is_own("zipped")
        importlib.import_module("zipped")
        assert not is_own("zipped")
        del sys.modules["zipped"]

    def test_a_module_made_while_running_is_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "made_up", types.ModuleType("made_up"))
        assert is_own("made_up")

    def test_a_module_replaced_by_another_is_asked_anew(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        write("replaced.py")
        importlib.import_module("replaced")
        assert is_own("replaced")
        monkeypatch.setitem(sys.modules, "replaced", sys.modules["json"])
        assert not is_own("replaced")

    def test_the_stand_in_for_frappe(self) -> None:
        assert "frappe" not in sys.modules
        shim.install()
        try:
            importlib.import_module("frappe.utils.caching")
            assert not is_own("frappe")
            assert not is_own("frappe.utils.caching")
        finally:
            shim.uninstall()


class TestVersions:
    @pytest.mark.parametrize(
        ("name", "distribution"),
        [
            *(("numpy", "numpy"), ("numpy.random.mtrand", "numpy"), ("sklearn", "scikit-learn"), ("yaml", "pyyaml")),
            *(("dateutil.tz", "python-dateutil"), ("mpl_toolkits.mplot3d", "matplotlib"), ("attr", "attrs")),
            *(("six.moves", "six"), ("_pytest.config", "pytest")),
        ],
    )
    def test_installed(self, name: str, distribution: str) -> None:
        found, version = version_of(name).rsplit(" ", 1)
        assert found.lower() == distribution
        assert version == importlib.metadata.version(distribution)

    @pytest.mark.parametrize("name", ["builtins", "sys", "json", "os.path", "collections.abc", "_frozen_importlib"])
    def test_standard_library(self, name: str) -> None:
        assert version_of(name) == f"python {sys.version_info.major}.{sys.version_info.minor}"

    def test_this_package(self) -> None:
        assert version_of("frappe_cache_ext.codec").startswith("frappe_cache_ext")

    def test_a_file_of_no_distribution_counts_by_its_content(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write("lib/site-packages/dropped.py", "x = 1")
        monkeypatch.syspath_prepend(path.parent)
        first = version_of("dropped")
        path.write_text("x = 2")
        modules._versions.clear()
        modules._version_at.cache_clear()
        assert first.startswith("dropped (")
        assert version_of("dropped") != first

    def test_two_distributions_in_one_namespace(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        for part, version in (("left", "1.0"), ("right", "2.0")):
            path = write(f"lib/site-packages/shared_space/{part}.py")
            write(f"lib/site-packages/shared_{part}-{version}.dist-info/RECORD", f"shared_space/{part}.py,,\n")
        monkeypatch.syspath_prepend(path.parents[1])
        assert version_of("shared_space.left") == "shared-left 1.0"
        assert version_of("shared_space.right") == "shared-right 2.0"

    def test_a_package_without_a_list_of_files_goes_by_its_name(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(write("lib/dist-packages/debians.py").parent)
        write("lib/dist-packages/debians-4.5.egg-info/PKG-INFO")
        assert version_of("debians") == "debians 4.5"

    def test_own_modules_have_a_digest(self, write: Write) -> None:
        path = write("mine.py", "x = 1")
        first = version_of("mine")
        path.write_text("x = 2")
        assert first.startswith("mine (")
        assert version_of("mine") != first


class TestSources:
    def test_code_counts_and_comments_do_not(self, write: Write) -> None:
        path = write("counted.py", "x = 1\n")
        first = source_digest("counted")
        path.write_text("# a comment\n\nx  =  (1)\n")
        assert source_digest("counted") == first
        path.write_text("x = 1.0\n")
        assert source_digest("counted") != first

    def test_nothing_is_run(self, write: Write) -> None:
        write("bad_package/__init__.py", "raise RuntimeError")
        write("bad_package/part.py", "raise RuntimeError")
        source_digest("bad_package.part")
        assert "bad_package" not in sys.modules

    @pytest.mark.parametrize(
        "statement",
        [
            *("import chain_b", "import chain_b as b", "from chain_b import x", "from chain_b import *"),
            "def f():\n    import chain_b",
            "if False:\n    from chain_b import x",
        ],
    )
    def test_own_imports_are_followed(self, write: Write, statement: str) -> None:
        write("chain_a.py", statement)
        write("chain_b.py", "import chain_c")
        path = write("chain_c.py", "x = 1")
        first = source_digest("chain_a")
        path.write_text("x = 2")
        assert source_digest("chain_a") != first

    @pytest.mark.parametrize(
        ("where", "statement", "edited"),
        [
            ("tree/leaf.py", "from . import other", "tree/other.py"),
            ("tree/leaf.py", "from .other import x", "tree/other.py"),
            ("tree/leaf.py", "from .deep.inner import x", "tree/deep/inner.py"),
            ("tree/leaf.py", "from .deep import inner", "tree/deep/inner.py"),
            ("tree/leaf.py", "", "tree/__init__.py"),
            ("tree/deep/__init__.py", "from .. import other", "tree/other.py"),
            ("tree/deep/__init__.py", "from ..other import x", "tree/other.py"),
            ("tree/deep/__init__.py", "from . import inner", "tree/deep/inner.py"),
        ],
    )
    def test_packages_and_relative_imports(self, write: Write, where: str, statement: str, edited: str) -> None:
        for name in ("tree/__init__.py", "tree/other.py", "tree/deep/__init__.py", "tree/deep/inner.py"):
            write(name, "x = 1")
        write(where, statement)
        name = where.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        first = source_digest(name)
        (write("unrelated.py").parent / edited).write_text("x = 2")
        assert source_digest(name) != first

    def test_what_is_not_imported_does_not_count(self, write: Write) -> None:
        write("alone.py", "x = 1")
        path = write("elsewhere.py", "x = 1")
        first = source_digest("alone")
        path.write_text("x = 2")
        assert source_digest("alone") == first

    def test_a_circle_ends(self, write: Write) -> None:
        write("round_a.py", "import round_b")
        path = write("round_b.py", "import round_a")
        first = source_digest("round_a")
        path.write_text("import round_a\nx = 1")
        assert source_digest("round_a") != first

    def test_installed_imports_count_by_version(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        write("uses_numpy.py", "import numpy.random")
        first = source_digest("uses_numpy")
        monkeypatch.setitem(modules._versions, "numpy", "numpy 0.1")
        assert source_digest("uses_numpy") != first

    def test_a_module_that_is_not_there_and_then_is(self, write: Write) -> None:
        write("hopeful.py", "try:\n    import not_yet\nexcept ImportError:\n    pass")
        first = source_digest("hopeful")
        write("not_yet.py")
        assert source_digest("hopeful") != first

    def test_a_file_with_a_mistake_counts_by_its_bytes(self, write: Write) -> None:
        path = write("broken.py", "x = (")
        first = source_digest("broken")
        path.write_text("x = [")
        assert source_digest("broken") != first

    def test_every_process_gives_the_same(self, write: Write, tmp_path: Path) -> None:
        for index in range(6):
            write(f"same_{index}.py", "\n".join(f"import same_{other}, json, numpy" for other in range(6)))
        code = "from frappe_cache_ext.cells.modules import *; print(source_digest('same_0').hex(), version_of('numpy'))"
        shown = {
            subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
                capture_output=True,
                check=True,
            ).stdout
            for seed in ("1", "2")
        }
        assert len(shown) == 1


class TestGlobals:
    def test_what_the_code_can_see(self, write: Write) -> None:
        write("house/__init__.py", "import json\n__version__ = '1'\n_private = 1\ndef f(): pass\n")
        write("house/room.py")
        module = importlib.import_module("house")
        assert set(own_globals(module)) == {"json", "__version__", "_private", "f"}
        importlib.import_module("house.room")
        assert "room" in own_globals(module)


_AT_ONCE = """
import sys, sysconfig, threading
from frappe_cache_ext.cells import modules
sys.setswitchinterval(1e-6)
failed = []
threading.excepthook = lambda args: failed.append(args.exc_value)
for _ in range(int(sys.argv[1])):
    sysconfig._CONFIG_VARS = None
    modules._places.cache_clear()
    threads = [threading.Thread(target=modules._places) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(failed)
"""


def test_threads_that_are_the_first_to_ask() -> None:
    """Python's own table of places is filled by whoever asks first, and read meanwhile by whoever asks next."""
    assert run_python(_AT_ONCE, "100") == "[]\n"
