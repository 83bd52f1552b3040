"""From a magic's line to its arguments, and from an error to the one line that is said about it."""

from __future__ import annotations

import argparse
import ast
import bdb
import functools
import math
import re
import shlex
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

from IPython.core import magic_arguments as declarations
from IPython.core.error import UsageError
from IPython.core.magic import cell_magic, line_magic, no_var_expand

from ..errors import CacheError, NotCacheable
from .running import raised_by_body

# IPython's module is not typed.
argument: Any = declarations.argument
_magic_arguments: Any = declarations.magic_arguments


class UserError(Exception):
    """What the user is told, in one line.

    Attributes:
        shown_by_tb: the user's own exception, for ``%tb`` and ``%debug``.
    """

    def __init__(self, text: str, shown_by_tb: Exception | None = None) -> None:
        super().__init__(text)
        self.shown_by_tb = shown_by_tb


class MagicStopped(bdb.BdbQuit):
    """Ends a cell, and *Run All*, whose magic has already said what is wrong.

    Of all exceptions IPython ends a cell for, a `BdbQuit` is the one that it shows nothing of: no traceback, and not
    the words ``UsageError:`` either, which would call a server that is away the user's mistake.
    """

    def _render_traceback_(self) -> list[str]:
        # Where another magic, such as %time, catches what it runs and shows it after all.
        return [str(self)]


def cache_magic(
    *declared: Any, words: int | None = None, verbatim: bool = False, cell: bool = False, name: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a method a magic: its arguments parsed, ``--help`` answered, its errors told in one line.

    Args:
        *declared: its arguments, in the order of its help.
        words: for a magic whose line ends with a Python expression, how many words stand before that. The method gets
            the local names as a second argument.
        verbatim: True where what looks like an option is none of the magic's.
        cell: True for a cell magic; the method gets the cell below the line as a second argument.
        name: what the magic is called, where it is not called as the method is.
    """
    called = name

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        name = called or method.__name__

        @functools.wraps(method)
        def run(self: Any, line: str, body: str = "", *, local_ns: dict[str, Any] | None = None) -> Any:
            parser: argparse.ArgumentParser = run.parser  # type: ignore[attr-defined]
            try:
                tokens = _split(line, parser, words, verbatim)
                if _asks_for_help(tokens):
                    print((run.__doc__ or "").removeprefix("::\n\n"), end="")
                    return None
                given = parser.parse_args(tokens)
                if cell:
                    return method(self, given, body)
                return method(self, given) if words is None else method(self, given, local_ns)
            except Exception as error:
                # The user's own code, in a cell that the magic ran, may have raised any of these.
                text = "" if raised_by_body(error) else _told(error, f"{'%' * cell}%{name}", parser)
                if not text:
                    raise
                own = error.shown_by_tb if isinstance(error, UserError) else None
            _stop(self.shell, text, own)

        register: Any = cell_magic if cell else line_magic  # IPython's are not typed for names of one's own
        magic: Any = register(name)(run)
        magic.needs_local_scope = words is not None
        for each in (*reversed(declared), argument("--help", "-h", action="store_true", help="Show this help.")):
            magic = each(magic)
        magic = no_var_expand(_magic_arguments("%" * cell + name)(magic))
        # Python 3.14 colours help where it thinks it sees a terminal; a docstring is read elsewhere, too.
        magic.parser.color = False
        # IPython marks an optional value for documentation tools.
        magic.__doc__ = re.sub(r"<(\[\w+\])>", r"\1  ", magic.parser.format_help())
        decorated: Callable[..., Any] = magic
        return decorated

    return decorate


def _told(error: Exception, magic: str, parser: argparse.ArgumentParser) -> str:
    """What is said about an error of the line's, or one that is nobody's fault here; empty for one that is."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, UsageError):
        return f"{magic}: {error}. Usage: {usage_of(parser)}"
    if isinstance(error, NotCacheable):
        return f"not stored: {error} cannot be pickled"
    return str(error) if isinstance(error, CacheError) else _told_by_redis(error)


def _told_by_redis(error: Exception) -> str:
    redis = sys.modules.get("redis")
    if redis is not None and isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return f"the cache cannot be reached: {error}"
    if redis is not None and isinstance(error, redis.RedisError):
        return f"the server says: {error}"
    return ""


def _stop(shell: Any, text: str, own: Exception | None) -> NoReturn:
    line = " ".join(text.splitlines())
    print(line, file=sys.stderr)
    if own is not None:
        # Where `%tb` and `%debug` look.
        sys.last_type, sys.last_value, sys.last_traceback = type(own), own, own.__traceback__
        if sys.version_info >= (3, 12):
            sys.last_exc = own
    if hasattr(shell, "_last_traceback"):
        # What a kernel's reply says went wrong; it would be the traceback of an earlier cell.
        shell._last_traceback = [line]
    raise MagicStopped(line)


# --- help ---------------------------------------------------------------------------------------------------------


def usage_of(parser: argparse.ArgumentParser) -> str:
    """How a magic is written, in one line."""
    usage = " ".join(parser.format_usage().split()).removeprefix(":: ")
    return usage.replace(" [--help]", "")


def _asks_for_help(tokens: list[str]) -> bool:
    before = tokens[: tokens.index("--")] if "--" in tokens else tokens
    return "--help" in before or "-h" in before


# --- splitting ----------------------------------------------------------------------------------------------------

_WORD: Final = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+(?!\S)""", re.DOTALL)
_OPTION: Final = re.compile(r"--?[a-z][\w-]*")
_TRAILING: Final = re.compile(r"\s(?=--[a-z][\w-]*(?:[\s=]|$))")


def _split(line: str, parser: argparse.ArgumentParser, words: int | None, verbatim: bool) -> list[str]:
    # Typed from habit. IPython would hand out None in place of the value, to ``x = %magic ...;`` as well.
    line = line.rstrip().removesuffix(";")
    if words is not None:
        return split_expression(line, parser, words)
    found = split_words(line)
    if verbatim:
        return found if found[:1] in (["--help"], ["-h"]) else ["--", *found]
    for word in found[: found.index("--")] if "--" in found else found:
        if _OPTION.match(word):  # argparse would name what is missing first
            _takes_value(word, parser)
    return found


def split_words(line: str) -> list[str]:
    """The words of a line, quotes removed.

    Raises:
        UsageError: a quote is not closed.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{error} in {line.strip()}".replace("No closing quotation", "no closing quote")) from None


def split_expression(line: str, parser: argparse.ArgumentParser, words: int) -> list[str]:
    """The words of a line that ends with a Python expression, which stays as it was written.

    Options stand first or last. At the end they begin where ``--name`` follows a whole expression, so that text in
    quotes stays whole; ``(a --b)`` in parentheses is arithmetic.

    Args:
        line: ``[OPTIONS] WORD... EXPR [OPTIONS]``.
        parser: knows the options.
        words: how many words stand before the expression.

    Raises:
        UsageError: there is no such option, or a quote is not closed.
    """
    options: list[str] = []
    found: list[str] = []
    rest, options_end = line.strip(), False
    while rest:
        word, after = _first_word(rest)
        if not options_end and word == "--":
            options_end = True
        elif not options_end and _OPTION.match(word):
            options += split_words(word)
            if _takes_value(options[-1], parser) and after:
                value, after = _first_word(after)
                options += split_words(value)
        elif len(found) < words:
            found += split_words(word)
        else:
            break
        rest = after
    expression, trailing = _split_trailing(rest, parser)
    options += trailing
    return [*options, "--", *found, *([expression] if expression else [])]


def _first_word(text: str) -> tuple[str, str]:
    match = _WORD.match(text)
    word = match[0] if match else text  # a quote is not closed; who needs the word will say so
    return word, text[len(word) :].lstrip()


def _takes_value(word: str, parser: argparse.ArgumentParser) -> bool:
    name, separator, _ = word.partition("=")
    action = parser._option_string_actions.get(name)
    if action is None:
        raise UsageError(f"there is no option {name}")
    return action.nargs != 0 and not separator


def _split_trailing(text: str, parser: argparse.ArgumentParser) -> tuple[str, list[str]]:
    for match in _TRAILING.finditer(text):
        before, after = text[: match.start()].rstrip(), text[match.end() :]
        if is_expression(before):
            return before, _options_only(split_words(after), parser)
    return text, []


def _options_only(words: list[str], parser: argparse.ArgumentParser) -> list[str]:
    waiting = False
    for word in words:
        if word.startswith("--"):
            waiting = _takes_value(word, parser)
        elif waiting:
            waiting = False
        else:
            raise UsageError(f"{word!r} stands after the options")
    return words


def is_expression(text: str) -> bool:
    """Whether a text is a Python expression by itself."""
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return False
    return True


# --- kinds of argument --------------------------------------------------------------------------------------------


def seconds(text: str) -> float | None:
    """A time to live: a number of seconds, or ``none`` for no end.

    Raises:
        ArgumentTypeError: it is neither, or not more than zero.
    """
    if text.lower() == "none":
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds greater than zero, nor none")
    return number


def variables(text: str) -> tuple[str, ...]:
    """Names of variables with commas between them.

    Raises:
        ArgumentTypeError: one of them is no name.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not name.isidentifier():
            raise argparse.ArgumentTypeError(f"{name!r} is not a name of a variable; write a,b")
    return names


KEY: Final = argument("key", metavar="KEY", help="The key; in quotes if it holds a space.")
EXPRESSION: Final = argument("expression", metavar="EXPR", help="A Python expression: the rest of the line.")
TTL: Final = argument(
    "--ttl", metavar="S", type=seconds, default=math.nan, help="Seconds to keep it, or none for ever."
)
USER: Final = argument(
    "--user", metavar="U", nargs="?", const=True, help="This user's entry; without a name, the session's user's."
)
SHARED: Final = argument("--shared", action="store_true", help="The entry that all sites share.")
