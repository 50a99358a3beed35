"""Custom Diffusion 360: radiance fields of features from pictures with known cameras."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.recipe import Recipe
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.core.views import move_between
from limner.data.layouts import recognised
from limner.engine.attach import Adapter, attach
from limner.engine.sample import PaintSettings, sample
from limner.engine.train import train
from limner.errors import InputError
from limner.methods import methods
from limner.parts.encoders.rays import along_rays, cameras, ray_points, seen_at
from limner.parts.fusion.feature_nerf import RENDERED, VIEWS, feature_nerf
from tests.helpers import learn_fast, paint_latents

NAME = "viewpoint_control"
FOV = 0.6


# ------------------------------------------------------------------------------------------------------- rays and sums


def test_a_camera_sees_its_own_rays_where_they_start() -> None:
    views = torch.tensor([[0.3, 0.2, 2.0], [-2.0, 0.9, 3.0]])
    camera = cameras(views, torch.tensor(2.5), FOV)
    points, rays, _ = ray_points(camera, 4, 3, FOV)
    at = seen_at(points.flatten(1, 2), camera, FOV).unflatten(2, (16, 3))
    grid = (torch.arange(4) + 0.5) / 2 - 1
    wanted = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1).flatten(0, 1)
    for k in range(2):
        assert torch.allclose(at[k, k], wanted[:, None].expand(16, 3, 2), atol=1e-4)
    assert torch.allclose(rays.norm(dim=-1), torch.ones(2, 16))
    # the subject's left is on the right of a picture from its front
    left = torch.tensor([[[1.0, 0.0, 0.0]]])
    front = cameras(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor(1.0), FOV)
    side = cameras(torch.tensor([[math.pi / 2, 0.0, 1.0]]), torch.tensor(1.0), FOV)
    assert float(seen_at(left, front, FOV)[0, 0, 0, 0]) > 0.5
    assert torch.allclose(seen_at(left, side, FOV), torch.zeros(1, 1, 1, 2), atol=1e-5)


def test_a_ball_of_density_covers_a_disc() -> None:
    """Rendered opacity of a constructed density is the mask of its projection, from anywhere."""
    views = torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.5, 1.0]])
    points, _, length = ray_points(cameras(views, torch.tensor(1.0), FOV), 32, 64, FOV)
    density = 200.0 * (points.norm(dim=-1) < 0.5)
    values, opacity = along_rays(density, torch.ones(*density.shape, 1), length)
    grid = (torch.arange(32) + 0.5) / 16 - 1
    away = 1 / math.sin(FOV / 2)
    edge = math.tan(math.asin(0.5 / away)) / math.tan(FOV / 2)
    disc = (grid[:, None].square() + grid.square()).sqrt().flatten() < edge
    for k in range(2):
        assert float(((opacity[k] > 0.5) == disc).float().mean()) > 0.97
    assert torch.allclose(values[..., 0], opacity, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------- the method


def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """W reads y."""
    at = torch.Generator().manual_seed(0)
    return {
        n: t + 0.3 * torch.randn(t.shape, generator=at) if n.endswith(".onto") else t.clone()
        for n, t in tensors.items()
    }


def end(
    base: Any, recipe: Recipe, tensors: dict[str, Tensor], prompt: str = "<rex> on the beach", **more: Any
) -> Tensor:
    how = PaintSettings(steps=3, **more)
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", tensors, noun="dog")]) as adapted:
        *_, last = sample(adapted, [prompt], seeds=[1], settings=how)
    return last.latents


def tensors_of(base: Any, recipe: Recipe) -> dict[str, Tensor]:
    with attach(base, [Adapter(recipe, "<rex>", noun="dog")]) as adapted:
        return {n: t.detach().clone() for n, t in adapted.tensors.items()}


def test_identity_pose_layers_are_the_base(base: Any, rex: Subject) -> None:
    recipe = methods()[NAME](rex)
    bare = replace(recipe, modifiers=recipe.modifiers[:1])
    tensors = tensors_of(base, recipe)
    plain = end(base, bare, {n: t for n, t in tensors.items() if not n.startswith("nerf.")})
    assert torch.allclose(end(base, recipe, tensors), plain, atol=1e-4)
    assert not torch.allclose(end(base, recipe, moved(tensors)), plain, atol=1e-2)
    # rows without the subject stay as they are
    other = "a cup on the beach"
    assert torch.allclose(end(base, recipe, moved(tensors), other), end(base, bare, {}, other), atol=1e-4)


def test_a_turned_camera_changes_the_subject_s_features_and_no_text(base: Any, rex: Subject) -> None:
    recipe = methods()[NAME](rex)
    tensors = moved(tensors_of(base, recipe))
    front, same, back = (end(base, recipe, tensors, views=v) for v in ({}, {"rex": 0}, {"rex": "from the back"}))
    assert torch.equal(front, same)
    assert not torch.allclose(front, back, atol=1e-3)
    found = []
    for turn in (0.0, math.pi):
        with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", tensors, noun="dog")]) as adapted:
            states = adapted.text_states(["<rex>"])
            time, x = torch.tensor([500]), torch.zeros(1, *base.latent_shape)
            about = {"prompts": (adapted.expand_prompt("<rex>"),), "views": {"<rex>": torch.tensor([turn, 0.0, 0.0])}}
            run = adapted.run(time=time, latents=x, **about)
            base.predict(x, time, states, context=run)
        found.append((states, [t for n, t in run.activations.items() if n.startswith(RENDERED)]))
    assert torch.equal(found[0][0], found[1][0])
    assert all(not torch.allclose(a, b, atol=1e-4) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_rendered_opacity_comes_to_match_the_mask(base: Any, rex: Subject) -> None:
    """Supervision alone, on fields that start at random: opacity rises inside of the mask and falls outside."""
    recipe = methods()[NAME](rex, steps=15, lr=5e-3, prior_weight=0.0, drop_image=0.0, drop_text=0.0)
    (stage,) = recipe.stages
    alone = replace(stage, loss=stage.loss[-1:])
    *_, done = train(base, Adapter(recipe, "<rex>", noun="dog"), stages=(alone,))
    batch = stage.loss[-1].source.prepare(base)(0, streams(0, 0))
    assert batch.references is not None
    assert batch.mask is not None
    means = []
    for tensors in (tensors_of(base, recipe), dict(done.snapshot().tensors)):
        with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", tensors, noun="dog")]) as adapted:
            time = torch.full((len(batch.latents),), 500)
            about = {"references": batch.references, "prompts": batch.prompts}
            run = adapted.run(time=time, latents=batch.latents, **about)
            base.predict(batch.latents, time, adapted.text_states(batch.prompts), context=run)
        (shown, *_) = [t for n, t in run.activations.items() if n.startswith(RENDERED)]
        inside = torch.nn.functional.interpolate(batch.mask, shown.shape[2:], mode="area")
        opacity = shown[:, 3:]
        means.append([float((opacity * part).sum() / part.sum()) for part in (inside, 1 - inside)])
    (before, before_outside), (after, after_outside) = means
    assert after > before + 0.1
    assert after_outside < before_outside - 0.05


def test_a_picture_is_not_among_its_own_references(base: Any, rex: Subject) -> None:
    field = feature_nerf(rex, "<rex>")
    known = rex.viewpoints()
    weights = field._weights(known, known)
    assert torch.allclose(weights.sum(1), torch.ones(len(known)))
    assert float(weights.diagonal().max()) == 0
    between = known[:1] + torch.tensor([[0.1, 0.0, 0.0]])
    assert int(field._weights(between, known).argmax()) == 0


def test_moves_lead_from_the_first_picture_to_each(base: Any, rex: Subject) -> None:
    source = methods()[NAME](rex).stages[0].loss[0].source
    batch = source.prepare(base)(0, streams(0, 0))
    known = rex.viewpoints()
    assert batch.references is not None
    assert batch.references.moves is not None
    wanted = move_between(known[:1].expand_as(known), known)
    for move in batch.references.moves[:, 0]:
        assert float((wanted - move).abs().amax(1).min()) < 1e-5
    assert batch.times is not None
    many = torch.cat([source.prepare(base)(step, streams(0, step)).times[:, 0] for step in range(25)])  # type: ignore[index]
    assert float(many.mean()) == pytest.approx(0.75, abs=0.08)


def test_cameras_are_kept_with_a_concept_and_asked_for_without(base: Any, rex: Subject, tmp_path: Path) -> None:
    concept = learn_fast(base, NAME, rex)
    assert torch.allclose(concept.tensors[VIEWS].float(), rex.viewpoints(), atol=1e-5)
    assert paint_latents(base, concept).isfinite().all()
    blind = replace(rex, pictures=tuple(replace(p, view=None) for p in rex.pictures))
    with pytest.raises(InputError, match=r"cameras.json beside the pictures"):
        learn_fast(base, NAME, blind)
    for k, picture in enumerate(rex.pictures):
        assert picture.image is not None
        picture.image.save(tmp_path / f"{k}.png")
    table = {f"{k}.png": list(picture.view or ()) for k, picture in enumerate(rex.pictures)}
    (tmp_path / "cameras.json").write_text(json.dumps(table))
    read = Subject.of(tmp_path, noun="dog", handle="rex")
    assert torch.allclose(read.viewpoints(), rex.viewpoints())
    assert not any("cameras.json" in note for note in read.notes)
    contents = recognised(tmp_path)
    assert torch.allclose(contents.subject(noun="dog", name="rex").viewpoints(), rex.viewpoints())
    assert not contents.stray
    for text, said in (
        ('{"9.png": [0, 0, 1]}', "no such picture"),
        ('{"0.png": [0, 0]}', r"such as \[45, 10, 2.5\]"),
        ("[", "is not JSON"),
        ("[]", "must hold a table"),
    ):
        (tmp_path / "cameras.json").write_text(text)
        with pytest.raises(InputError, match=said):
            Subject.of(tmp_path, noun="dog", handle="rex")


def test_passes_without_a_subject_are_left_alone(base: Any, rex: Subject) -> None:
    recipe = methods()[NAME](rex)
    tensors = moved(tensors_of(base, recipe))
    x, time = torch.zeros(1, *base.latent_shape), torch.tensor([500])
    states = base.text_states(["a dog"], words={})
    plain = base.predict(x, time, states, context=Pass(time=time))
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", tensors, noun="dog")]) as adapted:
        run = adapted.run(time=time, latents=x, prompts=("a dog",))
        assert torch.equal(base.predict(x, time, states, context=run), plain)
