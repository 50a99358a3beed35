"""Every page is drawn, with rows and without, shows hostile texts as texts, and hides other users' things."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from limner.apps.api.hardware import hardware
from limner.apps.jobs.tables import Board, Job, Picture, new_id
from limner.apps.studio.bench import table_rows

from .conftest import Studio, Two
from .rows import HOSTILE

PAGES = (
    *("/", "/home/jobs", "/teach", "/jobs", "/jobs/queue", "/concepts", "/concepts?q=re", "/compare", "/paint"),
    *("/gallery", "/gallery?q=a&favourites=true&every=true&page=1", "/chat", "/bench", "/report", "/hardware"),
    *("/hardware/now", "/settings", "/swap", "/try-on"),
)
OF_ROWS = (
    *("/teach/{subject}", "/teach/{subject}/report", "/teach/{subject}/plan?goal=0", "/teach/{subject}/plan?goal=2"),
    *("/teach/{subject}?goal=best&method=textual_inversion", "/jobs/{learn}", "/jobs/{learn}/panel", "/jobs/{queued}"),
    *("/jobs/{failed}", "/jobs/{learn}/clone", "/concepts/{concept}", "/compare/{compare}", "/compare/{compare}/table"),
    *("/paint?concept={concept}", "/paint?like={picture}&again=refine"),
    *("/paint?like={picture}&again=variations", "/paint/{queued}", "/gallery?board={board}", "/pictures/{picture}"),
    *("/chat/{conversation}", "/chat/{conversation}/talk", "/teach/{subject}/protect"),
    *("/swap?photo={picture}", "/swap?concept={concept}", "/try-on?photo={picture}"),
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
        assert answer.status_code == 303
        assert answer.headers["location"].partition("?")[0] == "/login"
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


def test_a_jobs_page_names_its_likenesses_and_leads_to_them(studio: Studio) -> None:
    page = studio.get("/jobs/{compare}").text
    assert "<dd>rex × 1</dd>" in page
    studio.post("/concepts/{concept}/score")
    page = studio.client.get(f"/jobs/{studio.last_job().id}").text
    assert f'<a href="/concepts/{studio.ids["concept"]}">the likeness rex</a>' in page


def test_a_failed_painting_goes_on_and_a_failed_export_begins_anew(studio: Studio) -> None:
    assert "Try again from where it stopped" in studio.get("/jobs/{failed}").text
    studio.post("/concepts/{concept}/export", {"to": "kohya"})
    export = studio.last_job().id
    with studio.services.database.session() as session:
        session.get_one(Job, export).state = "failed"
    page = studio.client.get(f"/jobs/{export}").text
    assert ">Try again</button>" in page
    assert "Do it again" not in page


def test_a_training_that_made_no_updates_shows_no_curves(studio: Studio) -> None:
    with studio.services.database.session() as session:
        job = Job(owner_id=studio.row(Job, studio.ids["learn"]).owner_id, kind="learn", state="done", payload={})
        session.add(job)
        session.flush()
        done = job.id
    assert "While it learns" not in studio.client.get(f"/jobs/{done}").text
    assert "While it learns" in studio.get("/jobs/{learn}").text


def test_pictures_are_chosen_on_the_page_of_their_job(studio: Studio) -> None:
    """The training of a style that waits for a person's choice goes on with the ticked pictures."""
    with studio.services.database.session() as session:
        learn = session.get_one(Job, studio.ids["learn"])
        sha256 = session.get_one(Picture, studio.ids["picture"]).sha256
        shown, about = [new_id() for _ in range(3)], {"owner_id": learn.owner_id, "state": "paused"}
        progress = {"choice": {"folder": "page", "keep": 2, "pictures": shown}}
        waiting = Job(id=new_id(), kind="learn", payload=learn.payload, progress=progress, **about)
        session.add(waiting)
        session.add_all(
            Picture(
                id=each, owner_id=learn.owner_id, job_id=waiting.id, sha256=sha256, prompt=HOSTILE, purpose="sample"
            )
            for each in shown
        )
        place = f"/jobs/{waiting.id}"
    page = studio.get(place).text
    assert "at most 2 of 3" in page
    assert page.count('type="checkbox" name="chosen"') == 3
    assert all(page.count(f'src="/pictures/{each}/small"') == 1 for each in shown)
    assert f'action="{place}/resume"' not in page
    assert HOSTILE not in page
    assert "http-equiv" not in page
    for wrong in ([], ["0", "1", "2"], ["7"], ["x"]):
        answer = studio.post(f"{place}/choose", {"chosen": wrong})
        assert answer.status_code == 400
        assert "choose from 1 to 2 different ones of the 3 pictures" in answer.text
    assert studio.post(f"{place}/choose", {"chosen": ["2", "0"]}).status_code == 303
    row = studio.row(Job, waiting.id)
    assert (row.state, row.progress) == ("queued", {"chosen": {"page": [0, 2]}})
    assert "Learn from these" not in studio.get(place).text


def test_the_cost_and_size_of_a_likeness_are_in_words(studio: Studio) -> None:
    page = studio.get("/concepts/{concept}").text
    assert "<dt>Training</dt><dd>32 s</dd>" in page
    assert "<dd>1.3 MB, SHA-256" in page


def test_an_empty_board_says_how_to_fill_it(studio: Studio) -> None:
    studio.post("/boards", {"name": "bare"})
    with studio.services.database.reading() as session:
        bare = session.scalars(select(Board.id).where(Board.name == "bare")).one()
    assert "No picture is on this board yet" in studio.client.get(f"/gallery?board={bare}").text
    assert "Nothing here matches" in studio.client.get(f"/gallery?board={bare}&q=x").text


def test_rows_of_a_bench_have_the_fields_names() -> None:
    number = {"mean": 1.0, "low": 1.0, "high": 1.0, "subjects": 3}
    row = {"numbers": {"H": number}, "diagnoses": {}, "cost": {}}
    assert [each["label"] for each in table_rows({"summary": {"the truth itself": row}})] == ["ground-truth renders"]


def test_the_processors_use_is_measured_in_any_thread(tmp_path: Path) -> None:
    """psutil alone answers 0 to each thread that asks for the first time."""
    busy = threading.Event()
    worker = threading.Thread(target=lambda: [sum(range(1000)) for _ in iter(busy.is_set, True)])
    worker.start()
    with ThreadPoolExecutor(1) as fresh:
        percent = fresh.submit(hardware, tmp_path).result()["cpu"]["percent"]
    busy.set()
    worker.join()
    assert percent > 0
