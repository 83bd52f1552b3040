"""The few steps that must happen on the server in one piece.

Each is a Lua script and, beside it, the same in plain commands for the server inside this process (``memory://``),
which runs no Lua; whoever executes the plain form keeps everybody else out meanwhile. The contract suite runs both.

The steps are those of a *lease* (see `operations.load`). An entry and its lease lie in one cluster slot, so every
script names two keys of one slot at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Argument = bytes | str | int
Execute = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """One step in one piece.

    Attributes:
        lua: what a server runs.
        plain: the same over a function that executes one command and returns its reply.
    """

    lua: str
    plain: Callable[[Execute, Sequence[bytes], Sequence[Argument]], Any]


def _take_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    entry, lease = names
    token, milliseconds = arguments
    value = execute("GET", entry)
    if value is not None:
        return [1, value]
    if execute("SET", lease, token, "NX", "PX", milliseconds):
        return [2]
    return [0, execute("PTTL", lease)]


TAKE_LEASE: Final = Script(
    lua="""
local value = redis.call('GET', KEYS[1])
if value then return {1, value} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {2} end
return {0, redis.call('PTTL', KEYS[2])}
""",
    plain=_take_lease,
)
"""Keys: entry, lease. Arguments: token, milliseconds. Reply: ``[1, value]``; ``[2]`` yours; ``[0, ms]`` another's."""


def _store_under_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    entry, lease = names
    token, body, milliseconds = arguments
    if execute("GET", lease) != token:
        return 0
    if int(milliseconds) > 0:
        execute("SET", entry, body, "PX", milliseconds)
    else:
        execute("SET", entry, body)
    execute("DEL", lease)
    return 1


STORE_UNDER_LEASE: Final = Script(
    lua="""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[3]) > 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[2])
end
redis.call('DEL', KEYS[2])
return 1
""",
    plain=_store_under_lease,
)
"""Keys: entry, lease. Arguments: token, value, milliseconds or 0. Reply: 1 stored, 0 the lease is another's by now."""


def _renew_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    token, milliseconds = arguments
    return execute("PEXPIRE", names[0], milliseconds) if execute("GET", names[0]) == token else 0


RENEW_LEASE: Final = Script(
    lua="""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""",
    plain=_renew_lease,
)
"""Keys: lease. Arguments: token, milliseconds. Reply: 1 renewed, 0 the lease is another's by now."""


def _release_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    return execute("DEL", names[0]) if execute("GET", names[0]) == arguments[0] else 0


RELEASE_LEASE: Final = Script(
    lua="""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""",
    plain=_release_lease,
)
"""Keys: lease. Arguments: token. Reply: 1 released, 0 the lease is another's by now."""
