"""`AsyncRedisWrapper`: the cache for coroutines. The event loop is blocked neither by the server nor by a wait.

The blocking client works in threads meanwhile, so that coroutines and blocking code share one connection, one breaker,
one set of counters and one list of debts. What is done in the loop is what does not wait: values are pickled and
unpickled there.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from .connections import Connection, Stats
from .context import when_destroyed
from .effects import Compute, Effect, FunctionRaised, GivenUp, Outcome, Owe, Pause, Pipeline, Steps
from .errors import CacheWarning, keeping_warnings, warn
from .forks import when_forked
from .leases import heartbeat
from .redis_wrapper import RedisWrapper, run

P = ParamSpec("P")
T = TypeVar("T")

MOST_COMMANDS: Final = 16
"""Threads that speak to servers: as many commands are under way at a time, the others wait for a thread."""

MOST_WAITS: Final = 1000
"""Threads for commands that the server answers when it likes, such as BLPOP; these must not keep the others waiting."""


class _HandingOver(RedisWrapper):
    """The blocking wrapper, but its methods hand an operation over instead of running it."""

    def _run(self, steps: Steps[T]) -> T:
        handed: Any = _Handed(steps, self.connection)
        return handed  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True, slots=True)
class _Handed:
    """An operation to run, and the connection of whoever asked for it."""

    steps: Steps[Any]
    connection: Connection


def _awaited(
    method: Callable[Concatenate[RedisWrapper, P], T],
) -> Callable[Concatenate[AsyncRedisWrapper, P], Coroutine[Any, Any, T]]:
    """A method of the blocking wrapper, awaitable; what the request holds is answered without a thread."""

    @functools.wraps(method)
    async def awaited(self: AsyncRedisWrapper, /, *args: P.args, **kwargs: P.kwargs) -> T:
        found = method(self._wrapper, *args, **kwargs)
        if not isinstance(found, _Handed):
            return found
        result: T = await run_async(found.steps, found.connection, plain_in_thread=True)
        return result

    return awaited


def _at_once(
    method: Callable[Concatenate[RedisWrapper, P], T],
) -> Callable[Concatenate[AsyncRedisWrapper, P], T]:
    """A method of the blocking wrapper that asks no server, as it is."""

    @functools.wraps(method)
    def at_once(self: AsyncRedisWrapper, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(self._wrapper, *args, **kwargs)

    return at_once


class AsyncRedisWrapper:
    """The cache of the current site, for coroutines: every method of `RedisWrapper`, to be awaited.

    The same keys, the same bytes and the same promises. A ``generator=`` may be a function of either kind: an `async`
    one is awaited in the event loop, any other is called in a thread (`asyncio.to_thread`, with the caller's context)
    so that it does not hold up the loop, and what it returns is awaited if it can be.

    The site, its connection and the request's copies are those of the task that awaits. The connection is the one that
    `frappe.cache` has in this process (one breaker, one set of counters, one list of debts), and so there is nothing to
    close.

    A task that is cancelled does not wait for the answer to what it has sent. The server may carry that out; a value
    that was popped for the task is put back, and no lease is left behind. A function that is already running in a
    thread runs to its end, and what it returns is dropped.

    What is not a method here is called on the client of redis-py in a thread, without the site's prefix:
    ``await cache.incrby("hits", 2)``. An object that such a call returns is redis-py's own: that of ``pipeline()``
    blocks when it is used.

    Example:
        >>> import asyncio
        >>> import frappe_cache_ext as frappe
        >>> frappe.init("library.localhost", url="memory://").site
        'library.localhost'
        >>> cache = frappe.AsyncRedisWrapper()
        >>> async def main():
        ...     await cache.set_value("color", "green")
        ...     return await cache.get_value("color")
        >>> asyncio.run(main())
        'green'

    Args:
        connection: the server to keep the current site's keys on; None for the site's own, whichever that is at each
            call.
    """

    def __init__(self, connection: Connection | None = None) -> None:
        self._wrapper = _HandingOver(connection)

    def __call__(self) -> AsyncRedisWrapper:
        """The cache itself, as for `RedisWrapper`."""
        return self

    @property
    def connection(self) -> Connection:
        """The connection in use."""
        return self._wrapper.connection

    @property
    def redis(self) -> Any:
        """The client of redis-py underneath. It knows no prefix, and it blocks."""
        return self._wrapper.redis

    @property
    def stats(self) -> Stats:
        """What this process met on the connection in use, blocking code included."""
        return self._wrapper.stats

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name.startswith("_"):  # a look for a protocol, such as `__aenter__` or `_repr_html_`
            raise AttributeError(name)
        wrapper = self._wrapper

        async def call(*args: Any, **kwargs: Any) -> Any:
            connection = wrapper.connection
            return await _in_thread(lambda: getattr(connection.client, name)(*args, **kwargs), _threads.waits)

        call.__name__ = name
        return call

    def __repr__(self) -> str:
        return repr(self._wrapper).replace("RedisWrapper", "AsyncRedisWrapper", 1)

    make_key = _at_once(RedisWrapper.make_key)
    scope = _at_once(RedisWrapper.scope)

    set_value = _awaited(RedisWrapper.set_value)
    get_value = _awaited(RedisWrapper.get_value)
    exists = _awaited(RedisWrapper.exists)
    expire_key = _awaited(RedisWrapper.expire_key)
    get_expiry = _awaited(RedisWrapper.get_expiry)
    get_all = _awaited(RedisWrapper.get_all)
    get_keys = _awaited(RedisWrapper.get_keys)
    delete_keys = _awaited(RedisWrapper.delete_keys)
    delete_value = _awaited(RedisWrapper.delete_value)
    delete_key = _awaited(RedisWrapper.delete_key)

    hset = _awaited(RedisWrapper.hset)
    hget = _awaited(RedisWrapper.hget)
    hgetall = _awaited(RedisWrapper.hgetall)
    hexists = _awaited(RedisWrapper.hexists)
    hdel = _awaited(RedisWrapper.hdel)
    hdel_names = _awaited(RedisWrapper.hdel_names)
    hdel_keys = _awaited(RedisWrapper.hdel_keys)
    hkeys = _awaited(RedisWrapper.hkeys)

    lpush = _awaited(RedisWrapper.lpush)
    rpush = _awaited(RedisWrapper.rpush)
    lpop = _awaited(RedisWrapper.lpop)
    rpop = _awaited(RedisWrapper.rpop)
    blpop = _awaited(RedisWrapper.blpop)
    llen = _awaited(RedisWrapper.llen)
    lrange = _awaited(RedisWrapper.lrange)
    ltrim = _awaited(RedisWrapper.ltrim)

    sadd = _awaited(RedisWrapper.sadd)
    srem = _awaited(RedisWrapper.srem)
    sismember = _awaited(RedisWrapper.sismember)
    spop = _awaited(RedisWrapper.spop)
    srandmember = _awaited(RedisWrapper.srandmember)
    smembers = _awaited(RedisWrapper.smembers)


# --- running operations -----------------------------------------------------------------------------------------------


async def run_async(steps: Steps[T], connection: Connection, *, plain_in_thread: bool = False) -> T:
    """Run an operation on a connection and return its result; what a function that it computes returns is awaited.

    Whatever an effect raises, the operation sees at its ``yield``, and it may ask for more before it lets it pass. A
    task that is cancelled while something is on its way to the server does not wait for the answer: the operation gets
    it with a `GivenUp`, in a thread, and gives back what it holds.

    Args:
        steps: the operation.
        connection: where to run it.
        plain_in_thread: True calls a function that is not `async` in a thread. Otherwise it is called in the loop and
            has to return something to await.
    """
    try:
        effect = next(steps)
        while True:
            try:
                answer = await _perform(_called_apart(effect) if plain_in_thread else effect, connection)
            except _LeftBehind as left:
                left.sent.add_done_callback(functools.partial(_hand_over, steps, connection))
                raise
            except BaseException as error:  # a cancelled task too: the operation may hold a lease, or be half done
                # Without this frame, which the way out through the operation adds: each shows once in a traceback.
                below = error.__traceback__.tb_next if error.__traceback__ is not None else None
                effect = steps.throw(error.with_traceback(below))
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
        return await _pause(effect)
    if isinstance(effect, Owe):
        return await _in_thread(functools.partial(connection.owe, effect), _threads.commands)
    pool = _threads.waits if _may_take_long(effect) else _threads.commands
    return await _in_thread(functools.partial(connection.perform, effect), pool)


async def _pause(effect: Pause) -> None:
    if effect.until is None:
        return await asyncio.sleep(effect.seconds)
    loop = asyncio.get_running_loop()
    landed = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(landed.set)

    with effect.until.waking(wake), contextlib.suppress(TimeoutError):
        async with asyncio.timeout(effect.seconds):
            await landed.wait()


async def _compute(effect: Compute, connection: Connection) -> Outcome:
    kept = heartbeat.keep(effect.lease, connection) if effect.lease is not None else contextlib.nullcontext()
    try:
        with kept:
            return Outcome(value=await effect.function())
    except BaseException as error:  # a cancelled task too must give the lease back
        return Outcome(error=error)


def _called_apart(effect: Effect) -> Effect:
    """The same; but a function that would hold up the loop is called in a thread."""
    if not isinstance(effect, Compute) or _is_async(effect.function):
        return effect
    return dataclasses.replace(effect, function=functools.partial(_call_apart, effect.function))


def _is_async(function: Callable[[], Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def _call_apart(function: Callable[[], Any]) -> Any:
    call = _Once(functools.partial(contextvars.copy_context().run, _outcome, function))
    try:
        called = asyncio.get_running_loop().run_in_executor(None, call)
    except RuntimeError:  # no threads here, or no more: the loop has to wait
        outcome = call()
    else:
        outcome = await called
    if outcome.error is not None:
        raise outcome.error
    return await outcome.value if inspect.isawaitable(outcome.value) else outcome.value


def _outcome(function: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(value=function())
    except BaseException as error:  # a future cannot carry every one: a StopIteration would never arrive
        return Outcome(error=error)


# --- threads ----------------------------------------------------------------------------------------------------------


class _Threads:
    """The threads in which the blocking client works; not asyncio's own, which the user's functions may fill."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin without any: threads do not survive a fork."""
        self.commands = ThreadPoolExecutor(MOST_COMMANDS, "frappe-cache-command")
        self.waits = ThreadPoolExecutor(MOST_WAITS, "frappe-cache-wait")

    def end(self) -> None:
        """Let those end that have nothing to do, and the others when they are done."""
        pools = self.commands, self.waits
        self.forget()
        for pool in pools:
            pool.shutdown(wait=False)


_threads = _Threads()
when_destroyed(_threads.end)
when_forked(_threads.forget)


def _may_take_long(effect: Effect) -> bool:
    return isinstance(effect, Pipeline) and any(command[0] == "BLPOP" for command in effect.commands)


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    """What came of a call in a thread."""

    value: Any
    error: BaseException | None
    warnings: list[tuple[str, type[CacheWarning]]]

    def get(self) -> Any:
        """The value, or the error raised; warnings are said here, where the stack leads to the user's line."""
        for text, category in self.warnings:
            warn(text, category)
        if self.error is not None:
            raise self.error
        return self.value

    @classmethod
    def to(cls, function: Callable[[], Any]) -> _Answer:
        """What comes of a call."""
        with keeping_warnings() as kept:
            try:
                return cls(function(), None, kept)
            except BaseException as error:
                return cls(None, error, kept)


class _Once:
    """A call that is made by the first who makes it: a pool that cannot start a thread keeps it, and says so too."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.waiting = iter((function,))

    def __call__(self) -> Any:
        for function in self.waiting:
            return function()
        return None


class _LeftBehind(asyncio.CancelledError):
    """The task is cancelled, and what it has sent is still under way."""

    def __init__(self, sent: Future[_Answer], *args: Any) -> None:
        super().__init__(*args)
        self.sent = sent


async def _in_thread(function: Callable[[], Any], pool: ThreadPoolExecutor) -> Any:
    call = _Once(functools.partial(_Answer.to, function))
    answer: _Answer
    try:
        sent = pool.submit(call)
    except RuntimeError:  # no threads here, or no more: the loop has to wait
        answer = call()
    else:
        try:
            answer = await asyncio.wrap_future(sent)
        except asyncio.CancelledError as error:
            if sent.cancel():  # no thread had come to it yet
                raise
            raise _LeftBehind(sent, *error.args) from None
    return answer.get()


def _hand_over(steps: Steps[Any], connection: Connection, sent: Future[_Answer]) -> None:
    """Have an operation that nobody waits for brought to its end, now that what was sent is answered."""
    with contextlib.suppress(RuntimeError):  # the interpreter is ending; leases run out by themselves
        _threads.commands.submit(_wind_up, steps, connection, sent)


def _wind_up(steps: Steps[Any], connection: Connection, sent: Future[_Answer]) -> None:
    # Whatever it raises would have been the caller's, who is gone.
    with contextlib.suppress(Exception, GivenUp):
        run(_rest(steps, sent), connection)


def _rest(steps: Steps[Any], sent: Future[_Answer]) -> Steps[None]:
    """What is left of an operation that nobody waits for: it computes nothing and waits for nobody."""
    answer: Any = sent.result()
    with contextlib.suppress(StopIteration):
        try:
            answer = answer.get()
        except BaseException as error:
            effect = steps.throw(error)
        else:
            effect = steps.throw(GivenUp(answer))
        while True:
            if isinstance(effect, Compute):
                effect = steps.send(Outcome(error=GivenUp(None)))
            elif isinstance(effect, Pause):
                effect = steps.throw(GivenUp(None))
            else:
                try:
                    answer = yield effect
                except BaseException as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(answer)
