"""From the arguments of a call straight to its place, without a digest: the first-level key.

The arguments themselves are the key, and their types with them: ``1``, ``1.0`` and ``True`` are equal to Python, and
three calls. Looking that up takes a tenth of a microsecond, for `functools.lru_cache` does it in C; what it holds for a
call here is no result but the call's `Slot`. Only plain arguments have one: of these, equal ones of the same type are
the same in every respect. Everything else goes by its digest.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final, Protocol

from .copies import Slot

MOST_SLOTS: Final = 4096
"""How many calls of one function on one site have a slot: those made last."""

LARGEST: Final = 1024
"""Bytes of arguments of one call: a slot keeps them in memory."""


class NotPlain(TypeError):
    """A call whose arguments have to be digested."""


class Counted(Protocol):
    """What `functools` says of a cache."""

    @property
    def hits(self) -> int:
        """How many look-ups found what they looked for."""

    @property
    def misses(self) -> int:
        """How many did not."""


class Slots(Protocol):
    """The slots of one function's calls."""

    def __call__(self, *args: Any, **kwargs: Any) -> Slot:
        """The slot of a call, the same one each time.

        Raises:
            NotPlain: the arguments are not plain, or large.
            TypeError: an argument cannot be hashed.
        """

    def cache_info(self) -> Counted:
        """How many calls were looked up; one with an argument that cannot be hashed does not count."""


def new_slots() -> Slots:
    """Slots for the calls of a function."""
    return functools.lru_cache(MOST_SLOTS, typed=True)(_slot)


def _slot(*args: Any, **kwargs: Any) -> Slot:
    size = 0
    for value in (*args, *kwargs.values()):
        kind = type(value)
        if kind is str or kind is bytes:
            size += len(value)
        elif kind is int:
            size += value.bit_length() >> 3
        elif kind is float:
            if value == 0 or math.isnan(value):  # 0.0 and -0.0 are equal and two; what is not a number equals nothing
                raise NotPlain
        elif value is not None and kind is not bool:
            raise NotPlain
    if size > LARGEST:
        raise NotPlain
    return Slot()
