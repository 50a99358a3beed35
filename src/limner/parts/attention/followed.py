"""The subject's position at the last sampling step, read from the attention to its noun (MoMA, arXiv:2404.05674)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.parts.modifiers.states import other_words

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass

FOLLOWED = "where the subject was painted"


@dataclass(frozen=True)
class followed_subject:
    """In sampling, record where the previous step attended to the subject's noun; `painted_at` returns it at a site.

    Maps of the noun's tokens, each scaled to [0, 1], are averaged over all cross-attention layers; values at or below a
    share of their largest become 0, the rest is scaled to [0, 1] again. Without a previous step, in training, and in
    rows whose prompt does not name the noun, it is 1 everywhere.

    subject: the subject
    threshold: share of the largest value at or below which the map becomes 0, from 0 to 1
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    threshold: float = 0.2

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live, following = Live(), _Following(base, self.subject.noun, self.threshold)

        def operation(call: AttentionCall) -> AttentionCall:
            if live.on and call.run.step is not None:
                key = (FOLLOWED, self.subject.handle)
                if key not in call.run.cache:
                    call.run.cache[key] = following.begin(call.run)
                if call.site.kind == "cross":
                    following.watch(call)
            return call

        if scale:
            live.operations = (operation,)
        yield live


def painted_at(call: AttentionCall, handle: str) -> Tensor:
    """[B, 1, N, 1] in [0, 1]: the subject's position in the previous step, or [1, 1, 1, 1] of 1 where that is unknown.

    call: the attention call, whose run holds the maps
    handle: the subject's handle
    """
    import torch.nn.functional as F

    seen: Tensor | None = call.run.cache.get((FOLLOWED, handle))
    if seen is None:
        return call.query.new_ones(1, 1, 1, 1)
    side = round(call.query.shape[2] ** 0.5)
    return F.adaptive_avg_pool2d(seen, side).flatten(2)[..., None].to(call.query)


@dataclass
class _Step:
    """Maps [rows, N] of one step, from each layer that has run."""

    number: int = -1
    seeds: tuple[int, ...] = ()
    maps: list[Tensor] = field(default_factory=list)


@dataclass
class _Following:
    """The maps of one sampling."""

    base: Base
    noun: str
    threshold: float
    last: _Step = field(default_factory=_Step)
    now: _Step = field(default_factory=_Step)

    def begin(self, run: Pass) -> Tensor | None:
        """[rows, 1, h, w] of the step before this run's, if it was recorded."""
        assert run.step is not None
        seeds = run.seeds[: len(run.seeds) // len(run.branches)]  # the same for any branches of a step
        if (self.now.number, self.now.seeds) != (run.step, seeds):
            self.last = self.now
        self.now = _Step(run.step, seeds)
        if self.last.number != run.step - 1 or self.last.seeds != seeds or not self.last.maps:
            return None
        where = averaged(self.last.maps, self.threshold)
        return where.repeat(len(run.branches), 1, 1, 1)

    def watch(self, call: AttentionCall) -> None:
        import torch

        run, step = call.run, self.now
        each, first = len(call.query) // len(run.branches), run.branches.index("text")
        rows = range(first * each, (first + 1) * each)
        places = [noun_places(self.base, run.prompts[row], self.noun, words=other_words(run, row)) for row in rows]

        def keep(maps: Tensor) -> Tensor:
            seen = [
                maps[row, :, :, positions].mean(0).sum(-1) if positions else maps.new_ones(maps.shape[2])
                for row, positions in zip(rows, places, strict=True)
            ]
            step.maps.append(torch.stack(seen).detach())
            return maps

        call.on_maps.append(keep)


def averaged(maps: list[Tensor], threshold: float) -> Tensor:
    """[rows, 1, h, w]: the mean of maps of several layers, at the resolution of the finest.

    maps: a tensor [rows, N] for each layer
    threshold: share of the largest value at or below which the mean becomes 0
    """
    import torch
    import torch.nn.functional as F

    side = max(round(m.shape[1] ** 0.5) for m in maps)
    resized_maps = []
    for m in maps:
        square = _scaled(m.float()).unflatten(1, (1, round(m.shape[1] ** 0.5), -1))
        resized_maps.append(F.interpolate(square, (side, side), mode="bilinear"))
    mean = _scaled(torch.stack(resized_maps).mean(0).flatten(1))
    return _scaled(mean * (mean > threshold)).unflatten(1, (1, side, side))


def _scaled(maps: Tensor) -> Tensor:
    """[rows, N] -> the same in [0, 1]; rows that are the same everywhere are 1."""
    import torch

    low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
    return torch.where(high - low > 1e-9, (maps - low) / (high - low).clamp_min(1e-9), torch.ones_like(maps))


def noun_places(base: Base, prompt: str, noun: str, *, words: Mapping[str, Tensor] | None = None) -> list[int]:
    """Positions of a noun's tokens in the hidden states of a prompt; none if the prompt does not name it.

    base: the base
    prompt: the prompt
    noun: the noun
    words: placeholder tokens in the prompt, with their embeddings [n, D]
    """
    import torch

    words = {**(words or {}), "<noun>": torch.zeros(base.num_tokens(noun, words={}), 1)}
    marked, count = re.subn(rf"\b{re.escape(noun)}\b", "<noun>", prompt, count=1)
    starts = base.word_places(marked, "<noun>", words=words) if count else []
    return [start + k for start in starts for k in range(len(words["<noun>"]))]
