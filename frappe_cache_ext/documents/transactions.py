"""Whose a transaction is: each thread or task has one for each site it works for, rolled back when it ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from sqlalchemy import exc

from .. import context
from ..context import current_settings
from ..errors import CacheError
from ..forks import when_forked
from ..settings import Settings
from .engine import dispose_all, inherited
from .transaction import Transaction, abandoned, every

if TYPE_CHECKING:
    import asyncio

__all__ = ["Transaction", "current_transaction"]


class _Bundle:
    """The transactions of one thread or task, by site; they are rolled back when it ends."""

    def __init__(self) -> None:
        self.transactions: dict[Any, Transaction] = {}

    def close(self) -> None:
        for transaction in list(self.transactions.values()):
            transaction.close()
        self.transactions.clear()


class _ThreadBundle(_Bundle):
    def __del__(self) -> None:
        self.close()


class _Here(threading.local):
    """What belongs to the thread that asks."""

    def __init__(self) -> None:
        self.own = _ThreadBundle()
        self.tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], _Bundle] = weakref.WeakKeyDictionary()

    def find(self, task: asyncio.Task[Any] | None) -> _Bundle | None:
        return self.own if task is None else self.tasks.get(task)

    def find_or_make(self, task: asyncio.Task[Any] | None) -> _Bundle:
        found = self.find(task)
        if found is not None or task is None:
            return self.own if found is None else found
        made = self.tasks[task] = _Bundle()
        task.add_done_callback(lambda _: made.close())
        return made


_here = _Here()


def current_transaction() -> Transaction:
    """The transaction of the calling thread or task with the current site's database.

    Example:
        >>> current_transaction() is current_transaction()
        True

    Raises:
        SettingsError: the environment's settings are malformed.
    """
    if abandoned:
        _clean_up()
    settings = current_settings()
    transactions = _here.find_or_make(context.unit_of_work()).transactions
    key = _key(settings)
    transaction = transactions.get(key)
    if transaction is None:
        transaction = transactions[key] = Transaction(settings)
    return transaction


def _key(settings: Settings) -> Any:
    return (
        settings.database_url,
        settings.db_name,
        settings.home,
        settings.url,
        settings.secret,
        settings.bench,
        settings.strict,
        settings.document_ttl,
    )


def _clean_up() -> None:
    """Roll back what the garbage collector found."""
    while abandoned:
        try:
            process, connection, changes = abandoned.popleft()
        except IndexError:
            return
        if process != os.getpid():
            inherited.append(connection)
            continue
        with contextlib.suppress(CacheError, exc.SQLAlchemyError):
            changes.rollback(connection.close)


def _leave_site(settings: Settings) -> None:
    bundle = _here.find(context.unit_of_work())
    transaction = None if bundle is None else bundle.transactions.pop(_key(settings), None)
    if transaction is not None:
        transaction.close()


def _end_reading() -> None:
    for transaction in list(_here.own.transactions.values()):
        with contextlib.suppress(CacheError):
            transaction.end_reading()


def _at_exit() -> None:
    for transaction in list(every):
        transaction.close()
    _clean_up()
    dispose_all()


def _after_fork() -> None:
    global _here  # noqa: PLW0603  (the parent's transactions are the parent's)
    inherited.append(_here)
    _here = _Here()


context.when_leaving(_leave_site)
context.when_cell_ends(_end_reading)
atexit.register(_at_exit)
when_forked(_after_fork)
