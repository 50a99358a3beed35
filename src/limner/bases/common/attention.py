"""The attention host: the one processor of every attention layer, in which a recipe's operations act.

With no operation the host does what diffusers' stock processor does, operation for operation, so its output is equal
to the bit (`tests/bases/test_attention.py`). Everything the field does by patching attention is an operation on the
`AttentionCall`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F

from limner.core.types import AttentionCall, Pass, Site, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from limner.core.types import Kind


class Host:
    """The processor: computes q, k, v, lets the operations act, attends."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        run: Pass | None = None,
    ) -> Tensor:
        """[B, N, C] -> [B, N, C]; the steps of diffusers' `AttnProcessor2_0`, with the operations before attention."""
        residual = hidden_states
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        shape = hidden_states.shape
        if hidden_states.ndim == 4:
            hidden_states = hidden_states.view(shape[0], shape[1], -1).transpose(1, 2)
        call = operated(self._call(attn, hidden_states, encoder_hidden_states, attention_mask, run or Pass()))
        out, width = attend(call), attn.to_v.out_features // attn.heads
        more = [function(out[..., width:]) for function in call.beyond]
        out = out[..., :width] if call.beyond else out
        out = out.transpose(1, 2).reshape(hidden_states.shape[0], -1, out.shape[1] * out.shape[3])
        out = attn.to_out[1](sum(more, attn.to_out[0](out.to(call.query.dtype))))
        for function in call.on_result:
            out = function(out)
        if len(shape) == 4:
            out = out.transpose(-1, -2).reshape(shape)
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor

    def _call(self, attn: Any, hidden: Tensor, text: Tensor | None, mask: Tensor | None, run: Pass) -> AttentionCall:
        states = hidden if text is None else text
        bias = mask_bias(attn, states, mask)
        if attn.group_norm is not None:
            hidden = attn.group_norm(hidden.transpose(1, 2)).transpose(1, 2)
            states = hidden if text is None else states
        if text is not None and attn.norm_cross:
            states = attn.norm_encoder_hidden_states(states)
        query, key, value = (split(x, attn.heads) for x in (attn.to_q(hidden), attn.to_k(states), attn.to_v(states)))
        query, key = normalised(attn, query, key)
        return AttentionCall(self.site, attn, hidden, states, query, key, value, run, bias)


def operated(call: AttentionCall) -> AttentionCall:
    """The call after the operations of its pass have changed it, each in the order it was written."""
    for operation in call.run.operations:
        call = operation(call)
    return call


def mask_bias(attn: Any, states: Tensor, mask: Tensor | None) -> Tensor | None:
    """The term [B, H, 1, M] that a layer's mask over states [B, M, D] adds to the attention logits; None without a
    mask."""
    if mask is None:
        return None
    rows, length = states.shape[:2]
    bias: Tensor = attn.prepare_attention_mask(mask, length, rows).view(rows, attn.heads, -1, mask.shape[-1])
    return bias


def normalised(attn: Any, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys, each normalised where the layer has a norm for it."""
    return (
        query if attn.norm_q is None else attn.norm_q(query),
        key if attn.norm_k is None else attn.norm_k(key),
    )


def attend(call: AttentionCall) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v, plus the additional attention branches: [B, H, N, d].

    Uses fused attention, unless an operation needs the attention maps or the pass asks for unfused steps.
    """
    key, value, bias = _with_further_keys(call)
    if call.on_maps or not call.run.fused:
        out = _mapped(call.query, key, value, bias, call.on_maps)
    else:
        out = _fused(call.query, key, value, bias)
    for change in call.on_output:
        out = change(out)
    if call.beside:
        asking = call.query[:, :, call.picture] if call.asking is None else call.asking
        parts = [(scale, _branch(asking, key, value, call.run.fused)) for key, value, scale in call.beside]
        out = replaced(out, call.picture, sum((s * x for s, x in parts), start=out[:, :, call.picture]))
    return out


def _with_further_keys(call: AttentionCall) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values and bias, with those of `call.behind` at their end."""
    if not call.behind:
        return call.key, call.value, call.bias
    own = call.query.new_zeros(1, 1, 1, call.key.shape[2]) if call.bias is None else call.bias
    every = [own, *(bias for _, _, bias in call.behind)]
    shape = torch.broadcast_shapes(*(bias.shape[:3] for bias in every))
    bias = torch.cat([part.expand(*shape, part.shape[3]) for part in every], 3)
    keys, values = zip(*((key, value) for key, value, _ in call.behind), strict=True)
    return torch.cat([call.key, *keys], 2), torch.cat([call.value, *values], 2), bias


def _branch(query: Tensor, key: Tensor, value: Tensor, fused: bool) -> Tensor:
    return _fused(query, key, value, None) if fused else _mapped(query, key, value, None, ())


def replaced(x: Tensor, part: slice, new: Tensor) -> Tensor:
    """`x` [B, H, N, d] with `new` at the positions `part`."""
    if part == slice(None):
        return new
    start, stop, _ = part.indices(x.shape[2])
    return torch.cat([x[:, :, :start], new, x[:, :, stop:]], 2)


def _fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=0.0, is_causal=False)


def _mapped(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, changes: Sequence[Callable[[Tensor], Tensor]]
) -> Tensor:
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    maps = torch.softmax(logits if bias is None else logits + bias, dim=-1)
    for change in changes:
        maps = change(maps)
    return maps.to(value.dtype) @ value


Choice: TypeAlias = "Callable[[str, Any], tuple[Kind, Callable[[Site], Any]] | None]"
"""(name of an attention layer, the layer) -> (its kind, the host to install); None leaves the layer unchanged."""


def self_or_cross(_: str, layer: Any) -> tuple[Kind, Callable[[Site], Any]]:
    """Kind and host of an attention layer in a UNet, or in a transformer built like one."""
    return ("cross" if layer.is_cross_attention else "self"), Host


def host_sites(denoiser: Any, choose: Choice = self_or_cross) -> tuple[Site, ...]:
    """Install a host in every attention layer of a denoiser; return the sites in the order they run."""
    counts: dict[str, int] = {}
    sites, hosts = [], dict(denoiser.attn_processors)
    for name in sorted(hosts, key=lambda n: BLOCKS.index(_block(n))):
        layer = name.removesuffix(".processor")
        chosen = choose(layer, denoiser.get_submodule(layer))
        if chosen is None:
            continue
        kind, host = chosen
        sites.append(Site(layer, kind, _block(name), counts.get(kind, 0)))
        counts[kind] = counts.get(kind, 0) + 1
        hosts[name] = host(sites[-1])
    denoiser.set_attn_processor(hosts)
    return tuple(sites)


BLOCKS = ("down", "mid", "up")
"""Blocks of a UNet in the order they run; diffusers lists the middle block last. A whole transformer counts as the
middle."""


def _block(name: str) -> Any:
    first = name.split("_", 1)[0]
    return first if first in ("down", "up") else "mid"
