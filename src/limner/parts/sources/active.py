"""Generative active learning: one's own pictures of the prompts at which the model is least certain
(arXiv:2403.14987)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from limner.core.recipe import Gather, Source
from limner.core.types import Batch
from limner.errors import InputError
from limner.parts.encoders.captions import known_to

from .feedback import painted_now
from .photos import photos

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams

    from .photos import Describe


Nearness: TypeAlias = "Callable[[Base, Tensor, Sequence[str]], Tensor]"
"""Base, pictures [n, 3, H, W] in [0, 1], prompts as the base reads them -> how near each picture is to its prompt
[n]."""


class Overfitting(NamedTuple):
    """The result of the overfitting test for each anchor."""

    share: Tensor  # [A]: share of its samples that are as near to a reference's prompt as to its own
    entropy: Tensor  # [A]: binary entropy of that share, in nats
    best: Tensor  # [A]: number of the sample that is nearest to its own prompt


def uncertain(
    subject: Subject,
    anchors: Sequence[str],
    *,
    describe: Describe,
    nearness: Nearness,
    top: int = 3,
    samples: int = 10,
    openness: float = 0.005,
    batch: int = 4,
    steps: int = 25,
    guidance: float = 4.0,
    name: str = "uncertain pictures",
) -> Source:
    """Batches of the subject's pictures and of pictures that the model painted itself, with a weight for each.

    When its stage starts, every anchor that was not selected yet is sampled with what has been learned until then. A
    sample is overfit where it is as near to the prompt of a reference image as to its own; the anchors whose share of
    overfit samples has the largest entropy are selected, and of each the sample that is nearest to its prompt.
    Where fewer than `top` anchors have any entropy, none is selected. A selected picture's weight is its round's
    openness, `openness` times the mean entropy of all anchors; a reference image's is 1 (`scaled_denoising` multiplies
    by them). Pictures of earlier rounds stay, since the stages of all rounds have a source of one name.

    subject: the subject with its pictures
    anchors: prompts to sample, with {} for the handle; those with words that the base does not know are left out
    describe: base and subject -> a caption with {} for each picture; used for pictures without one
    nearness: base, pictures and prompts -> how near each picture is to its prompt, such as `clip_reward`
    top: anchors to select
    samples: samples of each anchor
    openness: weight of a picture at an entropy of 1
    batch: pictures in an update
    steps: sampling steps
    guidance: scale of guidance
    name: name of the source
    """
    if samples < 2 or top < 1 or steps < 1:
        raise InputError(
            f"at least 1 anchor is selected, by at least 2 samples, which can disagree, of at least 1 step; not {top} by "
            f"{samples} of {steps}"
        )
    own, prompts = photos(subject, describe=describe, batch=batch), [text.format(subject.handle) for text in anchors]

    def make(adapted: Adapted, at: Streams, earlier: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        import torch

        before = earlier or _nothing(adapted.base)
        words = [text.replace("{}", "").strip() for text in anchors]
        known, used = set(known_to(adapted.base, words)), before["anchors"].tolist()
        left = [k for k, text in enumerate(words) if text in known and k not in used]
        texts = [prompts[k] for k in left for _ in range(samples)]
        if len(left) < top:
            return before
        seeds = torch.randint(2**31, (len(texts),), generator=at("seeds")).tolist()
        latents, pixels = painted_now(adapted, texts, seeds, steps, guidance)
        references = captions_of(adapted.base, subject, describe)
        result = overfitting(adapted, pixels, texts, references, nearness=nearness, samples=samples)
        chosen = selected(result.entropy, top)
        new = {
            "latents": latents.unflatten(0, (-1, samples))[chosen, result.best[chosen]],
            "anchors": torch.tensor(left)[chosen],
            "weights": openness * result.entropy.mean() * torch.ones(len(chosen)),
        }
        return {key: torch.cat([before[key], tensor]) for key, tensor in new.items()}

    def draw(base: Base, gathered: Mapping[str, Tensor]) -> Callable[[int, Streams], Batch]:
        import torch

        drawing, latents, number = own.prepare(base), gathered["latents"], len(subject.pictures)
        shown = torch.cat([torch.zeros(1, *base.latent_shape), latents]).to(base.device, base.dtype)
        weights = torch.cat([torch.ones(1), gathered["weights"]]).to(base.device)
        texts = ["", *(prompts[k] for k in gathered["anchors"].tolist())]

        def batches(step: int, at: Streams) -> Batch:
            plain = drawing(step, at)
            drawn = torch.randint(number + len(latents), (batch,), generator=at("which"))
            which = (drawn - number + 1).clamp(min=0)  # 0 is a reference image
            on = which.to(base.device)
            captions = (texts[k] or text for text, k in zip(plain.prompts, which.tolist(), strict=True))
            mixed = torch.where((on > 0).view(-1, 1, 1, 1), shown[on], plain.latents)
            return replace(plain, latents=mixed, prompts=tuple(captions), weight=weights[on])

        return batches

    needs = getattr(nearness, "needs", ())
    return Source(name, "subject", lambda base: _not_gathered, gather=Gather(make, draw, onward=True), needs=needs)


def captions_of(base: Base, subject: Subject, describe: Describe) -> list[str]:
    """The caption of each of the subject's pictures, with the handle: its own, or the described one.

    base: the base
    subject: the subject with its pictures
    describe: base and subject -> a caption with {} for each picture
    """
    own = [picture.caption for picture in subject.pictures]
    if all(own):
        return own
    return [text or made.format(subject.handle) for text, made in zip(own, describe(base, subject), strict=True)]


def overfitting(
    adapted: Adapted,
    pixels: Tensor,
    texts: Sequence[str],
    references: Sequence[str],
    *,
    nearness: Nearness,
    samples: int,
) -> Overfitting:
    """The overfitting test of each anchor.

    adapted: the adapted base
    pixels: [A * samples, 3, H, W] in [0, 1], the samples of an anchor together
    texts: the prompt of each, with the handle unexpanded
    references: prompts of the reference images, with the handle unexpanded
    nearness: base, pictures and prompts -> how near each picture is to its prompt
    samples: samples of each anchor
    """
    import torch

    def near(prompts: Sequence[str]) -> Tensor:
        return nearness(adapted.base, pixels, [adapted.expand_prompt(text) for text in prompts]).cpu()

    own = near(texts)
    reference = torch.stack([near([text] * len(texts)) for text in dict.fromkeys(references)]).amax(0)
    share = (own <= reference).float().view(-1, samples).mean(1)
    return Overfitting(share, entropy(share), own.view(-1, samples).argmax(1))


def entropy(share: Tensor) -> Tensor:
    """Binary entropy of probabilities, in nats; 0 at 0 and at 1.

    share: probabilities
    """
    import torch

    return -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share))


def selected(entropies: Tensor, top: int) -> list[int]:
    """Numbers of the anchors with the largest entropies, of equal ones the first; none where fewer than `top` have any.

    entropies: [A]
    top: anchors to select
    """
    order = sorted(range(len(entropies)), key=lambda k: (-float(entropies[k]), k))[:top]
    return order if len(order) == top and float(entropies[order[-1]]) > 0 else []


def _nothing(base: Base) -> dict[str, Tensor]:
    import torch

    none = torch.zeros(0)
    return {"latents": torch.zeros(0, *base.latent_shape), "anchors": none.long(), "weights": none}


def _not_gathered(step: int, at: Streams) -> Batch:
    raise InputError("active learning has batches only in its stage's updates, after its pictures are painted")
