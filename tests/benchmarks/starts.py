"""Rows on what `import` and ``%load_ext`` add to the start of a process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Final

from tests.benchmarks.rows import AtMost, AtMostTimes, Row, Setting
from tests.benchmarks.timing import Contender, Field, Missing, NotMeasured

HEAVY: Final = ("matplotlib", "numpy", "pandas", "sqlalchemy")
"""What must not be loaded with it."""

_PYTHON: Final = (sys.executable, "-c")
_IPYTHON: Final = (sys.executable, "-m", "IPython", "--quick", "--no-banner", "--colors=NoColor", "-c")
_OURS: Final = f"import sys; loaded = sorted(set({HEAVY!r}) & set(sys.modules)); assert not loaded, loaded"


def importing(setting: Setting) -> Field:
    """The package alone, as a script's first line."""
    return _over_bare(setting, _PYTHON, "import frappe_cache_ext", ("redis", "dogpile.cache.region", "joblib"))


def using(setting: Setting) -> Field:
    """The package, and what a script uses of it."""
    names = "from frappe_cache_ext import cache, redis_cache"
    return _over_bare(setting, _PYTHON, names, ("redis", "dogpile.cache.region", "joblib"))


def extension(setting: Setting) -> Field:
    """The magics, in IPython."""
    return _over_bare(setting, _IPYTHON, "%load_ext frappe_cache_ext", ("pandas",))


def _over_bare(setting: Setting, command: tuple[str, ...], line: str, peers: tuple[str, ...]) -> Field:
    """What a line costs beyond the start without it, beside the import of others."""
    start = functools.partial(_start, setting, command)
    return Field(
        Contender("ours", functools.partial(start, f"{line}\n{_OURS}")),
        [_peer(module, functools.partial(start, f"import {module}")) for module in peers],
        Contender("the start alone", functools.partial(start, "pass")),
    )


def _peer(module: str, start: functools.partial[None]) -> Contender | Missing:
    try:
        start()
    except NotMeasured as error:
        return Missing(f"import {module}", str(error))
    return Contender(f"import {module}", start)


def _start(setting: Setting, command: tuple[str, ...], code: str) -> None:
    # Compiling is paid once, not at each start; some containers forbid to keep what was compiled.
    environment = os.environ | {"IPYTHONDIR": str(setting.folder / "ipython"), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [*command, code], cwd=setting.folder, env=environment, capture_output=True, text=True, check=False
    )
    # IPython shows an error and goes on.
    if done.returncode or "Error" in done.stdout + done.stderr:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise NotMeasured(f"{code.splitlines()[0]} fails: {''.join(last)}")


ROWS: Final = (
    Row("import", "import frappe_cache_ext, over a bare Python", AtMost(60e-3), importing),
    Row(
        "import-names",
        "the same with cache and redis_cache, ready to be used",
        AtMostTimes(1.5, "import redis"),
        using,
    ),
    Row("load-ext", "%load_ext frappe_cache_ext, over a bare IPython", AtMost(150e-3), extension, rounds=9),
)
