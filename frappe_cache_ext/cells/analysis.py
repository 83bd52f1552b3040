"""What a cell's source says about it: which names it reads before it binds them, and what speaks against caching it.

Nothing here runs the cell, and nothing looks at values. Where the source leaves something open, more is taken to be
read or bound than perhaps is: that costs a miss; the other way would cost a wrong hit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Final

from .aliases import Aliases
from .code import Chain, GlobalUse, merged
from .flow import Flow
from .hints import hints_of
from .refusals import cell_refusal, code_refusal
from .sources import Bodies, Body
from .texts import behind_at, identifiers

__all__ = ["CellCode", "Read", "analyse", "code_refusal", "names_in_texts"]

DIGEST_SIZE: Final = 16

_LOOKING_UP: Final = frozenset(
    (
        *("query", "eval", "evaluate", "sql", "sqldf", "execute", "run", "runctx", "timeit", "repeat", "Timer"),
        *("from_formula", "dmatrix", "dmatrices", "ols", "gls", "wls", "glsar", "rlm", "logit", "probit", "mnlogit"),
        *("poisson", "negativebinomial", "glm", "gee", "quantreg", "mixedlm", "phreg"),
    )
)
"""Functions that find their caller's names in a text: of pandas, numexpr, statsmodels, DuckDB, `timeit`."""


@dataclass(frozen=True, slots=True)
class Read:
    """How a cell reads a name.

    Attributes:
        chains: the attributes that follow on it, as `GlobalUse.reads` has them.
        bound: names that the cell has certainly bound itself before it first reads this one.
    """

    chains: frozenset[Chain]
    bound: frozenset[str]


@dataclass(frozen=True, slots=True)
class CellCode:
    """What a cell's source says about it.

    Attributes:
        digest: of its syntax: comments and layout do not count, literals keep their type, a semicolon that hides the
            last value counts.
        reads: the names that it may read before it has certainly bound them. A name that it may delete is one, unless
            it has certainly bound it before: what deleting it does depends on what was there. Builtins are among them.
        binds: the names that it may bind or delete.
        settled: those that it certainly binds, whether it then deletes them or not: nothing is left of what they held.
        imports: the modules that it imports, as in `GlobalUse`.
        awaits: whether it awaits something outside of a function.
        refusal: why it cannot be cached, to stand behind ``not cached:``; None where it can.
        refusal_is_dynamic: whether that is only because nobody can know which names it reads and sets.
        hints: what it gets from outside, or does there.
        use: what its code does to global names, with that of its functions and of what its magics run.
    """

    digest: bytes
    reads: Mapping[str, Read]
    binds: frozenset[str]
    settled: frozenset[str]
    imports: frozenset[str]
    awaits: bool
    refusal: str | None
    hints: tuple[str, ...]
    refusal_is_dynamic: bool = False
    use: GlobalUse = field(default_factory=lambda: merged(()))


def unchanged(source: str) -> str:
    """The source as it is: the transformation of a notebook without magics."""
    return source


def analyse(source: str, *, transform: Callable[[str], str] = unchanged, names: Container[str] = ()) -> CellCode:
    r"""What a cell's source says about it.

    Example:
        >>> code = analyse("df = load(path)\ndf.head()", names={"load", "path", "df"})
        >>> sorted(code.reads), sorted(code.binds)
        (['load', 'path'], ['df'])

    Args:
        source: the cell as Python, after IPython's transformation.
        transform: makes Python of what stands below or behind a magic.
        names: the names that exist in the notebook; needed for names in texts and shell lines.

    Raises:
        SyntaxError: it is not Python, or what a magic in it runs is not.
    """
    bodies = Bodies(transform)
    body = bodies.main(source)
    try:
        return _analysed(bodies, body, names)
    except RecursionError:
        return _too_deep(bodies, body)


def _analysed(bodies: Bodies, body: Body, names: Container[str]) -> CellCode:
    dump = bodies.dump(body)
    use, aliases = merged(bodies.uses), Aliases(bodies.trees)
    flow = Flow(bodies, aliases, names, all_texts=_looks_up(use))
    flow.walk(body)
    flow.binding.end()
    ran = list(flow.everything_ran())
    refusal, is_dynamic = cell_refusal(flow, ran, aliases, names, use)
    hints = flow.hints | hints_of(ran, aliases, flow.binding.binds)
    return CellCode(
        digest=_digest(dump),
        reads={
            name: Read(use.reads.get(name, frozenset(((),))), frozenset(bound))
            for name, bound in flow.binding.reads.items()
        },
        binds=frozenset(flow.binding.binds),
        settled=frozenset(flow.binding.state.bound | flow.binding.state.gone),
        imports=use.imports,
        awaits=bodies.awaits,
        refusal=refusal,
        refusal_is_dynamic=is_dynamic,
        hints=tuple(sorted(hints)),
        use=use,
    )


def _too_deep(bodies: Bodies, body: Body) -> CellCode:
    """What can be said of a cell whose expressions are nested deeper than Python can follow."""
    use = merged(bodies.uses)
    return CellCode(
        digest=_digest(body.source),
        reads={name: Read(chains, frozenset()) for name, chains in use.reads.items()},
        binds=use.writes,
        settled=frozenset(),
        imports=use.imports,
        awaits=bodies.awaits,
        refusal="its expressions are nested too deeply to be followed; write them in several steps",
        hints=(),
        use=use,
    )


def names_in_texts(use: GlobalUse) -> frozenset[str]:
    """Identifiers in the text constants of code by which it may look up global names.

    Those behind an ``@``, as in ``df.query("price > @limit")``; all, where it calls one of the functions that find
    their caller's names in a text.

    Args:
        use: what the code does; of a function that a cell calls, say, whose globals are walked.
    """
    find = identifiers if _looks_up(use) else behind_at
    return frozenset(name for text in use.strings for name in find(text))


def _looks_up(use: GlobalUse) -> bool:
    return not _LOOKING_UP.isdisjoint(use.attributes) or not _LOOKING_UP.isdisjoint(use.reads)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_SIZE).digest()
