"""A face's code that acts on the face alone (W-Plus-Adapter, arXiv:2311.17461)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source
    from limner.core.types import AttentionCall

ERODED = 0.3
"""How much a mask is eroded, as a share of the root of its area: about what the authors' table of sizes comes to."""


def off_face(source: Source) -> Objective:
    """Mean square of B * (prediction - the same with changed codes): outside of the face, the code changes nothing (Eq.
    5 of arXiv:2311.17461). B is 1 minus the batch's mask, eroded and blurred; the second prediction has no gradient.

    source: batches with masks of the face in the picture to paint, whose pictures to see are read as codes
    """

    def value(step: Step) -> Tensor:
        import torch

        from limner.parts.fusion.residual_cross_attention import CHANGED_CODES

        if step.batch.mask is None:
            raise InputError("this method wants to know where the face is, and its source says nothing: masked=True")
        change = changed_codes(step.random("changed codes"))

        def note(call: AttentionCall) -> AttentionCall:
            call.run.cache[CHANGED_CODES] = change
            return call

        with torch.no_grad():
            other = step.prediction_for(step.batch.prompts, references=step.batch.references, operations=(note,))
        outside = 1 - blurred(eroded(step.batch.mask.float()))
        return (outside * (step.prediction.output.float() - other.output.float())).square().mean()

    return Objective(f"off the face({source.name})", source, value)


def near_base(source: Source) -> Objective:
    """Mean square of the prediction minus the untouched base's of the same prompts, everywhere (the preservation term
    of arXiv:2311.17461, as its authors' code has it: without a mask).

    source: batches
    """

    def value(step: Step) -> Tensor:
        return (step.prediction.output.float() - step.base_prediction().output.float()).square().mean()

    return Objective(f"near the base({source.name})", source, value)


def changed_codes(generator: Generator) -> Callable[[Tensor], Tensor]:
    """Codes [B, L, D] -> others: of one kind for the whole batch, drawn as the authors draw it (train_wild.py of
    csxmli2016/w-plus-adapter): other rows' moved by up to 40 times the way to the own ones (45 %); of other rows and
    up to 6 times the own (7 %); noise of the codes' deviation, up to 8 times (13 %); else the own, moved along one or
    two directions.

    generator: of the draws
    """
    import torch

    def change(codes: Tensor) -> Tensor:
        kind = float(torch.rand((), generator=generator))
        others = codes[torch.randperm(len(codes), generator=generator).to(codes.device)]

        def up_to(most: float) -> float:
            return most * (2 * float(torch.rand((), generator=generator)) - 1)

        if kind > 0.55:
            return others + up_to(40) * (codes - others)
        if kind > 0.48:
            return others + up_to(6) * codes
        if kind > 0.35:
            noise = torch.randn(codes.shape, generator=generator).to(codes)
            return others + up_to(8) * (codes.mean() + codes.std() * noise)
        first, second = (up_to(1) * directions(codes, generator) for _ in range(2))
        share = 1.0 if kind > 0.2 else float(torch.rand((), generator=generator))
        return codes + share * first + (1 - share) * second

    return change


def directions(codes: Tensor, generator: Generator) -> Tensor:
    """[B, L, D]: from each row's code towards another's, in some neighbouring layers and zero in the others, twice as
    long at most as the two are apart.

    codes: [B, L, D]
    generator: of the draws
    """
    import torch

    count, layers = codes.shape[:2]
    towards = codes.roll(1 + int(torch.randint(max(1, count - 1), (), generator=generator)), 0) - codes
    ends = torch.randint(layers + 1, (2,), generator=generator).sort().values
    place = torch.arange(layers)
    inside = (place >= ends[0]) & (place <= ends[1])
    return 2 * towards * inside.to(codes)[None, :, None]


def eroded(masks: Tensor) -> Tensor:
    """[B, 1, h, w]: each mask without its rim, ERODED times the root of its area wide (half of it to each side).

    masks: [B, 1, h, w] in [0, 1]
    """
    import torch
    import torch.nn.functional as F

    rows = []
    for mask in masks[:, None]:
        side = int(ERODED * float(mask.sum()) ** 0.5) // 2
        rows.append(1 - F.max_pool2d(1 - mask, 2 * side + 1, 1, side) if side else mask)
    return torch.cat(rows)


def blurred(masks: Tensor) -> Tensor:
    """[B, 1, h, w]: each place the mean of its nine neighbours.

    masks: [B, 1, h, w]
    """
    import torch.nn.functional as F

    return F.avg_pool2d(masks, 3, 1, 1, count_include_pad=False)
