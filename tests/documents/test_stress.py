"""Real processes on real databases: two readers and a writer for each document, and nobody reads what was replaced.

The readers begin a transaction with a SELECT, work for up to 20 ms and then read through the cache: with the usual
algorithm (look, else load and store; delete after the commit) most of them store what their transaction's old view of
the database shows, and the entry stays. `test_the_naive_algorithm_is_found_out` shows that this very harness sees it.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.documents.processes import Seen, own_redis, prepare, site_of, stress, workers
from tests.support import LONG

STRESS_SECONDS = 20.0 if LONG else 6.0
NAIVE_SECONDS = 6.0

GAPS = {"fast": (0.05, 0.4), "slow": (0.5, 1.5)}
"""By document, the shortest and the longest pause between two changes, in seconds."""

HITS = {"fast": 0.6, "slow": 0.75}
"""By document, the share of reads that must come from the cache.

While a transaction that changes a document is open, and for those readers whose transaction began before its end, the
document is read from the database: 10 ms that the writer works, 10 ms that the reader does, and what the machine takes
for both. Of a pause of 1 s on average that is about 4 %, of one of 225 ms about a fifth, and a loaded machine takes
longer for all of it.
"""

REPEATABLE = [
    pytest.param("sqlite", None, "snapshot", id="sqlite"),
    pytest.param("mariadb", None, "repeatable read", id="mariadb"),
    pytest.param("postgres", None, "repeatable read", id="postgres"),
]
DATABASES = [
    *REPEATABLE,
    pytest.param("postgres", "READ COMMITTED", "read committed", id="postgres-read-committed"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("database_kind", "isolation", "called"), DATABASES)
def test_nobody_reads_what_was_replaced(
    database_kind: str, database_url: str, isolation: str | None, called: str, record_property: Any
) -> None:
    with own_redis() as server, workers() as start:
        site = site_of(server.url, database_url) | ({"isolation": isolation} if isolation else {})
        prepare(site, [*GAPS, "bystander"])
        inside, outside, levels = stress(start, site, GAPS, STRESS_SECONDS)
    assert levels == {called}
    for name in GAPS:
        for where, seen in (("in a transaction", inside[name]), ("outside any", outside[name])):
            record_property(f"{name} {where}", str(seen))
            print(f"{database_kind} {called}, {name} {where}: {seen}")
            assert (seen.stale, seen.impossible) == ([], []), (name, where)
            assert seen.reads > STRESS_SECONDS * 5, "too few reads to have met a change"
            assert seen.hit_share >= HITS[name], (name, where, str(seen))


@pytest.mark.slow
@pytest.mark.parametrize(("database_kind", "isolation", "called"), REPEATABLE)
def test_the_naive_algorithm_is_found_out(
    database_kind: str, database_url: str, isolation: None, called: str, record_property: Any
) -> None:
    """With one view of the database for each transaction; without, the race is too narrow to wait for."""
    with own_redis() as server, workers() as start:
        site = site_of(server.url, database_url)
        prepare(site, ["fast", "bystander"])
        inside, _, levels = stress(start, site, {"fast": GAPS["fast"]}, NAIVE_SECONDS, in_transaction=1.0, naive=True)
    seen: Seen = inside["fast"]
    record_property("naive", str(seen))
    print(f"{database_kind} {called}, naive: {seen}")
    assert levels == {called}
    assert len(seen.stale) > 0.05 * seen.reads
