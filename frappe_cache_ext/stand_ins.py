"""Reading a pickle without importing or running anything that it names.

A pickle is a program: it names functions and has them called. The reader here resolves a name only if it is one of the
plain value types listed in `PLAIN`; every other name becomes a `StandIn`, an inert class of that name which keeps what
the pickle would have given to the real one. So any bytes may be looked at, and documents that a Frappe site pickled
can be read where no Frappe is installed.
"""

from __future__ import annotations

import copyreg
import datetime
import decimal
import fractions
import io
import pickle
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, SupportsIndex


class _dict(dict[str, Any]):  # noqa: N801  (the name on the wire)
    """A dictionary whose keys are attributes too, as `frappe._dict` is; a key that is missing reads as None."""

    __module__ = "frappe"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __getstate__(self) -> None:
        # Frappe writes the dictionary a second time as its own state; both versions read it without that, too.
        return None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.update(state)

    def copy(self) -> _dict:
        """A shallow copy of the same type."""
        return _dict(self)


class DocStatus(int):
    """A document's status, 0 draft, 1 submitted, 2 cancelled, as `frappe.model.docstatus.DocStatus`."""

    __module__ = "frappe.model.docstatus"


@dataclass(slots=True)
class _Made:
    """How a pickle made an object, as far as that is not its state."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    by_call: bool = False
    appended: list[Any] = field(default_factory=list)
    set_items: list[tuple[Any, Any]] = field(default_factory=list)


class StandIn:
    """An object of a class that was not imported: its name, what it was made with, and its state as attributes.

    `__dict__` is the state of the real object and nothing else; `stand_in_for` names the real class. A stand-in can be
    pickled again and then names the real class as before.
    """

    __slots__ = ("__dict__", "_made")
    stand_in_for: str = ""
    _made: _Made

    def __new__(cls, *args: Any, **kwargs: Any) -> StandIn:
        """Keep what the real class would have been made with."""
        self = object.__new__(cls)
        self._made = _Made(args, kwargs)
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A pickle makes objects by `__new__` alone; it called the name, so it may be a function as well.
        self._made.by_call = True

    def __setstate__(self, state: Any) -> None:
        parts: Iterable[Any] = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.__dict__.update({str(name): value for name, value in part.items()})
            elif part is not None:
                self.__dict__["state"] = part

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        made = self._made
        state = self.__dict__ or None
        tail = (iter(made.appended) if made.appended else None, iter(made.set_items) if made.set_items else None)
        if made.by_call:
            return type(self), made.args, state, *tail
        if made.kwargs:
            return copyreg.__newobj_ex__, (type(self), made.args, made.kwargs), state, *tail  # type: ignore[attr-defined]
        return copyreg.__newobj__, (type(self), *made.args), state, *tail  # type: ignore[attr-defined]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._made.set_items.append((key, value))

    def append(self, value: Any) -> None:
        """Take what the pickle appends."""
        self._made.appended.append(value)

    def extend(self, values: Iterable[Any]) -> None:
        """Take what the pickle appends."""
        self._made.appended.extend(values)

    def as_dict(self) -> dict[str, Any]:
        """The object's state, with stand-ins inside it turned into dictionaries too."""
        return {
            name: _plain(value) for name, value in self.__dict__.items() if not name.startswith("_") and name != "flags"
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StandIn):
            return NotImplemented
        return self.stand_in_for == other.stand_in_for and self.__dict__ == other.__dict__ and self._made == other._made

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        made = self._made
        shown = [repr(argument) for argument in made.args]
        shown += [f"{name}={value!r}" for name, value in (made.kwargs | self.__dict__).items()]
        shown += [repr(value) for value in made.appended]
        shown += [f"{key!r}: {value!r}" for key, value in made.set_items]
        return f"<{self.stand_in_for} ({', '.join(shown)})>"


def _plain(value: Any) -> Any:
    if isinstance(value, StandIn):
        return value.as_dict()
    return [_plain(item) for item in value] if type(value) is list else value


PLAIN: Final[dict[tuple[str, str], Any]] = {
    (kind.__module__, kind.__name__): kind
    for kind in (
        *(bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset, range, slice, object),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
        *(decimal.Decimal, fractions.Fraction, uuid.UUID, OrderedDict, defaultdict, deque),
        *(_dict, DocStatus),
    )
} | {("frappe.types.frappedict", "_dict"): _dict}
"""The names a pickle may use here: values, none of which does anything when made."""

_STAND_INS: dict[tuple[str, str], type[StandIn]] = {}


def stand_in_class(module: str, name: str) -> type[StandIn]:
    """The inert class that takes the place of ``module.name``; the same one each time."""
    found = _STAND_INS.get((module, name))
    if found is None:
        body = {"__module__": module, "__qualname__": name, "__slots__": (), "stand_in_for": f"{module}.{name}"}
        found = _STAND_INS.setdefault((module, name), type(name.rpartition(".")[2], (StandIn,), body))
    return found


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return PLAIN.get((module, name)) or stand_in_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        return stand_in_class("pickle", "persistent_id")(pid)


def read_inertly(pickled: bytes) -> Any:
    """Unpickle bytes that nobody vouches for.

    Example:
        >>> read_inertly(pickle.dumps(print))
        <class 'print'>
        >>> read_inertly(pickle.dumps({"day": datetime.date(2026, 1, 2)}))
        {'day': datetime.date(2026, 1, 2)}

    Args:
        pickled: a pickle of any protocol.

    Returns:
        The value, with stand-ins for everything that is not in `PLAIN`.

    Raises:
        pickle.UnpicklingError: the bytes are not a whole pickle. Broken bytes can raise other exceptions too, any
            that a plain type raises for its arguments.
    """
    return _InertUnpickler(io.BytesIO(pickled)).load()
