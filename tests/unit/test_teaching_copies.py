"""The teaching package's stampedes, and its checks of copies in the process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from frappe_cache_ext.teaching import check, work
from frappe_cache_ext.teaching.copying import CopyScene
from frappe_cache_ext.teaching.stampedes import Call, Stampede, draw, stampede
from frappe_cache_ext.teaching.timeline import Moment


def test_a_stampede_tells_who_computed_who_waited_and_who_did_neither() -> None:
    herd = Stampede("report", [Call(0, 1, True), Call(0.1, 0.99, False), Call(0, 0.01, False), Call(2, 3, False)])
    assert (herd.computed, herd.waited, herd.at_once) == (1, 1, 2)
    assert "1 computed, 1 waited for an answer, 2 got one at once" in draw(herd).alt


def test_without_a_cache_everybody_computes() -> None:
    herd = stampede(lambda: work(0.01), 3)
    assert (herd.computed, herd.waited) == (3, 0)


def test_a_copy_that_nobody_corrects_is_stale() -> None:
    moments = [Moment("elsewhere", "changes: 120", "100", "120", True)]
    scene = CopyScene("the value of rate", ("here", "elsewhere"), moments, 100, 120)
    assert scene.is_stale
    assert "The copy says 100, the server 120" in repr(scene)
    assert "From step 1 on the copy's lane is red" in scene.alt


COPIES = {"rate": 100}


def told(key: str | None) -> None:
    if key is None:
        COPIES.clear()
    else:
        COPIES.pop(key, None)


@pytest.mark.parametrize(
    ("hears", "hint"),
    [
        (lambda key: None, "take it out"),
        (lambda key: COPIES.clear(), "that key only"),
        (COPIES.__delitem__, "also of those without a copy"),
        (lambda key: COPIES.pop(key, None), "while the connection was lost"),
    ],
)
def test_what_hears_badly_gets_its_hint(hears: Callable[[str | None], object], hint: str) -> None:
    verdict = check.drops_when_told(hears, COPIES)
    assert not verdict
    assert hint in verdict.text
    assert COPIES == {"rate": 100}


def told_with_a_new_dictionary(key: str | None) -> None:
    global COPIES  # noqa: PLW0603  (what is tested)
    COPIES = {} if key is None else {name: value for name, value in COPIES.items() if name != key}


@pytest.mark.parametrize("hears", [told, told_with_a_new_dictionary])
def test_what_hears_well_passes(hears: Callable[[str | None], object]) -> None:
    copies = COPIES
    assert check.drops_when_told(hears, COPIES)
    assert COPIES is copies
    assert COPIES == {"rate": 100}


def test_a_call_is_a_name_too() -> None:
    assert check.gains_from_copies("currency()")
    assert not check.gains_from_copies("report(question)")
