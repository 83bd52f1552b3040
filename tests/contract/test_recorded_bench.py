"""What a Frappe 15.44 site wrote to its Redis, restored: listed and read where no Frappe is installed."""

from __future__ import annotations

import base64
import datetime
import gzip
import importlib.util
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from frappe_cache_ext import context
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.stand_ins import StandIn
from tests.unit.test_codec import RECORDED

ENTRIES: list[dict[str, Any]] = json.loads(gzip.decompress(RECORDED.read_bytes()))["keys"]
COMMANDS = {"hash": "HSET", "list": "RPUSH", "set": "SADD"}


@pytest.fixture
def bench_cache(server_url: str) -> Iterator[RedisWrapper]:
    """The cache of the recorded site, with its expiries."""
    assert importlib.util.find_spec("frappe") is None
    context.init("recorded.test", url=server_url, db_name="s15db")
    cache = RedisWrapper()
    names = []
    for entry in ENTRIES:
        name = base64.b64decode(entry["key"])
        names.append(name)
        if entry["type"] == "string":
            cache.redis.set(name, base64.b64decode(entry["value"]))
        else:
            parts = [part for each in entry["value"] for part in (each if isinstance(each, list) else [each])]
            cache.redis.execute_command(COMMANDS[entry["type"]], name, *map(base64.b64decode, parts))
        if entry["pttl"] > 0:
            cache.redis.pexpire(name, entry["pttl"])
    context._request.set(None)
    yield cache
    cache.redis.unlink(*names)


def test_all_are_listed_those_of_all_sites_apart(bench_cache: RedisWrapper) -> None:
    own = bench_cache.get_keys()
    assert len(ENTRIES) == 204
    assert own == sorted(name for entry in ENTRIES if (name := base64.b64decode(entry["key"])).startswith(b"s15db|"))
    assert len(own) == 186


def test_plain_values_are_read(bench_cache: RedisWrapper) -> None:
    assert bench_cache.get_value("gold:unicode") == "Grüße ✓ 漢字 🌻"
    assert bench_cache.get_value("gold:datetime_tz") == datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    assert bench_cache.get_value("gold:int_key_dict") == {1: "x", None: "y", (1, 2): "z"}
    assert bench_cache.get_value("gold:none", default="missing") is None
    assert bench_cache.get_value("gold:user", user="Administrator") is not None
    assert bench_cache.get_value("gold:shared", shared=True) == "for-all-sites"
    assert bench_cache.get_value("gold:_dict").b.c == 2
    assert bench_cache.smembers("gold:redisset") == {b"m1", b"m2"}
    assert bench_cache.lrange("gold:redislist", 0, -1) == [b"x", b"y"]


def test_every_key_has_a_value(bench_cache: RedisWrapper) -> None:
    # A warning about any of them would be an error here.
    assert len(bench_cache.get_all("")) == 186


def test_documents_are_stand_ins(bench_cache: RedisWrapper) -> None:
    document = bench_cache.get_value("document_cache::User::anna@example.com")
    assert isinstance(document, StandIn)
    assert document.stand_in_for == "frappe.core.doctype.user.user.User"
    assert document.as_dict()["email"] == "anna@example.com"
    assert all(isinstance(role, StandIn) for role in document.roles)  # type: ignore[attr-defined]


def test_expiries_are_kept(bench_cache: RedisWrapper) -> None:
    assert 0 < (bench_cache.get_expiry("gold:exp3600") or 0) <= 3600
    assert bench_cache.get_expiry("gold:str") == math.inf


def test_frappes_own_results_can_be_cleared(bench_cache: RedisWrapper) -> None:
    # Sixteen calls were made, and two of them, f(1) and f(True), share an entry there.
    assert len(bench_cache.get_keys("goldfuncs.f::")) == 15
    bench_cache.delete_keys("goldfuncs.f::")
    assert bench_cache.get_keys("goldfuncs.f::") == []
    assert len(bench_cache.get_keys("goldfuncs.foo::")) == 15
    assert len(bench_cache.get_keys("user:Administrator:goldfuncs.per_user::")) > 0
