"""The embedded server's folder, its *home*, and what can be learnt there about a server.

::

    server.lock      held while a server is started or stopped; never removed
    server.conf      what the server was started with; remembers ``maxmemory``
    server.pid       the server's process; the server removes it when it ends in good order
    server.sock      where it answers (too long a path: see `_socket_for`)
    server.log       what it says, 5 MB and one older file at most
    appendonlydir/   its data

Three facts decide everything, and none of them is a guess:

- *It answers on its socket.* Only a living server does.
- *The recorded process carries the socket's path in its command line.* That tells a server that starts, ends or hangs
  from a dead one, a zombie and a stranger that was given the same number; only such a process is ever signalled.
- *A pid file without either* means that the server was killed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

from .errors import ServerError, SettingsError

if sys.platform != "win32":
    import fcntl

LOCK_TIMEOUT: Final = 45.0  # seconds; whoever holds the lock may be stopping one server and starting another
ANSWER_TIMEOUT: Final = 2.0  # seconds for one reply
WRITE_TIMEOUT: Final = 1.0  # seconds in which a new server has written its pid file; an instant, as the next one
EXEC_TIMEOUT: Final = 2.0  # seconds in the middle of an exec; an instant, but on a machine that is busy elsewhere
SOCKET_LIMIT: Final = 103  # bytes in a socket's path: macOS has room for 104 with the final NUL, Linux for 108
MIB: Final = 1 << 20  # bytes; an empty server needs about as much, so no limit is smaller

# `appendfsync no` hands every change to the kernel before the reply goes out, which is all that surviving a killed
# server takes. `everysec` does less here: while its fsync is under way it holds writes back for up to 2 s and answers
# all the same (flushAppendOnlyFile in aof.c), so a deleted key could come back.
_CONFIG: Final = """\
# Written at each start; only maxmemory is kept.
port 0
unixsocketperm 700
daemonize no
logfile ""
pidfile server.pid
set-proc-title no
save ""
appendonly yes
appendfsync no
aof-load-truncated yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 32mb
maxmemory-policy allkeys-lru
maxmemory {maxmemory}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running embedded server.

    Attributes:
        pid: its process.
        socket: the unix socket it answers on.
        version: ``Valkey 9.1.2``, ``Redis 7.0.15``.
        binary: the program it runs.
        home: the folder that holds its files.
    """

    pid: int
    socket: Path
    version: str
    binary: Path
    home: Path

    @property
    def url(self) -> str:
        """The address as `redis.Redis.from_url` reads it, percent-encoded."""
        return f"unix://{quote(str(self.socket))}"


@dataclass(frozen=True, slots=True)
class Found:
    """A server that answered; not yet `ready` while it reads its data."""

    server: Server
    ready: bool


class Home:
    """A home's files, and what they tell."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()  # two spellings of one folder must name one socket
        self.socket = _socket_for(self.path)
        self.config = self.path / "server.conf"
        self.pidfile = self.path / "server.pid"
        self.log = self.path / "server.log"

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the operating system says into an error that names the folder and the way out."""
        try:
            yield
        except TimeoutError as error:
            raise ServerError(
                f"The server at {self.socket} (process {self.recorded() or 'unknown'}) does not answer within "
                f"{ANSWER_TIMEOUT:.0f} s. Wait for what it is doing, or stop it."
            ) from error
        except OSError as error:
            file = f" ({os.fspath(error.filename)})" if error.filename else ""
            raise ServerError(
                f"The server's folder {self.path} cannot be used: {error.strerror or error}{file}. "
                "Choose another one with FRAPPE_CACHE_HOME."
            ) from error

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the home's lock, which keeps processes and threads apart; yields its file descriptor."""
        descriptor = os.open(self.path / "server.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        try:
            for _ in moments(LOCK_TIMEOUT):
                with suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
            else:
                raise ServerError(
                    f"Another process has been starting or stopping the server of {self.path} for "
                    f"{LOCK_TIMEOUT:.0f} s. Try again; if it persists, see who holds {self.path / 'server.lock'}."
                )
            try:
                yield descriptor
            finally:
                # Closing alone would leave the lock to a process forked meanwhile.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def ask(self, *commands: str) -> list[str] | None:
        """Send commands to the server and return its replies, errors with their ``-``; None if nobody is there.

        Raises:
            ServerError: the folder is open to others, so whoever listens there may be anybody.
            TimeoutError: somebody listens and says nothing.
        """
        for folder in (self.path, self.socket.parent):
            with suppress(FileNotFoundError):
                _check_private(folder)
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(ANSWER_TIMEOUT)
            try:
                link.connect(os.fspath(self.socket))
                link.sendall("".join(f"{command}\r\n" for command in commands).encode())
                with link.makefile("rb") as replies:
                    return [_reply(replies) for _ in commands]
            except BlockingIOError as error:  # its queue of connections is full
                raise TimeoutError(*error.args) from error
            except ConnectionError:  # refused, or it went away while we asked
                return None
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENOTSOCK):
                    return None
                raise

    def look(self) -> Found | None:
        """Ask the server who it is; None if nobody is there.

        Raises:
            ServerError: it says something else.
            TimeoutError: it says nothing.
        """
        replies = self.ask("PING", "INFO server")
        if replies is None:
            return None
        facts = dict(line.split(":", 1) for line in replies[1].splitlines() if ":" in line)
        if "process_id" not in facts:
            raise ServerError(f"The server at {self.socket} answers {replies[1]!r}.")
        name = "Valkey" if "valkey_version" in facts else "Redis"
        version = f"{name} {facts.get('valkey_version') or facts['redis_version']}"
        server = Server(int(facts["process_id"]), self.socket, version, Path(facts["executable"]), self.path)
        # Any other error comes from a server that is up: one that cannot write to its disk refuses even a PING.
        return Found(server, ready=not replies[0].startswith("-LOADING"))

    def listens(self) -> bool:
        """Tell whether somebody listens on the socket, be it in silence."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(ANSWER_TIMEOUT)
            return link.connect_ex(os.fspath(self.socket)) in (0, errno.EAGAIN)

    def recorded(self) -> int | None:
        """Return the process that the pid file names; it may be long dead."""
        for _ in moments(WRITE_TIMEOUT):
            try:
                text = self.pidfile.read_bytes()
            except OSError:
                return None
            # The server writes the file anew when it starts: for an instant it is empty, and that is not "nobody".
            if text:
                return int(text) if text.strip().isdigit() else None
        return None

    def alive(self, pid: int | None) -> bool:
        """Tell whether this process is a server of this home."""
        if pid is None or pid <= 0:
            return False
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError, OverflowError):
            return False
        for _ in moments(EXEC_TIMEOUT):
            command = _command_line(pid)
            if command is None:
                return False
            if command:
                return b" --unixsocket %b " % os.fsencode(self.socket) in command
        return False

    def maxmemory(self) -> int | None:
        """Return the limit that the configuration remembers, in bytes."""
        try:
            kept = re.search(r"^maxmemory (\S+)$", self.config.read_text("utf-8"), re.MULTILINE)
            return size_in_bytes(kept[1]) if kept else None
        except (FileNotFoundError, UnicodeDecodeError, SettingsError):
            return None

    def configure(self, limit: int | None) -> None:
        """Write the configuration with this limit in bytes, else the remembered one, else the machine's."""
        text = _CONFIG.format(maxmemory=limit or self.maxmemory() or _share_of_memory())
        with suppress(FileNotFoundError, UnicodeDecodeError):
            if self.config.read_text("utf-8") == text:  # nothing to write: a full disk does not matter
                return
        fresh = self.config.with_suffix(".new")
        try:
            fresh.write_text(text, "utf-8")
            fresh.replace(self.config)
        finally:
            fresh.unlink(missing_ok=True)

    def full(self) -> str:
        """Return a remark if the disk is full; a server on a full disk cannot even say so in its log."""
        return " (the disk is full)" if os.statvfs(self.path).f_bavail == 0 else ""

    def clear(self) -> None:
        """Remove what is left by a server that did not end in good order."""
        self.socket.unlink(missing_ok=True)
        self.pidfile.unlink(missing_ok=True)
        if self.socket.parent != self.path:
            with suppress(FileNotFoundError):
                self.socket.parent.rmdir()


def make_private(folder: Path) -> None:
    """Create the folder with mode 0700, or make sure that an existing one is ours alone.

    Raises:
        ServerError: it belongs to another user, or others may write into it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _check_private(folder)


def size_in_bytes(size: str) -> int:
    """Read a size as Redis does: ``1k`` is 1000 bytes, ``1kb`` is 1024.

    Raises:
        SettingsError: it is not a size, or less than 1 MB.
    """
    match = re.fullmatch(r"(\d+) ?(?:b|([kmg])(b?))?", size.strip().lower(), re.ASCII)
    power = "kmg".index(match[2]) + 1 if match and match[2] else 0
    number = int(match[1]) * (1024 if match[3] else 1000) ** power if match else 0
    if number < MIB:
        raise SettingsError(f"maxmemory {size!r} is not a size of at least 1mb; write '512mb' or '2gb'.")
    return number


def moments(seconds: float) -> Iterator[None]:
    """Yield until the time is up, at first every millisecond, later less often; at least once."""
    deadline, pause = time.monotonic() + seconds, 0.001
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(pause)
        pause = min(pause * 1.15, 0.05)


def _socket_for(home: Path) -> Path:
    """Return the socket's path: in `home`, or if that is too long for a socket, in a folder of ours under /tmp.

    Not under TMPDIR, which a terminal and a notebook server may disagree on: all processes must find one server.
    """
    path = home / "server.sock"
    raw = os.fsencode(path)
    if len(raw) <= SOCKET_LIMIT and re.fullmatch(rb"[ -~]+", raw):  # other bytes `ps` or an URL might not show as such
        return path
    digest = hashlib.sha256(raw).hexdigest()[:16]
    # S108: whoever makes this folder before us is found out by `_check_private`.
    return Path(f"/tmp/frappe-cache-{os.geteuid()}-{digest}", path.name)  # noqa: S108


def _check_private(folder: Path) -> None:
    found = folder.lstat()  # not stat: somebody else's link under /tmp must not pass for our folder
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", folder)
    if found.st_uid != os.geteuid():
        raise ServerError(f"{folder} belongs to user {found.st_uid}, not to us (user {os.geteuid()}): it is not safe.")
    if found.st_mode & 0o022:
        raise ServerError(f"Other users may write into {folder}: it is not safe. Use `chmod 700` on it.")


def _command_line(pid: int) -> bytes | None:
    """Return a process's words, each with a space after it; empty while it is in the middle of an exec, None if dead.

    A zombie is dead. Nobody else may be taken for it: it is an instant when a new server shows no words at all.
    """
    process = Path(f"/proc/{pid}")
    try:
        words = process.joinpath("cmdline").read_bytes()
        if words:
            return words.replace(b"\0", b" ")
        state = process.joinpath("stat").read_bytes().rpartition(b")")[2].split()[0]
        return None if state in {b"Z", b"X"} else b""
    except ProcessLookupError:
        return None
    except FileNotFoundError:
        if Path("/proc/self/cmdline").exists():
            return None
    listing = ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)]  # macOS
    shown = subprocess.run(listing, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    state, _, command = shown.stdout.strip().partition(b" ")
    if not state or state.startswith(b"Z"):
        return None
    return b"" if command.lstrip().startswith(b"(") else command + b" "


def _reply(replies: BinaryIO) -> str:
    line = replies.readline()
    if line[:1] == b"$":
        line = b"$" + replies.read(int(line[1:]) + 2)
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server went away")
    return line[:-2].decode("utf-8", "surrogateescape").lstrip("+$:")


def _share_of_memory() -> int:
    """Return 5 % of the machine's memory in bytes, 128 MB at least."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = 0
    return max(128 * MIB, memory // 20)
