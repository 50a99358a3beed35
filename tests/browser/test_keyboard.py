"""Teach and Paint by keyboard alone: no mouse, no script that touches an element."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .steps import LONG, wait_until_done
from .watching import Watched

if TYPE_CHECKING:
    from playwright.sync_api import FileChooser, Page

NAME = """
() => {
  const each = document.activeElement;
  const label = each.labels?.[0]?.textContent || each.getAttribute("aria-label") || each.textContent || each.value || "";
  return label.trim().replace(/\\s+/g, " ");
}
"""
IS_SEEN = """
() => {
  const each = document.activeElement, style = getComputedStyle(each), box = each.getBoundingClientRect();
  return box.width > 0 && box.height > 0 && (style.outlineStyle !== "none" || style.boxShadow !== "none");
}
"""


def tab_to(page: Page, name: str, *, most: int = 90) -> None:
    """Press Tab until the element of this name has the focus, which must be visible on the way."""
    for _ in range(most):
        page.keyboard.press("Tab")
        found = page.evaluate(NAME)
        assert page.evaluate(IS_SEEN), f"the focus on {found!r} is not visible"
        if re.fullmatch(name, found):
            return
    raise AssertionError(f"Tab does not lead to {name!r}")


def open_chooser(page: Page, *, presses: int = 12) -> FileChooser:
    """Press Enter on the focused file field, again every five seconds: Chromium may drop a press on a page that is
    still being drawn. One listener for all presses, so that a chooser that opens late is not lost between two."""
    name, opened = page.evaluate(NAME), list[Any]()
    page.on("filechooser", lambda chooser: opened.append(chooser))
    for _ in range(presses):
        assert page.evaluate(NAME) == name, f"the focus left {name!r}"
        page.keyboard.press("Enter")
        for _ in range(50):
            page.wait_for_timeout(100)
            if opened:
                return cast("FileChooser", opened[0])
    raise AssertionError(f"Enter on {name!r} opens no file chooser")


def test_teach_and_paint_by_keyboard(open_page: Watched, photos: list[Path]) -> None:
    page, keys = open_page.page, open_page.page.keyboard
    page.goto("/")
    keys.press("Tab")
    assert page.evaluate(NAME) == "Skip to the content"
    tab_to(page, "Teach")
    keys.press("Enter")
    page.wait_for_url("**/teach")
    tab_to(page, "Drop photos here")
    open_chooser(page).set_files([str(path) for path in photos])
    tab_to(page, "Name")
    keys.type("kit")
    tab_to(page, "Class")
    keys.type("car")
    keys.press("Enter")
    page.get_by_text("4 of 4 will be learned").wait_for(timeout=LONG)

    tab_to(page, "Goal.*")
    keys.press("Home")
    tab_to(page, "Teach kit")
    keys.press("Enter")
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f]{32}"))
    wait_until_done(page)

    page.goto("/paint")
    tab_to(page, "Prompt")
    keys.type("a photo of <ki")
    keys.press("ArrowDown")
    keys.press("Enter")
    keys.type(" in the snow")
    assert page.evaluate("document.activeElement.value") == "a photo of <kit> in the snow"
    tab_to(page, "Paint")
    keys.press("Enter")
    page.locator("#results img").first.wait_for(timeout=LONG)
