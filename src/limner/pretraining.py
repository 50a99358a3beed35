"""Training, once for a base, the weights that a method starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from .teaching import Progress


def pretrain(
    name: str,
    *,
    base: str = "pocket",
    seed: int = 0,
    run: Path | None = None,
    watch: Callable[[Progress], object] | None = None,
    device: str | None = None,
    **given: Any,
) -> Path:
    """Run the pre-training stages of a method and keep what they learned where `learn` will find it.

    Interrupted, the same command goes on from its last checkpoint, to the same bits.
    """
    import torch

    from .bases.loading import load
    from .cache import cache_folder
    from .learning import checked_settings, drained
    from .methods import find
    from .subject import Subject
    from .wearing import Outfit, wear
    from .weights import save_weights, shipped

    function = find(name)
    loaded = load(base, device=device)
    chosen = checked_settings(function, given, base=loaded.name)
    recipe = function(Subject("<nobody>", "toy"), **chosen)
    if not recipe.pretraining or not recipe.weights:
        raise InputError(f"{name} learns nothing once and for all; it needs no pre-training")
    header = {"method": name, "settings": chosen, "seed": seed, "base": {"fingerprint": loaded.fingerprint}}
    folder = run or cache_folder() / "pretraining" / f"{recipe.weights}-{loaded.fingerprint}"
    start = shipped(recipe.begins, loaded) if recipe.begins else {}
    outfit = Outfit(recipe, "<nobody>", start, 1.0, seed)
    with torch.autocast(loaded.device.type, torch.bfloat16, cache_enabled=False):  # a cache would outlive each update
        tensors, losses = drained(
            loaded, outfit, recipe.pretraining, seed, header=header, checkpoints=folder, watch=watch
        )
    with wear(loaded, (outfit,)) as worn:
        trained = {name for stage in recipe.pretraining for selection in stage.train for name in selection(worn)}
    kept = {key: tensor for key, tensor in tensors.items() if key in trained}
    about = {"settings": chosen, "seed": seed, "losses": losses[:: max(1, len(losses) // 50)]}
    return save_weights(recipe.weights, loaded, kept, about=about)
