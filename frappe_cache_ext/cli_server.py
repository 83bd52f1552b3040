"""`frappe-cache serve`, `status` and `stop`: the embedded server's life from the command line."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Final

from . import server
from .cli_text import complain, memory
from .errors import ServerError
from .server_home import Home
from .settings import Settings

NOT_RUNNING: Final = 3
"""`status` answers like an init script: 0 for a running server, 3 for none.

Source: Linux Standard Base 5.0, Core, "Init Script Actions".
"""


def serve(arguments: argparse.Namespace) -> int:
    """Start the server unless it runs, and say where it is."""
    settings = _load(arguments)
    before = server.status(settings.server_home)
    running = server.start(settings.server_home, maxmemory=arguments.maxmemory)
    _describe(running, "started" if before is None else "runs already")
    home = f" --home {shlex.quote(arguments.home)}" if arguments.home else ""
    print(f"stop it with: frappe-cache stop{home}")
    for variable in ("FRAPPE_CACHE_URL", "FRAPPE_CACHE_BENCH"):
        if os.environ.get(variable) and not os.environ[variable].startswith("embedded://"):
            complain(f"note: {variable} is set, so it is the server named there that will be used.")
            break
    return _check(settings.server_home)


def status(arguments: argparse.Namespace) -> int:
    """Say whether the server runs, and what keeps it from taking writes if something does."""
    home = _load(arguments).server_home
    running = server.status(home)
    if running is None:
        killed = ": the last one was killed, and the next use starts it again" if server.crashed(home) else ""
        print(f"not running{killed}")
        return NOT_RUNNING
    _describe(running, "runs")
    return _check(home)


def stop(arguments: argparse.Namespace) -> int:
    """Stop the server if it runs."""
    print("stopped" if server.stop(_load(arguments).server_home) else "not running")
    return 0


def _check(home: Path) -> int:
    """The exit code for a server that runs.

    Raises:
        ServerError: it takes no writes.
    """
    trouble = server.trouble(home)
    if trouble is not None:
        raise ServerError(trouble)
    return 0


def _load(arguments: argparse.Namespace) -> Settings:
    # Nothing of a bench is needed here, and one that is broken must not keep a server running.
    environ = {name: value for name, value in os.environ.items() if name != "FRAPPE_CACHE_BENCH"}
    return Settings.load(environ=environ, home=arguments.home)


def _describe(running: server.Server, state: str) -> None:
    limit = Home(running.home).maxmemory()
    print(f"{running.version} {state}: process {running.pid}" + (f", {memory(limit)} at most" if limit else ""))
    print(f"  {running.url}")
