"""What stands under a name, as people and programs are told."""

from __future__ import annotations

from typing import Any

import pytest

from frappe_cache_ext.entries import Entry, look_up


def entry(kind: str = "string", size: int | None = 1, expires: float | None = None) -> Entry:
    return Entry(name=b"k", type=kind, size=size, unit="", expires_in_sec=expires)


@pytest.mark.parametrize(
    ("kind", "size", "text"),
    [
        ("string", 1, "1 byte"),
        ("string", 12345, "12,345 bytes"),
        ("stream", 1, "1 entry"),
        ("stream", 2, "2 entries"),
        ("hash", 0, "0 fields"),
        ("string", None, "-"),
        ("?", None, "-"),
    ],
)
def test_sizes(kind: str, size: int | None, text: str) -> None:
    assert entry(kind, size).size_text == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "never"),
        (0.2, "1 s"),
        (59.4, "1 min"),
        (60, "1 min"),
        (61, "61 s"),
        (119.5, "2 min"),
        (121, "3 min"),
        (7200, "2 h"),
        (86400, "1 d"),
        (86400 * 30, "30 d"),
    ],
)
def test_expiries_are_rounded_up(seconds: float | None, text: str) -> None:
    assert entry(expires=seconds).expiry_text == text


def test_what_goes_or_changes_meanwhile() -> None:
    answers: list[list[Any]] = [
        [b"string", -1, b"none", -2, b"hash", 1500, ValueError("NOPERM"), -1, b"module", -1],
        [3, ValueError("WRONGTYPE")],
    ]
    found = list(look_up([b"a", b"gone", b"c", b"d", b"e"], lambda _: answers.pop(0)))
    assert [(each.name, each.type, each.size, each.unit, each.expires_in_sec) for each in found] == [
        (b"a", "string", 3, "byte", None),
        (b"c", "hash", None, "", 1.5),
        (b"d", "?", None, "", None),
        (b"e", "module", None, "", None),
    ]
