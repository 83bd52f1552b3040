"""Python expressions that stand in a magic's line, and their value."""

from __future__ import annotations

import ast
import types
from collections.abc import Mapping
from typing import Any

from ..errors import in_words
from .arguments import UserError


def evaluate(source: str, shell: Any, local_ns: Mapping[str, Any] | None = None) -> Any:
    """The value of an expression among the user's names.

    Args:
        source: the expression.
        shell: whose names they are.
        local_ns: further names, those of the function that the magic stands in.

    Raises:
        UserError: it is no expression, or raised an error.
    """
    return run(compiled(source), names_of(shell, local_ns))


def names_of(shell: Any, local_ns: Mapping[str, Any] | None) -> dict[str, Any]:
    """The names that an expression can read; those of the notebook itself where it stands in no function."""
    user_ns: dict[str, Any] = shell.user_ns
    return user_ns if local_ns is None or local_ns is user_ns else {**user_ns, **local_ns}


def compiled(source: str) -> types.CodeType:
    """The code of an expression.

    Raises:
        UserError: it is none.
    """
    source = source.strip()
    try:
        return compile(ast.parse(source, mode="eval"), f"<{source}>", "eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UserError(f"SyntaxError: {said}: {source}{_remedy(source)}") from None


def _remedy(source: str) -> str:
    try:
        (statement,) = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    if isinstance(statement, ast.Assign):
        return " (an assignment has no value; to keep what a magic returns, write x = %magic ...)"
    return " (a statement has no value)"


def run(code: types.CodeType, names: dict[str, Any]) -> Any:
    """The value of an expression's code.

    Raises:
        UserError: the expression raised an error, which ``%tb`` then shows.
    """
    try:
        return eval(code, names)  # noqa: S307  (the user's own expression, in the user's own notebook)
    except Exception as error:
        # The frame of this function is none of the user's.
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        raise UserError(_in_one_line(error, code), error) from None


def _in_one_line(error: Exception, code: types.CodeType) -> str:
    line = in_words(error)
    traceback, raised_in = error.__traceback__, code
    while traceback is not None:
        raised_in = traceback.tb_frame.f_code
        traceback = traceback.tb_next
    if raised_in.co_filename != code.co_filename:
        return f"{line} (in {raised_in.co_qualname}; %tb shows where)"
    if isinstance(error, NameError) and code.co_filename == f"<{error.name}>":
        return f"{line} (a text stands in quotes: {error.name!r})"
    return line
