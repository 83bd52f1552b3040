"""What a cell depended on when it last ran: noted, so that a miss can be explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import keys
from ..effects import Pipeline, Steps
from ..errors import MISS, CacheUnavailable, UnreadableValue
from .common import Scope, warn_unreadable, when_away


def remember_manifest(
    scope: Scope, identities: Sequence[str], plain: Any, expiry: int, prefix: bytes = b""
) -> Steps[None]:
    """Note what a cell depends on, in place of what was noted before; not while the server cannot be reached.

    Args:
        scope: what to work with.
        identities: what tells the cell from others across edits.
        plain: plain types alone.
        expiry: milliseconds, 0 for none.
        prefix: what the names of the site, or of the user, begin with.
    """
    commands = []
    for name in _manifest_names(identities, prefix):
        data = scope.codec.encode(plain, name, root="manifest")
        commands.append(("SET", name, data, "PX", expiry) if expiry else ("SET", name, data))
    try:
        yield Pipeline(commands)  # a server that does not take it will not take the record either, and that is told
    except CacheUnavailable:
        return


@when_away(lambda: MISS)
def recall_manifest(scope: Scope, identities: Sequence[str], prefix: bytes = b"") -> Steps[Any]:
    """What was noted under the first of these identities under which anything is; MISS for none.

    Args:
        scope: what to work with.
        identities: what tells the cell from others across edits, best first.
        prefix: what the names of the site, or of the user, begin with.
    """
    names = _manifest_names(identities, prefix)
    replies = yield Pipeline([("GET", name) for name in names])
    for name, data in zip(names, replies, strict=True):
        if isinstance(data, bytes):
            try:
                return scope.codec.inspect(data, name)
            except UnreadableValue as error:
                warn_unreadable(scope, name, str(error))
    return MISS


def _manifest_names(identities: Sequence[str], prefix: bytes) -> list[bytes]:
    return [prefix + keys.encode(keys.cell_manifest_key(identity)) for identity in identities]
