"""`frappe-cache doctor`: one screen that says what is found, what is wrong, and what to do about it.

A doctor is called when things are broken, so no fault may end the examination: each part of it stands alone, and what
goes wrong inside one becomes a finding. It starts no server; the one thing it writes is a key that it deletes again.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from textwrap import TextWrapper
from typing import Any, Final

from . import __version__, keys, server
from .bench import configured_port
from .bench_sites import find_bench, list_sites
from .cli_text import WIDTH, Terminal, count, memory, printable
from .connections import Client, connection_for
from .errors import CacheError, CacheUnavailable, CacheWarning, ServerError, ServerNotFound, SettingsError
from .settings import ENVIRONMENT_PREFIX, Settings, mask_url

_MOST_KEYS: Final = 100_000
"""Keys to count before it is enough to know that there are more: a screen should not take a minute."""

_OPTIONAL: Final = {"IPython": "ipython", "JupyterLab": "jupyterlab", "hiredis": "hiredis", "SQLAlchemy": "sqlalchemy"}

_REMEDIES: Final = {
    "MISCONF": "Its disk is full or its folder not writable: see its log, make room, and it goes on by itself.",
    "OutOfMemoryError": "Its memory is full: raise maxmemory, and set maxmemory-policy to allkeys-lru.",
    "ReadOnlyError": "It is a replica: name the primary in the url, or use sentinel://.",
    "NoPermissionError": "Its ACL forbids it: give this user the commands and the site's keys.",
}
"""What to do when a write is refused, by a word of the error: redis-py's name for it, or the server's."""

Row = tuple[str, ...]
"""A label, a value, and perhaps where the value is from."""


@dataclass
class Report:
    """What the examination has found so far.

    Attributes:
        sections: rows under their titles.
        wrong: what is wrong, each with its remedy (or without, where the text names it).
        notes: what is worth knowing and not wrong.
    """

    sections: dict[str, list[Row]] = field(default_factory=dict)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def blame(self, what: str, remedy: str = "") -> None:
        """Record something wrong, once."""
        if what not in [known for known, _ in self.wrong]:
            self.wrong.append((what, remedy))

    def examine(self, title: str, look: Callable[..., Iterator[Row]], *arguments: Any) -> None:
        """Fill one section, whatever happens meanwhile."""
        rows = self.sections.setdefault(title, [])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                rows.extend(look(self, *arguments))
            except CacheError as error:
                self.blame(str(error))
            except Exception as error:  # a doctor that dies of the patient's illness helps nobody
                self.blame(f"{title}: {type(error).__name__}: {error}")
        for warning in caught:
            if issubclass(warning.category, CacheWarning):
                self.blame(str(warning.message))


def run_doctor(arguments: Mapping[str, str]) -> int:
    """Examine, print the screen, and return the exit code: 1 if something is wrong.

    Args:
        arguments: the settings that the command line names.
    """
    report = Report()
    settings = load_what_can_be(arguments, os.environ, report)
    report.examine("settings", _settings, settings)
    report.examine("server", _server, settings)
    report.examine("embedded server", _embedded, settings)
    report.examine("bench", _bench, settings)
    report.examine("parts", _parts)
    _print(report)
    return 1 if report.wrong else 0


def load_what_can_be(arguments: Mapping[str, str], environ: Mapping[str, str], report: Report) -> Settings:
    """The settings without those that are broken, which become findings.

    The one to leave out is the one without which the message is gone: the others are still worth seeing.
    """
    said = {("", name): value for name, value in arguments.items()}
    said |= {("env", name): value for name, value in environ.items()}

    def attempt(without: tuple[str, str] | None = None) -> Settings | str:
        kept = {name: value for name, value in said.items() if name != without}
        named = {name: value for (kind, name), value in kept.items() if not kind}
        try:
            return Settings.load(environ={name: value for (kind, name), value in kept.items() if kind}, **named)
        except SettingsError as error:
            return str(error)

    while True:
        found = attempt()
        if isinstance(found, Settings):
            return found
        report.blame(found)
        suspects = [name for name in said if not name[0] or name[1].startswith(ENVIRONMENT_PREFIX)]
        culprits = [name for name in suspects if attempt(without=name) != found]
        # Two together where neither alone will do: nothing is left but to start from the defaults.
        for name in culprits[:1] or suspects:
            del said[name]
        if not suspects:
            return Settings()


# --- the parts ----------------------------------------------------------------------------------------------------


def _settings(_report: Report, settings: Settings) -> Iterator[Row]:
    yield from settings.describe()


def _server(report: Report, settings: Settings) -> Iterator[Row]:
    yield "url", mask_url(settings.url)
    if settings.url.startswith("embedded://"):
        running = server.status(settings.server_home)
        if running is None:
            if server.crashed(settings.server_home):
                report.notes.append("The embedded server was killed; the next use starts it again, with its data.")
            yield "state", "not running; the first use starts it, and so does `frappe-cache serve`"
            return
    elif settings.url.startswith("memory://"):
        yield "state", "lives in each process apart and ends with it"
        return
    connection = connection_for(settings)
    try:
        connection.check()
    except CacheUnavailable as error:
        yield "state", "not reachable"
        report.blame(f"The server at {mask_url(settings.url)} cannot be used: {error}.", _how_to_reach(settings, error))
        return
    yield from _facts(report, connection.client)
    prefix = keys.site_prefix(settings.db_name)
    _try_to_write(report, connection.client, prefix)
    found = sum(1 for _ in islice(connection.client.scan_iter(keys.starts_with(prefix), 1000), _MOST_KEYS))
    yield "keys", f"{'more than ' * (found == _MOST_KEYS)}{count(found, 'key')} of site {settings.site}"


def _facts(report: Report, client: Client) -> Iterator[Row]:
    told = client.info()
    nodes = [part for part in told.values() if isinstance(part, dict) and "used_memory" in part]
    info = nodes[0] if nodes else told  # a cluster answers node by node
    name = "Valkey" if "valkey_version" in info else "Redis"
    yield "state", f"reachable: {name} {info.get('valkey_version') or info.get('redis_version', '?')}"
    limit, policy = int(info.get("maxmemory", 0)), str(info.get("maxmemory_policy", "?"))
    used = memory(int(info.get("used_memory", 0)))
    yield "memory", f"{used} used, {f'{memory(limit)} at most' if limit else 'without a limit'}, {policy}"
    yield "persistence", _persistence(info, client)
    if limit and policy == "noeviction":
        report.blame(
            f"The server has maxmemory {memory(limit)} with maxmemory-policy noeviction: once that is full it "
            "refuses every write.",
            "Put `maxmemory-policy allkeys-lru` into its configuration and restart it.",
        )
    elif limit and policy.startswith("volatile"):
        report.notes.append(
            f"maxmemory-policy {policy} evicts only keys that expire; a server full of others refuses writes."
        )
    if not limit:
        report.notes.append("The server has no maxmemory: a cache that is never full grows until the machine is.")


def _try_to_write(report: Report, client: Client, prefix: bytes) -> None:
    from redis.exceptions import RedisError  # noqa: PLC0415  (redis is heavy: only those who use it load it)

    name = prefix + b"frappe-cache doctor " + secrets.token_hex(4).encode()
    try:
        client.set(name, b"", px=10_000)
        client.delete(name)
    except RedisError as error:
        remedy = next((remedy for kind, remedy in _REMEDIES.items() if kind in f"{type(error).__name__} {error}"), "")
        report.blame(f"The server refuses writes: {error}", remedy or "See its log.")


def _persistence(info: Mapping[str, Any], client: Client) -> str:
    if info.get("aof_enabled"):
        return "append-only file: a restart loses nothing"
    from redis.exceptions import RedisError  # noqa: PLC0415

    try:
        snapshots = client.config_get("save").get("save")
    except RedisError:  # managed servers keep CONFIG to themselves
        return "no append-only file"
    return f"snapshots ({snapshots})" if snapshots else "none: a restart begins empty"


def _how_to_reach(settings: Settings, error: CacheUnavailable) -> str:
    from redis.exceptions import AuthenticationError, InvalidResponse  # noqa: PLC0415

    origin = settings.origins.get("url", "default")
    if isinstance(error.__cause__, AuthenticationError):
        return f"Put the password into the url ({origin}), as in redis://:PASSWORD@127.0.0.1:6379."
    if isinstance(error.__cause__, InvalidResponse):
        return f"What listens there is no Redis: correct the port in the url ({origin})."
    if settings.bench is not None and origin not in ("argument", f"{ENVIRONMENT_PREFIX}URL"):
        return f"Start it in {settings.bench} with: redis-server config/redis_cache.conf (or: bench start)"
    return f"Start it, or correct the url ({origin}); without one, the embedded server is used."


def _embedded(report: Report, settings: Settings) -> Iterator[Row]:
    used = settings.url.startswith("embedded://")
    yield "home", str(settings.server_home)
    try:
        yield "binary", str(server.find_binary())
    except ServerNotFound as error:
        first, *others = str(error).splitlines()
        yield "binary", "none"
        if used:
            report.blame(f"{first} Values are kept in each process apart meanwhile.", " ".join(map(str.strip, others)))
    try:
        running = server.status(settings.server_home)
        trouble = server.trouble(settings.server_home)
    except ServerError as error:
        yield "state", "unusable"
        if used:
            report.blame(str(error))
        return
    yield "state", "not running" if running is None else f"{running.version}, process {running.pid}"
    if trouble is not None:
        report.blame(trouble)
    folder = next(path for path in (settings.server_home, *settings.server_home.parents) if path.exists())
    try:
        # Permissions alone do not tell: the disk may be read-only, or the user root. The file has no name.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if used:
            report.blame(
                f"{folder} takes no new files ({error.strerror}), so the embedded server cannot keep its own there.",
                f"Correct its permissions, or set {ENVIRONMENT_PREFIX}HOME to another folder.",
            )


def _bench(report: Report, settings: Settings) -> Iterator[Row]:
    if settings.bench is None:
        around = find_bench()
        if around is not None:
            report.notes.append(f"This folder is inside the bench {around}; `--bench {around}` uses its server.")
        return
    yield "folder", str(settings.bench)
    yield "sites", ", ".join(list_sites(settings.bench)) or "none"
    conf = settings.bench / "config" / "redis_cache.conf"
    if not conf.exists():
        report.notes.append(f"{conf} does not exist; `frappe-cache bench-config {settings.bench}` writes it.")
        return
    port = re.search(r"^port (\d+)\s*$", conf.read_text("utf-8", "replace"), re.MULTILINE)
    yield "cache", f"config/redis_cache.conf, port {port[1] if port else 'unknown'}"
    wanted = configured_port(settings.bench)
    if port is not None and wanted is not None and int(port[1]) != wanted:
        report.blame(
            f"The sites of {settings.bench} look for their cache on port {wanted}, and {conf} says port {port[1]}.",
            "Make them the same: correct redis_cache in sites/common_site_config.json, or write the file anew with "
            "`frappe-cache bench-config --force`.",
        )


def _parts(_report: Report) -> Iterator[Row]:
    from importlib import metadata, util  # noqa: PLC0415  (slow to load, and needed here only)

    found = []
    for name, package in _OPTIONAL.items():
        try:
            found.append(f"{name} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} -")
    yield "found", ", ".join(found)
    yield "Python", sys.executable
    frappe = util.find_spec("frappe")
    where = frappe.origin or ", ".join(frappe.submodule_search_locations or ()) if frappe is not None else "-"
    yield "Frappe", where if frappe is None else f"{where}: the magics use its own frappe.cache"


# --- the screen ---------------------------------------------------------------------------------------------------


def _print(report: Report) -> None:
    terminal = Terminal()
    system = f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}"
    print(terminal.paint("bold", f"frappe-cache-ext {__version__}") + f", Python {platform.python_version()}, {system}")
    for title, rows in report.sections.items():
        if not rows:
            continue
        print()
        print(terminal.paint("bold", title))
        for label, value, *origin in rows:
            line = f"  {label:<13} {printable(value)}"
            print(f"{line:<48}  {terminal.paint('dim', f'({printable(origin[0])})')}" if origin else line)
    print()
    for note in report.notes:
        print(_wrapped("note: ", note))
    for what, remedy in report.wrong:
        lines = [*what.splitlines(), *remedy.splitlines()]
        marked = _wrapped("wrong: ", lines[0], *lines[1:])
        print(terminal.paint("bad", "wrong:") + marked.removeprefix("wrong:"))
    if not report.wrong:
        print(terminal.paint("good", "Nothing is wrong."))


def _wrapped(mark: str, *lines: str) -> str:
    indent = " " * len(mark)
    wrap = TextWrapper(WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    wrapped = []
    for index, line in enumerate(lines):
        wrap.initial_indent = indent if index else mark
        wrapped.append(wrap.fill(printable(line)))
    return "\n".join(wrapped)
