"""Faces in pictures: what a network of faces offers, and where a face was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

FIVE = ("left eye", "right eye", "nose tip", "mouth left", "mouth right")
"""Landmarks that every detector of photographs marks. Left and right are the viewer's."""


@dataclass(frozen=True)
class FoundFace:
    """A face of a picture, in pixels from its upper left corner."""

    box: tuple[float, float, float, float]  # left, top, right, bottom: forehead to chin, ear to ear
    points: tuple[tuple[float, float], ...] = ()  # x, y of FIVE, where the detector marks them
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
    """Pictures [n, 3, H, W] in [0, 1] -> [n, K, 2]: x, y of the landmarks of each one's largest face, as shares of width and height;
    of a picture without a face, all -1."""

    @property
    def names(self) -> tuple[str, ...]: ...  # K, among them FIVE
    def __call__(self, pixels: Tensor) -> Tensor: ...


class FaceNetworks(Protocol):
    """Networks that find, recognise and mark faces. `limner.bases.common.faces.open_faces` opens some."""

    @property
    def name(self) -> str: ...

    def find(self, image: Image.Image) -> Sequence[FoundFace]: ...  # from the left

    def embed(self, pixels: Tensor) -> Tensor:
        """Pictures [n, 3, H, W] in [0, 1] -> unit vectors [n, D] of each one's largest face, near for one person and far for two.
        Gradients pass. A picture without a face gives zeros."""
        ...

    @property
    def landmarks(self) -> LandmarkDetector | None: ...

    def age(self, image: Image.Image) -> str:
        """ "child", "adult" or "old": how the largest face looks; empty where these networks cannot tell."""
        ...
