"""What copies may take of a process: never more of them, or more bytes, than was said, however many keys are read.

The walks run in processes of their own, in whose memory nothing else of the tests lies.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import frappe_cache_ext as frappe
from frappe_cache_ext import invalidations, keys
from frappe_cache_ext.codec import Codec
from frappe_cache_ext.connections import current_connection
from frappe_cache_ext.copies import MOST_BYTES, MOST_COPIES, Copy, Fetch
from frappe_cache_ext.settings import default_db_name
from tests.documents.processes import own_redis
from tests.support import LONG, RedisServer, until

ROOT = Path(__file__).parents[2]
SITE = "memory.test"
KEYS = 1_000_000 if LONG else 100_000
LARGE_KEYS = 20_000 if LONG else 8_000
LARGE = 16 << 10
"""Bytes of a large value's pickle, about: of these, it is not the number of copies that is bounded but their bytes."""

FEW = 1000
LITTLE = 1 << 20
"""Bounds that somebody set, in copies and bytes."""

BESIDE = 8 << 20
"""Bytes for what a walk needs besides its copies.

4096 slots and 1024 packed commands, with their keys, take 2 MiB; the buffers of sockets, modules that are loaded late
and what the allocator has not given back take the rest.
"""

KEPT = 1.3
"""Bytes of memory for each byte that is counted: the allocator rounds up, and leaves holes where others were."""

VALUES: dict[str, Any] = {
    "small": {"item": "ITEM-0001", "rates": [1.5, 2.5]},
    "large": ["x" * LARGE],
    "integers": tuple(range(300, 300 + LARGE // 3)),
    "text": "x" * LARGE + "\N{PARTY POPPER}",  # one such sign makes each of the others four bytes
}


def walk(url: str, kind: str, count: str, most: str, most_bytes: str) -> None:
    """Read each key of a kind twice, looking each time how many copies there are; say what was met."""
    # A machine that stands still for a second must not end the copies: those of a request would be read instead.
    invalidations.BOUND = 60.0  # type: ignore[misc]
    frappe.init(SITE, url=url)
    frappe.cache.exists("anything")
    until(lambda: frappe.client_cache.healthy, what="listening")
    copies = current_connection().copies
    bounds = copies.most, copies.most_bytes
    copies.most, copies.most_bytes = int(most), int(most_bytes)
    value, read, highest, highest_bytes = VALUES[kind], frappe.client_cache.get_value, 0, 0
    read(f"{kind}0")
    before = memory("VmRSS")
    for number in range(int(count)):
        key = f"{kind}{number}"
        assert read(key) == value
        highest, highest_bytes = max(highest, len(copies)), max(highest_bytes, copies.bytes)
        assert read(key) == value
        highest, highest_bytes = max(highest, len(copies)), max(highest_bytes, copies.bytes)
    grown = memory("VmHWM") - before
    found = frappe.client_cache.statistics
    print(
        json.dumps(
            {
                "bounds": bounds,
                "highest": highest,
                "highest_bytes": highest_bytes,
                "grown": grown,
                "hits": found.hits,
                "misses": found.misses,
                "counted": copies.bytes == sum(map(size, copies._held.values())),
                "pickles": sum(len(entry.body or b"") for entry in copies._held.values() if isinstance(entry, Copy)),
            }
        )
    )


def size(entry: Copy | Fetch) -> int:
    """What an entry is counted as."""
    return entry.size if isinstance(entry, Copy) else 0


def memory(what: str) -> int:
    """Bytes that this process has in memory: now, `VmRSS`, or at most so far, `VmHWM`."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines[what].split()[0]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with own_redis() as started:
        yield started


def walked(server: RedisServer, kind: str, count: int, most: int = MOST_COPIES, most_bytes: int = MOST_BYTES) -> Any:
    """What a walk over so many keys met; they are all there."""
    server.command("FLUSHALL")
    value = Codec(None).encode(VALUES[kind], b"")
    batch = 10_000 if len(value) < 1000 else 100
    with redis.Redis.from_url(server.url) as client:
        for first in range(0, count, batch):
            numbers = range(first, min(count, first + batch))
            client.mset({keys.make_key(default_db_name(SITE), f"{kind}{number}"): value for number in numbers})
    code = "import sys; from tests.coherence.test_memory import walk; walk(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, server.url, kind, str(count), str(most), str(most_bytes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    server.command("FLUSHALL")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["highest"] <= most
    assert found["highest_bytes"] <= most_bytes
    assert found["counted"]
    # Else there was nothing to bound: each key's first read is a miss, its second one a hit. Where every copy was used
    # since the clock's hand came by, the hand comes round to the newest one, which was not.
    assert found["hits"] + found["misses"] == 2 * count + 1
    assert found["hits"] > 0.95 * count
    return found


pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if LONG else 120)]


def test_small_values_and_the_bounds_that_nobody_set(server: RedisServer) -> None:
    found = walked(server, "small", KEYS)
    assert found["bounds"] == [MOST_COPIES, MOST_BYTES]
    assert found["highest"] == MOST_COPIES
    assert found["grown"] < found["highest_bytes"] * KEPT + BESIDE


def test_large_values_and_the_bounds_that_nobody_set(server: RedisServer) -> None:
    found = walked(server, "large", LARGE_KEYS)
    assert found["highest_bytes"] > MOST_BYTES - 2 * LARGE
    assert found["highest_bytes"] * 0.9 < found["pickles"] < found["highest_bytes"]
    assert found["grown"] < MOST_BYTES * KEPT + BESIDE


def test_small_values_and_small_bounds(server: RedisServer) -> None:
    found = walked(server, "small", KEYS // 4, FEW, LITTLE)
    assert found["highest"] == FEW
    assert found["grown"] < LITTLE * KEPT + BESIDE


@pytest.mark.parametrize("kind", ["large", "integers", "text"])
def test_large_values_and_small_bounds(server: RedisServer, kind: str) -> None:
    bound = 4 * LITTLE
    found = walked(server, kind, LARGE_KEYS // 4, FEW, bound)
    assert found["highest_bytes"] > 0.9 * bound
    assert found["grown"] < bound * KEPT + BESIDE
