"""Walks every interleaving of the real steps by which documents are cached, against a model of server and database.

An operation is a generator: what it does next follows from the answers it has had. So a *process* in the model is
nothing but the list of its answers so far; the generators are made anew and fed these to learn what comes next. One
effect is one atomic step. Server, database and processes are values, so states can be compared, and each is visited
once. Time stands still: what time does (a lease runs out, a dead writer's mark lapses, a quarantine ends) is an event
that may happen or not, like a crash, a lost log, a restart from an older snapshot, and an outage.

`explore` looks for a state where nothing is under way any more and a reader gets something else than what is
committed, and for a reader that began after a commit was confirmed and yet returns an older value.
"""

from __future__ import annotations

import contextvars
import fnmatch
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, Generic, NamedTuple, TypeVar
from unittest import mock

from frappe_cache_ext.codec import Codec
from frappe_cache_ext.connections import Stats
from frappe_cache_ext.effects import (
    Compute,
    FunctionRaised,
    Outcome,
    Owe,
    Pause,
    Pipeline,
    RunScript,
    ScanPage,
    ServerRun,
    Steps,
    Unlink,
)
from frappe_cache_ext.errors import CacheUnavailable
from frappe_cache_ext.operations import Log, Scope, change_log, lease_name, loading, read_document
from frappe_cache_ext.scripts import change_log as log_scripts

T = TypeVar("T")

LOG: Final = b"log"
IDENTITY: Final = "database"
ENTRIES: Final = b"site|"
DOCUMENT: Final = "T::d"
ENTRY: Final = ENTRIES + DOCUMENT.encode()
LEASE: Final = lease_name(ENTRY)
NOW: Final = 1_000_000
"""The server's clock in milliseconds; it stands still."""

# --- the server ---------------------------------------------------------------------------------------------------


class ModelServer:
    """What Redis does, as far as the steps need it; expiries are given and forgotten.

    Args:
        keys: what it holds: bytes for a string, a dictionary for a hash.
        run: which start of the server this is.
    """

    def __init__(self, keys: dict[bytes, Any] | None = None, run: int = 0) -> None:
        self.keys: dict[bytes, Any] = {} if keys is None else keys
        self.run = run

    def execute(self, command: str, *arguments: Any) -> Any:
        """Carry out one command and return its reply."""
        return getattr(self, command.lower())(*arguments)

    def get(self, name: bytes) -> Any:
        return self.keys.get(name)

    def set(self, name: bytes, value: bytes, *options: Any) -> bool | None:
        if "NX" in options and name in self.keys:
            return None
        self.keys[name] = _bytes(value)
        return True

    def unlink(self, *names: bytes) -> int:
        return sum(self.keys.pop(name, None) is not None for name in names)

    def exists(self, *names: bytes) -> int:
        return sum(name in self.keys for name in names)

    def pttl(self, name: bytes) -> int:
        return 1000 if name in self.keys else -2

    def pexpire(self, name: bytes, _milliseconds: int) -> int:
        return self.exists(name)

    def hget(self, name: bytes, part: Any) -> Any:
        return self.keys.get(name, {}).get(_bytes(part))

    def hset(self, name: bytes, *pairs: Any) -> int:
        held = self.keys.setdefault(name, {})
        before = len(held)
        held.update(zip(map(_bytes, pairs[::2]), map(_bytes, pairs[1::2]), strict=True))
        return len(held) - before

    def hdel(self, name: bytes, *parts: Any) -> int:
        held = self.keys.get(name, {})
        gone = sum(held.pop(_bytes(part), None) is not None for part in parts)
        if not held:
            self.keys.pop(name, None)
        return gone

    def hexists(self, name: bytes, part: Any) -> int:
        return int(_bytes(part) in self.keys.get(name, {}))

    def hgetall(self, name: bytes) -> dict[bytes, bytes]:
        return dict(self.keys.get(name, {}))

    def hlen(self, name: bytes) -> int:
        return len(self.keys.get(name, {}))

    def hincrby(self, name: bytes, part: Any, by: int) -> int:
        number = int(self.hget(name, part) or 0) + by
        self.hset(name, part, number)
        return number

    def time(self) -> tuple[int, int]:
        return NOW // 1000, 0

    def info(self, _section: str) -> dict[str, str]:
        return {"run_id": f"run{self.run}"}

    def perform(self, effect: Any) -> Any:
        """Carry out what an operation sends, in one step; the answer holds no list, so that it can be compared."""
        if isinstance(effect, Pipeline):
            return tuple(self.execute(*command) for command in effect.commands)
        if isinstance(effect, RunScript):
            reply = effect.script.plain(self.execute, effect.names, effect.arguments)
            return tuple(reply) if isinstance(reply, list) else reply
        if isinstance(effect, ScanPage):
            pattern = effect.pattern.replace(b"\\", b"")
            return None, tuple(sorted(name for name in self.keys if fnmatch.fnmatchcase(name, pattern)))
        if isinstance(effect, ServerRun):
            return b"run%d" % self.run
        assert isinstance(effect, Unlink)
        return self.unlink(*effect.names)


setattr(ModelServer, "del", ModelServer.unlink)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


Frozen = tuple[tuple[bytes, Any], ...]


def freeze(keys: dict[bytes, Any]) -> Frozen:
    """What a server holds, as a value."""
    return tuple(
        sorted((name, tuple(sorted(held.items())) if isinstance(held, dict) else held) for name, held in keys.items())
    )


def thaw(frozen: Frozen) -> dict[bytes, Any]:
    """The same, to be changed."""
    return {name: dict(held) if isinstance(held, tuple) else held for name, held in frozen}


def warm_server(value: int | None) -> Frozen:
    """A server that has had a log for long, and an entry with this value."""
    server = ModelServer()
    log_scripts.OPEN_LOG.plain(server.execute, (LOG,), ("", "first", 0, "run0"))
    log_scripts.END_CLEARING.plain(server.execute, (LOG,), ("first", "run0 " + IDENTITY))
    server.hset(LOG, b"number", 3, b"c:" + DOCUMENT.encode(), 2)
    if value is not None:
        server.keys[ENTRY] = Codec().encode(value, ENTRY)
    return freeze(server.keys)


# --- the database -------------------------------------------------------------------------------------------------


class Transaction(NamedTuple):
    """What one session has open: its snapshot, its uncommitted value, whether it left a name in the outbox."""

    snapshot: int | None = None
    own: int | None = None
    left: bool = False
    done: int | None = None  # the value it has committed


class Database(NamedTuple):
    """One document, the trace, and the outbox; versions count up from 0."""

    committed: int
    trace: bool
    outbox: tuple[int, ...]
    sessions: tuple[Transaction, ...]
    next_row: int = 1
    confirmed: int = 0  # the newest value whose writer has been told that all is done


class Refused(Exception):
    """A commit that the database refused, or whose answer got lost."""


Answers = list[tuple[Any, Database]]
"""The answers that a database may give to one request, each with what it is then; none while it must wait."""


def ask_database(db: Database, session: int, request: tuple[Any, ...], world: World) -> Answers:
    """Ask in a session's transaction, or for the ledger."""
    match request:
        case ("trace",):
            answers: Answers = [(not db.trace, db._replace(trace=True))]
        case ("outbox",):
            answers = [(tuple((row, world.announced) for row in db.outbox), db)]
        case ("empty", *rows):
            answers = [(None, db._replace(outbox=tuple(row for row in db.outbox if row not in rows)))]
        case ("decide", *ways):
            answers = [(way, db) for way in ways]
        case ("nothing",):
            answers = [(None, db)]
        case (kind,):
            answers = _ask_in_transaction(db, session, kind, world)
    return answers


def _ask_in_transaction(db: Database, session: int, kind: str, world: World) -> Answers:
    mine = db.sessions[session]
    answer = None
    match kind:
        case "load":
            seen = db.committed if mine.snapshot is None else mine.snapshot
            answer = seen if mine.own is None else mine.own
        case "begin":
            mine = mine._replace(snapshot=db.committed) if world.repeatable_read else mine
        case "change":
            if any(other.own is not None for other in db.sessions):  # a row's lock
                return []
            mine = mine._replace(own=db.committed + 1)
        case "undo" | "rollback":
            mine = mine._replace(own=None, left=False)
        case "leave":
            mine = mine._replace(left=True)
        case "commit":
            return _commit(db, session, world)
    return [(answer, _with_session(db, session, mine))]


def _commit(db: Database, session: int, world: World) -> Answers:
    mine = db.sessions[session]
    value = db.committed if mine.own is None else mine.own
    after = _with_session(db, session, Transaction(done=value))._replace(committed=value)
    if mine.left:
        after = after._replace(outbox=(*db.outbox, db.next_row), next_row=db.next_row + 1)
    refused = _with_session(db, session, Transaction())
    return [(None, after), *([(Refused, after), (Refused, refused)] if world.refusals else [])]


def _with_session(db: Database, session: int, transaction: Transaction) -> Database:
    sessions = list(db.sessions)
    sessions[session] = transaction
    return db._replace(sessions=tuple(sessions))


# --- processes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Actor:
    """A process: its threads share one `Log`.

    Attributes:
        name: what a schedule calls it.
        threads: each makes a thread's steps, given the `Play` and the number of its database session.
        is_writer: whether its main thread changes the document, and may be killed.
        warm: whether it has checked the entries before.
    """

    name: str
    threads: tuple[Callable[[Play, int], Steps[Any]], ...]
    is_writer: bool = False
    warm: bool = False


class _Asked(BaseException):
    def __init__(self, request: tuple[Any, ...]) -> None:
        self.request = request


def requested(effect: Compute) -> tuple[Any, ...]:
    """What the function of an effect asks the database."""
    try:
        effect.function()
    except _Asked as asked:
        return asked.request
    return ("nothing",)


class Ended(NamedTuple):
    """A thread that has come to its end."""

    result: Any


class Asking(NamedTuple):
    """A thread about to ask the database."""

    session: int
    request: tuple[Any, ...]


_NOT_ANSWERED: Final = object()


class Play:
    """A process's generators, fed the answers it has had; the ledger of its log, too.

    Attributes:
        log: the process's own.
        scope: the same.
        next: each thread's next effect.
        traces: by thread all that its steps can depend on.
    """

    playing: Play

    def __init__(self, number: int, actor: Actor, world: World, names: tuple[bytes, bytes] = (LOG, ENTRIES)) -> None:
        self.number, self.world = number, world
        self.sockets = 1
        self.tokens: list[int] = []
        self.answer: Any = _NOT_ANSWERED
        self.scope = Scope(Codec(), Stats(), {})
        self.log = Log(*names, ledger=self, sockets=lambda: self.sockets)
        if actor.warm:
            self.log.checked, self.log.identity = 1, IDENTITY
        self.next: list[Any] = []
        self.traces: list[list[Any]] = []
        self.background: set[int] = set()
        self._threads: list[tuple[Steps[Any], contextvars.Context, int]] = []
        for offset, thread in enumerate(actor.threads):
            session = world.first_session[number] + offset
            self.start(thread(self, session), session)

    def start(self, steps: Steps[Any], session: int) -> None:
        """One more thread."""
        thread = len(self._threads)
        self._threads.append((steps, contextvars.Context(), session))
        self.tokens.append(0)
        self.next.append(None)
        self.traces.append([self.knowledge()])
        self._resume(thread, steps.__next__)

    def knowledge(self) -> tuple[Any, ...]:
        """What one thread of a process learns of the others."""
        unlogged = tuple((transaction, tuple(documents)) for transaction, documents in self.log.unlogged.items())
        log = self.log
        return self.sockets, log.checked, log.again_at, log.identity, log.interrupted, unlogged

    def feed(self, item: tuple[Any, ...]) -> None:
        """Repeat one thing that has happened to the process."""
        match item:
            case ("back",):
                self.sockets += 1
                if self.log.checked is not None or self.world.always_checks:
                    self.background.add(len(self.next))
                    self.start(change_log.check(self.scope, self.log), -1)
            case ("probe",):
                self.start(reader(self, -1), -1)
            case (thread, is_new_socket, answer):
                self.sockets += is_new_socket
                self.traces[thread].append((item, self.knowledge()))
                steps, context, _ = self._threads[thread]
                if answer is CacheUnavailable:
                    self._resume(thread, lambda: steps.throw(CacheUnavailable("out of reach")))
                elif isinstance(effect := self.next[thread], Compute):
                    outcome = context.run(self._compute, effect, answer)
                    self._resume(thread, lambda: steps.send(outcome))
                else:
                    self._resume(thread, lambda: steps.send(answer))

    def _resume(self, thread: int, resume: Callable[[], Any]) -> None:
        _, context, _ = self._threads[thread]
        Play.playing, self.playing_thread = self, thread
        try:
            self.next[thread] = context.run(resume)
        except StopIteration as stop:
            self.next[thread] = Ended(stop.value)
        except CacheUnavailable:  # there, whoever uses the cache next tries it again
            if thread not in self.background:
                raise
            self.next[thread] = Ended(None)
        except FunctionRaised as raised:
            if not isinstance(raised.error, Refused):
                raise raised.error from None
            self.next[thread] = Ended(None)

    def _compute(self, effect: Compute, answer: Any) -> Outcome:
        self.answer = answer
        try:
            return Outcome(value=effect.function())
        except Refused as error:
            return Outcome(error=error)
        finally:
            self.answer = _NOT_ANSWERED

    def coming(self) -> tuple[Any, ...]:
        """Each thread's next effect; the generators are of no use afterwards."""
        found = []
        for effect, (steps, context, session) in zip(self.next, self._threads, strict=True):
            if isinstance(effect, Compute):
                found.append(Asking(session, context.run(requested, effect)))
            else:
                found.append(effect)
            context.run(steps.close)
        return tuple(found)

    # --- what the steps of a process call

    def token_hex(self, _size: int) -> str:
        """In place of `secrets.token_hex`: it tells whose it is."""
        self.tokens[self.playing_thread] += 1
        return f"{self.number}x{self.playing_thread}x{self.tokens[self.playing_thread]}"

    def ask(self, *request: Any) -> Any:
        """Ask the database; inside the function of a `Compute`."""
        if self.answer is _NOT_ANSWERED:
            raise _Asked(request)
        if self.answer is Refused:
            raise Refused
        return self.answer

    def leave_trace(self, _identity: str) -> tuple[str, bool] | None:
        return IDENTITY, bool(self.ask("trace"))

    def outbox(self) -> list[tuple[int, str]]:
        return list(self.ask("outbox"))

    def empty_outbox(self, numbers: Sequence[int]) -> None:
        self.ask("empty", *numbers)

    def database(self, *request: Any) -> Compute:
        """The effect of asking the database something."""
        return Compute(lambda: self.ask(*request))

    def load(self, _reading: Any) -> Any:
        return self.ask("load")


def reader(play: Play, _session: int) -> Steps[Any]:
    """Reads the document with no transaction open: its load is a transaction of one statement."""
    return (yield from read_document(play.scope, play.log, DOCUMENT, play.load, 0))


def reader_in_transaction(play: Play, _session: int) -> Steps[Any]:
    """Reads it after another statement of the same transaction."""
    reading = yield from change_log.read_log(play.log)
    yield play.database("begin")
    return (yield from read_document(play.scope, play.log, DOCUMENT, play.load, 0, reading))


def writer(
    *ways: str, reads: bool = False, documents: Sequence[str] = (DOCUMENT,)
) -> Callable[[Play, int], Steps[Any]]:
    """Changes the document, and then goes one of these ways: commit, rollback, savepoint.

    Args:
        ways: what it may do after the change; ``savepoint`` undoes the change and commits.
        reads: it reads the document in the same transaction before it changes it.
        documents: what it announces.
    """

    def steps(play: Play, _session: int) -> Steps[Any]:
        scope, log = play.scope, play.log
        reading = yield from change_log.read_log(log)
        token = play.token_hex(8)
        if reads:
            yield play.database("begin")
            yield from read_document(scope, log, DOCUMENT, play.load, 0, reading)
        yield from change_log.announce(scope, log, token, documents)
        yield play.database("change")
        way = ways[0]
        if len(ways) > 1:
            way = (yield play.database("decide", *ways)).value
        if way == "rollback":
            yield play.database("rollback")
            yield from change_log.drop_marks(log, token, documents)
            return
        if way == "savepoint":
            yield play.database("undo")
        leave = (lambda: play.ask("leave")) if play.world.outbox else (lambda: None)
        yield from change_log.commit(scope, log, token, documents, lambda: play.ask("commit"), leave)

    return steps


# --- the states ---------------------------------------------------------------------------------------------------


class Budgets(NamedTuple):
    """How many events of each kind may still happen."""

    lost: int = 0
    restarts: int = 0
    outages: int = 0
    crashes: int = 0
    sleeps: int = 0


class Process(NamedTuple):
    """One process: the number of its history, what its connection knows, and what a reader of it must not see.

    Attributes:
        history: the number of what has happened to it.
        run: the run of the server that its sockets lead to.
        is_out: whether it cannot reach the server.
        debts: what to delete before it reaches the server again.
        gone: by thread how many names of an Unlink are deleted already, where that goes one by one.
        floors: by thread the oldest value that its read may return.
        window: the epoch in which its marks were looked at, until the commit.
    """

    history: int
    run: int = 0
    is_out: bool = False
    debts: frozenset[Owe] = frozenset()
    gone: tuple[tuple[int, int], ...] = ()
    floors: tuple[int | None, ...] = ()
    window: bytes | None = None


CRASHED: Final = Process(-1)
RESTING: Final = Process(-2)
"""A process that has ended, where nothing can happen to it any more."""


class State(NamedTuple):
    """All there is: numbers of what the explorer has seen before."""

    server: int
    run: int
    saved: int  # -1 for none
    database: int
    budgets: int
    processes: tuple[int, ...]


@dataclass
class Found:
    """What an exploration found: how many states, and the shortest schedule that ends in a bad one."""

    states: int
    schedule: list[str] | None

    def __str__(self) -> str:
        return "\n".join([f"{self.states} states", *(self.schedule or ["none bad"])])


@dataclass
class World:
    """What is explored.

    Attributes:
        actors: the processes.
        server: what the server holds at first.
        budgets: what may happen.
        repeatable_read: the isolation level; else READ COMMITTED.
        trace: whether the database says that there was a log before.
        refusals: whether a commit may fail, or its answer get lost.
        outbox: whether a writer that cannot tell the log leaves the document's name in the outbox.
        always_checks: whether a process that is connected again checks the entries at once, even if it never did.
        is_cluster: whether several names are deleted one by one.
        announced: what the outbox says has changed.
        most_states: more of them end the search with an error.
    """

    actors: Sequence[Actor]
    server: Frozen
    budgets: Budgets = field(default_factory=Budgets)
    repeatable_read: bool = True
    trace: bool = True
    refusals: bool = False
    outbox: bool = True
    always_checks: bool = True
    is_cluster: bool = False
    announced: str = DOCUMENT
    most_states: int = 3_000_000
    first_session: list[int] = field(default_factory=list)

    def explore(self) -> Found:
        """Visit every state that can come about; stop at the first bad one."""
        clock = SimpleNamespace(monotonic=lambda: 0.0)
        tokens = SimpleNamespace(token_hex=_token_hex)
        with (
            mock.patch.multiple(change_log, secrets=tokens, time=clock, SECOND_LOOK=0.0),
            mock.patch.object(loading, "secrets", tokens),
        ):
            return _Explorer(self).explore()


class _Numbered(Generic[T]):
    """Values, each with a number of its own."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found


class _History(NamedTuple):
    """A process's number and what has happened to it."""

    actor: int
    items: tuple[Any, ...]


class _View(NamedTuple):
    """What follows from a history."""

    coming: tuple[Any, ...]
    knows: tuple[
        bool, bool, bytes | None
    ]  # it has checked the entries once; they count as checked; its interrupted clearing
    has_unlogged: bool
    key: tuple[Any, ...]  # histories with the same one go on alike

    @property
    def is_over(self) -> bool:
        return all(isinstance(effect, Ended) for effect in self.coming)


class _LogInfo(NamedTuple):
    """What time can do to a server."""

    has_entry: bool
    has_lease: bool
    epoch: bytes | None
    in_quarantine: bool
    is_being_cleared: bool
    marks: frozenset[int]  # the processes that have a living one


class _Outcome(NamedTuple):
    """One step of a process, and what is then."""

    label: str
    process: int
    server: int
    database: int
    has_broken: bool = False  # an outage began
    is_bad: bool = False


_NEW_READER: Final = Actor("a new reader", (reader,))
_OLD_READER: Final = Actor("a reader that was there before", (reader,), warm=True)


class _Explorer:
    def __init__(self, world: World) -> None:
        self.world = world
        self.actors = [*world.actors, _NEW_READER, _OLD_READER]
        counts = [len(actor.threads) for actor in world.actors]
        world.first_session[:] = [*(sum(counts[:number]) for number in range(len(counts))), -1, -1]
        self.is_calm = not (world.budgets.restarts or world.budgets.outages)
        self.servers: _Numbered[Frozen] = _Numbered()
        self.databases: _Numbered[Database] = _Numbered()
        self.processes: _Numbered[Process] = _Numbered()
        self.budgets: _Numbered[Budgets] = _Numbered()
        self.histories: _Numbered[_History] = _Numbered()
        self.views: dict[int, _View] = {}
        self.infos: dict[int, _LogInfo] = {}
        self.sent: dict[tuple[int, int, Any], tuple[int, Any]] = {}
        self.steps: dict[tuple[int, ...], list[_Outcome]] = {}
        self.probed: dict[tuple[int, ...], str | None] = {}
        self.resting: dict[tuple[Any, ...], int] = {}
        self.alike: dict[tuple[Any, ...], int] = {}

    # --- searching

    def explore(self) -> Found:
        world = self.world
        sessions = (Transaction(),) * (sum(len(actor.threads) for actor in world.actors) + 1)
        first = State(
            self.servers.number(world.server),
            0,
            -1,
            self.databases.number(Database(0, world.trace, (), sessions)),
            self.budgets.number(world.budgets),
            tuple(self.processes.number(self.beginning(number)) for number in range(len(world.actors))),
        )
        seen = {first: 0}
        origins: list[tuple[int, str]] = [(-1, "")]
        todo = deque([first])
        while todo:
            state = todo.popleft()
            number = seen[state]
            for label, following, is_bad in self.successors(state):
                if is_bad:
                    return Found(len(seen), [*_schedule(origins, number), label])
                if following not in seen:
                    seen[following] = len(origins)
                    origins.append((number, label))
                    todo.append(following)
            if (problem := self.problem(state)) is not None:
                return Found(len(seen), [*_schedule(origins, number), problem])
            if len(seen) > world.most_states:
                raise AssertionError(f"more than {world.most_states} states")
        return Found(len(seen), None)

    def beginning(self, number: int, floor: int | None = None) -> Process:
        threads = len(self.actors[number].threads)
        return Process(self.histories.number(_History(number, ())), floors=(floor,) * threads)

    def successors(self, state: State) -> Iterator[tuple[str, State, bool]]:
        budgets = self.budgets.values[state.budgets]
        for number, process in enumerate(state.processes):
            for outcome in self.process_steps(number, process, state, budgets.outages > 0):
                left = state.budgets
                if outcome.has_broken:
                    left = self.budgets.number(budgets._replace(outages=budgets.outages - 1))
                processes = (*state.processes[:number], outcome.process, *state.processes[number + 1 :])
                following = State(outcome.server, state.run, state.saved, outcome.database, left, processes)
                yield outcome.label, following, outcome.is_bad
        yield from self.time_events(state)
        yield from self.misfortunes(state, budgets)

    # --- what a process does

    def view(self, history: int) -> _View:
        found = self.views.get(history)
        if found is None:
            actor, items = self.histories.values[history]
            play = Play(actor, self.actors[actor], self.world)
            for item in items:
                play.feed(item)
            knows = play.log.checked is not None, play.log.checked == play.sockets, play.log.interrupted
            key = actor, tuple(map(tuple, play.traces)), play.knowledge()
            found = self.views[history] = _View(play.coming(), knows, bool(play.log.unlogged), key)
        return found

    def happened(self, process: Process, item: tuple[Any, ...]) -> Process:
        actor, items = self.histories.values[process.history]
        history = self.histories.number(_History(actor, (*items, item)))
        return process._replace(history=self.alike.setdefault(self.view(history).key, history))

    def process_steps(self, number: int, process_number: int, state: State, may_break: bool) -> list[_Outcome]:
        key = number, process_number, state.server, state.run, state.database, may_break
        found = self.steps.get(key)
        if found is None:
            process = self.processes.values[process_number]
            found = self.steps[key] = []
            if process.history >= 0:
                for thread in range(len(self.view(process.history).coming)):
                    found += self.thread_steps(number, process, thread, state, may_break)
                if process.is_out:
                    found.append(self.reconnect(number, process, state))
        return found

    def thread_steps(
        self, number: int, process: Process, thread: int, state: State, may_break: bool
    ) -> Iterator[_Outcome]:
        effect = self.view(process.history).coming[thread]
        if isinstance(effect, Ended):
            return
        database = self.databases.values[state.database]
        name = f"{self.actors[number].name}{f' (thread {thread})' if thread else ''}: "
        if thread < len(process.floors) and process.floors[thread] is None and not self.actors[number].is_writer:
            floors = tuple(database.confirmed if i == thread else floor for i, floor in enumerate(process.floors))
            process = process._replace(floors=floors)

        def after(what: str, server: int, database: Database, process: Process, broken: bool = False) -> _Outcome:
            return self.outcome(name + what, number, thread, process, server, database, broken)

        if isinstance(effect, Asking):
            for answer, then in ask_database(database, effect.session, effect.request, self.world):
                moved = self.happened(process, (thread, False, answer))
                moved = moved._replace(window=None) if effect.request == ("commit",) else moved
                yield after(f"{' '.join(map(str, effect.request))} -> {answer}", state.server, then, moved)
        elif isinstance(effect, Owe):
            owed = Owe(tuple(effect.names), prefixes=tuple(effect.prefixes))  # to be compared
            moved = self.happened(process, (thread, False, None))
            if process.is_out:
                yield after("owes", state.server, database, moved._replace(debts=process.debts | {owed}))
            else:
                yield after("pays at once", self.paid(state.server, (owed,)), database, moved)
        elif isinstance(effect, Pause):
            yield after("waits", state.server, database, self.happened(process, (thread, False, None)))
        else:
            for what, server, moved, broken in self.send_steps(process, thread, effect, state, may_break):
                yield after(f"{_title(effect)} {what}", server, database, moved, broken)

    def send_steps(
        self, process: Process, thread: int, effect: Any, state: State, may_break: bool
    ) -> Iterator[tuple[str, int, Process, bool]]:
        """What may become of something sent: it is answered, or it, or its answer, gets lost."""

        def cut_off(process: Process) -> Process:
            return self.happened(process._replace(is_out=True, gone=()), (thread, False, CacheUnavailable))

        if process.is_out:
            yield "fails", state.server, cut_off(process), False
            return
        if may_break:
            yield "fails, outage", state.server, cut_off(process), True
        sent = self.send(effect, process, thread, state)
        if sent is None:
            return
        server, answer, moved = sent
        if may_break:
            yield "arrives, but its answer gets lost, outage", server, cut_off(moved), True
        if answer is not _UNDER_WAY:
            moved = self.happened(moved, (thread, process.run != state.run, answer))
        yield f"-> {answer}", server, moved, False

    def send(self, effect: Any, process: Process, thread: int, state: State) -> tuple[int, Any, Process] | None:
        """What the server holds then, its answer, and the process without it; None while that changes nothing."""
        gone = dict(process.gone)
        index = gone.pop(thread, 0) if process.run == state.run else 0  # a broken connection's are sent once more
        gone.pop(thread, None)
        moved = process._replace(run=state.run)
        if self.world.is_cluster and isinstance(effect, Unlink):
            if index + 1 < len(effect.names):
                server = self.perform(Unlink(effect.names[index : index + 1]), state.server, state.run)[0]
                return server, _UNDER_WAY, moved._replace(gone=tuple(sorted({**gone, thread: index + 1}.items())))
            moved = moved._replace(gone=tuple(sorted(gone.items())))
            effect = Unlink(effect.names[index:])
        server, answer = self.perform(effect, state.server, state.run)
        if isinstance(effect, RunScript):
            if effect.script is vars(loading)["TAKE_LEASE"] and answer[0] == 0:
                return None  # somebody else computes: the same question is asked until the answer is another
            if effect.script is vars(change_log)["RENEW_MARKS"] and answer == len(effect.arguments) - 2:
                moved = moved._replace(window=self.info(state.server).epoch)
        return server, answer, moved

    def perform(self, effect: Any, server: int, run: int) -> tuple[int, Any]:
        key = server, run, _comparable(effect)
        found = self.sent.get(key)
        if found is None:
            model = ModelServer(thaw(self.servers.values[server]), run)
            answer = model.perform(effect)
            found = self.sent[key] = self.servers.number(freeze(model.keys)), answer
        return found

    def without(self, server: int, *names: bytes, starts: tuple[bytes, ...] = ()) -> int:
        keys = thaw(self.servers.values[server])
        kept = {name: held for name, held in keys.items() if name not in names and not name.startswith(starts)}
        return self.servers.number(freeze(kept))

    def paid(self, server: int, debts: Iterable[Owe]) -> int:
        names = [name for owed in debts for name in owed.names]
        return self.without(server, *names, starts=tuple(prefix for owed in debts for prefix in owed.prefixes))

    def reconnect(self, number: int, process: Process, state: State) -> _Outcome:
        moved = self.happened(process._replace(is_out=False, debts=frozenset(), run=state.run), ("back",))
        server = self.paid(state.server, process.debts)
        label = f"{self.actors[number].name}: is connected again"
        return _Outcome(label, self.processes.number(moved), server, state.database)

    def outcome(
        self, label: str, number: int, thread: int, process: Process, server: int, database: Database, broken: bool
    ) -> _Outcome:
        actor = self.actors[number]
        while self.is_private(effect := self.view(process.history).coming[thread], database):
            answer = None
            if isinstance(effect, Asking):
                ((answer, database),) = ask_database(database, effect.session, effect.request, self.world)
            elif isinstance(effect, ServerRun):
                answer = self.perform(effect, server, process.run)[1]
            process = self.happened(process, (thread, False, answer))
        view = self.view(process.history)
        is_bad = False
        if isinstance(effect, Ended):
            if not actor.is_writer and thread < len(process.floors):
                floor = process.floors[thread]
                is_bad = effect.result is not None and not floor <= effect.result <= database.committed
                label += f"; it returns {effect.result}, must be {floor} to {database.committed}"
            database = self.session_over(number, thread, process, view, database)
            process = self.rest(number, process, view)
        return _Outcome(label, self.processes.number(process), server, self.databases.number(database), broken, is_bad)

    def is_private(self, effect: Any, database: Database) -> bool:
        """Whether a step neither sees nor changes what another process does; it is taken with the one before."""
        if not isinstance(effect, Asking):
            return isinstance(effect, Pause) or (isinstance(effect, ServerRun) and self.is_calm)
        kind = effect.request[0]
        if kind in ("change", "undo", "rollback"):
            return sum(actor.is_writer for actor in self.world.actors) == 1
        return (
            kind in ("leave", "nothing")
            or (kind == "load" and database.sessions[effect.session].snapshot is not None)
            or (kind == "begin" and not self.world.repeatable_read)
            or (kind == "trace" and database.trace)
            or (kind == "outbox" and self.world.budgets.outages == 0)
        )

    def session_over(self, number: int, thread: int, process: Process, view: _View, database: Database) -> Database:
        """The database when a thread has ended; what a writer committed is confirmed when the cache knows of it."""
        actor, index = self.actors[number], self.world.first_session[number]
        if index < 0 or (thread >= len(actor.threads) and not actor.is_writer):
            return database
        if not actor.is_writer:
            sessions = list(database.sessions)
            sessions[index + thread] = Transaction()
            return database._replace(sessions=tuple(sessions))
        done = database.sessions[index].done
        is_known = not (process.is_out or database.outbox or view.has_unlogged)
        if not isinstance(view.coming[0], Ended) or (done is not None and not is_known):
            return database
        sessions = list(database.sessions)
        sessions[index] = Transaction()
        return database._replace(sessions=tuple(sessions), confirmed=max(database.confirmed, done or 0))

    def rest(self, number: int, process: Process, view: _View) -> Process:
        """The process when one of its threads has ended; one of all that go on alike, where they all have."""
        if not view.is_over or process.is_out or number == len(self.world.actors):
            return process
        if self.is_calm:
            return RESTING
        process = process._replace(floors=(None,) * len(process.floors))
        if not view.has_unlogged:
            alike = number, view.knows
            process = process._replace(history=self.resting.setdefault(alike, process.history))
        return process

    # --- what else happens

    def info(self, server: int) -> _LogInfo:
        found = self.infos.get(server)
        if found is None:
            keys = thaw(self.servers.values[server])
            log = keys.get(LOG, {})
            marks = {
                int(token.partition(b"x")[0])
                for part, held in log.items()
                if part.startswith(b"p:")
                for token, clock in (mark.split(b":") for mark in held.split())
                if int(clock) > NOW
            }
            quarantined, clearing = (int(log.get(part, 0)) > NOW for part in (b"quarantine", b"clearing"))
            epoch = log.get(b"epoch")
            found = _LogInfo(ENTRY in keys, LEASE in keys, epoch, quarantined, clearing, frozenset(marks))
            self.infos[server] = found
        return found

    def time_events(self, state: State) -> Iterator[tuple[str, State, bool]]:
        info = self.info(state.server)
        processes = [self.processes.values[process] for process in state.processes]
        if info.has_entry:
            yield "the entry is evicted", state._replace(server=self.without(state.server, ENTRY)), False
        if info.has_lease:
            yield "the lease runs out", state._replace(server=self.without(state.server, LEASE)), False
        # It lasts longer than a look and its commit.
        if info.in_quarantine and all(process.window in (None, info.epoch) for process in processes):
            yield "the quarantine ends", self.with_log(state, lambda log: log.pop(b"quarantine")), False
        # Whoever lives is given the time that it takes.
        if info.is_being_cleared and all(map(self.is_done, processes)):
            yield "the clearing's deadline passes", self.with_log(state, _stop(b"clearing")), False
        for number in info.marks:
            if self.is_done(processes[number]):
                yield f"{self.actors[number].name}'s mark lapses", self.lapsed(state, number), False

    def is_done(self, process: Process) -> bool:
        return process.history < 0 or self.view(process.history).is_over

    def with_log(self, state: State, change: Callable[[dict[bytes, bytes]], Any]) -> State:
        keys = thaw(self.servers.values[state.server])
        change(keys[LOG])
        return state._replace(server=self.servers.number(freeze(keys)))

    def lapsed(self, state: State, number: int) -> State:
        def lapse(log: dict[bytes, bytes]) -> None:
            for part, held in log.items():
                if part.startswith(b"p:"):
                    log[part] = re.sub(rb"\b(%dx\w+):\d+" % number, rb"\1:0", held)

        return self.with_log(state, lapse)

    def misfortunes(self, state: State, budgets: Budgets) -> Iterator[tuple[str, State, bool]]:
        def less(**changes: int) -> int:
            return self.budgets.number(budgets._replace(**changes))

        keys = self.servers.values[state.server]
        if budgets.lost and self.info(state.server).epoch is not None:
            left = less(lost=budgets.lost - 1)
            yield "the log is evicted", state._replace(server=self.without(state.server, LOG), budgets=left), False
            if len(keys) > 1:
                yield "everything is lost", state._replace(server=self.servers.number(()), budgets=left), False
        if budgets.restarts and state.saved < 0:
            yield "the server saves a snapshot", state._replace(saved=state.server), False
        if budgets.restarts and state.saved >= 0:
            left = less(restarts=budgets.restarts - 1)
            back = state._replace(server=state.saved, saved=-1, run=state.run + 1, budgets=left)
            yield "the server restarts from its snapshot", back, False
        for number, process_number in enumerate(state.processes):
            process, actor = self.processes.values[process_number], self.actors[number]
            if not actor.is_writer or self.is_done(process):
                continue
            if budgets.crashes:
                yield f"{actor.name} is killed", self.crashed(state, number, less(crashes=budgets.crashes - 1)), False
            if budgets.sleeps and process.window is None and number in self.info(state.server).marks:
                slept = self.lapsed(state, number)._replace(budgets=less(sleeps=budgets.sleeps - 1))
                yield f"{actor.name} sleeps until its mark lapses", slept, False

    def crashed(self, state: State, number: int, budgets: int) -> State:
        database = self.databases.values[state.database]
        first, count = self.world.first_session[number], len(self.actors[number].threads)
        sessions = (*database.sessions[:first], *(Transaction(),) * count, *database.sessions[first + count :])
        processes = (*state.processes[:number], self.processes.number(CRASHED), *state.processes[number + 1 :])
        after = self.databases.number(database._replace(sessions=sessions))
        return state._replace(database=after, processes=processes, budgets=budgets)

    # --- whether a state is bad

    def problem(self, state: State) -> str | None:
        """What somebody who reads now, alone, is told wrong; None where something is under way, or nothing is wrong."""
        for number in state.processes:
            process = self.processes.values[number]
            if process.is_out or not self.is_done(process):
                return None
        database = self.databases.values[state.database]
        # Where the server stays the same, somebody checked the entries before this one was stored. A new reader does so
        # first, and deletes them all after a lost log.
        for stranger in (_NEW_READER, _OLD_READER) if self.is_calm else (_NEW_READER,):
            number = self.actors.index(stranger)
            process = self.beginning(number, database.committed)._replace(run=state.run)
            found = self.probe(number, self.processes.number(process), state)
            if found is not None:
                return found
        if self.is_calm:
            return None
        # A writer that was killed has left it to the next who connects to empty the outbox; a living one has done it.
        if database.outbox and any(self.processes.values[number].history < 0 for number in state.processes):
            return None
        for number, process_number in enumerate(state.processes):
            process = self.processes.values[process_number]
            if process.history >= 0 and not self.actors[number].is_writer:
                again = self.happened(process, ("probe",))
                others = len(self.view(again.history).coming) - 1
                again = again._replace(floors=(*(0,) * others, database.committed))
                found = self.probe(number, self.processes.number(again), state)
                if found is not None:
                    return found
        return None

    def probe(self, number: int, process: int, state: State) -> str | None:
        key = number, process, state.server, state.run, state.database
        if key in self.probed:
            return self.probed[key]
        said: list[str] = []
        while True:
            outcomes = self.process_steps(number, process, state, False)
            if not outcomes:
                if not self.info(state.server).has_lease or self.is_done(self.processes.values[process]):
                    break
                state = state._replace(server=self.without(state.server, LEASE))
                continue
            outcome = outcomes[0]
            said.append(outcome.label)
            if outcome.is_bad:
                self.probed[key] = "\n".join(["afterwards:", *said])
                return self.probed[key]
            process = outcome.process
            state = state._replace(server=outcome.server, database=outcome.database)
        self.probed[key] = None
        return None


_UNDER_WAY: Final = object()


def _stop(part: bytes) -> Callable[[dict[bytes, bytes]], None]:
    def stop(log: dict[bytes, bytes]) -> None:
        log[part] = b"0"

    return stop


def _comparable(effect: Any) -> Any:
    if isinstance(effect, Pipeline):
        return tuple(effect.commands)
    if isinstance(effect, RunScript):
        return effect.script, tuple(effect.names), tuple(effect.arguments)
    if isinstance(effect, Unlink):
        return tuple(effect.names)
    if isinstance(effect, ScanPage):
        return effect.pattern, effect.cursor
    return type(effect)


def _token_hex(size: int) -> str:
    return Play.playing.token_hex(size)


def _title(effect: Any) -> str:
    if isinstance(effect, RunScript):
        for module in (change_log, loading):
            for name, script in vars(module).items():
                if script is effect.script:
                    return name
    if isinstance(effect, Pipeline):
        return " ".join(command[0] for command in effect.commands)
    return type(effect).__name__


def _schedule(origins: list[tuple[int, str]], number: int) -> list[str]:
    labels = []
    while number > 0:
        number, label = origins[number]
        labels.append(label)
    return labels[::-1]
