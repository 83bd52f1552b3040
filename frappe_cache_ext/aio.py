"""Running operations from a coroutine: the event loop is never blocked, neither by the server nor by a wait."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, TypeVar

from .connections import Connection
from .effects import Compute, Effect, FunctionRaised, Outcome, Owe, Pause, Steps
from .errors import CacheUnavailable
from .leases import heartbeat

T = TypeVar("T")


async def run_async(steps: Steps[T], connection: Connection) -> T:
    """Run an operation on a connection and return its result; a function that it computes is awaited.

    The blocking client works in a thread meanwhile, so that coroutines and blocking code share one connection, one
    breaker and one set of counters.
    """
    try:
        effect = next(steps)
        while True:
            try:
                answer = await _perform(effect, connection)
            except CacheUnavailable as error:
                effect = steps.throw(error)
            else:
                effect = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    except FunctionRaised as error:
        raised = error.error
    try:
        raise raised
    finally:
        del raised  # its traceback refers to this frame


async def _perform(effect: Effect, connection: Connection) -> Any:
    if isinstance(effect, Compute):
        return await _compute(effect, connection)
    if isinstance(effect, Pause):
        return await asyncio.sleep(effect.seconds)
    if isinstance(effect, Owe):
        return await asyncio.to_thread(connection.owe, effect)
    return await asyncio.to_thread(connection.perform, effect)


async def _compute(effect: Compute, connection: Connection) -> Outcome:
    kept = heartbeat.keep(effect.lease, connection) if effect.lease is not None else contextlib.nullcontext()
    try:
        with kept:
            return Outcome(value=await effect.function())
    except BaseException as error:  # a cancelled task too must give the lease back
        return Outcome(error=error)
