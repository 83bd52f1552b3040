"""Record the bench of notebook 14: ``python -m tests.suite.record_bench``.

Two sites of a made-up library and a made-up school store what they would cache, in a real Redis of a real bench's
folder; then every key is read back, with its type, its expiry and its bytes. Keys and pickles are as Frappe 15 writes
them (protocol 4, documents under the names of their own classes, which need not be there), and nobody's data is in it.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import pickle
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from unittest import mock

import redis

from frappe_cache_ext.teaching.benches import RECORDED, Bench

SITES: Final = {"library.localhost": "_library", "school.localhost": "_school"}

MINUTE, HOUR, DAY = 60, 60 * 60, 24 * 60 * 60

Stored = tuple[str, Any, int | None]
"""A key without its site's part, its value (a `Hash`, or anything that is pickled), and its expiry in seconds."""


class Hash(dict[str, Any]):
    """The fields of a Redis hash, each of which is pickled by itself."""


def main() -> None:
    """Make the bench, let its sites store, and write the recording."""
    bench = Bench(SITES, maxmemory_mb=64)
    try:
        with redis.Redis.from_url(bench.url) as client:
            store(client, "", of_all_sites())
            store(client, "_library|", of_the_library())
            store(client, "_school|", of_the_school())
            recording = {"sites": SITES, "keys": list(record(client))}
    finally:
        bench.close()
    RECORDED.write_bytes(packed(recording))
    print(f"{len(recording['keys'])} keys, {RECORDED.stat().st_size:,} bytes: {RECORDED.name}")


def packed(recording: Mapping[str, Any]) -> bytes:
    """The recording's file: equal for equal recordings."""
    sink = io.BytesIO()
    with gzip.GzipFile(fileobj=sink, mode="wb", mtime=0, filename="") as file:
        file.write(json.dumps(recording, indent=0).encode())
    return sink.getvalue()


def store(client: redis.Redis, prefix: str, entries: Sequence[Stored]) -> None:
    """Store what a site caches."""
    for key, value, expires_in_sec in entries:
        name = f"{prefix}{key}"
        if isinstance(value, Hash):
            client.hset(name, mapping={field: as_frappe(each) for field, each in value.items()})
        else:
            client.set(name, as_frappe(value))
        if expires_in_sec is not None:
            client.expire(name, expires_in_sec)


def as_frappe(value: Any) -> bytes:
    """The bytes that Frappe stores for a value."""
    with mock.patch.dict(sys.modules, _modules):
        return pickle.dumps(value, protocol=4)


def record(client: redis.Redis) -> Iterator[dict[str, Any]]:
    """Every key of a server, in the order of their names."""
    for name in sorted(client.scan_iter()):
        left, kind = client.pttl(name), client.type(name).decode()
        value: Any
        if kind == "hash":
            value = [[_text(field), _text(each)] for field, each in sorted(client.hgetall(name).items())]
        else:
            value = _text(client.get(name))
        yield {"name": _text(name), "type": kind, "ttl": None if left < 0 else math.ceil(left / 1000), "value": value}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# --- what the sites cache -----------------------------------------------------------------------------------------


_modules: Final[dict[str, types.ModuleType]] = {}
"""The modules in which the documents' classes would be, were Frappe and the library's app installed."""


def document(doctype: str, name: str, package: str, /, **fields: Any) -> Any:
    """A document as Frappe pickles it: an instance of its DocType's own class."""
    scrubbed, short = doctype.replace(" ", "_").lower(), doctype.replace(" ", "")
    path = f"{package}.doctype.{scrubbed}.{scrubbed}"
    if path not in _modules:
        for name_of_module in (path.partition(".")[0], path):  # pickle imports the first before it looks for the last
            _modules[name_of_module] = types.ModuleType(name_of_module)
        setattr(_modules[path], short, type(short, (), {"__module__": path}))
    made = getattr(_modules[path], short)()
    made.__dict__.update({"doctype": doctype, "name": name, "docstatus": 0, "idx": 0} | fields)
    return made


def user(name: str, full_name: str, language: str, *roles: str) -> Any:
    """A User with a row for each of its roles."""
    rows = [
        document("Has Role", f"{name}-{index}", "frappe.core", parent=name, parenttype="User", role=role)
        for index, role in enumerate(roles, 1)
    ]
    return document(
        "User", name, "frappe.core", email=name, enabled=1, full_name=full_name, language=language, roles=rows,
        time_zone="Europe/Madrid", user_type="System User",
    )  # fmt: skip


def books() -> list[Any]:
    """The library's books, with their copies as rows."""
    titles = [
        ("B-0001", "On the Motion of Tides", "Ines Alva", 3),
        ("B-0002", "A Field Guide to Mosses", "Tomas Reuter", 1),
        ("B-0003", "Bread at Home", "Ada Okafor", 4),
        ("B-0004", "The Lighthouse Keeper", "Marek Dunn", 2),
        ("B-0005", "Knots and Splices", "Ines Alva", 2),
        ("B-0006", "Numbers for Evenings", "Yuki Sato", 5),
    ]
    return [
        document(
            "Book", name, "library.catalogue", title=title, author=author,
            copies=[
                document("Book Copy", f"{name}-{number}", "library.catalogue", parent=name, shelf=author[0])
                for number in range(1, count + 1)
            ],
        )
        for name, title, author, count in titles
    ]  # fmt: skip


def result(function: str, call: int, value: Any, ttl: int, of_user: str = "") -> Stored:
    """A result of `@redis_cache`: the number stands for the call's arguments."""
    return f"{f'user:{of_user}:' if of_user else ''}{function}::{call}", value, ttl


def of_all_sites() -> list[Stored]:
    """What belongs to every site of the bench."""
    return [("assets_json", {f"{name}.bundle.js": f"/assets/{name}.7KQ2.js" for name in ("desk", "form", "web")}, None)]


def of_the_library() -> list[Stored]:
    """What the library's site has cached on a morning."""
    anna, ben = "anna@example.com", "ben@example.com"
    people = [
        user("Administrator", "Administrator", "en", "System Manager", "Librarian"),
        user(anna, "Anna Bosch", "es", "Librarian", "Reader"),
        user(ben, "Ben Adler", "de", "Reader"),
    ]
    hooks = {
        f"on_{event}": [f"library.{part}.handlers.{event}" for part in ("loans", "catalogue", "fines", "readers")]
        for event in ("login", "logout", "update", "trash", "submit", "cancel", "rename", "import", "print", "session")
    }
    boot = {
        name: {"user": name, "lang": language, "home_page": "library", "modules": ["Catalogue", "Loans", "Fines"]}
        for name, language in ((anna, "es"), (ben, "de"))
    }
    return [
        ("all_apps", ["frappe", "library"], None),
        ("active_domains", [], None),
        ("app_hooks", hooks, None),
        ("bootinfo", Hash(boot), None),
        ("defaults", Hash({"__default": {"country": "Spain", "currency": "EUR"}, anna: {"branch": "North"}}), None),
        ("doctype:count:Loan", 318, DAY),
        ("document_cache::DocType::Book", document(
            "DocType", "Book", "frappe.core", module="Catalogue", fields=[
                document("DocField", f"book-{field}", "frappe.core", parent="Book", fieldname=field, fieldtype=kind)
                for field, kind in (("title", "Data"), ("author", "Data"), ("copies", "Table"))
            ]), None),
        ("document_cache::System Settings::System Settings", document(
            "System Settings", "System Settings", "frappe.core", country="Spain", language="es",
            date_format="dd.mm.yyyy", float_precision="3", session_expiry="240:00"), None),
        *((f"document_cache::Book::{each.name}", each, None) for each in books()),
        *((f"document_cache::User::{each.name}", each, None) for each in people),
        result("library.loans.overdue", -2519467202716420834, [("B-0003", ben, 9), ("B-0006", anna, 2)], HOUR),
        result("library.loans.overdue", 7709218338152463111, [], HOUR),
        result("library.catalogue.most_read", 4185203371120895513, ["B-0006", "B-0003", "B-0001"], 12 * HOUR),
        result("library.loans.mine", 1187034421906652381, ["B-0006"], 10 * MINUTE, anna),
        result("library.loans.mine", 1187034421906652381, ["B-0003"], 10 * MINUTE, ben),
        ("metadata_version", "f3a91c20d7", None),
        ("session", Hash({
            "5f0c2a71d9e84b63a1f7c0d2": {"user": anna, "lang": "es", "last_updated": "2026-05-04 08:41:12"},
            "c9b1e07743fa4d58b2e6aa10": {"user": ben, "lang": "de", "last_updated": "2026-05-04 08:55:30"},
        }), None),
        (f"user:{anna}:has_role:Report", {"Overdue Loans": {"title": "Overdue Loans"}}, 6 * HOUR),
        (f"user:{ben}:has_role:Report", {}, 6 * HOUR),
    ]  # fmt: skip


def of_the_school() -> list[Stored]:
    """What the school's site has cached on the same Redis."""
    return [
        ("all_apps", ["frappe", "school"], None),
        ("document_cache::User::carla@example.com", user("carla@example.com", "Carla Nunes", "pt", "Teacher"), None),
        result("school.timetable.today", 2210439958120047719, {"08:00": "Maths", "09:00": "Music"}, HOUR),
    ]


if __name__ == "__main__":
    main()
