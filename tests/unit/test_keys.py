"""Names on the wire."""

from __future__ import annotations

import fnmatch

from hypothesis import assume, given
from hypothesis import strategies as st

from frappe_cache_ext import keys
from frappe_cache_ext.operations import lease_name

texts = st.one_of(st.text(max_size=12), st.text(alphabet=st.sampled_from(list("*?[]\\^-{}|:%AB23 \n")), max_size=8))
db_names = st.from_regex(r"[_a-z0-9]{1,17}", fullmatch=True)


def test_the_forms_are_frappes() -> None:
    assert keys.make_key("_site", "key") == b"_site|key"
    assert keys.make_key("_site", "key", user="anna@example.com") == b"_site|user:anna@example.com:key"
    assert keys.make_key("_site", "key", shared=True) == b"key"
    assert keys.make_key("_site", "ü🌻") == "_site|ü🌻".encode()
    assert keys.document_key("User", "anna") == "document_cache::User::anna"


@given(db_names, texts, db_names, texts)
def test_no_two_keys_share_a_name(db_a: str, key_a: str, db_b: str, key_b: str) -> None:
    assume((db_a, key_a) != (db_b, key_b))
    assert keys.make_key(db_a, key_a) != keys.make_key(db_b, key_b)


@given(texts.filter(bool), texts, texts.filter(bool), texts)
def test_no_two_users_keys_share_a_name(user_a: str, key_a: str, user_b: str, key_b: str) -> None:
    assume((user_a, key_a) != (user_b, key_b))
    assert keys.make_key("s", key_a, user=user_a) != keys.make_key("s", key_b, user=user_b)


@given(texts.filter(bool), texts.filter(bool))
def test_no_users_prefix_begins_another_users(user_a: str, user_b: str) -> None:
    assume(user_a != user_b)
    assert not keys.user_prefix(user_a).startswith(keys.user_prefix(user_b))


@given(texts)
def test_users_that_frappe_allows_are_written_as_they_are(user: str) -> None:
    assume(":" not in user and "%3A" not in user and "%25" not in user)
    assert keys.user_prefix(user) == f"user:{user}:"


@given(db_names, texts)
def test_a_name_gives_its_key_back(db_name: str, key: str) -> None:
    assert keys.strip_site(db_name, keys.make_key(db_name, key)) == key


@given(texts, texts)
def test_a_pattern_matches_exactly_the_names_with_the_prefix(prefix: str, name: str) -> None:
    # The standard library's matcher knows no backslash; what a backslash protects is put in brackets for it.
    pattern = keys.starts_with(keys.encode(prefix))
    translated, escaped = "", False
    for character in keys.decode(pattern):
        if escaped:
            translated += f"[{character}]" if character in "*?[" else character
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            translated += character
    assert fnmatch.fnmatchcase(name, translated) == name.startswith(prefix)


def test_undecodable_names_are_shown() -> None:
    assert keys.decode(b"a\xff") == "a\\xff"


@given(st.one_of(texts, st.text(alphabet="{}a", max_size=6)))
def test_a_lease_lies_in_its_entrys_slot(key: str) -> None:
    from redis.crc import key_slot

    name = keys.encode(f"_site|{key}")
    tag = name[name.find(b"{") + 1 :]
    has_tag = b"{" in name and b"}" in tag and not tag.startswith(b"}")
    if not has_tag and (b"{" in name or b"}" in name):
        return  # the one case for which there is no such name
    assert key_slot(lease_name(name)) == key_slot(name)
