"""The browser edition: it is built, served as files, and worked through in a browser that reaches nothing else.

With TEST_LONG it is every notebook that says that it runs there; otherwise it is two.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from editions import lite
from tests.suite.browser import browser, fence
from tests.suite.learner import FOLDER, NAMES, as_cells, as_text, asked_for, code_cells, read, solution_of, tagged
from tests.support import LONG, requires

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

OFFERED = [name for name in NAMES if lite.runs_in_browser(read(name))]
PLAYED = OFFERED if LONG else ["00_start_here", "08_complex_values"]

OPEN = """
async (path) => {
  const app = window.jupyterapp;
  await app.restored;
  const widget = await app.commands.execute("docmanager:open", {path, factory: "Notebook"});
  await widget.context.ready;
  await widget.sessionContext.ready;
  await widget.sessionContext.session.kernel.info;
  app.shell.activateById(widget.id);
}
"""

RUN_ALL = """
async () => {
  const app = window.jupyterapp;
  await app.commands.execute("notebook:clear-all-cell-outputs");
  await app.commands.execute("notebook:run-all-cells");
  return app.shell.currentWidget.content.model.toJSON();
}
"""

RUN = """
async (code) => {
  const outputs = [];
  const future = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code});
  future.onIOPub = ({header, content}) => {
    if (["stream", "display_data", "execute_result", "error"].includes(header.msg_type)) {
      outputs.push({output_type: header.msg_type, metadata: {}, ...content});
    }
  };
  await future.done;
  return outputs;
}
"""


class _Files(http.server.SimpleHTTPRequestHandler):
    """Files for one learner, without a line on stderr for each."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("lite") / "site"
    try:
        lite.build(folder)
    except lite.BuildError as error:
        requires(False, f"what the browser edition is made of ({error})")
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(_Files, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


class Lab:
    """JupyterLab in a browser's page, with one notebook open."""

    def __init__(self, page: Any, name: str) -> None:
        self._page = page
        page.wait_for_function("() => window.jupyterapp")
        page.evaluate(OPEN, f"{name}.ipynb")

    def run_all(self) -> Any:
        """Run every cell as the menu does, and return the notebook."""
        return nbformat.from_dict(self._page.evaluate(RUN_ALL))

    def run(self, code: str) -> str:
        return text_of(nbformat.from_dict(self._page.evaluate(RUN, code)))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    """JupyterLab, just opened; at the end nobody but the server of files may have been asked for anything."""
    context = chromium.new_context()
    context.set_default_timeout(120_000)
    asked = fence(context)
    # What drives JupyterLab here is hidden from learners.
    context.route("**/jupyter-lite.json*", with_application)
    opened = context.new_page()
    opened.goto(f"{address}/")
    yield opened
    context.close()
    assert asked == [], "something is fetched from elsewhere"


def with_application(route: Any) -> None:
    answer = route.fetch()
    document = answer.json()
    if "jupyter-config-data" in document:
        document["jupyter-config-data"]["exposeAppInBrowser"] = True
    route.fulfill(response=answer, body=json.dumps(document))


def text_of(outputs: list[Any]) -> str:
    """What was shown, as `as_text` has it.

    Charts are drawn without matplotlib there, and the kernel reports a result without content after one that has shown
    itself.
    """
    shown = [output for output in outputs if output.get("data") != {}]
    return re.sub(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]+", "data:image/png;base64,PICTURE", as_text(shown))


def test_the_entrance_leads_to_the_first_notebook(page: Any) -> None:
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.context?.path === '00_start_here.ipynb'")
    assert page.locator(".jp-Dialog").count() == 0


def test_all_that_runs_lies_in_the_site(site: Path) -> None:
    told = json.loads((site / "jupyter-lite.json").read_text())["jupyter-config-data"]
    kernel = told["litePluginSettings"]["@jupyterlite/pyodide-kernel-extension:kernel"]
    assert kernel["disablePyPIFallback"] is True
    assert (site / kernel["pyodideUrl"]).is_file()
    runtime = site / "static" / "pyodide"
    packages = json.loads((runtime / "pyodide-lock.json").read_text())["packages"]
    assert {package["file_name"] for package in packages.values()} == {path.name for path in runtime.glob("*.whl")}
    assert kernel["loadPyodideOptions"]["packages"] == list(packages)
    assert "frappe-cache-ext" in packages


def test_what_a_package_lacks_in_the_browser_is_said_by_the_build() -> None:
    def wheel(version: str, *needs: str) -> tuple[Version, list[Requirement]]:
        return Version(version), [Requirement(line) for line in needs]

    found = {name: wheel("1") for name in ("ipykernel", "piplite", "pyodide-kernel")}
    found["frappe-cache-ext"] = wheel("1", 'redis>=5; sys_platform == "emscripten"', 'ipython; extra == "notebook"')
    found["frappe-cache-ext"][1].extend(map(Requirement, ('lab; extra == "lab"', 'hiredis; sys_platform == "linux"')))
    found["ipython"] = wheel("9", "traitlets")
    found |= {"redis": wheel("6"), "traitlets": wheel("5")}
    lite.check_complete(found, "3.14.2")
    with pytest.raises(lite.BuildError, match=r"frappe-cache-ext needs redis>=5.*, and has 4:"):
        lite.check_complete(found | {"redis": wheel("4")}, "3.14.2")
    del found["traitlets"]
    with pytest.raises(lite.BuildError, match="ipython needs traitlets, and has None:"):
        lite.check_complete(found, "3.14.2")


def test_notebooks_are_those_of_the_folder_and_what_cannot_run_is_no_cell(site: Path) -> None:
    assert {path.stem for path in (site / "files").glob("*.ipynb")} == set(NAMES)
    for name in NAMES:
        stored, shown = read(name), nbformat.read(site / "files" / f"{name}.ipynb", as_version=4)
        assert [cell.id for cell in shown.cells] == [cell.id for cell in stored.cells]
        assert "mybinder.org" not in shown.cells[0].source
        if name in OFFERED:
            assert shown.cells[1:] == stored.cells[1:]
        else:
            assert code_cells(shown) == []
    assert len(list((site / "files" / "pictures").iterdir())) == len(list((FOLDER / "pictures").iterdir()))


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(lite.BuildError, match="holds something else"):
        lite.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_notebook_that_does_not_say_so_is_not_offered() -> None:
    def saying(text: str) -> Any:
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# Title\n\n{text}\n")])

    assert lite.runs_in_browser(saying("**In the browser alone:** yes, with nothing installed."))
    assert not lite.runs_in_browser(saying("**In the browser alone:** no, it starts a server. The rest: yes."))
    assert not lite.runs_in_browser(saying("Nothing is said."))


@pytest.mark.parametrize("name", PLAYED)
def test_a_learner_sees_in_the_browser_what_is_stored_and_solves_the_exercises(page: Any, name: str) -> None:
    lab = Lab(page, name)
    stored = read(name)
    shown = {cell.id: text_of(cell.outputs) for cell in code_cells(lab.run_all())}
    assert shown == {cell.id: as_text(cell.outputs) for cell in code_cells(stored)}
    for exercise in tagged(stored, "exercise"):
        _, checks = asked_for(stored, exercise)
        answer = "".join(map(lab.run, as_cells(solution_of(stored, exercise), checks, exercise)))
        assert "✗" not in answer, exercise.id
        assert answer.count("✓ ") == checks.count("check."), exercise.id
