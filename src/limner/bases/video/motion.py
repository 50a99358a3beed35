"""Motion modules beside a UNet's layers, so that the frames of a clip see one another (AnimateDiff, arXiv:2307.04725)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def moving(unet: Any, adapter: Any, frames: int) -> Iterator[None]:
    """While inside, every `frames` rows of a batch are one clip, and the modules of a diffusers `MotionAdapter` act on them.

    They stand where diffusers' `UNetMotionModel` has them: after each pair of residual and attention layers, and in the
    middle before the last residual layer. The UNet itself may be of any kind that diffusers has.
    """
    with ExitStack() as stack:
        for layer, module in _places(unet, adapter):
            stack.callback(layer.register_forward_hook(_after(module, frames)).remove)
        yield


def _places(unet: Any, adapter: Any) -> Iterator[tuple[Any, Any]]:
    """(layer, motion module that follows it)."""
    for blocks, motions in ((unet.down_blocks, adapter.down_blocks), (unet.up_blocks, adapter.up_blocks)):
        for block, motion in zip(blocks, motions, strict=True):
            layers = block.attentions if getattr(block, "has_cross_attention", False) else block.resnets
            yield from zip(layers, motion.motion_modules, strict=True)
    if adapter.mid_block is not None:
        yield from zip(unet.mid_block.attentions, adapter.mid_block.motion_modules, strict=True)


def _after(module: Any, frames: int) -> Any:
    def hook(_: Any, __: Any, out: Any) -> Any:
        if isinstance(out, tuple):
            return (module(out[0], num_frames=frames), *out[1:])
        return module(out, num_frames=frames)

    return hook
