"""The forms of the page Teach lead to subjects, and to the jobs that read photos and learn."""

from __future__ import annotations

import pytest

from limner.apps.jobs.tables import Concept, Job, Subject, now
from limner.apps.studio import plans
from limner.apps.studio.words import seconds
from limner.workflows.quick_estimate import quick_estimate

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


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("lr", "99", "lr must be above 0 and at most 10, not 99.0"),
        ("lr", "nan", "lr must be above 0 and at most 10, not nan"),
        ("lr", "0,001", "lr must be a number, not &#39;0,001&#39;"),
        ("steps", "0", "steps must be at least 1"),
        ("steps", "1.5", "steps must be a whole number, not &#39;1.5&#39;"),
        ("layers", "some", "layers must be one of attention, everything, not &#39;some&#39;"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_the_queue(
    studio: Studio, name: str, given: str, words: str
) -> None:
    form = {"name": "bo", "noun": "cat", "do": "start", "method": "lycoris_locon", f"set.{name}": given}
    answer = studio.post(f"/teach/{studio.give()}", form)
    assert answer.status_code == 400
    assert words in answer.text
    assert studio.last_job().kind == "look"


def test_a_learning_rate_may_be_written_in_scientific_notation(studio: Studio) -> None:
    form = {"name": "bo", "noun": "cat", "do": "start", "method": "lycoris_locon", "set.lr": "3e-4"}
    studio.post(f"/teach/{studio.give()}", form)
    assert studio.last_job().payload["settings"] == {"lr": 0.0003}


def test_settings_shown_for_another_method_are_not_those_of_the_chosen_one(studio: Studio) -> None:
    """Without scripts, the form keeps the settings of the method that it was drawn for."""
    form = {"name": "bo", "noun": "cat", "do": "start", "method": "textual_inversion", "shown_method": "dreambooth"}
    number = studio.give()
    assert studio.post(f"/teach/{number}", form | {"set.steps": "80"}).status_code == 303  # dreambooth's default
    assert studio.last_job().payload["settings"] == {}
    answer = studio.post(f"/teach/{number}", form | {"set.steps": "81"})
    assert answer.status_code == 400
    assert "are those of dreambooth, and textual_inversion is chosen" in answer.text


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


def test_the_expected_time_is_that_of_the_last_trainings_here(studio: Studio) -> None:
    """A training here took three times as long as where the bench was measured."""
    number = studio.give()
    before = quick_estimate("balanced", "pet", method="dreambooth", sample_every=25, pace=1.0).whole_seconds
    assert before
    with studio.services.database.session() as session:
        owner = session.get_one(Subject, number).owner_id
        payload = {"subject": number, "goal": "balanced", "method": "dreambooth", "sample_every": 25}
        about = {"owner_id": owner, "kind": "learn", "state": "done", "ended": now()}
        session.add(Job(payload=payload, seconds=3 * before, **about))
        session.add(Job(payload=payload, seconds=before / 10, wishes={"stop": 1}, **about))  # it was cut short
    page = studio.get(f"/teach/{number}/plan", params={"goal": 1, "method": "dreambooth"}).text
    assert f"<b>{seconds(3 * before)}</b>" in page
    assert "times 3 as the last trainings here took" in page


def test_without_a_bench_the_expected_time_is_that_of_the_last_training_by_the_method(studio: Studio) -> None:
    with studio.services.database.session() as session:
        owner = session.get_one(Subject, studio.give()).owner_id
        assert plans.plan("best", "object", "org/real", method="dreambooth", session=session)["whole"] is None
        job = Job(
            owner_id=owner, kind="learn", state="done", ended=now(), seconds=120.0, payload={"method": "dreambooth"}
        )
        session.add(job)
        session.flush()
        about = {"name": "rex", "handle": "<rex>", "sha256": "0" * 64, "noun": "dog"}
        session.add(Concept(owner_id=owner, job_id=job.id, method="dreambooth", base="org/real", **about))
        session.flush()
        plan = plans.plan("best", "object", "org/real", method="dreambooth", session=session)
        assert (plan["whole"], plan["basis"]) == (120.0, "the last training by dreambooth here took this long")
        other = plans.plan("best", "object", "org/real", method="dreambooth", given={"steps": 7}, session=session)
        assert other["whole"] is None
