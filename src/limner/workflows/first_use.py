"""Weights that a method starts from and that did not come with limner: made when it is first used, with a word
beforehand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from limner.core.base import Base
    from limner.core.recipe import Recipe


def make_weights(name: str, recipe: Recipe, base: Base) -> Path | None:
    """Pre-train a method for a small base, such as pocket, where it starts from weights and there are none, and keep
    them in the cache; returns where they are, or None where nothing was made. Killed, it goes on where it was the next
    time.

    On full-size bases nothing is made: there it takes days of a large machine, and `shipped` says how to begin it.

    name: the method, or "FILE.py:function"
    recipe: what it returned; its stages of pre-training are made anew at their default settings
    base: for which the weights are
    """
    from limner.core.weights import cached_weights_path, weights_path

    small = not base.capabilities.full_size
    if not recipe.weights or not small or weights_path(recipe.weights, base).exists():
        return None
    if not recipe.pretraining:  # those of another method, on which it stands
        name = recipe.weights
    from .pretrain import prepared, trained
    from .progress import show

    to = cached_weights_path(recipe.weights, base)
    ready = prepared(name, base=base, given={}, to=to)
    updates = sum(stage.steps for stage in ready.stages)
    print(
        f"{name} starts from weights that are trained once for {base.name}, and there are none yet: they are made now, "
        f"in {updates} updates on {ready.seen.name}, some minutes, and kept in {to}",
        file=sys.stderr,
        flush=True,
    )
    return trained(ready, watch=show())
