"""MagicTailor: noise outside of masks that fades, and the worst subject alone learns while the others are preserved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import limner
from limner.core.recipe import Objective
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.engine.train import train
from limner.errors import InputError
from limner.methods import methods
from limner.parts.augmentations import degraded, strength_at
from limner.pocket.world import draw, individual
from limner.pocket.world.making import PARTS
from limner.pocket.world.sampling import showing
from tests.helpers import fast


@pytest.fixture(scope="module")
def pair(rex: Subject) -> Subject:
    """A dog, and a red hat that a cat wears, with the hat's true masks."""
    graphs = [
        showing(individual("cat", 2_000_031), seed=k, scene=scene, accessories=(("hat", "red"),))
        for k, scene in enumerate(("beach", "city"))
    ]
    drawn = draw(graphs)
    masks = [Image.fromarray((part == PARTS.index("accessory")).byte().mul(255).numpy()) for part in drawn.part]
    hat = Subject.of(list(drawn.pixels), noun="hat", handle="cap", masks=masks)
    return replace(rex, beside=(hat,))


def recipe_of(pair: Subject, **more: Any) -> Any:
    return methods()["magictailor"](pair, **fast(methods()["magictailor"], **more))


def test_the_noise_outside_of_masks_fades_to_none_at_the_last_update(
    base: Any, pair: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(pair, shared_steps=4, steps=6, batch=1)
    hat = pair.beside[0]
    pictures, masks = hat.tensor(base.picture_size), hat.masks(base.picture_size)
    assert masks is not None
    seen: list[Tensor] = []
    encode = base.encode
    monkeypatch.setattr(base, "encode", lambda pixels: (seen.append(pixels), encode(pixels))[1])

    def changes(stage: int, step: int) -> list[tuple[float, float]]:
        """Largest change of the hat's picture inside and outside of its mask, in either direction of the picture."""
        seen.clear()
        recipe.stages[stage].loss[0].source.prepare(base)(step, streams(0, "look", stage, step))
        assert len(seen) == 2
        found = []
        for flip in (False, True):
            for picture, mask in zip(pictures, masks > 0.5, strict=True):
                own, where = (each.flip(-1) if flip else each for each in (picture, mask.float()))
                change = (seen[1][0] - own).abs()
                found.append((float((change * where).max()), float((change * (1 - where)).max())))
        return found

    for stage, step in ((0, 0), (1, 0), (1, 4)):
        inside, outside = min(changes(stage, step))
        assert inside == 0
        assert outside > 0.1
    assert min(changes(1, 5)) == (0, 0)
    amounts = [strength_at(k, 10, strength=0.5, power=8.0) for k in range(1, 11)]
    assert amounts == sorted(amounts, reverse=True)
    assert amounts[0] == pytest.approx(0.5)
    assert amounts[-1] == 0


def test_degraded_pictures_stay_in_range_and_keep_the_mask() -> None:
    pixels, masks = torch.full((2, 3, 8, 8), 0.9), torch.zeros(2, 1, 8, 8)
    masks[:, :, :4] = 1
    seen = degraded(pixels, masks, torch.Generator().manual_seed(0), amount=0.5)
    assert torch.equal(seen[:, :, :4], pixels[:, :, :4])
    assert float(seen.max()) == 1
    assert float((seen[:, :, 4:] - 0.9).abs().mean()) > 0.05


def test_the_worst_subject_alone_learns_and_the_others_are_preserved(base: Any, pair: Subject) -> None:
    """In the second stage, each row gets the gradient of one of the two losses alone."""
    recipe = recipe_of(pair, shared_steps=1, steps=3, lr=0.01, batch=4)
    first, second = recipe.stages
    worst, preserving = second.loss[:2]
    chosen: list[list[int]] = []

    def look(step: Any) -> Tensor:
        output = step.prediction.output
        own, kept = (
            torch.autograd.grad(term.value(step), output, retain_graph=True)[0].flatten(1).norm(dim=1).view(2, -1)
            for term in (worst, preserving)
        )
        error = ((output - step.target).square() * step.batch.mask).sum((1, 2, 3)) / step.batch.mask.sum((1, 2, 3))
        largest = error.view(2, -1).argmax(0)
        chosen.append(largest.tolist())
        picked = torch.nn.functional.one_hot(largest, 2).T.bool()
        assert bool((own[picked] > 0).all())
        assert not own[~picked].any()
        assert not kept[picked].any()
        if len(chosen) > 1:  # at the first update, the average is the denoiser itself
            assert bool((kept[~picked] > 0).all())
        return worst.value(step)

    stages = (first, replace(second, loss=(Objective("look", worst.source, look), preserving)))
    for _ in train(base, Adapter(recipe, "<rex>"), stages=stages, seed=0):
        pass
    assert len(chosen) == 3
    assert {number for numbers in chosen for number in numbers} == {0, 1}


def test_concept_and_component_are_painted_from_one_file(base: Any, pair: Subject, tmp_path: Path) -> None:
    concept = limner.learn(base, pair, method="magictailor", **fast(methods()["magictailor"]))
    assert concept.handles == ("<rex>", "<cap>")
    assert {name for name in concept.tensors if name.startswith("word.")} == {"word.<rex>", "word.<cap>"}
    again = limner.Concept.load(concept.save(tmp_path / "rex.safetensors"))
    how = limner.PaintSettings(steps=2)
    prompts = ["<rex> with <cap> on the beach", "<rex> on the beach"]
    both, one = (limner.paint(base, prompt, concepts=[again], seed=1, settings=how)[0] for prompt in prompts)
    assert both.image.tobytes() != one.image.tobytes()


def test_a_component_without_pictures_is_refused(base: Any, rex: Subject) -> None:
    subject = replace(rex, beside=(Subject.shown_with("bo", noun="car"),))
    with pytest.raises(InputError, match="<bo> has no pictures of its own"):
        limner.learn(base, subject, method="magictailor", steps=1, shared_steps=1)
