"""A static edition of the notebooks, to read in a browser: ``python -m editions.site [FOLDER]``.

The pages show the stored outputs; nothing is run. They need no script and no network. What a reader is asked to predict
is folded away, like the answers and solutions, so that the page can be worked through with a pencil.
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
NOTEBOOKS: Final = ROOT / "notebooks"
BUILT: Final = ROOT / "build" / "site"
TITLE: Final = "Caching, learned by measuring it"
MARK: Final = "site.css"
"""The file by which a folder is known to be a site that was built before."""

_PIXELS: Final = 16.0
"""In a `rem` of an ordinary page: pictures are sized in `rem`, so that they grow with the letters on a projector."""

MAP: Final = "The map"
UNREAD: Final = frozenset({"Where the badges lead", "For those who change a notebook"})
"""Sections of the README for those who work on the notebooks, and not with them."""

_OPENS: Final = re.compile(r"(predict|exercise)-\d+-(question|task)")
_CLOSES: Final = {"predict": "answer", "exercise": "solution"}


class SiteError(Exception):
    """The notebooks are not as this edition needs them; the message says which, and how."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A notebook on the map.

    Attributes:
        name: its file's name without the ending.
        number: two digits.
        title: what the map calls it, as HTML.
        idea: what it is about, as HTML.
        minutes: how long it takes.
        heading: its own first line, as text, without the number.
    """

    name: str
    number: str
    title: str
    idea: str
    minutes: str
    heading: str

    @property
    def page(self) -> str:
        """The file of its page."""
        return f"{self.name}.html"


def build(into: Path, notebooks: Path = NOTEBOOKS) -> list[Path]:
    """Write the site into a folder, in place of one that was built there before.

    Example:
        >>> [page.name for page in build(Path("build/site"))][:2]
        ['index.html', '00_start_here.html']

    Args:
        into: the folder; made where there is none.
        notebooks: the folder of the notebooks, their pictures and their README.

    Returns:
        The pages, the index first.

    Raises:
        SiteError: the folder holds something else, or a notebook is not as it has to be; nothing has been removed.
    """
    import nbformat  # noqa: PLC0415  (this and nbconvert take a second: `--help` does without)

    if into.exists() and any(into.iterdir()) and not (into / MARK).is_file():
        raise SiteError(f"{into} holds something else than a site; name an empty folder, or none.")
    paths = sorted(notebooks.glob("*.ipynb"))
    read = {path.stem: nbformat.read(path, as_version=4) for path in paths}  # type: ignore[no-untyped-call]
    readme = (notebooks / "README.md").read_text(encoding="utf-8")
    entries = list(_entries(read, readme))
    renderer = _Renderer(entries, repository_of(readme))
    pages = {"index.html": renderer.index(readme)}
    for entry in entries:
        pages[entry.page] = renderer.notebook(entry, read[entry.name])
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    shutil.copy(HERE / MARK, into / MARK)
    shutil.copytree(notebooks / "pictures", into / "pictures")
    for name, page in pages.items():
        (into / name).write_text(page, encoding="utf-8")
    return [into / name for name in pages]


def repository_of(readme: str) -> str:
    """OWNER/REPO as the README of the notebooks names it.

    Raises:
        SiteError: it names none.
    """
    found = re.search(r"repository\s+`([\w.-]+/[\w.-]+)`", readme)
    if not found:
        raise SiteError("notebooks/README.md does not name the repository: repository `OWNER/REPO`")
    return found[1]


def _entries(notebooks: Mapping[str, Any], readme: str) -> Iterator[Entry]:
    """The map of the README, row by row."""
    row = r"^\| *\**(\d\d)\** *\| *\[(.+?)\]\((\w+)\.ipynb\) *\| *(.+?) *\| *(\d+) *\|"
    rows = re.findall(row, dict(_parts(readme)).get(MAP, ""), re.MULTILINE)
    on_map = [name for _, _, name, _, _ in rows]
    if on_map != list(notebooks):
        odd = sorted(set(on_map) ^ set(notebooks)) or on_map
        raise SiteError(f"the map in notebooks/README.md and the notebooks differ: {', '.join(odd)}")
    for number, title, name, idea, minutes in rows:
        first = re.match(r"# \d\d · (.+)", notebooks[name].cells[0].source)
        if not first:
            raise SiteError(f"{name}.ipynb does not begin with its title: # {number} · …")
        yield Entry(
            name, number, _inline(title[:1].upper() + title[1:]), _inline(idea), minutes, first[1].replace("`", "")
        )


def _parts(readme: str) -> list[tuple[str, str]]:
    """The README's sections with their headings; what stands above the first has none."""
    first, *others = re.split(r"^## ", readme, flags=re.MULTILINE)
    return [("", first), *((heading, text) for heading, _, text in (each.partition("\n") for each in others))]


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


class _Renderer:
    """Turns notebooks into pages that know of each other."""

    def __init__(self, entries: Sequence[Entry], repository: str) -> None:
        import nbconvert  # noqa: PLC0415
        from traitlets.config import Config  # noqa: PLC0415

        self.entries = entries
        self.repository = repository
        self.exporter = nbconvert.HTMLExporter(  # type: ignore[no-untyped-call]
            template_file=str(HERE / "site.html.j2"),
            config=Config({"HTMLExporter": {"exclude_anchor_links": True}}),
        )

    def index(self, readme: str) -> str:
        """The first page: what this is, the map, how to work through it."""
        import nbformat  # noqa: PLC0415

        (_, introduction), *sections = _parts(readme)
        # The page's title says this.
        introduction = re.sub(rf"^# .+\n\s*({TITLE}: (\w))?", lambda found: (found[2] or "").upper(), introduction)
        empty = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
        return self._page(
            empty,
            {
                "title": TITLE,
                "introduction": introduction,
                "parts": [
                    # Cards stand in for the table.
                    (heading, re.sub(r"^\|.*\n", "", text, flags=re.MULTILINE) if heading == MAP else text)
                    for heading, text in sections
                    if heading not in UNREAD
                ],
            },
        )

    def notebook(self, entry: Entry, notebook: Any) -> str:
        """A notebook's page."""
        copy = notebook.copy()
        # Magics are coloured as such.
        copy.metadata = {**notebook.metadata, "language_info": {"name": "python", "pygments_lexer": "ipython3"}}
        opens, closes = _groups(entry.name, notebook.cells)
        return self._page(copy, {"title": f"{entry.number} · {entry.heading}", "entry": entry} | opens | closes)

    def _page(self, notebook: Any, known: dict[str, Any]) -> str:
        position = self.entries.index(known["entry"]) if "entry" in known else -1
        around = {
            "previous": self.entries[position - 1] if position > 0 else None,
            "following": self.entries[position + 1] if position + 1 < len(self.entries) else None,
        }
        from frappe_cache_ext import __version__  # noqa: PLC0415

        site = {
            "entries": self.entries,
            "sections": _sections(notebook.cells),
            "repository": self.repository,
            "version": __version__,
        }
        page, _ = self.exporter.from_notebook_node(notebook, resources={"site": site | around | known})
        return self._settle(page)

    def _settle(self, page: str) -> str:
        """What a template cannot do: links, identifiers and sizes of what notebooks bring with them."""
        from bs4 import BeautifulSoup  # noqa: PLC0415  (nbconvert needs it, too)

        soup = BeautifulSoup(page, "html.parser")

        def frame(label: str) -> Any:
            """A box that scrolls what is too wide for the screen, also by the keyboard."""
            return soup.new_tag("div", attrs={"class": "wide", "tabindex": "0", "role": "region", "aria-label": label})

        for link in soup.find_all("a", href=True):
            link["href"] = self.target(str(link["href"]))
        for cell in soup.select(".text[id]"):
            # A link to a cell is a link to its heading, and "Predict, then run" may stand on a page many times.
            heading = cell.find(["h2", "h3"])
            if heading is not None:
                heading["id"], cell["id"] = cell["id"], f"cell-{cell['id']}"
        for heading in soup.select("h2:not([id]), h3:not([id])"):
            slug = re.sub(r"[^\w\- ]", "", heading.get_text().lower()).replace(" ", "-")
            again = len(soup.find_all(id=re.compile(rf"{re.escape(slug)}(-\d+)?$")))
            heading["id"] = f"{slug}-{again}" if again else slug
        for badge in soup.select('a > img[src^="http"]'):
            badge.replace_with(str(badge.get("alt", "")) or "Open")
        for image in soup.find_all("img", width=True):
            image["style"] = f"width: {float(str(image['width'])) / _PIXELS:g}rem"
            del image["width"]
        for image in soup.select(".text img, .rich img"):
            around = image.find_parent("p")
            if around is not None:  # which may not hold a box
                around.unwrap()
            image.wrap(frame("Picture"))
        for table in soup.find_all("table"):
            caption = table.find("caption")
            table.wrap(frame(caption.get_text() if caption else "Table"))
        for lines in soup.find_all("pre"):
            lines["tabindex"] = "0"  # what scrolls must be reached by the keyboard
        return str(soup)

    def target(self, link: str) -> str:
        """Where a notebook's link leads on the site.

        Example:
            >>> renderer.target("01_strings.ipynb#code-1"), renderer.target("README.md#the-map")
            ('01_strings.html#code-1', 'index.html#the-map')
        """
        parts = urlsplit(link)
        if parts.scheme or not parts.path:
            return link
        path, fragment = parts.path, f"#{parts.fragment}" if parts.fragment else ""
        if re.fullmatch(r"\w+\.ipynb", path):
            return path.removesuffix(".ipynb") + ".html" + fragment
        if path in {"README.md", "../notebooks/README.md"}:
            return f"index.html{fragment}"
        if re.fullmatch(r"\w+\.html", path):
            return link
        inside = (NOTEBOOKS / path).resolve()
        if inside.is_relative_to(ROOT) and inside.exists():
            return f"https://github.com/{self.repository}/blob/HEAD/{quote(str(inside.relative_to(ROOT)))}{fragment}"
        return link


def _groups(name: str, cells: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Which cells begin and end a prediction or an exercise: question to answer, task to solution."""
    opens: dict[str, str] = {}
    closes: set[str] = set()
    inside = ""
    for cell in cells:
        found = _OPENS.fullmatch(cell.id)
        if found and not inside:
            opens[cell.id] = found[1]
            inside = f"{cell.id.rpartition('-')[0]}-{_CLOSES[found[1]]}"
        elif cell.id == inside:
            closes.add(cell.id)
            inside = ""
    if inside:
        raise SiteError(f"{name}.ipynb has no cell {inside}")
    return {"opens": opens}, {"closes": closes}


def _sections(cells: Sequence[Any]) -> list[tuple[str, str]]:
    """The parts of a notebook: the identifier and the words of each heading of the second order."""
    found = []
    for cell in cells:
        heading = re.search(r"^## (.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if heading:
            found.append((cell.id, _inline(heading[1])))
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Build the site as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m editions.site", description="Build the static edition.")
    parser.add_argument("folder", nargs="?", type=Path, default=BUILT, help="where to; by default build/site")
    arguments = parser.parse_args(words)
    try:
        pages = build(arguments.folder)
    except SiteError as error:
        print(f"editions.site: {error}", file=sys.stderr)
        return 1
    print(f"{len(pages)} pages; open {pages[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
