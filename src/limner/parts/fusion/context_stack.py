"""A stack of cross-attention layers for pictures, beside that for text (Versatile Diffusion, arXiv:2211.08332)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from limner.core.streams import stream
from limner.core.types import Live
from limner.errors import UnknownName
from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.modifiers.parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass, Site

LAYERS = ("query", "key", "value", "out")
MIXINGS = ("attention", "layer")


@dataclass(frozen=True)
class context_stack:
    """Two flows through one denoiser: convolutions and self-attention are shared, cross-attention is not.

    In the image flow every cross-attention site is a layer of its own, which reads picture features [B, L, D] and no
    text (arXiv:2211.08332). In sampling a site gives ratio * text's + (1 - ratio) * pictures' (mixing by "attention" in
    the authors' vd.py), or one of the two, drawn anew in every step (mixing by "layer" there). In training, rows with
    references are the image flow alone, others the text flow. The layers start as copies of the text's where the widths
    allow. Rows without pictures read zeros.

    subject: the subject whose pictures are used in sampling
    look: base and references -> features [B, L, D]
    ratio: share of the text flow in sampling, from 0 to 1: 1 is the text flow, 0 the image flow, both bit for bit
    mixing: "attention", the sum at every site, or "layer", one flow at each site, the text flow with probability
        `ratio`
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    look: Look
    ratio: float = 0.5
    mixing: str = "attention"
    name: str = "context_stack"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        if self.mixing not in MIXINGS:
            raise UnknownName("mixing", self.mixing, MIXINGS)
        features = looked_at(base, self.subject, self.look, stored, f"{self.name}.features")
        sites = {site.name: site for site in base.sites if site.kind in self.acts_in}
        start = {
            f"{self.name}.{name}.{key}": tensor
            for name, site in sites.items()
            for key, tensor in _copies(base, site, features.shape[-1], generator).items()
        }
        own = taken(start, stored, base, what="the pictures' context stack")
        live = Live({**own, f"{self.name}.features": features})

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.name in sites and live.on:
                states = self._states(base, call.run, features, len(call.query))
                given = {key: own[f"{self.name}.{call.site.name}.{key}"] for key in (*LAYERS, "bias")}
                picture, share = _attended(call, states, given), 1 - scale * (1 - self._share(call))
                call.on_result.append(lambda text: picture.to(text).lerp(text, share))
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _share(self, call: AttentionCall) -> Tensor | float:
        """The text flow's share in a call, or in each of its rows [B, 1, 1]."""
        import torch

        run = call.run
        if run.random is not None:
            return float(run.references is None)
        if self.mixing == "attention":
            return self.ratio
        seeds, about = run.seeds or (0,) * len(call.query), (call.site.index, run.step or 0)
        draws = torch.cat([torch.rand(1, generator=stream(seed, "context of a layer", *about)) for seed in seeds])
        return (draws < self.ratio).to(call.query).view(-1, 1, 1)

    def _states(self, base: Base, run: Pass, features: Tensor, rows: int) -> Tensor:
        """[rows, L, D]"""
        if id(self) not in run.cache:
            seen, on = looked_at_by_rows(base, run, self.look, features, rows)
            run.cache[id(self)] = seen * on.to(seen).view(-1, 1, 1)
        states: Tensor = run.cache[id(self)]
        return states


def _copies(base: Base, site: Site, dim: int, generator: Generator) -> dict[str, Tensor]:
    """A layer's weights for contexts that are `dim` wide."""
    import torch

    (query, out), (key, value) = base.query_out(site), base.key_value(site)
    weights = {"query": query.weight, "out": out.weight, "bias": out.bias}
    for name, layer in (("key", key), ("value", value)):
        new = torch.randn(layer.out_features, dim, generator=generator) / dim**0.5
        weights[name] = layer.weight if layer.weight.shape == new.shape else new
    return {name: tensor.detach().float().cpu() for name, tensor in weights.items()}


def _attended(call: AttentionCall, states: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """[B, N, C]: output of the pictures' layer."""
    import torch.nn.functional as F

    from limner.bases.common.attention import attend

    query, key, value = (
        call.heads(F.linear(x, own[name])) for name, x in zip(LAYERS, (call.hidden, states, states), strict=False)
    )
    alone = replace(call, query=query, key=key, value=value, bias=None, beside=[], beyond=[], on_output=[], on_maps=[])
    return F.linear(attend(alone).transpose(1, 2).flatten(2), own["out"], own["bias"])
