"""Two low-rank changes, of content and of style, learned from one pair and kept orthogonal (Pair Customization,
arXiv:2405.01536)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.types import Live
from limner.errors import FileError, InputError

from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.core.base import Base


@dataclass(frozen=True)
class paired_low_rank:
    """W + B_c A_c for content and W + B_c A_c + B_s A_s for the style, on every attention layer.

    The rows of A_c and A_s are one random orthonormal set and are not trained: A_c A_s^T = 0 (Sec. 3.2 of
    arXiv:2405.01536). A row is of the style when its prompt has the words of `style`. In training, rows of the style
    pass the content's change but send it no gradient. In sampling, rows of the style have the style's change alone and
    all others are the base's. Raises `InputError` where 2 * rank exceeds a layer's inputs.

    rank: rank of each change
    style: base -> the words that mark the style in a prompt
    """

    rank: int
    style: Callable[[Base], str]

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live, mark = Live(), self.style(base)
        with ExitStack() as stack:
            for name, layer in base.projections("attention").items():
                weight: Tensor = layer.weight  # type: ignore[assignment]  # of a linear layer
                basis = _basis(f"pair.{name}.basis", weight.shape[1], self.rank, stored, generator).to(weight)
                zero = weight.new_zeros(weight.shape[0], self.rank)
                keys = [f"pair.{name}.{part}" for part in ("content", "style")]
                ups = taken(dict.fromkeys(keys, zero), stored, base, what="the pair")
                live.tensors |= {f"pair.{name}.basis": basis, **ups}
                if scale:
                    content, style = ups.values()
                    hook = _beside(basis, content, style, scale, mark, live)
                    stack.callback(layer.register_forward_hook(hook).remove)
            yield live


def _basis(name: str, width: int, rank: int, stored: Mapping[str, Tensor], generator: Generator) -> Tensor:
    """[2 rank, width]: orthonormal rows, the content's first."""
    import torch

    if 2 * rank > width:
        raise InputError(
            f"two ranks of {rank} do not fit into a layer that reads {width} numbers; take {width // 2} or less"
        )
    start = torch.linalg.qr(torch.randn(width, 2 * rank, generator=generator))[0].T.contiguous()
    basis = stored.get(name, start)
    if basis.shape != start.shape:
        raise FileError(f"{name} is {tuple(basis.shape)} in the concept; this base and rank want {tuple(start.shape)}")
    return basis


def _beside(
    basis: Tensor, content: Tensor, style: Tensor, scale: float, mark: str, live: Live
) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    import torch
    import torch.nn.functional as F

    rank = len(basis) // 2

    def change(_: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        run = live.run
        if not live.on or run is None or len(run.prompts) != len(out):
            return out
        rows = torch.tensor([mark in prompt for prompt in run.prompts], device=out.device).view(-1, 1, 1)
        low = F.linear(inputs[0], basis)
        own = scale * rows * F.linear(low[..., rank:], style)
        if run.random is None:
            return out + own
        first = low[..., :rank]
        return out + own + torch.where(rows, F.linear(first, content.detach()), F.linear(first, content))

    return change
