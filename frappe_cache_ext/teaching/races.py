"""Races, slow enough to watch: actors take their steps in the order that you say, on a real database and cache.

Each actor is a function of yours that runs in a thread of its own, as a request and with a transaction of its own. It
says with `pause` where one of its steps ends, and waits there until the order names its next one. `get_cached_doc`
pauses by itself while somebody plays: when it has found nothing, and when it has loaded.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from .. import context
from ..connections import current_connection
from ..documents import cached as cached_documents
from ..documents.cached import as_fields
from ..documents.database import Database
from ..documents.transactions import current_transaction
from ..effects import Pipeline
from ..errors import MISS, ImplicitCommitError
from ..operations import LEASE_MARK
from ..redis_wrapper import RedisWrapper
from .actors import Actor, WrongOrder, cast_of, crowd, pause
from .timeline import Moment, Scene

__all__ = ["Stage", "WrongOrder", "crowd", "pause"]


class Stage:
    """Where actors race for one field of one document of the current site.

    Example::

        stage = Stage("Item", "ITEM-0001", "rate", at_first=100)
        stage.play(["reader looks", "reader loads", "writer changes"], reader=read, writer=change)

    Args:
        doctype: the DocType.
        name: the document's name.
        field: the field.
        at_first: its value when a play begins.
    """

    def __init__(self, doctype: str, name: str, field: str, at_first: Any) -> None:
        self.doctype = doctype
        self.name = name
        self.field = field
        self.at_first = at_first

    def play(self, order: Sequence[str], **actors: Callable[[], Any]) -> Scene:
        """Put everything back to the beginning, let the actors take their steps, and show what happened.

        See `run` for what is raised.

        Args:
            order: the steps, each as ``"actor step"``.
            **actors: what each actor does.
        """
        scene = self.run(order, **actors)
        scene.show()
        return scene

    def run(self, order: Sequence[str], **actors: Callable[[], Any]) -> Scene:
        """The same, without showing it.

        The site's cache is emptied before, so that whatever lies in it afterwards comes from this play.

        Args:
            order: the steps, each as ``"actor step"``.
            **actors: what each actor does.

        Raises:
            WrongOrder: the actors cannot follow the order.
            ImplicitCommitError: the caller has changes of their own under way.
        """
        steps = [_read_step(line, actors) for line in order]
        self._set_up()
        with _pausing_documents(self.field), cast_of(actors) as cast:
            moments = [self._moment(cast[actor], step) for actor, step in steps]
            for actor in cast.values():
                actor.finish()
        cached, stored = self._state()
        return Scene(f"the {self.field} of {self.doctype} {self.name}", tuple(actors), moments, cached, stored)

    def _set_up(self) -> None:
        if current_transaction().has_changes:
            raise ImplicitCommitError("You have changes under way: frappe.db.commit() or frappe.db.rollback() first.")
        database = Database()
        database.set_value(self.doctype, self.name, self.field, self.at_first)
        database.commit()
        RedisWrapper().delete_keys("")

    def _moment(self, actor: Actor, step: str) -> Moment:
        stop = actor.advance(step)
        cached, stored = self._state()
        if stop is None:
            text = "has finished"
        elif step == "stores" and cached is None:
            text = "stores: nothing"
        else:
            text = step if stop.value is MISS else f"{step}: {shown(stop.value)}"
        return Moment(actor.name, text, shown(cached, "–"), shown(stored, "–"), cached is not None and cached != stored)

    def _state(self) -> tuple[Any, Any]:
        """What the cache holds, None for nothing, and what is committed."""
        transaction = current_transaction()
        transaction.end_reading()
        with context.request():
            stored = Database().get_value(self.doctype, self.name, self.field)
            transaction.end_reading()
            return self._cached(), stored

    def _cached(self) -> Any:
        """The value of the one entry that the play has left in the site's cache, or the field of a document there."""
        connection = current_connection()
        for name in RedisWrapper().get_keys():
            if name.endswith(_NO_ENTRIES):
                continue
            (data,) = connection.perform(Pipeline((("GET", name),)))
            if not isinstance(data, bytes):
                continue
            value = connection.codec.inspect(data, name)
            fields = as_fields(value)
            return value if fields is None else fields.get(self.field)
        return None


_NO_ENTRIES: Final = (LEASE_MARK, b"::generation")
"""What the names of leases and of functions' generations end with."""


def shown(value: Any, nothing: str = "nothing") -> str:
    """A value as a play shows it."""
    if value is None:
        return nothing
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _read_step(line: str, actors: Mapping[str, Any]) -> tuple[str, str]:
    if not isinstance(line, str):
        raise WrongOrder(f"{line!r} is no step.", 'A step is text: "actor step".')
    actor, _, step = line.strip().partition(" ")
    if actor not in actors:
        raise WrongOrder(f"Nobody here is called {actor!r}.", f"The actors are {', '.join(actors)}.")
    if not step:
        raise WrongOrder(f"{line!r} names no step.", 'A step is text: "actor step".')
    return actor, step.strip()


_playing = threading.Lock()


@contextlib.contextmanager
def _pausing_documents(field: str) -> Iterator[None]:
    """Let `get_cached_doc` say when it has looked, and when it has loaded."""
    names = vars(cached_documents)
    load_document = names["load_document"]

    def load_with_pauses(*args: Any, **kwargs: Any) -> Any:
        pause("looks", None)
        fields = load_document(*args, **kwargs)
        pause("loads", fields.get(field))
        return fields

    with _playing:
        names["load_document"] = load_with_pauses
        try:
            yield
        finally:
            names["load_document"] = load_document
