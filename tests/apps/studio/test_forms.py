"""Forms lead to the jobs and rows that they describe, and say what is wrong with them otherwise."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from limner.apps.jobs.tables import Board, Concept, Conversation, Job, Picture, Reference, Subject, User
from limner.apps.studio.canvases import extended, rectangle
from limner.apps.studio.jobs import likeness_curve
from limner.apps.studio.paint import box_in_percent
from limner.core.picture import Picture as Painted

from .conftest import Studio
from .rows import png

FACE = {"name": "ada", "noun": "woman", "kind": "face"}


def last_job(studio: Studio) -> Job:
    with studio.services.database.reading() as session:
        job = session.scalars(select(Job).order_by(Job.created.desc())).first()
        assert job is not None
        session.expunge_all()
        return job


def row(studio: Studio, table: Any, number: str) -> Any:
    with studio.services.database.reading() as session:
        found = session.get(table, number)
        session.expunge_all()
        return found


def give(studio: Studio, **about: str) -> str:
    """Upload two photos; return the new subject's id."""
    files = [
        ("photos", ("a b.png", png("#123456"), "image/png")),
        ("photos", ("../../c.jpg", png("#654321"), "image/png")),
    ]
    answer = studio.post("/teach", {"name": "bo", "noun": "cat", "kind": "pet", **about}, files=files)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"]).rpartition("/")[2]


# ---------------------------------------------------------------------------------------------------------------- teach


def test_photos_become_a_subject_that_is_looked_at(studio: Studio) -> None:
    number = give(studio)
    subject, job = row(studio, Subject, number), last_job(studio)
    assert (subject.name, subject.noun, subject.kind) == ("bo", "cat", "pet")
    assert [each.filename for each in subject.pictures] == ["a b.png", "c.jpg"]
    assert (job.kind, job.payload) == ("look", {"subject": number})


def test_what_is_no_picture_is_refused(studio: Studio) -> None:
    answer = studio.post(
        "/teach", {"name": "bo", "noun": "cat"}, files={"photos": ("a.png", b"<svg onload=1>", "image/png")}
    )
    assert answer.status_code == 400
    assert "not a picture that can be read" in answer.text


@pytest.mark.parametrize(
    ("field", "value", "words"), [("name", "", "name"), ("noun", "", "class"), ("kind", "ghost", "kind")]
)
def test_a_subject_needs_name_class_and_kind(studio: Studio, field: str, value: str, words: str) -> None:
    about = {"name": "bo", "noun": "cat", "kind": "pet"} | {field: value}
    answer = studio.post("/teach", about, files={"photos": ("a.png", png("red"), "image/png")})
    assert answer.status_code == 400
    assert words in answer.text


def test_captions_are_edited_alone_and_in_bulk(studio: Studio) -> None:
    number = give(studio)
    first, second = row(studio, Subject, number).pictures
    form = {"name": "bo", "noun": "cat", "kind": "pet", f"caption-{first.id}": "a cat sits", f"used-{first.id}": "1",
            f"caption-{second.id}": "a cat runs"}  # fmt: skip
    studio.post(f"/teach/{number}", form | {"do": "bulk", "find": "cat", "replace": "<bo>", "after": "outside"})
    after = row(studio, Subject, number).pictures
    assert [(each.caption, each.in_training) for each in after] == [
        ("a <bo> sits outside", True),
        ("a <bo> runs outside", False),
    ]


def test_teaching_takes_goal_method_and_changed_settings(studio: Studio) -> None:
    number = give(studio)
    form = {"name": "bo", "noun": "cat", "kind": "pet", "do": "start", "goal": "0", "method": "textual_inversion"}
    form |= {
        "set.steps": "7",
        "seed": "5",
        "hold_out": "1",
        "sample_every": "3",
        "keep": "best",
        "sample_prompts": "<bo> runs\n\n<bo> sits",
    }
    answer = studio.post(f"/teach/{number}", form)
    job = last_job(studio)
    assert answer.headers["location"] == f"/jobs/{job.id}"
    assert job.kind == "learn"
    assert job.payload == {
        "subject": number, "goal": "fast", "seed": 5, "sample_every": 3, "hold_out": 1, "keep": "best", "states": 4,
        "method": "textual_inversion", "settings": {"steps": 7}, "sample_prompts": ["<bo> runs", "<bo> sits"],
    }  # fmt: skip


def test_a_file_of_code_is_no_method(studio: Studio) -> None:
    answer = studio.post(
        f"/teach/{give(studio)}", {"name": "bo", "noun": "cat", "do": "start", "method": "/tmp/evil.py:run"}
    )
    assert answer.status_code in (400, 404)
    assert last_job(studio).kind == "look"


def test_a_face_is_taught_with_consent_alone(studio: Studio) -> None:
    number = give(studio, **FACE)
    answer = studio.post(f"/teach/{number}", FACE | {"do": "start"})
    assert answer.status_code == 400
    assert "consent" in answer.text
    assert studio.post(f"/teach/{number}", FACE | {"do": "start", "may": "1", "person": "Ada"}).status_code == 303
    assert row(studio, Subject, number).may


def test_several_subjects_learn_in_one_pass(studio: Studio) -> None:
    numbers = [give(studio), give(studio, name="li")]
    studio.post("/teach/together", {"subject": numbers, "goal": "best"})
    assert last_job(studio).payload == {"subjects": numbers, "together": True, "goal": "best"}
    assert studio.post("/teach/together", {"subject": numbers[:1]}).status_code == 400


def test_the_slider_says_method_time_and_settings(studio: Studio) -> None:
    slow, quick = (studio.get("/teach/{subject}/plan", params={"goal": goal}).text for goal in (2, 0))
    assert 'name="set.' in quick
    assert slow != quick


def test_a_form_that_is_sent_twice_is_one_job(studio: Studio) -> None:
    form = {"prompt": "a dog", "seed": "1", "key": "5f" * 16}
    assert studio.post("/paint", form).headers["location"] == studio.post("/paint", form).headers["location"]


# ---------------------------------------------------------------------------------------------------------------- paint


def paint(studio: Studio, form: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = studio.post("/paint", {"prompt": "<rex> in the snow", "seed": "9", **form}, **more)
    assert answer.status_code == 303, answer.text
    return last_job(studio).payload


def test_a_handle_in_the_prompt_brings_its_likeness_at_its_strength(studio: Studio) -> None:
    concept = studio.ids["concept"]
    payload = paint(
        studio,
        {f"scale-{concept}": "0.7", "count": "3", "steps": "12", "negative": "blur", "prompts": "<rex> at night"},
    )
    assert payload["concepts"] == [{"id": concept, "scale": 0.7}]
    assert payload["prompts"] == ["<rex> in the snow", "<rex> at night"]
    assert [payload[name] for name in ("seed", "count", "steps", "negative")] == [9, 3, 12, "blur"]


def test_boxes_become_regions(studio: Studio) -> None:
    payload = paint(
        studio,
        {"region-0": "<rex>", "left-0": "10", "top-0": "0", "width-0": "40", "height-0": "100", "compose": "attention"},
    )
    assert payload["regions"] == {"<rex>": "0.1,0,0.5,1"}
    assert payload["compose"] == "attention"


def test_a_rectangle_by_keyboard_makes_the_mask(studio: Studio) -> None:
    form = {
        "onto": studio.ids["picture"],
        "where-left": "50",
        "where-top": "0",
        "where-width": "50",
        "where-height": "100",
        "start": "0",
    }
    payload = paint(studio, form)
    mask = Image.open(io.BytesIO(studio.services.files.read(payload["where"])))
    assert payload["onto"] == studio.ids["picture"]
    assert mask.getpixel((0, 0)) == 0
    assert mask.getpixel((mask.width - 1, 0)) == 255


def test_a_picture_is_extended_beyond_its_edge(studio: Studio) -> None:
    payload = paint(studio, {"extend-right": "50"}, files={"onto_file": ("a.png", png("#336699", 40), "image/png")})
    whole, mask = (Image.open(io.BytesIO(studio.services.files.read(payload[name]))) for name in ("onto", "where"))
    assert whole.size == mask.size == (60, 40)
    assert whole.getpixel((0, 0)) == (0x33, 0x66, 0x99)
    assert (mask.getpixel((39, 5)), mask.getpixel((40, 5))) == (0, 255)


def test_extending_keeps_the_picture_to_the_bit() -> None:
    image = Image.effect_noise((20, 10), 60).convert("RGB")
    whole = Image.open(io.BytesIO(extended(image, (0.5, 0.2, 0, 0))[0]))
    assert whole.crop((10, 2, 30, 12)).tobytes() == image.tobytes()


def test_a_rectangle_outside_of_the_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match="outside of the picture"):
        rectangle((10, 10), (1.0, 0.0, 0.5, 0.5))


def test_conditions_need_name_and_picture(studio: Studio) -> None:
    files = {"condition_file": ("e.png", png("black"), "image/png")}
    payload = paint(studio, {"condition": "edges"}, files=files)
    assert studio.services.files.has(payload["conditions"]["edges"])
    assert studio.post("/paint", {"prompt": "a dog", "condition": "edges"}).status_code == 400


@pytest.mark.parametrize(
    ("form", "words"),
    [({"prompt": ""}, "empty"), ({"steps": "0"}, "steps"), ({"sampler": "rm"}, "sampler"), ({"count": "two"}, "count"),
     ({"onto": "../etc/passwd"}, "picture"), ({"seed": "-1"}, "seed")],
)  # fmt: skip
def test_a_wrong_field_is_named(studio: Studio, form: dict[str, str], words: str) -> None:
    answer = studio.post("/paint", {"prompt": "a dog", **form})
    assert answer.status_code in (400, 404)
    assert words in answer.text


def test_a_png_brings_its_settings_back(studio: Studio, tmp_path: Any) -> None:
    image = Image.new("RGB", (16, 16))
    path = Painted(image, "<rex> at sea", 77, ("<rex>",), "pocket", {"steps": 31, "negative": "fog"}).save(
        tmp_path / "a.png"
    )
    answer = studio.post("/paint/settings", files={"picture": ("a.png", path.read_bytes(), "image/png")})
    page = studio.client.get(answer.headers["location"]).text
    assert 'value="&lt;rex&gt; at sea"' in page
    assert all(f'value="{value}"' in page for value in ("77", "31", "fog"))
    assert f'value="{studio.ids["concept"]}" checked' in page
    assert studio.post("/paint/settings", files={"picture": ("a.png", png("red"), "image/png")}).status_code == 400


def test_a_script_gets_the_panel_that_listens(studio: Studio) -> None:
    text = studio.post("/paint", {"prompt": "a dog"}, headers={"HX-Request": "true"}).text
    assert f'data-live="/api/jobs/{last_job(studio).id}/events"' in text
    assert "<html" not in text


# ------------------------------------------------------------------------------------------------------------- the rest


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
    job = last_job(studio)
    assert (job.kind, job.payload["concept"]["id"]) == (kind, studio.ids["concept"])
    assert fields.items() <= job.payload.items()


def test_try_it_teaches_again_with_the_advised_change(studio: Studio) -> None:
    assert "Try it" in studio.get("/concepts/{concept}").text
    studio.post("/concepts/{concept}/try")
    job = last_job(studio)
    assert (job.kind, job.payload["method"], job.payload["subject"]) == (
        "learn",
        "lora_dreambooth",
        studio.ids["subject"],
    )
    assert job.payload["settings"] != {"steps": 200, "lr": 0.001}


def test_another_state_is_used(studio: Studio) -> None:
    studio.post("/concepts/{concept}/state", {"done": "10"})
    assert row(studio, Concept, studio.ids["concept"]).sha256 == "0" * 64
    assert studio.post("/concepts/{concept}/state", {"done": "11"}).status_code == 400


def test_only_safetensors_are_imported(studio: Studio) -> None:
    assert studio.post("/concepts/import", files={"file": ("a.pt", b"\x80\x04pickle", "x/y")}).status_code == 400
    header = json.dumps({"__metadata__": {}}).encode()
    data = len(header).to_bytes(8, "little") + header
    assert (
        studio.post("/concepts/import", {"name": "old"}, files={"file": ("a.safetensors", data, "x/y")}).status_code
        == 303
    )
    assert (last_job(studio).kind, last_job(studio).payload["name"]) == ("import", "old")


def test_comparing_takes_likenesses_prompts_and_seeds(studio: Studio) -> None:
    studio.post(
        "/compare",
        {"concept": studio.ids["concept"], "prompts": "{} runs\n{} sits", "seed": "4", "count": "2", "base_too": "1"},
    )
    payload = last_job(studio).payload
    assert (payload["prompts"], payload["seeds"], payload["base_too"]) == (["{} runs", "{} sits"], [4, 5], True)


def test_a_comparison_has_a_column_for_each_likeness_and_the_base(studio: Studio) -> None:
    page = studio.get("/compare/{compare}").text
    assert "the base alone" in page
    assert page.count("/small") == 2


def test_a_job_is_asked_moved_and_cloned(studio: Studio) -> None:
    studio.post("/jobs/{learn}/sample")
    assert "sample" in row(studio, Job, studio.ids["learn"]).wishes
    studio.post("/jobs/{second}/move", {"to": "first"})
    waiting = [row(studio, Job, studio.ids[name]).position for name in ("second", "queued")]
    assert waiting == sorted(waiting)
    studio.post("/jobs/{learn}/clone", {"method": "lora_dreambooth", "set.steps": "9", "seed": "2"})
    assert (last_job(studio).payload["settings"], last_job(studio).payload["seed"]) == ({"steps": 9}, 2)
    assert studio.post("/jobs/{learn}/explode").status_code in (400, 404)


def test_pictures_are_favourites_and_on_boards(studio: Studio) -> None:
    studio.post("/pictures/{picture}/favourite")
    assert row(studio, Picture, studio.ids["picture"]).favourite
    studio.post("/pictures/{picture}/board", {"name": "best"})
    with studio.services.database.reading() as session:
        board = session.scalars(select(Board).where(Board.name == "best")).one().id
    assert studio.ids["picture"] in studio.get(f"/gallery?board={board}").text


def test_words_become_a_job_of_the_conversation(studio: Studio) -> None:
    studio.post("/chat/{conversation}/say", {"words": "make <rex> red"})
    payload = last_job(studio).payload
    current = row(studio, Conversation, studio.ids["conversation"]).current_id
    assert payload["concepts"] == [{"id": studio.ids["concept"], "scale": 1.0}]
    assert (payload["words"], payload["parent"]) == ("make <rex> red", current)


def test_a_form_without_its_token_is_refused(studio: Studio) -> None:
    answer = studio.post("/paint", {"prompt": "a dog"}, token="wrong")
    assert answer.status_code == 403
    with studio.services.database.reading() as session:
        assert session.scalars(select(Reference)).first() is not None


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
    number = give(studio, name="gone")
    page = studio.get(f"/teach/{number}").text
    assert f'formaction="/teach/{number}/delete"' in page
    question = "Delete gone & its <b>photos</b>?"
    fields = {"ask": question, "name": "gone", "words": '"><script>'}
    asked = studio.post(f"/teach/{number}/delete", fields)
    assert asked.status_code == 200
    assert "Delete gone &amp; its &lt;b&gt;photos&lt;/b&gt;?" in asked.text
    assert f'action="/teach/{number}/delete"' in asked.text
    assert "<script>" not in asked.text.replace("<script src", "")
    assert row(studio, Subject, number).deleted is None
    assert studio.post(f"/teach/{number}/delete", {**fields, "ask": ""}).status_code == 303
    assert row(studio, Subject, number).deleted is not None


def test_every_button_that_deletes_asks(studio: Studio) -> None:
    pages = ("/teach/{subject}", "/concepts/{concept}", "/pictures/{picture}", "/settings", "/gallery?board={board}")
    for path in pages:
        text = studio.get(path).text
        for part in text.split("<button")[1:]:
            button = part.partition("</button>")[0]
            if "danger" in button.partition(">")[0]:
                assert 'name="ask" value="' in button, (path, button)


def test_regions_of_a_picture_come_back_as_boxes() -> None:
    in_words, as_stored = box_in_percent("0,0,0.5,1"), box_in_percent([0.0, 0.0, 0.5, 1.0])
    assert in_words == as_stored == {"left": 0, "top": 0, "width": 50, "height": 100}
    assert set(box_in_percent("/job/mask.png").values()) == {""}


def test_a_dropped_picture_of_the_gallery_brings_back_its_row(studio: Studio) -> None:
    sha256 = row(studio, Picture, studio.ids["picture"]).sha256
    data = studio.services.files.read(sha256)
    answer = studio.post("/paint/settings", files={"picture": ("a.png", data, "image/png")})
    like = answer.headers["location"].removeprefix("/paint?like=")
    assert row(studio, Picture, like).sha256 == sha256


@pytest.mark.parametrize(
    ("payload", "photos"), [({}, "the photos it learns from"), ({"hold_out": 1}, "held-out photos")]
)
def test_the_curve_of_likeness_names_the_photos_that_it_compares_with(payload: dict[str, int], photos: str) -> None:
    events = [{"event": "sample_painted", "done": k, "scores": [{"likeness": 0.5}]} for k in (1, 2)]
    assert likeness_curve(events, held_out=bool(payload.get("hold_out")))[1].endswith(photos)
