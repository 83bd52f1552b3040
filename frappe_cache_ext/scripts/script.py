"""What a script is, and what both of its forms know of the server that runs them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Argument = bytes | str | int
Execute = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Script:
    """One step in one piece.

    Attributes:
        lua: what a server runs.
        plain: the same over a function that executes one command and returns its reply.
    """

    lua: str
    plain: Callable[[Execute, Sequence[bytes], Sequence[Argument]], Any]

    @functools.cached_property
    def sha(self) -> str:
        """The digest by which a server knows a script that it has run before."""
        return hashlib.sha1(self.lua.encode(), usedforsecurity=False).hexdigest()


SERVER_RUN_LUA: Final = """
local function server_run()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end
"""
"""Which run of the server this is: each start of a server has a random id. Empty where INFO is not allowed."""


def server_run(execute: Execute) -> bytes:
    """The same in plain form; empty for the server inside this process, which has no INFO and ends with it."""
    try:
        info = execute("INFO", "server")
    except Exception:
        return b""
    run_id: str = info["run_id"]
    return run_id.encode()
