"""What Tab offers in a line of one of the magics: options, keys, fields, sites, servers."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from .. import bench_sites, context, keys
from ..connections import current_connection
from ..errors import CacheError
from ..operations import LEASE_MARK
from ..settings import SCHEMES

PATIENCE: Final = 0.1
"""Seconds that the prompt waits for the server at most."""

MOST: Final = 300

_LEASE_ENDING: Final = keys.decode(LEASE_MARK)
"""How the names of leases end, which are no keys of anybody's."""

_LINE: Final = re.compile(r"^\s*(?:[\w.,\s]+=\s*(?=%))?%?(cache_\w+|cached\w*|redis)\s+(.*)$", re.DOTALL)
_CELL_LINE: Final = re.compile(r"^%%(cached)\s+(.*)$")  # and nothing of the lines below
_LAST_WORD: Final = re.compile(
    r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')*(?:"(?:[^"\\]|\\.)*|'[^']*)?$""", re.DOTALL
)

_NAME: Final = re.compile(r"(?<![\w.\"'])[^\W\d]\w*$")

# What the words of each magic are, in their order; the last one of `_REPEATED` is that of all further words, too.
_WORDS: Final = {
    "cache_set": ("string",),
    "cache_get": ("string",),
    "cache_del": ("key",),
    "cache_ttl": ("key",),
    "cache_keys": ("key",),
    "cache_clear": ("key",),
    "cache_hset": ("hash", "field"),
    "cache_hget": ("hash", "field"),
    "cache_hgetall": ("hash",),
    "cache_hdel": ("hash", "field"),
    "cache_site": ("site",),
    "cache_connect": ("server",),
    "redis": ("", "name"),
}
_REPEATED: Final = ("cache_del", "cache_hdel", "redis")
_BEFORE_EXPRESSION: Final = {"cache_set": 1, "cache_hset": 2, "cached": 0}


def make_matcher(shell: Any) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """The matcher of one shell, for `Completer.custom_matchers`."""

    # Before the others: these lines are no Python, and what they take them for need not be worked out.
    @context_matcher(identifier="frappe_cache_ext", priority=100)  # type: ignore[untyped-decorator]
    def cache_matcher(given: CompletionContext) -> SimpleMatcherResult:
        of_cell = _CELL_LINE.match(given.text_until_cursor)
        found = of_cell or _LINE.match(given.text_until_cursor)
        magic = found and shell.magics_manager.magics["cell" if of_cell else "line"].get(found[1])
        parser = getattr(magic, "parser", None)
        if not found or parser is None:
            return SimpleMatcherResult(completions=[])
        last = _LAST_WORD.search(found[2])
        word = last[0] if last else ""
        spot = _spot(found[1], parser, _words(found[2][: len(found[2]) - len(word)]))
        if of_cell and not word.startswith("-"):
            return SimpleMatcherResult(completions=[])
        if spot.kind == "expression" and not word.startswith("--"):
            return _names(found[2], shell.user_ns)
        try:
            offered = _options(parser) if word.startswith("-") else _offer(spot, _unquoted(word))
        except CacheError:  # a prompt is no place to speak of a wrong setting
            offered = []
        return SimpleMatcherResult(
            completions=[
                SimpleCompletion(text=text, type="cache")
                for text in (_quoted(each, word[:1]) for each in offered)
                if text.startswith(word)
            ],
            matched_fragment=word,
            suppress=True,
        )

    matcher: Callable[[CompletionContext], SimpleMatcherResult] = cache_matcher
    return matcher


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where in a line the cursor stands.

    Attributes:
        kind: what is expected there.
        words: the words before it that are no options.
        options: the values of the options before it, by name.
    """

    kind: str
    words: list[str]
    options: dict[str, str]


def _spot(magic: str, parser: Any, before: list[str]) -> _Spot:
    words: list[str] = []
    options: dict[str, str] = {}
    waiting = ""
    for word in before:
        if waiting:
            options[waiting], waiting = word, ""
        elif word.startswith("--"):
            action = parser._option_string_actions.get(word)
            waiting = word if action is not None and action.nargs != 0 else ""
        else:
            words.append(word)
    if waiting:
        return _Spot(waiting, words, options)
    kinds = _WORDS.get(magic, ())
    if len(words) < len(kinds):
        return _Spot(kinds[len(words)], words, options)
    if magic in _BEFORE_EXPRESSION:
        return _Spot("expression", words, options)
    return _Spot(kinds[-1] if kinds and magic in _REPEATED else "", words, options)


def _offer(spot: _Spot, word: str) -> list[str]:
    settings = context.current_settings()
    if spot.kind in ("site", "--site"):
        bench = spot.options.get("--bench") or settings.bench
        return [] if bench is None else bench_sites.list_sites(Path(bench))
    if spot.kind == "server":
        return [f"{scheme}://" for scheme in SCHEMES]
    prefix = keys.site_prefix(settings.db_name)
    if spot.kind == "field":
        return _ask(lambda client: client.hscan_iter(prefix + keys.encode(spot.words[0]), count=1000), word)
    if spot.kind == "name":
        return _ask(lambda client: client.scan_iter(match=keys.starts_with(prefix), count=1000), word)
    if spot.kind in ("string", "hash", "key"):
        kind = {} if spot.kind == "key" else {"_type": spot.kind}
        pattern = keys.starts_with(prefix + keys.encode(word))
        names = _ask(lambda client: client.scan_iter(match=pattern, count=1000, **kind), "")
        return [name.removeprefix(keys.decode(prefix)) for name in names]
    return []


def _names(text: str, user_ns: Iterable[str]) -> SimpleMatcherResult:
    """The user's names, which IPython offers on a line of Python only; attributes it offers everywhere."""
    typed = _NAME.search(text)
    if typed is None:
        return SimpleMatcherResult(completions=[])
    names = sorted(name for name in user_ns if name.startswith(typed[0]) and name != typed[0])
    return SimpleMatcherResult(
        completions=[SimpleCompletion(text=name, type="instance") for name in names], matched_fragment=typed[0]
    )


def _options(parser: Any) -> list[str]:
    actions = parser._option_string_actions.items()
    return sorted(name for name, action in actions if name.startswith("--") and action.help != argparse.SUPPRESS)


# --- asking the server --------------------------------------------------------------------------------------------


def _ask(read: Callable[[Any], Iterable[Any]], prefix: str) -> list[str]:
    """What the server names, as text, sorted; as much of it as comes in time, and nothing if it is away.

    Past the connection's breaker, which would warn, and in a thread of its own, which may wait as long as it likes.
    """
    connection = current_connection()
    if connection.down is not None:
        return []
    found: set[str] = set()
    end = time.monotonic() + PATIENCE

    def collect() -> None:
        with contextlib.suppress(Exception):  # of a server or client that does not do as asked there is nothing to say
            for each in read(connection.client):
                name = keys.decode(each[0] if isinstance(each, tuple) else each)
                if name.startswith(prefix) and name.isprintable() and not name.endswith(_LEASE_ENDING):
                    found.add(name)
                if len(found) >= MOST or time.monotonic() > end:
                    return

    thread = threading.Thread(target=collect, name="frappe-cache-completion", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no threads here: what can be asked then is the memory of this process, which does not tarry
        collect()
    else:
        thread.join(PATIENCE)
    return sorted(found.copy())


# --- words --------------------------------------------------------------------------------------------------------


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _unquoted(word: str) -> str:
    """What a word that is still being typed means."""
    for closing in ("", "'", '"'):
        try:
            return "".join(shlex.split(word + closing))
        except ValueError:
            continue
    return word


def _quoted(text: str, opened: str) -> str:
    """A key as it stands in a line: in quotes where one was opened, or where it needs them."""
    if opened == '"' and not re.search(r'["\\]', text):
        return f'"{text}"'
    if opened == "'" and "'" not in text:
        return f"'{text}'"
    if text and not re.search(r"""[\s"'\\;]""", text):
        return text
    return shlex.quote(text)
