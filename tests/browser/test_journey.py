"""The whole way in a browser: photographs dropped, a likeness taught, painted, compared, exported and brought back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.studio.client import Client

from .steps import LONG, choose_goal, drop_files, give_photos, open_concept, paint, start_teaching, wait_until_done
from .watching import Watched


def test_from_photographs_to_an_exported_likeness(open_page: Watched, photos: list[Path], tmp_path: Path) -> None:
    page = open_page.page
    give_photos(page, photos, name="bolt")
    assert page.locator("#report img").count() >= len(photos)
    assert page.get_by_label("Caption").first.input_value()
    plan = choose_goal(page, 0)
    assert re.search(r"\d+ (s|seconds?|minutes?|min)", plan), plan
    assert re.search(r"\d (MB|GB)", plan), plan
    slower = choose_goal(page, 2)
    assert slower != plan
    choose_goal(page, 0)

    start_teaching(page, "bolt")
    wait_until_done(page)
    open_concept(page, "bolt")
    concept = page.url
    assert page.get_by_role("heading", name="Diagnosis").is_visible()
    assert page.get_by_role("heading", name="Scores").is_visible()

    page.get_by_role("link", name="Paint <bolt>").click()
    page.get_by_label("Prompt", exact=True).fill("")
    page.get_by_label("Prompt", exact=True).press_sequentially("a photo of <bo")
    page.get_by_role("listbox", name="Handles").get_by_role("option", name=re.compile("bolt")).click()
    assert page.get_by_label("Prompt", exact=True).input_value().strip() == "a photo of <bolt>"
    paint(page, "a photo of <bolt> on the beach", count=2)
    first = page.locator("#results img").first
    assert first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    picture = page.locator("#results a[data-look]").first.get_attribute("href")
    painted = page.request.get(f"{picture}/whole").body()

    page.goto(concept)
    page.locator("main").get_by_role("link", name="Compare", exact=True).click()
    compared(page)

    page.goto(concept)
    exported(page, open_page.origin)
    page.goto("/paint")
    saved = tmp_path / "painted.png"
    saved.write_bytes(painted)
    drop_files(page, "[data-drop=send]", [saved])
    page.wait_for_url(re.compile(r"/paint\?"))
    assert page.get_by_label("Prompt", exact=True).input_value() == "a photo of <bolt> on the beach"


def compared(page: Any) -> None:
    """Compare the concept with the base alone on a prompt."""
    page.get_by_label("Prompts", exact=True).fill("{} in the snow")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.locator("main table img").nth(1).wait_for(state="attached", timeout=LONG)


def exported(page: Any, url: str) -> None:
    """Download the likeness; then export a second one, a learned word, for another tool, and read both files.

    The first one's method keeps image features, which no other tool reads: its export says so.
    """
    with page.expect_download() as started:
        page.locator("main").get_by_role("link", name="Download").click()
    assert num_tensors(started.value.path()) > 0
    with Client(url) as client:
        about = {"method": "textual_inversion", "settings": {"steps": 4}, "score": False, "check": False}
        word = client.learn(client.ids()["subject"], **about)
    page.goto(f"/concepts/{word.id}")
    page.get_by_label("For", exact=True).select_option("diffusers")
    page.get_by_role("button", name="Export", exact=True).click()
    wait_until_done(page)
    with page.expect_download() as started:
        page.locator("#job .list a").first.click()
    assert num_tensors(started.value.path()) > 0


def num_tensors(path: Path) -> int:
    from safetensors import safe_open

    with safe_open(str(path), "pt") as weights:
        return len(list(weights.keys()))
