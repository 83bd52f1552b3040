"""The first-level key: which calls share a slot, and which have none."""

from __future__ import annotations

import contextlib
import enum
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frappe_cache_ext.call_slots import LARGEST, NotPlain, new_slots
from frappe_cache_ext.fingerprint import digest

PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5), st.just(2**70)
)


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


def test_equal_calls_share_one() -> None:
    slots = new_slots()
    assert slots(1, "a", b=None) is slots(1, "a", b=None)
    assert slots() is slots()


@pytest.mark.parametrize(
    "calls",
    [
        [((1,), {}), ((1.0,), {}), ((True,), {}), (("1",), {}), ((b"1",), {}), ((None,), {})],
        [((1,), {}), ((), {"a": 1}), ((), {"b": 1}), ((1, 1), {}), ((1,), {"a": 1})],
        [((), {"a": 1}), ((), {"a": 1.0}), ((), {"a": True})],
        [(("a", "b"), {}), (("ab",), {}), (("a",), {"b": "b"})],
    ],
)
def test_different_ones_do_not(calls: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> None:
    slots = new_slots()
    found = [slots(*args, **kwargs) for args, kwargs in calls]
    assert len({id(slot) for slot in found}) == len(calls)


@pytest.mark.parametrize(
    "value",
    [
        (1,),
        frozenset({1}),
        Decimal(1),
        Colour.RED,
        Text("a"),
        np.str_("a"),
        np.int64(1),
        np.float64(1),
        0.0,
        -0.0,
        float("nan"),
        1j,
        print,
        object(),
        "x" * (LARGEST + 1),
        b"x" * (LARGEST + 1),
        1 << (8 * LARGEST + 8),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_has_none(value: Any) -> None:
    slots = new_slots()
    # What is equal to it, and plain, came first.
    for plain in (1, 1.0, True, "a", 0):
        slots(plain)
    with pytest.raises(NotPlain):
        slots(value)
    with pytest.raises(NotPlain):
        slots(a=value)


def test_what_cannot_be_hashed_says_so() -> None:
    with pytest.raises(TypeError, match="unhashable") as raised:
        new_slots()([1])
    assert not isinstance(raised.value, NotPlain)


def test_every_look_up_counts() -> None:
    slots = new_slots()
    for value in (1, 1, 2, (1,)):
        with contextlib.suppress(NotPlain):
            slots(value)
    counted = slots.cache_info()
    assert counted.hits + counted.misses == 4


@given(st.lists(PLAIN, max_size=3), st.lists(PLAIN, max_size=3))
def test_calls_share_a_slot_only_if_they_share_a_digest(one: list[Any], other: list[Any]) -> None:
    slots = new_slots()
    try:
        shared = slots(*one) is slots(*other)
    except NotPlain:
        return
    if shared:
        assert digest(one) == digest(other)
