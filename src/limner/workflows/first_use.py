"""Pre-trained weights that do not come with limner: they are trained when their method is first used, after a
message."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from limner.core.base import Base
    from limner.core.recipe import Recipe


def make_weights(name: str, recipe: Recipe, base: Base) -> Path | None:
    """Pre-train a method for a small base, such as pocket, where it needs weights that do not exist, and save them in
    the cache. Returns their file, or None where nothing was trained. A run that is killed continues at the next call.

    On full-size bases nothing is trained: that takes days on a large machine, and the error of `shipped` says how to
    start it. Nor is anything trained for settings that other weights than the default's belong to.

    name: the method, or "FILE.py:function"
    recipe: the method's recipe; its stages of pre-training are built again with their default settings
    base: the base that the weights are for
    """
    from limner.core.weights import cached_weights_path, weights_path

    small = not base.capabilities.full_size
    if not recipe.weights or not small or weights_path(recipe.weights, base).exists():
        return None
    # a recipe without pre-training of its own starts from another method's weights
    if not recipe.pretraining:
        name = recipe.weights
    from .pretrain import prepared, trained
    from .progress import show

    to = cached_weights_path(recipe.weights, base)
    ready = prepared(name, base=base, given={}, to=to)
    if ready.recipe.weights != recipe.weights:
        return None
    updates = sum(stage.steps for stage in ready.stages)
    print(
        f"{name} starts from weights that are trained once for {base.name}, and there are none yet: they are "
        "trained now, "
        f"in {updates} updates on {ready.seen.name}, which takes some minutes, and saved in {to}",
        file=sys.stderr,
        flush=True,
    )
    return trained(ready, watch=show())
