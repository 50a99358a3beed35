"""Tokens of the style of pictures, of their patches without places and without a class token (StyleAdapter,
arXiv:2309.01770)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.parts.encoders.clip import shuffled_patches, unplaced_patches
from limner.parts.encoders.layers import block, blocked, linear, mapped, normal, normed
from limner.parts.encoders.looks import all_of, looked_at, shown_rows
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass
    from limner.parts.encoders.looks import Look


@dataclass(frozen=True)
class style_tokens:
    """For the `states` of `decoupled_cross_attention`: learned queries and the patch tokens of all of a row's pictures
    pass a small transformer, whose outputs for the queries are the style's tokens (arXiv:2309.01770).

    CLIP runs without its class token. In training, every picture's patches get CLIP's position embeddings in an order
    at random; in sampling, all patches have the mean of these, so that the tokens are the same for every order of the
    patches. Rows without pictures read zeros.

    subject: the subject whose pictures are used in sampling
    queries: number of tokens
    layers: layers of the transformer
    width: width of the transformer
    name: prefix of its tensors' names
    """

    subject: Subject
    queries: int = 8
    layers: int = 2
    width: int = 96
    name: str = "style"

    @property
    def look(self) -> Look:
        """[B, R * L, D]: patch tokens of all pictures."""
        return all_of(unplaced_patches)

    @property
    def prefix(self) -> str:
        return f"image.{self.name}."

    def __call__(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        import torch

        given = under(self.prefix, stored)
        features = looked_at(base, self.subject, self.look, given, "features")
        site = next(site for site in base.sites if site.kind in ("cross", "joint"))
        wide = base.key_value(site)[0].weight.shape[1]
        start = {"queries": torch.randn(self.queries, self.width, generator=generator)}
        start |= linear("patches", self.width, features.shape[-1], generator) | normal("norm", self.width)
        for k in range(self.layers):
            start |= block(f"layers.{k}", self.width, 2 * self.width, generator)
        start |= linear("out", wide, self.width, generator) | normal("states", wide)
        own = prefixed(self.prefix, {**taken(start, given, base, what="the style's tokens"), "features": features})

        def make(every: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            mine = under(self.prefix, every)
            patches, on = self._seen(base, run, mine["features"], rows), shown_rows(run, rows)
            return self.tokens(mine, patches) * on.to(patches).view(-1, 1, 1)

        return own, make

    def tokens(self, own: Mapping[str, Tensor], patches: Tensor) -> Tensor:
        """[B, queries, C]: the style's tokens, from patch tokens [B, R * L, D] in any order."""
        import torch

        queries = own["queries"].expand(len(patches), -1, -1)
        x = normed(own, "norm", torch.cat([queries, mapped(own, "patches", patches)], 1))
        for k in range(self.layers):
            x = blocked(own, f"layers.{k}", x, max(4, self.width // 64))
        return normed(own, "states", mapped(own, "out", x[:, : self.queries]))

    def _seen(self, base: Base, run: Pass, features: Tensor, rows: int) -> Tensor:
        """[rows, R * L, D]: patch tokens of each row of a run."""
        if run.references is None or run.random is None:
            return features.expand(rows, -1, -1)
        shuffled = shuffled_patches(run.random("places of patches"))
        return all_of(shuffled)(base, run.references).to(base.dtype)
