"""Low-rank changes of the products that attention heads compute (COMCAT, arXiv:2305.17235)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.needs import separate_attention
from limner.core.types import Live

from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.recipe import Need
    from limner.core.types import AttentionCall


@dataclass(frozen=True)
class head_low_rank:
    """In every head A = softmax((Q K' + a^2 Q2 K2') / sqrt(d)) and out = A V Wo + a^2 A V2 Wo2: products change, not
    weights.

    Q2, K2 and V2 have `rank` columns, and a is the adapter's scale (Eq. 4 and 5 of arXiv:2305.17235). Q2 and Wo2 are
    zero at first, so that training starts from the base; the authors' code starts them at random.

    rank: columns of each head's change
    """

    needs: ClassVar[tuple[Need, ...]] = (separate_attention,)

    rank: int = 2

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        live, own = Live(), {}
        for site in base.sites:
            heads, wide, context = base.attention_widths(site)
            shapes = {"query": (heads * self.rank, wide), "key": (heads * self.rank, context)}
            shapes |= {"value": (heads * self.rank, context), "out": (wide, heads * self.rank)}
            start = {
                f"heads.{site.name}.{name}": torch.zeros(shape)
                if name in ("query", "out")
                else torch.randn(shape, generator=generator) / shape[1] ** 0.5
                for name, shape in shapes.items()
            }
            parameters = taken(start, stored, base, what="the heads' change")
            own[site.name] = list(parameters.values())
            live.tensors |= parameters

        def operation(call: AttentionCall) -> AttentionCall:
            return self._beside(call, own[call.site.name], scale) if live.on else call

        if scale:
            live.operations = (operation,)
        yield live

    def _beside(self, call: AttentionCall, own: list[Tensor], scale: float) -> AttentionCall:
        """Append columns to q, k and v, behind those of other adapters, and adapt the attention's own scale to their
        number."""
        import torch

        query, key, value, out = own
        old, start = call.query.shape[-1], sum(getattr(function, "columns", 0) for function in call.beyond)
        more = [call.heads(x @ w.T) for x, w in ((call.hidden, query), (call.states, key), (call.states, value))]
        new = old + self.rank
        call.query = torch.cat([call.query, scale * more[0] * (old / (old - start)) ** 0.5], -1) * (new / old) ** 0.5
        call.key = torch.cat([call.key, scale * more[1]], -1)
        call.value = torch.cat([call.value, more[2]], -1)

        def through(beyond: Tensor) -> Tensor:
            return scale**2 * beyond[..., start : start + self.rank].transpose(1, 2).flatten(2) @ out.T

        through.columns = self.rank  # type: ignore[attr-defined]  # functions stay functions
        call.beyond.append(through)
        return call
