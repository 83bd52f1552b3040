"""What the measured cells do: as a cell, and as a function for caches of function calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.rows import Setting


@dataclass(frozen=True, slots=True)
class Work:
    """What a cell does.

    Attributes:
        setup: a cell that runs once, before all others.
        body: the cell itself. Where `NUMBER` stands in it, a literal is put that makes the result another.
        names: the variables that it binds.
        function: its work as a function of `workloads`.
        arguments: what that is called with.
        is_right: whether variables hold the result for a number.
    """

    setup: str
    body: str
    names: tuple[str, ...]
    function: str
    arguments: str
    is_right: Callable[[dict[str, Any], int], bool]

    def cell(self, number: int) -> str:
        """The cell for a number."""
        return self.body.replace("NUMBER", str(number))

    def call(self, callee: str, number: int) -> str:
        """A cell that has the function's work done by something that is called like it."""
        return f"{', '.join(self.names)} = {self.called(callee, number)}"

    def called(self, callee: str, number: int) -> str:
        """The call alone."""
        return f"{callee}({self.arguments.replace('NUMBER', str(number))})"


def small(setting: Setting) -> Work:
    """A few microseconds' work on a list of the notebook's."""
    return Work(
        setup="orders = [(number, number / 8) for number in range(100)]",
        body="total = sum(amount * price for amount, price in orders)\nlabel = f'order NUMBER: {total:,.2f}'",
        names=("total", "label"),
        function="summary",
        arguments="orders, NUMBER",
        is_right=lambda names, number: bool(names["label"] == f"order {number}: {names['total']:,.2f}"),
    )


def array(setting: Setting) -> Work:
    """A large array."""
    size = setting.sizes.array_bytes

    def is_right(names: dict[str, Any], number: int) -> bool:
        result = names["result"]
        return bool(result.nbytes == size and result.flags.writeable and result[0] == result[-1] == number)

    return _made("make_array", f"{size}, NUMBER", is_right)


def frame(setting: Setting) -> Work:
    """A long frame."""
    rows = setting.sizes.frame_rows

    def is_right(names: dict[str, Any], number: int) -> bool:
        result = names["result"]
        return bool(result.shape == (rows, 4) and result["amount"].iloc[-1] == rows - 1 + number)

    return _made("make_frame", f"{rows}, NUMBER", is_right)


def _made(function: str, arguments: str, is_right: Callable[[dict[str, Any], int], bool]) -> Work:
    setup = f"import pickle\nimport numpy\nfrom tests.benchmarks.workloads import {function}"
    return Work(setup, f"result = {function}({arguments})", ("result",), function, arguments, is_right)
