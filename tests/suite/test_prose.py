"""The notebooks' sentences: spelled right, short, and never from above. The README and its kin: spelled right."""

from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.suite.learner import FOLDER, NAMES, ROOT, read

WORDS = Path(__file__).parent / "words.txt"
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "notebooks/README.md")
LONGEST = 40
"""Words of a sentence."""

# Whoever does not find it easy is not helped by reading that it is.
FROM_ABOVE = re.compile(
    r"\b(simply|just(?! as)|obvious(ly)?|of course|trivial(ly)?|clearly|eas(y|ily)|as you know|needless to say)\b",
    re.IGNORECASE,
)
DOUBLED = re.compile(r"\b([a-z]+)\s+\1\b", re.IGNORECASE)

_markdown = MarkdownIt("commonmark").enable("table")


def paragraphs(source: str) -> list[str]:
    """What a reader reads of Markdown, block by block: without code, targets of links and tags.

    Code within a sentence counts as one word, which is in every dictionary: "code".
    """
    found = []
    for block in _markdown.parse(source):
        if block.type == "inline":
            parts = []
            for token in block.children or ():
                if token.type == "text":
                    parts.append(token.content)
                elif token.type == "code_inline":
                    parts.append("code")
                elif token.type == "image":
                    parts.append(f"{token.content}.")
                elif token.type in {"softbreak", "hardbreak"}:
                    parts.append(" ")
                elif token.type == "html_inline":
                    parts += alternatives(token.content)
            found.append("".join(parts))
        elif block.type == "html_block":
            found += alternatives(block.content)
            found.append(re.sub(r"<[^>]*>", " ", block.content))
    return [re.sub(r"https?://\S+", "", each).strip() for each in found if each.strip()]


def alternatives(tags: str) -> list[str]:
    return re.findall(r'alt="([^"]*)"', tags)


def sentences(paragraph: str) -> list[str]:
    return [each for each in re.split(r"(?<=[.?!:])\s+(?=[\w\"'(“])", paragraph) if each]


def words_of(text: str) -> list[str]:
    """Words; also with an apostrophe inside, and without the possessive at the end."""
    found = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text)
    return [re.sub(r"['’]s$", "", each) for each in found]


@functools.cache
def dictionary() -> Any:
    from spellchecker import SpellChecker

    return SpellChecker(language="en", distance=1)


@functools.cache
def allowed() -> frozenset[str]:
    lines = WORDS.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def is_known(word: str) -> bool:
    """Abbreviations in capitals are; a word of the list may stand at the beginning of a sentence."""
    return (
        word.isupper()
        or len(word) == 1
        or word in allowed()
        or word[0].lower() + word[1:] in allowed()
        or word.lower() in dictionary()
    )


def misspelled(source: str) -> list[str]:
    return [word for text in paragraphs(source) for word in words_of(text) if not is_known(word)]


def texts(name: str) -> list[tuple[str, str]]:
    """The identifier and the source of each cell with text."""
    return [(cell.id, cell.source) for cell in read(name).cells if cell.cell_type == "markdown"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_word_of_a_notebook_is_in_the_dictionary(name: str) -> None:
    assert [(cell, word) for cell, source in texts(name) for word in misspelled(source)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_word_of_the_pages_is_in_the_dictionary(page: str) -> None:
    assert misspelled((ROOT / page).read_text(encoding="utf-8")) == []


def test_sentences_are_short_enough_to_be_read_once(name: str) -> None:
    long = [
        (cell, len(sentence.split()), sentence)
        for cell, source in texts(name)
        for paragraph in paragraphs(source)
        for sentence in sentences(paragraph)
        if len(sentence.split()) > LONGEST
    ]
    assert long == []


def test_no_word_stands_there_twice(name: str) -> None:
    assert [(cell, found[0]) for cell, source in texts(name) for each in paragraphs(source)
            for found in DOUBLED.finditer(each) if found[1] != "code"] == []  # fmt: skip


def test_nobody_is_spoken_to_from_above(name: str) -> None:
    assert [(cell, found[0], each) for cell, source in texts(name) for each in paragraphs(source)
            for found in FROM_ABOVE.finditer(each)] == []  # fmt: skip


def test_no_paragraph_becomes_a_list_by_its_first_number(name: str) -> None:
    """A line that begins with "130. With" is item 130 of a list."""
    assert [(cell, token.attrs) for cell, source in texts(name) for token in _markdown.parse(source)
            if token.type == "ordered_list_open" and token.attrs.get("start", 1) > 1] == []  # fmt: skip


# --- the pages that are not notebooks: their links (those of the notebooks are checked in test_suite.py)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_the_pages_leads_to_a_file_and_a_heading(page: str) -> None:
    path = ROOT / page
    for target in links(path.read_text(encoding="utf-8")):
        if re.match(r"https?://", target):
            continue
        file, _, fragment = target.partition("#")
        led = (path.parent / file).resolve() if file else path
        assert led.is_relative_to(ROOT), target
        assert led.exists(), target
        if fragment and led.suffix == ".md":
            assert fragment in anchors(led.read_text(encoding="utf-8")), target


def test_every_fragment_in_a_notebook_is_a_heading(name: str) -> None:
    for _, source in texts(name):
        for target in links(source):
            file, _, fragment = target.partition("#")
            if fragment and not re.match(r"https?://", target):
                led = FOLDER / file if file else FOLDER / f"{name}.ipynb"
                headings = [] if led.suffix != ".ipynb" else lab_anchors(led.stem)
                assert fragment in (headings or anchors(led.read_text(encoding="utf-8"))), target


def links(source: str) -> list[str]:
    return [
        str(token.attrs["href"] if token.type == "link_open" else token.attrs["src"])
        for block in _markdown.parse(source)
        for token in block.children or ()
        if token.type in {"link_open", "image"}
    ]


def anchors(source: str) -> list[str]:
    """The anchors that GitHub gives the headings of a page."""
    tokens = _markdown.parse(source)
    found: list[str] = []
    for opening, heading in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(token.content for token in heading.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            again = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", each) is not None for each in found)
            found.append(f"{slug}-{again}" if again else slug)
    return found


def lab_anchors(name: str) -> list[str]:
    """The anchors that JupyterLab gives the headings of a notebook: their words, joined."""
    headings = [found for _, source in texts(name) for found in re.findall(r"^#+ (.+)$", source, re.MULTILINE)]
    return [heading.replace("`", "").replace(" ", "-") for heading in headings]


# --- the tests themselves


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("Teh cache", ["Teh"]),
        ("The `recieve` call, [linked](thier.ipynb), <b>bold</b>\n\n```python\nwich = 1\n```", []),
        ("Frappe's colours don't change; SQL is known.", []),
        ('<img src="wich.svg" alt="A definately long description">', ["definately"]),
        ("<details>\n<summary>Anwser</summary>\n\nWhat is seperate?\n\n</details>", ["Anwser", "seperate"]),
        ("| a | occured |\n|---|---|\n| b | adress |", ["occured", "adress"]),
    ],
)
def test_misspellings_are_found_in_text_and_not_in_code(source: str, wanted: list[str]) -> None:
    assert misspelled(source) == wanted


def test_every_allowed_word_is_needed() -> None:
    """What the dictionary has learned since, and what nobody writes any more, goes."""
    assert [word for word in sorted(allowed()) if word in dictionary()] == []
