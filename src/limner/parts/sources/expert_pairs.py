"""Pictures that many experts paint of their subjects, for one apprentice to learn from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Source
from limner.core.streams import stream
from limner.core.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Streams

    from .corpus import Shelf

UNSEEN = (
    "{} on the beach",
    "{} in the snow",
    "{} in the jungle",
    "{} in the city",
    "{} in the desert wearing a blue hat",
    "{} under the night sky",
    "{} in the kitchen wearing sunglasses",
    "{} in a meadow wearing a red scarf",
)
"""Prompts for experts, in place of the prompts that a language model writes for the authors."""


def expert_pairs(
    *,
    expert: str = "lora_dreambooth",
    settings: Mapping[str, Any],
    experts: int = 24,
    prompts: Sequence[str] = UNSEEN,
    gain: float = 0.0,
    demonstrations: int = 3,
    batch: int = 12,
    drop_text: float = 0.1,
    drop_image: float = 0.1,
    corpus: Corpus | None = None,
) -> Source:
    """Batches of pictures that experts painted, with references of their subjects (Sec. 3 of arXiv:2304.00186).

    Each expert learns one subject by a method and paints it for all prompts. A picture is used where CLIP finds the
    prompt in it by more than `gain` better than in the subject's own pictures (delta-CLIP). Targets are never
    references. Experts are trained once and their pictures cached.

    expert: name of the experts' method
    settings: settings of that method
    experts: number of experts
    prompts: prompts with the handle
    gain: least delta-CLIP; the authors' threshold is 0.02 on another CLIP
    demonstrations: references for each target
    batch: pictures in an update
    drop_text: probability of an empty caption
    drop_image: probability of no references
    corpus: pictures to draw from; None draws toys of the pocket world
    """
    about: dict[str, Any] = {
        "expert": expert,
        "settings": settings,
        "experts": experts,
        "prompts": prompts,
        "gain": gain,
        "demonstrations": demonstrations,
        "batch": batch,
        "drop_text": drop_text,
        "drop_image": drop_image,
    }
    again = functools.partial(expert_pairs, **about)

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        from limner.errors import InputError

        from .corpus import Shelf
        from .toys import toys

        shelf = Shelf(corpus or toys(), base)
        made = apprenticeship(shelf, expert, settings, experts, prompts)
        kept = (made["gain"] > gain).nonzero().flatten()
        if not len(kept):
            raise InputError(f"no expert's picture gains more than {gain} over its subject's own; lower the threshold")

        def draw(step: int, at: Streams) -> Batch:
            rows = kept[torch.randint(len(kept), (batch,), generator=at("who"))]
            lines = [_demonstrated(shelf, int(who), demonstrations, at("pictures")) for who in made["who"][rows]]
            nouns = [shelf.corpus.noun(line[0]) for line in lines]
            quiet, dropped = (torch.rand(batch, generator=at(what)) for what in ("text", "image"))
            asked = [prompts[int(k)].format(f"a {noun}") for k, noun in zip(made["prompt"][rows], nouns, strict=True)]
            said = tuple("" if q < drop_text else text for q, text in zip(quiet.tolist(), asked, strict=True))
            shown = shelf.references(lines, nouns=nouns, dropped=dropped < drop_image)
            return Batch(made["latents"][rows].to(base.device, base.dtype), said, references=shown)

        return draw

    return Source("expert pairs", "corpus", prepare, over=lambda other: again(corpus=other))


def apprenticeship(
    shelf: Shelf, expert: str, settings: Mapping[str, Any], experts: int, prompts: Sequence[str]
) -> dict[str, Tensor]:
    """Pictures of all experts: "latents" [n, C, h, w], "who" and "prompt" [n] by number, and "gain" [n].

    shelf: the prepared corpus
    expert: name of the experts' method
    settings: settings of that method
    experts: number of experts
    prompts: prompts with the handle
    """
    from limner.core.cache import cached_tensors

    base = shelf.base
    key = (shelf.corpus.fingerprint, base.fingerprint, str(base.dtype), expert, sorted(settings.items()), experts)
    make = functools.partial(_taught_and_painted, shelf, expert, settings, experts, prompts)
    return cached_tensors(("experts", *key, tuple(prompts)), make)


def _taught_and_painted(
    shelf: Shelf, expert: str, settings: Mapping[str, Any], experts: int, prompts: Sequence[str]
) -> dict[str, Tensor]:
    import torch

    from limner.engine.sample import PaintSettings
    from limner.errors import TeachingError
    from limner.workflows.learn_many import Job, learn_many
    from limner.workflows.paint_many import Order, paint_many

    corpus, base = shelf.corpus, shelf.base
    chosen = torch.randperm(len(corpus.subjects), generator=stream(0, "experts"))[:experts].tolist()
    jobs = [Job(_subject(shelf, who), expert, settings=dict(settings)) for who in chosen]
    place = {job.subject.handle: who for job, who in zip(jobs, chosen, strict=True)}
    ended = learn_many(base, jobs, mixed=True)
    if broken := [done.error for done in ended if done.error is not None and not isinstance(done.error, TeachingError)]:
        raise broken[0]
    taught = [done.concept for done in ended if done.concept is not None]
    asked = [(concept, k) for concept in taught for k in range(len(prompts))]
    orders = [Order(prompts[k].format(c.handle), c, seed=n) for n, (c, k) in enumerate(asked)]
    painted = paint_many(base, orders, settings=PaintSettings(steps=20))
    who, prompt = [place[c.handle] for c, _ in asked], [k for _, k in asked]
    pixels = torch.stack([_pixels(picture.image) for picture in painted]).to(base.device)
    with torch.no_grad():
        latents = torch.cat([base.encode(part)[0].float().cpu() for part in pixels.split(32)])
        gains = [_gain(shelf, w, one, prompts[k]) for w, one, k in zip(who, pixels, prompt, strict=True)]
    return {"latents": latents, "who": torch.tensor(who), "prompt": torch.tensor(prompt), "gain": torch.tensor(gains)}


def _gain(shelf: Shelf, who: int, painted: Tensor, prompt: str) -> float:
    """How much nearer CLIP finds what was painted [3, H, W] to the prompt than the subject's own pictures are."""
    import torch
    import torch.nn.functional as F

    corpus, base = shelf.corpus, shelf.base
    own = list(corpus.subjects[who])
    text = base.text_features([prompt.format(f"a {corpus.noun(own[0])}")], words={})
    seen = base.picture_features(torch.cat([painted[None], shelf.pixels(own)]))
    near = F.cosine_similarity(seen.float(), text.float())
    return float(near[0] - near[1:].mean())


def _pixels(image: Any) -> Tensor:
    """[3, H, W] in [0, 1]"""
    import numpy as np
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _subject(shelf: Shelf, who: int) -> Any:
    """A subject of the corpus, with its masks where there are any."""
    from limner.core.subject import Subject

    own = list(shelf.corpus.subjects[who])
    masks = shelf.masks(own)
    shown = [] if masks is None else list(masks.expand(-1, 3, -1, -1).cpu())
    return Subject.of(list(shelf.pixels(own).cpu()), noun=shelf.corpus.noun(own[0]), handle=f"expert{who}", masks=shown)


def _demonstrated(shelf: Shelf, who: int, count: int, generator: Any) -> list[int]:
    """Pictures of a subject, by number; one with too few shows some twice."""
    import torch

    own = list(shelf.corpus.subjects[who])
    order = torch.randperm(len(own), generator=generator).tolist()
    return [own[order[k % len(own)]] for k in range(count)]
