"""A shell in this process, and kernels in their own."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from jupyter_client.manager import KernelManager
from traitlets.config import Config

from frappe_cache_ext.notebook import extension
from tests.support import kernel_address

ROOT = Path(__file__).parents[2]
COLOURS = re.compile(r"\x1b\[[\d;]*m")


class Shell:
    """An IPython in this process: what a cell printed, and what it returned.

    Args:
        ip: IPython's own object.
        capsys: pytest's eyes.

    Attributes:
        shown: all that the last cell wrote to stdout, its value included.
        out: the same without its value.
        err: what it wrote to stderr.
    """

    def __init__(self, ip: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        self.ip = ip
        self.capsys = capsys
        self.shown = ""
        self.out = ""
        self.err = ""
        self.done: ExecutionResult

    def run(self, cell: str) -> Any:
        """Run a cell that must not fail, and return its value."""
        self._run(cell)
        assert self.done.success, self.err
        assert self.err == ""
        return self.done.result

    def fails(self, cell: str) -> str:
        """Run a cell that must fail with one line, and return the line."""
        self._run(cell)
        assert not self.done.success
        assert self.out == ""
        line, end, rest = self.err.partition("\n")
        assert (end, rest) == ("\n", ""), self.err
        return line

    def _run(self, cell: str) -> None:
        self.capsys.readouterr()
        self.done = self.ip.run_cell(cell, store_history=True)
        self.shown, self.err = (COLOURS.sub("", text) for text in self.capsys.readouterr())
        self.out = self.shown if self.done.result is None else self.shown.partition("Out[")[0]


@pytest.fixture(scope="session")
def ip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    """IPython's own object, bare."""
    config = Config()
    config.HistoryManager.hist_file = ":memory:"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        shell = InteractiveShell(config=config)
        shell.run_line_magic("unload_ext", "nothing")  # IPython's own magics for this are loaded when first used
        yield shell
        history = shell.history_manager
        atexit.unregister(shell.atexit_operations)
        shell.atexit_operations()
        history.db.close()  # IPython 8 leaves it to the collector


@pytest.fixture
def shell(
    ip: InteractiveShell, capsys: pytest.CaptureFixture[str], embedded_server: object, site: str
) -> Iterator[Shell]:
    """A shell with the extension loaded, and a site of its own."""
    ip.user_ns.pop("frappe", None)
    extension.load(ip)
    here = Shell(ip, capsys)
    here.run(f"%cache_site {site}")
    kept = dict(ip.user_ns)
    yield here
    here.run("%cache_connect embedded://")
    here.run(f"%cache_site {site}")
    here.run("%cache_clear")
    extension.unload(ip)
    for name in set(ip.user_ns) - set(kept):
        del ip.user_ns[name]


@dataclass
class Answer:
    """What a kernel sent back for one cell."""

    status: str = ""
    out: str = ""
    err: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def text(self) -> str:
        """The cell's value as text."""
        return str(self.data.get("text/plain", ""))


class Kernel:
    """A real kernel, spoken to as JupyterLab speaks to it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.manager = KernelManager(**kernel_address())
        # Over TCP a kernel says on its own stderr that others could listen; a test is a short-lived thing.
        self.manager.start_kernel(
            env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, cell: str, timeout: float = 30) -> Answer:
        """Run a cell, and wait until the kernel has nothing more to say about it."""
        answer = Answer()
        asked = self.client.execute(cell)
        while True:
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind == "stream":
                name = {"stdout": "out", "stderr": "err"}[content["name"]]
                setattr(answer, name, getattr(answer, name) + content["text"])
            elif kind in ("execute_result", "display_data"):
                answer.data = content["data"]
            elif kind == "error":
                answer.error = f"{content['ename']}: {content['evalue']}"
        answer.status = self._reply(asked, timeout)["status"]
        return answer

    def value(self, cell: str) -> str:
        """Run a cell that must not fail, and return its value as text."""
        answer = self.run(cell)
        assert (answer.status, answer.error, answer.err) == ("ok", "", "")
        return answer.text

    def complete(self, code: str) -> dict[str, Any]:
        """What the kernel offers at the end of some code."""
        return self._reply(self.client.complete(code, len(code)), 30)

    def _reply(self, asked: str, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                message = self.client.get_shell_msg(timeout=timeout)
                if message["parent_header"].get("msg_id") == asked:
                    content: dict[str, Any] = message["content"]
                    return content
        raise AssertionError("the kernel did not reply")

    def stop(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def kernel_environment(session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a kernel of the tests is told: where its server and its settings live."""
    return {
        "FRAPPE_CACHE_HOME": str(session_home),
        "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython")),
        "JUPYTER_CONFIG_DIR": str(tmp_path_factory.mktemp("jupyter")),
    }


@pytest.fixture(scope="module")
def kernel(kernel_environment: dict[str, str]) -> Iterator[Kernel]:
    """A kernel with the extension loaded."""
    started = Kernel(kernel_environment)
    assert started.run("%load_ext frappe_cache_ext") == Answer(status="ok")
    yield started
    started.stop()


@pytest.fixture
def fresh(kernel: Kernel, site: str) -> Iterator[Kernel]:
    """The kernel, at a site of its own."""
    kernel.run(f"%cache_site {site}")
    yield kernel
    kernel.run("%cache_connect embedded://")
    kernel.run(f"%cache_site {site}")
    kernel.run("%cache_clear")
