"""Copies of one server are never kept by listening to another: what a failover at a bad moment could lead to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import frappe_cache_ext as frappe
from frappe_cache_ext.connections import Connection, current_connection
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.settings import Settings
from tests.documents.processes import own_redis
from tests.support import RedisServer, until


@pytest.fixture
def servers() -> Iterator[tuple[RedisServer, RedisServer]]:
    """The master, and the one that takes over."""
    with own_redis() as old, own_redis() as new:
        yield old, new
        current_connection().close()


def fail_over(connection: Connection, to: RedisServer) -> None:
    """New connections lead to another server, as Sentinel's do after a failover; those of before are closed."""
    pool = connection.client.connection_pool
    pool.connection_kwargs["port"] = to.port
    assert connection._pinned is not None
    connection._pinned.close_idle()
    pool.reset()


def test_a_listener_that_was_on_its_way_to_the_old_master_does_not_stay_there(
    servers: tuple[RedisServer, RedisServer], site: str
) -> None:
    old, new = servers
    frappe.init(site, url=old.url)
    frappe.cache.exists("anything")
    connection = current_connection()
    listener, connect = connection.listener, connection.listener._connect
    connected, goes_on = threading.Event(), threading.Event()

    def slowly() -> Any:
        link = connect()
        connected.set()
        goes_on.wait(5)
        return link

    listener._connect = slowly
    assert not frappe.client_cache.healthy
    assert connected.wait(5)
    fail_over(connection, new)
    frappe.client_cache.set_value("color", "green")
    listener._connect = connect
    goes_on.set()
    until(lambda: frappe.client_cache.healthy, what="listening")
    assert listener._session is not None
    assert listener._session.address == ("127.0.0.1", new.port)
    _changes_are_seen(site, new)


def test_a_listener_in_its_place_moves_with_the_others(servers: tuple[RedisServer, RedisServer], site: str) -> None:
    old, new = servers
    frappe.init(site, url=old.url)
    frappe.client_cache.set_value("color", "green")
    until(lambda: frappe.client_cache.healthy, what="listening")
    fail_over(current_connection(), new)
    frappe.client_cache.set_value("color", "green")
    until(lambda: frappe.client_cache.healthy, what="listening")
    _changes_are_seen(site, new)


def _changes_are_seen(site: str, server: RedisServer) -> None:
    """What somebody else changes on a server is read here soon, and what is read twice is copied."""
    copies, name = current_connection().copies, frappe.cache.make_key("color")
    other = Connection(Settings.load(site=site, url=server.url))
    try:
        for number in range(3):
            RedisWrapper(other).set_value("color", number)
            until(lambda number=number: frappe.client_cache.get_value("color") == number, 5, "the change")
            until(lambda: frappe.client_cache.get_value("color") is not None and copies.find(name), 5, "a copy")
    finally:
        other.close()
