"""Checks of what functions do, on a cache made for the check: see `lesson.trial`."""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Final

from .. import context, keys
from ..connections import current_connection
from ..errors import MISS
from ..redis_wrapper import RedisWrapper
from ..stand_ins import StandIn, read_inertly
from .lesson import count_runs, trial
from .verdict import NotYet, Written, check, check_ttl, duration, same, short

_cache: Final = RedisWrapper()


@check
def counts_once(function: Callable[..., Any], *args: Any, gives: Any = MISS, **kwargs: Any) -> str:
    """A function called twice computes once.

    Args:
        function: the function, with a cache; its work is done by `work`.
        *args: what to call it with.
        gives: what it returns; anything where not said.
        **kwargs: what to call it with.
    """
    name = call_of(function)
    with trial() as client:
        value, ran = _counted(function, args, kwargs)
        stored = _places(client)
        again, ran_again = _counted(function, args, kwargs)
        stored_later = _places(client)
    if not ran:
        raise _without_work(function)
    _check_returns(function, value)
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
        raise NotYet(f"{name} computed twice.", _how_to_look(function))
    if gives is not MISS and not same(value, gives):
        raise NotYet(
            f"{name} returns {short(value)}, and it was {short(gives)}.", "what it computes is to stay the same."
        )
    if not same(value, again):
        raise NotYet(
            f"The first call returned {short(value)}, the second {short(again)}.",
            "what is stored must be what is returned.",
        )
    _check_other_call(function, args, kwargs)
    return f"Two calls, one computation: {short(value)} both times."


def _check_returns(function: Callable[..., Any], value: Any) -> None:
    """Raise `NotYet` where None is what a function returns that ends without a return."""
    definition = definition_of(function)
    if value is not None or definition is None:
        return
    nodes = list(ast.walk(definition))
    returns = any(isinstance(node, ast.Return) and node.value is not None for node in nodes)
    if returns and not isinstance(definition.body[-1], ast.Expr | ast.Assign | ast.AugAssign | ast.AnnAssign):
        return
    if any(isinstance(node, ast.Call) and ast.unparse(node.func) == "print" for node in nodes):
        raise NotYet(f"{call_of(function)} returns None.", "print shows a result; return hands it to whoever called.")
    raise NotYet(f"{call_of(function)} returns None.", "it ends without a return: does it return what it found?")


def _check_other_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise `NotYet` where another call gets the result of this one; nothing is said where that cannot be tried."""
    other = tuple(_another(arg) for arg in args)
    try:
        with trial():
            truth, _ = _counted(function, other, kwargs)
        with trial():
            _counted(function, args, kwargs)
            found, _ = _counted(function, other, kwargs)
    except Exception:  # it may know no other arguments
        return
    if not same(found, truth):
        raise _mistaken(function, other, (args,))


def _another(argument: Any) -> Any:
    if isinstance(argument, str):
        return f"{argument}?"
    return argument + 1 if type(argument) is int else argument


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
            value, ran = _counted(function, call, {})
        if not ran:
            raise _without_work(function)
        _check_returns(function, value)
        truth.append(value)
    with trial() as client:
        made: list[set[str]] = []
        for index, call in enumerate(calls):
            before = _places(client)
            value, ran = _counted(function, call, {})
            made.append(_places(client) - before)
            if index == 0:
                _check_first_key(function, call, made[0])
            if not ran or not same(value, truth[index]):
                raise _mistaken(function, call, calls[:index])
            if not made[index]:
                raise _mistaken(function, call, calls[:index])
        stored = _places(client)
        for call in calls:
            if _counted(function, call, {})[1]:
                raise NotYet(
                    f"{_shown(function, call)} computed again.",
                    "a key with something in it that changes by itself is never found again; use the arguments only."
                    if _places(client) - stored
                    else "it looks under another key than the one under which it has stored the result.",
                )
    if any("hash" in code.co_names for code in codes_of(function)):
        raise NotYet(
            "The key is made with hash(), which gives text another number in each process.",
            "what one process stores no other would find: put the arguments themselves into the key.",
        )
    return f"{len(calls)} different calls, {len(calls)} keys, each found again."


def _without_work(function: Callable[..., Any]) -> NotYet:
    if any("work" in code.co_names for code in codes_of(function)):
        return NotYet(
            f"{call_of(function)} does not work for its result, though nothing was stored yet.",
            "it takes a miss for a hit: compare what you get with the very object that you gave as default.",
        )
    return NotYet(f"{call_of(function)} does not work for its result any more.", "leave the call of work(...) in it.")


def _check_first_key(function: Callable[..., Any], call: tuple[Any, ...], made: set[str]) -> None:
    if not made:
        raise NotYet(f"{call_of(function)} stores nothing.", "frappe.cache.set_value(key, result), before it returns.")
    name = min(made).partition(_FIELD)[0]
    prefix = context.current_settings().db_name + keys.SEPARATOR
    if not name.startswith(prefix):
        raise NotYet(
            f"The key {name!r} belongs to no site: every site on this server would find it.",
            "leave shared=True out, unless the result is the same for all sites.",
        )
    rest = name.removeprefix(prefix)
    if _ADDRESS.search(rest):  # by chance it may be the same one next time
        raise NotYet(
            f"The key {rest!r} has an address in memory in it.",
            "a key with something in it that changes by itself is never found again; use the arguments only.",
        )
    for argument in call:
        rest = rest.replace(str(argument), "")
    if not any(character.isalpha() for character in rest):
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
    decorated = callable(getattr(function, "cache_key", None))
    with trial() as client:
        value, _ = _counted(function, args, {})
        made = [function.cache_key(*args)] if decorated else sorted(_names(client))  # type: ignore[attr-defined]
        left = max((client.pttl(name) / 1000 for name in made), default=-1.0)
        _, ran_again = _counted(function, args, {})
    if not made:
        raise _not_on_server(function, seconds, bool(ran_again))
    if ran_again:
        raise NotYet(f"{call_of(function)} computed twice.", _how_to_look(function))
    _check_returns(function, value)
    if seconds != 3600 and 3590 < left <= 3600:
        raise NotYet(
            f"{call_of(function)} keeps its results for an hour, as it does unless told otherwise.",
            f"@redis_cache(ttl={seconds:g}).",
        )
    if left > seconds + 1 and "stale=" in _source_of(function):
        raise NotYet(
            f"A result of {call_of(function)} can grow {duration(round(left))} old, not {duration(seconds)}.",
            "with stale= old results are handed out beyond their ttl; leave it out.",
        )
    argument = "ttl=" if decorated else "expires_in_sec="
    check_ttl(left if left >= 0 else None, seconds, f"A result of {call_of(function)}", argument, just_now=True)
    return f"Results of {call_of(function)} are kept for {duration(seconds)}."


def _not_on_server(function: Callable[..., Any], seconds: float, computed: bool) -> NotYet:
    name, hint = call_of(function), f"write @redis_cache(ttl={seconds:g}) above its def."
    if not computed:
        return NotYet(f"{name} keeps its results in this process, where no other finds them.", hint)
    if hasattr(function, "__wrapped__"):
        return NotYet(f"{name} is decorated, and keeps nothing for the next request.", hint)
    return NotYet(f"{name} is not decorated.", hint)


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
    _check_change(read, change, table, item, value, other)
    _check_change(read, change, table, other, value, item)  # what names one item only helps no other
    return f"After the change {call_of(read)} answers {short(value)}."


class _Watched(dict[str, Any]):
    """A table that somebody reads through the cache at the worst moment: right before it changes."""

    def __init__(self, table: Mapping[str, Any], before: Callable[[], None]) -> None:
        super().__init__(table)
        self._before = before

    def __setitem__(self, key: str, value: Any) -> None:
        self._before()
        super().__setitem__(key, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        self._before()
        super().update(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


@contextlib.contextmanager
def _in_place_of(table: MutableMapping[str, Any], watched: _Watched, *functions: Any) -> Iterator[None]:
    """Let functions of the notebook find another table under the name of this one."""
    found = [getattr(inspect.unwrap(function), "__globals__", {}) for function in functions]
    places = [(names, name) for names in found for name, value in names.items() if value is table]
    for names, name in places:
        names[name] = watched
    try:
        yield
    finally:
        for names, name in places:
            names[name] = table


def _check_change(
    read: Callable[[str], Any],
    change: Callable[[str, Any], Any],
    table: MutableMapping[str, Any],
    item: str,
    value: Any,
    other: str,
) -> None:
    kept = dict(table)
    decorated = callable(getattr(read, "clear_cache", None))
    missed: list[int] = []
    watched = _Watched(table, lambda: missed.append(_counted(read, (item,), {})[1]))
    try:
        with trial() as client, _in_place_of(table, watched, read, change):
            _counted(read, (item,), {})
            entry = min(_names(client), default="")
            _counted(read, (other,), {})
            with context.request():
                _cache.set_value("bystander", "here")
            neighbour = f"{entry} and more"
            client.set(neighbour, "")
            with context.request():
                change(item, value)
            if not same(watched.get(item), value) and not same(table.get(item), value):
                raise NotYet(f"{call_of(change)} did not change the table.", "keep the line that writes into it.")
            found, _ = _counted(read, (item,), {})
            bystander = client.exists(_cache.make_key("bystander"))
            neighbour_left = client.exists(neighbour)
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
            "the old answer is thrown away before the change: who reads in between stores it again. First change, then "
            "throw away."
            if any(missed)
            else _why_stale(read, change, decorated, entry),
        )
    if other_ran and not decorated:
        raise NotYet(
            f"The entry of {other!r} is gone too, though it was right.", "delete the key of the changed item only."
        )
    if not neighbour_left and not decorated:
        raise NotYet(
            f"Every entry is gone whose key begins with {entry.partition(keys.SEPARATOR)[2]!r}, of {item!r} or not.",
            "delete_keys takes what keys begin with; delete_value(key) deletes the one.",
        )


def _why_stale(  # noqa: PLR0911  (one a mistake)
    read: Callable[..., Any], change: Callable[..., Any], decorated: bool, entry: str
) -> str:
    mentioned = {name for code in codes_of(change) for name in code.co_names}
    for method in ("invalidate", "delete_value", "delete_keys"):
        if only_mentions(change, method):
            return f"without parentheses {method} is only mentioned, not called."
    if decorated:
        clear = f"{call_of(read)[:-2]}.clear_cache()"
        if "clear_cache" in mentioned:
            return f"without parentheses clear_cache is only mentioned, not called: {clear}."
        if "invalidate" in mentioned:
            return f"invalidate forgets one call: it takes the same arguments as {call_of(read)}, in parentheses."
        return f"let {call_of(change)} call {clear} too."
    if mentioned & {"delete_value", "delete_key", "delete_keys"}:
        return (
            f"{call_of(change)} deletes another key than {call_of(read)} uses; that one looks like "
            f"{entry.partition(keys.SEPARATOR)[2]!r}."
        )
    if "expire_key" in mentioned:
        return "an expiry leaves the old answer in the cache until then: delete the key instead."
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
        value = function()
        asked = stats.hits + stats.misses - before
    _check_returns(function, value)
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
                value = function(*args)
                function(*args)
                ran.append(count_runs() - before)
    name = call_of(function)
    if ran[0] == 0:
        raise NotYet(f"{name} does not work for its result any more.", "leave the call of work(...) in it.")
    if ran[0] > 1:
        raise NotYet(f"{name} computed {ran[0]} times in one request.", "write @request_cache above its def.")
    if ran[1] == 0:
        where = "on the server" if callable(getattr(function, "cache_key", None)) else "beyond"
        raise NotYet(
            f"{name} computed in the first request only: its result outlives the request.",
            f"what keeps it {where} is too much here; it is to be forgotten with the request: @request_cache.",
        )
    _check_returns(function, value)
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
    if isinstance(answer, StandIn):
        raise NotYet(f"The answer is {short(answer)}, not a text.", "its name is asked for, in quotes.")
    if callable(answer):
        raise NotYet("The answer is a function, not a text.", 'its full name in quotes: answer = "module.name".')
    if not isinstance(answer, str):
        raise NotYet(
            f"The answer is {short(answer)}, not a name.",
            "pickle.loads would run what is in there; read_inertly(...) only shows its name.",
        )
    answer = answer.strip()
    if answer.removesuffix("()") == truth:
        return f"Right: unpickling would have called {truth}."
    if truth in answer:
        raise NotYet(
            f"There is more than the name in {answer!r}.", "the module and the function alone, with a dot between."
        )
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


_FIELD: Final = "\x1f"
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]{6,}")


def _places(client: Any) -> set[str]:
    """Where something is stored: names, and fields of hashes."""
    places = _names(client)
    for name in list(places):
        if client.type(name) == b"hash":
            places |= {f"{name}{_FIELD}{keys.decode(field)}" for field in client.hkeys(name)}
    return places


def call_of(function: Callable[..., Any]) -> str:
    """How a function is called in a hint."""
    return f"{getattr(function, '__name__', 'the function')}()"


def _shown(function: Callable[..., Any], call: tuple[Any, ...]) -> str:
    return f"{call_of(function)[:-2]}({', '.join(map(repr, call))})"


def _how_to_cache(function: Callable[..., Any]) -> str:
    if any("set_value" in (code.co_names) for code in codes_of(function)):
        return "set_value(key, result) has to run before the function returns."
    if hasattr(function, "__wrapped__"):
        return "what stands above its def forgets with the request, as @request_cache does; @redis_cache remembers."
    return "store the result under a key before you return it, or write @redis_cache above the def."


def _how_to_look(function: Callable[..., Any]) -> str:
    if any({"get_value", "hget"} & set(code.co_names) for code in codes_of(function)):
        return "does it look before the work, under the key that it stores under, and return what it finds?"
    return "look with get_value(key) before the work, and return what you find."


def _source_of(function: Callable[..., Any]) -> str:
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    except (OSError, TypeError):  # nobody knows it
        return ""


def definition_of(function: Callable[..., Any]) -> ast.FunctionDef | None:
    """A function's text, understood; None where it is not known, or no ``def``."""
    try:
        first = next(iter(ast.parse(_source_of(function)).body), None)
    except SyntaxError:
        return None
    return first if isinstance(first, ast.FunctionDef) else None


def only_mentions(function: Callable[..., Any], name: str) -> bool:
    """Whether a function names a method and never calls it."""
    definition = definition_of(function)
    return definition is not None and Written([definition]).only_mentions(name)


def codes_of(function: Callable[..., Any]) -> Iterator[Any]:
    """The code of a function, which names what it uses; nothing for one that is not written in Python."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None:
        yield code
