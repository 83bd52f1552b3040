"""What a server answers, written as `redis-cli` writes it."""

from __future__ import annotations

from typing import Any, Final

_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a", "\b": "\\b", '"': '\\"', "\\": "\\\\"}
_STATUSES: Final = (b"OK", b"PONG")
_ANSWERS_WITH_VALUES: Final = frozenset(
    (
        *("GET", "GETDEL", "GETEX", "GETSET", "GETRANGE", "SUBSTR", "ECHO", "DUMP", "HGET", "HRANDFIELD", "LINDEX"),
        *("LPOP", "RPOP", "LMOVE", "RPOPLPUSH", "SPOP", "SRANDMEMBER", "RANDOMKEY", "EVAL", "EVALSHA", "FCALL"),
    )
)
_ANSWERS_WITH_TEXT: Final = frozenset(
    ("INFO", "CLIENT INFO", "CLIENT LIST", "CLUSTER INFO", "CLUSTER NODES", "MEMORY DOCTOR", "LATENCY DOCTOR", "LOLWUT")
)


class Reply:
    """A server's reply: shown as `redis-cli` shows it, its parts in `value`.

    Example:
        >>> Reply([b"a", 1, None], "LRANGE")
        1) "a"
        2) (integer) 1
        3) (nil)

    Args:
        value: the reply as it came.
        command: the command, by which texts are told from statuses: both come as bytes.
    """

    def __init__(self, value: Any, command: str = "") -> None:
        self.value = value
        self._command = command

    def __repr__(self) -> str:
        value = self.value
        if isinstance(value, bytes):
            if self._command in _ANSWERS_WITH_TEXT:
                return value.decode("utf-8", "backslashreplace").replace("\r\n", "\n").rstrip("\n")
            if self._command == "TYPE" or (value in _STATUSES and self._command not in _ANSWERS_WITH_VALUES):
                return value.decode()
        return _shown(value)


def _shown(value: Any, indent: str = "") -> str:
    if isinstance(value, bytes | str):
        return quoted(value)
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple | set | frozenset):
        return _shown_list(list(value), indent)
    if isinstance(value, bool):
        return "(true)" if value else "(false)"
    kinds = {type(None): "(nil)", int: f"(integer) {value}", float: f"(double) {value}"}
    return kinds.get(type(value), f"(error) {value}")


def _shown_list(parts: list[Any], indent: str) -> str:
    if not parts:
        return "(empty array)"
    width = len(str(len(parts)))
    lines = []
    for number, part in enumerate(parts, 1):
        head = f"{number:>{width}}) "
        lines.append(("" if number == 1 else indent) + head + _shown(part, indent + " " * len(head)))
    return "\n".join(lines)


def quoted(data: bytes | str) -> str:
    r"""Bytes in double quotes: as text where they are text, else with ``\xNN`` for what is none.

    Example:
        >>> print(quoted("grün\n".encode()), quoted(b"\x80\x05"))
        "grün\n" "\x80\x05"
    """
    if isinstance(data, bytes):
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return '"' + "".join(map(_escaped, data.decode("latin-1"), [True] * len(data))) + '"'
    else:
        text = data
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str, is_byte: bool = False) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() and not (is_byte and character > "~"):
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else character.encode("unicode_escape").decode()
