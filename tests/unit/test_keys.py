"""Names on the wire."""

from __future__ import annotations

import fnmatch

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from frappe_cache_ext import keys
from frappe_cache_ext.operations import LEASE_MARK, lease_name

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


@settings(deadline=None)  # with a single brace a name has to be searched for
@given(st.one_of(texts, st.text(alphabet="{}a", max_size=6)))
def test_a_lease_lies_in_its_entrys_slot(key: str) -> None:
    from redis.crc import key_slot

    name = keys.encode(f"_site|{key}")
    assert lease_name(name).startswith(name)
    assert lease_name(name).endswith(LEASE_MARK)
    assert key_slot(lease_name(name)) == key_slot(name)


digests = st.text(alphabet="0123456789abcdef", min_size=1, max_size=32)


@given(texts, texts, digests)
def test_a_cells_name_ends_where_its_key_says(name_a: str, name_b: str, digest: str) -> None:
    assert keys.cell_key(name_a, digest).startswith(keys.cell_key(name_b, "")) == (name_a == name_b)
    assert keys.cell_key(name_a, digest).startswith(keys.CELL_PREFIX)


@given(texts, digests, digests, st.integers(0, 10**6))
def test_a_part_is_told_from_a_record_and_a_lease(name: str, digest: str, token: str, number: int) -> None:
    record = keys.make_key("_site", keys.cell_key(name, digest))
    part = keys.cell_part_name(record, token, number)
    assert part.startswith(record)
    assert keys.is_cell_part(part)
    assert not keys.is_cell_part(record)
    assert not keys.is_cell_part(lease_name(record))


@given(texts)
def test_a_cells_keys_are_spread_over_the_slots_of_a_cluster(name: str) -> None:
    assert not set("{}") & set(keys.cell_key(name, "5f0c"))


@given(texts, texts)
def test_each_identity_of_a_cell_has_a_manifest_of_its_own(identity_a: str, identity_b: str) -> None:
    key_a, key_b = keys.cell_manifest_key(identity_a), keys.cell_manifest_key(identity_b)
    assert (key_a == key_b) == (identity_a == identity_b)
    assert not key_a.startswith(keys.CELL_PREFIX)
