"""All the states that are looked after: those of Python itself, and beside them those of libraries."""

from __future__ import annotations

import contextlib
import importlib
import locale
import logging
import os
import random
import sys
import warnings
from collections.abc import Mapping
from typing import Any, Final

from ..errors import MISS
from . import modules, warning_filters
from .edits import edit_mapping, edited_list
from .state_kinds import Listing, Settings, State, Whole
from .state_libraries import LIBRARY_STATES


class _PythonGenerator(Whole):
    name = "random"

    def read(self) -> Any:
        return random.getstate()

    def put(self, edit: Any) -> None:
        random.setstate(edit)


class _Directory(Whole):
    name = "the current directory"

    def read(self) -> Any:
        try:
            return os.getcwd()  # noqa: PTH109  (a text, and at every cell)
        except FileNotFoundError:  # somebody removed it
            return MISS

    def check(self, edit: Any) -> None:
        with contextlib.closing(os.scandir(edit)):
            pass

    def put(self, edit: Any) -> None:
        os.chdir(edit)


class _Filters(Listing):
    name = "warnings.filters"

    def read(self) -> Any:
        return list(warnings.filters)

    def put(self, edit: Any) -> None:
        if "whole" not in edit:
            # As `filterwarnings` does: one that is there already is moved, not added again.
            edit = {**edit, "gone": [*edit["gone"], *edit["front"], *edit["back"]]}
        warnings.filters[:] = edited_list(warnings.filters, edit)  # type: ignore[index]
        with warnings.catch_warnings():
            pass  # leaving it makes the module forget what it decided by the old filters, in every version of Python

    def deviations(self) -> dict[str, Any]:
        return dict.fromkeys(warning_filters.chosen(), "")


class _ModulePath(Listing):
    name = "sys.path"

    def read(self) -> Any:
        return list(sys.path)

    def put(self, edit: Any) -> None:
        sys.path[:] = edited_list(sys.path, edit)


class _Environment(Settings):
    name = "os.environ"

    def read(self) -> Any:
        return dict(os.environ)

    def put(self, edit: Any) -> None:
        edit_mapping(os.environ, edit)

    def deviations(self) -> dict[str, Any]:
        return {}  # every process has another one; what counts is asked for


class _DecimalContext(Settings):
    """Precision, rounding, limits and traps. Not the flags: these are traces of arithmetic, and shape nothing."""

    name = "decimal context"
    _NUMBERS: Final = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")

    def read(self) -> Any:
        decimal = sys.modules.get("decimal")
        if not hasattr(decimal, "getcontext"):
            return MISS
        context = decimal.getcontext()  # type: ignore[union-attr]
        numbers = {name: getattr(context, name) for name in self._NUMBERS}
        return numbers | {f"trap {signal.__name__}": bool(trapped) for signal, trapped in context.traps.items()}

    def defaults(self) -> Mapping[str, Any]:
        numbers = dict(zip(self._NUMBERS, (28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0), strict=True))
        signals = ("Clamped", "FloatOperation", "Inexact", "Rounded", "Subnormal", "Underflow")
        trapped = ("DivisionByZero", "InvalidOperation", "Overflow")
        return (
            numbers | {f"trap {signal}": False for signal in signals} | {f"trap {signal}": True for signal in trapped}
        )

    def put(self, edit: Any) -> None:
        context = importlib.import_module("decimal").getcontext()
        for signal in list(context.traps):
            context.traps[signal] = edit["set"].get(f"trap {signal.__name__}", context.traps[signal])
        for name in self._NUMBERS:
            if name in edit["set"]:
                setattr(context, name, edit["set"][name])


class _Locale(Settings):
    """The locale by category, but for that of characters, which Python takes from the environment when it starts."""

    name = "locale"
    _CATEGORIES: Final = ("LC_COLLATE", "LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC", "LC_TIME")

    def read(self) -> Any:
        return {name: locale.setlocale(getattr(locale, name)) for name in self._CATEGORIES}

    def defaults(self) -> Mapping[str, Any]:
        return dict.fromkeys(self._CATEGORIES, "C")

    def check(self, edit: Any) -> None:
        before = self.read()
        try:
            self.put(edit)
        finally:
            self.put({"set": before})

    def put(self, edit: Any) -> None:
        for name, value in edit["set"].items():
            locale.setlocale(getattr(locale, name), value)


class _LogLevels(Settings):
    """The levels of loggers that have one; the root logger under its own name, ``root``."""

    name = "logging levels"
    _DISABLED: Final = "logging.disable"

    def read(self) -> Any:
        levels: dict[str, Any] = {name: logger.level for name, logger in loggers().items() if logger.level}
        return levels | {"root": logging.root.level, self._DISABLED: logging.root.manager.disable}

    def defaults(self) -> Mapping[str, Any]:
        return {"root": logging.WARNING, self._DISABLED: logging.NOTSET}

    def put(self, edit: Any) -> None:
        for name, level in {**dict.fromkeys(edit["gone"], logging.NOTSET), **edit["set"]}.items():
            if name == self._DISABLED:
                logging.disable(level)
            else:
                logging.getLogger(None if name == "root" else name).setLevel(level)

    def deviations(self) -> dict[str, Any]:
        """Levels that are not the default, but for those which an installed package gave to its own loggers."""
        chosen = {
            name: level
            for name, level in super().deviations().items()
            if name in self.defaults() or not _is_packages_own(name)
        }
        # What a handler of the root logger does is shown by the cell.
        return chosen | {f"handler {index}": _handler_text(it) for index, it in enumerate(logging.root.handlers)}


def loggers() -> dict[str, logging.Logger]:
    """All loggers that there are, by name, the root logger aside."""
    found = list(logging.root.manager.loggerDict.items())
    return {name: logger for name, logger in found if isinstance(logger, logging.Logger)}


_APPLICATIONS: Final = frozenset(("IPKernelApp", "TerminalIPythonApp"))


def _is_packages_own(logger: str) -> bool:
    package = logger.partition(".")[0]
    return package in _APPLICATIONS or (package in sys.modules and not modules.is_own(package))


def _handler_text(handler: logging.Handler) -> str:
    formatter = handler.formatter
    shape = "" if formatter is None else f" {formatter._fmt!r} {formatter.datefmt!r}"
    return f"{type(handler).__qualname__} {handler.level}{shape}"


STATES: Final[dict[str, State]] = {
    state.name: state
    for state in (
        *(_PythonGenerator(), _Environment(), _Directory(), _ModulePath(), _Locale(), _LogLevels(), _DecimalContext()),
        *LIBRARY_STATES,
        _Filters(),  # last, since putting back others can touch the filters
    )
}
"""All states that can be put back, by name."""
