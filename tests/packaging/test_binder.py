"""What repo2docker reads, and that the start script starts what it promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tests.support import requires

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

    def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FRAPPE_CACHE_")}
        return subprocess.run(
            ["/bin/sh", str(START), *command],
            env=kept | {"TMPDIR": str(folder)} | environment,
            capture_output=True,
            text=True,
            timeout=30,
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
