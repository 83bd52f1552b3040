"""Digests: equal for equal values in every process, different for everything else."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import subprocess
import sys
import threading
from collections import Counter, OrderedDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given

from frappe_cache_ext import fingerprint
from frappe_cache_ext.errors import NotCacheable
from frappe_cache_ext.fingerprint import call_digest, digest
from tests.unit.test_codec import values


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


def plain(x: int) -> int:
    return x


MANY: list[Any] = [
    *(None, 0, 1, -1, -2, 2**64, 1.0, True, False, "", "1", b"1", bytearray(b"1"), 1j, ..., float("nan"), -0.0, 0.0),
    *([], (), {}, set(), frozenset(), [1], (1,), {1}, frozenset({1}), {1: 1}, {"1": 1}, [[1]], ["a", "b"], ["ab"]),
    *({"a": 1, "b": 2}, {"b": 2, "a": 1}, OrderedDict(a=1), Counter("a"), deque([1]), range(3), slice(1, 2)),
    *(decimal.Decimal("1"), decimal.Decimal("1.0"), datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1)),
    *(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), datetime.timedelta(1), Path("a"), "\ud800"),
    *(Color.RED, Color.BLUE, Color, Point, Point(1), Point(1, 2), Point(2, 1), int, str, len, print, plain, json),
    *(lambda: 1, lambda: 2, lambda x=1: x, lambda x=2: x, lambda: "1", functools.partial(plain, 1)),
    *(np.zeros(4), np.zeros((2, 2)), np.zeros(4, "f4"), np.zeros(4, ">f8"), np.zeros(3), np.ones(4), np.int64(1)),
    *(np.float32(1), np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.asfortranarray(np.eye(3)), np.eye(3)),
    *(np.array(["a"]), np.array(["a"], dtype=object), np.array([1], dtype=[("a", "i4")]), np.dtype("f4"), np.array(5)),
    *(pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": ["1"]})),
    *(pd.DataFrame({"a": [1]}, index=[5]), pd.DataFrame({"a": pd.Categorical(["x"])})),
    *(pd.Series([1]), pd.Series([1], name="n")),
    *(pd.DataFrame({"a": pd.to_datetime(["2026-01-01"])}), pd.Index([1]), pd.Index([1], name="n"), pd.Series([None])),
    pd.DataFrame({"a": pd.to_datetime(["2026-01-01"]).tz_localize("UTC")}),
]  # fmt: skip


def test_everything_that_differs_differs() -> None:
    digests = [digest(value) for value in MANY]
    for index, one in enumerate(digests):
        assert one not in digests[:index], f"{MANY[index]!r} and {MANY[digests.index(one)]!r}"


@given(values, values)
def test_values_with_different_texts_have_different_digests(one: Any, other: Any) -> None:
    assume(repr(one) != repr(other))
    assume(not (isinstance(one, frozenset) and one == other))
    if digest(one) == digest(other):
        # Sets are written in an order of their own, and nothing else may coincide.
        assert one == other
        assert "frozenset" in repr(one)


@given(values)
def test_a_copy_has_the_same_digest(value: Any) -> None:
    import copy
    import pickle

    assert digest(value) == digest(pickle.loads(pickle.dumps(value))) == digest(copy.deepcopy(value))


def test_it_is_the_same_in_every_process() -> None:
    code = (
        "from tests.unit.test_fingerprint import MANY, digest, call_digest, plain; import json;"
        "print(json.dumps([digest(v) for v in MANY if 'object' not in str(type(v))] +"
        "[call_digest(plain, (1, {'a', 'b', 'c'}), {'k': frozenset('xyz')})]))"
    )
    runs = []
    for seed in ("0", "1", "random"):
        environment = {"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": "."}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) > 80


# Written once by CPython 3.11; another version or platform must find the same.
KNOWN = {
    "None": (None, "5fcf92d1d245cddc755177164ff6ad5d"),
    "nested": ({"a": [1, 2.5, "ü", b"x", None, True, (1 + 2j,)]}, "f97798bb9e5ce1fb2dcca267d2dd682e"),
    "sets": ({frozenset({"a", "b"}), 3}, "ca1f7c43ca1fb5b20f34ca29fd682147"),
    "date": (datetime.datetime(2026, 1, 2, 3, 4, 5, 6), "df8e4ddc49510cc0592a4a8a7388a16e"),
    "decimal": (decimal.Decimal("10.50"), "35e60e5e2ad90817d532dd39b6a2c62a"),
    "array": (np.arange(6, dtype="<i4").reshape(2, 3), "8613d5767bcadb328c89db27344dab23"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_it_is_the_same_in_every_version_of_python(name: str) -> None:
    value, known = KNOWN[name]
    assert digest(value) == known


MANY_ALIKE: list[Any] = [
    *([1] * 20, [1.0] * 20, [True] * 20, ["1"] * 20, [b"1"] * 20, [None] * 20, [0] * 20, [-0.0] * 20, [0.0] * 20),
    *([2**63] * 20, [2**63 - 1] * 20, [-(2**63)] * 20, [1] * 19 + [2**70], [1] * 21, [1] * 19 + [2]),
    *(["ab", "c"] * 10, ["a", "bc"] * 10, ["a", "b", "c"] * 10, ["\ud800", "\udc00"] * 10, [b"ab", b"c"] * 10),
    *([None, "a"] * 10, ["a", None] * 10, [1, "1"] * 10, ["1", 1] * 10, [1, True] * 10, [True, 1] * 10),
    *(tuple([1] * 20), dict.fromkeys(range(20)), dict.fromkeys(range(20), 0), dict.fromkeys(map(str, range(20)))),
    dict.fromkeys(reversed(range(20))),
]


def test_many_plain_values_at_once_are_told_apart_as_well() -> None:
    digests = [digest(value) for value in MANY_ALIKE]
    for index, one in enumerate(digests):
        assert one not in digests[:index], f"{MANY_ALIKE[index]!r} and {MANY_ALIKE[digests.index(one)]!r}"


def test_one_other_byte_in_a_large_buffer_is_another_value() -> None:
    data = bytearray(1 << 20)
    before = digest(bytes(data)), digest(np.frombuffer(bytes(data), "u1"))
    data[777_777] = 1
    after = digest(bytes(data)), digest(np.frombuffer(bytes(data), "u1"))
    assert len({*before, *after}) == 4


def test_large_buffers_are_told_apart_without_blake3_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = digest(b"a" * 100_000)
    monkeypatch.setattr(fingerprint, "blake3_hasher", lambda: None)
    assert len({with_it, digest(b"a" * 100_000), digest(b"a" * 99_999 + b"b")}) == 3


class TestFunctions:
    def compiled(self, source: str) -> Any:
        namespace: dict[str, Any] = {}
        exec(compile(source, "cell", "exec"), namespace)
        return namespace["f"]

    def test_comments_and_layout_do_not_count(self) -> None:
        one = self.compiled("def f(x):\n    return x + 1")
        other = self.compiled("\n\ndef f(x):   # how it works\n\n    return (x +\n       1)")
        assert call_digest(one, (1,), {}) == call_digest(other, (1,), {})

    @pytest.mark.parametrize(
        "edited",
        [
            "def f(x): return x + 2",
            "def f(x): return x - 1",
            "def f(x): return x + 1.0",
            "def f(x, y=0): return x + 1",
            "def f(x): return abs(x) + 1",
            "def f(x): return (lambda: x + 1)()",
            "def f(x): return x + True",
            "async def f(x): return x + 1",
        ],
    )
    def test_an_edit_does(self, edited: str) -> None:
        assert digest(self.compiled("def f(x): return x + 1")) != digest(self.compiled(edited))

    def test_constants_in_inner_functions(self) -> None:
        one, other = (self.compiled(f"def f(x):\n def g(): return {n}\n return g") for n in (1, 2))
        assert digest(one) != digest(other)

    def test_defaults_and_closures(self) -> None:
        def make(n: Any) -> Any:
            return lambda: n

        assert digest(make(1)) == digest(make(1)) != digest(make(1.0))
        with pytest.raises(NotCacheable, match="closure variable n"):
            digest(make(threading.Lock()))

    def test_a_function_that_holds_itself(self) -> None:
        def f(n: int) -> int:
            return n and f(n - 1)

        assert digest(f) == digest(f)

    def test_a_class_of_a_notebook_by_its_code(self) -> None:
        kinds = []
        for body in ("return 1", "return 2"):
            namespace: dict[str, Any] = {"__name__": "__main__"}
            exec(f"class K:\n    def m(self): {body}", namespace)
            kinds.append(namespace["K"])
        assert digest(kinds[0]) != digest(kinds[1])
        assert digest(kinds[0]()) != digest(kinds[1]())


class TestWithoutContent:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (threading.Lock(), "^value: _thread.lock$"),
            ([1, {"a": threading.Lock()}], r"^value\[1\]\['a'\]: _thread.lock$"),
            (Point(threading.Lock()), "^value.x: _thread.lock$"),
            ((number for number in ()), "generator"),
            (object(), "nothing but itself"),
            (threading.local(), "_local"),
        ],
    )
    def test_the_place_is_named(self, value: Any, message: str) -> None:
        with pytest.raises(NotCacheable, match=message):
            digest(value)

    def test_an_argument_is_called_by_its_name_or_place(self) -> None:
        with pytest.raises(NotCacheable, match=r"^args\[1\]: _thread.lock"):
            call_digest(plain, (1, threading.Lock()), {})
        with pytest.raises(NotCacheable, match=r"^conn: _thread\.lock"):
            call_digest(plain, (1,), {"conn": threading.Lock()})

    def test_deep_nesting(self) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(NotCacheable, match="too deeply"):
            digest(deep)


def test_what_contains_itself_ends() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    other: list[Any] = [1]
    other.append([1, other])
    assert digest(loop) != digest(other)


def test_attributes_in_any_order() -> None:
    one, other = Point(1, 2), Point(0)
    del other.x, other.y
    other.y, other.x = 2, 1
    assert digest(one) == digest(other)
