"""Pictures merged into a token after the text encoder has read it (FastComposer, arXiv:2305.10431; PhotoMaker,
arXiv:2312.04461)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from limner.parts.encoders.looks import Look, each_of, looked_at, looked_at_by_rows
from limner.parts.encoders.own_tower import TOWER, own_tower
from limner.parts.modifiers.parameters import taken
from limner.parts.modifiers.states import MERGED, other_words, put_in
from limner.parts.modifiers.watched import READ_AT

from .words_of_pictures import nouns_read, read_with

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass
    from limner.parts.modifiers.states import Rewrite

FEATURES = "features"
MERGED_AT = "merged states by row and position"


@dataclass(frozen=True)
class fused_words:
    """For `changed_states`: the hidden state t of the noun's last token becomes LN(MLP2(MLP1([t; i]) + t)).

    The noun stands at the position of the subject's token; i is a linear map of the features of the subject's pictures
    to the width of t (Sec. 4.2 of arXiv:2305.10431). All other hidden states stay as they are, also those that other
    such tokens of the prompt changed; a stacked token needs a prompt of its own.

    subject: the subject; its handle is the token
    look: references -> features [B, R, F] of R pictures
    stacked: whether the noun's last token stands R times in the prompt, each of its states merged with one picture
        (Sec. 3.2 of arXiv:2312.04461), of which training shows 1 to R; otherwise it stands once, merged with the mean
        of all
    wait: share of the sampling time, from its beginning, in which the noun is read unchanged, from 0 to 1 (delayed
        subject conditioning, Sec. 4.4 of arXiv:2305.10431)
    tower: how pictures are resized ("bicubic" or "bilinear") for an image encoder that comes with the weights, whose
        pooled state then takes the place of `look`; empty where none comes with them
    """

    subject: Subject
    look: Look
    stacked: bool = False
    wait: float = 0.0
    tower: str = ""

    def __call__(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Rewrite]:
        import torch

        tower = {name: tensor for name, tensor in stored.items() if name.startswith(TOWER)} if self.tower else {}
        look = each_of(own_tower(tower, self.tower)) if self.tower else self.look
        features = looked_at(base, self.subject, look, stored, FEATURES)
        start = fusing_start(base, features.shape[-1], generator)
        own = {**taken(start, stored, base, what="the merging of words and pictures"), **tower, FEATURES: features}

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            if run.random is None and waits(base, run, self.wait):
                return states
            seen, on = looked_at_by_rows(base, run, look, own[FEATURES], len(run.prompts))
            count = self._count(run, seen.shape[1])
            seen = seen[rows, :count] if self.stacked else seen[rows].mean(1, keepdim=True)
            others = [other_words(run, row, but=self.subject.handle) for row in rows]
            there, prompts = on[rows].tolist(), [run.prompts[row] for row in rows]
            nouns = nouns_read(base, run, rows, self.subject)
            put = [
                torch.cat([noun[:-1], noun[-1:].expand(seen.shape[1], -1)]) if shown else noun
                for noun, shown in zip(nouns, there, strict=True)
            ]
            plain = read_with(base, prompts, put, there, self.subject.handle, others, run).to(states)
            places = self._places(base, prompts, put, others, there)
            put_in(run, self.subject.handle, {row: partial(_here, own) for row, own in zip(rows, put, strict=True)})
            run.cache[READ_AT, self.subject.handle] = {
                row: ends[0] for row, ends in zip(rows, places, strict=True) if ends
            }
            new_states = self._merged(own, plain, seen, places, scale, stretched=states if scale != 1 else None)
            return new_states if self.stacked else _beside_others(run, rows, new_states, places, self.subject.handle)

        if not self.stacked:
            rewrite.composes = MERGED  # type: ignore[attr-defined]  # functions stay functions
        return own, rewrite

    def _count(self, run: Pass, most: int) -> int:
        """Number of a row's pictures that are used."""
        import torch

        if run.random is None or not self.stacked:
            return most
        return 1 + int(torch.randint(most, (), generator=run.random("pictures to see")))

    def _places(
        self,
        base: Base,
        prompts: Sequence[str],
        put: Sequence[Tensor],
        others: Sequence[Mapping[str, Tensor]],
        there: Sequence[bool],
    ) -> list[list[int]]:
        """Positions at which the states of the noun's last token end in each row; none in rows without pictures."""
        word = self.subject.handle
        return [
            [at + len(own) - 1 for at in base.word_places(text, word, words={**more, word: own})] if on else []
            for text, own, more, on in zip(prompts, put, others, there, strict=True)
        ]

    def _merged(
        self,
        own: Mapping[str, Tensor],
        states: Tensor,
        seen: Tensor,
        last: list[list[int]],
        scale: float,
        *,
        stretched: Tensor | None,
    ) -> Tensor:
        """States [rows, L, D] after merging those that end at these positions with features [rows, n, F]."""
        import torch

        count = seen.shape[1]
        at = [(row, end - count + 1 + k, k) for row, ends in enumerate(last) for end in ends for k in range(count)]
        new_states = states
        if at:
            rows, columns, which = (torch.tensor(values, device=states.device) for values in zip(*at, strict=True))
            merged = fuse(own, states[rows, columns], seen[rows, which].to(states))
            new_states = states.index_put((rows, columns), merged.to(states))
        return new_states if stretched is None else torch.lerp(stretched, new_states, scale)


def _beside_others(run: Pass, rows: list[int], states: Tensor, places: list[list[int]], word: str) -> Tensor:
    """The states [rows, L, D] with those that other tokens merged in this run before, at their positions; its own are
    registered for the next."""
    import torch

    merged: dict[tuple[int, int], tuple[str, Tensor]] = run.cache.setdefault(MERGED_AT, {})
    at = [(k, place) for k, row in enumerate(rows) for (other, place) in merged if other == row]
    own = {(row, place): (word, states[k, place]) for k, row in enumerate(rows) for place in places[k]}
    if at:
        values = torch.stack([merged[rows[k], place][1] for k, place in at])
        numbers, columns = (torch.tensor(each, device=states.device) for each in zip(*at, strict=True))
        states = states.index_put((numbers, columns), values.to(states))
    merged.update(own)
    return states


def _here(vectors: Tensor, site: int) -> Tensor:
    return vectors


def waits(base: Base, run: Pass, share: float) -> bool:
    """Whether a sampling run is in its first `share` of the time.

    base: the base
    run: the run
    share: share of the time, from the noisiest, from 0 to 1
    """
    return run.time is not None and float(run.time[0]) >= (1 - share) * base.num_train_times


def fusing_start(base: Base, features: int, generator: Generator) -> dict[str, Tensor]:
    """Parameters of `fuse` at their start, where it hardly changes a state.

    The perceptrons add nothing, and the last layer norm has the mean standard deviation and mean of the base's own
    states.

    base: the base
    features: width F of the pictures' features
    generator: draws the random weights
    """
    import torch

    wide = base.states_shape[1]
    with torch.no_grad():
        usual = base.text_states(["a photo of a person"], words={}).float()[0, 1 : base.text_positions].cpu()

    def matrix(out: int, into: int) -> Tensor:
        return torch.randn(out, into, generator=generator) / into**0.5

    start = {"project.weight": matrix(wide, features), "project.bias": torch.zeros(wide)}
    for name, into in (("mlp1", 2 * wide), ("mlp2", wide)):
        start |= {f"{name}.norm.weight": torch.ones(into), f"{name}.norm.bias": torch.zeros(into)}
        start |= {f"{name}.fc1.weight": matrix(wide, into), f"{name}.fc1.bias": torch.zeros(wide)}
        start |= {f"{name}.fc2.weight": torch.zeros(wide, wide), f"{name}.fc2.bias": torch.zeros(wide)}
    spread, mean = float(usual.std(-1).mean()), float(usual.mean())
    return start | {"norm.weight": torch.full((wide,), spread), "norm.bias": torch.full((wide,), mean)}


def fuse(own: Mapping[str, Tensor], text: Tensor, features: Tensor) -> Tensor:
    """[n, D]: LN(MLP2(MLP1([t; i]) + t)), where MLP1 is fc2(GELU(fc1(LN(x)))) and MLP2 the same plus its input.

    own: parameters, named as by `fusing_start`
    text: text-encoder hidden states t [n, D]
    features: features of pictures [n, F], which a linear map makes i
    """
    import torch
    import torch.nn.functional as F

    image = F.linear(features, own["project.weight"], own["project.bias"])
    x = _perceptron(own, "mlp1", torch.cat([text, image], -1)) + text
    x = _perceptron(own, "mlp2", x) + x
    return F.layer_norm(x, x.shape[-1:], own["norm.weight"], own["norm.bias"])


def _perceptron(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    import torch.nn.functional as F

    x = F.layer_norm(x, x.shape[-1:], own[f"{name}.norm.weight"], own[f"{name}.norm.bias"])
    x = F.gelu(F.linear(x, own[f"{name}.fc1.weight"], own[f"{name}.fc1.bias"]))
    return F.linear(x, own[f"{name}.fc2.weight"], own[f"{name}.fc2.bias"])
