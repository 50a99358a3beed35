"""What the denoiser itself sees in a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.streams import stream

if TYPE_CHECKING:
    from torch import Tensor

    from limner.bases.attention import AttentionCall
    from limner.bases.protocol import Base

TIME = 0.2
"""How far towards noise a picture is brought, as a share of all times: enough for the network to look at what is there."""


def denoiser_features(base: Base, latents: Tensor, prompt: str) -> Tensor:
    """[n, C, h, w] of clean latents: what enters the last attention layer, each channel around its mean over the picture
    (arXiv:2306.03881 reads such features off a noised picture in one run)."""
    import torch

    from limner.bases.attention import Pass

    last, seen = base.sites[-1], {}

    def note(call: AttentionCall) -> AttentionCall:
        if call.site == last:
            seen["hidden"] = call.hidden
        return call

    with torch.no_grad():
        time = torch.full((len(latents),), int(TIME * base.num_train_times), device=base.device)
        noise = torch.randn(latents.shape[1:], generator=stream(0, "features")).to(latents)
        states = base.text_states([prompt], words={}).expand(len(latents), -1, -1)
        base.predict(base.noised(latents, noise.expand_as(latents), time), time, states, context=Pass((note,), time))
    hidden = seen["hidden"].float().mT
    side = round(hidden.shape[-1] ** 0.5)
    return (hidden - hidden.mean(-1, keepdim=True)).unflatten(-1, (side, side))
