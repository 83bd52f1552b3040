"""What byte code does to global names: the same in every version of Python."""

from __future__ import annotations

import sys
import types

import pytest

from frappe_cache_ext.cells.code import Chain, GlobalUse, global_use, merged

X: Chain = ()


def use_of(source: str) -> GlobalUse:
    return global_use(compile(source, "<cell>", "exec", dont_inherit=True))


READS: list[tuple[str, dict[str, set[Chain]]]] = [
    ("f(x)", {"f": {X}, "x": {X}}),
    ("np.random.normal(x)", {"np": {("random", "normal")}, "x": {X}}),
    ("np.pi + np.random.seed", {"np": {("pi",), ("random", "seed")}}),
    ("g(np)\nnp.pi", {"g": {X}, "np": {X, ("pi",)}}),
    ("f(k=np.pi, *a, **b)", {"f": {X}, "np": {("pi",)}, "a": {X}, "b": {X}}),
    ("a[i].b", {"a": {X}, "i": {X}}),
    ("(a or np).x", {"a": {X}, "np": {("x",)}}),
    ("(y := np).x", {"np": {X}}),
    ("x += 1", {"x": {X}}),
    ("del x", {"x": {X}}),
    ("f'{a.b:>{w}}'", {"a": {("b",)}, "w": {X}}),
    ("with a.b as c: pass", {"a": {("b",)}}),
    ("[y + z for y in ys if np.ok(y)]", {"z": {X}, "ys": {X}, "np": {("ok",)}}),
    ("sum(y * z for y in ys)", {"sum": {X}, "z": {X}, "ys": {X}}),
    ("def f(a, *b, c=d, **e) -> g: return a, b, c, e, h", {"d": {X}, "g": {X}, "h": {X}}),
    ("def f():\n    x = 1\n    def g(): return x + y\n    return g", {"y": {X}}),
    ("def f():\n    global x\n    x = 1\n    return x", {"x": {X}}),
    ("def f():\n    global x\n    del x", {"x": {X}}),
    ("async def f():\n    async with a: await b.c()", {"a": {X}, "b": {("c",)}}),
    ("class A(B, metaclass=M):\n    y = z", {"B": {X}, "M": {X}, "z": {X}}),
    ("class A:\n    x = x", {"x": {X}}),
    ("class A:\n    x: T = 1", {"T": {X}}),
    ("def f():\n    class A:\n        x: int = y", {"int": {X}, "y": {X}}),
    ("class A:\n    def m(self): return super().m(w)", {"super": {X}, "w": {X}}),
    ("lambda: x.y", {"x": {("y",)}}),
    ("match x:\n    case np.Foo(a=1): pass", {"x": {X}, "np": {("Foo",)}}),
    ("try: pass\nexcept np.E as e: pass", {"np": {("E",)}, "e": {X}}),
    ("x = " + "+".join(f"n{index}" for index in range(300)), {f"n{index}": {X} for index in range(300)}),
]


@pytest.mark.parametrize(("source", "reads"), READS)
def test_reads_with_the_attributes_behind_them(source: str, reads: dict[str, set[Chain]]) -> None:
    assert use_of(source).reads == reads


@pytest.mark.parametrize(
    ("source", "writes"),
    [
        ("x = y", {"x"}),
        ("x.y = 1", set()),
        ("x += 1", {"x"}),
        ("del x", {"x"}),
        ("for i, (j, *k) in x: pass", {"i", "j", "k"}),
        ("import a.b, c as d", {"a", "d"}),
        ("from a import b, c as d", {"b", "d"}),
        ("def f():\n    y = 1", {"f"}),
        ("def f():\n    global y\n    y = 1", {"f", "y"}),
        ("def f():\n    global y\n    del y", {"f", "y"}),
        ("def f():\n    def g():\n        global z\n        z = 1", {"f", "z"}),
        ("class A:\n    y = 1\n    def m(self): self.z = 1", {"A"}),
        ("class A:\n    global y\n    y = 1", {"A", "y"}),
        ("class A:\n    y = 1\n    del y", {"A"}),
        ("[y := x for x in z]", {"y"}),
    ],
)
def test_writes(source: str, writes: set[str]) -> None:
    assert use_of(source).writes == writes


@pytest.mark.parametrize(
    ("source", "imports"),
    [
        ("import a", {"a"}),
        ("import a.b.c as d", {"a.b.c"}),
        ("from a.b import c", {"a.b"}),
        ("from . import a", {"."}),
        ("from ..a import b", {"..a"}),
        ("def f():\n    import a", {"a"}),
        ("__import__('a').b", {"a"}),
        ("importlib.import_module('a.b')", {"a.b"}),
        ("import_module('.b', 'a')", {".b"}),
        ("importlib.import_module(name)", set()),
        ("__import__('a' + b)", set()),
    ],
)
def test_imports(source: str, imports: set[str]) -> None:
    assert use_of(source).imports == imports


def test_an_import_by_a_computed_name_is_told() -> None:
    assert "__import__" in use_of("importlib.import_module(name)").reads
    assert "__import__" not in use_of("importlib.import_module('a')").reads
    assert "__import__" not in use_of("__import__('a')").reads
    assert "__import__" in use_of("__import__('a' + b)").reads


@pytest.mark.parametrize(
    ("source", "sets"),
    [
        ("np.foo = 1", {("np", ("foo",))}),
        ("np.a.b.foo = 1", {("np", ("a", "b", "foo"))}),
        ("np.foo += 1", {("np", ("foo",))}),
        ("np.a.foo -= x", {("np", ("a", "foo"))}),
        ("del np.foo", {("np", ("foo",))}),
        ("np.a, p.b = x", {("np", ("a",)), ("p", ("b",))}),
        ("a.x = b.x = 1", {("a", ("x",)), ("b", ("x",))}),
        ("def f(): np.foo = 1", {("np", ("foo",))}),
        ("setattr(np.a, 'foo', g(1))", {("np", ("a", "foo"))}),
        ("delattr(np, 'foo')", {("np", ("foo",))}),
        ("for np.foo in x: pass", {("np", ("foo",))}),
        ("np.foo[0] = 1", set()),
        ("np.foo[0] += 1", set()),
        ("np[0].foo = 1", set()),
        ("f(np).foo = 1", set()),
        ("def f(np): np.foo = 1", set()),
        ("x = np.foo", set()),
        ("(y := np).x", set()),
        ("a < np.x < b", set()),
        ("np and np.x", set()),
        ("setattr(np, name, 1)", {("np", ("*",))}),
        ("setattr(f(np), 'foo', 1)", set()),
    ],
)
def test_attributes_that_are_set(source: str, sets: set[tuple[str, Chain]]) -> None:
    assert use_of(source).sets_attributes == sets


def test_attributes_and_texts_anywhere() -> None:
    use = use_of("def f(x):\n    return x.a.b('one', ('two', 3)).c in {'three'}")

    assert use.attributes == {"a", "b", "c"}
    assert {"one", "two", "three"} <= use.strings


def test_the_code_of_a_function_binds_no_global_name() -> None:
    def function() -> int:
        local = sys.maxsize
        return local

    use = global_use(function.__code__)

    assert dict(use.reads) == {"sys": frozenset({("maxsize",)})}
    assert use.writes == frozenset()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is that of Python 3.12")
def test_type_parameters_are_no_global_names() -> None:
    use = use_of("def f[T](x: T) -> list[T]: return y\ntype P[U] = dict[U, V]")

    assert set(use.reads) == {"list", "y", "dict", "V"}


def test_merging() -> None:
    one, other = (use_of(source) for source in ("a = np.b", "import c\nnp.d.e = 'text'"))

    use = merged([one, other])

    assert dict(use.reads) == {"np": frozenset({("b",), ("d",)})}
    assert use.writes == {"a", "c"}
    assert use.imports == {"c"}
    assert use.sets_attributes == {("np", ("d", "e"))}
    assert "text" in use.strings


def test_equal_code_is_looked_at_once() -> None:
    code: types.CodeType = compile("x", "c", "exec")

    assert global_use(code) is global_use(code)
