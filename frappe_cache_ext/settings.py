"""Where the server is, which site and user speak, and where each of these facts came from.

A fact is looked for in this order: an argument of `frappe_cache_ext.init`, an environment variable, the files of a
bench, a default. A bench that is itself named by an argument comes before the environment: whoever writes
``init(bench=...)`` means that bench's server.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from .bench_sites import check_db_name, read_site
from .errors import SettingsError

SCHEMES: Final = ("redis", "rediss", "unix", "sentinel", "cluster", "embedded", "memory")
DEFAULT_URL: Final = "memory://" if sys.platform == "emscripten" else "embedded://"
"""In the browser there are no processes and no sockets, so no server either."""

DEFAULT_SITE: Final = "default"
DEFAULT_USER: Final = "Administrator"
ENVIRONMENT_PREFIX: Final = "FRAPPE_CACHE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The facts one site's cache is opened with.

    Attributes:
        url: the server, as ``scheme://...``; see `SCHEMES`.
        site: the site's name, ``library.localhost``.
        db_name: what the site's keys begin with on the wire, before ``|``.
        user: the session's user.
        secret: the key that values are signed with; None for unsigned values.
        database_url: an SQLAlchemy URL; None for the site's own SQLite file.
        bench: a bench's folder, whose files fill in what was not said.
        document_ttl: seconds after which a cached document is loaded anew, whatever anybody announced; 0 for never.
        strict: whether a commit is refused, rather than noted in the database, while the cache cannot be told of it.
        home: the folder of the embedded server and of SQLite files; None for the platform's usual folders.
        origins: for each name above, where its value came from.
    """

    url: str = DEFAULT_URL
    site: str = DEFAULT_SITE
    db_name: str = ""
    user: str = DEFAULT_USER
    secret: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    document_ttl: float = 3600.0
    strict: bool = False
    bench: Path | None = None
    home: Path | None = None
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False, repr=False)

    def __post_init__(self) -> None:
        check_url(self.url)
        if not self.site:
            raise SettingsError("The site's name is empty; name one, for example site='library.localhost'.")
        if not self.user:
            raise SettingsError("The user's name is empty; name one, for example user='Administrator'.")
        if not self.db_name:
            object.__setattr__(self, "db_name", default_db_name(self.site))
        check_db_name(self.db_name)

    @classmethod
    def load(cls, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
        """Gather the settings from arguments, environment, bench and defaults.

        Example:
            >>> Settings.load(environ={}, site="library.localhost").db_name
            '_69b1e93fd3625cfc'

        Args:
            environ: the environment; `os.environ` where None.
            **arguments: any of the attributes; None counts as not said.

        Raises:
            SettingsError: a name is unknown or a value malformed.
            BenchError: the bench's files are missing or broken.
        """
        found = {name: (value, "argument") for name, value in arguments.items() if value is not None}
        for name in found:
            if name not in _NAMES:
                raise SettingsError(f"There is no setting {name!r}.{_suggestion(name, _NAMES)}")
        environ = os.environ if environ is None else environ
        from_environment = {
            name: (value, ENVIRONMENT_PREFIX + name.upper()) for name, value in _read_environment(environ).items()
        }
        bench, site = found.get("bench"), found.get("site", from_environment.get("site"))
        if bench is not None:
            layers = [found, _read_bench(bench[0], site, environ), from_environment]
        else:
            named = from_environment.get("bench", (None,))[0]
            layers = [found, from_environment, _read_bench(named, site, environ)]
        merged: dict[str, tuple[Any, str]] = {}
        for layer in layers:
            for name, value in layer.items():
                merged.setdefault(name, value)
        values = {name: value for name, (value, _) in merged.items()}
        for name in ("bench", "home"):
            if name in values:
                values[name] = Path(values[name]).expanduser().absolute()
        for name, read in (("document_ttl", _seconds), ("strict", _flag)):
            if name in values:
                values[name] = read(values[name], name)
        origins = {name: merged[name][1] if name in merged else "default" for name in _NAMES}
        return cls(**values, origins=MappingProxyType(origins))

    def describe(self) -> list[tuple[str, str, str]]:
        """One row a setting: its name, its value with secrets masked, and where it came from."""
        return [(name, _shown(name, getattr(self, name)), self.origins.get(name, "default")) for name in _NAMES]

    @property
    def server_home(self) -> Path:
        """The folder of the embedded server's files."""
        if self.home is not None:
            return self.home / "server"
        from platformdirs import user_cache_path  # noqa: PLC0415  (only those who start a server pay for it)

        return user_cache_path("frappe-cache", appauthor=False) / "server"

    @property
    def data_home(self) -> Path:
        """The folder of the sites' SQLite files."""
        if self.home is not None:
            return self.home / "sites"
        from platformdirs import user_data_path  # noqa: PLC0415

        return user_data_path("frappe-cache", appauthor=False) / "sites"


_NAMES: Final = tuple(f.name for f in fields(Settings) if f.name != "origins")
_FROM_ENVIRONMENT: Final = tuple(name for name in _NAMES if name != "db_name")


def default_db_name(site: str) -> str:
    """The database name that `bench new-site` gives a site: ``_`` and 16 hex digits of the name's SHA-1."""
    return "_" + hashlib.sha1(site.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:16]


def check_url(url: str) -> None:
    """Refuse a server URL whose scheme nobody here speaks.

    Raises:
        SettingsError: the message lists the schemes.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise SettingsError(f"{mask_url(url)!r} is not the URL of a server; it begins with one of {known}.")


def mask_url(url: str) -> str:
    """The URL with its password replaced, to be shown."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return url
    return url.replace(f":{password}@", ":***@", 1) if password else url


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    known = {ENVIRONMENT_PREFIX + name.upper(): name for name in _FROM_ENVIRONMENT}
    for variable in environ:
        # A misspelt variable that is passed over in silence costs an afternoon.
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            raise SettingsError(
                f"The environment variable {variable} is none of ours.{_suggestion(variable, tuple(known))}"
            )
    return {name: environ[variable] for variable, name in known.items() if environ.get(variable)}


def _read_bench(
    bench: str | Path | None, site: tuple[Any, str] | None, environ: Mapping[str, str]
) -> dict[str, tuple[Any, str]]:
    if bench is None:
        return {}
    folder = Path(bench).expanduser().absolute()
    found = read_site(folder, None if site is None else site[0], environ=environ)
    origin = str(folder / "sites" / found.name / "site_config.json")
    values: dict[str, tuple[Any, str]] = {
        "bench": (folder, "bench"),
        "site": (found.name, "bench"),
        "db_name": (found.db_name, origin),
        "url": (found.redis_cache, found.redis_cache_source),
    }
    if found.database_url is not None:
        values["database_url"] = (found.database_url, origin)
    return values


def _seconds(value: Any, name: str) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise SettingsError(f"{name} is a number of seconds, 0 for no end, not {value!r}.")
    return seconds


def _flag(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    found = _FLAGS.get(str(value).strip().lower())
    if found is None:
        raise SettingsError(f"{name} is 1 or 0, not {value!r}.")
    return found


_FLAGS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _suggestion(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {close[0]}?" if close else f" Known are {', '.join(known)}."


def _shown(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name == "secret":
        return "***"
    return mask_url(str(value)) if name in ("url", "database_url") else str(value)
