"""`paint`: pictures of prompts, with concepts attached to the base."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec

import torch

from limner.bases.common.text import literal_syntax
from limner.core.adapted import Adapted
from limner.core.picture import Clip, Picture, Pictures
from limner.core.pixels import to_images
from limner.core.prompts import check_prompts
from limner.core.recipe import Recipe
from limner.core.regions import names_word, region_masks
from limner.core.streams import stream
from limner.core.wording import shortened
from limner.engine.attach import Adapter, attach
from limner.engine.conditions import tensor_of
from limner.engine.regions import Layout
from limner.engine.sample import PaintSettings, decoded, sample
from limner.errors import InputError, PromptError
from limner.library.concepts import read_concepts
from limner.library.opening import adapter_of
from limner.parts.attention.regions import kept_to_regions
from limner.parts.modifiers.control_branch import opened_control
from limner.parts.modifiers.motion import motion_modules

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.regions import Where
    from limner.core.types import AttentionOp
    from limner.engine.conditions import Condition
    from limner.engine.sample import Canvas
    from limner.engine.steps import PaintStep
    from limner.library.concepts import Concepts


P = ParamSpec("P")


def painting(
    base: Base,
    prompts: str | Sequence[str],
    *,
    concepts: Sequence[Concept | Path | str] = (),
    count: int = 1,
    seed: int | Sequence[int] = 0,
    scale: float | Sequence[float] = 1.0,
    settings: PaintSettings | None = None,
    canvas: Canvas | None = None,
    regions: Mapping[str, Where] | None = None,
    any_base: bool = False,
    hot: Concepts | None = None,
    watch: Callable[[PaintStep], object] | None = None,
    conditions: Mapping[str, Condition | Mapping[str, Where]] = MappingProxyType({}),
    controls: Mapping[str, Path | str] = MappingProxyType({}),
    frames: int = 1,
    motion: Path | str = "",
    sampled_as: Callable[[Adapter], Adapter] | None = None,
    skip: int = 0,
) -> Generator[Picture]:
    """Paint `count` pictures of each prompt with `concepts`, at one `scale` for all or one for each. Picture k of a
    prompt has seed `seed + k`; there may be a seed for each prompt.

    `painting` yields pictures as they are done, a batch at a time, and `paint` returns all of them; the base returns to
    its former state once the iterator ends or is closed. A prompt need not name a concept, which shows how other things
    change. With a `canvas`, every picture is painted into it. `any_base` allows concepts that another base of the
    family learned. A concept may be given as its file, which is read through the cache `hot`.

    `regions` place subjects in the picture: handle, or a plain word of all prompts -> "left" and other words, a box as
    shares of the picture (left, top, right, bottom), or a mask (see `limner.core.regions`); `PaintSettings.compose`
    names how they act. `conditions` are pictures that the base, a concept or one of the `controls` reads, such as
    {"depth": picture}: one for all prompts, one for each, or one for each frame of a clip. Boxes may be given as the
    condition "layout", too, in place of `regions`. `controls` are the folders
    of ControlNets and T2I-Adapters by the condition they read, {"depth": folder}. With `frames` above 1, clips are
    painted (`Clip`), by a base or concept with motion modules or by those in the folder `motion`. `sampled_as` gives
    every concept's adapter another way of sampling (`library.swapping.into_source`). `skip` leaves out that many
    pictures at the start, whole batches, so that the others are the same as without it.

    Raises `PromptError` for a prompt that is empty, too long, or names a handle that no attached concept answers to,
    `InputError` for a scale outside of SCALES and for invalid regions, and `PaintingError` where latents are not finite
    numbers.
    """
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    settings = settings or PaintSettings()
    if count < 1:
        raise InputError(f"count must be at least 1, not {count}")
    pictures, regions = _without_layout(conditions, regions)
    known = read_concepts(concepts, hot)
    scales = [scale] * len(known) if isinstance(scale, (int, float)) else list(scale)
    for number in [scale] if isinstance(scale, (int, float)) else scales:
        check_scale(number)
    if len(scales) != len(known):
        raise InputError(f"there are {len(scales)} scales for {len(known)} concepts: give one for all, or one each")
    adapters = [adapter_of(c, base, scale=s, any_base=any_base, hot=hot) for c, s in zip(known, scales, strict=True)]
    adapters = [sampled_as(adapter) for adapter in adapters] if sampled_as else adapters
    check_prompts([*prompts, *([settings.negative] if settings.negative.strip() else [])], handles=_handles(adapters))
    layout = layout_of(base, adapters, prompts, regions, settings) if regions else None
    for words in literal_syntax([*prompts, settings.negative]):
        warnings.warn(f"{words!r} is read as written: prompts have no weights, schedules or choices here", stacklevel=2)
    names = tuple(_handles(adapters))
    story = settings.metadata | {"scale": scale if isinstance(scale, (int, float)) else scales}
    story |= layout.story if layout else {}
    shown = _conditions(base, pictures, prompts, count, frames)
    if shown:
        story |= {"conditions": sorted(shown)}
    seeds_of = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
    if len(seeds_of) != len(prompts):
        raise InputError(f"there are {len(seeds_of)} seeds for {len(prompts)} prompts: give one for all, or one each")
    jobs = [(prompt, first + k) for prompt, first in zip(prompts, seeds_of, strict=True) for k in range(count)]
    adapters += _beside(controls, motion)
    each = max(1, settings.batch // frames) if frames > 0 else 1  # clips in a batch
    if skip % each:
        raise InputError(f"pictures are skipped in whole batches of {each}, not {skip}")
    with ExitStack() as stack:
        # closed before every yield, so that the caller's own code has gradients
        with torch.no_grad():
            adapted = stack.enter_context(attach(base, adapters))
        for start in range(skip, len(jobs), each):
            part = jobs[start : start + each]
            texts, seeds = zip(*part, strict=True)
            own = slice(start * frames, (start + each) * frames)
            rows = {name: c if len(c) == 1 else c[own] for name, c in shown.items()}
            with torch.no_grad():
                images = to_images(_best(adapted, texts, seeds, settings, canvas, watch, rows, frames, layout, jobs[0]))
            for k, (prompt, number) in enumerate(part):
                clip, metadata = tuple(images[k * frames : (k + 1) * frames]), dict(story)
                if frames > 1:
                    yield Clip(clip[0], prompt, number, names, base.name, metadata, clip)
                else:
                    yield Picture(clip[0], prompt, number, names, base.name, metadata)


LAYOUT = "layout"
"""Name of the condition that holds regions."""


def _without_layout(
    conditions: Mapping[str, Condition | Mapping[str, Where]], regions: Mapping[str, Where] | None
) -> tuple[dict[str, Condition], Mapping[str, Where] | None]:
    """The conditions that are pictures, and the regions, which may stand among the conditions. Raises `InputError`
    where regions are given twice."""
    pictures: dict[str, Any] = dict(conditions)
    if not isinstance(pictures.get(LAYOUT), Mapping):
        return pictures, regions
    if regions:
        raise InputError("regions are given twice, as `regions` and as the condition 'layout': leave one of them out")
    boxes = pictures.pop(LAYOUT)
    return pictures, boxes


def _conditions(
    base: Base, conditions: Mapping[str, Condition], prompts: Sequence[str], count: int, frames: int
) -> dict[str, Tensor]:
    """Name -> [1 or one for each frame of each picture, 1 or 3, H, W]. Raises `InputError` for another number of
    pictures than one, that of the prompts or, for clips, that of the frames."""
    tensors: dict[str, Tensor] = {}
    for name, given in conditions.items():
        tensor = tensor_of(name, given, base.picture_size)
        if len(tensor) == len(prompts) > 1:
            tensor = tensor.repeat_interleave(count * frames, 0)
        elif len(tensor) == frames > 1:
            tensor = tensor.repeat(len(prompts) * count, 1, 1, 1)
        elif len(tensor) != 1:
            more = f", or one for each of {frames} frames" if frames > 1 else ""
            raise InputError(
                f"the condition {name!r} has {len(tensor)} pictures for {len(prompts)} prompts: give one for all, "
                "one for "
                f"each{more}"
            )
        tensors[name] = tensor
    return tensors


def _beside(controls: Mapping[str, Path | str], motion: Path | str) -> list[Adapter]:
    """Control branches and motion modules from folders, as adapters without a subject: no prompt can name their
    handles."""
    parts: dict[str, Any] = {f"control of {name}": opened_control(name, str(at)) for name, at in controls.items()}
    if motion:
        parts["motion"] = motion_modules(folder=str(motion))
    return [
        Adapter(Recipe(says="", modifiers=(part,)), f"<{name} modules>", everywhere=True)
        for name, part in parts.items()
    ]


def layout_of(
    base: Base,
    adapters: Sequence[Adapter],
    prompts: Sequence[str],
    regions: Mapping[str, Where],
    settings: PaintSettings,
) -> Layout:
    """The region of each subject, at the size of the base's latents. Raises `InputError` for invalid regions, and
    `PromptError` for a prompt that does not name a handle with a region."""
    handles = _handles(adapters)
    # a name that no concept answers to is a plain word, where every prompt has it
    strange = [name for name in regions if f"<{name.strip('<>').lower()}>" not in handles and "<" not in name]
    words = [name for name in strange if all(names_word(prompt, name) for prompt in prompts)]
    masks = region_masks(regions, handles=handles, size=base.latent_shape[1:], words=words)
    for prompt in prompts:
        unnamed = [handle for handle in masks if handle not in words and handle not in prompt]
        if unnamed:
            raise PromptError(
                f"{unnamed[0]} has a region, and the prompt {shortened(prompt)!r} does not name it; write "
                f"{unnamed[0]} in the prompt, or "
                "leave its region out"
            )
    descriptions = {name: where if isinstance(where, str) else _box_or_mask(where) for name, where in regions.items()}
    # no concept is there to predict the region of a plain word
    compose = settings.compose if set(masks) - set(words) or settings.compose == "method" else "attention"
    story = {"regions": descriptions, "compose": compose, "background": settings.background}
    placed = {handle: mask.to(base.device, base.dtype) for handle, mask in masks.items()}
    operations: tuple[AttentionOp, ...] = () if compose == "method" else (kept_to_regions(),)
    return Layout(placed, compose, settings.background, operations=operations, story=story)


def _box_or_mask(where: Any) -> Any:
    return list(where) if isinstance(where, (list, tuple)) else "mask"


def _handles(adapters: Sequence[Adapter]) -> list[str]:
    return [answer.handle for adapter in adapters for answer in adapter.answers]


def _all_at_once(painting: Callable[P, Iterator[Picture]]) -> Callable[P, Pictures]:
    """A function that runs `painting` to its end, with the same arguments."""

    @functools.wraps(painting)
    def paint(*given: P.args, **named: P.kwargs) -> Pictures:
        return Pictures(painting(*given, **named))

    paint.__name__ = paint.__qualname__ = "paint"
    signature = inspect.signature(painting).replace(return_annotation="Pictures")
    paint.__signature__ = signature  # type: ignore[attr-defined]  # for `help`
    return paint


paint = _all_at_once(painting)

SCALES = (-10.0, 10.0)
"""Least and greatest strength at which a concept can be attached."""


def check_scale(scale: float) -> None:
    """Raise `InputError` for a strength that is not a finite number within SCALES."""
    if not SCALES[0] <= scale <= SCALES[1]:
        raise InputError(
            f"a scale must be a number from {SCALES[0]:g} to {SCALES[1]:g} (1 is full strength, 0 the base alone), not "
            f"{scale}"
        )


APART = 1_000_003
"""Distance between the seeds of a picture's candidates; the first candidate has the picture's own seed."""


def _best(
    adapted: Adapted,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: PaintSettings,
    canvas: Canvas | None,
    watch: Callable[[PaintStep], object] | None,
    conditions: Mapping[str, Tensor],
    frames: int,
    layout: Layout | None,
    first: tuple[str, int],
) -> Tensor:
    """[B, 3, H, W] in [0, 1]: the picture of each prompt. Where there are several candidates, the one nearest to the
    subject; candidates of clips are compared as a whole."""
    choosing = adapted.candidates
    about: Any = settings, canvas, watch, conditions, frames, layout, first
    best = painted(adapted, prompts, seeds, *about)
    if choosing is None or choosing.count < 2:
        return best
    near = _of_clips(choosing.nearness(adapted, best), frames)
    for k in range(1, choosing.count):
        other = painted(adapted, prompts, [seed + k * APART for seed in seeds], *about)
        nearness = _of_clips(choosing.nearness(adapted, other), frames)
        better = nearness > near
        best, near = torch.where(better.view(-1, 1, 1, 1), other, best), torch.where(better, nearness, near)
    return best


def _of_clips(nearness: Tensor, frames: int) -> Tensor:
    """[B]: the nearness of each frame, replaced by the mean of its clip."""
    return nearness if frames == 1 else nearness.view(-1, frames).mean(1).repeat_interleave(frames)


def painted(
    adapted: Adapted,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: PaintSettings,
    canvas: Canvas | None = None,
    watch: Callable[[PaintStep], object] | None = None,
    conditions: Mapping[str, Tensor] = MappingProxyType({}),
    frames: int = 1,
    layout: Layout | None = None,
    first: tuple[str, int] | None = None,
) -> Tensor:
    """[B, 3, H, W] in [0, 1]: one picture for each (prompt, seed), by all stages of the base. `first` is the prompt and
    seed of the first picture of all, in a later batch. Raises `PaintingError`
    where values are not finite."""
    more: Any = {"conditions": conditions, "frames": frames, "layout": layout, "first": first}
    for at in sample(adapted, prompts, seeds=seeds, settings=settings, canvas=canvas, **more):
        if watch:
            watch(at)
    latents = at.latents
    if adapted.base.cascaded:
        prompts = [prompt for prompt in prompts for _ in range(frames)]
        seeds = [seed for seed in seeds for _ in range(frames)]
        states, empty = adapted.text_states(prompts), adapted.text_states([settings.negative] * len(prompts))
        streams = [stream(seed, "enlarging") for seed in seeds]
        about: dict[str, Any] = {"steps": settings.steps, "guidance": settings.guidance, "generators": streams}
        latents = adapted.base.enlarged(latents, states, empty, **about)
    return decoded(adapted.base, latents)
