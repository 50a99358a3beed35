"""Wishes during a run: pause, stop, sample, save. None of them changes the bits of what is learned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from limner.core.files import is_ours
from limner.core.subject import Subject
from limner.engine.checkpoint import CHECKPOINT
from limner.engine.sample import PaintSettings
from limner.errors import UnknownName
from limner.workflows.choose_method import GOALS, measured
from limner.workflows.controls import WISHES, Controls
from limner.workflows.events import (
    ConceptSaved,
    Event,
    FleetUpdateDone,
    Message,
    Paused,
    PictureSaved,
    RunDone,
    SamplePainted,
    SignalMeasured,
    StateSaved,
    UpdateDone,
)
from limner.workflows.form import facts_of_method
from limner.workflows.learn_together import _method
from limner.workflows.requests import LearnRequest, PaintRequest, Request
from limner.workflows.run import run
from limner.workflows.together import UNFINISHED
from tests.helpers import same, save_pictures, untouched

STEPS = 4


@pytest.fixture(scope="module")
def folder(rex: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures(rex, tmp_path_factory.mktemp("controls") / "photos")


@pytest.fixture
def asking(base: Any) -> Callable[..., list[Event]]:
    """Run a request on the open base; after each event, `when` may ask for things."""

    def events_of(request: Request, when: Callable[[Event, Controls], None] = lambda *_: None) -> list[Event]:
        controls, events = Controls(), []
        for event in run(request, controls=controls, open_base=lambda _: base):
            events.append(event)
            when(event, controls)
        assert untouched(base)
        return events

    return events_of


def learning(folder: Path, out: Path, **more: Any) -> LearnRequest:
    settings = {"steps": STEPS, "batch": 1, "prior_weight": 0.0}
    about: dict[str, Any] = {"method": "lora_dreambooth", "settings": settings, "score": False, "check": False}
    about |= {"pictures": (folder,), "noun": "dog", "name": "rex", "out": out, "preview": 0}
    return LearnRequest(**{**about, **more})


def at(done: int, *wishes: str) -> Callable[[Event, Controls], None]:
    """Ask for these after that update."""

    def when(event: Event, controls: Controls) -> None:
        if isinstance(event, UpdateDone | FleetUpdateDone) and round(event.done) == done:
            for wish in wishes:
                controls.ask(wish)

    return when


@pytest.fixture(scope="module")
def plain(base: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> limner.Concept:
    """The concept of a run that nobody disturbs."""
    request = learning(folder, tmp_path_factory.mktemp("plain"))
    *_, done = run(request, open_base=lambda _: base)
    assert isinstance(done, RunDone)
    return limner.Concept.load(done.result["concept"])


def of(events: list[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_a_paused_run_goes_on_to_the_same_bits(
    asking: Callable[..., list[Event]], plain: limner.Concept, folder: Path, tmp_path: Path
) -> None:
    request = learning(folder, tmp_path)
    first = asking(request, at(2, "pause"))
    assert first[-1] == Paused(tmp_path / "rex" / CHECKPOINT)
    assert (tmp_path / "rex" / CHECKPOINT).exists()
    assert not (tmp_path / "rex.safetensors").exists()
    second = asking(replace(request, resume=True))
    assert [update.done for update in of(second, UpdateDone)] == [3, 4]
    concept = limner.Concept.load(tmp_path / "rex.safetensors")
    assert same(concept.tensors, plain.tensors)
    assert concept.losses == plain.losses


def test_a_pause_after_training_keeps_the_concept_and_leaves_the_rest_for_later(
    asking: Callable[..., list[Event]], folder: Path, tmp_path: Path
) -> None:
    def when(event: Event, controls: Controls) -> None:
        if isinstance(event, ConceptSaved):
            controls.ask("pause")

    events = asking(learning(folder, tmp_path), when)
    assert events[-1] == Paused(tmp_path / "rex.safetensors")
    again = asking(learning(folder, tmp_path, resume=True))
    assert not of(again, UpdateDone)
    assert isinstance(again[-1], RunDone)


def test_samples_and_saved_states_change_nothing(
    asking: Callable[..., list[Event]],
    plain: limner.Concept,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def judge_of(base: Any, subject: Subject, *_: object) -> Callable[[limner.Concept], Any]:
        pictures = [picture.image for picture in subject.pictures if picture.image is not None]
        about: dict[str, Any] = {"prompts": base.capabilities.bench.prompts()[:1], "only": ("identity",)}
        return lambda concept: limner.score(base, concept, training=pictures, seeds=(0,), **about)

    monkeypatch.setattr("limner.workflows.learn_plan.judge_of", judge_of)
    request = learning(folder, tmp_path, keep="best", states=2, score=True, preview=0)
    events = asking(request, at(1, "sample", "save"))
    states = of(events, StateSaved)
    assert [state.done for state in states] == [2]  # once, though both the request and a person asked for it
    (sample,) = of(events, SamplePainted)
    assert (sample.done, sample.prompts) == (2, ("a photo of <rex>",))
    assert all(is_ours(path) for path in (*sample.paths, states[0].path))
    assert set(sample.scores[0]) >= {"likeness"}
    concept = limner.Concept.load(tmp_path / "rex.safetensors")
    assert concept.losses == plain.losses
    state = limner.Concept.load(states[0].path)
    half = learning(folder, tmp_path / "half", settings={**request.settings, "steps": 2})
    asking(half)
    assert same(state.tensors, limner.Concept.load(tmp_path / "half" / "rex.safetensors").tensors)
    assert state.cost["steps"] == 2


def test_a_stopped_run_keeps_the_concept_of_now(
    asking: Callable[..., list[Event]], plain: limner.Concept, folder: Path, tmp_path: Path
) -> None:
    events = asking(learning(folder, tmp_path, preview=0), at(1, "stop"))
    assert [update.done for update in of(events, UpdateDone)] == [1, 2]
    assert isinstance(events[-1], RunDone)
    assert any("stopped after 2 of 4 updates" in event.text for event in of(events, Message))
    concept = limner.Concept.load(tmp_path / "rex.safetensors")
    assert concept.losses == plain.losses[:2]
    assert not (tmp_path / "rex" / CHECKPOINT).exists()


def test_the_loss_on_held_out_pictures_is_measured_for_those_who_look_on(
    asking: Callable[..., list[Event]], folder: Path, tmp_path: Path
) -> None:
    request = learning(folder, tmp_path, hold_out=1, method="textual_inversion", settings={"steps": 10, "batch": 1})
    signals = of(asking(request), SignalMeasured)
    assert [signal.done for signal in signals] == [10]
    assert set(signals[0].values) == {"loss", "loss_ratio", "held_out", "held_out_ratio", "gap"}


def test_many_subjects_pause_save_and_stop(asking: Callable[..., list[Event]], folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "all"
    root.mkdir()
    for name in ("rex", "bo"):
        (root / name).symlink_to(folder)
    request = learning(root, tmp_path / "out", name="", together=True, method="lora_dreambooth")
    asked: list[str] = []

    def once(*wishes: str) -> Callable[[Event, Controls], None]:
        def when(event: Event, controls: Controls) -> None:
            if isinstance(event, FleetUpdateDone):
                for wish in wishes:
                    if wish not in asked:
                        controls.ask(wish)
                        asked.append(wish)

        return when

    first = asking(request, once("pause"))
    assert first[-1] == Paused(tmp_path / "out" / UNFINISHED)
    second = asking(replace(request, resume=True), once("save", "stop"))
    assert [state.path.parent.parent.name for state in of(second, StateSaved)] == ["bo", "rex"]
    done = second[-1]
    assert isinstance(done, RunDone)
    assert len(done.result["concepts"]) == 2
    concept = limner.Concept.load(tmp_path / "out" / "rex.safetensors")
    alone = learning(folder, tmp_path / "alone", settings={**request.settings, "steps": len(concept.losses)})
    asking(alone)
    # an interrupted pass names those that were complete before, for a queue that ended with it
    again = asking(replace(request, resume=True), lambda *_: None)
    assert sorted(event.path.stem for event in of(again, ConceptSaved)) == ["bo", "rex"]
    assert len(concept.losses) < STEPS
    assert concept.losses == pytest.approx(limner.Concept.load(tmp_path / "alone" / "rex.safetensors").losses, rel=1e-3)


def test_painting_pauses_after_a_batch_and_the_rest_is_the_same(
    asking: Callable[..., list[Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Any = limner.PaintSettings.__init__
    names = list(limner.PaintSettings.__dataclass_fields__)
    defaults = list(made.__defaults__)
    defaults[names.index("batch")] = 2
    monkeypatch.setattr(made, "__defaults__", tuple(defaults))
    request = PaintRequest(prompts=("a dog", "a car"), count=2, steps=1, out=tmp_path / "whole")
    whole = of(asking(request), PictureSaved)

    def when(event: Event, controls: Controls) -> None:
        if isinstance(event, PictureSaved):
            controls.ask("pause")

    parts = replace(request, out=tmp_path / "parts")
    first = asking(parts, when)
    assert first[-1] == Paused(done=2)
    second = asking(replace(parts, skip=2))
    painted = of([*first, *second], PictureSaved)
    assert [p.prompt for p in painted] == [p.prompt for p in whole]
    assert [p.path.read_bytes() for p in painted] == [p.path.read_bytes() for p in whole]


def test_a_wish_is_granted_once_and_may_come_from_any_thread() -> None:
    controls = Controls()
    threads = [threading.Thread(target=controls.ask, args=(wish,)) for wish in WISHES * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(controls.asked(wish) and controls.take(wish) and not controls.take(wish) for wish in WISHES)
    with pytest.raises(UnknownName, match="wish"):
        controls.ask("cancel")


class Others:
    """Others who wait for the base, and paint with a concept of their own whenever they get it."""

    def __init__(self, base: Any, concept: limner.Concept) -> None:
        self.base, self.concept = base, concept
        self.are_wanted = True
        self.pictures: list[bytes] = []

    def give_way(self) -> None:
        settings = PaintSettings(steps=1)
        with torch.no_grad():
            (picture,) = limner.paint(self.base, "a <rex>", concepts=[self.concept], settings=settings)
        self.pictures.append(picture.image.tobytes())
        self.are_wanted = len(self.pictures) < 2


def test_others_paint_between_two_updates_and_change_no_bit(
    base: Any, plain: limner.Concept, folder: Path, tmp_path: Path
) -> None:
    alone = Others(base, plain)
    alone.give_way()
    others = Others(base, plain)
    list(run(learning(folder, tmp_path), controls=Controls(others), open_base=lambda _: base))
    assert others.pictures == alone.pictures * 2
    assert same(limner.Concept.load(tmp_path / "rex.safetensors").tensors, plain.tensors)
    assert untouched(base)


def test_many_subjects_give_way_and_end_at_the_same_bits(
    base: Any, plain: limner.Concept, folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "all"
    root.mkdir()
    for name in ("rex", "bo"):
        (root / name).symlink_to(folder)
    others = Others(base, plain)
    for out, controls in (("alone", Controls()), ("shared", Controls(others))):
        request = learning(root, tmp_path / out, name="", together=True)
        list(run(request, controls=controls, open_base=lambda _: base))
    assert len(set(others.pictures)) == 1
    for name in ("rex", "bo"):
        alone, shared = (limner.Concept.load(tmp_path / out / f"{name}.safetensors") for out in ("alone", "shared"))
        assert same(alone.tensors, shared.tensors)
    assert untouched(base)


@pytest.mark.parametrize(
    ("kind", "goal"), [("object", "fast"), ("object", "best"), ("relation", "best"), ("action", "best")]
)
def test_many_subjects_learn_by_a_method_for_the_goal_that_trains_them_in_one_pass(kind: str, goal: str) -> None:
    (event,) = _method(LearnRequest(pictures=(), together=True, goal=goal, kind=kind))
    assert isinstance(event, Message)
    name = event.text.removeprefix("method: ").split(" (")[0]
    assert facts_of_method(name)["together"]
    if kind == "object":
        able = {n: row["H"] for n, row in measured("pocket").items() if facts_of_method(n)["together"]}
        assert able[name] >= GOALS[goal] * max(able.values())


def test_settings_that_the_goals_method_lacks_are_those_of_the_usual_one() -> None:
    request = LearnRequest(pictures=(), together=True, goal="best", settings={"num_class_pictures": 2})
    (event,) = _method(request)
    assert "method: lora_dreambooth (lycoris_locon has no setting 'num_class_pictures')" in str(event)
