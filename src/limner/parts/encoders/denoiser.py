"""The denoiser's own features of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from limner.core.streams import stream

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Live, Pass

TIME = 0.2
"""Noise level at which a picture is read, as a share of all times: low enough for the picture to stay recognisable."""


def denoiser_features(base: Base, latents: Tensor, prompt: str) -> Tensor:
    """[n, C, h, w]: input of the last attention layer for clean latents, each channel minus its mean over the picture.

    arXiv:2306.03881 reads such features from a noised picture in one run.

    base: the base
    latents: [n, C, h, w]
    prompt: the prompt of the run
    """
    import torch

    from limner.core.types import Pass

    last, seen = base.sites[-1], {}

    def note(call: AttentionCall) -> AttentionCall:
        if call.site == last:
            # where text and picture share one sequence, the picture's positions alone
            seen["hidden"] = call.hidden[:, call.picture] if call.site.kind == "merged" else call.hidden
        return call

    with torch.no_grad():
        time = torch.full((len(latents),), int(TIME * base.num_train_times), device=base.device)
        noise = torch.randn(latents.shape[1:], generator=stream(0, "features")).to(latents)
        states = base.text_states([prompt], words={}).expand(len(latents), -1, -1)
        base.predict(base.noised(latents, noise.expand_as(latents), time), time, states, context=Pass((note,), time))
    hidden = seen["hidden"].float().mT
    side = round(hidden.shape[-1] ** 0.5)
    return (hidden - hidden.mean(-1, keepdim=True)).unflatten(-1, (side, side))


class _Enough(Exception):
    """Every wanted feature is computed; the rest of the run is not needed."""


def features_under_way(base: Base, run: Pass) -> Tensor:
    """[rows, D]: features of a run's latents by the base with nothing attached and an empty prompt.

    They are the inputs of cross-attention in the down blocks and the middle, their means over positions, normalised,
    side by side. The run stops there. E4T's features of the denoiser (arXiv:2302.12228) are of this kind, pooled from
    every level of the down blocks.

    base: the base
    run: the run
    """
    import torch
    import torch.nn.functional as F

    from limner.core.types import Pass

    assert run.latents is not None
    assert run.time is not None
    wanted = {site.name for site in base.sites if site.kind != "self" and site.block != "up"}
    seen: dict[str, Tensor] = {}

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.name in wanted:
            seen[call.site.name] = call.hidden.float().mean(1)
        if len(seen) == len(wanted):
            raise _Enough
        return call

    about = Pass((note,), time=run.time, fused=run.fused)
    with torch.no_grad(), switched_off(run.lives), suppress(_Enough):
        states = base.text_states([""], words={}).expand(len(run.latents), -1, -1)
        base.predict(run.latents, run.time, states, context=about)
    return torch.cat([F.layer_norm(level, level.shape[-1:]) for level in seen.values()], -1)


def denoiser_levels(base: Base, pixels: Tensor) -> Tensor:
    """[n, D]: the base's features of clean pictures, computed as in `features_under_way`.

    base: the base
    pixels: [n, 3, H, W] in [0, 1]
    """
    import torch

    from limner.core.types import Pass

    with torch.no_grad():
        latents = base.encode(pixels)[0].to(base.dtype)
        time = torch.zeros(len(latents), dtype=torch.long, device=base.device)
        return features_under_way(base, Pass(time=time, latents=latents, fused=base.device.type != "cpu"))


@contextmanager
def switched_off(lives: Sequence[Live], but: Live | None = None) -> Iterator[None]:
    """Deactivate every adapter inside the block, except one.

    lives: the attached modifiers
    but: the one that stays active, or None
    """
    every = [*lives, *([] if but is None else [but])]
    before = [live.on for live in every]
    for live in every:
        live.on = live is but
    try:
        yield
    finally:
        for live, was in zip(every, before, strict=True):
            live.on = was
