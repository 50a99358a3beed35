"""Motion modules between a UNet's layers, in which the frames of a clip attend to each other (AnimateDiff,
arXiv:2307.04725)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from torch import Generator, Tensor

from limner.core.quiet import quiet
from limner.core.types import Live
from limner.errors import FileError, InputError


@contextmanager
def moving(unet: Any, adapter: Any, frames: int) -> Iterator[None]:
    """Context in which every `frames` rows of a batch are one clip, and the modules of a diffusers `MotionAdapter` act
    on it.

    The modules have the same positions as in diffusers' `UNetMotionModel`: after each pair of residual and attention
    layers, and in the middle block before the last residual layer.

    unet: any UNet of diffusers
    adapter: a diffusers `MotionAdapter` of the UNet's shape
    frames: number of frames of a clip
    """
    with _after_layers(unet, adapter, lambda module, x: module(x, num_frames=frames)):
        yield


def moved(base: Any, adapter: Any, live: Live, scale: float) -> AbstractContextManager[None]:
    """Context in which motion modules act on the clips of a base's passes. A reference stream, which precedes the clips
    in every branch, is left unchanged.

    base: a base with a UNet
    adapter: a diffusers `MotionAdapter` of the UNet's shape
    live: carries the current pass, and whether the modules are on
    scale: strength of the modules; 1 is theirs, 0 is none
    """

    def act(module: Any, x: Tensor) -> Tensor:
        run = live.run
        if run is None or not live.on or run.frames == 1:
            return x
        rows = x.unflatten(0, (len(run.branches), -1))
        first, clips = rows[:, : int(run.reference_stream)], rows[:, int(run.reference_stream) :]
        out = module(clips.flatten(0, 1), num_frames=run.frames).view(clips.shape)
        out = out if scale == 1 else clips.lerp(out, scale)
        return torch.cat([first, out], 1).flatten(0, 1)

    return _after_layers(base.module("denoiser"), adapter, act)


def motion_of(base: Any, frames: int, folder: str, generator: Generator) -> tuple[Any, dict[str, Tensor], int]:
    """Motion modules for a base's UNet, their weights by name, and the number of frames of the longest clip.

    base: a base with a UNet
    frames: frames of the longest clip of new modules
    folder: a MotionAdapter in diffusers' layout; empty makes new modules, whose output is zero
    generator: draws the weights of new modules

    Raises `InputError` for a base without a UNet, and for modules that were made for a UNet of another shape.
    """
    unet = base.module("denoiser")
    if not isinstance(unet, UNet2DConditionModel):
        raise InputError(f"{base.name} ({base.family}) has no UNet, and motion modules stand between a UNet's layers")
    network = _opened(folder) if folder else _new(unet, frames)
    channels, wanted = (tuple(net.config.block_out_channels) for net in (network, unet))
    if channels != wanted:
        raise InputError(
            f"{folder} has motion modules for layers with {channels} channels, but those of {base.name} have {wanted}"
        )
    with quiet():  # diffusers warns about layers to keep in single precision, which do not exist here
        network.to(base.device, base.dtype)
    start = {name: tensor.detach() for name, tensor in network.named_parameters()}
    if not folder:
        start = {name: _initialise(name, tensor, generator) for name, tensor in start.items()}
    return network, start, int(network.config.motion_max_seq_length)


def _opened(folder: str) -> Any:
    config = Path(folder).expanduser() / "config.json"
    kind = json.loads(config.read_text(encoding="utf-8")).get("_class_name") if config.is_file() else "nothing"
    if kind != "MotionAdapter":
        raise FileError(f"{folder} holds {kind}; expected a MotionAdapter in diffusers' layout")
    try:
        with quiet():
            return MotionAdapter.from_pretrained(str(config.parent), use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise FileError(f"{folder} cannot be read: {str(error).strip().splitlines()[0][:300]}") from error


def _new(unet: Any, frames: int) -> Any:
    """New motion modules of diffusers, in the sizes of a UNet."""
    config = unet.config
    heads = config.num_attention_heads or config.attention_head_dim
    with torch.random.fork_rng(devices=[]):  # `_initialise` draws the values again, from its own generator
        return MotionAdapter(
            block_out_channels=tuple(config.block_out_channels),
            motion_layers_per_block=config.layers_per_block,
            motion_num_attention_heads=min(heads) if isinstance(heads, (tuple, list)) else heads,
            motion_norm_num_groups=config.norm_num_groups,
            motion_max_seq_length=frames,
            use_motion_mid_block=False,
        )


def _initialise(name: str, like: Tensor, generator: Generator) -> Tensor:
    """Initial value of a parameter: norms are the identity, a module's last layer is zero, and other layers are as
    torch initialises them."""
    if name.endswith("bias") or ".proj_out." in name:
        return torch.zeros(like.shape)
    if like.ndim == 1:
        return torch.ones(like.shape)
    return (2 * torch.rand(like.shape, generator=generator) - 1) / like[0].numel() ** 0.5


Act = Callable[[Any, Tensor], Tensor]


@contextmanager
def _after_layers(unet: Any, adapter: Any, act: Act) -> Iterator[None]:
    with ExitStack() as stack:
        for layer, module in _places(unet, adapter):
            stack.callback(layer.register_forward_hook(_after(module, act)).remove)
        yield


def _places(unet: Any, adapter: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs of a layer and the motion module that follows it."""
    for blocks, motions in ((unet.down_blocks, adapter.down_blocks), (unet.up_blocks, adapter.up_blocks)):
        for block, motion in zip(blocks, motions, strict=True):
            layers = block.attentions if getattr(block, "has_cross_attention", False) else block.resnets
            yield from zip(layers, motion.motion_modules, strict=True)
    if adapter.mid_block is not None:
        yield from zip(unet.mid_block.attentions, adapter.mid_block.motion_modules, strict=True)


def _after(module: Any, act: Act) -> Any:
    def hook(_: Any, __: Any, out: Any) -> Any:
        return (act(module, out[0]), *out[1:]) if isinstance(out, tuple) else act(module, out)

    return hook
