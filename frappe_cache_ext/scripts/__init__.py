"""The few steps that must happen on the server in one piece.

Each is a Lua script and, beside it, the same in plain commands for the server inside this process (``memory://``),
which runs no Lua; whoever executes the plain form keeps everybody else out meanwhile. The contract suite runs both.

`leases` are the steps of one caller computing while the others wait (see `operations.load`), `change_log` those by
which a site's processes learn of each other's changes to documents (see `operations.change_log`).
"""

from __future__ import annotations

from .script import Argument, Execute, Script

__all__ = ["Argument", "Execute", "Script"]
