"""Tokens of pictures behind those of the text, for the same attention (Uni-ControlNet, arXiv:2305.16322; Context
Diffusion, arXiv:2312.03584)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.errors import InputError
from limner.parts.attention.regions import within_region
from limner.parts.encoders.clip import clip_tokens
from limner.parts.encoders.looks import each_of, looked_at, looked_at_by_rows, shown_rows
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass
    from limner.parts.encoders.looks import Look

    from .decoupled_cross_attention import Tokens


@dataclass(frozen=True)
class context_tokens:
    """Cross-attention reads [text; strength * tokens], with the layer's own keys and values (Sec. 3.3 of
    arXiv:2305.16322).

    Rows without pictures, negative branches among them, read the text alone; so do all with strength 0. The adapter's
    scale s is a logit log(s) of the tokens. Where the subject has a region, only its positions read the tokens.

    subject: the subject whose pictures are used in sampling
    states: makes the tokens [rows, L, D], as for `decoupled_cross_attention`
    strength: factor of the tokens
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    states: Tokens
    strength: float = 1.0

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        if scale < 0:
            raise InputError(
                f"tokens behind the text's have a share of its attention, and {scale:g} is none: give a scale from 0"
            )
        own, make = self.states(base, stored, generator)
        live = Live(own)

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind != "cross" or not live.on:
                return call
            run, rows = call.run, len(call.query)
            if id(self) not in run.cache:
                run.cache[id(self)] = self.strength * make(live.tensors, run, rows), shown_rows(run, rows)
            tokens, on = run.cache[id(self)]
            key, value = call.keys_values(tokens)
            logits = call.query.new_full((rows, 1, 1, key.shape[2]), math.log(scale))
            logits = logits.masked_fill(~on.to(logits.device).view(-1, 1, 1, 1), float("-inf"))
            inside = within_region(call, self.subject.handle)
            if not isinstance(inside, float):
                logits = logits.masked_fill(inside == 0, float("-inf"))
            call.behind.append((key, value, logits))
            return call

        if scale and self.strength:
            live.operations = (operation,)
        yield live


def aggregated_tokens(subject: Subject, *, name: str = "context") -> Tokens:
    """For the `states` of `context_tokens`: patch tokens of each picture through a learned linear map, their mean over
    the pictures.

    The order of the pictures does not count. In training, each update reads 1 to R of a row's R pictures.

    subject: the subject whose pictures are used in sampling
    name: prefix of its tensors' names
    """
    look: Look = each_of(clip_tokens)

    def states(
        base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        import torch

        prefix = f"image.{name}."
        given = under(prefix, stored)
        features = (
            looked_at(base, subject, look, given, "features").mean(1) if "features" not in given else given["features"]
        )
        site = next(site for site in base.sites if site.kind in ("cross", "joint"))
        wide, dim = base.key_value(site)[0].weight.shape[1], features.shape[-1]
        start = {"weight": torch.randn(wide, dim, generator=generator) / dim**0.5, "bias": torch.zeros(wide)}
        features = features.to(base.device, base.dtype)
        own = prefixed(prefix, {**taken(start, given, base, what="the context's tokens"), "features": features})

        def make(every: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            import torch.nn.functional as F

            mine = under(prefix, every)
            if run.references is None:
                seen = mine["features"].expand(rows, -1, -1)
            else:
                each, _ = looked_at_by_rows(base, run, look, mine["features"], rows)  # [rows, R, L, D]
                count = each.shape[1]
                if run.random is not None:
                    count = 1 + int(torch.randint(count, (), generator=run.random("number of context pictures")))
                seen = each[:, :count].mean(1)
            return F.linear(seen, mine["weight"], mine["bias"])

        return own, make

    return states
