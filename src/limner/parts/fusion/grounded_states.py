"""Reference states that depend on the subject's noun and its position in the picture (MS-Diffusion,
arXiv:2406.07209)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.parts.attention.followed import painted_at
from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.encoders.resampler import Resampler
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Pass

PREFIX, FEATURES = "grounded.", "grounded.features"
FREQUENCIES = 8
SPREAD = 100.0  # the k-th frequency is SPREAD^(k / FREQUENCIES)


@dataclass(frozen=True)
class grounded_states:
    """States for `decoupled_cross_attention`: queries that a resampler answers from the references' patch tokens.

    The queries start as LN(MLP([text embedding of the noun, Fourier features of the box])) (grounding resampler, Sec.
    3.2 of arXiv:2406.07209). The box is the subject's region in sampling and the target's in training. Rows without a
    box have learned queries instead. Rows without references have states of zeros.

    subject: the subject; its noun is the phrase, its pictures the references
    look: references -> patch tokens [B, R, L, D]
    queries: number of states of a subject
    resampler: shape of the resampler
    drop_box: probability of learned queries in a row of training, from 0 to 1
    """

    subject: Subject
    look: Look
    queries: int = 16
    resampler: Resampler = Resampler()
    drop_box: float = 0.1

    def __call__(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        features = looked_at(base, self.subject, self.look, stored, FEATURES)
        start = self._start(base, features.shape[-1], generator)
        parameters = taken(prefixed(PREFIX, start), stored, base, what="the grounding resampler")
        known: dict[str, Tensor] = {}  # phrase -> its text embedding

        def make(own: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            tokens, on = looked_at_by_rows(base, run, self.look, own[FEATURES], rows)
            inner = under(PREFIX, own)
            latents = self._latents(inner, _phrases(base, self._nouns(run, rows), known), self._boxes(run, rows))
            states = self.resampler(inner, tokens.flatten(1, 2), latents.to(tokens))
            return states * on.to(states).view(-1, 1, 1)

        return {**parameters, FEATURES: features}, make

    def _start(self, base: Base, patches: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        wide, count = self.resampler.width, self.queries
        into = base.phrase_features([self.subject.noun]).shape[-1] + 8 * FREQUENCIES

        def matrix(rows: int, columns: int) -> Tensor:
            return torch.randn(rows, columns, generator=generator) / columns**0.5

        parameters = {"queries": matrix(count, wide), "phrase.first": matrix(2 * into, into)}
        parameters |= {"phrase.bias": torch.zeros(2 * into), "phrase.second": matrix(count * wide, 2 * into)}
        parameters |= {"phrase.second_bias": torch.zeros(count * wide)}
        parameters |= {"phrase.norm.weight": torch.ones(wide), "phrase.norm.bias": torch.zeros(wide)}
        return parameters | self.resampler.start(patches, base.attended_width, generator)

    def _latents(self, own: Mapping[str, Tensor], phrases: Tensor, boxes: Tensor | None) -> Tensor:
        """Phrases [B, D], boxes [B, 4] with NaN where there is none -> [B, queries, width]."""
        import torch
        import torch.nn.functional as F

        learned = own["queries"].expand(len(phrases), -1, -1)
        if boxes is None:
            return learned
        boxes = boxes.to(phrases)
        grounded = torch.cat([phrases, fourier(boxes.nan_to_num())], -1)
        hidden = F.gelu(F.linear(grounded, own["phrase.first"], own["phrase.bias"]))
        made = F.linear(hidden, own["phrase.second"], own["phrase.second_bias"]).unflatten(1, learned.shape[1:])
        made = F.layer_norm(made, made.shape[-1:], own["phrase.norm.weight"], own["phrase.norm.bias"])
        return torch.where(boxes.isnan().any(1)[:, None, None], learned, made)

    def _nouns(self, run: Pass, rows: int) -> Sequence[str]:
        nouns = run.references.nouns if run.references is not None else ()
        return nouns or [self.subject.noun] * rows

    def _boxes(self, run: Pass, rows: int) -> Tensor | None:
        import torch

        if run.references is not None:
            boxes = run.references.boxes
            if boxes is None or run.random is None:
                return boxes
            lost = torch.rand(rows, generator=run.random("grounding")) < self.drop_box
            return torch.where(lost[:, None], torch.nan, boxes.cpu())
        region = run.regions.get(self.subject.handle)
        return None if region is None else box_around(region).expand(rows, 4)


def within_box(*, begin: int = 5) -> Callable[[AttentionCall, str], Tensor]:
    """A gate for `decoupled_cross_attention`: 1 at positions that a subject's box touches and 0 elsewhere.

    No attention flows from other positions to the subject's states (Eq. 5 of arXiv:2406.07209, whose dummy tokens add
    nothing to the background). When sampling without a region, the gate is 1 everywhere in the first steps; then it is
    1 where the noun's attention was in the previous step (`followed_subject`, with its threshold; the authors average
    over all steps).

    begin: number of first steps without a gate, where there is no region
    """

    def gate(call: AttentionCall, handle: str) -> Tensor:
        run, side = call.run, round(call.query.shape[2] ** 0.5)
        boxes = run.references.boxes if run.references is not None else None
        if boxes is not None:
            return touched(boxes, side).to(call.query)
        region = run.regions.get(handle)
        if region is not None:
            return touched(box_around(region), side).to(call.query)
        if run.step is None or run.step < begin:
            return call.query.new_ones(1, 1, 1, 1)
        return (painted_at(call, handle) > 0).to(call.query)

    return gate


def touched(boxes: Tensor, side: int) -> Tensor:
    """[B, 1, side * side, 1]: 1 at positions that the box touches, else 0; 1 everywhere for a box of NaN.

    boxes: [B, 4]: left, top, right, bottom as shares
    side: positions along a side of the attention map
    """
    import torch

    low, high = (boxes[:, :2] * side).floor(), (boxes[:, 2:] * side).ceil()
    place = torch.arange(side, device=boxes.device)
    across = (place >= low[:, :1]) & (place < high[:, :1])
    down = (place >= low[:, 1:]) & (place < high[:, 1:])
    inside = down[:, :, None] & across[:, None, :] | boxes.isnan().any(1)[:, None, None]
    return inside.flatten(1)[:, None, :, None]


def box_around(region: Tensor) -> Tensor:
    """[1, 4]: left, top, right, bottom of a region, as shares of the picture.

    region: [1, 1, h, w], above 0 inside
    """
    import torch

    inside = region[0, 0] > 0
    edges = []
    for places in (inside.any(0), inside.any(1)):
        on = places.nonzero().flatten()
        edges.append((float(on[0]) / len(places), (float(on[-1]) + 1) / len(places)))
    (left, right), (top, bottom) = edges
    return torch.tensor([[left, top, right, bottom]], device=region.device)


def fourier(boxes: Tensor) -> Tensor:
    """[B, 8 * FREQUENCIES]: sines and cosines of every edge, as of GLIGEN's boxes (Sec. 3.2 of arXiv:2301.07093).

    boxes: [B, 4]: left, top, right, bottom as shares
    """
    import torch

    scales = SPREAD ** (torch.arange(FREQUENCIES, device=boxes.device) / FREQUENCIES)
    angles = boxes[:, :, None] * scales.to(boxes)
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(1)


def _phrases(base: Base, nouns: Sequence[str], known: dict[str, Tensor]) -> Tensor:
    """[B, D]: the text embedding of each noun; every noun is encoded once."""
    import torch

    new = sorted(set(nouns) - known.keys())
    if new:
        with torch.no_grad():
            known.update(zip(new, base.phrase_features(new), strict=True))
    return torch.stack([known[noun] for noun in nouns])
