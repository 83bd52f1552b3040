"""What runs operations: whatever an effect raises, the operation sees it first."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Generator
from typing import Any

import pytest

from frappe_cache_ext.aio import run_async
from frappe_cache_ext.effects import Pause, Unlink
from frappe_cache_ext.errors import CacheUnavailable
from frappe_cache_ext.redis_wrapper import run

GIVE_BACK = Unlink((b"lease",))
ASK = Unlink((b"ask",))


class FakeConnection:
    """A server that carries out whatever it is asked for, but raises at `ASK`."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.performed: list[Any] = []

    def perform(self, effect: Any) -> str:
        self.performed.append(effect)
        if effect is ASK and self.error is not None:
            raise self.error
        return "done"


def careful(effect: Any, seen: list[BaseException]) -> Generator[Any, Any, str]:
    """An operation that gives something back before an error goes on."""
    try:
        yield effect
    except BaseException as error:
        seen.append(error)
        assert (yield GIVE_BACK) == "done"
        raise
    return "result"


def forgiving(effect: Any) -> Generator[Any, Any, str]:
    try:
        yield effect
    except BaseException as error:
        return type(error).__name__
    return "result"


def start(steps: Any, connection: Any, driver: str) -> Any:
    return run(steps, connection) if driver == "run" else asyncio.run(run_async(steps, connection))


@pytest.mark.parametrize("driver", ["run", "run_async"])
class TestBoth:
    @pytest.mark.parametrize("kind", [CacheUnavailable, KeyError, MemoryError, SystemExit])
    def test_the_operation_can_ask_for_more_before_the_error_goes_on(
        self, driver: str, kind: type[BaseException]
    ) -> None:
        connection, seen, error = FakeConnection(kind("x")), [], kind("x")
        connection.error = error
        with pytest.raises(kind) as caught:
            start(careful(ASK, seen), connection, driver)
        assert seen == [error]
        assert caught.value is error
        assert connection.performed == [ASK, GIVE_BACK]

    def test_the_operation_can_make_an_answer_of_it(self, driver: str) -> None:
        assert start(forgiving(ASK), FakeConnection(KeyError("x")), driver) == "KeyError"
        assert start(forgiving(ASK), FakeConnection(), driver) == "result"

    def test_each_frame_shows_once_in_the_traceback(self, driver: str) -> None:
        with pytest.raises(KeyError) as caught:
            start(careful(ASK, []), FakeConnection(KeyError("x")), driver)
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames.count(driver) == 1
        assert frames.index(driver) < frames.index("careful") < frames.index("_perform") < frames.index("perform")
        assert caught.value.__context__ is None


def test_an_interrupted_pause_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    connection, seen = FakeConnection(), []
    with pytest.raises(KeyboardInterrupt):
        run(careful(Pause(10), seen), connection)
    assert [type(error) for error in seen] == [KeyboardInterrupt]
    assert connection.performed == [GIVE_BACK]


def test_a_cancelled_task_gives_back_what_it_holds() -> None:
    connection, seen = FakeConnection(), []

    async def main() -> None:
        task = asyncio.create_task(run_async(careful(Pause(10), seen), connection))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert [type(error) for error in seen] == [asyncio.CancelledError]
    assert connection.performed == [GIVE_BACK]


def test_a_coroutine_that_is_closed_closes_the_operation() -> None:
    closed = []

    def steps() -> Generator[Any, Any, None]:
        try:
            yield Pause(10)
        finally:
            closed.append(True)

    coroutine = run_async(steps(), FakeConnection())

    async def main() -> None:
        coroutine.send(None)  # as far as its pause
        coroutine.close()

    asyncio.run(main())
    assert closed == [True]
