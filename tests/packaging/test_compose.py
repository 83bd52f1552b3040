"""docker-compose.yml without an engine: what a schema does not see is asserted here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import requires

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
PINNED = re.compile(r"[a-z0-9./_-]+:\d+\.\d+\.\d+[\w.-]*")

each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def test_the_services_are_those_promised() -> None:
    assert sorted(SERVICES) == ["lab", "mariadb", "redis"]
    assert SERVICES["mariadb"]["profiles"] == ["documents"]
    assert not any("profiles" in SERVICES[name] for name in ("lab", "redis"))


@each_service
def test_images_are_pinned_to_a_version(name: str) -> None:
    assert PINNED.fullmatch(SERVICES[name]["image"])


def test_the_base_image_is_pinned_and_the_lab_is_not_root() -> None:
    images = re.findall(r"^FROM (.+)", DOCKERFILE, re.MULTILINE | re.IGNORECASE)
    assert images
    assert all(PINNED.fullmatch(image) for image in images)
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users[-1:] == ["learner"]


def test_the_image_has_the_python_of_binder_and_the_version_of_the_project() -> None:
    python = (ROOT / "binder/runtime.txt").read_text().strip().removeprefix("python-")
    assert re.search(rf"^FROM python:{re.escape(python)}\.\d", DOCKERFILE, re.MULTILINE)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert SERVICES["lab"]["image"].endswith(f":{version}")


# What a service may say; `privileged`, `user`, `cap_add`, `network_mode` and others would give it more than it needs.
SAID = {
    *(
        "build",
        "command",
        "depends_on",
        "environment",
        "healthcheck",
        "image",
        "ports",
        "profiles",
        "restart",
        "volumes",
    ),
}


@each_service
def test_no_service_asks_for_more_than_it_needs(name: str) -> None:
    assert set(SERVICES[name]) <= SAID


@each_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert isinstance(port, str)
        assert port.startswith("127.0.0.1:")


def test_only_jupyterlab_has_a_port_on_the_host_and_it_is_the_one_it_listens_on() -> None:
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["lab"]
    (port,) = SERVICES["lab"]["ports"]
    inside = port.rsplit(":", 1)[1]
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE) == [inside]
    assert f'"--port={inside}"' in DOCKERFILE
    assert f"//127.0.0.1:{inside}/" in SERVICES["lab"]["healthcheck"]["test"][-1]


@each_service
def test_every_service_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(check)
    assert not check.get("disable")
    assert check["test"][1:] in (
        ["redis-cli", "ping"],
        ["redis-cli", "-e", "ping"],
        ["healthcheck.sh", "--connect", "--innodb_initialized"],
    ) or check["test"][1:3] == ["python", "-c"]
    seconds = {key: int(str(check[key]).removesuffix("s")) for key in ("interval", "timeout")}
    assert all(1 <= each <= 30 for each in seconds.values())


def test_the_lab_s_health_check_is_a_program_that_can_run() -> None:
    compile(SERVICES["lab"]["healthcheck"]["test"][-1], "healthcheck", "exec")


def test_the_notebooks_lie_where_the_image_begins() -> None:
    (volume,) = SERVICES["lab"]["volumes"]
    assert re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)[-1] == volume.split(":")[1]


@each_service
def test_what_is_depended_on_exists_without_a_profile(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert needed in SERVICES
        assert "profiles" not in SERVICES[needed]
        assert how == {"condition": "service_healthy"}


def test_the_lab_waits_for_redis_and_talks_to_it() -> None:
    assert "redis" in SERVICES["lab"]["depends_on"]
    assert SERVICES["lab"]["environment"]["FRAPPE_CACHE_URL"] == "redis://redis:6379/0"


@each_service
def test_volumes_are_declared_or_lie_in_the_repository(name: str) -> None:
    volumes = SERVICES[name].get("volumes", [])
    assert volumes
    for volume in volumes:
        source = volume.split(":")[0]
        if source.startswith("."):
            assert source == "./notebooks"
        else:
            assert source in COMPOSE["volumes"]


def test_no_volume_is_declared_in_vain() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= used


def test_the_token_has_no_default() -> None:
    assert SERVICES["lab"]["environment"]["JUPYTER_TOKEN"].startswith("${JUPYTER_TOKEN:?")


def test_redis_is_a_cache() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "allkeys-lru"
    assert "--maxmemory" in command


def test_what_the_image_copies_is_in_the_build_context() -> None:
    """The ignore file shuts everything out but what it names."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert copied
    assert {name for line in copied for name in line.split()} == let_in


def test_the_file_follows_the_compose_specification() -> None:
    script = Path(sysconfig.get_path("scripts")) / "check-jsonschema"
    requires(script.exists(), "check-jsonschema")
    command = [str(script), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("profile", [[], ["--profile", "documents"]])
def test_compose_itself_accepts_the_file_and_demands_a_token(profile: list[str]) -> None:
    program = shutil.which("docker-compose")
    requires(program, "docker-compose")
    assert program is not None
    command = [program, "--file", str(FILE), *profile, "config", "--quiet"]
    environment = {name: value for name, value in os.environ.items() if name != "JUPYTER_TOKEN"}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "set JUPYTER_TOKEN to a secret of your own" in refused.stderr
    accepted = subprocess.run(
        command, env=environment | {"JUPYTER_TOKEN": "x"}, capture_output=True, text=True, check=False
    )
    assert accepted.returncode == 0, accepted.stderr
