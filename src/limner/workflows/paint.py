"""`paint`: pictures of prompts, with concepts."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ParamSpec

import torch

from limner.bases.common.text import literal_syntax
from limner.core.adapted import Adapted
from limner.core.picture import Picture, Pictures
from limner.core.pixels import to_images
from limner.core.streams import stream
from limner.core.wording import shortened
from limner.engine.attach import attach
from limner.engine.sample import PaintSettings, decoded, sample
from limner.errors import InputError, PromptError
from limner.library.concepts import read_concepts
from limner.library.opening import adapter_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.engine.sample import Canvas, PaintStep
    from limner.library.concepts import Concepts


P = ParamSpec("P")


def painting(
    base: Base,
    prompts: str | Sequence[str],
    *,
    concepts: Sequence[Concept | Path | str] = (),
    count: int = 1,
    seed: int = 0,
    scale: float | Sequence[float] = 1.0,
    settings: PaintSettings | None = None,
    canvas: Canvas | None = None,
    any_base: bool = False,
    hot: Concepts | None = None,
    watch: Callable[[PaintStep], object] | None = None,
) -> Iterator[Picture]:
    """Paint `count` pictures of each prompt, wearing `concepts` at `scale`, one for all or one each. Picture k of a prompt has seed `seed + k`.

    `painting` yields pictures as they are done, a batch at a time, and `paint` returns all of them; the base is as it was once the
    iterator ends or is closed. A prompt need not name a concept: so one sees what wearing it does to other things. With a `canvas`, every picture is painted into it.
    `any_base` lets a base wear what another of its family was taught. A concept may be named by its file, which is read from `hot`
    where it is there already. Raises `PromptError` for a prompt that is empty, too long, or names a handle that nothing worn answers
    to, `InputError` for a scale outside of SCALES, and `PaintingError` where latents are not finite numbers.
    """
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    settings = settings or PaintSettings()
    if count < 1:
        raise InputError(f"count must be at least 1, not {count}")
    known = read_concepts(concepts, hot)
    scales = [scale] * len(known) if isinstance(scale, (int, float)) else list(scale)
    for number in [scale] if isinstance(scale, (int, float)) else scales:
        check_scale(number)
    if len(scales) != len(known):
        raise InputError(f"there are {len(scales)} scales for {len(known)} concepts: give one for all, or one each")
    adapters = [adapter_of(c, base, scale=s, any_base=any_base, hot=hot) for c, s in zip(known, scales, strict=True)]
    check_prompts(
        [*prompts, *([settings.negative] if settings.negative.strip() else [])], handles=[o.handle for o in adapters]
    )
    for words in literal_syntax([*prompts, settings.negative]):
        warnings.warn(f"{words!r} is read as written: prompts have no weights, schedules or choices here", stacklevel=2)
    names = tuple(concept.handle for concept in known)
    story = settings.metadata | {"scale": scale if isinstance(scale, (int, float)) else scales}
    jobs = [(prompt, seed + k) for prompt in prompts for k in range(count)]
    with ExitStack() as stack:
        with torch.no_grad():  # closed before every yield: the caller's own code has its gradients
            adapted = stack.enter_context(attach(base, adapters))
        for start in range(0, len(jobs), settings.batch):
            part = jobs[start : start + settings.batch]
            texts, seeds = zip(*part, strict=True)
            with torch.no_grad():
                images = to_images(_best(adapted, texts, seeds, settings, canvas, watch))
            for image, (prompt, number) in zip(images, part, strict=True):
                yield Picture(image, prompt, number, names, base.name, dict(story))


def _all_at_once(painting: Callable[P, Iterator[Picture]]) -> Callable[P, Pictures]:
    """`painting` run to its end, with the same arguments."""

    @functools.wraps(painting)
    def paint(*given: P.args, **named: P.kwargs) -> Pictures:
        return Pictures(painting(*given, **named))

    paint.__name__ = paint.__qualname__ = "paint"
    paint.__signature__ = inspect.signature(painting).replace(return_annotation="Pictures")  # type: ignore[attr-defined]
    return paint


paint = _all_at_once(painting)

SCALES = (-10.0, 10.0)
"""Least and greatest strength at which a concept is worn."""


def check_scale(scale: float) -> None:
    """Raise `InputError` for a strength that is no finite number, or none a likeness survives."""
    if not SCALES[0] <= scale <= SCALES[1]:
        raise InputError(
            f"a scale must be a number from {SCALES[0]:g} to {SCALES[1]:g} (1 is as it was taught, 0 the base), not {scale}"
        )


def check_prompts(prompts: Sequence[str], *, handles: Sequence[str]) -> None:
    """Every prompt says something, and every <handle> in it is worn."""
    import re

    for prompt in prompts:
        if not prompt.strip():
            raise PromptError('the prompt is empty: say what to paint, as in "<rex> on the beach"')
        strange = [h for h in re.findall(r"<[^<>\s]+>", prompt) if h not in handles]
        if strange:
            adapted = f"worn now: {', '.join(handles)}" if handles else "no concept is worn; give one with --with FILE"
            raise PromptError(f"nothing answers to {strange[0]} in {shortened(prompt)!r}; {adapted}")


APART = 1_000_003
"""How far apart the seeds of a picture's candidates are. The first has the picture's own."""


def _best(
    adapted: Adapted,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: PaintSettings,
    canvas: Canvas | None,
    watch: Callable[[PaintStep], object] | None,
) -> Tensor:
    """[B, 3, H, W] in [0, 1]: what is painted of each prompt; of several candidates, the nearest."""
    choosing = adapted.candidates
    best = painted(adapted, prompts, seeds, settings, canvas, watch)
    if choosing is None or choosing.count < 2:
        return best
    near = choosing.nearness(adapted, best)
    for k in range(1, choosing.count):
        other = painted(adapted, prompts, [seed + k * APART for seed in seeds], settings, canvas, watch)
        nearness = choosing.nearness(adapted, other)
        better = nearness > near
        best, near = torch.where(better.view(-1, 1, 1, 1), other, best), torch.where(better, nearness, near)
    return best


def painted(
    adapted: Adapted,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: PaintSettings,
    canvas: Canvas | None = None,
    watch: Callable[[PaintStep], object] | None = None,
) -> Tensor:
    """[B, 3, H, W] in [0, 1]: one picture for each (prompt, seed), by all stages of the base. Raises `PaintingError` where it is not
    numbers."""
    for at in sample(adapted, prompts, seeds=seeds, settings=settings, canvas=canvas):
        if watch:
            watch(at)
    latents = at.latents
    if adapted.base.cascaded:
        states, empty = adapted.text_states(prompts), adapted.text_states([settings.negative] * len(prompts))
        streams = [stream(seed, "enlarging") for seed in seeds]
        about: dict[str, Any] = {"steps": settings.steps, "guidance": settings.guidance, "generators": streams}
        latents = adapted.base.enlarged(latents, states, empty, **about)
    return decoded(adapted.base, latents)
