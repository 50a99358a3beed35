"""MagiCapture: its composed stream, its two phases, and where its words may attend."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.recipe import Objective, Recipe
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import Batch, Pass, Prediction
from limner.engine.attach import Adapter, attach
from limner.engine.train import Update, begin_update
from limner.methods import methods
from limner.parts.encoders import face_masks
from limner.parts.modifiers import watched_word
from limner.parts.objectives import attention_refocused
from limner.parts.sources import photos
from tests.helpers import person

WORDS = ("<rex-person>", "<rex-style>")


@pytest.fixture(scope="module")
def ada() -> Subject:
    """A person, with two pictures of another one in the place of style photos."""
    return replace(person(count=2), without=person(2_000_096, count=2).pictures)


def made(subject: Subject) -> Recipe:
    return methods()["magicapture"](subject, batch=2)


def composed_terms(recipe: Recipe) -> list[Objective]:
    return [term for term in recipe.stages[1].loss if "with references" in term.source.name]


def test_composed_prompts_learn_the_style_photo_around_the_face_and_the_persons_identity(
    base: Any, ada: Subject
) -> None:
    recipe = made(ada)
    denoise, identity = composed_terms(recipe)[:2]
    with attach(base, [Adapter(recipe, ada.handle)]) as adapted:
        step = begin_update(Update, adapted, denoise.source, denoise.source.prepare(base), 0, 0, 0)
        step.together, step.time = [step], torch.full_like(step.time, 50)
        batch = step.batch
        assert all(word in prompt for word in WORDS for prompt in map(adapted.expand_prompt, batch.prompts))
        style_latents = base.encode(ada.contrast.tensor(base.picture_size))[0]
        assert float((batch.latents[:, None] - style_latents).flatten(2).norm(dim=2).amin(1).max()) < 1
        assert batch.mask is not None
        assert batch.references is not None
        own = ada.tensor(base.picture_size)
        assert all((pixels == own).flatten(1).all(1).any() for pixels in batch.references.first)
        adapted.tensors["word.<rex-person>"].requires_grad_(True)
        adapted.text_learns(True)
        face, around = (mask.expand_as(batch.latents) for mask in (batch.mask < 0.02, batch.mask > 0.99))
        slope = {
            term.name: torch.autograd.grad(term.value(step), step.prediction.output, retain_graph=True)[0].abs()
            for term in (denoise, identity)
        }
        other = replace(batch.references, pixels=ada.contrast.tensor(base.picture_size)[:, None])
        values = [identity.value(at).detach() for at in (step, step.on(replace(batch, references=other)))]
        apart = abs(float(values[0] - values[1]))
        adapted.tensors["word.<rex-person>"].requires_grad_(False)
    # the face of the style photo is no target; the face that counts is that of the references
    assert float(slope[denoise.name][face].mean()) < 0.1 * float(slope[denoise.name][around].mean())
    assert float(slope[identity.name][face].mean()) > 1.4 * float(slope[identity.name][around].mean())
    assert apart > 0.05


def test_words_alone_learn_first_and_composed_prompts_come_second(base: Any, ada: Subject) -> None:
    recipe = made(ada)
    with attach(base, [Adapter(recipe, ada.handle)]) as adapted:
        first, second = ({name for part in stage.train for name in part(adapted)} for stage in recipe.stages)
    words = {f"word.{word}" for word in WORDS}
    assert first == words
    assert second > words
    assert all(name.startswith("low_rank.") for name in second - words)
    assert not [term for term in recipe.stages[0].loss if "with references" in term.source.name]
    assert len(composed_terms(recipe)) == 4


def refocused(maps: Tensor, mask: Tensor, **about: Any) -> float:
    """The attention loss of maps [B, N] of a token, with masks [B, 1, h, w]."""
    watched, source = watched_word("<v>"), photos(Subject("<rex>", "person"))
    run = Pass(activations={f"{watched.key}, layer": maps})
    step: Any = SimpleNamespace(
        prediction=Prediction(torch.zeros(1), run), batch=Batch(torch.zeros(1), ("",), mask=mask), time=None
    )
    return float(attention_refocused(source, watched, **about).value(step))


def test_a_word_that_attends_beyond_its_region_is_penalised_and_within_it_is_free() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    left, right = mask.flatten(1).clone(), 1 - mask.flatten(1)
    uneven = left * torch.linspace(0.1, 1, 64)
    assert refocused(left, mask) == refocused(uneven, mask) == 0
    assert refocused(right, mask) == pytest.approx(0.5)
    assert refocused(left, mask, outside=True) == pytest.approx(0.5)
    assert refocused(right, mask, outside=True) == 0
    absent = torch.cat([right, torch.zeros_like(right)])
    assert refocused(absent, torch.cat([mask, mask])) == pytest.approx(0.5)


def test_the_two_words_have_the_two_sides_of_the_composed_picture(ada: Subject) -> None:
    """Maps that lie within the face: free for the person's word, not for the style's."""
    face = torch.zeros(1, 1, 8, 8)
    face[..., 2:6, 2:6] = 1
    run = Pass(activations={f"{watched_word(word).key}, layer": face.flatten(1) for word in WORDS})
    values = []
    for term in (term for term in made(ada).stages[1].loss if "refocused" in term.name):
        counts = face if term.source.name == "photos" else 1 - face  # where the source's loss counts
        batch = Batch(torch.zeros(1), ("",), mask=counts)
        step: Any = SimpleNamespace(prediction=Prediction(torch.zeros(1), run), batch=batch)
        values.append((term.name.split()[2], "with references" in term.source.name, float(term.value(step)) > 0))
    assert sorted(values) == [
        ("<rex-person>", False, False),
        ("<rex-person>", True, False),
        ("<rex-style>", False, True),
        ("<rex-style>", True, True),
    ]


def test_style_photos_are_the_pictures_without_the_subject_or_those_that_the_base_paints(
    base: Any, ada: Subject
) -> None:
    bare = replace(ada, without=())
    given, painted = (
        methods()["magicapture"](who, num_class_pictures=2, batch=2).stages[0].loss[1].source for who in (ada, bare)
    )
    latents = [source.prepare(base)(0, streams(0, "x", 0, 0)).latents for source in (given, painted)]
    known = base.encode(ada.contrast.tensor(base.picture_size))[0]
    near = [float((found[:, None] - known).flatten(2).norm(dim=2).amin(1).max()) for found in latents]
    assert near[0] < 1 < near[1]
    assert given.learns_from == "subject"
    assert painted.learns_from == "class"


def test_masks_of_faces_are_ellipses_in_the_detected_boxes(base: Any, ada: Subject) -> None:
    masks = face_masks(base, ada)
    assert masks.shape == (2, 1, base.picture_size, base.picture_size)
    for picture, mask in zip(ada.pictures, masks[:, 0], strict=True):
        image: Any = picture.image
        (found,) = base.capabilities.faces.find(image)
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        seen = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        share = base.picture_size / image.width
        assert (seen - share * torch.tensor(found.box)).abs().max() <= 2
        area = math.pi / 4 * found.height * found.width / image.width**2
        assert float(mask.mean()) == pytest.approx(area, rel=0.05)


def test_a_picture_without_a_face_is_named(base: Any) -> None:
    plain = Subject.of(torch.full((1, 3, 64, 64), 0.5), noun="person", handle="rex")
    with pytest.raises(limner.errors.InputError, match="no face of rex was found on picture 1"):
        face_masks(base, plain)
