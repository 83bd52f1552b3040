"""Checks of what functions do, on a cache made for the check: see `lesson.trial`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Final

from .. import context, keys
from ..connections import current_connection
from ..redis_wrapper import RedisWrapper
from ..stand_ins import StandIn, read_inertly
from .lesson import count_runs, trial
from .verdict import NotYet, check, check_ttl, duration, same, short

_cache: Final = RedisWrapper()


@check
def counts_once(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """A function called twice computes once.

    Args:
        function: the function, with a cache; its work is done by `work`.
        *args: what to call it with.
        **kwargs: what to call it with.
    """
    name = call_of(function)
    with trial() as client:
        value, ran = _counted(function, args, kwargs)
        stored = _names(client)
        again, ran_again = _counted(function, args, kwargs)
        stored_later = _names(client)
    if not ran:
        raise NotYet(f"{name} does not work for its result any more.", "leave the call of work(...) in it.")
    if ran_again:
        if not stored:
            raise NotYet(f"{name} computed twice and stored nothing.", _how_to_cache(function))
        if stored_later - stored:
            raise NotYet(
                f"{name} computed twice: the second call looked under another key than the first stored under.",
                "a key is made of the arguments only; time and random numbers make it another each time.",
            )
        if value is None:
            raise NotYet(
                f"{name} computed twice: its result is None, which is also what get_value returns on a miss.",
                "ask for a default that no result can be, get_value(key, default=MISSING), and compare with `is`.",
            )
        if not value and isinstance(value, int | float | str | bytes | list | tuple | dict | set):
            raise NotYet(
                f"{name} computed twice: its result is {value!r}, and an if takes {value!r} for nothing.",
                "ask for a default that no result can be, get_value(key, default=MISSING), and compare with `is`.",
            )
        raise NotYet(f"{name} computed twice.", "look with get_value(key) before the work, and return what you find.")
    if not same(value, again):
        raise NotYet(
            f"The first call returned {short(value)}, the second {short(again)}.",
            "what is stored must be what is returned.",
        )
    return f"Two calls, one computation: {short(value)} both times."


@check
def key_is_unique(function: Callable[..., Any], *calls: tuple[Any, ...]) -> str:
    """A function with a cache by hand never answers one call with the result of another.

    Args:
        function: the function.
        *calls: the arguments of some calls that are to be told apart.
    """
    truth = []
    for call in calls:
        with trial():
            truth.append(_counted(function, call, {})[0])
    with trial() as client:
        made: list[set[str]] = []
        for index, call in enumerate(calls):
            before = _names(client)
            value, ran = _counted(function, call, {})
            made.append(_names(client) - before)
            if index == 0:
                _check_first_key(function, made[0])
            if not ran or not same(value, truth[index]):
                raise _mistaken(function, call, calls[:index])
            if not made[index]:
                raise _mistaken(function, call, calls[:index])
        for call in calls:
            if _counted(function, call, {})[1]:
                raise NotYet(
                    f"{_shown(function, call)} computed again.",
                    "a key with something in it that changes by itself is never found again; use the arguments only.",
                )
    return f"{len(calls)} different calls, {len(calls)} keys, each found again."


def _check_first_key(function: Callable[..., Any], made: set[str]) -> None:
    if not made:
        raise NotYet(f"{call_of(function)} stores nothing.", "frappe.cache.set_value(key, result), before it returns.")
    name = min(made)
    prefix = context.current_settings().db_name + keys.SEPARATOR
    if not name.startswith(prefix):
        raise NotYet(
            f"The key {name!r} belongs to no site: every site on this server would find it.",
            "leave shared=True out, unless the result is the same for all sites.",
        )
    if not any(character.isalpha() for character in name.removeprefix(prefix)):
        raise NotYet(
            f"The key {name.removeprefix(prefix)!r} says with what, but not what was computed.",
            "another function of the same arguments would find this result; begin the key with a name for yours.",
        )


def _mistaken(function: Callable[..., Any], call: tuple[Any, ...], earlier: tuple[tuple[Any, ...], ...]) -> NotYet:
    """One call was answered with another's result: say which, and which part the key leaves out."""
    names = list(inspect.signature(function).parameters)
    nearest = min(earlier, key=lambda other: sum(not same(*pair) for pair in zip(other, call, strict=True)))
    what = f"{_shown(function, call)} was answered with the result of {_shown(function, nearest)}."
    differing = [name for name, *pair in zip(names, call, nearest, strict=False) if not same(*pair)]
    for other in earlier:
        if other != call and "".join(map(str, other)) == "".join(map(str, call)):
            return NotYet(
                f"{_shown(function, call)} was answered with the result of {_shown(function, other)}.",
                "with nothing between them two different pairs of arguments run together; put a separator between.",
            )
    if len(differing) == 1:
        return NotYet(
            what, f"the key leaves out {differing[0]!r}: each input that the result depends on belongs in it."
        )
    return NotYet(what, "each input that the result depends on belongs in the key.")


@check
def cached_for(function: Callable[..., Any], seconds: float, *args: Any) -> str:
    """A function is decorated, and its results are kept for so many seconds.

    Args:
        function: the function.
        seconds: how long a result is to be kept.
        *args: what to call it with.
    """
    if not callable(getattr(function, "cache_key", None)):
        raise NotYet(f"{call_of(function)} is not decorated.", f"write @redis_cache(ttl={seconds:g}) above its def.")
    decorated: Any = function
    with trial() as client:
        _counted(function, args, {})
        left = client.pttl(decorated.cache_key(*args)) / 1000
    if seconds != 3600 and 3590 < left <= 3600:
        raise NotYet(
            f"{call_of(function)} keeps its results for an hour, as it does unless told otherwise.",
            f"@redis_cache(ttl={seconds:g}).",
        )
    check_ttl(left if left >= 0 else None, seconds, f"A result of {call_of(function)}", "ttl=")
    return f"Results of {call_of(function)} are kept for {duration(seconds)}."


@check
def never_stale(
    read: Callable[[str], Any],
    change: Callable[[str, Any], Any],
    table: MutableMapping[str, Any],
    item: str,
    value: Any,
    *,
    other: str,
) -> str:
    """After a change the next reader finds the new value, and other entries are still cached.

    Args:
        read: reads an item through the cache.
        change: changes an item of the table, and does what the cache needs.
        table: where the truth is kept; it is as before afterwards.
        item: the item to change.
        value: what to change it to.
        other: an item whose entry is to survive.
    """
    kept = dict(table)
    decorated = callable(getattr(read, "clear_cache", None))
    try:
        with trial() as client:
            _counted(read, (item,), {})
            entry = min(_names(client), default="")
            _counted(read, (other,), {})
            with context.request():
                _cache.set_value("bystander", "here")
            with context.request():
                change(item, value)
            if not same(table.get(item), value):
                raise NotYet(f"{call_of(change)} did not change the table.", "keep the line that writes into it.")
            found, _ = _counted(read, (item,), {})
            bystander = client.exists(_cache.make_key("bystander"))
            _, other_ran = _counted(read, (other,), {})
    finally:
        table.clear()
        table.update(kept)
    if not bystander:
        raise NotYet(
            f"{call_of(change)} throws everybody's entries away.",
            f"{call_of(read)[:-2]}.clear_cache() forgets this function's results only."
            if decorated
            else "delete the one key that is out of date.",
        )
    if not same(found, value):
        if found is None:
            raise NotYet(
                f"After the change {call_of(read)} answers None.",
                "None is a value like any other here: delete the key instead, delete_value(key).",
            )
        raise NotYet(
            f"The table says {short(value)}, and {call_of(read)} still answers {short(found)}.",
            _why_stale(read, change, decorated, entry),
        )
    if other_ran and not decorated:
        raise NotYet(
            f"The entry of {other!r} is gone too, though it was right.", "delete the key of the changed item only."
        )
    return f"After the change {call_of(read)} answers {short(value)}."


def _why_stale(read: Callable[..., Any], change: Callable[..., Any], decorated: bool, entry: str) -> str:
    mentioned = {name for code in codes_of(change) for name in code.co_names}
    if decorated:
        clear = f"{call_of(read)[:-2]}.clear_cache()"
        if "clear_cache" in mentioned:
            return f"without parentheses clear_cache is only mentioned, not called: {clear}."
        return f"let {call_of(change)} call {clear} too."
    if mentioned & {"delete_value", "delete_key", "delete_keys"}:
        return (
            f"{call_of(change)} deletes another key than {call_of(read)} uses; that one looks like "
            f"{entry.partition(keys.SEPARATOR)[2]!r}."
        )
    return f"let {call_of(change)} delete the key under which the old answer lies, too."


@check
def asks_server(function: Callable[[], Any], *, at_most: int) -> str:
    """A function called once asks the server no more than so many times.

    Args:
        function: the function.
        at_most: how many times it may ask.
    """
    with trial(), context.request():
        stats = current_connection().stats
        before = stats.hits + stats.misses
        function()
        asked = stats.hits + stats.misses - before
    if asked == 0:
        raise NotYet(f"{call_of(function)} never asks the server.", "leave the reading in it.")
    if asked > at_most:
        raise NotYet(
            f"{call_of(function)} asks the server {asked} times in one request.",
            "what keeps a value out of the request's own cache: expires=True, use_local_cache=False?",
        )
    return f"{call_of(function)} asks the server {'once' if asked == 1 else f'{asked} times'} in a request."


@check
def answered_per_request(function: Callable[..., Any], *args: Any) -> str:
    """A function computes once in each request.

    Args:
        function: the function; its work is done by `work`.
        *args: what to call it with.
    """
    with trial():
        ran = []
        for _ in range(2):
            with context.request():
                before = count_runs()
                function(*args)
                function(*args)
                ran.append(count_runs() - before)
    name = call_of(function)
    if ran[0] == 0:
        raise NotYet(f"{name} does not work for its result any more.", "leave the call of work(...) in it.")
    if ran[0] > 1:
        raise NotYet(f"{name} computed {ran[0]} times in one request.", "write @request_cache above its def.")
    if ran[1] == 0:
        raise NotYet(
            f"{name} computed in the first request only: its result outlives the request.",
            "@redis_cache keeps it on the server; here it is to be forgotten with the request: @request_cache.",
        )
    return f"{name} computes once in each request."


@check
def names_call(answer: object, pickled: bytes) -> str:
    """The answer names what a pickle would call.

    Args:
        answer: the full name, ``module.function``.
        pickled: the pickle's bytes.
    """
    seen = read_inertly(pickled)
    truth = seen.stand_in_for if isinstance(seen, StandIn) else type(seen).__name__
    module, _, name = truth.rpartition(".")
    if answer is None or answer is Ellipsis:
        raise NotYet(
            "There is no answer yet.", 'read_inertly(...) shows the name and calls nothing; answer = "module.name".'
        )
    if not isinstance(answer, str):
        raise NotYet(
            f"The answer is {short(answer)}, not a name.",
            "pickle.loads would run what is in there; read_inertly(...) only shows its name.",
        )
    if answer.removesuffix("()") == truth:
        return f"Right: unpickling would have called {truth}."
    if answer.removesuffix("()") in (name, module):
        raise NotYet(f"{answer!r} is half of the name.", "the module and the function, with a dot between.")
    raise NotYet(
        f"{answer!r} is not what it would call.", "read_inertly(...) shows the name first, then the arguments."
    )


def _counted(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, int]:
    """Call a function in a request of its own: its value, and how often it computed."""
    with context.request():
        before = count_runs()
        value = function(*args, **kwargs)
        return value, count_runs() - before


def _names(client: Any) -> set[str]:
    return {keys.decode(name) for name in client.keys("*") if not name.endswith(b"::generation")}


def call_of(function: Callable[..., Any]) -> str:
    """How a function is called in a hint."""
    return f"{getattr(function, '__name__', 'the function')}()"


def _shown(function: Callable[..., Any], call: tuple[Any, ...]) -> str:
    return f"{call_of(function)[:-2]}({', '.join(map(repr, call))})"


def _how_to_cache(function: Callable[..., Any]) -> str:
    if any("set_value" in (code.co_names) for code in codes_of(function)):
        return "set_value(key, result) has to run before the function returns."
    return "store the result under a key before you return it, or write @redis_cache above the def."


def codes_of(function: Callable[..., Any]) -> Iterator[Any]:
    """The code of a function, which names what it uses; nothing for one that is not written in Python."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None:
        yield code
