"""A fully connected conditional random field, which fits soft masks to the edges of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def dense_crf(
    shares: Tensor,
    pixels: Tensor,
    *,
    rounds: int = 5,
    near: float = 0.03,
    far: float = 0.15,
    colour: float = 0.08,
    smoothness: float = 0.2,
    appearance: float = 0.5,
) -> Tensor:
    """[n, K, h, w]: probability of each label at each pixel after mean-field inference with Potts compatibility.

    Algorithm 1 and Eq. 3 of arXiv:1210.5644: pixels that are near to each other, and pixels that are also of like
    colour, tend to have one label. Both kernels are computed in full and scaled to a sum of 1 for each pixel, so that
    their weights do not depend on the picture's size; a side of 64 pixels takes 67 MB for each.

    shares: [n, K, h, w], positive: how likely each label is at each pixel
    pixels: [n, 3, h, w] in [0, 1]
    rounds: mean-field updates
    near: standard deviation of the kernel of positions alone, as a share of the picture's side
    far: standard deviation of positions in the kernel of positions and colours
    colour: standard deviation of colours in that kernel
    smoothness: weight of the first kernel
    appearance: weight of the second kernel
    """
    import torch

    count, labels, high, wide = shares.shape
    rows, columns = torch.meshgrid(torch.arange(high) / high, torch.arange(wide) / wide, indexing="ij")
    places = torch.stack([rows, columns], -1).view(-1, 2).to(pixels)
    apart = torch.cdist(places, places).square()  # [N, N]
    smooth = _scaled(torch.exp(-apart / (2 * near**2)))
    results = []
    for row in range(count):
        colours = pixels[row].flatten(1).T
        unlike = torch.cdist(colours, colours).square()
        alike = _scaled(torch.exp(-apart / (2 * far**2) - unlike / (2 * colour**2)))
        unary = shares[row].flatten(1).clamp_min(1e-6).log()  # [K, N]
        label = unary.softmax(0)
        for _ in range(rounds):
            message = smoothness * label @ smooth.T + appearance * label @ alike.T
            label = (unary + message).softmax(0)  # Potts: a label is favoured by the neighbours that have it
        results.append(label.view(labels, high, wide))
    return torch.stack(results)


def _scaled(kernel: Tensor) -> Tensor:
    """The kernel [N, N] without a pixel's influence on itself, with a sum of 1 in each row."""
    kernel = kernel.fill_diagonal_(0)
    return kernel / kernel.sum(1, keepdim=True).clamp_min(1e-12)
