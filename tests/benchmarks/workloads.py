"""What the measured cells and functions compute; a module of its own, as a user's would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def summary(orders: list[tuple[int, float]], number: int) -> tuple[float, str]:
    """What the small cell computes, as a function, for caches of function calls."""
    total = sum(amount * price for amount, price in orders)
    return total, f"order {number}: {total:,.2f}"


def make_array(size: int, number: int) -> Any:
    """An array of `size` bytes, cheap to make: what a cache does with it has to show beside that."""
    return np.full(size // 8, float(number))


def make_frame(rows: int, number: int) -> Any:
    """A frame of integers, floats and two categories."""
    position = np.arange(rows)
    return pd.DataFrame(
        {
            "amount": position + number,
            "rate": position * 0.25,
            "colour": pd.Categorical.from_codes(position % 4, ["amber", "blue", "green", "red"]),
            "size": pd.Categorical.from_codes(position % 3, ["large", "medium", "small"]),
        }
    )
