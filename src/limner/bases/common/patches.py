"""A self-supervised vision transformer beside a base, such as DINOv2, whose class token and patch tokens encoders
read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.quiet import quiet
from limner.errors import InputError

FOLDERS = ("patch_encoder", "../dino")
"""Places of the network, relative to a base's folder."""
KINDS = ("vit", "dinov2", "dinov2_with_registers")
SIZE = 224
"""Side of the pictures that DINOv2 reads, in pixels; its config names the larger one of its last epochs."""


class PatchEncoder(NamedTuple):
    """The network, and the input that it was trained with."""

    network: Any
    size: int  # pixels of a side
    mean: Sequence[float]
    std: Sequence[float]
    registers: int  # tokens between the class token and the patch tokens

    def __call__(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] -> [B, 1 + L, D]: the normalised class token and patch tokens."""
        weight = next(self.network.parameters())
        mean, std = (torch.tensor(values, device=weight.device).view(1, 3, 1, 1) for values in (self.mean, self.std))
        inputs = pixels.to(weight.device).float()
        if inputs.shape[-2:] != (self.size, self.size):
            inputs = F.interpolate(inputs, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        inputs = ((inputs - mean) / std).to(weight.dtype)
        tokens: Tensor = self.network(pixel_values=inputs, interpolate_pos_encoding=True).last_hidden_state
        return torch.cat([tokens[:, :1], tokens[:, 1 + self.registers :]], 1)


def patch_folder(source: str) -> Path | None:
    """The folder of a base's patch encoder; None where there is none."""
    places = [Path(source) / place for place in FOLDERS]
    return next((place for place in places if (place / "config.json").is_file()), None)


def open_patch_encoder(folder: Path | None, *, base: str, device: torch.device, dtype: torch.dtype) -> PatchEncoder:
    """Open the network. Raises `InputError` where there is none, and for a network of another kind.

    folder: its folder, or None
    base: name of the base, for messages
    device: its device
    dtype: its data type
    """
    from transformers import AutoConfig, AutoModel

    if folder is None:
        raise InputError(
            f"{base} has no self-supervised encoder of patches, which this method needs: put a DINOv2 (with its config.json "
            "and preprocessor_config.json) into the base's folder as patch_encoder/"
        )
    with quiet():
        config = AutoConfig.from_pretrained(folder)
        if config.model_type not in KINDS:
            raise InputError(f"{folder} is a {config.model_type!r} model; expected one of {', '.join(KINDS)}")
        more = {"add_pooling_layer": False} if config.model_type == "vit" else {}
        network = AutoModel.from_pretrained(folder, dtype=dtype, use_safetensors=True, **more)
    about = folder / "preprocessor_config.json"
    prepared = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
    mean, std = (prepared.get(key, (0.5, 0.5, 0.5)) for key in ("image_mean", "image_std"))
    size = int(config.image_size) if config.model_type == "vit" else SIZE
    registers = int(getattr(config, "num_register_tokens", 0))
    return PatchEncoder(network.to(device).requires_grad_(False).eval(), size, mean, std, registers)
