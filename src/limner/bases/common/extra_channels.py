"""Conditions that a denoiser reads in input channels beside its latents'. Nothing heavy is imported here."""

from __future__ import annotations

import json
from pathlib import Path


def extra_conditions(extra: int, own: int) -> tuple[str, ...] | None:
    """The conditions that fill the additional channels of a UNet, in their order; None for another number of them.

    extra: number of channels beside the latents'
    own: number of channels of the latents
    """
    return {0: (), 1: ("depth",), own: ("source",), own + 1: ("mask", "source")}.get(extra)


def read_by_base(name: str) -> tuple[str, ...] | None:
    """The conditions that a base reads in additional channels, known without opening it; None where it is no folder
    whose settings tell.

    name: the name that `load` opens the base by
    """
    folder = Path(name).expanduser()
    if name == "pocket" or (folder / "transformer").is_dir():
        return ()
    try:
        texts = ((folder / part / "config.json").read_text(encoding="utf-8") for part in ("unet", "vae"))
        unet, vae = map(json.loads, texts)
        own = int(vae["latent_channels"])
        return extra_conditions(int(unet["in_channels"]) - own, own)
    except (OSError, ValueError, KeyError, TypeError):
        return None
