"""The judges' networks: small, plain, trained on the world alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions with group normalisation and a residual connection; halves the picture when `stride` is 2."""

    def __init__(self, wide_in: int, wide_out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(wide_in, wide_out, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(wide_out, wide_out, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.GroupNorm(8, wide_out) for _ in range(2)])
        self.skip = nn.Conv2d(wide_in, wide_out, 1, stride) if stride != 1 or wide_in != wide_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.norms[0](self.first(x)))
        out: Tensor = F.silu(self.norms[1](self.second(h)) + self.skip(x))
        return out


class Stem(nn.Module):
    """Pictures [B, 3, H, W] in [0, 1] -> maps [B, width, H/2, W/2]: each place reads four pixels and their neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(12, width, 3, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return F.silu(self.conv(F.pixel_unshuffle(2 * pixels - 1, 2)))


class Features(nn.Module):
    """Pictures [B, 3, 128, 128] in [0, 1] -> features [B, dim]."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 160), dim: int = 160) -> None:
        super().__init__()
        self.stem = Stem(widths[0])
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.blocks = nn.Sequential(*[Block(a, b, stride=2) for a, b in pairs], Block(widths[-1], widths[-1]))
        self.out = nn.Linear(2 * widths[-1], dim)

    def forward(self, pixels: Tensor) -> Tensor:
        h = self.blocks(self.stem(pixels))
        pooled = torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1)
        out: Tensor = self.out(pooled)
        return out


class Judge(nn.Module):
    """Pictures -> logits for every field."""

    def __init__(self, fields: Mapping[str, int]) -> None:
        super().__init__()
        self.features = Features()
        self.heads = nn.ModuleDict({name: nn.Linear(160, count) for name, count in fields.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        h = F.silu(self.features(pixels))
        return {name: head(h) for name, head in self.heads.items()}


class Identity(nn.Module):
    """Pictures -> unit vectors [B, dim] that are near for one individual and far for two."""

    def __init__(self, dim: int = 128) -> None:
        super().__init__()
        self.features = Features(dim=dim)

    def forward(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.features(pixels), dim=-1)


class Places(nn.Module):
    """Pictures [B, 3, H, W] in [0, 1] -> logits [B, count, H/8, W/8] of what stands at each place: a class, or, last, nothing."""

    def __init__(self, count: int, widths: tuple[int, int, int, int] = (24, 40, 64, 80)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.near = nn.Sequential(Stem(a), Block(a, b, 2), Block(b, c, 2))
        self.far = nn.Sequential(Block(c, d, 2), Block(d, d))
        self.out = nn.ModuleList([nn.Conv2d(wide, count, 1) for wide in (c, d)])

    def forward(self, pixels: Tensor) -> Tensor:
        near = self.near(pixels)
        far = F.interpolate(self.out[1](self.far(near)), near.shape[2:], mode="bilinear")
        out: Tensor = self.out[0](near) + far
        return out


class Segmenter(nn.Module):
    """Pictures -> logits [B, 1, H, W] of "a toy is here"."""

    def __init__(self, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        a, b, c = widths
        self.stem = Stem(a)
        self.down = nn.ModuleList([Block(a, b, 2), Block(b, c, 2)])
        self.middle = Block(c, c)
        self.up = nn.ModuleList([Block(c + b, b), Block(b + a, a)])
        self.out = nn.Conv2d(a, 4, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        first = self.stem(pixels)
        second = self.down[0](first)
        h = self.middle(self.down[1](second))
        for block, beside in zip(self.up, (second, first), strict=True):
            h = block(torch.cat([F.interpolate(h, scale_factor=2.0, mode="nearest"), beside], 1))
        out: Tensor = F.pixel_shuffle(self.out(h), 2)
        return out
