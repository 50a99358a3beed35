"""Wishes during a training that does no updates: class images before the first one, scores after the last one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limner.core.subject import Subject
from limner.engine.sample import PaintSettings
from limner.errors import TeachingError
from limner.parts.sources.class_pictures import painted
from limner.workflows.controls import Controls
from limner.workflows.events import (
    ConceptSaved,
    Event,
    FleetUpdateDone,
    Message,
    Paused,
    PicturesRead,
    RunDone,
    RunPlanned,
    UpdateDone,
)
from limner.workflows.requests import LearnRequest
from limner.workflows.run import run
from tests.helpers import save_pictures

FEW = {"steps": 2, "batch": 1, "num_class_pictures": 33}


@pytest.fixture
def request_(rex: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LearnRequest:
    """A training with class images that no cache holds."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    photos = save_pictures(rex, tmp_path / "photos")
    about: dict[str, Any] = {"preview": 0, "check": False, "out": tmp_path, "states": 0}
    return LearnRequest(pictures=(photos,), noun="dog", name="rex", method="dreambooth", settings=FEW, **about)


def events_of(
    base: Any, request: LearnRequest, wish: str, at: type[Event], controls: Controls, text: str = ""
) -> list[Event]:
    """The events of a run of which something is asked at the first event of a type."""
    events = []
    for event in run(request, open_base=lambda _: base, controls=controls):
        events.append(event)
        if isinstance(event, at) and getattr(event, "text", "") == text:
            controls.ask(wish)
    return events


def test_a_pause_ends_the_sampling_of_class_images_at_once(base: Any, request_: LearnRequest, tmp_path: Path) -> None:
    *events, last = events_of(base, request_, "pause", RunPlanned, Controls())
    assert isinstance(last, Paused)
    assert last.path is None  # nothing was learned
    assert not [event for event in events if isinstance(event, UpdateDone)]
    assert not list((tmp_path / "cache").glob("*.safetensors"))  # not one batch was sampled
    *_, last = run(replace(request_, resume=True), open_base=lambda _: base)
    assert isinstance(last, RunDone)


def test_a_stop_before_the_first_update_keeps_nothing_and_says_so(
    base: Any, request_: LearnRequest, tmp_path: Path
) -> None:
    with pytest.raises(TeachingError, match="nothing to keep"):
        events_of(base, request_, "stop", RunPlanned, Controls())
    assert not (tmp_path / "rex.safetensors").exists()


def test_a_pause_ends_scoring_at_once_and_the_concept_is_kept(
    base: Any, request_: LearnRequest, tmp_path: Path
) -> None:
    *events, last = events_of(base, request_, "pause", Message, Controls(), text="scoring")
    assert isinstance(last, Paused)
    assert last.path == tmp_path / "rex.safetensors"
    assert [type(event) for event in events][-2:] == [ConceptSaved, Message]
    *events, last = run(replace(request_, resume=True), open_base=lambda _: base)
    assert isinstance(last, RunDone)
    assert not [event for event in events if isinstance(event, UpdateDone)]
    # without this event, a queue would end the job without a likeness
    assert [event.path for event in events if isinstance(event, ConceptSaved)][:1] == [tmp_path / "rex.safetensors"]


def test_a_pause_of_many_subjects_ends_the_sampling_of_class_images_at_once(
    base: Any, request_: LearnRequest, tmp_path: Path
) -> None:
    root = tmp_path / "all"
    root.mkdir()
    (root / "rex").symlink_to(request_.pictures[0])
    several: dict[str, Any] = {
        "pictures": (root,),
        "name": "",
        "together": True,
        "method": "lora_dreambooth",
        "out": tmp_path / "out",
    }
    request = replace(request_, **several)
    *events, last = events_of(base, request, "pause", PicturesRead, Controls())
    assert isinstance(last, Paused)
    assert not [event for event in events if isinstance(event, FleetUpdateDone)]
    *_, last = run(replace(request, resume=True), open_base=lambda _: base)
    assert isinstance(last, RunDone)
    assert not last.failure


class Counted:
    """Turns that another thread always waits for; each is counted by the number of updates before it."""

    are_wanted = True

    def __init__(self) -> None:
        self.given: list[bool] = []
        self.has_update = False

    def give_way(self) -> None:
        self.given.append(self.has_update)


def test_the_base_is_lent_between_the_steps_of_sampling_class_images(base: Any, request_: LearnRequest) -> None:
    turns, before = Counted(), base.fingerprint
    for event in run(request_, open_base=lambda _: base, controls=Controls(turns)):
        turns.has_update = turns.has_update or isinstance(event, UpdateDone)
    assert turns.given.count(False) >= 2 * PaintSettings().steps  # two batches
    assert base.fingerprint == before


def test_an_interrupted_sampling_of_class_images_goes_on_with_the_missing_batch(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    first = painted(base, ("a photo of a dog",), 32)
    (file,) = tmp_path.glob("*.safetensors")
    more = painted(base, ("a photo of a dog",), 33)
    assert more[:32].equal(first)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert file.exists()
