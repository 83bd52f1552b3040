"""Copies in the process, without a server: what is kept, what is not, and how much."""

from __future__ import annotations

import gc
import itertools
import math
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frappe_cache_ext.copies import Copies, Copy, Slot


@pytest.fixture
def copies() -> Copies:
    """Copies to which somebody listens."""
    made = Copies()
    made.good_until = math.inf
    return made


def put(copies: Copies, name: bytes, value: Any, group: bytes = b"", deadline: float = math.inf) -> Copy | None:
    fetch = copies.expect(name, group)
    assert fetch is not None
    return copies.keep(fetch, value, pickle.dumps(value, protocol=5), deadline)


def read(copies: Copies, name: bytes) -> Any:
    copy = copies.find(name)
    return None if copy is None else copy.read()


class TestOneCopy:
    def test_it_is_found(self, copies: Copies) -> None:
        put(copies, b"a", 1)
        assert (read(copies, b"a"), read(copies, b"b")) == (1, None)

    def test_what_can_be_changed_is_another_object_each_time(self, copies: Copies) -> None:
        put(copies, b"a", [1])
        read(copies, b"a").append(2)
        assert read(copies, b"a") == [1]

    def test_what_cannot_is_the_same(self, copies: Copies) -> None:
        value = ("x" * 100, 7)
        put(copies, b"a", value)
        assert read(copies, b"a") is value

    def test_it_ends_with_its_entry(self, copies: Copies) -> None:
        put(copies, b"a", 1, deadline=time.monotonic() + 0.02)
        assert read(copies, b"a") == 1
        time.sleep(0.03)
        assert read(copies, b"a") is None

    def test_it_is_good_only_while_somebody_listens(self, copies: Copies) -> None:
        put(copies, b"a", 1)
        copies.good_until = time.monotonic() - 0.001
        assert read(copies, b"a") is None
        assert copies.expect(b"b") is None
        copies.good_until = math.inf
        assert read(copies, b"a") == 1

    def test_stopping_forgets_everything(self, copies: Copies) -> None:
        put(copies, b"a", 1)
        copies.stop()
        copies.good_until = math.inf
        assert (read(copies, b"a"), len(copies), copies.bytes) == (None, 0, 0)


class TestTokens:
    """Of a reader and a writer in any order, no old value is kept."""

    def test_a_change_meanwhile(self, copies: Copies) -> None:
        fetch = copies.expect(b"a")
        assert fetch is not None
        copies.drop([b"a"])
        assert copies.keep(fetch, "old", b"", math.inf) is None
        assert read(copies, b"a") is None

    def test_a_flush_meanwhile(self, copies: Copies) -> None:
        fetch = copies.expect(b"a")
        assert fetch is not None
        copies.drop_all()
        assert copies.keep(fetch, "old", b"", math.inf) is None

    def test_a_slow_reader_does_not_overwrite_a_faster_one(self, copies: Copies) -> None:
        slow = copies.expect(b"a")
        copies.drop([b"a"])
        put(copies, b"a", "new")
        assert slow is not None
        assert copies.keep(slow, "old", b"", math.inf) is None
        assert read(copies, b"a") == "new"

    def test_nor_does_it_take_the_place_of_one_that_is_still_reading(self, copies: Copies) -> None:
        slow = copies.expect(b"a")
        copies.drop([b"a"])
        fast = copies.expect(b"a")
        assert slow is not None
        assert fast is not None
        assert copies.keep(slow, "old", b"", math.inf) is None
        assert copies.keep(fast, "new", b"", math.inf) is not None
        assert read(copies, b"a") == "new"

    def test_a_change_of_the_group_meanwhile(self, copies: Copies) -> None:
        fetch = copies.expect(b"a", b"group")
        assert fetch is not None
        copies.drop([b"group"])
        assert copies.keep(fetch, "old", b"", math.inf) is None

    def test_what_was_not_found_is_expected_no_more(self, copies: Copies) -> None:
        fetch = copies.expect(b"a", b"group")
        assert fetch is not None
        copies.forget(fetch)
        assert (len(copies), copies.bytes) == (0, 0)
        assert copies.keep(fetch, "late", b"", math.inf) is None

    def test_every_interleaving_of_two_readers_and_a_writer(self, copies: Copies) -> None:
        """Each step of each in its order, all 1,680 ways to mix them: what is kept at the end is what the server has.

        The server tells of a change once it is made, and at the latest when everybody is done.
        """

        def reader(server: dict[bytes, int]) -> Iterator[None]:
            fetch = copies.expect(b"a")
            yield
            value = server[b"a"]
            yield
            if fetch is not None:
                copies.keep(fetch, value, b"", math.inf)
            yield

        def writer(server: dict[bytes, int]) -> Iterator[None]:
            server[b"a"] += 1
            yield
            copies.drop([b"a"])
            yield
            yield

        kept = 0
        for order in _mixes(3, 3):
            copies.drop_all()
            server = {b"a": 0}
            runs = [reader(server), reader(server), writer(server)]
            for which in order:
                next(runs[which])
            found = read(copies, b"a")
            assert found in {None, server[b"a"]}, order
            kept += found is not None
        assert kept > 300


def _mixes(runs: int, steps: int) -> Iterator[tuple[int, ...]]:
    return iter(sorted(set(itertools.permutations([run for run in range(runs) for _ in range(steps)]))))


class TestGroups:
    def test_all_of_a_group_go_together(self, copies: Copies) -> None:
        for name in (b"a", b"b"):
            put(copies, name, 1, group=b"g")
        put(copies, b"c", 1)
        copies.drop([b"g"])
        assert [read(copies, name) for name in (b"a", b"b", b"c")] == [None, None, 1]

    def test_nothing_is_left_of_a_group(self, copies: Copies) -> None:
        put(copies, b"a", 1, group=b"g")
        copies.drop([b"a"])
        assert not copies._groups

    def test_a_name_may_change_its_group(self, copies: Copies) -> None:
        put(copies, b"a", 1, group=b"g")
        put(copies, b"a", 2, group=b"h")
        copies.drop([b"g"])
        assert read(copies, b"a") == 2


class TestRoom:
    def test_no_more_than_there_is_room_for(self) -> None:
        copies = Copies(most=10)
        copies.good_until = math.inf
        for number in range(100):
            put(copies, b"%d" % number, number)
        assert len(copies) == 10

    def test_no_more_bytes_than_there_is_room_for(self) -> None:
        copies = Copies(most_bytes=100_000)
        copies.good_until = math.inf
        for number in range(100):
            put(copies, b"%d" % number, "x" * 5000)
            assert copies.bytes <= 100_000
        assert 10 < len(copies) < 20

    def test_one_that_is_used_stays(self) -> None:
        copies = Copies(most=10)
        copies.good_until = math.inf
        put(copies, b"used", 1)
        for number in range(100):
            put(copies, b"%d" % number, number)
            assert read(copies, b"used") == 1

    def test_a_large_one_does_not_push_out_the_others(self) -> None:
        copies = Copies(most_bytes=10_000)
        copies.good_until = math.inf
        put(copies, b"small", 1)
        assert put(copies, b"large", "x" * 5000) is None
        assert (read(copies, b"small"), read(copies, b"large")) == (1, None)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("put", "drop", "expect", "group", "find", "all")), st.integers(0, 6), st.integers(0, 3)
            ),
            max_size=60,
        )
    )
    def test_the_books_are_right(self, steps: list[tuple[str, int, int]]) -> None:
        copies = Copies(most=4, most_bytes=4000)
        copies.good_until = math.inf
        for what, number, other in steps:
            name, group = b"n%d" % number, b"g%d" % other if other else b""
            if what == "put":
                put(copies, name, "x" * (100 * other), group)
            elif what == "expect":
                copies.expect(name, group)
            elif what == "find":
                copies.find(name)
            elif what == "all":
                copies.drop_all()
            else:
                copies.drop([name if what == "drop" else group])
            held = copies._held.values()
            sizes = [entry.size if isinstance(entry, Copy) else len(entry.name) + 512 for entry in held]
            assert copies.bytes == sum(sizes) <= 4000
            assert len(copies) <= 4
            members = {(entry.group, entry.name) for entry in held if entry.group}
            assert members == {(group, name) for group, names in copies._groups.items() for name in names}


class TestSlots:
    def test_a_slot_leads_to_its_copy_until_that_is_dropped(self, copies: Copies) -> None:
        slot = Slot()
        copy = put(copies, b"a", 1)
        assert copy is not None
        copy.link(slot)
        assert slot.copy is copy
        copies.drop([b"a"])
        assert slot.copy is None
        assert copy.deadline == -math.inf

    def test_one_dropped_just_before_is_not_linked(self, copies: Copies) -> None:
        slot = Slot()
        copy = put(copies, b"a", 1)
        assert copy is not None
        copies.drop([b"a"])
        copy.link(slot)
        assert slot.copy is None

    @pytest.mark.parametrize("go", [lambda c: c.drop([b"a"]), lambda c: c.drop_all(), lambda c: put(c, b"a", 2)])
    def test_no_value_is_kept_in_memory_by_a_slot(self, copies: Copies, go: Callable[[Copies], object]) -> None:
        slot = Slot()
        copy = put(copies, b"a", [1])
        assert copy is not None
        copy.link(slot)
        gone = weakref.ref(_Watched())
        copy.body = None
        copy.value = watched = _Watched()
        gone = weakref.ref(watched)
        del copy, watched
        go(copies)
        gc.collect()
        assert gone() is None


class _Watched:
    pass


def test_many_threads_at_once_leave_the_books_right(copies: Copies) -> None:
    copies.most = 20

    def work(seed: int) -> None:
        for number in range(2000):
            name = b"%d" % ((number * seed) % 30)
            fetch = copies.expect(name, b"g%d" % (number % 3))
            if number % 5 == 0:
                copies.drop([name, b"g%d" % (number % 3)])
            if fetch is not None:
                copies.keep(fetch, number, b"x" * 10, math.inf)
            copies.find(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (7, 11, 13, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    copies.drop_all()
    assert (len(copies), copies.bytes, copies._groups) == (0, 0, {})
