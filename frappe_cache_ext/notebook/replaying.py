"""Shows again what a cell showed, as `recording` took it down."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from ..errors import MISS
from .recording import Output


def replay(shell: Any, outputs: list[Output], result: Any = MISS) -> None:
    """Show the outputs of a cell again, in their order, through what shows them when a cell runs.

    The last expression becomes ``_`` and ``Out[n]`` of the cell that is running now, and ``_`` of before becomes
    ``__``. Display ids are the ones of then, so that a later ``update_display`` finds what it looks for.

    Args:
        shell: IPython's own object.
        outputs: what `recording.Recording` took down.
        result: the last expression's value; `MISS` if it had none, or if it was hidden by a semicolon.
    """
    with shell.display_trap:
        _show(shell, outputs, result)
        if result is not MISS and not _is_captured(shell) and all(kind != "result" for kind, *_ in outputs):
            # A value that has displayed itself; it is ``_`` all the same.
            _note(shell, result)


def _show(shell: Any, outputs: list[Output], result: Any) -> None:
    last_stream = None
    for kind, *rest in outputs:
        stream = rest[0] if kind == "stream" else None
        if stream is None:
            _SHOW[kind](shell, result, *rest)
        else:
            # A kernel sends its two streams apart from each other, each when its time has come. What the cell wrote
            # to them in turn stays in turn.
            if last_stream not in (None, stream):
                getattr(sys, last_stream).flush()
            getattr(sys, stream).write(rest[1])
        last_stream = stream


def _display(shell: Any, result: Any, data: Any, metadata: Any, display_id: str | None) -> None:
    shell.display_pub.publish(data, metadata, transient=_transient(display_id))


def _update(shell: Any, result: Any, data: Any, metadata: Any, display_id: str | None) -> None:
    shell.display_pub.publish(data, metadata, transient=_transient(display_id), update=True)


def _clear(shell: Any, result: Any, wait: bool) -> None:
    shell.display_pub.clear_output(wait)


def _result(shell: Any, result: Any, data: Any, metadata: Any) -> None:
    hook = shell.displayhook
    if _is_captured(shell) and result is not MISS:
        sys.displayhook(result)
        return
    hook.start_displayhook()
    hook.write_output_prompt()
    if result is not MISS:
        _note(shell, result)
    hook.write_format_data(data, metadata)
    hook.log_output(data)
    hook.finish_displayhook()


_SHOW: Final[dict[str, Callable[..., None]]] = {
    "display": _display,
    "update": _update,
    "clear": _clear,
    "result": _result,
}


def _is_captured(shell: Any) -> bool:
    """Whether a value goes to something else than the shell, as under ``%%capture``; that notes no ``_``."""
    hook: Any = sys.displayhook
    return hook is not shell.displayhook


def _note(shell: Any, result: Any) -> None:
    shell.displayhook.update_user_ns(result)
    shell.displayhook.fill_exec_result(result)


def _transient(display_id: str | None) -> dict[str, str]:
    return {} if display_id is None else {"display_id": display_id}
