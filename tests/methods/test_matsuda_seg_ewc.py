"""Segmentation guidance with elastic weight consolidation: a second subject leaves the first one where it depends on
weights, and a map or regions place the subjects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.concept import Concept
from limner.core.subject import Subject
from limner.engine.attach import attach
from limner.engine.train import Progress
from limner.library.opening import adapter_of
from limner.parts.encoders import subject_masks
from limner.parts.modifiers import COLOURS, painted_in
from limner.pocket.subjects import toy

QUICK: dict[str, Any] = {
    "method": "matsuda_seg_ewc",
    "steps": 5,
    "lr": 8e-4,
    "batch": 1,
    "num_class_pictures": 2,
    "num_fisher_pictures": 3,
}
EWC = 5.0


@pytest.fixture(scope="module")
def bo() -> Subject:
    return toy("car", 2_000_021, name="bo", count=2)


@pytest.fixture(scope="module")
def first(base: Any, rex: Subject) -> Concept:
    return limner.learn(base, rex, **QUICK)


@pytest.fixture(scope="module")
def information(base: Any, bo: Subject, first: Concept) -> dict[str, Tensor]:
    """The Fisher information of every parameter, as a run's checkpoints hold it."""
    moments: list[dict[str, Tensor]] = []

    def note(progress: Progress) -> None:
        moments.append(dict(progress.snapshot().moments))

    limner.learn(base, bo, after=first, watch=note, **{**QUICK, "steps": 1})
    start = "gathered.0.fisher."
    return {name.removeprefix(start): tensor for name, tensor in moments[0].items() if name.startswith(start)}


@pytest.fixture(scope="module")
def both(base: Any, bo: Subject, first: Concept) -> dict[float, Concept]:
    """The second subject after the first, by the weight of elastic weight consolidation."""
    return {weight: limner.learn(base, bo, after=first, ewc_weight=weight, **QUICK) for weight in (0.0, EWC)}


def predicted(base: Any, concept: Concept, prompt: str, shown: Tensor | None = None) -> Tensor:
    """The prediction of noise for a prompt at several times, under a segmentation map or none. # [B, C, h, w]"""
    with torch.no_grad(), attach(base, [adapter_of(concept, base)]) as adapted:
        clean = base.encode(torch.full((4, 3, base.picture_size, base.picture_size), 0.5))[0]
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        time = torch.tensor([200, 400, 600, 800])
        x = base.noised(clean, noise, time)
        conditions = {} if shown is None else {"segmentation": shown.expand(4, -1, -1, -1)}
        texts = (adapted.expand_prompt(prompt),) * 4
        run = adapted.run(time=time, latents=x, prompts=texts, conditions=conditions)
        return base.predict(x, time, adapted.text_states([prompt] * 4), context=run)  # type: ignore[no-any-return]


def test_the_first_subject_stays_as_the_second_is_learned(
    base: Any, first: Concept, both: dict[float, Concept]
) -> None:
    """Predictions for the first subject's prompt move less with consolidation than without."""
    known = predicted(base, first, "a photo of <rex>")
    moved = {weight: float((predicted(base, c, "a photo of <rex>") - known).norm()) for weight, c in both.items()}
    assert 0 < moved[EWC] < 0.85 * moved[0.0], moved
    assert both[EWC].handles == ("<bo>", "<rex>")


def test_parameters_with_much_information_move_least(
    base: Any, first: Concept, both: dict[float, Concept], information: dict[str, Tensor]
) -> None:
    """The mean move of the thousandth with the most information, over the mean move of all."""
    assert information.keys() == first.tensors.keys()
    f = torch.cat([value.flatten() for value in information.values()])
    assert float(f.mean()) == pytest.approx(1, rel=1e-3)
    most = f >= f.topk(len(f) // 1000).values[-1]
    ratios = {}
    for weight, concept in both.items():
        moves = torch.cat([(concept.tensors[name] - first.tensors[name]).abs().flatten() for name in information])
        ratios[weight] = float(moves[most].mean() / moves.mean())
    assert ratios[EWC] < 0.7 * ratios[0.0], ratios


def test_consolidation_by_hand(base: Any, bo: Subject, first: Concept, information: dict[str, Tensor]) -> None:
    terms: list[dict[str, float]] = []
    about = {**QUICK, "steps": 2, "guide_end": QUICK.get("guide_start", 0.1), "ewc_weight": 0.5}
    one: dict[str, Tensor] = {}

    def note(at: Progress) -> None:
        terms.append(dict(at.losses))
        if at.done == 1:
            one.update(at.snapshot().tensors)

    limner.learn(base, bo, after=first, watch=note, **about)
    own = [next(value for name, value in each.items() if name.startswith("consolidation")) for each in terms]
    assert own[0] == 0
    total = sum(
        float((value * (one[name] - first.tensors[name]).square()).sum()) for name, value in information.items()
    )
    assert own[1] == pytest.approx(0.5 * total / 2, rel=1e-3)


def test_gamma_moves_the_loss_from_pictures_to_pictures_with_maps(base: Any, rex: Subject) -> None:
    terms: list[dict[str, float]] = []
    about = {**QUICK, "steps": 2, "guide_start": 0.0, "guide_end": 1.0}
    limner.learn(base, rex, watch=lambda at: terms.append(dict(at.losses)), **about)
    plain, maps, classes = ("denoising(photos)", "denoising(photos with maps)", "denoising(class pictures)")
    assert terms[0][plain] > 0 == terms[0][maps]
    assert terms[1][maps] > 0 == terms[1][plain] == terms[1][classes]
    assert terms[0][classes] > 0


def test_a_map_acts_where_it_is_given_alone(base: Any, rex: Subject, first: Concept) -> None:
    """Without a map the branch's weights do nothing; with one, its colour and its place matter."""
    silent = predicted(base, first, "a photo of <rex>")
    other = {name: tensor + 1 if name.startswith("control.") else tensor for name, tensor in first.tensors.items()}
    assert torch.equal(silent, predicted(base, replace(first, tensors=other), "a photo of <rex>"))
    shown = painted_in(subject_masks(base, rex)[:1], COLOURS["red"])
    moved = predicted(base, first, "a photo of <rex>", shown)
    assert float((moved - silent).norm() / silent.norm()) > 1e-3
    assert not torch.equal(moved, predicted(base, first, "a photo of <rex>", shown.flip(-1)))
    assert not torch.equal(moved, predicted(base, first, "a photo of <rex>", shown.flip(1)))


def test_regions_become_a_map(base: Any, both: dict[float, Concept]) -> None:
    """Boxes of two subjects paint what the same boxes as a picture in their colours do."""
    size = base.picture_size
    shown = torch.zeros(1, 3, size, size)
    shown[:, 0, :, : size // 2] = 1  # the first subject learned is red
    shown[:, 1, :, size // 2 :] = 1  # the second is green
    about: dict[str, Any] = {
        "concepts": [both[EWC]],
        "seed": 3,
        "settings": limner.PaintSettings(2, compose="attention"),
    }
    regions = {"rex": "left", "bo": "right"}
    prompt = "<rex> and <bo> on the beach"
    placed = limner.paint(base, prompt, regions=regions, **about)[0].image.tobytes()
    given = limner.paint(base, prompt, regions=regions, conditions={"segmentation": shown}, **about)[0].image.tobytes()
    swapped = limner.paint(base, prompt, regions=regions, conditions={"segmentation": shown.flip(1)}, **about)[0]
    assert placed == given
    assert placed != swapped.image.tobytes()
