"""MC-TI: words of several classes are told apart, and classify pictures that nothing was learned from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import limner
from limner.core.subject import Subject
from limner.errors import InputError
from limner.library.classify import classify
from limner.methods import methods
from limner.pocket.subjects import toy
from tests.helpers import same, state, untouched

TOYS = (("dog", 2_000_012), ("dog", 2_000_099), ("dog", 2_000_031), ("dog", 2_000_047))
NAMES = ("rex", "bo", "kit", "pip")
STEPS = 11


@pytest.fixture(scope="module")
def classes() -> list[Subject]:
    return [toy(kind, seed, name=name, count=3) for (kind, seed), name in zip(TOYS, NAMES, strict=True)]


def accuracy_and_margin(base: Any, concepts: list[limner.Concept]) -> tuple[float, float]:
    """Share of held-out pictures of the classes whose class is named, and by how much its cosine is the largest."""
    margins = []
    for (kind, seed), name in zip(TOYS, NAMES, strict=True):
        pictures = [picture.image for picture in toy(kind, seed, count=4, at=1).pictures]
        for answer in classify(base, concepts, pictures):
            own = answer.cosines.pop(f"<{name}>")
            margins.append(own - max(answer.cosines.values()))
    return sum(margin > 0 for margin in margins) / len(margins), sum(margins) / len(margins)


def test_learned_words_classify_held_out_pictures_better_than_textual_inversion_s(
    base: Any, classes: list[Subject]
) -> None:
    before = state(base)
    together = classes[0].with_beside(classes[1:])
    told_apart = limner.learn(base, together, method="mc_ti", steps=STEPS)
    mixed = limner.learn(base, together, method="mc_ti", steps=STEPS, classification_weight=0.0)
    plain = [limner.learn(base, one, method="textual_inversion", steps=STEPS, vectors=1, lr=1e-2) for one in classes]
    own, *others = (accuracy_and_margin(base, concepts) for concepts in ([told_apart], [mixed], plain))
    assert own[0] > max(right for right, _ in others) + 0.2
    assert own[1] > max(margin for _, margin in others) + 0.1
    assert same(state(base), before)
    assert untouched(base)
    assert set(told_apart.tensors) == {f"word.<{name}>" for name in NAMES}


def test_alone_it_is_told_apart_from_class_images(rex: Subject) -> None:
    recipe = methods()["mc_ti"](rex)
    assert [term.name for term in recipe.stages[0].loss] == ["denoising(classes)", "recognition answer(recognition)"]
    assert "16 pictures of the class" in recipe.notes[0]


def test_a_class_without_pictures_is_refused(rex: Subject) -> None:
    with pytest.raises(InputError, match="<bo> has no pictures of its own"):
        methods()["mc_ti"](replace(rex, beside=(Subject.shown_with("bo", noun="car"),)))


def test_fewer_than_two_classes_or_no_picture_cannot_be_told_apart(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="mc_ti", steps=1, num_class_pictures=4)
    with pytest.raises(InputError, match="the concepts answer to <rex>"):
        classify(base, [concept], [rex.pictures[0].image])
    other = limner.learn(base, replace(rex, handle="<bo>"), method="mc_ti", steps=1, num_class_pictures=4)
    with pytest.raises(InputError, match="no pictures to classify"):
        classify(base, [concept, other], [])
