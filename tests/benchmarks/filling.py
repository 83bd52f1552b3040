"""Filling a server with very many keys in little time."""

from __future__ import annotations

from typing import Any, Final

import redis

AT_ONCE: Final = 100_000
"""Keys that one script sets: a server that works on one for longer is taken for hung."""

_SET = "for i = tonumber(ARGV[2]), tonumber(ARGV[3]) do redis.call('SET', ARGV[1] .. i, ARGV[4]) end"


def fill(client: redis.Redis, prefix: bytes, first: int, last: int, value: bytes) -> None:
    """Set all keys that are a prefix and a number, from the first number to the last, to one value."""
    for start in range(first, last + 1, AT_ONCE):
        client.eval(_SET, 0, prefix, str(start), str(min(start + AT_ONCE - 1, last)), value)


def settle(client: redis.Redis) -> None:
    """Have all that was written on the disk: a server that still writes it lets others' commands wait."""
    option = "appendfsync"
    found: Any = client.config_get(option)
    client.config_set(option, "always")
    client.incr("settled")
    client.config_set(option, found[option])
