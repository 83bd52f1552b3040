"""Other processes that take part in a row: each does what it is asked, one thing after the other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Final

from tests.benchmarks.timing import NotMeasured

PATIENCE: Final = 120.0
"""Seconds in which an answer comes."""

SPAWN: Final = multiprocessing.get_context("spawn")
"""A companion begins with nothing that this process has loaded or connected, as another process of a user's does."""

Answer = Callable[..., Any]


class Companion:
    """A process that calls a function for each question, and answers with what it returns.

    It ends with this process.

    Args:
        make: called there, with the arguments, for the function that answers; a function of a module.
        *arguments: for `make`.
    """

    def __init__(self, make: Callable[..., Answer], *arguments: Any) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, *question: Any) -> None:
        """Send a question, and do not wait for the answer."""
        self.pipe.send(question)

    def answer(self) -> Any:
        """The answer to the question that was asked first of those that have none.

        Raises:
            NotMeasured: there is none, or it is an error's.
        """
        if not self.pipe.poll(PATIENCE):
            raise NotMeasured("another process that takes part does not answer")
        try:
            fine, answer = self.pipe.recv()
        except EOFError:
            raise NotMeasured("another process that takes part has ended") from None
        if not fine:
            raise NotMeasured(f"in another process that takes part: {answer}")
        return answer


def flag() -> Synchronized[int]:
    """A number that this process and its companions see change at once; 0 at first."""
    return SPAWN.Value("i", 0)


def _serve(pipe: Connection, make: Callable[..., Answer], arguments: tuple[Any, ...]) -> None:
    try:
        answer = make(*arguments)
        while True:
            pipe.send((True, answer(*pipe.recv())))
    except EOFError:  # whoever asked is gone
        return
    except Exception as error:
        pipe.send((False, f"{type(error).__name__}: {error}"))
