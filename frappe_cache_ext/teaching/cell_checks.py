"""Checks of cells under ``%%cached``: the learner runs the cell, and the check runs it once more.

Running it again costs nothing, for no work takes time meanwhile, and shows nothing. A cell that comes from the cache
leaves the notebook as running it does, which is the point of the lesson.
"""

from __future__ import annotations

import ast
import difflib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .lesson import unpaid
from .shell import cell_magics, cells_run, current_shell
from .verdict import NotYet, check_of_cell, listed, same, short

if TYPE_CHECKING:
    from ..cells.report import Report

_MAGIC: Final = re.compile(r"%%cached\b")
_CHECKS: Final = re.compile(r"^check\.", re.MULTILINE)
_HOLDS: Final = re.compile(r"(\w+) is an? ")
"""How the reason begins where a value stands in the way."""

_AS_THE_LINE_SAYS: Final = "the line under the cell says what stands in the way."

_CAUSE: Final = re.compile(r"\$?[A-Za-z_][\w.]*")
_GONE: Final = object()


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell that the learner ran.

    Attributes:
        text: all of it.
        report: what the magic made of it.
    """

    text: str
    report: Report

    @property
    def options(self) -> list[str]:
        """The words behind the magic's name."""
        line = self.text.partition("\n")[0]
        try:
            return shlex.split(line)[1:]
        except ValueError:  # a quote that is not closed: the magic has said so
            return line.split()[1:]


@check_of_cell
def comes_back(**variables: Any) -> str:
    """The cell that sets these variables is in the cache, and they come back from there.

    Args:
        **variables: their values, by name.
    """
    name = next(iter(variables))
    cell = _last_cell(name)
    names = current_shell().user_ns
    for each, value in variables.items():
        found = names.get(each, _GONE)
        if found is _GONE:
            raise NotYet(f"There is no {each!r} after the cell.", f"the cell has to set it to {short(value)}.")
        if not same(found, value):
            raise NotYet(f"{each!r} is {short(found)}, not {short(value)}.", "the cell is to compute what it did.")
    back, ran = _again(cell, variables)
    _check_kept(cell, _how_to_keep(cell, variables))
    if ran:
        raise NotYet("Run again, the cell computes again.", _why_again(cell))
    missing = [each for each in variables if back[each] is _GONE]
    if missing:
        raise NotYet(f"The cell came back without {listed(missing)}.", f"--vars has to name {listed(missing)}, too.")
    if "work(" not in cell.text:
        raise NotYet("The cell does not work for its result any more.", "leave the call of work(...) in it.")
    return f"The cell need not run again: the cache gives back {listed(list(variables))}."


def _how_to_keep(cell: _Cell, variables: Mapping[str, Any]) -> str:
    wanted = ",".join(variables)
    if "--vars names" in cell.report.reason:
        return f"what is to be kept is called {listed(list(variables))}: --vars {wanted}."
    holds = _HOLDS.match(cell.report.reason)
    return _AS_THE_LINE_SAYS if holds is None else _how_to_let_go(holds[1], cell, wanted)


def _how_to_let_go(name: str, cell: _Cell, wanted: str) -> str:
    if "--ignore" in cell.options:
        return (
            f"--ignore is about what a cell reads. {name!r} is what it leaves behind: --vars {wanted} keeps the rest."
        )
    if "--vars" in cell.options:
        return f"--vars names what is kept, and {name!r} cannot be: --vars {wanted}."
    if re.search(rf"\b{name}\.(close|release|shutdown)\(|\bwith\b.*\bas {name}\b", cell.text):
        return f"closed or not, {name!r} still names it when the cell ends: del {name} takes the name away."
    return f"let the cell not leave {name!r} behind (del {name} at its end), or keep the rest only: --vars {wanted}."


@check_of_cell
def names_cause(answer: Any) -> str:
    """The answer is the name of what changed before the last cell under ``%%cached``, so that it ran again.

    Args:
        answer: the name, as text.
    """
    shell = current_shell()
    magics = cell_magics(shell)
    report = None if magics is None else magics.last
    if report is None or report.found or not report.why:
        raise NotYet(
            "The last cell under %%cached did not miss, or nothing is known of its run before.",
            "run the cells of this exercise again, from the first.",
        )
    causes = [match[0] for match in map(_CAUSE.match, report.why) if match]
    if answer is None or answer is Ellipsis:
        raise NotYet("There is no answer yet.", "%cached_why, on a line above, says why the last cell missed.")
    if not isinstance(answer, str):
        raise NotYet(f"The answer is {short(answer)}.", 'the name is asked for, not the value: answer = "NAME".')
    given = answer.strip().removesuffix("()")
    if given in causes:
        return f"Right: {next(why for why in report.why if why.startswith(given))}."
    names = shell.user_ns
    named = _CAUSE.match(given)
    if named is not None and named[0] in causes:
        raise NotYet(f"There is more than the name in {answer!r}.", "the name alone, as text.")
    if given.lower() in (cause.lower() for cause in causes):
        raise NotYet(f"There is no {given!r}.", "Python tells capital letters from small ones.")
    if given not in names:
        raise NotYet(f"The notebook has no {given!r}.", "%cached_why says the name, and what was there before.")
    if _sets(next(filter(_MAGIC.match, cells_run()), ""), given):
        raise NotYet(f"{given!r} is what the cell makes.", "what it is made from has changed: %cached_why.")
    if callable(names[given]):
        raise NotYet(
            f"{given}() is what it was, to the letter.",
            "a function counts with all that it reads, and one of these is another: %cached_why.",
        )
    raise NotYet(f"{given!r} is what it was: {short(names[given])}.", "%cached_why compares with the run before.")


@check_of_cell
def hears_of(path: str, then: str, **variables: Any) -> str:
    """The cell that sets these variables comes from the cache, but not when a file has changed.

    Args:
        path: the file, which is as it was in the end.
        then: what is written into it meanwhile.
        **variables: what the variables have to be after that, by name.
    """
    name = next(iter(variables))
    cell = _last_cell(name)
    _, ran = _again(cell, variables)
    _check_kept(cell, _how_to_read(cell, path))
    if ran:
        raise NotYet("With the same file, the cell computes again all the same.", _why_again(cell))
    file = Path(path)
    kept = file.read_bytes()
    try:
        file.write_text(then, encoding="utf-8")
        now, _ = _again(cell, variables)
    finally:
        file.write_bytes(kept)
    for each, value in variables.items():
        if not same(now[each], value):
            raise NotYet(
                f"{path} now says {then!r}, and {each!r} is still {short(now[each])}.", _how_to_hear(cell, path)
            )
    return f"The cell comes from the cache, until {path} changes."


def _how_to_read(cell: _Cell, path: str) -> str:
    if cell.report.reason.startswith("the file "):
        return f"the file is called {path}."
    return _AS_THE_LINE_SAYS


def _how_to_hear(cell: _Cell, path: str) -> str:
    for option, why in (
        ("--version", "another version makes the cell run once; of the next change it hears nothing again."),
        ("--ttl", "an expiry puts things right in the end, and until then the old value is what everybody gets."),
    ):
        if any(word.partition("=")[0] == option for word in cell.options):
            return f"{why} --file {path}."
    return f"a file's content counts where the cell says so: --file {path}."


# --- in common ----------------------------------------------------------------------------------------------------


def _last_cell(name: str) -> _Cell:
    """The last cell that sets a variable.

    Raises:
        NotYet: it is not under ``%%cached``, or its run is not the last one under it.
    """
    shell = current_shell()
    ran = cells_run()
    text = next((text for text in ran if _sets(text, name)), "")
    if not text:
        raise NotYet(f"No cell has set {name!r} yet.", "run the cell above first.")
    if not _MAGIC.match(text):
        raise NotYet(
            f"The cell that sets {name!r} is not under %%cached.", "%%cached is its first line, from column 1."
        )
    report = getattr(cell_magics(shell), "last", None)
    if report is None:
        raise NotYet("The cell has not run.", "the red line under it says why.")
    last = next(filter(_MAGIC.match, ran))
    if text != last:
        if not _is_python(last):
            raise NotYet("The last cell under %%cached is no Python.", "the traceback under it says where.")
        close = difflib.get_close_matches(name, re.findall(r"\w+", _body(last)), 1)
        if close:
            raise NotYet(f"The cell sets no {name!r}.", f"there is {close[0]!r} in it: names are taken to the letter.")
        raise NotYet("Other cells have run under %%cached since.", f"run the cell that sets {name!r} again, then this.")
    if report.error is not None:
        raise NotYet(f"The cell raised {type(report.error).__name__}.", "nothing is kept of a cell that fails.")
    return _Cell(text, report)


def _check_kept(cell: _Cell, hint: str) -> None:
    """Raise `NotYet` unless the cell is in the cache."""
    reason = cell.report.reason.partition(" – ")[0]
    if cell.report.found or not reason:
        return
    if reason.startswith("--if"):
        hint = "--if says when the cell is cached at all; take it away again."
    raise NotYet(f"The cell ran, and is not kept: {reason}.", hint)


def _sets(text: str, name: str) -> bool:
    """Whether a cell sets a variable, and is no cell with a check in it."""
    if name not in text or _CHECKS.search(text) or not _is_python(text):
        return False
    tree = ast.parse(current_shell().transform_cell(_body(text)))
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return any(node.id == name for node in nodes)


def _body(text: str) -> str:
    return text.partition("\n")[2] if _MAGIC.match(text) else text


def _is_python(text: str) -> bool:
    try:
        ast.parse(current_shell().transform_cell(_body(text)))
    except SyntaxError:
        return False
    return True


def _again(cell: _Cell, variables: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Run a cell as if the kernel had just started: what its variables are then, and whether it computed.

    They are what they were, afterwards.

    Raises:
        NotYet: the magic refuses it; what is known of the last run is not of this cell.
    """
    from IPython.utils.capture import capture_output  # noqa: PLC0415  (only a notebook has cells)

    shell = current_shell()
    names, magics = shell.user_ns, cell_magics(shell)
    kept = {name: names.pop(name) for name in variables if name in names}
    try:
        with unpaid(), capture_output():
            shell.run_cell(cell.text)
        if magics.last is cell.report:
            raise NotYet("The cell has not run.", "the line under it says why.")
        return {name: names.get(name, _GONE) for name in variables}, not magics.last.found
    finally:
        for name in variables:
            names.pop(name, None)
        names.update(kept)
        magics.last = cell.report


def _why_again(cell: _Cell) -> str:
    if "--refresh" in cell.options:
        return "--refresh runs the cell whatever is stored; take it away again."
    return "something that the cell reads is another each time: run it again, and ask %cached_why."
