"""`score`: paint with a concept and without it, and score both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.core.wording import shortened
from limner.errors import InputError, PromptError
from limner.evaluation.datasets import fill_prompt
from limner.evaluation.encoders import bench_encoders
from limner.evaluation.measuring import Album, segment_of
from limner.evaluation.score import images, judged

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.picture import Picture
    from limner.engine.sample import PaintSettings
    from limner.evaluation.encoders import Encoders
    from limner.evaluation.measuring import Images, Segment
    from limner.evaluation.score import Scorecard
    from limner.pocket.world.grammar import Prompt


def score(
    base: Base,
    concept: Concept,
    *,
    training: Sequence[Image.Image] = (),
    held_out: Sequence[Image.Image] = (),
    prompts: Sequence[str | Prompt] = (),
    seeds: Sequence[int] = (0, 1),
    encoders: Encoders | None = None,
    segment: Segment | None = None,
    gallery: Sequence[Image.Image] = (),
    looks: str = "",
    only: Sequence[str] = (),
    settings: PaintSettings | None = None,
    plain: Sequence[Picture] = (),
) -> Scorecard:
    """Paint the same prompts and seeds with `concept` and with `base` alone, and score both.

    `prompts` contain the handle ("<rex> on the beach"), or are the pocket world's with their ground truth; by default
    they are those of the base's own bench. `training` are the pictures that the concept was learned from, `held_out`
    others of the same subject; `plain` are the base's pictures from an earlier scorecard, which saves painting them. On
    a base without a bench `encoders` are required. Raises `InputError` for a prompt without the handle, and where
    encoders are missing.
    """
    from limner.pocket.world.grammar import Prompt

    bench = base.capabilities.bench
    if encoders is None:
        if bench is None:
            raise InputError(
                f"the built-in encoders know toys, not pictures of {base.name}: name others with --clip and --dino"
            )
        encoders, segment = bench_encoders(bench), segment or segment_of(base)
    if not prompts and bench is not None:
        prompts = bench.prompts()
    if not prompts:
        raise InputError("there are no prompts: give some that name the subject, --prompts")
    noun = concept.subject["noun"]
    truths = [p for p in prompts if isinstance(p, Prompt)]
    texts = [p.text.format(concept.handle) if isinstance(p, Prompt) else p for p in prompts]
    for text in texts:
        if concept.handle not in text:
            raise PromptError(f"the prompt {shortened(text)!r} does not name the subject; write {concept.handle} in it")
    canonical = [fill_prompt(t.replace(concept.handle, "{}"), [noun]) for t in texts]
    began = time.monotonic()
    mine = painted(base, texts, seeds, concept=concept, settings=settings)
    seconds = (time.monotonic() - began) / len(mine)
    plain = plain or painted(base, canonical, seeds, settings=settings)
    moved: dict[str, Images] = {}
    if not only or {"drift", "style_drift"} & set(only):
        others = tuple(fill_prompt(t.replace(concept.handle, "{}"), ["person"]) for t in texts[:4])
        where = bench.prompts_elsewhere if bench else others
        moved = {
            "before": images(painted(base, where, seeds[:1], settings=settings)),
            "after": images(painted(base, where, seeds[:1], concept=concept, settings=settings)),
        }
    count = len(seeds)
    album = Album(
        noun,
        images(mine),
        tuple(c for c in canonical for _ in range(count)),
        base=images(plain),
        training=tuple(training),
        held_out=tuple(held_out),
        gallery=tuple(gallery),
        descriptions=tuple(fill_prompt(t.replace(concept.handle, "{}"), [looks]) for t in texts for _ in range(count))
        if looks
        else (),
        kind=concept.subject["kind"],
        **moved,
    )
    asked = [p for p in truths for _ in range(count)] if len(truths) == len(texts) else []
    cost = {**concept.cost, "seconds_per_picture": round(seconds, 3)}
    card = judged(album, encoders, truths=asked, only=only, segment=segment, cost=cost)
    return replace(card, pictures=tuple(mine), base=tuple(plain))


def painted(
    base: Base,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    concept: Concept | None = None,
    scale: float = 1.0,
    settings: PaintSettings | None = None,
) -> list[Picture]:
    """One picture for each prompt and seed, ordered by prompt."""
    from limner.engine.sample import PaintSettings

    from .paint import paint

    pictures: dict[tuple[int, int], Picture] = {}
    for seed in seeds:
        adapted = [concept] if concept is not None else []
        how = settings or PaintSettings()
        row = paint(base, list(prompts), concepts=adapted, scale=scale, seed=seed, settings=how)
        pictures |= {(k, seed): picture for k, picture in enumerate(row)}
    return [pictures[k, seed] for k in range(len(prompts)) for seed in seeds]
