"""Judges of faces: squares around a face, landmarks that follow them, and batches of people who are alike."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from limner.pocket import judges as shipped
from limner.pocket.world.faces import LANDMARKS
from training.pocket import data, judges, readers
from training.pocket.run import Run

SIZE = 64


def dots(points: Tensor) -> Tensor:
    """[B, 2] (x, y) as fractions -> [B, 3, SIZE, SIZE] with a soft dot at each point."""
    at = (torch.arange(SIZE) + 0.5) / SIZE
    far = (at[None, None, :] - points[:, 0, None, None]) ** 2 + (at[None, :, None] - points[:, 1, None, None]) ** 2
    return torch.exp(-far / 0.003)[:, None].expand(-1, 3, -1, -1).contiguous()


def middle_of(pixels: Tensor) -> Tensor:
    """[B, 3, S, S] -> [B, 2]: the mean position (x, y) of the light, as fractions."""
    light, at = pixels[:, 0], (torch.arange(pixels.shape[-1]) + 0.5) / pixels.shape[-1]
    total = light.sum((1, 2))
    return torch.stack([(light.sum(1) * at).sum(1), (light.sum(2) * at).sum(1)], 1) / total[:, None]


def test_a_square_enlarges_and_a_negative_side_mirrors() -> None:
    points = torch.tensor([[0.5, 0.5], [0.45, 0.55], [0.45, 0.55]])
    side = torch.tensor([0.5, 0.5, -0.5])
    seen = middle_of(shipped.squares(dots(points), torch.full((3, 2), 0.5), side))
    assert torch.allclose(seen, torch.tensor([[0.5, 0.5], [0.4, 0.6], [0.6, 0.6]]), atol=5e-3)


def test_landmarks_follow_the_square_and_change_sides_in_a_mirror() -> None:
    left, right = LANDMARKS.index("left eye"), LANDMARKS.index("right eye")
    points = torch.full((32, len(LANDMARKS), 2), 0.5)
    points[:, left] = torch.tensor([0.42, 0.48])
    points[:, right] = torch.tensor([0.60, 0.52])
    pictures = dots(points[:, left])
    pictures[:, 1:] = dots(points[:, right])[:, 1:]
    seen, moved = readers.seen_nearer(pictures, points, torch.Generator().manual_seed(0))
    flipped = moved[:, left, 0] < 0  # neither is ever outside
    assert not flipped.any()
    sides = [middle_of(seen[:, :1]), middle_of(seen[:, 1:2])]
    mirrored = sides[0][:, 0] > sides[1][:, 0]
    assert 8 < mirrored.sum() < 24
    for k, (one, other) in enumerate(((left, right), (right, left))):
        wanted = torch.where(mirrored[:, None], moved[:, other], moved[:, one])
        inside = ((wanted > 0.12) & (wanted < 0.88)).all(1)  # a dot that is cut has its middle elsewhere
        assert inside.sum() > 12
        assert torch.allclose(sides[k][inside], wanted[inside], atol=0.02)
    assert readers.SIDES[readers.SIDES].tolist() == list(range(len(LANDMARKS)))


def test_landmarks_are_read_again_near_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def network(pixels: Tensor) -> Tensor:
        asked.append(pixels)
        spread = torch.tensor([[-0.1, -0.1], [0.1, 0.1], [0.0, 0.0]])
        return middle_of(pixels)[:, None] + spread

    monkeypatch.setattr(shipped, "network", lambda name: network)
    points = torch.tensor([[0.35, 0.6], [0.5, 0.5]])
    read = shipped.landmarks(dots(points))
    assert torch.allclose(read[:, 2], points * SIZE, atol=0.5)
    assert len(asked) == 2
    assert asked[1].sum() > 2 * asked[0].sum()  # the dots are larger there


def test_people_in_a_group_of_a_batch_are_alike(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "NUM_PEOPLE", 64)
        graphs = data.graphs_of(Run(tmp_path, size=32, pictures=64), "people")[:: data.NUM_VIEWS]
    order = judges.by_looks(graphs)
    assert sorted(order) == list(range(64))

    def same(order: list[int]) -> int:
        people = [graphs[k].people[0].person for k in order]
        looks = [(who.hairstyle, who.hair_colour) for who in people]
        return sum(first == second for first, second in itertools.pairwise(looks))

    assert same(order) > 3 * same(list(range(64)))


def test_landmarks_train(tmp_path: Path) -> None:
    run = Run(tmp_path, size=64, pictures=8, scale=0.001, precision="float32")
    points = readers.landmarks(run)(torch.rand(2, 3, 64, 64))
    assert run.finished("landmarks")
    assert points.shape == (2, len(LANDMARKS), 2)
