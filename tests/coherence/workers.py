"""A process that reads and writes through copies, and notes what it did: ``python -m tests.coherence.workers``."""

from __future__ import annotations

import json
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import redis

import frappe_cache_ext as frappe
from frappe_cache_ext import redis_cache
from frappe_cache_ext.connections import current_connection
from frappe_cache_ext.errors import CacheUnavailableWarning
from tests.coherence.histories import Event

KEYS = 50
AWAY = (OSError, redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)
"""What goes past the cache fails so while the server is away."""

IDLE = 0.001
"""Seconds between two operations: an idle process is one whose listening thread gets its turn."""


@redis_cache
def answer(key: str) -> int | None:
    """What lies in another key, which nothing keeps a copy of: the function's result is one of that."""
    found: Any = frappe.cache.redis.get(f"source-{key}")
    return None if found is None else int(found)


class Worker:
    """One process's work.

    Args:
        number: the process's own.
    """

    def __init__(self, number: int) -> None:
        self.dice = random.Random(number)
        self.number = number
        self.count = 0
        self.events: list[Event] = []

    def work(self) -> None:
        """Do one thing."""
        key, choice = f"k{self.dice.randrange(KEYS)}", self.dice.random()
        if choice < 0.70:
            self.read(key)
        elif choice < 0.80:
            self.write([key], self.fresh(), self.set_value)
        elif choice < 0.85:
            self.write([key], None, lambda key, _: frappe.client_cache.delete_value(key))
        elif choice < 0.86:
            keys = [f"k{number}" for number in range(KEYS)]
            self.write(keys, None, lambda *_: frappe.client_cache.delete_keys("k"))
        elif choice < 0.95:
            self.read_answer(key)
        else:
            self.write([f"f{key}"], self.fresh(), self.change_answer)

    def fresh(self) -> int:
        """A value that nobody has written before."""
        self.count += 1
        return self.count * 100 + self.number

    def read(self, key: str) -> None:
        start = time.monotonic()
        value = frappe.client_cache.get_value(key)
        self.events.append(Event("read", key, value, start, time.monotonic()))

    def read_answer(self, key: str) -> None:
        start = time.monotonic()
        value = answer(key)
        self.events.append(Event("read", f"f{key}", value, start, time.monotonic()))

    def set_value(self, key: str, value: int | None) -> None:
        frappe.client_cache.set_value(key, value)

    def change_answer(self, key: str, value: int | None) -> None:
        frappe.cache.redis.set(f"source-{key[1:]}", value)
        if self.dice.random() < 0.1:
            answer.clear_cache()
        else:
            answer.invalidate(key[1:])

    def write(self, keys: list[str], value: int | None, act: Any) -> None:
        stats = current_connection().stats
        dropped, start = stats.dropped, time.monotonic()
        try:
            act(keys[0], value)
            certain = stats.dropped == dropped
        except AWAY:
            certain = False
        end = time.monotonic() if certain else float("inf")
        self.events += [Event("write", key, value, start, end) for key in keys]


def main(url: str, site: str, number: str, seconds: str, file: str) -> None:
    """Work for some seconds, then write down what was done."""
    warnings.simplefilter("ignore", CacheUnavailableWarning)
    frappe.init(site, url=url)
    frappe.cache.exists("anything")
    worker = Worker(int(number))
    deadline = time.monotonic() + float(seconds)
    while time.monotonic() < deadline:
        try:
            worker.work()
        except AWAY:
            time.sleep(0.01)
        time.sleep(IDLE)
    copies = current_connection().copies
    Path(file).write_text(json.dumps({"events": worker.events, "dropped": copies.dropped}), encoding="utf-8")
    frappe.destroy()


if __name__ == "__main__":
    main(*sys.argv[1:])
