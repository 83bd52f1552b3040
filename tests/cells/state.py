"""What a kernel's notebook holds, written down inside the kernel so that two kernels can be compared.

Every value is described, and beside the values, which objects several names share, which arrays share memory, and the
state of the process that belongs to no name.
"""

from __future__ import annotations

import collections
import decimal
import itertools
import json
import os
import random
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from IPython.core.getipython import get_ipython

from tests.cells.description import Description, summary_of

# What IPython keeps for itself: the text of cells (which the magic's own line changes) and results that `Out` has, too.
IPYTHONS = re.compile(r"_i+|_i?\d+|_[iod]h|In|exit|quit|open|get_ipython|frappe|__\w+__")


def snapshot(shown: int) -> str:
    """The notebook's names, what they share, and the state that belongs to no name, as JSON.

    Args:
        shown: how much of each description is given as text, in characters.
    """
    shell = get_ipython()
    assert shell is not None
    namespace = shell.user_ns
    hidden = {name for name, value in shell.user_ns_hidden.items() if namespace.get(name) is value} - {"_", "__", "___"}
    names = sorted(name for name in namespace if name not in hidden and not IPYTHONS.fullmatch(name))
    described = {name: Description(namespace) for name in [*names, "Out"]}
    for name, description in described.items():
        description.add(namespace[name], name)
    return json.dumps(
        {
            "names": {name: description.summary(shown) for name, description in described.items()},
            "sharing": sharing(described.values()) + shared_memory(described.values()),
            "states": {name: summary_of(text, shown) for name, text in states(namespace).items()},
        }
    )


def sharing(described: Iterable[Description]) -> list[list[str]]:
    """The paths that lead to one and the same object from several names."""
    paths = collections.defaultdict(list)
    for description in described:
        for identity, path in description.objects.items():
            paths[identity].append(path)
    return sorted(found for found in paths.values() if len(found) > 1)


def shared_memory(described: Iterable[Description]) -> list[list[str]]:
    """The pairs of arrays that share memory, and how far apart they begin in it."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return []
    found = []
    arrays = [array for description in described for array in description.arrays]
    for (path, one), (other_path, other) in itertools.combinations(arrays, 2):
        of_frames = path.startswith("values of ") and other_path.startswith("values of ")
        if one is not other and not of_frames and numpy.shares_memory(one, other):
            apart = other.__array_interface__["data"][0] - one.__array_interface__["data"][0]
            found.append([path, other_path, f"memory, {apart} bytes apart"])
    return sorted(found)


def states(namespace: Mapping[str, Any]) -> dict[str, str]:
    """State of the process that cells change without a name of the notebook for it."""
    values: dict[str, Any] = {
        "random": random.getstate(),
        "os.environ": {name: value for name, value in os.environ.items() if not name.startswith("JPY_")},
        "directory": Path.cwd().name,  # the folders of two runs lie in different places and have the same name
        "sys.path": list(sys.path),
        "decimal": repr(decimal.getcontext()),
        "warnings": [repr(entry) for entry in warnings.filters],
    }
    if numpy := sys.modules.get("numpy"):
        values["numpy.random"] = numpy.random.get_state()
        values["numpy printing"] = [numpy.get_printoptions(), numpy.geterr()]
    if pandas := sys.modules.get("pandas"):
        shown = ("max_rows", "max_columns", "precision", "width", "max_colwidth")
        values["pandas options"] = [pandas.get_option(f"display.{name}") for name in shown]
    if (matplotlib := sys.modules.get("matplotlib")) and (pyplot := sys.modules.get("matplotlib.pyplot")):
        # They come out sorted, whatever the order in which they were set.
        values["rcParams"] = {name: repr(value) for name, value in matplotlib.rcParams.items() if name != "backend"}
        values["open figures"] = pyplot.get_fignums()
    texts = {}
    for name, value in values.items():
        description = Description(namespace)
        description.add(value, name)
        texts[name] = "".join(description.parts)
    return texts
