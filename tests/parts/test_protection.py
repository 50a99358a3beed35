"""Changes of photographs that are learned within a bound."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from limner.core.artefact import copy_names
from limner.core.recipe import Recipe
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.train import train
from limner.errors import PictureError
from limner.parts.protection import latents_near, perturbation, texture

EPSILON, STEP = 5.5, 4.0


def shaped(subject: Subject, *sizes: tuple[int, int]) -> Subject:
    """The first pictures of a subject, in these sizes."""
    pictures = []
    for picture, size in zip(subject.pictures, sizes, strict=False):
        assert picture.image is not None
        pictures.append(replace(picture, image=picture.image.resize(size)))
    return replace(subject, pictures=tuple(pictures))


def trained(base: Any, subject: Subject, *, project: bool = True, steps: int = 3) -> tuple[Any, list[Any]]:
    """The change after a few updates, and the copies."""
    change = perturbation(subject, EPSILON)
    stages = change.stages(lambda photo: (latents_near(photo),), steps=steps, step_size=STEP)
    stages = stages if project else tuple(replace(stage, after=None) for stage in stages)
    recipe = Recipe("a dog", (change,), stages)
    *_, last = train(base, Adapter(recipe, "<rex>"), stages=stages)
    tensors = last.snapshot().tensors
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", tensors)]) as adapted:
        return tensors, change.copies(adapted)


def pixels(content: bytes | Image.Image) -> Any:
    image = Image.open(io.BytesIO(content)) if isinstance(content, bytes) else content
    return np.asarray(image).astype(int)


def test_changes_and_saved_copies_stay_within_epsilon(base: Any, rex: Subject) -> None:
    subject = shaped(rex, (128, 128), (300, 200))
    tensors, copies = trained(base, subject)
    assert float(tensors["perturbation.0"].abs().max()) == pytest.approx(EPSILON / 255, abs=1e-6)
    assert tensors["perturbation.1"].shape == (3, 128, 192)
    for picture, copy in zip(subject.pictures, copies, strict=True):
        assert picture.image is not None
        far = np.abs(pixels(copy.content) - pixels(picture.image))
        assert 0 < far.max() <= int(EPSILON)
        assert (far > 2).mean() > 0.3
    free, _ = trained(base, subject, project=False)
    assert float(free["perturbation.0"].abs().max()) > 2 * EPSILON / 255


def test_a_photograph_that_is_not_square_is_changed_from_end_to_end(base: Any, rex: Subject) -> None:
    tensors, _ = trained(base, shaped(rex, (400, 160)), steps=16)
    columns = tensors["perturbation.0"].abs().amax(dim=(0, 1))  # [320]
    assert float((columns > 0).float().mean()) > 0.9


def test_each_photograph_has_a_stage_of_its_own(base: Any, rex: Subject) -> None:
    change = perturbation(shaped(rex, (128, 128), (128, 128)), EPSILON)
    stages = change.stages(lambda photo: (latents_near(photo),), steps=1, step_size=STEP)
    first = next(train(base, Adapter(Recipe("a dog", (change,), stages), "<rex>"), stages=stages)).snapshot()
    assert first.tensors["perturbation.0"].any()
    assert not first.tensors["perturbation.1"].any()


def test_photographs_without_pixels_and_strips_are_refused(base: Any, rex: Subject) -> None:
    unread = replace(rex, pictures=(replace(rex.pictures[0], image=None),))
    for subject, why in ((unread, "give its pictures again"), (shaped(rex, (1, 900)), "crop it")):
        recipe = Recipe("a dog", (perturbation(subject, EPSILON),))
        with pytest.raises(PictureError, match=why), attach(base, [Adapter(recipe, "<rex>")]):
            pass


def test_the_texture_is_black_and_white_in_equal_parts() -> None:
    board = texture(128)
    assert board.shape == (1, 3, 128, 128)
    assert sorted(board.unique().tolist()) == [0, 1]
    assert float(board.mean()) == 0.5


def test_names_of_copies_are_plain_and_all_different() -> None:
    names = copy_names(["a.jpg", "a.png", "A.webp", "Foto von mir (1).jpg", "../../x.png", "a-2.heic", ".png"])
    assert names[:4] == ["a.png", "a-2.png", "A-3.png", "Foto_von_mir_1_.png"]
    assert len({name.lower() for name in names}) == len(names)
    assert not any("/" in name or name.startswith(".") for name in names)
