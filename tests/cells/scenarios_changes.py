"""What a cell does to the notebook beside binding new names: changes in place, shared objects, state of no name."""

from __future__ import annotations

from .scenarios import Scenario, cached, edited, refused, scenario

MANY = "import collections\nimport numpy as np\nimport pandas as pd\n"


def in_place(what: str, made: str, change: str, shown: str = "x") -> Scenario:
    """An input under two names is changed in place, and shown under the other."""
    return scenario(
        f"{what} is changed in place", f"{MANY}x = {made}\nw = x", cached(change), f"{shown}, w is x", shown
    )


IN_PLACE = [
    in_place("a list", "[1, [2]]", "x.append(3)\nx[1].append(4)"),
    in_place("a list within a list", "[1, [2]]", "x[1] += [5]"),
    in_place("a sorted list", "[3, 1, 2]", "x.sort()"),
    in_place("a dictionary", "{'b': 1, 'a': [2]}", "x['c'] = 3\ndel x['b']\nx['b'] = 4"),
    in_place("a set", "{1, 2}", "x.add(3)\nx.discard(1)", "sorted(x)"),
    in_place("a bytearray", "bytearray(b'ab')", "x[0] = 99\nx.extend(b'cd')"),
    in_place("a deque", "collections.deque([1, 2], maxlen=3)", "x.append(3)\nx.append(4)"),
    in_place("a default dictionary", "collections.defaultdict(list, a=[1])", "x['b'].append(2)"),
    in_place("a counter", "collections.Counter('ab')", "x.update('bc')"),
    in_place("an ordered dictionary", "collections.OrderedDict(a=1, b=2)", "x.move_to_end('a')"),
    refused(
        "an array of the array module is changed in place",
        "import array\nx = array.array('d', [1, 2])\nw = x",
        cached("x.append(3)"),
        "w",
        says="changed back in place",
    ),
    in_place("an array", "np.arange(5)", "x[1] = 9\nx *= 2"),
    refused(
        "an array's shape is changed in place",
        "import numpy as np\nx = np.arange(6)\nw = x",
        cached("x.shape = (2, 3)"),
        "w",
        says="shape in place",
    ),
    in_place("an array of objects", "np.array([[1], 'a', None], dtype=object)", "x[0].append(2)\nx[1] = 'b'"),
    in_place("a matrix in Fortran's order", "np.asfortranarray(np.arange(6.).reshape(2, 3))", "x[0, 1] = 9"),
    in_place("an array's flag", "np.arange(5)", "x.flags.writeable = False"),
    refused(
        "a masked array is changed in place",
        "import numpy as np\nx = np.ma.array([1, 2, 3])\nw = x",
        cached("x[1] = np.ma.masked"),
        "w",
        says="changed back in place",
    ),
    scenario(
        "an array is changed through its view",
        "import numpy as np\nx = np.arange(6)\nv = x[::2]",
        cached("v += 1"),
        "x, v",
        "x[0] = 99\nv",
    ),
    scenario(
        "a view is changed through its array",
        "import numpy as np\nx = np.arange(6)\nv = x[1:3]",
        cached("x[1:4] = 7"),
        "x, v",
        "v[0] = 99\nx",
    ),
    scenario(
        "an array is changed through a view of the cell",
        "import numpy as np\nx = np.arange(6)",
        cached("v = x[:2]\nv += 5"),
        "x, v",
        "v[0] = 99\nx",
    ),
    in_place("a frame's columns", "pd.DataFrame({'a': [1, 2]})", "x['b'] = x['a'] * 2"),
    in_place(
        "a frame's value", "pd.DataFrame({'a': [1, 2], 'b': ['u', 'v']})", "x.loc[0, 'a'] = 9\nx.at[1, 'b'] = 'w'"
    ),
    in_place(
        "a frame without a column", "pd.DataFrame({'a': [1, 2], 'b': [3, 4]})", "x.drop(columns='b', inplace=True)"
    ),
    in_place("a sorted frame", "pd.DataFrame({'a': [2, 1]})", "x.sort_values('a', inplace=True)"),
    in_place("a frame's index", "pd.DataFrame({'a': [2, 1]})", "x.index = ['u', 'v']\nx.index.name = 'n'"),
    in_place("a frame's attributes", "pd.DataFrame({'a': [2, 1]})", "x.attrs['unit'] = 'm'"),
    in_place("a popped frame", "pd.DataFrame({'a': [2, 1], 'b': [0, 0]})", "y = x.pop('b')", "x, y"),
    in_place("a series", "pd.Series([1, 2], name='s')", "x[0] = 5\nx.name = 't'"),
    in_place("an object", "type('A', (), {})()", "x.k = [1]\nx.k.append(2)", "x.k"),
    scenario(
        "an object's attributes are changed in place",
        "class A:\n    def __init__(self):\n        self.v = [1]\nx = A()\nw = x",
        cached("x.v.append(2)\nx.n = x.v\ndel x.v"),
        "w.n, w is x",
        "vars(x)",
    ),
    scenario(
        "a method changes its object",
        "class A:\n    n = 0\n    def go(self):\n        self.n += 1\n        return self\nx = A()",
        cached("y = x.go()"),
        "x.n, y is x",
    ),
    scenario(
        "an object with slots is changed in place",
        "class A:\n    __slots__ = ('a', 'b')\nx = A()\nx.a = 1",
        cached("x.b = [x.a]\ndel x.a"),
        "x.b, hasattr(x, 'a')",
    ),
    scenario(
        "an object within an object is changed",
        "import types\nx = types.SimpleNamespace(y=types.SimpleNamespace(z=[1]))\nw = x.y",
        cached("x.y.z.append(2)"),
        "w.z, x.y is w",
    ),
    scenario(
        "a dataclass is changed in place",
        "import dataclasses\n@dataclasses.dataclass\nclass D:\n    n: list\nx = D([1])\nw = x.n",
        cached("x.n.append(2)"),
        "x, w",
    ),
    scenario(
        "a class counts its instances",
        "class A:\n    n = 0\n    def __init__(self):\n        A.n += 1",
        cached("a = A()\nb = A()"),
        "A.n",
    ),
    scenario("a class is given a method", "class A:\n    pass\na = A()", cached("A.m = lambda self: 5"), "a.m()"),
    scenario(
        "a default argument is changed",
        "def f(x, seen=[]):\n    seen.append(x)\n    return list(seen)",
        cached("y = f(1)\ny = f(2)"),
        "y, f(3)",
    ),
    scenario(
        "a closure counts",
        """
            def make():
                n = 0
                def f():
                    nonlocal n
                    n += 1
                    return n
                return f
            f = make()
            """,
        cached("y = f()"),
        "y, f()",
    ),
    scenario(
        "a model is fitted",
        """
        import numpy as np
        from sklearn.linear_model import LinearRegression
        X = np.arange(12.).reshape(6, 2) ** 2
        t = X @ [1, 2] + 3
        model = LinearRegression()
        w = model
        """,
        # Its HTML counts the models that were shown in this process.
        cached("model.fit(X, t);"),
        "w.coef_.round(6), model is w",
        "model.predict(X).round(6)",
    ),
    scenario(
        "a forest is fitted",
        """
        import numpy as np
        from sklearn.ensemble import RandomForestClassifier
        X = np.arange(40.).reshape(20, 2) % 7
        t = (X[:, 0] > 3).astype(int)
        """,
        cached("model = RandomForestClassifier(5, random_state=1).fit(X, t)\nscore = model.score(X, t)"),
        "score, model.predict(X)",
    ),
    scenario(
        "a pipeline is fitted",
        """
        import numpy as np
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.linear_model import Ridge
        X = np.arange(12.).reshape(6, 2) ** 2
        scaler = StandardScaler()
        p = make_pipeline(scaler, Ridge())
        """,
        cached("p.fit(X, X[:, 0]);"),
        "scaler.mean_, p.steps[0][1] is scaler",
    ),
    scenario(
        "a generator of numpy's is drawn from",
        "import numpy as np\nr = np.random.default_rng(1)\nw = r",
        cached("a = r.normal(size=3)"),
        "a, w.normal()",
    ),
    scenario(
        "a generator of Python's is drawn from",
        "import random\nr = random.Random(1)",
        cached("a = r.random()"),
        "a, r.random()",
    ),
    scenario(
        "an old generator of numpy's is drawn from",
        "import numpy as np\nr = np.random.RandomState(1)",
        cached("a = r.rand()"),
        "a, r.rand()",
    ),
    scenario("an iterator is advanced", "it = iter([1, 2, 3])", cached("a = next(it)"), "a, next(it)"),
    scenario(
        "a text buffer is written",
        "import io\nb = io.StringIO()",
        cached("n = b.write('abc')"),
        "b.getvalue(), b.tell()",
    ),
    scenario("the loop variables stay", cached("for i in range(3):\n    for j in 'ab':\n        pass"), "i, j"),
]

ALIASES = [
    scenario("two names, one list", "a = [1]\nb = a", cached("a.append(2)"), "a is b, b"),
    scenario(
        "an element of a list has a name of its own",
        "e = [1]\na = [e, e]",
        cached("a[0].append(2)"),
        "e, a[0] is e, a[1] is e",
    ),
    scenario("a result is an input", "x = [1]", cached("y = x"), "y is x", "y.append(2)\nx"),
    scenario("a result is a part of an input", "x = [[1], [2]]", cached("y = x[0]"), "y is x[0]", "y.append(2)\nx"),
    scenario(
        "a result is a view of an input",
        "import numpy as np\nx = np.arange(10)",
        cached("y = x[:5]"),
        "y[0] = 99\nx, y.base is x",
    ),
    scenario(
        "a result is the transpose of an input",
        "import numpy as np\nx = np.arange(6).reshape(2, 3)",
        cached("y = x.T"),
        "y[0, 0] = 99\nx",
    ),
    scenario(
        "a result is a view of an input's part",
        "import numpy as np\nx = [np.arange(10)]",
        cached("y = x[0][2:4]"),
        "y[0] = 99\nx",
    ),
    scenario(
        "a result holds an input",
        "x = [1]",
        cached("y = {'x': x, 'also': (x, [x])}"),
        "y['x'] is x, y['also'][1][0] is x",
    ),
    scenario("an input holds itself afterwards", "x = [1]", cached("x.append(x)"), "x[1] is x"),
    scenario("an input holds a result", "x = []", cached("y = [1]\nx.append(y)"), "x[0] is y", "y.append(2)\nx"),
    scenario(
        "results share an object",
        cached("a = [1]\nb = [a, a]\nc = {'a': a}"),
        "b[0] is a, b[1] is a, c['a'] is a",
        "a.append(2)\nb, c",
    ),
    scenario(
        "results share memory",
        "import numpy as np",
        cached("a = np.arange(6.)\nb = a[::2]\nc = a.reshape(2, 3)"),
        "b[0] = 9\na, b, c",
    ),
    scenario(
        "a result is a view of memory without a name",
        "import numpy as np",
        cached("y = np.arange(10)[::2]"),
        "y.strides, y.flags.c_contiguous, y",
    ),
    scenario(
        "objects share an object",
        "class A:\n    pass",
        cached("a, b = A(), A()\na.to, b.to = b, a\nc = a"),
        "a.to.to is a, c is a",
    ),
    scenario("results of two cells share an object", cached("a = [1]"), cached("b = [a]"), "b[0] is a"),
    scenario("the same object from two cells", "x = [1]", cached("y = x"), cached("z = y"), "z is x, z is y"),
    scenario(
        "a function and its closure share an object",
        cached(
            "seen = []\ndef make():\n    log = seen\n    def f(x):\n        log.append(x)\n    return f\nf = make()"
        ),
        "f(1)\nseen",
    ),
    scenario(
        "a frame's column as an array",
        "import pandas as pd\nd = pd.DataFrame({'a': [1, 2]})",
        cached("v = d['a'].to_numpy()"),
        "v.flags.writeable, v",
    ),
    scenario("a bound method of an input", "x = [1]", cached("add = x.append"), "add(2)\nx"),
    scenario("a name is bound to the object it has", "x = [1]\ny = x", cached("x = y"), "x is y"),
    scenario("a name is swapped with another", "a, b = [1], [2]", cached("a, b = b, a"), "a, b", again="hit"),
    scenario(
        "a name keeps its object when it may be bound", "y = [0]\nw = y\nx = 0", cached("if x:\n    y = [1]"), "y is w"
    ),
    scenario("an iterator over an input", "x = [1, 2, 3]", cached("it = iter(x)\nnext(it)"), "x.append(4)\nlist(it)"),
]

NAMES = [
    scenario(
        "a function binds a global name",
        "counter = 0\ndef go():\n    global counter\n    counter += 1",
        cached("go()\ngo()"),
        "counter",
    ),
    scenario(
        "a function binds a new global name", "def go():\n    global made\n    made = [1]", cached("go()"), "made"
    ),
    scenario("the cell deletes a name", "x = 1\ny = 2", cached("del x"), "'x' in globals(), y"),
    scenario("the cell renames", "old = [1]", cached("new = old\ndel old"), "'old' in globals(), new"),
    scenario("the cell binds and deletes", cached("t = [1]\ny = t\ndel t"), "'t' in globals(), y"),
    scenario(
        "the cell binds and deletes what was not there when it ran",
        "pass",
        cached("t = [1]\ny = t\ndel t"),
        "'t' in globals(), y",
        edit=("pass", "t = 2"),
    ),
    scenario(
        "the cell binds and deletes what was there when it ran",
        "t = 2",
        cached("t = [1]\ny = t\ndel t"),
        "'t' in globals(), y",
        edit=("t = 2", "pass"),
    ),
    scenario(
        "the cell binds and perhaps deletes what was not there when it ran",
        "pass",
        cached("for i in range(0, 2):\n    t = [i]\n    if i > 2:\n        del t\ny = 1"),
        "globals().get('t'), y",
        edit=("pass", "t = 2"),
        again="computed",
        restarted="computed",
        restarted_again="hit",
    ),
    scenario(
        "a function deletes what the cell binds",
        "def go():\n    global t\n    del t",
        cached("t = 1\ngo()\ny = 1"),
        "'t' in globals(), y",
        edit=("def go():", "t = 5\ndef go():"),
    ),
    scenario(
        "the cell fails after it has bound a name",
        "x = 1\nt = 2",
        cached("x = 3\n1 / 0\nt = 4"),
        "x, t",
        first="silent",
        again="silent",
        restarted="silent",
    ),
    scenario(
        "a function deletes a global name",
        "x = 1\ndef go():\n    global x\n    del x",
        cached("go()"),
        "'x' in globals()",
    ),
    scenario("the cell rebinds its own input", "x = 1", cached("x = x + 1"), "x"),
    scenario("names with leading underscores", cached("_a = 1\n__b = 2\n_3 = 5"), "_a, __b"),
    scenario("the cell annotates names", cached("a: int = 1\nb: 'str'"), "a, dict(__annotations__)"),
    scenario(
        "an exception's name is gone",
        cached("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    m = str(e)"),
        "m, 'e' in globals()",
    ),
    scenario(
        "names that are bound in nests",
        cached("with open('f') as f:\n    t = f.read()\nif (n := len(t)) > 1:\n    import json as j\nf.close()\ndel f"),
        "t, n, j.__name__",
        files={"f": "text"},
    ),
    scenario(
        "a match binds",
        "x = {'a': [1, 2]}",
        cached("match x:\n    case {'a': [one, *rest]}:\n        pass"),
        "one, rest",
    ),
    scenario("nothing is bound", "x = 1", cached("x + 1;"), "x"),
]

STATE = [
    scenario(
        "the global generator goes on",
        "import numpy as np\nnp.random.seed(5)",
        cached("a = np.random.rand(3)"),
        "a, np.random.rand()",
    ),
    scenario(
        "Python's global generator goes on",
        "import random\nrandom.seed(5)",
        cached("a = random.random()"),
        "a, random.random()",
    ),
    scenario(
        "a function draws",
        "import random\nrandom.seed(5)\ndef f():\n    return random.gauss(0, 1)",
        cached("a = f()"),
        "a, random.random()",
    ),
    edited(
        "another seed upstream",
        "import numpy as np\nnp.random.seed(5)",
        cached("a = np.random.rand(3)"),
        "a, np.random.rand()",
        edit=("(5)", "(6)"),
    ),
    scenario(
        "a seed that nobody knows",
        "import random",
        cached("a = random.random()"),
        "a, random.random()",
        again="computed",
        restarted="computed",
        restarted_again="computed",
    ),
    scenario("the cell seeds", "import random", cached("random.seed(5)\na = random.random()"), "a, random.random()"),
    scenario(
        "the cell seeds numpy",
        "import numpy as np",
        cached("np.random.seed(5)\na = np.random.rand()"),
        "a, np.random.rand()",
    ),
    scenario(
        "the cell shuffles an input",
        "import random\nrandom.seed(5)\nx = [1, 2, 3, 4, 5]",
        cached("random.shuffle(x)"),
        "x, random.random()",
    ),
    scenario(
        "draws in two cells",
        "import random\nrandom.seed(5)",
        cached("a = random.random()"),
        cached("b = random.random()"),
        "a, b, random.random()",
    ),
    scenario(
        "the same draw in two cells",
        "import random\nrandom.seed(5)",
        cached("a = random.random()"),
        cached("a = random.random()"),
        "a, random.random()",
    ),
    scenario(
        "the cell sets parameters of matplotlib",
        "import matplotlib.pyplot as plt",
        cached("plt.rcParams['lines.linewidth'] = 4"),
        "plt.rcParams['lines.linewidth']",
        again="computed",
        restarted_again="hit",
    ),
    scenario(
        "the cell sets an environment variable",
        "import os",
        cached("os.environ['SCENARIO'] = 'x'\ny = 1"),
        "os.environ['SCENARIO'], os.getenv('SCENARIO'), y",
        again="computed",
        restarted_again="hit",
    ),
    scenario(
        "the cell deletes an environment variable",
        "import os\nos.environ['SCENARIO'] = 'x'",
        cached("del os.environ['SCENARIO']"),
        "'SCENARIO' in os.environ",
    ),
    scenario(
        "the cell changes the directory",
        "import os\nhere = os.getcwd()",
        cached("os.chdir('sub')"),
        "os.path.basename(os.getcwd())",
        "os.chdir(here)",
        files={"sub/f": "x"},
    ),
    scenario(
        "the cell filters warnings",
        "import warnings",
        cached("warnings.simplefilter('ignore')"),
        "warnings.warn('unheard')\nlen(warnings.filters) > 0",
        again="computed",
        restarted_again="hit",
    ),
    scenario(
        "the cell sets print options",
        "import numpy as np",
        cached("np.set_printoptions(precision=2)"),
        "np.array([1 / 3])",
        again="computed",
        restarted_again="hit",
    ),
    scenario(
        "the cell sets options of pandas",
        "import pandas as pd",
        cached("pd.set_option('display.precision', 2)"),
        "pd.Series([1 / 3])",
        again="computed",
        restarted_again="hit",
    ),
    scenario(
        "the cell sets a decimal precision",
        "import decimal",
        cached("decimal.getcontext().prec = 4"),
        "decimal.Decimal(1) / 3",
        again="computed",
        restarted_again="hit",
    ),
    scenario(
        "the cell extends the module path",
        "import sys",
        cached("sys.path.append('/nowhere')"),
        "sys.path[-2:]",
        again="computed",
        restarted_again="hit",
    ),
    scenario(
        "state for a while leaves nothing",
        "import numpy as np",
        cached("with np.printoptions(precision=2):\n    print(np.array([1 / 3]))"),
        "np.array([1 / 3])",
    ),
    scenario(
        "a logger's level",
        "import logging",
        cached("logging.getLogger('scenario').setLevel(10)"),
        "logging.getLogger('scenario').level",
        again="computed",
        restarted_again="hit",
    ),
]

REFUSED = [
    refused(
        "a lock as a result",
        cached("import threading\nlock = threading.Lock()\ny = 1"),
        "lock.locked(), y",
        says=r"\block\b",
    ),
    refused("a generator as a result", cached("g = (i for i in range(3))\ny = 1"), "next(g), y", says=r"\bg\b"),
    refused(
        "an open file as a result",
        cached("f = open('data')\ny = f.read()"),
        "y, f.close()",
        says=r"\bf\b",
        files={"data": "text"},
    ),
    refused(
        "a connection as a result",
        cached("import sqlite3\nconn = sqlite3.connect(':memory:')\ny = 1"),
        "conn.close(), y",
        says=r"\bconn\b",
    ),
    refused(
        "a lock within a result", cached("import threading\nd = {'a': [threading.Lock()]}"), "len(d)", says=r"\bd\b"
    ),
    refused(
        "a lock as an input",
        "import threading\nlock = threading.Lock()",
        cached("with lock:\n    y = 1"),
        "y",
        says=r"lock.*--ignore lock",
    ),
    refused("a generator as an input", "g = (i for i in range(3))", cached("y = next(g)"), "y, next(g)", says=r"\bg\b"),
    refused(
        "a connection as an input",
        "import sqlite3\nconn = sqlite3.connect(':memory:')",
        cached("y = conn.execute('select 1').fetchone()"),
        "y, conn.close()",
        says=r"\bconn\b",
    ),
    refused("exec", cached("exec('y = 1')"), "y", says=r"exec"),
    refused("globals", cached("globals()['y'] = 1"), "y", says=r"globals"),
    refused("a helper that calls exec", "def f():\n    exec('global y; y = 1')", cached("f()"), "y", says=r"exec"),
    refused(
        "the kernel is configured", cached("%config InlineBackend.close_figures = True\ny = 1"), "y", says="%config"
    ),
]
CHANGES = [*IN_PLACE, *ALIASES, *NAMES, *STATE, *REFUSED]
