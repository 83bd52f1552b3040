"""What a cell shows, how it runs, and what it defines."""

from __future__ import annotations

from .scenarios import Scenario, cached, refused, scenario

IMPORTED = "from IPython.display import HTML, Markdown, display, clear_output, update_display\n"

OUTPUTS = [
    scenario("it prints", cached("print('one')\nprint('two', end='')")),
    scenario("it writes to stderr", cached("import sys\nprint('one', file=sys.stderr)\nsys.stderr.write('two')")),
    scenario(
        "stdout and stderr take turns",
        cached(
            """
                import sys
                for i in range(3):
                    print('out', i, flush=True)
                    print('err', i, file=sys.stderr, flush=True)
                """
        ),
    ),
    scenario("a function prints", "def f():\n    print('from f')\n    return 1", cached("y = f()"), "y"),
    scenario("carriage returns", cached("for i in range(3):\n    print(f'\\r{i} of 3', end='', flush=True)\nprint()")),
    scenario("a warning is shown", cached("import warnings\nwarnings.warn('careful')\ny = 1"), "y"),
    scenario(
        "a logger writes",
        "import logging\nlogging.basicConfig(force=True)",
        cached("logging.warning('logged')\ny = 1"),
        "y",
    ),
    scenario("HTML", IMPORTED, cached("display(HTML('<b>x</b>'))\nprint('after')\ndisplay(Markdown('*y*'), {'a': 1})")),
    scenario(
        "metadata",
        IMPORTED,
        cached("display({'text/plain': 'x', 'text/html': '<i>x</i>'}, raw=True, metadata={'isolated': True})"),
    ),
    scenario("a figure", "import matplotlib.pyplot as plt", cached("plt.plot([1, 3, 2])\nplt.title('t');")),
    scenario(
        "two figures and text between",
        "import matplotlib.pyplot as plt",
        cached("plt.plot([1, 2])\nplt.show()\nprint('between')\nplt.figure()\nplt.bar([1, 2], [3, 4])\nplt.show()"),
    ),
    scenario(
        "a figure as the last expression",
        "import matplotlib.pyplot as plt",
        cached("fig, ax = plt.subplots(figsize=(2, 2))\nax.plot([1, 2])\nplt.close(fig)\nfig"),
        "len(fig.axes), fig.axes[0] is ax",
    ),
    refused(
        "a figure is drawn into",
        "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nplt.close(fig)\nw = ax",
        cached("ax.plot([1, 2], label='a')\nfig"),
        "len(w.lines), fig.axes[0] is w",
        says="ax is .*Axes",
    ),
    scenario("the last expression", "x = 20", cached("x + 1"), "_ + 1", "_ + 1", "__ + ___ + _"),
    scenario("the last expression is in Out", "x = 20", cached("[x]"), "Out[max(Out)] is _, Out[max(Out)]"),
    scenario("the last expression is an input", "x = [1]", cached("x"), "_ is x"),
    scenario("the last expression is a result", cached("y = [1]\ny"), "_ is y"),
    scenario(
        "the last expression is a frame",
        "import pandas as pd",
        cached("d = pd.DataFrame({'a': [1, 2]})\nd.describe()"),
        "_.shape, d",
    ),
    scenario("the last expression is hidden", "x = 20", cached("x + 1;"), "_", "len(Out)"),
    scenario("the last expression is hidden, and a comment follows", "x = 20", cached("x + 1;  # hidden"), "_"),
    scenario("the last expression is None", "5", cached("None"), "_"),
    scenario("the last expression prints too", cached("print('a')\n'b'")),
    scenario(
        "the last expression cannot be copied",
        cached("print('shown')\n(i for i in [1])"),
        first="refused",
        again="refused",
        restarted="refused",
        says="generator",
    ),
    scenario(
        "a display is updated",
        IMPORTED,
        cached("h = display('one', display_id='mine')\nupdate_display('two', display_id='mine')"),
        "update_display('three', display_id='mine')",
    ),
    scenario(
        "a display with a handle is updated",
        IMPORTED,
        cached("h = display('one', display_id=True)\nh.update('two')\ndel h"),
    ),
    scenario(
        "a later cell updates the display", IMPORTED, cached("h = display('one', display_id='mine')"), "h.update('two')"
    ),
    scenario("output is cleared", IMPORTED, cached("print('gone')\nclear_output()\nprint('stays')")),
    scenario(
        "output is cleared when more comes",
        IMPORTED,
        cached("print('gone')\nclear_output(wait=True)\nprint('stays')\n'value'"),
    ),
    scenario("a cell says nothing", cached("pass")),
    scenario(
        "a class has its own HTML",
        "class A:\n    def _repr_html_(self):\n        return '<b>A</b>'",
        cached("A()"),
        "type(_).__name__",
    ),
    scenario("a long text", cached("print('x' * 100000)\nlen('y')")),
    scenario(
        "a thread prints",
        "import threading",
        cached("t = threading.Thread(target=print, args=('from a thread',))\nt.start()\nt.join()\ndel t"),
    ),
    scenario(
        "output is captured by the cell",
        "from contextlib import redirect_stdout\nimport io",
        cached("b = io.StringIO()\nwith redirect_stdout(b):\n    print('caught')\ny = b.getvalue()"),
        "y, b.getvalue()",
    ),
]

RUNNING = [
    scenario(
        "a cell raises",
        cached("print('before')\nx = 1\n\ny = x / 0"),
        "x",
        first="silent",
        again="silent",
        restarted="silent",
    ),
    scenario(
        "a helper raises",
        "def f(x):\n    return x / 0",
        cached("print('before')\n# a comment\nf(1)"),
        first="silent",
        again="silent",
        restarted="silent",
    ),
    scenario(
        "a cell raises once",
        "n = 0",
        cached("y = 1 / n"),
        "n",
        edit=("n = 0", "n = 2"),
        first="silent",
        again="silent",
        restarted="computed",
        restarted_again="hit",
    ),
    scenario(
        "a cell changes an input and raises",
        "x = [1]",
        cached("x.append(2)\nraise ValueError('no')"),
        "x",
        first="silent",
        again="silent",
        restarted="silent",
    ),
    scenario("a name is not there", cached("y = nothing + 1"), first="silent", again="silent", restarted="silent"),
    scenario(
        "an exception with notes and a cause",
        cached("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise RuntimeError('why') from e"),
        first="silent",
        again="silent",
        restarted="silent",
    ),
    scenario(
        "an error of syntax",
        cached("x = 1\ny = = 2"),
        "'x' in globals()",
        first="silent",
        again="silent",
        restarted="silent",
    ),
    scenario(
        "an error of indentation",
        cached("if True:\nx = 1"),
        "'x' in globals()",
        first="silent",
        again="silent",
        restarted="silent",
    ),
    scenario("the cell exits", cached("raise SystemExit"), first="silent", restarted="silent", reruns=False),
    scenario("it awaits", "import asyncio", cached("y = await asyncio.sleep(0.01, 'slept')\nprint(y)\ny"), "y"),
    scenario(
        "it iterates asynchronously",
        "async def count():\n    for i in range(3):\n        yield i",
        cached("y = [i async for i in count()]\nasync for i in count():\n    print(i)"),
        "y, i",
    ),
    scenario(
        "it enters asynchronously",
        "import asyncio, contextlib\n@contextlib.asynccontextmanager\nasync def hold():\n    yield [1]",
        cached("async with hold() as h:\n    pass"),
        "h",
    ),
    scenario(
        "it gathers",
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x",
        cached("y = await asyncio.gather(f(1), f(2))"),
        "y",
    ),
    scenario(
        "it raises where it awaits",
        "import asyncio",
        cached("await asyncio.sleep(0)\n1 / 0"),
        first="silent",
        again="silent",
        restarted="silent",
    ),
    scenario("it defines a coroutine", cached("async def f():\n    return 5"), "await f()"),
    scenario("a shell line", cached("!echo one")),
    scenario("a shell line into a name", cached("x = !echo one; echo two"), "x, x.n, type(x).__name__"),
    scenario("a shell line with a name in it", "x = 'one'", cached("!echo {x} $x"), ""),
    scenario(
        "a shell line with an input that changes",
        "x = 'one'",
        cached("!echo {x}"),
        edit=("'one'", "'two'"),
        restarted="computed",
    ),
    scenario("a line is timed", cached("%time y = 1 + 1"), "y"),
    scenario("a timed expression", cached("y = %time 1 + 1"), "y"),
    scenario("the whole cell is timed", cached("%%time\ny = 1 + 1\nz = y"), "y, z"),
    scenario("the timed cell shows its value", cached("%%time\ny = 1\ny + 1"), "_"),
    scenario("the cell is captured within", cached("%%capture out\nprint('caught')"), "out.stdout"),
    scenario("HTML as a cell", cached("%%html\n<b>x</b>")),
    scenario("a shell script as a cell", cached("%%bash\necho one")),
    scenario(
        "a magic changes the directory",
        "import os\nhere = os.getcwd()",
        cached("%cd -q sub"),
        "os.path.basename(os.getcwd())",
        "os.chdir(here)",
        files={"sub/f": "x"},
    ),
    scenario(
        "a magic sets an environment variable",
        "import os",
        cached("%env SCENARIO=x"),
        "os.environ['SCENARIO']",
        again="computed",
        restarted_again="hit",
    ),
    refused("the plot's backend is chosen", cached("%matplotlib inline\ny = 1"), "y", says="%matplotlib"),
    refused("another extension is loaded", cached("%load_ext autoreload\ny = 1"), "y", says="%load_ext"),
    refused("the shell itself is used", cached("y = get_ipython().execution_count > 0"), "y", says="get_ipython"),
]

DEFINED = [
    scenario(
        "a function of the cell",
        cached("def f(x):\n    # a comment\n    return x + 1\n"),
        "f(1), f.__module__",
        "import inspect\nprint(inspect.getsource(f))",
    ),
    scenario(
        "a function of the cell sees the notebook",
        cached("def f():\n    return later"),
        "later = 5\nf()",
        "f.__globals__ is globals()",
    ),
    scenario(
        "a function of the cell recurs",
        cached("def f(n):\n    return 1 if n == 0 else n * f(n - 1)\ny = f(5)"),
        "y, f(6)",
    ),
    scenario(
        "a function of the cell has a closure",
        cached(
            """
                def make(n):
                    def add(x):
                        nonlocal n
                        n += x
                        return n
                    return add, lambda: n
                add, get = make(10)
                """
        ),
        "add(1), get()",
    ),
    scenario("a function of the cell raises later", cached("def f():\n\n    raise ValueError('later')"), "f()"),
    scenario(
        "a function of the cell has attributes",
        cached("def f(x: int = 2, *, k: 'str' = 'a') -> list:\n    'doc'\n    return x\nf.note = [1]"),
        "f.note, f.__doc__, f.__annotations__, f.__defaults__, f.__kwdefaults__, f.__qualname__",
    ),
    scenario("a lambda of the cell", cached("f = lambda x, k=[]: (x, k)"), "f(1), f.__name__"),
    scenario("a generator function of the cell", cached("def f():\n    yield 1\n    yield 2"), "list(f())"),
    scenario(
        "a cached function of the cell",
        cached("import functools\n@functools.lru_cache(maxsize=7)\ndef f(x):\n    return x\ny = f(1)"),
        "f(1), f.cache_parameters()",
        "f.cache_clear()",  # what it has cached itself is no part of the promise
    ),
    refused(
        "a single-dispatch function of the cell",
        cached(
            """
                import functools
                @functools.singledispatch
                def f(x):
                    return 'any'
                @f.register
                def _(x: int):
                    return 'int'
                """
        ),
        "f(1), f('a')",
        says="f is ",
    ),
    scenario(
        "a partial and a method of the cell",
        cached(
            """
                import functools, operator
                p = functools.partial(int, base=2)
                m = 'a,b'.split
                g = operator.itemgetter(1)
                """
        ),
        "p('101'), m(','), g([5, 6])",
    ),
    scenario(
        "a class of the cell",
        cached(
            """
                class A:
                    'doc'
                    n = 0
                    def __init__(self, x):
                        self.x = x
                        type(self).n += 1
                    def m(self):
                        return self.x * 2
                    @property
                    def p(self):
                        return self.x
                    @classmethod
                    def c(cls):
                        return cls.n
                    @staticmethod
                    def s():
                        return 's'
                a = A([1])
                """
        ),
        "a.m(), a.p, A.c(), A.s(), type(a) is A, isinstance(a, A)",
        "import pickle\ntype(pickle.loads(pickle.dumps(a))) is A",
    ),
    scenario(
        "a class of the cell inherits",
        "class B:\n    def m(self):\n        return 'B'",
        cached("class A(B):\n    def m(self):\n        return 'A' + super().m()\na = A()"),
        "a.m(), A.__mro__[1] is B, B.__subclasses__() == [A]",
    ),
    scenario(
        "an instance of the notebook's class", "class A:\n    pass", cached("a = A()\na.v = [1]"), "type(a) is A, a.v"
    ),
    scenario(
        "an enum of the cell",
        cached("import enum\nclass E(enum.Enum):\n    A = 1\n    B = 'b'\ne = E.A"),
        "e is E.A, E('b') is E.B, E['A'] is e, list(E)",
    ),
    scenario(
        "a named tuple of the cell",
        cached(
            """
                import collections, typing
                P = collections.namedtuple('P', 'x y')
                class Q(typing.NamedTuple):
                    a: int = 1
                p, q = P(1, [2]), Q()
                """
        ),
        "p, q, type(p) is P, p._fields, q._asdict()",
    ),
    scenario(
        "a dataclass of the cell",
        cached(
            """
                import dataclasses
                @dataclasses.dataclass(order=True, frozen=True)
                class D:
                    a: int = 1
                    b: list = dataclasses.field(default_factory=list, compare=False)
                d = D(2)
                """
        ),
        "d, D(1) < d, dataclasses.fields(D)[1].name, dataclasses.replace(d, a=5)",
    ),
    scenario(
        "a dataclass with slots of the cell",
        cached("import dataclasses\n@dataclasses.dataclass(slots=True)\nclass D:\n    a: int = 1\nd = D(2)"),
        "d, D.__slots__",
    ),
    scenario(
        "an abstract class of the cell",
        cached(
            """
                import abc
                class A(abc.ABC):
                    @abc.abstractmethod
                    def m(self): ...
                class B(A):
                    def m(self):
                        return 1
                b = B()
                """
        ),
        "b.m(), isinstance(b, A)",
        "A()",
    ),
    scenario(
        "a metaclass of the cell",
        cached("class M(type):\n    def k(cls):\n        return cls.__name__\nclass A(metaclass=M):\n    pass"),
        "A.k(), type(A) is M",
    ),
    scenario(
        "a generic class of the cell",
        cached("import typing\nT = typing.TypeVar('T')\nclass G(typing.Generic[T]):\n    pass\ng = G[int]()"),
        "type(g) is G, G.__parameters__ == (T,), G[int].__args__",
    ),
    scenario(
        "an exception class of the cell",
        cached(
            """
                class E(ValueError):
                    def __init__(self, a, b):
                        super().__init__(f'{a} {b}')
                        self.a = a
                e = E(1, 2)
                """
        ),
        "type(e) is E, e.a, e.args",
        "raise e",
        # It cannot be made from what `pickle` keeps of it, which shows when that is read.
        again="computed",
        restarted="computed",
    ),
    scenario(
        "a class with slots of the cell",
        cached("class A:\n    __slots__ = ('a', '__weakref__')\na = A()\na.a = [1]"),
        "a.a, hasattr(a, '__dict__')",
    ),
    scenario(
        "a descriptor of the cell",
        cached(
            """
                class Positive:
                    def __set_name__(self, owner, name):
                        self.name = '_' + name
                    def __get__(self, obj, kind):
                        return getattr(obj, self.name)
                    def __set__(self, obj, value):
                        setattr(obj, self.name, abs(value))
                class A:
                    v = Positive()
                a = A()
                a.v = -3
                """
        ),
        "a.v",
    ),
    scenario(
        "classes that know each other",
        cached(
            """
                class A:
                    def other(self):
                        return B()
                class B:
                    def other(self):
                        return A()
                a = A()
                """
        ),
        "type(a.other()) is B, type(a.other().other()) is A",
    ),
    scenario(
        "a class within a function",
        cached("def make():\n    class Local:\n        v = 1\n    return Local\nL = make()\nl = L()"),
        "type(l) is L, L.__qualname__, l.v",
    ),
    scenario(
        "a subclass of a dictionary",
        cached("class D(dict):\n    def __missing__(self, key):\n        return key\nd = D(a=1)\nd.more = 2"),
        "d['b'], d, d.more",
    ),
    scenario(
        "functions in a dictionary",
        cached("table = {name: (lambda n: lambda: n)(name) for name in 'ab'}"),
        "table['a'](), table['b']()",
    ),
    scenario(
        "a function of the cell calls one of the notebook",
        "def g(x):\n    return x + 1",
        cached("def f(x):\n    return g(x)\ny = f(1)"),
        "def g(x):\n    return x + 100",
        "f(1)",
    ),
    scenario(
        "a function that another cell wraps",
        "def f(x):\n    return x + 1",
        cached("old = f\ndef f(x):\n    return 10 * old(x)"),
        "f(1), old(1)",
        again="hit",
    ),
]

SHOWN: list[Scenario] = [*OUTPUTS, *RUNNING, *DEFINED]
