"""Transformer layers as in BERT, normalised after each sum: parameters at their start, and functions of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

EPSILON = 1e-12
"""Epsilon of layer norms, as in BERT."""


def linear(name: str, out: int, into: int, generator: Generator) -> dict[str, Tensor]:
    """A linear layer's parameters at their start.

    name: beginning of their names
    out: width of its output
    into: width of its input
    generator: draws the weights
    """
    import torch

    weight = torch.randn(out, into, generator=generator) / into**0.5
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(out)}


def normal(name: str, width: int) -> dict[str, Tensor]:
    """A layer norm's parameters at their start.

    name: beginning of their names
    width: number of channels
    """
    import torch

    return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}


def attention(name: str, width: int, into: int, generator: Generator) -> dict[str, Tensor]:
    """An attention layer's parameters at their start.

    name: beginning of their names
    width: width of the states that ask
    into: width of the states that are read
    generator: draws the weights
    """
    made = linear(f"{name}.query", width, width, generator) | linear(f"{name}.out", width, width, generator)
    made |= linear(f"{name}.key", width, into, generator) | linear(f"{name}.value", width, into, generator)
    return made | normal(f"{name}.norm", width)


def forward(name: str, width: int, hidden: int, generator: Generator) -> dict[str, Tensor]:
    """A feed-forward layer's parameters at their start.

    name: beginning of their names
    width: width of the states
    hidden: width within the layer
    generator: draws the weights
    """
    made = linear(f"{name}.in", hidden, width, generator) | linear(f"{name}.out", width, hidden, generator)
    return made | normal(f"{name}.norm", width)


def block(name: str, width: int, hidden: int, generator: Generator) -> dict[str, Tensor]:
    """Parameters at their start of self-attention and the feed-forward layer behind it.

    name: beginning of their names
    width: width of the states
    hidden: width within the feed-forward layer
    generator: draws the weights
    """
    return attention(f"{name}.self", width, width, generator) | forward(f"{name}.forward", width, hidden, generator)


def mapped(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """[B, N, D]: the linear layer of this name, on x.

    own: parameters by name
    name: beginning of their names
    x: states [B, N, C]
    """
    import torch.nn.functional as F

    return F.linear(x, own[f"{name}.weight"], own[f"{name}.bias"])


def normed(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """[B, N, C]: the layer norm of this name, on x.

    own: parameters by name
    name: beginning of their names
    x: states [B, N, C]
    """
    import torch.nn.functional as F

    return F.layer_norm(x, x.shape[-1:], own[f"{name}.weight"], own[f"{name}.bias"], EPSILON)


def attended(
    own: Mapping[str, Tensor],
    name: str,
    x: Tensor,
    to: Tensor,
    heads: int,
    *,
    there: Tensor | None = None,
    at: Tensor | None = None,
    to_at: Tensor | None = None,
) -> Tensor:
    """[B, N, C]: the attention layer of this name, its input added to its output, normalised.

    own: parameters by name
    name: beginning of their names
    x: states that ask [B, N, C]
    to: states that are read [B, M, D]
    heads: number of heads
    there: [B, M] bool, the states that are read; None is all
    at: positions [N, C] added to `x` for queries alone
    to_at: positions [M, D] added to `to` for keys alone
    """
    from limner.core.types import split

    query = split(mapped(own, f"{name}.query", x if at is None else x + at), heads)
    key = split(mapped(own, f"{name}.key", to if to_at is None else to + to_at), heads)
    value = split(mapped(own, f"{name}.value", to), heads)
    logits = query @ key.mT * query.shape[-1] ** -0.5
    if there is not None:
        logits = logits.masked_fill(~there[:, None, None], float("-inf"))
    out = (logits.softmax(-1) @ value).transpose(1, 2).flatten(2)
    return normed(own, f"{name}.norm", x + mapped(own, f"{name}.out", out))


def forwarded(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """[B, N, C]: the feed-forward layer of this name, its input added to its output, normalised.

    own: parameters by name
    name: beginning of their names
    x: states [B, N, C]
    """
    import torch.nn.functional as F

    inner = F.gelu(mapped(own, f"{name}.in", x))
    return normed(own, f"{name}.norm", x + mapped(own, f"{name}.out", inner))


def blocked(own: Mapping[str, Tensor], name: str, x: Tensor, heads: int) -> Tensor:
    """[B, N, C]: self-attention and the feed-forward layer of this name, on x.

    own: parameters by name
    name: beginning of their names
    x: states [B, N, C]
    heads: number of heads of attention
    """
    return forwarded(own, f"{name}.forward", attended(own, f"{name}.self", x, x, heads))
