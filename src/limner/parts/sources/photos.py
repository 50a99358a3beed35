"""Batches of the subject's own pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from limner.core.landmarks import mirrored
from limner.core.recipe import Source
from limner.core.types import Batch, References
from limner.core.views import move_between
from limner.errors import TeachingError
from limner.parts.encoders.captions import template

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams

Masks: TypeAlias = "Callable[[Base, Subject], Tensor]"
"""Base and subject -> masks of the subject [n, 1, H, W] in [0, 1]."""

Landmarks: TypeAlias = "Callable[[Base, Subject], Tensor]"
"""Landmarks of every picture: [n, K, 2] as shares of its width and height; NaN where unknown."""

Estimate: TypeAlias = "Callable[[Base, Tensor], Tensor]"
"""A condition computed from pictures: pixels [n, 3, H, W] in [0, 1] -> [n, 1 or 3, H, W] in [0, 1]."""

Describe: TypeAlias = "Callable[[Base, Subject], Sequence[str]]"
"""A caption for every picture, with {} for the subject."""

Recaption: TypeAlias = "Callable[[int, str], str]"
"""Number of a picture and the user's caption of it -> the caption to train with, with {} for the subject."""

PHOTO_TEMPLATES = (
    "a photo of {}",
    "a picture of {}",
    "a close-up photo of {}",
    "a bright photo of {}",
    "a good photo of {}",
    "a photo of one {}",
)
"""Neutral captions; those of Textual Inversion are of this kind (Appendix of arXiv:2208.01618)."""

FACE_TEMPLATES = (
    "a photo of {}",
    "a portrait of {}",
    "a photo of the face of {}",
    "a close-up of {}",
    "a picture of {}",
)
"""Neutral captions of pictures of faces."""


def photos(
    subject: Subject,
    *,
    captions: Sequence[str] = ("a photo of {}",),
    batch: int = 4,
    flip: float = 0.0,
    seen: bool | Literal["all"] = False,
    masks: Masks | None = None,
    outside: float = 0.0,
    cut: bool = False,
    packed: int = 1,
    describe: Describe | None = None,
    recaption: Recaption | None = None,
    landmarks: Landmarks | None = None,
    mirror: Sequence[int] = (),
    conditions: Mapping[str, Estimate] = MappingProxyType({}),
    moves: bool = False,
    drop_image: float = 0.0,
    drop_text: float = 0.0,
    name: str = "photos",
) -> Source:
    """Batches of the subject's pictures, captioned from templates with the handle, or with their own captions.

    Pictures are drawn without replacement within a batch as far as they go. Latents are encoded once and sampled again
    from their distribution at every step. Raises `TeachingError` for latents that are not finite.

    subject: the subject
    captions: templates with {} for the handle
    batch: pictures in an update
    flip: probability of mirroring, from 0 to 1
    seen: whether each picture is its own reference; "all" gives every row all pictures, as while sampling
    masks: base and subject -> [n, 1, H, W] in [0, 1], where the loss counts; None counts everywhere
    outside: weight of the loss outside of the masks, from 0 to 1
    cut: whether pixels outside of the masks are black
    packed: factor by which pictures are smaller, as packed * packed of them would stand on one canvas; the canvas's
        regions are isolated from one another, since each is a row of its own
    describe: base and subject -> a caption with {} for each picture; used for pictures without one
    recaption: the caption to train with, made from the user's own; None trains with the user's caption as it is
    landmarks: base and subject -> landmarks of every picture, which batches and references carry
    mirror: for each landmark the one it becomes in a mirrored picture; empty: itself
    conditions: name -> the condition computed from each picture
    moves: whether every row's reference is the first picture, with the camera's move from it; nothing is mirrored
    drop_image: probability of a row without references, from 0 to 1
    drop_text: probability of a row without a caption, from 0 to 1
    name: name of the source; sources of one recipe with one name draw alike
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        pixels = subject.tensor(base.picture_size // packed)
        with torch.no_grad():
            mask = masks(base, subject) if masks else None
            where = _at_latents(mask, base) if mask is not None else None
            pixels = pixels * mask if mask is not None and cut else pixels
            shown = {key: make(base, pixels).cpu() for key, make in conditions.items()}
            marks = landmarks(base, subject).cpu() if landmarks else None
            side = base.encode(pixels)
            sides = [side, base.encode(pixels.flip(-1)) if flip else side]
        for latents, _ in sides:
            check_latents(latents, base)
        views = subject.viewpoints() if moves else None
        own = [reference.caption for reference in subject.pictures]
        if recaption:
            texts = [template(text, subject.handle) for text in own]
            own = [recaption(k, text).format(subject.handle) if text else "" for k, text in enumerate(texts)]
        if describe and not all(own):
            descriptions = [text.format(subject.handle) for text in describe(base, subject)]
            own = [given or made for given, made in zip(own, descriptions, strict=True)]

        def draw(step: int, at: Streams) -> Batch:
            order = torch.cat(
                [torch.randperm(len(pixels), generator=at("order")) for _ in range(-(-batch // len(pixels)))]
            )
            rows = order[:batch]
            flipped = torch.rand(batch, generator=at("flip")) < flip
            which = torch.randint(len(captions), (batch,), generator=at("caption")).tolist()
            noise = torch.randn(batch, *sides[0][0].shape[1:], generator=at("latents")).to(base.device, base.dtype)
            mean, std = (
                torch.where(flipped.view(-1, 1, 1, 1).to(a.device), b[rows], a[rows])
                for a, b in zip(*sides, strict=True)
            )
            texts = [
                own[row] or captions[k].format(subject.handle) for row, k in zip(rows.tolist(), which, strict=True)
            ]
            latents = (mean + std * noise).to(base.dtype)
            turned = flipped.view(-1, 1, 1, 1)
            pictures = torch.where(turned, pixels[rows].flip(-1), pixels[rows])
            looked_at = pixels.expand(batch, *pixels.shape) if seen == "all" else pictures[:, None]
            own_marks = None if marks is None else mirrored(marks[rows], flipped, mirror)
            seen_marks = own_marks if own_marks is None else own_marks[:, None]
            if marks is not None and seen == "all":
                seen_marks = marks.expand(batch, *marks.shape)
            about: dict[str, Any] = {"nouns": (subject.noun,) * batch, "landmarks": seen_marks}
            if views is not None:
                looked_at = pixels[:1].expand(batch, *pixels.shape[1:])[:, None]
                about["moves"] = move_between(views[:1].expand(batch, -1), views[rows])[:, None].to(base.device)
            if drop_image:
                about["dropped"] = torch.rand(batch, generator=at("drop image")) < drop_image
            references = References(looked_at.to(base.device), **about) if seen or moves else None
            if drop_text:
                quiet = torch.rand(batch, generator=at("drop text")) < drop_text
                texts = ["" if silent else text for text, silent in zip(texts, quiet.tolist(), strict=True)]
            more: dict[str, Any] = {"references": references, "landmarks": own_marks}
            more["conditions"] = {
                key: torch.where(turned, condition[rows].flip(-1), condition[rows]).to(base.device, base.dtype)
                for key, condition in shown.items()
            }
            if where is None:
                return Batch(latents, tuple(texts), **more)
            counts = outside + (1 - outside) * torch.where(turned, where[rows].flip(-1), where[rows])
            return Batch(latents, tuple(texts), mask=counts.to(latents), **more)

        return draw

    return Source(name if packed == 1 else f"packed {name}", "subject", prepare)


def check_latents(latents: Tensor, base: Base) -> None:
    """Raise `TeachingError` for latents that are not finite numbers.

    latents: latents of pictures
    base: the base that encoded them
    """
    import torch

    if not bool(torch.isfinite(latents).all()):
        raise TeachingError(
            f"the pictures' latents on {base.name} are not finite numbers, so nothing can be learned from them: open "
            "the base in float32 (--dtype float32)"
        )


def _at_latents(masks: Tensor, base: Base) -> Tensor:
    """[n, 1, h, w] on the CPU: the share of each latent's pixels that the mask covers."""
    import torch.nn.functional as F

    return F.interpolate(masks.float(), base.latent_shape[1:], mode="area").cpu()
