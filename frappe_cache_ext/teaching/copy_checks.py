"""Checks of what the learner knows about copies in the process."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, Final

from .functions import call_of
from .verdict import NotYet, check, listed, short


@check
def drops_when_told(hears: Callable[[str | None], Any], copies: MutableMapping[str, Any]) -> str:
    """What hears of changes drops the copy that is old, no other, and all where the connection was lost.

    Args:
        hears: called with the key that has changed, or with None when the connection was lost.
        copies: the copies that it keeps right; they are as before afterwards.
    """
    kept, name = dict(copies), call_of(hears)
    names = getattr(hears, "__globals__", {})
    places = [each for each, value in names.items() if value is copies]

    shown = places[0] if places else "copies"

    def held() -> MutableMapping[str, Any]:
        """The copies as a reader finds them: the name may stand for another dictionary by now."""
        found: MutableMapping[str, Any] = names[places[0]] if places else copies
        return found

    try:
        copies.clear()
        copies.update(changed=100, other=7)
        hears("changed")
        if "changed" in held():
            what = "stored" if held()["changed"] != 100 else "kept"
            raise NotYet(
                f"After {name[:-1]}'changed') the copy is still there: {short(held()['changed'])} was {what}.",
                f"take it out, {shown}.pop(key, None); the next reader fetches the new one.",
            )
        if held().get("other") != 7:
            raise NotYet("The copy of 'other' is gone too, though it was right.", "drop the copy of that key only.")
        _hears_safely(hears, "never-read", shown)
        hears(None)
        if held():
            raise NotYet(
                f"After {name[:-1]}None) there are copies left: {listed(sorted(held()))}.",
                f"nobody knows what changed while the connection was lost: {shown}.clear().",
            )
    finally:
        copies.clear()
        copies.update(kept)
        for each in places:
            names[each] = copies
    return f"{name} drops what is old, and all where nobody knows."


def _hears_safely(hears: Callable[[str | None], Any], key: str, shown: str) -> None:
    try:
        hears(key)
    except KeyError:
        raise NotYet(
            f"{call_of(hears)[:-1]}{key!r}) raised KeyError.",
            f"word comes of every key of the site, also of those without a copy here: {shown}.pop(key, None).",
        ) from None


_GAINS: Final = {
    "report": "each call has other arguments, so that nobody reads its copy a second time.",
    "seats_left": "it decides who gets the last seat, and a copy may be a moment behind.",
}
"""For each function that gains nothing the reason."""


@check
def gains_from_copies(answer: Any) -> str:
    """The answer names the function that gains from copies.

    Args:
        answer: its name.
    """
    names = ("currency", *_GAINS)
    if answer is None or answer is Ellipsis:
        raise NotYet("There is no answer yet.", "which one is read often, changes seldom, and may be a moment behind?")
    if isinstance(answer, str):
        answer = answer.partition("(")[0].strip()
    if not isinstance(answer, str) or answer not in names:
        raise NotYet(f"{short(answer)} is none of the three.", f"one of {listed(names)}, as text.")
    if answer != "currency":
        raise NotYet(f"{answer!r} does not gain.", _GAINS[answer])
    return "Right: read in every line of every invoice, changed once a year."
