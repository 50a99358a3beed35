"""Steps of a person in the studio, shared by the tests and by the screenshots of the docs."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = 300_000
"""Milliseconds that teaching and painting on the pocket base may take on a slow, loaded machine."""
DROP = """
(files) => {
  const carried = new DataTransfer();
  for (const [name, data] of files) {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    carried.items.add(new File([bytes], name, { type: "image/png" }));
  }
  return carried;
}
"""


def drop_files(page: Page, zone: str, files: Sequence[Path]) -> None:
    """Drop files on a part of the page, as a person does from the file manager."""
    coded = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in files]
    carried = page.evaluate_handle(DROP, coded)
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(zone, event, {"dataTransfer": carried})


def give_photos(page: Page, photos: Sequence[Path], *, name: str = "zippy", noun: str = "car") -> None:
    """From the first page to the subject's page, with all that was read of the photos."""
    page.goto("/")
    page.get_by_role("link", name="Teach", exact=True).first.click()
    drop_files(page, "[data-drop]", photos)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Class", exact=True).fill(noun)
    page.get_by_role("button", name="Look at these photos").click()
    page.get_by_text(f"{len(photos)} of {len(photos)} will be learned").wait_for(timeout=LONG)


def choose_goal(page: Page, index: int) -> str:
    """Move the slider, and return what the page says before training begins."""
    slider = page.locator("#goal")
    slider.focus()
    with page.expect_response(lambda answer: "/plan" in answer.url and f"goal={index}" in answer.url):
        slider.press("Home")
        for _ in range(index):
            slider.press("ArrowRight")
    page.wait_for_selector(".htmx-request", state="detached")  # the answer is on the page
    return page.locator("#plan").inner_text()


def start_teaching(page: Page, name: str = "zippy") -> str:
    """Start the training of the subject that is shown; the job's id."""
    page.get_by_role("button", name=f"Teach {name}").click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f]{32}"))
    return job_id(page)


def job_id(page: Page) -> str:
    return re.findall(r"/jobs/([0-9a-f]{32})", page.url)[-1]


def wait_until_done(page: Page) -> None:
    """Wait until the job that is shown is done. The panel renews itself; nobody reloads the page."""
    page.locator("#job .tag", has_text=re.compile("^done$|^failed$")).first.wait_for(timeout=LONG)
    failure = page.locator("#job [role=alert]")
    assert failure.count() == 0, failure.all_inner_texts()


def open_concept(page: Page, name: str = "zippy") -> str:
    """From the job's page to that of the concept it learned; the concept's id."""
    page.locator("#job").get_by_role("link", name=name, exact=True).first.click()
    page.wait_for_url(re.compile(r"/concepts/[0-9a-f]{32}"))
    return re.findall(r"/concepts/([0-9a-f]{32})", page.url)[0]


def teach_by_steps(page: Page, photos: Sequence[Path], *, goal: int = 0) -> str:
    """From photographs to a concept; its id."""
    give_photos(page, photos)
    choose_goal(page, goal)
    start_teaching(page)
    wait_until_done(page)
    return open_concept(page)


def paint(page: Page, prompt: str, *, count: int = 1) -> None:
    """Write a prompt on the page Paint, and wait for the pictures."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.keyboard.press("Escape")
    page.get_by_label("Pictures", exact=True).fill(str(count))
    shown = page.locator("#results img")
    before = shown.count()
    page.get_by_role("button", name="Paint", exact=True).click()
    shown.nth(before + count - 1).wait_for(state="attached", timeout=LONG)
