"""Weights that are made when a method is first used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import limner
from limner.core.weights import weights_path
from limner.errors import FileError, TeachingError
from limner.methods import find
from limner.pocket.people_corpus import people
from limner.workflows.controls import Controls
from limner.workflows.events import Message, Paused, RunDone, WeightsUpdateDone
from limner.workflows.first_use import make_weights
from limner.workflows.requests import LearnRequest
from limner.workflows.run import run
from tests.helpers import person, save_pictures

METHOD = '''
from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people


@method(title="Quick", scope=("face",))
def quick(subject, *, steps: int = 2, batch: int = 2):
    """A change of attention.

    Settings:
        steps: updates of the one-time training
        batch: pictures in an update
    """
    change = low_rank(1, name="quick")
    stage = Stage((learned(change),), (denoising(pairs_of_people(batch=batch)),), steps, 1e-3)
    return Recipe(subject.noun, (change,), (stage,), weights="quick")
'''


def test_weights_are_made_once_with_a_word_beforehand(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, people=people(individuals=2)))
    (tmp_path / "quick.py").write_text(METHOD)
    method = find(f"{tmp_path / 'quick.py'}:quick")
    concept = limner.learn(base, person(count=1), method=method)
    path = weights_path("quick", base)
    assert path.is_relative_to(tmp_path / "cache")
    first = capsys.readouterr().err
    assert "trained once for pocket" in first
    assert "2 updates on people" in first
    assert str(path) in first
    limner.learn(base, person(count=1), method=method)
    assert "trained once" not in capsys.readouterr().err
    limner.paint(base, "<rex> on the beach", concepts=[concept], settings=limner.PaintSettings(steps=2))


class Others:
    """Turns that another thread always waits for."""

    are_wanted = True
    given = 0

    def give_way(self) -> None:
        self.given += 1


@pytest.fixture
def request_(base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LearnRequest:
    """A face to learn by a method without weights."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, people=people(individuals=2)))
    (tmp_path / "quick.py").write_text(METHOD)
    photos = save_pictures(person(count=2), tmp_path / "photos")
    return LearnRequest(
        pictures=(photos,),
        noun="person",
        kind="face",
        name="rex",
        method=f"{tmp_path / 'quick.py'}:quick",
        out=tmp_path,
        preview=0,
        check=False,
        score=False,
        may=True,
        person="Rex",
    )


def test_a_workflow_shows_how_far_the_weights_are_and_lends_the_base(base: Any, request_: LearnRequest) -> None:
    others, before = Others(), base.fingerprint
    events = list(run(request_, open_base=lambda _: base, controls=Controls(others)))
    updates = [event for event in events if isinstance(event, WeightsUpdateDone)]
    assert [(event.done, event.total, event.last) for event in updates] == [(1, 2, False), (2, 2, True)]
    assert updates[0].method.endswith(":quick")
    assert updates[0].losses
    told = [event.text for event in events[: events.index(updates[0])] if isinstance(event, Message)]
    assert any("trained once for pocket" in text for text in told)
    assert others.given >= 2
    assert base.fingerprint == before
    again = run(replace(request_, overwrite=True), open_base=lambda _: base)
    assert not [event for event in again if isinstance(event, WeightsUpdateDone)]


def test_a_pause_while_weights_are_made_goes_on_with_the_next_update(base: Any, request_: LearnRequest) -> None:
    controls, events = Controls(), []
    for event in run(request_, open_base=lambda _: base, controls=controls):
        events.append(event)
        if isinstance(event, WeightsUpdateDone):
            controls.ask("pause")
    assert events[-1] == Paused(None)
    going_on = list(run(replace(request_, resume=True), open_base=lambda _: base))
    assert [event.done for event in going_on if isinstance(event, WeightsUpdateDone)] == [2]
    assert isinstance(going_on[-1], RunDone)


def test_a_stop_while_weights_are_made_keeps_nothing_and_says_so(base: Any, request_: LearnRequest) -> None:
    controls = Controls()
    events = run(request_, open_base=lambda _: base, controls=controls)
    assert any(isinstance(event, WeightsUpdateDone) for event in events)
    controls.ask("stop")
    with pytest.raises(TeachingError, match="nothing to keep"):
        list(events)
    assert not (request_.out / "rex.safetensors").exists()
    assert not controls.asked("stop")


def test_for_full_size_bases_none_are_made(base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, full_size=True, weights=None))
    (tmp_path / "quick.py").write_text(METHOD)
    method = find(f"{tmp_path / 'quick.py'}:quick")
    assert make_weights("quick", method(person(count=1)), base) is None
    with pytest.raises(FileError, match="limner pretrain quick"):
        limner.learn(base, person(count=1), method=method)
