"""The calls that IPython makes of magics and shell lines, and what each means for a cell that is to be cached.

Three kinds of magics can be followed: those that run Python, whose code is a part of the cell then; those that leave
nothing behind but what they show; and shell lines, whose result is frozen. Any other may change the kernel itself,
which nothing could put back, so that a cell with one runs each time.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from .texts import identifiers

SHELL_HINT: Final = "a shell line"

_SHOWING: Final = frozenset(("html", "markdown", "latex", "svg", "javascript", "js"))
"""Cell magics that show their body."""

_SHELLS: Final = frozenset(("sx", "system", "!"))
_SCRIPTS: Final = frozenset(("script", "bash", "sh", "perl", "ruby", "python", "python3", "pypy"))
_STATES: Final = frozenset(("cd", "env", "set_env"))
"""Line magics that change what the engine takes down and puts back: the current directory and the environment."""

_LOOKING: Final = frozenset(("pwd", "ls", "lsmagic"))
_OUTSIDE: Final = frozenset(("pwd", "ls"))
_LISTING: Final = frozenset(("who", "whos", "who_ls", "psearch"))

_TIMEIT_OPTIONS: Final = "n:r:tcp:qov:"
_PRUN_OPTIONS: Final = "D:l:rs:T:q"
"""As `getopt` takes them: a colon follows an option that has a value."""


@dataclass(frozen=True, slots=True)
class Magic:
    """A magic or a shell line, as a cell calls it.

    Attributes:
        name: without percent signs; an exclamation mark for a shell line.
        line: what stands behind it.
        body: what stands below it, for a cell magic.
    """

    name: str
    line: str
    body: str | None = None

    def __str__(self) -> str:
        if self.name == "!":
            return "!" if self.body is None else "%%!"
        return f"%{self.name}" if self.body is None else f"%%{self.name}"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a magic does.

    Attributes:
        refusal: why a cell with it cannot be cached.
        code: Python that it runs among the cell's names.
        setup: Python that it runs before, where code and setup are run inside of a function, as ``%timeit`` does.
        may_stop: whether errors of the code do not stop the cell.
        options: what stands before the code.
        text: where ``$name`` and ``{expression}`` are put in place.
        shows: names whose values it shows.
        binds: names that it binds.
        deletes: names that it may delete.
        hints: what it gets from outside, or does there.
    """

    refusal: str | None = None
    code: str | None = None
    setup: str | None = None
    may_stop: bool = False
    options: str = ""
    text: str = ""
    shows: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


def magic_of(call: ast.Call) -> Magic | None:
    """The magic or shell line that a call is, if it is one as IPython's transformation writes them."""
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython"), args=[], keywords=[]), attr=method),
            args=arguments,
            keywords=[],
        ):
            constants = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
            texts = [constant for constant in constants if isinstance(constant, str)]
            if len(texts) == len(arguments):
                return _magic(method, texts)
    return None


def _magic(method: str, texts: list[str]) -> Magic | None:
    match method, texts:
        case (("system" | "getoutput"), [line]):
            return Magic("!", line)
        case "run_line_magic", [name, line]:
            return Magic(name, line)
        case "run_cell_magic", [name, line, body]:
            return Magic(name, line, body)
    return None


def meaning_of(magic: Magic) -> Meaning:
    """What a magic means for the cell."""
    find = (_LINE_MAGICS if magic.body is None else _CELL_MAGICS).get(magic.name)
    return _unknown(magic) if find is None else find(magic)


def _unknown(magic: Magic) -> Meaning:
    if magic.name in _LISTING:
        return Meaning(f"{magic} shows all names of the notebook; put it in a cell of its own")
    if magic.name in ("cached", "cached_expression"):
        return Meaning(f"{magic} caches already; use one of the two")
    return Meaning(f"{magic} can change the kernel itself; put it in a cell of its own")


def _time(magic: Magic) -> Meaning:
    if "--no-raise-error" in magic.line.split():
        return Meaning(f"{magic} --no-raise-error hides errors, and a cell with an error is not stored")
    return Meaning(code=magic.line if magic.body is None else magic.body, options=magic.line if magic.body else "")


def _timeit(magic: Magic) -> Meaning:
    options, code = _split_options(magic.line, _TIMEIT_OPTIONS)
    binds = _values(options, "v", _TIMEIT_OPTIONS)
    text = " ".join(options)
    if magic.body is None:
        return Meaning(code=code, setup="", options=text, binds=binds)
    return Meaning(code=magic.body, setup=code, options=text, binds=binds)


def _prun(magic: Magic) -> Meaning:
    options, code = _split_options(magic.line, _PRUN_OPTIONS)
    written = [*_values(options, "D", _PRUN_OPTIONS), *_values(options, "T", _PRUN_OPTIONS)]
    hints = ("a file that %prun writes",) if written else ()
    body = "" if magic.body is None else f"\n{magic.body}"
    return Meaning(code=code + body, options=" ".join(options), hints=hints)


def _capture(magic: Magic) -> Meaning:
    names = tuple(word for word in magic.line.split() if not word.startswith("--"))
    if any(not name.isidentifier() for name in names):
        return Meaning(f"{magic} {magic.line} names no variable")
    body = magic.body or ""
    # With a semicolon at its end the variable is deleted instead.
    deletes = names if body.rstrip().endswith(";") else ()
    return Meaning(code=body, may_stop=True, options=magic.line, binds=names, deletes=deletes)


def _script(magic: Magic) -> Meaning:
    if "--bg" in magic.line.split():
        return Meaning(f"{magic} --bg leaves a program running")
    return Meaning(text=magic.line, binds=_kept(magic, "--out", "--err"), hints=(SHELL_HINT,))


def _shell(magic: Magic) -> Meaning:
    # Values are put into the lines below it, too.
    return Meaning(text=f"{magic.line}\n{magic.body or ''}", binds=_kept(magic, "--out"), hints=(SHELL_HINT,))


def _kept(magic: Magic, *options: str) -> tuple[str, ...]:
    """The names that a cell magic is told to keep its output under."""
    words = magic.line.replace("=", " ").split() if magic.body is not None else []
    return tuple(value for option, value in pairwise(words) if option in options)


def _look(magic: Magic) -> Meaning:
    return Meaning(text=magic.line, hints=(str(magic),) if magic.name in _OUTSIDE else ())


def _state(magic: Magic) -> Meaning:
    reads = magic.name == "env" and not re.search(r"[=\s]", magic.line.strip())
    return Meaning(text=magic.line, hints=("%env",) if reads else ())


def _inspect(magic: Magic) -> Meaning:
    return Meaning(shows=tuple(identifiers(magic.line)[:1]))


_Find = Callable[[Magic], Meaning]

_PYTHON: Final[dict[str, _Find]] = {"time": _time, "timeit": _timeit, "prun": _prun}
_LINE_MAGICS: Final[dict[str, _Find]] = {
    **_PYTHON,
    **dict.fromkeys(_SHELLS, _shell),
    **dict.fromkeys(_LOOKING, _look),
    **dict.fromkeys(_STATES, _state),
    **dict.fromkeys(("pinfo", "pinfo2"), _inspect),
}
_CELL_MAGICS: Final[dict[str, _Find]] = {
    **_PYTHON,
    "capture": _capture,
    **dict.fromkeys(_SHOWING, _look),
    **dict.fromkeys(_SHELLS, _shell),
    **dict.fromkeys(_SCRIPTS, _script),
}


def _split_options(line: str, allowed: str) -> tuple[list[str], str]:
    """The words of options with which a line begins, and the rest as it stands."""
    options: list[str] = []
    rest = line.lstrip()
    while (word := re.match(r"-(\w\S*)\s*", rest)) is not None:
        if word[1][0] not in allowed:
            break
        options.append(f"-{word[1]}")
        rest = rest[word.end() :]
        if _takes_next(word[1], allowed) and (value := re.match(r"(\S+)\s*", rest)) is not None:
            options.append(value[1])
            rest = rest[value.end() :]
    return options, rest


def _takes_next(flags: str, allowed: str) -> bool:
    """Whether a word of one-letter options has its value in the next word."""
    for position, flag in enumerate(flags):
        if f"{flag}:" in allowed:
            return position == len(flags) - 1
    return False


def _values(options: list[str], wanted: str, allowed: str) -> tuple[str, ...]:
    """The values that an option is given."""
    found: list[str] = []
    for position, word in enumerate(options):
        if not word.startswith("-"):
            continue
        flag = next((flag for flag in word[1:] if f"{flag}:" in allowed), "")
        if flag == wanted:
            inside = word[word.index(flag) + 1 :]
            found += [inside] if inside else options[position + 1 : position + 2]
    return tuple(found)
