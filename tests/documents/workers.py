"""What the processes of the stress, crash and outage tests do: ``python -m tests.documents.workers ROLE``.

Each is told what to do by a line of JSON on its standard input, and answers with lines of JSON. All of them read the
same clock: `time.monotonic` is the system's on Linux, not the process's. `processes` starts them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

import frappe_cache_ext as frappe
from frappe_cache_ext import keys
from frappe_cache_ext.connections import Connection, current_connection
from frappe_cache_ext.context import current_settings
from frappe_cache_ext.documents import transactions
from frappe_cache_ext.documents.engine import engine_for, reading
from frappe_cache_ext.documents.ledger import OUTBOX
from frappe_cache_ext.effects import RunScript
from frappe_cache_ext.errors import CacheError, CacheUnavailableWarning
from frappe_cache_ext.operations import change_log, loading
from frappe_cache_ext.scripts import change_log as scripts

POISON = -1
"""What a writer writes where it will roll back: nobody else may ever see it."""

WORK = 0.02
"""The longest that a reader works, in seconds, between its transaction's first statement and the cached read."""

Options = dict[str, Any]


def say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def begin(options: Options) -> None:
    """Choose the site, with shorter times where a test cannot wait for the real ones."""
    for name, seconds in options.get("seconds", {}).items():
        setattr(loading if name == "LEASE" else change_log, name, seconds)
    if isolation := options.get("isolation"):
        # Every reader's transaction has one view of the database; what reads may not depend on that.
        weaker = {"isolation_level": isolation}
        for module in [module for name, module in sys.modules.items() if name.startswith("frappe_cache_ext.documents")]:
            if getattr(module, "reading", None) is reading:
                module.reading = lambda _: weaker  # type: ignore[attr-defined]
    if options.get("outages"):
        warnings.simplefilter("ignore", CacheUnavailableWarning)
    frappe.init(
        options["site"],
        url=options["url"],
        database_url=options["database_url"],
        strict=options.get("strict", False),
    )


# --- the two algorithms -----------------------------------------------------------------------------------------------


class Documents:
    """What this package offers."""

    def read(self, name: str) -> tuple[int, bool]:
        """A document's value, and whether it came from the cache."""
        before = frappe.cache.stats.hits
        value: int = frappe.get_cached_doc("Thing", name).value
        return value, frappe.cache.stats.hits > before

    def committed(self, name: str) -> None:
        """A change was committed."""


class Naive:
    """What nearly everybody writes: look, else load and store; after a commit, delete."""

    def read(self, name: str) -> tuple[int, bool]:
        found = frappe.cache.redis.get(f"naive:{name}")
        if found is not None:
            return int(found), True
        value: int = frappe.db.get_value("Thing", name, "value")
        frappe.cache.redis.set(f"naive:{name}", value)
        return value, False

    def committed(self, name: str) -> None:
        frappe.cache.redis.delete(f"naive:{name}")


# --- a reader and a writer under stress -------------------------------------------------------------------------------


def reader(options: Options) -> None:
    """Read until the time is over; answers [document, transaction's begin or None, asked, answered, value, hit]…"""
    begin(options)
    documents = Naive() if options["naive"] else Documents()
    chance = random.Random(options["seed"])
    reads = []
    settle(options)
    while time.monotonic() < options["end"]:
        name = chance.choice(options["documents"])
        began = time.monotonic() if chance.random() < options["in_transaction"] else None
        if began is not None:
            frappe.db.get_value("Thing", "bystander", "value")
        time.sleep(chance.uniform(0, WORK))
        asked = time.monotonic()
        value, hit = documents.read(name)
        reads.append([name, began, asked, time.monotonic(), value, hit])
        frappe.db.rollback()
    say({"reads": reads, "isolation": isolation()})


def settle(options: Options) -> None:
    """Everything imported, connected and known; then wait for the common start."""
    frappe.db.get_value("Thing", "bystander", "value")
    frappe.db.rollback()
    say("ready")
    options.update(json.loads(sys.stdin.readline()))
    time.sleep(max(0.0, options["start"] - time.monotonic()))


def isolation() -> str:
    """How the database keeps transactions apart, as it says itself."""
    name = frappe.db.db_type
    query = {"mariadb": "select @@tx_isolation", "postgres": "show transaction_isolation"}.get(name)
    frappe.db.get_value("Thing", "bystander", "value")
    found = str(frappe.db.sql(query)[0][0]) if query else "snapshot"
    frappe.db.rollback()
    return found.lower().replace("-", " ")


def writer(options: Options) -> None:
    """Change one document again and again; answers [value, before its commit, after its commit]…"""
    begin(options)
    documents = Naive() if options["naive"] else Documents()
    chance = random.Random(options["seed"])
    name = options["document"]
    commits, value, own_reads = [], 0, 0
    settle(options)
    while time.monotonic() < options["end"]:
        change = CHANGES[chance.randrange(len(CHANGES))]
        value += 1
        is_kept = change(name, value)
        time.sleep(chance.uniform(0, WORK))
        if not options["naive"]:
            # What the transaction has changed it reads itself, and nobody else does.
            found, hit = documents.read(name)
            assert (found, hit) == (value if is_kept else POISON, False), (change.__name__, found, hit)
            own_reads += 1
        before = time.monotonic()
        if is_kept:
            frappe.db.commit()
            commits.append([value, before, time.monotonic()])
        else:
            frappe.db.rollback()
        documents.committed(name)
        time.sleep(chance.uniform(*options["gap"]))
    say({"commits": commits, "own_reads": own_reads})


def save(name: str, value: int) -> bool:
    document = frappe.get_doc("Thing", name)
    document.value = value
    document.save()
    return True


def set_by_name(name: str, value: int) -> bool:
    frappe.db.set_value("Thing", name, "value", value)
    return True


def set_by_filter(name: str, value: int) -> bool:
    frappe.db.set_value("Thing", {"code": name}, {"value": value})
    return True


def set_after_savepoint(name: str, value: int) -> bool:
    frappe.db.savepoint("attempt")
    frappe.db.set_value("Thing", name, "value", POISON)
    frappe.db.rollback(save_point="attempt")
    frappe.db.set_value("Thing", name, "value", value)
    return True


def set_and_regret(name: str, value: int) -> bool:
    frappe.db.set_value("Thing", name, "value", POISON)
    return False


def insert_anew(name: str, value: int) -> bool:
    frappe.delete_doc("Thing", name)
    frappe.get_doc({"doctype": "Thing", "name": name, "code": name, "value": value}).insert()
    return True


def rename_and_back(name: str, value: int) -> bool:
    frappe.rename_doc("Thing", name, f"{name} meanwhile")
    frappe.db.set_value("Thing", f"{name} meanwhile", "value", value)
    frappe.rename_doc("Thing", f"{name} meanwhile", name)
    return True


CHANGES: list[Callable[[str, int], bool]] = [
    *(save, set_by_name, set_by_filter, set_after_savepoint, set_and_regret, insert_anew, rename_and_back),
]


# --- a process that does what it is told, line by line ----------------------------------------------------------------


def session(options: Options) -> None:
    """Answer each line [what, arguments…] with {"value": …} or {"error": class, "text": …}."""
    begin(options)
    say("ready")
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            say({"value": ORDERS[what](*arguments)})
        except Exception as error:
            kind = type(error).__name__ if isinstance(error, CacheError) else f"not ours: {type(error).__name__}"
            say({"error": kind, "text": str(error)})


def order_cached(name: str) -> tuple[int, bool]:
    """A document as a reader that begins anew gets it, and whether it was a hit."""
    frappe.db.rollback()
    return Documents().read(name)


def order_read(name: str) -> tuple[int, bool]:
    """The same within the transaction that is open."""
    return Documents().read(name)


def order_database(name: str) -> int:
    """What the database holds."""
    frappe.db.rollback()
    value: int = frappe.db.get_value("Thing", name, "value")
    frappe.db.rollback()
    return value


def order_open() -> None:
    """Begin a transaction, with its view of the database."""
    frappe.db.get_value("Thing", "bystander", "value")


def order_set(name: str, value: int) -> None:
    frappe.db.set_value("Thing", name, "value", value)


def order_stop_before_commit() -> None:
    """Stand still (SIGSTOP) after the last look at the marks and right before the next commit in the database."""
    event.listen(engine_for(current_settings()), "commit", lambda _: os.kill(os.getpid(), signal.SIGSTOP), once=True)


def order_die_after_commit() -> None:
    """Be killed once the next commit is done in the database, before anybody is told."""
    perform, committed = Connection.perform, []

    def perform_or_die(self: Connection, effect: Any) -> Any:
        if committed:
            os.kill(os.getpid(), signal.SIGKILL)
        return perform(self, effect)

    event.listen(engine_for(current_settings()), "commit", committed.append)
    Connection.perform = perform_or_die  # type: ignore[method-assign]


def order_outbox() -> int:
    """How many changes wait in the database for the cache server."""
    frappe.db.rollback()
    engine = engine_for(current_settings())
    with engine.connect() as connection:
        count: int = connection.execute(sa.select(sa.func.count()).select_from(OUTBOX)).scalar_one()
    return count


ORDERS: dict[str, Callable[..., Any]] = {
    "cached": order_cached,
    "read": order_read,
    "database": order_database,
    "set": order_set,
    "save": save,
    "open": order_open,
    "stop_before_commit": order_stop_before_commit,
    "die_after_commit": order_die_after_commit,
    "commit": frappe.db.commit,
    "rollback": frappe.db.rollback,
    "outbox": order_outbox,
    "is_open": lambda: transactions.current_transaction().is_open,
    "has_changes": lambda: transactions.current_transaction().has_changes,
    "down": lambda: current_connection().down,
}


# --- writers that are killed ------------------------------------------------------------------------------------------


def killed(options: Options) -> None:
    """For each line, a name, fork a process that works on this document and is killed before its n-th step, n = 1, 2, …

    Answers {"survived": steps or None}; the first that survives is the last. This process itself never connects, so
    that nothing of a connection is inherited.
    """
    for module in ("redis", "pymysql", "psycopg", "frappe_cache_ext.documents.cached"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    say("ready")
    for number, line in enumerate(sys.stdin, 1):
        name = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                WORKS[options["work"]](options, name, number, writing)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            steps = told.read()
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed by itself"
        say({"survived": json.loads(steps) if steps else None})


def change_and_be_killed(options: Options, name: str, number: int, told: int) -> None:
    begin(options)
    frappe.db.get_value("Thing", name, "value")  # what is done once in a process is not what is to be shown
    frappe.db.rollback()
    if options.get("without_log"):
        frappe.cache.redis.delete(keys.change_log_name(current_settings().db_name))
    with dying_before(number) as steps:
        frappe.db.set_value("Thing", name, "value", 2)
        save(f"{name}-other", 2)
        frappe.db.commit()
    os.write(told, json.dumps(steps).encode())


def read_and_be_killed(options: Options, name: str, number: int, told: int) -> None:
    begin(options)
    frappe.db.get_value("Thing", "bystander", "value")
    frappe.db.rollback()
    with dying_before(number) as steps:
        frappe.get_cached_doc("Thing", name)
    os.write(told, json.dumps(steps).encode())


WORKS = {"change": change_and_be_killed, "read": read_and_be_killed}


@contextlib.contextmanager
def dying_before(number: int) -> Iterator[list[str]]:
    """Kill this process before its n-th step: an effect on the cache server, a statement or a commit."""
    steps: list[str] = []

    def step(name: str) -> None:
        steps.append(name)
        if len(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    perform = Connection.perform

    def perform_or_die(self: Connection, effect: Any) -> Any:
        step(f"cache: {script_name(effect) if isinstance(effect, RunScript) else type(effect).__name__}")
        return perform(self, effect)

    engine = engine_for(current_settings())
    event.listen(engine, "before_cursor_execute", lambda _c, _u, text, *_: step(f"database: {text.split()[0]}"))
    event.listen(engine, "commit", lambda _: step("database: COMMIT"))
    Connection.perform = perform_or_die  # type: ignore[method-assign]
    yield steps


def script_name(effect: RunScript) -> str:
    return next((name for name, script in vars(scripts).items() if script is effect.script), "another script")


ROLES = {"reader": reader, "writer": writer, "session": session, "killed": killed}

if __name__ == "__main__":
    warnings.simplefilter("error")
    ROLES[sys.argv[1]](json.loads(sys.stdin.readline()))
