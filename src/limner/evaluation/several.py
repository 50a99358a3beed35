"""Judge pictures of several subjects, toys or people of the pocket world: find each subject, and compute all measures
of `metrics.several`.

`judged_together` takes the pictures of one pair or triple. With given regions, a subject's place is the part of its
region that a toy covers; without, it is the part of the picture that shows the subject's class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from limner.core.pixels import to_tensor
from limner.errors import InputError
from limner.pocket import SIZE

from .measuring import Images, cut
from .metrics.several import colour_leakage, coloured_alike, consistency, leakage, likeness, own_identity, swapped

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.faces import FaceNetworks, FoundFace

    from .encoders import Encoder

SMALLEST = 0.005
"""Least share of the picture that a subject's place covers; below it, the subject counts as absent."""


@dataclass(frozen=True)
class Company:
    """Pictures of several subjects, with references and ground truth to judge them by."""

    nouns: tuple[str, ...]
    """Class nouns of the K subjects."""
    pictures: Images = field(repr=False)
    references: tuple[Images, ...] = field(repr=False)
    """Held-out real pictures of each subject alone, for K subjects."""
    alone: tuple[float, ...]
    """Likeness of each of the K subjects in painted pictures of itself alone."""
    truths: tuple[Mapping[str, str], ...] = ()
    """Field of the judge -> option that the prompt asks for, for each picture."""
    regions: tuple[Tensor, ...] = field(default=(), repr=False)
    """K masks [1, 1, h, w]: the region that was requested for each subject."""
    faces: FaceNetworks | None = field(default=None, repr=False)
    """Networks that find people's faces; a subject's place is then the face in its region. None for toys."""

    def __post_init__(self) -> None:
        count = len(self.nouns)
        if count < 2:
            raise InputError(f"there must be two subjects or more, not {count}")
        for name, values in (("references", self.references), ("scores alone", self.alone), ("regions", self.regions)):
            if values and len(values) != count:
                raise InputError(f"there are {count} subjects and {len(values)} {name}; expected one each")
        if not self.pictures or (self.truths and len(self.truths) != len(self.pictures)):
            raise InputError(
                f"there are {len(self.pictures)} pictures and {len(self.truths)} truths; expected one each"
            )
        if not self.regions and len(set(self.nouns)) < count:
            raise InputError(
                f"two of the subjects are of one class ({', '.join(self.nouns)}), so pictures do not tell which is "
                "which: give their regions"
            )


@dataclass(frozen=True)
class Together:
    """All measures of pictures of several subjects, by name."""

    values: Mapping[str, float]  # mean over the pictures that have a number
    each: Mapping[str, tuple[float, ...]] = field(repr=False)  # value of each picture; NaN where there is none

    @property
    def record(self) -> dict[str, Any]:
        """The measures as JSON values, with None for NaN."""
        each = {name: [_or_none(value) for value in values] for name, values in self.each.items()}
        return {"values": {name: _or_none(value) for name, value in self.values.items()}, "each": each}


def _or_none(value: float) -> float | None:
    return value if value == value else None


def judged_together(company: Company, encoder: Encoder) -> Together:
    """Compute all measures of pictures of several subjects.

    company: the pictures, their references and their ground truth
    encoder: an encoder that distinguishes individuals

    The measures are `identity`, `consistency` (share of the likeness alone), `leakage`, `colour_leakage`, `swapped`,
    `present` (every subject has a place), `relation` (the places are as the prompt's relation demands: see
    `standing_right`), the fields that the judge reads, such as `scene`, and `prompt` (subjects, relation and fields are
    all as the prompt asks).
    """
    import torch

    faces = company.faces
    places = subject_places(company.pictures, company.nouns, company.regions, faces=faces)
    pixels = to_tensor(company.pictures, SIZE)
    seen = _features(company.pictures, places, encoder, whole=faces is not None)
    pairs = list(zip(company.references, company.nouns, strict=True))
    shown = [subject_places(own, (noun,), faces=faces)[:, 0] for own, noun in pairs]
    real = [
        _features(own, masks[:, None], encoder, whole=faces is not None)[:, 0]
        for own, masks in zip(company.references, shown, strict=True)
    ]
    alike = likeness(seen, real)
    apart = torch.stack([likeness(own[:, None], real)[:, 0].mean(0) for own in real])
    colours = torch.cat(
        [
            coloured_alike(to_tensor(own, SIZE), masks[:, None])[:, 0].mean(0, keepdim=True)
            for own, masks in zip(company.references, shown, strict=True)
        ]
    )
    there = places.mean((2, 3)) > SMALLEST  # [N, K]
    measures = {
        "identity": (own_identity(alike) * there).mean(1),
        "consistency": (consistency(alike, torch.tensor(company.alone)) * there).nanmean(1),
        "leakage": leakage(alike, apart),
        "colour_leakage": colour_leakage(coloured_alike(pixels, places), colours),
        "swapped": swapped(alike),
        "present": there.all(1).float(),
        **_as_asked(pixels, company.truths, places),
    }
    if company.truths:
        measures["prompt"] = measures["prompt"] * measures["present"]
    each = {name: tuple(round(float(v), 4) for v in values) for name, values in measures.items()}
    numbers = {name: [value for value in values if value == value] for name, values in each.items()}
    means = {name: sum(own) / len(own) if own else float("nan") for name, own in numbers.items()}
    return Together({name: round(value, 4) for name, value in means.items()}, each)


def likeness_alone(
    images: Sequence[Image.Image],
    references: Images,
    noun: str,
    encoder: Encoder,
    *,
    faces: FaceNetworks | None = None,
) -> float:
    """Mean likeness of a subject to its real pictures, in pictures of itself alone; a picture without it counts as 0.

    images: painted pictures of the subject alone; it is cut out of them as in pictures of several subjects
    references: the subject's real pictures
    noun: its class noun
    encoder: an encoder that distinguishes individuals
    faces: networks that find a person's face; None for toys
    """
    return float(likenesses_alone(images, references, noun, encoder, faces=faces).mean())


def likenesses_alone(
    images: Sequence[Image.Image],
    references: Images,
    noun: str,
    encoder: Encoder,
    *,
    faces: FaceNetworks | None = None,
) -> Tensor:
    """[N] in [0, 1]: the likeness of each picture in `likeness_alone`."""
    whole = faces is not None
    shown, real = (subject_places(own, (noun,), faces=faces) for own in (images, references))
    known = _features(references, real, encoder, whole=whole)[:, 0]
    alike = likeness(_features(images, shown, encoder, whole=whole), [known])[:, 0, 0]
    return (alike * (shown.mean((1, 2, 3)) > SMALLEST)).clamp_min(0)


def likenesses_within(places: Tensor, images: Sequence[Image.Image], others: Images, encoder: Encoder) -> Tensor:
    """[N] in [0, 1]: cosine of each picture's features to those of another picture, both cut out by the same mask.

    places: masks [N, SIZE, SIZE] of 0 and 1
    images: N pictures
    others: N pictures to compare with
    encoder: an encoder that distinguishes individuals
    """
    import torch.nn.functional as F

    seen, real = (_features(own, places[:, None], encoder)[:, 0] for own in (images, others))
    return F.cosine_similarity(seen, real).clamp_min(0)


def subject_places(
    images: Sequence[Image.Image],
    nouns: Sequence[str],
    regions: Sequence[Tensor] = (),
    *,
    faces: FaceNetworks | None = None,
) -> Tensor:
    """[N, K, SIZE, SIZE] of 0 and 1: mask of each subject's place. A toy's pixel belongs to the region with the
    largest value there; without regions, to the most probable class.

    images: N pictures
    nouns: class nouns of the K subjects
    regions: K masks [1, 1, h, w]; empty for none
    faces: networks that find people's faces: a place is then the square around the largest face in its region; None
        for toys
    """
    import torch
    import torch.nn.functional as F

    from limner.pocket import judges

    if faces is not None:
        return torch.stack([_face_places(image, len(nouns), regions, faces) for image in images])
    pixels = to_tensor(images, SIZE)
    toys = judges.masks(pixels) > 0.5  # [N, H, W]
    if regions:
        own = torch.cat([F.interpolate(mask.float(), (SIZE, SIZE), mode="bilinear") for mask in regions], 1)
        own = own.expand(len(pixels), -1, -1, -1)
    else:
        own = F.interpolate(judges.places(pixels, nouns), (SIZE, SIZE), mode="bilinear")
    best = own == own.amax(1, keepdim=True)
    return (best & toys[:, None] & (own > 0)).float()


def _face_places(image: Image.Image, count: int, regions: Sequence[Tensor], faces: FaceNetworks) -> Tensor:
    """[K, SIZE, SIZE] of 0 and 1: the square around the largest face whose middle is in each region, or in the whole
    picture without regions; zeros where there is none."""
    import torch
    import torch.nn.functional as F

    places, factor = torch.zeros(count, SIZE, SIZE), SIZE / image.width
    masks = [F.interpolate(mask.float(), (SIZE, SIZE), mode="nearest")[0, 0] for mask in regions]
    seen = sorted(faces.find(image), key=lambda face: face.height)
    for k in range(count):
        for face in seen:
            x, y = (min(max(round(at * factor), 0), SIZE - 1) for at in face.middle)
            if masks and not masks[k][y, x] > 0.5:
                continue
            left, top, right, bottom = (round(edge * factor) for edge in _around(face, image))
            places[k] = 0
            places[k, top:bottom, left:right] = 1
    return places


HEAD = 1.8
"""Side of the square that a face is cut out with, as a multiple of the face's longer side: without a neighbour's."""


def _around(face: FoundFace, image: Image.Image) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the square around a face, within the picture, in its pixels."""
    half = min(HEAD * max(face.width, face.height), *image.size) / 2
    x, y = (min(max(at, half), size - half) for at, size in zip(face.middle, image.size, strict=True))
    return x - half, y - half, x + half, y + half


def _features(images: Sequence[Image.Image], places: Tensor, encoder: Encoder, *, whole: bool = False) -> Tensor:
    """[N, K, D]: features of each subject, cut out and centred, so that its place in the picture does not matter; with
    `whole`, of all that a place's square shows."""
    pairs = [(image, mask) for image, masks in zip(images, places, strict=True) for mask in masks]
    parts = [_square_of(image, mask) if whole else centred(cut(image, mask), mask) for image, mask in pairs]
    return encoder.pictures(parts).unflatten(0, places.shape[:2])


def _square_of(image: Image.Image, mask: Tensor) -> Image.Image:
    """The picture in a mask's box, resized to the picture's size; the whole picture for an empty mask."""
    from PIL import Image as Pictures

    rows, columns = (mask > 0.5).nonzero(as_tuple=True)
    if not len(rows):
        return image
    factor = image.width / mask.shape[1]
    edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    box = tuple(round(float(edge) * factor) for edge in edges)
    return image.crop(box).resize(image.size, Pictures.Resampling.BICUBIC)  # type: ignore[arg-type]  # four edges


AROUND = 1.3
"""Side of the square that a subject is cut out with, as a multiple of the longer side of its place."""


def centred(image: Image.Image, mask: Tensor) -> Image.Image:
    """The square around a mask [h, w], resized to the picture's size; the whole picture for an empty mask."""
    from PIL import Image as Pictures

    from .measuring import GREY

    rows, columns = (mask > 0.5).nonzero(as_tuple=True)
    if not len(rows):
        return image
    factor = image.width / mask.shape[1]
    left, right = float(columns.min()) * factor, (float(columns.max()) + 1) * factor
    top, bottom = float(rows.min()) * factor, (float(rows.max()) + 1) * factor
    half = AROUND * max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    side = max(round(2 * half), 1)
    square = Pictures.new("RGB", (side, side), GREY)
    square.paste(image, (-round(x - half), -round(y - half)))
    return square.resize(image.size, Pictures.Resampling.BICUBIC)


def standing_right(places: Tensor, relation: str) -> float:
    """1 where the places of the first two subjects are as their relation demands, 0 where they are not, NaN for a
    relation that places do not determine.

    places: masks [K, H, W] of the subjects' places
    relation: relation of the first subject to the second

    A subject on, inside or under another is above or below it and shares half of the narrower width with it. The other
    relations are side by side, with the first subject on the left, except for "behind": it is then on the right, with a
    higher foot. A towering subject is 1.4 times as tall. The rules are those by which the pocket world places its toys.
    """
    boxes = [box_of(mask) for mask in places[:2]]
    if None in boxes:
        return 0.0
    (left, top, right, bottom), (left2, top2, right2, bottom2) = boxes  # type: ignore[misc]  # none is None
    x, y, x2, y2 = (left + right) / 2, (top + bottom) / 2, (left2 + right2) / 2, (top2 + bottom2) / 2
    across = min(right, right2) - max(left, left2)
    stacked = across > 0.5 * min(right - left, right2 - left2)
    beside = abs(x - x2) > abs(y - y2)
    match relation:
        case "on" | "upside down on" | "inside":
            return float(y < y2 and stacked)
        case "under":
            return float(y > y2 and stacked)
        case "towering over":
            return float(x < x2 and bottom - top > 1.4 * (bottom2 - top2))
        case "next to" | "facing" | "chasing" | "back to back with":
            return float(x < x2 and beside)
        case "in front of":
            return float(x < x2 and bottom > bottom2)
        case "behind":
            return float(x > x2 and bottom < bottom2)
        case _:
            return float("nan")


def box_of(mask: Tensor) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of a place [H, W], without its outermost hundredth on each side; None for an empty
    place."""
    import torch

    rows, columns = (mask > 0.5).nonzero(as_tuple=True)
    if not len(rows):
        return None
    ends = torch.tensor([0.01, 0.99])
    (left, right), (top, bottom) = (torch.quantile(at.float(), ends).tolist() for at in (columns, rows))
    return left, top, right, bottom


def _as_asked(pixels: Tensor, truths: Sequence[Mapping[str, str]], places: Tensor) -> dict[str, Tensor]:
    """Whether each picture is as its prompt asks: field -> [N] of 0 and 1, NaN where the prompt does not ask for it;
    and `prompt`, 1 where every field is right. The relation is read from places, every other field by the judge."""
    import torch

    from .truth import fields_right

    if not truths:
        return {}
    right = fields_right(pixels, [{f: o for f, o in truth.items() if f != "relation"} for truth in truths])
    if any("relation" in truth for truth in truths):
        relations = [standing_right(own, truth.get("relation", "")) for own, truth in zip(places, truths, strict=True)]
        right["relation"] = torch.tensor(relations)
    every = torch.stack(list(right.values())) if right else torch.ones(1, len(truths))
    return {**right, "prompt": (every.nan_to_num(1.0) == 1).all(0).float()}
