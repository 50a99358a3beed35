"""Encoders of faces: a person's embedding and the landmarks of pictures, computed by the base's own networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limner.core.faces import FIVE
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


def face_embedding(base: Base, pixels: Tensor) -> Tensor:
    """[n, D]: unit embeddings of the largest face of each picture; zeros where there is no face.

    Embeddings of one person are near each other, those of two people far apart. Gradients pass to the pixels unless the
    caller switches them off. Raises `InputError` where the base has no face recogniser.

    base: the base, with a face recogniser
    pixels: [n, 3, H, W] in [0, 1]
    """
    embeddings: Tensor = _encoder(base, "face")(pixels)
    return embeddings


def face_landmarks(base: Base, pixels: Tensor) -> Tensor:
    """[n, K, 2]: x and y of the landmarks of each picture's largest face, as shares of width and height; NaN without a
    face.

    Landmarks are in the order of `landmark_names(base)`. Raises `InputError` where the base has no landmark detector.

    base: the base, with a landmark detector
    pixels: [n, 3, H, W] in [0, 1]
    """
    landmarks: Tensor = _encoder(base, "landmarks")(pixels)
    return landmarks


def face_points(base: Base, pixels: Tensor) -> Tensor:
    """[n, 5, 2]: five of `face_landmarks`, named from the viewer: left eye, right eye, nose tip, left and right mouth
    corner.

    base: the base, with a landmark detector
    pixels: [n, 3, H, W] in [0, 1]
    """
    names = landmark_names(base)
    return face_landmarks(base, pixels)[:, [names.index(name) for name in FIVE]]


def landmark_names(base: Base) -> tuple[str, ...]:
    """Names of the landmarks that the base's detector marks, in its order.

    base: the base, with a landmark detector
    """
    _encoder(base, "landmarks")
    faces = base.capabilities.faces
    return faces.landmarks.names if faces is not None and faces.landmarks is not None else FIVE


def _encoder(base: Base, role: str) -> Any:
    known = base.encoders
    if role in known:
        return known[role]
    what = {"face": "recogniser of faces", "landmarks": "landmark detector"}[role]
    if base.capabilities.faces is not None:
        raise InputError(
            f"the networks of faces that come with {base.name} ({base.capabilities.faces.name}) have no {what}"
        )
    raise InputError(
        f"{base.name} comes with no {what}: open it with faces=FOLDER (--faces FOLDER), a folder with facenet-pytorch's or "
        "insightface's models"
    )
