"""Face-Diffuser: a scene denoiser and a subject denoiser, each with its own phase, fused by saliency in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.recipe import Recipe
from limner.core.subject import Subject
from limner.core.types import Denoiser
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.engine.sample import sample
from limner.engine.train import Update, begin_update
from limner.errors import InputError
from limner.methods.face.face_diffuser import face_diffuser
from limner.parts.modifiers import low_rank
from limner.pocket.people_corpus import people
from limner.workflows.pretrain import over
from tests.helpers import begun_weights, person

PROMPT = "a photo of <rex> in the snow"
STEPS = limner.PaintSettings(steps=5, guidance=3.0)


@pytest.fixture(scope="module")
def ada() -> Subject:
    return person(2_000_003)


def worn(base: Any, subject: Subject) -> Adapter:
    """The method on a subject, with weights near those that its pre-training begins with."""
    begun_weights("face_diffuser", base)
    return Adapter(face_diffuser(subject), subject.handle, shipped("face_diffuser", base))


def painted(base: Any, adapter: Adapter, prompt: str = PROMPT) -> list[Tensor]:
    """Latents after each step."""
    with torch.no_grad(), attach(base, (adapter,)) as adapted:
        return [step.latents for step in sample(adapted, [prompt], seeds=[3], settings=STEPS)]


def noting(adapter: Adapter, notes: dict[int, dict[str, Tensor]]) -> Adapter:
    """The adapter, whose guidance notes the input "x", every branch and the result "guided", by time."""
    (own,) = adapter.recipe.painting.guidance

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        def noted(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            outputs = denoise(x, t, branches=branches)
            notes.setdefault(int(t[0]), {"x": x}).update(zip(branches, outputs, strict=True))
            return outputs

        guided = own(noted, w)

        def both(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            (output,) = guided(x, t)
            notes[int(t[0])]["guided"] = output
            return (output,)

        return both

    painting = replace(adapter.recipe.painting, guidance=(guidance,))
    return replace(adapter, recipe=replace(adapter.recipe, painting=painting))


@pytest.fixture(scope="module")
def notes(base: Any, ada: Subject) -> dict[int, dict[str, Tensor]]:
    """Time -> what the guidance read and returned."""
    noted: dict[int, dict[str, Tensor]] = {}
    painted(base, noting(worn(base, ada), noted))
    return noted


def test_scene_steps_never_see_the_identity(base: Any, ada: Subject) -> None:
    first, other = (painted(base, worn(base, who)) for who in (ada, person(2_000_096)))
    times = [int(time) for time in base.scheduler("", steps=5).timesteps]
    early = [time > 700 for time in times]
    assert any(early)
    assert not all(early)
    assert [torch.equal(a, b) for a, b in zip(first, other, strict=True)] == early


def test_every_position_of_the_middle_is_one_of_the_two_guided_noises(notes: dict[int, dict[str, Tensor]]) -> None:
    phases = {time: set(noted) - {"x", "guided"} for time, noted in notes.items()}
    assert all(branches == {"negative", "scene"} for time, branches in phases.items() if time > 700)
    assert all(branches == {"plain", "text"} for time, branches in phases.items() if time <= 400)
    middle = [noted for time, noted in notes.items() if 400 < time <= 700]
    assert middle
    for noted in middle:
        scene = noted["negative"] + 3 * (noted["scene"] - noted["negative"])
        subject = noted["plain"] + 3 * (noted["text"] - noted["plain"])
        of_scene, of_subject = ((noted["guided"] == each).all(1) for each in (scene, subject))
        assert bool((of_scene ^ of_subject).all())
        assert of_scene.any()
        assert of_subject.any()


def test_the_two_denoisers_share_no_change(base: Any, ada: Subject, notes: dict[int, dict[str, Tensor]]) -> None:
    """Each branch is what the base predicts with that denoiser's change alone, attached as an ordinary low-rank one."""
    adapter = worn(base, ada)
    (time, noted), *_ = [(time, noted) for time, noted in notes.items() if 400 < time <= 700]
    expected = {
        "subject": ("plain", "a photo of person in the snow"),
        "scene": ("scene", "a photo of person in the snow"),
    }
    expected |= {"scene, negative": ("negative", "")}
    for which, (branch, prompt) in expected.items():
        name = f"face_diffuser.{which.split(',')[0]}"
        stored = {key: tensor for key, tensor in adapter.stored.items() if key.startswith(f"{name}.")}
        alone = Adapter(Recipe("person", modifiers=(low_rank(16, name=name),)), "<rex>", stored)
        with torch.no_grad(), attach(base, (alone,)) as adapted:
            at = torch.tensor([time])
            run = adapted.run(time=at, latents=noted["x"], prompts=(prompt,))
            found = base.predict(noted["x"], at, adapted.text_states([prompt]), context=run)
        assert torch.allclose(found, noted[branch], atol=1e-4), branch
        others = [noted[other] for other in ("plain", "scene", "negative") if other != branch]
        assert all(float((found - other).abs().max()) > 1e-2 for other in others)


def test_each_denoiser_learns_apart_from_the_other(base: Any, ada: Subject) -> None:
    """The loss of either stage is the same to the bit after the other denoiser's change was moved."""
    adapter = worn(base, Subject("<nobody>", "person"))
    recipe = face_diffuser(Subject("<nobody>", "person"), batch=2, scene_batch=2)
    with torch.no_grad(), attach(base, (replace(adapter, recipe=recipe, handle="<nobody>"),)) as adapted:
        tensors = adapted.tensors
        losses: list[list[float]] = []
        for moved in ("", "face_diffuser.subject.", "face_diffuser.scene."):
            for name, tensor in tensors.items():
                if moved and name.startswith(moved) and name.endswith("up"):
                    tensor.add_(0.1)
            losses.append([])
            for stage in over(recipe.pretraining, people(individuals=4)):
                source = stage.loss[0].source
                step = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
                step.together = [step]
                losses[-1].append(float(stage.loss[0].value(step)))
    (subject, scene), subject_moved, scene_moved = losses
    assert subject_moved[1] == scene
    assert subject_moved[0] != subject
    assert scene_moved[0] == subject_moved[0]
    assert scene_moved[1] != scene


def test_a_picture_without_the_subject_is_guided_too(base: Any, ada: Subject) -> None:
    noted: dict[int, dict[str, Tensor]] = {}
    painted(base, noting(worn(base, ada), noted), "a red house in the snow")
    late = noted[min(noted)]
    assert not torch.allclose(late["text"], late["plain"], atol=1e-3)


def test_phases_out_of_order_are_refused(ada: Subject) -> None:
    with pytest.raises(InputError, match="let the scene end first"):
        face_diffuser(ada, scene_until=0.7, both_until=0.5)
