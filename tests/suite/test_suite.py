"""Each notebook has the form of the suite, and was stored as it runs."""

from __future__ import annotations

import ast
import html
import re
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from tests.suite.learner import (
    FOLDER,
    NAMES,
    PATHS,
    ROOT,
    around,
    as_cells,
    as_text,
    check_lines,
    code_cells,
    read,
    solution_of,
    tagged,
)

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def notebook(name: str) -> Any:
    return read(name)


def prose(notebook: Any) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_there_are_notebooks() -> None:
    assert NAMES[:3] == ["00_start_here", "01_strings", "02_hashes"]


def test_it_is_valid_and_its_cells_have_names(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+(-\d+)?(-[a-z]+)?", each) for each in ids)


def test_it_carries_nothing_of_the_machine_it_ran_on(name: str, notebook: Any) -> None:
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "jupyter"}, cell.id
    written = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|work|Users|var|opt)/|[A-Z]:\\\\", written)


def test_it_was_run_from_top_to_bottom(notebook: Any) -> None:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", cell.id
            if output.output_type == "execute_result":
                assert output.execution_count == cell.execution_count


def test_its_first_cell_says_what_it_is_for(name: str, notebook: Any) -> None:
    title = notebook.cells[0].source
    assert title.startswith(f"# {name[:2]} · ")
    minutes = re.search(r"\*\*Time:\*\* (\d+) minutes", title)
    assert minutes
    assert 10 <= int(minutes[1]) <= 20
    assert re.search(r"\*\*What you will be able to do\*\*\n\n(- .+\n){2,3}", title)
    assert re.search(r"\*\*What you need to know:\*\* .+", title)


def test_it_says_whether_it_runs_in_the_browser_alone_and_the_map_agrees(name: str, notebook: Any) -> None:
    said = re.findall(r"^\*\*In the browser alone:\*\* (yes|no), [^.]+\.$", notebook.cells[0].source, re.MULTILINE)
    row = re.search(rf"^\| {name[:2]} \|.*\| (yes|no) \|$", section("The map"), re.MULTILINE)
    assert row
    assert said == [row[1]]


def test_it_ends_with_what_was_learned_and_where_to_go(name: str, notebook: Any) -> None:
    learned, following = notebook.cells[-2:]
    assert re.fullmatch(r"## What you learned\n\n(- .+\n?){2,4}", learned.source)
    assert following.source.startswith("## Next\n\n")
    position = NAMES.index(name)
    wanted = NAMES[position + 1] if position + 1 < len(NAMES) else NAMES[0]
    assert f"]({wanted}.ipynb)" in following.source


def test_it_opens_in_binder(name: str, notebook: Any) -> None:
    links = re.findall(r"https://mybinder\.org/v2/gh/(\S+?)/HEAD\?labpath=([^)\s]+)", notebook.cells[0].source)
    assert links == [(repository(), quote(f"notebooks/{name}.ipynb", safe=""))]
    assert "[![Open in Binder](https://mybinder.org/badge_logo.svg)](" in notebook.cells[0].source


def repository() -> str:
    """OWNER/REPO as the README names it: the one place that says so."""
    found = re.search(r"repository\s`([\w.-]+/[\w.-]+)`", section("Where the badges lead"))
    assert found
    return found[1]


def section(heading: str) -> str:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", readme, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


def test_every_link_leads_somewhere(notebook: Any) -> None:
    for target in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", prose(notebook)):
        path = target[0] or target[1]
        if not path.startswith("https://mybinder.org/"):
            assert (FOLDER / path).is_file(), path


def test_the_map_and_the_readme_name_every_notebook() -> None:
    chart = next(cell.source for cell in read("00_start_here").cells if cell.id == "map")
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for each in NAMES:
        assert f"({each}.ipynb)" in readme, each
        assert f"({each}.ipynb)" in chart or each == "00_start_here", each
    for number in range(15):
        row = re.search(rf"^\| \**{number:02}\** \|.*$", chart, re.MULTILINE)
        assert row, number
        exists = any(each.startswith(f"{number:02}_") for each in NAMES)
        assert exists != ("*coming*" in row[0]), number


def test_every_picture_says_in_words_what_it_shows(name: str, notebook: Any) -> None:
    assert f'<img src="pictures/{name}.svg" ' in prose(notebook)
    shown = [prose(notebook)]
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            assert not any(kind.startswith("image/") for kind in data), cell.id
            shown.append(data.get("text/html", ""))
    images = [tag for text in shown for tag in re.findall(r"<img [^>]*>", text)]
    assert images
    for tag in images:
        alt = re.search(r'alt="([^"]*)"', tag)
        assert alt, tag[:80]
        assert len(alt[1]) > 40, alt[1]


def test_drawings_stand_alone_and_agree_with_their_alternative_text(name: str, notebook: Any) -> None:
    written = (FOLDER / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    drawing = ElementTree.fromstring(written)  # noqa: S314  (our own file)
    description = drawing.find(f"{SVG}desc")
    assert description is not None
    alt = re.search(r'alt="([^"]*)"', notebook.cells[1].source)
    assert alt
    assert html.unescape(alt[1]) == description.text
    assert drawing.find(f"{SVG}title") is not None
    assert drawing.get("role") == "img"
    # One picture for a light and a dark page: nothing is painted on the page itself, nothing is fetched.
    assert not re.search(r"url\((?!#)|href|<image|<script|prefers-color-scheme", written)
    assert "black" not in written
    assert 'fill="#000' not in written
    width, height = float(drawing.get("width", 0)), float(drawing.get("height", 0))
    for text in drawing.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x", -1)) <= width, text.text
        assert 0 <= float(text.get("y", -1)) <= height, text.text
        assert float(text.get("font-size", 0)) >= 14, text.text


def test_drawings_have_enough_contrast_on_both_pages() -> None:
    for path in (FOLDER / "pictures").glob("*.svg"):
        drawing = ElementTree.parse(path).getroot()  # noqa: S314  (our own file)
        fills: list[tuple[float, float, float, float, str]] = []
        for element in drawing:
            if element.tag == f"{SVG}rect" and element.get("fill") != "none":
                fills.append(
                    (*(float(element.get(side, 0)) for side in ("x", "y", "width", "height")), element.get("fill", ""))
                )
            if element.tag == f"{SVG}text" and element.text:
                x, y = float(element.get("x", 0)), float(element.get("y", 0))
                behind = [
                    fill
                    for left, top, width, height, fill in fills
                    if left <= x <= left + width and top <= y <= top + height
                ]
                for page in behind[-1:] or ["#ffffff", "#111111"]:
                    assert contrast(element.get("fill", ""), page) >= 4, (path.name, element.text, page)


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Source: WCAG 2.2, "relative luminance"."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_predictions_hide_their_answers_until_they_are_asked_for(notebook: Any) -> None:
    predictions = tagged(notebook, "predict")
    assert predictions
    for cell in predictions:
        question, answer = around(notebook, cell)
        assert question.source.startswith("### Predict, then run\n\n")
        assert question.source.rstrip().endswith(("?", ".")), cell.id
        assert "?" in question.source
        assert re.fullmatch(r"<details>\n<summary>Answer</summary>\n\n.+\n\n</details>", answer.source, re.DOTALL)
        assert cell.metadata.jupyter.outputs_hidden is True
        # JupyterLab shows the first line of what it hides.
        assert cell.source.startswith(("predict()\n", "%%predict\n%%")), cell.id
        first, _, rest = as_text(cell.outputs).partition("\n")
        assert first == "Compare with your prediction:", cell.id
        assert rest.strip(), cell.id


def test_exercises_are_shipped_unsolved_with_a_check_and_a_solution(notebook: Any) -> None:
    exercises = tagged(notebook, "exercise")
    assert len(exercises) >= 2
    for number, cell in enumerate(exercises, 1):
        assert cell.id == f"exercise-{number}"
        assert any(each.source.startswith(f"### Exercise {number}\n\n") for each in notebook.cells)
        after = around(notebook, cell)[1]
        assert after.source.startswith("<details>\n<summary>Solution</summary>\n\n```python\n")
        assert after.source.endswith("\n```\n\n</details>")
        for part in as_cells(solution_of(notebook, cell), check_lines(cell), cell):
            ast.parse(TransformerManager().transform_cell(part))
        shown = as_text(cell.outputs)
        assert shown.startswith("✗ "), cell.id
        assert shown.count("✗ ") == shown.count("  Hint: ") == check_lines(cell).count("check."), cell.id
        assert "raised" not in shown, cell.id


def test_code_is_short_enough_to_read(notebook: Any) -> None:
    for cell in code_cells(notebook):
        lines = cell.source.splitlines()
        assert len(lines) <= 22, cell.id
        assert max(map(len, lines)) <= 100, cell.id


def test_every_name_that_is_measured_is_asserted(notebook: Any) -> None:
    """A time is shown by `timing`, which insists on its ratio; `%time` alone proves nothing."""
    sources = [cell.source for cell in code_cells(notebook)]
    if any("%time" in source or "perf_counter" in source for source in sources):
        assert any("timing.demo(" in source for source in sources)


def test_nothing_but_notebooks_and_their_parts_lies_there() -> None:
    assert {path.stem for path in (FOLDER / "pictures").iterdir()} == set(NAMES)
    assert all(path.parent == ROOT / "notebooks" for path in PATHS)
