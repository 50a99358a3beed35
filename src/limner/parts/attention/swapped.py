"""Attention of a source picture in place of the sampled picture's own (PhotoSwap, arXiv:2305.18286; SwapAnything,
arXiv:2404.05717)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.errors import InputError
from limner.parts.modifiers.source_masks import softened
from limner.parts.modifiers.source_picture import SWAP, Swap, branch_rows, swap_of
from limner.parts.modifiers.states import next_place

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import LatentOperation, Moment
    from limner.core.base import Base
    from limner.core.types import AttentionCall, AttentionOp, Kind

LARGEST = 1024
"""Largest number of positions of a layer whose self-attention maps are replaced: 32 x 32, as with the authors."""
FINEST = 256
"""Largest number of positions of a layer whose maps locate a word: 16 x 16, as with the authors."""
OUTPUT, MAPS = "output", "maps"


@dataclass(frozen=True)
class swapped_attention:
    """In the first steps, self-attention outputs, self-attention maps and cross-attention maps of the source replace
    the picture's own, in the branch of the prompt.

    Cross-attention maps are replaced for tokens that both prompts share (the refinement of
    prompt-to-prompt, arXiv:2208.01626). As in the authors' code, self-attention maps follow the source until
    `self_output + self_map`, in layers of at most LARGEST positions.

    With `soft`, all this is restricted to positions outside of the source's mask, softened; a self-attention map then
    keeps what queries or keys inside of the mask have.

    cross: share of the steps, from the first, in which cross-attention maps are replaced
    self_output: the same for outputs of self-attention
    self_map: share of the steps, after those of `self_output`, in which self-attention maps are replaced
    soft: dilation and blur of the mask, as shares of the latents' side; None acts everywhere
    adapt: how far mean and standard deviation of outputs inside of the mask are moved to the source's, from 0 to 1
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    cross: float
    self_output: float
    self_map: float
    soft: tuple[float, float] | None = None
    adapt: float = 0.0

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        for name in ("cross", "self_output", "self_map", "adapt"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share from 0 to 1, not {getattr(self, name):g}")
        live = Live()

        def operation(call: AttentionCall) -> AttentionCall:
            swap = swap_of(call)
            if swap is not None and live.on and "text" in call.run.branches:
                if call.site.kind == "cross":
                    self._cross(base, call, swap)
                elif call.site.kind == "self":
                    self._self(call, swap)
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def acts(self, share: float, swap: Swap) -> bool:
        """Whether the source is followed at this step, up to a share of the steps."""
        return swap.step < round(share * (len(swap.way) - 1))

    def recording(self, swap: Swap, moment: Moment) -> AttentionOp | None:
        """The operation that stores the source's attention as far as this step needs it."""
        base, words = moment.adapted.base, moment.adapted.words
        if "named in the source" not in swap.cache:
            swap.cache["named in the source"] = _columns(base, swap.prompts, swap.part.replaced, words)

        def operation(call: AttentionCall) -> AttentionCall:
            name, count = call.site.name, call.query.shape[2]

            def keep_output(out: Tensor) -> Tensor:
                swap.recorded[name, OUTPUT] = out
                return out

            def keep_maps(maps: Tensor) -> Tensor:
                swap.recorded[name, MAPS] = maps
                return maps

            def locate(maps: Tensor) -> Tensor:
                _add(swap, "source", maps, swap.cache["named in the source"])
                return maps

            if call.site.kind == "self":
                if self.acts(self.self_output, swap):
                    call.on_output.append(keep_output)
                if count <= LARGEST and self.acts(self.self_output + self.self_map, swap) and self._reads_maps(swap):
                    call.on_maps.append(keep_maps)
            elif call.site.kind == "cross":
                if self.acts(self.cross, swap):
                    call.on_maps.append(keep_maps)
                if self.soft is None and count <= FINEST:
                    call.on_maps.append(locate)
            return call

        late = not self.acts(max(self.cross, self.self_output + self.self_map), swap)
        return None if late and self.soft is not None else operation

    def _reads_maps(self, swap: Swap) -> bool:
        """Whether self-attention maps matter at this step: where whole outputs are replaced, they do not."""
        return self.soft is not None or not self.acts(self.self_output, swap)

    def _cross(self, base: Base, call: AttentionCall, swap: Swap) -> None:
        import torch

        rows, source = branch_rows(call, "text"), swap.recorded.get((call.site.name, MAPS))
        if source is None and (self.soft is not None or call.query.shape[2] > FINEST):
            return
        words = {word: vectors for live in call.run.lives for word, vectors in _vectors(live).items()}
        if "named" not in swap.cache:
            swap.cache["named"] = _columns(base, swap.targets, swap.words, words)
            swap.cache["aligned"] = torch.stack(
                [
                    aligned_places(base, swap.prompts[row % len(swap.prompts)], target, words)
                    for row, target in enumerate(swap.targets)
                ]
            )

        def change(maps: Tensor) -> Tensor:
            own = maps[rows]
            if source is not None:
                new = _moved(source, own, swap.cache["aligned"].to(own.device))
                inside = self.inside(swap, own.shape[2])
                own = new if inside is None else torch.lerp(new, own, inside.to(own))
                maps = torch.cat([maps[: rows.start], own, maps[rows.stop :]])
            if self.soft is None and own.shape[2] <= FINEST:
                _add(swap, "target", own, swap.cache["named"])
            return maps

        call.on_maps.append(change)

    def _self(self, call: AttentionCall, swap: Swap) -> None:
        import torch

        rows, inside = branch_rows(call, "text"), self.inside(swap, call.query.shape[2])
        output, source = (swap.recorded.get((call.site.name, what)) for what in (OUTPUT, MAPS))

        def change_maps(maps: Tensor) -> Tensor:
            own = maps[rows]
            new = source.expand_as(own)  # type: ignore[union-attr]  # appended only where there is one
            if inside is not None:
                new = torch.lerp(new, own, (1 - (1 - inside) * (1 - inside.mT)).to(own))
            return torch.cat([maps[: rows.start], new, maps[rows.stop :]])

        def change_output(out: Tensor) -> Tensor:
            own = out[rows]
            new = output.expand_as(own)  # type: ignore[union-attr]  # appended only where there is one
            if inside is not None:
                own = own.lerp(with_statistics(own, new, inside), self.adapt) if self.adapt else own
                new = torch.lerp(new, own, inside.to(own))
            return torch.cat([out[: rows.start], new, out[rows.stop :]])

        if source is not None:
            call.on_maps.append(change_maps)
        if output is not None:
            call.on_output.append(change_output)

    def inside(self, swap: Swap, count: int) -> Tensor | None:
        """[n, 1, N, 1] in [0, 1]: the softened mask at a layer's positions; None where the part acts everywhere.

        swap: the source
        count: number of the layer's positions
        """
        import torch.nn.functional as F

        if self.soft is None:
            return None
        if ("inside", count) not in swap.cache:
            mask = soft_mask(swap, self.soft)
            factor = (mask.shape[-2] * mask.shape[-1] / count) ** 0.5
            small = F.adaptive_avg_pool2d(
                mask.float(), (round(mask.shape[-2] / factor), round(mask.shape[-1] / factor))
            )
            swap.cache["inside", count] = small.flatten(2)[..., None]
        inside: Tensor = swap.cache["inside", count]
        return inside


def soft_mask(swap: Swap, soft: tuple[float, float]) -> Tensor:
    """[n, 1, h, w] in [0, 1]: the source's mask, softened once for a sampling.

    swap: the source
    soft: dilation and blur, as shares of the latents' side
    """
    if "soft" not in swap.cache:
        assert swap.mask is not None
        swap.cache["soft"] = softened(swap.mask, *soft)
    mask: Tensor = swap.cache["soft"]
    return mask


def with_statistics(x: Tensor, like: Tensor, inside: Tensor) -> Tensor:
    """x with the mean and standard deviation of another tensor inside of a mask, over all but the rows.

    x: [n, ...]
    like: a tensor of the same shape
    inside: a mask in [0, 1] that broadcasts to both
    """
    within = (inside > 0.5).to(x).expand_as(x)
    many = within.flatten(1).sum(1).clamp_min(1).view(-1, *[1] * (x.ndim - 1))

    def statistics(y: Tensor) -> tuple[Tensor, Tensor]:
        mean = (y * within).flatten(1).sum(1).view_as(many) / many
        spread = ((y - mean) ** 2 * within).flatten(1).sum(1).view_as(many) / many
        return mean, spread.sqrt().clamp_min(1e-5)

    (mean, std), (wanted_mean, wanted_std) = statistics(x), statistics(like)
    return (x - mean) / std * wanted_std + wanted_mean


def adapted_latents(mask_of: swapped_attention) -> LatentOperation:
    """After a step, latents inside of the mask take on mean and standard deviation of the source's there, as far as
    `adapt` says.

    mask_of: the part with the softened mask
    """

    def operation(moment: Moment) -> Tensor:
        assert moment.sampling is not None
        swap: Swap = moment.sampling.state[SWAP]
        assert mask_of.soft is not None
        mask = soft_mask(swap, mask_of.soft).expand(len(moment.latents), -1, -1, -1)
        like = swap.way[moment.step].expand_as(moment.latents)
        return moment.latents.lerp(with_statistics(moment.latents, like, mask), mask_of.adapt)

    return operation


@dataclass(frozen=True)
class attended:
    """Where attention has gone so far to the subject's words in the picture, or to the replaced noun in the source
    (the blending of prompt-to-prompt, arXiv:2208.01626, as PhotoSwap has it).

    Cross-attention maps of the finest layer of at most FINEST positions are summed over heads, layers and steps, their
    largest value within a neighbourhood of three is taken, and those above a share of the largest are the mask. A mask
    that the user gives limits it further.

    begin: share of the steps after which there is a mask
    threshold: share of the largest value
    """

    begin: float
    threshold: float

    def __call__(self, swap: Swap, moment: Moment) -> Tensor | None:
        """[B, 1, h, w] of 0 and 1; None before the share `begin`.

        swap: the source
        moment: the sampling step
        """
        import torch

        if moment.step <= self.begin * moment.total:
            return None
        size = moment.latents.shape[-2:]
        masks = [mask for name in ("source", "target") if (mask := self._of(swap, name, size)) is not None]
        if not masks:
            raise InputError(
                f"{swap.part.handle} cannot be located: {moment.adapted.base.name} has no cross-attention layer of at most "
                f"{FINEST} positions that reads {swap.part.replaced!r}; name it in the prompt, or the source prompt"
            )
        both = torch.stack([mask.expand(len(moment.latents), -1, -1, -1) for mask in masks]).amax(0)
        return both if swap.mask is None else both * swap.mask.to(both)

    def _of(self, swap: Swap, name: str, size: Sequence[int]) -> Tensor | None:
        import torch.nn.functional as F

        sums = {key[2]: maps for key, maps in swap.cache.items() if key[:2] == ("located", name)}
        if not sums:
            return None
        maps = sums[max(sums)]
        square = maps.unflatten(1, (1, round(maps.shape[1] ** 0.5), -1))
        wide = F.interpolate(F.max_pool2d(square, 3, 1, 1), tuple(size))
        largest = wide.amax((2, 3), keepdim=True)
        return (wide > self.threshold * largest).to(maps)


def _add(swap: Swap, name: str, maps: Tensor, columns: Tensor) -> None:
    """Add maps [rows, H, N, M] of the tokens [rows or 1, M] to those of earlier steps and layers."""
    wanted = columns.to(maps)[:, None, None, : maps.shape[3]]
    if bool(wanted.any()):
        sums = (maps[..., : wanted.shape[3]] * wanted).sum(-1).mean(1).float()
        key = ("located", name, maps.shape[2])
        swap.cache[key] = swap.cache[key] + sums if key in swap.cache else sums


def _moved(source: Tensor, own: Tensor, aligned: Tensor) -> Tensor:
    """[rows, H, N, M]: the source's maps in the columns of shared tokens, the picture's own in the others.

    source: maps [n, H, N, M] of the source
    own: maps [rows, H, N, M] of the picture
    aligned: [rows, L]: a column of the source for each of the picture's; -1 for none
    """
    import torch

    columns = aligned[:, : own.shape[3]]
    own_part, rest = own[..., : columns.shape[1]], own[..., columns.shape[1] :]
    index = columns.clamp_min(0)[:, None, None].expand_as(own_part)
    moved = source.expand(len(own), -1, -1, -1).gather(3, index)
    return torch.cat([torch.where(columns[:, None, None] >= 0, moved, own_part), rest], 3)


def _vectors(live: Live) -> dict[str, Tensor]:
    return {word: made() if callable(made) else made for word, made in live.words.items()} if live.on else {}


def _columns(base: Base, prompts: Sequence[str], text: str, words: Mapping[str, Tensor]) -> Tensor:
    """[n, L] of 0 and 1: the tokens of a text in each prompt's hidden states."""
    import torch

    columns = torch.zeros(len(prompts), base.text_positions)
    for row, prompt in enumerate(prompts):
        for match in re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", prompt):
            start = next_place(base, prompt[: match.start()], words)
            columns[row, start : start + base.num_tokens(text, words=words)] = 1
    return columns


def aligned_places(base: Base, source: str, target: str, words: Mapping[str, Tensor]) -> Tensor:
    """[L]: for each token of the target's hidden states, that of the source which it equals; -1 for none.

    Words are aligned as in a comparison of two texts. The start token and all that follows the last word are shared.

    base: the base
    source: prompt of the source
    target: prompt of the target
    words: placeholder tokens in the prompts -> their vectors [n, D]
    """
    import torch

    length, texts = base.text_positions, (source.split(), target.split())
    ends = [[next_place(base, " ".join(text[:k]), words) for k in range(len(text) + 1)] for text in texts]
    aligned = torch.full((length,), -1, dtype=torch.long)
    aligned[0] = 0
    pairs = [(ends[0][-1], ends[1][-1], length)]  # where both begin, and the number of tokens
    for block in difflib.SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks():
        first, last = ends[1][block.b], ends[1][block.b + block.size]
        pairs.append((ends[0][block.a], first, last - first))
    for begin, at, count in pairs:
        count = min(count, length - at, length - begin)
        if count > 0:
            aligned[at : at + count] = torch.arange(begin, begin + count)
    return aligned
