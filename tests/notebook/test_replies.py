"""Replies, written as redis-cli writes them."""

from __future__ import annotations

from typing import Any

import pytest

from frappe_cache_ext.notebook.replies import Reply


@pytest.mark.parametrize(
    ("value", "command", "shown"),
    [
        (None, "GET", "(nil)"),
        (7, "INCR", "(integer) 7"),
        (1.5, "ZSCORE", "(double) 1.5"),
        (True, "", "(true)"),
        (b"OK", "SET", "OK"),
        (b"OK", "GET", '"OK"'),
        (b"hash", "TYPE", "hash"),
        (b"", "GET", '""'),
        (b'a"b\\\n\r\t\x00\x7f', "GET", r'"a\"b\\\n\r\t\x00\x7f"'),
        ("grün 日本 👍".encode(), "GET", '"grün 日本 👍"'),
        (b"\xff\x80abc\n", "GET", r'"\xff\x80abc\n"'),
        ("\u202e\u2028".encode(), "GET", r'"\u202e\u2028"'),
        (b"a:1\r\nb:2\r\n", "INFO", "a:1\nb:2"),
        ([], "KEYS", "(empty array)"),
        ([b"a", [1, [b"b", None]], b"c"], "X", '1) "a"\n2) 1) (integer) 1\n   2) 1) "b"\n      2) (nil)\n3) "c"'),
        ([1] * 10, "X", "\n".join(f"{n:>2}) (integer) 1" for n in range(1, 11))),
        ({b"a": 1}, "HGETALL", '1) "a"\n2) (integer) 1'),
        (Exception("WRONGTYPE"), "X", "(error) WRONGTYPE"),
    ],
)
def test_a_reply(value: Any, command: str, shown: str) -> None:
    reply = Reply(value, command)
    assert repr(reply) == shown
    assert reply.value is value
