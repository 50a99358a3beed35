"""Rank-one edits of cross-attention in the direction of one word (Perfusion, arXiv:2305.01644)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.errors import FileError

from .parameters import taken
from .states import next_place, word_places_of

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind

CAPTIONS = 600
"""Captions over which the second moment of hidden states is taken, for a small text encoder."""
FOLLOW = 0.99
"""Decay of the direction's moving average over the token's hidden state in training."""
RIDGE = 0.003
"""Share of the mean variance that is added to every direction: a few hundred captions span few."""


@dataclass(frozen=True)
class key_locked:
    """In every cross-attention layer, h = W e - W i s(e) + g(e) o: a rank-one edit along the token's direction i.

    s(e) = i' C^-1 e / i' C^-1 i, and the gate is g = sigmoid((s - bias) / temperature) (Eq. 4 and 5 of
    arXiv:2305.01644). i is a moving average of the token's hidden state in training. C is the second moment of
    text-encoder hidden states over captions. For keys o is locked to the output for the class noun's hidden state; for
    values it is learned, from the same start. A concept stores C^-1 i, so that captions are read for training alone.

    word: the token
    noun: its class noun
    bias: similarity s at which the gate is half open
    temperature: width of the gate's transition, more than 0
    captions: number of captions for C
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    word: str
    noun: str
    bias: float = 0.75
    temperature: float = 0.1
    captions: int = CAPTIONS

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        sites = [site for site in base.sites if site.kind == "cross"]
        made: dict[str, Tensor] = {}

        def inverse() -> Tensor:
            """C^-1, made on its first use."""
            if not made:
                with torch.no_grad():
                    made["inverse"] = torch.linalg.inv(second_moment(base, self.captions))
            return made["inverse"]

        with torch.no_grad():
            noun = noun_state(base, self.noun)
            targets = {site.name: tuple(layer(noun) for layer in base.key_value(site)) for site in sites}
        prefix = f"rank_one.{self.word}."
        start = {f"{prefix}{name}": value.float().cpu() for name, (_, value) in targets.items()}
        own = taken(start, stored, base, what="the rank-one edit")
        place = f"{prefix}direction"
        direction = stored.get(place, noun).detach().clone().to(noun)
        if direction.shape != noun.shape:
            raise FileError(f"{place} is {tuple(direction.shape)} in the concept; this base wants {tuple(noun.shape)}")
        known = stored.get(f"{prefix}toward")
        toward = (inverse().to(direction) @ direction if known is None else known).detach().clone().to(direction)
        live = Live({**own, place: direction, f"{prefix}toward": toward})

        def operation(call: AttentionCall) -> AttentionCall:
            rows = [k for k, prompt in enumerate(call.run.prompts) if self.word in prompt]
            if call.site.kind != "cross" or not live.on or not rows:
                return call
            if call.run.random is not None and id(self) not in call.run.cache:
                call.run.cache[id(self)] = True
                follow_token(base, call, rows, self.word, direction)
                toward.copy_(inverse().to(direction) @ direction)
            states = call.states[rows]
            about = (*self.gates(states, direction, toward), direction)
            at = torch.tensor(rows, device=call.key.device)
            layers = base.key_value(call.site)
            edits = (targets[call.site.name][0], own[f"{prefix}{call.site.name}"])
            key, value = (
                torch.zeros_like(heads).index_copy(
                    0, at, call.heads(scale * self._edit(layer, target, *about)).to(heads)
                )
                for layer, target, heads in zip(layers, edits, (call.key, call.value), strict=True)
            )
            call.key, call.value = call.key + key, call.value + value
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def gates(self, states: Tensor, direction: Tensor, toward: Tensor) -> tuple[Tensor, Tensor]:
        """s(e) and g(e), each [...], of hidden states [..., D].

        states: [..., D]
        direction: i, [D]
        toward: C^-1 i, [D]
        """
        direction, toward = direction.to(states), toward.to(states)
        along = states @ toward / (direction @ toward)
        return along, ((along - self.bias) / self.temperature).sigmoid()

    def _edit(self, layer: nn.Module, target: Tensor, along: Tensor, gate: Tensor, direction: Tensor) -> Tensor:
        """[rows, L, out]: the addition to the layer's output."""
        addition: Tensor = gate[..., None] * target - along[..., None] * layer(direction)
        return addition


def follow_token(base: Base, call: AttentionCall, rows: list[int], word: str, direction: Tensor) -> None:
    """Move a direction, in place, towards the token's mean hidden state in these rows, by 1 - FOLLOW of the way.

    base: the base
    call: a cross-attention layer's call
    rows: numbers of the rows whose prompts have the token
    word: the token
    direction: [D]
    """
    import torch

    with torch.no_grad():
        seen = [call.states[row, word_places_of(base, call.run, row, word)[0]] for row in rows]
        direction.lerp_(torch.stack(seen).mean(0).to(direction), 1 - FOLLOW)


def second_moment(base: Base, count: int = CAPTIONS) -> Tensor:
    """[C, C]: E[e e'] over the states that cross-attention reads of captions, with a ridge; cached.

    base: the base
    count: number of captions, of its corpus or in everyday words
    """
    import torch

    from limner.core.cache import cached_tensors
    from limner.parts.sources.everyday import texts_for

    def make() -> dict[str, Tensor]:
        captions, parts, counts, whole = texts_for(base, count), [], [], base.reads_states_unchanged
        for first in range(0, count, 32):
            batch = captions[first : first + 32]
            states = base.attended(base.text_states(batch, words={})).float()
            # behind a mask or a cut, attention reads the positions that hold text alone
            full = [states.shape[1] if whole else base.num_positions(text, words={}) for text in batch]
            flat = torch.cat([row[:length] for row, length in zip(states, full, strict=True)])
            counts.append(len(flat))
            parts.append(flat.T @ flat)
        return {"moment": torch.stack(parts).sum(0).cpu() / sum(counts)}

    captions_of = "everyday captions" if base.corpus is None else base.corpus.fingerprint
    with torch.no_grad():
        key = ("second moment of states read", base.fingerprint, str(base.dtype), captions_of, count)
        moment = cached_tensors(key, make)["moment"].to(base.device)
    ridge: Tensor = RIDGE * moment.diagonal().mean() * torch.eye(len(moment), device=moment.device)
    return moment + ridge


def noun_state(base: Base, noun: str) -> Tensor:
    """[C]: the mean state that cross-attention reads of the noun's last token in neutral captions.

    base: the base
    noun: the class noun
    """
    import torch

    captions = [f"a photo of a {noun}", f"a picture of a {noun}", f"a {noun}"]
    states = base.attended(base.text_states(captions, words={}))
    places = [next_place(base, text) - 1 for text in captions]
    return torch.stack([states[k, place] for k, place in enumerate(places)]).mean(0)
