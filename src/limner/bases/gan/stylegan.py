"""A small generator of StyleGAN2's architecture (arXiv:1912.04958) and its three latent spaces.

    z [B, latent] --mapping--> w [B, width] --one for each layer--> w+ [B, num_styles, width] --affine--> s
    --synthesis--> pixels

W: one vector for all layers. W+: one vector for each layer. S: a scale for each input channel of each convolution,
[B, channels].
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from limner.core.tensor_files import read_tensors
from limner.core.untrusted import read_json, table, whole_number
from limner.errors import FileError, InputError

CONFIG, WEIGHTS = "config.json", "generator.safetensors"
SLOWER = 0.01
"""Learning rate of the mapping network as a fraction of the other layers' (App. C of arXiv:1812.04948)."""
FOLLOWS = 0.995
"""Decay of the exponential moving average of w."""


@dataclass(frozen=True)
class StyleGANConfig:
    """Sizes of a generator."""

    size: int = 64  # height and width of a picture in pixels, a power of 2 from 8 to 1024
    latent: int = 128  # length of z
    width: int = 128  # length of w
    mapping: int = 4  # layers of the mapping network
    channels: int = 64  # channels of the finest layer; doubled at each halving of the side, up to `most`
    most: int = 256  # most channels of a layer

    def __post_init__(self) -> None:
        if self.size not in (8, 16, 32, 64, 128, 256, 512, 1024):
            raise InputError(f"the side of a StyleGAN's pictures is a power of 2 from 8 to 1024, not {self.size}")
        for name, value in asdict(self).items():
            if not 1 <= value <= 4096:
                raise InputError(f"{name} of a StyleGAN must be from 1 to 4096, not {value}")

    @property
    def sides(self) -> list[int]:
        """Sides of the layers' feature maps: 4, 8, ... size."""
        return [2**k for k in range(2, int(math.log2(self.size)) + 1)]

    @property
    def num_styles(self) -> int:
        """Number of vectors of a code in W+: 2 log2(size) - 2."""
        return 2 * len(self.sides)

    def wide(self, side: int) -> int:
        return min(self.most, self.channels * self.size // side)


class Equalised(nn.Module):
    """A linear layer with equalised learning rate: its weights start with standard deviation 1 and are scaled at run
    time (Sec. 4.1 of arXiv:1710.10196)."""

    def __init__(self, wide_in: int, wide_out: int, *, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(wide_out, wide_in) / rate)
        self.bias = nn.Parameter(torch.full((wide_out,), bias / rate))
        self.scale, self.rate = rate / wide_in**0.5, rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class MappingNetwork(nn.Module):
    """z [B, latent] -> w [B, width]."""

    def __init__(self, config: StyleGANConfig) -> None:
        super().__init__()
        sizes = [config.latent, *[config.width] * config.mapping]
        self.layers = nn.ModuleList([Equalised(a, b, rate=SLOWER) for a, b in itertools.pairwise(sizes)])

    def forward(self, z: Tensor) -> Tensor:
        h = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2) * 2**0.5
        return h


class Modulated(nn.Module):
    """A convolution whose input channels are scaled by a style; `demodulate` scales its outputs back to an expected
    standard deviation of 1 (Eq. 1 to 3 of arXiv:1912.04958)."""

    def __init__(self, wide_in: int, wide_out: int, kernel: int, *, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(wide_out, wide_in, kernel, kernel))
        self.scale, self.demodulate = 1 / (wide_in * kernel**2) ** 0.5, demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x [B, C, h, w], style [B, C] -> [B, out, h, w]."""
        weight = self.weight * self.scale
        out = F.conv2d(x * style[:, :, None, None], weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            power = torch.einsum("bi,oikl->bo", style.square(), weight.square())
            out = out * (power + 1e-8).rsqrt()[:, :, None, None]
        return out


class Layer(nn.Module):
    """Modulated convolution, noise, bias and leaky ReLU; with `up`, the side is doubled first."""

    def __init__(self, wide_in: int, wide_out: int, width: int, *, up: bool) -> None:
        super().__init__()
        self.affine = Equalised(width, wide_in, bias=1.0)
        self.conv = Modulated(wide_in, wide_out, 3)
        self.noise = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(wide_out))
        self.up = up

    def forward(self, x: Tensor, style: Tensor, noise: Generator | None) -> Tensor:
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        h = self.conv(x, style)
        if noise is not None:
            drawn = torch.randn(len(h), 1, *h.shape[2:], generator=noise, device=noise.device)
            h = h + self.noise * drawn.to(h)
        return F.leaky_relu(h + self.bias[:, None, None], 0.2) * 2**0.5


class ToPixels(nn.Module):
    """Channels to red, green and blue, without demodulation."""

    def __init__(self, wide_in: int, width: int) -> None:
        super().__init__()
        self.affine = Equalised(width, wide_in, bias=1.0)
        self.conv = Modulated(wide_in, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        out: Tensor = self.conv(x, style) + self.bias[:, None, None]
        return out


class StyleGAN(nn.Module):
    """The generator. Pictures are [B, 3, size, size], roughly in [0, 1] but not clamped, so that gradients pass."""

    mean_w: Tensor  # [width]

    def __init__(self, config: StyleGANConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config)
        self.constant = nn.Parameter(torch.randn(1, config.wide(4), 4, 4))
        self.layers, self.pixels = nn.ModuleList(), nn.ModuleList()
        wide = config.wide(4)
        for side in config.sides:
            pair = [Layer(wide, config.wide(side), config.width, up=True)] if side > 4 else []
            pair.append(Layer(config.wide(side), config.wide(side), config.width, up=False))
            self.layers.extend(pair)
            self.pixels.append(ToPixels(config.wide(side), config.width))
            wide = config.wide(side)
        self.register_buffer("mean_w", torch.zeros(config.width))

    # ---------------------------------------------------------------------------------------------------------- spaces

    def to_w(self, z: Tensor, *, truncation: float = 1.0) -> Tensor:
        """Map z to W: [B, latent] -> [B, width].

        z: [B, latent]
        truncation: below 1 moves codes towards the mean w, for more typical and less varied pictures
        """
        w: Tensor = self.mapping(z)
        if self.training:
            with torch.no_grad():
                self.mean_w.lerp_(w.float().mean(0), 1 - FOLLOWS)
        return w if truncation == 1 else self.mean_w.lerp(w, truncation)

    def to_w_plus(self, w: Tensor) -> Tensor:
        """The same code in all layers: [B, width] -> [B, num_styles, width]."""
        return w[:, None].expand(-1, self.config.num_styles, -1)

    def to_styles(self, w_plus: Tensor) -> list[Tensor]:
        """Map W+ to S: [B, num_styles, width] -> the styles of all convolutions, in the order of `style_names`."""
        expected = (self.config.num_styles, self.config.width)
        if w_plus.ndim != 3 or tuple(w_plus.shape[1:]) != expected:
            raise InputError(
                f"a code in W+ is [B, {expected[0]}, {expected[1]}] for this generator, not {list(w_plus.shape)}"
            )
        return [module.affine(w_plus[:, index]) for module, index in self._modulated()]

    @property
    def style_names(self) -> list[str]:
        """Name of the convolution of each style in S: "4.conv", "4.pixels", "8.up", "8.conv", ..."""
        names = []
        for side in self.config.sides:
            names += [f"{side}.up"] if side > 4 else []
            names += [f"{side}.conv", f"{side}.pixels"]
        return names

    def _modulated(self) -> list[tuple[Any, int]]:
        """(convolution, index of its vector in W+); the layer to pixels shares the vector of the next side's first
        layer."""
        convolutions: list[tuple[Any, int]] = []
        layers = iter(self.layers)
        index = 0
        for side, pixels in zip(self.config.sides, self.pixels, strict=True):
            for _ in range(1 if side == 4 else 2):
                convolutions.append((next(layers), index))
                index += 1
            convolutions.append((pixels, index))
        return convolutions

    # ------------------------------------------------------------------------------------------------------- synthesis

    def synthesise(self, styles: Sequence[Tensor], *, noise: Generator | None = None) -> Tensor:
        """S -> [B, 3, size, size].

        styles: one [B, channels] for each convolution, in the order of `style_names`
        noise: generator of the layers' noise; None adds none, so that pictures depend on the code alone
        """
        x, image = self.constant.expand(len(styles[0]), -1, -1, -1).to(styles[0]), None
        for (module, _), style in zip(self._modulated(), styles, strict=True):
            if isinstance(module, ToPixels):
                here = module(x, style)
                image = here if image is None else here + _doubled(image)
            else:
                x = module(x, style, noise)
        assert image is not None
        return image / 2 + 0.5

    def forward(self, w_plus: Tensor, *, noise: Generator | None = None) -> Tensor:
        """[B, num_styles, width] -> [B, 3, size, size]."""
        return self.synthesise(self.to_styles(w_plus), noise=noise)

    # ----------------------------------------------------------------------------------------------------------- files

    def save(self, folder: Path | str) -> Path:
        """Write config.json and generator.safetensors."""
        return save_network(self, asdict(self.config), Path(folder), WEIGHTS)


def _doubled(image: Tensor) -> Tensor:
    return F.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)


def open_stylegan(folder: Path | str, *, device: str = "cpu") -> StyleGAN:
    """Open the frozen generator of a folder. Raises `FileError` where there is none.

    folder: a folder with config.json and generator.safetensors
    device: "cpu", or the name of a CUDA device
    """
    place = Path(folder).expanduser()
    config = read_config(place)
    network = StyleGAN(config)
    load_network(network, place / WEIGHTS, what="StyleGAN's generator")
    return network.to(device).requires_grad_(False).eval()


def read_config(folder: Path) -> StyleGANConfig:
    """Read the sizes of a folder's generator."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileError(f"{folder} has no {CONFIG}: expected the folder of a StyleGAN, with {CONFIG} and {WEIGHTS}")
    sizes: Mapping[str, Any] = table(read_json(path), path)
    names = {field.name for field in fields(StyleGANConfig)}
    if set(sizes) != names:
        raise FileError(
            f"{path} must hold {', '.join(sorted(names))} and nothing else, not {', '.join(sorted(sizes))[:200]}"
        )
    try:
        return StyleGANConfig(
            **{name: whole_number(value, f"{name} of {path}", least=1, most=4096) for name, value in sizes.items()}
        )
    except InputError as error:
        raise FileError(f"{path} is not valid: {error}") from error


def load_network(network: nn.Module, path: Path, *, what: str) -> None:
    """Load a file's weights into a network. Raises `FileError` where names or shapes do not match.

    network: the network to fill
    path: a .safetensors file
    what: the network's kind, for messages
    """
    if not path.is_file():
        raise FileError(f"{path.parent} has no {path.name}, the weights of a {what}")
    state = {name: value.float() for name, value in read_tensors(path, what=what)[1].items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise FileError(f"{path} does not fit its {CONFIG}: {str(error).splitlines()[1].strip()[:300]}") from error


def save_network(network: nn.Module, config: Mapping[str, Any], folder: Path, weights: str) -> Path:
    """Write a network's weights in single precision, and its sizes as config.json in the same folder; return the
    folder."""
    from safetensors.torch import save_file

    from limner.core.files import atomic_write, write_text

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().float().cpu().contiguous() for name, value in network.state_dict().items()}
    atomic_write(folder / weights, lambda path: save_file(state, path), overwrite=True)
    write_text(folder / CONFIG, json.dumps(dict(config), indent=2) + "\n", overwrite=True)
    return folder
