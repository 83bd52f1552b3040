"""The guide's lines of code, verbatim, in a real kernel, each printed result checked.

Where the guide's text lost a line in copying (the decorator
above ``invalidate_cache``, the bodies of its last example), the line is restored from its meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from .conftest import Kernel

pytestmark = pytest.mark.alone

MICROSECOND, MILLISECOND, SECOND = 1e-6, 1e-3, 1.0
_UNITS = {"s": SECOND, "ms": MILLISECOND, "µs": MICROSECOND, "μs": MICROSECOND, "us": MICROSECOND, "ns": 1e-9}


def wall_time(printed: str) -> float:
    """The seconds that ``%time`` printed."""
    found = re.search(r"Wall time: ([\d.]+) (\w+)", printed)
    assert found, printed
    return float(found[1]) * _UNITS[found[2]]


@pytest.fixture(scope="module")
def guide(kernel: Kernel) -> Iterator[Kernel]:
    kernel.run("%cache_site guide.test")
    kernel.run("%cache_clear")
    yield kernel
    kernel.run("%cache_clear")


class TestStrings:
    def test_set_and_get(self, guide: Kernel) -> None:
        assert guide.value('frappe.cache.set_value("key", "value")') == ""
        assert guide.value('frappe.cache.get_value("key")') == "'value'"

    def test_older_versions_call_it(self, guide: Kernel) -> None:
        assert guide.value('frappe.cache().get_value("key")') == "'value'"


class TestHashes:
    def test_fields(self, guide: Kernel) -> None:
        guide.value('frappe.cache.hset("user|admin", "name", "Admin")')
        guide.value('frappe.cache.hset("user|admin", "email", "")')
        assert guide.value('# Get single field value\nfrappe.cache.hget("user|admin", "name")') == "'Admin'"
        assert (
            guide.value('# Or retrieve all fields at once.\nfrappe.cache.hgetall("user|admin")')
            == "{'name': 'Admin', 'email': ''}"
        )


class TestCachedDocuments:
    def test_the_settings_are_read_once(self, guide: Kernel) -> None:
        guide.value('frappe.sample_site(); ""')
        guide.value('system_settings = frappe.get_cached_doc("System Settings")')
        assert guide.value("system_settings.country, type(system_settings).__name__") == "('India', 'Document')"
        guide.value(
            "from frappe_cache_ext.teaching.documents import statements\n"
            "with statements() as count:\n"
            '    system_settings = frappe.get_cached_doc("System Settings")'
        )
        assert guide.value("len(count)") == "0"

    def test_a_change_clears_and_a_raw_query_does_not(self, guide: Kernel) -> None:
        country = 'frappe.get_cached_doc("System Settings").country'
        guide.value('frappe.db.set_value("System Settings", None, "country", "Kenya"); frappe.db.commit()')
        assert guide.value(country) == "'Kenya'"
        guide.value('frappe.db.sql("update tabSingles set value = %s where field = %s", ("Peru", "country"))')
        guide.value("frappe.db.commit()")
        assert guide.value(country) == "'Kenya'"
        guide.value('doctype = name = "System Settings"\nfrappe.clear_document_cache(doctype, name)')
        assert guide.value(country) == "'Peru'"
        guide.value('frappe.db.set_value("System Settings", None, "country", "India"); frappe.db.commit()')
        guide.run("%cache_site guide.test")


SLOW_ADD = """
def slow_add(a, b):
    import time; time.sleep(1) # Fake workload
    return a + b
"""

CACHED_SLOW_ADD = """
def slow_add(a, b):
    key = f"slow_addition|{a}+{b}" # unique key representing this computation

    # If this key exists in cache, then return value
    if cached_value := frappe.cache.get_value(key):
        return cached_value

    import time; time.sleep(1) # Fake workload
    result = a + b

    # Set the computed value in cache so next time we dont have to do the work
    frappe.cache.set_value(key, result)

    return result
"""


class TestCacheByHand:
    def test_it_is_slow_once(self, guide: Kernel) -> None:
        guide.value(SLOW_ADD)
        assert wall_time(guide.run("%time slow_add(40, 2)").out) == pytest.approx(1, abs=0.3)
        guide.value(CACHED_SLOW_ADD)
        first, second = guide.run("%time slow_add(40, 2)"), guide.run("%time slow_add(40, 2)")
        assert (first.text, second.text) == ("42", "42")
        assert wall_time(first.out) == pytest.approx(1, abs=0.3)
        assert wall_time(second.out) < 50 * MILLISECOND
        assert guide.value('frappe.cache.get_value("slow_addition|40+2")') == "42"

    def test_it_expires(self, guide: Kernel) -> None:
        guide.value('key = "slow_addition|40+2"; result = 42')
        guide.value(
            "# This cached value will automatically expire in one hour\n"
            "frappe.cache.set_value(key, result, expires_in_sec=60*60)"
        )
        assert guide.value("%cache_ttl slow_addition|40+2") == "3600"

    def test_it_is_cleared_by_hand(self, guide: Kernel) -> None:
        guide.value("frappe.cache.delete_value(key) # `frappe.cache.hdel` if using hashes.")
        assert guide.value("frappe.cache.get_value(key)") == ""
        guide.value('frappe.cache.hdel("user|admin", "email")')
        assert guide.value('frappe.cache.hgetall("user|admin")') == "{'name': 'Admin'}"


SLOW_FUNCTION = """def slow_function(a, b):
    import time; time.sleep(1)  # fake expensive computation
    return a + b
"""


class TestRedisCache:
    def test_a_second_each_time_and_then_no_more(self, guide: Kernel) -> None:
        guide.value(SLOW_FUNCTION)
        uncached = guide.run("# This takes 1 second to execute every time.\n%time slow_function(40, 2)")
        again = guide.run("%time slow_function(40, 2)")
        guide.value("from frappe.utils.caching import redis_cache")
        guide.value(f"@redis_cache\n{SLOW_FUNCTION}")
        first = guide.run(
            "# Now first call takes 1 second, but all subsequent calls return instantly.\n%time slow_function(40, 2)"
        )
        later = guide.run("%time slow_function(40, 2)")
        for answer in (uncached, again, first, later):
            assert (answer.status, answer.text, answer.err) == ("ok", "42", "")
        for answer in (uncached, again, first):
            assert wall_time(answer.out) == pytest.approx(1, abs=0.3)
        assert wall_time(later.out) < 50 * MILLISECOND
        assert wall_time(first.out) / wall_time(later.out) > 20

    def test_it_expires(self, guide: Kernel) -> None:
        guide.value("slow_function.clear_cache()")  # the same code: the entry of the definition before would do
        guide.value(f"@redis_cache(ttl=60)\n{SLOW_FUNCTION}")
        assert guide.value("slow_function(40, 2)") == "42"
        assert guide.value("0 < frappe.cache.ttl(slow_function.cache_key(40, 2)) <= 60") == "True"

    def test_it_is_cleared_by_hand(self, guide: Kernel) -> None:
        guide.value("calls = 0")
        guide.value(
            "@redis_cache\n"
            "def slow_function(a, b):\n"
            "    global calls\n"
            "    calls += 1\n"
            "    return a + b\n"
            "\n"
            "def invalidate_cache():\n"
            "    slow_function.clear_cache()\n"
        )
        assert guide.value("slow_function(40, 2), slow_function(40, 2), calls") == "(42, 42, 1)"
        guide.value("invalidate_cache()")
        assert guide.value("slow_function(40, 2), calls") == "(42, 2)"


class TestImplementationDetails:
    def test_two_sites_have_two_entries(self, guide: Kernel) -> None:
        assert guide.value('frappe.cache.make_key("key").decode().endswith("|key")') == "True"
        guide.run("%cache_site guide2.test")
        assert guide.value('frappe.cache.get_value("key")') == ""
        guide.value('frappe.cache.set_value("key", "other")')
        guide.run("%cache_clear")
        guide.run("%cache_site guide.test")
        assert guide.value('frappe.cache.get_value("key")') == "'value'"

    def test_complex_values_need_no_thought(self, guide: Kernel) -> None:
        guide.value("import datetime, decimal")
        guide.value(
            'frappe.cache.set_value("complex", {"day": datetime.date(2026, 1, 2), "sum": decimal.Decimal("1.5")})'
        )
        assert (
            guide.value('frappe.cache.get_value("complex")')
            == "{'day': datetime.date(2026, 1, 2), 'sum': Decimal('1.5')}"
        )

    def test_repeated_reads_are_answered_by_the_request(self, guide: Kernel) -> None:
        cell = (
            "before = frappe.cache.stats.hits\n"
            'for _ in range(5): frappe.cache.get_value("key")\n'
            "frappe.cache.stats.hits - before, frappe.cache.make_key('key') in frappe.local.cache"
        )
        assert guide.value(cell) == "(1, True)"

    def test_the_wrapper_is_where_the_guide_says(self, guide: Kernel) -> None:
        assert (
            guide.value("from frappe.utils.redis_wrapper import RedisWrapper\nisinstance(frappe.cache, RedisWrapper)")
            == "True"
        )
