"""Site A never sees, lists or clears site B, whatever characters names hold."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frappe_cache_ext import context
from frappe_cache_ext.clearing import clear_cache
from frappe_cache_ext.errors import SettingsError
from frappe_cache_ext.redis_wrapper import RedisWrapper

special = st.text(alphabet=st.sampled_from(list("*?[]\\^-|:{}%ab\n\0ü🌻\ud800")), max_size=6)
names = st.one_of(special, st.text(max_size=12))
site_names = names.filter(bool)
users = names.filter(bool)

# One example is a dozen commands on a real server; what slow machines make of that is no failure.
steady = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextlib.contextmanager
def working_for(site: str, url: str) -> Any:
    context.init(site, url=url)
    cache = RedisWrapper()
    try:
        yield cache
    finally:
        cache.delete_keys("")


@steady
@given(site_names, site_names, names, names, users)
def test_no_call_of_one_site_reaches_another(
    server_url: str, site_a: str, site_b: str, key: str, other: str, user: str
) -> None:
    if site_a == site_b:
        return
    with working_for(site_b, server_url) as cache:
        cache.set_value(key, "b")
        cache.hset("hash", key, "b")
        cache.set_value(key, "b", user=user)
        before = cache.get_keys()
        with working_for(site_a, server_url) as intruder:
            for wanted in (key, other, f"{context.current_settings().db_name}|{key}"):
                assert intruder.get_value(wanted) is None
                assert intruder.get_value(wanted, user=user) is None
            assert intruder.get_all("") == {}
            assert intruder.get_keys("") == []
            assert intruder.get_keys(other) == []
            assert intruder.hgetall("hash") == {}
            intruder.delete_keys("")
            intruder.delete_keys(other)
            intruder.delete_value([key, other])
            intruder.hdel_keys("", key)
            clear_cache()
            clear_cache(user=user)
            clear_cache(doctype=other or "x")
            for name in before:
                with pytest.raises(ValueError, match="not the name of a key"):
                    intruder.delete_value(name, make_keys=False)
        context.init(site_b, url=server_url)
        assert cache.get_keys() == before
        assert cache.get_value(key) == "b"
        assert cache.get_value(key, user=user) == "b"
        assert cache.hgetall("hash") == {key: "b"}


@steady
@given(users, users, names)
def test_one_user_is_not_another(server_url: str, site: str, anna: str, bob: str, key: str) -> None:
    if anna == bob:
        return
    with working_for(site, server_url) as cache:
        cache.set_value(key, "anna", user=anna)
        assert cache.get_value(key, user=bob) is None
        cache.set_value(key, "bob", user=bob)
        clear_cache(user=bob)
        assert cache.get_value(key, user=anna) == "anna"
        assert cache.get_value(key, user=bob) is None


@steady
@given(names, names, st.one_of(st.none(), st.integers(), st.text(), st.lists(st.floats(allow_nan=False))))
def test_any_key_holds_any_value(server_url: str, site: str, key: str, field: str, value: Any) -> None:
    with working_for(site, server_url) as cache:
        cache.set_value(key, value)
        cache.hset(f"h:{key}", field, value)
        with context.request():
            assert cache.get_value(key) == value
            assert cache.hgetall(f"h:{key}") == {field: value}
            assert cache.get_all("") == {key: value, f"h:{key}": {field: value}}


@pytest.mark.parametrize("db_name", ["a|b", "a*", "a?", "[a]", "a\\"])
def test_a_prefix_that_reaches_into_other_names_is_refused(db_name: str) -> None:
    with pytest.raises(SettingsError):
        context.init("site", db_name=db_name)


def test_clear_cache_clears_this_site_and_leaves_shared_keys(cache: RedisWrapper, site: str) -> None:
    cache.set_value("key", 1)
    cache.set_value(f"shared-{site}", 1, shared=True)
    clear_cache()
    assert cache.get_keys() == []
    assert cache.get_value(f"shared-{site}", shared=True) == 1
    cache.delete_value(f"shared-{site}", shared=True)


def test_clear_cache_of_a_user_is_exact(cache: RedisWrapper) -> None:
    for user in ("anna@example.com", "anna@example.com.au"):
        cache.set_value("key", user, user=user)
        cache.hset("roles", user, ["Guest"])
    cache.set_value("key", "everybody")
    clear_cache(user="anna@example.com")
    assert cache.get_value("key", user="anna@example.com") is None
    assert cache.get_value("key", user="anna@example.com.au") == "anna@example.com.au"
    assert cache.get_value("key") == "everybody"
    assert cache.hgetall("roles") == {"anna@example.com.au": ["Guest"]}


def test_clear_cache_of_a_doctype(cache: RedisWrapper) -> None:
    cache.set_value("document_cache::User::anna", 1)
    cache.set_value("document_cache::User Type::x", 2)
    cache.hset("doctype_meta", "User", 1)
    clear_cache(doctype="User")
    assert cache.get_all("") == {"document_cache::User Type::x": 2}
    with pytest.raises(ValueError, match="not both"):
        clear_cache(user="anna", doctype="User")
