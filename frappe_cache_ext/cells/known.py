"""Things of the standard library and of well-known packages that certainly run none of a cell's functions."""

from __future__ import annotations

import builtins
from typing import Final

WRAPPING: Final = frozenset(
    (
        *("functools.cache", "functools.lru_cache", "functools.cached_property", "functools.wraps"),
        *("contextlib.contextmanager", "contextlib.asynccontextmanager", "dataclasses.dataclass", "abc.abstractmethod"),
        *("typing.overload", "typing.final", "typing.override", "typing.no_type_check", "numba.jit", "numba.njit"),
        *("staticmethod", "classmethod", "property"),
    )
)
"""Decorators that do not call what they decorate."""

BASES: Final = frozenset(
    (
        *("abc.ABC", "typing.Protocol", "typing.NamedTuple", "typing.TypedDict"),
        *(name for name, value in vars(builtins).items() if isinstance(value, type)),
    )
)
"""Classes from which others can be derived without that any of the cell's functions is run."""

RAISING: Final = frozenset(
    (
        *("open", "io.open", "gzip.open", "bz2.open", "lzma.open", "tarfile.open", "zipfile.ZipFile"),
        "sqlite3.connect",
        *("warnings.catch_warnings", "contextlib.closing", "contextlib.nullcontext", "contextlib.redirect_stdout"),
        *("contextlib.redirect_stderr", "concurrent.futures.ThreadPoolExecutor", "multiprocessing.Pool"),
        *("concurrent.futures.ProcessPoolExecutor", "tempfile.TemporaryDirectory", "tempfile.NamedTemporaryFile"),
        *("tempfile.TemporaryFile", "threading.Lock", "decimal.localcontext", "numpy.errstate"),
        *("numpy.printoptions", "pandas.option_context", "pandas.ExcelWriter", "pandas.HDFStore", "torch.no_grad"),
        *("matplotlib.pyplot.style.context", "matplotlib.pyplot.rc_context", "requests.Session", "httpx.Client"),
    )
)
"""Context managers that never swallow an error."""
