"""Payloads: requests are built from ids and hashes alone, and nothing that a client sends opens a file or runs code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from limner.apps.jobs.access import NotFound, share
from limner.apps.jobs.conditions import Networks
from limner.apps.jobs.database import Database, open_database
from limner.apps.jobs.files import Files, open_files
from limner.apps.jobs.payloads import Plan, check_payload, plan
from limner.apps.jobs.queue import KINDS
from limner.apps.jobs.readers import READERS
from limner.apps.jobs.safe_settings import opens
from limner.apps.jobs.tables import Concept, Picture, Reference, Subject, User
from limner.apps.jobs.uploads import store
from limner.apps.jobs.users import create_user
from limner.core.method import settings
from limner.errors import InputError, UnknownName
from limner.methods import methods
from limner.workflows.requests import BaseChoice, CompareRequest, LearnRequest, PaintRequest

from .workflows import PIXEL


class World:
    """Two users; the first one has a subject, a concept and a picture."""

    def __init__(self, database: Database, files: Files) -> None:
        self.database, self.files = database, files
        self.ann, self.bob = (create_user(database, name) for name in ("ann", "bob"))
        self.sha256 = store(database, files, PIXEL, owner=self.ann.id, media_type="image/jpeg")
        self.mask = store(database, files, PIXEL + b"mask", owner=self.ann.id, media_type="image/png")
        self.weights = store(database, files, b"weights", owner=self.ann.id, media_type="application/octet-stream")
        photos = [
            Reference(position=0, sha256=self.sha256, caption="a photo of <rex>", mask=self.mask),
            Reference(position=1, sha256=self.mask, in_training=False),
        ]
        with database.session() as session:
            self.subject = Subject(owner_id=self.ann.id, name="rex", noun="dog", pictures=photos)
            session.add(self.subject)
            session.flush()
            about = {"owner_id": self.ann.id, "sha256": self.weights, "subject_id": self.subject.id}
            self.concept = Concept(name="rex", handle="<rex>", base="other", **about)
            self.picture = Picture(owner_id=self.ann.id, sha256=self.sha256)
            session.add_all([self.concept, self.picture])

    def plan(self, kind: str, payload: dict[str, Any], user: User | None = None, **more: Any) -> Plan:
        with self.database.reading() as session:
            return plan(session, user or self.ann, kind, payload, folder=Path("/work/job"), **more)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """On SQLite alone: payloads are only read."""
    folder = tmp_path_factory.mktemp("world")
    database = open_database(f"sqlite:///{folder}/studio.db")
    yield World(database, open_files(str(folder / "files")))
    database.close()


def test_every_kind_of_job_has_a_reader() -> None:
    assert set(READERS) == set(KINDS)


def test_a_subject_becomes_a_folder_with_captions_and_masks(world: World) -> None:
    made = world.plan("learn", {"subject": world.subject.id, "method": "textual_inversion", "settings": {"steps": 2}})
    request = made.request
    assert isinstance(request, LearnRequest)
    folder = Path("/work/job/in/photos/rex")
    assert request.pictures == (folder,)
    assert (request.name, request.noun, request.out, request.resume) == ("rex", "dog", Path("/work/job/out"), False)
    assert dict(made.files) == {folder / "000.jpg": world.sha256, folder / "000-masklabel.png": world.mask}
    assert dict(made.texts) == {folder / "000.txt": "a photo of <rex>"}
    assert world.plan("learn", {"subject": world.subject.id}, again=True).request.record["resume"]


def test_several_subjects_become_one_pass(world: World) -> None:
    ids = [world.subject.id, world.subject.id]
    request = world.plan("learn", {"subjects": ids, "together": True}).request
    assert isinstance(request, LearnRequest)
    assert request.together
    assert request.pictures == (Path("/work/job/in/subjects"),)
    assert dict(request.nouns) == {"rex": "dog", "rex2": "dog"}


def test_concepts_pictures_and_masks_get_places_in_the_jobs_folder(world: World) -> None:
    payload = {
        "prompts": ["<rex> here"],
        "concepts": [{"id": world.concept.id, "scale": 0.5}],
        "onto": world.picture.id,
        "where": world.mask,
        "regions": {"<rex>": world.mask},
        "conditions": {"depth": world.sha256},
    }
    made = world.plan("paint", payload, networks=Networks({"depth": "/networks/depth"}))
    request = made.request
    assert isinstance(request, PaintRequest)
    assert request.scale == (0.5,)
    assert request.controls == {"depth": "/networks/depth"}
    places = {request.concepts[0].path, request.onto, request.where, request.conditions["depth"]}
    assert places | {Path(request.regions["<rex>"])} == set(made.files)
    assert all(Path("/work/job/in") in path.parents for path in made.files)
    assert made.files[request.concepts[0].path] == world.weights
    assert not request.concepts[0].trust


def test_a_comparison_has_the_seeds_and_the_references(world: World) -> None:
    payload = {"concepts": [{"id": world.concept.id}], "prompts": ["{}"], "seed": 3, "count": 2, "base_too": True}
    request = world.plan("compare", payload).request
    assert isinstance(request, CompareRequest)
    assert (request.seeds, request.plain) == ((3, 4), True)
    assert request.references == Path("/work/job/in/references")


def test_the_base_is_one_of_the_servers(world: World) -> None:
    bases = (BaseChoice(name="pocket", device="cpu"), BaseChoice(name="other", dtype="bfloat16"))
    learn = {"subject": world.subject.id}
    assert world.plan("learn", learn, bases=bases).request.record["base"]["name"] == "pocket"
    assert world.plan("learn", {**learn, "base": "other"}, bases=bases).request.record["base"]["dtype"] == "bfloat16"
    paint = {"prompts": ["<rex>"], "concepts": [{"id": world.concept.id}]}
    assert world.plan("paint", paint, bases=bases).request.record["base"]["name"] == "other"  # it was learned on that
    with pytest.raises(UnknownName, match="base at this server"):
        world.plan("learn", {**learn, "base": "/etc"}, bases=bases)


HOSTILE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("learn", {"subject": "SUBJECT", "method": "/tmp/evil.py:run"}),
    ("learn", {"subject": "SUBJECT", "method": "instructbooth", "settings": {"judge": "/tmp/evil.py:run"}}),
    ("learn", {"subject": "SUBJECT", "method": "kosmos_g", "settings": {"model": "evil/model"}}),
    ("learn", {"subject": "SUBJECT", "pictures": ["/etc"]}),
    ("learn", {"subject": "SUBJECT", "out": "/etc"}),
    ("learn", {"subject": "SUBJECT", "segment": "evil/model"}),
    ("learn", {"subject": "SUBJECT", "encoders": {"clip": "http://evil"}}),
    ("learn", {"subject": "SUBJECT", "name": "../../rex"}),
    ("learn", {"subject": "../../etc/passwd"}),
    ("learn", {}),
    ("protect", {"subject": "SUBJECT", "method": "lora_dreambooth"}),
    ("protect", {"subject": "SUBJECT", "method": "/tmp/evil.py:run"}),
    ("protect", {"subject": "SUBJECT", "out": "/etc"}),
    ("learn", {"subject": "SUBJECT", "method": "mist"}),
    ("paint", {"prompts": ["x"], "onto": "/etc/passwd"}),
    ("paint", {"prompts": ["x"], "onto": "file:///etc/passwd"}),
    ("paint", {"prompts": ["x"], "onto": "http://169.254.169.254/"}),
    ("paint", {"prompts": ["x"], "onto": "0" * 64}),
    ("paint", {"prompts": ["x"], "layout": "/etc/passwd"}),
    ("paint", {"prompts": ["x"], "regions": {"<rex>": "/etc/mask.png"}}),
    ("paint", {"prompts": ["x"], "regions": {"<rex>": "..%2f.png"}}),
    ("paint", {"prompts": ["x"], "conditions": {"../depth": "0" * 64}}),
    ("paint", {"prompts": ["x"], "controls": {"depth": "evil"}}),
    ("paint", {"prompts": ["x"], "motion": "/etc"}),
    ("paint", {"prompts": ["x"], "count": 10**9}),
    ("paint", {"prompts": ["x"], "steps": "many"}),
    ("paint", {"prompts": ["x"] * 1000}),
    ("paint", {"prompts": ["x"], "concepts": [{"id": "CONCEPT", "scale": "much"}]}),
    ("paint", {"prompts": ["x"], "concepts": [{"path": "/etc/passwd"}]}),
    ("paint", {"prompts": ["x"], "base": {"name": "pocket", "config": "/etc"}}),
    ("export", {"concept": {"id": "CONCEPT"}, "to": "kohya", "out": "/etc"}),
    ("import", {"file": "/etc/passwd", "filename": "x"}),
    ("publish", {"concept": {"id": "CONCEPT"}, "to": "ann/rex"}),
    ("merge", {"concepts": [{"id": "CONCEPT"}], "name": "../x"}),
    ("dance", {}),
)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_payloads_are_refused_with_a_reason(world: World, number: int) -> None:
    kind, payload = HOSTILE[number]
    ids = {"SUBJECT": world.subject.id, "CONCEPT": world.concept.id}

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [filled(each) for each in value]
        return ids.get(value, value) if isinstance(value, str) else value

    with world.database.reading() as session, pytest.raises(InputError):
        check_payload(session, world.ann, kind, filled(payload))


def test_the_settings_that_open_files_are_known() -> None:
    """A new setting of that kind must be worded so that it is recognised; this list is for people to compare."""
    known = {f"{name}.{each.name}" for name, make in methods().items() for each in settings(make) if opens(each)}
    assert known == {
        *("cafe.model", "kosmos_g.model", "moma.model", "styledrop.choose"),
        *("id_aligner.appeal", "instructbooth.judge"),
    }


def test_the_name_of_an_imported_file_is_made_harmless(world: World) -> None:
    made = world.plan("import", {"file": world.weights, "filename": "../../Rex v2 (final).safetensors"})
    assert [path.name for path in made.files] == ["Rexv2final.safetensors"]


def test_nothing_of_another_user_is_usable(world: World) -> None:
    """Before the concept is shared in the next test."""
    for kind, payload in (
        ("learn", {"subject": world.subject.id}),
        ("look", {"subject": world.subject.id}),
        ("protect", {"subject": world.subject.id}),
        ("score", {"concept": {"id": world.concept.id}}),
        ("paint", {"prompts": ["x"], "concepts": [{"id": world.concept.id}]}),
        ("paint", {"prompts": ["x"], "onto": world.picture.id}),
        ("paint", {"prompts": ["x"], "onto": world.sha256}),
        ("import", {"file": world.weights}),
    ):
        with pytest.raises(NotFound):
            world.plan(kind, payload, world.bob)


def test_a_handle_that_no_chosen_concept_answers_to_is_refused_before_the_queue(world: World) -> None:
    wanted = {"concepts": [world.concept.id], "prompts": ["<rex> beside <bo>"]}
    with pytest.raises(InputError, match="nothing answers to <bo>.*attached: <rex>"):
        world.plan("paint", wanted)
    with pytest.raises(InputError, match="nothing answers to <rex>.*choose one"):
        world.plan("paint", {"prompts": ["<rex> on the beach"]})
    pair = {"handle": "<rex>", "beside": [{"handle": "<bo>"}]}
    with world.database.session() as session:
        both = Concept(owner_id=world.ann.id, name="both", handle="<rex>", sha256=world.weights, base="other")
        both.header = {"members": [{"subject": pair}]}
        session.add(both)
        session.flush()
        id = both.id
    request = world.plan("paint", {**wanted, "concepts": [id]}).request
    assert isinstance(request, PaintRequest)
    assert request.prompts == ("<rex> beside <bo>",)


def test_a_share_allows_painting_and_nothing_else(world: World) -> None:
    with world.database.session() as session:
        share(session, world.ann, world.concept.id, world.bob.name)
    one = {"concept": {"id": world.concept.id}}
    paint = world.plan("paint", {"prompts": ["<rex>"], "concepts": [{"id": world.concept.id}]}, world.bob)
    assert set(paint.files.values()) == {world.weights}
    for kind, payload in (
        ("export", {**one, "to": "kohya"}),
        ("publish", {**one, "to": "bob/rex", "upload": False}),
        ("merge", {"concepts": [{"id": world.concept.id}] * 2}),
    ):
        with pytest.raises(NotFound, match="belongs to another user"):
            world.plan(kind, payload, world.bob)
    score = world.plan("score", one, world.bob)  # without the owner's photos
    assert set(score.files.values()) == {world.weights}
