"""A real browser for tests of what learners see: it speaks to this machine only. And how well its texts can be read."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.support import requires

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]

FAINT = """
([root, wanted, text]) => {
  const parse = (colour) => {
    const parts = colour.match(/[\\d.]+(e-?\\d+)?/g).map(Number);
    // "color(srgb 1 0.5 0)", as color-mix() is computed, counts to one.
    const scale = colour.startsWith("color(") ? 255 : 1;
    return [parts[0] * scale, parts[1] * scale, parts[2] * scale, parts.length > 3 ? parts[3] : 1];
  };
  const over = (front, alpha, back) => [0, 1, 2].map((i) => front[i] * alpha + back[i] * (1 - alpha));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ancestry = (element) => {
    const found = [];
    for (let each = element; each; each = each.parentElement) found.unshift(each);
    return found;
  };
  const behind = (element) => {
    let colour = [255, 255, 255];
    for (const each of ancestry(element)) {
      const painted = parse(getComputedStyle(each).backgroundColor);
      colour = over(painted, painted[3], colour);
    }
    return colour;
  };
  const faint = [];
  const seen = new Set();
  for (const area of document.querySelectorAll(root)) {
    const walker = document.createTreeWalker(area, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      const words = walker.currentNode.textContent.trim();
      if (!words || seen.has(element) || (text && !element.matches(text))) continue;
      seen.add(element);
      if (!element.checkVisibility || !element.checkVisibility() || !element.getClientRects().length) continue;
      const page = behind(element);
      const own = parse(getComputedStyle(element).color);
      let alpha = own[3];
      for (const each of ancestry(element)) alpha *= Number(getComputedStyle(each).opacity);
      const shown = over(own, alpha, page);
      const [darker, lighter] = [luminance(shown), luminance(page)].sort((a, b) => a - b);
      const ratio = (lighter + 0.05) / (darker + 0.05);
      if (ratio < wanted) {
        const tag = `<${element.tagName.toLowerCase()} class="${element.className}">`;
        faint.push(`${ratio.toFixed(2)}: ${tag} ${words.slice(0, 60)}`);
      }
    }
  }
  return faint;
}
"""


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Chromium, or what is left of it under another name."""
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    requires(binary, "chromium")
    requires(importlib.util.find_spec("playwright"), "playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=binary, args=OPTIONS)
        try:
            yield started
        finally:
            started.close()


def fence(context: Any) -> list[str]:
    """Let a context reach this machine only; returns the list of what else it asked for, which grows."""
    asked: list[str] = []

    def decide(route: Any) -> None:
        if urlsplit(route.request.url).hostname in {"127.0.0.1", "localhost"}:
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    # Addresses with a host: what a page carries in itself (data:, blob:) or has beside it (file:) is no request.
    context.route(lambda url: urlsplit(url).scheme in {"http", "https"}, decide)
    return asked


def faint_texts(page: Any, root: str, *, contrast: float = 4.5, only: str = "") -> list[str]:
    """Texts below `root` whose contrast with what is behind them is too low, as they are shown.

    Args:
        page: the page of a browser.
        root: a selector of the parts that are looked at.
        contrast: the least that is wanted; 4.5 is WCAG 2.2's for texts.
        only: a selector of the elements whose own texts count; all of them where it is empty.
    """
    found: list[str] = page.evaluate(FAINT, [root, contrast, only])
    return found
