"""A bench's Redis for caching as text: `config/redis_cache.conf`, the Procfile's line, supervisor's section.

The directives are those of Frappe's caching guide ("Frappe's Redis Setup") and one more, ``bind 127.0.0.1``: the
guide's sample leaves it out, and a Redis without it listens on every network the machine is on. Whoever can write to
a cache of pickles can run code in whatever reads them, so the server answers this machine alone; bench's own template
has the line too. Reading a bench is the business of `bench_sites`.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import shlex
import shutil
import time
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from .bench_sites import COMMON_CONFIG, absolute, check_redis_url, read_json
from .errors import BenchError, SettingsError

DEFAULT_PORT: Final = 13000
SMALLEST_MAXMEMORY_MB: Final = 2
"""An empty Valkey 9 takes 1.1 MB; below that it refuses every write, and ``0mb`` would mean no limit at all."""

_PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9_./+@%:,=~-]+")
_BACKUP_FORMAT: Final = "%Y%m%d-%H%M%S"

Edit = Callable[[bytes], bytes | None]
"""What a file's bytes become; None where something else stands there that is the user's to decide on."""


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """What the three files of a bench's cache are written from.

    Example:
        >>> config = BenchConfig(Path("/home/frappe/bench"), maxmemory_mb=737, user="frappe")
        >>> config.procfile_line()
        'redis_cache: redis-server config/redis_cache.conf'

    Attributes:
        directory: the bench's folder; made absolute.
        port: the TCP port on 127.0.0.1.
        maxmemory_mb: the memory for cached values in megabytes; None for 5 % of the machine's, as bench takes.
        user: whom supervisor runs the server as; None for the current user.
        redis_binary: the server, by name or path; a Valkey does as well.

    Raises:
        SettingsError: port, memory, user or binary cannot be written down.
        BenchError: the folder's path cannot.
    """

    directory: Path
    port: int = DEFAULT_PORT
    maxmemory_mb: int | None = None
    user: str | None = None
    redis_binary: str = "redis-server"

    def __post_init__(self) -> None:
        _whole_number("port", self.port, 1, 65535)
        if self.maxmemory_mb is not None:
            _whole_number("maxmemory in megabytes", self.maxmemory_mb, SMALLEST_MAXMEMORY_MB, 2**30)
        directory = str(absolute(self.directory))
        if flaw := _flaw(directory):
            raise BenchError(f"The path {directory!r} holds {flaw}, which no file of a bench can; rename the folder.")
        for name, value in (("user", self.user), ("redis_binary", self.redis_binary)):
            if value is not None and (not value.strip() or _flaw(value)):
                raise SettingsError(f"The {name} {value!r} is empty or holds {_flaw(value) or 'nothing'}.")
        object.__setattr__(self, "directory", Path(directory))

    @property
    def conf_path(self) -> Path:
        """Where `redis_cache.conf` belongs."""
        return self.directory / "config" / "redis_cache.conf"

    def redis_cache_conf(self) -> str:
        """The text of `config/redis_cache.conf`; the server starts from it in any folder."""
        pids = self.directory / "config" / "pids"
        maxmemory = default_maxmemory_mb() if self.maxmemory_mb is None else self.maxmemory_mb
        return (
            "dbfilename redis_cache.rdb\n"
            f"dir {_redis_word(str(pids))}\n"
            f"pidfile {_redis_word(str(pids / 'redis_cache.pid'))}\n"
            "bind 127.0.0.1\n"
            f"port {self.port}\n"
            f"maxmemory {maxmemory}mb\n"
            "maxmemory-policy allkeys-lru\n"
            "appendonly no\n"
            "\n"
            'save ""\n'
        )

    def procfile_line(self) -> str:
        """The Procfile's line; `bench start`, honcho and foreman run it in the bench's folder."""
        binary = self.redis_binary if os.sep not in self.redis_binary else absolute(Path(self.redis_binary))
        return f"redis_cache: {shlex.quote(str(binary))} config/redis_cache.conf"

    def supervisor_section(self) -> str:
        """Supervisor's section, as `bench setup supervisor` writes it but run in the bench's own folder.

        Raises:
            BenchError: supervisor's file has no way to write this path.
            SettingsError: the current user has no name.
        """
        # A binary that is not here may still be where the file goes; supervisor looks a bare name up in PATH.
        found = shutil.which(self.redis_binary) or self.redis_binary
        binary = found if os.sep not in found else str(absolute(Path(found)))
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.directory.name).strip("-") or "bench"
        logs = self.directory / "logs"
        values = {
            "command": _percent(f"{shlex.quote(binary)} {shlex.quote(str(self.conf_path))}"),
            "priority": "1",
            "autostart": "true",
            "autorestart": "true",
            # Supervisor 4 expands % in the two log files twice, and everywhere else once.
            "stdout_logfile": _percent(_percent(str(logs / "redis-cache.log"))),
            "stderr_logfile": _percent(_percent(str(logs / "redis-cache.error.log"))),
            "user": _percent(self.user or _current_user()),
            "directory": _percent(str(self.directory)),
            "startretries": "10",
        }
        for value in values.values():
            # An INI file knows no quotes: what follows " ;" or " #" is a comment, and ends are trimmed.
            if re.search(r"\s[;#]", value) or value != value.strip():
                raise BenchError(
                    f"Supervisor's file cannot hold {value!r}: it cuts at a blank before ; or # and trims blanks at "
                    "the end; rename the folder."
                )
        lines = "".join(f"{key}={value}\n" for key, value in values.items())
        return f"[program:{name}-redis-cache]\n{lines}"


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """What became of one file.

    Attributes:
        path: the file.
        action: ``written`` where there was none, ``changed`` where there was another, ``kept`` where there is
            another and `force` was not given, ``unchanged`` where it says the same already.
        backup: the copy of what was there before a change.
    """

    path: Path
    action: Literal["written", "changed", "kept", "unchanged"]
    backup: Path | None = None

    def __str__(self) -> str:
        note = ""
        if self.action == "kept":
            note = " (it says something else; --force replaces that, after a backup)"
        elif self.backup is not None:
            note = f" (before: {self.backup.name})"
        return f"{self.action:<9}  {self.path}{note}"


def write_bench_config(config: BenchConfig, *, force: bool = False) -> list[WrittenFile]:
    """Write `config/redis_cache.conf`, the Procfile's line and supervisor's section, and the folders they name.

    What other hands wrote stays: a Procfile or supervisor file gains what it lacks, and what differs is kept unless
    `force` is given. No existing file changes before a copy of it lies beside it.

    Args:
        config: what to write.
        force: replace what differs.

    Returns:
        One entry a file, in the order above.

    Raises:
        BenchError: a folder or file cannot be written; the message names it.
    """
    conf, line, section = config.redis_cache_conf().encode(), config.procfile_line(), config.supervisor_section()
    plan: list[tuple[Path, Edit]] = [
        (config.conf_path, lambda old: conf if force or old in (b"", conf) else None),
        (config.directory / "Procfile", lambda old: edit_procfile(old, line, force=force)),
        (config.directory / "config" / "supervisor.conf", lambda old: edit_supervisor(old, section, force=force)),
    ]
    for folder, mode in (
        (config.directory, 0o777),
        (config.directory / "config", 0o777),
        (config.directory / "config" / "pids", 0o700),  # a SAVE by hand would put every value there
        (config.directory / "logs", 0o777),  # supervisor refuses a log file whose folder is missing
    ):
        _make_folder(folder, mode, config.user)
    return [_edit_file(path, edit) for path, edit in plan]


def edit_procfile(old: bytes, line: str, *, force: bool = False) -> bytes | None:
    """A Procfile's bytes with our line in them; every other line stays byte for byte.

    Args:
        old: the file as it is, empty where there is none.
        line: the line, without an end.
        force: replace a different line for the same process.

    Returns:
        The new bytes, the same where the line is there already; None where a different one is and `force` is not.
    """
    process, _, command = line.encode().partition(b":")
    lines = old.splitlines(keepends=True)
    entries = [index for index, text in enumerate(lines) if text.startswith(process + b":")]
    if not entries:
        return _append(old, line.encode())
    if all(lines[index].partition(b":")[2].strip() == command.strip() for index in entries):
        return old
    if not force:
        return None
    first = lines[entries[0]]
    lines[entries[0]] = line.encode() + first[len(first.rstrip(b"\r\n")) :]
    for index in reversed(entries[1:]):
        del lines[index]
    return b"".join(lines)


def edit_supervisor(old: bytes, section: str, *, force: bool = False) -> bytes | None:
    """A supervisor file's bytes with our section in them; every other section stays byte for byte.

    Args:
        old: the file as it is, empty where there is none.
        section: the section, header included.
        force: replace a different section for the same program.

    Returns:
        The new bytes, the same where the section is there already; None where a different one is and `force` is not.
    """
    wanted = section.encode().splitlines()
    lines = old.splitlines(keepends=True)
    start = next((index for index, text in enumerate(lines) if text.startswith(wanted[0])), None)
    if start is None:
        return _append(old, (b"\n" if old.strip() else b"") + b"\n".join(wanted))
    end = next((index for index in range(start + 1, len(lines)) if lines[index].startswith(b"[")), len(lines))
    # Blank lines and comments before the next section are that section's.
    while not lines[end - 1].strip() or lines[end - 1].startswith((b";", b"#")):
        end -= 1
    if [text.strip() for text in lines[start:end]] == wanted:
        return old
    if not force:
        return None
    ours = _append(b"".join(lines[:start]), b"\n".join(wanted), newline=_newline(old))
    return ours + b"".join(lines[end:])


def configured_port(directory: Path) -> int | None:
    """The port where a bench's sites look for their cache, so that a new `redis_cache.conf` agrees with them.

    Args:
        directory: the bench's folder; it need not be a bench yet.

    Returns:
        The port of `redis_cache` in `sites/common_site_config.json`; None where none is named.

    Raises:
        BenchError: the file is there and broken.
    """
    path = absolute(directory) / "sites" / COMMON_CONFIG
    url = read_json(path, "").get("redis_cache") if os.path.lexists(path) else None
    return urlsplit(check_redis_url(url, str(path))).port if url and isinstance(url, str) else None


def default_maxmemory_mb() -> int:
    """5 % of the machine's memory in megabytes and at least 50, which is what bench computes.

    Raises:
        SettingsError: this system does not tell its memory.
    """
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        total = -1
    if total <= 0:
        raise SettingsError("This system does not tell how much memory it has; name maxmemory in megabytes.")
    return max(50, total // 20 // 2**20)


def _whole_number(name: str, value: object, smallest: int, largest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
        raise SettingsError(f"The {name} must be a whole number from {smallest} to {largest}, not {value!r}.")


def _flaw(text: str) -> str | None:
    for character in text:
        category = unicodedata.category(character)
        if category == "Cc":
            return "a line break" if character in "\r\n" else f"the control character {character!r}"
        if category == "Cs":
            return "bytes that are not UTF-8"
    return None


def _redis_word(text: str) -> str:
    """The text as one word of a redis.conf, whose double quotes know the escapes of C."""
    if _PLAIN_WORD.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _current_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise SettingsError("The current user has no name on this machine; name the user for supervisor.") from None


def _newline(old: bytes) -> bytes:
    return b"\r\n" if b"\r\n" in old else b"\n"


def _append(old: bytes, text: bytes, newline: bytes | None = None) -> bytes:
    newline = newline or _newline(old)
    glue = b"" if not old or old.endswith((b"\n", b"\r")) else newline
    return old + glue + text.replace(b"\n", newline) + newline


def _make_folder(folder: Path, mode: int, user: str | None) -> None:
    try:
        if folder.is_dir():
            return
        folder.mkdir(mode)
        if user is not None and hasattr(os, "geteuid") and os.geteuid() == 0:
            # Written by root for another: without this the server could not enter its own folder.
            with suppress(LookupError):  # the user lives on the machine where the files go
                shutil.chown(folder, user)
    except FileNotFoundError:
        raise BenchError(f"{folder} cannot be made: {folder.parent} does not exist; make that folder first.") from None
    except FileExistsError:
        raise BenchError(f"{folder} is a file and must be a folder; move it out of the way.") from None
    except OSError as error:
        raise BenchError(f"{folder} cannot be made ({error.strerror}); check the owner and permissions.") from None


def _edit_file(path: Path, edit: Edit) -> WrittenFile:
    target = Path(os.path.realpath(path))  # a link stays a link; what it leads to is what changes
    try:
        old = target.read_bytes() if target.exists() else None
        new = edit(old or b"")
        if new is None:
            return WrittenFile(path, "kept")
        if new == old:
            return WrittenFile(path, "unchanged")
        backup = None if old is None else _back_up(target)
        _replace(target, new)
        return WrittenFile(path, "written" if old is None else "changed", backup)
    except OSError as error:
        raise BenchError(f"{path} cannot be written ({error.strerror}); check its folder, owner and disk.") from None


def _back_up(path: Path) -> Path:
    """Copy the file beside itself, under a name that no older copy has."""
    stem, number = f"{path.name}.bak-{time.strftime(_BACKUP_FORMAT)}", 0
    while True:
        backup = path.with_name(stem if number == 0 else f"{stem}-{number}")
        try:
            os.close(os.open(backup, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            number += 1
            continue
        shutil.copy2(path, backup)
        return backup


def _replace(target: Path, content: bytes) -> None:
    """Write the file whole or not at all, with the mode and owner it had."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            before = target.stat()
            with suppress(PermissionError, AttributeError):
                os.chown(temporary, before.st_uid, before.st_gid)
            temporary.chmod(before.st_mode & 0o7777)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
