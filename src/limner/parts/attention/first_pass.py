"""Attention of a first pass: followed in the second, and read for each subject's region (OMG, arXiv:2403.10983)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import acting_in
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import FirstPicture
    from limner.core.base import Base
    from limner.core.recipe import Need
    from limner.core.types import AttentionCall, AttentionOp

COARSE = 1 / 16
"""Largest share of the latents' positions that a self-attention layer may have to be followed: 32 x 32 of 128 x 128."""
FINEST = 1024
"""Largest number of positions of a layer whose maps are stored."""
MAPS = "cross-attention maps"
LEAST = 0.015
"""Least share of a picture that a segmenter must find for its mask to count."""


@dataclass(frozen=True)
class followed_attention:
    """Attention maps of the first pass replace those of the second in runs of the base (prompt-to-prompt replacement,
    arXiv:2208.01626; Sec. 3.2 of arXiv:2403.10983).

    Queries and keys of the first pass are put in the place of the second's, which gives the first's maps on the
    second's values. As in the authors' code, only the branch of the prompt follows, and of self-attention only layers
    with at most COARSE of the latents' positions. Joint and merged attention has one map for text and picture, which
    follows in the steps of self-attention.

    cross: share of the steps, from the first, in which cross-attention follows, from 0 to 1
    self_attention: the same for self-attention
    """

    cross: float = 1.0
    self_attention: float = 0.4

    def __call__(self, steps: int) -> AttentionOp:
        """The operation for a number of sampling steps.

        steps: number of sampling steps
        """

        @acting_in("self", "cross", "joint", "merged")
        def operation(call: AttentionCall) -> AttentionCall:
            run, until = call.run, self.cross if call.site.kind == "cross" else self.self_attention
            if not run.parallel_stream or run.step is None or run.step >= round(until * steps):
                return call
            if call.site.kind == "self" and not _coarse(call):
                return call
            each = len(call.query) // len(run.branches)
            begin = run.branches.index("text") * each
            own, first = slice(begin, begin + each // 2), slice(begin + each // 2, begin + each)
            call.query, call.key = _replaced(call.query, own, first), _replaced(call.key, own, first)
            return call

        return operation


def _coarse(call: AttentionCall) -> bool:
    latents = call.run.latents
    return latents is None or call.query.shape[2] <= COARSE * latents.shape[-2] * latents.shape[-1]


def _replaced(x: Tensor, rows: slice, by: slice) -> Tensor:
    changed = x.clone()
    changed[rows] = x[by]
    return changed


def summed_maps(activations: dict[str, Tensor]) -> AttentionOp:
    """Sum the cross-attention maps of a sampling, the mean over heads, over all steps and layers of one resolution.

    activations: where the sums [B, N, M] of the prompt's branch are stored, by number of positions
    """

    @acting_in("cross")
    def operation(call: AttentionCall) -> AttentionCall:
        run, count = call.run, call.query.shape[2]
        # where the text alone is attended to: some layers of a UNet without self-attention count as cross as well
        if call.site.kind != "cross" or count > FINEST:
            return call
        each = len(call.query) // len(run.branches)
        begin = run.branches.index("text") * each

        def keep(maps: Tensor) -> Tensor:
            own, name = maps[begin : begin + each].mean(1).float(), f"{MAPS}, {count}"
            activations[name] = activations[name] + own if name in activations else own
            return maps

        call.on_maps.append(keep)
        return call

    return operation


def locates_subjects(base: Base) -> None:
    """Cross-attention, which locates subjects by their nouns. Raises `InputError` for a base without it."""
    if all(site.kind != "cross" for site in base.sites):
        raise InputError(
            f"subjects cannot be located: {base.name} ({base.family}) has no cross-attention that reads their class "
            "nouns; give regions (--region)"
        )


@dataclass(frozen=True)
class subject_regions:
    """Where a first picture shows each subject that its prompt names: visual comprehension of arXiv:2403.10983,
    Sec. 3.2, by the base's segmenter and the cross-attention to each class noun.

    The segmenter's mask falls into connected pieces. Each subject has one of these, such that the attention to the
    nouns of all subjects in their pieces is largest; with fewer pieces than subjects, each position of the mask belongs
    to the subject with the largest attention there. For both, each map is standardised over the mask. Without a
    segmenter, and where that finds nothing of a subject, its region is where its map exceeds Otsu's threshold, outside
    of the other subjects' regions. Attention tells two classes apart; two subjects of one class it tells apart badly.
    """

    needs: ClassVar[tuple[Need, ...]] = (locates_subjects,)

    def __call__(self, first: FirstPicture) -> dict[str, Tensor]:
        """Handle -> [1, 1, h, w] of 0 and 1.

        first: the result of the first pass
        """
        import torch

        from limner.parts.modifiers.image_attention import otsu

        handles = named_handles(first)
        if not handles:
            return {}
        size = first.latents.shape[-2:]
        maps = torch.cat([_noun_map(first, handle) for handle in handles])  # [K, 1, h, w]
        masks = shared_out(_foreground(first), maps)
        for k, mask in enumerate(masks):
            if not mask.any():
                taken = torch.stack([other for j, other in enumerate(masks) if j != k] or [mask]).amax(0)
                free = maps[k : k + 1] * (1 - taken)
                masks[k] = otsu(free.flatten(1)).view(1, 1, *size) * (1 - taken)
        return {handle: mask for handle, mask in zip(handles, masks, strict=True) if mask.any()}


def shared_out(foreground: Tensor, maps: Tensor) -> list[Tensor]:
    """A mask [1, 1, h, w] for each of K subjects: pieces of the foreground, or its positions where these are too few.

    foreground: [1, 1, h, w] of 0 and 1
    maps: [K, 1, h, w]: attention to each subject's noun
    """
    count, inside = len(maps), foreground[0, 0] > 0
    if not inside.any():
        return [foreground] * count
    values = maps[:, 0, inside]
    apart = (maps - values.mean(1).view(-1, 1, 1, 1)) / values.std(1, correction=0).clamp_min(1e-8).view(-1, 1, 1, 1)
    parts = [part for part in pieces(foreground) if float(part.mean()) >= LEAST][: count + 2]
    if len(parts) < count:
        owner = apart.argmax(0, keepdim=True)
        return [foreground * (owner == k) for k in range(count)]
    worth = [[float((own * part[0]).sum() / part.sum()) for part in parts] for own in apart]
    places = itertools.permutations(range(len(parts)), count)
    best = max(places, key=lambda chosen: sum(worth[k][place] for k, place in enumerate(chosen)))
    return [parts[place] for place in best]


def pieces(mask: Tensor) -> list[Tensor]:
    """The connected pieces of a mask, the largest first; positions that share a corner are connected.

    mask: [1, 1, h, w] of 0 and 1
    """
    import torch
    import torch.nn.functional as F

    # every position has a number; the largest of each piece spreads over it
    numbers = mask * torch.arange(1, mask.numel() + 1, device=mask.device).view_as(mask)
    while True:
        spread = F.max_pool2d(numbers.float(), 3, 1, 1) * mask
        if torch.equal(spread, numbers.float()):
            break
        numbers = spread
    own = [(numbers == number).to(mask) for number in numbers.unique() if number > 0]
    return sorted(own, key=lambda piece: -float(piece.sum()))


def named_handles(first: FirstPicture) -> list[str]:
    """Handles in a first picture's prompt of the subjects that act, in the order of their adapters; without styles and
    other adapters that act everywhere.

    first: the result of the first pass
    """
    adapted = first.adapted
    return [
        answer.handle
        for place, adapter in enumerate(adapted.adapters)
        for answer in adapter.answers
        if adapter.scale and place not in adapted.everywhere and answer.handle in first.prompt
    ]


def _noun_map(first: FirstPicture, handle: str) -> Tensor:
    """[1, 1, h, w] in [0, 1]: attention to a handle's class noun, the mean over resolutions, each divided by its
    largest value."""
    import torch
    import torch.nn.functional as F

    adapted, size, resized = first.adapted, first.latents.shape[-2:], []
    with adapted.only(*adapted.everywhere):
        places = list(adapted.handle_places(first.prompt, handle))
    for name, maps in first.activations.items():
        own = maps[:, :, places].mean(2) if name.startswith(MAPS) and places else maps[:, :0, 0]
        if own.numel():
            side = round((own.shape[1] * size[0] / size[1]) ** 0.5)
            own = (own / own.amax(1, keepdim=True).clamp_min(1e-8)).unflatten(1, (1, side, -1))
            resized.append(F.interpolate(own, size, mode="bilinear"))
    if not resized:
        raise InputError(
            f"{handle} cannot be located: {adapted.base.name} has no cross-attention layer of at most {FINEST} positions "
            "that reads its class noun; give regions (--region)"
        )
    mean = torch.stack(resized).mean(0)
    return mean / mean.amax().clamp_min(1e-8)


def _foreground(first: FirstPicture) -> Tensor:
    """[1, 1, h, w] of 0 and 1: where the base's segmenter finds a subject; 0 without a segmenter, or where it finds
    none."""
    import torch.nn.functional as F

    segment, size = first.adapted.base.segmenter, first.latents.shape[-2:]
    if segment is None:
        return first.latents.new_zeros(1, 1, *size)
    mask = (segment(first.pixels) > 0.5).float()[:, None]
    if float(mask.mean()) < LEAST:
        return first.latents.new_zeros(1, 1, *size)
    return (F.interpolate(mask, size, mode="area") > 0.5).to(first.latents)


def faces_of_first(first: FirstPicture) -> dict[str, Tensor]:
    """The condition "keypoints" [1, 3, H, W] of the second pass: the five points of every face in the first picture,
    drawn on black; empty where the base finds no face, or has no networks of faces.

    first: the result of the first pass
    """
    import torch

    from limner.core.pixels import to_images
    from limner.parts.encoders.keypoints import keypoint_image

    networks = first.adapted.base.capabilities.faces
    if networks is None:
        return {}
    (image,) = to_images(first.pixels)
    points = [face.points for face in networks.find(image) if face.points]
    if not points:
        return {}
    shares = torch.tensor(points) / torch.tensor(image.size)  # [n, 5, 2]
    return {"keypoints": keypoint_image(shares, first.adapted.base.picture_size).amax(0, keepdim=True)}
