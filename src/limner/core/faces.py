"""Faces in pictures: the interface of networks for faces, and the result of a detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

FIVE = ("left eye", "right eye", "nose tip", "mouth left", "mouth right")
"""Landmarks that every detector for photographs marks. Left and right are the viewer's."""


@dataclass(frozen=True)
class FoundFace:
    """A face in a picture. Coordinates are pixels from the upper left corner."""

    box: tuple[float, float, float, float]  # left, top, right, bottom: forehead to chin, ear to ear
    points: tuple[tuple[float, float], ...] = ()  # x, y of the landmarks FIVE; empty where the detector marks none
    certainty: float = 1.0  # in [0, 1]

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def middle(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


class LandmarkDetector(Protocol):
    """Pictures [n, 3, H, W] in [0, 1] -> [n, K, 2]: x, y of the landmarks of the largest face in each, as shares of
    width and height; NaN for a picture without a face."""

    # K names of landmarks, FIVE among them
    @property
    def names(self) -> tuple[str, ...]: ...
    def __call__(self, pixels: Tensor) -> Tensor: ...


class FaceNetworks(Protocol):
    """Networks that find, recognise and mark faces. `limner.bases.common.faces.open_faces` opens some."""

    @property
    def name(self) -> str: ...

    # faces in a picture, from left to right
    def find(self, image: Image.Image) -> Sequence[FoundFace]: ...

    def embed(self, pixels: Tensor) -> Tensor:
        """Pictures [n, 3, H, W] in [0, 1] -> unit vectors [n, D] of the largest face in each, close for one person and
        far apart for two. Gradients pass. A picture without a face gives zeros."""
        ...

    @property
    def landmarks(self) -> LandmarkDetector | None: ...

    def age(self, image: Image.Image) -> str:
        """Apparent age of the largest face: "child", "adult" or "old"; empty where these networks do not estimate
        it."""
        ...
