"""Judge pictures of a relation or action: what is read in them, which subjects are there, and which should not be."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limner.core.pixels import to_tensor
from limner.pocket import SIZE

from .datasets.meanings import renders
from .encoders import pocket_encoders
from .metrics.copying import copy_index
from .several import SMALLEST, standing_right, subject_places
from .suites import as_values
from .truth import fields_right

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from .datasets.meanings import MeaningCase


LEAKED = 0.3
"""Least share of all that toys cover which a class of the reference images covers where it has leaked."""


def judged_meanings(case: MeaningCase, images: Sequence[Image.Image], seeds: int) -> dict[str, Any]:
    """The fields `values` and `each` of a unit; a measure that does not apply to the kind of meaning is NaN.

    case: the relation or action
    images: pictures ordered by prompt, `seeds` of each
    seeds: number of pictures of a prompt
    """
    import torch

    from limner.pocket.world.vocabulary import CLASSES

    rows = [k for k in range(len(case.prompts)) for _ in range(seeds)]
    pixels, dino = to_tensor(images, SIZE), pocket_encoders()["dino"]
    places = subject_places(images, CLASSES)  # [N, classes, H, W]
    covered = places.mean((2, 3))  # [N, classes]
    there, shares = covered > SMALLEST, covered / covered.sum(1, keepdim=True).clamp_min(1e-6)
    asked_classes = [[CLASSES.index(kind) for kind in case.asked_classes[k]] for k in rows]
    examples = [CLASSES.index(kind) for kind in case.example_classes]
    read = fields_right(pixels, [{case.kind: case.word, "scene": case.prompts[k].truth["scene"]} for k in rows])
    measures = {
        "meaning": torch.tensor([float(word == case.word) for word in read_by_renders(case, images, seeds)]),
        "judge": read.get(case.kind, torch.full((len(images),), float("nan"))),
        "places": _placed(places, asked_classes, case.word if case.kind == "relation" else ""),
        "subjects": torch.tensor([float(row[own].all()) for row, own in zip(there, asked_classes, strict=True)]),
        "leakage": (shares[:, examples] > LEAKED).any(1).float(),
        "scene": read["scene"],
    }
    measures["prompt"] = measures["meaning"] * measures["subjects"] * measures["scene"]
    features = [dino.pictures(shown) for shown in (images, case.references, case.held_out)]
    measures["copy_index"] = copy_index(*features)
    return as_values({name: values.tolist() for name, values in measures.items()})


def _placed(places: Tensor, asked_classes: Sequence[Sequence[int]], relation: str) -> Tensor:
    """[N]: whether the subjects' places are as the relation demands; NaN for an action."""
    import torch

    if not relation:
        return torch.full((len(places),), float("nan"))
    pairs = zip(places, asked_classes, strict=True)
    return torch.tensor([standing_right(row[list(pair)], relation) for row, pair in pairs])


def read_by_renders(case: MeaningCase, images: Sequence[Image.Image], seeds: int) -> list[str]:
    """The word of the world that each picture shows: that whose renders of the same prompt, with the same toys in the
    same scene, are nearest on average.

    case: the relation or action
    images: pictures ordered by prompt, `seeds` of each
    seeds: number of pictures of a prompt
    """
    words = []
    for number in range(len(case.prompts)):
        options, rendered = _rendered(case.kind, case.split, number)
        near = features_of(images[number * seeds : (number + 1) * seeds]) @ rendered.mT  # [words, seeds, renders]
        words += [options[k] for k in near.mean(2).argmax(0).tolist()]
    return words


@functools.lru_cache(maxsize=64)
def _rendered(kind: str, split: str, number: int) -> tuple[tuple[str, ...], Tensor]:
    """The words, and the features [words, renders, D] of a prompt's renders with each."""
    import torch

    pictures = renders(kind, split, number)
    return tuple(pictures), torch.stack([features_of(own) for own in pictures.values()])


GRID = 32
"""Side in cells of the square that a silhouette is reduced to."""


def features_of(images: Sequence[Image.Image]) -> Tensor:
    """[N, D]: the silhouette of all toys in each picture, and the judge's features, with equal weight. The product of
    two rows is the sum of two cosines."""
    import torch
    from torch.nn.functional import normalize

    from limner.pocket import judges

    masks = (judges.masks(to_tensor(images, SIZE)) > 0.5).float()
    seen = normalize(pocket_encoders()["judge"].pictures(images), dim=-1)
    return torch.cat([silhouettes(masks), seen], -1)


def silhouettes(masks: Tensor) -> Tensor:
    """[N, GRID²] unit vectors of mean 0: each mask [H, W] of 0 and 1, cut to the square around it; zeros for an empty
    one. Neither the place nor the size of what is masked matters."""
    import torch
    import torch.nn.functional as F

    squares = []
    for mask in masks:
        rows, columns = (mask > 0).nonzero(as_tuple=True)
        if not len(rows):
            squares.append(torch.zeros(GRID * GRID))
            continue
        inside = mask[int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1]
        high, wide = inside.shape
        top, left = (max(high, wide) - high) // 2, (max(high, wide) - wide) // 2
        rest = (left, max(high, wide) - wide - left, top, max(high, wide) - high - top)
        square = F.interpolate(F.pad(inside, rest)[None, None], (GRID, GRID), mode="area").flatten()
        squares.append(square - square.mean())
    return F.normalize(torch.stack(squares), dim=-1)
