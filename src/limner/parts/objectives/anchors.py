"""A placeholder token held near words that the base knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def near_anchor(source: Source, *, word: str, anchors: Sequence[str]) -> Objective:
    """Mean squared difference of a prompt's hidden states with the token and with an anchor in its position.

    Anchors take turns (semantic inversion, Sec. 4.1 of arXiv:2312.08048).

    source: batches whose prompts name the token
    word: the placeholder token
    anchors: words of the base
    """

    def value(step: Step) -> Tensor:
        import torch

        adapted = step.adapted
        anchor = anchors[int(torch.randint(len(anchors), (), generator=step.random("anchor")))]
        prompts = sorted({adapted.expand_prompt(prompt) for prompt in step.batch.prompts})
        with torch.no_grad():
            wanted = adapted.base.text_states([text.replace(word, anchor) for text in prompts], words={})
        states = adapted.base.text_states(prompts, words=adapted.words)
        return (states.float() - wanted.float()).square().mean()

    return Objective(f"near anchor({source.name})", source, value)
