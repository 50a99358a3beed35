"""Keys and values put before the text encoder's own (CatVersion, arXiv:2311.14631)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live

from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base


@dataclass(frozen=True)
class text_prefix:
    """In the last self-attention layers of the text encoder, one learned key and value per head precede the sequence.

    Every position of every prompt attends to them (Sec. 3.2 of arXiv:2311.14631). Values start at zero, keys near it.

    share: share of the layers, from the last, from 0 to 1; at least one layer
    """

    share: float = 0.25

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        live = Live()
        layers = base.text_attention()
        with ExitStack() as stack:
            for index in range(len(layers) - max(1, round(self.share * len(layers))), len(layers)):
                heads, wide = layers[index].heads, layers[index].width
                prefix = f"prefix.{index}."
                start = {
                    f"{prefix}key": 0.02 * torch.randn(heads, wide, generator=generator),
                    f"{prefix}value": torch.zeros(heads, wide),
                }
                own = taken(start, stored, base, what="the prefix")
                live.tensors |= own
                if scale:
                    key, value = own.values()
                    stack.enter_context(layers[index].with_prefix(key, value, scale, lambda: live.on))
            yield live
