"""Networks of faces for tests: a face is a square of one of PEOPLE's colours with black eyes, a nose and a mouth on
grey."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from limner.core.faces import FIVE, FoundFace

PEOPLE = ((220, 60, 60), (60, 200, 80), (70, 90, 230))
"""The colour of each person's face."""
_POINTS = ((0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.8), (0.65, 0.8))


def photograph(
    *people: tuple[int, int, int], size: tuple[int, int] = (400, 300), profile: bool = False, roll: float = 0.0
) -> Image.Image:
    """A picture of (who, left, side of the face): one of PEOPLE, pixels, pixels."""
    image = Image.new("RGB", size, (128, 128, 128))
    for who, left, side in people:
        face = Image.new("RGB", (side, side), PEOPLE[who])
        draw = ImageDraw.Draw(face)
        for k, (x, y) in enumerate(_POINTS):
            x = 0.97 if profile and k == 2 else x
            r = max(1.0, side * 0.04)
            draw.ellipse((x * side - r, y * side - r, x * side + r, y * side + r), fill=(10 * k, 0, 0))
        image.paste(face, (left, size[1] // 3))
    return image.rotate(-roll, Image.Resampling.NEAREST, fillcolor=(128, 128, 128))


class PaintedFaces:
    name = "painted"

    def find(self, image: Image.Image) -> list[FoundFace]:
        array = np.asarray(image.convert("RGB")).astype(int)
        found = []
        for colour in PEOPLE:
            rows, columns = np.nonzero((np.abs(array - colour) < 25).all(-1))
            if len(rows) < 16:
                continue
            box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
            found.append(FoundFace(box, self._points(array, box)))
        return sorted(found, key=lambda face: face.box[0])

    def _points(self, array: np.ndarray, box: tuple[float, float, float, float]) -> tuple[tuple[float, float], ...]:
        left, top, right, bottom = (round(x) for x in box)
        inside = array[top:bottom, left:right]
        found = []
        for k in range(5):
            rows, columns = np.nonzero((np.abs(inside - (10 * k, 0, 0)) < 4).all(-1))
            if not len(rows):
                return ()
            found.append((float(columns.mean()) + left, float(rows.mean()) + top))
        return tuple(found)

    def embed(self, pixels: Tensor) -> Tensor:
        """How near the picture is to each person's colour, where it is one of them."""
        colours = torch.tensor(PEOPLE).to(pixels) / 255
        apart = (pixels[:, None] - colours[None, :, :, None, None]).square().sum(2)
        near = torch.exp(-apart / 0.02).flatten(2).mean(-1)
        return F.normalize(near, dim=-1)

    @property
    def landmarks(self) -> PaintedFaces:
        return self

    names = FIVE

    def __call__(self, pixels: Tensor) -> Tensor:
        from limner.core.pixels import to_images

        rows = []
        for image in to_images(pixels):
            faces = self.find(image)
            points = faces[0].points if faces and faces[0].points else ((float("nan"),) * 2,) * 5
            rows.append([[x / image.width, y / image.height] for x, y in points])
        return torch.tensor(rows).to(pixels)

    def age(self, image: Image.Image) -> str:
        """Small faces are children's."""
        faces = self.find(image)
        return "" if not faces else "child" if faces[0].height < 60 else "adult"


def networks() -> PaintedFaces:
    return PaintedFaces()
