"""Face networks of the pocket world: detection, landmarks, identity and age, by the networks of this edition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.core.faces import FIVE, FoundFace
from limner.pocket.world.faces import LANDMARKS

from . import SIZE, judges

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class PocketFaces:
    """The recogniser, the landmark detector and the judge. An edition without a landmark detector finds heads by the
    segmenter alone; an edition whose judge does not read faces takes every figure for a person."""

    encode: Callable[[str, Tensor], Tensor]  # (name of a network, pictures [n, 3, H, W]) -> its output, a row each
    name: str = "pocket"

    def embed(self, pixels: Tensor) -> Tensor:
        """[n, 3, H, W] in [0, 1] -> [n, 128] unit vectors. Gradients pass."""
        return self.encode("faces", pixels)

    @property
    def landmarks(self) -> PocketLandmarks | None:
        return PocketLandmarks(self.encode) if (judges.WEIGHTS / "landmarks.safetensors").is_file() else None

    def find(self, image: Image.Image) -> list[FoundFace]:
        """The faces of a picture, from the left: heads of the segmenter's figures, with landmarks where the edition has
        a detector."""
        pixels, square = _square(image)
        if judged(pixels).get("face") == "no":
            return []
        inside = judges.masks(pixels)[0].numpy() > 0.5
        boxes = [box for part in figures(inside) if (box := head(part)) is not None]
        scale = square[2] / SIZE
        return [self._marked(image, _moved(box, scale, square)) for box in boxes]

    def _marked(self, image: Image.Image, rough: tuple[float, float, float, float]) -> FoundFace:
        """The face in a rough box: its box and points by the landmark detector, which sees the portrait around it."""
        if self.landmarks is None:
            return FoundFace(rough)
        near = portrait_square(rough, image.size)
        pixels, _ = _square(image.crop(near))
        side = near[2] - near[0]
        points = self.landmarks(pixels)[0].numpy() * side + (near[0], near[1])
        (left, top), (right, bottom) = points.min(0), points.max(0)
        five = tuple((float(x), float(y)) for x, y in points[[LANDMARKS.index(name) for name in FIVE]])
        return FoundFace((float(left), float(top), float(right), float(bottom)), five)

    def age(self, image: Image.Image) -> str:
        """The age that the judge reads; empty where the edition's judge reads none."""
        return judged(_square(image)[0]).get("age", "")


@dataclass(frozen=True)
class PocketLandmarks:
    """Pictures [n, 3, H, W] in [0, 1] of one person each -> [n, 22, 2] as fractions of width and height. Gradients
    pass."""

    encode: Callable[[str, Tensor], Tensor]
    names: tuple[str, ...] = LANDMARKS

    def __call__(self, pixels: Tensor) -> Tensor:
        return self.encode("landmarks", pixels)


def judged(pixels: Tensor) -> dict[str, str]:
    """Field -> option that the judge reads on one picture [1, 3, SIZE, SIZE]; empty for an older judge, which was not
    trained on the people of this world."""
    fields = judges.read(pixels)[0]
    return fields if "age" in fields else {}


def portrait_square(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels of a square around a face, 2.2 times as large as it, inside the picture.

    box: (left, top, right, bottom) of the face, in pixels
    size: (width, height) of the picture, in pixels
    """
    left, top, right, bottom = box
    side = round(min(2.2 * max(bottom - top, right - left), *size))
    x = round(min(max((left + right) / 2 - side / 2, 0), size[0] - side))
    y = round(min(max((top + bottom) / 2 - side / 2, 0), size[1] - side))
    return x, y, x + side, y + side


def _square(image: Image.Image) -> tuple[Tensor, tuple[float, float, float]]:
    """The middle square of a picture as [1, 3, SIZE, SIZE], and its left, top and side in the picture's pixels."""
    from limner.core.pixels import to_tensor

    side = min(image.size)
    return to_tensor([image], SIZE), ((image.width - side) / 2, (image.height - side) / 2, float(side))


def _moved(
    box: tuple[float, float, float, float], scale: float, square: tuple[float, float, float]
) -> tuple[float, float, float, float]:
    left, top, _ = square
    return box[0] * scale + left, box[1] * scale + top, box[2] * scale + left, box[3] * scale + top


# -------------------------------------------------------------------------------------------------- figures and heads

NARROW = 0.72
"""Width of a figure, as a fraction of its head's, below which it is a neck."""
LEAST = 10
"""Least width and height of a head, in pixels of SIZE."""
ASIDE = 10
"""Largest distance of a head from the middle of its body, in pixels of SIZE."""


def figures(inside: Mask) -> list[Mask]:
    """Masks [SIZE, SIZE] of the figures in a mask, from the left; a mask whose upper half shows two heads is cut
    between them."""
    rows = np.flatnonzero(inside.any(1))
    if not len(rows):
        return []
    top, bottom = int(rows[0]), int(rows[-1])
    gaps = []
    for y in range(top, top + max(1, (bottom - top) // 2)):
        runs = [run for run in _runs(inside[y]) if run[1] - run[0] >= LEAST]
        if len(runs) == 2:
            gaps.append((runs[0][1] + runs[1][0]) / 2)
    if len(gaps) < 0.15 * (bottom - top):
        return [inside]
    cut = round(sorted(gaps)[len(gaps) // 2])
    left, right = inside.copy(), inside.copy()
    left[:, cut:], right[:, :cut] = False, False
    return [left, right]


def head(inside: Mask) -> tuple[float, float, float, float] | None:
    """The box of the face in one figure's mask: from below the hair to the neck, where the figure first narrows; the
    upper half of a figure without a neck. None for a mask without a part of a head's size."""
    if not inside.any():
        return None
    columns = inside[2 * inside.shape[0] // 3 :].nonzero()[1]
    # The middle of the body: raised hands are beside it.
    middle = float(np.median(columns if len(columns) else inside.nonzero()[1]))
    rows = [_near(row, middle) for row in inside]
    tall = [y for y, run in enumerate(rows) if run is not None and run[1] - run[0] >= 4]
    if not tall:
        return None
    top, widest, neck = tall[0], (0, 0), None
    for y in range(top, inside.shape[0]):
        run = rows[y] or (0, 0)
        if run[1] - run[0] > widest[1] - widest[0]:
            widest = run
        elif y - top > LEAST and run[1] - run[0] < NARROW * (widest[1] - widest[0]):
            neck = y
            break
    if neck is None:
        neck, widest = top + (tall[-1] - top) // 2, rows[top + (tall[-1] - top) // 4] or widest
    wide, high = widest[1] - widest[0], neck - top
    if wide < LEAST or high < LEAST:
        return None
    inner = min(wide, 0.95 * high) * 0.9  # without hair at both sides
    middle = (widest[0] + widest[1]) / 2
    return middle - inner / 2, top + 0.22 * high, middle + inner / 2, float(neck)


def _runs(row: Mask) -> list[tuple[int, int]]:
    """Start and end of every run of True values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _near(row: Mask, middle: float) -> tuple[int, int] | None:
    """The run of True values that is nearest to a column; None where the nearest is ASIDE or more away."""
    runs = [(max(a - middle, middle - b, 0.0), (a, b)) for a, b in _runs(row)]
    away, run = min(runs, default=(ASIDE, (0, 0)))
    return run if away < ASIDE else None
