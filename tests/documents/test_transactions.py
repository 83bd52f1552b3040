"""What a transaction sees, keeps and gives back, on each database."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from frappe_cache_ext import context
from frappe_cache_ext.documents import dberrors
from frappe_cache_ext.documents.changes import Changes
from frappe_cache_ext.documents.engine import engine_for, inherited
from frappe_cache_ext.documents.schema import DOCTYPE, define_doctype
from frappe_cache_ext.documents.transactions import Transaction, current_transaction
from frappe_cache_ext.errors import DatabaseUnavailable, DuplicateEntryError, QueryError, ValidationError
from frappe_cache_ext.settings import Settings
from tests.support import until

TABLE = sa.table("tabThing", sa.column("name", sa.String()), sa.column("qty", sa.Integer()))


@pytest.fixture
def thing(site: Settings) -> Settings:
    """A site with one document."""
    define_doctype("Thing", {"qty": "Int"})
    insert("a", 1)
    current_transaction().commit()
    return site


def insert(name: str, qty: int = 0) -> None:
    current_transaction().write(sa.insert(TABLE).values(name=name, qty=qty))


def set_qty(transaction: Transaction, qty: int, name: str = "a") -> None:
    transaction.write(sa.update(TABLE).where(TABLE.c.name == name).values(qty=qty))


def qty(transaction: Transaction, name: str = "a") -> int | None:
    found: int | None = transaction.execute(sa.select(TABLE.c.qty).where(TABLE.c.name == name)).scalar()
    return found


def names(transaction: Transaction) -> list[str]:
    return sorted(transaction.execute(sa.select(TABLE.c.name)).scalars())


@pytest.fixture
def other(thing: Settings) -> Iterator[Transaction]:
    """Somebody else's transaction with the same database."""
    made = Transaction(thing)
    yield made
    made.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the change log was told, in order."""
    said: list[str] = []

    def recorded(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def record(self: Changes, *arguments: Any) -> Any:
            said.append(name)
            return real(self, *arguments)

        return record

    for name in ("begin", "touch", "commit", "rollback"):
        monkeypatch.setattr(Changes, name, recorded(name, getattr(Changes, name)))
    return said


class TestSeeing:
    def test_uncommitted_values_are_not_seen(self, other: Transaction) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        assert (qty(mine), qty(other)) == (2, 1)
        mine.commit()
        other.rollback()
        assert qty(other) == 2

    def test_a_reader_sees_one_state_until_it_ends(self, other: Transaction) -> None:
        mine = current_transaction()
        assert qty(mine) == 1
        set_qty(other, 2)
        other.commit()
        assert qty(mine) == 1
        mine.end_reading()
        assert qty(mine) == 2

    def test_rolled_back_is_gone(self, other: Transaction) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        assert mine.has_changes
        mine.rollback()
        assert not mine.has_changes
        assert not mine.is_open
        assert (qty(mine), qty(other)) == (1, 1)

    def test_what_changed_since_it_was_read_can_be_written(self, other: Transaction) -> None:
        mine = current_transaction()
        assert qty(mine) == 1
        set_qty(other, 2)
        other.commit()
        mine.write(sa.update(TABLE).where(TABLE.c.name == "a").values(qty=TABLE.c.qty + 10))
        assert qty(mine) == 12
        mine.commit()
        assert qty(other) == 12

    def test_a_row_that_changed_while_writing_can_be_written(self, other: Transaction, database_kind: str) -> None:
        mine = current_transaction()
        insert("b")
        if database_kind == "sqlite":  # has one writer at a time
            mine.commit()
        set_qty(other, 2)
        other.commit()
        set_qty(mine, 3)
        mine.commit()
        assert qty(other) == 3

    def test_a_row_read_for_update_is_kept(self, other: Transaction) -> None:
        mine = current_transaction()
        select = sa.select(TABLE.c.qty).where(TABLE.c.name == "a")
        assert qty(mine) == 1
        set_qty(other, 2)
        other.commit()
        assert mine.execute(select.with_for_update()).scalar() == 2
        started = threading.Event()
        done = threading.Event()

        def write() -> None:
            started.set()
            set_qty(other, 99)
            other.commit()
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        started.wait()
        assert not done.wait(0.3)
        mine.touch([("Thing", "a")])
        set_qty(mine, 3)
        mine.commit()
        writer.join()
        assert qty(mine) == 99

    def test_a_row_locked_by_somebody_is_waited_for(self, other: Transaction) -> None:
        set_qty(other, 2)
        threading.Timer(0.3, other.commit).start()
        mine = current_transaction()
        set_qty(mine, 3)
        mine.commit()
        assert qty(mine) == 3


class TestAlone:
    def test_a_block_without_a_transaction_leaves_none(self, thing: Settings) -> None:
        mine = current_transaction()
        with mine.alone():
            assert not mine.is_open
            assert qty(mine) == 1
            assert mine.is_open
        assert not mine.is_open

    def test_a_block_in_a_transaction_leaves_it(self, thing: Settings) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        with mine.alone():
            assert qty(mine) == 2
        assert mine.is_open
        assert qty(mine) == 2

    def test_what_a_block_wrote_is_kept_open(self, thing: Settings) -> None:
        mine = current_transaction()
        with mine.alone():
            set_qty(mine, 2)
        assert mine.has_changes
        mine.commit()
        assert qty(mine) == 2

    def test_a_failing_block_ends_too(self, thing: Settings) -> None:
        mine = current_transaction()
        with pytest.raises(QueryError), mine.alone():
            mine.execute(sa.text("select nothing from nowhere"))
        assert not mine.is_open

    def test_ending_reading_leaves_changes(self, thing: Settings) -> None:
        mine = current_transaction()
        mine.touch([("Thing", "a")])
        mine.end_reading()
        assert mine.is_open


class TestErrors:
    def test_a_failed_statement_leaves_the_rest(self, thing: Settings) -> None:
        mine = current_transaction()
        insert("b", 2)
        with pytest.raises(DuplicateEntryError):
            insert("a")
        with pytest.raises(QueryError):
            mine.execute(sa.text("select nothing from nowhere"))
        insert("c", 3)
        mine.commit()
        assert names(mine) == ["a", "b", "c"]

    def test_a_failed_look_leaves_the_reader(self, thing: Settings) -> None:
        mine = current_transaction()
        assert qty(mine) == 1
        with pytest.raises(QueryError):
            mine.execute(sa.text("select nothing from nowhere"))
        assert qty(mine) == 1

    def test_a_lost_connection_counts_as_rolled_back(
        self, thing: Settings, database_kind: str, told: list[str]
    ) -> None:
        mine = current_transaction()
        mine.touch([("Thing", "a")])
        set_qty(mine, 2)
        cut(mine, database_kind)
        with pytest.raises(DatabaseUnavailable, match="not available"):
            set_qty(mine, 3)
        assert told == ["begin", "touch", "rollback"]
        assert not mine.is_open
        assert not mine.has_changes
        assert not mine.changes.touched
        assert qty(mine) == 1

    def test_a_connection_lost_before_the_commit(self, thing: Settings, database_kind: str) -> None:
        mine = current_transaction()
        mine.touch([("Thing", "a")])
        set_qty(mine, 2)
        cut(mine, database_kind)
        with pytest.raises(DatabaseUnavailable):
            mine.commit()
        assert not mine.is_open
        assert not mine.changes.touched
        assert qty(mine) == 1

    def test_a_connection_lost_before_the_rollback(self, thing: Settings, database_kind: str) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        cut(mine, database_kind)
        mine.rollback()
        assert qty(mine) == 1

    def test_an_interrupt_in_a_statement(self, thing: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        mine = current_transaction()
        mine.touch([("Thing", "a")])
        set_qty(mine, 2)
        dialect = type(mine.engine.dialect)

        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(dialect, "do_execute", interrupted)
            with pytest.raises(KeyboardInterrupt):
                set_qty(mine, 3)
        assert not mine.is_open
        assert not mine.changes.touched
        assert qty(mine) == 1

    @pytest.mark.parametrize("database_kind", ["mariadb", "postgres"], indirect=True)
    def test_a_deadlock_ends_one_of_two(self, other: Transaction) -> None:
        mine = current_transaction()
        insert("b", 1)
        mine.commit()
        set_qty(mine, 2, "a")
        set_qty(other, 2, "b")
        failed: list[DatabaseUnavailable] = []

        def cross(transaction: Transaction, name: str) -> None:
            try:
                set_qty(transaction, 3, name)
                transaction.commit()
            except DatabaseUnavailable as error:
                failed.append(error)
                transaction.rollback()

        thread = threading.Thread(target=cross, args=(other, "a"))
        thread.start()
        cross(mine, "b")
        thread.join()
        assert len(failed) == 1
        assert "deadlock" in str(failed[0]).lower()
        assert {qty(mine, "a"), qty(mine, "b")} in ({2, 3}, {3})

    def test_what_stays_locked_is_given_up(self, other: Transaction, database_kind: str) -> None:
        set_qty(other, 2)
        mine = current_transaction()
        short = {
            "sqlite": "PRAGMA busy_timeout=50",
            "mariadb": "SET innodb_lock_wait_timeout=1",
            "postgres": "SET LOCAL lock_timeout='50ms'",
        }[database_kind]
        if database_kind == "sqlite":
            sa.event.listen(mine.engine, "checkout", lambda connection, *_: connection.execute(short))
        else:
            mine.execute(sa.select(DOCTYPE.c.name).limit(0).with_for_update())
            mine.execute(sa.text(short))
        with pytest.raises(DatabaseUnavailable, match=r"(?i)lock"):
            set_qty(mine, 3)
        other.rollback()
        mine.rollback()
        set_qty(mine, 3)
        mine.commit()
        assert qty(mine) == 3


def cut(transaction: Transaction, kind: str) -> None:
    """End a transaction's connection from the other side."""
    connection = transaction._connection
    assert connection is not None
    if kind == "sqlite":
        connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
        return
    which, kill = {
        "mariadb": ("select connection_id()", "kill :id"),
        "postgres": ("select pg_backend_pid()", "select pg_terminate_backend(:id)"),
    }[kind]
    number = connection.exec_driver_sql(which).scalar()
    with engine_for(transaction.settings).connect() as another:
        another.execute(sa.text(kill), {"id": number})
    time.sleep(0.05)


class TestSavepoints:
    def test_going_back_to_one(self, thing: Settings) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        mine.savepoint("first")
        set_qty(mine, 3)
        mine.savepoint("second")
        set_qty(mine, 4)
        mine.rollback(save_point="second")
        assert qty(mine) == 3
        mine.rollback(save_point="first")
        assert qty(mine) == 2
        mine.commit()
        assert qty(mine) == 2

    def test_one_set_before_anything_was_written(self, thing: Settings) -> None:
        mine = current_transaction()
        mine.savepoint("early")
        assert qty(mine) == 1
        mine.savepoint("reading")
        set_qty(mine, 2)
        mine.rollback(save_point="reading")
        assert qty(mine) == 1
        set_qty(mine, 3)
        mine.rollback(save_point="early")
        mine.commit()
        assert qty(mine) == 1

    def test_one_outlives_the_end_of_reading(self, thing: Settings) -> None:
        mine = current_transaction()
        assert qty(mine) == 1
        mine.savepoint("kept")
        mine.end_reading()
        set_qty(mine, 2)
        mine.rollback(save_point="kept")
        assert qty(mine) == 1

    def test_a_released_one_is_gone_with_those_after_it(self, thing: Settings) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        for name in ("a", "b", "c"):
            mine.savepoint(name)
        mine.release_savepoint("b")
        with pytest.raises(ValidationError, match="no savepoint 'c' in this transaction; there are a"):
            mine.rollback(save_point="c")
        with pytest.raises(ValidationError, match="no savepoint 'b'"):
            mine.release_savepoint("b")
        mine.rollback(save_point="a")
        assert qty(mine) == 2

    def test_the_same_name_again(self, thing: Settings) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        mine.savepoint("again")
        set_qty(mine, 3)
        mine.savepoint("again")
        set_qty(mine, 4)
        mine.rollback(save_point="again")
        assert qty(mine) == 3

    def test_none_outlives_the_transaction(self, thing: Settings) -> None:
        mine = current_transaction()
        for end in (mine.commit, mine.rollback):
            set_qty(mine, 2)
            mine.savepoint("over")
            end()
            with pytest.raises(ValidationError, match="none is set"):
                mine.rollback(save_point="over")

    @pytest.mark.parametrize("name", ["", "a b", "a;b", 'a"', "a`", "1a", "ä", "a" * 61, None, 5])
    def test_names_that_are_none(self, name: Any) -> None:
        transaction = Transaction(Settings(url="memory://names"))
        with pytest.raises(ValidationError, match="letters, digits and _"):
            transaction.savepoint(name)

    @pytest.mark.parametrize("name", ["select", "Upper", "_x9"])
    def test_names_that_are_words_of_sql(self, thing: Settings, name: str) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        mine.savepoint(name)
        set_qty(mine, 3)
        mine.rollback(save_point=name)
        assert qty(mine) == 2


class TestTheChangeLog:
    def test_it_is_asked_once_before_the_first_statement(
        self, thing: Settings, told: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mine = current_transaction()
        sa.event.listen(mine.engine, "begin", lambda _: told.append("database begins"))
        qty(mine)
        qty(mine)
        set_qty(mine, 2)
        mine.touch([("Thing", "a")])
        mine.commit()
        assert told[:2] == ["begin", "database begins"]
        assert [word for word in told if word != "database begins"] == ["begin", "touch", "commit"]

    def test_each_transaction_asks_anew(self, thing: Settings, told: list[str]) -> None:
        mine = current_transaction()
        for end in (mine.commit, mine.rollback, mine.end_reading):
            qty(mine)
            end()
        assert told == ["begin", "commit", "begin", "rollback", "begin", "rollback"]

    def test_what_is_announced_comes_before_the_statement(self, thing: Settings) -> None:
        mine = current_transaction()
        mine.touch([("Thing", "a")])
        assert mine.has_changes
        assert mine.changes.touched == {("Thing", "a")}
        mine.rollback()
        assert not mine.changes.touched

    def test_nothing_open_is_nothing_to_end(self, thing: Settings, told: list[str]) -> None:
        mine = current_transaction()
        mine.commit()
        mine.rollback()
        mine.end_reading()
        mine.touch([])
        assert told == []
        assert not mine.is_open

    def test_a_database_that_is_away_leaves_nothing_begun(self, tmp_path: Any, told: list[str]) -> None:
        context.init("away.test", url="memory://away", database_url="mysql://root@127.0.0.1:1/nothing")
        mine = current_transaction()
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match=r"mysql\+pymysql://root@127.0.0.1:1/nothing"):
                mine.execute(sa.text("select 1"))
        assert not mine.is_open
        mine.rollback()


class TestWhose:
    def test_threads_have_their_own(self, thing: Settings) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        seen: list[Any] = []

        def look() -> None:
            context.enter(thing)
            theirs = current_transaction()
            seen.extend([theirs is mine, qty(theirs)])

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert seen == [False, 1]
        assert current_transaction() is mine

    def test_a_thread_that_ends_lets_go(self, thing: Settings) -> None:
        def change() -> None:
            context.enter(thing)
            current_transaction().touch([("Thing", "a")])
            set_qty(current_transaction(), 2)

        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        assert until(lambda: checked_out(thing) == 0)
        set_qty(current_transaction(), 3)
        current_transaction().commit()
        assert qty(current_transaction()) == 3

    def test_tasks_have_their_own_and_let_go(self, thing: Settings) -> None:
        async def change(amount: int, step: asyncio.Event, following: asyncio.Event) -> int | None:
            mine = current_transaction()
            with mine.alone():
                before = qty(mine)
            step.set()
            await following.wait()
            set_qty(current_transaction(), amount)
            assert current_transaction() is mine
            return before

        async def main() -> list[Any]:
            first, second = asyncio.Event(), asyncio.Event()
            one = asyncio.create_task(change(2, first, second))
            await first.wait()
            outer = current_transaction()
            second.set()
            await one
            await asyncio.sleep(0)
            # The task has ended without a commit: what it held is free, though it is still known.
            result = [one.result(), checked_out(thing), qty(outer)]
            outer.rollback()
            return result

        assert asyncio.run(main()) == [1, 0, 1]
        assert checked_out(thing) == 0

    def test_a_task_that_is_lost_lets_go_too(self, thing: Settings) -> None:
        async def hang() -> None:
            set_qty(current_transaction(), 2)
            await asyncio.Event().wait()

        loop = asyncio.new_event_loop()
        task = loop.create_task(hang())
        loop.run_until_complete(asyncio.sleep(0.01))
        assert checked_out(thing) == 1
        task.get_coro().close()  # type: ignore[union-attr]
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        del task, loop
        gc.collect()
        current_transaction()
        assert checked_out(thing) == 0
        assert qty(current_transaction()) == 1

    def test_leaving_a_site_rolls_back(self, thing: Settings) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        context.init("another.test", url="memory://another")
        assert not mine.is_open
        assert not mine.changes.touched
        context.enter(thing)
        assert qty(current_transaction()) == 1

    def test_leaving_reads_no_settings(self, thing: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        current_transaction()
        context._settings.set(None)
        monkeypatch.setenv("FRAPPE_CACHE_SITE", "later.test")
        context.destroy()
        assert context._defaults.settings is None

    def test_destroying_rolls_back(self, thing: Settings) -> None:
        mine = current_transaction()
        mine.touch([("Thing", "a")])
        context.destroy()
        assert not mine.is_open
        assert not mine.changes.touched

    def test_visiting_another_site_leaves_this_one_s_open(self, thing: Settings) -> None:
        mine = current_transaction()
        set_qty(mine, 2)
        with context.visiting(Settings(url="memory://visited", site="visited.test")):
            assert current_transaction() is not mine
        assert current_transaction() is mine
        assert qty(mine) == 2

    def test_the_end_of_a_cell_ends_reading_and_leaves_changes(self, thing: Settings) -> None:
        context.follow_cells(True)
        context.begin_cell()
        mine = current_transaction()
        assert qty(mine) == 1
        context.end_cell()
        assert not mine.is_open
        context.begin_cell()
        assert current_transaction() is mine
        set_qty(mine, 2)
        context.end_cell()
        assert mine.is_open
        context.begin_cell()
        assert qty(current_transaction()) == 2
        current_transaction().commit()
        context.end_cell()

    def test_another_user_of_the_site_is_in_the_same_transaction(self, thing: Settings) -> None:
        mine = current_transaction()
        context.set_user("anna@example.com")
        assert current_transaction() is mine


def checked_out(site: Settings) -> int:
    """Connections that are in use."""
    found: int = engine_for(site).pool.checkedout()  # type: ignore[attr-defined]
    return found


CODE = """
import os, sys
import sqlalchemy as sa
from frappe_cache_ext import context
from frappe_cache_ext.documents.transactions import current_transaction
context.init("process.test", url="memory://process", database_url=sys.argv[1])
table = sa.table("tabThing", sa.column("name"), sa.column("qty", sa.Integer()))
"""


def run(site: Settings, code: str, *arguments: str, wait: bool = True) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CODE + code, str(site.database_url), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if wait:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert errors == ""
        process.args = out
    return process


class TestProcesses:
    def test_writers_in_threads_and_processes_wait_for_each_other(self, thing: Settings) -> None:
        code = """
for _ in range(25):
    transaction = current_transaction()
    transaction.execute(sa.select(table.c.qty)).all()
    transaction.write(sa.update(table).where(table.c.name == "a").values(qty=table.c.qty + 1))
    transaction.commit()
"""
        processes = [run(thing, code, wait=False) for _ in range(2)]
        failed: list[BaseException] = []

        def write() -> None:
            try:
                context.enter(thing)
                for _ in range(25):
                    mine = current_transaction()
                    qty(mine)
                    mine.write(sa.update(TABLE).where(TABLE.c.name == "a").values(qty=TABLE.c.qty + 1))
                    mine.commit()
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for process in processes:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
        assert failed == []
        assert qty(current_transaction()) == 101

    def test_what_is_open_at_the_end_is_rolled_back(self, thing: Settings) -> None:
        code = """
transaction = current_transaction()
transaction.touch([("Thing", "a")])
transaction.write(sa.update(table).values(qty=5))
real = type(transaction.changes).rollback
def rollback(self, undo):
    real(self, undo)
    os.write(1, b"rolled back")
type(transaction.changes).rollback = rollback
"""
        assert run(thing, code).args == "rolled back"
        assert qty(current_transaction()) == 1

    def test_a_forked_child_has_connections_of_its_own(self, thing: Settings) -> None:
        code = """
transaction = current_transaction()
transaction.write(sa.update(table).values(qty=7))
child = os.fork()
if child == 0:
    mine = current_transaction()
    assert mine is not transaction and not mine.is_open
    seen = mine.execute(sa.select(table.c.qty)).scalar()
    mine.rollback()
    del transaction
    import gc; gc.collect()
    sys.exit(0 if seen == 1 else 3)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert transaction.execute(sa.select(table.c.qty)).scalar() == 7
transaction.commit()
"""
        run(thing, code)
        assert qty(current_transaction()) == 7


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: sa.exc.TimeoutError("QueuePool limit reached"), DatabaseUnavailable),
        (lambda: sa.exc.StatementError("bad", "select 1", {"p": "secret"}, ValueError("no such value")), QueryError),
        (lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), QueryError),
        (lambda: OverflowError("int too large"), QueryError),
    ],
)
def test_what_is_no_driver_s_error(make: Callable[[], Exception], expected: type[Exception]) -> None:
    found = dberrors.translate(make())
    assert type(found) is expected
    assert "secret" not in str(found)
    assert "\n" not in str(found)


def test_a_transaction_of_a_parent_is_left_alone(thing: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = current_transaction()
    set_qty(mine, 2)
    kept = mine._connection
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        mine.close()
    assert inherited[-1] is kept
    assert kept is not None
    kept.rollback()
    kept.close()
    inherited.pop()
