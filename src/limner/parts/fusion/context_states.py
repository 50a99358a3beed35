"""States of a picture by a semantic context encoder, for cross-attention (Prompt-Free Diffusion, arXiv:2305.16223)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from limner.parts.encoders.looks import first_of, looked_at, looked_at_by_rows
from limner.parts.encoders.semantic_context import clip_pyramid
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass
    from limner.parts.encoders.semantic_context import SemanticContext

    from .decoupled_cross_attention import Tokens


def context_states(subject: Subject, shape: SemanticContext, *, name: str = "context") -> Tokens:
    """For the `states` of `states_for_text`: a semantic context encoder's states of the first picture of each row.

    Nothing in it depends on the denoiser, so its tensors fit every base that reads text of the same width and has the
    same image encoder. Rows without references, and negative branches, read zeros, as in the authors' app.py.

    subject: the subject whose first picture is used in sampling
    shape: shape of the encoder
    name: prefix of its tensors' names
    """
    prefix, look = f"{name}.", first_of(clip_pyramid)

    def states(
        base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        given = under(prefix, stored)
        features = looked_at(base, subject, look, given, "features")
        site = next(site for site in base.sites if site.kind == "cross")
        start = shape.start(features.shape[-1], base.key_value(site)[0].weight.shape[1], generator)
        own = prefixed(prefix, {**taken(start, given, base, what="the context encoder"), "features": features})

        def make(every: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            mine = under(prefix, every)
            seen, on = looked_at_by_rows(base, run, look, mine["features"], rows)
            return shape(mine, seen) * on.to(seen).view(-1, 1, 1)

        return own, make

    return states
