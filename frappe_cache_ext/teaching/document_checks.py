"""Checks of what functions do with the sample documents, on a copy of them: see `documents.apart`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import event

from .. import context
from ..connections import current_connection
from ..documents.cached import get_cached_value
from ..documents.database import Database
from ..documents.engine import engine_for
from ..documents.transactions import current_transaction
from ..keys import document_key
from ..redis_wrapper import RedisWrapper
from .documents import apart, elsewhere, statements
from .functions import call_of, codes_of, only_mentions
from .verdict import NotYet, check, same, short


@check
def read_from_cache(function: Callable[[str], Any], doctype: str, name: str, field: str, *, then: Any) -> str:
    """A function reads a field of a document, from the cache once it is there, and never an old value.

    Args:
        function: the function, of the document's name.
        doctype: the DocType.
        name: the document.
        field: the field.
        then: what somebody else sets the field to meanwhile.
    """
    with apart():
        truth = elsewhere(Database().get_value, doctype, name, field)
        found = _ask(function, name)
        if found is None and truth is not None:
            raise NotYet(f"{call_of(function)} answers None.", "does it return what it found?")
        if isinstance(found, list | tuple) and len(found) == 1 and same(found[0], truth):
            raise NotYet(
                f"{call_of(function)} answers {short(found)}, a {type(found).__name__}.",
                f"ask for {field!r} by itself, without brackets, or take it out of the {type(found).__name__}.",
            )
        if not same(found, truth):
            raise NotYet(
                f"{call_of(function)} answers {short(found)}, and {field} is {short(truth)}.", "read that field."
            )
        with statements() as asked:
            _ask(function, name)
        if any(statement.lstrip()[:6].upper() != "SELECT" for statement in asked):
            raise _changes_something(function)
        if asked:
            raise NotYet(f"Called again, {call_of(function)} still asks the database.", _how_to_cache(function))
        _change(doctype, name, field, then)
        found = _ask(function, name)
    if not same(found, then):
        raise NotYet(
            f"Somebody changed {field} to {short(then)}, and {call_of(function)} still answers {short(found)}.",
            "a cache of your own does not hear of the change; frappe.get_cached_value does.",
        )
    if any("client_cache" in code.co_names for code in codes_of(function)):
        raise NotYet(
            f"{call_of(function)} answers from a copy in this process, which may be a moment behind.",
            "frappe.get_cached_value and frappe.get_cached_doc never are.",
        )
    return f"{call_of(function)} answers from the cache, and hears of each change."


def _how_to_cache(function: Callable[..., Any]) -> str:
    if any("get_value" in code.co_names for code in codes_of(function)):
        return "frappe.db.get_value always does; frappe.get_cached_value takes the same arguments."
    return "frappe.get_doc always does; frappe.get_cached_doc asks the cache first."


def _ask(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a request of its own, without a transaction that an earlier one has left open."""
    with context.request():
        current_transaction().end_reading()
        value = function(*args)
        if current_transaction().has_changes:
            raise _changes_something(function)
        current_transaction().end_reading()
        return value


def _changes_something(function: Callable[..., Any]) -> NotYet:
    return NotYet(f"{call_of(function)} changes the document.", "reading is all that is wanted: no save().")


def _change(doctype: str, name: str, field: str, value: Any) -> None:
    def change() -> None:
        Database().set_value(doctype, name, field, value)
        Database().commit()

    elsewhere(change)


@check
def nobody_pays_old_price(change: Callable[[str, float], Any], group: str, rate: float) -> str:
    """A function sets the rate of all items of a group, and no reader is left with an old one.

    Args:
        change: the function, of a group and a rate.
        group: the group.
        rate: its new rate.
    """
    with apart() as settings:
        items = elsewhere(Database().get_all, "Item", {"item_group": group}, pluck="name", order_by="name")
        before = elsewhere(_stored_rates)
        elsewhere(_read_rates, items)
        with context.request():
            RedisWrapper().set_value("bystander", "here")
        cached_at_commit: list[bool] = []

        def read_in_between(connection: Any) -> None:
            """Somebody reads at the worst moment: right before the change can be seen."""
            cached_at_commit.append(_is_cached(items[0]))
            elsewhere(_read_rates, items)

        with _called_before_commit(engine_for(settings), read_in_between), context.request():
            change(group, rate)
            if current_transaction().has_changes:
                raise NotYet(f"{call_of(change)} leaves its change uncommitted.", "frappe.db.commit() at its end.")
        _check_changed(change, items, before, elsewhere(_stored_rates), rate)
        with context.request():
            if not RedisWrapper().exists("bystander"):
                raise NotYet(
                    f"{call_of(change)} throws everybody's entries away.",
                    'frappe.clear_document_cache("Item", name) forgets one item, without a name all of them.',
                )
        found = elsewhere(_read_rates, items)
        old = [name for name in items if found[name] != rate]
        if old:
            raise _outdated(change, items, old, found[old[0]], rate, all(cached_at_commit))
    return f"All {len(items)} items of {group} cost {rate:g}, for every reader."


def _stored_rates() -> dict[str, Any]:
    return dict(Database().get_all("Item", fields=["name", "rate"], as_list=True))


def _read_rates(items: Sequence[str]) -> dict[str, Any]:
    return {name: get_cached_value("Item", name, "rate") for name in items}


def _is_cached(name: str) -> bool:
    connection = current_connection()
    return bool(connection.client.exists(RedisWrapper().make_key(document_key("Item", name))))


@contextlib.contextmanager
def _called_before_commit(engine: Any, function: Callable[[Any], None]) -> Iterator[None]:
    event.listen(engine, "commit", function)
    try:
        yield
    finally:
        event.remove(engine, "commit", function)


def _check_changed(
    change: Callable[..., Any], items: Sequence[str], before: dict[str, Any], after: dict[str, Any], rate: float
) -> None:
    left = [name for name in items if after[name] != rate]
    if left:
        raise NotYet(
            f"In the database {left[0]} costs {after[left[0]]:g}, not {rate:g}.",
            "all items of the group are to change.",
        )
    others = [name for name in before if name not in items and after.get(name) != before[name]]
    if others:
        raise NotYet(f"{call_of(change)} changed {others[0]}, too, which is in another group.", "filter by item_group.")


def _outdated(
    change: Callable[..., Any], items: Sequence[str], old: Sequence[str], found: Any, rate: float, was_cached: bool
) -> NotYet:
    what = f"{old[0]} costs {rate:g} in the database, and readers still get {found:g}."
    if len(old) < len(items):
        return NotYet(
            f"{what} {len(items) - len(old)} of {len(items)} items are right.",
            'the query changed them all: clear each name, or all with frappe.clear_document_cache("Item").',
        )
    if not any("clear_document_cache" in code.co_names for code in codes_of(change)):
        return NotYet(
            what,
            'the cache has not heard of the query: frappe.clear_document_cache("Item") after it, or '
            "frappe.db.set_value instead of it.",
        )
    if only_mentions(change, "clear_document_cache"):
        return NotYet(what, "without parentheses clear_document_cache is only mentioned, not called.")
    if not was_cached:
        return NotYet(
            what,
            "you cleared before the change. Somebody read in between and cached the old rate again: clear after it.",
        )
    return NotYet(what, 'you cleared something else: these are called ("Item", name), as frappe.get_doc calls them.')
