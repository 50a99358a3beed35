"""Crops of one person's face from photographs: the face is detected, chosen among several, rotated upright and cut
out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from limner.errors import InputError, PictureError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from .faces import FaceNetworks, FoundFace

AROUND = 2.2
"""Side of the crop of head and shoulders, as a multiple of the face's height."""
LEAST_SQUARE = 96
"""Side of the smallest crop, in pixels."""
NEARLY = 0.8
"""Share of a picture's shorter side; a crop whose side would exceed it takes the whole shorter side."""
TINY = 20
"""Height and width, in pixels, below which a face has too little detail to learn from."""
TURNED = 0.5
"""Largest horizontal distance of the nose from the midpoint of the eyes, as a share of the distance between the eyes.
Beyond it, the head counts as turned away."""
LEVEL = 3.0
"""Largest slope of the line through the eyes, in degrees, at which the picture is not rotated."""
CLEAR = 0.1
"""Margin in mean cosine similarity by which the recurring person must exceed every other person."""


class Photograph(Protocol):
    """A picture of a subject: RGB, and its mask as "L" where it has one."""

    @property
    def name(self) -> str: ...
    @property
    def image(self) -> Image.Image | None: ...
    @property
    def mask(self) -> Image.Image | None: ...


class Cut(NamedTuple):
    """A face cut out of a photograph."""

    place: int  # number of the photograph among all
    image: Image.Image
    mask: Image.Image | None


@dataclass(frozen=True)
class _Shown:
    """A photograph with its usable faces."""

    index: int
    reference: Photograph
    image: Image.Image
    faces: tuple[FoundFace, ...]


def faces_alone(
    pictures: Sequence[Photograph], networks: FaceNetworks, *, which: int | None = None
) -> tuple[list[Cut], list[str]]:
    """Each picture's face in a square of head and shoulders, with the eyes level; and a line for each picture that is
    left out.

    Args:
        pictures: photographs of one person, alone or among others.
        networks: networks that find and recognise faces.
        which: the person's position from the left, counted from 1, in every picture that shows several; None takes the
            person who recurs.

    Raises:
        PictureError: no picture has a face that can be used.
        InputError: several people are shown, and it is not clear which one is meant.
    """
    shown, notes = [], []
    for index, picture in enumerate(pictures):
        if picture.image is None:
            raise PictureError(f"the pixels of {picture.name} are not in the concept's file; give its pictures again")
        faces = networks.find(picture.image)
        usable = tuple(face for face in faces if not _fault(face))
        if usable:
            shown.append(_Shown(index, picture, picture.image, usable))
        else:
            fault = _fault(faces[0]) if faces else "shows no face"
            notes.append(f"{picture.name} is left out: it {fault}")
    if not shown:
        raise PictureError(f"there is no face to learn from: {'; '.join(notes).replace(' is left out: it', '')}")
    chosen = _chosen(shown, networks, which)
    return [_cut(each, face) for each, face in zip(shown, chosen, strict=True)], notes


@dataclass(frozen=True)
class FacesSeen:
    """The faces that were found in a photograph, from left to right."""

    faces: tuple[FoundFace, ...]
    faults: tuple[str, ...]  # the reason why each cannot be learned from; empty for one that can
    chosen: int | None  # place of the person's face among them; None where none is taken


def faces_seen(
    pictures: Sequence[Photograph], networks: FaceNetworks, *, which: int | None = None
) -> tuple[list[FacesSeen], str]:
    """The faces in each picture, as `faces_alone` sees them, without cutting them out; and the reason why it is not
    clear which person is meant, empty where it is clear. The arguments are those of `faces_alone`."""
    detected = [tuple(networks.find(picture.image)) if picture.image is not None else () for picture in pictures]
    faults = [tuple(_fault(face) for face in faces) for faces in detected]
    shown = []
    for index, (picture, faces, whys) in enumerate(zip(pictures, detected, faults, strict=True)):
        usable = tuple(face for face, why in zip(faces, whys, strict=True) if not why)
        if usable and picture.image is not None:
            shown.append(_Shown(index, picture, picture.image, usable))
    chosen: dict[int, FoundFace] = {}
    unclear = ""
    try:
        chosen = {each.index: face for each, face in zip(shown, _chosen(shown, networks, which), strict=True)}
    except InputError as error:
        unclear = str(error)
    places = [
        next((k for k, face in enumerate(faces) if face is chosen.get(index)), None)
        for index, faces in enumerate(detected)
    ]
    return [FacesSeen(*each) for each in zip(detected, faults, places, strict=True)], unclear


def _fault(face: FoundFace) -> str:
    """The reason why a face is unsuitable for training; empty for a suitable one."""
    if min(face.height, face.width) < TINY:
        return (
            f"shows a face of {face.width:.0f} x {face.height:.0f} pixels, too small to learn from ({TINY} are needed)"
        )
    if face.points:
        (left, _), (right, _), (nose, _) = face.points[:3]
        apart = abs(right - left)
        if abs(nose - (left + right) / 2) > TURNED * max(apart, 0.12 * face.width):
            return "shows a head that is turned away"
    return ""


def _chosen(shown: Sequence[_Shown], networks: FaceNetworks, which: int | None) -> list[FoundFace]:
    several = [each for each in shown if len(each.faces) > 1]
    if not several:
        return [each.faces[0] for each in shown]
    if which is not None:
        few = next((each for each in several if not 1 <= which <= len(each.faces)), None)
        if few is not None:
            raise InputError(f"there is no person {which} in {few.reference.name}: {_choices(few)}")
        return [each.faces[which - 1] if len(each.faces) > 1 else each.faces[0] for each in shown]
    recurring = _recurring(shown, networks)
    if recurring is None:
        raise InputError(
            f"{several[0].reference.name} shows {len(several[0].faces)} people, and it is not clear which one is meant: "
            f"{_choices(several[0])}. Give which=1 (--which 1) for the first from the left, or give photographs of one "
            "person"
        )
    return recurring


def _choices(shown: _Shown) -> str:
    places = [f"{k} at {face.middle[0]:.0f}, {face.middle[1]:.0f}" for k, face in enumerate(shown.faces, 1)]
    return f"from the left, {'; '.join(places)} (pixels from the upper left)"


def _recurring(shown: Sequence[_Shown], networks: FaceNetworks) -> list[FoundFace] | None:
    """The face of the recurring person in each picture; None where nobody exceeds the others by CLEAR."""
    import torch

    if len(shown) < 2:
        return None
    vectors = [torch.cat([_embedded(each.image, face, networks) for face in each.faces]) for each in shown]
    best: list[tuple[float, tuple[int, ...]]] = []
    for home, rows in enumerate(vectors):
        for k, row in enumerate(rows):
            alike = [other @ row for other in vectors]
            picks = tuple(k if at == home else int(similarities.argmax()) for at, similarities in enumerate(alike))
            others = [float(similarities.max()) for at, similarities in enumerate(alike) if at != home]
            best.append((sum(others) / len(others), picks))
    best.sort(key=lambda each: -each[0])
    most, picks = best[0]
    strangers = [
        value
        for value, other in best
        if all(a != b or len(v) == 1 for a, b, v in zip(other, picks, vectors, strict=True))
    ]
    if strangers and most - strangers[0] < CLEAR:
        return None
    return [each.faces[k] for each, k in zip(shown, picks, strict=True)]


def _embedded(image: Image.Image, face: FoundFace, networks: FaceNetworks) -> Tensor:
    """[1, D]: the recogniser's vector of one face."""
    import torch

    from .pixels import to_tensor

    cut = image.crop(square_around(face, image.size))
    with torch.no_grad():
        return networks.embed(to_tensor([cut], cut.width))


def square_around(face: FoundFace, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom, in pixels, of the square of head and shoulders around a face, within a picture of
    `size` (width, height)."""
    side = round(max(AROUND * max(face.height, face.width), LEAST_SQUARE))
    side = min(size) if side > NEARLY * min(size) else side
    x, y = face.middle
    left = round(min(max(x - side / 2, 0), size[0] - side))
    top = round(min(max(y - side / 2, 0), size[1] - side))
    return left, top, left + side, top + side


def _cut(shown: _Shown, face: FoundFace) -> Cut:
    """The picture of one face: rotated so that its eyes are level, and cut to the square around it."""
    box, turn = square_around(face, shown.image.size), _roll(face)
    image, mask = (
        None if whole is None else _turned(whole, turn, face.middle).crop(box)
        for whole in (shown.image, shown.reference.mask)
    )
    assert image is not None
    if mask is not None and not sum(mask.histogram()[128:]):
        raise InputError(f"the mask of {shown.reference.name} does not cover the face that was found there")
    return Cut(shown.index, image, mask)


def _roll(face: FoundFace) -> float:
    """Degrees by which the line through the eyes falls to the right; 0 for less than LEVEL, and for 60 or more, which
    no upright head has."""
    if not face.points:
        return 0.0
    (x0, y0), (x1, y1) = face.points[:2]
    degrees = math.degrees(math.atan2(y1 - y0, x1 - x0))
    return degrees if LEVEL < abs(degrees) < 60 else 0.0


def _turned(image: Image.Image, degrees: float, around: tuple[float, float]) -> Image.Image:
    """The picture rotated about a point; corners that would be empty show its mirrored border."""
    import numpy as np
    from PIL import Image

    if not degrees:
        return image
    pad = max(image.size) // 2
    widths = ((pad, pad), (pad, pad), (0, 0))[: 2 + (image.mode == "RGB")]
    large = Image.fromarray(np.pad(np.asarray(image), widths, mode="symmetric"))
    turned = large.rotate(degrees, Image.Resampling.BICUBIC, center=(around[0] + pad, around[1] + pad))
    return turned.crop((pad, pad, pad + image.width, pad + image.height))
