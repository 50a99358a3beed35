"""Measure pictures with every metric; each result records how it was computed, or why there is no number."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.errors import InputError
from limner.pocket import SIZE

from . import metrics as _metrics
from .encoders import Encoders

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.capabilities import Segmenter

Images: TypeAlias = "tuple[Image.Image, ...]"
Segment: TypeAlias = "Callable[[Sequence[Image.Image]], Tensor]"
"""Pictures -> masks [N, h, w] of the subject, in [0, 1]."""

GREY = (128, 128, 128)


@dataclass(frozen=True)
class Album:
    """Pictures of one subject and the evidence to score them by. An empty field makes a gap, never a zero."""

    noun: str
    pictures: Images = field(repr=False)
    canonical: tuple[str, ...]  # the prompt of each picture, with the class noun for the handle
    base: Images = field(default=(), repr=False)  # the base's pictures for the same prompts and seeds
    training: Images = field(default=(), repr=False)
    held_out: Images = field(default=(), repr=False)
    gallery: Images = field(default=(), repr=False)
    real: Images = field(default=(), repr=False)
    before: Images = field(default=(), repr=False)
    after: Images = field(default=(), repr=False)
    descriptions: tuple[str, ...] = ()  # canonical, with the subject's looks for the class noun
    kind: str = "object"  # kind of the subject
    answers: Images = field(default=(), repr=False)  # a ground-truth render for each picture

    def __post_init__(self) -> None:
        count = len(self.pictures)
        if not count:
            raise InputError("there are no pictures to score")
        for name, values in (
            ("canonical prompts", self.canonical),
            ("descriptions", self.descriptions or self.canonical),
        ):
            if len(values) != count:
                raise InputError(f"there are {count} pictures and {len(values)} {name}; expected one each")
        if self.base and len(self.base) != count:
            raise InputError(
                f"there are {count} pictures and {len(self.base)} of the base; expected one each, same order"
            )
        if len(self.before) != len(self.after):
            raise InputError(
                f"there are {len(self.before)} pictures before and {len(self.after)} after; expected pairs"
            )
        for name in ("pictures", "base", "training", "held_out"):
            for k, image in enumerate(getattr(self, name)):
                if image.width < 8 or image.height < 8:
                    raise InputError(
                        f"picture {k} of {name} is {image.width} x {image.height} pixels: too small to judge"
                    )

    @property
    def references(self) -> Images:
        """The held-out reference images, or the training images where none are held out."""
        return self.held_out or self.training

    @property
    def policy(self) -> str:
        return "held-out references" if self.held_out else "training references (these overestimate)"

    @cached_property
    def groups(self) -> list[int]:
        """Number of the prompt of each picture."""
        numbers = {p: k for k, p in enumerate(dict.fromkeys(self.canonical))}
        return [numbers[p] for p in self.canonical]


@dataclass(frozen=True)
class Measured:
    """One metric of one album. `value` is None where it could not be measured; `gap` says why."""

    id: str
    value: float | None
    each: tuple[float, ...] = ()
    better: str = ""
    encoder: str = ""
    weights: str = ""
    preprocessing: str = ""
    references: str = ""
    text: str = ""
    gap: str = ""

    @property
    def record(self) -> dict[str, Any]:
        """The result as JSON values, without empty fields."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if v not in ("", ())}


def measure(
    album: Album,
    encoders: Encoders,
    *,
    only: Sequence[str] = (),
    segment: Segment | None = None,
) -> dict[str, Measured]:
    """Compute metrics; returns them by name.

    album: the pictures, and the evidence to score them by
    encoders: encoders by role
    only: names of the metrics to compute; empty for all
    segment: finds the subject's mask, for masked metrics; None leaves these as gaps

    A metric without its encoder or evidence is a gap. Raises `UnknownName` for a metric that does not exist.
    """
    from limner.errors import UnknownName

    known = _metrics.metrics()
    for name in only:
        if name not in known:
            raise UnknownName("metric", name, known)
    sight = _Sight(album, encoders, segment)
    return {name: _measured(known[name], sight) for name in (only or known)}


def _measured(metric: _metrics.Metric, sight: _Sight) -> Measured:
    card = _metrics.card(metric)
    encoder = sight.encoders.get(card.encoder)
    wanted = _metrics.evidence(metric)
    if encoder is None:
        return Measured(card.id, None, better=card.better, gap=f"no encoder is given for the role {card.encoder!r}")
    about: dict[str, Any] = {"better": card.better, **encoder.about}
    if "references" in wanted:
        about["references"] = sight.album.policy
    if "texts" in wanted:
        about["text"] = "canonical: the class noun for the handle"
    try:
        values = metric(**{name: sight.evidence(name, card) for name in wanted})
    except _Missing as gap:
        return Measured(card.id, None, gap=str(gap), **about)
    except InputError as error:
        return Measured(card.id, None, gap=str(error), **about)
    if not bool(values.isfinite().all()):
        return Measured(
            card.id, None, gap="the metric gave values that are not numbers: look for broken pictures", **about
        )
    each = tuple(round(float(v), 5) for v in values) if values.ndim else ()
    return Measured(card.id, round(float(values.mean()), 5), each, **about)


class _Missing(Exception):
    """Evidence that the album does not hold."""


class _Sight:
    """Features of an album's pictures and texts; each subject's mask is computed once."""

    def __init__(self, album: Album, encoders: Encoders, segment: Segment | None) -> None:
        self.album, self.encoders, self.segment = album, encoders, segment
        self._masks: dict[str, Tensor] = {}

    def evidence(self, name: str, card: _metrics.Card) -> Tensor:
        import torch

        encoder = self.encoders[card.encoder]
        match name:
            case "groups":
                return torch.tensor(self.album.groups)
            case "texts":
                return encoder.texts(self.album.canonical)
            case "plain_text":
                return encoder.texts([f"a photo of a {self.album.noun}"])[0]
            case "described_texts":
                if not self.album.descriptions:
                    raise _Missing("the subject's looks are not known in words")
                return encoder.texts(self.album.descriptions)
            case "logits":
                return encoder.pictures(self.album.pictures)
        around = name.endswith("_background")
        images: Images = getattr(self.album, name.removesuffix("_background"))
        if not images:
            raise _Missing(_WHY.get(name.removesuffix("_background"), f"there are no pictures for {name!r}"))
        if around or card.masked:
            images = self._cut(name.removesuffix("_background"), images, around=around)
        return encoder.pictures(images)

    def _cut(self, name: str, images: Images, *, around: bool) -> Images:
        if self.segment is None:
            raise _Missing("no segmenter is given to find the subject's mask: give a segmenter or masks")
        if name not in self._masks:
            self._masks[name] = self.segment(images)
        masks = self._masks[name]
        return tuple(cut(i, 1 - m if around else m) for i, m in zip(images, masks, strict=True))


_WHY = {
    "base": "the base's pictures for the same prompts are missing",
    "training": "the training pictures are missing",
    "held_out": "no reference image was held out from training",
    "references": "there are no real pictures of the subject",
    "gallery": "there are no real pictures of other individuals of the class",
    "real": "there are no real pictures to compare the set with",
    "answers": "ground-truth renders of the prompts are missing",
    "before": "no prompts without the subject were painted",
    "after": "no prompts without the subject were painted",
}


def cut(image: Image.Image, mask: Tensor) -> Image.Image:
    """The picture inside the mask [h, w], grey elsewhere."""
    from PIL import Image

    alpha = Image.fromarray((mask.clamp(0, 1) * 255).round().byte().numpy()).resize(
        image.size, Image.Resampling.BILINEAR
    )
    return Image.composite(image.convert("RGB"), Image.new("RGB", image.size, GREY), alpha)


def pocket_masks(images: Sequence[Image.Image]) -> Tensor:
    """[N, SIZE, SIZE] of 0 and 1: masks of toys by the pocket segmenter, thresholded at 0.5."""
    from limner.pocket import judges

    return masks_by(judges.masks, SIZE, images)


def masks_by(segmenter: Segmenter, size: int, images: Sequence[Image.Image]) -> Tensor:
    """[N, size, size] of 0 and 1: masks by a segmenter, thresholded at 0.5.

    segmenter: pictures -> probability of the subject at each pixel
    size: side to which pictures are resized, in pixels
    images: N pictures
    """
    from limner.core.pixels import to_tensor

    return (segmenter(to_tensor(images, size)) > 0.5).float()


def segment_of(base: Base) -> Segment | None:
    """The base's segmenter as a `Segment`; None for a base without one."""
    return functools.partial(masks_by, base.segmenter, base.picture_size) if base.segmenter else None


def values(measured: Mapping[str, Measured]) -> dict[str, float]:
    """Name -> value, for metrics that have one."""
    return {name: m.value for name, m in measured.items() if m.value is not None}
