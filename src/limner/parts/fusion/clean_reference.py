"""Self-attention to a clean reference, through a learned gate that starts shut (MoMA, arXiv:2404.05674)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from limner.parts.attention.followed import painted_at
from limner.parts.modifiers.parameters import taken

from .multimodal_states import matrix

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Site

    from .reference_network import Reading, Shown, Use


def clean_reference(*, rank: int = 16, until: float = 0.95) -> Reading:
    """For `reference_network`: out = attention(Q, K, V) + g * m * attention(Q, A_k K_ref, A_v V_ref).

    K_ref and V_ref are the layer's own keys and values of the reference, inside the subject's mask; g is a learned
    number that starts at 0, and m the subject's position at the last step (`followed_subject`). The authors' A are
    square matrices; here they are the identity and a change of low rank, zero at first.

    rank: rank of the change of A
    until: share of the diffusion times above which nothing is added
    """

    def reading(
        base: Base, sites: list[Site], stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Use]:
        import torch

        start = {}
        for site in sites:
            wide = base.key_value(site)[0].weight.shape[0]
            for part in ("key", "value"):
                start[f"{site.name}.{part}.down"] = matrix(rank, wide, generator)
                start[f"{site.name}.{part}.up"] = torch.zeros(wide, rank)
            start[f"{site.name}.gate"] = torch.zeros(1)
        latest = until * base.num_train_times

        def use(call: AttentionCall, shown: Shown, own: Mapping[str, Tensor]) -> None:
            assert call.run.time is not None
            early = (call.run.time.expand(len(call.query)) < latest) & shown.on.to(call.query.device)
            strength = shown.strength * early.to(call.query).view(-1, 1, 1, 1) * painted_at(call, shown.handle)
            added = _attended(base, call, shown, own) * strength * own[f"{call.site.name}.gate"]
            call.on_output.append(lambda out: out + added)

        return taken(start, stored, base, what="the clean reference"), use

    return reading


def _attended(base: Base, call: AttentionCall, shown: Shown, own: Mapping[str, Tensor]) -> Tensor:
    """[B, H, N, d]: attention to the reference's positions, weighted by the subject's mask."""
    import torch
    import torch.nn.functional as F

    key, value = (
        call.heads(x + F.linear(F.linear(x, own[f"{call.site.name}.{part}.down"]), own[f"{call.site.name}.{part}.up"]))
        for layer, part in zip(base.key_value(call.site), ("key", "value"), strict=True)
        for x in (layer(shown.hidden),)
    )
    bias = shown.where.float().clamp_min(1e-6).log()[:, None, None]
    logits = (call.query @ key.mT * call.query.shape[-1] ** -0.5).float() + bias
    return torch.softmax(logits, -1).to(value) @ value
