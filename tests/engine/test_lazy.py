"""Learning that is not of a subject's pictures alone: latents that depend on what learns, projections, signs,
artefacts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import limner
from limner.core.artefact import Artefact, packed, unpacked
from limner.core.concept import Concept
from limner.core.method import method
from limner.core.recipe import Evolution, Objective, Recipe, Source, Stage
from limner.core.subject import Subject
from limner.core.types import Batch, Live
from limner.engine.attach import Adapter
from limner.engine.checkpoint import CHECKPOINT
from limner.engine.parallel import Spread
from limner.engine.sign import Sign
from limner.engine.train import Checkpoint, train
from limner.errors import FileError, InputError
from limner.formats.exporting import export
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from tests.helpers import same, state, untouched

EPSILON, RATE = 0.02, 0.015


@dataclass(frozen=True)
class perturbation:
    """Noise that is added to pictures: what protects them, or attacks."""

    size: int

    @contextmanager
    def __call__(self, base: Any, *, stored: Mapping[str, Tensor], generator: Any, scale: float) -> Iterator[Live]:
        start = stored.get("noise.pixels", torch.zeros(2, 3, self.size, self.size))
        yield Live({"noise.pixels": torch.nn.Parameter(start.clone().to(base.device, base.dtype), requires_grad=False)})


def attack(rex: Subject, **more: Any) -> Recipe:
    """Photographs are changed within an epsilon ball so that the base predicts their noise badly (arXiv:2302.04222)."""
    size = 128
    noise = perturbation(size)
    shown = functools.cache(lambda: rex.tensor(size)[:2])  # a concept that is painted with has no pictures

    def prepare(base: Any) -> Any:
        pixels = shown()

        def render(adapted: Any) -> Tensor:
            latents: Tensor = adapted.base.encode(pixels + adapted.live[noise].tensors["noise.pixels"])[0]
            return latents

        empty = torch.zeros(2, *base.latent_shape)
        return lambda step, at: Batch(empty, ("a photo of a dog",) * 2, render=render)

    source = Source("perturbed", "subject", prepare)

    def away(step: Any) -> Tensor:
        return -denoising(source).value(step)

    @torch.no_grad()
    def project(adapted: Any) -> None:
        added = adapted.tensors["noise.pixels"]
        added.copy_((shown() + added.clamp(-EPSILON, EPSILON)).clamp(0, 1) - shown())

    def protected(adapted: Any) -> list[Artefact]:
        from limner.core.pixels import to_images

        images = to_images(shown() + adapted.tensors["noise.pixels"])
        return [Artefact.picture(f"protected_{k}.png", image) for k, image in enumerate(images)]

    about: dict[str, Any] = {"optimizer": "sign", "after": project} | more
    stage = Stage((learned(noise),), (Objective("away", source, away),), 3, RATE, **about)
    return Recipe("a dog", (noise,), (stage,), artefacts=protected)


def test_a_perturbation_learns_through_the_encoder_within_its_ball(base: Any, rex: Subject) -> None:
    before, recipe, points = state(base), attack(rex), []
    losses = []
    for progress in train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning):
        points.append(progress.snapshot())
        losses.append(progress.loss)
    steps = [point.tensors["noise.pixels"] for point in points]
    assert steps[0].abs().max() <= RATE + 1e-6
    assert (steps[0].abs() > RATE - 1e-4).float().mean() > 0.5  # by the rate, whatever the gradient's size
    assert steps[1].abs().max() == pytest.approx(EPSILON, abs=1e-6)  # 2 * RATE is outside of the ball
    pixels = rex.tensor(128)[:2]
    assert all(float((pixels + step).min()) >= 0 and float((pixels + step).max()) <= 1 for step in steps)
    *_, end = train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning, start=points[0])
    assert same(end.snapshot().tensors, points[-1].tensors)
    assert same(state(base), before)
    assert untouched(base)


def test_without_projection_it_leaves_the_ball(base: Any, rex: Subject) -> None:
    recipe = attack(rex, after=None)
    *_, end = train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning)
    assert end.snapshot().tensors["noise.pixels"].abs().max() > 1.5 * EPSILON


def test_parts_of_a_rendered_batch_teach_what_the_whole_does(base: Any, rex: Subject) -> None:
    recipe = attack(rex, optimizer="adamw")
    found = []
    for spread in (Spread(), Spread(2)):
        *_, end = train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning, spread=spread)
        found.append(end.snapshot().tensors["noise.pixels"])
    assert torch.allclose(found[0], found[1], atol=2e-3)


def test_latents_of_another_shape_than_said_are_refused() -> None:
    batch = Batch(torch.zeros(1, 4, 2, 2), ("",), render=lambda adapted: torch.zeros(1, 4, 3, 3))
    with pytest.raises(ValueError, match=r"\(1, 4, 3, 3\), and the batch says \(1, 4, 2, 2\)"):
        batch.rendered(None)  # type: ignore[arg-type]  # it asks nothing of the base


def test_signs_move_by_the_rate_with_weight_decay() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    parameter.grad = torch.tensor([1e-9, -5.0, 0.0])
    Sign([parameter], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(parameter, torch.tensor([0.95 - 0.1, -1.9 + 0.1, 2.85]))
    with pytest.raises(ValueError, match="not from a closure"):
        Sign([parameter], lr=0.1).step(lambda: 0.0)


def test_a_search_cannot_project() -> None:
    with pytest.raises(ValueError, match="cannot project"):
        Stage((), (), 1, 1.0, search=Evolution(), after=lambda adapted: None)


def test_unclamped_decoding_lets_gradients_pass_where_colours_saturate(base: Any) -> None:
    latents = (4 * torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    clamped, free = base.decode(latents), base.decode(latents, clamp=False)
    outside = (free < 0) | (free > 1)
    assert outside.any()
    assert torch.equal(free.clamp(0, 1), clamped)
    lost = torch.autograd.grad((clamped * outside).sum(), latents, retain_graph=True)[0]
    kept = torch.autograd.grad((free * outside).sum(), latents)[0]
    assert lost.abs().max() == 0
    assert kept.abs().max() > 0


# ------------------------------------------------------------------------------------------------------------ artefacts


@method(title="Protected", arxiv="2302.04222", scope=("object",))
def protecting(subject: Subject, *, steps: int = 1) -> Recipe:
    """Photographs that are hard to learn from.

    Settings:
        steps: updates
    """
    return attack(subject)


def test_a_method_may_make_more_than_a_concept(base: Any, rex: Subject, tmp_path: Path) -> None:
    concept = limner.learn(base, rex, method=protecting, checkpoints=tmp_path, to=tmp_path / "rex.safetensors")
    assert not (tmp_path / CHECKPOINT).exists()
    again = Concept.load(tmp_path / "rex.safetensors")
    assert [a.name for a in again.artefacts] == ["protected_0.png", "protected_1.png"]
    assert again.artefacts == concept.artefacts
    path = again.artefacts[1].save(tmp_path / "made")
    with Image.open(path) as image:
        shown = torch.tensor(list(image.convert("RGB").tobytes())).view(128, 128, 3).permute(2, 0, 1) / 255
    wanted = rex.tensor(128)[1] + concept.tensors["noise.pixels"][1]
    assert (shown - wanted).abs().max() <= 0.51 / 255 + 1e-6
    found = limner.paint(base, "a dog", concepts=[concept], settings=limner.PaintSettings(steps=1))
    assert len(found) == 1
    with pytest.raises(InputError, match="no file of diffusers can hold: noise.pixels$"):
        export(concept, base, tmp_path / "export", to="diffusers")


def test_artefacts_are_named_plainly_and_apart() -> None:
    both = [Artefact.text("paths.svg", "<svg/>"), Artefact.scene("scene.safetensors", {"points": torch.ones(2, 3)})]
    assert unpacked(packed(both)) == tuple(both)
    with pytest.raises(FileError, match="cannot be named '../x'"):
        Artefact("../x", b"")
    with pytest.raises(FileError, match="two artefacts are named"):
        packed([both[0], both[0]])


def test_the_state_of_a_checkpoint_is_whole(base: Any, rex: Subject) -> None:
    recipe = attack(rex)
    first = next(train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning)).snapshot()
    assert isinstance(first, Checkpoint)
    assert first.moments == {}
