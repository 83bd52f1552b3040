"""The GitHub workflow: valid, pinned, of least permission, and running what it is for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import requires

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / ".github/workflows/ci.yml"
# PyYAML reads YAML 1.1, to which the key `on` is True.
WORKFLOW: dict[Any, Any] = yaml.safe_load(FILE.read_text())
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]


def script_of(job: str) -> str:
    return "\n".join(step.get("run", "") for step in JOBS[job]["steps"])


def test_the_file_follows_the_schema_of_workflows() -> None:
    script = Path(sysconfig.get_path("scripts")) / "check-jsonschema"
    requires(script.exists(), "check-jsonschema")
    command = [str(script), "--builtin-schema", "vendor.github-workflows", str(FILE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_it_runs_for_pushes_and_pull_requests() -> None:
    assert {"push", "pull_request"} <= set(WORKFLOW[True])


def test_it_may_only_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in JOBS.values())
    assert "pull_request_target" not in WORKFLOW[True]


def test_no_credentials_stay_in_the_clone() -> None:
    for _, step in STEPS:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_actions_and_images_are_pinned() -> None:
    used = [step["uses"] for _, step in STEPS if "uses" in step]
    assert used
    for name in used:
        assert re.fullmatch(r"actions/[\w-]+@v\d+|docker://[\w/-]+:\d+\.\d+\.\d+", name), name


@pytest.mark.parametrize("job", sorted(JOBS))
def test_no_job_can_hang(job: str) -> None:
    assert JOBS[job]["timeout-minutes"] <= 30


def test_the_servers_are_redis_7_redis_8_and_valkey() -> None:
    images = [entry["image"] for entry in JOBS["servers"]["strategy"]["matrix"]["include"]]
    assert [re.sub(r"(?<=:\d).*", "", image) for image in images] == ["redis:7", "redis:8", "valkey/valkey:8"]
    assert all(re.search(r":\d+\.\d+\.\d+$", image) for image in images)


def test_the_servers_are_tested_on_the_port_they_publish() -> None:
    published = JOBS["servers"]["services"]["server"]["ports"][0].split(":")[0]
    assert published != "6379"
    urls = [
        value
        for step in JOBS["servers"]["steps"]
        for name, value in step.get("env", {}).items()
        if name in {"TEST_REDIS_URL", "FRAPPE_CACHE_URL"}
    ]
    assert [url.rsplit("/", 1)[0] for url in urls] == [f"redis://127.0.0.1:{published}"] * 2
    assert len(set(urls)) == len(urls), "the tests and the notebooks must not share a database"
    script = script_of("servers")
    assert "pytest tests/contract" in script
    assert "--nbval notebooks" in script


def test_the_notebooks_run_as_the_makefile_runs_them() -> None:
    options = re.search(r"^NBVAL := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert options
    assert options[1].split() == re.findall(r"pytest (--nbval .+)", " ".join(script_of("servers").split()))[0].split()


def test_it_is_clean_under_actionlint() -> None:
    program = shutil.which(os.environ.get("ACTIONLINT", "actionlint"))
    requires(program, "actionlint")
    assert program is not None
    result = subprocess.run([program, str(FILE)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
