"""Measures of several subjects, on pictures whose truth is known: renders of the pocket world, right and wrong ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from PIL import Image

from limner.errors import InputError
from limner.evaluation.datasets.toys import pictured
from limner.evaluation.encoders import pocket_encoders
from limner.evaluation.metrics.several import colour_leakage, consistency, leakage, likeness, own_identity, swapped
from limner.evaluation.several import Company, Together, judged_together, standing_right, subject_places
from limner.pocket import SIZE
from limner.pocket.world import CORE, draw, individual, references
from limner.pocket.world.prompts import answer, prompts

DOG, CAR = (individual(kind, 2_000_020 + k, patterns=CORE.patterns) for k, kind in enumerate(("dog", "car")))
ASKED = [prompt for prompt in prompts("pairs") if prompt.truth["relation"] in ("next to", "facing")][:3]


def graphs(*who: Any) -> list[Any]:
    return [answer(prompt, who, seed=k) for k, prompt in enumerate(ASKED)]


@cache
def company(kind: str) -> Company:
    """Renders of the pair: right; each in the other's colours; both in their own but one of them alone."""
    painted = {
        "right": lambda: pictured(graphs(DOG, CAR)),
        "colours": lambda: pictured(graphs(_in_colours_of(DOG, CAR), _in_colours_of(CAR, DOG))),
        "one": lambda: pictured(references(DOG, len(ASKED), seed=5)),
    }[kind]()
    real = tuple(tuple(pictured(references(who, 3, seed=9))) for who in (DOG, CAR))
    return Company(("dog", "car"), tuple(painted), real, (0.8, 0.8), tuple(prompt.truth for prompt in ASKED))


@cache
def judged(kind: str) -> Together:
    return judged_together(company(kind), pocket_encoders()["identity"])


def _in_colours_of(who: Any, other: Any) -> Any:
    return replace(who, colours=other.colours, tints=other.tints)


def test_places_are_where_the_renders_have_their_toys() -> None:
    drawn = draw(graphs(DOG, CAR))
    truth = torch.stack([drawn.toy == 0, drawn.toy == 1], 1).float()
    found = subject_places(company("right").pictures, ("dog", "car"))
    union = torch.maximum(found, truth).sum((2, 3))
    assert float((torch.minimum(found, truth).sum((2, 3)) / union).mean()) > 0.7
    assert float(torch.minimum(found[:, 0], found[:, 1]).sum()) == 0


def test_relations_are_told_by_places() -> None:
    """Renders of every relation are told right, and as the pair the other way round wrong, but for a few."""
    every = {prompt.truth["relation"]: prompt for prompt in prompts("pairs")}
    told = {name: prompt for name, prompt in every.items() if name != "holding"}
    drawn = draw([answer(prompt, (DOG, CAR), seed=1) for prompt in told.values()])
    masks = torch.stack([drawn.toy == 0, drawn.toy == 1], 1).float()
    right = [standing_right(own, name) for own, name in zip(masks, told, strict=True)]
    turned = [standing_right(own.flip(0), name) for own, name in zip(masks, told, strict=True)]
    assert len(told) >= 8
    assert sum(right) >= len(told) - 1, dict(zip(told, right, strict=True))
    assert sum(turned) == 0
    assert standing_right(masks[0], "holding") != standing_right(masks[0], "holding")  # not a number
    assert standing_right(torch.zeros_like(masks[0]), "on") == 0


def test_regions_say_whose_place_it_is() -> None:
    halves = torch.zeros(2, 1, 1, 16, 16)
    halves[0, ..., :8], halves[1, ..., 8:] = 1, 1
    found = subject_places(company("right").pictures, ("dog", "dog"), tuple(halves))
    assert not found[:, 0, :, SIZE // 2 + 4 :].any()
    assert not found[:, 1, :, : SIZE // 2 - 4].any()
    assert found.any()


def test_right_pictures_are_right_and_wrong_ones_are_told() -> None:
    right, colours, one = (judged(kind).values for kind in ("right", "colours", "one"))
    assert right["present"] == 1
    assert right["swapped"] == 0
    assert right["identity"] > colours["identity"] + 0.1
    assert right["consistency"] > colours["consistency"]
    assert right["leakage"] < 0.3
    assert right["colour_leakage"] < 0.5 * colours["colour_leakage"]
    assert one["present"] == 0
    assert right["relation"] == 1
    assert one["relation"] == 0
    assert right["scene"] == 1
    assert one["prompt"] == 0 < right["prompt"] <= min(right["relation"], right["scene"])


def test_leakage_by_hand() -> None:
    """Unit vectors of two subjects at a right angle: a place that shows both at equal parts leaks cos 45 degrees."""
    first, second = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])
    both = torch.tensor([[1.0, 1]]) / 2**0.5
    seen = torch.stack([torch.cat([first, second]), torch.cat([both, second]), torch.cat([second, first])])
    alike = likeness(seen, (first, second))
    assert torch.allclose(own_identity(alike), torch.tensor([[1.0, 1], [0.5**0.5, 1], [0, 0]]))
    assert torch.allclose(leakage(alike, torch.eye(2)), torch.tensor([0.0, 0.5**0.5 / 2, 1]), atol=1e-6)
    assert swapped(alike)[[0, 2]].tolist() == [0, 1]
    assert torch.allclose(consistency(alike, torch.tensor([0.5, 1.0]))[0], torch.tensor([2.0, 1.0]))
    assert consistency(alike, torch.tensor([0.05, 1.0]))[0].isnan().tolist() == [
        True,
        False,
    ]  # nothing was learned to keep


def test_what_is_no_number_is_none_in_a_record() -> None:
    found = Together({"relation": float("nan"), "scene": 0.5}, {"relation": (float("nan"),), "scene": (0.5,)})
    assert found.record == {"values": {"relation": None, "scene": 0.5}, "each": {"relation": [None], "scene": [0.5]}}


def test_colour_leakage_by_hand() -> None:
    """A place half its own colour and half the other's leaks one half; the world's own colours do not count."""
    own = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    seen = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0.5, 0.5, 0], [0, 1, 0]], [[0.5, 0, 0.5], [0, 0.5, 0.5]]])
    assert torch.allclose(colour_leakage(seen, own), torch.tensor([0.0, 0.25, 0.0]))


def test_what_cannot_be_judged() -> None:
    image = Image.new("RGB", (SIZE, SIZE))
    about: dict[str, Any] = {"pictures": (image,), "references": ((image,), (image,)), "alone": (1.0, 1.0)}
    for more, said in (
        ({"nouns": ("dog",)}, "two subjects or more"),
        ({"nouns": ("dog", "dog")}, "two of the subjects are of one class"),
        ({"nouns": ("dog", "car"), "alone": (1.0,)}, "2 subjects and 1 scores alone"),
        ({"nouns": ("dog", "car"), "truths": ({}, {})}, "1 pictures and 2 truths"),
    ):
        with pytest.raises(InputError, match=said):
            Company(**{**about, **more})
    with pytest.raises(InputError, match="not 'unicorn'"):
        subject_places((image,), ("dog", "unicorn"))
