"""What a cell gets from outside of the notebook, or does there: a hit gives what it got then, and does it no more."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

from .aliases import Aliases

_CLOCKS: Final = tuple(
    f"time.{name}{unit}"
    for name in ("time", "perf_counter", "monotonic", "process_time", "thread_time", "clock_gettime")
    for unit in ("", "_ns")
)
_OUTSIDE: Final = frozenset(
    (
        *_CLOCKS,
        *("time.localtime", "time.gmtime", "time.ctime", "uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getenv"),
        *("os.getcwd", "os.listdir", "os.scandir", "os.walk", "os.stat", "os.system", "os.popen", "os.path.exists"),
        *("os.path.getmtime", "os.path.getsize", "os.path.isfile", "os.path.isdir", "glob.glob", "glob.iglob"),
        *("pathlib.Path.cwd", "pathlib.Path.home", "platform.node", "socket.gethostname", "getpass.getuser"),
        *("numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile", "numpy.memmap", "joblib.load"),
        *("torch.load", "sqlite3.connect", "sqlalchemy.create_engine", "psycopg.connect", "psycopg2.connect"),
        *("pymysql.connect", "duckdb.connect", "redis.Redis", "redis.from_url", "seaborn.load_dataset"),
        *("datasets.load_dataset", "random.SystemRandom"),
        *("pandas.Timestamp.now", "pandas.Timestamp.today", "pandas.Timestamp.utcnow"),
    )
)
_NOW: Final = {
    f"{prefix}{name}": f"{name}()"
    for prefix in ("", "datetime.")
    for name in ("datetime.now", "datetime.today", "datetime.utcnow", "date.today")
}
_FAMILIES: Final = (
    *("requests", "httpx", "aiohttp", "urllib.request", "urllib3", "http.client", "socket", "ftplib", "smtplib"),
    *("subprocess", "secrets", "boto3", "paramiko", "frappe", "frappe_cache_ext"),
)
"""Modules of which any call reaches outside."""

_SEEDLESS: Final = ("default_rng", "RandomState", "Random")
"""Random generators that begin anywhere unless they are given a seed."""

_READING_METHODS: Final = frozenset(("read_text", "read_bytes", "iterdir", "urlopen"))
_READING_PREFIXES: Final = ("read_", "scan_", "fetch_")
_NO_READING: Final = frozenset(("read_only", "read_until"))

_WRITING: Final = frozenset(
    (
        *("savefig", "imsave", "tofile", "write_text", "write_bytes", "write_csv", "write_parquet", "write_image"),
        *("to_csv", "to_parquet", "to_excel", "to_feather", "to_pickle", "to_hdf", "to_json", "to_sql", "to_stata"),
    )
)
_WRITING_CALLS: Final = frozenset(
    ("numpy.save", "numpy.savez", "numpy.savez_compressed", "numpy.savetxt", "joblib.dump", "torch.save", "pickle.dump")
)
_FILE_CALLS: Final = frozenset(
    (
        *("os.remove", "os.unlink", "os.rename", "os.replace", "os.mkdir", "os.makedirs", "os.rmdir", "shutil.rmtree"),
        *("shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move"),
    )
)


def hints_of(nodes: Iterable[ast.AST], aliases: Aliases, bound: Iterable[str]) -> set[str]:
    """What code reads from outside or writes there, a short phrase for each.

    Args:
        nodes: the syntax of what runs.
        aliases: what imported names stand for.
        bound: names that the cell binds itself, and that are no builtins therefore.
    """
    bound = set(bound)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Call):
            found.update(_of_call(node, aliases, bound))
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            # Setting a variable of the environment is no hint: that is taken down and done again.
            found.update({aliases.dotted(node.value)} & {"os.environ"})
    return found


def _of_call(call: ast.Call, aliases: Aliases, bound: set[str]) -> Iterator[str]:
    dotted = aliases.dotted(call.func)
    name = call.func.attr if isinstance(call.func, ast.Attribute) else dotted.rpartition(".")[2]
    if dotted.startswith("os.environ."):
        yield "os.environ"
    elif dotted in _OUTSIDE or dotted in _FILE_CALLS:
        yield f"{dotted}()"
    elif dotted in _NOW:
        yield _NOW[dotted]
    elif (family := _family(dotted)) is not None:
        yield family
    elif name == "open" and not (dotted == "open" and "open" in bound):
        yield "a file that open() writes" if _opens_to_write(call, dotted) else "open()"
    elif name in _SEEDLESS and _has_no_seed(call):
        yield f"{name}() without a seed"
    elif dotted in _WRITING_CALLS or (name in _WRITING and (call.args or call.keywords)):
        yield f"a file that {name}() writes"
    elif (isinstance(call.func, ast.Attribute) or "." in dotted) and _reads(name):
        yield f"{name}()"


def _family(dotted: str) -> str | None:
    return next((family for family in _FAMILIES if dotted.startswith(f"{family}.")), None)


def _reads(name: str) -> bool:
    return name in _READING_METHODS or (name.startswith(_READING_PREFIXES) and name not in _NO_READING)


def _opens_to_write(call: ast.Call, dotted: str) -> bool:
    """Whether a file is opened with a mode that writes: the second argument of `open`, the first of ``path.open``."""
    position = 1 if dotted in ("open", "io.open", "gzip.open", "bz2.open", "lzma.open") else 0
    modes = [*call.args[position : position + 1], *(key.value for key in call.keywords if key.arg == "mode")]
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
    return any(set("wax+") & set(text) and len(text) <= 3 for text in texts)


def _has_no_seed(call: ast.Call) -> bool:
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return all(isinstance(value, ast.Constant) and value.value is None for value in given)
