"""Encode pictures into W+ with an encoder of e4e's architecture (arXiv:2102.02766)."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .stylegan import Equalised, StyleGANConfig, load_network, read_config

WEIGHTS = "encoder.safetensors"


class Reading(nn.Module):
    """Feature maps [B, wide, h, w] -> one vector of a code [B, width], by convolutions that halve the side down to 1
    (pSp's map2style, arXiv:2008.00951)."""

    def __init__(self, wide: int, width: int, side: int) -> None:
        super().__init__()
        steps = max(1, side.bit_length() - 1)
        self.convs = nn.ModuleList([nn.Conv2d(wide, wide, 3, 2, 1) for _ in range(steps)])
        self.out = Equalised(wide, width)

    def forward(self, maps: Tensor) -> Tensor:
        h = maps
        for conv in self.convs:
            h = F.leaky_relu(conv(h), 0.2)
        vectors: Tensor = self.out(h.mean((2, 3)))
        return vectors


class Residual(nn.Module):
    """Two convolutions with a skip connection; halves the side."""

    def __init__(self, wide_in: int, wide_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(wide_in, wide_out, 3, 2, 1)
        self.second = nn.Conv2d(wide_out, wide_out, 3, 1, 1)
        self.around = nn.Conv2d(wide_in, wide_out, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.first(x), 0.2)
        out: Tensor = (self.second(h) + self.around(x)) / 2**0.5
        return out


class WPlusEncoder(nn.Module):
    """Pictures [B, 3, H, W] in [0, 1] -> codes [B, num_styles, width].

    A code is the sum of the generator's mean w, a vector common to all layers, and an offset for each layer but the
    first (Eq. 2). Small offsets keep the code near W, where codes can be edited. `offsets` is the number of offsets in
    use: training adds them one by one (Sec. 4.2). Coarse layers read the deepest feature maps, fine ones the largest.
    """

    mean_w: Tensor  # [width]

    def __init__(self, config: StyleGANConfig, mean_w: Tensor | None = None, *, wide: int = 64) -> None:
        super().__init__()
        self.config, self.offsets = config, config.num_styles - 1
        self.stem = nn.Conv2d(3, wide // 2, 3, 1, 1)
        self.down = nn.ModuleList([Residual(wide // 2, wide), Residual(wide, wide), Residual(wide, wide)])
        self.across = nn.ModuleList([nn.Conv2d(wide, wide, 1) for _ in range(2)])
        sides = [config.size // 8, config.size // 4, config.size // 2]
        self.levels = [min(2, 3 * k // config.num_styles) for k in range(config.num_styles)]
        self.read = nn.ModuleList([Reading(wide, config.width, sides[level]) for level in self.levels])
        self.register_buffer("mean_w", torch.zeros(config.width) if mean_w is None else mean_w.detach().clone())

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self._pyramid(pixels)
        base = self.read[0](maps[0])
        rows = [base]
        for k in range(1, self.config.num_styles):
            rows.append(base + self.read[k](maps[self.levels[k]]) if k <= self.offsets else base)
        return self.mean_w + torch.stack(rows, 1)

    def _pyramid(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps, deepest first, at an eighth, a quarter and half of the picture's side."""
        size = self.config.size
        x = pixels.float()
        if x.shape[-2:] != (size, size):
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
        fine = self.down[0](self.stem(x * 2 - 1))
        middle = self.down[1](F.leaky_relu(fine, 0.2))
        deep = self.down[2](F.leaky_relu(middle, 0.2))
        middle = self.across[0](middle) + F.interpolate(deep, middle.shape[2:], mode="bilinear")
        fine = self.across[1](fine) + F.interpolate(middle, fine.shape[2:], mode="bilinear")
        return [deep, middle, fine]


def open_encoder(folder: Path | str, *, device: str = "cpu") -> WPlusEncoder:
    """Open the frozen encoder of a generator, once for each file. Raises `FileError` where there is none.

    folder: the generator's folder, with encoder.safetensors
    device: "cpu", or the name of a CUDA device
    """
    path = Path(folder).expanduser() / WEIGHTS
    about = path.stat() if path.is_file() else None
    return _opened(path, device, about and (about.st_size, about.st_mtime_ns))


@functools.lru_cache(maxsize=4)
def _opened(path: Path, device: str, _: object) -> WPlusEncoder:
    network = WPlusEncoder(read_config(path.parent))
    load_network(network, path, what="encoder into W+")
    return network.to(device).requires_grad_(False).eval()


def w_plus(folder: Path, pixels: Tensor) -> Tensor:
    """Encode pictures [n, 3, H, W] in [0, 1] into W+ [n, num_styles, width] with a folder's encoder; gradients pass."""
    codes: Tensor = open_encoder(folder, device=str(pixels.device))(pixels)
    return codes
