"""The steps of a lease.

An entry and its lease lie in one cluster slot, so every script names keys of one slot only. A lease counts only
on the run of the server that gave it: one that comes back with a snapshot, after a restart or a failover, is void.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .script import SERVER_RUN_LUA, Argument, Execute, Script, server_run


def _as_held(execute: Execute, token: Argument) -> bytes:
    """What a living lease of this token holds."""
    return (token if isinstance(token, bytes) else str(token).encode()) + b":" + server_run(execute)


def _take_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    entry, lease = names
    token, milliseconds = arguments
    value = execute("GET", entry)
    if value is not None:
        return [1, value]
    if execute("SET", lease, _as_held(execute, token), "NX", "PX", milliseconds):
        return [2]
    return [0, execute("PTTL", lease)]


TAKE_LEASE: Final = Script(
    lua=SERVER_RUN_LUA
    + """
local value = redis.call('GET', KEYS[1])
if value then return {1, value} end
if redis.call('SET', KEYS[2], ARGV[1] .. ':' .. server_run(), 'NX', 'PX', ARGV[2]) then return {2} end
return {0, redis.call('PTTL', KEYS[2])}
""",
    plain=_take_lease,
)
"""Keys: entry, lease. Arguments: token, milliseconds. Reply: ``[1, value]``; ``[2]`` yours; ``[0, ms]`` another's."""


def _take_lease_in_generation(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    entry, lease, generation = names
    token, milliseconds, known = arguments
    if execute("GET", generation) != known:
        return [3]
    return _take_lease(execute, (entry, lease), (token, milliseconds))


TAKE_LEASE_IN_GENERATION: Final = Script(
    lua="if redis.call('GET', KEYS[3]) ~= ARGV[3] then return {3} end" + TAKE_LEASE.lua,
    plain=_take_lease_in_generation,
)
"""Keys: entry, lease, generation. Arguments: token, milliseconds, what the generation is thought to be. Reply: ``[3]``
it is another by now; else as `TAKE_LEASE`."""


def _take_cell(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    record, claim, pulse = names
    token, pulse_milliseconds, claim_milliseconds = arguments
    value = execute("GET", record)
    if value is not None:
        return [1, value]
    holder = execute("GET", claim)
    if holder is not None and execute("GET", pulse) == holder:
        return [0, execute("PTTL", pulse), holder]
    held = _as_held(execute, token)
    execute("SET", claim, held, "PX", claim_milliseconds)
    execute("SET", pulse, held, "PX", pulse_milliseconds)
    return [2]


TAKE_CELL: Final = Script(
    lua=SERVER_RUN_LUA
    + """
local value = redis.call('GET', KEYS[1])
if value then return {1, value} end
local holder = redis.call('GET', KEYS[2])
if holder and redis.call('GET', KEYS[3]) == holder then return {0, redis.call('PTTL', KEYS[3]), holder} end
local held = ARGV[1] .. ':' .. server_run()
redis.call('SET', KEYS[2], held, 'PX', ARGV[3])
redis.call('SET', KEYS[3], held, 'PX', ARGV[2])
return {2}
""",
    plain=_take_cell,
)
"""Keys: record, claim, pulse; see `operations.cell_turns`. Arguments: token, the pulse's milliseconds, the claim's.
Reply: ``[1, record]``; ``[2]`` yours; ``[0, ms, claim]`` another's, who has given a sign of life."""


def _take_to_refresh(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    entry, lease = names
    token, milliseconds, seen = arguments
    value = execute("GET", entry)
    if value is not None:
        left = execute("PTTL", entry)
        if left < 0 or left > int(seen):
            return [1, value, left]
    if execute("SET", lease, _as_held(execute, token), "NX", "PX", milliseconds):
        return [2]
    return [0, execute("PTTL", lease)]


TAKE_TO_REFRESH: Final = Script(
    lua=SERVER_RUN_LUA
    + """
local value = redis.call('GET', KEYS[1])
if value then
  local left = redis.call('PTTL', KEYS[1])
  if left < 0 or left > tonumber(ARGV[3]) then return {1, value, left} end
end
if redis.call('SET', KEYS[2], ARGV[1] .. ':' .. server_run(), 'NX', 'PX', ARGV[2]) then return {2} end
return {0, redis.call('PTTL', KEYS[2])}
""",
    plain=_take_to_refresh,
)
"""Keys: entry, lease. Arguments: token, milliseconds, what the entry's expiry was when it was seen. Reply: ``[1, value,
ms]`` another value by now, with its expiry; ``[2]`` yours; ``[0, ms]`` another's."""


def _store_under_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    entry, lease = names
    if execute("EXISTS", entry):
        _release_lease(execute, (lease,), arguments)
        return 0
    return _refresh_under_lease(execute, names, arguments)


def _refresh_under_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    entry, lease = names
    token, body, milliseconds = arguments
    if execute("GET", lease) != _as_held(execute, token):
        return 0
    if int(milliseconds) > 0:
        execute("SET", entry, body, "PX", milliseconds)
    else:
        execute("SET", entry, body)
    execute("DEL", lease)
    return 1


_IS_HELD_LUA: Final = (
    SERVER_RUN_LUA
    + """
if redis.call('GET', KEYS[2]) ~= ARGV[1] .. ':' .. server_run() then return 0 end
"""
)
_STORE_LUA: Final = """
if tonumber(ARGV[3]) > 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[2])
end
redis.call('DEL', KEYS[2])
return 1
"""

STORE_UNDER_LEASE: Final = Script(
    lua=_IS_HELD_LUA
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('DEL', KEYS[2])
  return 0
end
"""
    + _STORE_LUA,
    plain=_store_under_lease,
)
"""Keys: entry, lease. Arguments: token, value, milliseconds or 0. Reply: 1 stored, 0 the lease is another's by now, or
there is an entry. When the lease was given there was none: who set it meanwhile knows nothing of leases, or has deleted
the last lease and was about to set it while this one was given."""

REFRESH_UNDER_LEASE: Final = Script(lua=_IS_HELD_LUA + _STORE_LUA, plain=_refresh_under_lease)
"""The same for a lease from `TAKE_TO_REFRESH`, whose holder replaces the entry."""


def _renew_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    token, milliseconds = arguments
    return execute("PEXPIRE", names[0], milliseconds) if execute("GET", names[0]) == _as_held(execute, token) else 0


RENEW_LEASE: Final = Script(
    lua=SERVER_RUN_LUA
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] .. ':' .. server_run() then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""",
    plain=_renew_lease,
)
"""Keys: lease. Arguments: token, milliseconds. Reply: 1 renewed, 0 the lease is another's by now."""


def _release_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    return execute("DEL", names[0]) if execute("GET", names[0]) == _as_held(execute, arguments[0]) else 0


RELEASE_LEASE: Final = Script(
    lua=SERVER_RUN_LUA
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] .. ':' .. server_run() then return 0 end
return redis.call('DEL', KEYS[1])
""",
    plain=_release_lease,
)
"""Keys: lease. Arguments: token. Reply: 1 released, 0 the lease is another's by now."""
