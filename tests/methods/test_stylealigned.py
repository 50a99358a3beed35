"""StyleAligned: the reference is as if alone, and every other picture depends on it and on no sibling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.sample import PaintSettings, sample
from limner.errors import InputError
from limner.methods import methods
from limner.parts.modifiers import shared_statistics

PROMPTS = ("a red car in a <rex>", "a blue boat in a <rex>", "a teapot in a <rex>")
HOW = PaintSettings(steps=3, batch=8)


def painted(base: Any, rex: Subject, prompts: Any = PROMPTS, seeds: Any = (1, 2, 3), **settings: Any) -> Tensor:
    """Latents of pictures beside a generated reference. # [n, C, h, w]"""
    recipe = methods()["stylealigned"](rex, **{"reference": "first", **settings})
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        *_, last = sample(adapted, prompts, seeds=seeds, settings=HOW)
    return last.latents


def unshared(base: Any, rex: Subject) -> Tensor:
    with torch.no_grad(), attach(base, []) as bare:
        *_, last = sample(bare, [text.replace(rex.handle, rex.noun) for text in PROMPTS], seeds=[1, 2, 3], settings=HOW)
    return last.latents


def differ(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).norm() > 0.02 * first.norm())


@pytest.mark.parametrize("shift", [0.0, 1.3])
def test_the_first_picture_is_as_if_alone_whatever_the_shift(base: Any, rex: Subject, shift: float) -> None:
    shared, plain = painted(base, rex, first_shift=shift), unshared(base, rex)
    assert torch.allclose(shared[0], plain[0], atol=1e-4)
    assert differ(shared[1], plain[1])
    assert differ(shared[2], plain[2])


def test_other_pictures_depend_on_the_first_and_not_on_siblings(base: Any, rex: Subject) -> None:
    three = painted(base, rex)
    two = painted(base, rex, (PROMPTS[0], PROMPTS[2]), (1, 3))
    sibling = painted(base, rex, (PROMPTS[0], "a robot in a <rex>", PROMPTS[2]), (1, 7, 3))
    assert torch.allclose(three[2], two[1], atol=1e-4)
    assert torch.allclose(three[2], sibling[2], atol=1e-4)
    for prompts, seeds in ((("a robot in a <rex>", *PROMPTS[1:]), (1, 2, 3)), (PROMPTS, (9, 2, 3))):
        assert differ(three[2], painted(base, rex, prompts, seeds)[2])


def test_normalisation_shares_statistics_with_the_reference(base: Any, rex: Subject) -> None:
    """Without that ingredient the first picture is the same, and the others are not."""
    whole, bare = painted(base, rex), painted(base, rex, statistics=False)
    assert torch.allclose(whole[0], bare[0], atol=1e-4)
    assert differ(whole[1], bare[1])
    for reference in ("picture", "first"):
        recipe = methods()["stylealigned"](rex, reference=reference)
        assert any(isinstance(part, shared_statistics) for part in recipe.modifiers)


def test_the_shift_draws_more_attention_to_the_first_picture(base: Any, rex: Subject) -> None:
    assert differ(painted(base, rex)[1], painted(base, rex, first_shift=1.3)[1])


def test_all_batches_share_the_first_picture_of_all(base: Any, rex: Subject, tmp_path: Path) -> None:
    learned = limner.learn(base, rex, method="stylealigned", reference="first")
    concept = limner.Concept.load(learned.save(tmp_path / "rex.safetensors"))
    every = [
        limner.paint(base, list(PROMPTS), concepts=[concept], seed=4, settings=PaintSettings(steps=2, batch=batch))
        for batch in (8, 1)
    ]
    for one, other in zip(*every, strict=True):
        apart = [abs(a - b) for a, b in zip(one.image.tobytes(), other.image.tobytes(), strict=True)]
        assert max(apart) <= 2  # rounding
    alone = limner.paint(base, PROMPTS[2], concepts=[concept], seed=4, settings=PaintSettings(steps=2))
    assert alone[0].image.tobytes() != every[0][2].image.tobytes()


def test_a_caption_of_the_picture_is_the_prompt_of_its_inversion(base: Any, rex: Subject) -> None:
    image = rex.pictures[0].image
    prompts = []
    for captions in ([], ["a chair in a <rex>"]):
        subject = Subject.of([image], noun="watercolour", handle="rex", kind="style", captions=captions)
        recipe = methods()["stylealigned"](subject)
        with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>")]) as adapted:
            stream = adapted.reference_stream(2)
        assert stream is not None
        prompts.append(stream.prompt)
    assert prompts == ["a picture of a watercolour", "a chair in a watercolour"]


def test_another_reference_is_refused(rex: Subject) -> None:
    with pytest.raises(InputError, match="picture or first, not 'second'"):
        methods()["stylealigned"](rex, reference="second")
