"""Who is asking: the current site, user and request.

Each fact is one `ContextVar`, so threads and asyncio tasks that call `init` for themselves do not disturb each other.
Whoever never called `init` works for the *default site*, the one that the environment describes. A notebook has one
reader, whose cells run now in one context and now in another (a cell with a top-level ``await`` is a task of its own);
there, `init` at the level of a cell moves the default itself: see `follow_cells`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .codec import Held
from .errors import MISS
from .forks import new_lock
from .settings import Settings

if TYPE_CHECKING:
    import asyncio


class LocalCache(Mapping[bytes, Any]):
    """What a request has read and written so far, by the key's name on the wire: `frappe.local.cache`.

    Reading an entry gives a value that nobody else holds, so changing it changes nothing for the next reader. An entry
    whose expiry has passed is not there any more. A hash appears as a dictionary of the fields read so far.
    """

    __slots__ = ("hashes", "strings")

    def __init__(self) -> None:
        self.strings: dict[bytes, Held] = {}
        self.hashes: dict[bytes, dict[str, Held]] = {}

    def get_held(self, name: bytes) -> Held | None:
        """What is held for a string key, None where nothing living is."""
        held = self.strings.get(name)
        if held is not None and not held.alive:
            del self.strings[name]
            return None
        return held

    def get_held_field(self, name: bytes, field: str) -> Held | None:
        """What is held for a field of a hash, None where nothing living is."""
        held_fields = self.hashes.get(name)
        if held_fields is None:
            return None
        held = held_fields.get(field)
        if held is not None and not held.alive:
            del held_fields[field]
            return None
        return held

    def forget(self, name: bytes) -> None:
        """Drop whatever is held for a key."""
        self.strings.pop(name, None)
        self.hashes.pop(name, None)

    def forget_field(self, name: bytes, field: str) -> None:
        """Drop what is held for one field of a hash."""
        held_fields = self.hashes.get(name)
        if held_fields is not None:
            held_fields.pop(field, None)

    def clear(self) -> None:
        """Drop everything."""
        self.strings.clear()
        self.hashes.clear()

    def __getitem__(self, name: bytes) -> Any:
        held = self.get_held(name)
        value = MISS if held is None else held.value()
        if value is not MISS:
            return value
        values = {field: held.value() for field, held in self.hashes.get(name, {}).items() if held.alive}
        living = {field: value for field, value in values.items() if value is not MISS}
        if not living:
            raise KeyError(name)
        return living

    def __iter__(self) -> Iterator[bytes]:
        # A copy: reading an entry whose expiry has passed removes it. What was missed is remembered, and not here.
        return iter([name for name in [*self.strings, *self.hashes] if name in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<LocalCache of {len(self)} keys>"


@dataclass(slots=True, eq=False)
class Request:
    """One web request, one job, one cell: what is remembered until it ends.

    Attributes:
        cache: values read from and written to the cache.
        results: results of functions under `@request_cache`, by function and arguments.
        beside: the same as `cache` for each wrapper with a connection of its own, by its id.
        over: whether it has ended. A task or callback that it started has a copy of its context, and goes on.
    """

    cache: LocalCache = field(default_factory=LocalCache)
    results: dict[Any, Any] = field(default_factory=dict)
    beside: dict[int, LocalCache] = field(default_factory=dict)
    over: bool = False

    def cache_of(self, owner: int | None) -> LocalCache:
        """The copies of one wrapper: of `frappe.cache` itself (None), or of one opened beside it."""
        return self.cache if owner is None else self.beside.setdefault(owner, LocalCache())


_settings: ContextVar[Settings | None] = ContextVar("frappe_cache_settings", default=None)
_user: ContextVar[str | None] = ContextVar("frappe_cache_user", default=None)
_request: ContextVar[Request | None] = ContextVar("frappe_cache_request", default=None)


class _Defaults:
    """What holds where no context said otherwise."""

    def __init__(self) -> None:
        self.lock = new_lock()
        self.settings: Settings | None = None
        self.user: str | None = None
        self.cell_task: asyncio.Task[Any] | None = None
        self.cell_request: Request | None = None
        self.follows_cells = False

    def follow(self, request: Request | None) -> None:
        """Make this the request of the cell that is running, and end the one before."""
        if self.cell_request is not None:
            self.cell_request.over = True
        self.cell_request = request

    def moves_with(self) -> bool:
        """Whether the caller stands at the level of a notebook's cell, not in a thread or task that it started."""
        if not self.follows_cells or threading.current_thread() is not threading.main_thread():
            return False
        return _current_task() in (None, self.cell_task)


_defaults = _Defaults()

chosen_settings = _settings.get
"""The settings that this context chose; None where it goes by the default ones, `defaults.settings`."""

defaults = _defaults

_when_leaving: list[Callable[[Settings], None]] = []
_when_cell_ends: list[Callable[[], None]] = []
_when_request_begins: list[Callable[[], None]] = []
_when_destroyed: list[Callable[[], None]] = []


def when_leaving(callback: Callable[[Settings], None]) -> None:
    """Have something called with a site's settings each time before the caller of `init` or `destroy` leaves it."""
    _when_leaving.append(callback)


def when_cell_ends(callback: Callable[[], None]) -> None:
    """Have something called each time a notebook's cell has ended."""
    _when_cell_ends.append(callback)


def when_request_begins(callback: Callable[[], None]) -> None:
    """Have something called each time a request begins."""
    _when_request_begins.append(callback)


def when_destroyed(callback: Callable[[], None]) -> None:
    """Have something called at the end of each `destroy`, before what was to be called already."""
    _when_destroyed.append(callback)


def unit_of_work() -> asyncio.Task[Any] | None:
    """The task whose own work this is; None at the level of a notebook's cell, whatever task runs it, or in no task."""
    return None if _defaults.moves_with() else _current_task()


def current_settings() -> Settings:
    """The settings of the current site."""
    settings = _settings.get()
    if settings is not None:
        return settings
    if _defaults.settings is None:
        with _defaults.lock:
            if _defaults.settings is None:
                _defaults.settings = Settings.load()
    return _defaults.settings


def current_user() -> str:
    """The session's user."""
    user = _user.get()
    if user is not None:
        return user
    # A context with a site of its own has that site's user, not the one that the default site was last set to.
    if _settings.get() is None and _defaults.user is not None:
        return _defaults.user
    return current_settings().user


def current_request() -> Request | None:
    """The request that is running here; None outside any."""
    current = _request.get()
    return None if current is None or current.over else current


def init(site: str | None = None, **settings: Any) -> Settings:
    """Choose the site to work for, and begin a request.

    Example:
        >>> init("library.localhost", url="memory://").db_name
        '_69b1e93fd3625cfc'
        >>> destroy()

    Args:
        site: the site's name.
        **settings: further settings, as `Settings` names them.

    Returns:
        The settings, completed from environment, bench and defaults.

    Raises:
        SettingsError: a name is unknown or a value malformed.
    """
    loaded = Settings.load(site=site, **settings)
    enter(loaded)
    return loaded


def set_user(user: str) -> None:
    """Make this the session's user.

    Raises:
        TypeError: the name is not text.
        ValueError: the name is empty.
    """
    if not isinstance(user, str):
        raise TypeError(f"A user's name is text, not {type(user).__name__}.")
    if not user:
        raise ValueError("The user's name is empty; name one, for example 'Administrator'.")
    if _defaults.moves_with():
        _defaults.user = user
        _user.set(None)
    else:
        _user.set(user)


def destroy() -> None:
    """End the request, go back to the default site and its user, and let go of what the cache holds open.

    Connections that nobody is using at this moment are closed, threads end, and copies in this process are dropped;
    whoever goes on working opens anew what he needs. A service that answers one request after another writes
    ``with frappe.request():`` around each, and calls this once, at its end.
    """
    _leave()
    if _defaults.moves_with():
        _defaults.settings = None
    _enter(None)
    _request.set(None)
    # As they were added from the bottom up, the other way round: who uses a connection ends before it is closed.
    for callback in reversed(_when_destroyed):
        callback()


def enter(settings: Settings | None) -> None:
    """Work for the site of some settings, as its own user, and begin a request; None is the default site."""
    _leave()
    _enter(settings)


def _leave() -> None:
    # The default site of which nobody has asked yet is not read from the environment in order to be left.
    settings = _settings.get() or _defaults.settings
    if settings is not None:
        for callback in _when_leaving:
            callback(settings)


def _enter(settings: Settings | None) -> None:
    at_cell = _defaults.moves_with()
    if at_cell:
        _defaults.settings = settings if settings is not None else _defaults.settings
        _defaults.user = None
        settings = None
    _settings.set(settings)
    _user.set(None)
    started = begin_request()
    if at_cell:
        _defaults.follow(started)


@contextlib.contextmanager
def visiting(settings: Settings) -> Iterator[None]:
    """Run a block for another site, as one request; where the caller works is untouched."""
    token = _settings.set(settings)
    try:
        with request():
            yield
    finally:
        _settings.reset(token)


@contextlib.contextmanager
def request() -> Iterator[Request]:
    """Run a block as one request: what it reads is remembered until the block ends.

    Example:
        >>> with request() as current:
        ...     len(current.cache)
        0
    """
    started = _started()
    token = _request.set(started)
    try:
        yield started
    finally:
        started.over = True
        _request.reset(token)


def begin_request() -> Request:
    """Begin a request that lasts until the next one begins here, and return it."""
    started = _started()
    _request.set(started)
    return started


def _started() -> Request:
    for callback in _when_request_begins:
        callback()
    return Request()


def follow_cells(active: bool) -> None:
    """Say whether this process is a notebook, whose cells share one site (see the module's head)."""
    if active:
        # What was chosen before the extension was loaded stays chosen.
        chosen = _settings.get()
        if chosen is not None:
            _defaults.settings = chosen
        if _user.get() is not None:
            _defaults.user = _user.get()
    _defaults.follows_cells = active
    _defaults.cell_task = None


def begin_cell() -> None:
    """A cell begins to run: give it a request of its own and the notebook's site."""
    _defaults.cell_task = _current_task()
    _settings.set(None)
    _user.set(None)
    _defaults.follow(begin_request())


def end_cell() -> None:
    """A cell has ended: nothing that it read is remembered."""
    for callback in _when_cell_ends:
        callback()
    _defaults.cell_task = None
    _defaults.follow(None)
    _request.set(None)


def _current_task() -> asyncio.Task[Any] | None:
    # Where nobody has imported asyncio nothing runs in a task, and importing it here would cost every start 30 ms.
    module = sys.modules.get("asyncio")
    if module is None:
        return None
    try:
        task: asyncio.Task[Any] | None = module.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None
    return task


class Session:
    """The session, as Frappe shows it: `frappe.session`."""

    @property
    def user(self) -> str:
        """The session's user; assign to change it."""
        return current_user()

    @user.setter
    def user(self, user: str) -> None:
        set_user(user)

    def __repr__(self) -> str:
        return f"<Session of {self.user!r}>"


class Local:
    """What belongs to the current site and request, as Frappe shows it: `frappe.local`."""

    session = Session()

    @property
    def site(self) -> str:
        """The current site's name."""
        return current_settings().site

    @property
    def conf(self) -> dict[str, Any]:
        """The current site's configuration, as far as the cache needs it."""
        settings = current_settings()
        return {"db_name": settings.db_name, "redis_cache": settings.url}

    @property
    def cache(self) -> LocalCache:
        """What this request has read and written so far; empty outside any request."""
        current = current_request()
        return LocalCache() if current is None else current.cache

    @property
    def request_cache(self) -> dict[Any, Any]:
        """The results that `@request_cache` holds for this request; empty outside any."""
        current = current_request()
        return {} if current is None else current.results

    def __repr__(self) -> str:
        return f"<Local of site {self.site!r}>"


local = Local()
session = local.session
