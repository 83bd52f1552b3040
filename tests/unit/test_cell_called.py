"""Which code behind a function counts when it is cached."""

from __future__ import annotations

from typing import Any

import pytest

from frappe_cache_ext.cells.called import Called

SOURCE = """
LIMIT = 3
calls = []
def inner(x):
    return x * LIMIT
class Scale:
    def by(self, x):
        return inner(x)
def outer(x):
    global total
    total = x
    calls.append(x)
    return Scale().by(x)
"""


def names(source: str = SOURCE) -> dict[str, Any]:
    made: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<cell>", "exec"), made)
    return made


@pytest.mark.parametrize(
    ("old", "new"), [("x * LIMIT", "x + LIMIT"), ("LIMIT = 3", "LIMIT = 4"), ("inner(x)\n", "inner(x) + 1\n")]
)
def test_helpers_their_helpers_and_constants_count(old: str, new: str) -> None:
    one, other = names(), names(SOURCE.replace(old, new))
    assert Called(one["outer"]).digest() == Called(names()["outer"]).digest()
    assert Called(one["outer"]).digest() != Called(other["outer"]).digest()


def test_a_helper_that_is_defined_anew_is_noticed() -> None:
    here = names()
    called = Called(here["outer"])
    before = called.digest()
    assert called.digest() == before
    here["inner"] = names(SOURCE.replace("x * LIMIT", "x - LIMIT"))["inner"]
    assert called.digest() != before


def test_data_and_what_the_function_sets_do_not_count() -> None:
    here = names()
    called = Called(here["outer"])
    before = called.digest()
    here["outer"](2)
    assert (here["calls"], here["total"]) == ([2], 2)
    assert called.digest() == before


class Proxy:
    """What stands for an object that is not there yet, as of a request."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"asked for {name}")

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("asked for its class")


def test_a_proxy_is_not_asked_what_it_stands_for() -> None:
    here = names(SOURCE.replace("by(x)", "by(x) if request is None else request.path"))
    here["request"] = Proxy()
    called = Called(here["outer"])
    assert called.digest() == called.digest()
    here["request"] = None
    assert called.digest() != Called(names()["outer"]).digest()


class Wrapper:
    """What a decorator leaves in a function's place; it computes what is behind it, as those of C do."""

    def __init__(self, function: Any) -> None:
        self.function = function

    @property
    def __wrapped__(self) -> Any:
        if self.function is None:
            raise RuntimeError("nothing is behind it")
        return self.function


def test_what_is_behind_a_wrapper_counts() -> None:
    one, again, other = names(), names(), names(SOURCE.replace("x * LIMIT", "x - LIMIT"))
    for here in (one, again, other):
        here["inner"] = Wrapper(here["inner"])
    digests = [Called(here["outer"]).digest() for here in (one, again, other)]
    assert digests[0] == digests[1] != digests[2]
    one["inner"] = Wrapper(None)
    assert Called(one["outer"]).digest() not in digests


OWN_PROPERTY = """
class kept:
    def __init__(self, fget):
        self.fget = fget
    def __get__(self, instance, owner):
        return self.fget(owner)
class Shop:
    @{kind}
    def tax(cls=None):
        return 2
def outer():
    return Shop.tax
"""


@pytest.mark.parametrize("kind", ["kept", "property", "classmethod", "staticmethod"])
def test_what_is_behind_a_member_of_a_class_counts(kind: str) -> None:
    source = OWN_PROPERTY.format(kind=kind)
    one, again, other = (Called(names(each)["outer"]).digest() for each in (source, source, source.replace("2", "3")))
    assert one == again != other
