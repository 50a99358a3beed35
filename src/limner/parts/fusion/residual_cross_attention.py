"""Attention that reads a subject's vectors with queries made of what attention to the text returned (W-Plus-Adapter,
arXiv:2311.17461)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live, split
from limner.parts.attention.regions import within_region
from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass

    from .decoupled_cross_attention import Tokens

PARTS = ("query", "key", "value")
CHANGED_CODES = "changed codes"
"""A run's cache may hold a function under this name: codes [rows, L, D] that are read -> those to read in their place.
"""
GROUPS = 4


@dataclass(frozen=True)
class residual_cross_attention:
    """out = A + scale * attention(Q'(A), K' s, V' s) in every cross-attention layer, A being what the attention to the
    text returns, before the layer's output projection, and s the subject's vectors (Sec. 3.2 of arXiv:2311.17461).
    Q', K' and V' start as copies of the text's.

    Arguments:
        subject: it acts in the subject's region, where it has one
        states: makes the vectors
        scale: strength
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    states: Tokens
    scale: float = 1.0

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        strength = scale * self.scale
        own, make = self.states(base, stored, generator)
        live = Live(tensors={**own, **self._projections(base, stored)})

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind == "cross" and live.on:
                call.on_output.append(
                    lambda out: out + strength * within_region(call, self.subject.handle) * read(call, out)
                )
            return call

        def read(call: AttentionCall, out: Tensor) -> Tensor:
            if id(self) not in call.run.cache:
                call.run.cache[id(self)] = make(live.tensors, call.run, len(out))
            states: Tensor = call.run.cache[id(self)]
            return attended(out, states, under(f"image.{call.site.name}.", live.tensors))

        if strength:
            live.operations = (operation,)
        yield live

    def _projections(self, base: Base, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        start: dict[str, Tensor] = {}
        for site in (site for site in base.sites if site.kind == "cross"):
            layers = (base.query_out(site)[0], *base.key_value(site))
            start |= {f"image.{site.name}.{part}": layer.weight for part, layer in zip(PARTS, layers, strict=True)}
        return taken(start, stored, base, what="the residual cross-attention")


def attended(out: Tensor, states: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """[B, H, N, d]: attention to states [B, M, D], with queries of what another attention returned.

    out: [B, H, N, d] of the other attention
    states: [B, M, D]
    own: "query" [C, C], "key" and "value" [C, D], C being H * d
    """
    import torch.nn.functional as F

    heads, flat = out.shape[1], out.transpose(1, 2).flatten(2)
    asked = ((flat, "query"), (states.to(flat), "key"), (states.to(flat), "value"))
    query, key, value = (split(F.linear(x, own[part]), heads) for x, part in asked)
    return F.scaled_dot_product_attention(query, key, value)


def code_tokens(subject: Subject, look: Look, *, name: str = "w_plus") -> Tokens:
    """For the `states` of an attention: a code [L, D] in W+ becomes GROUPS vectors, each a linear map of some
    neighbouring rows, all normalised (coarse rows four by four of 18, the rest together). No code is a code of zeros.

    subject: whose code is read while painting
    look: a code [B, L, D] of all pictures of a row, such as the mean of `gan_latent`'s
    name: how the names of tensors begin
    """

    def states(
        base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        import torch

        prefix = f"image.{name}."
        given = under(prefix, stored)
        codes = looked_at(base, subject, look, given, "features")
        sizes, wide = groups(codes.shape[1]), base.key_value(next(s for s in base.sites if s.kind == "cross"))[0].weight
        start = {
            f"group.{k}": torch.randn(wide.shape[1], size * codes.shape[2], generator=generator)
            / (size * codes.shape[2]) ** 0.5
            for k, size in enumerate(sizes)
        }
        start |= {"norm.weight": torch.ones(wide.shape[1]), "norm.bias": torch.zeros(wide.shape[1])}
        own = prefixed(prefix, {**taken(start, given, base, what="the map of codes"), "features": codes})

        def make(every: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            import torch.nn.functional as F

            mine = under(prefix, every)
            seen, on = looked_at_by_rows(base, run, look, mine["features"], rows)
            if CHANGED_CODES in run.cache:
                seen = run.cache[CHANGED_CODES](seen)
            parts = (seen * on.to(seen).view(-1, 1, 1)).split(sizes, 1)
            made = torch.stack([F.linear(part.flatten(1), mine[f"group.{k}"]) for k, part in enumerate(parts)], 1)
            return F.layer_norm(made, made.shape[-1:], mine["norm.weight"], mine["norm.bias"])

        return own, make

    return states


def groups(rows: int) -> list[int]:
    """How many rows of a code each vector is made of: 4, 4, 4 and 6 of 18."""
    each = max(1, 2 * rows // 9)
    return [each] * (GROUPS - 1) + [rows - each * (GROUPS - 1)]
