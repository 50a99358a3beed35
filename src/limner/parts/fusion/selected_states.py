"""Features of the part of a reference image that a text query names (SSR-Encoder, arXiv:2312.16272)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.core.types import split
from limner.errors import InputError
from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.modifiers.parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.subject import Subject
    from limner.core.types import Pass

FEATURES, SELECTED, QUERY = "selected.features", "selected states", "selecting query"


@dataclass(frozen=True)
class selected_states:
    """States for `decoupled_cross_attention`: the patches of the references that a query names, at several depths.

    A = softmax(W_q z_q (W_k z_0)^T / sqrt(width)), with z_q the text encoder's hidden states of the query and z_0 the
    image encoder's patch tokens at its full depth; S_k = A W_v^k z_k at each depth k (Eq. 1 and 2 of arXiv:2312.16272).
    The layers read all S_k, one behind the other: [rows, depths * L_text, C]. The query is the subject's class noun; in
    pre-training, that of each row. Patches of several references are searched together. Patch tokens are normalised
    first, without parameters. Rows without references have states of zeros, and so values of zero.

    As released (`heads` above 0), attention has several heads, patch tokens are not normalised, values have the width
    of the queries, a map of each depth's own makes states of them, and one learned norm follows:
    S_k = LN(W_o^k [A_h W_v^k,h z_k]_h).

    subject: the subject; its noun is the query, its pictures the references
    look: references -> patch tokens [B, R, L, depths, D], the full depth first
    width: width of the queries and keys that select patches; a multiple of `heads`
    heads: attention heads of the released form; 0 is the paper's form
    """

    subject: Subject
    look: Look
    width: int = 64
    heads: int = 0

    def __call__(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        features = looked_at(base, self.subject, self.look, stored, FEATURES)
        start = self._start(base, features.shape[-2], features.shape[-1], generator)
        parameters = taken(start, stored, base, what="the selecting encoder")
        known: dict[str, Tensor] = {}  # query -> its hidden states

        def make(own: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            tokens, on = looked_at_by_rows(base, run, self.look, own[FEATURES], rows)
            query = _read(base, self._queries(run, rows), known)
            scales = self.scales(own, tokens, query)  # [depths, rows, L_text, C]
            run.activations[SELECTED], run.activations[QUERY] = scales.mean(2), query.mean(1)
            return scales.movedim(0, 1).flatten(1, 2) * on.to(scales).view(-1, 1, 1)

        return {**parameters, FEATURES: features}, make

    def attention(self, own: Mapping[str, Tensor], tokens: Tensor, query: Tensor) -> Tensor:
        """[B, heads, L_text, R * L]: the share of each patch, for patch tokens [B, R, L, depths, D] and a query [B,
        L_text, C]; the paper's form has one head."""
        patches = self._seen(tokens[..., 0, :]).flatten(1, 2)  # [B, R * L, D]
        asked, offered = (
            split(x, self.heads or 1) for x in (query @ own["selected.query"].T, patches @ own["selected.key"].T)
        )
        return (asked @ offered.mT * asked.shape[-1] ** -0.5).softmax(-1)

    def scales(self, own: Mapping[str, Tensor], tokens: Tensor, query: Tensor) -> Tensor:
        """[depths, B, L_text, C]: S_k of every depth."""
        import torch
        import torch.nn.functional as F

        shares = self.attention(own, tokens, query)
        depths = self._seen(tokens).flatten(1, 2).unbind(2)  # each [B, R * L, D]
        values = (split(z @ own[f"selected.value.{k}"].T, self.heads or 1) for k, z in enumerate(depths))
        states = [(shares @ value).transpose(1, 2).flatten(2) for value in values]
        if not self.heads:
            return torch.stack(states)
        made = torch.stack([state @ own[f"selected.out.{k}"].T for k, state in enumerate(states)])
        return F.layer_norm(made, made.shape[-1:], own["selected.norm.weight"], own["selected.norm.bias"])

    def _seen(self, tokens: Tensor) -> Tensor:
        return tokens if self.heads else _normalised(tokens)

    def _start(self, base: Base, depths: int, dim: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        wide = base.attended_width

        def matrix(out: int, into: int) -> Tensor:
            return torch.randn(out, into, generator=generator) / into**0.5

        inner = self.width if self.heads else wide
        start = {"selected.query": matrix(self.width, wide), "selected.key": matrix(self.width, dim)}
        start |= {f"selected.value.{k}": matrix(inner, dim) for k in range(depths)}
        if self.heads:
            start |= {f"selected.out.{k}": matrix(wide, inner) for k in range(depths)}
            start |= {"selected.norm.weight": torch.ones(wide), "selected.norm.bias": torch.zeros(wide)}
        return start

    def _queries(self, run: Pass, rows: int) -> Sequence[str]:
        nouns = run.references.nouns if run.references is not None else ()
        return nouns or [self.subject.noun] * rows


def query_consistency(source: Source) -> Objective:
    """Sum over depths of 1 - cos(mean of S_k, mean of z_q): selected features stay near the query that selected them.

    This is embedding consistency regularisation (Eq. 5 of arXiv:2312.16272). Rows without references do not count.
    Raises `InputError` on a base where `selected_states` made nothing.

    source: batches with references
    """

    def value(step: Step) -> Tensor:
        import torch.nn.functional as F

        prediction, references = step.prediction, step.batch.references
        tensors = prediction.run.activations if prediction.run else {}
        if SELECTED not in tensors or references is None:
            raise InputError(
                "query consistency needs `selected_states` and references in the same stage; found neither"
            )
        near = F.cosine_similarity(tensors[SELECTED].float(), tensors[QUERY].float(), dim=-1)  # [depths, rows]
        counts = references.on.to(near)
        return ((1 - near).sum(0) * counts).sum() / counts.sum().clamp_min(1)

    return Objective(f"query consistency({source.name})", source, value, across=True)


def _read(base: Base, queries: Sequence[str], known: dict[str, Tensor]) -> Tensor:
    """[B, L_text, C]: the states that attention reads of each query; every query is encoded once."""
    import torch

    new = sorted(set(queries) - known.keys())
    if new:
        with torch.no_grad():
            known.update(zip(new, base.attended(base.text_states(new, words={})), strict=True))
    return torch.stack([known[query] for query in queries])


def _normalised(tokens: Tensor) -> Tensor:
    import torch.nn.functional as F

    return F.layer_norm(tokens, tokens.shape[-1:])
