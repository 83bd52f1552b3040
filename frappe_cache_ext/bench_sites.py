"""Finding a bench on disk and reading what its sites say about their cache and database.

The files are read as Frappe 15 and 16 read them (`frappe.get_site_config`): `site_config.json` overrides
`common_site_config.json`, the ``FRAPPE_REDIS_CACHE`` and ``FRAPPE_DB_*`` variables override both, and what is empty
counts as absent. Frappe passes over a broken file with a printed line; here it is a `BenchError`, because a notebook
that silently talks to another server is worse than one that stops.

No message and no repr holds a password, whatever the files hold.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from .errors import BenchError, SettingsError

COMMON_CONFIG: Final = "common_site_config.json"
SITE_CONFIG: Final = "site_config.json"

DEFAULT_REDIS_CACHE: Final = "redis://127.0.0.1:13311"
"""What Frappe 15 and 16 take where no file names a cache (up to 14 it was port 11311; bench always writes one)."""

_VARIABLES: Final = {
    name: "FRAPPE_" + name.upper()
    for name in ("redis_cache", "db_type", "db_host", "db_port", "db_socket", "db_user", "db_password", "db_name")
}
_DEFAULT_PORTS: Final = {"mariadb": 3306, "postgres": 5432}
_DRIVERS: Final = {"mariadb": "mariadb+pymysql", "postgres": "postgresql+psycopg"}
_SEPARATOR_OR_GLOB: Final = re.compile(r"[|*?\[\]\\]")


@dataclass(frozen=True, slots=True)
class BenchSite:
    """What one site's two files say.

    Attributes:
        bench: the bench's folder, absolute.
        name: the site's name, which is also its folder's.
        db_name: what the site's keys begin with on the wire, before ``|``.
        redis_cache: the cache's URL; it may hold a password, so repr leaves it out.
        redis_cache_source: the file or variable that names the URL, or ``default``.
        db_type: ``mariadb``, ``postgres`` or ``sqlite``.
        db_host: the database server's host.
        db_port: the database server's port; None where the kind of database has none.
        db_socket: the database server's unix socket, which goes before host and port; usually None.
        db_user: the database's user; the database's name where no file says otherwise.
        db_password: the database user's password; repr leaves it out.
    """

    bench: Path
    name: str
    db_name: str
    redis_cache: str = field(default=DEFAULT_REDIS_CACHE, repr=False)
    redis_cache_source: str = "default"
    db_type: str = "mariadb"
    db_host: str = "127.0.0.1"
    db_port: int | None = 3306
    db_socket: str | None = None
    db_user: str = ""
    db_password: str | None = field(default=None, repr=False)

    @property
    def database_url(self) -> str | None:
        """The site's database as an SQLAlchemy URL, password included; None for a kind of database unknown here.

        Example:
            >>> BenchSite(Path("/b"), "lib.localhost", "_lib", db_user="_lib", db_password="a/b").database_url
            'mariadb+pymysql://_lib:a%2Fb@127.0.0.1:3306/_lib?charset=utf8mb4'
        """
        if self.db_type == "sqlite":
            return f"sqlite:///{self.bench / 'sites' / self.name / 'db' / (self.db_name + '.db')}"
        if self.db_type not in _DRIVERS:
            return None
        user = quote(self.db_user or self.db_name, safe="")
        password = "" if self.db_password is None else ":" + quote(self.db_password, safe="")
        host = f"[{self.db_host}]" if ":" in self.db_host else self.db_host
        server = "" if self.db_socket else host + ("" if self.db_port is None else f":{self.db_port}")
        options = ["charset=utf8mb4"] if self.db_type == "mariadb" else []
        if self.db_socket:
            name = "unix_socket" if self.db_type == "mariadb" else "host"
            options.append(f"{name}={quote(self.db_socket, safe='/')}")
        query = "?" + "&".join(options) if options else ""
        return f"{_DRIVERS[self.db_type]}://{user}{password}@{server}/{quote(self.db_name, safe='')}{query}"


def find_bench(start: Path | None = None) -> Path | None:
    """The nearest folder, from `start` upwards, that is a bench; None where there is none.

    A bench holds `sites/common_site_config.json` and either `apps/` or a `Procfile`.

    Args:
        start: the folder to begin at; the current folder where None.
    """
    folder = absolute(start or Path.cwd())
    for candidate in (folder, *folder.parents):
        beside = _is_file(candidate / "Procfile") or _is_file(candidate / "apps", stat.S_ISDIR)
        if beside and _is_file(candidate / "sites" / COMMON_CONFIG):
            return candidate
    return None


def absolute(path: Path) -> Path:
    """The path from the root, ``~`` and ``..`` undone and links kept: a bench is often reached through a link."""
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111


def list_sites(bench: Path) -> list[str]:
    """The names of a bench's sites, sorted: the folders in `sites` that hold a `site_config.json`.

    Raises:
        BenchError: the folder is no bench or cannot be read.
    """
    sites = _sites_folder(bench)
    try:
        names = sorted(path.name for path in sites.iterdir())
    except OSError as error:
        raise BenchError(_unreadable(sites, error)) from None
    return [name for name in names if _is_file(sites / name / SITE_CONFIG)]


def read_site(bench: Path, site: str | None = None, *, environ: Mapping[str, str] | None = None) -> BenchSite:
    """What the files of a bench say about one of its sites.

    A site that is not named is the one that Frappe would take (the variable ``FRAPPE_SITE``, then `default_site` of
    `common_site_config.json`), or the one in `sites/currentsite.txt` as older benches have it, or the only one.

    Args:
        bench: the bench's folder.
        site: the site's name.
        environ: the environment, for Frappe's own variables; `os.environ` where None.

    Raises:
        BenchError: a folder, file or entry is missing or broken; the message names it and the remedy.
    """
    environ = os.environ if environ is None else environ
    sites = _sites_folder(bench)
    common = read_json(
        sites / COMMON_CONFIG, "a bench keeps its cache's address there; `bench init` writes it, '{}' is enough"
    )
    name = _check_site(sites, *_choose_site(sites, site, common, environ))
    own = read_json(sites / name / SITE_CONFIG, "`bench new-site` writes it")
    entries = _Entries(((sites / name / SITE_CONFIG, own), (sites / COMMON_CONFIG, common)), environ)

    db_name, source = entries.text("db_name")
    if db_name is None:
        raise BenchError(
            f"{sites / name / SITE_CONFIG} has no db_name, which every key of the site begins with; "
            'add the name of the site\'s database: "db_name": "...".'
        )
    try:
        check_db_name(db_name)
    except SettingsError as error:
        raise BenchError(f"{source}: {error}") from None
    db_type = entries.text("db_type")[0] or "mariadb"
    redis_cache, redis_cache_source = _redis_cache(entries)
    return BenchSite(
        bench=sites.parent,
        name=name,
        db_name=db_name,
        redis_cache=redis_cache,
        redis_cache_source=redis_cache_source,
        db_type=db_type,
        db_host=entries.text("db_host")[0] or "127.0.0.1",
        db_port=entries.port("db_port") or _DEFAULT_PORTS.get(db_type),
        db_socket=entries.text("db_socket")[0],
        db_user=entries.text("db_user")[0] or db_name,
        db_password=entries.text("db_password")[0],
    )


def check_db_name(db_name: str) -> None:
    r"""Refuse a database name that would let one site's keys be taken for another's.

    Example:
        >>> check_db_name("_69b1e93fd3625cfc")
        >>> check_db_name("lib*")
        Traceback (most recent call last):
            ...
        frappe_cache_ext.errors.SettingsError: The db_name 'lib*' holds '*'; the site's keys begin with it, so it ...

    Raises:
        SettingsError: it is empty, holds ``|`` or one of the glob characters ``*?[]\``, or is no Unicode text.
    """
    if not db_name:
        raise SettingsError("The db_name is empty; the site's keys begin with it, so it must name the site's database.")
    if found := _SEPARATOR_OR_GLOB.search(db_name):
        raise SettingsError(
            f"The db_name {db_name!r} holds {found[0]!r}; the site's keys begin with it, so it may hold none of "
            "| * ? [ ] \\, which would let it reach another site's keys."
        )
    if any(unicodedata.category(character) == "Cs" for character in db_name):
        raise SettingsError(f"The db_name {db_name!r} holds half a character (a lone surrogate); write it out.")


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a bench's file.

    Args:
        path: the file.
        remedy: what to do where it is missing, as half a sentence.

    Raises:
        BenchError: the file is missing, unreadable, no JSON or no object; with line and column where there are some.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BenchError(f"{path} does not exist; {remedy}.") from None
    except OSError as error:
        raise BenchError(_unreadable(path, error)) from None
    # `from None` throughout: a JSON error carries the whole document, passwords included.
    try:
        content = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line, column = data.count(b"\n", 0, error.start) + 1, error.start - data.rfind(b"\n", 0, error.start)
        raise BenchError(f"{path}, line {line}, column {column}: not UTF-8; save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}, column {error.colno}"
        raise BenchError(f"{where}: broken JSON ({error.msg}); correct the file there.") from None
    except (ValueError, RecursionError):
        raise BenchError(f"{path} holds a number or a nesting too long to be read; correct the file.") from None
    if not isinstance(content, dict):
        kind = {list: "a list", str: "text", type(None): "null"}.get(type(content), "a single value")
        raise BenchError(f"{path} holds {kind} where an object belongs; the file must begin with {{ and end with }}.")
    return content


def check_redis_url(url: str, source: str) -> str:
    """The cache's address as a URL: old benches write ``localhost:13000`` without a scheme.

    Args:
        url: the entry `redis_cache`.
        source: where it stands, for the message.

    Raises:
        BenchError: the scheme or the port is none of Redis'; the message leaves the URL out, for its password.
    """
    url = url.strip() if "://" in url else "redis://" + url.strip()
    scheme = url.partition("://")[0]
    if scheme not in ("redis", "rediss", "unix"):
        raise BenchError(f"{source}: redis_cache begins with {scheme}://; write it as redis://127.0.0.1:13000.")
    try:
        urlsplit(url).port  # noqa: B018  (the property raises)
    except ValueError:
        raise BenchError(
            f"{source}: the host or port in redis_cache is malformed; write it as redis://127.0.0.1:13000."
        ) from None
    return url


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of a site's files, the strongest file first, under the environment."""

    files: tuple[tuple[Path, dict[str, Any]], ...]
    environ: Mapping[str, str]

    def find(self, key: str) -> tuple[Any, str]:
        """The entry and where it stands; like Frappe's ``config.get(key) or default``, what is empty is absent."""
        variable = _VARIABLES.get(key, "")
        if value := self.environ.get(variable):
            return value, f"the environment variable {variable}"
        for path, content in self.files:
            if key in content:
                return content[key] or None, str(path)
        return None, "default"

    def text(self, key: str) -> tuple[str | None, str]:
        value, source = self.find(key)
        if value is not None and not isinstance(value, str):
            # The value itself stays out: it may be a password.
            raise BenchError(f"{source}: {key} must be text; put it in double quotes.")
        return value, source

    def port(self, key: str) -> int | None:
        value, source = self.find(key)
        if value is None:
            return None
        digits = str(value)
        if not re.fullmatch(r"[0-9]{1,5}", digits) or not 1 <= int(digits) <= 65535:
            raise BenchError(f"{source}: {key} must be a number from 1 to 65535.")
        return int(digits)


def _redis_cache(entries: _Entries) -> tuple[str, str]:
    """The cache's URL and its source; a Sentinel set-up (`redis_cache_sentinel_enabled`) as ``sentinel://``."""
    enabled, source = entries.find("redis_cache_sentinel_enabled")
    if enabled is None:
        url, source = entries.text("redis_cache")
        return (DEFAULT_REDIS_CACHE, "default") if url is None else (check_redis_url(url, source), source)
    nodes, service = entries.find("redis_cache_sentinels")[0], entries.text("redis_cache_master_service")[0]
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes) or service is None:
        raise BenchError(
            f"{source} turns Sentinel on without redis_cache_sentinels (a list of texts like 127.0.0.1:26379) "
            "and redis_cache_master_service; add both."
        )
    roles = ("sentinel", "master")
    if any(entries.find(f"redis_cache_{role}_{kind}")[0] for role in roles for kind in ("username", "password")):
        raise BenchError(
            f"{source} turns Sentinel on with users or passwords, which are not read from there; "
            "name the server with FRAPPE_CACHE_URL."
        )
    return f"sentinel://{','.join(nodes)}/{service}", source


def _choose_site(
    sites: Path, site: str | None, common: dict[str, Any], environ: Mapping[str, str]
) -> tuple[str, str | None]:
    """The site's name and, unless it was asked for, where it stands."""
    if site is not None:
        return site, None
    if from_environment := environ.get("FRAPPE_SITE"):
        return from_environment, "the environment variable FRAPPE_SITE"
    default, source = _Entries(((sites / COMMON_CONFIG, common),), environ).text("default_site")
    if default is not None:
        return default, f"default_site in {source}"
    try:
        current = (sites / "currentsite.txt").read_text("utf-8", "replace").strip()
    except OSError:
        current = ""
    if current:
        return current, str(sites / "currentsite.txt")
    names = list_sites(sites.parent)
    if len(names) == 1:
        return names[0], None
    if not names:
        raise BenchError(f"{sites} holds no site yet; create one with `bench new-site NAME`.")
    raise BenchError(f"{sites} holds {len(names)} sites and no default; name one of {', '.join(names)}.")


def _check_site(sites: Path, name: str, source: str | None) -> str:
    """The name, once it is sure to be a site of this bench and of no other folder."""
    said = f"The site {name!r}" + (f" ({source})" if source else "")
    if not name.strip():
        raise BenchError("The site's name is empty; name one, for example library.localhost.")
    if name in (".", "..") or any(character in name for character in "/\\\0"):
        raise BenchError(f"{said} is not the name of a folder in {sites}; write the name alone, without a path.")
    try:
        if stat.S_ISREG((sites / name / SITE_CONFIG).stat().st_mode):
            return name
    except PermissionError as error:
        raise BenchError(_unreadable(sites / name, error)) from None
    except (OSError, ValueError):
        pass
    names = list_sites(sites.parent)
    close = difflib.get_close_matches(name, names, 1)
    there = f"sites there: {', '.join(names)}" if names else "create it with `bench new-site`"
    lack = f"has no {SITE_CONFIG}" if (sites / name).is_dir() else "does not exist"
    raise BenchError(f"{said} {lack} in {sites}; {f'did you mean {close[0]}? ' if close else ''}{there}.")


def _sites_folder(bench: Path) -> Path:
    folder = absolute(bench)
    for path, remedy in (
        (folder, "name the folder of a bench, the one that holds apps and sites"),
        (folder / "sites", f"{folder} is no bench; name the folder that holds apps and sites"),
    ):
        try:
            mode = path.stat().st_mode
        except PermissionError as error:
            raise BenchError(_unreadable(path, error)) from None
        except (OSError, ValueError):
            raise BenchError(f"{path} does not exist; {remedy}.") from None
        if not stat.S_ISDIR(mode):
            raise BenchError(f"{path} is no folder; {remedy}.")
    return folder / "sites"


def _is_file(path: Path, kind: Callable[[int], bool] = stat.S_ISREG) -> bool:
    # Path.is_file would raise, up to Python 3.13, where a folder may not be looked into.
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path} cannot be read ({error.strerror}); check its owner and permissions."
