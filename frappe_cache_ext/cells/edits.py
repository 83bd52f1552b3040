"""What was done to a mapping or a list, told so that it can be done to another one that differs elsewhere.

Two kernels never agree on the whole of `os.environ` or of the warning filters. What a cell did there, it did to a few
entries; put back, it must leave the others as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any


def same(one: Any, other: Any) -> bool:
    """Whether two values of a setting are the same; never by another type, and never by chance."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    try:
        return bool(one == other)
    except Exception:  # an array has no truth, and a class of the user's can raise anything
        return False


def mapping_edit(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was set in a mapping and what was deleted; None where nothing was.

    Example:
        >>> mapping_edit({"a": 1, "b": 2}, {"b": 3})
        {'set': {'b': 3}, 'gone': ['a']}
    """
    changed = {key: value for key, value in after.items() if key not in before or not same(before[key], value)}
    gone = [key for key in before if key not in after]
    return {"set": changed, "gone": gone} if changed or gone else None


def edit_mapping(mapping: MutableMapping[str, Any], edit: Mapping[str, Any]) -> None:
    """Do to a mapping what was done to another."""
    for key in edit["gone"]:
        mapping.pop(key, None)
    mapping.update(edit["set"])


def list_edit(before: Sequence[Any], after: Sequence[Any]) -> dict[str, Any] | None:
    """What was put at the front of a list and at its end, and what was taken away; None where nothing was.

    Moving an entry to the front, as `warnings.simplefilter` does with one that is there already, takes it away and puts
    it there. A list of which nothing was left is told by the new list as a whole.

    Example:
        >>> list_edit(["a", "b"], ["new", "a"])
        {'front': ['new'], 'back': [], 'gone': ['b']}
        >>> list_edit(["a", "b"], [])
        {'whole': []}
    """
    if list(before) == list(after):
        return None
    gone = [item for item in before if item not in after]
    if before and len(gone) == len(before):
        return {"whole": list(after)}
    return next(_list_edits(list(before), list(after), gone))


def _list_edits(before: list[Any], after: list[Any], gone: list[Any]) -> Iterator[dict[str, Any]]:
    """The ways to tell it, that with the fewest entries first; the last one, all of it anew, is always one."""
    for size in range(len(after) + 1):
        for back in range(size + 1):
            first, end = size - back, len(after) - back
            ends = after[:first] + after[end:]
            for taken in (gone, gone + [item for item in ends if item in before]):
                if after[first:end] == [item for item in before if item not in taken]:
                    yield {"front": after[:first], "back": after[end:], "gone": taken}


def edited_list(items: Sequence[Any], edit: Mapping[str, Any]) -> list[Any]:
    """A list after what was done to another."""
    if "whole" in edit:
        return list(edit["whole"])
    return [*edit["front"], *(item for item in items if item not in edit["gone"]), *edit["back"]]
