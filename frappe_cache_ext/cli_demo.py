"""`frappe-cache demo`: what Frappe's caching guide shows, run now, with the times that it takes here.

What is printed as code is the very text that runs, so the two cannot differ. Each line is a request of its own, like a
cell of a notebook: otherwise the second reading of a key would be answered from the request's memory, without the
server. The site is made up and emptied at the end, so nothing of the user's is touched.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Final

import frappe_cache_ext

from . import context, server
from .caching import redis_cache
from .cli_text import WIDTH, Terminal
from .connections import current_connection
from .errors import CacheError, CacheUnavailable
from .keys import change_log_name
from .redis_wrapper import RedisWrapper
from .settings import Settings, mask_url

FASTER: Final = 20
"""How many times faster than the first call the second must be; in practice it is thousands of times."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line (or function) to run, and what it promises.

    Attributes:
        code: the text; an expression if it `shows` something.
        shows: the `repr` of its value; None for code that shows nothing.
        works: whether it does the slow work, and so takes a second; None where that is no question.
        name: how the bars at the end of a chapter call its time; empty for one without a bar.
        above: a remark to print before it.
    """

    code: str
    shows: str | None = None
    works: bool | None = None
    name: str = ""
    above: str = ""


_SLOW_ADD: Final = """\
def slow_add(a, b):
    key = f"slow_addition|{a}+{b}"  # both inputs are part of the key
    if cached_value := frappe.cache.get_value(key):
        return cached_value
    import time; time.sleep(1)  # fake workload
    result = a + b
    frappe.cache.set_value(key, result)
    return result"""

_SLOW_FUNCTION: Final = """\
def slow_function(a, b):
    import time; time.sleep(1)  # fake expensive computation
    return a + b"""

DOCUMENTS: Final = "Cached documents: read from the database once"

CHAPTERS: Final[dict[str, Sequence[Line]]] = {
    "Strings: a value under a key": (
        Line('frappe.cache.set_value("key", "value")'),
        Line('frappe.cache.get_value("key")', "'value'"),
    ),
    "Hashes: fields that are set and read one by one": (
        Line('frappe.cache.hset("user|admin", "name", "Admin")'),
        Line('frappe.cache.hset("user|admin", "email", "")'),
        Line('frappe.cache.hget("user|admin", "name")', "'Admin'"),
        Line('frappe.cache.hgetall("user|admin")', "{'name': 'Admin', 'email': ''}"),
    ),
    "A cache by hand: the key tells the inputs apart": (
        Line(_SLOW_ADD),
        Line("slow_add(40, 2)", "42", works=True),
        Line("slow_add(40, 2)", "42", works=False),
    ),
    "Invalidation: let a value expire, or delete it": (
        Line('frappe.cache.set_value("weather", "sunny", expires_in_sec=1)'),
        Line('frappe.cache.get_value("weather")', "'sunny'"),
        Line("time.sleep(1.1)"),
        Line('frappe.cache.get_value("weather") is None', "True"),
        Line('frappe.cache.delete_value("slow_addition|40+2")'),
        Line('frappe.cache.get_value("slow_addition|40+2") is None', "True"),
    ),
    DOCUMENTS: (
        Line('fields = {"currency": "Data"}\nfrappe.define_doctype("Shop Settings", fields, single=True)'),
        Line('frappe.db.set_single_value("Shop Settings", "currency", "EUR")\nfrappe.db.commit()'),
        Line('frappe.get_cached_doc("Shop Settings").currency', "'EUR'", above="# Read from the database:"),
        Line('frappe.get_cached_doc("Shop Settings").currency', "'EUR'", above="# And from the cache:"),
        Line(
            'change = "update tabSingles set value = %s where field = %s"\n'
            'frappe.db.sql(change, ("CHF", "currency")); frappe.db.commit()',
            above="# A raw query clears nothing:",
        ),
        Line('frappe.get_cached_doc("Shop Settings").currency', "'EUR'"),
        Line('frappe.clear_document_cache("Shop Settings", "Shop Settings")'),
        Line('frappe.get_cached_doc("Shop Settings").currency', "'CHF'"),
    ),
    "@redis_cache: the same without writing any of it": (
        Line(_SLOW_FUNCTION),
        Line("slow_function(40, 2)", "42", works=True, above="# One second, every time:"),
        Line("slow_function(40, 2)", "42", works=True, name="without"),
        Line(f"@redis_cache\n{_SLOW_FUNCTION}"),
        Line("slow_function(40, 2)", "42", works=True, name="first call", above="# Now only the first time:"),
        Line("slow_function(40, 2)", "42", works=False, name="second call"),
        Line("slow_function.clear_cache()", above="# Forget its results, and it works again:"),
        Line("slow_function(40, 2)", "42", works=True, name="when cleared"),
    ),
}


def run_demo(settings: Settings) -> list[str]:
    """Run the demonstrations on the server that the settings name, which answers, and print them.

    Returns:
        The promises that were not kept, as sentences.

    Raises:
        CacheUnavailable: the server went away.
    """
    site = f"demo-{secrets.token_hex(4)}.localhost"
    folder = tempfile.TemporaryDirectory(prefix="frappe-cache-demo-")
    database = f"sqlite:///{folder.name}/demo.db"
    # Not `init`, which would look this site up in the bench that the environment may name.
    context.enter(
        replace(settings, site=site, db_name="", user="Administrator", bench=None, database_url=database, strict=False)
    )
    connection = current_connection()
    demo = Demo(Terminal())
    try:
        demo.greet(settings)
        without_database = find_spec("sqlalchemy") is None
        for number, (title, lines) in enumerate(CHAPTERS.items(), 1):
            if title == DOCUMENTS and without_database:
                demo.leave_out(f"{number}. {title}", "pip install 'frappe-cache-ext[documents]' to see it")
            else:
                demo.show(f"{number}. {title}", lines)
        if connection.down is not None:
            raise CacheUnavailable(f"the server went away during the demonstration: {connection.down}")
        demo.part(settings)
    finally:
        with suppress(CacheError):
            RedisWrapper().delete_keys("")
            RedisWrapper().redis.delete(change_log_name(context.current_settings().db_name))
        context.destroy()
        with suppress(OSError):  # an open database stays open on some systems
            folder.cleanup()
    return demo.broken


class Demo:
    """One showing.

    Attributes:
        broken: the promises that were not kept, as sentences.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.broken: list[str] = []
        # The names that the code on the screen uses.
        self.names = {"frappe": frappe_cache_ext, "redis_cache": redis_cache, "time": time, "__name__": "demo"}

    def greet(self, settings: Settings) -> None:
        """Say where this happens."""
        print(self.terminal.paint("bold", f"Frappe's cache, live on {_server_name(settings)}"))
        print("Each line runs now and shows its real time, in a site of its own that is")
        print("emptied at the end.")

    def show(self, title: str, lines: Sequence[Line]) -> None:
        """Run one chapter and print it line by line, its bars at the end."""
        print()
        print(self.terminal.paint("bold", title))
        print()
        bars: list[tuple[str, float]] = []
        worked: float | None = None
        for line in lines:
            seconds, value = self._run(line)
            if line.works:
                worked = seconds if worked is None else min(worked, seconds)
            if line.name:
                bars.append((line.name, seconds))
            for promise in _broken_promises(line, value, seconds, worked, self.terminal):
                print(self.terminal.paint("bad", f"   ^ {promise}"))
                self.broken.append(f"{line.code}: {promise}")
        if bars:
            self._draw(bars)

    def leave_out(self, title: str, remedy: str) -> None:
        """Say what a chapter would need."""
        print(f"\n{self.terminal.paint('bold', title)}\n\n   {self.terminal.paint('dim', remedy)}")

    def part(self, settings: Settings) -> None:
        """The last words."""
        print()
        if not self.broken:
            print(
                self.terminal.paint("good", "All as promised.")
                + " The same in notebooks, step by step: frappe-cache lab"
            )
        if settings.url.startswith("embedded://") and server.status(settings.server_home):
            print("The server stays for whoever comes next; `frappe-cache stop` ends it.")

    def _run(self, line: Line) -> tuple[float, Any]:
        if line.above:
            print(self.terminal.paint("dim", f"   {line.above}"))
        first, *others = line.code.splitlines()
        head = f"   >>> {first}"
        if others:
            head = "\n".join((head, *(f"   ... {other}" for other in others)))
        # Shown before it runs: a second is long when nothing tells what it is spent on.
        print(head, end="", flush=True)
        program = compile(line.code, "<demo>", "exec" if line.shows is None else "eval")
        value: Any = None
        with context.request():
            begin = time.perf_counter()
            try:
                value = eval(program, self.names)  # noqa: S307  (the text is a constant of this module)
            except CacheError as error:
                value = error
            seconds = time.perf_counter() - begin
        if others:
            print()
        else:
            spent = ("" if line.works is None else "Wall time: ") + self.terminal.duration(seconds)
            print(self.terminal.paint("dim", f"{spent:>{WIDTH - len(head) - 1}}"))
        if line.shows is not None:
            print(f"   {value!r}")
        return seconds, value

    def _draw(self, bars: list[tuple[str, float]]) -> None:
        longest = max(seconds for _, seconds in bars)
        print()
        for name, seconds in bars:
            spent = self.terminal.duration(seconds)
            print(f"   {name:<12}  {self.terminal.bar(seconds / longest, 48)}  {spent}")
        times = dict(bars)
        ratio = times["first call"] / times["second call"]
        print()
        print("   " + self.terminal.paint("good" if ratio >= FASTER else "bad", f"{ratio:,.0f} times faster"))


def _broken_promises(line: Line, value: Any, seconds: float, worked: float | None, terminal: Terminal) -> Iterator[str]:
    spent = terminal.duration(seconds)
    if line.shows is not None and repr(value) != line.shows:
        yield f"it should give {line.shows}, and gave {value!r}"
    elif isinstance(value, CacheError):
        yield str(value)
    if line.works and seconds < 0.9:
        yield f"it should do its work of one second, and took {spent}"
    if line.works is False and worked is not None and seconds * FASTER > worked:
        yield f"it should be at least {FASTER} times faster than {terminal.duration(worked)}, and took {spent}"


def _server_name(settings: Settings) -> str:
    connection = current_connection()
    if connection.is_memory:
        return "a server in this process (memory://)"
    if settings.url.startswith("embedded://"):
        running = server.status(settings.server_home)
        if running is not None:
            return f"{running.version}, your own, on a unix socket"
    return mask_url(settings.url)
