"""What an SQL statement does, and which parts of it are code."""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterator
from typing import Final


class Kind(enum.Enum):
    """What a statement does."""

    READ = "read"
    WRITE = "write"
    DDL = "ddl"
    TRANSACTION = "transaction"


_BACKSLASHED: Final = r"'(?:[^'\\]|\\.|'')*'"
_DOUBLED: Final = r"'(?:[^']|'')*'"
_BACKTICKED: Final = r"`(?:[^`]|``)*`"
_QUOTED: Final = r'"(?:[^"]|"")*"'
_COMMENT: Final = r"/\*.*?\*/"
_OPAQUE: Final[dict[str, str]] = {
    # The server carries out what stands in /*! */.
    "mysql": rf'{_BACKSLASHED}|"(?:[^"\\]|\\.|"")*"|{_BACKTICKED}|--(?=\s|\Z)[^\n]*|\#[^\n]*|/\*(?!M?!).*?\*/',
    "postgresql": rf"\b[eE]{_BACKSLASHED}|{_DOUBLED}|{_QUOTED}|{_BACKTICKED}"
    rf"|(?<![\w$])\$(?P<tag>[A-Za-z_]?\w*)\$.*?\$(?P=tag)\$|--[^\n]*|{_COMMENT}",
    "sqlite": rf"{_DOUBLED}|{_QUOTED}|{_BACKTICKED}|\[[^\]]*\]|--[^\n]*|{_COMMENT}",
}
_OPAQUE["mariadb"] = _OPAQUE["mysql"]
# Of a database that is not known: what no dialect takes for a statement.
_OPAQUE[""] = rf"{_BACKSLASHED}|{_QUOTED}|{_BACKTICKED}|--[^\n]*|/\*(?!M?!).*?\*/"


@functools.cache
def _opaque(dialect_name: str) -> re.Pattern[str]:
    return re.compile(_OPAQUE.get(dialect_name, _OPAQUE[""]), re.DOTALL)


def parts(query: str, dialect_name: str) -> Iterator[tuple[bool, str]]:
    """The query in pieces, each with whether it is code: neither literal nor quoted name nor comment."""
    end = 0
    for found in _opaque(dialect_name).finditer(query):
        if found.start() > end:
            yield True, query[end : found.start()]
        yield False, found[0]
        end = found.end()
    if end < len(query):
        yield True, query[end:]


_READS: Final = frozenset(("desc", "describe", "explain", "pragma", "select", "show", "table", "values", "with"))
_DDL: Final = frozenset(
    (
        *("alter", "analyze", "attach", "cluster", "comment", "create", "detach", "drop", "flush", "grant", "lock"),
        *("optimize", "refresh", "reindex", "rename", "repair", "revoke", "truncate", "unlock", "vacuum"),
    )
)
_TRANSACTION: Final = frozenset(("abort", "begin", "commit", "end", "release", "rollback", "savepoint", "start", "xa"))
_SETS_TRANSACTION: Final = re.compile(
    r"set\s+(?:(?:session|global|local|@@\w*\.?)\s*)*(?:transaction|characteristics|constraints|autocommit)",
    re.IGNORECASE,
)
_CHANGES: Final = re.compile(
    r"\b(?:insert|delete|merge|into)\b|(?<!for )(?<!key )\bupdate\b|\breplace\b(?!\s*\()", re.IGNORECASE
)
_LEADING: Final = re.compile(r"(?:[\s(;]|--[^\n]*(?:\n|\Z)|#[^\n]*(?:\n|\Z)|/\*M?!\d*|/\*(?!M?!).*?\*/)*", re.DOTALL)


def classify(query: str) -> Kind:
    """What a statement does, by its words; of one that is not known, that it writes.

    Example:
        >>> classify("/* all */ select * from tabUser").name, classify("delete from tabUser").name
        ('READ', 'WRITE')
        >>> classify("commit").name, classify("create table t (a int)").name
        ('TRANSACTION', 'DDL')
    """
    start = _LEADING.match(query)
    rest = query[start.end() :] if start else query
    found = re.match(r"\w+", rest)
    word = found[0].lower() if found else ""
    if word in _TRANSACTION or (word == "prepare" and re.match(r"prepare\s+transaction", rest, re.IGNORECASE)):
        return Kind.TRANSACTION
    if word == "set" and _SETS_TRANSACTION.match(rest):
        return Kind.TRANSACTION
    if word in _DDL:
        return Kind.DDL
    if word not in _READS:
        return Kind.WRITE
    if word in ("with", "select", "explain"):
        code = " ".join("".join(piece if is_code else " '' " for is_code, piece in parts(rest, "")).split())
        carried_out = word != "explain" or re.search(r"\banaly[sz]e\b", code, re.IGNORECASE)
        if carried_out and _CHANGES.search(code):
            return Kind.WRITE
    return Kind.READ
