"""Tokens of a whole set of pictures, for attention beside that to the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.encoders.perceptron import perceptron, perceptron_start
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass

    from .decoupled_cross_attention import Tokens


def looked_tokens(subject: Subject, look: Look, *, tokens: int = 4, hidden: int = 256, name: str = "looked") -> Tokens:
    """For the `states` of `decoupled_cross_attention`: vectors that a perceptron makes of a row's features, normalised.

    Rows without pictures, negative branches among them, have the vectors of features that are all zeros.

    subject: the subject whose pictures are used in sampling
    look: base and references -> features [B, F], such as the mean of an encoder's
    tokens: number of vectors
    hidden: width of the perceptron
    name: prefix of its tensors' names
    """

    def states(
        base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        prefix = f"image.{name}."
        given = under(prefix, stored)
        features = looked_at(base, subject, look, given, "features")
        site = next(site for site in base.sites if site.kind in ("cross", "joint"))
        wide = base.key_value(site)[0].weight.shape[1]
        start = perceptron_start("token", features.shape[-1], hidden, tokens * wide, generator)
        own = prefixed(prefix, {**taken(start, given, base, what="the tokens of pictures"), "features": features})

        def make(every: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            import torch.nn.functional as F

            mine = under(prefix, every)
            seen, on = looked_at_by_rows(base, run, look, mine["features"], rows)
            made = perceptron(mine, "token", seen * on.to(seen)[:, None]).unflatten(-1, (tokens, wide))
            return F.layer_norm(made, made.shape[-1:])

        return own, make

    return states


def face_tokens(subject: Subject, look: Look, *, tokens: int = 4, name: str = "face") -> Tokens:
    """For the `states` of `decoupled_cross_attention`: IP-Adapter-FaceID's projection of a face's embedding.

    LN(second(gelu(first(x)))), with a hidden layer twice as wide as x, biases, and one learned norm for all vectors
    (`MLPProjModel` of tencent-ailab/IP-Adapter). Rows without pictures have the vectors of zeros.

    subject: the subject whose pictures are used in sampling
    look: base and references -> features [B, F], such as the mean of a recogniser's
    tokens: number of vectors
    name: prefix of its tensors' names
    """

    def states(
        base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        import torch

        prefix = f"image.{name}."
        given = under(prefix, stored)
        features = looked_at(base, subject, look, given, "features")
        site = next(site for site in base.sites if site.kind in ("cross", "joint"))
        wide, into = base.key_value(site)[0].weight.shape[1], features.shape[-1]
        start = {
            "first.weight": torch.randn(2 * into, into, generator=generator) / into**0.5,
            "first.bias": torch.zeros(2 * into),
            "second.weight": torch.randn(tokens * wide, 2 * into, generator=generator) / (2 * into) ** 0.5,
            "second.bias": torch.zeros(tokens * wide),
            "norm.weight": torch.ones(wide),
            "norm.bias": torch.zeros(wide),
        }
        own = prefixed(prefix, {**taken(start, given, base, what="the tokens of a face"), "features": features})

        def make(every: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            import torch.nn.functional as F

            mine = under(prefix, every)
            seen, on = looked_at_by_rows(base, run, look, mine["features"], rows)
            hidden = F.gelu(F.linear(seen * on.to(seen)[:, None], mine["first.weight"], mine["first.bias"]))
            made = F.linear(hidden, mine["second.weight"], mine["second.bias"]).unflatten(-1, (tokens, wide))
            return F.layer_norm(made, made.shape[-1:], mine["norm.weight"], mine["norm.bias"])

        return own, make

    return states
