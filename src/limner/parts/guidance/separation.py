"""Latents are pushed in sampling until no two subjects attend to the same position (MC^2, arXiv:2404.05268)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.types import Prediction
from limner.parts.attention.maps import keep_maps, kept_maps

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted, LatentOperation, Moment


def kept_apart(*, strength: float = 0.3, until: float = 0.5) -> LatentOperation:
    """In the first steps, move latents down the gradient of `overlap` plus `spread_within` of all handles in a prompt.

    These are the inter- and intra-concept losses of arXiv:2404.05268. A prompt with one subject stays as it is. Several
    concepts with this operation in one sampling act once.

    strength: length of the move at the noisiest time, as a share of the latents' own length
    until: share of the steps, from the first, in which it acts, from 0 to 1
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        if moment.step >= until * moment.total or first_of_kind(moment.adapted, KIND) is not operation:
            return moment.latents
        x = moment.latents.clone()
        for row, prompt in enumerate(moment.prompts):
            words = _words_of(moment.adapted, prompt)
            if len(words) < 2:
                continue
            part = x[row : row + 1].detach().requires_grad_(True)
            with torch.enable_grad():
                maps = subject_maps(moment, part, row, words)
                loss = overlap(maps) + spread_within(maps)
                (slope,) = torch.autograd.grad(loss, part)
            size = slope.norm().clamp_min(1e-12)
            x[row] -= (strength * moment.time / moment.adapted.base.num_train_times * part.norm() * slope / size)[0]
        return x

    setattr(operation, KIND, True)
    return operation


KIND = "keeps_apart"


def first_of_kind(adapted: Adapted, kind: str) -> object:
    """The first operation on latents that has this attribute, among all attached adapters: the one that acts.

    adapted: the adapted base
    kind: name of the attribute
    """
    operations = (op for adapter in adapted.adapters if adapter.scale for op in adapter.recipe.painting.latents)
    return next((op for op in operations if getattr(op, kind, False)), None)


def _words_of(adapted: Adapted, prompt: str) -> list[str]:
    """The text that the base reads for each attached handle in an expanded prompt."""
    words = []
    for adapter in adapted.adapters:
        for answer in adapter.answers:
            says = answer.says if isinstance(answer.says, str) else answer.says(adapted.base)
            if says and says in prompt and says not in words:
                words.append(says)
    return words


def subject_maps(moment: Moment, latents: Tensor, row: int, words: list[str]) -> Tensor:
    """[K, N], each summing to 1: cross-attention to the words of each subject, in a run of its own.

    moment: the sampling step
    latents: [1, C, h, w]
    row: number of the row among the step's prompts
    words: the text of each of K subjects in the prompt
    """
    import torch

    base, time, text = moment.adapted.base, moment.time.expand(1), moment.prompts[row]
    run = moment.adapted.run(time=time, latents=latents, prompts=(text,))
    run.operations += (keep_maps(),)
    output = base.predict(latents, time, moment.states[row : row + 1], context=run)
    maps = kept_maps(Prediction(output, run))[0]  # [N, M]
    word_maps = []
    for phrase in words:
        places = _places(moment, text, phrase)
        own = maps[:, places].sum(1)
        word_maps.append(own / own.sum().clamp_min(1e-8))
    return torch.stack(word_maps)


def _places(moment: Moment, text: str, phrase: str) -> list[int]:
    import torch

    base, known = moment.adapted.base, moment.adapted.words
    count, mark = base.num_tokens(phrase, words=known), "<words-of-a-subject-whose-place-is-looked-for>"
    marked = text.replace(phrase, mark)
    starts = base.word_places(marked, mark, words={**known, mark: torch.zeros(count, 1)})
    return [start + k for start in starts for k in range(count)]


def overlap(maps: Tensor) -> Tensor:
    """Mean over pairs of subjects of the sum over positions of the smaller map: 0 where maps are apart, 1 where they
    agree.

    maps: [K, N], each summing to 1
    """
    import torch

    count = len(maps)
    pairs = [torch.minimum(maps[j], maps[k]).sum() for j in range(count) for k in range(j + 1, count)]
    return torch.stack(pairs).mean()


def spread_within(maps: Tensor) -> Tensor:
    """Mean over subjects of their map's spatial variance, divided by that of an even map; 0 where each is one position.

    maps: [K, N], each summing to 1
    """
    import torch

    side = round(maps.shape[1] ** 0.5)
    axis = torch.linspace(-1, 1, side, device=maps.device, dtype=maps.dtype)
    rows, columns = axis.repeat_interleave(side), axis.repeat(side)
    total = maps.new_zeros(())
    for at in (rows, columns):
        middle = maps @ at
        total = total + (maps @ at.square() - middle.square()).mean()
    return total / (2 * axis.square().mean())
