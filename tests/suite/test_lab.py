"""Each notebook in a real JupyterLab in a real browser, as `make lab` opens it.

With TEST_LONG it is every notebook; otherwise it is two. Where TEST_SCREENSHOTS names a folder, there will be pictures
of each of them from top to bottom, in both themes and widths.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from tests.suite.browser import browser, faint_texts, fence
from tests.suite.learner import FOLDER, NAMES, ROOT, code_cells, read
from tests.support import LONG, kernel_address, until

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]

SHOWN = NAMES if LONG else ["00_start_here", "03_cached_documents"]
THEMES = ("JupyterLab Light", "JupyterLab Dark")
WIDTHS = (1280, 1920)
TALLEST = 15_000
"""Pixels; Chromium paints no window that is higher than 16,384."""

SETTINGS = {
    # All cells are in the page at once, not only those in sight.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # Looked up and written back by nobody: the copy in which it would lie goes away.
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}

RUN = """
async (name) => {
  const app = window.jupyterapp;
  const widget = await app.commands.execute("docmanager:open", {path: `${name}.ipynb`, factory: "Notebook"});
  await widget.context.ready;
  await widget.revealed;
  // The badge says "idle" before there is a kernel; what counts is that the kernel has told who it is.
  await widget.sessionContext.ready;
  await widget.sessionContext.session.kernel.info;
  app.shell.activateById(widget.id);
  await app.commands.execute("notebook:run-all-cells");
}
"""

ENDED = """
() => {
  const widget = window.jupyterapp.shell.currentWidget;
  const code = widget.content.widgets.filter((cell) => cell.model.type === "code");
  // After an error the cells below it are not run.
  const failed = code.some((cell) => cell.model.outputs.toJSON().some((output) => output.output_type === "error"));
  const ended = failed || code.at(-1).model.executionCount !== null;
  return ended && widget.sessionContext.session.kernel.status === "idle";
}
"""

OUTCOME = """
() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter((cell) => cell.model.type === "code")
  .map((cell) => ({
    id: cell.model.id,
    count: cell.model.executionCount,
    hidden: cell.outputHidden,
    errors: cell.model.outputs.toJSON()
      .filter((output) => output.output_type === "error" || output.name === "stderr")
      .map((output) => output.evalue ?? output.text),
  }))
"""

CUT = """
() => {
  const panel = window.jupyterapp.shell.currentWidget.node;
  const cut = [];
  for (const element of panel.querySelectorAll(".jp-OutputArea-output *, .jp-RenderedMarkdown *")) {
    const box = element.getBoundingClientRect();
    if (!box.width || element.closest("svg") || element.closest(".jp-mod-hidden, .lm-mod-hidden")) continue;
    for (let around = element.parentElement; around; around = around.parentElement) {
      const overflow = getComputedStyle(around).overflowX;
      if (overflow !== "visible") {
        const frame = around.getBoundingClientRect();
        const beyond = box.right > frame.right + 1 || box.left < frame.left - 1;
        // What scrolls inside of its cell is all there; the notebook itself is not to be scrolled sidewards.
        const scrolls = /auto|scroll/.test(overflow) && around.closest(".jp-Cell");
        if (beyond && !scrolls) cut.push(`${element.tagName} ${Math.round(box.width)} in ${Math.round(frame.width)}`);
        break;
      }
      if (around === panel) break;
    }
  }
  return cut;
}
"""

PICTURES = """
() => [...window.jupyterapp.shell.currentWidget.node.querySelectorAll(".jp-Cell img")]
  .filter((image) => !image.src.includes("mybinder.org"))
  .map((image) => ({words: image.alt, there: image.complete && image.naturalWidth > 0}))
"""

OUTER = "window.jupyterapp.shell.currentWidget.node.querySelector('.jp-WindowedPanel-outer')"


class Lab:
    """JupyterLab with a copy of the notebooks, and nothing of this machine's settings."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.notebooks = folder / "notebooks"
        shutil.copytree(
            FOLDER, self.notebooks, ignore=shutil.ignore_patterns("*.py", "__pycache__", ".ipynb_checkpoints")
        )
        for name, settings in SETTINGS.items():
            path = folder / "config" / "lab" / "user-settings" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings))
        self.log = (folder / "log").open("w+")
        self.runtime = folder / "runtime"
        own = {
            "FRAPPE_CACHE_HOME": str(home),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "PYTHONPATH": str(ROOT),
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FRAPPE_CACHE_", "JUPYTER"))}
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "frappe_cache_ext", "lab", str(self.notebooks), "--"),
                *("--no-browser", "--ServerApp.port=0", "--IdentityProvider.token=learner", "--expose-app-in-browser"),
                *(f"--KernelManager.{name}={value}" for name, value in kernel_address().items()),
            ],
            cwd=folder,
            env=kept | own,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    @property
    def url(self) -> str:
        """Where it answers, as it has written down itself."""

        def written() -> Any:
            assert self.process.poll() is None, self.said()
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                return json.loads((self.runtime / f"jpserver-{self.process.pid}.json").read_text())["url"]
            return None

        return str(until(written, 60, "JupyterLab"))

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, session_home: Path) -> Iterator[Any]:
    """A page of the browser with JupyterLab in it, and a list of what it asked of other machines."""
    with browser() as started:
        lab = Lab(tmp_path_factory.mktemp("lab"), session_home)
        try:
            context = started.new_context(viewport={"width": WIDTHS[0], "height": 1000})
            context.set_default_timeout(120_000)
            asked = fence(context)
            opened = context.new_page()
            opened.goto(f"{lab.url}lab?token=learner")
            opened.wait_for_function("() => window.jupyterapp")
            opened.evaluate("() => window.jupyterapp.restored")
            opened.asked_elsewhere = asked
            yield opened
            context.close()
        finally:
            lab.stop()


@pytest.fixture(scope="module", params=SHOWN)
def notebook(request: pytest.FixtureRequest, page: Any) -> Iterator[str]:
    """A notebook that was opened, and all cells of which were run."""
    name = str(request.param)
    page.set_viewport_size({"width": WIDTHS[0], "height": 1000})
    page.evaluate(RUN, name)
    page.wait_for_function(ENDED)
    yield name
    page.evaluate(
        "async () => { const widget = window.jupyterapp.shell.currentWidget;"
        " await widget.sessionContext.shutdown(); widget.dispose(); }"
    )


def test_every_cell_runs_and_none_fails(page: Any, notebook: str) -> None:
    outcome = page.evaluate(OUTCOME)
    assert {cell["id"]: cell["errors"] for cell in outcome if cell["errors"]} == {}
    assert [cell["id"] for cell in outcome] == [cell.id for cell in code_cells(read(notebook))]
    assert [cell["count"] for cell in outcome] == list(range(1, len(outcome) + 1))
    assert [cell["id"] for cell in outcome if cell["hidden"]] == []


def test_every_picture_is_there(page: Any, notebook: str) -> None:
    pictures = page.evaluate(PICTURES)
    drawing = ElementTree.parse(FOLDER / "pictures" / f"{notebook}.svg").find("{*}desc")  # noqa: S314  (our own file)
    assert drawing is not None
    assert drawing.text in [picture["words"] for picture in pictures]
    assert [picture["words"] for picture in pictures if not picture["there"]] == []


def test_only_the_badge_is_fetched_from_elsewhere(page: Any, notebook: str) -> None:
    assert {urlsplit(each).hostname for each in page.asked_elsewhere} <= {"mybinder.org"}, notebook


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_and_everything_can_be_read(page: Any, notebook: str, width: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
    page.wait_for_function("(theme) => document.body.dataset.jpThemeName === theme", arg=theme)
    page.wait_for_timeout(300)
    _keep_picture(page, f"{notebook}-{width}-{theme.split()[1].lower()}", width)
    assert page.evaluate(CUT) == []
    # Code is coloured by JupyterLab, whose affair its colours are.
    assert faint_texts(page, ".jp-OutputArea-output, .jp-RenderedMarkdown", only=":not(pre *)") == []


def _keep_picture(page: Any, name: str, width: int) -> None:
    folder = os.environ.get("TEST_SCREENSHOTS")
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    height = 1000 + page.evaluate(f"() => {OUTER}.scrollHeight - {OUTER}.clientHeight")
    page.set_viewport_size({"width": width, "height": min(TALLEST, height)})
    page.evaluate(f"() => {OUTER}.scrollTo(0, 0)")
    page.wait_for_timeout(500)
    page.screenshot(path=f"{folder}/{name}.png")
    page.set_viewport_size({"width": width, "height": 1000})
