"""The checks of cells under ``%%cached``: each tells a solved exercise from what learners write on the way there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from frappe_cache_ext.teaching import shell as learners
from frappe_cache_ext.teaching.shell import cell_magics

from .conftest import Shell

START = """
from frappe_cache_ext.teaching import check, predict, start, work

start("cells")
"""

WORDS = """%%cached words
import os
from threading import Lock

log = Lock()
work(0.01)
words = {"tea": 3}
"""
COMES_BACK = 'check.comes_back(words={"tea": 3})'

PARCEL = """%%cached parcel
parcel = packed(8)
"""
PACKED = """
def packed(price):
    return price + WRAPPING
"""

PRICE = """%%cached price
work(0.01)
price = int(Path("prices.txt").read_text().split()[1])
"""
HEARS_OF = 'check.hears_of("prices.txt", then="tea 5", price=5)'


@pytest.fixture
def pupil(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A learner whose shell is the one that IPython knows of, as in a kernel."""
    monkeypatch.setattr("IPython.get_ipython", lambda: shell.ip)
    shell.run(START)
    yield shell
    shell.ip.events.unregister("pre_run_cell", learners._take_down)


def checked(pupil: Shell, *cells: str) -> str:
    """What the last of some cells, a check, prints."""
    for cell in cells[:-1]:
        pupil.ip.run_cell(cell, store_history=True)
    pupil.run(cells[-1])
    return pupil.shown.partition("Out[")[0]


class TestStart:
    def test_makes_predict_a_magic_above_other_magics(self, pupil: Shell) -> None:
        pupil.run("%%predict\n%%cached\nprint(6 * 7)")
        lines = pupil.out.splitlines()
        assert lines[:2] == ["Compare with your prediction:", "42"]
        assert lines[2].startswith("computed · ")

    def test_forgets_what_an_earlier_run_was_told(self, pupil: Shell) -> None:
        clock = "%%cached\nimport time\nstarted = time.time()"
        pupil.run(clock)
        assert "hint: " in pupil.out
        pupil.run(f"{clock} + 1")
        assert "hint: " not in pupil.out
        pupil.run('start("cells")')
        assert cell_magics(pupil.ip).last is None
        pupil.run(clock)
        assert "hint: " in pupil.out

    def test_needs_no_shell(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr("IPython.get_ipython", lambda: None)
        learners.enter()
        assert capsys.readouterr().out == ""


class TestComesBack:
    def test_the_solved_cell_does(self, pupil: Shell) -> None:
        for solved in (
            f"{WORDS}del log\n",
            f"{WORDS}log = None\n",
            WORDS.replace("cached words", "cached words --vars words"),
            WORDS.replace("log = ", ""),
        ):
            assert (
                checked(pupil, solved, COMES_BACK) == "✓ The cell need not run again: the cache gives back 'words'.\n"
            )
            assert pupil.run("words") == {"tea": 3}

    def test_asking_leaves_no_trace(self, pupil: Shell) -> None:
        cells = (f"{WORDS}del log\n", COMES_BACK, COMES_BACK)
        assert checked(pupil, *cells).startswith("✓ ")
        magics = cell_magics(pupil.ip)
        assert not magics.last.found  # the learner's run, and not the check's
        pupil.run(cells[0])
        assert magics.last.found
        assert checked(pupil, COMES_BACK).startswith("✓ ")

    @pytest.mark.parametrize(
        ("cell", "hint"),
        [
            (WORDS, "let the cell not leave 'log' behind (del log at its end)"),
            (WORDS.replace("words\n", "words --ignore log\n", 1), "--ignore is about what a cell reads"),
            (WORDS.replace("words\n", "words --vars log\n", 1), "and 'log' cannot be: --vars words."),
            (
                WORDS.replace("words\n", "words --vars wrods\n", 1),
                "what is to be kept is called 'words': --vars words.",
            ),
            (f"{WORDS}log.acquire()\nlog.release()\n", "closed or not, 'log' still names it"),
            (f"{WORDS}with open(os.devnull) as log: pass\n", "closed or not, 'log' still names it"),
            (
                f"{WORDS}del log\nrows = 2\n".replace("words\n", "words --vars rows\n", 1),
                "--vars has to name 'words', too",
            ),
            (f"{WORDS}del log\n".replace("%%cached words\n", ""), "is not under %%cached"),
            (f"{WORDS}del log\n".replace("words\n", "words --refresh\n", 1), "take it away again"),
            (f"{WORDS}del log\n".replace("3", "4"), "'words' is {'tea': 4}, not {'tea': 3}"),
            (f"{WORDS}del log\n".replace("work(0.01)\n", ""), "leave the call of work(...) in it"),
            (f"{WORDS}del log, words\n", "There is no 'words' after the cell"),
            (f"{WORDS}1 / 0\n", "The cell raised ZeroDivisionError"),
        ],
    )
    def test_each_mistake_has_a_hint_of_its_own(self, pupil: Shell, cell: str, hint: str) -> None:
        found = checked(pupil, cell, COMES_BACK)
        assert found.startswith("✗ ")
        assert hint in found

    def test_what_an_untouched_cell_left_behind_is_not_in_the_way(self, pupil: Shell) -> None:
        assert checked(pupil, WORDS, f"{WORDS}del log\n", COMES_BACK).startswith("✓ ")

    def test_says_when_no_cell_has_run(self, pupil: Shell) -> None:
        assert "No cell has set 'tea_leaves' yet" in checked(pupil, "check.comes_back(tea_leaves=3)")

    def test_is_about_the_last_cell_under_the_magic(self, pupil: Shell) -> None:
        found = checked(pupil, f"{WORDS}del log\n", "%%cached\nothers = 1", COMES_BACK)
        assert "Other cells have run under %%cached since." in found


class TestNamesCause:
    @pytest.fixture
    def missed(self, pupil: Shell) -> Shell:
        """After a cell that missed, for one name."""
        for cell in ("WRAPPING, RATE = 3, 0.25", PACKED, PARCEL, "WRAPPING = 4", PARCEL):
            pupil.run(cell)
        return pupil

    @pytest.mark.parametrize("answer", ['"WRAPPING"', '" WRAPPING "'])
    def test_the_right_name(self, missed: Shell, answer: str) -> None:
        assert checked(missed, f"check.names_cause({answer})") == "✓ Right: WRAPPING 3 -> 4.\n"

    @pytest.mark.parametrize(
        ("answer", "hint"),
        [
            ("...", "There is no answer yet"),
            ("None", "There is no answer yet"),
            ("4", "the name is asked for, not the value"),
            ('"packed"', "packed() is what it was, to the letter"),
            ('"packed()"', "packed() is what it was, to the letter"),
            ('"RATE"', "'RATE' is what it was: 0.25"),
            ('"wrapping"', "capital letters from small ones"),
            ('"TAX"', "The notebook has no 'TAX'"),
        ],
    )
    def test_each_mistake_has_a_hint_of_its_own(self, missed: Shell, answer: str, hint: str) -> None:
        found = checked(missed, f"check.names_cause({answer})")
        assert found.startswith("✗ ")
        assert hint in found

    def test_there_has_to_be_a_miss(self, pupil: Shell, missed: Shell) -> None:
        assert "did not miss" in checked(missed, PARCEL, 'check.names_cause("WRAPPING")')
        assert "did not miss" in checked(missed, 'start("cells")', 'check.names_cause("WRAPPING")')


class TestHearsOf:
    @pytest.fixture
    def priced(self, pupil: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
        """In a folder with a price in it."""
        monkeypatch.chdir(tmp_path)
        Path("prices.txt").write_text("tea 3", encoding="utf-8")
        pupil.run("from pathlib import Path")
        return pupil

    @pytest.mark.parametrize("option", ["--file prices.txt", "--key 'Path(\"prices.txt\").read_text()'"])
    def test_the_solved_cell_does_and_the_file_is_as_it_was(self, priced: Shell, option: str) -> None:
        cell = PRICE.replace("price\n", f"price {option}\n", 1)
        assert checked(priced, cell, HEARS_OF) == "✓ The cell comes from the cache, until prices.txt changes.\n"
        assert Path("prices.txt").read_text(encoding="utf-8") == "tea 3"
        assert priced.run("price") == 3

    @pytest.mark.parametrize(
        ("option", "hint"),
        [
            ("", "a file's content counts where the cell says so: --file prices.txt."),
            ("--refresh", "take it away again"),
            ("--if False", "--if says when the cell is cached at all"),
            ("--version 2", "of the next change it hears nothing again"),
            ("--version=2", "of the next change it hears nothing again"),
            ("--ttl 60", "until then the old value is what everybody gets"),
            ("--file price.txt", "the file is called prices.txt."),
            ("--file 'prices.txt", "The cell has not run."),
            ("--fiel prices.txt", "The cell has not run."),
        ],
    )
    def test_each_mistake_has_a_hint_of_its_own(self, priced: Shell, option: str, hint: str) -> None:
        found = checked(priced, PRICE.replace("price\n", f"price {option}\n", 1), HEARS_OF)
        assert found.startswith("✗ ")
        assert hint in found
        assert Path("prices.txt").read_text(encoding="utf-8") == "tea 3"
