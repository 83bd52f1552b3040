"""A value, its copy in this process, and another process that changes it: what is read, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..connections import current_connection
from ..redis_wrapper import RedisWrapper
from .elsewhere import Elsewhere, wait_until
from .races import shown
from .timeline import Moment, Scene


class CopyScene(Scene):
    """A change elsewhere that was watched from here."""

    lanes = ("copy", "server")

    @property
    def verdict(self) -> str:
        """How it ended, in one line."""
        if self.is_stale:
            return (
                f"✗ The copy says {shown(self.cached)}, the server {shown(self.stored)}: this process reads the old "
                "one for as long as it runs."
            )
        return f"This process reads {shown(self.stored)}, as the server has it."


def watch(key: str, read: Callable[[], Any], other: Elsewhere, *, held: Callable[[], Any] | None = None) -> CopyScene:
    """Read a value that is 100, let another process change it to 120, read it again, and show what happened.

    Args:
        key: its key.
        read: reads it, and may keep a copy.
        other: the process that changes it.
        held: the copy that is kept, None while there is none; left out, it is that of `frappe.client_cache`.

    Raises:
        TimeoutError: word of the change did not come.
    """
    scene = _play(key, read, other, held or (lambda: copy_of(key)), hears=held is None)
    scene.show()
    return scene


def copy_of(key: str) -> Any:
    """The copy of a key's value that `frappe.client_cache` may use now; None where there is none."""
    copy = current_connection().copies.find(RedisWrapper().make_key(key))
    return None if copy is None else copy.read()


def _play(key: str, read: Callable[[], Any], other: Elsewhere, held: Callable[[], Any], *, hears: bool) -> CopyScene:
    moments: list[Moment] = []

    def step(actor: str, text: str) -> None:
        copy, stored = held(), other.get_value(key)
        wrong = copy is not None and copy != stored
        moments.append(Moment(actor, text, shown(copy, "–"), shown(stored, "–"), wrong))

    other.set_value(key, 100)
    if hears:  # word of this change, too, has to come before the play begins
        wait_until(lambda: copy_of(key) in (None, 100))
        wait_until(lambda: read() == 100 and copy_of(key) == 100)
    step("here", f"reads: {shown(read())}")
    step("here", f"reads: {shown(read())}")
    other.set_value(key, 120)
    if hears:
        wait_until(lambda: held() is None)
    # As it was at that moment: by now word may have come.
    moments.append(Moment("elsewhere", "changes: 120", "100", "120", True))
    step("here", "hears of it" if hears else "hears nothing")
    if hears:  # on a busy machine copies may be out of use for a moment
        wait_until(lambda: read() == 120 and held() == 120)
    step("here", f"reads: {shown(read())}")
    return CopyScene(f"the value of {key}", ("here", "elsewhere"), moments, held(), other.get_value(key))
