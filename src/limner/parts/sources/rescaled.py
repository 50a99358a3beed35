"""The subject's pictures at random sizes, with captions that name the size (Custom Diffusion, arXiv:2212.04488)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from limner.core.recipe import Source
from limner.core.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams

SMALL, LARGE = ("a far away", "very small"), ("zoomed in", "close up")
NAMED_SMALL = 0.6  # share of the side below which a picture is pasted on a canvas
GREY = 0.5


class Rescaled(NamedTuple):
    """A picture at another size, and where it counts."""

    pixels: Tensor  # [3, H, W] in [0, 1]
    valid: Tensor  # [1, h, w]: 1 at the latents that show the picture alone, not the canvas
    prefixes: tuple[str, ...]  # words for the size, one of which begins the caption; empty at the whole size


def rescaled_photos(
    subject: Subject, *, captions: Sequence[str] = ("photo of a {}",), batch: int = 4, flip: float = 0.5
) -> Source:
    """Batches of the subject's pictures, each smaller on a grey canvas, whole, or cut out larger.

    Sizes and words are those of `src/finetune_data.py` in adobe-research/custom-diffusion: two of three pictures have
    a size from a third of the side to the whole, and the words "very small" or "a far away" below 0.6, from where on
    they stay whole; the others are cut out of 1.2 to 1.4 times the size, with "zoomed in" or "close up". The loss
    counts on the picture, without the canvas.

    subject: the subject
    captions: templates with {} for the handle, for pictures without a caption of their own
    batch: pictures in an update
    flip: probability of mirroring, from 0 to 1
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        pixels, latent_side = subject.tensor(base.picture_size), base.latent_shape[-1]
        own = [reference.caption for reference in subject.pictures]

        def draw(step: int, at: Streams) -> Batch:
            count = len(pixels)
            orders = [torch.randperm(count, generator=at("order")) for _ in range(-(-batch // count))]
            rows = torch.cat(orders)[:batch].tolist()
            flipped = torch.rand(batch, generator=at("flip")) < flip
            which = torch.randint(len(captions), (batch,), generator=at("caption")).tolist()
            draws = torch.rand(batch, 5, generator=at("size")).tolist()
            shots, texts = [], []
            for row, mirrored, number, chance in zip(rows, flipped.tolist(), which, draws, strict=True):
                shot = resized(pixels[row].flip(-1) if mirrored else pixels[row], chance[:4], latent_side)
                text = own[row] or captions[number].format(subject.handle)
                prefix = shot.prefixes[int(chance[4] * len(shot.prefixes))] if shot.prefixes else ""
                shots.append(shot)
                texts.append(f"{prefix} {text}".strip())
            with torch.no_grad():
                mean, std = base.encode(torch.stack([shot.pixels for shot in shots]))
            noise = torch.randn(mean.shape, generator=at("latents")).to(mean)
            latents = (mean + std * noise).to(base.device, base.dtype)
            return Batch(latents, tuple(texts), mask=torch.stack([shot.valid for shot in shots]).to(latents))

        return draw

    return Source("rescaled photos", "subject", prepare)


def resized(pixels: Tensor, chance: Sequence[float], latent_side: int) -> Rescaled:
    """A picture at a random size.

    pixels: [3, H, H] in [0, 1]
    chance: four numbers in [0, 1): the kind of size, the size, and the position from the top and from the left
    latent_side: number of latents along a side
    """
    import torch
    import torch.nn.functional as F

    kind, size, down, right = chance
    side = pixels.shape[-1]
    share = 1 / 3 + size * 2 / 3 if kind < 2 / 3 else 1.2 + size * 0.2
    whole = torch.ones(1, latent_side, latent_side)
    if NAMED_SMALL <= share <= 1:
        return Rescaled(pixels, whole, ())
    new = round(share * side)
    shown = F.interpolate(pixels[None], (new, new), mode="bicubic", antialias=True)[0].clamp(0, 1)
    top, left = (int(where * (abs(side - new) + 1)) for where in (down, right))
    if share > 1:
        return Rescaled(shown[:, top : top + side, left : left + side], whole, LARGE)
    canvas, valid = torch.full_like(pixels, GREY), torch.zeros_like(whole)
    canvas[:, top : top + new, left : left + new] = shown
    # the latents at the picture's edge see the canvas too
    each = side / latent_side
    starts = [int(first / each) + 1 for first in (top, left)]
    ends = [max(start + 1, int((first + new) / each) - 1) for start, first in zip(starts, (top, left), strict=True)]
    valid[:, starts[0] : ends[0], starts[1] : ends[1]] = 1
    return Rescaled(canvas, valid, SMALL)
