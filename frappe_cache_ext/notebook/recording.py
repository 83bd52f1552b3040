"""Takes down what a cell shows, while it is being shown.

What shows output is wrapped on the live shell and on the live streams, so that everything still reaches the user as it
comes, and whoever holds a stream since before (a handler of `logging`, a progress bar) is heard as well. All of it goes
into one list, in order, of plain tuples:

- ``("stream", "stdout" | "stderr", text)``; what follows on the same stream is one tuple
- ``("display", data, metadata, display_id)``, with None for no display id
- ``("update", data, metadata, display_id)``
- ``("clear", wait)``
- ``("result", data, metadata)``: the last expression, as it was shown

A terminal *prints* what is displayed. What is printed so is no stream of the cell's, or it would be shown twice again.

What a program writes to the process's own file descriptors, past Python, is on the list where a kernel shows it in the
notebook (ipykernel, on Linux and macOS). A terminal shows it without our hearing of it; there, only ``!command`` is
heard.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import functools
import getpass
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

from ..errors import MISS

Output = tuple[Any, ...]
"""One thing that a cell showed."""

_WIDGET_VIEW: Final = "application/vnd.jupyter.widget-view+json"

_CATCH_UP_LIMIT: Final = 1.0
"""Seconds to wait at most for a kernel to show what was written past Python."""

_CATCH_UP_PAUSE: Final = 0.0005
"""Seconds between two looks whether it has; also what gives its thread the chance to run."""


def put_over(owner: Any, name: str, value: Any) -> Callable[[], None]:
    """Give one object an attribute that hides what it had, and return what takes it away again.

    Args:
        owner: the object; its class stays as it is.
        name: the attribute's.
        value: its new value.

    Returns:
        A function that restores what was there, or the lack of it. If somebody has put a third value over ours in the
        meantime, it leaves that alone.
    """
    before = vars(owner).get(name, MISS)
    setattr(owner, name, value)

    def restore() -> None:
        if vars(owner).get(name) is not value:
            return
        if before is MISS:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    return restore


class Recording:
    r"""Takes down what is shown within a ``with`` block.

    Example:
        >>> with Recording(shell) as recording:
        ...     print("hello")
        >>> recording.outputs
        [('stream', 'stdout', 'hello\n')]

    Args:
        shell: IPython's own object.

    Attributes:
        result: the value that went into ``_`` and ``Out[n]``; `MISS` for none.
        reason: why what is shown again would not be what was shown; empty where it would.
    """

    def __init__(self, shell: Any) -> None:
        self.result: Any = MISS
        self.reason = ""
        self._shell = shell
        self._listening = False
        self._entries: list[list[Any]] = []
        self._lock = threading.Lock()
        self._muted = threading.local()
        self._restore = contextlib.ExitStack()

    @property
    def outputs(self) -> list[Output]:
        """What was shown so far, in order."""
        with self._lock:
            return [
                ("stream", entry[1], "".join(entry[2])) if entry[0] == "stream" else tuple(entry)
                for entry in self._entries
            ]

    @property
    def complete(self) -> bool:
        """Whether all that was shown is on the list, and nothing happened that cannot be shown again."""
        return not self.reason

    def __enter__(self) -> Self:
        _catch_up()
        with contextlib.ExitStack() as restore:
            self._restore = restore
            self._hear_streams()
            self._hear_displays()
            self._hear_results()
            self._notice_obstacles()
            self._put_over(self._shell, "system", self._shell.system_piped)
            self._restore = restore.pop_all()
        self._listening = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            _catch_up()
        finally:
            # Who took hold of a wrapped method keeps it; from now on it does what the method below does, and no more.
            self._listening = False
            self._restore.close()

    def _put_over(self, owner: Any, name: str, value: Any) -> None:
        self._restore.callback(put_over(owner, name, value))

    # --- the list -----------------------------------------------------------------------------------------------------

    def _hears(self, source: Any, request: Any) -> bool:
        # A task or a thread of an earlier cell shows what it has to say under that cell.
        return self._listening and not getattr(self._muted, "depth", 0) and _request_of(source) == request

    def _add(self, *entry: Any) -> None:
        with self._lock:
            self._entries.append(list(entry))

    def _add_text(self, stream: str, text: str) -> None:
        with self._lock:
            if self._entries and self._entries[-1][:2] == ["stream", stream]:
                self._entries[-1][2].append(text)
            else:
                self._entries.append(["stream", stream, [text]])

    @contextlib.contextmanager
    def _mute(self) -> Iterator[None]:
        """Not hear what the shell itself prints in this thread."""
        self._muted.depth = getattr(self._muted, "depth", 0) + 1
        try:
            yield
        finally:
            self._muted.depth -= 1

    # --- what shows something -----------------------------------------------------------------------------------------

    def _hear_streams(self) -> None:
        streams = {"stdout": sys.stdout, "stderr": sys.stderr}
        if streams["stdout"] is streams["stderr"]:
            del streams["stderr"]
        for name, stream in streams.items():
            if stream is not None:
                self._hear_stream(name, stream)

    def _hear_stream(self, name: str, stream: Any) -> None:
        write, request = stream.write, _request_of(stream)

        @functools.wraps(write)
        def written(text: str, *rest: Any, **named: Any) -> Any:
            done = write(text, *rest, **named)
            if text and self._hears(stream, request):
                self._add_text(name, text)
            return done

        try:
            self._put_over(stream, "write", written)
        except (AttributeError, TypeError):
            self._spoil(f"sys.{name} cannot be listened to")

    def _hear_displays(self) -> None:
        publisher = self._shell.display_pub
        publish, clear_output = publisher.publish, publisher.clear_output
        request = _request_of(publisher)

        @functools.wraps(publish)
        def published(data: Any, metadata: Any = None, *rest: Any, **named: Any) -> Any:
            heard = self._hears(publisher, request)
            with self._mute():
                done = publish(data, metadata, *rest, **named)
            if heard and (kept := _kept(data)):
                kind = "update" if named.get("update") else "display"
                self._add(kind, kept, _kept(metadata), (named.get("transient") or {}).get("display_id"))
            return done

        @functools.wraps(clear_output)
        def cleared(wait: bool = False) -> Any:
            heard = self._hears(publisher, request)
            with self._mute():
                done = clear_output(wait)
            if heard:
                self._add("clear", bool(wait))
            return done

        self._put_over(publisher, "publish", published)
        self._put_over(publisher, "clear_output", cleared)

    def _hear_results(self) -> None:
        hook = self._shell.displayhook
        if sys.displayhook is not hook:
            self._spoil("%%capture, or something else around it, takes its value")
        update_user_ns, write_format_data = hook.update_user_ns, hook.write_format_data

        @functools.wraps(update_user_ns)
        def updated(result: Any) -> None:
            if self._listening:
                if self.result is not MISS:
                    self._spoil("it shows more than one value")
                self.result = result
            update_user_ns(result)

        @functools.wraps(write_format_data)
        def formatted(data: Any, metadata: Any = None) -> None:
            with self._mute():
                write_format_data(data, metadata)
            if self._listening:
                self._add("result", _kept(data), _kept(metadata))

        self._put_over(hook, "update_user_ns", updated)
        self._put_over(hook, "write_format_data", formatted)
        # Between these, the object's own `__repr__` is called, and what that prints is heard.
        for name in ("write_output_prompt", "finish_displayhook"):
            self._put_over(hook, name, self._muting(getattr(hook, name)))

    def _muting(self, method: Callable[[], None]) -> Callable[[], None]:
        @functools.wraps(method)
        def muted() -> None:
            with self._mute():
                method()

        return muted

    # --- what cannot be shown again -----------------------------------------------------------------------------------

    def _spoil(self, reason: str) -> None:
        self.reason = self.reason or reason

    def _notice_obstacles(self) -> None:
        shell = self._shell
        self._notice(shell, "_showtraceback", "it shows a traceback and goes on")
        self._notice(shell.payload_manager, "write_payload", "it opens a pager or writes into another cell")
        self._notice(builtins, "input", "it asks for input")
        self._notice(getpass, "getpass", "it asks for input")

    def _notice(self, owner: Any, name: str, reason: str) -> None:
        call = getattr(owner, name)

        @functools.wraps(call)
        def noticed(*args: Any, **named: Any) -> Any:
            if self._listening:
                self._spoil(reason)
            return call(*args, **named)

        self._put_over(owner, name, noticed)


def _request_of(source: Any) -> Any:
    """Under which cell of a notebook a stream or a publisher shows what this thread gives it; None in a terminal."""
    header = getattr(source, "parent_header", None)
    return header.get("msg_id") if isinstance(header, dict) else None


def _kept(bundle: Any) -> dict[str, Any]:
    """A MIME bundle, apart from the one that the cell may go on changing, and without what dies with the kernel."""
    return {kind: copy.deepcopy(value) for kind, value in (bundle or {}).items() if kind != _WIDGET_VIEW}


def _catch_up() -> None:
    """Wait until the kernel has shown what was written past Python so far.

    ipykernel reads that from a pipe, in a thread, and writes it to the stream. Without the wait, what an earlier cell
    wrote would be taken for this one's, and the end of what this one wrote would be missed.
    """
    deadline = time.monotonic() + _CATCH_UP_LIMIT
    for stream in (sys.stdout, sys.stderr):
        pipe, reader = getattr(stream, "_fid", None), getattr(stream, "watch_fd_thread", None)
        if pipe is None or reader is None or not reader.is_alive():
            continue
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        # Twice empty: after the first time the thread may still hold in its hands what it has read.
        empty = 0
        while empty < 2 and time.monotonic() < deadline:
            time.sleep(_CATCH_UP_PAUSE)
            empty = 0 if poll.poll(0) else empty + 1
