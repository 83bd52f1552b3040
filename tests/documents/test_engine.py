"""Engines: which database a URL means, what its values are, and what its errors become."""

from __future__ import annotations

import datetime
import os
import sqlite3
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from frappe_cache_ext import context
from frappe_cache_ext.documents import engine as engines
from frappe_cache_ext.documents import fieldtypes
from frappe_cache_ext.documents.dberrors import translated
from frappe_cache_ext.documents.engine import begun, database_url, dispose_all, engine_for
from frappe_cache_ext.documents.fieldtypes import Date, DateTime, Time, cast
from frappe_cache_ext.errors import (
    DatabaseUnavailable,
    DuplicateEntryError,
    QueryError,
    SettingsError,
    UniqueValidationError,
    ValidationError,
)
from frappe_cache_ext.settings import Settings
from tests.support import requires, run_python


def settings(url: str | None, **more: Any) -> Settings:
    return Settings(url="memory://engine", database_url=url, **more)


class TestUrls:
    @pytest.mark.parametrize(
        ("given", "meant"),
        [
            ("mysql://u@h/d", "mysql+pymysql://u@h/d?charset=utf8mb4"),
            ("mariadb://u@h:3307/d", "mysql+pymysql://u@h:3307/d?charset=utf8mb4"),
            ("mariadb+pymysql://u@h/d?charset=utf8mb4", "mysql+pymysql://u@h/d?charset=utf8mb4"),
            (
                "mariadb+pymysql://u@/d?unix_socket=/run/x",
                "mysql+pymysql://u@/d?charset=utf8mb4&unix_socket=%2Frun%2Fx",
            ),
            ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
            ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
            ("sqlite:////tmp/x.db", "sqlite+pysqlite:////tmp/x.db"),
        ],
    )
    def test_as_people_write_them(self, given: str, meant: str) -> None:
        assert database_url(settings(given)).render_as_string() == meant

    def test_a_path_is_the_same_file_wherever_the_process_goes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert database_url(settings("sqlite:///site.db")).database == str(tmp_path / "site.db")

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("nonsense", "is malformed; write it as sqlite:////"),
            ("mysql://u:s3cret@h:port/d", "is malformed"),
            ("oracle://u:s3cret@h/d", "begins with oracle://; it begins with sqlite://, mariadb:// or postgresql://"),
            ("postgresql+psycopg2://u:s3cret@h/d", "begins with postgresql+psycopg2://"),
            ("mysql://u:s3cret@h", "names no database; add its name: mysql+pymysql://u:***@h/NAME"),
            ("sqlite://", "name a file: sqlite:////"),
            ("sqlite:///:memory:", "name a file: sqlite:////"),
            ("sqlite:////nowhere/at/all/x.db", "The folder /nowhere/at/all of the SQLite database does not exist"),
        ],
    )
    def test_what_is_refused(self, given: str, message: str) -> None:
        with pytest.raises(SettingsError) as caught:
            engine_for(settings(given))
        assert message in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(("url", "driver"), [("mysql://h/d", "pymysql"), ("postgres://h/d", "psycopg")])
    def test_a_driver_that_is_not_installed(self, url: str, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, driver, None)
        for name in [name for name in sys.modules if name.startswith(f"{driver}.")]:
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SettingsError, match=r"pip install 'frappe-cache-ext\[documents\]'"):
            engine_for(settings(url))

    def test_an_option_that_is_not_understood(self) -> None:
        with pytest.raises(SettingsError, match="timeout"):
            engine_for(settings("sqlite:////tmp/x.db?timeout=soon"))
        dispose_all()


class TestOneForAll:
    def test_a_url_has_one_engine(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'x.db'}"
        first = engine_for(settings(url, site="a.test"))
        assert engine_for(settings(url, site="b.test")) is first
        found: list[sa.Engine] = []
        threads = [threading.Thread(target=lambda: found.append(engine_for(settings(url)))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {id(each) for each in found} == {id(first)}
        dispose_all()
        assert engine_for(settings(url)) is not first
        dispose_all()

    def test_a_site_has_a_file_of_its_own(self, tmp_path: Path) -> None:
        one = settings(None, home=tmp_path, site="a.test")
        with begun(engine_for(one)):
            pass
        assert (tmp_path / "sites" / f"{one.db_name}.db").exists()
        assert stat.S_IMODE((tmp_path / "sites").stat().st_mode) == 0o700
        dispose_all()

    def test_connections_are_closed(self, tmp_path: Path) -> None:
        made = engine_for(settings(f"sqlite:///{tmp_path / 'x.db'}"))
        with begun(made) as connection:
            driver_s = connection.connection.dbapi_connection
        dispose_all()
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            driver_s.execute("select 1")  # type: ignore[union-attr]


@pytest.fixture
def database(database_url: str) -> sa.Engine:
    return engine_for(settings(database_url))


VALUES = sa.table("vals", *(sa.column(name) for name in ("name", "number", "day", "moment", "at", "code")))
TYPED = sa.Table(
    "vals",
    sa.MetaData(),
    sa.Column("name", sa.String(140), primary_key=True),
    sa.Column("number", sa.Numeric(21, 9, asdecimal=False)),
    sa.Column("day", Date()),
    sa.Column("moment", DateTime()),
    sa.Column("at", Time()),
    sa.Column("code", sa.String(5), unique=True),
    mysql_charset="utf8mb4",
)
DAY, MOMENT = datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4, 5, 6)
AT = datetime.timedelta(hours=23, microseconds=1)


@pytest.fixture
def values(database: sa.Engine) -> sa.Engine:
    with begun(database) as connection:
        TYPED.create(connection)
        connection.execute(sa.insert(TYPED).values(name="a", number=1.5, day=DAY, moment=MOMENT, at=AT, code="x"))
    return database


class TestValues:
    def test_with_and_without_types(self, values: sa.Engine) -> None:
        for table in (TYPED, VALUES):
            with begun(values) as connection:
                row = connection.execute(sa.select(table)).one()
            assert tuple(row) == ("a", 1.5, DAY, MOMENT, AT, "x")
            assert isinstance(row[1], float)

    def test_texts_are_understood(self, values: sa.Engine) -> None:
        with begun(values) as connection:
            connection.execute(
                sa.insert(TYPED).values(name="b", day="2026-01-02", moment="2026-01-02 03:04:05.000006", at="9:5")
            )
            row = connection.execute(sa.select(TYPED).where(TYPED.c.name == "b")).one()
        assert (row.day, row.moment, row.at) == (DAY, MOMENT, datetime.timedelta(hours=9, minutes=5))

    def test_days_moments_and_times_stand_for_each_other(self, values: sa.Engine) -> None:
        with begun(values) as connection:
            connection.execute(sa.insert(TYPED).values(name="b", day=MOMENT, moment=DAY, at=datetime.time(9, 5)))
            row = connection.execute(sa.select(TYPED).where(TYPED.c.name == "b")).one()
        midnight = datetime.datetime.combine(DAY, datetime.time())
        assert (row.day, row.moment, row.at) == (DAY, midnight, datetime.timedelta(hours=9, minutes=5))

    def test_all_of_unicode(self, values: sa.Engine) -> None:
        with begun(values) as connection:
            connection.execute(sa.insert(TYPED).values(name="𝄞 ä'\"\\%"))
            assert connection.execute(sa.select(TYPED.c.name).where(TYPED.c.name == "𝄞 ä'\"\\%")).scalar()

    def test_a_sum_is_a_number(self, values: sa.Engine) -> None:
        with begun(values) as connection:
            found = connection.execute(sa.text("select sum(number) from vals")).scalar()
        assert (found, type(found)) == (1.5, float)


class TestErrors:
    @pytest.mark.parametrize(
        ("sql", "kind"),
        [
            ("insert into vals (name) values ('a')", DuplicateEntryError),
            ("insert into vals (name, code) values ('b', 'x')", UniqueValidationError),
            ("select nothing from vals", QueryError),
            ("select * from nowhere", QueryError),
            ("selekt 1", QueryError),
            ("insert into vals (name) values (null)", QueryError),
        ],
    )
    def test_by_what_happened(self, values: sa.Engine, sql: str, kind: type[Exception]) -> None:
        with pytest.raises(kind) as caught, begun(values) as connection:
            connection.execute(sa.text(sql))
        assert type(caught.value) is kind
        message = str(caught.value)
        assert "\n" not in message
        assert "sqlalche.me" not in message
        assert "[SQL" not in message
        assert not isinstance(caught.value.__cause__, sa.exc.SQLAlchemyError)

    def test_too_long(self, values: sa.Engine, database_kind: str) -> None:
        if database_kind == "sqlite":  # has no length
            return
        with pytest.raises(QueryError, match="too long"), begun(values) as connection:
            connection.execute(sa.insert(TYPED).values(name="b", code="123456"))

    def test_a_value_of_another_kind(self, values: sa.Engine, database_kind: str) -> None:
        with pytest.raises(QueryError), begun(values) as connection:
            connection.execute(sa.insert(VALUES).values(name="b", number=object()))

    @pytest.mark.parametrize(
        "url",
        [
            "mysql://root@127.0.0.1:1/d",
            "postgresql://postgres@127.0.0.1:1/d",
            "mysql://nobody:s3cret@{mariadb}/d",
            "mysql://root@{mariadb}/no_such_database",
            "postgresql://postgres@{postgres}/no_such_database",
        ],
    )
    def test_out_of_reach(self, url: str) -> None:
        for kind, variable in (("mariadb", "TEST_MARIADB_URL"), ("postgres", "TEST_POSTGRES_URL")):
            if f"{{{kind}}}" in url:
                named = os.environ.get(variable)
                requires(named, variable)
                server = sa.make_url(str(named))
                url = url.replace(f"{{{kind}}}", f"{server.host}:{server.port}")
        message = r"^The database \S+ is not available: .*[a-z]"
        with pytest.raises(DatabaseUnavailable, match=message) as caught, begun(engine_for(settings(url))):
            pass
        assert "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value)
        dispose_all()

    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        (tmp_path / "x.db").write_bytes(b"this is no database at all, " * 40)
        broken = engine_for(settings(f"sqlite:///{tmp_path / 'x.db'}"))
        with pytest.raises(DatabaseUnavailable, match="not a database"), begun(broken):
            pass
        dispose_all()

    def test_ours_pass_through(self) -> None:
        with pytest.raises(ValidationError, match="as it was"), translated():
            raise ValidationError("as it was")


class TestSqlite:
    def test_it_is_set_up_for_several_processes(self, tmp_path: Path) -> None:
        made = engine_for(settings(f"sqlite:///{tmp_path / 'x.db'}"))
        with begun(made) as connection:
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "busy_timeout")
            ]
        assert found == ["wal", 1, engines.LOCK_TIMEOUT * 1000]
        dispose_all()

    def test_an_error_in_a_later_row_is_the_statement_s(self, tmp_path: Path) -> None:
        made = engine_for(settings(f"sqlite:///{tmp_path / 'x.db'}"))
        with pytest.raises(QueryError, match="malformed JSON"), begun(made) as connection:
            connection.execute(sa.text("select json(x) from (select '1' as x union all select 'no')"))
        dispose_all()

    def test_processes_that_open_a_new_file_at_once(self, tmp_path: Path) -> None:
        code = (
            "import sys\n"
            "from frappe_cache_ext.settings import Settings\n"
            "from frappe_cache_ext.documents.tables import prepare\n"
            "from frappe_cache_ext.documents.engine import engine_for\n"
            "prepare(engine_for(Settings(url='memory://x', database_url=sys.argv[1])))\n"
        )
        failed: list[BaseException] = []

        def start() -> None:
            try:
                run_python(code, f"sqlite:///{tmp_path / 'x.db'}")
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []


class TestFieldTypes:
    @pytest.mark.parametrize(
        ("fieldtype", "value", "expected"),
        [
            ("Int", "12", 12),
            ("Int", "12.7", 12),
            ("Int", "abc", 0),
            ("Int", None, 0),
            ("Int", "", 0),
            ("Int", "inf", 0),
            ("Check", "true", 1),
            ("Check", True, 1),
            ("Long Int", str(2**40), 2**40),
            ("Float", "1,234.5", 1234.5),
            ("Currency", None, 0.0),
            ("Percent", "x", 0.0),
            ("Date", "2026-01-02", DAY),
            ("Date", "2026-01-02 03:04:05", DAY),
            ("Date", "never", None),
            ("Date", "", None),
            ("Date", None, None),
            ("Datetime", "2026-01-02 03:04:05.000006", MOMENT),
            ("Datetime", MOMENT, MOMENT),
            ("Time", "09:05:00", datetime.timedelta(hours=9, minutes=5)),
            ("Time", "-838:59:59.5", -datetime.timedelta(hours=838, minutes=59, seconds=59.5)),
            ("Time", "25:61", None),
            ("Data", None, None),
            ("Data", 5, "5"),
            ("Small Text", "x", "x"),
        ],
    )
    def test_a_text_becomes_a_value(self, fieldtype: str, value: Any, expected: Any) -> None:
        found = cast(fieldtype, value)
        assert (found, type(found)) == (expected, type(expected))

    def test_an_unknown_type(self) -> None:
        for ask in (cast, lambda fieldtype, _: fieldtypes.column_type(fieldtype)):
            with pytest.raises(ValidationError, match="no field type 'Curency'; did you mean Currency"):
                ask("Curency", "1")

    def test_types_without_a_column(self) -> None:
        for fieldtype in fieldtypes.WITHOUT_COLUMN:
            assert fieldtypes.column_type(fieldtype) is None
            assert fieldtypes.kind_of(fieldtype) is None

    @pytest.mark.parametrize(
        ("fieldtype", "columns"),
        [
            ("Data", ("VARCHAR(140)", "VARCHAR(140)", "VARCHAR(140)")),
            ("Int", ("INTEGER(11)", "INTEGER", "INTEGER")),
            ("Long Int", ("BIGINT(20)", "BIGINT", "INTEGER")),
            ("Check", ("TINYINT(4)", "SMALLINT", "INTEGER")),
            ("Currency", ("NUMERIC(21, 9)", "NUMERIC(21, 9)", "REAL")),
            ("Rating", ("NUMERIC(3, 2)", "NUMERIC(3, 2)", "REAL")),
            ("Small Text", ("TEXT", "TEXT", "TEXT")),
            ("Long Text", ("LONGTEXT", "TEXT", "TEXT")),
            ("Date", ("DATE", "DATE", "DATE")),
            ("Datetime", ("DATETIME(6)", "TIMESTAMP WITHOUT TIME ZONE", "DATETIME")),
            ("Time", ("TIME(6)", "TIME(6)", "TIME")),
            ("JSON", ("LONGTEXT", "JSON", "TEXT")),
        ],
    )
    def test_the_columns_are_frappe_s(self, fieldtype: str, columns: tuple[str, str, str]) -> None:
        kind = fieldtypes.column_type(fieldtype)
        assert kind is not None
        urls = ("mysql://u@127.0.0.1/d", "postgres://u@127.0.0.1/d", "sqlite:////tmp/x.db")
        assert tuple(kind.compile(engine_for(settings(url)).dialect) for url in urls) == columns
        dispose_all()


@pytest.mark.parametrize("database_kind", ["postgres"])
def test_options_in_the_url_come_on_top_of_ours_and_hold(database_url: str) -> None:
    engine = engine_for(settings(f"{database_url}?options=-c%20lock_timeout%3D1234%20-c%20work_mem%3D5MB"))
    with engine.connect() as connection:
        shown = connection.execute(sa.text("select current_setting('lock_timeout'), current_setting('work_mem')")).one()
    assert tuple(shown) == ("1234ms", "5MB")
    engine = engine_for(settings(f"{database_url}?options=-c%20work_mem%3D6MB"))
    with engine.connect() as connection:
        shown = connection.execute(sa.text("select current_setting('lock_timeout'), current_setting('work_mem')")).one()
    assert tuple(shown) == ("10s", "6MB")


def test_destroy_closes_what_nobody_uses_and_nothing_else(database_url: str) -> None:
    engine = engine_for(settings(database_url))
    pool = engine.pool
    with engine.connect() as connection:
        with engine.connect():
            pass
        context.destroy()
        assert connection.scalar(sa.text("SELECT 1")) == 1
    assert (engine.pool, pool.checkedin()) == (pool, 2), "a pool was given up while one of its connections was in use"
    context.destroy()
    assert engine_for(settings(database_url)).pool.checkedin() == 0
    assert pool.checkedin() == 0
