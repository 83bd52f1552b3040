"""A small cache that is full, and who is thrown out of it: Redis' LRU key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .. import context, keys
from ..redis_wrapper import RedisWrapper
from .benches import Bench
from .elsewhere import wait_until
from .plots import INK, Picture, new_axes, picture_of, show

_THERE: Final = "#189e86"
_NEW: Final = "#6a7fd1"
_GONE: Final = "#c8505f"

_SIZE: Final = 400_000
"""Bytes of a report, so many that nothing else on the server matters beside it."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it was last seen.

    Attributes:
        minutes: for how long nobody had used it.
        state: ``""``, ``"new"``, ``"read"`` or ``"evicted"``.
    """

    minutes: int
    state: str


class Shelf:
    """The cache of a bench, holding just as many reports as it has room for.

    Args:
        bench: the bench; its cache belongs to this shelf alone.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._cache = RedisWrapper()
        self._ages: dict[str, int] = {}

    def fill(self, **minutes: int) -> str:
        """Empty the cache, and fill it with reports that were last used so many minutes ago.

        Redis' limit, `maxmemory`, is set to what these reports take and half of another. Nobody has to wait for them to
        age: Redis takes a value's age with it (``RESTORE … IDLETIME``). And of all keys the one that was not used for
        longest is evicted, not just of a few that are looked at.

        Args:
            **minutes: for each report how long ago it was used; its key is ``report|`` and the name.

        Returns:
            Another report of the same size, for which there is no room.

        Raises:
            ServerError: the bench's Redis does not start again.
            TimeoutError: it does not give memory back.
        """
        import redis  # noqa: PLC0415  (not every notebook has a bench)

        ages = {f"report|{name}": age for name, age in minutes.items()}
        report = "x" * _SIZE
        # A new process: Redis keeps a list of candidates for eviction, with ages as they were when it saw them. Among
        # millions of keys that matters to nobody; among six it would throw out what was used since.
        self.bench.restart()
        with redis.Redis.from_url(self.bench.url) as client:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-samples", 64)
            first = str(client.client_id())
            # In a request of their own: who reads a report in the notebook's shall ask the server.
            with context.request():
                for key in ages:
                    self._cache.set_value(key, report)
            for key, age in ages.items():
                name = self._cache.make_key(key)
                client.restore(name, 0, client.dump(name), replace=True, idletime=age * 60)
        with redis.Redis.from_url(self.bench.url) as client:  # the first one's buffers go with it
            # A connection may keep a buffer as large as the last value that came over it. One more report is stored for
            # it to be there when memory is measured, as it will be when the notebook stores one.
            with context.request():
                self._cache.set_value("report|measure", report)
            wait_until(lambda: first not in (each["id"] for each in client.client_list()))
            limit = _used(client) - _SIZE // 2
            with context.request():
                self._cache.delete_value("report|measure")
            wait_until(lambda: _used(client) <= limit)
            client.config_set("maxmemory", limit)
        self._ages = ages
        return report

    def look(self) -> dict[str, Report]:
        """Each report that the shelf has held since it was filled, those used last first; looking is not using."""
        import redis  # noqa: PLC0415  (loaded by now)

        db_name = context.current_settings().db_name
        there = (keys.strip_site(db_name, name) for name in self._cache.get_keys("report|"))
        found: dict[str, Report] = {}
        with redis.Redis.from_url(self.bench.url) as client:
            for key in dict.fromkeys((*self._ages, *there)):
                idle, before = client.object("idletime", self._cache.make_key(key)), self._ages.get(key)
                if idle is None:
                    found[key] = Report(before or 0, "evicted")
                else:
                    minutes = idle // 60
                    state = "new" if before is None else "read" if minutes < before else ""
                    found[key] = Report(minutes, state)
        return dict(sorted(found.items(), key=lambda pair: (pair[1].minutes, pair[1].state != "new", pair[0])))

    def show(self) -> None:
        """Print who is there and who was evicted, and draw it where there is a notebook to show it in."""
        reports = self.look()
        show(lambda: _draw(reports))
        for key, report in reports.items():
            print(f"{key}   {_ago(report.minutes):<11}   {report.state}".rstrip())


def _ago(minutes: int) -> str:
    return f"{minutes} min ago" if minutes else "just now"


def _alt(reports: Mapping[str, Report]) -> str:
    parts = [f"{key} {_ago(each.minutes)}{each.state and f', {each.state}'}" for key, each in reports.items()]
    return f"Bar chart of the reports by the time since each was used: {'; '.join(parts)}."


def _draw(reports: Mapping[str, Report]) -> Picture:
    axes = new_axes(7.0, 0.8 + 0.36 * len(reports))
    longest = max((report.minutes for report in reports.values()), default=1) or 1
    for index, report in enumerate(reports.values()):
        colour = {"evicted": _GONE, "new": _NEW}.get(report.state, _THERE)
        bar = {"color": "none", "edgecolor": colour, "linewidth": 1.6, "linestyle": (0, (4, 3))}
        shown = bar if report.state == "evicted" else {"color": colour}
        axes.barh(index, max(report.minutes, longest / 80), height=0.66, **shown)
        axes.text(
            max(report.minutes, longest / 80) + longest / 60,
            index,
            report.state,
            color=colour if report.state in ("evicted", "new") else INK,
            va="center",
            fontsize=11,
        )
    axes.set_yticks(range(len(reports)), list(reports))
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.22)
    axes.set_title("minutes since it was used", color=INK, fontsize=12, loc="left")
    axes.tick_params(axis="y", length=0, labelsize=12)
    return picture_of(axes, _alt(reports))


def _used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])
