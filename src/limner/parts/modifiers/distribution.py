"""A distribution of prompts in place of one token (DreamDistribution, arXiv:2312.14216)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.core.streams import stream

from .parameters import Kept, taken
from .states import other_words, read_beside

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.types import Pass

    from .states import Making, Rewrite

POOLED = "prompt features"


def prompt_distribution(word: str, *, prompts: int = 8, vectors: int = 4, spread: float = 1.0) -> Making:
    """States drawn from a normal distribution, of diagonal variance, over the hidden states of several learned prompts.

    In each of them the token is learned input vectors (Sec. 3.2 of arXiv:2312.14216). Every row draws its own states,
    in sampling by its seed.

    word: the token
    prompts: number of learned prompts, 2 or more
    vectors: vectors per token in each prompt
    spread: factor of the standard deviation in sampling; 0 gives the mean
    """

    def making(base: Base, stored: Mapping[str, Tensor], generator: Generator) -> tuple[dict[str, Tensor], Rewrite]:
        import torch

        wide = base.word_vectors("a").shape[-1]
        spread_at_first = float(base.word_vectors("a photo of one").float().std())
        start = torch.randn(prompts, vectors, wide, generator=generator) * spread_at_first
        own = taken({"contexts": start}, stored, base, what="the learned prompts")
        cache = Kept()

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            cache.check(own.values())
            words = {f"{word}{k}": vectors for k, vectors in enumerate(own["contexts"])}
            new_states = []
            for row, plain in zip(rows, states, strict=True):
                text = run.prompts[row]
                if text not in cache.values:
                    texts = [text.replace(word, name) for name in words]
                    others = other_words(run, row, but=word)
                    every = read_beside(base, texts, words, [others] * len(texts), run)
                    places = [base.num_tokens(one, words={**words, **others}) + 1 for one in texts]
                    pooled = torch.stack([every[k, place] for k, place in enumerate(places)])
                    cache.values[text] = every.mean(0), every.std(0), pooled
                mean, std, run.activations[POOLED] = cache.values[text]
                noise = torch.randn(mean.shape, generator=_of_row(run, row)).to(mean)
                new_states.append(torch.lerp(plain, mean + (1.0 if run.random else spread) * std * noise, scale))
            return torch.stack(new_states)

        return own, rewrite

    return making


def _of_row(run: Pass, row: int) -> Generator:
    if run.random is not None:
        return stream(int(run.random("prompt distribution").initial_seed()), "row", row)
    return stream(run.seeds[row] if run.seeds else 0, "prompt distribution")


def prompts_apart(source: Source) -> Objective:
    """Mean over pairs of learned prompts of the squared cosine of their features at the end token (Eq. 6 of
    arXiv:2312.14216).

    source: batches that the stage learns from
    """

    def value(step: Step) -> Tensor:
        import torch

        run = step.prediction.run
        assert run is not None
        features = torch.nn.functional.normalize(run.activations[POOLED].float(), dim=-1)
        near = (features @ features.T).square()
        count = len(features)
        return (near.sum() - near.diagonal().sum()) / (count * (count - 1))

    return Objective(f"prompts apart({source.name})", source, value)
