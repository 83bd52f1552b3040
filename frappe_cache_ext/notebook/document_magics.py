"""The magic for cached documents: ``%cache_doc``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, Final

from IPython.core.magic import Magics, magics_class

from .arguments import UserError, argument, cache_magic
from .magics import CacheMagics, count
from .tables import Table, one_line, shortened
from .target import RealFrappe

WIDTH: Final = 40
"""Characters of a value that are shown."""


@magics_class
class DocumentMagics(Magics):
    """The magic that shows a document as the cache and as the database have it."""

    def __init__(self, common: CacheMagics, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.common = common

    @cache_magic(
        argument("doctype", metavar="DOCTYPE", help="The DocType; in quotes where it has a blank."),
        argument("name", metavar="NAME", nargs="?", help="The document's name; none for a single DocType."),
        argument("--all", action="store_true", help="Show the empty fields, too."),
    )
    def cache_doc(self, given: Namespace) -> Table:
        """A cached document beside the database's, and whether they agree.

        What the cache holds is read without importing or running anything that it names, also if Frappe wrote it.

        Example: ``%cache_doc User anna@example.com``
        """
        if isinstance(self.common.target, RealFrappe):
            raise UserError("Frappe itself is installed here: compare frappe.get_cached_doc() with frappe.get_doc()")
        self.common.target.check()
        from ..documents.inspection import compare  # noqa: PLC0415  (SQLAlchemy is loaded by the first use)

        found = compare(given.doctype, given.name)
        differing = set(found.differing)
        rows = []
        for field in found.fields:
            cached, stored = (None if side is None else side.get(field) for side in (found.cached, found.stored))
            if field.startswith("_") or (cached in _EMPTY and stored in _EMPTY and not given.all):
                continue
            mark = "≠" if field in differing else ""
            rows.append((field, _shown(found.cached, field), _shown(found.stored, field), mark))
        label = given.doctype if given.name is None else f"{given.doctype} {given.name}"
        return Table(("field", "cached", "database", ""), rows, empty="no fields", title=f"{label}: {found.verdict}")


_EMPTY: Final[tuple[Any, ...]] = (None, "", [])


def _shown(side: dict[str, Any] | None, field: str) -> str:
    if side is None or field not in side:
        return "–"
    value = side[field]
    if isinstance(value, list):
        return count(len(value), "row")
    return shortened(one_line(str(value) if value is not None else ""), WIDTH)
