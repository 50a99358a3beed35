"""Attention to the subject's pictures between self-attention and the text's (DreamTuner, arXiv:2312.13691)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.parts.modifiers.parameters import taken

from .decoupled_cross_attention import FEATURES, Encoder

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass

HEADS = 2


@dataclass(frozen=True)
class subject_attention:
    """Before every cross-attention layer, an attention of its own to an encoder's states [L, D] of a picture.

    Its output is added to the hidden states and is zero at first (S-E attention, Sec. 3.1 of arXiv:2312.13691). In
    training, rows have the references of their batch, if any; in sampling, all of the subject's pictures, and the
    negative branch none.

    subject: the subject whose pictures are used in sampling
    encoder: base and pixels [n, 3, H, W] in [0, 1] -> states [n, L, D]
    width: width of the attention
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    encoder: Encoder
    width: int = 64

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        if FEATURES in stored:
            features = stored[FEATURES].to(base.device, base.dtype)
        else:
            seen = self.subject.tensor(base.picture_size) if self.subject.pictures else None
            features = self.encoder(base, seen if seen is not None else torch.zeros(1, 3, *[base.picture_size] * 2))
        wide, live, own = features.shape[-1], Live({FEATURES: features}), {}
        for site in (site for site in base.sites if site.kind == "cross"):
            _, hidden, _ = base.attention_widths(site)
            start = {
                f"subject_attention.{site.name}.{part}": torch.zeros(out, into)
                if part == "out"
                else torch.randn(out, into, generator=generator) / into**0.5
                for part, out, into in (
                    ("query", self.width, hidden),
                    ("key", self.width, wide),
                    ("value", self.width, wide),
                    ("out", hidden, self.width),
                )
            }
            parameters = taken(start, stored, base, what="the subject attention")
            own[site.name] = list(parameters.values())
            live.tensors |= parameters

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.name in own and live.on:
                states, off = self._states(base, call.run, len(call.query), features)
                added = scale * attended(call.hidden, states, own[call.site.name]) * off
                call.hidden = call.hidden + added
                call.query = call.queries(call.hidden)
                call.beyond.append(lambda _: added)
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _states(self, base: Base, run: Pass, rows: int, features: Tensor) -> tuple[Tensor, Tensor]:
        """[rows, L, D], and [rows, 1, 1]: 0 for rows without pictures."""
        import torch
        import torch.nn.functional as F

        if id(self) not in run.cache:
            if run.random is None:
                states = features.flatten(0, 1).expand(rows, -1, -1)
                each = rows // len(run.branches)
                on = torch.tensor([branch != "negative" for branch in run.branches]).repeat_interleave(each)
            elif run.references is None:
                states, on = features[:1].expand(rows, -1, -1), torch.zeros(rows)
            else:
                states, on = self.encoder(base, run.references.first), run.references.on
            normal = F.layer_norm(states, states.shape[-1:])
            run.cache[id(self)] = normal, on.to(states).view(-1, 1, 1)
        states_and_rows: tuple[Tensor, Tensor] = run.cache[id(self)]
        return states_and_rows


def attended(hidden: Tensor, states: Tensor, own: list[Tensor]) -> Tensor:
    """[B, N, C]: attention of hidden states to others, through weights of its own.

    hidden: [B, N, C]
    states: [B, L, D]
    own: query, key, value [width, …] and output [C, width]
    """
    import torch
    import torch.nn.functional as F

    from limner.core.types import split

    query, key, value, out = own
    q, k, v = (split(F.linear(x, w), HEADS) for x, w in ((hidden, query), (states, key), (states, value)))
    maps = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1)
    return F.linear((maps @ v).transpose(1, 2).flatten(2), out)
