"""Tokens of a set of pictures, learned through decoders that are dropped afterwards (Omni-ID, arXiv:2412.09694)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.parts.encoders.clip import clip_last
from limner.parts.encoders.looks import all_of, looked_at, looked_at_by_rows
from limner.parts.encoders.qformer import QueryFormer
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.subject import Subject
    from limner.core.types import Pass
    from limner.parts.encoders.looks import Look

    from .decoupled_cross_attention import decoupled_cross_attention

SIDE = 4
"""Patches along a side of a decoder's target picture."""
PIXELS = 32
"""Side of the masked decoder's output in pixels."""
DECODERS = ("masked", "flow")


@dataclass(frozen=True)
class set_tokens:
    """For the `states` of `decoupled_cross_attention`: learned queries attend to the patch tokens of all of a row's
    pictures.

    They become as many vectors, however many pictures there are (Sec. 3.1 of arXiv:2412.09694). Two decoders, for
    `few_to_many` alone, are among the parameters: one reconstructs the masked patches of a picture, one predicts the
    flow of its latents, each from these vectors and its patches.

    subject: the subject whose pictures are used in sampling
    former: shape of the encoder
    decoder: shape of both decoders; they have a query for each patch
    name: prefix of its tensors' names
    """

    subject: Subject
    former: QueryFormer = QueryFormer(queries=8, layers=2, width=96, heads=4, hidden=192)
    decoder: QueryFormer = QueryFormer(queries=SIDE**2, layers=2, width=96, heads=4, hidden=192)
    name: str = "set"

    @property
    def look(self) -> Look:
        """[B, R * L, D]: patch tokens of all pictures."""
        return all_of(clip_last)

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
        wide, width = base.key_value(site)[0].weight.shape[1], self.former.width
        start = prefixed("encoder.", self.former.start(features.shape[-1], width, generator))
        start["onto"] = torch.randn(wide, width, generator=generator) / width**0.5
        for name, size in zip(DECODERS, self._patch_sizes(base), strict=True):
            start |= prefixed(f"{name}.", self.decoder.start(width, width, generator))
            start[f"{name}.patch"] = torch.randn(width, size + 1, generator=generator) / size**0.5
            start[f"{name}.place"] = torch.randn(SIDE**2, width, generator=generator)
            start[f"{name}.out"] = torch.randn(size, self.decoder.width, generator=generator) * 0.1
        own = prefixed(self.prefix, {**taken(start, given, base, what="the tokens of a set"), "features": features})

        def make(every: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            import torch.nn.functional as F

            mine = under(self.prefix, every)
            seen, on = looked_at_by_rows(base, run, self.look, mine["features"], rows)
            made = F.linear(self.tokens(mine, seen), mine["onto"])
            return F.layer_norm(made, made.shape[-1:]) * on.to(made).view(-1, 1, 1)

        return own, make

    def _patch_sizes(self, base: Base) -> tuple[int, int]:
        """Width of a patch of pixels, and of one of latents."""
        channels, height, width = base.latent_shape
        return 3 * (PIXELS // SIDE) ** 2, channels * (height // SIDE) * (width // SIDE)

    def tokens(self, own: Mapping[str, Tensor], seen: Tensor) -> Tensor:
        """[B, queries, width] from patch tokens [B, R * L, D]."""
        return self.former(under("encoder.", own), seen)

    def decoded(self, own: Mapping[str, Tensor], name: str, tokens: Tensor, patches: Tensor, level: Tensor) -> Tensor:
        """[B, SIDE^2, size]: a decoder's patches, from tokens [B, queries, width], patches [B, SIDE^2, size] and a
        number of each."""
        import torch
        import torch.nn.functional as F

        shown = F.linear(torch.cat([patches, level[..., None].to(patches)], -1), own[f"{name}.patch"])
        places = torch.cat([tokens, shown + own[f"{name}.place"]], 1)
        hidden = self.decoder(under(f"{name}.", own), places)
        return F.linear(hidden, own[f"{name}.out"])


def few_to_many(
    source: Source, fusion: decoupled_cross_attention, tokens: set_tokens, *, masked: float = 0.75
) -> Objective:
    """Sum of both decoders' mean squared errors on targets that are not among the pictures read.

    One reconstructs masked patches of pixels, the other predicts the flow x_0 - n at x_t = (1 - t) n + t x_0 of latents
    (Sec. 3.2 of arXiv:2412.09694). Each update reads 1 to R pictures.

    source: pairs with several references
    fusion: the modifier that has these tokens
    tokens: the part that makes them
    masked: share of a target's patches that are hidden from the first decoder, from 0 to 1
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        base, shown = step.adapted.base, step.batch.references
        assert shown is not None
        own = under(tokens.prefix, step.adapted.live[fusion].tensors)
        count = 1 + int(torch.randint(shown.pixels.shape[1], (), generator=step.random("pictures to see")))
        seen = tokens.look(base, replace(shown, pixels=shown.pixels[:, :count])).to(base.dtype)
        code, latents = tokens.tokens(own, seen), step.batch.latents
        with torch.no_grad():
            small = F.interpolate(base.decode(latents).float(), (PIXELS, PIXELS), mode="area") * 2 - 1
        pixels, rows = patched(small.to(latents)), len(latents)
        hidden = (torch.rand(rows, SIDE**2, generator=step.random("masked")) < masked).to(pixels.device)
        painted = tokens.decoded(own, "masked", code, pixels * ~hidden[..., None], hidden)
        wrong = (painted - pixels).square().mean(-1)
        first = (wrong * hidden).sum() / hidden.sum().clamp_min(1)
        t = torch.rand(rows, 1, generator=step.random("flow")).to(latents)
        noise, clean = patched(step.noise), patched(latents)
        mixed = (1 - t[..., None]) * noise + t[..., None] * clean
        flow = tokens.decoded(own, "flow", code, mixed, t.expand(-1, SIDE**2))
        total: Tensor = first + (flow - (clean - noise)).square().mean()
        return total

    return Objective(f"few to many({source.name})", source, value, any_target=True, across=True)


def patched(x: Tensor) -> Tensor:
    """[B, SIDE^2, C * H / SIDE * W / SIDE]: the patches of pictures.

    x: [B, C, H, W]
    """
    cut = x.unflatten(3, (SIDE, -1)).unflatten(2, (SIDE, -1))  # [B, C, SIDE, h, SIDE, w]
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
