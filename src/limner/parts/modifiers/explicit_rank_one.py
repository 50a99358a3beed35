"""Explicit rank-one edits of cross-attention at one token (DemoCaricature, arXiv:2312.04364)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.errors import FileError, InputError, UnknownName

from .parameters import taken
from .rank_one import follow_token, noun_state, second_moment
from .states import word_places_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind, Site

SIMILARITIES = ("covariance", "cosine")
BLOCKS = ("down", "mid", "up")


@dataclass(frozen=True)
class explicit_rank_one:
    """In chosen cross-attention layers, keys and values of prompts with the token are those of edited weights.

    W' = W + (o - W i) (C^-1 i)' / (i' C^-1 i): the hidden state i of the token gives the output o, and states that are
    orthogonal to C^-1 i give what they gave before (Eq. 2 of arXiv:2202.05262, on which arXiv:2312.04364 stands). C is
    the second moment of text-encoder hidden states over captions, and i a moving average of the token's hidden state in
    training. o - W i is learned for keys and for values and starts at zero, where W' = W.

    The authors' released code samples with another similarity: "cosine" is the cosine of a state with i, which replaces
    (C^-1 i)' e / (i' C^-1 i), at the token's own position alone.

    word: the token
    noun: its class noun, whose hidden state i starts from
    similarity: "covariance" or "cosine"
    blocks: blocks of the network whose layers are edited, of "down", "mid" and "up"
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    word: str
    noun: str
    similarity: str = "covariance"
    blocks: Sequence[str] = BLOCKS

    @property
    def prefix(self) -> str:
        """Prefix of its tensors' names."""
        return f"explicit.{self.word}."

    def sites(self, base: Base) -> list[Site]:
        """The edited layers. Raises `UnknownName` for a block of another name, and `InputError` where none is left.

        base: the base
        """
        for block in self.blocks:
            if block not in BLOCKS:
                raise UnknownName("block of the network", block, BLOCKS)
        sites = [site for site in base.sites if site.kind == "cross" and site.block in self.blocks]
        if not sites:
            raise InputError(
                f"{base.name} has no cross-attention layer in {' or '.join(self.blocks) or 'no block'}: name blocks that "
                f"have one, of {', '.join(BLOCKS)}"
            )
        return sites

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        if self.similarity not in SIMILARITIES:
            raise UnknownName("similarity", self.similarity, SIMILARITIES)
        sites = {site.name: f"{self.prefix}{site.name}" for site in self.sites(base)}
        with torch.no_grad():
            inverse = torch.linalg.inv(second_moment(base)) if self.similarity == "covariance" else None
            noun = noun_state(base, self.noun)
            layers = {site.name: base.key_value(site) for site in base.sites if site.name in sites}
        start = {
            f"{sites[name]}.{part}": torch.zeros(layer.weight.shape[0])
            for name, pair in layers.items()
            for part, layer in zip(("key", "value"), pair, strict=True)
        }
        own = taken(start, stored, base, what="the rank-one edit")
        place = f"{self.prefix}direction"
        direction = stored.get(place, noun).detach().clone().to(noun)  # [D]
        if direction.shape != noun.shape:
            raise FileError(f"{place} is {tuple(direction.shape)} in the concept; this base wants {tuple(noun.shape)}")
        live = Live({**own, place: direction})

        def operation(call: AttentionCall) -> AttentionCall:
            rows = [k for k, prompt in enumerate(call.run.prompts) if self.word in prompt]
            if call.site.name not in sites or not live.on or not rows:
                return call
            if call.run.random is not None and id(self) not in call.run.cache:
                call.run.cache[id(self)] = True
                follow_token(base, call, rows, self.word, direction)
            along = self.along(call.states[rows], direction, inverse)  # [rows, L]
            if self.similarity == "cosine":
                along = along * self._at_token(base, call, rows).to(along)
            at = torch.tensor(rows, device=call.key.device)
            key, value = (own[f"{sites[call.site.name]}.{part}"] for part in ("key", "value"))
            more = [call.heads(scale * along[..., None] * change.to(along)) for change in (key, value)]
            call.key = call.key.index_add(0, at, more[0].to(call.key))
            call.value = call.value.index_add(0, at, more[1].to(call.value))
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def along(self, states: Tensor, direction: Tensor, inverse: Tensor | None) -> Tensor:
        """[...]: the share of the edit that each hidden state gets.

        states: [..., D]
        direction: i, [D]
        inverse: C^-1, [D, D]; None takes the cosine with i
        """
        import torch

        direction = direction.to(states)
        if inverse is None:
            return torch.cosine_similarity(states, direction, dim=-1)
        toward = inverse.to(states) @ direction
        share: Tensor = states @ toward / (direction @ toward)
        return share

    def _at_token(self, base: Base, call: AttentionCall, rows: list[int]) -> Tensor:
        """[rows, L]: 1 at the token's positions and 0 elsewhere."""
        import torch

        on = torch.zeros(len(rows), call.states.shape[1])
        for k, row in enumerate(rows):
            on[k, word_places_of(base, call.run, row, self.word)] = 1
        return on
