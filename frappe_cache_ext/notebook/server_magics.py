"""The magics for the server, the site and the user: ``%cache_connect``, ``%cache_stats``, ``%redis`` and their kin."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Final

from IPython.core.magic import Magics, magics_class

from .. import bench_sites, connections, context, keys
from ..errors import CacheUnavailable, DocumentError, SettingsError
from ..settings import Settings, mask_url
from .arguments import UserError, argument, cache_magic
from .magics import CacheMagics, count
from .replies import Reply
from .tables import Table
from .target import RealFrappe, Target, chosen
from .views import server_facts, server_name, statistics

SITE: Final = argument("--site", metavar="SITE", help="The site; without it, the one chosen before or the bench's own.")

_ENDLESS: Final = frozenset(("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SYNC", "PSYNC"))
_OF_TRANSACTIONS: Final = frozenset(("MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"))
_CHANGES_CONNECTION: Final = frozenset(("SELECT", "AUTH", "HELLO", "RESET", "QUIT", "CLIENT", "READONLY", "READWRITE"))


@magics_class
class ServerMagics(Magics):
    """The magics that say where the cache is, whose it is, and how it does."""

    def __init__(self, common: CacheMagics, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.common = common

    @property
    def target(self) -> Target:
        """The cache that the magics work on."""
        return self.common.target

    @cache_magic(
        argument("url", metavar="URL", nargs="?", help="The server, as redis://localhost:6379/0 or unix:///path."),
        argument("--bench", metavar="DIR", help="A bench's folder, whose files name the server and its sites."),
        SITE,
    )
    def cache_connect(self, given: Namespace) -> None:
        """Connect to a server, or to the one of a bench, and make sure that it answers.

        Example: ``%cache_connect --bench ~/frappe-bench --site library.localhost``
        """
        if isinstance(self.target, RealFrappe):
            raise UserError("Frappe itself is installed here, and its own settings name the server; see %cache_site")
        settings = Settings.load(**_wanted(given))
        try:
            connections.connection_for(settings).check()
        except CacheUnavailable as error:
            # The site that was chosen before stays chosen.
            raise UserError(f"the cache at {mask_url(settings.url)} cannot be reached: {error}") from None
        context.enter(settings)
        self.common.say(self._connected(settings) + _other_sites(settings, given) + _database(settings))

    def _connected(self, settings: Settings) -> str:
        server = server_name(server_facts(self.target))
        number = count(len(self.target.cache.get_keys("")), "key")
        return f"connected to {server} at {mask_url(settings.url)}: site {settings.site}, {number}"

    @cache_magic(argument("site", metavar="SITE", nargs="?", help="The site to work for from now on."))
    def cache_site(self, given: Namespace) -> str | None:
        """The current site's name; or work for another site from now on.

        Example: ``%cache_site library.localhost``
        """
        if given.site is None:
            return self.target.site
        self.target.set_site(given.site)
        self.common.say(f"site {self.target.site}, user {self.target.user}")
        return None

    @cache_magic(argument("user", metavar="USER", nargs="?", help="The user to be from now on."))
    def cache_user(self, given: Namespace) -> str | None:
        """The session's user; or be another user from now on.

        Example: ``%cache_user anna@example.com``
        """
        if given.user is None:
            return self.target.user
        self.target.set_user(given.user)
        self.common.say(f"user {self.target.user}")
        return None

    @cache_magic()
    def cache_stats(self, given: Namespace) -> Table:
        """How the cache does: hits, misses, memory, evictions, keys.

        Example: ``%cache_stats``
        """
        self.target.check()
        return statistics(self.target)

    @cache_magic(
        argument("--user", metavar="U", help="Clear what is cached for this user."),
        argument("--doctype", metavar="D", help="Clear what is cached about this DocType."),
        argument("prefix", metavar="PREFIX", nargs="?", help="Delete the keys that begin with this text."),
    )
    def cache_clear(self, given: Namespace) -> None:
        """Clear the site's cache, or a part of it, and say how much that was; shared keys stay.

        Example: ``%cache_clear slow_addition``
        """
        parts = [part for part in (given.user, given.doctype, given.prefix) if part is not None]
        if len(parts) > 1:
            raise UserError("%cache_clear: name one of --user, --doctype and PREFIX")
        self.target.check()
        cache, site = self.target.cache, self.target.site
        before = len(cache.get_keys(""))
        if given.prefix is not None:
            cache.delete_keys(given.prefix)
            what = f" beginning with {given.prefix!r}"
        else:
            fields = self.target.clear(given.user, given.doctype)
            what = f" and {count(fields, 'field')}" if fields else ""
            what += f" of user {given.user}" if given.user else f" about {given.doctype}" if given.doctype else ""
        self.common.say(f"cleared {count(before - len(cache.get_keys('')), 'key')}{what}: site {site}")

    @cache_magic(
        argument("command", metavar="COMMAND", nargs="*", help="The command and its arguments."), verbatim=True
    )
    def redis(self, given: Namespace) -> Reply:
        """Send a command to the server as it is, and show the reply as redis-cli does.

        Keys are names on the wire here, with the site's prefix: see ``frappe.cache.make_key``.

        Example: ``%redis TTL _b2c8d7b7a4326a43|color``
        """
        command = given.command
        if not command:
            raise UserError("%redis: name a command, for example %redis PING")
        word = command[0].upper()
        if word in _ENDLESS:
            raise UserError(f"{word} goes on for ever; in a cell of its own, use frappe.cache.pubsub() or .monitor()")
        if word in _OF_TRANSACTIONS:
            raise UserError(f"{word}: each %redis line stands alone; a transaction is frappe.cache.pipeline()")
        self.target.check()
        reply = _send(self.target.client, [keys.encode(part) for part in command], word in _CHANGES_CONNECTION)
        return Reply(reply, word if len(command) == 1 else _full_name(word, command[1]))


def _wanted(given: Namespace) -> dict[str, Any]:
    """What was said about the site before, as far as it still holds, and what is said now."""
    dropped: set[str] = set()
    if given.url is not None:
        dropped |= {"bench"}
    if given.site is not None:
        dropped |= {"db_name"}
    if given.bench is not None:  # it brings its own server and sites
        dropped |= {"url", "site", "db_name"}
    said = {"url": given.url, "bench": given.bench, "site": given.site}
    kept = {name: value for name, value in chosen().items() if name not in dropped}
    return kept | {name: value for name, value in said.items() if value is not None}


def _send(client: Any, command: list[bytes], changes_connection: bool) -> Any:
    from redis.exceptions import ResponseError  # noqa: PLC0415  (loaded by the first magic, not with the extension)

    try:
        pool = getattr(client, "connection_pool", None)
        if pool is None:  # a cluster, whose client has to find the node
            return client.execute_command(*command)
        # Past the client, which would make a dictionary of a reply here and a bool of one there.
        connection = pool.get_connection()
        try:
            connection.send_command(*command)
            return connection.read_response(disable_decoding=True)
        finally:
            if changes_connection:
                # The next to use it expects it as it was.
                connection.disconnect()
            pool.release(connection)
    except ResponseError as error:
        raise UserError(f"(error) {error}") from None


def _full_name(word: str, second: str) -> str:
    return f"{word} {second.upper()}" if word in ("CLIENT", "CLUSTER", "MEMORY", "LATENCY") else word


def _database(settings: Settings) -> str:
    """Whether the database that a bench's site names can be read, too."""
    if settings.bench is None:
        return ""
    if settings.database_url is None:
        return "; its kind of database is not known here"
    try:
        from ..documents.inspection import reach_database  # noqa: PLC0415  (SQLAlchemy is loaded for a database only)
    except ModuleNotFoundError:
        return "; its database is not read without SQLAlchemy: pip install 'frappe-cache-ext[documents]'"
    try:
        return f"; its database {reach_database()} can be read"
    except (DocumentError, SettingsError) as error:
        return f"; its database cannot be read: {error}"


def _other_sites(settings: Settings, given: Namespace) -> str:
    if given.bench is None or given.site is not None:
        return ""
    sites = bench_sites.list_sites(Path(given.bench))
    return f" (its sites: {', '.join(sites)})" if len(sites) > 1 else ""
