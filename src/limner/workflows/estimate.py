"""The workflow `estimate`: method, time and memory of learning before it begins.

Where the base has results of its own, this machine's speed is measured once by a few updates, stored, and the results
are scaled by it. Where it has none, a few updates of the method itself are measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limner.core.method import settings
from limner.errors import InputError, LimnerError
from limner.library.settings import checked_settings
from limner.methods import find

from .choose_method import measured
from .events import CostEstimated, Event, Message, RunDone
from .opening import open_base
from .quick_estimate import REFERENCE, Estimate, Speed, quick_estimate, store_speed, stored_speed

if TYPE_CHECKING:
    from limner.core.recipe import Recipe
    from limner.core.subject import Subject

    from .requests import BaseChoice, EstimateRequest

UPDATES = 3
"""Updates that are measured, after one that prepares them."""
FEW_CLASS_IMAGES = 2
"""Class images that are painted for a measurement: an update takes as long with few of them."""
SAMPLING_STEPS = 1, 3
"""Steps of the two samplings whose times are compared."""
ROWS = 8
"""Pictures in a sampling that is measured."""


def estimate_request(
    request: EstimateRequest, *, open_base: Callable[[BaseChoice], Any] = open_base
) -> Iterator[Event]:
    """Estimate the cost of a request and yield `CostEstimated`. `open_base` may return a base that is open already.
    With `measure`, the base is opened where something must be measured.

    Raises `UnknownName` for an unknown goal, method or setting, and `InputError` where no method fits the budget.
    """
    about: dict[str, Any] = {
        "method": request.method,
        "given": request.settings,
        "budget": request.budget,
        "photographs": request.photographs,
        "device": request.base.device,
    }
    name, device = request.base.name, request.base.device
    guess = quick_estimate(request.goal, request.kind, name, **about)
    known, base = guess.seconds is not None, None
    if request.measure and known and (request.anew or stored_speed(name, device) is None):
        yield Message("measuring this machine's speed")
        base = open_base(request.base)
        store_speed(measure_speed(base), name, device)
        guess = quick_estimate(request.goal, request.kind, name, **about)
    if request.measure and not known:
        yield Message(f"measuring a few updates of {guess.method}")
        base = base or open_base(request.base)
        guess = _by_updates(request, guess, base)
    elif not known:
        guess = replace(guess, basis=f"{guess.basis}; open the base to measure them")
    memory, memory_basis = _memory(request, guess, base)
    event = CostEstimated(guess.method, guess.why, guess.seconds, guess.between, guess.basis, memory, memory_basis)
    yield event
    yield RunDone(event.record, _line(event))


# ----------------------------------------------------------------------------------------------------------- the time


def measure_speed(base: Any) -> Speed:
    """This machine's speed on a base that has results: updates of REFERENCE, and pictures of the base alone."""
    bench = base.capabilities.bench
    if bench is None:
        raise InputError(f"{base.name} has no bench to compare with; estimate a method by its own updates")
    few = {"steps": UPDATES + 1, "num_class_pictures": FEW_CLASS_IMAGES}
    (updates,) = update_seconds(base, bench.example(), REFERENCE, few).values()
    return Speed(tuple(updates), tuple(picture_seconds(base)), str(base.device))


def update_seconds(base: Any, subject: Subject, method: str, given: Mapping[str, Any]) -> dict[int, list[float]]:
    """Number of each stage -> seconds of each of its updates but the first, which prepares its sources. Nothing is
    saved."""
    from .learn import learn_updates

    seconds: dict[int, list[float]] = {}
    before: dict[int, float] = {}
    for progress in learn_updates(base, subject, method=method, **given):
        now = time.monotonic()
        if progress.stage in before:
            seconds.setdefault(progress.stage, []).append(now - before[progress.stage])
        before[progress.stage] = now
    return seconds


def picture_seconds(base: Any) -> list[float]:
    """Seconds for a class image at the default number of steps, measured twice. Class images are sampled many at a time
    and never decoded, so the time of the steps alone counts: that of more steps less that of fewer."""
    from limner.engine.sample import PaintSettings

    few, more = SAMPLING_STEPS
    steps = PaintSettings().steps
    _sampling(base, few)  # things that are prepared once do not count
    taken = [[_sampling(base, count) for count in SAMPLING_STEPS] for _ in range(2)]
    return [max(long - short, 1e-4) / (more - few) * steps / ROWS for short, long in taken]


def _sampling(base: Any, count: int) -> float:
    """Seconds of sampling ROWS latents of the base alone in `count` steps."""
    import torch

    from limner.engine.attach import attach
    from limner.engine.sample import PaintSettings, sample

    began = time.monotonic()
    with torch.no_grad(), attach(base, ()) as adapted:
        settings = PaintSettings(steps=count, batch=ROWS)
        for _ in sample(adapted, ["a photo"] * ROWS, seeds=range(ROWS), settings=settings):
            pass
    if base.device.type == "cuda":
        torch.cuda.synchronize(base.device)
    return time.monotonic() - began


def _by_updates(request: EstimateRequest, guess: Estimate, base: Any) -> Estimate:
    """The estimate for a method that was not measured on this base, from a few of its own updates; unknown, with the
    reason, where it cannot learn from the pictures that stand in for the subject's."""
    try:
        seconds = _measured_updates(request, guess.method, base)
    except LimnerError as error:
        return replace(guess, basis=f"{guess.method} could not be measured: {error}")
    limit = request.budget if request.budget is not None else float("inf")
    least, middle, most = (round(min(sum(values), limit), 1) for values in zip(*seconds, strict=True))
    return replace(
        guess,
        seconds=middle,
        between=(least, most),
        basis=f"{UPDATES} updates of each stage, measured on this machine",
    )


def _measured_updates(request: EstimateRequest, method: str, base: Any) -> list[tuple[float, float, float]]:
    """Least, median and greatest seconds for each stage, and for the class images."""
    from limner.core.weights import weights_path

    from .form import tuned_by
    from .quick_estimate import class_images

    function, subject = find(method), stand_in(request, base)
    chosen = checked_settings(function, request.settings, base=request.base.name)
    recipe = function(subject, **chosen)
    if recipe.weights and not weights_path(recipe.weights, base).exists():
        raise InputError(
            f"it starts from pre-trained weights ({recipe.weights}), and there are none for {base.name} yet"
        )
    known = {setting.name for setting in settings(function)}
    few = {name: UPDATES + 1 for name in tuned_by(method) if name.endswith("steps") and chosen[name]}
    few |= dict.fromkeys(known & {"num_class_pictures"}, FEW_CLASS_IMAGES)
    taken = update_seconds(base, subject, method, {**request.settings, **few})
    rows = [_scaled(taken[k], stage.steps) for k, stage in enumerate(recipe.tuning) if k in taken]
    if recipe.tuning and not rows:
        raise InputError("its stages decide for themselves how many updates they take")
    if count := class_images(chosen):
        rows.append(_scaled(picture_seconds(base), count))
    return rows or [(0.0, 0.0, 0.0)]


def _scaled(seconds: list[float], count: int) -> tuple[float, float, float]:
    return min(seconds) * count, statistics.median(seconds) * count, max(seconds) * count


def stand_in(request: EstimateRequest, base: Any) -> Subject:
    """A subject in place of the user's: the example of the base's bench, else pictures of noise, which take as long to
    learn from."""
    import numpy as np
    from PIL import Image

    from limner.core.subject import Subject

    bench = base.capabilities.bench
    if bench is not None:
        example: Subject = bench.example()
        return example
    pixels = np.random.default_rng(0).integers(0, 256, (request.num_pictures, 64, 64, 3), dtype=np.uint8)
    pictures = [Image.fromarray(each).resize((base.picture_size,) * 2) for each in pixels]
    kind = request.kind if request.kind != "face" else "object"
    return Subject.of(pictures, noun=request.noun, handle="rex", kind=kind)


# --------------------------------------------------------------------------------------------------------- the memory


def _memory(request: EstimateRequest, guess: Estimate, base: Any) -> tuple[float | None, str]:
    """Peak memory in bytes, and where it is from, or why it is unknown."""
    if guess.memory_bytes is not None and measured(request.base.name):
        return guess.memory_bytes, "measured: the process at its peak, from reading the photos to the page"
    choice = request.base
    if choice.name.endswith(".safetensors") and base is None:
        return None, "the size of a single file is unknown before it is loaded"
    try:
        return _counted_memory(request, guess.method, base), "estimated from the shapes of the networks"
    except (LimnerError, RuntimeError) as error:  # a part that needs values on torch's meta device
        return None, f"it cannot be estimated before the base is open: {str(error).splitlines()[0][:200]}"


def _counted_memory(request: EstimateRequest, method: str, base: Any) -> float:
    from limner.bases.common.loading import sketch
    from limner.core.subject import Subject
    from limner.engine import memory_estimate

    choice, function = request.base, find(method)
    chosen = checked_settings(function, request.settings, base=choice.name)
    recipe: Recipe = function(Subject("<rex>", request.noun), **chosen)
    shown = base if base is not None else sketch(choice.name, offline=choice.offline or None)
    fused = shown.device.type not in ("cpu", "meta")
    shape = memory_estimate.measured(shown, recipe, batch=int(chosen.get("batch", 1)), fused=fused)
    asked = memory_estimate.Choice(choice.dtype, choice.offload, choice.tiling, choice.checkpointing, choice.quantise)
    return memory_estimate.estimate(shape, asked).peak


def _line(event: CostEstimated) -> str:
    """The estimate in one line, for people."""
    taken = "unknown" if event.seconds is None else f"about {event.seconds:.0f} s"
    if event.between is not None:
        taken += f" ({event.between[0]:.0f} to {event.between[1]:.0f})"
    memory = "unknown" if event.memory_bytes is None else f"{event.memory_bytes / 1e9:.1f} GB"
    return f"{event.method}: {taken}, memory {memory} ({event.basis}; {event.memory_basis})"
