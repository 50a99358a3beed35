"""Fixtures: a studio of its own, Chromium, pages that note every error, photographs to drop.

A test here is skipped where there is no Chromium, and left out unless it is asked for: `make browser`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.studio.server import Studio, studio

from .watching import Watched, launch

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent
PATIENCE = 60_000
"""Milliseconds that a page or a control may take on a slow, loaded machine."""
REASON = "needs Chromium: `make browser` installs it (Debian) and runs these tests; LIMNER_CHROMIUM names another"


def chromium() -> str | None:
    """The browser's program, or None."""
    return os.environ.get("LIMNER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Every test of this folder has the marker `browser`, and is skipped unless `-m` asks for it."""
    asked = "browser" in str(config.getoption("-m")) and "not browser" not in str(config.getoption("-m"))
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if not asked or chromium() is None:
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four renders of a held-out toy, as files that a person would drop."""
    from limner.pocket.subjects import toy
    from limner.workflows.demo import TOY

    folder = tmp_path_factory.mktemp("photos")
    for number, picture in enumerate(toy(*TOY).pictures):
        assert picture.image is not None
        picture.image.resize((512, 512)).save(folder / f"zippy {number + 1}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio on the pocket base, without login. Files of tests share it, so each gives its subjects names of their
    own: `zippy` and `rusty` (test_pages), `bolt` (test_journey), `kit` (test_keyboard)."""
    with studio(tmp_path_factory.mktemp("studio") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = chromium()
    assert program is not None
    with launch(program) as running:
        yield running


@pytest.fixture
def open_page(browser: Browser, server: Studio) -> Iterator[Watched]:
    """A page at a desk's width; the test fails where it noted an error."""
    with watched_page(browser, server) as page:
        yield page


@contextmanager
def watched_page(browser: Browser, server: Studio, *, width: int = 1280, scheme: str = "light") -> Iterator[Watched]:
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": width, "height": 800 if width > 600 else 740},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
        accept_downloads=True,
    )
    context.set_default_timeout(PATIENCE)
    watched = Watched(context.new_page(), server.url)
    try:
        yield watched
        assert not watched.faults, "\n".join(watched.faults)
    finally:
        context.close()
