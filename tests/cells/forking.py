"""Real kernels in a tenth of a second: a process that has imported what notebooks need forks itself for each.

The child is an ordinary ipykernel, spoken to as JupyterLab speaks to it. Nothing of a kernel exists before the fork (no
socket, no thread, no shell), and nothing of one kernel reaches another. Run as a program, this module is that process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.session import Session

ROOT = Path(__file__).parents[2]
INLINE = "module://matplotlib_inline.backend_inline"
MEMORY_HISTORY = "--HistoryManager.hist_file=:memory:"
SECONDS = 60  # longer than anything a kernel of the tests does
IMPORTED = (
    *("ipykernel.kernelapp", "ipykernel.ipkernel", "IPython.core.completer", "comm", "zmq", "tests.cells.state"),
    *("numpy", "pandas", "pandas.io.formats.html", "matplotlib.pyplot", "matplotlib.backends.backend_agg"),
    *("sklearn.pipeline", "sklearn.linear_model", "sklearn.ensemble", "sklearn.preprocessing", "sklearn.compose"),
    *("sklearn.model_selection", "sklearn.metrics", "sklearn.impute", "frappe_cache_ext", "redis", "platformdirs"),
)


class Nursery:
    """A process that forks kernels; use it in a `with` block.

    Args:
        environment: what the kernels get beside this process's environment.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.lock = threading.Lock()
        self.folder = tempfile.TemporaryDirectory(prefix="fck-")
        self.numbers = 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from tests.cells.forking import serve; serve()"],
            env=os.environ | single_threaded() | environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kernel(self, directory: Path) -> ForkedKernel:
        """A new kernel whose current directory is the one given."""
        with self.lock:
            self.numbers += 1
            file = Path(self.folder.name) / f"{self.numbers}.json"
        return ForkedKernel(self, file, directory)

    def ask(self, question: dict[str, Any]) -> int:
        """Have it start or stop a kernel, and return the kernel's process id."""
        with self.lock:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(f"{json.dumps(question)}\n")
            self.process.stdin.flush()
            return int(self.process.stdout.readline())

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()
        self.folder.cleanup()


def single_threaded() -> dict[str, str]:
    """What makes numbers the same on every machine, and forking safe: no threads in numerical libraries."""
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {
        "PYTHONPATH": str(ROOT),
        "MPLBACKEND": INLINE,
    }


class Kernel:
    """A conversation with a kernel: cells go in, messages come out; use it in a `with` block.

    jupyter_client's own clients run an event loop for each thread, and leave it to the collector.

    Args:
        file: where the kernel finds how to be reached; it must not exist yet.
    """

    def __init__(self, file: Path) -> None:
        _, connection = write_connection_file(
            str(file), ip=str(file.with_suffix("")), transport="ipc", key=os.urandom(16).hex().encode()
        )
        self.connection: dict[str, Any] = dict(connection)
        self.session = Session(key=connection["key"].encode())
        self.context = zmq.Context()
        self.shell = self._socket(zmq.DEALER, "shell_port")
        self.iopub = self._socket(zmq.SUB, "iopub_port")
        self.iopub.subscribe(b"")
        self.waiting = zmq.Poller()
        self.waiting.register(self.iopub, zmq.POLLIN)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            # What a kernel says before it notices that we listen is lost.
            asked = self._ask("kernel_info_request", {})
            while self.waiting.poll(200):
                if self._next(self.iopub)["parent_header"].get("msg_id") == asked:
                    self._reply(asked)
                    return self
        raise AssertionError("the kernel did not start")

    def __exit__(self, *_: object) -> None:
        self.context.destroy(linger=0)

    def run(self, code: str, expression: str, silent: bool = False) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Run a cell.

        Args:
            code: the cell.
            expression: what is evaluated after it, if it does not raise; empty for nothing.
            silent: whether it is none of the notebook's own cells.

        Returns:
            The messages that it sent, in order, and the reply.
        """
        asked = self._ask(
            "execute_request",
            {
                **{"code": code, "silent": silent, "store_history": not silent, "allow_stdin": False},
                **{"user_expressions": {"asked": expression} if expression else {}, "stop_on_error": True},
            },
        )
        messages: list[dict[str, Any]] = []
        while True:
            assert self.waiting.poll(SECONDS * 1000), f"the kernel does not come to an end of {code!r}"
            message = self._next(self.iopub)
            if message["parent_header"].get("msg_id") != asked:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return messages, self._reply(asked)
            messages.append(message)

    def _socket(self, kind: int, port: str) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        socket.connect(f"ipc://{self.connection['ip']}-{self.connection[port]}")
        return socket

    def _ask(self, kind: str, content: dict[str, Any]) -> str:
        sent: dict[str, Any] | None = self.session.send(self.shell, kind, content)
        assert sent is not None
        asked: str = sent["header"]["msg_id"]
        return asked

    def _reply(self, asked: str) -> dict[str, Any]:
        while self.shell.poll(SECONDS * 1000):
            message = self._next(self.shell)
            if message["parent_header"].get("msg_id") == asked:
                content: dict[str, Any] = message["content"]
                return content
        raise AssertionError("the kernel did not reply")

    def _next(self, socket: zmq.Socket[bytes]) -> dict[str, Any]:
        message: dict[str, Any] | None = self.session.recv(socket, mode=0)[1]
        assert message is not None
        return message


class ForkedKernel(Kernel):
    """A kernel that a nursery forked."""

    def __init__(self, nursery: Nursery, file: Path, directory: Path) -> None:
        super().__init__(file)
        self.nursery = nursery
        self.process = nursery.ask({"start": str(file), "directory": str(directory)})

    def __enter__(self) -> Self:
        super().__enter__()
        # A fork seeds it anew, and a starting kernel draws from it; two runs that are compared must begin alike.
        self.run("__import__('random').seed(1)", "", silent=True)
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.nursery.ask({"stop": self.process})


class StartedKernel(Kernel):
    """A kernel that starts from nothing, as JupyterLab starts one.

    Args:
        directory: its current directory.
        environment: what it gets beside this process's environment.
    """

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="fck-")  # short, since a socket's path must be
        file = Path(self.folder.name) / "kernel.json"
        super().__init__(file)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", str(file), MEMORY_HISTORY],
            env=os.environ | single_threaded() | environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def serve() -> None:
    """Import what notebooks need; then fork a kernel for each line that asks for one, until the input ends."""
    for name in IMPORTED:
        __import__(name)
    children = set()
    for line in sys.stdin:
        question = json.loads(line)
        if "start" in question:
            child = os.fork()
            if child == 0:
                _become_kernel(question)
            children.add(child)
        else:
            child = question["stop"]
            children.discard(child)
            _end(child)
        print(child, flush=True)
    for child in children:
        _end(child)


def _end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _become_kernel(question: dict[str, Any]) -> None:
    from ipykernel.kernelapp import IPKernelApp

    os.chdir(question["directory"])
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115  (it lives as long as the process)
    kernel = IPKernelApp.instance()
    kernel.initialize(["-f", question["start"], MEMORY_HISTORY])  # type: ignore[no-untyped-call]
    kernel.start()  # type: ignore[no-untyped-call]
    os._exit(0)
