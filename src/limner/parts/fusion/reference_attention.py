"""Attention layers that read a reference network's states of the same layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from limner.parts.modifiers.low_rank import low_rank
from limner.parts.modifiers.parameters import taken

from .reference_network import Reading, Shown, reference_network
from .subject_attention import attended

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Site

    from .reference_network import Use


def self_sites(site: Site) -> bool:
    """Whether a site is self-attention of the picture.

    site: the attention layer
    """
    return site.kind == "self"


def cross_sites(site: Site) -> bool:
    """Whether a site is cross-attention to the text.

    site: the attention layer
    """
    return site.kind == "cross"


def beside_own(key_scale: float = 1.0) -> Reading:
    """The layer attends to the network's states beside its own positions, through its own projections.

    Only keys are scaled (Sec. 3.2 of arXiv:2401.13974, and the authors' model/utils.py). With several pictures, every
    position takes the one with the largest change of its output, as in the authors' sampling; they compare changes
    after the layer's output projection. A strength below 1 moves a part of the way from the layer's own output.

    key_scale: factor of the reference's keys
    """

    def reading(
        base: Base, sites: list[Site], stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Use]:
        def use(call: AttentionCall, shown: Shown, _: Mapping[str, Tensor]) -> None:
            key, value = call.keys_values(shown.hidden)
            parts = zip((key_scale * key).chunk(shown.count, 2), value.chunk(shown.count, 2), strict=True)
            every = [_joined(call, *part) for part in parts]

            def nearer(out: Tensor) -> Tensor:
                return out + shown.by_row[..., None].to(out) * _largest([both - out for both in every])

            call.on_output.append(nearer)

        return {}, use

    return reading


def attending(width: int = 64) -> Reading:
    """Beside the layer, an attention of its own to the network's states, zero at first.

    It is the multi-head attention of Re-Imagen (Sec. 3.2 of arXiv:2209.14491).

    width: width of the attention
    """

    def reading(
        base: Base, sites: list[Site], stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Use]:
        import torch

        start: dict[str, Tensor] = {}
        for site in sites:
            wide = base.attention_widths(site)[1]
            for part in ("query", "key", "value"):
                start[f"{site.name}.{part}"] = torch.randn(width, wide, generator=generator) / wide**0.5
            start[f"{site.name}.out"] = torch.zeros(wide, width)
        parameters = taken(start, stored, base, what="the attention to references")

        def use(call: AttentionCall, shown: Shown, own: Mapping[str, Tensor]) -> None:
            weights = [own[f"{call.site.name}.{part}"] for part in ("query", "key", "value", "out")]
            added = shown.by_row * attended(call.hidden, shown.hidden, weights)
            call.beyond.append(lambda _: added)

        return parameters, use

    return reading


def in_context(subject: Subject, *, width: int = 64, rank: int = 4) -> reference_network:
    """Re-Imagen's architecture (Sec. 3.2 of arXiv:2209.14491), which SuTI shares.

    References with their captions go clean, at time 0, through the denoiser itself, and new attention reads its states.
    The authors attend once, at the end of the down blocks, and train the whole denoiser; here every cross-attention
    layer attends to its own states, and a low-rank change of the denoiser's attention learns. Rows of the branch
    "words" have no references.

    subject: the subject
    width: width of the new attention
    rank: rank of the change
    """
    change = low_rank(rank, "attention", name="denoiser_change")
    return reference_network(
        subject,
        attending(width),
        cross_sites,
        noised=False,
        captioned=True,
        copy=change,
        shared=True,
        blind=("words",),
    )


def _joined(call: AttentionCall, key: Tensor, value: Tensor) -> Tensor:
    """[B, H, N, d]: attention of the layer to its own positions and to these."""
    import torch
    import torch.nn.functional as F

    bias = None if call.bias is None else F.pad(call.bias, (0, key.shape[2]))
    keys, values = (torch.cat(pair, 2) for pair in ((call.key, key), (call.value, value)))
    return F.scaled_dot_product_attention(call.query, keys, values, attn_mask=bias)


def _largest(changes: list[Tensor]) -> Tensor:
    """[B, H, N, d]: at every position the longest of these changes, over heads and channels."""
    import torch

    if len(changes) == 1:
        return changes[0]
    every = torch.stack(changes)
    longest = every.square().sum((2, 4)).argmax(0)  # [B, N]
    return torch.take_along_dim(every, longest[None, :, None, :, None], 0)[0]
