"""Documents to learn with: a database of the notebook's own, what it is asked, and somebody else who looks."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import dataclasses
import datetime
import itertools
import os
import re
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event, update
from sqlalchemy.engine import URL

from .. import context
from ..connections import current_connection
from ..documents.engine import database_url, engine_for
from ..documents.sample import sample_site
from ..documents.schema import get_doctype, table_of
from ..documents.transactions import current_transaction
from ..errors import SettingsError
from ..keys import change_log_name
from ..settings import Settings

_TRIAL_URL: Final = "memory://teaching-documents"

_ABOUT_DOCUMENTS: Final = re.compile(r'["`\[ ]tab(?!DocType\b|DocField\b|Custom Field\b|Series\b)\w')
"""Statements about documents, and not about how they are laid out, nor about names to come."""

_FIRST_DAY: Final = datetime.datetime(2026, 1, 5, 9, 0)

_numbers: Final = itertools.count(1)


# --- databases that end with the kernel ---------------------------------------------------------------------------

_PREFIX: Final = "frappe-cache-lesson-"


class _Folder:
    """Where the databases lie that are deleted when the kernel ends."""

    def __init__(self) -> None:
        self._path: Path | None = None

    def new_file(self, name: str) -> Path:
        if self._path is None:
            _sweep()
            self._path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
            atexit.register(shutil.rmtree, self._path, ignore_errors=True)
        return self._path / f"{name}-{next(_numbers)}.db"


_folder: Final = _Folder()


def _sweep() -> None:
    """Delete what kernels left behind that were killed and could not do it themselves."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (OverflowError, PermissionError, ValueError):  # somebody else's, or none of ours
            continue


def _with_database(settings: Settings, file: Path) -> Settings:
    url = URL.create("sqlite", database=str(file)).render_as_string()
    return dataclasses.replace(settings, database_url=url)


# --- for notebooks ------------------------------------------------------------------------------------------------


def sample_documents() -> None:
    """Give the notebook's site a new database of its own, with the documents of the sample site in it.

    It is a file of SQLite, which is deleted when the kernel ends. Call it after `start`.

    Raises:
        CacheUnavailable: the server does not answer; the message says why.
    """
    # A database that the learner's settings name is not for exercises.
    settings = _with_database(context.current_settings(), _folder.new_file("lesson"))
    context.enter(settings)
    current_connection().check()
    # What an earlier run of the cells left says nothing of this database, and would only keep it waiting.
    _forget_change_log(settings)
    sample_site(settings.site)
    context.enter(settings)  # `sample_site` has looked at the learner's settings once more
    _date_documents()
    if settings.site not in _sites:
        _sites.add(settings.site)
        atexit.register(_forget_change_log, settings)
    print("Its database is its own, too: the documents of a small shop.")


_sites: Final[set[str]] = set()


def _date_documents() -> None:
    """Let all documents be of one day: what a notebook shows of them is then the same each time."""
    transaction = current_transaction()
    for doctype in ("Item", "Sales Order", "User"):
        table = table_of(transaction, get_doctype(transaction, doctype))
        transaction.write(update(table).values(creation=_FIRST_DAY, modified=_FIRST_DAY))
    transaction.commit()


def _forget_change_log(settings: Settings) -> None:
    with contextlib.suppress(Exception), context.visiting(settings):  # the server may have gone first
        connection = current_connection()
        if connection.is_open:
            connection.client.delete(change_log_name(settings.db_name))


@contextlib.contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the SQL statements with which a block asks the current site's database about documents.

    What it asks about DocTypes themselves, and what other threads ask, is left out.

    Example::

        with statements() as asked:
            frappe.get_doc("System Settings")
        len(asked)
    """
    asked: list[str] = []
    here = threading.get_ident()

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if threading.get_ident() == here and _ABOUT_DOCUMENTS.search(statement):
            asked.append(statement)

    engine = engine_for(context.current_settings())
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


def elsewhere(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Let somebody else call a function: in another thread, as a request and in a transaction of its own.

    Example::

        elsewhere(frappe.get_cached_value, "System Settings", None, "language")

    Args:
        function: what to call.
        *args: what to call it with.
        **kwargs: what to call it with.

    Returns:
        What it returned. What it raised is raised here.
    """
    outcome: list[Any] = []
    error: list[BaseException] = []

    def call() -> None:
        try:
            with context.request():
                try:
                    outcome.append(function(*args, **kwargs))
                finally:
                    current_transaction().close()
        except BaseException as raised:
            error.append(raised)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(call,), name="teaching-elsewhere")
    thread.start()
    thread.join()
    if error:
        raise error[0]
    return outcome[0]


# --- for checks ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def apart() -> Iterator[Settings]:
    """Run a block for a site made for it: a copy of the current database, and an empty cache in memory.

    Whatever happens there, the notebook's own documents and cache know nothing of it.

    Raises:
        SettingsError: the current database is not the notebook's own.
    """
    current = context.current_settings()
    source = database_url(current)
    file = _folder.new_file("trial")
    if source.get_backend_name() != "sqlite" or not Path(str(source.database)).is_file():
        raise SettingsError("The documents of this notebook are not there; run its first cell again.")
    with (
        contextlib.closing(sqlite3.connect(str(source.database))) as original,
        contextlib.closing(sqlite3.connect(file)) as copy,
    ):
        original.backup(copy)
    # Each trial is a new site, which begins with a change log of its own.
    settings = dataclasses.replace(
        _with_database(current, file), url=_TRIAL_URL, secret=None, site=file.stem, db_name=""
    )
    with context.visiting(settings):
        try:
            yield settings
        finally:
            current_transaction().close()
            engine_for(settings).dispose()
            for each in file.parent.glob(f"{file.name}*"):
                each.unlink(missing_ok=True)
