"""What a state outside of names is: how it is read, told, put back, and what of it somebody chose."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ..errors import MISS
from .edits import list_edit, mapping_edit, same


def value_digest(value: Any) -> bytes:
    """A digest of a state that was read, if it is one of plain values."""
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogateescape"), digest_size=16).digest()


class State(ABC):
    """Something that a cell can change without naming it, and that can be changed in the same way on a hit.

    Attributes:
        name: how it is called in what is said to the user.
    """

    name: str

    @abstractmethod
    def read(self) -> Any:
        """The state now, as a value of its own; MISS where its library is not loaded."""

    @abstractmethod
    def edit(self, before: Any, after: Any) -> Any:
        """What was done to it between two readings, as `put` takes it; None for nothing."""

    @abstractmethod
    def put(self, edit: Any) -> None:
        """Do it again, here."""

    def check(self, edit: Any) -> None:  # noqa: B027  (most can always be put back)
        """Make sure that `put` can do it here.

        Raises:
            OSError: there is no such directory.
            locale.Error: there is no such locale.
        """

    def digest(self) -> bytes:
        """A digest of the state now."""
        return value_digest(self.read())

    def deviations(self) -> dict[str, Any]:
        """What differs now from how it is when nobody touched it; empty for a library that is not loaded."""
        return {}


class Whole(State):
    """A state that is one value: what a cell left is put in its place."""

    def edit(self, before: Any, after: Any) -> Any:
        """The new value."""
        return None if after is MISS or same(before, after) else after


class Listing(State):
    """A state that is a list, to which a cell adds at an end."""

    def edit(self, before: Any, after: Any) -> Any:
        """What was added and taken away."""
        return list_edit(before, after)


class Settings(State):
    """A state that is a mapping; of what a cell did only the keys that it changed are put back."""

    def defaults(self) -> Mapping[str, Any]:
        """How the settings are when nobody touched them."""
        return {}

    def at_import(self) -> Mapping[str, Any]:
        """How they are after the import of their library."""
        return self.defaults()

    def edit(self, before: Any, after: Any) -> Any:
        """What was set and deleted."""
        if after is MISS:
            return None
        return mapping_edit({**self.at_import(), **({} if before is MISS else before)}, after)

    def deviations(self) -> dict[str, Any]:
        """The settings that are not as they are by default, those that have no default among them."""
        now = self.read()
        edit = None if now is MISS else mapping_edit(self.defaults(), now)
        return edit["set"] if edit is not None else {}
