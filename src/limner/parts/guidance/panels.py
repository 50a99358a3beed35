"""Two panels sampled as one picture: the reference beside the requested one (Diptych Prompting, arXiv:2411.15466)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.streams import stream
from limner.core.types import acting_in
from limner.parts.modifiers.reference import LATENTS, reference_latents

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.types import AttentionCall, AttentionOp, Denoiser


def beside_panel(reference: reference_latents) -> Callable[[Adapted, Denoiser], Denoiser]:
    """The denoiser of the right panel of two: in every run the left one is the reference, noised to the run's time.

    Its prediction of the left panel is dropped. This is inpainting in which the known part is restored before every
    step (arXiv:2201.09865).

    reference: the part that stores the reference's latents
    """

    def around(adapted: Adapted, denoise: Denoiser) -> Denoiser:
        import torch

        clean = adapted.live[reference].tensors[LATENTS]
        noise = torch.randn(clean.shape, generator=stream(0, "panel")).to(clean)

        def right(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            left = adapted.base.noised(clean, noise, t[:1]).expand_as(x)
            every = denoise(torch.cat([left, x], -1), t, branches=branches)
            return tuple(output[..., x.shape[-1] :] for output in every)

        return right

    return around


def enforced(strength: float) -> AttentionOp:
    """In runs of two panels, attention from positions on the right to positions on the left is multiplied by
    `strength`.

    The weights of a position then sum to more than 1 (Sec. 3.3 of arXiv:2411.15466, and the authors'
    diptych_prompting_inference.py, which does not normalise again).

    strength: factor of the attention, above 0
    """

    @acting_in("self", "joint", "merged")
    def operation(call: AttentionCall) -> AttentionCall:
        queries, keys = (
            range(length)[part]
            for length, part in ((call.query.shape[2], call.picture), (call.key.shape[2], call.picture_keys))
        )
        side = math.isqrt(len(queries) // 2)
        if call.site.kind == "cross" or strength == 1 or 2 * side**2 != len(queries) or len(keys) != len(queries):
            return call

        def change(maps: Tensor) -> Tensor:
            import torch

            right = torch.arange(len(queries), device=maps.device) % (2 * side) >= side
            factor = maps.new_ones(maps.shape[2:])
            rows, columns = slice(queries.start, queries.stop), slice(keys.start, keys.stop)
            factor[rows, columns] = torch.where(right[:, None] & ~right, strength, 1.0).to(maps)
            return maps * factor

        call.on_maps.append(change)
        return call

    return operation
