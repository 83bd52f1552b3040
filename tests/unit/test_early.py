"""Computing a value anew before it expires: the draw, what is stored for it, and how often it comes."""

from __future__ import annotations

import itertools
import math
import pickle
import random
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frappe_cache_ext import operations
from frappe_cache_ext.codec import MAGIC, Codec, cost
from frappe_cache_ext.connections import Stats
from frappe_cache_ext.effects import Compute, Outcome, Pipeline, RunScript
from frappe_cache_ext.errors import UnreadableValue
from frappe_cache_ext.operations import loading, results
from frappe_cache_ext.operations.early import seconds_ahead
from frappe_cache_ext.scripts.leases import STORE_UNDER_LEASE, TAKE_LEASE, TAKE_TO_REFRESH

# {"a": 1} that took a quarter of a second, written by the release that first kept what a value cost.
PLAIN = bytes.fromhex("fc46430102000000000000d03f8005950a000000000000007d948c0161944b01732e")
SIGNED = bytes.fromhex(
    "fc4643010384d5639358d5068544e9065479db2b52af6d7ab24e83de1d015c93aa070c0260000000000000d03f"
    "8005950a000000000000007d948c0161944b01732e"
)


class TestTheBytes:
    def test_they_are_what_they_were(self) -> None:
        assert Codec().encode({"a": 1}, b"site|key", cost=0.25) == PLAIN
        assert Codec("secret").encode({"a": 1}, b"site|key", "field", cost=0.25) == SIGNED

    def test_they_are_read(self) -> None:
        assert Codec().decode(PLAIN, b"site|key") == Codec().inspect(PLAIN, b"site|key") == {"a": 1}
        assert Codec("secret").decode(SIGNED, b"site|key", "field") == {"a": 1}
        assert cost(PLAIN) == cost(SIGNED) == 0.25

    def test_without_a_cost_nothing_stands_before_the_pickle(self) -> None:
        assert Codec().encode({"a": 1}, b"site|key") == pickle.dumps({"a": 1}, protocol=5)
        assert cost(pickle.dumps({"a": 1}, protocol=5)) is None
        assert cost(Codec("secret").encode({"a": 1}, b"site|key")) is None

    @given(st.floats(0, allow_nan=False, allow_infinity=False), st.one_of(st.none(), st.text(min_size=1)))
    def test_any_cost_makes_the_round_trip(self, seconds: float, secret: str | None) -> None:
        data = Codec(secret).encode("value", b"name", cost=seconds)
        assert cost(data) == seconds
        assert Codec(secret).decode(data, b"name") == "value"

    @given(st.data())
    def test_it_is_part_of_what_is_signed(self, draw: st.DataObject) -> None:
        position = draw.draw(st.integers(0, len(SIGNED) - 1))
        changed = bytearray(SIGNED)
        changed[position] ^= draw.draw(st.integers(1, 255))
        with pytest.raises(UnreadableValue):
            Codec("secret").decode(bytes(changed), b"site|key", "field")

    def test_a_cost_does_not_stand_for_a_signature(self) -> None:
        with pytest.raises(UnreadableValue, match="not signed"):
            Codec("secret").decode(PLAIN, b"site|key")
        with pytest.raises(UnreadableValue, match="FRAPPE_CACHE_SECRET"):
            Codec().decode(SIGNED, b"site|key", "field")

    @pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
    def test_one_that_cannot_be_is_none(self, seconds: float) -> None:
        data = MAGIC + b"\x01\x02" + struct.pack("<d", seconds) + pickle.dumps(1, protocol=5)
        assert cost(data) is None
        assert Codec().decode(data, b"name") == 1

    @pytest.mark.parametrize("size", range(len(SIGNED)))
    def test_truncated_bytes_are_unreadable_and_have_none(self, size: int) -> None:
        for codec, whole in ((Codec(), PLAIN), (Codec("secret"), SIGNED)):
            if size < len(whole):
                cost(whole[:size])
                with pytest.raises(UnreadableValue):
                    codec.decode(whole[:size], b"site|key", "field")


class TestTheDraw:
    def test_it_is_the_papers_formula(self) -> None:
        # Recompute if time - cost * beta * log(chance) >= expiry, chance from more than 0 to 1.
        for chance in (0.0, 0.1, 0.5, 0.999):
            assert seconds_ahead(3.0, 2.0, lambda chance=chance: chance) == -3.0 * 2.0 * math.log(1 - chance)
        assert seconds_ahead(3.0, 1.0, lambda: 0.0) == 0.0

    @pytest.mark.parametrize(("seconds", "beta"), [(1.0, 1.0), (0.2, 1.0), (1.0, 3.0)])
    def test_the_measured_rate_fits_it(self, seconds: float, beta: float) -> None:
        chance, looks = random.Random(4), 40_000
        drawn = [seconds_ahead(seconds, beta, chance.random) for _ in range(looks)]
        for left in (0.01, 0.1, 0.5, 1.0, 2.0):
            expected = math.exp(-left / (seconds * beta))
            rate = sum(ahead >= left for ahead in drawn) / looks
            assert abs(rate - expected) < 4 * math.sqrt(expected * (1 - expected) / looks) + 1e-9

    @given(st.floats(0, 100), st.floats(0.1, 10), st.floats(0, 1, exclude_max=True))
    def test_a_higher_beta_or_cost_never_comes_later(self, seconds: float, beta: float, chance: float) -> None:
        ahead = seconds_ahead(seconds, beta, lambda: chance)
        assert 0 <= ahead <= seconds_ahead(seconds, beta * 2, lambda: chance)
        assert ahead <= seconds_ahead(seconds * 2, beta, lambda: chance)


class Server:
    """One result on a server whose clock stands still."""

    def __init__(self, left: int, data: bytes) -> None:
        self.left = left
        self.data = data
        self.stored: list[tuple[bytes, int]] = []

    def answer(self, effect: Any) -> Any:
        if isinstance(effect, Compute):
            return Outcome(value=effect.function())
        if isinstance(effect, Pipeline):
            known = {b"generation": Codec().encode("token", b"")}
            return [
                self.left if command[0] == "PTTL" else known.get(command[1], self.data) for command in effect.commands
            ]
        assert isinstance(effect, RunScript)
        if effect.script in (TAKE_LEASE, TAKE_TO_REFRESH):
            return [2]
        self.stored.append((effect.arguments[1], effect.arguments[2]))
        return 1


def look(server: Server, generations: dict[bytes, Any], **options: Any) -> Any:
    scope = operations.Scope(Codec(), Stats(), generations)
    steps = operations.load_result(scope, b"generation", lambda _: b"name", lambda: "new", 10_000, **options)
    effect = next(steps)
    while True:
        try:
            effect = steps.send(server.answer(effect))
        except StopIteration as stop:
            return stop.value


class TestLooks:
    def rate(self, left: int, seconds: float, **options: Any) -> float:
        generations: dict[bytes, Any] = {}
        server = Server(left, Codec().encode("present", b"", cost=seconds))
        looks = 3000
        return sum(look(server, generations, **options) == "new" for _ in range(looks)) / looks

    def test_they_compute_anew_the_more_often_the_nearer_the_expiry(self) -> None:
        random.seed(5)
        rates = [self.rate(left, 1.0, early=1.0) for left in (8000, 3000, 1000, 300, 1)]
        assert rates == sorted(rates)
        for left, rate in zip((8.0, 3.0, 1.0, 0.3, 0.0), rates, strict=True):
            assert abs(rate - math.exp(-left)) < 0.04

    def test_with_old_ones_the_first_expiry_counts(self) -> None:
        random.seed(6)
        assert abs(self.rate(61_000, 1.0, early=1.0, stale=60_000) - math.exp(-1)) < 0.04
        assert self.rate(60_000, 1.0, early=1.0, stale=60_000) == 1

    def test_not_where_nothing_expires_or_the_option_is_off(self) -> None:
        assert self.rate(-1, 1e9, early=1.0) == 0
        assert self.rate(1, 1e9) == self.rate(0, 1e9) == 0
        assert self.rate(2000, 1e9, stale=1000) == 0

    def test_the_cost_is_what_the_function_took(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = itertools.count(0.0, 2.0)
        monkeypatch.setattr(loading, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        missing = Server(-2, b"")
        missing.data = None  # type: ignore[assignment]
        look(missing, {}, early=1.0)
        ((data, expiry),) = missing.stored
        assert cost(data) == 2.0
        assert expiry == 10_000

    def test_what_is_refreshed_replaces_the_entry_with_its_second_expiry(self) -> None:
        server = Server(500, Codec().encode("present", b""))
        assert look(server, {}, stale=1000) == "new"
        assert server.stored == [(Codec().encode("new", b""), 11_000)]
        assert results.REFRESH_UNDER_LEASE is not STORE_UNDER_LEASE
