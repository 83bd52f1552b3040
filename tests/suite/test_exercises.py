"""A learner goes through each notebook in a real kernel: leaves the exercises alone, errs, and solves them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.suite.learner import (
    NAMES,
    ROOT,
    around,
    as_cells,
    as_text,
    asked_for,
    code_cells,
    learner,
    read,
    solution_of,
    tagged,
)

pytestmark = pytest.mark.slow

Answer = Callable[[str], str]


def whole(code: str) -> Answer:
    """The exercise's code, replaced."""
    return lambda source: code


class swap:  # noqa: N801  (called like the others)
    """One place changed, then another."""

    def __init__(self, old: str, new: str) -> None:
        self._pairs = [(old, new)]

    def __call__(self, source: str) -> str:
        for old, new in self._pairs:
            assert old in source, old
            source = source.replace(old, new)
        return source

    def then(self, other: swap) -> swap:
        self._pairs += other._pairs
        return self


def above(line: str) -> Answer:
    """A line put above."""
    return lambda source: f"from frappe.utils.caching import redis_cache\n\n\n{line}\n{source}"


def inside(line: str) -> Answer:
    """A line added to the function."""
    return lambda source: f"{source.rstrip()}\n    {line}\n"


def last_line(line: str) -> Answer:
    """A line added at the end."""
    return lambda source: f"{source.rstrip()}\n{line}\n"


def store(arguments: str) -> Answer:
    return whole(f"frappe.cache.set_value({arguments})")


def by_hand(
    name: str,
    *,
    get: str = 'f"shout|{word}"',
    put: str | None = None,
    result: str = 'word.upper() + "!"',
    ending: str = "return result",
) -> Answer:
    """A function of one word with a cache by hand, and a mistake in it."""
    return whole(
        f"def {name}(word):\n"
        f"    if found := frappe.cache.get_value({get}):\n"
        "        return found\n"
        "    work(1)\n"
        f"    result = {result}\n"
        f"    frappe.cache.set_value({put or get}, result)\n"
        f"    {ending}\n"
    )


def looks(condition: str, *, get: str, result: str = "SHELF.get(item)") -> Answer:
    """`stock` with another look into the cache."""
    return whole(
        'SHELF = {"tea": 12, "coffee": 0}\n\n\n'
        "def stock(item):\n"
        '    key = f"stock|{item}"\n'
        f"    cached_value = frappe.cache.{get}\n"
        f"    if {condition}:\n"
        "        return cached_value\n"
        "    work(1)\n"
        f"    result = {result}\n"
        "    frappe.cache.set_value(key, result)\n"
        "    return result\n"
    )


ARGUMENTS = "frappe.get_cached_value takes the same arguments"
READER = ("reader looks", "reader loads", "reader stores")
WRITER = ("writer changes", "writer commits", "writer deletes")


def in_order(*steps: str) -> Answer:
    return whole(f"order = {list(steps)!r}")


def spares(cold: str, expired: str, first: str) -> Answer:
    answer = {"cold": cold, "expired": expired, "first": first}
    return whole(f"answer = {answer!r}")


def guards(late_store: str, old_snapshot: str, uncommitted: str) -> Answer:
    answer = {"late store": late_store, "old snapshot": old_snapshot, "uncommitted": uncommitted}
    return whole(f"answer = {answer!r}")


def policies(cache: str, queue: str) -> Answer:
    return whole(f"answer = {{'cache': {cache!r}, 'queue': {queue!r}}}")


def language_by(expression: str) -> Answer:
    return whole(f"def cached_language(user):\n    return {expression}\n")


# By notebook and exercise: what learners write, and the part of the hint that is for this mistake only.
WRONG: dict[str, dict[str, list[tuple[Answer, str]]]] = {
    "00_start_here": {
        "exercise-1": [
            (store('"hello", "greeting"'), "key and value have changed places"),
            (store('"Greeting", "hello"'), "there is 'Greeting'; a key is taken to the letter"),
            (store('"greeting", "helo"'), "lies 'helo', not 'hello'"),
            (store('"greeting", "Hello"'), "look at capitals"),
            (store('"greeting", print("hello")'), "None was stored, which is what print() gives"),
            (store('"greeting", ["hello"]'), "that is of type list, and str is wanted"),
            (store('"greeting", "hello", user=True'), "it is there for user 'Administrator' only"),
            (whole('greeting = "hello"'), "'greeting' is a name of Python's, in this kernel alone"),
            (whole("frappe.cache.set_value"), "without parentheses set_value is only mentioned"),
            (whole('frappe.cache.get_value("greeting")'), "get_value only reads"),
            (whole('frappe.cache.set("greeting", "hello")'), "set is a command of the client underneath"),
            (whole('frappe.cache.hset("greeting", "hello", 1)'), "use set_value instead of hset"),
        ],
        "exercise-2": [
            (
                swap("return", 'frappe.cache.set_value(f"shout|{word}", word)\n    return'),
                "look with get_value(key) before",
            ),
            (swap("    work(1)\n", ""), "leave the call of work(...) in it"),
            (by_hand("shout", get='"shout"'), "the key leaves out 'word'"),
            (by_hand("shout", put='f"shouted {word}"'), "under the key that it stores under"),
            (by_hand("shout", result="word"), "and it was 'HELLO!'"),
            (by_hand("shout", ending=""), "it ends without a return"),
            (whole("@redis_cache\ndef shout(word):\n    work(1)\n    print(word.upper())\n"), "print shows a result"),
            (
                swap("def", "from frappe.utils.caching import request_cache\n\n\n@request_cache\ndef"),
                "forgets with the request, as @request_cache does",
            ),
            (inside('frappe.cache.set_value(word, word.upper() + "!")'), "has to run before the function returns"),
            (swap("work(1)", "work(1)\n    key = wrod"), "it was in line 3 of its cell: key = wrod"),
        ],
    },
    "01_strings": {
        "exercise-1": [
            (store('"cups|todai", 3'), "there is 'cups|todai'"),
            (store('"cups|today", "3"'), "that is text; store the int itself"),
            (store('"cups|today", None'), "None was stored"),
            (store('"cups|today", 3.0'), "that is of type float, and int is wanted"),
            (store('"cups/today", 3'), "there is 'cups/today'"),
            (store('"cups", 3, "today"'), "what comes third is a user"),
            (whole('frappe.cache.hset("cups", "today", 3)'), "hset stores a field of a hash"),
        ],
        "exercise-2": [
            (store('"offer|tea", "half price"'), "add expires_in_sec=600"),
            (store('"offer|tea", "half price", expires_in_sec=10'), "as seconds, not as minutes"),
            (store('"offer|tea", "half price", expires_in_sec=600_000'), "not as milliseconds"),
            (store('"offer|tea", "half price", expires_in_sec=300'), "10 minutes are 600 of them"),
            (store('"offer|tea", "half price", expires_in_sec=500'), "if you wrote that, a while ago"),
            (store('"offer|tea", "Half price", expires_in_sec=600'), "look at capitals"),
            (
                whole('frappe.cache.expire_key("offer|tea", 600)\nfrappe.cache.set_value("offer|tea", "half price")'),
                "add expires_in_sec=600",
            ),
        ],
        "exercise-3": [
            (store('"letter|draft 1", None'), "storing nothing is not deleting"),
            (whole('frappe.cache.delete_keys("letter|")'), "it was to stay"),
            (whole('frappe.cache.delete_value("letter|draft 1")'), "one down"),
            (whole('frappe.cache.delete_value("letter|draft 1", "letter|draft 2")'), "what comes second is a user"),
            (whole('frappe.cache.delete_value("letter|draft*")'), "delete_value takes a key to the letter"),
            (whole('frappe.cache.delete_value("letter|draft")'), "delete_keys deletes all that begin with a text"),
            (whole('frappe.cache.delete_keys("letter|draft*")'), "no * is needed"),
            (whole("frappe.cache.delete_keys"), "delete_keys is only mentioned"),
            (whole('frappe.cache.hdel("letter", "draft 1")'), "hdel removes a field of a hash"),
        ],
    },
    "02_hashes": {
        "exercise-1": [
            (whole('frappe.cache.hset("user|ada", "London", "city")'), "the field comes before its value"),
            (whole('frappe.cache.hset("user|ada", "citi", "London")'), "but it has 'citi'"),
            (store('"user|ada", {"city": "London"}'), "is one value now, not a hash"),
            (store('"user|ada|city", "London"'), "set_value stores under a key of its own"),
            (whole('frappe.cache.hset("user|Ada", "city", "London")'), "there is a hash 'user|Ada'"),
            (whole('frappe.cache.hset("user|ada", "city", "london")'), "look at capitals"),
            (whole("frappe.cache.hset"), "hset is only mentioned"),
        ],
        "exercise-2": [
            (whole('frappe.cache.hset("user|ada", "email", "")'), "storing nothing is not deleting"),
            (whole('frappe.cache.delete_value("user|ada")'), "The whole of 'user|ada' is gone"),
            (whole('frappe.cache.hdel("user|ada", ["email", "name"])'), "The field 'name' is gone too"),
            (whole('frappe.cache.hdel("user|ada", "ada@example.com")'), "not what is in it"),
            (whole('frappe.cache.hdel("user|ada", "Email")'), "there is no field 'Email'"),
            (whole('frappe.cache.delete_value("user|ada", "email")'), "delete_value removes whole keys"),
            (whole("frappe.cache.hdel"), "hdel is only mentioned"),
        ],
    },
    "03_cached_documents": {
        "exercise-1": [
            (swap('frappe.get_doc("User", user).language', 'frappe.db.get_value("User", user, "language")'), ARGUMENTS),
            (swap("    return ", "    "), "does it return what it found?"),
            (swap(".language", ".full_name"), "and language is 'es'"),
            (above("@redis_cache"), "a cache of your own does not hear of the change"),
            (
                swap(
                    "return frappe.get_doc",
                    'frappe.db.set_value("User", user, "enabled", 1)\n    return frappe.get_doc',
                ),
                "reading is all that is wanted",
            ),
            (
                whole('def language_of(user):\n    return frappe.get_cached_value("User", user, ["language"])\n'),
                "ask for 'language' by itself",
            ),
            (swap("frappe.get_doc", "frappe.client_cache.get_doc"), "which may be a moment behind"),
        ],
        "exercise-2": [
            (swap("    frappe.db.sql", '    frappe.clear_document_cache("Item")\n    frappe.db.sql'), "cleared before"),
            (inside('frappe.clear_document_cache("Item", group)'), "you cleared something else"),
            (inside('frappe.clear_document_cache("Item", "ITEM-0003")'), "1 of 33 items are right"),
            (inside("frappe.clear_cache()"), "throws everybody's entries away"),
            (inside("frappe.clear_document_cache"), "clear_document_cache is only mentioned"),
            (swap("    frappe.db.commit()\n", ""), "leaves its change uncommitted"),
            (swap("frappe.db.commit()", "frappe.db.rollback()"), "all items of the group are to change"),
            (
                whole(
                    "def set_rate(group, rate):\n"
                    '    frappe.db.set_value("Item", {"disabled": 0}, "rate", rate)\n'
                    "    frappe.db.commit()\n"
                ),
                "which is in another group",
            ),
        ],
    },
    "04_a_cache_by_hand": {
        "exercise-1": [
            (swap("{net}", "{country}"), "the key leaves out 'net'"),
            (swap("full_price|{net}", "{net}|{TAX[country]}"), "says with what, but not what was computed"),
            (swap("{net}", "{net}|{country}|{object()}"), "something in it that changes by itself"),
            (swap("(key, result)", "(key, result, shared=True)"), "belongs to no site"),
            (swap("{net}", "{net}|{contry}"), "NameError"),
            (swap("full_price|{net}", "{net}|{country}"), "says with what, but not what was computed"),
            (swap("{net}", "{country}"), "the key leaves out 'net'"),
            (swap("{net}", "{hash((net, country))}"), "which gives text another number in each process"),
            (swap("set_value(key", 'set_value(f"{key}|{country}"'), "it looks under another key"),
            (swap("    return result\n", ""), "it ends without a return"),
            (swap("    work(1)\n", ""), "leave the call of work(...) in it"),
        ],
        "exercise-2": [
            (
                swap(
                    "    if cached_value := frappe.cache.get_value(key):",
                    "    cached_value = frappe.cache.get_value(key)\n    if cached_value is not None:",
                ),
                "0 both times.\n✗ stock() computed twice: its result is None, which is",
            ),
            (swap("frappe.cache.set_value(key, result)", "pass"), "computed twice and stored nothing"),
            (looks("cached_value is not None", get="get_value(key)", result="SHELF.get(item, 0)"), "and it was None"),
            (
                looks("cached_value is not object()", get="get_value(key, default=object())"),
                "it takes a miss for a hit",
            ),
            (looks("cached_value is not MISING", get="get_value(key, default=MISING)"), "NameError"),
        ],
    },
    "05_invalidation": {
        "exercise-1": [
            (store('"forecast|Paris", "rain", expires_in_sec=15'), "as seconds, not as minutes"),
            (store('"forecast|Paris", "rain"'), "add expires_in_sec=900"),
            (store('"forecast|Paris", "rain", expires_in_sec=0.25'), "as seconds, not as hours"),
            (store('"forecast|Paris", "rain", expires_in_sec=600'), "if you wrote that, a while ago"),
            (store('"forecast|Paris", "Rain", expires_in_sec=900'), "look at capitals"),
            (store('"forecast|paris", "rain", expires_in_sec=900'), "there is 'forecast|paris'"),
            (store('"forecast|Paris", "rain", True, 900'), "it is there for user 'Administrator' only"),
        ],
        "exercise-2": [
            (inside("frappe.cache.delete_value(item)"), "that one looks like 'price_of|tea'"),
            (inside('frappe.cache.delete_keys("")'), "throws everybody's entries away"),
            (inside('frappe.cache.delete_keys("price_of|")'), "The entry of 'coffee' is gone too"),
            (inside('frappe.cache.set_value(f"price_of|{item}", None)'), "delete the key instead"),
            (inside('frappe.cache.expire_key(f"price_of|{item}", 1)'), "an expiry leaves the old answer in the cache"),
            (inside("frappe.cache.delete_value"), "delete_value is only mentioned"),
            (inside('frappe.cache.delete_value("price_of|tea")'), "that one looks like 'price_of|coffee'"),
            (inside('frappe.cache.delete_keys(f"price_of|{item}")'), "delete_keys takes what keys begin with"),
            (
                swap("    prices", '    frappe.cache.delete_value(f"price_of|{item}")\n    prices'),
                "First change, then throw away",
            ),
            (swap("prices[item] = price", 'frappe.cache.delete_value(f"price_of|{item}")'), "did not change the table"),
            (inside("price_of.clear_cache()"), "AttributeError"),
        ],
    },
    "06_redis_cache": {
        "exercise-1": [
            (above("@redis_cache"), "keeps its results for an hour"),
            (above("@redis_cache(ttl=0.5)"), "as seconds, not as minutes"),
            (above("@redis_cache(ttl=None)"), "has no expiry"),
            (above("@redis_cache(ttl=30_000)"), "as seconds, not as milliseconds"),
            (above("@redis_cache(ttl=20)"), "30 seconds are 30 of them"),
            (above("@redis_cache(ttl=30, stale=30)"), "beyond their ttl"),
            (above("from frappe.utils.caching import site_cache\n@site_cache(ttl=30)"), "in this process"),
            (above("@redis_cache(seconds=30)"), "TypeError"),
        ],
        "exercise-2": [
            (inside("author_of.clear_cache"), "without parentheses clear_cache is only mentioned"),
            (inside('frappe.cache.delete_keys("")'), "author_of.clear_cache() forgets this function's results only"),
            (inside("author_of.invalidate"), "invalidate is only mentioned"),
            (inside("author_of.invalidate(author)"), "it takes the same arguments as author_of()"),
            (inside('author_of.invalidate("Emma")'), "still answers 'Bram Stoker'"),
            (swap("    authors", "    author_of.clear_cache()\n    authors"), "First change, then throw away"),
        ],
    },
    "07_sites_users_keys": {
        "exercise-1": [
            (store('"theme", "solarized"'), "it is there for everybody; add user='ben@example.com'"),
            (store('"theme", "light", user=True'), "Under 'theme' of user 'ben@example.com' lies 'light'"),
            (store('"theme", "solarized", user="ben"'), "it is there for user 'ben'"),
            (store('"theme", "solarized", user="ben@example.com"'), "for user 'ben@example.com' only"),
            (
                whole(
                    'frappe.cache.set_value("theme", "light", user="ben@example.com")\n'
                    'frappe.cache.set_value("theme", "solarized")'
                ),
                "that one is there for everybody",
            ),
        ],
        "exercise-2": [
            (store('"opening", "10:00"'), "frappe.init(site) comes first"),
            (
                whole('frappe.init(museum)\nfrappe.cache.set_value("opening", "10:00")'),
                "the current site is still 'museum'",
            ),
            (
                whole('frappe.init("museum")\nfrappe.cache.set_value("opening", "10:00")\nfrappe.init(library)'),
                "the site's full name is in the variable: frappe.init(museum)",
            ),
            (
                whole('frappe.init(museum)\nfrappe.cache.set_value("opening", "10:00")\nfrappe.init("library")'),
                "the site's full name is in the variable: frappe.init(library)",
            ),
        ],
    },
    "08_complex_values": {
        "exercise-1": [
            (store('"report", str(report)'), "that is text; store the dict itself"),
            (store('"report", {"month": "May", "sold": (3, 5, 8)}'), "'sold' is (3, 5, 8), and [3, 5, 8] is wanted"),
            (store('"report", {"sold": [3, 5, 8]}'), "there is no 'month' in it"),
            (store('"report", [3, 5, 8]'), "that is of type list, and dict is wanted"),
            (
                whole(
                    'list(report["sold"])\nreport["sold"] = list(report["sold"])\n'
                    'frappe.cache.set_value("report", report)'
                ),
                "a generator gives its values once",
            ),
            (store('"report", report'), "NotCacheable"),
        ],
        "exercise-2": [
            (whole("answer = pickle.loads(found)"), "pickle.loads would run what is in there"),
            (whole('answer = "time"'), "half of the name"),
            (whole('answer = "os.getcwd"'), "is not what it would call"),
            (whole("answer = read_inertly(found)"), "its name is asked for, in quotes"),
            (whole("answer = str(read_inertly(found))"), "There is more than the name"),
            (whole("import time\nanswer = time.time"), "The answer is a function, not a text"),
        ],
    },
    "09_the_requests_own_cache": {
        "exercise-1": [
            (swap('frappe.cache.get_value("language", use_local_cache=False)', '"English"'), "leave the reading in it"),
            (swap("headline():", "headline(words):"), "TypeError"),
            (swap("return words", "print(words)").then(swap(", use_local_cache=False", "")), "print shows a result"),
            (swap("    return words\n", "").then(swap(", use_local_cache=False", "")), "it ends without a return"),
            (swap('get_value("language", use_local_cache=False)', "get_value"), "never asks the server"),
            (swap("use_local_cache=False", "use_local_cache=true"), "NameError"),
        ],
        "exercise-2": [
            (above("@redis_cache"), "what keeps it on the server is too much"),
            (above("import functools\n@functools.cache"), "what keeps it beyond is too much"),
            (whole("@request_cache\ndef permissions(user):\n    work(1)\n    print('read')\n"), "print shows a result"),
            (above("@request_cache()"), "TypeError"),
            (swap("    work(1)\n", ""), "leave the call of work(...) in it"),
        ],
    },
    "10_the_redis_behind_it": {
        "exercise-1": [
            (last_line('frappe.cache.get_value("report|b")'), "you used 'report|b'; Redis looks at each key by itself"),
            (last_line('frappe.cache.redis.expire(frappe.cache.make_key("report|f"), 60)'), "you used 'report|f'"),
            (last_line('frappe.cache.delete_value("report|b")'), "there was room for one new report, and two came"),
            (last_line('frappe.cache.get_all("report|")'), "so was the rest: use this one only"),
            (last_line('frappe.cache.delete_value("report|a")'), "fill the shelf again"),
        ],
        "exercise-2": [
            (whole('config = BenchConfig("/srv/shop-bench", maxmemory_mb=2, port=13100)'), "not as gigabytes"),
            (whole('config = BenchConfig("/srv/shop-bench", maxmemory_mb=2_097_152, port=13100)'), "not as kilobytes"),
            (whole('config = BenchConfig("/srv/shop-bench", maxmemory_mb=2000, port=13100)'), "a gigabyte is 1024"),
            (whole('config = BenchConfig("/srv/shop-bench", port=13100)'), "so it takes 5 % of the machine's"),
            (whole('config = BenchConfig("/srv/shop-bench", maxmemory_mb=2048)'), "where the first bench does"),
            (
                whole('config = BenchConfig("/srv/shop-bench", maxmemory_mb=2048, port=1310)'),
                "It listens on port 1310.",
            ),
            (
                whole('config = BenchConfig("/srv/shop-bench", maxmemory_mb=2048, port=13100).redis_cache_conf()'),
                "give the object itself",
            ),
        ],
        "exercise-3": [
            (policies("allkeys-lru", "allkeys-lru"), "a job that is evicted is never done"),
            (policies("noeviction", "noeviction"), "stuck with whatever came first"),
            (policies("volatile-lru", "noeviction"), "most of Frappe's have none"),
            (policies("allkeys-lru", "volatile-lru"), "a queue must say when it is full"),
            (policies("lru", "noeviction"), "'lru' is none of the three"),
            (whole('answer = "noeviction"'), "The answer is no dictionary of cache and queue"),
        ],
    },
    "11_cached_cells": {
        "exercise-1": [
            (swap("%%cached words", "%%cached words --ignore log"), "--ignore is about what a cell reads"),
            (swap("%%cached words", "%%cached words --vars log"), "--vars names what is kept, and 'log' cannot be"),
            (swap("%%cached words", "%%cached words --vars wrods"), "what is to be kept is called 'words'"),
            (last_line("log.close()"), "closed or not, 'log' still names it"),
            (swap("%%cached words\n", ""), "The cell that sets 'words' is not under %%cached"),
            (whole('%%cached words\nwords = {"tea": 3, "milk": 4}'), "leave the call of work(...) in it"),
            (last_line("del log, words"), "There is no 'words' after the cell"),
            (swap("%%cached words", "%%cached words --var words"), "The cell has not run"),
            (swap("words = {", "wrods = {"), "there is 'wrods' in it"),
            (last_line('del "log"'), "The last cell under %%cached is no Python"),
            (last_line("del lgo"), "The cell raised NameError"),
        ],
        "exercise-2": [
            (whole("answer = 4"), "the name is asked for, not the value"),
            (whole('answer = "packed()"'), "packed() is what it was, to the letter"),
            (whole('answer = "RATE"'), "'RATE' is what it was: 0.25"),
            (whole('answer = "wrapping"'), "capital letters from small ones"),
            (whole('answer = "TAX"'), "The notebook has no 'TAX'"),
            (whole('answer = "parcel"'), "'parcel' is what the cell makes"),
            (whole('answer = "WRAPPING 3 -> 4"'), "the name alone, as text"),
            (whole("answer = wrapping"), "NameError"),
        ],
        "exercise-3": [
            (swap("%%cached price", "%%cached price --refresh"), "--refresh runs the cell whatever is stored"),
            (swap("%%cached price", "%%cached price --if False"), "--if says when the cell is cached at all"),
            (swap("%%cached price", "%%cached price --version 2"), "of the next change it hears nothing again"),
            (swap("%%cached price", "%%cached price --ttl 60"), "until then the old value is what everybody gets"),
            (swap("%%cached price", "%%cached price --file price.txt"), "the file is called prices.txt"),
            (swap("%%cached price", "%%cached price --files prices.txt"), "The cell has not run"),
            (swap("%%cached price\n", ""), "is not under %%cached"),
        ],
    },
    "12_races_and_stampedes": {
        "exercise-1": [
            (in_order(*WRITER, *READER), "the reader loads after the commit"),
            (in_order(*READER[:2], *WRITER), "'reader stores' is missing"),
            (in_order(*READER[::-1], *WRITER), "'looks' comes first"),
            (in_order(*READER, *WRITER, "reader looks"), "'reader looks' stands there twice"),
            (in_order(*READER, *WRITER, "writer repents"), "There is no step 'writer repents'"),
            (whole('order = "late"'), "write the steps in brackets"),
        ],
        "exercise-2": [
            (guards("log", "log", "log"), "who has lost the lease cannot store"),
            (guards("lease", "lease", "log"), "what they load is old all the same"),
            (guards("lease", "log", "lease"), "a rollback deletes nothing"),
            (guards("lease", "log", "luck"), "'luck' is none of the two"),
            (whole('answer = "lease"'), "The answer is no dictionary of the three races"),
        ],
        "exercise-3": [
            (spares("stale", "stale", "early"), "there is nothing old to hand out yet"),
            (spares("lease", "lease", "early"), "something old could be handed out meanwhile"),
            (spares("lease", "stale", "stale"), "it has to be computed before its time is over"),
            (spares("lease", "stale", "luck"), "'luck' is none of the three"),
            (whole('answer = "lease"'), "The answer is no dictionary of the three complaints"),
        ],
    },
    "13_copies_in_the_process": {
        "exercise-1": [
            (whole("def hears(key):\n    mine.clear()\n"), "drop the copy of that key only"),
            (whole("def hears(key):\n    del mine[key]\n"), "also of those without a copy here"),
            (whole("def hears(key):\n    mine.pop(key, None)\n"), "what changed while the connection was lost"),
            (whole("def hears(key):\n    mine[key] = None\n"), "None was stored"),
            (whole("def hears(key):\n    copies.pop(key, None)\n"), "NameError"),
            (whole("def hears():\n    mine.clear()\n"), "TypeError"),
        ],
        "exercise-2": [
            (whole('answer = "report"'), "each call has other arguments"),
            (whole('answer = "seats_left"'), "a copy may be a moment behind"),
            (whole('answer = "all"'), "'all' is none of the three"),
            (whole('answer = "report(question)"'), "each call has other arguments"),
            (whole("answer = currency"), "NameError"),
        ],
    },
    "14_a_real_bench": {
        "exercise-1": [
            (whole("answer = len(own)"), "the key is asked for, as text"),
            (whole("answer = own[2]"), "without the b, and without the site's part"),
            (whole('answer = "_library|app_hooks"'), "leave out what belongs to the site"),
            (whole('answer = "document_cache::Book::B-0006"'), "in the order of the keys, not of their sizes"),
            (whole('answer = "session"'), "only strings are meant"),
            (whole('answer = "app hooks"'), "This site has no key 'app hooks'"),
        ],
        "exercise-2": [
            (whole("import math\n\nanswer = len(names)"), "is all there are"),
            (whole("answer = sum(frappe.cache.get_expiry(name) == math.inf for name in names)"), "it is the others"),
            (whole("answer = [name for name in names if frappe.cache.get_expiry(name) < math.inf]"), "count them"),
            (whole("answer = 3"), "each key of this site counts once"),
        ],
        "exercise-3": [
            (language_by("frappe.cache.get_value(f'document_cache::User::{user}')['language']"), "is no dictionary"),
            (language_by("frappe.cache.get_value(f'document_cache::User::{user}').language"), "Ask before"),
            (language_by("frappe.cache.get_value(f'document_cache::User::{user}')"), "is the whole document"),
            (language_by("frappe.cache.get_value(f'User::{user}').language"), "nothing lies under that key"),
            (language_by("'en'"), "in the cache stands 'es'"),
            (
                whole(
                    "def cached_language(user):\n"
                    "    document = frappe.cache.get_value(f'document_cache::User::{user}')\n"
                    "    if document:\n"
                    "        print(document.language)\n"
                ),
                "does it return what it found?",
            ),
            (
                whole(
                    "def cached_language(user):\n"
                    "    document = frappe.cache.get_value(f'document_cache::User::{user}')\n"
                    "    frappe.cache.set_value(f'language::{user}', document and document.language)\n"
                    "    return document.language if document else None\n"
                ),
                "on somebody's bench only read",
            ),
        ],
    },
}

# What is done after a wrong answer, for the next one to begin where this one did.
AGAIN = {
    "00_start_here": "frappe.clear_cache()",
    "01_strings": "frappe.clear_cache()",
    "02_hashes": """
frappe.clear_cache()
for field, value in {"name": "Ada", "email": "ada@example.com", "visits": 3}.items():
    frappe.cache.hset("user|ada", field, value)
""",
    "05_invalidation": "frappe.clear_cache()",
    "07_sites_users_keys": """
frappe.init(museum)
frappe.clear_cache()
frappe.init(library)
frappe.clear_cache()
frappe.cache.set_value("opening", "9:00")
frappe.set_user("ben@example.com")
""",
}


@pytest.fixture(autouse=True)
def kernels_find_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


HINT = re.compile(r"^  Hint: (.+)$", re.MULTILINE)
ERROR = re.compile(r"[A-Z]\w*Error|NotCacheable")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("embedded_server")
def test_every_exercise_tells_untouched_wrong_and_solved_apart(name: str) -> None:
    notebook = read(name)
    assert list(WRONG[name]) == [cell.id for cell in tagged(notebook, "exercise")]
    with learner() as pupil:
        for cell in code_cells(notebook):
            untouched = pupil.run(cell.source)
            if "exercise" not in cell.metadata.get("tags", ()):
                continue
            assert untouched == as_text(cell.outputs)
            source, checks = asked_for(notebook, cell)
            before = around(notebook, cell)[0]
            again = before.source if before.cell_type == "code" else AGAIN.get(name)
            own = set()
            for wrong, hint in WRONG[name][cell.id]:
                assert hint not in untouched
                shown = "".join(map(pupil.run, as_cells(wrong(source), checks, cell)))
                assert hint in shown, shown
                assert "✗ " in shown or ERROR.fullmatch(hint), shown
                own.add(tuple(HINT.findall(shown)))
                if again is not None:
                    pupil.run(again)
            assert len(own - {(), tuple(HINT.findall(untouched))}) >= 2, f"{cell.id}: two mistakes, two hints"
            for mistake, error in (("undefined_name", "NameError: "), ("def (:", "SyntaxError: ")):
                shown = pupil.run(as_cells(f"{source.rstrip()}\n{mistake}\n", checks, cell)[0])
                assert error in shown, shown  # the usual traceback, and nothing of a check
                assert "✗" not in shown
                if again is not None:
                    pupil.run(again)
            solved = "".join(map(pupil.run, as_cells(solution_of(notebook, cell), checks, cell)))
            assert "✗" not in solved, solved
            assert solved.count("✓ ") == checks.count("check."), solved
