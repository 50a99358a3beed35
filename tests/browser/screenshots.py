"""The pictures of docs/studio.md: every page of a studio that has taught a toy.

python -m tests.browser.screenshots [FOLDER]      # docs/images/studio/*.webp, at most 20 kB each
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from benchmarks.studio.client import Client, Taught, toy_pictures
from benchmarks.studio.server import Studio, studio

from .conftest import chromium, watched_page
from .steps import LONG, choose_goal, give_photos, start_teaching, wait_until_done
from .watching import launch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).parent.parent.parent / "docs" / "images" / "studio"
MOST = 20_000
"""Bytes of a picture."""
WIDE, NARROW = 1280, 390  # CSS pixels of the window
SHOWN = 900  # pixels of a wide picture in the docs
SETTINGS = {
    "method": "textual_inversion",
    "settings": {"steps": 160},
    "sample_every": 40,
    "score": False,
    "check": False,
}
"""A training long enough to be seen while it runs."""
PROMPTS = ("<zippy> on the beach", "<zippy> in the snow", "<zippy> in the jungle wearing a red hat")


def main() -> int:
    program = chromium()
    if program is None:
        raise SystemExit("this needs Chromium: `make browser` installs it")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, studio(Path(place) / "data") as server, launch(program) as browser:
        for name, data in pictures(browser, server, Path(place)):
            path = folder / f"{name}.webp"
            path.write_bytes(data)
            print(f"{path.name}: {len(data) / 1000:.1f} kB")
    return 0


def pictures(browser: Browser, server: Studio, place: Path) -> Iterator[tuple[str, bytes]]:
    """(name, WebP) of each page."""
    client = Client(server.url)
    with watched_page(browser, server, width=WIDE) as watched:
        # taking a picture adds an empty style to the page, which its policy refuses
        watched.allowed = ("Applying inline style",)
        page = watched.page
        page.goto("/teach")
        yield "teach", shot(page)
        give_photos(page, saved_photos(place))
        yield "photos", shot(page)
        choose_goal(page, 0)
        yield "plan", shot(page, "How well, how long")
        start_teaching(page)
        wait_until_done(page)
        concept = taught(client)
        job = client.submit("learn", subject=client.ids()["subject"], **SETTINGS)
        page.goto(f"/jobs/{job}")
        page.locator("#job img").first.wait_for(timeout=LONG)
        page.wait_for_timeout(1500)
        yield "training", shot(page)
        client.wait(job)
        paint_some(client, concept)
        page.goto(f"/concepts/{concept.id}")
        yield "likeness", shot(page)
        page.goto(f"/paint?concept={concept.id}")
        page.get_by_text("Regions: who stands where").click()
        yield "paint", shot(page)
        picture = client.call("GET", "/api/pictures")["pictures"][0]["id"]
        page.goto(f"/swap?photo={picture}&concept={concept.id}")
        yield "swap", shot(page)
        for name, path in (
            ("try_on", f"/try-on?photo={picture}"),
            ("picture", f"/pictures/{picture}"),
            ("settings", "/settings"),
        ):
            page.goto(path)
            yield name, shot(page)
        page.goto(f"/teach/{client.ids()['subject']}/protect")
        page.get_by_role("button", name="Protect 4 photos").click()
        wait_until_done(page)
        yield "protect", shot(page)
        page.goto(f"/compare?concept={concept.id}")
        page.get_by_label("Prompts", exact=True).fill(
            "\n".join(f"{{}} {place}" for place in ("on the beach", "in the snow"))
        )
        page.get_by_role("button", name="Compare", exact=True).click()
        page.locator("main table img").nth(3).wait_for(state="attached", timeout=LONG)
        page.wait_for_timeout(1500)
        yield "compare", shot(page)
        page.goto("/chat")
        for words in (f"a photo of <{concept.name}> on the beach", "give it a red hat", "make it night"):
            page.get_by_role("combobox").fill(words)
            with page.expect_navigation():
                page.get_by_role("button", name="Say").click()
            page.locator("progress").wait_for(state="detached", timeout=LONG)
        yield "chat", shot(page)
        for name in ("gallery", "concepts", "jobs", "bench", "report", "hardware"):
            page.goto(f"/{name}")
            page.wait_for_timeout(500)
            yield name, shot(page)
        page.goto("/")
        yield "home", shot(page)
    with watched_page(browser, server, width=WIDE, scheme="dark") as watched:
        watched.page.goto("/gallery")
        watched.page.wait_for_timeout(500)
        yield "dark", shot(watched.page)
    with watched_page(browser, server, width=NARROW) as watched:
        watched.page.goto(f"/concepts/{concept.id}")
        yield "narrow_likeness", shot(watched.page)
        watched.page.goto("/paint")
        yield "narrow_paint", shot(watched.page)


def shot(page: Page, heading: str = "") -> bytes:
    """The window as WebP of at most `MOST` bytes; from a heading on, where one is named."""
    if heading:
        page.get_by_role("heading", name=heading).evaluate("heading => heading.scrollIntoView()")
    page.wait_for_load_state("networkidle") if not page.locator("[data-live]").count() else page.wait_for_timeout(800)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    if image.width > SHOWN:
        image = image.resize((SHOWN, round(image.height * SHOWN / image.width)), Image.Resampling.LANCZOS)
    for quality in range(82, 20, -6):
        kept = io.BytesIO()
        image.save(kept, "WEBP", quality=quality, method=6)
        if kept.tell() <= MOST:
            return kept.getvalue()
    raise ValueError(f"a picture of {image.size} cannot be kept in {MOST} bytes")


def saved_photos(place: Path) -> list[Path]:
    """Photographs of the demo's toy as files."""
    paths = [place / f"zippy {number + 1}.png" for number in range(4)]
    for path, data in zip(paths, toy_pictures(16), strict=True):
        path.write_bytes(data)
    return paths


def taught(client: Client) -> Taught:
    """The concept that the page has just taught."""
    row = client.call("GET", "/api/concepts")["concepts"][0]
    return Taught(row["id"], row["name"], row["job"])


def paint_some(client: Client, concept: Taught) -> None:
    """A gallery that is not empty."""
    wanted = {"concepts": [{"id": concept.id, "scale": 1.0}], "prompts": list(PROMPTS), "count": 2}
    client.wait(client.submit("paint", **wanted))


if __name__ == "__main__":
    raise SystemExit(main())
