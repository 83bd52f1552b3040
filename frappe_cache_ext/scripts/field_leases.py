"""The steps of a lease on one field of a hash.

The leases of all fields of a hash lie in one key, a hash of its own beside it: deleting that key, as whoever deletes or
replaces the whole hash does, makes all of them void, without knowing the fields. Servers of all kinds that are
supported let a whole key expire but no single field, so each lease says until when it is good, by the server's clock:
``token:run of the server:milliseconds``.

Storing asks for the token only, not for the time. A lease that has run out and is still there was taken by nobody
else, and nobody set or deleted the field meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from .script import SERVER_RUN_LUA, Argument, Execute, Script, server_run

MOST_LEASES: Final = 256
"""A hash with so many leases forgets, with each further one, those that have run out: their holders are gone."""

_HELD: Final = re.compile(rb"([0-9A-Za-z]+):([0-9A-Za-z]*):([0-9]+)")

_PRELUDE: Final = (
    SERVER_RUN_LUA
    + """
local known
local function this_run()
  known = known or server_run()
  return known
end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The token of a field's lease, if this run of the server gave it, and until when it is good.
local function holder(lease, field)
  local held = redis.call('HGET', lease, field)
  local token, run, deadline = string.match(held or '', '^(%w+):(%w*):(%d+)$')
  if not token or run ~= this_run() then return nil, 0 end
  return token, tonumber(deadline)
end

local function give(lease, field, token, milliseconds)
  redis.call('HSET', lease, field, token .. ':' .. this_run() .. ':' .. now() + milliseconds)
  if redis.call('PTTL', lease) < tonumber(milliseconds) then redis.call('PEXPIRE', lease, milliseconds) end
end
"""
)


class _Leases:
    """The prelude in plain form."""

    def __init__(self, execute: Execute, name: bytes) -> None:
        self.execute = execute
        self.name = name
        self.run = server_run(execute)

    def now(self) -> int:
        seconds, microseconds = self.execute("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def holder(self, field: Argument) -> tuple[bytes | None, int]:
        found = _HELD.fullmatch(self.execute("HGET", self.name, field) or b"")
        if found is None or found[2] != self.run:
            return None, 0
        return found[1], int(found[3])

    def give(self, field: Argument, token: Argument, milliseconds: Argument) -> None:
        deadline = self.now() + int(milliseconds)
        self.execute("HSET", self.name, field, b"%b:%b:%d" % (_bytes(token), self.run, deadline))
        if self.execute("PTTL", self.name) < int(milliseconds):
            self.execute("PEXPIRE", self.name, milliseconds)


def _bytes(argument: Argument) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()


def _take_field_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    entry, lease = names
    field, token, milliseconds = arguments
    value = execute("HGET", entry, field)
    if value is not None:
        return [1, value]
    leases = _Leases(execute, lease)
    now = leases.now()
    holder, deadline = leases.holder(field)
    if holder is not None and deadline > now:
        return [0, deadline - now]
    if execute("HLEN", lease) >= MOST_LEASES:
        for other in execute("HKEYS", lease):
            if leases.holder(other)[1] <= now:
                execute("HDEL", lease, other)
    leases.give(field, token, milliseconds)
    return [2]


TAKE_FIELD_LEASE: Final = Script(
    lua=_PRELUDE
    + f"""
local value = redis.call('HGET', KEYS[1], ARGV[1])
if value then return {{1, value}} end
local token, deadline = holder(KEYS[2], ARGV[1])
if token and deadline > now() then return {{0, deadline - now()}} end
if redis.call('HLEN', KEYS[2]) >= {MOST_LEASES} then
  for _, other in ipairs(redis.call('HKEYS', KEYS[2])) do
    local _, ends = holder(KEYS[2], other)
    if ends <= now() then redis.call('HDEL', KEYS[2], other) end
  end
end
give(KEYS[2], ARGV[1], ARGV[2], ARGV[3])
return {{2}}
""",
    plain=_take_field_lease,
)
"""Keys: hash, its leases. Arguments: field, token, milliseconds. Reply: ``[1, value]``; ``[2]`` yours; ``[0, ms]``
another's."""


def _store_field_under_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    entry, lease = names
    field, token, body = arguments
    if _Leases(execute, lease).holder(field)[0] != _bytes(token):
        return -2
    stored = execute("HSETNX", entry, field, body)
    execute("HDEL", lease, field)
    return execute("PTTL", entry) if stored else -2


STORE_FIELD_UNDER_LEASE: Final = Script(
    lua=_PRELUDE
    + """
if holder(KEYS[2], ARGV[1]) ~= ARGV[2] then return -2 end
local stored = redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[3])
redis.call('HDEL', KEYS[2], ARGV[1])
return stored == 1 and redis.call('PTTL', KEYS[1]) or -2
""",
    plain=_store_field_under_lease,
)
"""Keys: hash, its leases. Arguments: field, token, value. Reply: the milliseconds that the hash has left, -1 for no
expiry; -2 not stored: the lease is another's by now, or somebody who does not know of leases has set the field."""


def _renew_field_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    field, token, milliseconds = arguments
    leases = _Leases(execute, names[0])
    if leases.holder(field)[0] != _bytes(token):
        return 0
    leases.give(field, token, milliseconds)
    return 1


RENEW_FIELD_LEASE: Final = Script(
    lua=_PRELUDE
    + """
if holder(KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
give(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
return 1
""",
    plain=_renew_field_lease,
)
"""Keys: leases. Arguments: field, token, milliseconds. Reply: 1 renewed, 0 the lease is another's by now."""


def _release_field_lease(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    field, token = arguments
    return execute("HDEL", names[0], field) if _Leases(execute, names[0]).holder(field)[0] == _bytes(token) else 0


RELEASE_FIELD_LEASE: Final = Script(
    lua=_PRELUDE
    + """
if holder(KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
""",
    plain=_release_field_lease,
)
"""Keys: leases. Arguments: field, token. Reply: 1 released, 0 the lease is another's by now."""
