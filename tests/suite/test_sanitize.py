"""nbval passes over a line that it does not understand, so the file itself is tested."""

from __future__ import annotations

import re

import pytest
from nbval.plugin import get_sanitize_patterns

from tests.suite.learner import FOLDER

TEXT = (FOLDER / "sanitize.cfg").read_text(encoding="utf-8")
PATTERNS = dict(get_sanitize_patterns(TEXT))

PICTURE = '<img src="data:image/png;base64,iVBORw0KGgo+/8A==" width="560" alt="Bars. More than 1000 times.">'
SAMPLES = {
    PICTURE: '<img src="data:image/png;base64,PICTURE" width="560" alt="Bars. More than 1000 times.">',
    "CPU times: user 2 µs, sys: 34 μs, total: 36 ms\nWall time: 1 s\n": "CPU times: DURATIONS\nWall time: DURATION\n",
    "CPU times: total: 0 ns\nWall time: 897 µs\n": "CPU times: DURATIONS\nWall time: DURATION\n",  # U+00B5
    "Wall time: 897 μs": "Wall time: DURATION",  # U+03BC
    "Wall time: 897 us": "Wall time: DURATION",
    "Wall time: 1.02 s": "Wall time: DURATION",
    "Wall time: 1e+03 µs": "Wall time: DURATION",
    "Wall time: 12.3 ms": "Wall time: DURATION",
    "Wall time: 1min 2s": "Wall time: DURATION",
    "computed · 1.03 s": "computed · DURATION",
    "computed · 812 ms · waited for kernel 4711 on host": "computed · DURATION · waited for kernel 4711 on host",
    "cached · 2.31 s saved · 14.2 kB · 3 minutes ago": "cached · DURATION saved · SIZE · AGE",
    "cached · 1 s saved · 850 B · just now · expires in 57 min": (
        "cached · DURATION saved · SIZE · AGE · expires in 57 min"
    ),
    '<small style="opacity:0.65">cached · 3 min 20 s saved · 1 MB · 1 second ago</small>': (
        '<small style="opacity:0.65">cached · DURATION saved · SIZE · AGE</small>'
    ),
    "'redis://127.0.0.1:45123'": "'redis://127.0.0.1:PORT'",
    "Wall time: 500 ns\nCompiler : 123 ms\nParser   : 120 ms\n42": "Wall time: DURATION\n42",
}
KEPT = (
    "first call: slow · second call: cached · >1000x · computed once",
    "✗ 'offer' would be gone after 10 seconds, not after 10 minutes.\n  Hint: seconds.",
    '<img src="pictures/01_strings.svg" alt="Keys">',
    "Compilers are slow",
    "not cached: door is a lock – end with del door, or name what to keep with --vars",
    "computed once",
    "first call: slow · second call: cached · >100x · computed once",
)


def sanitized(text: str) -> str:
    for pattern, replacement in PATTERNS.items():
        text = re.sub(pattern, replacement, text)
    return text


def test_every_rule_is_understood() -> None:
    lines = TEXT.splitlines()
    rules = [index for index, line in enumerate(lines) if line.startswith("regex:")]
    assert rules
    for index in rules:
        assert lines[index].startswith("regex: ")
        assert lines[index + 1].startswith("replace: ")
    assert sum(line.startswith("replace:") for line in lines) == len(rules) == len(PATTERNS)


@pytest.mark.parametrize("shown", SAMPLES)
def test_what_changes_from_run_to_run_is_left_out(shown: str) -> None:
    assert sanitized(shown) == SAMPLES[shown]


def test_both_signs_for_micro_are_among_the_samples() -> None:
    assert "\u00b5" in "".join(SAMPLES)
    assert "\u03bc" in "".join(SAMPLES)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_rule_is_without_use(pattern: str) -> None:
    assert any(re.search(pattern, shown) for shown in SAMPLES)


@pytest.mark.parametrize("shown", KEPT)
def test_everything_else_is_compared(shown: str) -> None:
    assert sanitized(shown) == shown
