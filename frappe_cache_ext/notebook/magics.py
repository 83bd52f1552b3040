"""The magics for keys and hashes: ``%cache_set``, ``%cache_get`` and their kin."""

from __future__ import annotations

import math
from argparse import Namespace
from typing import Any

from IPython.core.magic import Magics, magics_class
from traitlets import Bool, Float, Int

from ..errors import MISS
from .arguments import EXPRESSION, KEY, SHARED, TTL, USER, UserError, argument, cache_magic, seconds
from .expressions import evaluate
from .tables import Table
from .target import RealFrappe, Target
from .views import list_keys

NAME = argument("name", metavar="NAME", help="The hash's key.")
FIELD = argument("field", metavar="FIELD", help="The field.")


@magics_class
class CacheMagics(Magics):
    """What all magics go by, set with ``%config CacheMagics.NAME = value``, and those for keys and hashes."""

    ttl = Float(None, allow_none=True, min=0, help="Seconds for which %cache_set keeps a value; None for ever.").tag(
        config=True
    )
    cached_ttl = Float(
        3600.0, allow_none=True, min=0, help="Seconds for which %cached keeps a value; None for ever."
    ).tag(config=True)
    cell_max_bytes = Int(1 << 30, min=1, help="Bytes of the largest cell that %%cached stores.").tag(config=True)
    quiet = Bool(False, help="Say nothing about what was done; errors are said all the same.").tag(config=True)
    max_rows = Int(50, min=1, help="How many rows a table shows.").tag(config=True)

    def __init__(self, frappe: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target: Target = Target() if frappe is None else RealFrappe(frappe)

    def say(self, text: str) -> None:
        """Say what was done, unless nothing is to be said."""
        if not self.quiet:
            print(text)

    @cache_magic(KEY, EXPRESSION, TTL, USER, SHARED, words=1)
    def cache_set(self, given: Namespace, local_ns: dict[str, Any] | None) -> None:
        """Store the value of a Python expression.

        Example: ``%cache_set color "green" --ttl 60``
        """
        value = evaluate(given.expression, self.shell, local_ns)
        ttl = self.ttl if not_given(given.ttl) else given.ttl
        self.target.check()
        self.target.cache.set_value(given.key, value, user=given.user, expires_in_sec=ttl or None, shared=given.shared)

    @cache_magic(KEY, USER, SHARED)
    def cache_get(self, given: Namespace) -> Any:
        """The value of a key, to be shown or assigned.

        Example: ``color = %cache_get color``
        """
        found = self._find(given.key, "string", given.user, given.shared)
        value = MISS if found is None else self.target.get(given.key, given.user, given.shared)
        if value is MISS:
            self._say_no_such_key(given.key)
            return None
        return value

    @cache_magic(argument("keys", metavar="KEY", nargs="+", help="The keys."), USER, SHARED)
    def cache_del(self, given: Namespace) -> None:
        """Delete keys, and say how many there were.

        Example: ``%cache_del color shape``
        """
        self.target.check()
        there = int(self.target.cache.exists(*dict.fromkeys(given.keys), user=given.user, shared=given.shared))
        self.target.cache.delete_value(given.keys, user=given.user, shared=given.shared)
        self.say(f"deleted {there} of {count(len(dict.fromkeys(given.keys)), 'key')}")

    @cache_magic(
        KEY,
        argument(
            "ttl", metavar="S", type=seconds, nargs="?", default=math.nan, help="Seconds from now; none for ever."
        ),
        USER,
        SHARED,
    )
    def cache_ttl(self, given: Namespace) -> float | None:
        """The seconds until a key expires, ``inf`` for never; or let it expire in some seconds.

        Example: ``%cache_ttl color 60``
        """
        name = self._find(given.key, None, given.user, given.shared)
        if name is None:
            self._say_no_such_key(given.key)
            return None
        client = self.target.client
        if not_given(given.ttl):
            left = client.pttl(name)
            return math.inf if left < 0 else math.ceil(left / 1000)
        if given.ttl is None:
            client.persist(name)
        else:
            self.target.cache.expire_key(given.key, given.ttl, user=given.user, shared=given.shared)
        return None

    @cache_magic(argument("prefix", metavar="PREFIX", nargs="?", default="", help="What the keys begin with."))
    def cache_keys(self, given: Namespace) -> Table:
        """The site's keys: what each holds, and when it expires.

        Example: ``%cache_keys user:``
        """
        self.target.check()
        return list_keys(self.target, given.prefix, self.max_rows)

    # --- hashes ---------------------------------------------------------------------------------------------------

    @cache_magic(NAME, FIELD, EXPRESSION, words=2)
    def cache_hset(self, given: Namespace, local_ns: dict[str, Any] | None) -> None:
        """Store the value of a Python expression in a field of a hash.

        Example: ``%cache_hset user|admin name "Admin"``
        """
        value = evaluate(given.expression, self.shell, local_ns)
        self._find(given.name, "hash")
        self.target.cache.hset(given.name, given.field, value)

    @cache_magic(NAME, FIELD)
    def cache_hget(self, given: Namespace) -> Any:
        """The value of a field of a hash, to be shown or assigned.

        Example: ``%cache_hget user|admin name``
        """
        if self._find(given.name, "hash") is None:
            self._say_no_such_key(given.name)
            return None
        value = self.target.hget(given.name, given.field)
        if value is MISS:
            print(f"no such field: {given.field!r} in {given.name!r}")
            return None
        return value

    @cache_magic(NAME)
    def cache_hgetall(self, given: Namespace) -> dict[str, Any] | None:
        """All fields of a hash, as a dictionary.

        Example: ``%cache_hgetall user|admin``
        """
        if self._find(given.name, "hash") is None:
            self._say_no_such_key(given.name)
            return None
        found = self.target.cache.hgetall(given.name)
        return {field if isinstance(field, str) else field.decode(): value for field, value in found.items()}

    @cache_magic(NAME, argument("fields", metavar="FIELD", nargs="+", help="The fields."))
    def cache_hdel(self, given: Namespace) -> None:
        """Delete fields of a hash, and say how many there were.

        Example: ``%cache_hdel user|admin email``
        """
        self._find(given.name, "hash")
        fields = list(dict.fromkeys(given.fields))
        there = sum(bool(self.target.cache.hexists(given.name, field)) for field in fields)
        for field in fields:
            self.target.cache.hdel(given.name, field)
        self.say(f"deleted {there} of {count(len(fields), 'field')}")

    # --- in common ------------------------------------------------------------------------------------------------

    def _find(self, key: str, kind: str | None, user: str | bool | None = None, shared: bool = False) -> bytes | None:
        """The name on the wire of a key that there is; None where there is none.

        Raises:
            UserError: the server does not answer, or what stands under the key is of another type.
        """
        self.target.check()
        name: bytes = self.target.cache.make_key(key, user, shared)
        found = self.target.kind(name)
        if found is None:
            return None
        if kind not in (None, found):
            raise UserError(f"{key!r} is not a {kind} but a {found}; {_READ_WITH.get(found, _READ_RAW)} reads it")
        return name

    def _say_no_such_key(self, key: str) -> None:
        print(f"no such key: {key!r}")


_READ_WITH = {"string": "%cache_get", "hash": "%cache_hgetall"}
_READ_RAW = "%redis"


def not_given(ttl: float | None) -> bool:
    """Whether --ttl was left out, which is not the same as none."""
    return ttl is not None and math.isnan(ttl)


def count(number: int, noun: str) -> str:
    """A number of things: ``1 key``, ``2 keys``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
