"""Foundation-aware self-attention: a parallel stream without the subject's word supplies attributes that the
identity would suppress (FreeCure, arXiv:2411.15277)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.parts.modifiers.states import next_place, other_words

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind, Pass


@dataclass(frozen=True)
class foundation_attention:
    """Self-attention of each image also attends to its parallel stream, where that stream shows an attribute of the
    prompt.

    A parallel stream is sampled from the same noise with a prompt that lacks the subject's word (foundation-aware
    self-attention, arXiv:2411.15277). An attribute's positions are those where the parallel stream's cross-attention to
    the attribute's words, in the previous step, exceeds Otsu's threshold; its keys and values are used at these
    positions only. Prompts without such words and positions without the attribute are not changed.

    words: words of attributes, each searched for as a whole word
    strength: factor by which the parallel stream's keys count, more than 0; 0 switches the part off
    first: share of the steps after which it acts, from 0 to 1: the layout is settled by then
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("self", "cross")

    words: tuple[str, ...]
    strength: float = 1.0
    first: float = 0.1

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live, seen = Live(), _Seen()

        def operation(call: AttentionCall) -> AttentionCall:
            if live.on and call.run.parallel_stream and call.run.step is not None:
                if call.site.kind == "cross":
                    self._watch(base, call, seen)
                elif call.site.kind == "self":
                    self._attend(base, call, seen.before(call.run), scale * self.strength)
            return call

        if scale * self.strength:
            live.operations = (operation,)
        yield live

    def _watch(self, base: Base, call: AttentionCall, seen: _Seen) -> None:
        import torch

        run, each = call.run, len(call.query) // len(call.run.branches)
        begin = run.branches.index("text") * each
        rows = range(begin + each // 2, begin + each)
        places = [attribute_places(base, run.prompts[row], self.words, other_words(run, row)) for row in rows]
        if not any(places):
            return

        def keep(maps: Tensor) -> Tensor:
            row_maps = [
                maps[row][:, :, at].mean(0).sum(-1) if at else maps.new_zeros(maps.shape[2])
                for row, at in zip(rows, places, strict=True)
            ]
            seen.add(run, torch.stack(row_maps).detach())
            return maps

        call.on_maps.append(keep)

    def _attend(self, base: Base, call: AttentionCall, where: Tensor | None, weight: float) -> None:
        """Append the parallel streams' keys and values to each image's own, where the mask [images, 1, h, w] is 1."""
        import torch
        import torch.nn.functional as F

        run = call.run
        late = run.time is None or float(run.time[0]) < (1 - self.first) * base.num_train_times
        if where is None or not bool(where.any()) or not late:
            return
        each, side = len(call.query) // len(run.branches), round(call.key.shape[2] ** 0.5)
        shown = F.adaptive_max_pool2d(where, side).flatten(1) > 0.5  # [pictures, N]
        main = torch.tensor([row % each < each // 2 for row in range(len(call.query))], device=call.query.device)
        index = torch.arange(len(call.query), device=call.query.device)
        twin = torch.where(main, index + each // 2, index)
        mask = shown[index % each % (each // 2)] & main[:, None]
        more = call.key.shape[2]
        bias = call.query.new_zeros(len(call.query), 1, 1, 2 * more)
        bias[..., more:] = torch.where(mask, math.log(weight), float("-inf"))[:, None, None].to(bias)
        call.key, call.value = (torch.cat([x, x[twin]], 2) for x in (call.key, call.value))
        call.bias = bias.expand(-1, 1, call.query.shape[2], -1)


@dataclass
class _Seen:
    """Attention maps [images, N] of the current step and of the previous one."""

    number: int = -1
    now: list[Tensor] = field(default_factory=list)
    last: list[Tensor] = field(default_factory=list)

    def add(self, run: Pass, maps: Tensor) -> None:
        assert run.step is not None
        if run.step != self.number:
            self.last, self.now, self.number = (self.now if run.step == self.number + 1 else []), [], run.step
        self.now.append(maps)

    def before(self, run: Pass) -> Tensor | None:
        """[images, 1, h, w] of 0 and 1: the mask of the previous step, at the finest layer's resolution; None
        without maps."""
        import torch
        import torch.nn.functional as F

        from limner.parts.modifiers.image_attention import otsu  # that module imports this package

        maps = self.now if run.step == self.number + 1 else self.last if run.step == self.number else []
        if not maps:
            return None
        side = max(round(m.shape[1] ** 0.5) for m in maps)
        resized_maps = []
        for m in maps:
            square = m.float().unflatten(1, (1, round(m.shape[1] ** 0.5), -1))
            resized_maps.append(F.interpolate(square, (side, side), mode="bilinear"))
        mean = torch.stack(resized_maps).mean(0).flatten(1)
        there = (mean.amax(1, keepdim=True) > 0).to(mean)
        return (otsu(mean) * there).unflatten(1, (1, side, side))


def attribute_places(base: Base, prompt: str, words: Sequence[str], own: Mapping[str, Tensor]) -> list[int]:
    """Positions of these words in the text-encoder hidden states of a prompt.

    base: the base
    prompt: the prompt
    words: words to search for, each as a whole word
    own: placeholder tokens of the prompt -> their vectors [n, D]
    """
    places: list[int] = []
    for word in words:
        for match in re.finditer(rf"\b{re.escape(word)}\b", prompt):
            start = next_place(base, prompt[: match.start()], own)
            places += range(start, start + base.num_tokens(word, words={}))
    return places
