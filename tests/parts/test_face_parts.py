"""Landmarks as pictures, attention in a face's region, and weights predicted from a face."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.recipe import Recipe
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.engine.attach import Adapter, attach
from limner.parts.attention import read_in_region
from limner.parts.encoders import face_embedding, face_region, keypoint_image, landmark_image, mean_of
from limner.parts.modifiers.predicted_low_rank import FEATURES, predicted_low_rank

POINTS = torch.tensor([[[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.7], [0.65, 0.7]]])


def colour(image: Tensor, x: float, y: float) -> list[float]:
    size = image.shape[-1]
    return [round(float(v), 3) for v in image[0, :, int(y * size), int(x * size)]]


def test_keypoints_are_drawn_as_instantid_draws_them() -> None:
    image = keypoint_image(POINTS, 1024)
    assert colour(image, 0.3, 0.3) == [1, 0, 0]
    assert colour(image, 0.65, 0.7) == [1, 0, 1]
    assert colour(image, 0.4, 0.4) == [0.6, 0, 0]  # between the left eye and the nose, at 0.6 of its colour
    assert colour(image, 0.5, 0.3) == [0, 0, 0]  # nothing joins the eyes
    disc = (image[0, 0] == 1) & (image[0, 2] == 0) & (image[0, 1] == 0)
    assert int(disc.sum()) == pytest.approx(3.1416 * 10**2, rel=0.06)  # ten pixels of 1024 around
    column = image[0, :, :, int(0.4 * 1024)]
    across = ((column[0] > 0) & (column[1] == 0)).sum()
    assert int(across) == pytest.approx(
        2 * 4 * 2**0.5, abs=2
    )  # four pixels to each side of the limb, which falls by 45 degrees


def test_a_row_without_a_face_stays_black() -> None:
    both = torch.cat([POINTS, torch.full((1, 5, 2), float("nan"))])
    assert float(keypoint_image(both, 64)[1].abs().sum()) == 0
    assert float(keypoint_image(both, 64)[0].sum()) > 0
    assert float(face_region(both, 32)[1].sum()) == 0
    assert float(landmark_image(both, 64)[1].sum()) == 0


def test_points_at_one_place_are_joined_by_nothing() -> None:
    points = POINTS.clone()
    points[:, 2] = points[:, 0]  # the nose of a face in profile, on its eye
    assert colour(keypoint_image(points, 1024), 0.9, 0.1) == [0, 0, 0]


def test_landmarks_have_hues_of_their_own() -> None:
    image = landmark_image(POINTS, 256)
    seen = [tuple(colour(image, float(x), float(y))) for x, y in POINTS[0]]
    assert len(set(seen)) == 5
    assert all(max(each) == 1 for each in seen)


def test_a_region_is_around_the_points() -> None:
    inside = face_region(POINTS, 100)[0, 0]
    assert inside[30, 30] == 1
    assert inside[50, 50] == 1
    assert inside[2, 2] == inside[95, 50] == 0


def test_a_word_is_read_in_its_region_alone(base: Any) -> None:
    """Outside of the region, a layer's output is as if the word's tokens were missing: changing the word changes
    nothing there."""
    prompt = "a dog on the beach"
    seen: dict[int, Tensor] = {}
    where = torch.zeros(1, 1, 16, 16)
    where[..., :8] = 1
    site = next(site for site in base.sites if site.kind == "cross")

    def note(call: Any) -> Any:
        if call.site == site:
            call.on_output.append(keep)
        return call

    def keep(out: Tensor) -> Tensor:
        seen[len(seen)] = out.detach().clone()
        return out

    operation = read_in_region(base, "dog", lambda run: where)
    latents = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    (place,) = base.word_places(prompt, "dog", words={"dog": torch.zeros(1, 1)})[:1]
    with torch.no_grad():
        states = base.text_states([prompt], words={})
        changed = states.clone()
        changed[:, place] += 3
        for each in (states, changed):
            run = Pass(operations=(operation, note), time=torch.tensor([500]), prompts=(prompt,))
            base.predict(latents, torch.tensor([500]), each, context=run)
    first, second = seen[0], seen[1]  # [1, H, N, d]
    side = round(first.shape[2] ** 0.5)
    moved = (first - second).abs().amax((1, 3)).view(side, side) > 1e-6
    assert bool(moved[:, : side // 2].all())
    assert not moved[:, side // 2 :].any()


def _the_same(region: Tensor | None, run: Pass) -> Tensor | None:
    return region


def test_regions_that_are_empty_leave_attention_alone(base: Any) -> None:
    latents, states = torch.randn(1, *base.latent_shape), base.text_states(["a dog"], words={})
    found = []
    for region in (None, torch.zeros(1, 1, 8, 8)):
        operation = read_in_region(base, "dog", functools.partial(_the_same, region))
        run = Pass(operations=(operation,), time=torch.tensor([500]), prompts=("a dog",))
        with torch.no_grad():
            found.append(base.predict(latents, torch.tensor([500]), states, context=run))
    torch.testing.assert_close(found[0], found[1])


def test_a_face_predicts_low_rank_weights(base: Any, rex: Subject) -> None:
    """A hypernetwork reads the recogniser's vector: another person's makes other weights, and a base without any
    predicts as it did."""
    change = predicted_low_rank(rex, mean_of(face_embedding))
    with attach(base, (Adapter(Recipe("a dog", (change,)), "<rex>"),)) as adapted, torch.no_grad():
        live = adapted.live[change]
        assert live.tensors[FEATURES].shape == (1, 128)
        names = [name for name in live.tensors if name.endswith(".up")]
        for name in names:
            live.tensors[name].normal_(generator=torch.Generator().manual_seed(0))
        latents, states = torch.randn(1, *base.latent_shape), adapted.text_states(["a dog"])
        outputs = []
        for scale in (1.0, -1.0):
            live.tensors[FEATURES].mul_(scale)
            run = adapted.run(time=torch.tensor([500]), prompts=("a dog",))
            outputs.append(base.predict(latents, torch.tensor([500]), states, context=run))
    assert not torch.allclose(outputs[0], outputs[1])
