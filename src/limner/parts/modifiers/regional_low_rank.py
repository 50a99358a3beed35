"""Low-rank changes of cross-attention that act within a subject's region alone (MultiBooth, arXiv:2404.14239)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from limner.core.types import Live, split

from .low_rank import beside, factors_of

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind

OUTPUT, REGIONS = "output of the shared prompt", "regions with changes of their own"


@dataclass(frozen=True)
class regional_low_rank:
    """`low_rank` of cross-attention, which acts at the positions of the subject's region where it has one.

    Source: the regional customisation module, Sec. 3.3 of arXiv:2404.14239. Queries of the region attend to keys and
    values that the subject's own change makes of the prompt, and the result replaces the shared output there; where
    regions overlap, their results are averaged. Changes of queries and of the output's projection act in the region
    too. Several subjects need one run (`PaintSettings(compose="attention")`), whose cost grows by these keys and values
    alone. Without a region, the change acts everywhere, as in training. The authors crop each region's queries and give
    each region a prompt of its own; here all regions read one prompt, in which `paint` hides the words of other
    subjects from them.

    handle: the subject's word in prompts, which names its region
    rank: rank of the change
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    handle: str
    rank: int
    name: str = "low_rank"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live = Live()
        changes: dict[int, tuple[Tensor, Tensor]] = {}
        text_layers = {id(layer) for site in base.sites if site.kind == "cross" for layer in base.key_value(site)}
        with ExitStack() as stack:
            for name, layer in base.projections("cross_attention").items():
                factors = factors_of(f"{self.name}.{name}", layer, self.rank, stored, generator)
                live.tensors |= factors
                down, up = factors.values()
                changes[id(layer)] = down, up
                if scale:
                    hook = self._hook(beside(down, up, scale, live), live, of_text=id(layer) in text_layers)
                    stack.callback(layer.register_forward_hook(hook).remove)
            if scale:
                live.operations = (lambda call: self._attending(base, call, changes, scale, live),)
            yield live

    def _hook(
        self, plain: Callable[..., Tensor], live: Live, *, of_text: bool
    ) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        """The layer's output with the change: everywhere without a region, else at the region's positions; the shared
        keys and values have none."""

        from limner.parts.attention.regions import at_queries

        def hook(layer: nn.Module, inputs: Any, out: Tensor) -> Tensor:
            region = live.run.regions.get(self.handle) if live.run is not None else None
            if region is None:
                return plain(layer, inputs, out)
            if of_text:
                return out
            inside = at_queries(region, out.shape[1]).to(out.device).bool()
            return plain(layer, inputs, out).where(inside.view(1, -1, 1), out)

        return hook

    def _attending(
        self, base: Base, call: AttentionCall, changes: Mapping[int, tuple[Tensor, Tensor]], scale: float, live: Live
    ) -> AttentionCall:
        """The call, whose output within the region is that of the subject's own keys and values."""
        import torch.nn.functional as F

        from limner.parts.attention.regions import at_queries

        own = base.key_value(call.site) if call.site.kind == "cross" and live.on else ()
        if self.handle not in call.run.regions or not own or any(id(layer) not in changes for layer in own):
            return call
        inside = at_queries(call.run.regions[self.handle], call.query.shape[2]).to(call.query.device).bool()
        # how many subjects share each position, counted before any output is computed
        count = call.run.cache.setdefault((REGIONS, call.site.name), [0])
        count[0] = count[0] + inside.float()

        def replaced(out: Tensor) -> Tensor:
            shared = call.run.cache.setdefault((OUTPUT, call.site.name), out)
            changed = []
            for layer in own:
                down, up = changes[id(layer)]
                changed.append(
                    split(layer(call.states) + scale * F.linear(F.linear(call.states, down), up), call.query.shape[1])
                )
            key, value = changed
            norm: Any = getattr(call.layer, "norm_k", None)
            key = key if norm is None else norm(key)
            attended = F.scaled_dot_product_attention(call.query, key, value, attn_mask=call.bias)
            share = (inside / count[0].clamp_min(1)).view(1, 1, -1, 1).to(out)
            return out + share * (attended - shared)

        call.on_output.append(replaced)
        return call
