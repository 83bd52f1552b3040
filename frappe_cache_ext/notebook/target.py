"""The cache that the magics work on: this package's, or that of a real Frappe."""

from __future__ import annotations

from typing import Any

from .. import context, keys
from ..codec import Codec
from ..connections import Connection, connection_for
from ..effects import Pipeline
from ..errors import MISS, CacheUnavailable
from ..operations import Scope
from ..settings import Settings
from .arguments import UserError


class Target:
    """This package's cache."""

    @property
    def cache(self) -> Any:
        """`frappe.cache`."""
        from .. import cache  # noqa: PLC0415  (what it needs is loaded by the first magic, not with the extension)

        return cache

    @property
    def client(self) -> Any:
        """The client of redis-py."""
        return self.cache.redis

    @property
    def codec(self) -> Codec:
        """Turns the bytes of values into something that can be shown."""
        codec: Codec = self.cache.connection.codec
        return codec

    @property
    def connection(self) -> Connection:
        """The server, as operations reach it."""
        connection: Connection = self.cache.connection
        return connection

    def cell_scope(self) -> Scope:
        """What operations on cells work with: nothing of them is held for the request."""
        connection = self.connection
        return Scope(connection.codec, connection.stats, connection.generations)

    @property
    def site(self) -> str:
        """The current site's name."""
        return context.current_settings().site

    @property
    def user(self) -> str:
        """The session's user."""
        return context.current_user()

    def check(self) -> None:
        """Make sure that the server answers.

        Raises:
            UserError: it does not; the error says why.
        """
        try:
            self.cache.connection.check()
        except CacheUnavailable as error:
            url = context.current_settings().describe()[0][1]
            raise UserError(f"the cache at {url} cannot be reached: {error}") from None

    def set_site(self, site: str) -> None:
        """Work for another site from now on, on the same server or in the same bench."""
        said = chosen()
        said.pop("db_name", None)
        context.init(**said | {"site": site})

    def set_user(self, user: str) -> None:
        """Be another user from now on."""
        try:
            context.set_user(user)
        except ValueError as error:
            raise UserError(str(error)) from None

    def kind(self, name: bytes) -> str | None:
        """The Redis type of an entry, None where there is no such key."""
        (reply,) = self.cache.connection.perform(Pipeline((("TYPE", name),)))
        kind = reply if isinstance(reply, str) else reply.decode()
        return None if kind == "none" else kind

    def get(self, key: str, user: str | bool | None, shared: bool) -> Any:
        """The value of a key, or MISS."""
        return self.cache.get_value(key, user=user, shared=shared, default=MISS)

    def hget(self, name: str, field: str) -> Any:
        """The value of a field of a hash, or MISS."""
        return self.cache.hget(name, field, default=MISS)

    def site_prefix(self) -> bytes:
        """What the names of the site's keys begin with."""
        prefix: bytes = self.cache.make_key("")
        return prefix

    def clear(self, user: str | None, doctype: str | None) -> int:
        """Clear the cache of the site, of a user or of a DocType; how many fields of hashes went that stay."""
        from .. import clearing  # noqa: PLC0415

        names, field = (clearing.USER_HASHES, user) if user else (clearing.DOCTYPE_HASHES, doctype)
        fields = sum(map(self.cache.hexists, names, [field] * len(names))) if field else 0
        clearing.clear_cache(user, doctype)
        return fields


class RealFrappe(Target):
    """The cache of a Frappe that is installed here.

    Args:
        frappe: the module.
    """

    def __init__(self, frappe: Any) -> None:
        self.frappe = frappe

    @property
    def cache(self) -> Any:
        """`frappe.cache`, a function up to Frappe 14."""
        found = self.frappe.cache
        return found if hasattr(found, "get_value") else found()

    @property
    def client(self) -> Any:
        """The client of redis-py, which Frappe's wrapper itself is."""
        return self.cache

    @property
    def connection(self) -> Connection:
        """The same server, as operations reach it.

        Raises:
            CacheUnavailable: Frappe's configuration names none.
        """
        url = (getattr(self.frappe.local, "conf", None) or {}).get("redis_cache")
        if not url:
            raise CacheUnavailable("Frappe's configuration names no redis_cache")
        return connection_for(Settings.load(site=self.site, url=url))

    @property
    def codec(self) -> Codec:
        """Frappe writes plain pickles."""
        return Codec()

    @property
    def site(self) -> str:
        """The current site's name."""
        site = getattr(self.frappe.local, "site", None)
        if not site:
            raise UserError("Frappe works for no site yet; choose one with %cache_site in the bench's folder sites")
        return str(site)

    @property
    def user(self) -> str:
        """The session's user."""
        session = getattr(self.frappe.local, "session", None)
        return str(getattr(session, "user", None) or "Guest")

    def check(self) -> None:
        """Make sure that the server answers.

        Raises:
            UserError: it does not, or there is no site yet.
        """
        from redis.exceptions import ConnectionError, TimeoutError  # noqa: PLC0415  (as the rest of redis: when used)

        _ = self.site
        try:
            self.cache.ping()
        except (ConnectionError, TimeoutError, OSError) as error:
            raise UserError(f"Frappe's cache cannot be reached: {error}") from None

    def set_site(self, site: str) -> None:
        """Leave the current site and enter another."""
        try:
            self.frappe.destroy()
            self.frappe.init(site)
        except Exception as error:  # whatever Frappe thinks of the name
            raise UserError(f"{type(error).__name__}: {error}") from None

    def set_user(self, user: str) -> None:
        """Be another user from now on."""
        self.frappe.set_user(user)

    def kind(self, name: bytes) -> str | None:
        """The Redis type of an entry, None where there is no such key."""
        reply = self.cache.type(name)
        kind = reply if isinstance(reply, str) else reply.decode()
        return None if kind == "none" else kind

    def get(self, key: str, user: str | bool | None, shared: bool) -> Any:
        """The value of a key, or MISS."""
        value = self.cache.get_value(key, user=user, shared=shared)
        return MISS if value is None and not self.cache.exists(key, user=user, shared=shared) else value

    def hget(self, name: str, field: str) -> Any:
        """The value of a field of a hash, or MISS."""
        value = self.cache.hget(name, field)
        return MISS if value is None and not self.cache.hexists(name, field) else value

    def clear(self, user: str | None, doctype: str | None) -> int:
        """Clear the cache of the site, of a user or of a DocType."""
        self.frappe.clear_cache(user=user, doctype=doctype)
        return 0


def chosen() -> dict[str, Any]:
    """What was said about the current site when it was chosen, so that it can be chosen anew with one thing changed."""
    settings = context.current_settings()
    return {name: getattr(settings, name) for name, origin in settings.origins.items() if origin == "argument"}


def text_of(name: Any) -> str:
    """A name on the wire as text."""
    return keys.decode(name) if isinstance(name, bytes) else str(name)
