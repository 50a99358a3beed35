"""Details of the subject's pictures beside the text's attention, gated by the token's attention (ELITE,
arXiv:2302.13848)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from limner.core.types import Live
from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.encoders.perceptron import perceptron, perceptron_start
from limner.parts.modifiers.parameters import prefixed, taken, under
from limner.parts.modifiers.states import other_words

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass

Detailing: TypeAlias = "Callable[[Base, tuple[int, ...], Generator], tuple[dict[str, Tensor], Details]]"
"""Base, shape [1, …] of the features, generator -> parameters at their start, and how features become details."""

Details: TypeAlias = "Callable[[Mapping[str, Tensor], Tensor], Tensor]"
"""Parameters, features [B, …] -> details [B, M, D], as wide as the text's states."""


@dataclass(frozen=True)
class local_attention:
    """Added to the text's output in rows that name the subject: strength * gate * attention(Q, K_l, V_l).

    The gate is the token's attention map scaled to a maximum of 1 over positions and heads (Eq. 6 of arXiv:2302.13848).
    K_l and V_l are the base's keys and values with a low-rank change, of details of the subject's pictures. In training
    the strength is 1. Another modifier, earlier in the recipe, defines the token. Rows without pictures are unchanged,
    and so are all rows in a stage that trains something else from references. (The authors' code scales by the maximum
    over the whole batch; here rows do not depend on each other.)

    subject: the subject; its handle is the token
    look: base and references -> features [B, …]
    detailing: features -> details [B, M, D]
    strength: factor of the attention in sampling
    rank: rank of the change of keys and values
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    look: Look
    detailing: Detailing
    strength: float = 1.0
    rank: int = 12
    name: str = "local_attention"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        prefix = f"{self.name}."
        given = under(prefix, stored)
        features = looked_at(base, self.subject, self.look, given, "features")
        start, details = self.detailing(base, tuple(features.shape), generator)
        start |= self._layers(base, generator)
        own = taken(start, given, base, what="the local attention")
        live = Live(prefixed(prefix, {**own, "features": features}))

        def operation(call: AttentionCall) -> AttentionCall:
            run = call.run
            rows = [k for k, prompt in enumerate(run.prompts) if self.subject.handle in prompt]
            waiting = run.references is not None and not any(p.requires_grad for p in own.values())
            strength = scale * (self.strength if run.random is None else 1.0)
            if call.site.kind == "cross" and live.on and rows and strength and not waiting:
                if id(self) not in run.cache:
                    run.cache[id(self)] = self._seen(base, run, rows, features, own, details)
                self._add(base, call, rows, own, run.cache[id(self)], strength)
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _layers(self, base: Base, generator: Generator) -> dict[str, Tensor]:
        """The changes of keys and values at every site, zero at first."""
        import torch

        start = {}
        for site in (site for site in base.sites if site.kind == "cross"):
            for part, layer in zip(("key", "value"), base.key_value(site), strict=True):
                wide = layer.in_features
                start[f"{site.name}.{part}.down"] = torch.randn(self.rank, wide, generator=generator) / wide**0.5
                start[f"{site.name}.{part}.up"] = torch.zeros(layer.out_features, self.rank)
        return start

    def _seen(
        self,
        base: Base,
        run: Pass,
        rows: list[int],
        features: Tensor,
        own: Mapping[str, Tensor],
        details: Details,
    ) -> tuple[Tensor, Tensor]:
        """Details [rows, M, D]; and [rows, 1, 1, 1]: 0 for rows without pictures."""
        seen, on = looked_at_by_rows(base, run, self.look, features, len(run.prompts))
        states = details(own, features if run.references is None else seen[rows]).expand(len(rows), -1, -1)
        return states, on[rows].to(states).view(-1, 1, 1, 1)

    def _add(
        self,
        base: Base,
        call: AttentionCall,
        rows: list[int],
        own: Mapping[str, Tensor],
        seen: tuple[Tensor, Tensor],
        strength: float,
    ) -> None:
        import torch
        import torch.nn.functional as F

        states, on = seen
        key, value = (
            call.heads(self._projected(layer, own, f"{call.site.name}.{part}", states))
            for part, layer in zip(("key", "value"), base.key_value(call.site), strict=True)
        )
        call.run.activations[f"{self.name} values, {call.site.name}"] = value
        at = torch.tensor(rows, device=call.query.device)
        read: list[Tensor] = []

        def keep(maps: Tensor) -> Tensor:
            read.append(self._read(base, call.run, maps, rows))
            return maps

        def add(out: Tensor) -> Tensor:
            attention = F.scaled_dot_product_attention(call.query[at], key.to(call.query), value.to(call.query))
            return out.index_add(0, at, (strength * on * gate(read[0])[..., None] * attention).to(out))

        call.on_maps.append(keep)
        call.on_output.append(add)

    def _projected(self, layer: Any, own: Mapping[str, Tensor], name: str, states: Tensor) -> Tensor:
        import torch.nn.functional as F

        more = F.linear(F.linear(states, own[f"{name}.down"]), own[f"{name}.up"])
        return F.linear(states, layer.weight) + more

    def _read(self, base: Base, run: Pass, maps: Tensor, rows: list[int]) -> Tensor:
        """[rows, H, N]: attention to the token, to its first vector where it has several."""
        import torch

        word = self.subject.handle
        places = [
            base.word_places(run.prompts[row], word, words={**other_words(run, row, but=word), word: torch.zeros(1, 1)})
            for row in rows
        ]
        return torch.stack([maps[row][..., at].sum(-1) for row, at in zip(rows, places, strict=True)])


def gate(maps: Tensor) -> Tensor:
    """[B, H, N]: maps scaled to a maximum of 1 in each row.

    maps: [B, H, N]
    """
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-8)


@dataclass(frozen=True)
class details_of_depths:
    """Hidden states of R pictures at several depths, with the mask [B, R, L, depths, D + 1] -> details [B, R * (L - 1),
    D'].

    Each is a perceptron of the class token plus one of the patch token, the mean over the depths, and zero outside the
    subject (the local mapping of ELITE, arXiv:2302.13848).

    hidden: width of the perceptrons
    layers: linear maps of each perceptron
    """

    hidden: int = 48
    layers: int = 2

    def __call__(self, base: Base, shape: tuple[int, ...], generator: Generator) -> tuple[dict[str, Tensor], Details]:
        start: dict[str, Tensor] = {}
        wide = base.attended_width
        for depth in range(shape[-2]):
            for what in ("whole", "places"):
                start |= perceptron_start(
                    f"{what}.{depth}", shape[-1] - 1, self.hidden, wide, generator, layers=self.layers
                )

        def details(own: Mapping[str, Tensor], seen: Tensor) -> Tensor:
            states, where = seen[..., :-1], seen[:, :, 1:, 0, -1:]
            depths = range(states.shape[3])
            total = sum(
                perceptron(own, f"whole.{k}", states[:, :, :1, k]) + perceptron(own, f"places.{k}", states[:, :, 1:, k])
                for k in depths
            )
            return (total / len(depths) * where).flatten(1, 2)

        return start, details
