"""Checks of what the learner knows about races; an order of steps is tried out, on a copy of the documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .documents import apart
from .races import Stage, WrongOrder
from .verdict import NotYet, check, listed

_STEPS: Final = (
    *("reader looks", "reader loads", "reader stores"),
    *("writer changes", "writer commits", "writer deletes"),
)


@check
def goes_stale(order: Any, stage: Stage, **actors: Callable[[], Any]) -> str:
    """With this order of steps the cache ends up with an old value.

    Args:
        order: the steps of a ``reader`` (looks, loads, stores) and of a ``writer`` (changes, commits, deletes).
        stage: where they race.
        **actors: what each of them does.
    """
    if isinstance(order, str) or not isinstance(order, Sequence):
        raise NotYet("The order is not a list.", 'write the steps in brackets: ["reader looks", ...].')
    for line in order:
        if line not in _STEPS:
            raise NotYet(f"There is no step {line!r}.", f"the steps are {listed(_STEPS)}.")
    left_out = [line for line in _STEPS if line not in order]
    if left_out:
        raise NotYet(f"{left_out[0]!r} is missing.", "all six steps happen, in whatever order.")
    twice = [line for line in order if list(order).count(line) > 1]
    if twice:
        raise NotYet(f"{twice[0]!r} stands there twice.", "each step happens once.")
    try:
        with apart():
            scene = stage.run(order, **actors)
    except WrongOrder as error:
        raise NotYet(error.what, f"{error.hint[:1].lower()}{error.hint[1:]}") from None
    if scene.is_stale:
        return scene.verdict.removeprefix("✗ ")
    at = {line: number for number, line in enumerate(order)}
    if at["reader loads"] > at["writer commits"]:
        raise NotYet(
            f"Not stale: the reader loads after the commit, and gets the new value. {scene.verdict}",
            "what is stored must be older than the commit: when has the reader to load?",
        )
    raise NotYet(
        f"Not stale: the writer's deletion comes last, and throws away what the reader stored. {scene.verdict}",
        "nobody may delete after the old value is stored.",
    )


_GUARDS: Final = {
    "late store": (
        "lease",
        "a deletion deletes the lease, too, and who has lost the lease cannot store: play it with lease_read.",
    ),
    "old snapshot": (
        "log",
        "the reader looks after the deletion, so the lease is fresh, and what they load is old all the same.",
    ),
    "uncommitted": (
        "log",
        "the writer takes the lease themselves, and a rollback deletes nothing.",
    ),
}
"""For each race the least that stops it, and what shows that."""


@check
def guards(answer: Any) -> str:
    """The answer says for each race whether leases alone stop it, or whether it takes the change log.

    Args:
        answer: ``"lease"`` or ``"log"`` by race.
    """
    if not isinstance(answer, Mapping) or set(answer) != set(_GUARDS):
        raise NotYet("The answer is no dictionary of the three races.", f"its keys are {listed(list(_GUARDS))}.")
    for race, (guard, why) in _GUARDS.items():
        given = answer[race]
        if given is None or given is Ellipsis:
            raise NotYet(
                f"There is no answer yet for {race!r}.", "'lease' or 'log'; the three orders tell, if you play."
            )
        if given not in ("lease", "log"):
            raise NotYet(f"{given!r} is none of the two.", "'lease', or 'log' where leases alone are not enough.")
        if given != guard:
            more = "needs less" if guard == "lease" else "gets past leases"
            raise NotYet(f"The race {race!r} {more}.", why)
    return "Right: leases stop the late store, and it takes the change log for the other two."


_SPARES: Final = {
    "cold": ("lease", "there is nothing old to hand out yet, and no time to be early for."),
    "expired": ("stale", "a lease lets one compute and the others wait; something old could be handed out meanwhile."),
    "first": ("early", "to meet no expired result at all, it has to be computed before its time is over."),
}
"""For each complaint what helps with the least, and what shows that."""


@check
def spares(answer: Any) -> str:
    """The answer says for each complaint about stampedes what helps.

    Args:
        answer: ``"lease"``, ``"stale"`` or ``"early"`` by complaint.
    """
    if not isinstance(answer, Mapping) or set(answer) != set(_SPARES):
        raise NotYet("The answer is no dictionary of the three complaints.", f"its keys are {listed(list(_SPARES))}.")
    for complaint, (helps, why) in _SPARES.items():
        given = answer[complaint]
        if given is None or given is Ellipsis:
            raise NotYet(f"There is no answer yet for {complaint!r}.", "'lease', 'stale' or 'early'.")
        if given not in ("lease", "stale", "early"):
            raise NotYet(f"{given!r} is none of the three.", "'lease', 'stale' or 'early'.")
        if given != helps:
            raise NotYet(f"{given!r} is not what {complaint!r} needs.", why)
    return "Right: a lease for a cold key, stale= for those who would wait, early= for the one who would compute."
