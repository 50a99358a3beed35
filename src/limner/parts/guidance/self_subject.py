"""Self-attention that also attends to the subject in a reference (DreamTuner, arXiv:2312.13691)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.streams import stream
from limner.core.types import Live, ReferenceStream, acting_in
from limner.parts.attention.shared import reference_rows

from .branches import between, interleaved
from .reference import LATENTS, MASK, masked_reference

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, AttentionOp, Guidance

AHEAD = 10  # times between the reference's noise and the picture's


@dataclass(frozen=True)
class self_subject:
    """The subject in its first picture as a reference stream for self-attention (Eq. 4 and 5 of arXiv:2312.13691).

    Every row also attends to keys and values of the branch's first row, the reference, inside the subject's mask. At
    weight 0, or with an empty mask, this is plain self-attention, bit for bit.

    subject: the subject with its pictures
    weight: factor of the attention to the reference, 0 or more
    """

    subject: Subject
    weight: float = 2.5

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        with masked_reference(self.subject)(base, stored=stored, generator=generator, scale=scale) as live:
            if scale * self.weight > 0:
                live.operations = (attend_to(live.tensors[MASK], weight=scale * self.weight),)
            yield live


def attend_to(mask: Tensor, *, weight: float) -> AttentionOp:
    """Attention to the reference stream inside a mask.

    mask: [1, 1, h, w], 1 on the subject
    weight: factor of the weights there; 0 is plain self-attention
    """

    @acting_in("self")
    def operation(call: AttentionCall) -> AttentionCall:
        import torch
        import torch.nn.functional as F

        if call.site.kind != "self" or not call.run.reference_stream or weight <= 0:
            return call
        places, parts = call.key.shape[2], len(call.run.branches)
        seen = F.adaptive_max_pool2d(mask.float(), round(places**0.5)).flatten() > 0.5
        if not seen.any():
            return call
        more = [reference_rows(x, parts)[:, :, seen] for x in (call.key, call.value)]
        bias = call.query.new_zeros(len(call.query), 1, 1, places + more[0].shape[2])
        bias[..., places:] = math.log(weight)
        bias[:: len(call.query) // parts, ..., places:] = float("-inf")  # the reference attends to itself alone
        call.key, call.value = (torch.cat([x, y], 2) for x, y in zip((call.key, call.value), more, strict=True))
        call.bias = bias.expand(-1, 1, call.query.shape[2], -1)
        return call

    return operation


def noised_reference(reference: self_subject, prompt: str) -> Callable[[Adapted], Callable[[int], ReferenceStream]]:
    """A reference stream that holds the reference image, noised to the time of every step.

    "near" and "far" are the times AHEAD before and after, which guidance asks for.

    reference: stores the reference image
    prompt: the prompt of its row
    """

    def reference_stream(adapted: Adapted) -> Callable[[int], ReferenceStream]:
        import torch

        base, clean = adapted.base, adapted.live[reference].tensors[LATENTS]
        noise = torch.randn(clean.shape, generator=stream(0, "reference noise")).to(clean)

        def walk(steps: int) -> ReferenceStream:
            times = base.scheduler(steps=steps).timesteps.to(base.device)

            def shown(step: int, which: str) -> tuple[Tensor, Tensor]:
                time = times[step] + {"near": -AHEAD, "far": AHEAD}.get(which, 0)
                time = time.clamp(0, base.num_train_times - 1)
                return base.noised(clean, noise, time.view(1))[0], time

            return ReferenceStream(prompt, lambda step: shown(step, "")[0], shown)

        return walk

    return reference_stream


def interleaved_guidance(scale: float, *, share: float = 0.9) -> Guidance:
    """Self-subject guidance at a share of the times, classifier-free guidance at the others (Eq. 7 and 8).

    The first is far + scale * (near - far), the difference made by a clearer reference; the second contrasts the text
    with a clearer reference and the negative with a noisier one.

    scale: scale of self-subject guidance
    share: share of the times with it, 0 to 1
    """
    clearer = between("text@far", "text@near", scale=scale)
    return interleaved(clearer, between("negative@far", "text@near"), share=share)
