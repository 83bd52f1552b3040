"""Python expressions that stand in a magic's line: their value, and what it depends on."""

from __future__ import annotations

import ast
import builtins
import dis
import functools
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..fingerprint import digest
from .arguments import UserError

_READS: Final = frozenset(("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"))


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
    text = str(error)
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    traceback, raised_in = error.__traceback__, code
    while traceback is not None:
        raised_in = traceback.tb_frame.f_code
        traceback = traceback.tb_next
    if raised_in.co_filename != code.co_filename:
        return f"{line} (in {raised_in.co_qualname}; %tb shows where)"
    if isinstance(error, NameError) and code.co_filename == f"<{error.name}>":
        return f"{line} (a text stands in quotes: {error.name!r})"
    return line


# --- what a value depends on --------------------------------------------------------------------------------------


def expression_digest(source: str, code: types.CodeType, names: Mapping[str, Any]) -> str:
    """A digest of an expression and of all that its value depends on, as far as that can be known beforehand.

    That is the expression, layout and comments aside; the values of the names it reads; and for each function or class
    among these that was defined in the notebook, the values of the names that this one reads, and so on.

    Args:
        source: the expression.
        code: its code.
        names: the names it can read, by value.

    Raises:
        NotCacheable: a value has no content that could be told apart from another's.
    """
    parts: dict[str, tuple[str, ...]] = {}
    waiting = list(_names_read(code))
    while waiting:
        name = waiting.pop()
        if name in parts or (name not in names and hasattr(builtins, name)):
            continue
        if name not in names:
            parts[name] = ()  # it fails when the expression runs, or the branch that reads it does not
            continue
        functions = [function for function in _functions_in(names[name]) if function.__module__ == "__main__"]
        # Of a function behind a wrapper, such as that of lru_cache, the wrapper has nothing but the name.
        parts[name] = (digest(names[name], name), *(digest(function, name) for function in functions))
        for function in functions:
            waiting += _names_read(function.__code__)
    return digest([ast.unparse(ast.parse(source.strip(), mode="eval")), sorted(parts.items())])


def _names_read(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _READS:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_read(constant)


def _functions_in(value: Any) -> Iterator[types.FunctionType]:
    """The functions that run when a value is called or one of its methods is."""
    while isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, types.MethodType):
        value = type(value.__self__)
    elif hasattr(value, "__wrapped__"):
        value = inspect.unwrap(value)
    if isinstance(value, types.FunctionType):
        yield value
        return
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__ != "__main__":
        return
    for member in vars(kind).values():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(function, types.FunctionType):
            yield function
