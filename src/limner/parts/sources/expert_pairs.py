"""Pictures that many experts sampled of their subjects, from which one apprentice learns (SuTI, arXiv:2304.00186)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limner.core.needs import text_features
from limner.core.recipe import Source
from limner.core.streams import stream
from limner.core.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.recipe import Recipe
    from limner.core.subject import Subject
    from limner.core.types import Streams
    from limner.engine.attach import Adapter

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
"""Prompts for experts, in place of those that a language model writes for the authors."""


def expert_pairs(
    *,
    expert: Callable[[Subject], Recipe],
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
    """Batches of pictures that experts sampled, with references of their subjects (Sec. 3 of arXiv:2304.00186).

    Each expert learns one subject and samples it with all prompts. A picture is used where CLIP finds the prompt in it
    by more than `gain` better than in the subject's own pictures (delta-CLIP). Targets are never references. Experts
    are trained once and their pictures cached. Raises `InputError` where no picture gains enough.

    expert: subject -> the recipe that trains its expert; all its modifiers have a stacked form
    settings: numbers that this recipe depends on: the cache keeps a set of experts for each of them
    experts: number of subjects of the corpus that have an expert
    prompts: prompts with {} for the subject, each sampled by every expert
    gain: least delta-CLIP; the authors' threshold is 0.02 on another CLIP
    demonstrations: references for each target
    batch: targets in an update
    drop_text: probability of an empty caption, from 0 to 1
    drop_image: probability of no references, from 0 to 1
    corpus: pictures of the subjects; None is the base's own corpus
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

        from .corpus import Shelf, corpus_of

        shelf = Shelf(corpus_of(base, corpus), base)
        made = apprenticeship(shelf, expert, settings, experts, prompts)
        useful_rows = (made["gain"] > gain).nonzero().flatten()
        if not len(useful_rows):
            raise InputError(f"no expert's picture gains more than {gain} over its subject's own; lower the threshold")

        def draw(step: int, at: Streams) -> Batch:
            rows = useful_rows[torch.randint(len(useful_rows), (batch,), generator=at("who"))]
            lines = [_demonstrated(shelf, int(who), demonstrations, at("pictures")) for who in made["who"][rows]]
            nouns = [shelf.corpus.noun(line[0]) for line in lines]
            quiet, dropped = (torch.rand(batch, generator=at(what)) for what in ("text", "image"))
            asked = [prompts[int(k)].format(f"a {noun}") for k, noun in zip(made["prompt"][rows], nouns, strict=True)]
            captions = tuple("" if q < drop_text else text for q, text in zip(quiet.tolist(), asked, strict=True))
            shown = shelf.references(lines, nouns=nouns, dropped=dropped < drop_image)
            return Batch(made["latents"][rows].to(base.device, base.dtype), captions, references=shown)

        return draw

    return Source("expert pairs", "corpus", prepare, over=lambda other: again(corpus=other), needs=(text_features,))


def apprenticeship(
    shelf: Shelf,
    expert: Callable[[Subject], Recipe],
    settings: Mapping[str, Any],
    experts: int,
    prompts: Sequence[str],
) -> dict[str, Tensor]:
    """Pictures of all experts: "latents" [n, C, h, w], "who" and "prompt" [n] by number, and "gain" [n].

    shelf: the prepared corpus
    expert: subject -> the recipe that trains its expert
    settings: numbers that this recipe depends on, part of the cache's key
    experts: number of experts
    prompts: prompts with {} for the subject
    """
    from limner.core.cache import cached_tensors

    base = shelf.base
    key = (shelf.corpus.fingerprint, base.fingerprint, str(base.dtype), sorted(settings.items()), experts)
    make = functools.partial(_trained_and_painted, shelf, expert, experts, prompts)
    return cached_tensors(("experts", *key, tuple(prompts)), make)


def _trained_and_painted(
    shelf: Shelf, expert: Callable[[Subject], Recipe], experts: int, prompts: Sequence[str]
) -> dict[str, Tensor]:
    import torch

    from limner.engine.attach import Adapter
    from limner.engine.checkpoint import Run
    from limner.engine.stacked.to_end import train_to_end

    corpus, base = shelf.corpus, shelf.base
    chosen = torch.randperm(len(corpus.subjects), generator=stream(0, "experts"))[:experts].tolist()
    runs = []
    for who in chosen:
        subject = _subject(shelf, who)
        recipe = expert(subject)
        runs.append(Run(subject, recipe, Adapter(recipe, subject.handle), "the experts' recipe", {}))
    trained = train_to_end(base, runs, mixed=True)
    place = {run.subject.handle: who for run, who in zip(runs, chosen, strict=True)}
    columns: dict[str, list[Any]] = {"latents": [], "who": [], "prompt": [], "gain": []}
    for number, adapter in enumerate(trained):
        who, pixels = place[adapter.handle], _painted(base, adapter, prompts, first_seed=number * len(prompts))
        with torch.no_grad():
            columns["latents"] += base.encode(pixels)[0].float().cpu().unbind()
            columns["gain"] += [_gain(shelf, who, one, prompt) for one, prompt in zip(pixels, prompts, strict=True)]
        columns["who"] += [who] * len(prompts)
        columns["prompt"] += range(len(prompts))
    return {name: torch.stack(rows) if name == "latents" else torch.tensor(rows) for name, rows in columns.items()}


def _painted(base: Base, adapter: Adapter, prompts: Sequence[str], *, first_seed: int) -> Tensor:
    """[n, 3, H, W] in steps of 1 / 255, as in a picture's file: one picture of each prompt."""
    import torch

    from limner.engine.attach import attach
    from limner.engine.sample import PaintSettings, decoded, sample

    texts = [prompt.format(adapter.handle) for prompt in prompts]
    seeds, settings = range(first_seed, first_seed + len(texts)), PaintSettings(steps=20, batch=len(texts))
    with torch.no_grad(), attach(base, (adapter,)) as adapted:
        for at in sample(adapted, texts, seeds=list(seeds), settings=settings):
            latents = at.latents
        return (decoded(base, latents).float() * 255).round() / 255


def _gain(shelf: Shelf, who: int, painted: Tensor, prompt: str) -> float:
    """Delta-CLIP: cosine of a sampled picture [3, H, W] and the prompt, minus the mean over the subject's own
    pictures."""
    import torch
    import torch.nn.functional as F

    corpus, base = shelf.corpus, shelf.base
    own = list(corpus.subjects[who])
    text = base.text_features([prompt.format(f"a {corpus.noun(own[0])}")], words={})
    seen = base.picture_features(torch.cat([painted[None], shelf.pixels(own)]))
    near = F.cosine_similarity(seen.float(), text.float())
    return float(near[0] - near[1:].mean())


def _subject(shelf: Shelf, who: int) -> Subject:
    """A subject of the corpus, with masks where the corpus has them."""
    from limner.core.subject import Subject

    own = list(shelf.corpus.subjects[who])
    masks = shelf.masks(own)
    shown = [] if masks is None else list(masks.expand(-1, 3, -1, -1).cpu())
    return Subject.of(list(shelf.pixels(own).cpu()), noun=shelf.corpus.noun(own[0]), handle=f"expert{who}", masks=shown)


def _demonstrated(shelf: Shelf, who: int, count: int, generator: Any) -> list[int]:
    """Numbers of a subject's pictures; a subject with too few shows some twice."""
    import torch

    own = list(shelf.corpus.subjects[who])
    order = torch.randperm(len(own), generator=generator).tolist()
    return [own[order[k % len(own)]] for k in range(count)]
