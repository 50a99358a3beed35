"""The judges' networks: small, plain, trained on the world alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions with group normalisation and a residual connection; halves the picture when `stride` is
    2."""

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
    """Pictures [B, 3, H, W] in [0, 1] -> maps [B, width, H/2, W/2]: each place reads four pixels and their
    neighbours."""

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
    """Pictures [B, 3, H, W] in [0, 1] -> logits [B, count, H/8, W/8] of the class at each position; the last is
    "nothing"."""

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


class Depths(nn.Module):
    """Pictures [B, 3, H, W] in [0, 1] -> logits [B, 1, H, W] of the inverse depth, as a share of the picture's largest.

    A small U-Net (arXiv:1505.04597). H and W are multiples of 16.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 24, 32, 40)) -> None:
        super().__init__()
        self.stem = Stem(widths[0])
        self.down = nn.ModuleList([Block(a, b, 2) for a, b in itertools.pairwise(widths)])
        self.middle = Block(widths[-1], widths[-1])
        self.up = nn.ModuleList([Block(b + a, a) for a, b in itertools.pairwise(widths)])
        self.out = nn.Conv2d(widths[0], 4, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = [self.stem(pixels)]
        for block in self.down:
            maps.append(block(maps[-1]))
        h = self.middle(maps.pop())
        for block in reversed(self.up):
            beside = maps.pop()
            h = block(torch.cat([F.interpolate(h, beside.shape[2:], mode="bilinear"), beside], 1))
        out: Tensor = F.pixel_shuffle(self.out(h), 2)
        return out


class Manner(nn.Module):
    """Pictures [B, 3, H, W] in [0, 1] -> unit vectors [B, dim] that are near for one individual style and far for two.

    It reads correlations of feature maps (Gram matrices, arXiv:1508.06576), which hold no positions, so that the
    content counts little.
    """

    def __init__(self, dim: int = 64, widths: tuple[int, int, int] = (24, 32, 48), few: int = 24) -> None:
        super().__init__()
        a, b, c = widths
        self.stages = nn.ModuleList([Stem(a), Block(a, b, 2), Block(b, c, 2)])
        self.few = nn.ModuleList([nn.Conv2d(wide, few, 1) for wide in widths])
        pairs = few * (few + 1) // 2
        self.out = nn.Sequential(
            nn.LayerNorm(3 * (pairs + few)), nn.Linear(3 * (pairs + few), 192), nn.SiLU(), nn.Linear(192, dim)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        h, moments = pixels, []
        for stage, few in zip(self.stages, self.few, strict=True):
            h = stage(h)
            maps = few(h).flatten(2)  # [B, few, places]
            mean = maps.mean(2, keepdim=True)
            rows, columns = torch.triu_indices(maps.shape[1], maps.shape[1], device=maps.device)
            gram = ((maps - mean) @ (maps - mean).mT / maps.shape[2])[:, rows, columns]
            moments += [gram.sign() * gram.abs().clamp_min(1e-12).sqrt(), mean[..., 0]]
        return F.normalize(self.out(torch.cat(moments, 1)), dim=-1)


class Landmarks(nn.Module):
    """Pictures [B, 3, H, W] in [0, 1] of one face -> landmarks [B, count, 2]: x, y as shares of the picture.

    Each landmark is the mean position under one attention map (a soft argmax, arXiv:1711.08229), at sub-pixel
    precision.
    """

    def __init__(self, count: int, widths: tuple[int, int, int, int] = (24, 48, 64, 96)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.near = nn.Sequential(Stem(a), Block(a, b, 2))
        self.far = nn.Sequential(Block(b, c, 2), Block(c, d, 2), Block(d, d))
        self.join = Block(b + d, c)
        self.out = nn.Conv2d(c, count, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        near = self.near(pixels)
        far = F.interpolate(self.far(near), near.shape[2:], mode="bilinear")
        maps = self.out(self.join(torch.cat([near, far], 1)))  # [B, count, h, w]
        share = maps.flatten(2).softmax(-1).view_as(maps)
        y, x = ((torch.arange(n, device=maps.device) + 0.5) / n for n in maps.shape[2:])
        return torch.stack([(share.sum(2) * x).sum(-1), (share.sum(3) * y).sum(-1)], -1)


class Reader(nn.Module):
    """Pictures [B, 3, H, W] in [0, 1] of up to three things -> a description of each thing, in `slots` unordered slots.

    Each slot has logits for every field ([B, slots, options]; the first field's last option is "nothing") and a box
    [B, slots, 4] (centre x, y, width, height, as fractions of the picture). Slots attend to the picture's positions
    (arXiv:2005.12872).
    """

    def __init__(self, fields: Mapping[str, int], slots: int = 3, wide: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(Stem(32), Block(32, 64, 2), Block(64, 96, 2), Block(96, wide), Block(wide, wide))
        self.slots = nn.Parameter(torch.randn(slots, wide) * 0.3)
        self.place = nn.Linear(2, wide)
        self.layers = nn.ModuleList(
            [
                nn.TransformerDecoderLayer(wide, 4, 3 * wide, 0.0, "gelu", batch_first=True, norm_first=True)
                for _ in range(3)
            ]
        )
        self.heads = nn.ModuleDict({name: nn.Linear(wide, count) for name, count in fields.items()})
        self.box = nn.Linear(wide, 4)

    def forward(self, pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        maps = self.body(pixels)  # [B, wide, h, w]
        y, x = torch.meshgrid(*((torch.arange(n, device=maps.device) + 0.5) / n for n in maps.shape[2:]), indexing="ij")
        seen = (maps + self.place(torch.stack([x, y], -1)).permute(2, 0, 1)).flatten(2).mT
        h = self.slots.expand(len(pixels), -1, -1)
        for layer in self.layers:
            h = layer(h, seen)
        return {name: head(h) for name, head in self.heads.items()}, self.box(h).sigmoid()
