"""A denoiser that reads no text: cross-attention replaced by constants (arXiv:2312.08195)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.streams import stream
from limner.core.types import Live, Pass
from limner.errors import FileError

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, AttentionOp, Kind

ROWS = 8
"""Number of rows in the pass that the constants come from."""


@dataclass(frozen=True)
class null_text:
    """Each cross-attention layer's output is a stored constant, its mean for the empty prompt over all positions.

    This is the null-text network of arXiv:2312.08195, with the constants of its authors' nulltext_attention.py. They
    come from one pass of the unchanged base and are not trained. Nothing of any prompt reaches the output. The layers
    themselves are left in the network, and their result is not used.
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        start = {f"null_text.{name}": constant for name, constant in null_features(base).items()}
        constants = {name: stored.get(name, value).to(value) for name, value in start.items()}
        strange = next((name for name, value in start.items() if constants[name].shape != value.shape), None)
        if strange is not None:
            given, wanted = tuple(constants[strange].shape), tuple(start[strange].shape)
            raise FileError(f"{strange} is {given} in the concept; this base wants {wanted}")
        live = Live(constants)

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind == "cross" and live.on:
                call.on_result.append(_replaced_by(constants[f"null_text.{call.site.name}"]))
            return call

        if scale:
            live.operations = (operation,)
        yield live


def _replaced_by(constant: Tensor) -> Callable[[Tensor], Tensor]:
    """A layer's output [B, N, C] -> the constant [C] at every position."""
    return lambda out: constant.to(out).expand_as(out)


def null_features(base: Base) -> dict[str, Tensor]:
    """Cross-attention layer -> its mean output [C] for the empty prompt, over rows and positions of one pass.

    The authors do not publish the latents of their pass. Here they are noise around the mean latents, at times spread
    evenly.

    base: the base with nothing attached
    """
    import torch

    means: dict[str, Tensor] = {}
    shape = (ROWS, *base.latent_shape)
    with torch.no_grad():
        noise = torch.randn(shape, generator=stream(0, "null text")).to(base.device, base.dtype)
        times = (base.num_train_times * (torch.arange(ROWS) + 0.5) / ROWS).long().to(base.device)
        states = base.text_states([""], words={}).expand(ROWS, -1, -1)
        run = Pass(operations=(_keep_means(means),), time=times, prompts=("",) * ROWS)
        base.predict(base.noised(torch.zeros_like(noise), noise, times), times, states, context=run)
    return means


def _keep_means(means: dict[str, Tensor]) -> AttentionOp:
    def operation(call: AttentionCall) -> AttentionCall:
        def keep(out: Tensor) -> Tensor:
            means[call.site.name] = out.mean((0, 1))
            return out

        if call.site.kind == "cross":
            call.on_result.append(keep)
        return call

    return operation
