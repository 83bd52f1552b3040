"""Values that are easily lost on the way, and the magic's options."""

from __future__ import annotations

from .scenarios import Scenario, aside, cached, edited, refused, scenario

NUMPY = "import numpy as np"
PANDAS = "import numpy as np\nimport pandas as pd"

VALUES = [
    scenario(
        "bits of floats",
        cached(
            """
                import struct, math
                a = struct.unpack('<d', struct.pack('<Q', 0x7ff8000000000abc))[0]
                b, c, d = -0.0, float('inf'), 5e-324
                e = complex(-0.0, math.nan)
                """
        ),
        "struct.pack('<d', a).hex(), b, c, d, e",
    ),
    scenario("big numbers", cached("a, b, c = 10**400, -(2**63), True\nd = 0"), "a % 7, b, c is True, d"),
    scenario("lone surrogates", cached("s = 'a\\ud800b'\nd = {'\\udfff': s}"), "ascii(s), ascii(d)"),
    scenario(
        "a lone surrogate as an input",
        "s = '\\ud800'",
        cached("y = len(s)"),
        "y",
        edit=("ud800", "ud801"),
        restarted="computed",
    ),
    scenario(
        "a list that holds itself",
        cached("a = [1]\na.append(a)\nd = {}\nd['d'] = (d, a)"),
        "a[1] is a, d['d'][0] is d, d['d'][1] is a",
    ),
    scenario(
        "a list that holds itself as an input", "a = [1]\na.append(a)", cached("y = len(a)\na[0] = 2"), "y, a[1][1][0]"
    ),
    scenario(
        "keys of several types",
        cached("d = {1: 'a', '1': 'b', (1,): 'c', None: 'd', 2.5: 'e', b'1': 'f', frozenset({1}): 'g'}"),
        "d, list(d)",
    ),
    scenario(
        "keys of several types as an input",
        "d = {1: 'a', '1': 'b', (1,): 'c', None: 'd', frozenset({1, 2}): 'g'}",
        cached("y = list(d)"),
        "y",
    ),
    scenario(
        "numbers of other kinds",
        cached(
            """
                import decimal, fractions, datetime, uuid, pathlib, ipaddress
                a = [decimal.Decimal('1.10'), decimal.Decimal('NaN'), fractions.Fraction(1, 3)]
                b = [uuid.UUID(int=5), pathlib.Path('/a'), ipaddress.ip_address('::1')]
                """
        ),
        "a",
    ),
    scenario(
        "times",
        cached(
            """
                import datetime, zoneinfo
                a = [datetime.datetime(2020, 1, 1, fold=1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin'))]
                a += [datetime.timedelta(1, 2, 3), datetime.date(2020, 1, 1)]
                a += [datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)]
                """
        ),
        "a, a[0].tzinfo is zoneinfo.ZoneInfo('Europe/Berlin')",
    ),
    scenario(
        "singletons",
        cached("a = [None, ..., NotImplemented, True, int, len, print]"),
        "a[2] is NotImplemented, a[1] is ..., a",
    ),
    scenario(
        "patterns, ranges, slices",
        cached("import re\na = [re.compile('a', re.I), range(5), slice(1, 2), memoryview(b'a').tobytes()]"),
        "a",
    ),
    refused(
        "a memory view",
        cached("b = bytearray(b'abc')\nm = memoryview(b)"),
        "m[0] = 120\nbytes(m), m.readonly, b",
        says="m is a memoryview",
    ),
    scenario("deeply nested lists", cached("a = []\nfor i in range(60):\n    a = [a]"), "len(a)"),
    scenario(
        "a loop's name is an underscore", cached("a = [0 for _ in range(3)]\nfor _ in range(3):\n    pass"), "5", "_"
    ),
    scenario("a long list", cached("a = list(range(100_000))\nb = [str(i) for i in a]"), "sum(a), b[-1]"),
    scenario(
        "a long list as an input",
        "a = [[i, str(i)] for i in range(20_000)]",
        cached("y = len(a)"),
        "y",
        edit=("[i, str(i)]", "[i + (i == 19_999), str(i)]"),
        restarted="computed",
    ),
    scenario("a random generator", NUMPY, cached("r = np.random.default_rng(1)\nr.normal()"), "r.normal()"),
    scenario(
        "generators that share their bits",
        NUMPY,
        cached("b = np.random.PCG64(1)\nr, s = np.random.Generator(b), np.random.Generator(b)"),
        "r.random(), s.random()",
    ),
    scenario(
        "a weak dictionary",
        cached("import weakref\nclass A:\n    pass\na = A()\nw = weakref.ref(a)"),
        "w() is a",
        first="refused",
        again="refused",
        restarted="refused",
        says=r"\bw\b",
    ),
]

ARRAYS = [
    scenario(
        "a large array is writable",
        NUMPY,
        cached("a = np.arange(655_360, dtype='f8')"),
        "a[0] = -1\na.sum(), a.flags.writeable",
    ),
    scenario(
        "a large array in Fortran's order",
        NUMPY,
        cached("a = np.asfortranarray(np.arange(40_000.).reshape(200, 200))\nb = a.T"),
        "b[0, 1] = -1\na[1, 0], a.flags.f_contiguous, np.shares_memory(a, b)",
    ),
    scenario("an array can grow", NUMPY, cached("a = np.arange(5)"), "a.resize(7, refcheck=False)\na"),
    scenario(
        "a structured array",
        NUMPY,
        cached("a = np.array([(1, 2.5, 'x')], dtype=[('n', 'i4'), ('f', '>f8'), ('s', 'U3')])"),
        "a.dtype, a",
    ),
    scenario(
        "a structured array with padding",
        NUMPY,
        cached("a = np.zeros(2, dtype=np.dtype([('a', 'i1'), ('b', 'f8')], align=True))"),
        "a.dtype, a",
    ),
    scenario("a record array", NUMPY, cached("a = np.rec.array([(1, 2.)], names='x,y')"), "a.x, type(a)"),
    scenario(
        "times in arrays",
        NUMPY,
        cached("a = np.array(['2020-01-01', 'NaT'], dtype='M8[ns]')\nb = a - a[0]"),
        "a.dtype, b.dtype, a, b",
    ),
    scenario(
        "objects in arrays", NUMPY, cached("e = [1]\na = np.array([e, None, 'x', 2.5], dtype=object)"), "a[0] is e, a"
    ),
    scenario(
        "texts in arrays",
        NUMPY,
        cached("a = np.array(['a', 'bcd'])\nb = np.array([b'a', b'\\0b'])"),
        "a.dtype, b.dtype, a, b",
    ),
    scenario(
        "a read-only array",
        NUMPY,
        cached("a = np.arange(5)\na.flags.writeable = False"),
        "a.flags.writeable",
        "a[0] = 1",
    ),
    scenario("an array of another byte order", NUMPY, cached("a = np.arange(3, dtype='>i4')"), "a.dtype.byteorder, a"),
    scenario(
        "arrays of no and of one dimension",
        NUMPY,
        cached("a, b, c = np.array(5), np.zeros((0, 3)), np.float32(1.5)\nd = np.nan * np.ones(2)"),
        "a.shape, b.shape, type(c), d",
    ),
    scenario(
        "a broadcast array",
        NUMPY,
        cached("a = np.broadcast_to(np.arange(3), (4, 3))"),
        "a.strides, a.flags.writeable, a.sum()",
    ),
    scenario("a reversed array", NUMPY, cached("x = np.arange(5)\na = x[::-1]"), "a[0] = 99\nx"),
    refused(
        "an array with attributes",
        NUMPY,
        "class A(np.ndarray):\n    pass",
        cached("a = np.arange(3).view(A)\na.unit = 'm'"),
        "a.unit, type(a) is A",
        says="A with attributes",
    ),
    edited(
        "an array's type is edited",
        NUMPY,
        "x = np.arange(3, dtype='i8')",
        cached("y = x.nbytes"),
        "y",
        edit=("'i8'", "'i4'"),
    ),
    edited(
        "an array's shape is edited",
        NUMPY,
        "x = np.zeros((2, 3))",
        cached("y = x.shape"),
        "y",
        edit=("(2, 3)", "(3, 2)"),
    ),
    edited(
        "an array's order is edited",
        NUMPY,
        "x = np.zeros((2, 3), order='C')",
        cached("y = x.flags.f_contiguous"),
        "y",
        edit=("'C'", "'F'"),
    ),
    edited(
        "one element of a large array is edited",
        NUMPY,
        "x = np.zeros(700_000)\nx[345_678] = 1",
        cached("y = x.sum()"),
        "y",
        edit=("] = 1", "] = 2"),
    ),
    scenario(  # the cell reads and changes the view alone
        "whether an array is a view is edited",
        NUMPY,
        "x = np.arange(4)\nv = x[:2]",
        cached("v[0] = 9"),
        "x",
        edit=("x[:2]", "x[:2].copy()"),
    ),
]

FRAMES = [
    scenario(
        "a frame of many types",
        PANDAS,
        cached(
            """
                d = pd.DataFrame({'i': [1, 2], 'f': [1.5, np.nan], 's': ['a', None], 'b': [True, False]})
                d['o'] = [[1], {}]
                d['t'] = pd.to_datetime(['2020-01-01', None])
                d['n'] = pd.array([1, None], dtype='Int64')
                """
        ),
        "d.dtypes",
        "d",
    ),
    scenario(
        "a frame with categories",
        PANDAS,
        cached("d = pd.DataFrame({'c': pd.Categorical(['b', 'a'], categories=['b', 'a', 'z'], ordered=True)})"),
        "d['c'].cat.categories, d['c'].cat.ordered, d.sort_values('c')",
    ),
    scenario(
        "a frame with time zones",
        PANDAS,
        cached(
            """
                d = pd.DataFrame({'t': pd.date_range('2020-03-28', periods=3, tz='Europe/Berlin')})
                i = pd.date_range('2020', periods=3, freq='MS')
                """
        ),
        "d['t'].dt.tz, d, i.freq",
    ),
    scenario(
        "a frame with several levels",
        PANDAS,
        cached(
            """
                d = pd.DataFrame({'v': [1, 2]}, index=pd.MultiIndex.from_tuples([('a', 1), ('b', 2)], names=['x', 'y']))
                d.columns = pd.MultiIndex.from_tuples([('p', 'q')])
                """
        ),
        "d.index.names, d.columns, d",
    ),
    scenario(
        "a frame with attributes",
        PANDAS,
        cached(
            """
                d = pd.DataFrame({'a': [1]})
                d.attrs['unit'] = {'a': 'm'}
                s = pd.Series([1], name=('a', 1))
                s.attrs['x'] = [1]
                """
        ),
        "d.attrs, s.attrs, s.name",
    ),
    scenario(
        "a frame can be changed afterwards",
        PANDAS,
        cached("d = pd.DataFrame({'a': np.arange(100_000)})"),
        "d.loc[0, 'a'] = -5\nd['b'] = 1\nd.iloc[0].tolist()",
    ),
    scenario(
        "a frame from another",
        PANDAS,
        "d = pd.DataFrame({'a': [1, 2], 'b': [3, 4]})",
        cached("e = d[['a']]\nf = d[d.a > 1]"),
        "e.loc[0, 'a'] = 99\nd, f",
    ),
    scenario(
        "intervals, periods and sparse values",
        PANDAS,
        cached(
            """
                a = pd.interval_range(0, 3)
                b = pd.period_range('2020-01', periods=2, freq='M')
                c = pd.Series(pd.arrays.SparseArray([0, 0, 1]))
                """
        ),
        "a, b, c.sparse.density",
    ),
    scenario(
        "groups",
        PANDAS,
        "d = pd.DataFrame({'k': ['a', 'b', 'a'], 'v': [1, 2, 3]})",
        cached("g = d.groupby('k')\ny = g.v.sum()"),
        "y, len(g)",
    ),
    *(
        edited(
            f"a frame's {what} is edited",
            PANDAS,
            f"d = pd.DataFrame({old})",
            cached("y = (d.dtypes.astype(str).tolist(), d.columns.tolist(), str(d.index))"),
            "y",
            edit=(old, new),
        )
        for what, old, new in (
            ("column name", "{'a': [1, 2]}", "{'b': [1, 2]}"),
            ("value", "{'a': [1, 2]}", "{'a': [1, 3]}"),
            ("column type", "{'a': [1, 2]}", "{'a': [1.0, 2.0]}"),
            ("index", "{'a': [1, 2]}", "{'a': [1, 2]}, index=[1, 2]"),
            ("order of columns", "{'a': [1, 2], 'b': [1, 2]}", "{'b': [1, 2], 'a': [1, 2]}"),
            ("text", "{'a': ['x', 'yz']}", "{'a': ['xy', 'z']}"),
            ("missing value", "{'a': ['x', None]}", "{'a': ['x', 'None']}"),
        )
    ),
    edited(
        "a frame's category is edited",
        PANDAS,
        "d = pd.Series(pd.Categorical(['a'], categories=['a', 'b']))",
        cached("y = d.cat.categories"),
        "y",
        edit=("['a', 'b']", "['a', 'c']"),
    ),
    edited(
        "a frame's attribute is edited",
        PANDAS,
        "d = pd.DataFrame({'a': [1]})\nd.attrs['u'] = 1",
        cached("y = d.attrs['u']"),
        "y",
        edit=("= 1", "= 2"),
    ),
    edited(
        "a frame is changed elsewhere",
        PANDAS,
        "d = pd.DataFrame({'a': [1, 2]})",
        "d.loc[0, 'a'] = 5",
        cached("y = d.a.sum()"),
        "y",
        edit=("= 5", "= 6"),
    ),
    edited(
        "a name in a query is edited",
        PANDAS,
        "d = pd.DataFrame({'a': [1, 2, 3]})\nlimit = 1",
        cached("y = len(d.query('a > @limit'))"),
        "y",
        edit=("limit = 1", "limit = 2"),
    ),
]

OPTIONS: list[Scenario] = [
    scenario(
        "--ignore leaves a value out",
        "x = 2",
        cached("y = 3 * x", "--ignore x"),
        "y",
        edit=("x = 2", "x = 5"),
        shows="6",
    ),
    scenario(
        "--ignore takes what cannot be keyed",
        "import threading\nlock = threading.Lock()",
        cached("with lock:\n    y = 1", "--ignore lock"),
        "y, lock.locked()",
    ),
    scenario(
        "--key counts in place of the data",
        "import threading\nbox = [2, threading.Lock()]",
        cached("y = 3 * box[0]", "--key box[0]"),
        "y",
    ),
    edited("--key changes", "box = [2, 3]", cached("y = 3 * box[0]", "--key box[0]"), "y", edit=("[2, 3]", "[4, 3]")),
    scenario("--key stays", "box = [2, 3]", cached("y = 3 * box[0]", "--key box[0]"), "y", edit=("[2, 3]", "[2, 4]")),
    edited(
        "--key stays and a helper is edited",
        "def f(x):\n    return x + 1\nbox = [2]",
        cached("y = f(box[0])", "--key box[0]"),
        "y",
        edit=("x + 1", "x + 2"),
    ),
    scenario(
        "--vars keeps some names",
        cached("import threading\nlock = threading.Lock()\ny = [1]\nz = 2\ndel lock, z, threading", "--vars y"),
        "y",
    ),
    scenario(
        "--vars names what the cell does not set",
        cached("y = 1", "--vars y,nothing"),
        "y",
        first="refused",
        again="refused",
        restarted="refused",
        says="nothing",
    ),
    edited(
        "--file changes",
        cached("with open('data') as f:\n    y = f.read()\ndel f", "--file data"),
        "y",
        files={"data": "one"},
        edit=("one", "two"),
    ),
    scenario(
        "--file stays",
        cached("with open('data') as f:\n    y = f.read()\ndel f", "--file data"),
        "y",
        files={"data": "one", "other": "two"},
        edit=("two", "three"),
    ),
    refused("--file names none", cached("y = 1", "--file nothing"), "y", says="the file nothing cannot be read"),
    edited(
        "--env changes",
        "import os\nos.environ['SCENARIO'] = 'one'",
        cached("y = os.environ['SCENARIO']", "--env SCENARIO"),
        "y",
        edit=("'one'", "'two'"),
    ),
    edited("--version changes", cached("y = 1", "--version one"), "y", edit=("one", "two")),
    scenario(
        "--if is false",
        "x = 1",
        cached("y = x", "--if 'x > 1'"),
        "y",
        first="refused",
        again="refused",
        restarted="refused",
        says="--if",
    ),
    scenario("--if is true", "x = 2", cached("y = x", "--if 'x > 1'"), "y"),
    scenario("--refresh runs", "x = 2", cached("y = x", "--refresh"), "y", again="computed", restarted="computed"),
    scenario(
        "--refresh stores",
        "x = 2",
        cached("y = x", "--refresh"),
        cached("y = x"),
        "y",
        first="computed hit",
        again="computed hit",
        restarted="computed hit",
    ),
    scenario(
        "--quiet says nothing",
        "x = 2",
        cached("y = x", "--quiet"),
        "y",
        first="silent",
        again="silent",
        restarted="silent",
    ),
    scenario("--no-wait", "x = 2", cached("y = x", "--no-wait"), "y"),
    scenario("--ttl", "x = 2", cached("y = x", "--ttl 3600"), "y"),
    scenario("a name for the cell", "x = 2", cached("y = x", "cleaning"), "y"),
    scenario(
        "--slower-than refuses what is fast",
        "x = 2",
        cached("y = x", "--slower-than 5"),
        "y",
        first="refused",
        again="refused",
        restarted="refused",
        says="no longer than 5 s",
    ),
    scenario("--key and --vars vouch for exec", "x = 2", cached("exec('y = x')", "--key x --vars y"), "y"),
    refused(
        "a value over the limit of size",
        aside("%config CacheMagics.cell_max_bytes = 1000"),
        cached("y = b'x' * 2000"),
        "len(y)",
        says="cell_max_bytes",
    ),
    scenario("--shared", "x = 2", cached("y = x", "--shared --version scenarios"), "y"),
]

KEPT: list[Scenario] = [*VALUES, *ARRAYS, *FRAMES, *OPTIONS]
