"""Documents that a Frappe 15.44 site cached, field by field beside what Frappe itself read from them."""

from __future__ import annotations

import base64
import datetime
import gzip
import json
from typing import Any

import pytest

from frappe_cache_ext.codec import Codec
from frappe_cache_ext.documents.cached import as_fields
from frappe_cache_ext.documents.document import Document
from frappe_cache_ext.stand_ins import DocStatus
from tests.unit.test_codec import RECORDED

_RECORDED: dict[str, Any] = json.loads(gzip.decompress(RECORDED.read_bytes()))
_BYTES = {entry["key_text"]: entry["value"] for entry in _RECORDED["keys"]}
EXPECTED: dict[str, dict[str, Any]] = {
    key: fields for key, fields in _RECORDED["expected"].items() if "|document_cache::" in key
}

# Computed by a controller when they are asked for, and in no document's state.
VIRTUAL = {
    "Client Script": set(),
    "File": {"content"},
    "Page": {"script", "style"},
    "Scheduled Job Type": {"next_execution"},
}


def _as_json(value: Any) -> Any:
    """As the recording wrote it down."""
    if isinstance(value, DocStatus):
        return int(value)
    return str(value) if isinstance(value, datetime.date | datetime.timedelta) else value


def _read(key: str) -> dict[str, Any]:
    # By the way of `get_cached_doc`, then by that of the tables and `%cache_doc`, which imports nothing.
    data, name = base64.b64decode(_BYTES[key]), key.encode()
    fields = as_fields(Codec().decode(data, name))
    assert fields is not None
    assert as_fields(Codec().inspect(data, name)) == fields
    return fields


def test_all_of_them_are_tried() -> None:
    assert len(EXPECTED) == 44


@pytest.mark.parametrize("key", sorted(EXPECTED))
def test_equals_what_frappe_read(key: str) -> None:
    expected, document = EXPECTED[key], Document.from_fields(_read(key))
    virtual = VIRTUAL.get(expected["doctype"], set())
    for name, value in expected.items():
        if name in virtual:
            continue
        read = document.get(name)
        if isinstance(value, list):
            rows = [
                {field: _as_json(row.get(field)) for field in wanted} for row, wanted in zip(read, value, strict=True)
            ]
            assert rows == value, name
        else:
            assert (type(_as_json(read)), _as_json(read)) == (type(value), value), name


def test_a_document_has_its_doctype_and_its_rows() -> None:
    key = next(key for key in EXPECTED if key.endswith("document_cache::User::anna@example.com"))
    user = Document.from_fields(_read(key))
    assert (user.doctype, user.name) == ("User", "anna@example.com")
    assert all(isinstance(role, Document) for role in user.roles)
    assert not user.dirty_fields
