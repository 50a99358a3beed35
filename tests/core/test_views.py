"""Viewpoints in numbers and in words."""

from __future__ import annotations

import math

import pytest
import torch

from limner.core.views import SIDES, as_moves, checked_views, read_view
from limner.errors import InputError, UnknownName


def test_eight_sides_go_once_around() -> None:
    assert sorted(degrees % 360 for degrees in SIDES.values()) == [0, 45, 90, 135, 180, 225, 270, 315]
    for text in ("left", "from the left", "seen from the left", "From-the-Left"):
        assert read_view(text) == 90
        assert checked_views({"rex": text}) == {"<rex>": (90, 0, 1)}
    assert torch.allclose(as_moves({"rex": "back right"})["<rex>"], torch.tensor([math.radians(-135), 0, 0]))
    assert read_view("45,10,1.2") == (45, 10, 1.2)


@pytest.mark.parametrize("text", ["from the lefft", "above", "left side"])
def test_another_side_is_named(text: str) -> None:
    with pytest.raises(UnknownName, match="side for the viewpoint of a subject"):
        read_view(text)


def test_a_viewpoint_is_numbers_or_a_side() -> None:
    with pytest.raises(InputError, match="or a side such as 'from the left'"):
        read_view("45;10")
