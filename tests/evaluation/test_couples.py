"""Couples of people: renders of both tell them apart, and leakage is seen where one takes the other's face."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from limner.errors import InputError
from limner.evaluation.datasets.couples import COUPLES, Couple, couples
from limner.evaluation.several import subject_places
from limner.pocket import SIZE
from limner.workflows.bench.pairs import CouplePlan, _judged

PLAN = CouplePlan(prompts=3)


@pytest.fixture(scope="module")
def couple() -> Couple:
    return couples(count=1, prompts=3)[0]


def test_faces_are_found_each_in_its_half(couple: Couple) -> None:
    images = couple.answers((0,))
    places = subject_places(images, ("man", "woman"), couple.judged_regions(), faces=couple.faces)
    assert places.shape == (3, 2, SIZE, SIZE)
    assert bool((places.sum((2, 3)) > 0).all())
    columns = (places.sum(2) > 0).float()
    middles = (columns * torch.arange(SIZE)).sum(2) / columns.sum(2)
    assert bool((middles[:, 0] < SIZE / 2).all())
    assert bool((middles[:, 1] > SIZE / 2).all())


def test_renders_of_both_leak_less_than_the_first_person_twice_and_the_swapped_pictures_are_seen(
    couple: Couple,
) -> None:
    images = couple.answers((0,))
    truth = _judged(PLAN, couple, images, (1.0, 1.0))["values"]
    twice = _judged(PLAN, couple, [doubled(image) for image in images], (1.0, 1.0))["values"]
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
    swapped = _judged(PLAN, couple, mirrored, (1.0, 1.0))["values"]
    assert truth["present"] == 1
    assert truth["leakage"] < twice["leakage"]
    assert truth["leakage"] < swapped["leakage"]
    assert truth["identity"] > swapped["identity"]
    assert truth["swapped"] < swapped["swapped"]


def doubled(image: Image.Image) -> Image.Image:
    """The left half of a picture twice."""
    both = image.copy()
    both.paste(image.crop((0, 0, image.width // 2, image.height)), (image.width // 2, 0))
    return both


def test_the_people_of_a_couple_are_grown_ups_and_numbers_out_of_range_are_refused() -> None:
    from limner.pocket.world.faces import person
    from limner.pocket.world.prompts_people import PEOPLE

    assert all(person(PEOPLE[k]).age != "child" for pair in COUPLES for k in pair)
    with pytest.raises(InputError, match="there are 3 couples and 6 prompts; asked for 4 and 6"):
        couples(count=4)
