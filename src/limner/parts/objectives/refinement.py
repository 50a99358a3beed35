"""Training on the best of the model's own pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limner.core.needs import text_features
from limner.core.recipe import Objective, Recipe
from limner.core.types import Batch

from .denoising import denoising_error

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Modifier, Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.subject import Subject
    from limner.core.types import References


def refinement(
    source: Source, fusion: Callable[[Subject], Modifier], word: str, *, steps: int = 10, guidance: float = 4.0
) -> Objective:
    """Denoising of pictures that the model itself samples for the batch's references and prompts (CAFE,
    arXiv:2312.03045).

    Only the better half of the batch counts, by the sum of CLIP's cosines with the reference and with the prompt and
    the subject's looks. The authors sample a set once after the first round; here every update samples its own with the
    current parameters.

    source: batches with references
    fusion: makes the trained modifier for a subject
    word: the subject in prompts
    steps: sampling steps
    guidance: guidance scale
    """

    def value(step: Step) -> Tensor:
        import torch

        shown, base = step.batch.references, step.adapted.base
        assert shown is not None
        with torch.no_grad():
            latents = _painted(step, fusion, word, steps, guidance)
            worth = likeness(base, latents, shown, step.batch.prompts, word)
        best = worth.argsort(descending=True)[: max(1, len(worth) // 2)]
        weight = torch.zeros_like(worth).index_fill(0, best, 1.0)
        return denoising_error(step.on(Batch(latents, step.batch.prompts, weight=weight, references=shown)))

    return Objective(f"refinement({source.name})", source, value, across=True, needs=(text_features,))


def likeness(base: Base, latents: Tensor, shown: References, prompts: Sequence[str], word: str) -> Tensor:
    """[B]: CLIP's cosine of decoded latents with the reference, plus that with the prompt and the subject's looks.

    base: the base
    latents: [B, C, h, w]
    shown: the references
    prompts: the prompts
    word: the subject in prompts
    """
    import torch

    with torch.no_grad():
        seen = base.picture_features(base.decode(latents)).float()
        like = torch.cosine_similarity(seen, base.picture_features(shown.first.to(base.device)).float(), dim=-1)
        descriptions = [prompt.replace(word, look) or look for prompt, look in zip(prompts, shown.looks, strict=True)]
        text_cosine = torch.cosine_similarity(seen, base.text_features(descriptions, words={}).float(), dim=-1)
    return like + text_cosine


def _painted(step: Step, fusion: Callable[[Subject], Modifier], word: str, steps: int, guidance: float) -> Tensor:
    """[B, C, h, w]: each row's subject attached under a token of its own, all sampled together."""
    import torch

    from limner.engine.attach import Adapter, attach
    from limner.engine.sample import PaintSettings, sample

    shown, prompts, live = step.batch.references, [], {n: t for n, t in step.adapted.tensors.items() if _learns(t)}
    assert shown is not None
    adapters = []
    for row, subject in enumerate(_subjects(shown)):
        adapters.append(Adapter(Recipe(subject.handle, (fusion(subject),)), subject.handle, live))
        prompts.append((step.batch.prompts[row] or f"a photo of {word}").replace(word, subject.handle))
    seeds = torch.randint(1 << 30, (len(prompts),), generator=step.random("seeds")).tolist()
    with attach(step.adapted.base, adapters) as adapted:
        for at in sample(adapted, prompts, seeds=seeds, settings=PaintSettings(steps=steps, guidance=guidance)):
            latents = at.latents
    return latents


def _learns(tensor: Tensor) -> bool:
    import torch

    return isinstance(tensor, torch.nn.Parameter)


def _subjects(shown: References) -> list[Subject]:
    """A subject of each row's references."""
    from limner.core.pixels import to_images
    from limner.core.subject import Subject

    subjects = []
    for row, noun in enumerate(shown.nouns):
        masks = [] if shown.masks is None else to_images(shown.masks[row].expand(-1, 3, -1, -1))
        subjects.append(Subject.of(to_images(shown.pixels[row]), noun=noun, handle=f"<row{row}>", masks=masks))
    return subjects
