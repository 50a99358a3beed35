"""Two samplings of one picture: the first by the base alone, whose layout the second follows (`recipe.FirstPass`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from limner.core.adapted import FirstPicture
from limner.errors import InputError

from .regions import Layout, check_composable
from .steps import PaintStep

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.recipe import FirstPass


def two_passes(
    adapted: Adapted,
    passes: FirstPass,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sample: Callable[..., Iterator[PaintStep]],
    decode: Callable[[Base, Tensor], Tensor],
    about: Mapping[str, Any],
) -> Iterator[PaintStep]:
    """Sample every picture twice, yielding after every step; the steps of both passes are counted on.

    Each picture has regions of its own, so that the second pass samples them one by one, in lockstep. A picture in
    which no subject has a region is that of the first pass.

    adapted: the base with the attached adapters
    passes: the first pass that one of these asks for
    prompts: prompts as the user wrote them, one for each picture
    seeds: one for each picture
    sample: the sampling loop
    decode: latents -> pixels in [0, 1]
    about: further arguments of the sampling loop

    Raises `InputError` for clips, and for adapters that cannot be restricted to a region.
    """
    if about["frames"] > 1:
        raise InputError("a first pass gives the layout of one picture, not of a clip: paint pictures, or give regions")
    check_composable(adapted, {})
    activations: dict[str, Tensor] = {}
    watch = (passes.watch(activations),) if passes.watch else ()
    first = sample(adapted, prompts, seeds=seeds, layout=Layout({}, "attention", operations=watch), **about)
    last: PaintStep | None = None
    before: dict[int, Tensor] = {}  # step -> latents of the first pass before it
    for done, last in enumerate(_steps(adapted, first), 1):
        before[last.step + 1] = last.latents
        yield PaintStep(done - 1, 2 * last.total - _first_step(passes, last.total), last.latents, last.clean)
    assert last is not None
    begin = _first_step(passes, last.total)
    rows = range(len(seeds))
    pictures = [_picture(adapted, prompts[k], last.latents[k : k + 1], activations, k, decode) for k in rows]
    layouts = [_layout(passes, picture, before, k, last.total) for k, picture in enumerate(pictures)]
    start = replace(last, step=begin - 1, latents=before[begin]) if begin in before else None
    painting = {
        k: sample(adapted, prompts[k : k + 1], **_second(passes, pictures[k], seeds, k, layouts[k], start, about))
        for k in rows
        if layouts[k].masks
    }
    latents = last.latents.clone()
    for step in range(last.total - begin if start else len(before)):
        now = {k: next(own) for k, own in painting.items()}
        for k, at in now.items():
            latents[k] = at.latents[0]
        whole = latents.clone()
        yield PaintStep(done + step, 2 * last.total - begin, whole, partial(_clean, whole, now))


def _clean(latents: Tensor, steps: Mapping[int, PaintStep]) -> Tensor:
    """[B, C, h, w]: clean latents of the rows that a second pass samples, and those of the first pass, which are clean
    already."""
    return torch.stack([steps[k].clean()[0] if k in steps else latents[k] for k in range(len(latents))])


def _first_step(passes: FirstPass, total: int) -> int:
    """Number of the second pass's first step: both passes are equal before it."""
    return round(passes.begin * total)


def _steps(adapted: Adapted, sampling: Iterator[PaintStep]) -> Iterator[PaintStep]:
    """Steps of the base alone; between them, all adapters act again."""
    while True:
        with adapted.only(*adapted.everywhere):
            at = next(sampling, None)
        if at is None:
            return
        yield at


def _picture(
    adapted: Adapted,
    prompt: str,
    latents: Tensor,
    activations: Mapping[str, Tensor],
    row: int,
    decode: Callable[[Base, Tensor], Tensor],
) -> FirstPicture:
    own = {name: tensor[row : row + 1] for name, tensor in activations.items()}
    return FirstPicture(adapted, prompt, decode(adapted.base, latents), latents, own)


def _layout(passes: FirstPass, picture: FirstPicture, before: Mapping[int, Tensor], row: int, total: int) -> Layout:
    """The regions of a picture's second pass."""
    masks = dict(passes.regions(picture))
    prompts = {handle: passes.prompt(picture.prompt, handle) for handle in masks} if passes.prompt else {}
    first = {step: latents[row : row + 1] for step, latents in before.items()} if passes.follow else {}
    follow = (passes.follow(total),) if passes.follow else ()
    return Layout(masks, prompts=prompts, first=first, follow=follow)


def _second(
    passes: FirstPass,
    picture: FirstPicture,
    seeds: Sequence[int],
    row: int,
    layout: Layout,
    start: PaintStep | None,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Arguments of the sampling loop for a picture's second pass."""
    count, adapted = len(seeds), picture.adapted
    given = {name: c[row : row + 1] if len(c) == count else c for name, c in about["conditions"].items()}
    more = passes.conditions(picture) if passes.conditions and _reads_more(adapted, given) else {}
    reads = adapted.may_read | adapted.painting_reads
    conditions = {name: condition for name, condition in more.items() if name in reads} | given
    after = start and replace(start, latents=start.latents[row : row + 1])
    return {**about, "seeds": seeds[row : row + 1], "layout": layout, "conditions": conditions, "after": after}


def _reads_more(adapted: Adapted, given: Mapping[str, Tensor]) -> bool:
    """Whether an adapter reads conditions that the user did not give."""
    return bool((adapted.may_read | adapted.painting_reads) - given.keys())
