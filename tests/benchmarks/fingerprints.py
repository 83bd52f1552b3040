"""Rows on digests: of large arrays and frames, and of a function's arguments."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Final

from frappe_cache_ext import fingerprint
from tests.benchmarks.functions import convert, convert_by_default, price
from tests.benchmarks.rows import FULL, AtLeastPerSecond, AtMost, AtMostTimes, Row, Setting, peer
from tests.benchmarks.timing import Contender, Field

ARRAY_BYTES: Final = 100_000_000


def array(setting: Setting) -> Field:
    """Digests of an array; ours and joblib's take its type and shape in, the bare hashes only its bytes."""
    import numpy as np

    value = np.random.default_rng(1).random(setting.sizes.array_bytes // 8)
    data = memoryview(value).cast("B")
    return Field(
        Contender("ours", functools.partial(fingerprint.digest, value)),
        [
            peer("joblib.hash", "joblib", lambda joblib: functools.partial(joblib.hash, value)),
            Contender("sha256 of the bytes", lambda: hashlib.sha256(data).digest()),
            Contender("blake2b of the bytes", lambda: hashlib.blake2b(data).digest()),
        ],
    )


def frame(setting: Setting) -> Field:
    """Digests of a frame with columns of integers, floats, a category and text."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(1)
    size = setting.sizes.frame_rows
    value = pd.DataFrame(
        {
            "amount": random.integers(0, 1000, size),
            "rate": random.random(size),
            "colour": pd.Categorical.from_codes(random.integers(0, 4, size), ["amber", "blue", "green", "red"]),
            "name": [f"item {number}" for number in random.integers(0, size, size)],
        }
    )
    return Field(
        Contender("ours", functools.partial(fingerprint.digest, value)),
        [peer("joblib.hash", "joblib", lambda joblib: functools.partial(joblib.hash, value))],
    )


def integers(setting: Setting) -> Field:
    """Digests of a call with two integers."""
    return _of_call(price, (40, 2), {})


def keywords(setting: Setting) -> Field:
    """Digests of a call with an integer and two keyword arguments."""
    return _of_call(convert, (40,), {"rate": 0.25, "currency": "INR"})


def defaults(setting: Setting) -> Field:
    """Digests of a call that leaves arguments to their defaults."""
    return _of_call(convert_by_default, (40,), {})


def _of_call(function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> Field:
    return Field(
        # As `@redis_cache` does it: what makes the function what it is was digested at its first call.
        Contender("ours", functools.partial(fingerprint.CallDigests(function).of, args, kwargs)),
        [
            Contender("hash()", lambda: hash((function, args, tuple(kwargs.items())))),
            peer("joblib.hash", "joblib", lambda joblib: functools.partial(joblib.hash, (args, kwargs))),
        ],
    )


ROWS: Final = (
    Row("array-digest", "fingerprint of a {array} float64 array", AtLeastPerSecond(5e9, FULL.array_bytes), array),
    Row(
        "frame-digest",
        "fingerprint of a frame of {rows} rows: int, float, category, str",
        AtMostTimes(0.3, "joblib.hash"),
        frame,
        rounds=5,  # joblib takes seconds for each
    ),
    Row("integers-digest", "digest of a call with two integers", AtMost(1.5e-6), integers, rounds=51),
    Row("keywords-digest", "digest of a call with small keyword arguments", AtMost(2e-6), keywords, rounds=51),
    Row("defaults-digest", "digest of a call of a function with defaults", AtMost(2e-6), defaults, rounds=51),
)
