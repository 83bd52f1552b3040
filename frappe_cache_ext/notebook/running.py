"""Runs the body of a cell magic as IPython runs a cell, recording what it shows.

It is IPython that compiles the body and runs it statement by statement. Three things are different from calling
`InteractiveShell.run_cell` inside a cell: no events of a second cell are triggered; a semicolon at the end is looked
for in the body; and an error is not shown but handed back. It is shown once, when `reraise` has carried it to the cell
that the magic stands in.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from types import CodeType, SimpleNamespace, TracebackType
from typing import Any, ClassVar, NoReturn

from IPython.core.error import InputRejected

from ..errors import MISS
from .recording import Output, Recording, put_over


@dataclass(slots=True)
class Ran:
    """What came of running a body.

    Attributes:
        outputs: what it showed, in order.
        error: what it raised, `KeyboardInterrupt` and `SystemExit` included; None if it ran to its end.
        result: the value that its last expression gave to ``_`` and ``Out[n]``; `MISS` if that was None, if it was
            hidden by a semicolon, or if there is none.
        complete: whether showing `outputs` again shows all that was shown.
        shown_error: whether IPython has shown the error already, as it does where the body is not Python.
        reason: why `outputs` are not complete; empty where they are.
    """

    outputs: list[Output]
    error: BaseException | None
    result: Any
    complete: bool
    shown_error: bool = False
    reason: str = ""


def run_cell(shell: Any, body: str, above: int = 1, python: str | None = None) -> Ran:
    """Run a body that does not await.

    Args:
        shell: IPython's own object, which is running the cell that the body is of.
        body: what stands below the magic's line.
        above: how many lines of the cell stand above it.
        python: it as Python, from `python_of`, if that is known already.

    Raises:
        RuntimeError: the body does await.
    """
    running = run_cell_async(shell, body, above, python)
    try:
        running.send(None)
    except StopIteration as stopped:
        ran: Ran = stopped.value
        return ran
    running.close()
    raise RuntimeError("the body awaits something: use run_cell_async")


async def run_cell_async(shell: Any, body: str, above: int = 1, python: str | None = None) -> Ran:
    """Run a body, on the loop that runs this, if it awaits.

    Args:
        shell: IPython's own object, which is running the cell that the body is of.
        body: what stands below the magic's line.
        above: how many lines of the cell stand above it.
        python: it as Python, from `python_of`, if that is known already.
    """
    try:
        python = python_of(shell, body) if python is None else python
        source = _in_its_place(python, body, above)
        file = cell_file(shell, body, above, python)
        nodes = shell.transform_ast(shell.compile.ast_parse(source, filename=file)).body
    except InputRejected as error:
        shell.showtraceback()
        return _refused(shell, error)
    except Exception as error:  # SyntaxError; ValueError for a null byte; what an input transformer raises
        shell.showsyntaxerror()
        return _refused(shell, error)
    # Both are in force within a cell; a program that calls the magic need not be one.
    with shell.builtin_trap, shell.display_trap, Recording(shell) as recording:
        done = await _run_nodes(shell, nodes, source, file)
    # Of a statement that turns out not to compile, after those before it have run.
    shown = done.error_before_exec is not None
    raised: BaseException | None = done.error_before_exec if shown else done.error_in_exec
    if raised is not None:
        _Passage(shell, raised, done.traceback, shown=shown)
    return Ran(recording.outputs, raised, recording.result, recording.complete, shown, recording.reason)


def body_awaits(shell: Any, body: str, python: str | None = None) -> bool:
    """Whether a body has an ``await`` of its own, outside of functions."""
    try:
        python = python_of(shell, body) if python is None else python
    except Exception:
        return False
    return bool(shell.should_run_async(body, transformed_cell=python))


def python_of(shell: Any, body: str) -> str:
    """A body as Python: its magics and shell lines as calls."""
    token = _is_body.set(True)
    try:
        python: str = shell.transform_cell(body)
    finally:
        _is_body.reset(token)
    return python


def is_body() -> bool:
    """Whether what is being transformed is the body of a cell, and not a cell that is about to run."""
    return _is_body.get()


_is_body: ContextVar[bool] = ContextVar("frappe_cache_is_body", default=False)


def cell_file(shell: Any, body: str, above: int = 1, python: str | None = None) -> str:
    """The file name under which a body is compiled.

    From this call on, tracebacks, `inspect` and debuggers find its lines there.
    """
    python = python_of(shell, body) if python is None else python
    # IPython has counted on already, to the cell that comes next.
    number = shell.displayhook.prompt_count
    file: str = shell.compile.cache(_in_its_place(python, body, above), number, raw_code=_whole_cell(shell, body))
    return file


def _in_its_place(python: str, body: str, above: int) -> str:
    """The Python of a body, its lines where they stand in the cell: below the magic's, and below blank ones."""
    blank = itertools.takewhile(str.isspace, body.splitlines(keepends=True))
    return "\n" * (above + len(list(blank))) + python


def _whole_cell(shell: Any, body: str) -> str:
    """The cell that a body is the end of.

    A kernel makes the name of the file out of its text, and so does JupyterLab when it sets a breakpoint.
    """
    whole: str = shell.history_manager.input_hist_raw[-1]
    return whole if whole.endswith(body.rstrip("\n")) else body


async def _run_nodes(shell: Any, nodes: list[ast.stmt], source: str, file: str) -> SimpleNamespace:
    done = SimpleNamespace(error_before_exec=None, error_in_exec=None, traceback=None)
    run_code = shell.run_code

    async def run_handing_back(code: CodeType, result: Any = None, *, async_: bool = False) -> bool:
        if result is not done:  # a cell that the body runs
            failed: bool = await run_code(code, result, async_=async_)
            return failed
        try:
            if async_:
                await eval(code, shell.user_global_ns, shell.user_ns)  # noqa: S307  (running code is what this is for)
            else:
                exec(code, shell.user_global_ns, shell.user_ns)  # noqa: S102
        except BaseException as error:
            done.error_in_exec = error
            # Without the frame of this function.
            done.traceback = error.__traceback__.tb_next if error.__traceback__ is not None else None
        return done.error_in_exec is not None

    with contextlib.ExitStack() as restore:
        restore.callback(put_over(shell, "run_code", run_handing_back))
        restore.callback(put_over(shell.displayhook, "quiet", lambda: _ends_with_semicolon(shell, source)))
        failed = await shell.run_ast_nodes(
            nodes, file, interactivity=shell.ast_node_interactivity, compiler=shell.compile, result=done
        )
        if not failed:
            _flush_figures(shell)
    return done


def _ends_with_semicolon(shell: Any, source: str) -> bool:
    return bool(shell.displayhook.semicolon_at_end_of_expression(source))


def _flush_figures(shell: Any) -> None:
    """Show matplotlib's figures now, while they are recorded, as they would be at the end of the cell."""
    inline = sys.modules.get("matplotlib_inline.backend_inline")
    if inline is not None and inline.flush_figures in shell.events.callbacks["post_execute"]:
        inline.flush_figures()


# --- errors -------------------------------------------------------------------------------------------------------


def reraise(error: BaseException) -> NoReturn:
    """Raise what a body raised, out of the magic.

    IPython then shows it as it shows the error of a cell without the magic: one traceback, with no frame but the
    user's. What it has shown already (`Ran.shown_error`) is not shown again, but stops *Run All* all the same.

    Args:
        error: what came of `run_cell`, or any other.
    """
    raise error


def raised_by_body(error: BaseException) -> bool:
    """Whether an error is the user's own, raised by a body and on its way out.

    Whoever tells some errors in one line has to let these pass: the body may have raised one of the same kind.
    """
    return any(passage.error is error for passage in _Passage.open)


def _refused(shell: Any, error: Exception) -> Ran:
    _Passage(shell, error, None, shown=True)
    return Ran([], error, MISS, complete=True, shown_error=True)


class _Passage:
    """An error on its way from a body to the cell that the magic stands in.

    On the way it collects a frame for everything in between, and the cell's own, which is but the call of the magic.
    They are left out when the error arrives where it is shown, and only the shell's `showtraceback` knows when that is.
    """

    open: ClassVar[list[_Passage]] = []
    """Those of all shells."""

    def __init__(self, shell: Any, error: BaseException, traceback: TracebackType | None, *, shown: bool) -> None:
        self.shell: Any = shell
        # At most one is shown: what an earlier body raised has been caught, or has become this one's error.
        for earlier in [passage for passage in self.open if passage.shell is shell]:
            earlier.close()
        self.error = error
        self.traceback = traceback
        self.shown = shown
        self.showtraceback = shell.showtraceback
        self.restore = put_over(shell, "showtraceback", self.show)
        shell.events.register("post_execute", self.close)
        self.open.append(self)

    def show(self, *args: Any, **named: Any) -> None:
        """Stand in for `showtraceback`."""
        if sys.exc_info()[1] is self.error:
            if self.shown:
                return
            if self.traceback is not None and self.error.__traceback__ is not None:
                # IPython's own frame, then the body's.
                self.error.__traceback__.tb_next = self.traceback
        self.showtraceback(*args, **named)

    def close(self) -> None:
        """Forget the error, wherever it went, once the cell is over."""
        self.restore()
        self.shell.events.unregister("post_execute", self.close)
        self.open.remove(self)


# --- await --------------------------------------------------------------------------------------------------------


class AwaitTransformer:
    """Lets a cell magic run a body that awaits, by having the cell await the magic.

    A magic is a plain function, and a loop that runs already cannot be asked to run something else. So a cell that is
    nothing but the magic's call becomes ``await get_ipython().run_cell_magic(…)`` where the body awaits, and the magic
    returns a coroutine. Both shells then do with the cell what they do with any that awaits.

    Args:
        magic: the magic's name.
    """

    def __init__(self, magic: str = "cached") -> None:
        self.magic = magic
        self._shell: Any = None

    def install(self, shell: Any) -> None:
        """Begin to look at the cells of a shell."""
        self._shell = shell
        shell.input_transformers_post.append(self)

    def remove(self, shell: Any) -> None:
        """Look at them no more."""
        shell.input_transformers_post.remove(self)

    def __call__(self, lines: list[str]) -> list[str]:
        """Put ``await`` before the call, if the cell is one and its body awaits."""
        body = self._body("".join(lines))
        if body is None or not body_awaits(self._shell, body):
            return lines
        return [f"await {lines[0]}", *lines[1:]]

    def _body(self, source: str) -> str | None:
        if not source.startswith("get_ipython().run_cell_magic("):
            return None
        try:
            nodes = ast.parse(source).body
        except SyntaxError:
            return None
        match nodes:
            case [
                ast.Expr(ast.Call(args=[ast.Constant(self.magic), ast.Constant(str(line)), ast.Constant(str(body))]))
            ]:
                # ``--help`` is answered at once, with nothing to await.
                return None if {"--help", "-h"} & set(line.split()) else body
        return None
