"""ArtAdapter: tokens of three levels, and a content adapter that is there in training alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import Pass, References
from limner.core.weights import shipped
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.sample import sample
from limner.engine.train import train
from limner.errors import InputError
from limner.methods import methods
from limner.parts.augmentations import cropped
from limner.parts.encoders import autoencoder_levels
from limner.parts.fusion.decoupled_cross_attention import STATES
from limner.parts.sources.pairs import Shots
from limner.pocket.style_corpus import styles
from limner.workflows.pretrain import over
from tests.helpers import begun_weights, same, state, untouched

TOKENS = 4
LEVELS = {"low_picture": 0, "middle_picture": 1, "high_picture": 2}


@pytest.fixture(scope="module")
def two(rex: Subject) -> Subject:
    """Two pictures of different hands."""
    from limner.pocket.style_corpus import styles

    pixels = styles(2).drawn([0, 4], 128)[0].float() / 255
    return Subject.of(pixels, noun="toy", handle="sty", kind="style")


def worn(base: Any, subject: Subject, **settings: Any) -> Adapter:
    begun_weights("artadapter", base)
    return Adapter(methods()["artadapter"](subject, **settings), subject.handle, shipped("artadapter", base))


def tokens_of(adapted: AdaptedBase, **about: Any) -> Tensor:
    """The style's tokens [1, 3, tokens, C] of one row."""
    (live,) = [live for live in adapted.live.values() if live.offers]
    with torch.no_grad():
        states: Tensor = live.offers[STATES](Pass(**about), 1)
    return states.unflatten(1, (3, TOKENS))


def painted(adapted: AdaptedBase) -> Tensor:
    with torch.no_grad():
        *_, last = sample(adapted, ["<sty> on the beach"], seeds=[1], settings=limner.PaintSettings(steps=2))
    return last.latents


@pytest.mark.parametrize("level", list(LEVELS))
def test_another_pictures_level_changes_the_picture_and_no_other_level(base: Any, two: Subject, level: str) -> None:
    found, pictures = [], []
    one = dict.fromkeys(LEVELS, 1)
    for settings in (one, one | {level: 2}):
        with attach(base, (worn(base, two, **settings),)) as adapted:
            found.append(tokens_of(adapted))
            pictures.append(painted(adapted))
    same_levels = [torch.equal(found[0][:, k], found[1][:, k]) for k in range(3)]
    assert same_levels == [k != LEVELS[level] for k in range(3)]
    assert not torch.allclose(pictures[0], pictures[1], atol=1e-4)


def test_without_a_choice_every_level_is_the_mean_of_the_pictures(base: Any, two: Subject) -> None:
    adapter = worn(base, two)
    with torch.no_grad(), attach(base, (adapter,)) as adapted:
        own = {
            name.removeprefix("image.levels."): t for live in adapted.live.values() for name, t in live.tensors.items()
        }
        features = autoencoder_levels(base, two.tensor(base.picture_size)).mean(0, keepdim=True)
        made = adapter.recipe.modifiers[0].states.made(own, features)  # type: ignore[attr-defined]
        torch.testing.assert_close(tokens_of(adapted), made.unflatten(1, (3, TOKENS)), atol=1e-5, rtol=1e-4)


def test_a_picture_that_is_not_there_is_refused(base: Any, two: Subject) -> None:
    with pytest.raises(InputError, match="picture 3 of sty"), attach(base, (worn(base, two, high_picture=3),)):
        pass
    assert untouched(base)


def test_levels_are_statistics_of_an_autoencoder_and_hold_no_layout(base: Any, two: Subject) -> None:
    """A picture and its mirror image have nearly the same levels; another style has others."""
    pixels = two.tensor(base.picture_size)
    first, mirror, other = (autoencoder_levels(base, x) for x in (pixels[:1], pixels[:1].flip(3), pixels[1:]))
    assert first.shape == (1, 3, 128)
    assert (first - mirror).norm() < 0.2 * (first - other).norm()
    assert untouched(base)


def prediction(adapted: AdaptedBase, references: References | None, random: bool) -> Tensor:
    base = adapted.base
    x, t = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([400])
    about: dict[str, Any] = {"references": references, "random": streams(0, "try", 0, 0) if random else None}
    run = adapted.run(time=t, latents=x, prompts=("a toy",), **about)
    with torch.no_grad():
        return base.predict(x, t, adapted.text_states(["a toy"]), context=run)


def test_the_content_adapter_acts_in_training_and_never_in_sampling(base: Any, two: Subject) -> None:
    adapter, pictures, sampled, training, tuning = worn(base, two), two.tensor(base.picture_size)[None], [], [], []
    assert any(name.startswith("content.") for name in adapter.stored)
    for change in (0.0, 1.0):
        at = torch.Generator().manual_seed(0)
        moved = {
            name: tensor + change * torch.randn(tensor.shape, generator=at) if name.startswith("content.") else tensor
            for name, tensor in adapter.stored.items()
        }
        with attach(base, (replace(adapter, stored=moved),)) as adapted:
            sampled.append(painted(adapted))
            training.append(prediction(adapted, References(pictures), random=True))
            tuning.append(prediction(adapted, References(pictures[:, 1:]), random=True))
    assert torch.equal(sampled[0], sampled[1])
    assert not torch.allclose(training[0], training[1], atol=1e-4)
    assert torch.equal(tuning[0], tuning[1])  # a single reference: no content


def test_in_training_the_content_is_the_first_reference_and_the_style_the_last(base: Any, two: Subject) -> None:
    first, second = two.tensor(base.picture_size)
    with attach(base, (worn(base, two),)) as adapted:
        shown = [References(torch.stack(pair)[None]) for pair in ((first, second), (second, second), (first, first))]
        tokens = [tokens_of(adapted, references=each, random=streams(0, "try", 0, 0)) for each in shown]
        outputs = [prediction(adapted, each, random=True) for each in shown[:2]]
    assert torch.equal(tokens[0], tokens[1])
    assert not torch.equal(tokens[0], tokens[2])
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-5)


def test_the_style_is_cropped_and_the_content_is_whole(base: Any) -> None:
    pixels = torch.rand(6, 3, 32, 32)
    shots = cropped(0.5, each=2, whole=1)(Shots(pixels, None), torch.Generator().manual_seed(0))
    torch.testing.assert_close(shots.pixels[::2], pixels[::2], atol=1e-5, rtol=1e-5)
    assert (shots.pixels[1::2] - pixels[1::2]).abs().amax((1, 2, 3)).min() > 0.1


def test_crops_move_landmarks_and_masks_with_the_picture() -> None:
    pixels = torch.zeros(1, 3, 64, 64)
    pixels[:, :, 30:34, 30:34] = 1.0
    shots = cropped(0.5)(Shots(pixels, pixels[:, :1], torch.tensor([[[0.5, 0.5]]])), torch.Generator().manual_seed(3))
    assert shots.masks is not None
    assert shots.landmarks is not None
    torch.testing.assert_close(shots.masks, shots.pixels[:, :1])
    rows, columns = (shots.pixels[0, 0] > 0.5).nonzero().float().add(0.5).mean(0).div(64).tolist()
    x, y = shots.landmarks[0, 0].tolist()
    assert (x, y) == pytest.approx((columns, rows), abs=0.03)


def test_pretraining_shows_the_target_and_another_picture_of_its_style(base: Any) -> None:
    recipe = methods()["artadapter"](Subject("<nobody>", "toy"), batch=4)
    (stage,) = over(recipe.pretraining, styles(3))
    batch = stage.loss[0].source.prepare(base)(0, streams(0, "pairs", 0, 0))
    assert batch.references is not None
    with torch.no_grad():
        content = base.encode(batch.references.first)[0]
    torch.testing.assert_close(content, batch.latents, atol=1e-3, rtol=1e-3)


def test_fast_tuning_changes_the_levels_maps_alone(base: Any, two: Subject) -> None:
    adapter, before = worn(base, two, steps=2, batch=2), state(base)
    with attach(base, (adapter,)) as adapted:
        start = {name: tensor.detach().clone() for name, tensor in adapted.tensors.items()}
    *_, last = train(base, adapter, stages=adapter.recipe.tuning, seed=0)
    end = last.snapshot().tensors
    moved = {name for name, tensor in end.items() if not torch.equal(tensor, start[name])}
    assert moved
    assert all(name.startswith(("image.levels.low", "image.levels.middle", "image.levels.high")) for name in moved)
    assert same(state(base), before)
