r"""A value becomes bytes, and bytes a value.

Without a secret the bytes are what Frappe writes and reads, ``pickle.dumps(value, protocol=5)``. Whatever needs more
(a signature, what the value cost; compression and large buffers beside the pickle have their bits reserved) stands
behind a header::

    b"\xfcFC"  version  flags  [signature, 32 bytes]  [cost, 8 bytes]  body
       3 bytes   1 byte  1 byte

A pickle of protocol 2 or later begins with ``\x80``, so the two can never be taken for each other. The cost is a
little-endian double, the seconds that the value took to compute. The signature is HMAC-SHA256 over the key's name, the
field's name, the five header bytes and all that follows the signature, each preceded by its length: a value that was
signed for one key of one site is worthless under any other. It is checked before anything is unpickled.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import hmac
import io
import math
import pickle
import struct
import sys
import time
import types
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

from . import stand_ins
from .errors import Missing, NotCacheable, UnreadableValue, in_words
from .stand_ins import StandIn, read_inertly

MAGIC: Final = b"\xfcFC"
VERSION: Final = 1
SIGNED: Final = 0x01
COST: Final = 0x02
_HEADER_SIZE: Final = len(MAGIC) + 2
_SIGNATURE_SIZE: Final = 32
_COST: Final = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class Codec:
    """Turns values into bytes and back, for one secret or for none.

    Example:
        >>> Codec().decode(Codec().encode({"a": 1}, b"site|key"), b"site|key")
        {'a': 1}

    Attributes:
        secret: what values are signed with; None writes and reads unsigned pickles.
    """

    secret: str | None = field(default=None, repr=False)

    def encode(
        self, value: object, name: bytes, field: str = "", *, root: str = "value", cost: float | None = None
    ) -> bytes:
        """The bytes of a value.

        Args:
            value: anything that can be pickled.
            name: the key's name on the wire, part of what is signed.
            field: the field's name, for a field of a hash.
            root: how an error calls the value.
            cost: the seconds that it took to compute, to be kept with it; None for nothing beside the value.

        Raises:
            NotCacheable: a part of the value cannot be pickled; the error says which.
        """
        body = _dumps(value, root)
        flags = (SIGNED if self.secret is not None else 0) | (COST if cost is not None else 0)
        if not flags:
            return body
        header = MAGIC + bytes((VERSION, flags))
        if cost is not None:
            body = _COST.pack(cost) + body
        signature = b"" if self.secret is None else _sign(self.secret, name, field, header, body)
        return header + signature + body

    def decode(self, data: bytes, name: bytes, field: str = "") -> Any:
        """The value of some bytes.

        Raises:
            UnreadableValue: the bytes are truncated, foreign, not signed with this secret for this key, or name a
                class that is not found here.
        """
        return loads(self.body(data, name, field))

    def body(self, data: bytes, name: bytes, field: str = "") -> bytes:
        """The pickle inside some bytes, its signature checked where there is a secret.

        Raises:
            UnreadableValue: the header is broken, or the signature is missing or false.
        """
        if not data.startswith(MAGIC):
            if self.secret is not None:
                raise UnreadableValue("it is not signed, and a secret is set")
            return data
        header, rest = data[:_HEADER_SIZE], data[_HEADER_SIZE:]
        if len(header) < _HEADER_SIZE or header[3] != VERSION or header[4] not in (SIGNED, COST, SIGNED | COST):
            raise UnreadableValue(f"its header {header.hex()} is of no version known here; a newer release wrote it")
        if header[4] & SIGNED:
            rest = self._verified(rest, header, name, field)
        elif self.secret is not None:
            raise UnreadableValue("it is not signed, and a secret is set")
        return rest[_COST.size :] if header[4] & COST else rest

    def _verified(self, rest: bytes, header: bytes, name: bytes, field: str) -> bytes:
        """What follows the signature in some bytes that bear one, if it is the right one."""
        if self.secret is None:
            raise UnreadableValue("it is signed; set FRAPPE_CACHE_SECRET to the secret it was written with")
        signature, signed = rest[:_SIGNATURE_SIZE], rest[_SIGNATURE_SIZE:]
        if not hmac.compare_digest(signature, _sign(self.secret, name, field, header, signed)):
            raise UnreadableValue("its signature is not made with this secret for this key")
        return signed

    def inspect(self, data: bytes, name: bytes, field: str = "") -> Any:
        """The value as far as it can be known without importing or running anything; see `stand_ins`.

        Raises:
            UnreadableValue: the bytes are not a value.
        """
        try:
            return read_inertly(self.body(data, name, field))
        except UnreadableValue:
            raise
        except Exception as error:  # broken bytes can make a plain type raise anything
            raise UnreadableValue(f"it is not a pickle ({in_words(error)})") from error


def cost(data: bytes) -> float | None:
    """The seconds that the value of some bytes took to compute; None where they do not say.

    Example:
        >>> cost(Codec().encode("slow", b"site|key", cost=2.5)), cost(Codec().encode("slow", b"site|key"))
        (2.5, None)

    Args:
        data: what `Codec.decode` has read; no signature is looked at here.
    """
    if not data.startswith(MAGIC) or len(data) < _HEADER_SIZE or not data[4] & COST:
        return None
    start = _HEADER_SIZE + (_SIGNATURE_SIZE if data[4] & SIGNED else 0)
    if len(data) < start + _COST.size:
        return None
    (seconds,) = _COST.unpack_from(data, start)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _sign(secret: str, name: bytes, field: str, header: bytes, body: bytes) -> bytes:
    digest = hmac.new(secret.encode("utf-8", "surrogatepass"), digestmod="sha256")
    for part in (name, field.encode("utf-8", "surrogatepass"), header, body):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _dumps(value: object, root: str) -> bytes:
    try:
        return pickle.dumps(value, protocol=5)
    except Exception as error:  # a `__reduce__` of the user's can raise anything
        first = error
    # Perhaps all that is wrong is a class of Frappe's, or one behind a stand-in, that is not to be found here.
    pickled = None if isinstance(first, RecursionError) else _dumps_by_name(value)
    if pickled is None:
        raise NotCacheable(*_offender(value, root, first)) from first
    return pickled


def _dumps_by_name(value: object) -> bytes | None:
    """The pickle of a value that names classes which cannot be imported; None where that does not help."""
    sink = io.BytesIO()
    try:
        _FrappePickler(sink, protocol=5).dump(value)
    except Exception:
        return None
    return sink.getvalue()


_PurePickler: Any = pickle._Pickler  # the one in Python, whose steps can be replaced


class _FrappePickler(_PurePickler):  # type: ignore[misc]
    """Writes the names ``frappe _dict`` and stand-ins' own names without looking the modules up."""

    dispatch: ClassVar[dict[type, Callable[..., Any]]] = _PurePickler.dispatch.copy()

    def save_type(self, obj: type) -> None:
        if obj in (stand_ins._dict, stand_ins.DocStatus) or (issubclass(obj, StandIn) and obj is not StandIn):
            self.save(obj.__module__)
            self.save(obj.__qualname__)
            self.write(pickle.STACK_GLOBAL)
            self.memoize(obj)
        else:
            super().save_type(obj)

    dispatch[type] = save_type


def loads(body: bytes) -> Any:
    """The value of a pickle, with stand-ins for what only a Frappe has.

    Raises:
        UnreadableValue: the bytes are not a pickle, or name a class that is not found here.
    """
    if not body.startswith(b"\x80"):
        raise UnreadableValue("it does not begin as a pickle does")
    # A failing import costs more than the rest, and documents name `frappe._dict`.
    if "frappe" in _without_frappe and "frappe" not in sys.modules and b"frappe" in body:
        return _loads_without_frappe(body)
    try:
        return pickle.loads(body)  # noqa: S301  (the format on the wire; see the module's head for who vouches for it)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "frappe":
            _without_frappe.add(error.name)
            return _loads_without_frappe(body)
        raise UnreadableValue(in_words(error)) from error
    except AttributeError as error:
        # The shim's `frappe` has no controllers; a real one has them all.
        if "'frappe" in str(error):
            return _loads_without_frappe(body)
        raise UnreadableValue(in_words(error)) from error
    except Exception as error:
        raise UnreadableValue(in_words(error)) from error


_without_frappe: Final[set[str]] = set()
"""Modules of Frappe's that were looked for in vain."""


class _FrappeUnpickler(pickle.Unpickler):
    """Resolves every name as usual, but Frappe's own, for which there are stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "frappe":
            return stand_ins.PLAIN.get((module, name)) or stand_ins.stand_in_class(module, name)
        return super().find_class(module, name)


def _loads_without_frappe(body: bytes) -> Any:
    try:
        return _FrappeUnpickler(io.BytesIO(body)).load()
    except Exception as error:
        raise UnreadableValue(in_words(error)) from error


def _offender(value: object, path: str, error: Exception) -> tuple[str, str]:
    """Where the part that cannot be pickled sits, and what it is."""
    if isinstance(error, RecursionError):
        return path, f"{type(value).__name__}, nested too deeply"
    seen: set[int] = set()
    while id(value) not in seen:  # a part may contain itself
        seen.add(id(value))
        for step, part in _parts(value):
            if not _pickles(part):
                path, value = path + step, part
                break
    kind = type(value)
    named = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    # A lambda, a local class: the type alone would not tell which one.
    own = getattr(value, "__qualname__", None)
    return path, f"{named} {own}" if isinstance(own, str) else named


def _parts(value: object) -> list[tuple[str, object]]:
    if isinstance(value, types.ModuleType | types.FunctionType | type):
        return []  # pickled by name, never by what is in them
    if isinstance(value, dict):
        keys = [(f" (key {key!r})", key) for key in value]
        return [(f"[{key!r}]", part) for key, part in value.items()] + keys
    if isinstance(value, list | tuple):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    if isinstance(value, set | frozenset):
        return [(f" (member {member!r})", member) for member in value]
    state = getattr(value, "__dict__", None)
    if isinstance(state, dict):
        return [(f".{name}", part) for name, part in state.items()]
    return []


def _pickles(value: object) -> bool:
    try:
        pickle.dumps(value, protocol=5)
    except Exception:
        return _dumps_by_name(value) is not None
    return True


# --- values held in this process ----------------------------------------------------------------------------------

_IMMUTABLE: Final = frozenset(
    (
        *(type(None), Missing, bool, int, float, complex, str, bytes, range),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
        *(decimal.Decimal, fractions.Fraction, uuid.UUID),
    )
)


def is_immutable(value: object) -> bool:
    """Whether nobody who gets this object can change what the next one sees.

    Exact types only: a subclass may carry attributes.
    """
    kind = type(value)
    if kind in _IMMUTABLE:
        return kind is not datetime.datetime or value.tzinfo is None or is_immutable(value.tzinfo)  # type: ignore[attr-defined]
    if kind is tuple or kind is frozenset:
        return all(map(is_immutable, value))  # type: ignore[call-overload]
    return False


class Held(Protocol):
    """A value kept in this process until `alive` turns false."""

    deadline: float

    @property
    def alive(self) -> bool:
        """Whether the entry's expiry still lies ahead."""

    def value(self) -> Any:
        """The value, a fresh copy where it can be changed."""


@dataclass(slots=True)
class _HeldObject:
    """An immutable value: handed out as it is."""

    held: object
    deadline: float

    @property
    def alive(self) -> bool:
        return time.monotonic() < self.deadline

    def value(self) -> Any:
        return self.held


@dataclass(slots=True)
class _HeldBytes:
    """A value that can be changed: handed out as a fresh copy."""

    body: bytes
    deadline: float

    @property
    def alive(self) -> bool:
        return time.monotonic() < self.deadline

    def value(self) -> Any:
        return loads(self.body)


def hold(value: object, body: bytes, deadline: float) -> Held:
    """Keep a value for readers in this process.

    Args:
        value: the value.
        body: its pickle.
        deadline: the `time.monotonic` in seconds at which the entry expires; ``inf`` for never.
    """
    return _HeldObject(value, deadline) if is_immutable(value) else _HeldBytes(body, deadline)
