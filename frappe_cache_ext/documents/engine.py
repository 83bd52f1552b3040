"""One SQLAlchemy engine for each database: the same values and the same errors on all three kinds.

SQLite lets several processes read while one writes (WAL) and waits for a lock; MariaDB and PostgreSQL wait as long.
A number with decimals comes back as `float` and a time of day as `timedelta`, also from SQL that the user wrote.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.pool import QueuePool

from ..context import when_destroyed
from ..errors import SettingsError
from ..forks import new_lock, when_forked
from ..settings import Settings
from .dberrors import translated
from .drivers import BEGIN, LOCK_TIMEOUT, create_mariadb, create_postgres, create_sqlite

__all__ = [
    "LOCK_TIMEOUT",
    "begun",
    "database_url",
    "dispose_all",
    "engine_for",
    "inherited",
    "reading",
    "translated",
    "writing",
]

_DRIVERS: Final = {
    "mariadb": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
}

_engines: dict[str, Engine] = {}
_by_settings: dict[tuple[str | None, Path | None, str], Engine] = {}
_lock = new_lock()
inherited: list[Any] = []
"""What a process has of its parent's connections since a fork: kept, since closing them would disturb the parent."""


def database_url(settings: Settings) -> URL:
    """Where a site's documents are.

    Example:
        >>> print(database_url(Settings(database_url="mariadb://frappe@localhost/lib")))
        mysql+pymysql://frappe@localhost/lib?charset=utf8mb4

    Raises:
        SettingsError: the URL is malformed or names a database or driver that is not known here.
    """
    if settings.database_url is None:
        return URL.create("sqlite+pysqlite", database=str(settings.data_home.absolute() / f"{settings.db_name}.db"))
    text = settings.database_url
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        # The URL itself stays out: a password may stand anywhere in what cannot be taken apart.
        raise SettingsError(
            "The database's URL is malformed; write it as sqlite:////path/to/site.db, "
            "mariadb://user:password@host:3306/name or postgresql://user:password@host:5432/name."
        ) from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise SettingsError(
            f"The database's URL begins with {url.drivername}://; it begins with sqlite://, mariadb:// or postgresql://."
        )
    url = url.set(drivername=driver)
    if driver.startswith("sqlite"):
        return _sqlite_url(url)
    if not url.database:
        raise SettingsError(f"The URL {url} names no database; add its name: {url.set(database='NAME')}.")
    if driver.startswith("mysql") and "charset" not in url.query:
        url = url.update_query_dict({"charset": "utf8mb4"})
    return url


def _sqlite_url(url: URL) -> URL:
    database = url.database or ""
    if database in ("", ":memory:") or "mode=memory" in database:
        raise SettingsError(
            "An SQLite database in memory belongs to one connection, and documents are read over several; "
            "name a file: sqlite:////path/to/site.db."
        )
    if database.startswith("file:"):
        return url
    # From here on the same file is meant, wherever the process goes.
    path = Path(database).expanduser().absolute()
    if not path.parent.is_dir():
        raise SettingsError(f"The folder {path.parent} of the SQLite database does not exist; create it.")
    return url.set(database=str(path))


def engine_for(settings: Settings) -> Engine:
    """The engine of a site's database; the same one for all threads of this process. Making it opens no connection.

    Raises:
        SettingsError: the URL is malformed, or the driver for it is not installed.
    """
    short = settings.database_url, settings.home, settings.db_name
    engine = _by_settings.get(short)
    if engine is not None:
        return engine
    url = database_url(settings)
    key = url.render_as_string(hide_password=False)
    with _lock:
        engine = _engines.get(key)
        if engine is None:
            if settings.database_url is None:
                settings.data_home.mkdir(mode=0o700, parents=True, exist_ok=True)
            engine = _engines[key] = _create(url)
        return _by_settings.setdefault(short, engine)


def dispose_idle() -> None:
    """Close the connections of every engine of which nobody uses one at this moment; the next use opens anew."""
    for engine in list(_engines.values()):
        # SQLAlchemy leaves a connection that is in use to a pool which nobody has any more, and so open.
        if isinstance(engine.pool, QueuePool) and not engine.pool.checkedout():
            engine.dispose()


when_destroyed(dispose_idle)


def dispose_all() -> None:
    """Close every connection that is not in use, and forget the engines; the next use opens anew."""
    with _lock:
        engines = list(_engines.values())
        _engines.clear()
        _by_settings.clear()
    for engine in engines:
        engine.dispose()


def _create(url: URL) -> Engine:
    make = {"sqlite": create_sqlite, "mysql": create_mariadb, "postgresql": create_postgres}
    try:
        return make[url.get_backend_name()](url)
    except ImportError as error:
        raise SettingsError(
            f"The driver of {url} is not installed ({error.name or error}); "
            "run `pip install 'frappe-cache-ext[documents]'`."
        ) from None
    except (exc.ArgumentError, TypeError, ValueError) as error:
        raise SettingsError(f"The database's URL {url} is not understood: {error}.") from None


def reading(engine: Engine) -> dict[str, Any]:
    """The execution options of a connection whose next transaction reads: one state of the database throughout."""
    return {BEGIN: "BEGIN"} if engine.dialect.name == "sqlite" else {}  # the servers' connections are made for it


def writing(engine: Engine) -> dict[str, Any]:
    """The execution options of a connection whose next transaction writes.

    SQLite takes its one write lock at once. PostgreSQL would refuse to change a row that somebody else changed since
    the transaction's first statement, so each statement sees what is committed by then, as a write on MariaDB does.
    """
    if engine.dialect.name == "sqlite":
        return {BEGIN: "BEGIN IMMEDIATE"}
    return {"isolation_level": "READ COMMITTED"} if engine.dialect.name == "postgresql" else {}


@contextlib.contextmanager
def begun(engine: Engine) -> Iterator[sa.Connection]:
    """A connection in a transaction of its own, which writes and is committed at the end of the block.

    Raises:
        DocumentError: the database cannot be reached or refused a statement.
    """
    with translated(engine), engine.connect() as connection:
        connection.execution_options(**writing(engine))
        with connection.begin():
            yield connection


# --- forks ------------------------------------------------------------------------------------------------------------


def _after_fork() -> None:
    for engine in _engines.values():
        inherited.append(engine.pool)
        engine.dispose(close=False)


when_forked(_after_fork)
