"""State outside of names that cells depend on and change: random generators, settings, the process's environment.

What a cell did to a state is told as an edit and put back on a hit, so that what differs elsewhere survives. How a
state counts in a cell's key depends on how it acts:

- *Settings* shape what a cell shows without leaving a trace of having been read: warning filters, the print options and
  error state of NumPy, the options of pandas, the decimal context, levels of logging, the locale, and where the cell
  plots, Matplotlib's `rcParams`. They are part of every key, as far as they are not the default ones, so that a library
  not loaded yet and one that nobody touched count the same (`ambient_digest`).
- *Generators* are different in every process, and most cells do not draw from one. They count for cells that do, which
  is known after a run (`generators_used`, `generator_digest`). The current directory counts in the same way for a cell
  that changes it, because where ``chdir("data")`` leads depends on it.
- What a cell *names* counts as it is: `named_parts` finds ``os.environ["MODE"]`` and ``sys.path`` in its code.
- What cannot be put back makes a cell uncacheable: figures that stay open, the backend of Matplotlib, handlers of
  loggers, the generators of PyTorch, and another kind of generator in the place of NumPy's global one.

Not looked after, since it cannot be read: the generators of TensorFlow and CuPy, which warnings were shown already,
flags of the decimal context, signal handlers, the process's umask and limits. Attributes of modules that a cell sets
are another matter: `graph` refuses them.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import warnings
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .. import fingerprint
from ..errors import MISS
from .state_kinds import value_digest
from .state_names import named_parts, seeds
from .state_table import STATES, loggers

__all__ = [
    "Changes",
    "Snapshot",
    "ambient_digest",
    "ambient_parts",
    "changes",
    "check",
    "generator_digest",
    "generators_used",
    "named_parts",
    "plots_refusal",
    "restore",
    "seeds",
    "snapshot",
]

GENERATORS: Final = ("random", "numpy.random", "the current directory")
"""States that count, as they were before, for a cell that moved them on."""

_PLOTTING: Final = "matplotlib.rcParams"
_LONGEST: Final = 200
"""Characters that are shown of the deviations of one state."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All states at one moment.

    Attributes:
        values: those that can be put back, by name; MISS where a library is not loaded.
        traces: the others.
    """

    values: Mapping[str, Any]
    traces: Mapping[str, Any]

    def generator_digest(self, name: str) -> bytes:
        """A digest of a generator's state at that moment."""
        return value_digest(self.values[name])


@dataclass(frozen=True, slots=True)
class Changes:
    """What a cell did to the states.

    Attributes:
        values: for `restore`, by name of the state.
        irreversible: why it cannot be done again on a hit; empty where it can.
    """

    values: Mapping[str, Any]
    irreversible: tuple[str, ...]


def snapshot() -> Snapshot:
    """All states as they are now."""
    return Snapshot(
        {name: state.read() for name, state in STATES.items()},
        {name: read() for name, (read, _) in _TRACES.items()},
    )


def changes(before: Snapshot, after: Snapshot, seeded: Container[str] = ()) -> Changes:
    """What happened between two moments.

    Args:
        before: the states before the cell ran.
        after: those after.
        seeded: generators that the cell seeds first of all, from `seeds`. What a generator holds after that is the
            cell's doing even where it holds the same as before.
    """
    values = {}
    for name, state in STATES.items():
        edit = state.edit(before.values[name], after.values[name])
        if edit is None and name in seeded and after.values[name] is not MISS:
            edit = after.values[name]
        if edit is not None:
            values[name] = edit
    reasons = [reason(before.traces[name], after.traces[name]) for name, (_, reason) in _TRACES.items()]
    if "numpy.random" in values and values["numpy.random"][0] != "MT19937":
        reasons.append("it draws from a global generator of NumPy's that is not the usual one")
    return Changes(values, tuple(reason for reason in reasons if reason is not None))


def check(changes: Mapping[str, Any]) -> None:
    """Make sure, before anything is put back, that `restore` can do it here.

    Raises:
        OSError: a directory that the cell changed to is not here.
        locale.Error: nor is the locale that it set.
    """
    for name, edit in changes.items():
        STATES[name].check(edit)


def restore(changes: Mapping[str, Any]) -> None:
    """Do to the states what the cell did; what it left alone stays as it is here.

    Args:
        changes: the `values` of `changes`.
    """
    for name, state in STATES.items():
        if name in changes:
            state.put(changes[name])


def without_imported(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes of a cell that imports something, without the warning filters that are here already.

    Libraries set filters of their own when they are imported for the first time, and never again.
    """
    kept = dict(changes)
    edit = kept.get("warnings.filters")
    if edit is not None and "whole" not in edit:
        here = list(warnings.filters)
        new = {end: [item for item in edit[end] if item not in here] for end in ("front", "back")}
        kept["warnings.filters"] = {**edit, **new}
    return kept


def generators_used(before: Snapshot, after: Snapshot, seeded: Container[str] = ()) -> tuple[str, ...]:
    """The states among `GENERATORS` that a cell moved on, so that its outcome depends on how they were before.

    Args:
        before: the states before the cell ran.
        after: those after.
        seeded: generators that the cell seeds first of all, from `seeds`.
    """
    used = (STATES[name].edit(before.values[name], after.values[name]) is not None for name in GENERATORS)
    return tuple(name for name, moved in zip(GENERATORS, used, strict=True) if moved and name not in seeded)


def generator_digest(name: str) -> bytes:
    """A digest of a generator's present state."""
    return STATES[name].digest()


def ambient_digest(uses_plots: bool) -> bytes:
    """A digest of the settings that shape what a cell shows, as far as they are not the default ones.

    Args:
        uses_plots: whether those of Matplotlib count.

    Raises:
        NotCacheable: a setting is an object without content.
    """
    hasher = hashlib.blake2b(digest_size=16)
    for name, deviations in _ambient(uses_plots):
        hasher.update(f"{name}={fingerprint.digest(deviations, name)};".encode())
    return hasher.digest()


def ambient_parts(uses_plots: bool) -> dict[str, str]:
    """The same in words, by the name of the state: ``{"numpy.printoptions": "precision=3"}``."""
    return {name: _shown(deviations, name) for name, deviations in _ambient(uses_plots)}


def plots_refusal() -> str | None:
    """Why a cell that plots cannot be cached now: into a figure that is open it would draw, and nothing shows that."""
    numbers = _open_figures()
    if not numbers:
        return None
    return f"figure {', '.join(numbers)} is open, and the cell could draw into it – close it with plt.close()"


def _ambient(uses_plots: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in STATES.items():
        if name != _PLOTTING or uses_plots:
            deviations = state.deviations()
            if deviations:
                yield name, deviations


def _shown(deviations: Mapping[str, Any], name: str) -> str:
    parts = (key if value == "" else f"{key}={value!r}" for key, value in deviations.items())
    text = ", ".join(parts)
    # An address would make two kernels that hold the same look different.
    if len(text) <= _LONGEST and " at 0x" not in text:
        return text
    return f"{', '.join(deviations)[:_LONGEST]} ({fingerprint.digest(deviations, name)[:8]})"


# --- what cannot be put back ------------------------------------------------------------------------------------------


def _open_figures() -> tuple[str, ...]:
    managers = sys.modules.get("matplotlib._pylab_helpers")
    return tuple(map(str, sorted(managers.Gcf.figs))) if hasattr(managers, "Gcf") else ()  # type: ignore[union-attr]


def _figures_reason(before: tuple[str, ...], after: tuple[str, ...]) -> str | None:
    opened = [number for number in after if number not in before]
    if opened:
        return f"it leaves figure {', '.join(opened)} open – close it with plt.close()"
    closed = [number for number in before if number not in after]
    return f"it closes figure {', '.join(closed)}, which another cell opened" if closed else None


def _backend() -> Any:
    """The backend and whether it draws at once; MISS while none is chosen."""
    matplotlib, pyplot = sys.modules.get("matplotlib"), sys.modules.get("matplotlib.pyplot")
    if getattr(pyplot, "_backend_mod", None) is None:
        return MISS
    return tuple(dict.get(matplotlib.rcParams, name) for name in ("backend", "interactive"))  # type: ignore[union-attr]


def _backend_reason(before: Any, after: Any) -> str | None:
    if before is MISS or before == after:
        return None
    return "it changes Matplotlib's backend or its interactive mode; do that in a cell of its own"


def _handlers() -> dict[str, tuple[logging.Handler, ...]]:
    """The handlers of loggers; those that libraries put there to say nothing aside."""
    found = {"root": logging.root, **loggers()}
    handlers = {
        name: tuple(handler for handler in logger.handlers if type(handler) is not logging.NullHandler)
        for name, logger in found.items()
        if logger.handlers
    }
    return {name: of_logger for name, of_logger in handlers.items() if of_logger}


def _handlers_reason(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            which = "the root logger" if name == "root" else f"the logger {name}"
            return f"it changes the handlers of {which}; do that in a cell of its own"
    return None


def _torch_generators() -> Any:
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "get_rng_state"):
        return MISS
    # Asking for the state of a device would start it.
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [state.tolist() for state in (torch.get_rng_state(), *devices)]


def _torch_reason(before: Any, after: Any) -> str | None:
    if before == after:
        return None
    if before is MISS:
        return "it is the first to load torch, whose random generator cannot be put back; import it before"
    return "it draws from the random generator of torch, which cannot be put back"


_TRACES: Final[dict[str, tuple[Callable[[], Any], Callable[[Any, Any], str | None]]]] = {
    "figures": (_open_figures, _figures_reason),
    "backend": (_backend, _backend_reason),
    "handlers": (_handlers, _handlers_reason),
    "torch": (_torch_generators, _torch_reason),
}
"""How each is read, and why a cell that changed it cannot be cached."""
