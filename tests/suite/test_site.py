"""The static edition: whole, without anything from elsewhere, and fit for a phone, a desk and a projector."""

from __future__ import annotations

import functools
import html
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from editions import site
from tests.suite.browser import browser, faint_texts, fence
from tests.suite.learner import FOLDER, NAMES, ROOT, code_cells, read, tagged

PAGES = ["index.html", *(f"{name}.html" for name in NAMES)]
LOADING = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    assert [page.name for page in site.build(folder)] == PAGES
    return folder


@functools.cache
def soup(path: Path) -> Any:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest, built: Path) -> Path:
    return built / str(request.param)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def words(text: str) -> str:
    return " ".join(text.split())


# --- what is on the pages


def test_each_page_is_a_document_of_its_own(page: Path) -> None:
    document = soup(page)
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert document.html["lang"] == "en"
    assert document.title.get_text().strip()
    assert len(document.find_all("h1")) == 1
    assert len(document.find_all("main")) == 1
    ids = [element["id"] for element in document.find_all(id=True)]
    assert len(ids) == len(set(ids)), sorted(each for each in ids if ids.count(each) > 1)


def test_titles_differ(built: Path) -> None:
    titles = [soup(built / page).title.get_text() for page in PAGES]
    assert len(titles) == len(set(titles))


def test_every_link_leads_somewhere(page: Path) -> None:
    for link in soup(page).find_all("a", href=True):
        parts = urlsplit(link["href"])
        if parts.scheme:
            assert parts.scheme == "https", link["href"]
            continue
        assert not parts.path.endswith((".ipynb", ".md")), link["href"]
        target = page.parent / unquote(parts.path) if parts.path else page
        assert target.is_file(), link["href"]
        if parts.fragment:
            assert soup(target).find(id=unquote(parts.fragment)), link["href"]


def test_every_page_can_be_reached_from_the_index(built: Path) -> None:
    seen: set[str] = set()
    waiting = ["index.html"]
    while waiting:
        each = waiting.pop()
        if each not in seen and each.endswith(".html"):
            seen.add(each)
            waiting += [urlsplit(link["href"]).path for link in soup(built / each).find_all("a", href=True)]
    assert seen >= set(PAGES)


def test_pages_lead_to_their_neighbours(built: Path) -> None:
    for index, page in enumerate(PAGES):
        turning = {link["rel"][0]: link["href"] for link in soup(built / page).select("nav.turn a[rel]")}
        wanted = {}
        if index > 1:
            wanted["prev"] = PAGES[index - 1]
        if 0 < index < len(PAGES) - 1:
            wanted["next"] = PAGES[index + 1]
        assert turning == wanted, page


def test_a_link_within_the_notebooks_stays_on_the_site() -> None:
    renderer = site._Renderer([], "owner/repo")
    assert renderer.target("01_strings.ipynb#code-1") == "01_strings.html#code-1"
    assert renderer.target("README.md#the-map") == "index.html#the-map"
    assert renderer.target("#here") == "#here"
    assert renderer.target("https://example.com/x.ipynb") == "https://example.com/x.ipynb"
    assert renderer.target("../README.md") == "https://github.com/owner/repo/blob/HEAD/README.md"


def test_every_picture_says_in_words_what_it_shows(page: Path) -> None:
    for image in soup(page).find_all("img"):
        assert len(image.get("alt", "")) > 40, str(image)[:100]


def test_nothing_is_loaded_from_elsewhere(page: Path) -> None:
    document = soup(page)
    assert not document.find_all(["script", "iframe", "object", "embed", "base"])
    for tag, attribute in LOADING.items():
        for element in document.find_all(tag):
            parts = urlsplit(element[attribute])
            assert parts.scheme in {"", "data"}, element[attribute]
            assert not parts.netloc, element[attribute]
            if not parts.scheme:
                assert (page.parent / unquote(parts.path)).is_file(), element[attribute]
    assert not document.find_all(srcset=True)
    assert not any(attribute.startswith("on") for element in document.find_all() for attribute in element.attrs)
    styles = [element.get_text() for element in document.find_all("style")]
    styles += [element["style"] for element in document.find_all(style=True)]
    styles.append((page.parent / "site.css").read_text(encoding="utf-8"))
    for style in styles:
        assert not re.search(r"@import|url\(", style), style[:100]


def test_every_cell_is_there_with_what_it_showed(built: Path, name: str) -> None:
    document = soup(built / f"{name}.html")
    for cell in code_cells(read(name)):
        shown = document.find(id=cell.id)
        assert words(shown.select_one(".code").get_text()) == words(cell.source), cell.id
        outputs = shown.select_one(".outputs")
        assert (outputs is None) == (not cell.outputs), cell.id
        for output in cell.outputs:
            if output.output_type == "stream":
                assert words(output.text) in words(outputs.get_text()), cell.id
            elif "text/html" in output.data:
                wanted = BeautifulSoup(output.data["text/html"], "html.parser")
                assert words(wanted.get_text()) in words(outputs.get_text()), cell.id
                pictures = [image["src"] for image in outputs.find_all("img")]
                assert all(image["src"] in pictures for image in wanted.find_all("img")), cell.id
            else:
                assert words(output.data["text/plain"]) in words(outputs.get_text()), cell.id


def test_every_word_of_the_text_is_there(built: Path, name: str) -> None:
    shown = words(soup(built / f"{name}.html").main.get_text())
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                plain = re.sub(r"^(-|\d+\.) ", "", line)
                if re.fullmatch(r"[\w ,.:;?!'’–-]{12,}", plain):
                    assert words(plain) in shown, line


def test_what_is_to_be_predicted_is_folded(built: Path, name: str) -> None:
    document = soup(built / f"{name}.html")
    predictions = tagged(read(name), "predict")
    assert predictions
    for cell in predictions:
        (folded,) = document.find(id=cell.id).select(".outputs")
        assert folded.name == "details"
        assert not folded.has_attr("open")
        summary = folded.find("summary").extract()
        assert "predict" in summary.get_text()
        assert words(folded.get_text()), cell.id
        folded.insert(0, summary)
        assert folded.find_parent("section", class_="predict"), cell.id
    others = [cell.id for cell in code_cells(read(name)) if cell not in predictions]
    assert not [each for each in others if document.find(id=each).select("details.outputs")]


def test_answers_and_solutions_stay_folded(built: Path, name: str) -> None:
    document = soup(built / f"{name}.html")
    written = sum(cell.source.count("<details") for cell in read(name).cells if cell.cell_type == "markdown")
    folded = document.select(".text details")
    assert len(folded) == written >= 3
    assert not [each for each in document.find_all("details") if each.has_attr("open")]
    assert {words(each.summary.get_text()) for each in folded} == {"Answer", "Solution"}


def test_the_index_names_every_notebook_with_its_time(built: Path) -> None:
    cards = soup(built / "index.html").select(".cards a")
    assert [card["href"] for card in cards] == [f"{name}.html" for name in NAMES]
    for card, name in zip(cards, NAMES, strict=True):
        minutes = re.search(r"\*\*Time:\*\* (\d+) minutes", read(name).cells[0].source)
        assert minutes
        assert card.select_one(".minutes").get_text() == f"{minutes[1]} min"
        assert card.b.get_text() == name[:2]


def test_pictures_are_copied(built: Path) -> None:
    assert {path.name for path in (built / "pictures").iterdir()} >= {f"{name}.svg" for name in NAMES}


# --- building it


def test_a_site_is_built_in_place_of_an_older_one(tmp_path: Path) -> None:
    site.build(tmp_path)
    (tmp_path / "99_gone.html").touch()
    site.build(tmp_path)
    assert not (tmp_path / "99_gone.html").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").touch()
    assert site.main([str(tmp_path)]) == 1
    assert "holds something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def changed_copy(folder: Path, file: str, old: str, new: str) -> Path:
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    path = folder / file
    written = path.read_text(encoding="utf-8")
    assert old in written
    path.write_text(written.replace(old, new), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("README.md", "(02_hashes.ipynb)", "(02_hash.ipynb)", "differ: 02_hash, 02_hashes"),
        ("README.md", "repository", "place", "does not name the repository"),
        ("02_hashes.ipynb", '"predict-1-answer"', '"predict-1-reply"', "02_hashes.ipynb has no cell predict-1-answer"),
        ("02_hashes.ipynb", "# 02 · ", "# Two: ", "02_hashes.ipynb does not begin with its title"),
    ],
)
def test_what_does_not_fit_is_named_and_the_old_site_kept(
    tmp_path: Path, built: Path, file: str, old: str, new: str, complaint: str
) -> None:
    notebooks = changed_copy(tmp_path / "notebooks", file, old, new)
    before = shutil.copytree(built, tmp_path / "site")
    with pytest.raises(site.SiteError, match=re.escape(complaint)):
        site.build(before, notebooks)
    assert (before / "index.html").is_file()


def test_it_is_quick_to_say_how_it_is_used() -> None:
    code = "import sys; from editions import site; print({'nbconvert', 'bs4', 'nbformat'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"


# --- in a real browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(built: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(built))) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280, 1920])
def test_it_can_be_read_on_every_screen(address: str, chromium: Any, width: int, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    elsewhere = fence(context)
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("requestfailed", lambda request: complaints.append(request.url))
    for page in PAGES:
        tab.goto(f"{address}/{page}")
        tab.evaluate("() => document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert tab.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), page
        assert tab.evaluate("() => getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)" if scheme == "light" else "rgb(16, 20, 24)"
        )
        missing = "() => [...document.images].filter((each) => !each.naturalWidth).map((each) => each.alt)"
        assert tab.evaluate(missing) == [], page
        assert faint_texts(tab, "body") == [], page
    letters = tab.evaluate("() => parseFloat(getComputedStyle(document.documentElement).fontSize)")
    assert letters == 16 if width == 400 else letters >= 16
    assert letters >= 20 or width < 1920, "too small for a projector"
    context.close()
    assert elsewhere == []
    assert complaints == []


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(300)
def test_what_is_folded_is_seen_after_a_click(address: str, chromium: Any) -> None:
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto(f"{address}/{NAMES[0]}.html")
    folded = tab.locator("#predict-1 details.outputs pre").first
    assert not folded.is_visible()
    tab.locator("#predict-1 summary").click()
    assert folded.is_visible()
    assert "Compare with your prediction:" in html.unescape(folded.inner_text())
    context.close()
