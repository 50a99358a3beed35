"""The part of a picture that a change of its prompt concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limner.core.pixels import to_tensor
from limner.core.streams import stream

from .states import Part

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.base import Base
    from limner.engine.attach import Adapter

DRAWS = 8
"""Number of noises that the predictions are compared for; 10 with the authors (Sec. 3.2 of arXiv:2210.11427)."""
TIMES = (0.5, 0.7)
"""Shares of the base's times at which they are compared; 0.5 with the authors. Accessories are decided on earlier, at
more noise."""
SHARE = 0.4
"""Share of the range of the differences, above its 10 % quantile, from which on a position is of the part; 0.5 with
the authors, who do not leave out a quantile."""
MOST = 0.6
"""Largest share of the picture that a change of a thing may take; a larger mask is no part, and everything is painted
again."""


def part_mask(
    base: Base, adapters: list[Adapter], image: Image.Image, prompts: tuple[str, str], part: Part
) -> Image.Image | None:
    """The part of a picture, white in a picture "L" of its size; None where it is everything.

    `prompts` are the picture's prompt and the new one. A background is everything that the base's segmenter does not
    count to a thing. Otherwise, and without a segmenter, the part is where the predictions for both prompts differ
    (DiffEdit, arXiv:2210.11427), and for a thing as a whole the segmenter's mask besides.
    """
    import torch
    import torch.nn.functional as F

    if part == "all" or base.predicts == "tokens" or image.size != (base.picture_size,) * 2:
        return None
    pixels = to_tensor([image], base.picture_size)
    segmenter, things = base.capabilities.segmenter, None
    if segmenter is not None:
        with torch.no_grad():
            things = segmenter(pixels.to(base.device)).float().cpu()[:, None]  # [1, 1, H, W]
        if not 0.01 <= float((things > 0.5).float().mean()) <= 0.9:
            things = None
    behind = None if things is None or not part.startswith("background") else 1 - (things > 0.5).float()
    if behind is not None and part == "background":
        return _picture(behind)
    if prompts[0] == prompts[1]:
        return None if things is None else _picture((_grown(things, base) > 0.5).float())
    where = differing(base, adapters, pixels, prompts)
    if part != "background":
        where = F.max_pool2d(where, 3, 1, 1)
    where = F.interpolate(where, size=pixels.shape[-2:], mode="nearest")
    if behind is not None:
        where = torch.maximum(where, behind)
    if part == "thing" and things is not None:
        where = torch.maximum(where, (_grown(things, base) > 0.5).float())
    if not part.startswith("background") and float(where.mean()) > MOST:
        return None
    return _picture(where) if float(where.sum()) else None


def differing(base: Base, adapters: list[Adapter], pixels: Tensor, prompts: tuple[str, str]) -> Tensor:
    """[1, 1, h, w] of 0 and 1 at the latents' size: where predictions for the two prompts differ for the same noised
    latents of a picture [1, 3, H, W]. The noise is always the same, so that the part is a function of the picture."""
    import torch

    from limner.engine.attach import attach

    with torch.no_grad(), attach(base, adapters) as adapted:
        clean = base.encode(pixels.to(base.device, base.dtype))[0].expand(DRAWS, -1, -1, -1)
        noise = torch.randn(clean.shape, generator=stream(0, "part of a picture")).to(clean)
        total = torch.zeros(clean.shape[-2:])
        for share in TIMES:
            outputs = [_predicted(base, adapted, clean, noise, share, prompt) for prompt in prompts]
            total += (outputs[0] - outputs[1]).float().abs().mean((0, 1)).cpu()
    low, high = total.quantile(0.1), total.max()
    scaled = (total - low) / (high - low).clamp_min(1e-9)
    return (scaled > SHARE).float()[None, None]


def _predicted(base: Base, adapted: Any, clean: Tensor, noise: Tensor, share: float, prompt: str) -> Tensor:
    import torch

    at = torch.full((len(clean),), share * base.num_train_times).to(base.device)
    at = at if base.predicts == "flow" else at.long()
    latents, texts = base.noised(clean, noise, at), [prompt] * len(clean)
    run = adapted.run(time=at, latents=latents, prompts=tuple(map(adapted.expand_prompt, texts)))
    output: Tensor = base.predict(latents, at, adapted.text_states(texts), context=run)
    return output


def _grown(mask: Tensor, base: Base) -> Tensor:
    """The mask, larger by one position of the latents on every side."""
    import torch.nn.functional as F

    cell = mask.shape[-1] // base.latent_shape[-1]
    return F.max_pool2d(mask, 2 * cell + 1, 1, cell)


def _picture(mask: Tensor) -> Image.Image:
    from PIL import Image

    return Image.fromarray((mask[0, 0] * 255).byte().numpy())
