"""What is known of a cell before it runs, and the key that this makes."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from .. import fingerprint
from . import states
from .analysis import CellCode, Read, analyse
from .graph import Graph, Refused, sets_refusal
from .host import Notebook, Options
from .state_names import named_parts, seeds

_SHELL_VARIABLE: Final = re.compile(r"\$\{?([A-Za-z_]\w*)")

FORMAT: Final = 1
"""Of the entries; an entry of another format is a miss."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a cell before it runs.

    Attributes:
        code: what its source says.
        graph: what it reads.
        seeded: the random generators that it seeds before it draws from them.
        parts: what else counts, by name.
        only_imports: whether it does nothing but import.
        digest: of all that.
    """

    code: CellCode
    graph: Graph
    seeded: frozenset[str]
    parts: Mapping[str, Any]
    only_imports: bool
    digest: bytes

    def second_digest(self, generators: Sequence[str], digest_of: Callable[[str], bytes]) -> bytes:
        """The same with the state of the generators that the cell draws from.

        Args:
            generators: their names.
            digest_of: gives a digest of a generator's state.
        """
        hasher = hashlib.blake2b(self.digest, digest_size=16)
        for generator in generators:
            hasher.update(generator.encode() + digest_of(generator))
        return hasher.digest()


def make_plan(notebook: Notebook, options: Options) -> Plan:
    """Look through a cell and all that it reads.

    Raises:
        SyntaxError: it is not Python.
        Refused: it cannot be cached.
        NotCacheable: something that it reads has no content.
    """
    names = notebook.names
    visible = {**names, **notebook.local} if notebook.local else names
    code = analyse(notebook.source, transform=notebook.transform, names=visible)
    vouched = code.refusal_is_dynamic and options.key is not None and options.variables is not None
    if code.refusal is not None and not vouched:
        raise Refused(code.refusal)
    refusal = sets_refusal(code.use, visible)
    if refusal is not None:
        raise Refused(f"it {refusal}")
    graph = Graph(names=names, ignored=frozenset(options.ignored), local=notebook.local)
    graph.walk(_reads(code, options, visible), code.imports)
    refusal = states.plots_refusal() if graph.plots else None
    if refusal is not None:
        raise Refused(refusal)
    seeded = seeds(notebook.source, names)
    named = named_parts([(code.use, visible), *graph.uses], seeded)
    parts = {**_chosen_parts(notebook, options), **named, **_in_shell_lines(code)}
    hasher = hashlib.blake2b(digest_size=16)
    for part in (code.digest, graph.digest(), states.ambient_digest(graph.plots)):
        hasher.update(part)
    hasher.update(fingerprint.digest([FORMAT, sys.version_info[:2], parts]).encode())
    return Plan(code, graph, seeded, parts, _only_imports(notebook.source), hasher.digest())


def _reads(code: CellCode, options: Options, names: Mapping[str, Any]) -> dict[str, Read]:
    if options.key is None:
        return dict(code.reads)
    # The expression's value stands for the data; the code that the cell calls counts all the same.
    return {name: read for name, read in code.reads.items() if _is_code(names.get(name))}


def _only_imports(source: str) -> bool:
    return all(isinstance(statement, ast.Import | ast.ImportFrom) for statement in ast.parse(source).body)


def _is_code(value: Any) -> bool:
    return isinstance(value, type | ModuleType) or callable(value)


def _chosen_parts(notebook: Notebook, options: Options) -> dict[str, Any]:
    """What the options say that counts."""
    parts: dict[str, Any] = {"--vars": options.variables, "--version": options.version}
    parts |= {f"file {path}": _file_digest(path) for path in options.files}
    parts |= {f"${variable}": os.environ.get(variable) for variable in options.environment}
    if options.key is not None:
        parts["--key"] = fingerprint.digest(notebook.evaluate(options.key), "--key")
    return parts


def _in_shell_lines(code: CellCode) -> dict[str, str | None]:
    """The environment variables that the texts of a cell name as a shell does, ``!echo $HOME``."""
    names = {name for text in code.use.strings for name in _SHELL_VARIABLE.findall(text)}
    return {f"${name}": os.environ[name] for name in sorted(names) if name in os.environ}


def _file_digest(path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError as error:
        raise Refused(f"the file {path} cannot be read ({error.strerror})") from None
