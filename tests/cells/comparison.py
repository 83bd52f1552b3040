"""What a notebook's cells did, and how two runs of it differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

STATUS = {"cached ·": "hit", "computed ·": "computed", "not cached:": "refused"}
STATUS_LINE = re.compile(r"(?m)^(cached ·|computed ·|not cached:|computing in kernel |hint: ).*\n?")
# What is never the same twice: a process, the text's own file, memory, a clock.
MASKS = (
    (re.compile(r"[^\s\"]*/ipykernel_\d+/\d+\.py:\d+"), "<cell>"),
    (re.compile(r"\b0x[0-9a-f]{6,}"), "<address>"),
    (re.compile(r"(?m)^(CPU times|Wall time): .*$"), r"\1"),
)
GENERATORS = frozenset({"random", "numpy.random"})


@dataclass
class Step:
    """What a cell did.

    Attributes:
        outputs: what it showed, in order.
        error: what it raised; empty for nothing.
        state: what the notebook held afterwards.
        status: what became of it: "hit", "computed", "refused" or, without the magic, "plain".
        line: what the magic said.
    """

    outputs: list[Any]
    error: str
    state: dict[str, Any]
    status: str = "plain"
    line: str = ""


@dataclass
class Run:
    """What the cells of a notebook did, up to the first that raised, and what the notebook held before all of them."""

    start: dict[str, Any]
    steps: list[Step] = field(default_factory=list)

    def before(self, number: int) -> dict[str, Any]:
        """What the notebook held before a cell."""
        return self.steps[number - 1].state if number else self.start


def outputs_of(messages: Sequence[dict[str, Any]]) -> tuple[list[Any], str]:
    """What a cell showed, without what is never the same twice, and the magic's own line.

    Between two displays, the text of each stream is put together: when a kernel sends it is a matter of its timers.
    """
    outputs: list[Any] = []
    streams: dict[str, str] = {}
    lines: list[str] = []

    def flush() -> None:
        for name in sorted(streams, reverse=True):
            lines.extend(found.group().strip() for found in STATUS_LINE.finditer(streams[name]))
            if text := masked(STATUS_LINE.sub("", streams[name])):
                outputs.append((name, text))
        streams.clear()

    for message in messages:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            streams[content["name"]] = streams.get(content["name"], "") + content["text"]
            continue
        if kind in {"display_data", "execute_result", "update_display_data"}:
            plain = content["data"].get("text/plain", "")
            if STATUS_LINE.match(plain):
                lines.append(plain)
                continue
            flush()
            place = content.get("transient", {}).get("display_id", "")
            bundle = {kind: masked(text) if isinstance(text, str) else text for kind, text in content["data"].items()}
            outputs.append((kind, bundle, content["metadata"], place))
        elif kind == "clear_output":
            flush()
            outputs.append((kind, content["wait"]))
    flush()
    return outputs, next((line for line in lines if line.startswith(tuple(STATUS))), "")


def masked(text: str) -> str:
    """A text without what is never the same twice."""
    for pattern, instead in MASKS:
        text = pattern.sub(instead, text)
    return text


def differences(expected: Run, got: Run, started: bool = True) -> list[str]:
    """What differs after the first cell after which anything does.

    Args:
        expected: the run without the cache.
        got: the run with it.
        started: whether the kernels started from nothing: each with a seed of its own for the global generators.
    """
    for number, (one, other) in enumerate(zip(expected.steps, got.steps, strict=False)):
        found = [
            f"cell {number} ({other.line}): {text}"
            for text in _of_steps(one, other, GENERATORS if started else frozenset())
        ]
        if found:
            return found
    if len(expected.steps) != len(got.steps):
        return [f"{len(got.steps)} cells ran and not {len(expected.steps)}"]
    return []


def _of_steps(expected: Step, got: Step, left_out: frozenset[str]) -> Iterator[str]:
    if expected.outputs != got.outputs:
        yield f"shows {excerpt(repr(expected.outputs), repr(got.outputs))}"
    if expected.error != got.error:
        yield f"raises {expected.error!r}, not {got.error!r}"
    for part in ("names", "states"):
        ours, theirs = expected.state[part], got.state[part]
        for name in sorted((ours.keys() | theirs.keys()) - left_out):
            one, other = ours.get(name, {}), theirs.get(name, {})
            if one.get("digest") != other.get("digest"):
                yield f"{name} is {excerpt(one.get('text', 'missing'), other.get('text', 'missing'))}"
    for group in expected.state["sharing"]:
        if group not in got.state["sharing"]:
            yield f"should be shared: {group}"
    for group in got.state["sharing"]:
        if group not in expected.state["sharing"]:
            yield f"should not be shared: {group}"


def excerpt(expected: str, got: str) -> str:
    """Where two texts begin to differ."""
    same = next((at for at, (one, other) in enumerate(zip(expected, got, strict=False)) if one != other), 10**9)
    if expected == got:
        return f"{expected!r}, but differs further on"
    start = max(0, min(same, len(expected), len(got)) - 60)
    return f"…{expected[start : start + 160]!r} and not …{got[start : start + 160]!r}"
