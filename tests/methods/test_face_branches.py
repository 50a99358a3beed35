"""Methods of faces that stand on control branches, rewards and codes of a face GAN: what makes each of them itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.recipe import Stage
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import Residuals
from limner.core.weights import shipped
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.sample import sample
from limner.errors import InputError
from limner.methods import methods
from limner.parts.encoders import keypoint_image
from limner.parts.fusion import KEYPOINTS
from limner.parts.fusion.decoupled_cross_attention import STATES
from limner.parts.sources import pairs_of_people
from limner.pocket.people_corpus import people
from limner.workflows.pretrain import over
from tests.helpers import begun_weights, person
from tests.painted_faces import PaintedFaces, photograph

FEW = people(individuals=4)
TWO = limner.PaintSettings(steps=2)


@pytest.fixture(scope="module")
def ada() -> Subject:
    return person(2_000_003)


@pytest.fixture(scope="module")
def bob() -> Subject:
    return person(2_000_096)


@pytest.fixture
def marking(base: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The pocket base with a landmark detector, which marks faces of tests/painted_faces.py alone."""
    encoders = {**base.capabilities.encoders, "landmarks": PaintedFaces()}
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, encoders=encoders))
    return base


def worn(base: Any, name: str, subject: Subject, **settings: Any) -> Adapter:
    """A method on a subject, with weights near those that its pre-training begins with."""
    begun_weights(name, base)
    recipe = methods()[name](subject, **settings)
    return Adapter(recipe, subject.handle, shipped(recipe.weights, base) if recipe.weights else {})


def stages_on_few(name: str, **settings: Any) -> tuple[Stage, ...]:
    return over(methods()[name](Subject("<nobody>", "person"), **settings).pretraining, FEW)


def last_latents(adapted: AdaptedBase, prompt: str, **more: Any) -> Tensor:
    with torch.no_grad():
        *_, last = sample(adapted, [prompt], seeds=[3], settings=TWO, **more)
    return last.latents


# ----------------------------------------------------------------------------------------------------------- InstantID


def identity_residuals(adapted: AdaptedBase, prompt: str, **about: Any) -> Tensor:
    """Everything that IdentityNet adds to the denoiser in one run, flat."""
    base, said = adapted.base, (adapted.expand_prompt(prompt),)
    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    run = adapted.run(time=torch.tensor([400]), latents=x, prompts=said, **about)
    (live,) = [live for live in run.lives if live.controls]
    given = {"encoder_hidden_states": adapted.text_states([prompt])}
    with torch.no_grad():
        found: Residuals = live.controls[0](x, run.time, given, run)
    assert found.middle is not None
    return torch.cat([part.flatten() for part in (*found.skips, found.middle)])


def test_identitynet_reads_the_identity_and_the_keypoints_and_nothing_of_the_prompt(
    base: Any, ada: Subject, bob: Subject
) -> None:
    points = torch.tensor([[[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.7], [0.65, 0.7]]])
    left, right = ({KEYPOINTS: keypoint_image(at, base.picture_size)} for at in (0.5 * points, 0.5 * points + 0.5))
    with attach(base, (worn(base, "instantid", ada),)) as adapted:
        first = identity_residuals(adapted, "a photo of <rex>", conditions=left)
        other_prompt = identity_residuals(adapted, "two red cars at night", conditions=left)
        other_place = identity_residuals(adapted, "a photo of <rex>", conditions=right)
        nobody = identity_residuals(adapted, "a photo of <rex>", conditions=left, branches=("negative",))
    with attach(base, (worn(base, "instantid", bob),)) as adapted:
        other_face = identity_residuals(adapted, "a photo of <rex>", conditions=left)
    assert torch.equal(first, other_prompt)
    for other in (other_place, nobody, other_face):
        assert float((other - first).norm() / first.norm()) > 1e-4


def test_no_identity_is_the_resamplers_answer_to_zeros(base: Any, ada: Subject) -> None:
    adapter = worn(base, "instantid", ada)
    zeros = dict(adapter.stored) | {"image.identity.features": torch.zeros(1, 128)}
    found: list[Tensor] = []
    for stored, branches in ((adapter.stored, ("text", "negative")), (zeros, ("text", "text"))):
        with torch.no_grad(), attach(base, (replace(adapter, stored=stored),)) as adapted:
            run = adapted.run(time=torch.tensor([400, 400]), branches=branches)
            (live,) = adapted.live.values()
            found.append(live.offers[STATES](run, 2))
    assert found[0].shape == (2, 16, base.states_shape[1])
    assert torch.allclose(found[0][1], found[1][0], atol=1e-5)
    assert not torch.allclose(found[0][0], found[1][0], atol=1e-3)


@pytest.mark.parametrize(("scale", "control_scale"), [(0.0, 0.0), (0.8, 0.0), (0.0, 0.8)])
def test_instantid_with_both_scales_at_zero_is_the_base(
    base: Any, ada: Subject, scale: float, control_scale: float
) -> None:
    with attach(base, (worn(base, "instantid", ada, scale=scale, control_scale=control_scale),)) as adapted:
        found = last_latents(adapted, "a photo of <rex> on the beach")
        with adapted.suspended():
            plain = last_latents(AdaptedBase(base, ()), "a photo of person on the beach")
    assert torch.equal(found, plain) == (scale == control_scale == 0)


def test_without_a_picture_of_keypoints_those_of_the_first_face_are_read(marking: Any, ada: Subject) -> None:
    base, nobody = marking, photograph(size=(64, 64))
    first, second = photograph((0, 8, 30), size=(64, 64)), photograph((0, 30, 26), size=(64, 64))
    pixels = Subject.of([first, second], noun="person", handle="rex").tensor(base.picture_size)
    own = keypoint_image(PaintedFaces()(pixels), base.picture_size)
    adapter = worn(base, "instantid", Subject.of([nobody, first, second], noun="person", handle="rex"))
    with attach(base, (adapter,)) as adapted:
        painted = [
            last_latents(adapted, "<rex>", conditions=given) for given in ({}, *({KEYPOINTS: k[None]} for k in own))
        ]
    assert torch.equal(painted[0], painted[1])
    assert not torch.equal(painted[0], painted[2])
    with attach(base, (worn(base, "instantid", Subject.of([nobody], noun="person", handle="rex")),)) as adapted:
        blank = torch.zeros_like(own[:1])
        assert torch.equal(
            last_latents(adapted, "<rex>"), last_latents(adapted, "<rex>", conditions={KEYPOINTS: blank})
        )


def test_pretraining_draws_the_keypoints_of_the_picture_to_paint(base: Any) -> None:
    (stage,) = stages_on_few("instantid", batch=6)
    batch = stage.loss[0].source.prepare(base)(0, streams(0, 0))
    assert batch.landmarks is not None
    five = [FEW.landmark_names.index(name) for name in PaintedFaces.names]
    assert torch.equal(batch.conditions[KEYPOINTS], keypoint_image(batch.landmarks[:, five], base.picture_size))
    assert batch.conditions[KEYPOINTS].amax((1, 2, 3)).min() > 0.5


def test_landmarks_of_the_corpus_are_where_its_pictures_show_them() -> None:
    """Eyes are dark or white, skin is neither: a head's mask holds all of the five points that are in the picture."""
    pictures = [picture for line in FEW.subjects for picture in line]
    _, masks = FEW.drawn(pictures, 64)
    assert masks is not None
    marks = FEW.landmarks(pictures)
    assert marks.shape == (16, 22, 2)
    five = marks[:, [FEW.landmark_names.index(name) for name in PaintedFaces.names]]
    inside = [
        bool(masks[row, 0, min(int(y * 64), 63), min(int(x * 64), 63)])
        for row, points in enumerate(five)
        for x, y in points.tolist()
        if x == x
    ]
    assert len(inside) > 60
    assert sum(inside) > 0.9 * len(inside)
    assert [FEW.landmark_names[k] for k in FEW.mirror][:4] == [
        "right eye", "left eye", "right eye inner", "right eye outer",
    ]  # fmt: skip


@dataclass(frozen=True)
class unmarked(people):
    """People whose landmarks the corpus does not know."""

    landmarks: Any = None


def test_pretraining_needs_landmarks_and_says_so(base: Any, marking: Any) -> None:
    source = pairs_of_people(batch=2, keypoints=True).over
    assert source is not None
    draw = source(unmarked(individuals=2)).prepare(marking)
    assert draw(0, streams(0, 0)).conditions[KEYPOINTS].sum() == 0  # this detector knows painted faces alone
    plain = {role: network for role, network in base.capabilities.encoders.items() if role != "landmarks"}
    marking.capabilities = replace(marking.capabilities, encoders=plain)
    with pytest.raises(InputError, match="no landmark detector"):
        draw(0, streams(0, 0))
