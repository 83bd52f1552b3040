"""Checks of what the learner knows about a bench's Redis, and found in one."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

from .. import context, keys
from ..bench import DEFAULT_PORT, BenchConfig
from ..connections import current_connection
from ..effects import Pipeline
from ..entries import Entry, look_up
from ..redis_wrapper import RedisWrapper
from ..stand_ins import StandIn
from .evictions import Shelf
from .functions import call_of, codes_of
from .verdict import NotYet, check, listed, same, short

_cache: Final = RedisWrapper()


@check
def outlives(key: str, shelf: Shelf, report: str) -> str:
    """A report that would have been evicted first outlives two new ones; they are stored by this check.

    Args:
        key: the report's key.
        shelf: the shelf, just filled.
        report: what the new ones hold.
    """
    before = shelf.look()
    was = before.get(key)
    if was is None or was.state == "evicted":
        raise NotYet(f"{key!r} is gone already.", "fill the shelf again: run the whole cell.")
    gone = [name for name, each in before.items() if each.state == "evicted"]
    used = [name for name, each in before.items() if each.state in ("read", "new") and name != key]
    expires = (_cache.get_expiry(key) or 0) < float("inf")
    with context.request():
        for number in (1, 2):
            _cache.set_value(f"report|new {number}", report)
    if shelf.look()[key].state != "evicted":
        return f"{key!r} outlived two new reports: it was used a moment ago, and others were not."
    if was.minutes == 0:
        raise NotYet(f"{key!r} was evicted, though it was used.", "so was the rest: use this one only.")
    what = f"{key!r} was evicted: nobody had used it for {was.minutes} minutes."
    if expires:
        raise NotYet(what, "an expiry lets a key go earlier, and never later.")
    if gone:
        raise NotYet(what, f"without {listed(gone)} there was room for one new report, and two came.")
    if used:
        raise NotYet(what, f"you used {listed(used)}; Redis looks at each key by itself.")
    raise NotYet(what, "read it; whether it exists, and when it expires, can be asked without using it.")


@check
def config_says(config: Any, *, megabytes: int, port: int) -> str:
    """A bench's configuration sets the memory and the port that are asked for.

    Args:
        config: a `BenchConfig`.
        megabytes: the memory for cached values.
        port: the port.
    """
    if config is None or config is Ellipsis:
        raise NotYet("There is no configuration yet.", 'BenchConfig("/srv/shop-bench", maxmemory_mb=..., port=...).')
    if not isinstance(config, BenchConfig):
        raise NotYet(f"{short(config)} is no BenchConfig.", "give the object itself; its text comes later.")
    found = config.maxmemory_mb
    if found is None:
        raise NotYet("It names no memory, so it takes 5 % of the machine's.", f"add maxmemory_mb={megabytes}.")
    for factor, unit in ((1 / 1024, "gigabytes"), (1024, "kilobytes"), (1024**2, "bytes")):
        if found == megabytes * factor:
            raise NotYet(f"It says maxmemory {found}mb.", f"the number is taken as megabytes, not as {unit}.")
    if found != megabytes:
        raise NotYet(f"It says maxmemory {found}mb.", f"{megabytes} are asked for; a gigabyte is 1024 megabytes.")
    if config.port == DEFAULT_PORT:
        raise NotYet(f"It listens on port {DEFAULT_PORT}, where the first bench does.", f"add port={port}.")
    if config.port != port:
        raise NotYet(f"It listens on port {config.port}.", f"port {port} is asked for.")
    return f"maxmemory {found}mb, port {port}, and whatever else the file needs."


_POLICIES: Final = ("allkeys-lru", "noeviction", "volatile-lru")
_WRONG_POLICY: Final = {
    ("cache", "noeviction"): "once it is full nothing new gets in, and the cache is stuck with whatever came first.",
    ("cache", "volatile-lru"): "it evicts only keys that have an expiry, and most of Frappe's have none.",
    ("queue", "allkeys-lru"): "a job that is evicted is never done, and nobody hears of it.",
    ("queue", "volatile-lru"): "whatever has an expiry could go without a word; a queue must say when it is full.",
}


@check
def policies(answer: Any) -> str:
    """The answer names the right policy for a bench's cache and for its queue.

    Args:
        answer: for ``cache`` and for ``queue`` the policy's name.
    """
    if not isinstance(answer, Mapping) or set(answer) != {"cache", "queue"}:
        raise NotYet("The answer is no dictionary of cache and queue.", 'answer = {"cache": "...", "queue": "..."}')
    for which in ("cache", "queue"):
        policy = answer[which]
        if policy is None or policy is Ellipsis:
            raise NotYet(f"There is no answer yet for {which!r}.", f"one of {listed(_POLICIES)}.")
        if policy not in _POLICIES:
            raise NotYet(f"{short(policy)} is none of the three.", f"one of {listed(_POLICIES)}, as text.")
        if (which, policy) in _WRONG_POLICY:
            raise NotYet(f"{policy} is not for the {which}.", _WRONG_POLICY[which, policy])
    return "The cache forgets what nobody uses, the queue forgets nothing."


# --- what is found in a bench's cache -----------------------------------------------------------------------------


def _entries() -> dict[str, Entry]:
    """What the current site has, by its keys without the site's part."""
    connection, db_name = current_connection(), context.current_settings().db_name
    names = _cache.get_keys("")
    found = look_up(names, lambda commands: connection.perform(Pipeline(commands)))
    return {keys.strip_site(db_name, entry.name): entry for entry in found}


@check
def names_largest(answer: Any) -> str:
    """The answer is the key of the current site's largest string.

    Args:
        answer: the key, without the site's part.
    """
    if answer is None or answer is Ellipsis:
        raise NotYet("There is no answer yet.", "%cache_keys, on a line above, has a column for the size.")
    sizes = {key: entry.size or 0 for key, entry in _entries().items() if entry.type == "string"}
    largest = max(sizes, key=lambda key: sizes[key])
    if isinstance(answer, int) and not isinstance(answer, bool):
        raise NotYet(f"{answer} is a number.", "the key is asked for, as text.")
    if isinstance(answer, bytes):
        raise NotYet(f"{short(answer)} is bytes.", "write it as text, without the b, and without the site's part.")
    if not isinstance(answer, str):
        raise NotYet(f"{short(answer)} is no key.", "a key is text.")
    db_name = context.current_settings().db_name
    if answer == f"{db_name}|{largest}":
        raise NotYet("That is the key as the server has it.", f"leave out what belongs to the site, {db_name + '|'!r}.")
    if answer not in sizes:
        if answer in _entries():
            raise NotYet(f"{answer!r} is no string.", "its size is a number of fields; only strings are meant.")
        raise NotYet(f"This site has no key {answer!r}.", "a key is taken to the letter, with all that is in it.")
    if answer != largest:
        larger = sum(size > sizes[answer] for size in sizes.values())
        raise NotYet(
            f"{answer!r} takes {sizes[answer]:,} bytes, and {larger} other {'key is' if larger == 1 else 'keys are'} "
            "larger.",
            "compare bytes with bytes: the table is in the order of the keys, not of their sizes.",
        )
    return f"{answer!r} takes {sizes[answer]:,} bytes, more than any other."


@check
def counts_expiring(answer: Any) -> str:
    """The answer is how many of the current site's keys have an expiry.

    Args:
        answer: the number.
    """
    if answer is None or answer is Ellipsis:
        raise NotYet("There is no answer yet.", "frappe.cache.get_expiry(key) is math.inf for a key that stays.")
    found = _entries().values()
    expiring = sum(entry.expires_in_sec is not None for entry in found)
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise NotYet(f"{short(answer)} is no number.", "how many keys are asked for: count them, sum(...) or len(...).")
    if answer == expiring:
        return f"{expiring} of {len(found)} keys go by themselves."
    if answer == len(found) - expiring:
        raise NotYet(f"{answer} keys stay.", "it is the others that are asked for.")
    if answer == len(found):
        raise NotYet(
            f"{answer} is all there are.",
            "get_expiry takes a key without the site's part; it is None for one that is not there, which is not inf.",
        )
    raise NotYet(f"{answer} is {'too many' if answer > expiring else 'too few'}.", "each key of this site counts once.")


@check
def reads_language(function: Callable[[str], Any]) -> str:
    """A function gives the language of a user's cached document, None where none is cached, and changes nothing.

    Args:
        function: takes the user's name.
    """
    name = call_of(function)
    users = {
        key.removeprefix("document_cache::User::"): _cache.get_value(key)
        for key in _entries()
        if key.startswith("document_cache::User::")
    }
    if not users:
        raise NotYet("This site has no user's document in its cache.", "open the site once as a user, and try again.")
    before = {key: entry.type for key, entry in _entries().items()}
    results = {user: _call(function, user) for user in users}
    missing = "nobody@example.com"
    nobody = _call(function, missing)
    if set(_entries()) != set(before):
        raise NotYet(f"{name} changed what is in the cache.", "on somebody's bench only read.")
    for user, document in users.items():
        result, wanted = results[user], getattr(document, "language", None)
        shown = f"{name[:-1]}{user!r})"
        if isinstance(result, Exception):
            raise NotYet(f"{shown} raised {_told(result)}", _why_raised(result))
        if isinstance(result, StandIn):
            raise NotYet(f"{shown} is the whole document.", "its language is an attribute: document.language.")
        if not same(result, wanted):
            raise NotYet(f"{shown} is {short(result)}.", _why_different(function, result, wanted))
    if isinstance(nobody, Exception):
        raise NotYet(
            f"{name[:-1]}{missing!r}) raised {_told(nobody)}",
            "nothing is cached for that user: get_value gives None, which has no language. Ask before.",
        )
    if nobody is not None:
        raise NotYet(
            f"{name[:-1]}{missing!r}) is {short(nobody)}, and nothing is cached for that user.", "return None then."
        )
    return f"{name} reads the language of {len(users)} users, and None where nothing is cached."


def _why_different(function: Callable[[str], Any], result: Any, wanted: Any) -> str:
    if result is not None:
        return f"in the cache stands {wanted!r}."
    if not any("cache" in code.co_names for code in codes_of(function)):
        return 'frappe.cache.get_value("document_cache::User::...") reads a document.'
    return "does it return what it found?"


def _call(function: Callable[[str], Any], user: str) -> Any:
    try:
        with context.request():
            return function(user)
    except Exception as error:  # whatever the learner's code raises
        return error


def _told(error: Exception) -> str:
    return re.sub(r"\s+", " ", "".join(traceback.format_exception_only(error))).strip() + "."


def _why_raised(error: Exception) -> str:
    if isinstance(error, TypeError) and "subscriptable" in str(error):
        return "a stand-in is no dictionary: document.language, or document.as_dict()['language']."
    if isinstance(error, AttributeError) and "NoneType" in str(error):
        return "nothing lies under that key: document_cache::User:: and the user's name."
    return "run it in a cell of its own to see in which line."
