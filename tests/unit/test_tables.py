"""Tables: aligned as text, escaped as HTML, the same in every run."""

from __future__ import annotations

import doctest
import re
from html.parser import HTMLParser

import pytest

from frappe_cache_ext.notebook import replies, tables
from frappe_cache_ext.notebook.tables import Table, one_line, shortened, text_width


def test_text_is_aligned_by_what_it_takes_on_screen() -> None:
    table = Table(("key", "size"), [("color", 20), ("日本", 7), ("e\u0301tat", 1234567)])
    assert repr(table).splitlines() == [
        "key         size",
        "────────────────",
        "color         20",
        "日本           7",
        "e\u0301tat   1,234,567",
    ]
    assert {text_width(line) for line in repr(table).splitlines()} == {16}


def test_no_line_ends_with_spaces() -> None:
    table = Table(("a", "b"), [("long text", "x"), ("y", "")])
    assert not [line for line in repr(table).splitlines() if line != line.rstrip()]


def test_what_would_break_a_line_is_written_out() -> None:
    table = Table(("key",), [("a\nb\x1b[31m\u2028\u202e",)])
    assert repr(table).splitlines()[2] == "a\\nb\\x1b[31m\\u2028\\u202e"
    assert "\x1b" not in table._repr_html_()


def test_html_is_escaped_everywhere() -> None:
    evil = "<script>alert(1)</script>&\"'"
    table = Table((evil,), [(evil,)], title=evil)
    shown = table._repr_html_()
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#x27;") == 3
    assert "<td" in Table((evil,), [], empty=evil)._repr_html_()
    assert "<script" not in Table((evil,), [], empty=evil)._repr_html_()


def test_a_dollar_begins_no_formula() -> None:
    assert "$" not in Table(("key",), [("$x$",)])._repr_html_()


def test_html_is_well_formed_and_has_no_colours() -> None:
    class Balance(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    for table in (Table(("a", "b"), [(1, "x")], more=2, title="t"), Table(("a",), [])):
        checker = Balance()
        checker.feed(table._repr_html_())
        assert checker.open == []
        assert not re.search(r"colou?r|#[0-9a-f]{3}|rgb", table._repr_html_().replace("&#", ""))


def test_rows_left_out_are_counted() -> None:
    table = Table(("key",), [("a",), ("b",)], more=1998)
    assert repr(table).splitlines()[-1] == "and 1,998 more"
    assert "and 1,998 more" in table._repr_html_()
    assert len(table) == 2000


def test_an_empty_table_says_so() -> None:
    table = Table(("key", "size"), [], empty="no key")
    assert repr(table) == "no key"
    assert "<i>no key</i>" in table._repr_html_()


def test_numbers_are_aligned_right_in_html_and_text_left() -> None:
    shown = Table(("key", "size"), [("a", 1)])._repr_html_()
    assert '<td style="text-align:left">a</td><td style="text-align:right">1</td>' in shown


def test_two_tables_of_the_same_rows_are_equal() -> None:
    assert Table(("a",), [(1,)]) == Table(("a",), [[1]])
    assert Table(("a",), [(1,)]) != Table(("a",), [(2,)])
    assert Table(("a",), [(1,)]) != "a"


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("short", 5, "short"), ("longer", 5, "long…"), ("日本語", 5, "日本…"), ("日本語", 4, "日…"), ("", 1, "")],
)
def test_a_text_is_cut_to_a_width(text: str, width: int, expected: str) -> None:
    assert shortened(text, width) == expected
    assert text_width(shortened(text, width)) <= width


def test_one_line_keeps_what_can_be_printed() -> None:
    assert one_line("grün 日本 👍") == "grün 日本 👍"


def test_the_examples_in_the_docstrings() -> None:
    for module in (tables, replies):
        results = doctest.testmod(module)
        assert results.attempted > 0
        assert results.failed == 0
