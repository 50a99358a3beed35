"""Tokens that a resampler makes of what is seen of a subject, for attention beside that to the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.encoders.resampler import Resampler
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass

    from .decoupled_cross_attention import Tokens


def resampled_tokens(
    subject: Subject, look: Look, *, tokens: int = 16, resampler: Resampler | None = None, name: str = "resampled"
) -> Tokens:
    """For the `states` of `decoupled_cross_attention`: learned queries that a resampler answers from a look at a row's
    pictures (InstantID, Sec. 3.2 of arXiv:2401.07519). Rows that see nothing, negative branches among them, have the
    resampler's answer to zeros.

    subject: whose pictures are seen while painting
    look: features of all pictures of a row, one vector [B, F] or several [B, L, F]
    tokens: how many vectors there are
    resampler: its shape; None: a small one, without a norm before its last layer
    name: how the names of tensors begin
    """
    shape = resampler or Resampler(normed=False)

    def states(
        base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        import torch

        prefix = f"image.{name}."
        given = under(prefix, stored)
        features = looked_at(base, subject, look, given, "features")
        site = next(site for site in base.sites if site.kind in ("cross", "joint"))
        wide = base.key_value(site)[0].weight.shape[1]
        start = {"queries": torch.randn(tokens, shape.width, generator=generator) / shape.width**0.5}
        start |= shape.start(features.shape[-1], wide, generator)
        own = prefixed(prefix, {**taken(start, given, base, what="the resampler"), "features": features})

        def make(every: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            mine = under(prefix, every)
            seen, on = looked_at_by_rows(base, run, look, mine["features"], rows)
            seen = seen[:, None] if seen.ndim == 2 else seen
            return shape(mine, seen * on.to(seen).view(-1, 1, 1), mine["queries"].expand(rows, -1, -1))

        return own, make

    return states
