"""Why a cell missed, in words."""

from __future__ import annotations

import ast
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frappe_cache_ext.cells.manifest import LONGEST_TEXT, Dependency, explain, from_plain, to_plain
from frappe_cache_ext.stand_ins import read_inertly

BODY = "def clean(rows):\n    kept = []\n    for row in rows:\n        kept.append(row)\n    return kept"

texts = st.text(max_size=8)
manifests = st.dictionaries(texts, st.builds(Dependency, texts, texts, texts), max_size=4)


def value(shown: str, digest: str = "") -> Dependency:
    return Dependency("value", digest or shown, shown)


def function(source: str, digest: str = "") -> Dependency:
    text = ast.unparse(ast.parse(source)) if source else ""
    return Dependency("function", digest or text, text)


def why(old: Any, new: Any, name: str = "x") -> str:
    """The one difference between two manifests of one thing each."""
    (told,) = explain({name: old}, {name: new})
    return told


def test_nothing_is_said_of_what_is_not_known_or_not_different() -> None:
    assert explain(None, {"x": value("1")}) == []
    assert explain({"x": value("1")}, {"x": value("1")}) == []


def test_a_value_that_changed_is_told_by_both_values() -> None:
    assert why(value("0.5"), value("0.7"), "threshold") == "threshold 0.5 -> 0.7"


def test_a_value_that_looks_the_same_is_told_by_its_looks() -> None:
    assert why(value("1000 x 3", "a"), value("1000 x 3", "b"), "df") == "df changed (1000 x 3)"
    assert why(value("", "a"), value("", "b"), "df") == "df changed"
    assert why(value("", "a"), value("7", "b"), "df") == "df changed"


def test_the_same_looks_and_digest_of_another_kind_count() -> None:
    assert why(Dependency("module", "1", "a"), Dependency("value", "1", "a")) == "x changed (module -> value)"


def test_what_appears_and_disappears() -> None:
    option = Dependency("option", "1", "2")
    state = Dependency("state", "precision 3", "precision 3")
    assert explain({}, {"x": value("1")}) == ["x is new"]
    assert explain({"y": value("1")}, {}) == ["y is read no more"]
    assert explain({"--version": option}, {}) == ["--version is given no more"]
    assert explain({}, {"numpy.printoptions": state}) == ["numpy.printoptions is precision 3 now"]
    assert explain({"numpy.printoptions": state}, {}) == ["numpy.printoptions is back at its default"]


def test_differences_come_in_the_order_of_the_new_manifest_and_what_is_gone_comes_last() -> None:
    old = {"gone": value("1"), "b": value("1"), "a": value("1")}
    new = {"a": value("2"), "fresh": value("1"), "b": value("2")}
    assert explain(old, new) == ["a 1 -> 2", "b 1 -> 2", "fresh is new", "gone is read no more"]


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("numpy", "2.3.1", "2.4.6", "numpy 2.3.1 -> 2.4.6"),
        ("np", "numpy 2.3.1", "numpy 2.4.6", "numpy 2.3.1 -> 2.4.6"),
        ("yaml", "PyYAML 6.0", "pyyaml-ng 1.0", "yaml PyYAML 6.0 -> pyyaml-ng 1.0"),
        ("helpers", "helpers (3fa2b1c0)", "helpers (9be21a00)", "helpers changed"),
    ],
)
def test_a_module_is_told_by_its_versions(name: str, old: str, new: str, told: str) -> None:
    assert why(Dependency("module", old, old), Dependency("module", new, new), name) == told


class TestTexts:
    @pytest.mark.parametrize(
        ("edited", "told"),
        [
            (BODY.replace("row)", "row * 2)"), "clean() line 4 changed"),
            (BODY.replace("(rows)", "(rows, x)").replace("return kept", "return kept, x"),
             "clean() lines 1 and 5 changed"),
            (BODY.replace("    kept = []\n    for row in rows", "    kept = [1]\n    for row in kept"),
             "clean() lines 2-3 changed"),
            (BODY.replace("    kept = []\n", "    kept = []\n    rows = rows[1:]\n"), "clean() line 3 added"),
            (BODY.replace("    kept = []\n", ""), "clean() line 2 removed"),
            (BODY.replace("    kept = []\n", "").replace("return kept", "return rows"), "clean() line 4 changed"),
        ],
    )  # fmt: skip
    def test_the_lines_that_differ_are_named(self, edited: str, told: str) -> None:
        assert why(function(BODY), function(edited), "clean()") == told

    def test_no_more_than_three_places_are_named(self) -> None:
        old = "\n".join(f"x{i} = 0" for i in range(20))
        new = old.replace("x1 = 0", "x1 = 1").replace("x4 = 0", "x4 = 1").replace("x7 = 0", "x7 = 1")
        assert why(function(old), function(new), "f()") == "f() lines 2, 5 and 8 changed"
        new = new.replace("x9 = 0", "x9 = 1")
        assert why(function(old), function(new), "f()") == "f() lines 2, 5, 8 and others changed"

    def test_the_same_code_with_another_digest_holds_other_values(self) -> None:
        assert why(function(BODY, "1"), function(BODY, "2"), "clean()") == "clean() changed, though not its code"

    def test_what_is_cut_off_or_unknown_is_not_said_to_be_the_same(self) -> None:
        cut = Dependency("function", "1", "x" * LONGEST_TEXT)
        assert why(cut, Dependency("function", "2", cut.shown), "f()") == "f() changed"
        assert why(function("", "1"), function("", "2"), "f()") == "f() changed"
        assert why(function("", "1"), function(BODY, "2"), "f()") == "f() changed"

    def test_texts_that_differ_only_in_how_they_end(self) -> None:
        assert why(Dependency("code", "1", "a"), Dependency("code", "2", "a\n"), "the cell").startswith(
            "the cell changed"
        )


class TestPlain:
    @given(manifests)
    def test_a_manifest_makes_the_round_trip_without_anything_being_imported(self, manifest: Any) -> None:
        assert from_plain(read_inertly(pickle.dumps(to_plain(manifest)))) == manifest

    @pytest.mark.parametrize("plain", [None, 7, [], ["x"], {"x": 1}, {"x": ("value",)}, {"x": ("a", "b", "c", "d")}])
    def test_what_another_release_stored_is_nothing_that_is_known(self, plain: Any) -> None:
        assert from_plain(plain) is None

    @given(manifests, manifests)
    def test_each_difference_is_told_once(self, old: Any, new: Any) -> None:
        def state(manifest: Any, name: str) -> Any:
            return (manifest[name].kind, manifest[name].digest) if name in manifest else None

        assert len(explain(old, new)) == sum(state(old, name) != state(new, name) for name in {*old, *new})
