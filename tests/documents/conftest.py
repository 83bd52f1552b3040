"""A fresh database of each kind for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from frappe_cache_ext import connections, context
from frappe_cache_ext.documents.engine import dispose_all
from frappe_cache_ext.settings import Settings
from tests.support import requires

_VARIABLES = {"mariadb": "TEST_MARIADB_URL", "postgres": "TEST_POSTGRES_URL"}
_numbers = itertools.count(1)


def server_url(kind: str) -> sa.URL:
    """The URL of the server that a test of its kind runs on."""
    variable = _VARIABLES[kind]
    found = os.environ.get(variable)
    requires(found, f"{variable}, the URL of a database server,")
    assert found is not None
    return sa.make_url(found)


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def database_url(database_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, of each kind in turn."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'site.db'}"
        context.destroy()
        dispose_all()
        return
    url = server_url(database_kind)
    name = f"frappe_test_{os.getpid()}_{next(_numbers)}"
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        context.destroy()
        dispose_all()
        force = " WITH (FORCE)" if database_kind == "postgres" else ""
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}{force}")


@pytest.fixture
def site(database_url: str) -> Iterator[Settings]:
    """A site of its own on an empty database, chosen."""
    name = f"documents{next(_numbers)}-{os.getpid()}.test"
    settings = context.init(name, url=f"memory://{name}", database_url=database_url)
    yield settings
    context.destroy()
    connections.connection_for(settings).close()
