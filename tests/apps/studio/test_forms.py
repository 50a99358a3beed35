"""Forms lead to the jobs and rows that they describe, and ask before they delete."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from limner.apps.jobs.tables import Board, Concept, Conversation, Job, Picture, Subject, User
from limner.apps.studio.jobs import likeness_curve

from .conftest import Studio


@pytest.mark.parametrize(
    ("path", "form", "kind", "fields"),
    [
        ("score", {}, "score", {"count": 4}),
        ("check", {}, "check", {}),
        ("states", {"prompt": "<rex> runs"}, "states", {"prompts": ["<rex> runs"]}),
        ("export", {"to": "kohya", "rank": "8"}, "export", {"to": "kohya", "rank": 8}),
        ("publish", {"repository": "me/rex", "local": "1"}, "publish", {"to": "me/rex", "upload": False}),
    ],
)
def test_a_likeness_is_sent_to_work(
    studio: Studio, path: str, form: dict[str, str], kind: str, fields: dict[str, Any]
) -> None:
    assert studio.post(f"/concepts/{studio.ids['concept']}/{path}", form).status_code == 303
    job = studio.last_job()
    assert (job.kind, job.payload["concept"]["id"]) == (kind, studio.ids["concept"])
    assert fields.items() <= job.payload.items()


def test_try_it_teaches_again_with_the_advised_change(studio: Studio) -> None:
    assert "Try it" in studio.get("/concepts/{concept}").text
    studio.post("/concepts/{concept}/try")
    job = studio.last_job()
    assert (job.kind, job.payload["method"], job.payload["subject"]) == (
        "learn",
        "lora_dreambooth",
        studio.ids["subject"],
    )
    assert job.payload["settings"] != {"steps": 200, "lr": 0.001}


def test_forms_of_one_page_are_jobs_of_their_own(studio: Studio) -> None:
    """Their key is the page's; the same form sent twice is one job, until it has failed."""
    sent = [
        studio.post(f"/concepts/{{concept}}/{what}", {**form, "key": "page"}).headers["location"].split("?")[0]
        for what, form in (("export", {"to": "kohya"}), ("export", {"to": "peft"}), ("check", {}), ("check", {}))
    ]
    assert len(set(sent)) == 3
    assert sent[2] == sent[3]
    with studio.services.database.session() as session:
        session.get_one(Job, sent[2].rpartition("/")[2]).state = "failed"
    again = studio.post("/concepts/{concept}/check", {"key": "page"}).headers["location"].split("?")[0]
    assert again not in sent


def test_another_state_is_used(studio: Studio) -> None:
    studio.post("/concepts/{concept}/state", {"done": "10"})
    assert studio.row(Concept, studio.ids["concept"]).sha256 == "0" * 64
    assert studio.post("/concepts/{concept}/state", {"done": "11"}).status_code == 400


def test_scores_diagnosis_and_certificate_are_those_of_the_state_in_use(studio: Studio) -> None:
    number = studio.ids["concept"]
    with studio.services.database.session() as session:
        row = session.get_one(Concept, number)
        end = {"done": 20, "sha256": row.sha256, "scores": {}, "pictures": []}
        row.states = [{"done": 10, "sha256": "0" * 64, "scores": {"likeness": 0.4}, "pictures": []}, end]
        row.diagnosis, row.certificate = {"label": "overfit"}, [{"what": "all", "ok": True, "finding": ""}]
        before = dict(row.scores)
        assert before
    studio.post("/concepts/{concept}/state", {"done": "10"})
    early = studio.row(Concept, number)
    assert (early.scores, early.diagnosis, early.certificate) == ({"likeness": 0.4}, {}, [])
    studio.post("/concepts/{concept}/state", {"done": "20"})
    late = studio.row(Concept, number)
    assert (late.scores, late.diagnosis["label"], len(late.certificate)) == (before, "overfit", 1)


def test_only_safetensors_are_imported(studio: Studio) -> None:
    assert studio.post("/concepts/import", files={"file": ("a.pt", b"\x80\x04pickle", "x/y")}).status_code == 400
    header = json.dumps({"__metadata__": {}}).encode()
    data = len(header).to_bytes(8, "little") + header
    assert (
        studio.post("/concepts/import", {"name": "old"}, files={"file": ("a.safetensors", data, "x/y")}).status_code
        == 303
    )
    assert (studio.last_job().kind, studio.last_job().payload["name"]) == ("import", "old")


def test_comparing_takes_likenesses_prompts_and_seeds(studio: Studio) -> None:
    studio.post(
        "/compare",
        {"concept": studio.ids["concept"], "prompts": "{} runs\n{} sits", "seed": "4", "count": "2", "base_too": "1"},
    )
    payload = studio.last_job().payload
    assert (payload["prompts"], payload["seeds"], payload["base_too"]) == (["{} runs", "{} sits"], [4, 5], True)


def test_a_comparison_has_a_column_for_each_likeness_and_the_base(studio: Studio) -> None:
    page = studio.get("/compare/{compare}").text
    assert "the base alone" in page
    assert page.count("/small") == 2


def test_a_job_is_asked_moved_and_cloned(studio: Studio) -> None:
    studio.post("/jobs/{learn}/sample")
    assert "sample" in studio.row(Job, studio.ids["learn"]).wishes
    studio.post("/jobs/{second}/move", {"to": "first"})
    waiting = [studio.row(Job, studio.ids[name]).position for name in ("second", "queued")]
    assert waiting == sorted(waiting)
    studio.post("/jobs/{learn}/clone", {"method": "lora_dreambooth", "set.steps": "9", "seed": "2"})
    assert (studio.last_job().payload["settings"], studio.last_job().payload["seed"]) == ({"steps": 9}, 2)
    assert studio.post("/jobs/{learn}/explode").status_code in (400, 404)


def test_pictures_are_favourites_and_on_boards(studio: Studio) -> None:
    studio.post("/pictures/{picture}/favourite")
    assert studio.row(Picture, studio.ids["picture"]).favourite
    studio.post("/pictures/{picture}/board", {"name": "best"})
    with studio.services.database.reading() as session:
        board = session.scalars(select(Board).where(Board.name == "best")).one().id
    assert studio.ids["picture"] in studio.get(f"/gallery?board={board}").text


def test_words_become_a_job_of_the_conversation(studio: Studio) -> None:
    older = studio.copy_concept(studio.ids["concept"])  # a conversation takes one likeness of a handle: the newest
    studio.post("/chat/{conversation}/say", {"words": "make <rex> red"})
    payload = studio.last_job().payload
    studio.post(f"/concepts/{older}/delete")
    current = studio.row(Conversation, studio.ids["conversation"]).current_id
    assert payload["concepts"] == [{"id": studio.ids["concept"], "scale": 1.0}]
    assert (payload["words"], payload["parent"]) == ("make <rex> red", current)


def test_a_likeness_is_called_by_its_bare_name_in_a_conversation(studio: Studio) -> None:
    for words, expected in (("Rex on the beach", 1), ("a rexine sofa", 0)):
        studio.post("/chat/{conversation}/say", {"words": words})
        assert len(studio.last_job().payload["concepts"]) == expected, words


def test_a_form_without_its_token_is_refused(studio: Studio) -> None:
    before = studio.last_job().id
    assert studio.post("/paint", {"prompt": "a dog"}, token="wrong").status_code == 403
    assert studio.last_job().id == before


def test_a_new_token_is_shown_once(studio: Studio) -> None:
    assert "limner_" in studio.post("/settings/tokens", {"label": "phone"}).text.partition("shown this once")[2][:200]
    assert "shown this once" not in studio.get("/settings").text


def test_an_administrator_adds_users_with_quotas(studio: Studio) -> None:
    page = studio.post("/settings/users", {"name": "eve", "most_jobs": "2", "most_gigabytes": "3"}).text
    assert "The new token of eve" in page
    with studio.services.database.reading() as session:
        eve = session.scalars(select(User).where(User.name == "eve")).one()
        assert (eve.role, eve.most_jobs, eve.most_bytes) == ("member", 2, 3 * 10**9)


# ------------------------------------------------------------------------------------------------- before it is deleted


def test_without_scripts_a_page_asks_before_anything_is_deleted(studio: Studio) -> None:
    number = studio.give(name="gone")
    page = studio.get(f"/teach/{number}").text
    assert f'formaction="/teach/{number}/delete"' in page
    question = "Delete gone & its <b>photos</b>?"
    fields = {"ask": question, "name": "gone", "words": '"><script>'}
    asked = studio.post(f"/teach/{number}/delete", fields)
    assert asked.status_code == 200
    assert "Delete gone &amp; its &lt;b&gt;photos&lt;/b&gt;?" in asked.text
    assert f'action="/teach/{number}/delete"' in asked.text
    assert "<script>" not in asked.text.replace("<script src", "")
    assert studio.row(Subject, number).deleted is None
    assert studio.post(f"/teach/{number}/delete", {**fields, "ask": ""}).status_code == 303
    assert studio.row(Subject, number).deleted is not None


def test_every_button_that_deletes_asks(studio: Studio) -> None:
    pages = ("/teach/{subject}", "/concepts/{concept}", "/pictures/{picture}", "/gallery?board={board}")
    for path in pages:
        text = studio.get(path).text
        buttons = [part.partition(">")[0] for part in text.split("<button")[1:]]
        deleting = [button for button in buttons if "danger" in button]
        assert deleting, path
        assert all('name="ask" value="' in button for button in deleting), (path, deleting)


@pytest.mark.parametrize(("held_out", "photos"), [(False, "the photos it learns from"), (True, "held-out photos")])
def test_the_curve_of_likeness_names_the_photos_that_it_compares_with(held_out: bool, photos: str) -> None:
    events = [{"event": "sample_painted", "done": k, "scores": [{"likeness": 0.5}]} for k in (1, 2)]
    assert likeness_curve(events, held_out=held_out)[1].endswith(photos)
