"""The functions whose results are kept; a module of its own, as a user's would be, that imports nothing heavy."""

from __future__ import annotations

from typing import Any


def price(amount: int, rate: int) -> int:
    """A function that its code alone makes what it is."""
    return amount * rate


def convert(amount: int, rate: float, currency: str) -> str:
    """The same, as it is called with keywords."""
    return f"{amount * rate} {currency}"


def convert_by_default(amount: int, rate: float = 0.25, currency: str = "INR") -> str:
    """A function whose defaults count, too."""
    return f"{amount * rate} {currency}"


def profile(number: int) -> dict[str, Any]:
    """A record of ten fields, as one of a table has them."""
    return {
        "name": f"customer {number}",
        "number": number,
        "limit": number * 1.25,
        "currency": "INR",
        "disabled": False,
        "city": "Mumbai",
        "group": "Commercial",
        "since": "2024-04-01",
        "orders": [number, number + 1, number + 2],
        "note": None,
    }
