"""Statistics of normalisation layers, taken over from a reference (StyleAligned, arXiv:2312.02133)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.types import Live

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base


@dataclass(frozen=True)
class shared_statistics:
    """Sampling with a reference stream shares the statistics of normalisation layers with the reference.

    Every row is normalised by mean and standard deviation over its own positions and the reference's together, as
    StyleAligned's published code shares group norms. (It also shares layer norms, which changes nothing: they normalise
    each position separately.) A strength below 1 interpolates the outputs. Without a reference stream it does not act,
    and a base without such layers has no statistics to share.
    """

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live = Live()
        with ExitStack() as stack:
            for layer in base.normalisations().values() if scale else ():
                stack.callback(layer.register_forward_hook(_shared(live, scale)).remove)
            yield live


def _shared(live: Live, scale: float) -> Callable[..., Any]:
    def hook(layer: Any, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        import torch.nn.functional as F

        run, x = live.run, inputs[0]
        if not live.on or run is None or not run.reference_stream:
            return out
        together = joined_with_reference(x, len(run.branches))
        both = F.group_norm(together, layer.num_groups, layer.weight, layer.bias, layer.eps)
        own = both[..., : x.shape[2:].numel()].reshape(x.shape)
        return own if scale == 1 else out.lerp(own, scale)

    return hook


def joined_with_reference(x: Tensor, branches: int) -> Tensor:
    """[B, C, 2 N]: each row's positions, then those of the first row of its branch.

    x: [B, C, …], rows of a branch together, with N positions
    branches: number of branches
    """
    import torch

    flat = x.flatten(2)
    grouped = flat.unflatten(0, (branches, -1))
    reference = grouped[:, :1].expand_as(grouped).flatten(0, 1)
    return torch.cat([flat, reference], -1)
