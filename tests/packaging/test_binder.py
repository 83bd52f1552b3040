"""What repo2docker reads, and that the start script starts what it promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tests.support import LONG, requires

ROOT = Path(__file__).resolve().parents[2]
BINDER = ROOT / "binder"
START = BINDER / "start"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_only_files_that_repo2docker_reads() -> None:
    read = {"apt.txt", "postBuild", "requirements.txt", "runtime.txt", "start"}
    assert {path.name for path in BINDER.iterdir()} <= read


def test_the_project_is_installed_with_what_its_notebooks_need() -> None:
    """With a folder named binder, what lies in the root is not looked at: the project must be asked for."""
    lines = (BINDER / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert len(wanted) == 1
    match = re.fullmatch(r"-e \.\[([\w,]+)\]", wanted[0])
    assert match
    assert "lab" in match[1].split(",")
    assert set(match[1].split(",")) <= set(PROJECT["optional-dependencies"])


def test_python_is_chosen_and_supported() -> None:
    """Left to itself repo2docker takes 3.10, on which the project does not install."""
    match = re.fullmatch(r"python-(3\.\d+)\n", (BINDER / "runtime.txt").read_text())
    assert match
    assert f"Programming Language :: Python :: {match[1]}" in PROJECT["classifiers"]


def test_redis_comes_from_the_distribution() -> None:
    assert (BINDER / "apt.txt").read_text().split() == ["redis-server"]


def test_start_is_a_program_that_hands_over_at_the_end() -> None:
    assert os.access(START, os.X_OK)
    assert START.read_text().splitlines()[-1] == 'exec "$@"'
    subprocess.run(["sh", "-n", str(START)], check=True)


Start = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Run the start script with a command; servers that it left running are stopped."""
    # pytest's own folders are too deep for a socket's path.
    folder = Path(tempfile.mkdtemp(prefix="binder-"))

    def run(
        *command: str, script: Path = START, cwd: Path | None = None, timeout: float = 30, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FRAPPE_CACHE_", "PYTHON"))}
        return subprocess.run(
            ["/bin/sh", str(script), *command],
            cwd=cwd,
            env=kept | {"TMPDIR": str(folder)} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    yield run
    for socket in folder.glob("*/*.sock"):
        with redis.Redis(unix_socket_path=str(socket)) as client:
            client.shutdown(nosave=True)
    shutil.rmtree(folder)


def test_redis_runs_as_a_cache_on_a_socket_of_its_own(start: Start) -> None:
    requires(shutil.which("redis-server"), "redis-server")
    result = start("sh", "-c", 'echo "$FRAPPE_CACHE_URL"')
    assert result.returncode == 0, result.stderr
    url = urlsplit(result.stdout.strip())
    assert url.scheme == "unix"
    assert Path(url.path).parent.stat().st_mode & 0o077 == 0
    with redis.Redis(unix_socket_path=url.path, decode_responses=True) as client:
        config = client.config_get()
        assert config["port"] == "0"
        assert config["maxmemory-policy"] == "allkeys-lru"
        assert int(config["maxmemory"]) > 0
        assert config["save"] == ""
        assert config["appendonly"] == "no"


def test_arguments_and_exit_status_are_the_command_s(start: Start) -> None:
    result = start("sh", "-c", 'printf "%s|" "$@"; exit 7', "name", "two words", "*")
    assert result.stdout == "two words|*|"
    assert result.returncode == 7


def test_without_redis_the_session_opens_all_the_same(start: Start, tmp_path: Path) -> None:
    bare = tmp_path / "path"
    bare.mkdir()
    for name in ("mktemp", "sh", "sleep"):
        (bare / name).symlink_to(str(shutil.which(name)))
    result = start("sh", "-c", 'echo "url: $FRAPPE_CACHE_URL"', PATH=str(bare))
    assert result.returncode == 0
    assert result.stdout == "url: \n"
    assert "start their own server" in result.stderr


# --- all of it, as repo2docker does it ----------------------------------------------------------------------------

# `jupyter-repo2docker --no-build --debug .` shows the Dockerfile that it makes of the folder: Python (runtime.txt) and
# packages (apt.txt) are installed, the repository is copied, `pip install -r binder/requirements.txt` runs in it as a
# user who is not root, and binder/start runs whatever the session is begun with.

PROVIDES = {"redis-server": ("redis-server", "redis-cli")}
"""The programs of each package that apt.txt may name; redis-cli comes with what redis-server depends on."""

NOTEBOOKS = [
    name for name in ("00_start_here", "10_the_redis_behind_it") if (ROOT / f"notebooks/{name}.ipynb").exists()
]

# Right after the first cell: a notebook may go on to servers of its own.
SECOND_CELL = """
import json, os
info = frappe.cache.redis.info("server")
print(json.dumps({"url": os.environ["FRAPPE_CACHE_URL"], "pid": info["process_id"], "version": info["redis_version"]}))
"""

SESSION = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
asking = nbformat.v4.new_code_cell(sys.argv[2])
first = next(number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code")
notebook.cells.insert(first + 1, asking)
NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
print(notebook.cells[first + 1].outputs[0].text)
"""


def test_the_programs_of_every_package_are_known() -> None:
    assert set((BINDER / "apt.txt").read_text().split()) == set(PROVIDES)
    named = set(re.findall(r"\bredis-\w+\b", START.read_text()))
    assert named <= {program for programs in PROVIDES.values() for program in programs}


def python_of_the_image() -> str:
    """The Python that runtime.txt asks for where this machine has it, else the one that runs the tests."""
    wanted = (BINDER / "runtime.txt").read_text().strip().replace("-", "")
    found = shutil.which(wanted)
    # A shim may be there without what it stands for.
    if (
        found
        and subprocess.run([found, "-c", "import venv, ensurepip"], capture_output=True, check=False).returncode == 0
    ):
        return found
    print(f"there is no {wanted} here; it is {sys.executable} instead")
    return sys.executable


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Dockerfile's steps make: a clone's files, and an environment that was filled in them."""
    requires((ROOT / ".git").exists() and shutil.which("git"), "a git checkout")
    clone = tmp_path_factory.mktemp("binder") / "home"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    environment = clone.parent / "env"
    subprocess.run([python_of_the_image(), "-m", "venv", str(environment)], check=True)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pip = [str(environment / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run(
        [*pip, "--no-cache-dir", "-r", "binder/requirements.txt"],
        cwd=clone,
        env=outside,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return clone


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not LONG, reason="fills an environment of its own, which takes minutes: make long")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_in_a_fresh_environment_a_session_runs_a_notebook_on_its_redis(name: str, image: Path, start: Start) -> None:
    for program in (program for programs in PROVIDES.values() for program in programs):
        requires(shutil.which(program), program)
    binaries = image.parent / "env/bin"
    result = start(
        *("python", "-c", SESSION, f"{name}.ipynb", SECOND_CELL),
        script=image / "binder/start",
        cwd=image / "notebooks",
        timeout=300,
        PATH=f"{binaries}{os.pathsep}{os.environ['PATH']}",
        IPYTHONDIR=str(image.parent / "ipython"),
        FRAPPE_CACHE_HOME=str(image.parent / "cache"),  # where the embedded server would be, were it started
    )
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout[result.stdout.index("{") :])
    url = urlsplit(said["url"])
    assert url.scheme == "unix"
    assert said["pid"] == int((Path(url.path).parent / "redis_cache.pid").read_text())
    assert not (image.parent / "cache/server").exists()
