"""Values to bytes and back, with and without a secret."""

from __future__ import annotations

import base64
import datetime
import decimal
import gzip
import json
import pickle
import pickletools
import sys
import threading
import uuid
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frappe_cache_ext.codec import MAGIC, Codec, hold, is_immutable
from frappe_cache_ext.errors import NotCacheable, UnreadableValue
from frappe_cache_ext.stand_ins import DocStatus, StandIn, _dict, read_inertly
from tests.support import run_python

RECORDED = Path(__file__).parent.parent / "data" / "frappe-15-cache.json.gz"

atoms = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.decimals(allow_nan=False),
    st.text(), st.binary(),
    st.datetimes(), st.dates(), st.timedeltas(), st.uuids(), st.complex_numbers(allow_nan=False),
)  # fmt: skip
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner),
        st.frozensets(st.one_of(st.text(), st.integers())),
    ),
    max_leaves=20,
)


@given(values, st.binary(max_size=20), st.text(max_size=10), st.one_of(st.none(), st.text(min_size=1)))
def test_any_picklable_value_makes_the_round_trip(value: Any, name: bytes, field: str, secret: str | None) -> None:
    codec = Codec(secret)
    data = codec.encode(value, name, field)
    assert codec.decode(data, name, field) == value
    assert codec.inspect(data, name, field) == value


@given(values)
def test_without_a_secret_the_bytes_are_what_frappe_writes(value: Any) -> None:
    assert Codec().encode(value, b"name") == pickle.dumps(value, protocol=5)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_being_unreadable(data: bytes) -> None:
    for codec in (Codec(), Codec("secret")):
        try:
            codec.inspect(data, b"name")
        except UnreadableValue:
            continue


class TestSignature:
    signed = Codec("secret")

    @given(values, st.binary(min_size=1, max_size=20))
    def test_it_is_good_for_one_key_only(self, value: Any, other: bytes) -> None:
        data = self.signed.encode(value, b"name", "field")
        for name, field in ((b"name" + other, "field"), (b"name", "field2"), (b"namefield", ""), (b"", "namefield")):
            with pytest.raises(UnreadableValue, match="signature"):
                self.signed.decode(data, name, field)

    @given(values, st.data())
    def test_one_changed_byte_breaks_it(self, value: Any, draw: st.DataObject) -> None:
        data = bytearray(self.signed.encode(value, b"name"))
        position = draw.draw(st.integers(0, len(data) - 1))
        data[position] ^= draw.draw(st.integers(1, 255))
        with pytest.raises(UnreadableValue):
            self.signed.decode(bytes(data), b"name")

    def test_unsigned_bytes_are_not_unpickled(self) -> None:
        with pytest.raises(UnreadableValue, match="not signed"):
            self.signed.decode(pickle.dumps(Explosive()), b"name")
        forged = MAGIC + bytes((1, 1)) + b"x" * 32 + pickle.dumps(Explosive())
        with pytest.raises(UnreadableValue, match="signature"):
            self.signed.decode(forged, b"name")

    def test_another_secret_or_none_does_not_read_it(self) -> None:
        data = self.signed.encode(1, b"name")
        with pytest.raises(UnreadableValue, match="signature"):
            Codec("other").decode(data, b"name")
        with pytest.raises(UnreadableValue, match="FRAPPE_CACHE_SECRET"):
            Codec().decode(data, b"name")

    def test_the_secret_is_not_shown(self) -> None:
        assert "my-own" not in repr(Codec("my-own-secret"))

    @pytest.mark.parametrize("header", [b"\xfcFC", b"\xfcFC\x02\x00", b"\xfcFC\x01\x80", b"\xfcFC\x01\x00"])
    def test_a_header_of_the_future_is_said_to_be_one(self, header: bytes) -> None:
        with pytest.raises(UnreadableValue, match="newer release"):
            self.signed.decode(header + b"x" * 50, b"name")


class Explosive:
    """Calls a function of its pickle's choice when unpickled."""

    def __reduce__(self) -> Any:
        return explode, ()


def explode() -> None:
    raise AssertionError("it was unpickled")


class Local:
    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


class TestNotCacheable:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (threading.Lock(), r"^value: _thread.lock$"),
            ({"conn": threading.Lock()}, r"^value\['conn'\]: _thread.lock$"),
            ([1, (2, {"a": threading.Lock()})], r"^value\[1\]\[1\]\['a'\]: _thread.lock$"),
            (Local(inner=Local(lock=threading.Lock())), r"^value.inner.lock: _thread.lock$"),
            ({"f": lambda: 1}, r"^value\['f'\]: function .*<lambda>$"),
            ((number for number in ()), r"^value: generator .*genexpr"),
            (sys, "^value: module"),
        ],
    )
    def test_it_names_the_offending_part(self, value: Any, message: str) -> None:
        with pytest.raises(NotCacheable, match=message):
            Codec().encode(value, b"name")

    def test_the_root_is_called_as_the_caller_says(self) -> None:
        with pytest.raises(NotCacheable, match=r"^result\['conn'\]") as caught:
            Codec().encode({"conn": threading.Lock()}, b"name", root="result")
        assert (caught.value.path, caught.value.reason) == ("result['conn']", "_thread.lock")
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (copy.path, copy.reason) == ("result['conn']", "_thread.lock")

    def test_what_is_nested_too_deeply(self) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(NotCacheable, match="too deeply"):
            Codec().encode(deep, b"name")

    def test_what_contains_itself_and_a_lock(self) -> None:
        loop: dict[str, Any] = {"lock": threading.Lock()}
        loop["self"] = loop
        with pytest.raises(NotCacheable, match=r"_thread\.lock"):
            Codec().encode(loop, b"name")

    def test_an_error_in_the_values_own_code(self) -> None:
        class Rude:
            def __reduce__(self) -> Any:
                raise RuntimeError("no")

        with pytest.raises(NotCacheable, match="Rude"):
            Codec().encode(Rude(), b"name")


class TestFrappesBytes:
    """204 entries that a Frappe 15.44 site wrote, read where no Frappe is installed."""

    recorded: Any = json.loads(gzip.decompress(RECORDED.read_bytes()))

    def bodies(self) -> list[tuple[str, bytes]]:
        found = []
        for entry in self.recorded["keys"]:
            if entry["type"] == "string":
                found.append((entry["key_text"], base64.b64decode(entry["value"])))
            elif entry["type"] == "hash":
                found += [(entry["key_text"], base64.b64decode(data)) for _, data in entry["value"]]
        return found

    def test_every_one_is_read_and_equals_the_inert_reading(self) -> None:
        assert len(self.bodies()) == 302
        for name, data in self.bodies():
            assert Codec().decode(data, b"") == Codec().inspect(data, b""), name

    def test_plain_values_are_what_frappe_read(self) -> None:
        types = {"frappe._dict": _dict, "frappe.model.docstatus.DocStatus": DocStatus}
        checked = 0
        for name, data in self.bodies():
            expected = self.recorded["expected"].get(name, {})
            if set(expected) != {"type", "repr"} or "todo" in expected["type"]:
                continue
            value = Codec().decode(data, b"")
            module, _, kind = expected["type"].rpartition(".")
            assert type(value) is types.get(expected["type"], type(value))
            assert (type(value).__module__, type(value).__name__) == (module, kind)
            # How an OrderedDict is written changed with Python 3.12.
            shown = f"OrderedDict({list(value.items())})" if isinstance(value, OrderedDict) else repr(value)
            assert shown[:400] == expected["repr"][:400]
            checked += 1
        assert checked == 34

    def test_documents_are_stand_ins_with_their_fields(self) -> None:
        document = next(
            Codec().decode(data, b"")
            for name, data in self.bodies()
            if name.endswith("document_cache::Tag::golden-tag")
        )
        assert isinstance(document, StandIn)
        assert document.stand_in_for == "frappe.desk.doctype.tag.tag.Tag"
        assert document.name == "golden-tag"  # type: ignore[attr-defined]
        assert document.as_dict()["doctype"] == "Tag"

    def test_they_can_be_written_again(self) -> None:
        for name, data in self.bodies():
            value = Codec().decode(data, b"")
            again = Codec().encode(value, b"")
            assert Codec().decode(again, b"") == value, name
            assert _globals(again) <= _globals(data) | {"copyreg __newobj_ex__"}, name

    def test_nothing_is_imported_by_reading(self) -> None:
        code = """
import sys
from pathlib import Path
from frappe_cache_ext.codec import Codec
import gzip, json, base64
recorded = json.loads(gzip.decompress(Path(sys.argv[1]).read_bytes()))
before = set(sys.modules)
for entry in recorded["keys"]:
    if entry["type"] == "string":
        Codec().inspect(base64.b64decode(entry["value"]), b"")
        Codec().decode(base64.b64decode(entry["value"]), b"")
print(sorted(set(sys.modules) - before))
"""
        assert run_python(code, str(RECORDED)).strip() == "[]"


def _globals(data: bytes) -> set[str]:
    names, found = [], set()
    for opcode, argument, _ in pickletools.genops(data):
        if "UNICODE" in opcode.name:
            names.append(argument)
        elif opcode.name == "STACK_GLOBAL" and len(names) > 1:
            found.add(" ".join(names[-2:]))
    return {name for name in found if name.startswith("frappe")}


class TestInertReading:
    def test_nothing_is_run(self) -> None:
        found = read_inertly(pickle.dumps([Explosive(), {"a": print}]))
        assert repr(found[0]) == "<tests.unit.test_codec.explode ()>"
        assert found[1]["a"].stand_in_for == "builtins.print"

    @pytest.mark.parametrize(
        "payload",
        [
            b"cos\nsystem\n(S'false'\ntR.",
            b"cbuiltins\neval\n(S'1/0'\ntR.",
            b"cbuiltins\ngetattr\n(cbuiltins\nobject\nS'__subclasses__'\ntR.",
            b"c__main__\nx\n.",
            b"(S'false'\nios\nsystem\n.",
            b"\x80\x02cfrappe_cache_ext.server\nstart\nU\x04/tmp\x85R.",
        ],
    )
    def test_attacks_become_stand_ins(self, payload: bytes) -> None:
        found = read_inertly(payload)
        assert isinstance(found, StandIn) or (isinstance(found, type) and issubclass(found, StandIn))

    def test_plain_types_are_real(self) -> None:
        value = {
            "a": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
            "b": decimal.Decimal("1.5"),
            "c": uuid.UUID(int=1),
            "d": OrderedDict(a=1),
            "e": defaultdict(list, a=[1]),
            "f": {1, 2},
            "g": 10**40,
        }
        assert read_inertly(pickle.dumps(value)) == value

    def test_lists_and_dictionaries_of_strange_classes_keep_their_items(self) -> None:
        class Kept(list[int]):
            pass

        Kept.__module__, Kept.__qualname__ = "erp", "Kept"
        module = type(sys)("erp")
        module.Kept = Kept  # type: ignore[attr-defined]
        sys.modules["erp"] = module
        try:
            data = pickle.dumps(Kept([1, 2]))
        finally:
            del sys.modules["erp"]
        assert repr(read_inertly(data)) == "<erp.Kept (1, 2)>"
        assert read_inertly(Codec().encode(read_inertly(data), b"")) == read_inertly(data)


class TestDict:
    def test_keys_are_attributes(self) -> None:
        value = _dict(a=1)
        value.b = 2
        assert (value.a, value.b, value.missing, dict(value)) == (1, 2, None, {"a": 1, "b": 2})
        del value.b
        assert value == {"a": 1}
        assert type(value.copy()) is _dict

    def test_on_the_wire_it_is_frappes(self) -> None:
        assert b"\x8c\x06frappe\x94\x8c\x05_dict" in Codec().encode(_dict(a=1), b"")
        assert Codec().decode(Codec().encode([_dict(a=1)], b""), b"") == [{"a": 1}]

    def test_frappe_16_calls_it_otherwise(self) -> None:
        data = Codec().encode(_dict(a=1), b"").replace(b"\x8c\x06frappe", b"\x8c\x17frappe.types.frappedict")
        assert type(read_inertly(_reframed(data))) is _dict


def _reframed(data: bytes) -> bytes:
    """A pickle whose frame's length was spoiled by an edit, without its frame."""
    start = data.index(b"\x95")
    return data[:start] + data[start + 9 :]


class TestHolding:
    @pytest.mark.parametrize("value", [None, 1, "a", b"a", (1, ("a",)), frozenset({1}), datetime.date(2026, 1, 1)])
    def test_what_cannot_change_is_held_as_it_is(self, value: Any) -> None:
        assert is_immutable(value)
        assert hold(value, b"", float("inf")).value() is value

    @pytest.mark.parametrize("value", [[], {}, set(), bytearray(), ([],), Local(), {"a": 1}])
    def test_what_can_change_is_copied(self, value: Any) -> None:
        assert not is_immutable(value)
        held = hold(value, pickle.dumps(value), float("inf"))
        assert held.value() is not held.value()

    def test_subclasses_can_carry_attributes(self) -> None:
        class Text(str):
            pass

        assert not is_immutable(Text("a"))

    def test_a_deadline(self) -> None:
        assert hold(1, b"", float("inf")).alive
        assert not hold(1, b"", 0.0).alive
