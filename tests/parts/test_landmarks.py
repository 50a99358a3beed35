"""Landmarks follow the pictures: through flips, crops, turns and sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limner.core.landmarks import cropped, mirrored
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import References
from limner.engine.train import joined_references
from limner.parts.augmentations import erased
from limner.parts.sources import captioned, jittered, pairs, photos
from limner.parts.sources.pairs import Shots
from limner.pocket.corpus import toys

MARKS = torch.tensor([[0.2, 0.3], [0.8, 0.3], [0.5, float("nan")]])


def equal(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, atol=1e-4, equal_nan=True)


def test_mirrored_landmarks_change_sides_and_names() -> None:
    both = mirrored(MARKS.expand(2, 3, 2), torch.tensor([True, False]), (1, 0, 2))
    assert equal(
        both[0], torch.tensor([[0.2, 0.3], [0.8, 0.3], [0.5, float("nan")]])
    )  # the right eye is the left one there
    assert equal(both[1], MARKS)
    assert equal(mirrored(MARKS[None], torch.tensor([True]))[0, 0], torch.tensor([0.8, 0.3]))


def test_a_crop_scales_them_and_forgets_those_outside() -> None:
    found = cropped(MARKS, (0.0, 0.0, 0.5, 1.0))
    assert equal(found[0], torch.tensor([0.4, 0.3]))
    assert found[1:].isnan().all()


def test_they_are_where_the_picture_shows_them_after_turns_and_zooms() -> None:
    """A bright spot on every landmark is looked up where the landmark is said to be afterwards."""
    size, count = 64, 32
    pixels = torch.zeros(count, 3, size, size)
    marks = torch.rand(count, 1, 2, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    for row, (x, y) in enumerate(marks[:, 0].tolist()):
        pixels[row, :, int(y * size) - 2 : int(y * size) + 3, int(x * size) - 2 : int(x * size) + 3] = 1
    found = jittered(turn=30, zoom=0.2)(Shots(pixels, None, marks), torch.Generator().manual_seed(1))
    assert found.landmarks is not None
    known = ~found.landmarks.isnan().any(-1)[:, 0]
    assert known.float().mean() > 0.8
    for row in known.nonzero().flatten().tolist():
        x, y = (found.landmarks[row, 0] * size).long().tolist()
        assert found.pixels[row, 0, min(y, size - 1), min(x, size - 1)] > 0.5
    moved = (found.landmarks - marks).abs().nan_to_num().amax((1, 2))
    assert (moved > 0.05).float().mean() > 0.3
    assert erased(1.0)(found, torch.Generator().manual_seed(2)).landmarks is found.landmarks


@dataclass(frozen=True)
class marked(toys):
    """Toys whose landmarks tell their picture's number."""

    mirror: Sequence[int] = ()

    def landmarks(self, pictures: Sequence[int]) -> Tensor:
        return torch.tensor([[[k / 100, 0.5], [0.9, 0.1]] for k in pictures])


def test_sources_carry_them(base: Any, rex: Subject) -> None:
    corpus = marked(individuals=4)
    batch = pairs(batch=3, references=2, target="same", corpus=corpus).prepare(base)(0, streams(0, 0))
    assert batch.landmarks is not None
    assert batch.references is not None
    assert batch.references.landmarks is not None
    assert batch.references.landmarks.shape == (3, 2, 2, 2)
    assert torch.equal(batch.references.landmarks[:, 0], batch.landmarks)  # the same picture
    assert torch.equal(batch.references.of([2]).landmarks, batch.references.landmarks[[2]])  # type: ignore[arg-type]
    one = captioned(batch=2, corpus=corpus).prepare(base)(0, streams(0, 0))
    assert one.landmarks is not None
    turned = pairs(batch=3, target="same", corpus=corpus, changes=(jittered(),)).prepare(base)(0, streams(0, 0))
    assert turned.references is not None
    assert not torch.equal(turned.references.landmarks[:, 0], turned.landmarks)  # type: ignore[index,arg-type]


def test_photos_flip_them_with_the_pictures(base: Any, rex: Subject) -> None:
    marks = torch.tensor([[[0.1, 0.5], [0.6, 0.5]]]).expand(len(rex.pictures), 2, 2)
    source = photos(rex, batch=8, flip=0.5, seen=True, landmarks=lambda base, subject: marks, mirror=(1, 0))
    batch, pixels = source.prepare(base)(0, streams(0, 0)), rex.tensor(base.picture_size)
    assert batch.landmarks is not None
    assert batch.references is not None
    straight = [any(torch.equal(shown, p) for p in pixels) for shown in batch.references.first]
    assert {True, False} == set(straight)
    for own, plain in zip(batch.landmarks, straight, strict=True):
        assert equal(own, marks[0] if plain else torch.tensor([[0.4, 0.5], [0.9, 0.5]]))
    assert torch.equal(batch.references.landmarks[:, 0], batch.landmarks)  # type: ignore[index]


def test_references_of_several_batches_keep_them_where_all_have_some() -> None:
    first = References(torch.zeros(1, 1, 3, 4, 4), landmarks=torch.zeros(1, 1, 2, 2))
    second = References(torch.zeros(2, 1, 3, 4, 4), landmarks=torch.ones(2, 1, 2, 2))

    def batch(references: References) -> Any:
        from limner.core.types import Batch

        return Batch(torch.zeros(len(references), 1), ("",) * len(references), references=references)

    both = joined_references([batch(first), batch(second)])
    assert both is not None
    assert both.landmarks is not None
    assert both.landmarks[:, 0, 0, 0].tolist() == [0, 1, 1]
    half = joined_references([batch(first), batch(References(torch.zeros(2, 1, 3, 4, 4)))])
    assert half is not None
    assert half.landmarks is None
