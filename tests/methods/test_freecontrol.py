"""FreeControl: structure from an inverted picture of any kind, appearance from an unguided sample."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.adapted import Moment
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.sample import PaintSettings, sample
from limner.methods import methods
from limner.parts.encoders.conditions import edges
from limner.parts.guidance.structure import (
    HIDDEN,
    KEYS,
    Target,
    _free_features,
    _run,
    _targets,
    appearance_of,
    key_sites,
    principal,
    scores_of,
    structure_energy,
    structure_guidance,
)
from limner.parts.modifiers import reference_latents
from tests.helpers import same, state

HOW = PaintSettings(steps=8)


@cache
def measured(base: Any, rex: Subject, **settings: Any) -> tuple[float, float, Tensor]:
    """As `measure`, with the subject's second picture as the source; tests share what they ask alike."""
    return measure(base, rex, {"source": rex.tensor(base.picture_size)[1:2]}, **settings)


def measure(base: Any, rex: Subject, conditions: dict[str, Tensor], **settings: Any) -> tuple[float, float, Tensor]:
    """Means over the guided steps of the structure's energy, and of the distance in appearance from the unguided
    sample; latents of the pictures."""
    reference = reference_latents(rex, instead="source")
    about: dict[str, Any] = {"components": 16, "seeds": 3, "warmup": 0.1, **settings}
    guidance = structure_guidance(reference, "dog", **about)
    found: list[tuple[float, float]] = []

    def note(moment: Moment) -> Tensor:
        if 0 < moment.step < 4:
            targets = _targets(moment, note, reference, "dog", 16, 3, range(4))[moment.step]
            (site, *_), (target, *_) = key_sites(base), targets
            run = _run(moment, moment.latents, moment.prompts, moment.states)
            own = scores_of(run.activations[KEYS + site.name], target)
            free = _free_features(moment, note)
            theirs = scores_of(free[KEYS + site.name], target)
            gap = appearance_of(own, run.activations[HIDDEN + site.name], 2) - appearance_of(
                theirs, free[HIDDEN + site.name], 2
            )
            found.append((float(structure_energy(own, target, 10.0).mean()), float(gap.square().mean())))
        elif moment.step == 0:
            _free_features(moment, note)
        return moment.latents

    recipe = Recipe("dog", (reference,), painting=Painting(latents=(note, guidance)))
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        *_, last = sample(adapted, ["a dog on the beach"], seeds=[0], settings=HOW, conditions=conditions)
    structure, colour = (sum(part) / len(found) for part in zip(*found, strict=True))
    return structure, colour, last.latents


@pytest.fixture(scope="module")
def source(base: Any, rex: Subject) -> dict[str, Tensor]:
    return {"source": rex.tensor(base.picture_size)[1:2]}


def test_guidance_lowers_the_energy_of_structure(base: Any, rex: Subject) -> None:
    before = state(base)
    off, _, plain = measured(base, rex, strength=0.0)
    on, _, guided = measured(base, rex, strength=400.0, appearance=0.0)
    print("structure", off, on, float((plain - guided).norm() / plain.norm()))
    assert on < 0.95 * off
    assert bool(guided.isfinite().all())
    assert not torch.allclose(plain, guided, atol=1e-2)
    assert same(state(base), before)


def test_appearance_guidance_changes_colours_and_not_structure(base: Any, rex: Subject) -> None:
    with_it, near, first = measured(base, rex, strength=400.0, appearance=50.0)
    without, far, second = measured(base, rex, strength=400.0, appearance=0.0)
    print("appearance", with_it, without, near, far)
    assert near < 0.95 * far
    assert with_it == pytest.approx(without, rel=0.25)
    assert not torch.allclose(first, second, atol=1e-3)


def test_any_kind_of_picture_enters_through_its_inversion(base: Any, rex: Subject, source: dict[str, Tensor]) -> None:
    """A sketch in place of a photograph; without a condition, the subject's first picture."""
    recipe = methods()["freecontrol"](rex, num_class_pictures=3)
    assert not recipe.stages
    ends = []
    how = PaintSettings(steps=4)
    for conditions in ({}, source, {"source": edges(source["source"])}, {"source": rex.tensor(base.picture_size)[:1]}):
        with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>")]) as adapted:
            *_, last = sample(adapted, ["<rex>"], seeds=[1], settings=how, conditions=conditions)
        ends.append(last.latents)
    assert not torch.allclose(ends[0], ends[1], atol=1e-3)
    assert not torch.allclose(ends[1], ends[2], atol=1e-3)
    assert torch.allclose(ends[0], ends[3], atol=1e-3)


def test_principal_components_are_those_of_the_covariance() -> None:
    at = torch.Generator().manual_seed(0)
    keys = torch.randn(4, 9, 5, generator=at) * torch.tensor([1.0, 5.0, 0.1, 2.0, 0.5])
    mean, basis = principal(keys, 2)
    assert torch.allclose(mean, keys.flatten(0, 1).mean(0), atol=1e-5)
    assert basis.abs().argmax(1).tolist() == [1, 3]
    assert torch.allclose(basis @ basis.mT, torch.eye(2), atol=1e-4)


def test_the_energy_counts_differences_inside_and_excess_outside() -> None:
    scores = torch.tensor([[[1.0], [0.5], [0.2]]])
    inside = torch.tensor([[True, False, False]])
    target = Target(torch.zeros(1), torch.eye(1), torch.zeros(1, 3, 1), inside, torch.full((1, 1, 1), 0.3))
    assert float(structure_energy(scores, target, 0.0)) == pytest.approx(1.0)
    assert float(structure_energy(scores, target, 10.0)) == pytest.approx(1 + 10 * 0.2**2 / 2)
    hidden = torch.tensor([[[2.0], [4.0], [8.0]]])
    assert float(appearance_of(scores, hidden, 1)) == pytest.approx(2.0)
