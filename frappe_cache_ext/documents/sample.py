"""A site to learn with: settings, users, items and orders, the same on every machine."""

from __future__ import annotations

import datetime
import random
from collections.abc import Mapping
from typing import Final

from sqlalchemy import select

from .. import context
from ..context import current_settings
from ..settings import Settings
from .document import Document, new_doc
from .rows import locked
from .schema import define_doctype, get_doctype, table_of
from .singles import read_single
from .tables import DOCTYPE
from .transactions import Transaction, current_transaction

SAMPLE_SITE: Final = "sample.localhost"
ITEMS: Final = 150
ORDERS: Final = 120

SYSTEM_SETTINGS: Final = {
    "app_name": "Frappe",
    "country": "India",
    "language": "en",
    "time_zone": "Asia/Kolkata",
    "date_format": "yyyy-mm-dd",
    "time_format": "HH:mm:ss",
    "number_format": "#,###.##",
    "currency_precision": "2",
    "float_precision": "3",
    "first_day_of_the_week": "Sunday",
    "session_expiry": "170:00",
    "enable_scheduler": 1,
    "setup_complete": 1,
    "backup_limit": 3,
    "minimum_password_score": "2",
}
_CHECKS: Final = ("enable_scheduler", "setup_complete")
_NAMES: Final = (
    *("Anna Müller", "Bob Stone", "Chen Wei", "Divya Rao", "Elena Rossi", "Farid Khan", "Grace Okafor"),
    *("Hiro Tanaka", "Ines Duarte", "Jonas Berg", "Kavita Shah", "Luis Ortega"),
)
_ROLES: Final = ("System Manager", "Sales User", "Sales Manager", "Stock User", "Accounts User")
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "Chairs": ("Chair", "Stool", "Bench"),
    "Tables": ("Table", "Desk", "Counter"),
    "Lamps": ("Lamp", "Lantern", "Spot"),
    "Storage": ("Shelf", "Cabinet", "Chest"),
    "Tools": ("Hammer", "Saw", "Plane"),
}
_COLORS: Final = ("Red", "Blue", "Green", "White", "Black", "Grey", "Yellow")
_WOODS: Final = ("Oak", "Ash", "Pine", "Walnut", "Birch", "Teak")
_CUSTOMERS: Final = (
    *("Alder & Sons", "Blue Door Café", "City Library", "Dune Hotels", "East Side School"),
    *("Fern Clinic", "Grand Cinema", "Harbour Office", "Iris Florists", "Juniper Inn"),
)
_STATUSES: Final = ("Draft", "To Deliver", "To Bill", "Completed", "Closed")
_KEPT: Final = ("url", "secret", "database_url", "document_ttl", "strict", "home")
_FIRST_DAY: Final = datetime.date(2026, 1, 5)


def sample_site(site: str = SAMPLE_SITE) -> Settings:
    """Work for a site with documents to try things on; it gets them on first use.

    It has the single DocType System Settings, and User (with Has Role), Item and Sales Order (with Sales Order Item).
    The cache server, the folders and the database URL are those of the current site; without a database URL the sample
    has an SQLite file of its own.

    Example::

        frappe.sample_site()
        frappe.get_cached_doc("System Settings").time_zone

    Args:
        site: the site's name.

    Returns:
        The site's settings.

    Raises:
        DatabaseUnavailable: the database cannot be reached.
        InReadOnlyMode: it is a Frappe site's.
    """
    now = current_settings()
    kept = {name: getattr(now, name) for name in _KEPT}
    settings = context.init(site, **{name: value for name, value in kept.items() if value is not None})
    transaction = current_transaction()
    if not _is_there(transaction):
        _define()
        _fill(transaction)
    transaction.end_reading()
    return settings


def _is_there(transaction: Transaction) -> bool:
    """Whether the site was filled: System Settings come last, in the same transaction as everything else."""
    names = transaction.execute(select(DOCTYPE.c.name).where(DOCTYPE.c.name == "System Settings")).scalars().all()
    return bool(names) and bool(read_single(transaction, get_doctype(transaction, "System Settings")))


def _define() -> None:
    current_transaction().rollback()
    define_doctype(
        "System Settings",
        {name: _settings_type(name) for name in SYSTEM_SETTINGS},
        single=True,
    )
    define_doctype("Has Role", {"role": {"fieldtype": "Data", "reqd": True}}, istable=True)
    define_doctype(
        "User",
        {
            "email": {"fieldtype": "Data", "reqd": True, "unique": True},
            "full_name": "Data",
            "enabled": {"fieldtype": "Check", "default": "1"},
            "language": {"fieldtype": "Data", "default": "en"},
            "time_zone": "Data",
            "last_login": "Datetime",
            "roles": ("Table", "Has Role"),
        },
        autoname="field:email",
    )
    define_doctype(
        "Item",
        {
            "item_name": {"fieldtype": "Data", "reqd": True},
            "item_group": "Data",
            "rate": "Currency",
            "description": "Small Text",
            "disabled": "Check",
        },
        autoname="ITEM-.####",
    )
    define_doctype(
        "Sales Order Item",
        {"item": ("Link", "Item"), "qty": "Int", "rate": "Currency", "amount": "Currency"},
        istable=True,
    )
    define_doctype(
        "Sales Order",
        {
            "customer": {"fieldtype": "Data", "reqd": True},
            "transaction_date": "Date",
            "status": {"fieldtype": "Data", "default": "Draft"},
            "grand_total": "Currency",
            "items": ("Table", "Sales Order Item"),
        },
        autoname="SO-.#####",
    )


def _settings_type(name: str) -> str:
    if name in _CHECKS:
        return "Check"
    return "Int" if isinstance(SYSTEM_SETTINGS[name], int) else "Data"


def _fill(transaction: Transaction) -> None:
    """Insert the documents, unless somebody else has by the time that this is our turn."""
    settings = get_doctype(transaction, "System Settings")
    try:
        if read_single(transaction, settings, for_update=True):
            transaction.rollback()
            return
        users = table_of(transaction, get_doctype(transaction, "User"))
        if not locked(transaction, select(users.c.name).limit(1)):
            _insert_documents(random.Random(2026))  # noqa: S311  (the same everywhere; nothing of it is secret)
        new_doc("System Settings", **SYSTEM_SETTINGS).insert()
        transaction.commit()
    except BaseException:
        transaction.rollback()
        raise


def _insert_documents(chance: random.Random) -> None:
    for number, name in enumerate(_NAMES):
        first = name.split()[0].lower()
        user = new_doc(
            "User",
            email=f"{first}@example.com",
            full_name=name,
            enabled=number % 6 != 5,
            time_zone=chance.choice(("Asia/Kolkata", "Europe/Berlin", "America/Lima")),
            last_login=datetime.datetime.combine(_FIRST_DAY, datetime.time(9)) + datetime.timedelta(hours=number * 7),
        )
        user.extend("roles", [{"role": role} for role in sorted(chance.sample(_ROLES, chance.randint(1, 3)))])
        user.insert()
    items = [_insert_item(chance) for _ in range(ITEMS)]
    for number in range(ORDERS):
        _insert_order(chance, number, items)


def _insert_item(chance: random.Random) -> Document:
    group = chance.choice(list(_GROUPS))
    kind, color, wood = chance.choice(_GROUPS[group]), chance.choice(_COLORS), chance.choice(_WOODS)
    return new_doc(
        "Item",
        item_name=f"{color} {wood} {kind}",
        item_group=group,
        rate=chance.randrange(500, 50_000) / 100,
        description=f"A {kind.lower()} of {wood.lower()}, painted {color.lower()}.",
    ).insert()


def _insert_order(chance: random.Random, number: int, items: list[Document]) -> None:
    order = new_doc(
        "Sales Order",
        customer=chance.choice(_CUSTOMERS),
        transaction_date=_FIRST_DAY + datetime.timedelta(days=number),
        status=chance.choice(_STATUSES),
    )
    for item in chance.sample(items, chance.randint(2, 5)):
        qty = chance.randint(1, 12)
        order.append("items", {"item": item.name, "qty": qty, "rate": item.rate, "amount": round(qty * item.rate, 2)})
    order.grand_total = round(sum(row.amount for row in order.items), 2)
    order.insert()
