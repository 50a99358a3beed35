"""Estimates before training: this machine's speed is measured once, and what was not measured is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limner.errors import TeachingError
from limner.workflows import estimate
from limner.workflows.choose_method import measured
from limner.workflows.events import CostEstimated, Message, RunDone
from limner.workflows.form import memory_of_method, picture_seconds
from limner.workflows.quick_estimate import Speed, quick_estimate, store_speed, stored_speed
from limner.workflows.requests import BaseChoice, EstimateRequest
from limner.workflows.run import run
from tests.helpers import untouched


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    return tmp_path


def estimated(base: Any, **about: Any) -> tuple[CostEstimated, list[str]]:
    *events, found, done = run(EstimateRequest(**about), open_base=lambda _: base)
    assert isinstance(found, CostEstimated)
    assert isinstance(done, RunDone)
    assert done.result == found.record
    return found, [event.text for event in events if isinstance(event, Message)]


@pytest.mark.usefixtures("cache")
def test_this_machines_speed_is_measured_once(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "UPDATES", 1)
    found, said = estimated(base, method="dreambooth")
    assert said == ["measuring this machine's speed"]
    assert untouched(base)
    speed = stored_speed("pocket")
    assert speed is not None
    assert len(speed.updates) == 1
    again, said = estimated(None, method="dreambooth")
    assert not said
    assert again == found
    # as many seconds as its 80 updates take here, and its class images
    assert found.between is not None
    assert found.between[0] == pytest.approx(80 * speed.updates[0], rel=0.02)
    assert found.seconds == quick_estimate("balanced", method="dreambooth").seconds
    assert found.memory_bytes == memory_of_method("dreambooth")
    assert found.memory_basis.startswith("measured")


@pytest.mark.usefixtures("cache")
def test_a_method_without_results_is_measured_by_its_own_updates(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cross_initialization" not in measured()
    times = {0: [0.1, 0.2, 0.4]}
    monkeypatch.setattr(estimate, "update_seconds", lambda *_: times)
    found, _ = estimated(base, method="cross_initialization", settings={"steps": 100})
    assert (found.between, found.seconds) == ((10.0, 40.0), 20.0)
    assert found.memory_bytes == pytest.approx(0.74e9, rel=0.1)
    assert found.memory_basis.startswith("estimated")
    found, _ = estimated(base, method="cross_initialization", settings={"steps": 100}, budget=15.0)
    assert found.seconds == 15


def test_each_stage_has_the_seconds_of_its_updates(base: Any, rex: Any) -> None:
    seconds = estimate.update_seconds(base, rex, "textual_inversion", {"steps": 3, "batch": 1})
    assert [len(values) for values in seconds.values()] == [2]
    assert all(value > 0 for value in seconds[0])
    assert untouched(base)


@pytest.mark.usefixtures("cache")
def test_what_is_unknown_has_a_reason(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = EstimateRequest(base=BaseChoice(name="org/real-base", offline=True), measure=False)
    *_, found, _ = run(real)
    assert isinstance(found, CostEstimated)
    assert found.seconds is found.memory_bytes is None
    assert "open the base to measure them" in found.basis
    assert "cannot be estimated" in found.memory_basis

    def broken(*_: object) -> Any:
        raise TeachingError("the loss is not a number")

    monkeypatch.setattr(estimate, "update_seconds", broken)
    other, _ = estimated(base, method="cross_initialization")
    assert other.seconds is None
    assert "the loss is not a number" in other.basis


@pytest.mark.usefixtures("cache")
def test_a_stored_speed_is_measured_anew_where_that_is_asked(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store_speed(Speed((1.0,), (picture_seconds(),), "cpu"), "pocket")
    faster = Speed((0.5,), (picture_seconds(),), "cpu")
    monkeypatch.setattr(estimate, "measure_speed", lambda _: faster)
    before, said = estimated(base, method="dreambooth")
    after, _ = estimated(base, method="dreambooth", anew=True)
    assert not said
    assert stored_speed("pocket") == faster
    assert before.between is not None and after.between is not None  # noqa: PT018
    assert after.between[0] == pytest.approx(before.between[0] / 2, rel=0.01)
