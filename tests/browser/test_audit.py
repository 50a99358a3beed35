"""The checks that the other tests rely on find what they should, and nothing on a page that is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .watching import Watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GOOD = """<!doctype html><html lang="en"><head><title>Good</title><meta name="viewport" content="width=device-width">
<style>body {{ color: #222; background: #fff }} button, input {{ padding: 8px }} .part {{ color: #777 }} .low {{ padding: 0; height: 12px; display: block }}</style></head>
<body><main><h1>Good</h1><label for="name">Name</label> <input id="name"> <button>Teach</button>
<img src="data:," alt="a dog"> <a href="#x">a link in a sentence</a>{more}</main></body></html>"""


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 360, "height": 700})
    yield Watched(page, "http://127.0.0.1:1")
    page.close()


def test_a_good_page_has_no_faults(watched: Watched) -> None:
    watched.page.set_content(GOOD.format(more=""))
    assert watched.audit() == []


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("<input name='seed'>", "input[name=seed]: has no name"),
        ("<button><svg aria-hidden='true'></svg></button>", "button: has no name"),
        ("<img src='data:,'>", "img data:,: has no alt"),
        ("<h3>Deep</h3>", 'h3 "Deep": a heading of level 3 follows level 1'),
        ("<h1>Again</h1>", "2 h1"),
        ("<p id='name'>x</p>", "id name: more than once"),
        ("<p aria-describedby='gone'>x</p>", 'p "x": aria-describedby names gone, which is not there'),
        ("<p class='part'>grey</p>", 'p "grey": contrast 4.48, 4.5 is asked'),
        ("<p style='color: oklch(0.8 0 0)'>pale</p>", 'p "pale": contrast '),
        ("<p tabindex='3'>x</p>", 'p "x": a tabindex above 0'),
        ("<button class='low'>Hi</button><button class='low'>Ho</button>", 'button "Hi": a target of '),
        ("<div style='width: 900px'>wide</div>", "scrolls sideways: 9"),
    ],
)
def test_each_fault_is_named(watched: Watched, more: str, fault: str) -> None:
    watched.page.set_content(GOOD.format(more=more))
    assert [line for line in watched.audit() if line.startswith(fault)], watched.audit()


def test_errors_violations_and_other_origins_are_noted(watched: Watched) -> None:
    policy = "<meta http-equiv='Content-Security-Policy' content=\"script-src 'none'\">"
    watched.page.set_content(GOOD.format(more="<img src='http://other.example/a.png' alt=''>"))
    watched.page.evaluate("console.error('broken')")
    watched.page.set_content(f"{policy}<script>1</script>")
    assert any("another origin: http://other.example/a.png" in line for line in watched.faults)
    assert any(line.startswith("console: broken") for line in watched.faults)
    assert any("Content Security Policy" in line for line in watched.faults)
