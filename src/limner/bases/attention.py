"""The attention host: the one processor of every attention layer, in which a recipe's operations act.

With no operation the host does what diffusers' stock processor does, operation for operation, so its output is equal
to the bit (`tests/bases/test_attention.py`). Everything the field does by patching attention is an operation on the
`AttentionCall`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from limner.recipe import AttentionOp, Live, References, Streams


Kind: TypeAlias = Literal["self", "cross", "joint", "merged"]
"""What a layer attends to: the picture itself; the text; both, the text through projections of its own ("joint": SD 3, the
double blocks of FLUX, the added keys of DeepFloyd IF); both, through the same projections ("merged": FLUX's single blocks)."""


@dataclass(frozen=True)
class Site:
    """One attention layer: where it stands in the network."""

    name: str
    kind: Kind
    block: Literal["down", "mid", "up"]
    index: int  # among the sites of its kind, in the order they run


@dataclass
class Pass:
    """One run of the denoiser: what its attention may know, and what it leaves behind. Made anew for every run."""

    operations: tuple[AttentionOp, ...] = ()
    time: Tensor | None = None  # [rows]
    latents: Tensor | None = None  # [rows, C, h, w]: what goes in
    step: int | None = None  # of sampling; None when teaching
    prompts: tuple[str, ...] = ()  # [rows], as the base reads them
    random: Streams | None = None  # of this update, when teaching
    seeds: tuple[int, ...] = ()  # [rows] of the pictures, when painting
    branches: tuple[str, ...] = ("text",)  # rows are branch-major: all rows of the first branch, then of the second
    references: References | None = None  # of every row, when teaching
    lives: tuple[Live, ...] = ()  # everything that is worn
    companion: bool = False  # the first row of each branch is a companion
    twins: bool = False  # the second half of each branch's rows are twins of the first
    guidance: float | None = None  # of a base that reads the scale of guidance itself
    text_places: int = 0  # how many places of the sequence are text, where text and picture run as one
    fused: bool = (
        True  # False is the same in three plain steps: faster where a CPU learns, not the same to the last bit
    )
    cache: dict[Any, Any] = field(default_factory=dict)  # for values an operation needs at many sites of this run
    kept: dict[str, Tensor] = field(default_factory=dict)  # maps and features that operations keep

    def of(self, rows: Sequence[int]) -> Pass:
        """The run as these of its rows see it: their times, latents, prompts and references. What they keep is kept here."""
        at = list(rows)
        return replace(
            self,
            time=None if self.time is None else self.time[at],
            latents=None if self.latents is None else self.latents[at],
            prompts=tuple(self.prompts[row] for row in at) if self.prompts else (),
            references=None if self.references is None else self.references.of(at),
        )


@dataclass
class AttentionCall:
    """q, k, v of one layer in one run. An operation returns it, changed or not.

    Shapes: query [B, H, N, d], key and value [B, H, M, d], hidden [B, N, C], states [B, M, D].
    """

    site: Site
    layer: nn.Module
    hidden: Tensor
    states: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    run: Pass
    bias: Tensor | None = None  # added to the logits, broadcast to [B, H, N, M]
    picture: slice = field(default_factory=lambda: slice(None))  # which queries are the picture's
    picture_keys: slice = field(default_factory=lambda: slice(None))  # and which keys and values
    asking: Tensor | None = None  # the picture's queries before their places are turned into them; None: as in `query`
    beside: list[tuple[Tensor, Tensor, Tensor | float]] = field(
        default_factory=list
    )  # (key, value, scale) more branches
    beyond: list[Callable[[Tensor], Tensor]] = field(
        default_factory=list
    )  # of values wider than the heads, what lies beyond [B, H, N, more] -> [B, N, C], added to the layer's output
    on_output: list[Callable[[Tensor], Tensor]] = field(default_factory=list)  # [B, H, N, d] -> same
    on_maps: list[Callable[[Tensor], Tensor]] = field(default_factory=list)  # [B, H, N, M] -> same: asks for the maps
    on_result: list[Callable[[Tensor], Tensor]] = field(
        default_factory=list
    )  # of self- and cross-attention: what the layer returns [B, N, C] -> same

    def queries(self, hidden: Tensor) -> Tensor:
        """What the layer would ask of these hidden states: [B, N, C] -> [B, H, N, d]"""
        layer: Any = self.layer
        asked = split(layer.to_q(hidden), self.query.shape[1])
        return asked if layer.norm_q is None else layer.norm_q(asked)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """What the layer would make of these states, were they read as well: [B, M, D] -> [B, H, M, d] twice"""
        layer: Any = self.layer
        key, value = (split(made(states), self.query.shape[1]) for made in (layer.to_k, layer.to_v))
        return (key if layer.norm_k is None else layer.norm_k(key)), value

    def heads(self, x: Tensor) -> Tensor:
        """[B, M, H*d] -> [B, H, M, d]"""
        return x.view(x.shape[0], x.shape[1], self.query.shape[1], -1).transpose(1, 2)


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
        call = self._call(attn, hidden_states, encoder_hidden_states, attention_mask, run or Pass())
        for operation in call.run.operations:
            call = operation(call)
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
        bias = None
        if mask is not None:
            rows, length = states.shape[:2]
            bias = attn.prepare_attention_mask(mask, length, rows).view(rows, attn.heads, -1, mask.shape[-1])
        if attn.group_norm is not None:
            hidden = attn.group_norm(hidden.transpose(1, 2)).transpose(1, 2)
            states = hidden if text is None else states
        if text is not None and attn.norm_cross:
            states = attn.norm_encoder_hidden_states(states)
        query, key, value = (split(x, attn.heads) for x in (attn.to_q(hidden), attn.to_k(states), attn.to_v(states)))
        query = query if attn.norm_q is None else attn.norm_q(query)
        key = key if attn.norm_k is None else attn.norm_k(key)
        return AttentionCall(self.site, attn, hidden, states, query, key, value, run, bias)


def split(x: Tensor, heads: int) -> Tensor:
    """[B, N, H*d] -> [B, H, N, d]"""
    return x.view(x.shape[0], -1, heads, x.shape[-1] // heads).transpose(1, 2)


def attend(call: AttentionCall) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v, plus the branches beside it: [B, H, N, d].

    Fused, unless an operation asked for the maps or the run asked for plain steps.
    """
    if call.on_maps or not call.run.fused:
        out = _mapped(call.query, call.key, call.value, call.bias, call.on_maps)
    else:
        out = _fused(call.query, call.key, call.value, call.bias)
    for change in call.on_output:
        out = change(out)
    if call.beside:
        asking = call.query[:, :, call.picture] if call.asking is None else call.asking
        parts = [(scale, _branch(asking, key, value, call.run.fused)) for key, value, scale in call.beside]
        out = replaced(out, call.picture, sum((s * x for s, x in parts), start=out[:, :, call.picture]))
    return out


def _branch(query: Tensor, key: Tensor, value: Tensor, fused: bool) -> Tensor:
    return _fused(query, key, value, None) if fused else _mapped(query, key, value, None, ())


def replaced(x: Tensor, part: slice, new: Tensor) -> Tensor:
    """[B, H, N, d] with the places of `part` as in `new`."""
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
"""Name of an attention layer and the layer -> its kind and the host to put in; None leaves the layer as it is."""


def self_or_cross(_: str, layer: Any) -> tuple[Kind, Callable[[Site], Any]]:
    """The layers of a UNet, and of transformers built like one."""
    return ("cross" if layer.is_cross_attention else "self"), Host


def host_sites(denoiser: Any, choose: Choice = self_or_cross) -> tuple[Site, ...]:
    """Put a host into every attention layer of a denoiser; returns the sites in the order they run."""
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
"""In the order they run; diffusers keeps the middle last among a UNet's modules. All of a transformer is the middle."""


def _block(name: str) -> Any:
    first = name.split("_", 1)[0]
    return first if first in ("down", "up") else "mid"
