"""What a cell depends on: its own code, what it calls and what it reads, edited between two kernels."""

from __future__ import annotations

from .scenarios import cached, edited, refused, scenario

ITSELF = [
    scenario("nothing is edited", "x = 2", cached("y = [x, x + 1]"), "y"),
    scenario("a comment is edited", cached("# one\ny = 1 + 1  # two"), "y", edit=("# two", "# another")),
    scenario("a comment is added", cached("y = 1 + 1"), "y", edit=("y = 1", "# more\ny = 1")),
    scenario("white space is edited", cached("y = [1,2]\nz = f'{y}'"), "y, z", edit=("[1,2]", "[ 1 ,\n\n    2 ]")),
    scenario(
        "a blank line is added in a function",
        cached("def f(x):\n    return x\n\ny = f(1)"),
        "y",
        edit=("\n\ny", "\n\n\ny"),
    ),
    scenario("a text is written with other quotes", cached("y = 'a'"), "y", edit=("'a'", '"a"')),
    edited("an operator is edited", "x = 3", cached("y = x + 2"), "y", edit=("x + 2", "x * 2")),
    edited("a name is edited", "x, w = 3, 4", cached("y = x"), "y", edit=("y = x", "y = w")),
    *(
        edited(f"a literal is {new} instead of {old}", cached(f"y = [{old}]"), "y", edit=(f"[{old}]", f"[{new}]"))
        for old, new in (
            ("1", "1.0"),
            ("1.0", "True"),
            ("1", "True"),
            ("True", "'1'"),
            ("'1'", "b'1'"),
            ("0.0", "-0.0"),
            ("1", "1 + 0j"),
        )
    ),
    *(
        edited(
            f"an input is {new} instead of {old}",
            f"x = {old}",
            cached("y = [x]"),
            "y",
            edit=(f"x = {old}", f"x = {new}"),
        )
        for old, new in (
            ("1", "1.0"),
            ("1.0", "True"),
            ("1", "True"),
            ("1", "'1'"),
            ("'1'", "b'1'"),
            ("0.0", "-0.0"),
            ("(1, 2)", "[1, 2]"),
            ("{1: 2, 3: 4}", "{3: 4, 1: 2}"),
            ("{1, 2}", "frozenset({1, 2})"),
            ("bytearray(b'a')", "b'a'"),
            ("None", "False"),
            ("['a', 'bc']", "['ab', 'c']"),
            ("[[1], 2]", "[[1, 2]]"),
            ("10**40", "10**40 + 1"),
            ("float('nan')", "float('-nan')"),
        )
    ),
    edited("a trailing semicolon is added", "x = 3", cached("x + 1"), edit=("x + 1", "x + 1;")),
    edited("a shell line is edited", cached("!echo one"), edit=("one", "two")),
    edited("a magic's option is edited", cached("y = 1", "--version 1"), edit=("--version 1", "--version 2")),
    scenario("two cells have the same code", "x = 1", cached("x += 1"), cached("x += 1"), "x"),
    scenario(
        "two cells have the same code and the same inputs",
        "x = 1",
        cached("y = x + 1"),
        cached("y = x + 1"),
        "y",
        first="computed hit",
    ),
    scenario("a cell stands elsewhere", "x = 1", "w = 5", cached("y = x + 1"), "y", edit=("w = 5", "y = w = 6")),
]

HELPERS = [
    edited("a helper is edited", "def f(x):\n    return x + 1", cached("y = f(3)"), "y", edit=("x + 1", "x + 2")),
    scenario(
        "a helper's comment is edited",
        "def f(x):\n    return x + 1  # one",
        cached("y = f(3)"),
        "y",
        edit=("# one", "# two"),
    ),
    edited(
        "a helper's helper is edited",
        "def g(x):\n    return x + 1",
        "def f(x):\n    return g(x) * 2",
        cached("y = f(3)"),
        "y",
        edit=("x + 1", "x + 2"),
    ),
    edited(
        "the helper of a helper's helper is edited",
        "def h(x):\n    return x - 1",
        "def g(x):\n    return h(x) + 1",
        "def f(x):\n    return [g(i) for i in range(x)]",
        cached("y = f(3)"),
        "y",
        edit=("x - 1", "x - 2"),
    ),
    edited(
        "a constant in a helper is edited",
        "K = 3",
        "def f(x):\n    return x * K",
        cached("y = f(3)"),
        "y",
        edit=("K = 3", "K = 4"),
    ),
    edited(
        "a constant in a helper's comprehension is edited",
        "K = 3",
        "def f(x):\n    return [i * K for i in x]",
        cached("y = f([1, 2])"),
        "y",
        edit=("K = 3", "K = 4"),
    ),
    edited(
        "a list in a helper is edited",
        "table = [1, 2]",
        "def f(i):\n    return table[i]",
        cached("y = f(1)"),
        "y",
        edit=("[1, 2]", "[1, 3]"),
    ),
    edited(
        "a default argument is edited", "def f(x, n=1):\n    return x + n", cached("y = f(3)"), "y", edit=("n=1", "n=2")
    ),
    edited(
        "a default argument's value is edited",
        "n0 = 1",
        "def f(x, n=n0):\n    return x + n",
        cached("y = f(3)"),
        "y",
        edit=("n0 = 1", "n0 = 2"),
    ),
    edited(
        "a keyword default is edited",
        "def f(x, *, n=1):\n    return x + n",
        cached("y = f(3)"),
        "y",
        edit=("n=1", "n=2"),
    ),
    edited(
        "a closure's value is edited",
        "def make(n):\n    def f(x):\n        return x + n\n    return f",
        "f = make(1)",
        cached("y = f(3)"),
        "y",
        edit=("make(1)", "make(2)"),
    ),
    edited(
        "a function attribute is edited",
        "def f(x):\n    return x * f.k\nf.k = 2",
        cached("y = f(3)"),
        "y",
        edit=("f.k = 2", "f.k = 5"),
    ),
    edited("a lambda is edited", "f = lambda x: x + 1", cached("y = f(3)"), "y", edit=("x + 1", "x + 2")),
    edited(
        "a partial's argument is edited",
        "import functools\nf = functools.partial(pow, 2)",
        cached("y = f(3)"),
        "y",
        edit=("pow, 2", "pow, 5"),
    ),
    edited(
        "a decorated function is edited",
        """
        import functools
        def twice(f):
            @functools.wraps(f)
            def g(*a):
                return 2 * f(*a)
            return g
        @twice
        def f(x):
            return x + 1
        """,
        cached("y = f(3)"),
        "y",
        edit=("x + 1", "x + 2"),
    ),
    edited(
        "a decorator is edited",
        """
        import functools
        def times(f):
            @functools.wraps(f)
            def g(*a):
                return 2 * f(*a)
            return g
        """,
        "@times\ndef f(x):\n    return x + 1",
        cached("y = f(3)"),
        "y",
        edit=("2 * f", "3 * f"),
    ),
    edited(
        "a function under lru_cache is edited",
        "import functools\n@functools.lru_cache\ndef f(x):\n    return x + 1",
        cached("y = f(3)"),
        "f.cache_clear()\ny",
        edit=("x + 1", "x + 2"),
    ),
    edited(
        "a method is edited",
        "class A:\n    def m(self):\n        return 1",
        cached("y = A().m()"),
        "y",
        edit=("return 1", "return 2"),
    ),
    edited(
        "an instance's class is edited",
        "class A:\n    def m(self):\n        return 1",
        "a = A()",
        cached("y = a.m()"),
        "y",
        edit=("return 1", "return 2"),
    ),
    edited(
        "a base class is edited",
        "class B:\n    def m(self):\n        return 1",
        "class A(B):\n    pass",
        cached("y = A().m()"),
        "y",
        edit=("return 1", "return 2"),
    ),
    edited("a class attribute is edited", "class A:\n    k = 1", cached("y = A.k"), "y", edit=("k = 1", "k = 2")),
    edited(
        "a class attribute is set later",
        "class A:\n    k = 1",
        "A.k = 1",
        cached("y = A().k"),
        "y",
        edit=("A.k = 1", "A.k = 2"),
    ),
    edited(
        "a property is edited",
        "class A:\n    @property\n    def p(self):\n        return 1",
        cached("y = A().p"),
        "y",
        edit=("return 1", "return 2"),
    ),
    edited(
        "a helper of a method is edited",
        "def g():\n    return 1",
        "class A:\n    def m(self):\n        return g()",
        "a = A()",
        cached("y = a.m()"),
        "y",
        edit=("return 1", "return 2"),
    ),
    edited(
        "a metaclass is edited",
        "class M(type):\n    def k(cls):\n        return 1",
        "class A(metaclass=M):\n    pass",
        cached("y = A.k()"),
        "y",
        edit=("return 1", "return 2"),
    ),
    edited(
        "a dataclass field's default is edited",
        "import dataclasses\n@dataclasses.dataclass\nclass D:\n    n: int = 1",
        cached("y = D().n"),
        "y",
        edit=("int = 1", "int = 2"),
    ),
    edited(
        "a dataclass field's factory is edited",
        """
        import dataclasses
        def new():
            return [1]
        @dataclasses.dataclass
        class D:
            n: list = dataclasses.field(default_factory=new)
        """,
        cached("y = D().n"),
        "y",
        edit=("return [1]", "return [2]"),
    ),
    edited(
        "an enum's value is edited",
        "import enum\nclass E(enum.Enum):\n    A = 1",
        cached("y = E.A.value"),
        "y",
        edit=("A = 1", "A = 2"),
    ),
    edited(
        "an attribute of an object is edited",
        "class A:\n    pass\na = A()\na.k = 1",
        cached("y = a.k"),
        "y",
        edit=("a.k = 1", "a.k = 2"),
    ),
    edited(
        "a helper is found by its name in a dictionary",
        "def g(x):\n    return x + 1\ntable = {'g': g}",
        cached("y = table['g'](1)"),
        "y",
        edit=("x + 1", "x + 2"),
    ),
    edited(
        "a recursive helper is edited",
        "def f(n):\n    return 1 if n == 0 else n * f(n - 1)",
        cached("y = f(5)"),
        "y",
        edit=("else n *", "else n +"),
    ),
    edited(
        "mutually recursive helpers are edited",
        "def f(n):\n    return n if n < 1 else g(n - 1)\ndef g(n):\n    return f(n) + 1",
        cached("y = f(5)"),
        "y",
        edit=("f(n) + 1", "f(n) + 2"),
    ),
    edited("a builtin is replaced", "len = lambda x: 1", cached("y = len([1, 2])"), "y", edit=("x: 1", "x: 5")),
    edited(
        "an input is changed by another cell",
        "x = [1]",
        "x.append(2)",
        cached("y = sum(x)"),
        "y",
        edit=("append(2)", "append(3)"),
    ),
    edited(
        "a nested input is changed by another cell",
        "x = {'a': [{'b': [1]}]}",
        "x['a'][0]['b'].append(2)",
        cached("y = x['a'][0]['b'][-1]"),
        "y",
        edit=("append(2)", "append(3)"),
    ),
    edited(
        "what an alias holds is changed",
        "x = [1]\nw = x",
        "w[0] = 2",
        cached("y = x[0]"),
        "y",
        edit=("w[0] = 2", "w[0] = 3"),
    ),
    edited(
        "whether two inputs are one object is edited",
        "a = [1]\nb = a",
        cached("a.append(2)\ny = len(b)"),
        "a, b, y",
        edit=("b = a", "b = [1]"),
    ),
]

MODULES = [
    edited(
        "a user's module is edited",
        "import own",
        cached("y = own.f(1)"),
        "y",
        files={"own.py": "def f(x):\n    return x + 1"},
        edit=("x + 1", "x + 2"),
    ),
    scenario(
        "a user's module has another comment",
        "import own",
        cached("y = own.f(1)"),
        "y",
        files={"own.py": "def f(x):\n    return x + 1  # one"},
        edit=("# one", "# two"),
    ),
    scenario(
        "a user's module stays",
        "import own",
        cached("y = own.f(1)"),
        "y",
        files={"own.py": "def f(x):\n    return x + 1"},
    ),
    # The second time it is there already, and its functions count as they are rather than its text.
    scenario(
        "a user's module is edited and imported in the cell",
        cached("import own\ny = own.f(1)"),
        "y",
        again="computed",
        restarted="computed",
        files={"own.py": "def f(x):\n    return x + 1"},
        edit=("x + 1", "x + 2"),
    ),
    edited(
        "a function of a user's module is edited",
        "from own import f",
        cached("y = f(1)"),
        "y",
        files={"own.py": "def f(x):\n    return x + 1"},
        edit=("x + 1", "x + 2"),
    ),
    edited(
        "a module that a user's module imports is edited",
        "import own",
        cached("y = own.f(1)"),
        "y",
        files={
            "own.py": "import deeper\ndef f(x):\n    return deeper.g(x)",
            "deeper.py": "def g(x):\n    return x + 1",
        },
        edit=("x + 1", "x + 2"),
    ),
    edited(
        "a user's package is edited",
        "from pack.part import f",
        cached("y = f(1)"),
        "y",
        files={"pack/__init__.py": "", "pack/part.py": "K = 2\ndef f(x):\n    return x * K"},
        edit=("K = 2", "K = 3"),
    ),
    edited(
        "a module's attribute is set by another cell",
        "import own",
        "own.K = 5",
        cached("y = own.f(1)"),
        "y",
        files={"own.py": "K = 1\ndef f(x):\n    return x * K"},
        edit=("own.K = 5", "own.K = 6"),
    ),
    edited(
        "a class of a user's module is edited",
        "from own import A\na = A()",
        cached("y = a.m()"),
        "y",
        files={"own.py": "class A:\n    def m(self):\n        return 1"},
        edit=("return 1", "return 2"),
    ),
    scenario(
        "the cell makes an object of a user's module",
        "from own import A",
        cached("a = A()"),
        "a.m(), type(a) is A",
        files={"own.py": "class A:\n    def m(self):\n        return 1"},
    ),
    scenario(
        "the cell changes a module's state",
        "import own",
        cached("own.add(3)\ny = own.total()"),
        "own.total(), own.seen",
        files={"own.py": "seen = []\ndef add(x):\n    seen.append(x)\ndef total():\n    return sum(seen)"},
        again="computed",
        restarted_again="hit",
    ),
    scenario(
        "the cell imports under names",
        cached("import math as m\nfrom json import dumps, loads as read\ny = m.pi"),
        "m.__name__, dumps(read('[1]')), y",
    ),
    scenario(
        "the cell imports a part of a package",
        cached("import os.path\nimport xml.dom"),
        "os.path.sep, xml.dom.__name__",
    ),
    refused(
        "the cell imports everything", cached("from math import *\ny = floor(2.5)"), "y, ceil(2.5)", says=r"import \*"
    ),
]

STATE = [
    edited(
        "pandas shows differently",
        "import pandas as pd\npd.set_option('display.precision', 3)\nd = pd.DataFrame({'a': [1 / 3]})",
        cached("d"),
        edit=("n', 3", "n', 5"),
    ),
    edited(
        "numpy prints differently",
        "import numpy as np\nnp.set_printoptions(precision=3)\na = np.array([1 / 3])",
        cached("print(a)\na"),
        edit=("precision=3", "precision=5"),
    ),
    edited(
        "numpy treats errors differently",
        "import numpy as np\nnp.seterr(divide='ignore')",
        cached("try:\n    y = np.float64(1) / np.float64(0)\nexcept FloatingPointError:\n    y = None"),
        "y",
        edit=("divide='ignore'", "divide='raise'"),
    ),
    edited(
        "decimals have another precision",
        "import decimal\ndecimal.getcontext().prec = 5",
        cached("y = decimal.Decimal(1) / 3"),
        "y",
        edit=("prec = 5", "prec = 6"),
    ),
    edited(
        "matplotlib draws differently",
        "import matplotlib.pyplot as plt\nplt.rcParams['lines.linewidth'] = 2",
        cached("plt.plot([1, 2]);"),
        edit=("] = 2", "] = 5"),
    ),
    edited(
        "warnings are errors",
        "import warnings\nwarnings.simplefilter('ignore')",
        cached("try:\n    warnings.warn('w')\n    y = 0\nexcept UserWarning:\n    y = 1"),
        "y",
        edit=("'ignore'", "'error'"),
    ),
]

CODE = [*ITSELF, *HELPERS, *MODULES, *STATE]
