"""Tokens of a style at three depths, and a content adapter that is there in training alone (ArtAdapter,
arXiv:2312.02109)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.errors import InputError
from limner.parts.encoders.autoencoder import LEVELS, autoencoder_levels
from limner.parts.encoders.clip import clip_global
from limner.parts.encoders.layers import linear, mapped, normal, normed
from limner.parts.encoders.looks import each_of, first_of, looked_at, shown_rows
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass


@dataclass(frozen=True)
class level_tokens:
    """For the `states` of `decoupled_cross_attention`: a set of tokens for each of three depths of an encoder (Sec. 3
    of arXiv:2312.02109), made by two layers from the depth's features alone.

    In training, a row's style is its last reference; in sampling, each depth reads the mean of the subject's pictures,
    or one of them. Rows without references read zeros.

    subject: the subject whose pictures are used in sampling
    pictures: for each depth, the number of the picture that it reads in sampling, from 1; 0 is the mean of all
    tokens: number of tokens for each depth
    width: width between the two layers
    name: prefix of its tensors' names
    """

    subject: Subject
    pictures: tuple[int, int, int] = (0, 0, 0)
    tokens: int = 4
    width: int = 64
    name: str = "levels"

    @property
    def prefix(self) -> str:
        return f"image.{self.name}."

    def __call__(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        given = under(self.prefix, stored)
        features = looked_at(base, self.subject, each_of(autoencoder_levels), given, "features")  # [1, R, 3, D]
        if self.subject.pictures and max(self.pictures) > features.shape[1]:
            raise InputError(
                f"a level is to read picture {max(self.pictures)} of {self.subject.name}, and there are "
                f"{features.shape[1]}: count from 1, or give 0 for the mean of all"
            )
        site = next(site for site in base.sites if site.kind in ("cross", "joint"))
        wide = base.key_value(site)[0].weight.shape[1]
        start: dict[str, Tensor] = {}
        for level in LEVELS:
            start |= linear(f"{level}.in", self.width, features.shape[-1], generator)
            start |= linear(f"{level}.out", self.tokens * wide, self.width, generator) | normal(f"{level}.norm", wide)
        own = prefixed(self.prefix, {**taken(start, given, base, what="the style's tokens"), "features": features})

        def make(every: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            mine = under(self.prefix, every)
            made, on = self.made(mine, self._seen(base, run, mine["features"], rows)), shown_rows(run, rows)
            return made * on.to(made).view(-1, 1, 1)

        return own, make

    def made(self, own: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """[B, 3 * tokens, C]: the tokens of all depths, the lowest first, from features [B, 3, D]."""
        import torch
        import torch.nn.functional as F

        parts = []
        for k, level in enumerate(LEVELS):
            hidden = F.gelu(mapped(own, f"{level}.in", features[:, k]))
            states = mapped(own, f"{level}.out", hidden).unflatten(1, (self.tokens, -1))
            parts.append(normed(own, f"{level}.norm", states))
        return torch.cat(parts, 1)

    def _seen(self, base: Base, run: Pass, features: Tensor, rows: int) -> Tensor:
        """[rows, 3, D]: features of each row of a run."""
        import torch

        if run.references is not None:
            last = replace(run.references, pixels=run.references.pixels[:, -1:])
            return first_of(autoencoder_levels)(base, last).to(base.dtype)
        chosen = [
            features[0, number - 1, k] if number else features[0, :, k].mean(0)
            for k, number in enumerate(self.pictures)
        ]
        return torch.stack(chosen).expand(rows, -1, -1)


@dataclass(frozen=True)
class content_adapter:
    """In training, every cross-attention layer also reads tokens of the picture to paint, so that the style's tokens
    need not carry its content; in sampling it does nothing (the auxiliary content adapter of arXiv:2312.02109).

    The picture to paint is the first of several references; rows with a single reference, such as those of a style that
    is tuned on, have no content. The tokens are a linear map of CLIP's global embedding, normalised; the base's own
    layers make keys and values of them.

    tokens: number of tokens
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    tokens: int = 2
    name: str = "content"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        prefix, size = f"{self.name}.", base.picture_size
        site = next(site for site in base.sites if site.kind == "cross")
        wide = base.key_value(site)[0].weight.shape[1]
        dim = clip_global(base, torch.zeros(1, 3, size, size, device=base.device)).shape[-1]
        start = linear("tokens", self.tokens * wide, dim, generator) | normal("norm", wide)
        own = taken(start, under(prefix, stored), base, what="the content adapter")
        live = Live(prefixed(prefix, own))

        def operation(call: AttentionCall) -> AttentionCall:
            shown = call.run.references  # None in sampling
            if call.site.kind == "cross" and live.on and shown is not None and shown.pixels.shape[1] > 1:
                key, value = call.keys_values(self._states(base, own, call.run))
                call.beside.append((key, value, scale * shown.on.to(key).view(-1, 1, 1, 1)))
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _states(self, base: Base, own: Mapping[str, Tensor], run: Pass) -> Tensor:
        """[rows, tokens, C]"""
        if id(self) not in run.cache:
            assert run.references is not None
            seen = first_of(clip_global)(base, run.references).to(base.dtype)
            states = mapped(own, "tokens", seen).unflatten(1, (self.tokens, -1))
            run.cache[id(self)] = normed(own, "norm", states)
        content: Tensor = run.cache[id(self)]
        return content
