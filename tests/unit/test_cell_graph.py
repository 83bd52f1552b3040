"""The walk behind a cell: what counts, who shares what with whom, what was changed in place."""

from __future__ import annotations

import collections
import copy
import dataclasses
import itertools
import json
import pickle
import random
import re
import sqlite3
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given

from frappe_cache_ext.cells import packing, patches
from frappe_cache_ext.cells.analysis import Read
from frappe_cache_ext.cells.graph import Graph, Refused
from frappe_cache_ext.errors import NotCacheable
from tests.unit.test_codec import values
from tests.unit.test_fingerprint import MANY, MANY_ALIKE

NOTEBOOK = """
import collections, dataclasses, enum, functools
LIMIT = 3
def inner(x):
    return x * LIMIT
def outer(x, seen=[]):
    seen.append(x)
    return inner(x)
def counting():
    global total
    total = 1
def make_adder(step):
    def add(x):
        return x + step
    return add
add = make_adder(2)
class Base:
    def size(self):
        return inner(1)
class Child(Base):
    made = 0
    def __init__(self):
        self.parts = [1, 2]
@dataclasses.dataclass
class Point:
    x: int = 1
    tags: list = dataclasses.field(default_factory=list)
class Color(enum.Enum):
    RED = 1
@functools.lru_cache
def remembered(x):
    return inner(x)
Pair = collections.namedtuple("Pair", "left right")
"""


def notebook(source: str = NOTEBOOK, **more: Any) -> dict[str, Any]:
    """The names of a notebook in which a cell has run."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<cell>", "exec"), names)
    names.update(more)
    return names


def walked(names: dict[str, Any], *read: str, bound: frozenset[str] = frozenset()) -> Graph:
    graph = Graph(names=names)
    graph.walk({name: Read(frozenset(), bound) for name in read})
    return graph


def of(**named: Any) -> bytes:
    return walked(named, *named).digest()


class TestValues:
    def test_everything_that_differs_differs(self) -> None:
        for group in (MANY, MANY_ALIKE):
            digests = [of(a=value) for value in group]
            for index, one in enumerate(digests):
                assert one not in digests[:index], f"{group[index]!r} and {group[digests.index(one)]!r}"

    @given(values, values)
    def test_values_with_different_texts_have_different_digests(self, one: Any, other: Any) -> None:
        assume(repr(one) != repr(other) and one != other)
        assert of(a=one) != of(a=other)

    @given(values)
    def test_a_copy_has_the_same_digest(self, value: Any) -> None:
        assert of(a=value) == of(a=copy.deepcopy(value)) == of(a=pickle.loads(pickle.dumps(value)))

    def test_which_name_holds_a_value_counts(self) -> None:
        assert of(a=[1], b=[2]) != of(a=[2], b=[1])

    def test_the_same_in_every_process(self) -> None:
        code = (
            "import json; from tests.unit.test_cell_graph import *;"
            "names = notebook();"
            "print(json.dumps([of(a=value).hex() for value in MANY + MANY_ALIKE if 'object at' not in repr(value)]"
            " + [walked(names, name).digest().hex() for name in names if not name.startswith('__')]"
            " + [of(a={'x', 'y', ('z', 1), frozenset('abc')}).hex()]))"
        )
        runs = []
        for seed in ("0", "1", "random"):
            environment = {"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": "."}
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            )
            runs.append(json.loads(done.stdout))
        assert runs[0] == runs[1] == runs[2]
        assert len(runs[0]) > 130


class TestSharing:
    def test_one_list_under_two_names_is_not_two_equal_lists(self) -> None:
        shared = [1]
        assert of(a=shared, b=shared) != of(a=[1], b=[1])
        assert of(a=[shared, shared]) != of(a=[[1], [1]])
        assert of(a=shared, b=[shared]) != of(a=[1], b=[[1]])
        assert of(a=shared, b=(shared, 1)) != of(a=[1], b=([1], 1))

    def test_what_cannot_change_may_be_shared(self) -> None:
        text = "".join(["long", "text"])
        assert of(a=text, b=text) == of(a="longtext", b="".join(["long", "text"]))
        pair = (1, 2)
        assert of(a=pair, b=pair) == of(a=(1, 2), b=tuple(json.loads("[1, 2]")))

    def test_cycles_end(self) -> None:
        one: list[Any] = [1]
        one.append(one)
        other: list[Any] = [1, [1]]
        other[1].append(other[1])
        assert of(a=one) != of(a=other)
        assert of(a=one) == of(a=copy.deepcopy(one))

    def test_nesting_does_not_matter(self) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        assert of(a=deep) != of(a=[deep])

    def test_a_view_is_not_a_copy(self) -> None:
        array = np.arange(6.0)
        assert of(a=array, b=array[::2]) != of(a=np.arange(6.0), b=np.arange(6.0)[::2])
        assert of(a=array, b=array[:3]) != of(a=array, b=array[:3].copy())

    def test_two_views_of_one_array_are_told_by_their_place(self) -> None:
        array = np.zeros(6)
        assert of(a=array[:4], b=array[1:5]) != of(a=array[:4], b=array[2:6])

    def test_attributes_in_another_order_are_the_same_object(self) -> None:
        one, other = types.SimpleNamespace(a=1, b=2), types.SimpleNamespace(b=2, a=1)
        assert of(a=one) == of(a=other)


class TestFunctions:
    @pytest.mark.parametrize("name", ["outer", "Child", "remembered", "add", "Point", "Color", "Pair"])
    def test_the_same_text_is_the_same_function(self, name: str) -> None:
        assert walked(notebook(), name).digest() == walked(notebook(), name).digest()

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("outer", "x * LIMIT", "x + LIMIT"),
            ("outer", "LIMIT = 3", "LIMIT = 4"),
            ("outer", "LIMIT = 3", "LIMIT = 3.0"),
            ("outer", "seen=[]", "seen=[0]"),
            ("outer", "return inner(x)", "return inner(x + 0)"),
            ("remembered", "LIMIT = 3", "LIMIT = 4"),
            ("remembered", "@functools.lru_cache", "@functools.lru_cache(typed=True)"),
            ("add", "make_adder(2)", "make_adder(3)"),
            ("add", "x + step", "x - step"),
            ("Child", "inner(1)", "inner(2)"),
            ("Child", "LIMIT = 3", "LIMIT = 4"),
            ("Child", "made = 0", "made = 1"),
            ("Child", "Child(Base)", "Child"),
            ("Point", "x: int = 1", "x: int = 2"),
            ("Point", "x: int = 1", "x: float = 1"),
            ("Color", "RED = 1", "RED = 2"),
            ("Pair", "left right", "left write"),
        ],
    )
    def test_whatever_is_edited_behind_a_name_counts(self, name: str, old: str, new: str) -> None:
        assert old in NOTEBOOK
        assert walked(notebook(), name).digest() != walked(notebook(NOTEBOOK.replace(old, new)), name).digest()

    def test_an_instance_is_of_its_class(self) -> None:
        names, edited = notebook(), notebook(NOTEBOOK.replace("inner(1)", "inner(2)"))
        assert (
            walked(names | {"a": names["Child"]()}, "a").digest()
            == walked(names | {"a": names["Child"]()}, "a").digest()
        )
        assert (
            walked(names | {"a": names["Child"]()}, "a").digest()
            != walked(edited | {"a": edited["Child"]()}, "a").digest()
        )

    def test_comments_do_not_count(self) -> None:
        commented = NOTEBOOK.replace("    return x * LIMIT", "    # times the limit\n\n    return (x *\n        LIMIT)")
        assert walked(notebook(), "outer").digest() == walked(notebook(commented), "outer").digest()

    def test_what_nothing_reads_does_not_count(self) -> None:
        assert walked(notebook(), "outer").digest() == walked(notebook(NOTEBOOK + "\nother = 1"), "outer").digest()

    def test_what_the_cell_has_bound_before_does_not_count(self) -> None:
        bound = frozenset({"LIMIT"})
        one, other = notebook(), notebook(NOTEBOOK.replace("LIMIT = 3", "LIMIT = 4"))
        assert walked(one, "outer", bound=bound).digest() == walked(other, "outer", bound=bound).digest()

    def test_what_functions_bind_is_known(self) -> None:
        graph = walked(notebook(), "counting")
        assert [(place.module, place.name) for place in graph.writes] == [("__main__", "total")]

    def test_a_function_that_reads_any_name_is_refused(self) -> None:
        names = notebook("def f(x):\n    return eval(x)")
        with pytest.raises(Refused, match=r"f\(\) is called, and .*eval"):
            walked(names, "f")

    def test_a_function_that_sets_an_attribute_of_a_module_is_refused(self) -> None:
        names = notebook("import json\ndef f(x):\n    json.limit = x")
        with pytest.raises(Refused, match=r"json\.limit"):
            walked(names, "f")


class TestNoContent:
    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (threading.Lock, "lock"),
            (lambda: (x for x in ()), "generator"),
            (lambda: sqlite3.connect(":memory:"), "sqlite3.Connection"),
            (object, "a bare object"),
        ],
    )
    def test_it_is_named_with_its_place(self, make: Callable[[], Any], said: str) -> None:
        made = make()
        with pytest.raises(NotCacheable, match=re.escape("a['b'][0]: " + said)):
            of(a={"b": [made]})
        if hasattr(made, "close"):
            made.close()

    def test_a_part_of_a_figure_is_none(self) -> None:
        from matplotlib.figure import Figure

        figure = Figure()
        with pytest.raises(NotCacheable, match="belongs to a figure"):
            of(a=figure.subplots())


def _append(a: list[int]) -> None:
    a.append(4)


def _clear(a: Any) -> None:
    a.clear()


def _frame(a: pd.DataFrame) -> None:
    a["new"] = [7, 8]
    a.loc[0, "x"] = 99
    a.attrs["note"] = "changed"


def _nested(a: dict[str, Any]) -> None:
    a["inner"].append(a)
    a["more"] = {"again": a["inner"]}


def _array(a: Any) -> None:
    a[0] = 9


def _attribute(a: Any) -> None:
    a.parts.append(a)
    a.new = [a.parts]
    del a.gone


def _draw(a: Any) -> None:
    a.random(3)


class Parts:
    def __init__(self) -> None:
        self.parts = [1]
        self.gone = 1


class Slots:
    __slots__ = ("gone", "new", "parts")

    def __init__(self) -> None:
        self.parts = [1]
        self.gone = 1


def _swap(a: set[int]) -> None:
    a.discard(1)
    a.add(5)


def _replace(a: Any) -> None:
    a[:] = b"xyz"


class TestChangesInPlace:
    """Each is changed in one notebook, and put back into an equal object of another."""

    CASES: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {  # noqa: RUF012
        "list": (lambda: [1, 2, 3], _append),
        "list of lists": (lambda: [[1], [2]], lambda a: a[0].append(5)),
        "dict": (lambda: {"a": 1}, lambda a: a.update(b=2)),
        "dict, emptied": (lambda: {"a": 1}, _clear),
        "order of a dict": (lambda: {"a": 1, "b": 2}, lambda a: a.update(a=a.pop("a"))),
        "nested, with a cycle": (lambda: {"inner": [1]}, _nested),
        "set": (lambda: {1, 2}, _swap),
        "bytearray": (lambda: bytearray(b"abc"), _replace),
        "deque": (lambda: collections.deque([1, 2], maxlen=2), lambda a: a.append(3)),
        "defaultdict": (lambda: collections.defaultdict(list, a=[1]), lambda a: a["b"].append(1)),
        "Counter": (lambda: collections.Counter("aab"), lambda a: a.update("c")),
        "OrderedDict": (lambda: collections.OrderedDict(a=1, b=2), lambda a: a.move_to_end("a")),
        "array": (lambda: np.arange(5), _array),
        "array, columns first": (lambda: np.asfortranarray(np.arange(6).reshape(2, 3)), _array),
        "array of objects": (lambda: np.array([[1], "b", None], dtype=object), lambda a: a[0].append(2)),
        "frame": (lambda: pd.DataFrame({"x": [1, 2]}), _frame),
        "series": (lambda: pd.Series([1, 2], name="s"), _array),
        "names of an index": (lambda: pd.Index([1, 2]), lambda a: a.set_names("n", inplace=True)),
        "object": (Parts, _attribute),
        "object with slots": (Slots, _attribute),
        "random.Random": (lambda: random.Random(1), lambda a: a.random()),
        "Generator": (lambda: np.random.default_rng(1), _draw),
        "RandomState": (lambda: np.random.RandomState(1), lambda a: a.rand()),
    }

    @pytest.mark.parametrize("case", CASES)
    def test_it_is_put_back(self, case: str) -> None:
        make, change = self.CASES[case]
        here, there = {"a": make()}, {"a": make()}
        graph = walked(here, "a")
        change(here["a"])
        taken = patches.take(graph)
        assert taken
        body, buffers = packing.pack(taken, graph)

        other = walked(there, "a")
        kept = there["a"]
        assert other.digest() == graph.digest()
        patches.put_back(packing.unpack(body, map(bytearray, buffers), other, ("", "")), other.nodes)
        assert there["a"] is kept
        assert walked(here, "a").digest() == walked(there, "a").digest()

    @pytest.mark.parametrize("case", CASES)
    def test_what_is_left_alone_has_not_changed(self, case: str) -> None:
        graph = walked({"a": self.CASES[case][0]()}, "a")
        assert graph.changed() == []

    def test_other_names_for_a_part_see_it(self) -> None:
        def make() -> dict[str, Any]:
            part = [1]
            array = np.arange(4.0)
            return {"a": {"part": part}, "part": part, "array": array, "view": array[::2]}

        here, there = make(), make()
        graph = walked(here, "a", "array")
        here["a"]["part"].append(2)
        here["array"][0] = 9
        body, buffers = packing.pack(patches.take(graph), graph)
        other = walked(there, "a", "array")
        patches.put_back(packing.unpack(body, buffers, other, ("", "")), other.nodes)
        assert there["part"] == [1, 2]
        assert there["view"].tolist() == [9.0, 2.0]

    def test_classes_functions_and_closures(self) -> None:
        source = (
            "def counter():\n    n = 0\n    def count():\n        nonlocal n\n        n += 1\n        return n\n"
            "    return count\ncount = counter()\n"
            "class Made:\n    number = 0\n    gone = 1\n"
            "def noted(x, seen=[]):\n    noted.calls = 1\n    seen.append(x)\n"
        )
        change = "count()\nMade.number += 1\ndel Made.gone\nMade.double = lambda self: 2\nnoted(5)"
        here, there = notebook(source), notebook(source)
        graph = walked(here, "count", "Made", "noted")
        exec(change, here)
        body, buffers = packing.pack(patches.take(graph), graph)
        other = walked(there, "count", "Made", "noted")
        patches.put_back(packing.unpack(body, buffers, other, ("", "")), other.nodes)
        assert there["count"]() == 2
        assert (there["Made"].number, hasattr(there["Made"], "gone"), there["Made"]().double()) == (1, False, 2)
        assert (there["noted"].calls, there["noted"].__defaults__) == (1, ([5],))

    @pytest.mark.parametrize(
        ("make", "change", "said"),
        [
            (lambda: itertools.count(1), next, "cannot be changed back in place"),
            (lambda: np.arange(4), lambda a: setattr(a, "shape", (2, 2)), "another type or shape"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:Setting the shape")
    def test_what_cannot_be_put_back_is_refused(
        self, make: Callable[[], Any], change: Callable[[Any], Any], said: str
    ) -> None:
        names = {"a": make()}
        graph = walked(names, "a")
        change(names["a"])
        with pytest.raises(Refused, match=said):
            patches.take(graph)


class TestPacking:
    def there_and_back(self, here: dict[str, Any], there: dict[str, Any], read: tuple[str, ...], result: Any) -> Any:
        graph = walked(here, *read)
        body, buffers = packing.pack(result, graph)
        return packing.unpack(body, map(bytearray, buffers), walked(there, *read), ("<cell>", "<there>"))

    def test_what_is_an_input_comes_back_as_that_input(self) -> None:
        here, there = ({"a": [[1], 2], "t": ([3], 4)} for _ in range(2))
        got = self.there_and_back(here, there, ("a", "t"), {"y": here["a"], "z": here["a"][0], "t": here["t"]})
        assert got["y"] is there["a"]
        assert got["z"] is there["a"][0]
        assert got["t"] is there["t"]

    def test_what_is_shared_stays_shared(self) -> None:
        part = [1]
        got = self.there_and_back({}, {}, (), {"a": part, "b": [part], "c": part})
        assert got["a"] is got["c"] is got["b"][0]

    def test_arrays_over_one_memory_stay_so(self) -> None:
        array = np.arange(10.0)
        matrix = np.arange(200_000.0).reshape(2, -1)
        got = self.there_and_back({}, {}, (), {"a": array, "v": array[2:5], "m": matrix, "t": matrix.T})
        got["a"][2] = 99
        got["t"][0, 1] = -1
        assert got["v"].tolist() == [99, 3, 4]
        assert got["m"][1, 0] == -1
        assert got["t"].strides == matrix.T.strides

    def test_a_view_of_an_input_is_one_again(self) -> None:
        here, there = {"x": np.arange(10.0)}, {"x": np.arange(10.0)}
        got = self.there_and_back(here, there, ("x",), [here["x"][2:8:2], here["x"].reshape(2, 5)])
        got[0][0] = -5
        assert there["x"][2] == -5
        assert got[1][0, 2] == -5

    @pytest.mark.parametrize("size", [3, 100_000])
    def test_arrays_are_writable_or_not_as_before(self, size: int) -> None:
        one, other = np.zeros(size), np.zeros(size)
        other.flags.writeable = False
        got = self.there_and_back({}, {}, (), [one, other])
        assert [array.flags.writeable for array in got] == [True, False]

    def test_a_function_reads_the_names_of_the_notebook_it_is_in(self) -> None:
        here, there = notebook(), notebook(NOTEBOOK.replace("LIMIT = 3", "LIMIT = 5"))
        got = self.there_and_back(here, there, (), here["outer"])
        there["inner"] = self.there_and_back(here, there, (), here["inner"])
        assert got(2) == 10
        assert got.__globals__ is there
        assert got.__code__.co_filename == "<there>"

    def test_classes_of_the_notebook(self) -> None:
        here, there = notebook(), notebook("")
        names = ("Child", "Point", "Color", "Pair", "Base")
        made = {
            "child": here["Child"](),
            "point": here["Point"](3, ["t"]),
            "red": here["Color"].RED,
            "pair": here["Pair"](1, 2),
        }
        got = self.there_and_back(here, there, (), {name: here[name] for name in names} | made)
        assert type(got["child"]) is got["Child"] is not here["Child"]
        assert got["Child"].__mro__[1] is got["Base"]
        assert got["red"] is got["Color"].RED
        assert got["pair"].left == 1
        assert dataclasses.asdict(got["point"]) == {"x": 3, "tags": ["t"]}
        assert dataclasses.fields(got["Point"])[0].name == "x"
        assert got["point"] == got["Point"](3, ["t"])
        there.update(inner=here["inner"])
        assert got["child"].size() == 3

    def test_running_a_cell_again_makes_a_new_class(self) -> None:
        here = notebook()
        assert self.there_and_back(here, here, (), here["Child"]) is not here["Child"]

    def test_closures_share_what_they_share(self) -> None:
        here = notebook(
            "def pair():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n"
            "    def get():\n        return n\n    return up, get\nup, get = pair()"
        )
        up, get = self.there_and_back(here, {}, (), (here["up"], here["get"]))
        up()
        assert (get(), here["get"]()) == (1, 0)

    def test_recursion_and_decorators(self) -> None:
        here = notebook(
            "import functools\n@functools.lru_cache\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        )
        there: dict[str, Any] = {}
        there["fib"] = self.there_and_back(here, there, (), here["fib"])
        assert there["fib"](20) == 6765

    def test_modules_come_back_as_modules(self) -> None:
        assert self.there_and_back({}, {}, (), [json, np]) == [json, np]
