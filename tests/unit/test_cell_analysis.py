"""What a cell's source says about it: never less than what running it does, and no more where that matters."""

from __future__ import annotations

import contextlib
import sys
import warnings
from typing import Any

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from frappe_cache_ext.cells.analysis import CellCode, analyse, code_refusal, names_in_texts
from frappe_cache_ext.cells.code import global_use

EXISTING = {"x", "y", "z", "t", "df", "print", "path", "In", "Out", "_oh", "get_ipython", "exit", "open"}
BUILTINS = {"print", "range", "len", "sum", "open", "property", "int", "list", "Exception", "zip", "map", "eval"}


def cell(text: str, names: Any = EXISTING) -> CellCode:
    """The analysis of a cell as the user types it, magics included."""
    transform = TransformerManager().transform_cell
    return analyse(transform(text), transform=transform, names=names)


def reads(text: str) -> str:
    return " ".join(sorted(set(cell(text).reads) - BUILTINS))


def binds(text: str) -> str:
    return " ".join(sorted(cell(text).binds))


ROWS: list[tuple[str, str, str]] = [
    # statements in a row
    ("df = load()\ndf.head()", "load", "df"),
    ("x += 1", "x", "x"),
    ("x = 1\nx += y", "y", "x"),
    ("x = x + 1", "x", "x"),
    ("x, (y, *z) = t\nx, y, z", "t", "x y z"),
    ("x = y = t", "t", "x y"),
    ("x[y] = z", "x y z", ""),
    ("x.y = z", "x z", ""),
    ("x[0] += 1", "x", ""),
    ("x: int = y\nx", "y", "x"),
    ("x: y", "y", ""),
    ("x.a: y = z", "x y z", ""),
    ("del x", "x", "x"),
    ("x = 1\ndel x\nx", "x", "x"),
    ("x = 1\ndel x", "", "x"),
    ("x = 1\nif y: del x", "x y", "x"),
    ("x = 1\nif y: del x\nelse: del x", "y", "x"),
    ("x = 1\nif y: del x\nx = 2", "y", "x"),
    ("if y:\n    x = 1\n    del x", "x y", "x"),
    ("for i in range(2):\n    x = i\n    del x", "", "i x"),
    ("for i in y:\n    x = i\n    del x", "x y", "i x"),
    ("for i in 1, 2:\n    x = i\n    if y: break\n    del x", "x y", "i x"),
    ("x = 1\ntry:\n    y\n    del x\nexcept NameError: pass", "NameError x y", "x"),
    ("x = 1\ntry:\n    y\nfinally:\n    del x", "y", "x"),
    ("try:\n    x = y\nfinally:\n    del x", "x y", "x"),
    ("x = 1\ndel x\ntry:\n    x = y\nexcept NameError: pass", "NameError x y", "x"),
    ("with y as x:\n    del x", "x y", "x"),
    ("del x.a, y[z]", "x y z", ""),
    ("assert x, y", "x y", ""),
    ("raise x", "x", ""),
    ("global x\nx = 1\nx", "", "x"),
    # imports
    ("import a.b.c\na.b", "", "a"),
    ("import a.b as c\nc, a", "a", "c"),
    ("from a import b as c\nc, b", "b", "c"),
    ("np.zeros(1)\nimport numpy as np", "np", "np"),
    # expressions
    ("y if x else z", "x y z", ""),
    ("(t := x) and t", "x", "t"),
    ("x and (t := y)\nt", "t x y", "t"),
    ("x < (t := y) < z\nt", "x y z", "t"),
    ("x < y < (t := z)\nt", "t x y z", "t"),
    ("(t := x) if y else 1\nt", "t x y", "t"),
    ("(t := x) if y else (t := 2)\nt", "x y", "t"),
    ("1 if y else (t := x)\nt", "t x y", "t"),
    ("f'{x:{y}} {z!r}'", "x y z", ""),
    ("x[y:z]", "x y z", ""),
    ("f(*x, **y, k=z)", "f x y z", ""),
    ("{**x, y: z}", "x y z", ""),
    ("lambda a, b=x, *c, d=y, **e: (a, b, c, d, e)", "x y", ""),
    # comprehensions
    ("[a for a in x]", "x", ""),
    ("[a for a in x if a > y for b in z]", "x y z", ""),
    ("a = [a for a in a]", "a", "a"),
    ("{a: b + y for a, b in x}", "x y", ""),
    ("sum(a * y for a in x)", "x y", ""),
    ("[t := a for a in x]\nt", "t x", "t"),
    ("[[b + y for b in a] for a in x]", "x y", ""),
    ("[f for a in x]\nf = 1", "f x", "f"),
    # branches
    ("if x:\n    y = 1\ny", "x y", "y"),
    ("if x:\n    y = 1\nelse:\n    y = 2\ny", "x", "y"),
    ("if x:\n    y = 1\nelif z:\n    y = 2\ny", "x y z", "y"),
    ("if x:\n    y = 1\nelse:\n    raise z\ny", "x z", "y"),
    ("if (t := x):\n    t\nt", "x", "t"),
    ("match x:\n    case 1: y = 1\n    case _: y = 2\ny", "x", "y"),
    ("match x:\n    case 1: y = 1\ny", "x y", "y"),
    ("match x:\n    case [a, *b]: a, b\n    case {'k': c, **d}: c, d\n"
     "    case z.K(e) as g: e, g", "x z", "a b c d e g"),
    ("match x:\n    case a if a > y: pass\na", "a x y", "a"),
    ("match x:\n    case a if a > y: pass\n    case _: a = 1\na", "x y", "a"),
    # loops
    ("for i in range(3): total = total + i", "total", "i total"),
    ("for i in x: y = i\ny, i", "i x y", "i y"),
    ("for i in range(3): y = i\ny, i", "", "i y"),
    ("for i in range(0): y = i\ny", "y", "i y"),
    ("for i in [1, *x]: y = i\ny", "x", "i y"),
    ("for i in [*x]: y = i\ny", "x y", "i y"),
    ("for i in x:\n    y = f(i)\n    y.g()", "f x", "i y"),
    ("for i in x: pass\nelse: y = 1\ny", "x", "i y"),
    ("for i in x:\n    if i: break\nelse: y = 1\ny", "x y", "i y"),
    ("for i in (1, 2):\n    if x: continue\n    y = 1\ny", "x y", "i y"),
    ("for i in (1, 2):\n    if x: break\n    y = 1\ny", "x y", "i y"),
    ("for x[y] in z: pass", "x y z", ""),
    ("while x: y = 1\ny", "x y", "y"),
    ("while True:\n    y = f()\n    if y: break\ny", "f", "y"),
    ("while True:\n    if x: break\n    y = 1\ny", "x y", "y"),
    ("while (t := f()): pass\nt", "f", "t"),
    # what may stop anywhere
    ("try:\n    y = f()\nexcept Exception:\n    y = 1\ny", "f", "y"),
    ("try:\n    y = f()\nexcept Exception:\n    pass\ny", "f y", "y"),
    ("try:\n    y = f()\nexcept Exception:\n    raise\ny", "f", "y"),
    ("try:\n    y = f()\nexcept Exception:\n    y", "f y", "y"),
    ("try:\n    f()\nexcept Exception:\n    pass\nelse:\n    y = 1\ny", "f y", "y"),
    ("try:\n    y = f()\nfinally:\n    y", "f y", "y"),
    ("try:\n    y = f()\nfinally:\n    z = 1\ny, z", "f", "y z"),
    ("y = 1\ntry:\n    del y\n    y = 2\nexcept Exception:\n    pass\ny", "y", "y"),
    ("try:\n    pass\nexcept x as e:\n    e", "e x", "e"),
    ("try:\n    pass\nexcept* x as e:\n    e", "e x", "e"),
    ("with open(path) as a:\n    y = a\ny", "path", "a y"),
    ("with f() as a:\n    y = a\na, y", "f y", "a y"),
    ("with f() as a, g(a) as b:\n    pass\na, b", "b f g", "a b"),
    ("open = f\nwith open(path) as a:\n    y = a\ny", "f path y", "a open y"),
    ("import warnings\nwith warnings.catch_warnings():\n    y = 1\ny", "", "warnings y"),
    # functions
    ("def f(): return g(x)", "", "f"),
    ("def f(): return g(x)\nf()", "g x", "f"),
    ("def f(): return g(x)\nx = 1\nf()", "g", "f x"),
    ("def f(): return g(x)\nf()\nx = 1", "g x", "f x"),
    ("def f(a=x) -> y: return a", "x y", "f"),
    ("def f(n): return f(n - 1)\nf(3)", "", "f"),
    ("def a(): return b()\ndef b(): return a()\na()", "", "a b"),
    ("def a(): return b()\nX = -1 * 2\ndef b(): return 1\na()", "", "X a b"),
    ("def a(): return b()\nX = x + 1\ndef b(): return 1\na()", "b x", "X a b"),
    ("def a(): return b()\ndef b(q: np.ndarray) -> list[np.int8]: return 1\na()", "np", "a b"),
    ("def a(): return b()\ndef b(q: f()): return 1", "b f", "a b"),
    ("@g\ndef f(): return f() + x", "g x", "f"),
    ("@g\ndef f(): return h()\ndef h(): pass\nf()", "g h", "f h"),
    ("from functools import cache\n@cache\ndef f(): return h()\ndef h(): return f()\nf()", "", "cache f h"),
    ("import functools\n@functools.lru_cache(maxsize=9)\ndef f(): return h()\ndef h(): pass\nf()", "", "f functools h"),
    ("from functools import cache\ncache = g\n@cache\ndef f(): return h()\ndef h(): pass", "g h", "cache f h"),
    ("def f():\n    global y\n    y = 1", "", "f y"),
    ("def f():\n    global y\n    y = 1\nf()\ny", "y", "f y"),
    ("def f():\n    global y\n    del y\nf()", "y", "f y"),
    ("def f():\n    def g(): return x\n    return g\nf()()", "x", "f"),
    ("g = lambda: x\nx = 1\ng()", "", "g x"),
    ("g = lambda: x\ng()", "x", "g"),
    ("map(lambda a: a + x, y)", "x y", ""),
    ("a, b = (lambda: x), (lambda: y)", "x y", "a b"),
    ("a = (lambda: x), [lambda: y]", "", "a"),
    ("async def f(): return await g(x)", "", "f"),
    ("async def f(): return await g(x)\nawait f()", "g x", "f"),
    ("def f(): return x\nif y:\n    x = 1\n    f()\nf()", "x y", "f x"),
    ("def f(): return x\nx = 1\nif y:\n    f()\nf()", "y", "f x"),
    ("try:\n    def f(): return x\n    g()\nexcept Exception: pass\nx = 1\nf()", "f g x", "f x"),
    ("try:\n    def f(): return x\n    x = y\n    f()\nexcept Exception: pass\nf()", "f x y", "f x"),
    ("def f():\n    class A: a: x = 1\nf()", "x", "f"),
    ("def f(): return x\nwith y as x: pass", "x y", "f x"),
    # classes
    ("class A: pass", "", "A"),
    ("class A:\n    def m(self): return x", "", "A"),
    ("class A:\n    def m(self): return x\nA().m()", "x", "A"),
    ("class A(B, k=y):\n    a = z", "B y z", "A"),
    ("class A(B):\n    def m(self): return A, x", "B x", "A"),
    ("class A(Exception):\n    def m(self): return h()\ndef h(): pass\nA().m()", "", "A h"),
    ("class A:\n    y = x\n    z = y", "x", "A"),
    ("class A:\n    if x: y = 1\n    z = y", "x y", "A"),
    ("class A:\n    x = x", "x", "A"),
    ("class A:\n    y = 1\n    def m(self): return y\nA().m()", "y", "A"),
    ("class A:\n    y = [1]\n    z = [a for a in y if y]", "y", "A"),
    ("class A:\n    global y\n    y = 1\ny", "", "A y"),
    ("class A:\n    del y", "y", "A"),
    ("class A:\n    class B:\n        y = 1\n    y", "y", "A"),
    ("class A:\n    a = __x", "_A__x", "A"),
    ("class A:\n    def m(self): return __x\nA().m()", "_A__x", "A"),
    ("class A:\n    @property\n    def v(self): return h()\n    @v.setter\n    def v(self, a): h()\n"
     "def h(): pass\nA().v", "", "A h"),
    ("from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n    a: int = 1\n"
     "    def m(self): return h()\ndef h(): pass\nA()", "", "A dataclass h"),
    ("class A:\n    def __repr__(self): return h()\nA", "h", "A"),
    # what texts speak of
    ("df.query('a > @t')", "df t", ""),
    ("df.query('a > @nothing and b > z')", "df z", ""),
    ("t = 1\ndf.query('a > @t')", "df", "t"),
    ("q = 'a > @t'", "t", "q"),
    ("q = 'a > t'", "", "q"),
    ("pd.eval('x + y')", "pd x y", ""),
    ("ols('y ~ log(x)', data=df)", "df ols x y", ""),
    ("def f(): return df.query('a > @t')\nf()", "df t", "f"),
    # magics that run Python
    ("%time y = f(x)", "f x", "y"),
    ("y = %time f(x)\ny", "f x", "y"),
    ("%%time\ny = f(x)\ny", "f x", "y"),
    ("%%time\n%time y = f(x)\ny", "f x", "y"),
    ("x = 1\n%time y = x\ny", "", "x y"),
    ("if x:\n    %time y = 1\ny", "x y", "y"),
    ("%timeit -n1 -r 2 y = f(x)", "f x", ""),
    ("%timeit -qo f(-x)", "f x", ""),
    ("r = %timeit -o f(x)\nr", "f x", "r"),
    ("%timeit -n 1 -v r f(x)", "f x", "r"),
    ("%%timeit a = x\nb = a + y", "x y", ""),
    ("%prun -q -s cumulative y = f(x)\ny", "f x", "y"),
    ("%%prun -l 5\ny = f(x)\ny", "f x", "y"),
    ("%%capture out\ny = f(x)", "f x", "out y"),
    ("%%capture out --no-stderr\ny = f(x);", "f x", "out y"),
    ("%%capture\n!ls $x\n%time y = z", "x z", "y"),
    ("get_ipython().run_cell_magic('capture', '', 'y = f()')\ny", "f y", "y"),
    # others
    ("!ls {x} $y.a $HOME $$z {len(t)}", "t x y z", ""),
    ("y = !ls {x}\ny", "x", "y"),
    ("x = 1\n!echo $x", "", "x"),
    ("!!echo $x", "x", ""),
    ("%sx echo $x", "x", ""),
    ("%%sx\necho $x", "x", ""),
    ("%%bash --out y --err=z\necho $x", "", "y z"),
    ("%cd {path}", "path", ""),
    ("%env A=$x", "x", ""),
    ("%%html\n<b>$x</b>", "", ""),
    ("x?", "x", ""),
    ("x.a.b??", "x", ""),
    ("%pwd\n%lsmagic\n%ls", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "read", "bound"), ROWS)
def test_reads_and_binds(text: str, read: str, bound: str) -> None:
    assert (reads(text), binds(text)) == (read, bound)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is that of Python 3.12")
@pytest.mark.parametrize(
    ("text", "read", "bound"),
    [
        ("def f[T: x](a: T) -> list[T]: return y\nf(1)", "x y", "f"),
        ("class A[T](B[T]):\n    a: T", "B", "A"),
        ("type P[U] = dict[U, x]", "dict x", "P"),
        ("def h(): pass\ntype P = x\ndef f(): return h()", "x", "P f h"),
    ],
)
def test_type_parameters(text: str, read: str, bound: str) -> None:
    assert (reads(text), binds(text)) == (read, bound)


@pytest.mark.parametrize(
    "step",
    [
        *(
            "y",
            "y()",
            "y.a",
            "y[0]",
            "t = -y",
            "t = y + 1",
            "t = y < 1",
            "t = not y",
            "t = y and 1",
            "t = 1 if y else 2",
        ),
        *("t = f'{y}'", "t = {y}", "t = {y: 1}", "t = [*y]", "t, = y", "t = [1 for a in y]", "t = (a for a in y)"),
        *("y.a = 1", "y[0] = 1", "del y.a", "t += y", "if y: pass", "while y: break", "assert y", "for t in y: pass"),
        *("with y: pass", "match y:\n    case 1: pass", "import m", "from m import t", "class T(y): pass", "raise y"),
        *("@y\ndef t(): pass", "@y\nclass T: pass", "def t(a=y()): pass", "def t(a: y()): pass", "!ls"),
        *("%time y()", "await y"),
    ],
)
def test_steps_that_can_run_a_function(step: str) -> None:
    assert "x" in cell(f"def f(): return x\n{step}\nx = 1").reads


@pytest.mark.parametrize(
    "step",
    [
        *(
            "t = y",
            "t = 1",
            "t = (y, [y, 1])",
            "t = y is None",
            "t = -1 * 2",
            "t = f'{1}'",
            "t = {'a': y}",
            "t = {1, 2}",
        ),
        *("t = lambda: y", "def t(a=y): pass", "def t(a: y.a[0]) -> y.b: pass", "t: y.a = 1", "class T: pass", "pass"),
        *("class T(Exception): a = 1", "class T:\n    @staticmethod\n    def m(): pass", "global t", "'text'"),
    ],
)
def test_steps_that_run_none(step: str) -> None:
    assert "x" not in cell(f"def f(): return x\n{step}\nx = 1").reads


@pytest.mark.parametrize(
    "text",
    [
        "y = 1\ntry:\n    del y\n    y = 2\nexcept Exception: pass\ng()",
        "y = 1\ntry: pass\nfinally: del y\ng()",
        "y = 1\ndel y\ng()",
        "y = 1\nif x: del y\ng()",
    ],
)
def test_what_is_deleted_is_bound_no_more(text: str) -> None:
    assert "y" not in cell(text).reads["g"].bound


def test_what_is_bound_before_a_name_is_read() -> None:
    code = cell("a = 1\ng(a)\nb = 2\nif x:\n    c = 3\n    h()\nh()")

    assert code.reads["g"].bound == {"a"}
    assert code.reads["h"].bound == {"a", "b"}
    assert "c" not in code.reads["h"].bound


def test_what_is_bound_before_a_function_reads_a_name() -> None:
    code = cell("def f(): return g()\na = 1\nf()\nb = 2\nf()")

    assert code.reads["g"].bound == {"f", "a"}


def test_reads_with_the_attributes_behind_them() -> None:
    code = cell("np.random.normal(np.pi)\n%time np.zeros(1)\n%timeit np.ones(1)\nx\ndel y")

    assert code.reads["np"].chains == {("random", "normal"), ("pi",), ("zeros",), ("ones",)}
    assert code.reads["x"].chains == {()}
    assert code.reads["y"].chains == {()}
    assert code.use.reads["np"] == code.reads["np"].chains


def test_imports_of_the_cell_and_of_what_its_magics_run() -> None:
    assert cell("import a.b\ndef f(): from c import d\n%time import e").imports == {"a.b", "c", "e"}


@pytest.mark.parametrize(
    ("text", "awaits"),
    [
        ("await x", True),
        ("async for i in x: pass", True),
        ("async with x: pass", True),
        ("[i async for i in x]", True),
        ("async def f(): await x", False),
        ("x = 1", False),
    ],
)
def test_awaiting(text: str, awaits: bool) -> None:
    assert cell(text).awaits is awaits


# --- the digest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x  =  1  # a comment"),
        ("f(a,\n  b)", "f(a, b)"),
        ("x = 'a'", 'x = u"a"'),
        ("x = 16", "x = 0x10"),
        ("x = 1;", "x = 1"),
        ("if x:\n    y", "if x: y"),
        ("%time f(x)", "%time  f( x )"),
        ("%%time\nf(x) # why", "%%time\n\nf( x )"),
        ("%%timeit -n 1 a=1\nf(a)", "%%timeit  -n 1   a = 1\nf(a)  # why"),
        ("%%capture out\nx = 1  # one", "%%capture out\nx = 1"),
        ("def f():\n    %time x", "def f():\n    %time  x  # why"),
    ],
)
def test_comments_and_layout_do_not_count(one: str, other: str) -> None:
    assert cell(one).digest == cell(other).digest


def test_everything_else_counts() -> None:
    texts = (
        *("x = 1", "x = 1.0", "x = True", "x = 1j", "x = '1'", "x = b'1'", "x = 2", "y = 1", "x == 1"),
        *("x = -1", "x = None"),
        *("x = 0.0", "x = -0.0", "x = 0", "x = ()", "x = []", "x = ...", "x = f'1'", "x = f'{1}'", "x: int = 1", "x"),
        *("f(x)", "f(x);", "f(*x)", "f(x=x)", "f(**x)", "f\n(x)", "def f(x): pass", "def f(x, /): pass", "lambda x: 1"),
        *("%time f(x)", "%time f(x);", "%time f(y)", "%timeit f(x)", "%timeit -n1 f(x)", "%timeit -n2 f(x)"),
        *("%prun f(x)", "%%prun\nf(x)"),
        *("%%time\nf(x)", "%%time\nf(x);", "%%capture\nf(x)", "%%capture out\nf(x)", "%%timeit f(x)\nf(x)"),
        *("!ls", "!ls -l", "x = !ls", "%cd a", "%cd b", "%%bash\nls", "%%bash\nls # a", "%%html\na", "x?"),
        *("x??", "", "pass"),
        *("async def f(): pass", "def f(): pass", "def f(): ''", "from a import b", "from .a import b", "import a.b"),
        *("x = '\\ud800'", "x = '\\ud801'", "x = 10 ** 1000", f"x = 0x{'f' * 5000}", f"x = 0x{'e' * 5000}"),
    )  # fmt: skip

    digests = [cell(text).digest for text in texts]

    for index, digest in enumerate(digests):
        first = digests.index(digest)
        assert first == index, f"{texts[index]!r} and {texts[first]!r}"
        assert len(digest) == 16


@pytest.mark.parametrize("text", ["f(x) ;", "f(x);  # why", "(\n f(x)\n);", "é(x);", "f(x) \\\n;", "y\nf(x);\n\n# why"])
def test_a_semicolon_that_hides_the_value(text: str) -> None:
    assert cell(text).digest != cell(text.replace(";", " ")).digest


# --- refusals ---------------------------------------------------------------------------------------------------------

DYNAMIC = "can read and set any name"
REFUSED: list[tuple[str, str]] = [
    *((f"{name}('1')", DYNAMIC) for name in ("exec", "eval", "globals", "__import__(x);")),
    ("compile('x', 'f', 'exec')", DYNAMIC),
    ("run = exec\nrun('1')", DYNAMIC),
    ("list(map(eval, x))", DYNAMIC),
    ("locals()", DYNAMIC),
    ("f(**locals())", DYNAMIC),
    ("vars()", DYNAMIC),
    ("dir()", DYNAMIC),
    ("__import__(x)", DYNAMIC),
    ("import importlib\nimportlib.import_module(x)", DYNAMIC),
    ("from importlib import import_module as load\nload(x)", DYNAMIC),
    ("import __main__", DYNAMIC),
    ("from __main__ import x", DYNAMIC),
    ("import sys\nsys._getframe(1).f_globals", DYNAMIC),
    ("from inspect import currentframe\ncurrentframe()", DYNAMIC),
    ("def f(): return eval('1')\nf()", DYNAMIC),
    ("%time exec('x = 1')", DYNAMIC),
    ("[locals() for a in x]", DYNAMIC),
    ("input('name')", "input() asks whoever"),
    ("import getpass\ngetpass.getpass()", "getpass.getpass() asks whoever"),
    ("breakpoint()", "breakpoint() asks"),
    ("exit()", "exit() ends the kernel"),
    ("quit", "quit() ends the kernel"),
    ("In[-1]", "In is the history"),
    ("Out[3]", "Out is the history"),
    ("_oh", "_oh is the history"),
    ("get_ipython().user_ns", "get_ipython()"),
    ("ip = get_ipython()", "get_ipython()"),
    ("get_ipython().run_line_magic(x, '')", "get_ipython()"),
    ("from IPython import get_ipython as g\ng()", "get_ipython()"),
    ("def f():\n    %time x\nf()", "a magic in a function"),
    ("from m import *", "import * binds names"),
    ("from __future__ import annotations", "from __future__ changes"),
    ("%matplotlib inline", "%matplotlib can change the kernel itself; put it in a cell of its own"),
    ("%%writefile a.py\nx = 1", "%%writefile can change"),
    *((f"%{name}", f"%{name} can change") for name in ("run a.py", "load_ext a")),
    *((f"%{name}", f"%{name} can change") for name in ("autoreload 2", "config A", "pip install a")),
    *((f"%{name}", f"%{name} can change") for name in ("reset -f", "store x", "cache_set k x", "unknown", "load a.py")),
    *((f"%{name}", f"%{name} shows all names") for name in ("who", "whos", "who_ls")),
    ("x*?", "%psearch shows all names"),
    ("%%cached\nx", "%%cached caches already"),
    ("y = %cached f(x)", "%cached caches already"),
    ("%%bash --bg\nsleep 9", "%%bash --bg leaves a program running"),
    ("%%time --no-raise-error\nf()", "hides errors"),
    ("%%capture a.b\nf()", "names no variable"),
    ("%%time\n%matplotlib inline", "%matplotlib can change"),
    ("import logging\nlogging.basicConfig()", "logging.basicConfig() changes the kernel"),
    ("from importlib import reload\nreload(m)", "importlib.reload() changes the kernel"),
    ("import matplotlib.pyplot as p\np.ion()", "matplotlib.pyplot.ion() changes"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_refused(text: str, reason: str) -> None:
    code = cell(text)

    if reason.startswith("%") and " can " in reason:
        reason = f"{reason.split(maxsplit=1)[0]} can change the kernel itself; put it in a cell of its own"
    assert code.refusal is not None
    assert reason in code.refusal
    assert code.refusal_is_dynamic is (reason == DYNAMIC)
    assert not code.refusal.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        *("vars(x)", "dir(x)", "model.compile(x)", "model.eval()", "import re\nre.compile(x)", "x.exec()"),
        *("def exec(a): return a\nexec(1)", "import importlib\nimportlib.import_module('json')", "__import__('json')"),
        *("def f(): return eval('1')", "def f(): return locals()\nf()", "def f():\n    %time x", "Out = 1\nOut"),
        *("get_ipython = f\nget_ipython()", "def f(input): return input\nf(1)", "class A:\n    def exec(self): pass"),
        *("!ls", "%time x", "%%html\nx", "%%bash\nls", "x?", "doc.reload()", "import logging\nlogging.getLogger()"),
    ],
)
def test_not_refused(text: str) -> None:
    assert cell(text).refusal is None


def test_names_of_the_users_own_are_no_builtins() -> None:
    assert cell("input + 1", names={"input"}).refusal is None
    assert cell("vars()", names={"vars"}).refusal is None
    assert cell("exit", names={"exit"}).refusal is not None


def test_a_firm_refusal_goes_before_one_that_can_be_vouched_for() -> None:
    code = cell("eval('x')\n%matplotlib inline")

    assert code.refusal is not None
    assert code.refusal.startswith("%matplotlib")
    assert not code.refusal_is_dynamic


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exec('1')", "exec() can read"),
        ("globals()", "globals() can read"),
        ("importlib.import_module(x)", "a computed name"),
        ("sys._getframe()", "sys._getframe() can read"),
        ("input()", "input() asks"),
        ("get_ipython()", "get_ipython()"),
        ("logging.basicConfig()", "logging.basicConfig() changes"),
        ("locals(), vars(), dir()", ""),
        ("importlib.import_module('json')", ""),
        ("model.eval()", ""),
        ("x + 1", ""),
    ],
)
def test_refusals_of_functions(text: str, reason: str) -> None:
    refusal = code_refusal(global_use(compile(f"lambda: ({text})", "c", "eval")))

    assert refusal is None if not reason else refusal is not None and reason in refusal


def test_names_that_a_function_may_find_in_texts() -> None:
    def names(text: str) -> set[str]:
        return set(names_in_texts(global_use(compile(f"lambda: ({text})", "c", "eval"))))

    assert names("f('a > @b')") == {"b"}
    assert names("df.query('a > b')") >= {"a", "b"}
    assert names("f('a > b')") == set()


# --- hints ------------------------------------------------------------------------------------------------------------

HINTS: list[tuple[str, str]] = [
    ("time.time()", "time.time()"),
    ("import time as q\nq.perf_counter()", "time.perf_counter()"),
    ("from time import monotonic_ns as q\nq()", "time.monotonic_ns()"),
    ("time.sleep(1)", ""),
    ("datetime.datetime.now()", "datetime.now()"),
    ("from datetime import datetime as d, date\nd.utcnow(), date.today()", "date.today(), datetime.utcnow()"),
    ("import datetime as dt\ndt.datetime.today()", "datetime.today()"),
    ("pd.Timestamp.now()", "pandas.Timestamp.now()"),
    ("import uuid\nuuid.uuid4()", "uuid.uuid4()"),
    ("uuid.UUID(x)", ""),
    ("secrets.token_hex(), os.urandom(3)", "os.urandom(), secrets"),
    ("open(path)", "open()"),
    ("open(path, 'rb')", "open()"),
    ("open(path, 'w')", "a file that open() writes"),
    ("open(path, mode='a')", "a file that open() writes"),
    ("Path(x).open()", "open()"),
    ("Path(x).open('w')", "a file that open() writes"),
    ("open = f\nopen(x)", ""),
    ("Path(x).read_text(), Path(x).read_bytes()", "read_bytes(), read_text()"),
    ("Path(x).write_text(y)", "a file that write_text() writes"),
    ("pd.read_csv(x)", "read_csv()"),
    ("from pandas import read_parquet\nread_parquet(x)", "read_parquet()"),
    ("df.to_csv(x)", "a file that to_csv() writes"),
    ("df.to_csv()", ""),
    ("df.to_numpy(x)", ""),
    ("fig.savefig(x)", "a file that savefig() writes"),
    ("np.load(x)", "numpy.load()"),
    ("np.save(x, y)", "a file that save() writes"),
    ("import numpy\nnumpy.random.default_rng()", "default_rng() without a seed"),
    ("np.random.default_rng(None)", "default_rng() without a seed"),
    ("np.random.default_rng(1)", ""),
    ("from random import Random\nRandom()", "Random() without a seed"),
    ("Random(seed)", ""),
    ("requests.get(x)", "requests"),
    ("import httpx as h\nh.Client().get(x)", "httpx"),
    ("from urllib.request import urlopen\nurlopen(x)", "urllib.request"),
    ("urllib.parse.quote(x)", ""),
    ("import socket\nsocket.create_connection(x)", "socket"),
    ("subprocess.run(x)", "subprocess"),
    ("os.system(x)", "os.system()"),
    ("!ls", "a shell line"),
    ("x = !ls", "a shell line"),
    ("%%bash\nls", "a shell line"),
    ("%sx ls", "a shell line"),
    ("%pwd", "%pwd"),
    ("%env HOME", "%env"),
    ("%env HOME=x", ""),
    ("sqlite3.connect(x)", "sqlite3.connect()"),
    ("frappe.get_doc(x)", "frappe"),
    ("import frappe_cache_ext as q\nq.cache.get_value(x)", "frappe_cache_ext"),
    ("os.environ['A']", "os.environ"),
    ("os.environ.get('A')", "os.environ"),
    ("from os import environ\nenviron['A']", "os.environ"),
    ("os.environ['A'] = 'b'", ""),
    ("os.getenv('A'), os.getcwd()", "os.getcwd(), os.getenv()"),
    ("shutil.copy(x, y)", "shutil.copy()"),
    ("def f(): return time.time()", ""),
    ("def f(): return time.time()\nf()", "time.time()"),
    ("x.map(lambda a: time.time())", "time.time()"),
    ("%time time.time()", "time.time()"),
    ("%timeit time.time()", "time.time()"),
    ("%prun -D out.prof f()", "a file that %prun writes"),
    ("x + y", ""),
]


@pytest.mark.parametrize(("text", "hints"), HINTS)
def test_hints(text: str, hints: str) -> None:
    assert ", ".join(cell(text).hints) == hints


# --- what cannot be analysed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x = ", "return 1", "break", "x = '\0'", "x = '\ud800'", "await = 1"])
def test_what_is_no_python(text: str) -> None:
    with pytest.raises(SyntaxError):
        analyse(text)


def test_a_magic_with_what_is_no_python() -> None:
    with pytest.raises(SyntaxError):
        cell("%time x = ")


def test_an_expression_that_is_too_deep() -> None:
    code = cell(" + ".join(["x"] * 700))

    assert code.refusal is not None
    assert "too deeply" in code.refusal
    assert not code.refusal_is_dynamic


def test_nothing_is_warned_of_twice() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cell("x is 1\n'\\d'")


# --- compared with running it -----------------------------------------------------------------------------------------


class Recorder(dict[str, Any]):
    """Names that take down which of them are read before they were bound, and which are bound or deleted."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.before = dict(values)
        self.read: set[str] = set()
        self.bound: set[str] = set()
        self.steps = 0

    def __getitem__(self, name: str) -> Any:
        self.steps += 1
        if self.steps > 500:
            raise Enough
        # `STORE_GLOBAL` passes `__setitem__` by; it has bound a name that holds something else.
        if name not in self.bound and self.get(name, self) is self.before.get(name, self):
            self.read.add(name)
        return super().__getitem__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.bound.add(name)
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self.bound:
            self.read.add(name)
        self.bound.add(name)
        super().__delitem__(name)


class Swallow:
    """A context manager that swallows every error."""

    def __enter__(self) -> Swallow:
        return self

    def __exit__(self, *error: object) -> bool:
        return True


class Enough(BaseException):
    """A loop of a cell has no end."""


def fail(*arguments: object) -> None:
    raise ValueError(arguments)


def run_twice(function: Any) -> Any:
    function()
    return function


CELLS = [
    *(row[0] for row in ROWS if not any(mark in row[0] for mark in ("%", "!", "?", "await", "get_ipython"))),
    "def f(): return x\nf()\nx = 2\nf()",
    "def f():\n    global new\n    new = x\nf()\nnew",
    "with Swallow():\n    fail()\n    x = 5\nx",
    "with Swallow() as s, Swallow() as r:\n    t = 1\n    fail()\n    x = 5\n(s, r, t, x)",
    "try:\n    y = 1\n    fail()\n    x = 5\nexcept ValueError as error:\n    z = str(error)\nx, y, z",
    "try:\n    fail()\n    x = 5\nexcept* ValueError as group:\n    y = group\nx",
    "try:\n    pass\nexcept ValueError:\n    x = 1\nelse:\n    y = x\nfinally:\n    z = y",
    "for i in range(3):\n    try:\n        if i == 1: continue\n        x = i\n    finally:\n        y = x\nx",
    "for i in range(3):\n    with Swallow():\n        fail()\n    x = x + i",
    "while x:\n    x -= 1\n    if x < 2: break\nelse:\n    y = 3\ny",
    "i = 0\nwhile True:\n    i += 1\n    if i > 2: break\n    t = z\nt",
    "@run_twice\ndef f(n=0): return x + y\nx = 3\nf()",
    "@run_twice\ndef f(): return g()\ndef g(): return 1",
    "class A:\n    a = x\n    b = a\n    c = [a for a in y]\n    def m(self, q=a): return z\nA().m()",
    "class A:\n    x = x\n    y = [x for i in y]\n    def m(self): return y\nA().m()",
    "class A:\n    global t\n    t = x\n    class B:\n        u = t\nt",
    "class M(type):\n    def __new__(m, *a): return type.__new__(m, *a), x\nclass A(metaclass=M): pass\nx = 1",
    "class D:\n    def __set_name__(self, owner, name): self.x = x\nclass A:\n    d = D()\nx = 1",
    "class A:\n    def __init_subclass__(cls): cls.t = z\nclass B(A): pass\nz = 1",
    (
        "class A:\n    def __add__(self, other): return x\n    def __bool__(self): return y\na = A() + 1\n"
        "b = 1 if A() else 2"
    ),
    "class A:\n    def __iter__(self): yield x\nq, = A()\nx = 1",
    "class A:\n    def __hash__(self): return x\na = A()\nx = 3\n{a: 1}",
    "class A:\n    def __hash__(self): return x\na = A()\n{a}\nx = 3",
    (
        "class A:\n    def __eq__(self, o): return bool(x)\n    __match_args__ = ('v',)\n    v = 1\n"
        "a = A()\nmatch a:\n    case A(1): t = y\nx = 1"
    ),
    "class A:\n    def __format__(self, s): return str(x)\na = A()\nf'{a}'\nx = 1",
    "class A:\n    def __enter__(self): return x\n    def __exit__(self, *e): return y\nwith A() as a: pass\nx = y = 1",
    (
        "class A:\n    def __getattr__(self, n): return x\n    def __setattr__(self, n, v): y\n"
        "    def __delattr__(self, n): z\na = A()\na.q\na.q = 1\ndel a.q\nx = y = z = 1"
    ),
    (
        "class A:\n    def __getitem__(self, n): return x\n    def __setitem__(self, n, v): y\na = A()\n"
        "a[0]\na[0] = 1\nx = y = 1"
    ),
    (
        "class A:\n    def __neg__(self): return x\n    def __contains__(self, o): return y\na = A()\n-a\n"
        "1 in a\nx = y = 1"
    ),
    "class A:\n    def __iadd__(self, o): return x\na = A()\na += 1\nx = 1",
    "def g():\n    yield x\nlist(g())\nx = 1",
    "g = (x + i for i in y)\nx = 1\nlist(g)",
    "f = lambda: (lambda: x)()\nx = 1\nf()\ny = f",
    "fs = [lambda: x for i in range(2)]\nfs[0]()\nx = 1",
    "a = [b := i for i in y]\nb, a",
    "{k: v for k, v in zip(y, y) if (t := k)}\nt",
    "x = [x for x in y if x]\nx",
    "y = [[x for x in y] for i in y]",
    (
        "def f(a, b=x, *c, d=y, **e):\n    nonlocal_ = a\n    def g():\n        nonlocal nonlocal_\n"
        "        nonlocal_ = z\n    g()\n    return nonlocal_\nf(1)"
    ),
    "def f():\n    import json\n    return json, x\nf()\nimport json as x",
    "x: int = 5\ny: x\nprint(x)",
    "def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nfib(5)",
    "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)\neven(4)",
    "match y:\n    case [a, *b] if a > x: t = 1\n    case _: t = 2\na, b, t",
    "match {'k': 1, 'l': 2}:\n    case {'k': v, **rest}: pass\nv, rest",
    "match x:\n    case int() as n: n\nn",
    "del x\nx = 1\nx",
    "x = 1\ndel x\ntry:\n    x\nexcept NameError:\n    y",
    "import os.path as p, sys\nfrom json import dumps as d\np, sys, d",
    "assert x, y\nassert not (t := None) or z\nt",
    "for x.attr in y: pass\nfor t, *u in zip(y, y): v = t\nt, u, v",
    "try:\n    def f(): return z\n    fail()\n    z = 1\nexcept ValueError: pass\nf()",
    "if x:\n    def f(): return y\nelse:\n    def f(): return z\nf()\ny = z = 1",
    "def f(): return x\nfor i in range(2):\n    f()\n    x = i",
    "def f(): return x\ntry:\n    x = 1\n    f()\n    fail()\nexcept ValueError: pass\nf()",
    "from contextlib import suppress\nwith suppress(ValueError):\n    fail()\n    x = 5\nx",
    "raise_ = fail\ntry:\n    try:\n        raise_()\n    finally:\n        t = x\nexcept ValueError:\n    u = t\nu",
]  # fmt: skip


class Anything:
    """What stands for every name that a cell reads: it can be called, counted, compared, entered and iterated."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *arguments: object, **named: object) -> Any:
        return self

    def __iter__(self) -> Any:
        return iter((1, (2, 3), 4))

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> bool:
        return True

    __add__ = __radd__ = __sub__ = __isub__ = __iadd__ = __getitem__ = __call__
    __setitem__ = __delitem__ = __call__


Anything.__lt__ = Anything.__gt__ = lambda self, other: True  # type: ignore[attr-defined]

VALUES: list[dict[str, Any]] = [
    {"x": 3, "y": [1, 2], "z": 4},
    {"x": 0, "y": [], "z": ValueError},
    {"x": Anything(), "y": Anything(), "z": Anything()},
]


@pytest.mark.parametrize("text", CELLS)
def test_running_reads_and_binds_no_more_than_that(text: str) -> None:
    code = analyse(text, names=EXISTING)
    compiled = compile(text, "<cell>", "exec", dont_inherit=True)
    extra = {"Swallow": Swallow, "fail": fail, "run_twice": run_twice, "__name__": "__main__", "print": lambda *_: None}
    every = {name: Anything() for name in ("t", "df", "f", "g", "load", "np", "path", "total", "a", "b", "c", "e", "i")}
    own = {"__name__", "__builtins__", "__annotations__", "__annotate__", "__conditional_annotations__"}

    for values in VALUES:
        for given in ({}, every):
            names = Recorder({"__builtins__": __builtins__, **extra, **given, **values})
            ended = False
            # What a cell did until it failed counts as well.
            with contextlib.suppress(Exception, Enough):
                exec(compiled, names)
                ended = True
            changed = {name for name in {*names, *names.before} if names.get(name) is not names.before.get(name)}
            assert names.read - own <= set(code.reads)
            assert (names.bound | changed) - own <= code.binds
            assert not ended or code.settled <= names.bound | changed
