"""Preference of one picture over another (Diffusion-DPO)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from limner.core.recipe import Stage
from limner.core.subject import Subject
from limner.engine.train import train
from limner.errors import InputError
from limner.library.opening import adapter_of
from limner.parts.objectives import preference
from limner.parts.sources import preferred
from tests.helpers import learn_fast


@pytest.fixture(scope="module")
def adapter(base: Any, rex: Subject) -> Any:
    return adapter_of(learn_fast(base, "textual_inversion", rex), base)


def pairs(rex: Subject) -> list[tuple[Image.Image, Image.Image, str]]:
    image = rex.pictures[0].image
    assert image is not None
    return [(image, Image.new("RGB", image.size, (90, 90, 90)), "a photo of <rex>")]


def losses(base: Any, adapter: Any, stage: Stage) -> list[float]:
    return [progress.loss for progress in train(base, adapter, stages=(stage,))]


def stage(adapter: Any, rex: Subject, *, beta: float, lr: float = 1e-2, momentum: float = 1.0) -> Stage:
    last = adapter.recipe.tuning[-1]
    loss = preference(preferred(pairs(rex), batch=2), beta=beta)
    return Stage(train=last.train, loss=(loss,), steps=3, lr=lr, momentum=momentum)


def test_the_first_loss_is_log_two_and_falls_from_a_fixed_reference(base: Any, adapter: Any, rex: Subject) -> None:
    values = losses(base, adapter, stage(adapter, rex, beta=2000.0))
    assert values[0] == pytest.approx(math.log(2), abs=1e-4)
    moving = losses(base, adapter, stage(adapter, rex, beta=2000.0, momentum=0.5))
    assert max(values[1:]) < 0.5 * min(moving[1:])  # a reference that moves along is nearer


def test_without_strength_nothing_is_preferred(base: Any, adapter: Any, rex: Subject) -> None:
    assert losses(base, adapter, stage(adapter, rex, beta=0.0)) == pytest.approx([math.log(2)] * 3)


def test_the_loss_is_that_of_the_four_errors(base: Any, adapter: Any, rex: Subject) -> None:
    """Eq. 14 of arXiv:2311.12908, written out for one update."""
    seen: list[tuple[float, Any]] = []
    term = preference(preferred(pairs(rex), batch=1), beta=700.0)

    def value(step: Any) -> Any:
        result = term.value(step)
        with torch.no_grad():
            now = (step.prediction.output - step.target).square().mean((1, 2, 3))
            first = (step.momentum_prediction(text=True).output - step.target).square().mean((1, 2, 3))
            inner = -0.5 * 700 * ((now[0] - first[0]) - (now[1] - first[1]))
            seen.append((float(-torch.log(torch.sigmoid(inner))), step.time))
        return result

    last = adapter.recipe.tuning[-1]
    plan = Stage(train=last.train, loss=(replace(term, value=value),), steps=3, lr=1e-2, momentum=1.0)
    assert losses(base, adapter, plan) == pytest.approx([each for each, _ in seen], rel=1e-3)
    assert all(time[0] == time[1] for _, time in seen)  # both of a pair have one time
    assert len({float(time[0]) for _, time in seen}) > 1


def test_a_stage_without_a_reference_is_refused(base: Any, adapter: Any, rex: Subject) -> None:
    with pytest.raises(InputError, match="momentum"):
        losses(base, adapter, stage(adapter, rex, beta=1.0, momentum=0.0))


def test_no_pairs_are_refused() -> None:
    with pytest.raises(InputError, match="no pairs"):
        preferred([])
