"""How values of NumPy, pandas and matplotlib are described, where a notebook has imported them."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.cells.description import Described, Describer, Description, qualified


def describers(library: str) -> list[tuple[Described, Describer]]:
    """How objects of a library that is imported are described."""
    return {"numpy": _of_numpy, "pandas": _of_pandas, "matplotlib": _of_matplotlib}[library]()


def _of_numpy() -> list[tuple[Described, Describer]]:
    import numpy as np

    return [
        (np.ndarray, array),
        (np.generic, lambda to, value, path: to.write(qualified(type(value)), value.dtype.str, value.tobytes().hex())),
        (np.dtype, lambda to, value, path: to.write("dtype", repr(value.descr), value.str)),
        (np.random.Generator, lambda to, value, path: to.items("Generator", [value.bit_generator], path)),
        (np.random.BitGenerator, lambda to, value, path: to.pairs(qualified(type(value)), value.state, path)),
        (np.random.RandomState, lambda to, value, path: to.items("RandomState", value.get_state(), path)),
        (np.ufunc, lambda to, value, path: to.write("ufunc", value.__name__)),
    ]


def array(to: Description, value: Any, path: str) -> None:
    """Describe an array: what its elements are, and how they lie in memory."""
    to.arrays.append((path, value))
    flags = value.flags
    layout = (value.shape, flags.c_contiguous, flags.f_contiguous, flags.writeable)
    to.write(qualified(type(value)), repr(value.dtype.descr), value.dtype.str, repr(layout))
    if value.dtype.hasobject:
        to.items("elements", value.ravel().tolist(), path)
    else:
        digest = hashlib.blake2b(value.tobytes(), digest_size=12).hexdigest()
        to.write(digest, repr(value.ravel()[:6].tolist()))


def _of_pandas() -> list[tuple[Described, Describer]]:
    import pandas as pd

    return [
        (pd.DataFrame, _frame),
        (pd.Series, _series),
        (pd.Index, _index),
        (pd.api.extensions.ExtensionArray, _values),
        (pd.api.extensions.ExtensionDtype, lambda to, value, path: to.write("dtype", repr(value))),
        ((pd.Timestamp, pd.Timedelta, pd.Period), lambda to, value, path: to.write(repr(value), type(value).__name__)),
        (type(pd.NaT), lambda to, value, path: to.write("NaT")),
        (type(pd.NA), lambda to, value, path: to.write("NA")),
    ]


def _frame(to: Description, value: Any, path: str) -> None:
    to.write(qualified(type(value)), repr(value.shape), repr(value.flags))
    to.add(value.attrs, f"{path}.attrs")
    _index(to, value.columns, path)
    _index(to, value.index, path)
    for number in range(value.shape[1]):
        _values(to, value.iloc[:, number].array, f"{path} column {number}")


def _series(to: Description, value: Any, path: str) -> None:
    to.write(qualified(type(value)), repr(value.flags))
    to.add(value.attrs, f"{path}.attrs")
    to.add(value.name, f"{path}.name")
    _index(to, value.index, path)
    _values(to, value.array, path)


def _index(to: Description, value: Any, path: str) -> None:
    to.write(qualified(type(value)), repr(value.dtype), repr(getattr(value, "freq", None)))
    to.items("names", value.names, path)
    to.items("labels", list(value), path)


def _values(to: Description, value: Any, path: str) -> None:
    import numpy as np

    to.write(qualified(type(value)), repr(value.dtype))
    if hasattr(value.dtype, "categories"):
        to.write("ordered", repr(value.dtype.ordered))
        _index(to, value.dtype.categories, path)
    if isinstance(value.dtype, np.dtype) and not value.dtype.hasobject:
        plain = value.to_numpy()
        to.arrays.append((f"values of {path}", plain))
        to.write(hashlib.blake2b(plain.tobytes(), digest_size=12).hexdigest(), repr(plain[:6].tolist()))
    else:
        to.items("elements", list(value), path)


def _of_matplotlib() -> list[tuple[Described, Describer]]:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    return [(Figure, _figure), (Axes, lambda to, value, path: to.items("axes", [value.figure], path))]


def _figure(to: Description, value: Any, path: str) -> None:
    to.write("figure", repr(value.get_size_inches().tolist()), repr(value.dpi))
    for number, axes in enumerate(value.axes):
        to.add(axes, f"{path}.axes[{number}]")
        texts = (axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), [text.get_text() for text in axes.texts])
        to.write(repr(texts), repr([*axes.get_xlim(), *axes.get_ylim()]))
        to.write(str(len(axes.patches)), str(len(axes.collections)))
        for line in axes.lines:
            to.write(repr(line.get_label()), repr(line.get_xydata().tolist()))
