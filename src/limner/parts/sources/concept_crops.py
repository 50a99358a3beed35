"""Pictures of a style cut into crops of their concepts, each captioned by its concept (FineStyle, NeurIPS 2024)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from limner.core.recipe import Source
from limner.core.streams import stream
from limner.core.style_captions import content_of
from limner.core.types import Batch
from limner.errors import InputError
from limner.parts.encoders.captions import named_contents
from limner.parts.encoders.masks import LEAST

from .photos import check_latents

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams

AROUND = "a background"
"""Phrase for what a picture shows around its concept."""


class Concept(NamedTuple):
    """A concept of one picture."""

    pixels: Tensor  # [3, H, H] in [0, 1]: the whole picture
    mask: Tensor  # [1, H, H]: 1 where the concept is, else 0
    phrase: str  # words for it: "a dog"; empty where they are not known


def concept_crops(subject: Subject, *, crops: int = 8, batch: int = 4) -> Source:
    """Batches of crops around the concepts of a style's pictures; each counts on its concept alone, and its caption
    names that concept and the style.

    Concepts are found by `concepts_of`. A crop is a random square that holds the concept, from the smallest one to the
    whole picture. Crops are encoded once; every concept is drawn equally often.

    subject: the style, with the subjects beside it as parts
    crops: crops of each concept, 1 or more
    batch: crops in an update
    """
    if crops < 1:
        raise InputError(f"every concept needs at least one crop, not {crops}")

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch
        import torch.nn.functional as F

        concepts = concepts_of(base, subject)
        generator = stream(0, "concept crops", len(concepts), crops)
        cut = [cropped(concept, generator) for concept in concepts for _ in range(crops)]
        pixels, masks = (torch.stack(parts) for parts in zip(*cut, strict=True))
        with torch.no_grad():
            encoded = [base.encode(part) for part in pixels.split(16)]
        mean, deviation = (torch.cat(parts) for parts in zip(*encoded, strict=True))
        check_latents(mean, base)
        where = F.interpolate(masks, base.latent_shape[1:], mode="area")
        captions = [f"{concept.phrase} in {subject.handle}" for concept in concepts]

        def draw(step: int, at: Streams) -> Batch:
            which = torch.randint(len(concepts), (batch,), generator=at("concept"))
            rows = which * crops + torch.randint(crops, (batch,), generator=at("crop"))
            noise = torch.randn(batch, *mean.shape[1:], generator=at("latents")).to(mean)
            latents = (mean[rows] + deviation[rows] * noise).to(base.dtype)
            return Batch(latents, tuple(captions[k] for k in which.tolist()), mask=where[rows].to(latents))

        return draw

    return Source("concept crops", "subject", prepare)


def concepts_of(base: Base, subject: Subject) -> list[Concept]:
    """The concepts of a style's pictures, with phrases for all.

    They are the subjects beside the style, whose nouns name them and whose pictures have masks; else each picture's
    foreground, by its mask or the base's segmenter, and its background. The foreground's phrase is the content of the
    picture's caption, or else CLIP's name of it. A picture without a foreground is one concept. Raises `InputError`
    where there are neither masks nor a segmenter, for a part without masks, and where nothing names a concept.

    base: the base
    subject: the style, with the subjects beside it as parts
    """
    concepts = [concept for part in subject.beside for concept in _parts(base, part)] or _grounds(base, subject)
    unnamed = [k for k, concept in enumerate(concepts) if not concept.phrase]
    if unnamed:
        import torch

        shown = [cropped(concepts[k], stream(0, "names of concepts", k), tight=True)[0] for k in unnamed]
        for k, name in zip(unnamed, named_contents(base, torch.stack(shown)), strict=True):
            concepts[k] = concepts[k]._replace(phrase=name)
    return concepts


def _parts(base: Base, part: Subject) -> list[Concept]:
    """A part that the user named, in each of its pictures."""
    masks = part.masks(base.picture_size) if part.pictures else None
    if masks is None:
        raise InputError(
            f"{part.handle} is a part of the style's pictures, and not every one of its pictures has a mask: give a folder "
            f"with pictures of the style and masks that are white at the {part.noun} (NAME.mask.png)"
        )
    return [
        Concept(pixels, (mask > 0.5).float(), part.noun)
        for pixels, mask in zip(part.tensor(base.picture_size), masks, strict=True)
        if bool((mask > 0.5).any())
    ]


def _grounds(base: Base, subject: Subject) -> list[Concept]:
    """Foreground and background of each picture."""
    import torch

    pictures, masks = subject.tensor(base.picture_size), subject.masks(base.picture_size)
    if masks is None and base.segmenter is None:
        raise InputError(
            f"{base.name} has no segmenter, and this method cuts pictures by what they show: put a mask beside every "
            "picture (NAME.mask.png, white at its foreground), or make masks (--segment)"
        )
    if masks is None:
        assert base.segmenter is not None
        masks = base.segmenter(pictures)[:, None]
    concepts = []
    for picture, pixels, mask in zip(subject.pictures, pictures, (masks > 0.5).float(), strict=True):
        content = content_of(picture.caption, subject.handle)
        if float(mask.mean()) < LEAST:
            concepts.append(Concept(pixels, torch.ones_like(mask), content))
            continue
        concepts.append(Concept(pixels, mask, content))
        if float(1 - mask.mean()) >= LEAST:
            concepts.append(Concept(pixels, 1 - mask, AROUND))
    return concepts


def cropped(concept: Concept, generator: Generator, *, tight: bool = False) -> tuple[Tensor, Tensor]:
    """A square of the picture that holds the concept, at the picture's size: pixels [3, H, H] and mask [1, H, H].

    concept: the concept
    generator: draws size and place
    tight: whether it is the smallest such square
    """
    import torch
    import torch.nn.functional as F

    side = concept.pixels.shape[-1]
    rows, columns = (concept.mask[0].any(axis).nonzero().flatten() for axis in (1, 0))
    box = [(int(places[0]), int(places[-1]) + 1) for places in (rows, columns)]
    least = max(end - start for start, end in box)
    size, *at = torch.rand(3, generator=generator).tolist()
    wide = least if tight else least + int(size * (side - least + 1))
    corner = []
    for (start, end), share in zip(box, at, strict=True):
        first, last = max(0, end - wide), min(start, side - wide)
        corner.append(first + int(share * (last - first + 1)))
    (top, left), square = corner, slice(None)
    cut = (square, slice(top, top + wide), slice(left, left + wide))
    pixels = F.interpolate(concept.pixels[cut][None], (side, side), mode="bicubic", antialias=True)[0].clamp(0, 1)
    return pixels, F.interpolate(concept.mask[cut][None], (side, side), mode="area")[0]
