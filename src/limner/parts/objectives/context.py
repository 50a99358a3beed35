"""A placeholder token that leaves the meaning of its context as beside the class noun (CoRe, arXiv:2408.15914)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.core.needs import cross_attention
from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source

CONTEXTS = (
    "a photo of {} on the beach",
    "a picture of {} in the snow",
    "{} in the city at night",
    "a photo of {} in a kitchen",
    "{} wearing a red hat",
    "a close-up of {} in a meadow",
    "two of {} on the road",
    "a painting of {} in the desert",
)
"""Prompts that need no pictures."""


def context_states(source: Source, *, word: str, noun: str, contexts: Sequence[str] = CONTEXTS) -> Objective:
    """Mean over the other positions of 1 - cosine between hidden states with the token and with the class noun (Eq. 4).

    Zero where the token's vectors are the noun's.

    source: gives step and random stream; its pictures are not used
    word: the placeholder token
    noun: the class noun
    contexts: prompts with {} for the token
    """

    def value(step: Step) -> Tensor:
        import torch

        prompt = _chosen(step, contexts)
        with torch.no_grad():
            wanted = step.adapted.base.text_states([prompt.format(noun)], words={})
        states = step.adapted.base.text_states([prompt.format(word)], words=step.adapted.words)
        others, beside_noun = _others(step, prompt, word, noun)
        near = torch.cosine_similarity(states[:, others].float(), wanted[:, beside_noun].float(), dim=-1)
        return (1 - near).mean()

    return Objective(f"context states({source.name})", source, value)


def context_maps(source: Source, *, word: str, noun: str, contexts: Sequence[str] = CONTEXTS) -> Objective:
    """Squared difference of attention to the other positions with the token and with the class noun (Eq. 5).

    Maps are those of the source's noised latents: the mean over heads, of the finest sites of at most 256 positions.

    source: batches of latents
    word: the placeholder token
    noun: the class noun
    contexts: prompts with {} for the token
    """

    def value(step: Step) -> Tensor:
        import torch

        from limner.parts.attention.maps import keep_maps, kept_maps

        prompt = _chosen(step, contexts)
        count, (others, beside_noun) = len(step.batch.prompts), _others(step, prompt, word, noun)
        with torch.no_grad():
            wanted = kept_maps(step.prediction_for([prompt.format(noun)] * count, operations=(keep_maps(),)))
        maps = kept_maps(step.prediction_for([prompt.format(word)] * count, operations=(keep_maps(),)))
        return (maps[..., others] - wanted[..., beside_noun]).square().sum(-1).mean()

    return Objective(f"context maps({source.name})", source, value, needs=(cross_attention,))


def _chosen(step: Step, contexts: Sequence[str]) -> str:
    import torch

    return contexts[int(torch.randint(len(contexts), (), generator=step.random("context")))]


def _others(step: Step, prompt: str, word: str, noun: str) -> tuple[list[int], list[int]]:
    """Positions of a prompt, with begin and end where a base has them, that are not the token's, and those of the same
    words beside the class noun, which may have another number of tokens."""
    base, words = step.adapted.base, step.adapted.words
    text, size = prompt.format(word), len(words[word])
    starts = base.word_places(text, word, words=words)
    own = {start + k for start in starts for k in range(size)}
    others = [place for place in range(base.num_positions(text, words=words)) if place not in own]
    longer = len(base.word_vectors(noun)) - size
    return others, [place + longer * sum(start < place for start in starts) for place in others]
