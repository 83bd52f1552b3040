"""Checks of what lies in the notebook's own cache."""

from __future__ import annotations

import ast
import difflib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from .. import context, keys
from ..errors import MISS
from ..redis_wrapper import RedisWrapper
from ..settings import default_db_name
from .lesson import short_name
from .verdict import NotYet, Written, check, check_ttl, duration, listed, same, short

_cache: Final = RedisWrapper()


@check
def value_stored(
    key: str,
    value: Any,
    *,
    user: str | None = None,
    shared: bool = False,
    site: str | None = None,
    back_in: str | None = None,
) -> str:
    """A value is stored under a key.

    Args:
        key: the key.
        value: the value that belongs there.
        user: the user whose value it is.
        shared: whether it belongs to all sites.
        site: the site to look in; the current one where None.
        back_in: the site that is to be the current one when this is done; any where None.
    """
    place = f"{key!r}" + (f" of user {user!r}" if user else "") + (f" of site {short_name(site)!r}" if site else "")
    current = context.current_settings().site
    if site not in (None, current) and same(_stored(key, user, shared), value):
        raise NotYet(
            f"{key!r} is {short(value)} in the current site, {short_name(current)!r}.",
            _why_not_in_site(site)
            or "frappe.init(site) comes first, then the value; put the current site's own value back, too.",
        )
    with _in_site(site):
        found = _stored(key, user, shared)
        if found is MISS:
            hint = _why_not_in_site(site) or _why_not_found(key, value, user, shared)
            raise NotYet(f"Nothing is stored under {place} yet.", hint)
    if not same(found, value):
        hint = _why_different(found, value)
        if user and same(_stored(key), value):
            hint = "that one is there for everybody: without user= it is everybody's, with it this user's alone."
        raise NotYet(f"Under {place} lies {short(found)}, not {short(value)}.", hint)
    if back_in not in (None, current):
        raise NotYet(
            f"Under {place} lies {short(value)}, and the current site is {'still ' * (current == site)}"
            f"{short_name(current)!r}.",
            _why_not_in_site(back_in) or "frappe.init(site) goes to another site.",
        )
    return f"Under {place} lies {short(value)}."


@check
def ttl_expires(key: str, seconds: float, *, value: Any = MISS) -> str:
    """A key expires after so many seconds.

    Args:
        key: the key.
        seconds: what its expiry was to be set to, moments ago.
        value: the value that belongs there; anything where not said.
    """
    found = _stored(key)
    if found is MISS:
        raise NotYet(f"Nothing is stored under {key!r}.", _why_not_found(key, value, None, False))
    if value is not MISS and not same(found, value):
        raise NotYet(f"Under {key!r} lies {short(found)}, not {short(value)}.", _why_different(found, value))
    check_ttl(_cache.get_expiry(key), seconds, f"{key!r}", "expires_in_sec=")
    return f"{key!r} will be gone {duration(seconds)} after you stored it."


@check
def hash_field(name: str, field: str, value: Any) -> str:
    """A field of a hash has a value.

    Args:
        name: the hash's key.
        field: the field.
        value: the value that belongs there.
    """
    if _kind(name) not in ("hash", "none"):
        raise NotYet(
            f"{name!r} is one value now, not a hash.",
            f"delete_value({name!r}), then store each field by itself: hset(name, field, value).",
        )
    with context.request():
        found = _cache.hget(name, field, use_local_cache=False, default=MISS)
        fields = {keys.decode(each) for each in _cache.hkeys(name)}
    if found is MISS:
        if close := difflib.get_close_matches(field, fields, 1):
            raise NotYet(f"{name!r} has no field {field!r}, but it has {close[0]!r}.", "names are taken to the letter.")
        if str(value) in fields:
            raise NotYet(
                f"{name!r} has a field called {value!r}.", "the field comes before its value: hset(name, field, value)."
            )
        raise NotYet(f"{name!r} has no field {field!r} yet.", _why_no_field(name, field))
    if not same(found, value):
        raise NotYet(f"The field {field!r} is {short(found)}, not {short(value)}.", _why_different(found, value))
    return f"The field {field!r} of {name!r} is {short(value)}."


@check
def deleted(*gone: str, keeps: tuple[str, ...] = ()) -> str:
    """Keys are deleted, and others are still there.

    Args:
        *gone: the keys to be gone.
        keeps: the keys to be there.
    """
    for key in keeps:
        if not _cache.exists(key):
            raise NotYet(
                f"{key!r} is gone too; it was to stay.",
                "store it again, then name only the keys to delete: delete_value takes one key, or a list of keys.",
            )
    for key in gone:
        found = _stored(key)
        if found is None or found == "":
            raise NotYet(
                f"{key!r} is still there and holds {found!r}.",
                "storing nothing is not deleting: frappe.cache.delete_value(key) removes the key itself.",
            )
        if found is not MISS:
            raise NotYet(f"{key!r} is still there.", _why_not_deleted(key, gone))
    return f"{listed(gone)} {'is' if len(gone) == 1 else 'are'} gone" + (f", {listed(keeps)} stayed." if keeps else ".")


@check
def field_deleted(name: str, field: str, *, keeps: tuple[str, ...]) -> str:
    """One field of a hash is deleted, and the others are still there.

    Args:
        name: the hash's key.
        field: the field to be gone.
        keeps: the fields to be there.
    """
    with context.request():
        left = _cache.hgetall(name)
    missing = [each for each in keeps if each not in left]
    if missing:
        what = f"The whole of {name!r} is gone" if not left else f"The field {missing[0]!r} is gone too"
        raise NotYet(
            f"{what}; {listed(missing)} were to stay." if len(missing) > 1 else f"{what}; it was to stay.",
            "store the fields again, then remove one: frappe.cache.hdel(name, field).",
        )
    if field in left:
        if left[field] in (None, ""):
            raise NotYet(
                f"The field {field!r} is still there and holds {left[field]!r}.",
                "storing nothing is not deleting: frappe.cache.hdel(name, field) removes the field.",
            )
        raise NotYet(f"The field {field!r} is still there.", _why_field_not_deleted(field, left[field]))
    return f"The field {field!r} is gone, {listed(keeps)} stayed."


@contextmanager
def _in_site(site: str | None) -> Iterator[None]:
    if site is None:
        yield
        return
    with context.visiting(replace(context.current_settings(), site=site, db_name=default_db_name(site))):
        yield


def _stored(key: str, user: str | None = None, shared: bool = False) -> Any:
    """What the server holds; a request's own copy does not count."""
    with context.request():
        return _cache.get_value(key, user=user, shared=shared, default=MISS)


def _kind(key: str) -> str:
    kind: bytes = _cache.redis.type(_cache.make_key(key))
    return keys.decode(kind)


def _why_not_found(key: str, value: Any, user: str | None, shared: bool) -> str:  # noqa: PLR0911, PLR0912  (one a mistake)
    """What the learner may have done instead."""
    if not shared and _stored(key, shared=True) is not MISS:
        return "it is there for all sites; leave shared=True out."
    for other in _users_with(key) if user else ():
        if user and user != other and user.lower().startswith(other.lower()):
            return f"it is there for user {other!r}; the name is {user!r}, in full."
    if user and _stored(key) is not MISS:
        return f"it is there for everybody; add user={user!r}."
    mine = context.current_user()
    if not user and _stored(key, mine) is not MISS:
        return f"it is there for user {mine!r} only; leave user= out."
    kind = _kind(key)
    if kind == "hash":
        return "there is a hash of this name; delete it, and use set_value instead of hset."
    if kind != "none":
        return "there is something, but frappe.cache cannot read it: store it with frappe.cache.set_value."
    prefix = context.current_settings().db_name
    known = [keys.strip_site(prefix, name) for name in itertools.islice(_cache.get_keys(), 1000)]
    close = [each for each in known if each.strip().lower() == key.lower()] or difflib.get_close_matches(
        key, known, 1, cutoff=0.85
    )
    if close:
        return f"there is {close[0]!r}; a key is taken to the letter."
    if isinstance(value, str) and _stored(value) == key:
        return "key and value have changed places: set_value(key, value)."
    written = Written()
    if written.only_mentions("set_value"):
        return "without parentheses set_value is only mentioned, not called: set_value(key, value)."
    if written.positional("set_value") > 2:
        return "set_value takes the whole key as one text, then the value; what comes third is a user."
    if "set_value" not in written.calls:
        if "set" in written.calls:
            return "set is a command of the client underneath, which knows no sites: set_value(key, value)."
        if "hset" in written.calls:
            return "hset stores a field of a hash; one value under one key is set_value(key, value)."
        if "get_value" in written.calls:
            return "get_value only reads: set_value(key, value) stores."
        if written.sets:
            return f"{min(written.sets)!r} is a name of Python's, in this kernel alone: set_value(key, value) stores."
    user_part = f", user={user!r}" if user else ""
    return f"frappe.cache.set_value({key!r}, ...{user_part}) stores a value."


def _why_not_in_site(site: str | None) -> str | None:
    """What went wrong with the site, where that can be seen."""
    if site is None:
        return None
    if any(isinstance(call.args[0], ast.Constant) for call in Written().calls.get("init", ()) if call.args):
        return (
            f"frappe.init was given a text; the site's full name is in the variable: frappe.init({short_name(site)})."
        )
    return None


def _users_with(key: str) -> list[str]:
    """The users who have a value under a key."""
    prefix = context.current_settings().db_name
    known = [keys.strip_site(prefix, name) for name in itertools.islice(_cache.get_keys("user:"), 1000)]
    return [each[len("user:") : -len(key) - 1] for each in known if each.endswith(f":{key}")]


def _why_no_field(name: str, field: str) -> str:
    written = Written()
    if _cache.hexists(name, field, shared=True):
        return "it is there for all sites; leave shared=True out."
    if written.only_mentions("hset"):
        return "without parentheses hset is only mentioned, not called: hset(name, field, value)."
    if "set_value" in written.calls and "hset" not in written.calls:
        return "set_value stores under a key of its own; a field of this hash is hset(name, field, value)."
    prefix = context.current_settings().db_name
    known = [keys.strip_site(prefix, each) for each in itertools.islice(_cache.get_keys(), 1000)]
    close = [each for each in known if each != name and each.lower() == name.lower()]
    if close:
        return f"there is a hash {close[0]!r}; a key is taken to the letter."
    return "frappe.cache.hset(name, field, value) stores one field."


def _why_not_deleted(key: str, gone: tuple[str, ...]) -> str:  # noqa: PLR0911  (one a mistake)
    written = Written()
    for method in ("delete_value", "delete_keys"):
        if written.only_mentions(method):
            return f"without parentheses {method} is only mentioned, not called."
    if written.positional("delete_value") > 1:
        return "delete_value takes several keys as one list: what comes second is a user."
    if "delete_value" in written.calls and any(
        text and text != key and key.startswith(text.rstrip("*")) for text in written.texts
    ):
        return "delete_value takes a key to the letter; delete_keys deletes all that begin with a text."
    if "delete_keys" in written.calls and any("*" in text for text in written.texts):
        return "delete_keys takes what the keys begin with as it is: no * is needed."
    if "hdel" in written.calls:
        return "hdel removes a field of a hash; frappe.cache.delete_value(key) removes a key."
    if any(_stored(each) is MISS for each in gone):
        return "one down: delete_value takes a list of keys, too, and delete_keys what they begin with."
    return "frappe.cache.delete_value(key) removes a key."


def _why_field_not_deleted(field: str, value: Any) -> str:
    written = Written()
    if written.only_mentions("hdel"):
        return "without parentheses hdel is only mentioned, not called: hdel(name, field)."
    if "hdel" in written.calls and value in written.texts:
        return "hdel takes the name of the field, not what is in it."
    if "hdel" in written.calls:
        close = [text for text in written.texts if text != field and text.strip().lower() == field.lower()]
        if close:
            return f"there is no field {close[0]!r}: names are taken to the letter."
    if "delete_value" in written.calls:
        return "delete_value removes whole keys; a field of a hash goes with frappe.cache.hdel(name, field)."
    return "frappe.cache.hdel(name, field) removes one field."


def _why_different_dict(found: dict[Any, Any], value: dict[Any, Any]) -> str:
    missing = [key for key in value if key not in found]
    if missing:
        return f"there is no {missing[0]!r} in it."
    more = [key for key in found if key not in value]
    if more:
        return f"{more[0]!r} is not wanted in it."
    key = next(key for key in value if not same(found[key], value[key]))
    if found[key] == [] and value[key]:
        return f"{key!r} is empty: a generator gives its values once. Run the cell that makes it again."
    return f"{key!r} is {short(found[key])}, and {short(value[key])} is wanted."


def _why_different(found: Any, value: Any) -> str:
    if found is None:
        return "None was stored, which is what print() gives, and each function that returns nothing."
    if isinstance(found, str) and isinstance(value, str) and found.strip().lower() == value.lower():
        return "text is taken to the letter: look at capitals, and at spaces at the ends."
    if isinstance(found, dict) and isinstance(value, dict):
        return _why_different_dict(found, value)
    if isinstance(found, str) and not isinstance(value, str):
        return f"that is text; store the {type(value).__name__} itself, it needs no str() and no quotes."
    if type(found) is not type(value):
        return f"that is of type {type(found).__name__}, and {type(value).__name__} is wanted."
    return "store the new value under the same key; it replaces the old one."
