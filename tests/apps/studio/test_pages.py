"""Every page is drawn, with rows and without, shows hostile texts as texts, and hides other users' things."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from .conftest import Studio, Two

PAGES = (
    *("/", "/home/jobs", "/teach", "/jobs", "/jobs/queue", "/concepts", "/concepts?q=re", "/compare", "/paint"),
    *("/gallery", "/gallery?q=a&favourites=true&every=true&page=1", "/chat", "/bench", "/report", "/hardware"),
    *("/hardware/now", "/settings"),
)
OF_ROWS = (
    *("/teach/{subject}", "/teach/{subject}/report", "/teach/{subject}/plan?goal=0", "/teach/{subject}/plan?goal=2"),
    *("/teach/{subject}?goal=best&method=textual_inversion", "/jobs/{learn}", "/jobs/{learn}/panel", "/jobs/{queued}"),
    *("/jobs/{failed}", "/jobs/{learn}/clone", "/concepts/{concept}", "/compare/{compare}", "/compare/{compare}/table"),
    *("/paint?concept={concept}", "/paint?like={picture}&again=refine"),
    *("/paint?like={picture}&again=variations", "/paint/{queued}", "/gallery?board={board}", "/pictures/{picture}"),
    *("/chat/{conversation}", "/chat/{conversation}/talk", "/teach/{subject}/protect"),
)
FILES = (
    *("/pictures/{picture}/small", "/pictures/{picture}/whole", "/photos/{photo}/small", "/concepts/{concept}/file"),
    "/concepts/{concept}/zip",
)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_drawn_without_rows(empty: TestClient, path: str) -> None:
    answer = empty.get(path)
    assert answer.status_code == 200, answer.text[-500:]
    assert_is_plain(answer.text)


@pytest.mark.parametrize("path", [*PAGES, *OF_ROWS])
def test_a_page_is_drawn_with_hostile_rows(studio: Studio, path: str) -> None:
    answer = studio.get(path)
    assert answer.status_code == 200, answer.text[-500:]
    assert_is_plain(answer.text)
    assert "<script>alert" not in answer.text
    assert "&amp;49" not in answer.text


def test_a_hostile_prompt_is_shown_as_it_was_written(studio: Studio) -> None:
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in studio.get("/pictures/{picture}").text


@pytest.mark.parametrize("path", FILES)
def test_files_are_sent_without_the_rights_of_a_page(studio: Studio, path: str) -> None:
    answer = studio.get(path)
    assert answer.status_code == 200
    assert not answer.headers["content-type"].startswith("text/html")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", [*OF_ROWS, *FILES])
def test_anothers_things_are_not_there(two: Two, path: str) -> None:
    path = path.format(**two.ids)
    assert two.clients["ann"].get(path).status_code == 200
    answer = two.clients["bob"].get(path)
    assert answer.status_code == 404
    assert "rex" not in answer.text


def test_a_shared_likeness_is_seen_and_painted_with_but_not_changed(two: Two) -> None:
    ann, bob, concept = two.clients["ann"], two.clients["bob"], two.ids["concept"]
    assert ann.post(f"/concepts/{concept}/share", data={"user": "bob"}, follow_redirects=False).status_code == 303
    page = bob.get(f"/concepts/{concept}").text
    assert "shared by ann" in page
    assert f"/concepts/{concept}/delete" not in page
    assert bob.post(f"/concepts/{concept}/delete").status_code == 404
    assert "&lt;rex&gt;" in bob.get("/paint").text
    ann.post(f"/concepts/{concept}/unshare", data={"user": "bob"})
    assert bob.get(f"/concepts/{concept}").status_code == 404


def test_without_a_login_only_the_login_page_is_drawn(two: Two) -> None:
    for path in ("/", "/paint", f"/concepts/{two.ids['concept']}"):
        answer = two.anybody.get(path, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    page = two.anybody.get("/login").text
    assert 'name="token"' in page
    assert "/static/studio.css" in page
    assert_is_plain(page)
    wrong = two.anybody.post("/login", data={"token": "limner_wrong"})
    assert wrong.status_code == 401
    assert "this token is not valid" in wrong.text
    assert_is_plain(wrong.text)


def test_members_do_not_see_users(two: Two) -> None:
    assert "ann" in two.clients["root"].get("/settings").text
    assert "/settings/users" not in two.clients["bob"].get("/settings").text
    assert two.clients["bob"].post("/settings/users", data={"name": "eve"}).status_code == 403


def test_errors_are_pages_or_fragments(studio: Studio) -> None:
    page = studio.client.get("/nothing/here")
    assert page.status_code == 404
    assert "There is nothing here" in page.text
    assert_is_plain(page.text)
    fragment = studio.client.get("/pictures/" + "0" * 32, headers={"HX-Request": "true"})
    assert fragment.headers["hx-retarget"] == "#flash"
    assert "<html" not in fragment.text


def test_pages_load_neither_torch_nor_diffusers() -> None:
    code = "import limner.apps.studio.pages, sys; print([n for n in ('torch', 'diffusers') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


class Page(HTMLParser):
    """Controls and labels of a page, and what a strict policy for content would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.controls: list[dict[str, str]] = []
        self.labels: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.refused += [name for name in values if name == "style" or re.match(r"on|hx-on|hx-vals|hx-vars", name)]
        self.refused += [tag] if tag == "style" or (tag == "script" and "src" not in values) else []
        self.refused += [link for name in ("href", "src", "action") if is_foreign(link := values.get(name, ""))]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "label":
            self.labels.add(values.get("for", ""))
        if tag in ("input", "select", "textarea") and values.get("type") != "hidden":
            self.controls.append(values)


def is_foreign(link: str) -> bool:
    return link.startswith(("javascript:", "data:", "//")) or (
        ":" in link and not link.startswith("https://arxiv.org/")
    )


def assert_is_plain(text: str) -> None:
    """No inline script or style, no event attribute; a label for every control; no id twice."""
    page = Page()
    page.feed(text)
    assert page.refused == []
    assert [c for c in page.controls if c.get("id") not in page.labels and "aria-label" not in c] == []
    assert sorted({each for each in page.ids if page.ids.count(each) > 1}) == []
