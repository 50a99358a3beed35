"""AlignerNet: a multimodal language model's states mapped to those of the text encoder (Kosmos-G, arXiv:2310.02992)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.recipe import Objective
from limner.parts.encoders.multimodal import PICTURE, Multimodal, multimodal
from limner.parts.modifiers.states import tensors_of

from .multimodal_states import block, matrix, new_block

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.parts.modifiers.states import changed_states

LONGER = 2
"""Longest sequence of multimodal states that are told apart by their place and reconstructed from aligned ones, in
lengths of the text encoder's; of longer texts, the states behind it share the last place and are not reconstructed."""

SMALL = 0.1
"""Size of the output at the start: with outputs as large as their inputs, 400 updates did not learn which token to
read; with this size 200 do."""


@dataclass(frozen=True)
class aligner_net:
    """A `Writer`: learned queries, one for each text-encoder hidden state, attend to a multimodal model's states.

    The picture stands in the prompt at the position of the subject's token. M(.) is the aligner; a second such network
    N(.) reconstructs the multimodal states, for `alignment` alone (Sec. 3.2 of arXiv:2310.02992). A small model forgets
    earlier tokens towards its last layer, so the states are the mean over its layers, with each token's identity beside
    them.

    model: folder or hub id of the multimodal model; empty is the base's own
    width: width of M
    depth: layers of M; the authors have as many in N, which has one here
    rank: rank of the low-rank change of the language model, trained with the aligner by the denoiser's loss; 0 leaves
        the model unchanged
    """

    interleaved: ClassVar[bool] = True

    model: str = ""
    width: int = 128
    depth: int = 2
    rank: int = 4

    def start(self, base: Base, reader: Multimodal, generator: Generator) -> dict[str, Tensor]:
        import torch

        length, wide, w = base.text_positions, base.states_shape[1], self.width
        longest = LONGER * length
        parameters = {
            "queries": torch.randn(length, w, generator=generator),
            "into": matrix(w, reader.width, generator),
            "places": torch.randn(longest, w, generator=generator),
            "onto": SMALL * matrix(wide, w, generator),
            "again.queries": torch.randn(longest, w, generator=generator),
            "again.into": matrix(w, wide, generator),
            "again.onto": SMALL * matrix(reader.width, w, generator),
        }
        for name in (*(f"layers.{k}" for k in range(self.depth)), "again.layer"):
            parameters |= new_block(name, w, generator, adds=0.3)
        return parameters | (reader.factors(self.rank, generator) if self.rank else {})

    def text(self, reader: Multimodal, prompt: str, word: str, noun: str, *, shown: bool) -> str:
        return (prompt.replace(word, PICTURE) or PICTURE) if shown else prompt.replace(word, f"a {noun}")

    def states(
        self,
        own: Mapping[str, Tensor],
        reader: Multimodal,
        texts: Sequence[str],
        seen: Tensor | Sequence[Tensor] | None,
    ) -> Tensor:
        with reader.changed(own):
            return self.aligned(own, *read(reader, texts, seen), reader.counted(texts))

    def aligned(self, own: Mapping[str, Tensor], states: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
        """M: [B, L, D] from states [B, n, width], with `mask` [B, n] of those that are no padding and their token
        numbers `counted`."""
        import torch.nn.functional as F

        x = own["queries"].expand(len(states), -1, -1)
        memory = F.linear(states, own["into"]) + own["places"][counted.clamp_max(len(own["places"]) - 1)]
        for k in range(self.depth):
            x = block(own, f"layers.{k}", x, memory, mask)
        return F.linear(F.layer_norm(x, x.shape[-1:]), own["onto"])

    def again(self, own: Mapping[str, Tensor], aligned: Tensor, length: int) -> Tensor:
        """N: the multimodal model's states [B, length, width] from [B, L, D]."""
        import torch.nn.functional as F

        memory = F.linear(aligned, own["again.into"])
        x = own["again.queries"][:length].expand(len(aligned), -1, -1)
        x = block(own, "again.layer", x, memory, memory.new_ones(memory.shape[:2]).bool())
        return F.linear(F.layer_norm(x, x.shape[-1:]), own["again.onto"])


def read(reader: Multimodal, texts: Sequence[str], seen: Tensor | Sequence[Tensor] | None) -> tuple[Tensor, Tensor]:
    """States of a multimodal model for the aligner, and their mask.

    reader: the multimodal model
    texts: the texts
    seen: picture vectors, or None
    """
    return reader.states(reader.vectors(texts, seen), of_all_layers=True)


def alignment(
    source: Source, fusion: changed_states, net: aligner_net, *, again: float = 0.1, changed: bool = False
) -> Objective:
    """MSE(M(s), text encoder(s)) + again (L / n) MSE(N(M(s)), s) / var(s), on texts alone (Sec. 3.2).

    s are the multimodal model's n states of a text, and L is the number of the text encoder's. In the paper `again` is
    1 and nothing is divided: here that dominates the first term. The multimodal model is unchanged.

    source: batches of texts
    fusion: the modifier with the aligner
    net: the aligner
    again: weight of the reconstruction
    changed: whether M reads the output of the changed language model
    """

    def value(step: Step) -> Tensor:
        import torch

        base, texts = step.adapted.base, step.batch.prompts
        reader, own = multimodal(base, net.model), tensors_of(step.adapted, fusion)
        with torch.no_grad():
            states, mask = read(reader, texts, None)
            wanted = base.text_states(texts, words={})[:, : base.text_positions]
        made = (
            net.states(own, reader, texts, None) if changed else net.aligned(own, states, mask, reader.counted(texts))
        )
        states, mask = states[:, : len(own["again.queries"])], mask[:, : len(own["again.queries"])]
        apart = (net.again(own, made, states.shape[1]).float() - states.float()).square().mean(-1)
        lengths, spread = mask.sum(1), states[mask].float().var()
        back = ((apart * mask).sum(1) / lengths * (made.shape[1] / lengths)).mean() / spread
        return (made.float() - wanted.float()).square().mean() + again * back

    return Objective(f"alignment({source.name})", source, value, any_target=True, across=True)
