"""Faces as encoders: the person's embedding and the landmarks of pictures, through the base's own networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limner.core.faces import FIVE
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


def face_embedding(base: Base, pixels: Tensor) -> Tensor:
    """[n, 3, H, W] in [0, 1] -> [n, D]: unit vectors of the largest face of each picture, near for one person and far for two; zeros
    where there is no face. Gradients pass to the pixels where a caller has them on. Raises `InputError` where the base has no
    recogniser of faces."""
    found: Tensor = _encoder(base, "face")(pixels)
    return found


def face_landmarks(base: Base, pixels: Tensor) -> Tensor:
    """[n, 3, H, W] in [0, 1] -> [n, K, 2]: x, y of the landmarks of each picture's largest face, as shares of width and height, in the
    order of `landmark_names(base)`; -1 where there is no face. Raises `InputError` where the base has no landmark detector."""
    found: Tensor = _encoder(base, "landmarks")(pixels)
    return found


def face_points(base: Base, pixels: Tensor) -> Tensor:
    """[n, 3, H, W] in [0, 1] -> [n, 5, 2]: as `face_landmarks`, the viewer's left eye, right eye, nose tip, mouth left and mouth right
    alone."""
    names = landmark_names(base)
    return face_landmarks(base, pixels)[:, [names.index(name) for name in FIVE]]


def landmark_names(base: Base) -> tuple[str, ...]:
    """Names of the landmarks that the base's detector marks, in its order."""
    _encoder(base, "landmarks")
    faces = base.capabilities.faces
    return faces.landmarks.names if faces is not None and faces.landmarks is not None else FIVE


def _encoder(base: Base, role: str) -> Any:
    known = base.encoders
    if role in known:
        return known[role]
    what = {"face": "recogniser of faces", "landmarks": "landmark detector"}[role]
    if base.name == "pocket":
        raise InputError(f"this edition of the pocket base ships no {what}; `make pocket` trains one")
    raise InputError(
        f"{base.name} comes with no {what}: open it with faces=FOLDER (--faces FOLDER), a folder with facenet-pytorch's or insightface's models"
    )
