"""Pre-trained weights that do not come with limner: they are trained when their method is first used, after a
message."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from limner.core.interrupts import TrainingPaused
from limner.errors import TeachingError

from .controls import PAUSE, STOP, Controls
from .events import Event, Message, WeightsUpdateDone

if TYPE_CHECKING:
    from pathlib import Path

    from limner.core.base import Base
    from limner.core.recipe import Recipe

    from .pretrain import Training


def make_weights(name: str, recipe: Recipe, base: Base) -> Path | None:
    """Pre-train a method for a small base, such as pocket, where it needs weights that do not exist, and save them in
    the cache. Returns their file, or None where nothing was trained. A run that is killed continues at the next call.

    On full-size bases nothing is trained: that takes days on a large machine, and the error of `shipped` says how to
    start it. Nor is anything trained for settings that other weights than the default's belong to.

    name: the method, or "FILE.py:function"
    recipe: the method's recipe; its stages of pre-training are built again with their default settings
    base: the base that the weights are for
    """
    ready = _missing(name, recipe, base)
    if ready is None:
        return None
    from .pretrain import trained
    from .progress import show

    print(_announced(ready), file=sys.stderr, flush=True)
    return trained(ready, watch=show())


def weights_made(name: str, recipe: Recipe, base: Base, controls: Controls) -> Iterator[Event]:
    """`make_weights` for a workflow: a message and an event for each update, or nothing where no weights are missing.

    Between two updates the base is left to others that wait for it. Raises `TrainingPaused` where a pause is asked for,
    with the checkpoint written, and `TeachingError` where a stop is asked for: there is no concept to keep yet.
    """
    ready = _missing(name, recipe, base)
    if ready is None:
        return
    from .pretrain import trained_updates

    yield Message(_announced(ready))
    asked = (PAUSE, STOP)
    try:
        with closing(trained_updates(ready, pause=lambda: any(map(controls.asked, asked)))) as updates:
            for update in updates:
                yield WeightsUpdateDone(
                    ready.name, update.done, update.total, dict(update.losses), update.eta, update.last
                )
                if controls.others_wait:
                    with update.adapted.suspended():
                        controls.give_way()
    except TrainingPaused:
        if controls.take(PAUSE):
            raise
        controls.take(STOP)
        raise TeachingError("training was stopped before its first update, so there is nothing to keep") from None


def _missing(name: str, recipe: Recipe, base: Base) -> Training | None:
    """The training of the weights that a method lacks on a small base; None where it lacks none."""
    from limner.core.weights import cached_weights_path, weights_path

    from .pretrain import prepared

    small = not base.capabilities.full_size
    if not recipe.weights or not small or weights_path(recipe.weights, base).exists():
        return None
    # a recipe without pre-training of its own starts from another method's weights
    if not recipe.pretraining:
        name = recipe.weights
    ready = prepared(name, base=base, given={}, to=cached_weights_path(recipe.weights, base))
    # settings may belong to other weights than the default's
    return ready if ready.recipe.weights == recipe.weights else None


def _announced(ready: Training) -> str:
    updates = sum(stage.steps for stage in ready.stages)
    return (
        f"{ready.name} starts from weights that are trained once for {ready.base.name}, and there are none yet: they "
        f"are trained now, in {updates} updates on {ready.seen.name}, which takes some minutes, and saved in {ready.to}"
    )
