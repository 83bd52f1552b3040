"""The embedded server's life: started once per user, shared by all processes, stopped on request.

What lies in its folder and what that tells is in `frappe_cache_ext.server_home`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Final

from .errors import CacheWarning, ServerError, ServerNotFound
from .server_binary import find_binary
from .server_home import ANSWER_TIMEOUT, Home, Server, make_private, moments, size_in_bytes

__all__ = ["Server", "crashed", "find_binary", "start", "status", "stop", "trouble"]

START_TIMEOUT: Final = 30.0  # seconds until a server has read its data; a gigabyte takes a few
LOG_LIMIT: Final = 5_000_000  # bytes

# The server is a grandchild: it belongs to init from the first moment, so it is nobody's zombie and outlives us. The
# shell's standard input is the lock (the server's is not): should we be killed now, the lock stays with the shell
# until the server is recorded, and nobody can start a second one in between.
_LAUNCH: Final = '"$@" <server.conf >>server.log 2>&1 & echo $! >server.pid; echo $!'


class _Died(Exception):
    """A server ended before it answered; the message quotes what it said, the last thing last."""


def start(home: Path, *, maxmemory: str | None = None) -> Server:
    """Return the server of `home`, starting it if none runs.

    Any number of processes and threads may ask at once; they get the same server. A new one reads what the last one
    had; data it cannot read (broken, or written by a newer version) is moved aside, not deleted.

    Example::

        server = start(Path.home() / ".cache/frappe-cache/server", maxmemory="2gb")
        redis.Redis.from_url(server.url).ping()

    Args:
        home: the folder for the server's files; created with mode 0700.
        maxmemory: the most its values may take, in bytes or with Redis' units (``"512mb"``, ``"2gb"``); kept for later
            starts and applied to a running server. At first 5 % of the machine's memory, 128 MB at least.

    Raises:
        SettingsError: `maxmemory` is not such a size.
        ServerNotFound: there is no binary for this platform.
        ServerError: the folder cannot be used, another start takes too long, or the server ends at once (its own last
            words are quoted).

    Warns:
        CacheWarning: old data could not be read and was moved aside.
    """
    if sys.platform == "win32":
        raise ServerNotFound("There is no embedded server for Windows; use WSL, or set FRAPPE_CACHE_URL.")
    limit = None if maxmemory is None else size_in_bytes(maxmemory)
    place = Home(home)
    with place.explained():
        found = place.look()  # without the lock: the usual case, 0.2 ms
        if found and found.ready and (limit is None or limit == place.maxmemory()):
            return found.server
        make_private(place.path)
        with place.locked() as lock:
            running = _settle(place)
            if running is None:
                return _launch(place, lock, limit)
            if limit is not None:
                replies = place.ask(f"CONFIG SET maxmemory {limit}")
                if replies != ["OK"]:
                    raise ServerError(f"The server at {place.socket} did not accept maxmemory {limit}: {replies}.")
                place.configure(limit)
            return running


def status(home: Path) -> Server | None:
    """Return the running server of `home`, or None; starts and changes nothing.

    Raises:
        ServerError: there is one and it does not answer, or the folder is not readable or not safe.
    """
    if sys.platform == "win32":
        return None
    place = Home(home)
    with place.explained():
        found = place.look()
        return found.server if found else None


def trouble(home: Path) -> str | None:
    """Say what keeps a running server from taking writes, or None: a full disk, above all.

    Raises:
        ServerError: as `status`.
    """
    if sys.platform == "win32":
        return None
    place = Home(home)
    with place.explained():
        replies = place.ask("INFO persistence")
        if replies is None or "aof_last_write_status:err" not in replies[0]:
            return None
        return (
            f"The server cannot write to {place.path}{place.full()}, so it answers reads and refuses writes. "
            f"Make room there and it goes on by itself; {place.log} has the reason."
        )


def crashed(home: Path) -> bool:
    """Tell whether the last server of `home` is gone without having been stopped.

    False while one runs, after `stop`, after a SIGTERM or SHUTDOWN from anybody, and where there never was one.
    """
    if sys.platform == "win32":
        return False
    place = Home(home)
    with place.explained():
        return place.pidfile.exists() and not place.alive(place.recorded()) and not place.listens()


def stop(home: Path, *, timeout: float = 10.0) -> bool:
    """Stop the server of `home` and wait until its process, socket and pid file are gone.

    It is asked over its socket, then sent SIGTERM, at last SIGKILL. Its data stays for the next start.

    Args:
        home: the folder given to `start`.
        timeout: seconds for all of this; half of it belongs to the first step.

    Returns:
        True if there was one to stop.

    Raises:
        ServerError: it survives, or the folder cannot be used.
    """
    if sys.platform == "win32":
        return False
    place = Home(home)
    with place.explained():
        if not place.pidfile.exists() and not place.socket.exists():
            return False
        with place.locked():
            return _end(place, timeout)


def _settle(place: Home) -> Server | None:
    """Wait, under the lock, until it is certain that a server is ready or that none runs."""
    begin = time.monotonic()
    for _ in moments(START_TIMEOUT):
        found = place.look()
        if found and found.ready:
            return found.server
        if not found:
            if not place.alive(place.recorded()):
                return None
            if not place.socket.exists() and time.monotonic() - begin > ANSWER_TIMEOUT:
                # Neither starting nor ending: somebody removed its socket. Nobody can reach it any more.
                _end(place, START_TIMEOUT)
                return None
    raise ServerError(f"The server of {place.path} has been reading its data for {START_TIMEOUT:.0f} s. Try again.")


def _launch(place: Home, lock: int, limit: int | None) -> Server:
    """Start a server; if it ends at once, try again without the data it found, and put that back if this was no use."""
    binary = find_binary()
    place.configure(limit)
    try:
        return _spawn(place, lock, binary)
    except _Died as death:
        reason = str(death)
    aside = _set_aside(place)
    if not aside:
        raise ServerError(reason)
    try:
        server = _spawn(place, lock, binary)
    except _Died as death:
        for kept, original in aside.items():
            shutil.rmtree(original, ignore_errors=True)  # what the second try made
            kept.rename(original)
        raise ServerError(str(death)) from None
    warnings.warn(
        f"The cache starts empty: its server could not read the data of {place.path}, which is kept as "
        f"{', '.join(kept.name for kept in aside)}. It said: {reason.splitlines()[-1]}",
        CacheWarning,
        stacklevel=3,
    )
    return server


def _spawn(place: Home, lock: int, binary: Path) -> Server:
    """Run the binary, detached, and wait until it answers.

    Raises:
        _Died: it ended instead.
        ServerError: it takes too long.
    """
    make_private(place.socket.parent)
    for left in place.path.glob("temp-*"):  # a rewrite that was under way when a server was killed
        left.unlink(missing_ok=True)
    begin = place.log.stat().st_size if place.log.exists() else 0
    if begin > LOG_LIMIT:
        place.log.replace(place.log.with_suffix(".log.1"))
        begin = 0
    shell = subprocess.run(
        ["/bin/sh", "-c", _LAUNCH, "sh", binary, "-", "--unixsocket", place.socket],
        check=False,
        stdin=lock,
        capture_output=True,
        cwd=place.path,
        # A daemon keeps its environment for days: none of our secrets, and no locale that it might not know.
        env={name: os.environ[name] for name in ("TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ},
        start_new_session=True,
        umask=0o077,
    )
    pid = int(shell.stdout or 0)
    for _ in moments(START_TIMEOUT):
        with suppress(TimeoutError):
            found = place.look()
            if found and found.ready:
                return found.server
        if not place.alive(pid):
            place.clear()  # it never ran: there is nothing to revive
            said = (os.fsdecode(shell.stderr) + _tail(place.log, begin)).strip() or "nothing"
            raise _Died(f"{binary} ended at once{place.full()}. It said:\n{said}")
    raise ServerError(
        f"The server of {place.path} (process {pid}) is not ready after {START_TIMEOUT:.0f} s. It may still be reading "
        f"its data: try again, and see {place.log}."
    )


def _end(place: Home, timeout: float) -> bool:
    """End the server, whatever state it is in, and remove its traces; returns whether there was one."""
    try:
        found, silent = place.look(), False
    except TimeoutError:
        found, silent = None, True
    pid = found.server.pid if found else place.recorded()
    running = bool(found) or silent or place.alive(pid)
    gone = not running
    if found:
        with suppress(TimeoutError):
            place.ask("SHUTDOWN NOSAVE")
        gone = _gone(place, pid, timeout / 2)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not gone:
            if pid is not None and place.alive(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            gone = _gone(place, pid, timeout / 4)
    if not gone:
        raise ServerError(
            f"The server at {place.socket} (process {pid or 'unknown'}) cannot be stopped: it does not end, or runs "
            "out of reach, in another container for instance."
        )
    place.clear()
    return running


def _gone(place: Home, pid: int | None, seconds: float) -> bool:
    return any(not place.alive(pid) and not place.listens() for _ in moments(seconds))


def _set_aside(place: Home) -> dict[Path, Path]:
    """Rename the server's data (a folder since Redis 7, a file before); maps each new name to the old one."""
    stamp = f"{time.strftime('%Y%m%dT%H%M%S')}.{time.time_ns() % 10**9:09d}"
    moved = {}
    for name in ("appendonlydir", "appendonly.aof"):
        data = place.path / name
        if data.exists():
            moved[data.rename(data.with_name(f"{name}.broken-{stamp}"))] = data
    return moved


def _tail(path: Path, begin: int) -> str:
    """Return the last lines of a file from `begin` (bytes) on, a few hundred characters at most."""
    try:
        with path.open("rb") as file:
            file.seek(max(begin, file.seek(0, os.SEEK_END) - 4000))
            lines = os.fsdecode(file.read()).splitlines()
    except OSError:
        return ""
    # Said by every server on most machines, at length, and never the reason.
    return "\n".join([line for line in lines if "WARNING Memory overcommit" not in line][-8:])
