"""The identity objective looks through an encoder of a role, and gradients pass through decoder and encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.engine.train import train
from limner.errors import InputError
from limner.parts.modifiers import new_word
from limner.parts.objectives import same_identity
from limner.parts.parameters import learned
from limner.parts.sources import photos

WORD = new_word("<rex>", "dog")


def moved(base: Any, rex: Subject, encoder: Any) -> tuple[float, Tensor]:
    """The first loss, and how far the word moves in two updates down this objective alone."""
    objective = same_identity(photos(rex, batch=1, seen=True), encoder=encoder)
    recipe = Recipe("<rex>", (WORD,), (Stage((learned(WORD),), (objective,), 2, 0.01),))
    points = [(p.loss, p.snapshot().tensors) for p in train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning)]
    (name,) = points[0][1]
    return points[0][0], points[1][1][name] - points[0][1][name]


def test_it_looks_through_the_encoder_of_a_role(base: Any, rex: Subject) -> None:
    loss, step = moved(base, rex, "object")
    assert 0 < loss < 4
    assert step.abs().max() > 1e-4
    other, _ = moved(base, rex, "")
    assert loss != pytest.approx(other, rel=1e-3)
    same_role, _ = moved(base, rex, base.encoders["object"])
    assert same_role == pytest.approx(loss, rel=1e-6)


def test_gradients_reach_the_pixels_of_faces(base: Any) -> None:
    pixels = torch.rand(1, 3, base.picture_size, base.picture_size, requires_grad=True)
    found = base.encoders["face"](pixels)
    assert torch.allclose(found.norm(dim=-1), torch.ones(1), atol=1e-4)
    found[0, 0].backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


def test_a_base_without_the_role_says_which_it_has(base: Any, rex: Subject) -> None:
    with pytest.raises(InputError, match=r"no encoder for 'voice' \(it has face, object, w_plus\)"):
        moved(base, rex, "voice")
