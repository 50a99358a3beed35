"""The forms of the page Teach lead to subjects, and to the jobs that read photos and learn."""

from __future__ import annotations

import pytest

from limner.apps.jobs.tables import Subject

from .conftest import Studio
from .rows import png

FACE = {"name": "ada", "noun": "woman", "kind": "face"}


def test_photos_become_a_subject_that_is_looked_at(studio: Studio) -> None:
    number = studio.give()
    subject, job = studio.row(Subject, number), studio.last_job()
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
    number = studio.give()
    first, second = studio.row(Subject, number).pictures
    form = {"name": "bo", "noun": "cat", "kind": "pet", f"caption-{first.id}": "a cat sits", f"used-{first.id}": "1",
            f"caption-{second.id}": "a cat runs"}  # fmt: skip
    studio.post(f"/teach/{number}", form | {"do": "bulk", "find": "cat", "replace": "<bo>", "after": "outside"})
    after = studio.row(Subject, number).pictures
    assert [(each.caption, each.in_training) for each in after] == [
        ("a <bo> sits outside", True),
        ("a <bo> runs outside", False),
    ]


def test_teaching_takes_goal_method_and_changed_settings(studio: Studio) -> None:
    number = studio.give()
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
    job = studio.last_job()
    assert answer.headers["location"] == f"/jobs/{job.id}"
    assert job.kind == "learn"
    assert job.payload == {
        "subject": number, "goal": "fast", "seed": 5, "sample_every": 3, "hold_out": 1, "keep": "best", "states": 4,
        "method": "textual_inversion", "settings": {"steps": 7}, "sample_prompts": ["<bo> runs", "<bo> sits"],
    }  # fmt: skip


def test_a_file_of_code_is_no_method(studio: Studio) -> None:
    answer = studio.post(
        f"/teach/{studio.give()}", {"name": "bo", "noun": "cat", "do": "start", "method": "/tmp/evil.py:run"}
    )
    assert answer.status_code in (400, 404)
    assert studio.last_job().kind == "look"


def test_a_face_is_taught_with_consent_alone(studio: Studio) -> None:
    number = studio.give(**FACE)
    answer = studio.post(f"/teach/{number}", FACE | {"do": "start"})
    assert answer.status_code == 400
    assert "consent" in answer.text
    assert studio.post(f"/teach/{number}", FACE | {"do": "start", "may": "1", "person": "Ada"}).status_code == 303
    assert studio.row(Subject, number).may


def test_several_subjects_learn_in_one_pass(studio: Studio) -> None:
    numbers = [studio.give(), studio.give(name="li")]
    studio.post("/teach/together", {"subject": numbers, "goal": "best"})
    assert studio.last_job().payload == {"subjects": numbers, "together": True, "goal": "best"}
    assert studio.post("/teach/together", {"subject": numbers[:1]}).status_code == 400


def test_the_slider_says_method_time_and_settings(studio: Studio) -> None:
    slow, quick = (studio.get("/teach/{subject}/plan", params={"goal": goal}).text for goal in (2, 0))
    assert 'name="set.' in quick
    assert slow != quick
