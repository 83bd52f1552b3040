"""When to compute a value anew before it expires."""

from __future__ import annotations

import math
import random
from collections.abc import Callable


def seconds_ahead(cost: float, beta: float, chance: Callable[[], float] = random.random) -> float:
    """How many seconds before a value's expiry this look at it would have it computed anew: XFetch's draw.

    A look at time ``t`` recomputes if ``t - cost * beta * log(chance()) >= expiry``, so of many independent looks at a
    value with ``left`` seconds to go each does so with probability ``exp(-left / (cost * beta))``: seldom long before
    the expiry, and the sooner the longer the value takes to compute. No look knows of another.

    Source: Vattani, Chierichetti and Lowenstein, *Optimal Probabilistic Cache Stampede Prevention*, PVLDB 8(8), 2015,
    figure 2; they prove ``beta = 1`` optimal.

    Args:
        cost: the seconds that the value took to compute.
        beta: more than 1 favours earlier recomputing, less than 1 later.
        chance: draws a number from 0 to less than 1.
    """
    return -cost * beta * math.log(1.0 - chance())  # of 1 - chance: the logarithm of 0 is no number
