"""Control branches: networks whose residuals are added inside a UNet (ControlNet, arXiv:2302.05543; T2I-Adapter,
arXiv:2302.08453)."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from torch import Generator, Tensor, nn

from limner.core.quiet import quiet
from limner.core.types import Control, Pass, Residuals
from limner.errors import FileError, InputError

NETWORKS: dict[str, Any] = {"ControlNetModel": ControlNetModel, "T2IAdapter": T2IAdapter}
"""Classes that a control branch's config.json may name."""


def with_residuals(noised: Tensor, time: Tensor, run: Pass, **given: Any) -> dict[str, Any]:
    """A UNet's arguments, with the summed residuals of all active control branches; unchanged where no branch is
    active."""
    controls = [control for live in run.lives if live.on for control in live.controls]
    if not controls:
        return given
    residuals = functools.reduce(operator.add, (control(noised, time, given, run) for control in controls))
    if residuals.skips:
        given |= {
            "down_block_additional_residuals": residuals.skips,
            "mid_block_additional_residual": residuals.middle,
        }
    if residuals.features:
        # A list, since the UNet removes them one by one.
        given["down_intrablock_additional_residuals"] = list(residuals.features)
    return given


def copied_down_path(base: Any, channels: int, generator: Generator) -> tuple[nn.Module, dict[str, Tensor]]:
    """A ControlNet of diffusers for a base's UNet, and its initial weights by name.

    The down path and the middle block start as copies of the UNet's own, the convolutions behind them at zero. The
    small network that reads the condition starts at random, except for its last layer, which is zero.

    base: the base whose UNet is copied
    channels: number of channels of the condition
    generator: draws the random weights

    Raises `InputError` for a base without a UNet.
    """
    unet = _unet(base)
    halvings = (base.picture_size // base.latent_shape[1]).bit_length() - 1
    widths = tuple((16, 32, 96, 256)[min(k, 3)] for k in range(halvings + 1))
    with torch.device("meta"):
        network = ControlNetModel.from_unet(
            unet,
            conditioning_embedding_out_channels=widths,
            load_weights_from_unet=False,
            conditioning_channels=channels,
        )
    own, start = unet.state_dict(), {}
    for name, like in network.state_dict().items():
        if name in own:
            start[name] = own[name].detach().clone()
        elif name.startswith("controlnet_cond_embedding.") and ".conv_out." not in name:
            start[name] = _initialise(like, generator)
        else:
            start[name] = torch.zeros(like.shape)
    return network, start


def new_adapter(base: Any, channels: int, generator: Generator) -> tuple[nn.Module, dict[str, Tensor]]:
    """A T2I-Adapter of diffusers for a base's UNet, and its random initial weights by name.

    base: the base whose UNet the adapter fits
    channels: number of channels of the condition
    generator: draws the random weights

    Raises `InputError` for a base without a UNet.
    """
    config, factor = _unet(base).config, base.picture_size // base.latent_shape[1]
    widths, late = list(config.block_out_channels), "CrossAttn" not in config.down_block_types[0]
    if late:  # as in SDXL: the residual joins the first block after it has halved the resolution
        widths, factor = [*widths, *widths[-1:] * (4 - len(widths))], 2 * factor
    with torch.device("meta"):
        kind = "full_adapter_xl" if late else "full_adapter"
        network = T2IAdapter(channels, widths, 2, downscale_factor=factor, adapter_type=kind)
    return network, {name: _initialise(like, generator) for name, like in network.state_dict().items()}


def _unet(base: Any) -> Any:
    """The base's UNet. Raises `InputError` for a base whose denoiser is no UNet that accepts residuals."""
    unet = base.module("denoiser")
    if not base.takes_residuals or not isinstance(unet, UNet2DConditionModel):
        raise InputError(
            f"{base.name} ({base.family}) takes no residuals of control branches: use a base with the UNet of Stable "
            f"Diffusion or SDXL"
        )
    return unet


def _initialise(like: Tensor, generator: Generator) -> Tensor:
    """Initial value of a convolution's parameter: a weight as torch initialises it, zeros for a bias."""
    if like.ndim == 1:
        return torch.zeros(like.shape)
    return (2 * torch.rand(like.shape, generator=generator) - 1) / like[0].numel() ** 0.5


def open_control(folder: Path | str, base: Any) -> nn.Module:
    """Open a ControlNet or T2I-Adapter from a folder in diffusers' layout. Raises `FileError` for a folder that holds
    neither, and `InputError` for a network that was made for a base of another shape."""
    config = Path(folder).expanduser() / "config.json"
    if not config.is_file():
        raise FileError(f"{folder} has no config.json: expected a ControlNet or T2I-Adapter in diffusers' layout")
    kind = str(json.loads(config.read_text(encoding="utf-8")).get("_class_name"))
    if kind not in NETWORKS:
        raise FileError(f"{folder} holds a {kind}; expected a control branch: one of {', '.join(NETWORKS)}")
    try:
        with quiet():
            network: Any = NETWORKS[kind].from_pretrained(
                str(config.parent), use_safetensors=True, torch_dtype=base.dtype
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise FileError(f"{folder} cannot be read: {str(error).strip().splitlines()[0][:300]}") from error
    _check_fits(network, base, folder)
    network.to(base.device).requires_grad_(False).eval()
    control: nn.Module = network
    return control


def _check_fits(network: Any, base: Any, folder: Path | str) -> None:
    unet = _unet(base)
    if isinstance(network, T2IAdapter):
        wanted = tuple(unet.config.block_out_channels)
        network_sizes = tuple(network.config.channels)
        # An adapter for SDXL has more channels in its list than the UNet has blocks.
        network_sizes = wanted if network_sizes[: len(wanted)] == wanted else network_sizes
    else:
        keys = ("block_out_channels", "cross_attention_dim", "addition_embed_type")
        network_sizes, wanted = (tuple(_plain(net.config.get(key)) for key in keys) for net in (network, unet))
        # A ControlNet reads the latents alone, or every input channel of the UNet.
        latents, whole = base.latent_shape[0], int(unet.config.in_channels)
        network_sizes, wanted = ((*network_sizes, network.config.in_channels not in (latents, whole)), (*wanted, False))
    if network_sizes != wanted:
        raise InputError(
            f"{folder} was made for a denoiser with {network_sizes}, but the denoiser of {base.name} has {wanted}: it belongs "
            f"to another base"
        )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def channels_read(network: Any) -> int:
    """Number of channels of the condition that a control branch reads."""
    config = network.config
    return int(config.in_channels if isinstance(network, T2IAdapter) else config.conditioning_channels)


def num_residuals(network: Any) -> int:
    """Number of residuals of a ControlNet: one for each skip connection, and one for the middle."""
    return len(network.controlnet_down_blocks) + 1


def control_of(
    network: Any,
    condition: str,
    scale: float,
    *,
    instead: Callable[[Pass, int], Tensor] | None = None,
    states: Callable[[Pass, int], Tensor] | None = None,
) -> Control:
    """A control branch as a function that returns its residuals in a pass of the denoiser.

    network: a ControlNet or T2I-Adapter
    condition: name of the condition that it reads
    scale: factor on the residuals
    instead: (run, number of rows) -> the picture [rows, 1 or 3, H, W] that a ControlNet reads; None: the condition of
        the run
    states: (run, number of rows) -> the states [rows, L, D] that a ControlNet's cross-attention reads in place of the
        text's
    """
    channels = channels_read(network)

    def features(_: Tensor, __: Tensor, ___: Mapping[str, Any], run: Pass) -> Residuals:
        shown = _given(run, condition)
        maps = run.sampling.once(f"features of {condition}, {id(network)}", shown, lambda: _features(shown))
        return Residuals(features=tuple(scale * part for part in maps))

    def _features(shown: Tensor) -> list[Tensor]:
        maps: list[Tensor] = network(with_channels(shown, channels).to(next(network.parameters())))
        return maps

    def residuals(noised: Tensor, time: Tensor, given: Mapping[str, Any], run: Pass) -> Residuals:
        picture = _given(run, condition) if instead is None else instead(run, len(noised))
        shown, reads = with_channels(picture, channels).to(noised), int(network.config.in_channels)
        read = given["encoder_hidden_states"] if states is None else states(run, len(noised))
        more = {"added_cond_kwargs": given["added_cond_kwargs"]} if "added_cond_kwargs" in given else {}
        skips, middle = network(
            noised[:, :reads], time, read, controlnet_cond=shown, conditioning_scale=scale, return_dict=False, **more
        )
        return Residuals(tuple(skips), middle)

    return features if isinstance(network, T2IAdapter) else residuals


def _given(run: Pass, condition: str) -> Tensor:
    if condition not in run.conditions:
        raise InputError(
            f"a control branch reads the condition {condition!r}, which this pass of the denoiser does not carry: the "
            "part that starts this pass cannot be used together with a control branch"
        )
    return run.conditions[condition]


def with_channels(condition: Tensor, channels: int) -> Tensor:
    """[B, 1 or 3, H, W] -> [B, channels, H, W]: one channel is repeated, several are averaged into one. Raises
    `InputError` for any other pair of numbers."""
    own = condition.shape[1]
    if own == channels:
        return condition
    if own == 1:
        return condition.expand(-1, channels, -1, -1)
    if channels == 1:
        return condition.mean(1, keepdim=True)
    raise InputError(f"the condition has {own} channels, but the network reads {channels}: give 1 or {channels}")
