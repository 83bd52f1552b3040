"""What a cell shows: recorded while it runs, shown again, and the same as without any of it.

A magic of the tests' own, ``%%recorded``, runs its body the first time and shows it again from then on. Each cell is
run plainly, under the magic, and under the magic once more; what arrives must be the same three times.
"""

from __future__ import annotations

import ast
import builtins
import getpass
import logging
import pickle
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from IPython.core.error import InputRejected
from IPython.core.interactiveshell import InteractiveShell

from frappe_cache_ext.errors import MISS
from frappe_cache_ext.notebook.recording import Recording, put_over
from frappe_cache_ext.notebook.replaying import replay
from frappe_cache_ext.notebook.running import (
    AwaitTransformer,
    Ran,
    body_awaits,
    cell_file,
    raised_by_body,
    reraise,
    run_cell,
    run_cell_async,
)

from .conftest import COLOURS, Kernel
from .test_terminal import Terminal

Message = tuple[str, dict[str, Any]]


class Recorded:
    """``%%recorded``, in one shell.

    Attributes:
        ran: what came of the last body that ran.
        runs: how many bodies ran.
        file: under which name the last one was compiled.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.stored: dict[str, tuple[bytes, Any]] = {}
        self.ran = Ran([], None, MISS, complete=True)
        self.runs = 0
        self.file = ""
        self.transformer = AwaitTransformer("recorded")

    def load(self) -> Recorded:
        self.shell.register_magic_function(self.run, "cell", "recorded")
        self.transformer.install(self.shell)
        return self

    def unload(self) -> None:
        del self.shell.magics_manager.magics["cell"]["recorded"]
        self.transformer.remove(self.shell)

    def run(self, line: str, body: str) -> Any:
        return self.run_async(body) if body_awaits(self.shell, body) else self.run_now(body)

    def run_now(self, body: str) -> None:
        if not self.found(body):
            self.finish(body, run_cell(self.shell, body))

    async def run_async(self, body: str) -> None:
        if not self.found(body):
            self.finish(body, await run_cell_async(self.shell, body))

    def found(self, body: str) -> bool:
        if body not in self.stored:
            return False
        outputs, result = self.stored[body]
        replay(self.shell, pickle.loads(outputs), result)
        return True

    def finish(self, body: str, ran: Ran) -> None:
        self.ran = ran
        self.runs += 1
        self.file = cell_file(self.shell, body)
        if ran.error is not None:
            reraise(ran.error)
        if ran.complete:
            self.stored[body] = pickle.dumps(ran.outputs), ran.result


# --- in a kernel --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(kernel_environment: dict[str, str]) -> Iterator[Kernel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_CURRENT_TEST")  # where a kernel finds it, it does not show what is written past Python
        started = Kernel(kernel_environment)
    answer = started.run(
        "from tests.notebook.test_recording import Recorded\nrecorded = Recorded(get_ipython()).load()\n"
        "import asyncio, sys, time, logging, warnings, subprocess, threading, os\n"
        "from IPython.display import HTML, clear_output, display, update_display\n"
        "import pandas, matplotlib.pyplot as plt\n%matplotlib inline"
    )
    assert (answer.status, answer.err) == ("ok", "")
    yield started
    started.stop()


class Exchange:
    """All that a kernel sent for one cell: what it shows, and its reply.

    Args:
        kernel: where to run the cell.
        cell: its text.
        interrupt: whether to interrupt the kernel as soon as the cell shows something.
    """

    def __init__(self, kernel: Kernel, cell: str, interrupt: bool = False) -> None:
        self.messages: list[Message] = []
        asked = kernel.client.execute(cell)
        while True:
            message = kernel.client.get_iopub_msg(timeout=30)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind not in ("status", "execute_input"):
                self._add(kind, content)
                if interrupt and len(self.messages) == 1:
                    time.sleep(0.1)  # from the print to the wait
                    kernel.manager.interrupt_kernel()
        self.reply = kernel._reply(asked, 30)

    def _add(self, kind: str, content: dict[str, Any]) -> None:
        content.pop("execution_count", None)
        if kind == "error":
            content["traceback"] = [_without_numbers(line) for line in content["traceback"]]
            content["evalue"] = _without_numbers(content["evalue"])
        if kind == "stream":
            content["text"] = _without_numbers(content["text"])
        before = self.messages[-1] if self.messages else ("", {})
        if kind == "stream" and before[0] == "stream" and before[1]["name"] == content["name"]:
            before[1]["text"] += content["text"]
        else:
            self.messages.append((kind, content))

    @property
    def error(self) -> tuple[str, str, str]:
        """The reply's status, and what it says went wrong."""
        return self.reply["status"], self.reply.get("ename", ""), _without_numbers(self.reply.get("evalue", ""))


def _without_numbers(text: str) -> str:
    """A traceback without what no two cells share: their numbers, and the files that kernels name after their text."""
    # Where the magic's line stands, the plain cell has a comment.
    text = re.sub(r"(?m)^ +1 (# plain)?\n", "", COLOURS.sub("", text))
    return re.sub(r"In\[\d+\]|\d+\.py", "n", text)


SHOWN: Final = {
    "print": "print('one'); print('two', end=''); print('three', flush=True)",
    "interleaved": (
        "for i in range(3):\n    print('out', i, flush=True)\n    print('err', i, file=sys.stderr, flush=True)"
    ),
    "progress": "for i in range(3):\n    sys.stderr.write(f'\\r{i} of 3')\n    sys.stderr.flush()",
    "warning": "warnings.warn_explicit('careful', UserWarning, 'file.py', 1)",
    "logging": "log = logging.getLogger('a'); log.handlers = [logging.StreamHandler()]; log.warning('noted')",
    "display": "print('before'); display(HTML('<b>bold</b>')); print('after')",
    "metadata": "display({'text/plain': 'x'}, raw=True, metadata={'text/plain': {'k': 1}})",
    "figure": "plt.plot([1, 2]); print('drawn')",
    "two figures": "plt.plot([1, 2]); plt.show(); plt.plot([2, 1]); plt.title('second');",
    "value": "pandas.DataFrame({'a': [1, 2]})",
    "value and figure": "plt.plot([3, 4])\npandas.Series([1])",
    "hidden value": "print('shown'); 1 + 1;",
    "hidden value, then a comment": "1 + 1;  # a comment",
    "no value": "None",
    "value that displays itself": (
        "class Shown:\n    def _ipython_display_(self):\n        display(HTML('<i>me</i>'))\nShown()"
    ),
    "value that prints": (
        "class Talks:\n    def __repr__(self):\n        print('asked')\n        return 'Talks'\nTalks()"
    ),
    "update": (
        "h = display('one', display_id='an-id'); print('between')\n"
        "h.update('two'); update_display(3, display_id='an-id')"
    ),
    "clear": "print('gone'); clear_output(wait=True); print('kept'); clear_output(); display(1)",
    "shell": "!echo from the shell; echo and on stderr >&2",
    "shell, value kept": "lines = !echo caught\nlines",
    "line magic": "%time print('timed')",
    "nested magic": "%%time\nprint('timed')\n40 + 2",
    "nested capture": "%%capture taken\nprint('hidden'); display(1)\n2",
    "captured within": (
        "from IPython.utils.capture import capture_output\n"
        "with capture_output() as c:\n    print('hidden'); display(1)\nc.stdout"
    ),
    "redirected within": (
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    print('hidden')\nprint('shown')"
    ),
    "thread": "t = threading.Thread(target=print, args=('from a thread',)); t.start(); t.join()",
    "past Python": (
        "print('first', flush=True); subprocess.run(['echo', 'from a child'], check=True)\n"
        "time.sleep(0.2); print('last', flush=True); n = os.write(2, b'by number')\n"
        "time.sleep(0.2)  # without it the kernel may hear of that after the cell has ended, recorded or not"
    ),
    "await": "print('before')\nawait asyncio.sleep(0.01)\nprint('after')\nawait asyncio.sleep(0, 5)",
    "await, hidden value": "await asyncio.sleep(0, 5);",
    "nested cell": "get_ipython().run_cell('print(1)')\nprint(2)",
    "nothing": "x = 1",
}


class TestInAKernel:
    @pytest.mark.parametrize("body", SHOWN.values(), ids=SHOWN)
    def test_is_shown_the_same_when_recorded_and_when_replayed(self, kernel: Kernel, body: str) -> None:
        plain = Exchange(kernel, body if body.startswith("%%") else f"# plain\n{body}")
        assert plain.error[0] == "ok"
        runs = int(kernel.value("recorded.runs"))
        first = Exchange(kernel, f"%%recorded\n{body}")
        second = Exchange(kernel, f"%%recorded\n{body}")
        for other in (first, second):
            assert other.error[0] == "ok"
            assert _untimed(other.messages) == _untimed(plain.messages)
        assert second.messages == first.messages
        assert kernel.value("recorded.runs, recorded.ran.complete") == f"({runs + 1}, True)"

    def test_its_value_is_the_cells(self, kernel: Kernel) -> None:
        for cell in ("# plain\n[4, 2]", "%%recorded\n[4, 2]", "%%recorded\n[4, 2]"):
            kernel.run("'before'")
            kernel.run(cell)
            assert (
                kernel.value("(_, __, Out[max(Out)], In[-1] == In[len(In) - 1], max(Out) == len(In) - 2)")
                == "([4, 2], 'before', [4, 2], True, True)"
            )

    @pytest.mark.parametrize("body", ["1 + 1;", "None", "x = 1", "await asyncio.sleep(0, 5);"])
    def test_a_hidden_value_is_noted_nowhere(self, kernel: Kernel, body: str) -> None:
        for _ in range(2):
            kernel.run("'before'")
            kernel.run(f"%%recorded\n{body}")
            assert kernel.value("(_, Out[max(Out)], max(Out) == len(In) - 3)") == "('before', 'before', True)"

    def test_a_value_that_displays_itself_is_noted(self, kernel: Kernel) -> None:
        kernel.run("class Itself(int):\n    def _ipython_display_(self):\n        print('me')")
        for _ in range(2):
            kernel.run("'before'")
            assert kernel.run("%%recorded\nItself(7)").out == "me\n"
            assert kernel.value("(int(_), __, int(Out[max(Out)]))") == "(7, 'before', 7)"

    def test_what_was_displayed_can_be_updated_after_a_replay(self, kernel: Kernel) -> None:
        cell = "%%recorded\nhandle = display('first', display_id=True)"
        kernel.run(cell)
        [(kind, content)] = Exchange(kernel, cell).messages
        assert (kind, content["data"]) == ("display_data", {"text/plain": "'first'"})
        [(kind, update)] = Exchange(kernel, "handle.update('second')").messages
        assert (kind, update["data"]) == ("update_display_data", {"text/plain": "'second'"})
        assert update["transient"] == content["transient"]

    def test_the_order_between_the_streams_is_kept_however_fast_it_comes(self, kernel: Kernel) -> None:
        cell = "%%recorded\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')"
        kernel.run(cell)
        shown = [(content["name"], content["text"]) for _, content in Exchange(kernel, cell).messages]
        assert shown == [("stdout", "a\n"), ("stderr", "b\n"), ("stdout", "c\n")]

    def test_what_an_earlier_cell_still_shows_is_not_its_own(self, kernel: Kernel) -> None:
        kernel.run(
            "async def talk():\n    for i in range(50):\n        print('task'); await asyncio.sleep(0.01)\n"
            "task = asyncio.create_task(talk())"
        )
        kernel.run("%%recorded\nfor i in range(5):\n    await asyncio.sleep(0.02)\nprint('own')")
        assert kernel.value("recorded.ran.outputs") == r"[('stream', 'stdout', 'own\n')]"
        kernel.run("await task")

    def test_what_an_earlier_cell_wrote_past_python_is_not_its_own(self, kernel: Kernel) -> None:
        kernel.client.execute("for i in range(500):\n    os.write(1, b'earlier' * 100)")
        kernel.run("%%recorded\nos.write(1, b'own');")
        assert kernel.value("recorded.ran.outputs") == "[('stream', 'stdout', 'own')]"

    def test_code_is_found_where_a_debugger_looks_for_it(self, kernel: Kernel) -> None:
        cell = "%%recorded\n\ndef f():\n    return 1"
        kernel.run(cell)
        kernel.run("import inspect, ipykernel.compiler")
        assert kernel.value(f"f.__code__.co_filename == ipykernel.compiler.get_file_name({cell!r})") == "True"
        assert kernel.value("inspect.getsource(f), f.__code__.co_firstlineno") == r"('def f():\n    return 1\n', 3)"

    def test_events_are_those_of_one_cell(self, kernel: Kernel) -> None:
        kernel.run(
            "seen = []\nkinds = ('pre_execute', 'pre_run_cell', 'post_execute', 'post_run_cell')\n"
            "for kind in kinds:\n    get_ipython().events.register(kind, lambda *a, kind=kind: seen.append(kind))"
        )
        for cell in ("%%recorded\n1", "%%recorded\n1", "%%recorded\nawait asyncio.sleep(0)"):
            kernel.run("seen.clear()")
            kernel.run(cell)
            kernel.run("times = [seen.count(kind) for kind in kinds]")
            # Those of the cell, and of the two beside it one half each.
            assert kernel.value("times") == "[2, 2, 2, 2]"


def _untimed(messages: list[Message]) -> list[Message]:
    """Without what `%time` measures, which no two plain runs share either."""
    return [
        (kind, {**content, "text": re.sub(r"\d[\d.]* (ns|µs|μs|ms|s)\b", "t", content["text"])})
        if kind == "stream"
        else (kind, content)
        for kind, content in messages
    ]


FAILING: Final = {
    "at once": "1 / 0",
    "later": "print('went on')\n\n\ndef f():\n    raise ValueError('deep')\nf()\nprint('never')",
    "after blank lines": "\n\n  \nx = {}\nx['missing']",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('k') from error",
    "a group": "raise ExceptionGroup('several', [ValueError(1)])",
    "await": "await asyncio.sleep(0)\nasync def f():\n    await asyncio.sleep(0)\n    1 / 0\nawait f()",
    "not Python": "x = 1\ny = = 2",
    "indentation": "if True:\nx",
    "does not compile": "print('ran')\nreturn 1",
    "syntax of its own": "exec('1 +')",
    "magic": "%nosuchmagic",
    "assertion": "assert 1 == 2, 'unequal'",
    "exit": "warnings.filterwarnings('always', 'To exit')\nraise SystemExit(3)",
    "figure, then error": "plt.plot([1, 2])\n1 / 0",
    "cancelled": "await asyncio.sleep(0)\nraise asyncio.CancelledError()",
}


class TestErrors:
    @pytest.mark.parametrize("body", FAILING.values(), ids=FAILING)
    def test_they_are_shown_as_those_of_a_plain_cell(self, kernel: Kernel, body: str) -> None:
        # IPython takes blank lines away from the start of a plain cell, but not from below a line.
        plain = Exchange(kernel, f"# plain\n{body}")
        recorded = Exchange(kernel, f"%%recorded\n{body}")
        assert plain.error[0] == "error"
        assert recorded.error == plain.error
        assert recorded.messages == plain.messages
        assert [_without_numbers(line) for line in recorded.reply["traceback"]] == [
            _without_numbers(line) for line in plain.reply["traceback"]
        ]

    def test_the_lines_are_those_of_the_whole_cell(self, kernel: Kernel) -> None:
        number = int(kernel.value("len(In)"))
        for body in ("\nx = 1\n1 / 0", "\nx = 1\nawait asyncio.sleep(1 / 0)"):
            number += 1
            exchange = Exchange(kernel, f"%%recorded\n{body}")
            [(_, content)] = exchange.messages
            text = "\n".join(content["traceback"])
            assert text.count("Traceback") == 1
            assert "Cell n, line 4" in text
            assert "----> 4" in text
            assert "recording.py" not in text
            assert "running.py" not in text
            assert "run_cell_magic" not in text

    def test_the_cell_has_its_number(self, kernel: Kernel) -> None:
        number = int(kernel.value("len(In)"))
        kernel.run("%%recorded\n1 / 0")
        kernel.run("import traceback\nfile = traceback.extract_tb(recorded.ran.error.__traceback__)[-1].filename")
        assert kernel.value("recorded.shell.compile.format_code_name(file)[1]") == f"'In[{number}]'"

    def test_the_error_is_the_users_own_object(self, kernel: Kernel) -> None:
        kernel.run("class Own(Exception):\n    pass\nown = Own('mine')")
        assert Exchange(kernel, "%%recorded\nraise own").error == ("error", "Own", "mine")
        assert kernel.value("sys.last_value is own") == "True"

    def test_a_run_of_all_cells_stops(self, kernel: Kernel) -> None:
        asked = [kernel.client.execute(cell) for cell in ("%%recorded\n1 / 0", "went_on = True")]
        statuses = [kernel._reply(each, 30)["status"] for each in asked]
        assert statuses == ["error", "aborted"]
        time.sleep(0.5)  # the kernel refuses for a moment whatever it is asked

    @pytest.mark.parametrize(
        "body",
        [
            "print('begun', flush=True)\ntime.sleep(20)",
            "print('begun', flush=True)\nfor i in range(200):\n    await asyncio.sleep(0.1)",
        ],
        ids=["plain", "await"],
    )
    def test_an_interrupt_ends_it_as_it_ends_a_plain_cell(self, kernel: Kernel, body: str) -> None:
        plain = Exchange(kernel, f"# plain\n{body}", interrupt=True)
        recorded = Exchange(kernel, f"%%recorded\n{body}", interrupt=True)
        assert plain.error[1] in ("KeyboardInterrupt", "CancelledError")
        assert recorded.error == plain.error
        assert recorded.messages == plain.messages
        assert kernel.value("type(recorded.ran.error).__name__") == f"'{plain.error[1]}'"
        assert kernel.value("'run_code' in vars(recorded.shell), 'input' in repr(input)") == "(False, True)"

    def test_one_that_is_caught_is_not_shown(self, kernel: Kernel) -> None:
        answer = kernel.run(
            "try:\n    get_ipython().run_cell_magic('recorded', '', '1 / 0')\n"
            "except ZeroDivisionError:\n    print('caught')"
        )
        assert (answer.status, answer.out, answer.error) == ("ok", "caught\n", "")
        # And the next is shown whole.
        [(_, content)] = Exchange(kernel, "# plain\n1 / 0").messages
        assert "line 2" in "\n".join(content["traceback"])


INCOMPLETE: Final = {
    "a traceback that is shown": (
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()",
        "it shows a traceback and goes on",
    ),
    "a failing repr": ("class Bad:\n    def __repr__(self):\n        1 / 0\nBad()", "it shows a traceback and goes on"),
    "a pager": ("len?", "it opens a pager or writes into another cell"),
    "the next cell": ("get_ipython().set_next_input('x')", "it opens a pager or writes into another cell"),
    "two values": (
        "kind = get_ipython().ast_node_interactivity\nget_ipython().run_cell('1'); 2",
        "it shows more than one value",
    ),
}


class TestIncomplete:
    @pytest.mark.parametrize(("body", "reason"), INCOMPLETE.values(), ids=INCOMPLETE)
    def test_what_cannot_be_shown_again_is_told(self, kernel: Kernel, body: str, reason: str) -> None:
        kernel.run(f"%%recorded\n{body}")
        assert kernel.value("recorded.ran.complete, recorded.ran.reason") == repr((False, reason))

    def test_a_capture_around_it(self, kernel: Kernel) -> None:
        kernel.run("%%capture taken\n%%recorded\nprint('hi')\n41")
        kernel.run("shown = [output.data['text/plain'] for output in taken.outputs]")
        assert kernel.value("taken.stdout, shown, recorded.ran.complete") == r"('hi\n', ['41'], False)"
        # A replay is captured as well.
        kernel.run("%%recorded\nprint('hi')\ndisplay(40)\n41")
        kernel.run("'before'")
        kernel.run("%%capture taken\n%%recorded\nprint('hi')\ndisplay(40)\n41")
        kernel.run("shown = [output.data['text/plain'] for output in taken.outputs]")
        assert kernel.value("taken.stdout, shown, _") == r"('hi\n', ['40', '41'], 'before')"


# --- in this process ----------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(ip: InteractiveShell) -> Iterator[Recorded]:
    loaded = Recorded(ip).load()
    kept = dict(ip.user_ns)
    yield loaded
    loaded.unload()
    for name in set(ip.user_ns) - set(kept):
        del ip.user_ns[name]


class TestInAShell:
    @pytest.mark.parametrize(
        "body",
        [
            "print('one')\nimport sys\nprint('two', file=sys.stderr)",
            "get_ipython().display_pub.publish({'text/plain': 'shown'})\nprint('after')",
            "print('gone')\nget_ipython().display_pub.clear_output()\nprint('kept')",
            "[1, 2]",
            "'several\\nlines\\nof' * 20",
            "1;",
            "import asyncio\nawait asyncio.sleep(0, 7)",
            "!echo from the shell",
        ],
    )
    def test_is_printed_the_same(self, recorded: Recorded, capsys: pytest.CaptureFixture[str], body: str) -> None:
        printed = []
        for cell in (f"# plain\n{body}", f"%%recorded\n{body}", f"%%recorded\n{body}"):
            assert recorded.shell.run_cell(cell, store_history=True).success
            out, err = capsys.readouterr()
            printed.append((re.sub(r"\[\d+\]: ", "[n]: ", COLOURS.sub("", out)), err))
        assert printed[1:] == printed[:1] * 2
        assert recorded.runs == 1
        assert recorded.ran.complete

    def test_the_caller_gets_the_value(self, recorded: Recorded) -> None:
        results = [recorded.shell.run_cell("%%recorded\n[4, 2]", store_history=True).result for _ in range(2)]
        assert results == [[4, 2], [4, 2]]

    def test_the_caller_gets_the_error(self, recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
        done = recorded.shell.run_cell("%%recorded\n1 / 0", store_history=True)
        assert done.error_in_exec is recorded.ran.error
        assert COLOURS.sub("", capsys.readouterr().out).count("Traceback") == 1
        # What stood in for the shell's own method is gone.
        assert "showtraceback" not in vars(recorded.shell)

    def test_a_handler_of_the_users_own_is_called_once(self, recorded: Recorded) -> None:
        handled: list[type[BaseException]] = []
        shell = recorded.shell
        shell.set_custom_exc((ZeroDivisionError,), lambda shell, kind, *rest, **named: handled.append(kind))
        try:
            shell.run_cell("%%recorded\n1 / 0", store_history=True)
        finally:
            shell.set_custom_exc((), None)
        assert handled == [ZeroDivisionError]

    def test_a_body_that_a_transformer_rejects(self, recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
        class Rejecting(ast.NodeTransformer):
            def visit_Delete(self, node: ast.Delete) -> ast.Delete:
                raise InputRejected("nothing is deleted here")

        rejecting = Rejecting()
        recorded.shell.ast_transformers.append(rejecting)
        try:
            ends = []
            for cell in ("del x", "%%recorded\ndel x"):
                done = recorded.shell.run_cell(cell)
                error = done.error_before_exec or done.error_in_exec
                ends.append((type(error), COLOURS.sub("", capsys.readouterr().out).splitlines()[-1]))
        finally:
            recorded.shell.ast_transformers.remove(rejecting)
        assert ends == [(InputRejected, "InputRejected: nothing is deleted here")] * 2

    def test_errors_of_the_body_are_known_until_the_cell_is_over(self, recorded: Recorded) -> None:
        ran = run_cell(recorded.shell, "raise KeyError('k')")
        assert isinstance(ran.error, KeyError)
        assert raised_by_body(ran.error)
        assert not raised_by_body(KeyError("k"))
        again = run_cell(recorded.shell, "raise KeyError('k')")
        assert not raised_by_body(ran.error)
        assert again.error is not None
        recorded.shell.run_cell("1")
        assert not raised_by_body(again.error)
        assert "showtraceback" not in vars(recorded.shell)

    def test_assignments_are_shown_where_that_is_asked_for(self, recorded: Recorded) -> None:
        recorded.shell.ast_node_interactivity = "last_expr_or_assign"
        try:
            ran = run_cell(recorded.shell, "x = 5")
        finally:
            recorded.shell.ast_node_interactivity = "last_expr"
        assert (ran.result, ran.outputs) == (5, [("result", {"text/plain": "5"}, {})])

    def test_an_error_of_a_cell_that_the_body_runs_is_not_the_bodys(self, recorded: Recorded) -> None:
        ran = run_cell(recorded.shell, "get_ipython().run_cell('1 / 0')\nafter = 1")
        assert (ran.error, recorded.shell.user_ns["after"]) == (None, 1)
        assert (ran.complete, ran.reason) == (False, "it shows a traceback and goes on")

    def test_the_history_of_outputs_is_that_of_a_plain_cell(self, recorded: Recorded) -> None:
        history = recorded.shell.history_manager
        for cell in ("# plain\n[4, 2]", "%%recorded\n[4, 2]", "%%recorded\n[4, 2]"):
            number = recorded.shell.execution_count
            recorded.shell.run_cell(cell, store_history=True)
            assert history.output_hist_reprs.pop(number) == "[4, 2]"

    def test_a_body_that_awaits_is_refused_by_the_function_that_cannot(self, recorded: Recorded) -> None:
        with pytest.raises(RuntimeError, match="run_cell_async"):
            run_cell(recorded.shell, "import asyncio\nawait asyncio.sleep(0)")

    def test_functions_are_of_the_file_that_is_told(self, recorded: Recorded) -> None:
        body = "\n\ndef f():\n    pass\n"
        recorded.shell.run_cell(f"%%recorded\n{body}", store_history=True)
        code = recorded.shell.user_ns["f"].__code__
        assert (code.co_filename, code.co_firstlineno) == (recorded.file, 4)

    def test_nothing_stays_behind(self, recorded: Recorded) -> None:
        shell = recorded.shell
        owners = [shell, shell.display_pub, shell.displayhook, shell.payload_manager, sys.stdout, sys.stderr]
        before = [dict(vars(owner)) for owner in owners]
        functions = [builtins.input, getpass.getpass]
        for body in ("print(1)\n2", "1 / 0", "x = ="):
            run_cell(shell, body)
            shell.events.trigger("post_execute")
        for owner, attributes in zip(owners, before, strict=True):
            methods = {name for name, value in vars(owner).items() if callable(value)}
            assert methods == {name for name, value in attributes.items() if callable(value)}
        assert [builtins.input, getpass.getpass] == functions


class TestRecording:
    def test_handlers_and_threads_of_before_are_heard(self, ip: InteractiveShell) -> None:
        logger = logging.Logger("early")
        logger.addHandler(logging.StreamHandler(sys.stderr))
        with Recording(ip) as recording:
            logger.warning("noted")
            thread = threading.Thread(target=print, args=("from a thread",))
            thread.start()
            thread.join()
            sys.stdout.writelines(["a\n", "b\n"])
        assert recording.outputs == [("stream", "stderr", "noted\n"), ("stream", "stdout", "from a thread\na\nb\n")]

    def test_who_keeps_hold_of_a_stream_is_not_heard_afterwards(
        self, ip: InteractiveShell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Recording(ip) as recording:
            write = sys.stdout.write
            write("within ")
        write("after")
        assert recording.outputs == [("stream", "stdout", "within ")]
        assert capsys.readouterr().out == "within after"

    def test_a_recording_within_another(self, ip: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        with Recording(ip) as outer:
            with Recording(ip) as inner:
                print("both")
                ip.display_pub.publish({"text/plain": "shown"})
            replay(ip, inner.outputs)
        assert inner.outputs == [("stream", "stdout", "both\n"), ("display", {"text/plain": "shown"}, {}, None)]
        assert outer.outputs == inner.outputs * 2
        assert capsys.readouterr().out == "both\nshown\n" * 2

    def test_a_widget_keeps_what_can_be_shown_without_its_kernel(self, ip: InteractiveShell) -> None:
        view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
        with Recording(ip) as recording:
            ip.display_pub.publish({**view, "text/plain": "IntSlider(value=1)"})
            ip.display_pub.publish(dict(view))
        assert recording.outputs == [("display", {"text/plain": "IntSlider(value=1)"}, {}, None)]

    def test_what_is_changed_after_it_was_shown(self, ip: InteractiveShell) -> None:
        data: dict[str, Any] = {"application/json": {"a": [1]}}
        with Recording(ip) as recording:
            ip.display_pub.publish(data)
            data["application/json"]["a"].append(2)
        assert recording.outputs == [("display", {"application/json": {"a": [1]}}, {}, None)]

    @pytest.mark.parametrize("ask", ["input()", "__import__('getpass').getpass()"])
    def test_who_asks_cannot_be_replayed(self, ip: InteractiveShell, monkeypatch: pytest.MonkeyPatch, ask: str) -> None:
        monkeypatch.setattr("builtins.input", lambda: "told")
        monkeypatch.setattr("getpass.getpass", lambda: "told")
        ran = run_cell(ip, f"answer = {ask}")
        assert ip.user_ns.pop("answer") == "told"
        assert (ran.complete, ran.reason) == (False, "it asks for input")

    def test_a_stream_that_cannot_be_listened_to(self, ip: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
        class Closed:
            __slots__ = ()

            def write(self, text: str) -> int:
                return len(text)

        monkeypatch.setattr(sys, "stderr", Closed())
        with Recording(ip) as recording:
            print("heard")
        assert (recording.complete, recording.reason) == (False, "sys.stderr cannot be listened to")

    def test_many_small_pieces_take_no_longer_than_they_should(self, ip: InteractiveShell) -> None:
        with Recording(ip) as recording:
            for _ in range(20_000):
                sys.stdout.write("x" * 100)
        [(_, _, text)] = recording.outputs
        assert len(text) == 2_000_000


class TestPutOver:
    def test_what_the_class_gives_is_seen_again(self) -> None:
        thing = Path
        restore = put_over(thing, "extra", 1)
        assert vars(thing)["extra"] == 1
        restore()
        assert "extra" not in vars(thing)

    def test_what_somebody_else_put_there_since_stays(self) -> None:
        owner = type("Owner", (), {})()
        restore = put_over(owner, "name", "ours")
        owner.name = "theirs"
        restore()
        assert owner.name == "theirs"


class TestAwaitTransformer:
    CALL = "get_ipython().run_cell_magic({!r}, {!r}, {!r})\n"

    @pytest.mark.parametrize(
        ("name", "line", "body", "awaited"),
        [
            ("recorded", "", "await f()\n", True),
            ("recorded", "--ttl 60", "x = 1\nasync with f():\n    pass\n", True),
            ("recorded", "", "x = 1\n", False),
            ("recorded", "", "async def f():\n    await g()\n", False),
            ("recorded", "", "await = \n", False),
            ("recorded", "--help", "await f()\n", False),
            ("time", "", "await f()\n", False),
        ],
    )
    def test_a_body_that_awaits_is_awaited(
        self, recorded: Recorded, name: str, line: str, body: str, awaited: bool
    ) -> None:
        call = self.CALL.format(name, line, body)
        assert recorded.transformer([call]) == [f"await {call}" if awaited else call]

    def test_the_cell_may_hold_nothing_else(self, recorded: Recorded) -> None:
        call = self.CALL.format("recorded", "", "await f()\n")
        assert recorded.transformer([call, "x = 1\n"]) == [call, "x = 1\n"]
        assert recorded.transformer(["x = 1\n"]) == ["x = 1\n"]

    def test_it_is_in_the_shell_and_out_again(self, recorded: Recorded) -> None:
        cell = "%%recorded\nawait f()"
        assert recorded.shell.transform_cell(cell).startswith("await get_ipython()")
        recorded.transformer.remove(recorded.shell)
        assert recorded.shell.transform_cell(cell).startswith("get_ipython()")
        recorded.transformer.install(recorded.shell)


# --- in a terminal ------------------------------------------------------------------------------------------------


def test_in_a_terminal(session_home: Path, tmp_path: Path) -> None:
    terminal = Terminal({"FRAPPE_CACHE_HOME": str(session_home), "IPYTHONDIR": str(tmp_path)}, "--simple-prompt")
    terminal.run("from tests.notebook.test_recording import Recorded; recorded = Recorded(get_ipython()).load()")
    terminal.run("from IPython.display import HTML, display; system = type(get_ipython()).system")
    try:
        for body in ("!echo from $((40 + 2)) and $HOME", "print('a'); display(HTML('b')); 'c'", "1;"):
            plain, first, second = (_shown(terminal, cell) for cell in (body, *[f"%%recorded\n{body}\n\n"] * 2))
            assert (first, second) == (plain, plain)
        assert "(3, True)" in terminal.run("recorded.runs, get_ipython().system.__func__ is system")
        error = terminal.run("%%recorded\nx = 1\n1 / 0\n\n")
        assert error.count("Traceback") == 1
        assert "line 3" in error
        assert "run_cell_magic" not in error
    finally:
        terminal.close()


def _shown(terminal: Terminal, cell: str) -> list[str]:
    """What a cell shows: not what is echoed of it, and without its number."""
    printed = re.sub(r"Out\[\d+\]|\.\.\.: ", "", terminal.run(cell)).splitlines()
    return [line for line in map(str.strip, printed) if line and line not in cell.splitlines()]
