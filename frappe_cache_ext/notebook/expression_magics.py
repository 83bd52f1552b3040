"""``%cached EXPR``: an expression is evaluated once; afterwards its value comes from the cache."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any, Final

from IPython.core.magic import Magics, magics_class

from ..errors import MISS, CacheError, NotCacheable
from .arguments import EXPRESSION, TTL, UserError, argument, cache_magic
from .expressions import compiled, expression_digest, names_of, run
from .magics import CacheMagics, not_given

KEY_PREFIX: Final = "%cached::"

REFRESH: Final = argument("--refresh", action="store_true", help="Evaluate anew, and store that.")


@magics_class
class ExpressionMagics(Magics):
    """The magic for expressions."""

    def __init__(self, common: CacheMagics, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.common = common

    @cache_magic(EXPRESSION, TTL, REFRESH, words=0)
    def cached(self, given: Namespace, local_ns: dict[str, Any] | None) -> Any:
        """The value of a Python expression: evaluated the first time, from the cache afterwards.

        It is evaluated anew when the expression changes, or the value of a name that it reads, or the code of a
        function of the notebook that it calls. What a library does inside is not looked at, nor are files, clocks and
        random numbers.

        Example: ``total = %cached slow_add(40, 2) --ttl 60``
        """
        code = compiled(given.expression)
        names = names_of(self.shell, local_ns)
        try:
            key = KEY_PREFIX + expression_digest(given.expression, code, names)
        except NotCacheable as error:
            _notice(f"not cached: {error} has nothing to tell it from another by")
            return run(code, names)
        found: Any = MISS
        reachable = True
        try:
            self.common.target.check()
            if not given.refresh:
                found = self.common.target.get(key, None, False)
        except (UserError, CacheError) as error:
            _notice(f"not cached: {error}")
            reachable = False
        if found is not MISS:
            self.common.say("from the cache")
            return found
        value = run(code, names)
        if reachable:
            self._store(key, value, self.common.cached_ttl if not_given(given.ttl) else given.ttl)
        return value

    def _store(self, key: str, value: Any, ttl: float | None) -> None:
        try:
            self.common.target.cache.set_value(key, value, expires_in_sec=ttl or None)
        except NotCacheable as error:
            _notice(f"not cached: {error} cannot be pickled")
        else:
            self.common.say("evaluated, and stored" + (f" for {ttl:g} s" if ttl else ""))


def _notice(text: str) -> None:
    print(" ".join(text.splitlines()), file=sys.stderr)
