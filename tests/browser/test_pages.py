"""Every page, wide and as narrow as a phone, light and dark: no fault that a program can find, no error, nothing that
comes from elsewhere, no sideways scroll."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.studio.client import Client, Taught, toy_pictures
from benchmarks.studio.server import Studio, studio

from .conftest import watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDE, NARROW = 1280, 360
MOST = 60
"""Pages looked at, at most."""
SKIPPED = re.compile(r"/(static|files?|whole|small|zip|content|download)(/|$)|\.json$")
"""Links to files, which are no pages of the studio."""


@pytest.fixture(scope="module")
def taught(server: Studio) -> Taught:
    """A concept, a second one, a painted picture, and jobs of several kinds: so that no page is empty."""
    with Client(server.url) as client:
        concept = client.teach("zippy", toy_pictures(16), noun="car")
        client.teach("rusty", toy_pictures(18), noun="car", goal="fast", score=False, check=False)
        client.picture(concept, seed=1)
        client.wait(
            client.submit("paint", prompts=["<zippy> in the snow"], concepts=[{"id": concept.id, "scale": 1.0}])
        )
    return concept


@pytest.fixture(scope="module")
def pages(server: Studio, taught: Taught) -> list[str]:
    """The addresses of all pages that links lead to, one for each kind of page."""
    todo, pages, kinds = ["/"], list[str](), set[str]()
    with Client(server.url) as client:
        while todo and len(pages) < MOST:
            path = todo.pop(0)
            kind = re.sub(r"[0-9a-f]{32}", "ID", path.partition("?")[0])
            if kind in kinds or SKIPPED.search(path):
                continue
            kinds.add(kind)
            answer = client.http.get(path)
            assert answer.status_code == 200, f"{path}: {answer.status_code}"
            if "text/html" in answer.headers["content-type"]:
                pages.append(path)
                todo += [each.replace("&amp;", "&") for each in re.findall(r'href="(/[^"#]*)"', answer.text)]
    return pages


def faults(browser: Browser, server: Studio, pages: list[str], width: int, scheme: str) -> Iterator[str]:
    with watched_page(browser, server, width=width, scheme=scheme) as watched:
        for path in pages:
            watched.page.goto(path)
            watched.page.wait_for_load_state("load")
            for fold in watched.page.locator("details:not([open]) > summary").all():
                if fold.is_visible():
                    fold.click()
            yield from (f"{path}: {line}" for line in [*watched.audit(), *watched.faults])
            watched.faults.clear()


def test_links_lead_to_every_kind_of_page(pages: list[str], taught: Taught) -> None:
    kinds = {re.sub(r"[0-9a-f]{32}", "ID", path.partition("?")[0]) for path in pages}
    wanted = {
        "/",
        "/teach",
        "/teach/ID",
        "/paint",
        "/swap",
        "/try-on",
        "/concepts",
        "/concepts/ID",
        "/gallery",
        "/compare",
        "/chat",
        "/jobs",
    }
    assert wanted <= kinds, wanted - kinds


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")])
def test_no_page_has_a_fault(browser: Browser, server: Studio, pages: list[str], width: int, scheme: str) -> None:
    found = list(faults(browser, server, pages, width, scheme))
    assert not found, "\n".join(found)


def test_pages_work_without_scripts(browser: Browser, server: Studio, taught: Taught) -> None:
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/paint")
    page.locator("#prompt").fill("a photo of <zippy> in a meadow")
    page.get_by_role("button", name="Paint", exact=True).click()
    page.wait_for_url(re.compile(r"/jobs/|/paint"))
    assert page.get_by_role("heading", level=1).is_visible()
    context.close()


def test_an_unknown_page_says_so(browser: Browser, server: Studio) -> None:
    with watched_page(browser, server) as watched:
        watched.allowed = ("404",)
        watched.page.goto("/concepts/" + "0" * 32)
        assert "there is no concept" in watched.page.locator("main").inner_text()
        assert watched.audit() == []


def test_a_phone_is_shown_what_it_painted(browser: Browser, server: Studio, taught: Taught) -> None:
    from playwright.sync_api import expect

    with watched_page(browser, server, width=NARROW) as watched:
        page = watched.page
        page.goto("/paint")
        page.get_by_label("Prompt", exact=True).fill("a photo of <zippy>")
        page.get_by_role("button", name="Paint", exact=True).click()
        page.locator("#results article").first.wait_for()
        expect(page.locator("#results article").first).to_be_in_viewport()


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_to_log_in_has_no_fault(browser: Browser, tmp_path: Path, width: int) -> None:
    with studio(tmp_path / "data", login=True) as server, watched_page(browser, server, width=width) as watched:
        watched.page.goto("/gallery")
        assert watched.page.url.endswith("/login?next=%2Fgallery")
        assert watched.audit() == []
