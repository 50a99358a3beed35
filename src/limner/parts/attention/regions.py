"""Words of a subject restricted to its region (region-aware attention), or strengthened there (layout guidance)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from limner.core.types import Live, acting_in

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, AttentionOp, Kind, Pass

WITHIN = 0.5
"""Least share of a position of the attention map that a region covers for the position to belong to it."""


def kept_to_regions() -> AttentionOp:
    """Restrict the words of each handle with a region to that region.

    Their attention logits are minus infinity at queries outside (the attention masks of arXiv:2305.18292, Sec. 3.3, on
    one prompt). Without regions nothing changes.
    """

    @acting_in("cross", "joint", "merged")
    def operation(call: AttentionCall) -> AttentionCall:
        import torch

        def build() -> Tensor:
            allowed = torch.zeros(len(call.query), 1, call.query.shape[2], call.key.shape[2], device=call.query.device)
            for row, queries, keys, inside in regions_of(call):
                block = torch.zeros_like(inside).masked_fill(~inside.bool(), float("-inf"))
                allowed[row, 0, queries, keys] = block[:, None]
            return allowed.to(call.query.dtype)

        return _biased(call, "kept to regions", build)

    return operation


@dataclass(frozen=True)
class drawn_to_regions:
    """Layout guidance of sampling (Cones 2, Eq. 7 of arXiv:2305.19327).

    In the branch of the prompt, logits of a handle's words gain weight * log(1 + sigma^2) * std(Q K^T) within its
    region and are minus infinity elsewhere; sigma is the noise's standard deviation divided by the picture's.

    weight: factor of the gain; the authors' code has 0.08 times 2.5
    until: share of the time, counted from the noisiest, in which it acts, from 0 to 1
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross", "joint", "merged")

    weight: float = 0.2
    until: float = 1.0

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live = Live()

        def operation(call: AttentionCall) -> AttentionCall:
            run = call.run
            if not live.on or run.step is None or run.time is None or _claimed(run, live):
                return call
            if float(run.time.max()) < (1 - self.until) * base.num_train_times:
                return call
            return self._drawn(call, _noise_levels(base, run), scale)

        if scale:
            live.operations = (operation,)
        yield live

    def _drawn(self, call: AttentionCall, levels: Tensor, scale: float) -> AttentionCall:
        import torch

        first = call.run.branches.index("text") if "text" in call.run.branches else -1
        each = len(call.query) // len(call.run.branches)
        rows = [part for part in regions_of(call) if part[0] // each == first]
        if not rows:
            return call
        bias = call.query.new_zeros(len(call.query), call.query.shape[1], call.query.shape[2], call.key.shape[2])
        for row, queries, keys, inside in rows:
            logits = call.query[row] * call.query.shape[-1] ** -0.5 @ call.key[row].mT  # [H, N, M]
            gain = scale * self.weight * torch.log1p(levels[row] ** 2) * logits.std((1, 2), keepdim=True)  # [H, 1, 1]
            within = inside.bool()[None, :, None].expand(len(gain), -1, len(keys))
            block = torch.where(within, gain.expand_as(within), torch.full_like(gain, float("-inf")).expand_as(within))
            bias[row][:, queries, keys] = block.to(bias)
        call.bias = bias if call.bias is None else call.bias + bias
        return call


def _claimed(run: Pass, live: Live) -> bool:
    """Whether another concept's layout guidance already acts in this run: one serves all handles."""
    first: Live = run.cache.setdefault("layout guidance", live)
    return first is not live


def _noise_levels(base: Base, run: Pass) -> Tensor:
    """[rows]: standard deviation of the noise divided by that of the picture, sqrt((1 - alpha_bar) / alpha_bar)."""
    import torch

    if "noise levels" not in run.cache:
        assert run.time is not None
        one = torch.ones(len(run.time), 1, 1, 1, device=base.device, dtype=base.dtype)
        noise, picture = base.noised(0 * one, one, run.time), base.noised(one, 0 * one, run.time)
        run.cache["noise levels"] = (noise / picture.clamp_min(1e-4)).flatten()
    levels: Tensor = run.cache["noise levels"]
    return levels


def regions_of(call: AttentionCall) -> list[tuple[int, Tensor, Tensor, Tensor]]:
    """For every handle with a region that a row's prompt names: row, queries, keys and the region.

    The queries [n, 1] are those of the picture, the keys [m] those of the handle's words, the region [n] is 0 or 1 at
    each query. The list is empty in self-attention and without regions.

    call: the attention layer's call
    """
    import torch

    run, regions = call.run, []
    if call.site.kind == "self" or not run.regions:
        return []
    start, stop, _ = call.picture.indices(call.query.shape[2])
    queries = torch.arange(start, stop, device=call.query.device)
    text = _first_text_key(call)
    masks = {handle: at_queries(mask, stop - start) for handle, mask in run.regions.items()}
    for row, places in enumerate(run.handle_places):
        for handle, own in places.items():
            keys = torch.tensor(own, device=call.query.device) + text
            regions.append((row, queries[:, None], keys, masks[handle]))
    return [(row, queries, keys, inside.to(call.query.device)) for row, queries, keys, inside in regions]


def within_region(call: AttentionCall, handle: str) -> Tensor | float:
    """[1, 1, N, 1] of 0 and 1 over the picture's queries: a handle's region; 1.0 where the handle has none.

    An attention branch of the handle's own is multiplied by it.

    call: the attention layer's call
    handle: the subject's word in prompts
    """
    if handle not in call.run.regions:
        return 1.0
    start, stop, _ = call.picture.indices(call.query.shape[2])
    return at_queries(call.run.regions[handle], stop - start).view(1, 1, -1, 1).to(call.query)


def _first_text_key(call: AttentionCall) -> int:
    """Index of the text's first key: in joint attention the text stands before or behind the picture."""
    if call.site.kind == "cross" or call.picture_keys.start not in (0, None):
        return 0
    return call.picture_keys.indices(call.key.shape[2])[1] if call.picture_keys.stop is not None else 0


def at_queries(mask: Tensor, count: int) -> Tensor:
    """[count] of 0 and 1: a region [1, 1, h, w] at the positions of an attention layer.

    A region that covers no position by WITHIN has the one that it covers most.

    mask: share of each position of the latents that belongs to the region
    count: number of the layer's positions
    """
    import torch.nn.functional as F

    height, width = mask.shape[-2:]
    factor = (height * width / count) ** 0.5
    share = F.adaptive_avg_pool2d(mask.float(), (round(height / factor), round(width / factor))).flatten()
    return (share >= min(WITHIN, float(share.max()))).to(mask)


def _biased(call: AttentionCall, name: str, build: Callable[[], Tensor]) -> AttentionCall:
    """The call with a bias [B, 1, N, M], built once for all sites of a run with as many queries and keys."""
    run: Any = call.run
    if call.site.kind == "self" or not run.regions or not any(run.handle_places):
        return call
    key = (name, call.query.shape[2], call.key.shape[2], call.picture.start, call.picture_keys.start)
    if key not in run.cache:
        run.cache[key] = build()
    call.bias = run.cache[key] if call.bias is None else call.bias + run.cache[key]
    return call
