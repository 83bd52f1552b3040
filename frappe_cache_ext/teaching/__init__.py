"""What the notebooks of the teaching suite use: a cache of their own, timings with a picture, exercises with hints.

Example, the first cell of a notebook::

    %load_ext frappe_cache_ext
    from frappe_cache_ext.teaching import check, start, timing, work

    start("01 strings")
"""

from __future__ import annotations

from . import checks as check
from . import timing
from .lesson import make_sites, start, work
from .shell import predict

__all__ = ["check", "make_sites", "predict", "start", "timing", "work"]
