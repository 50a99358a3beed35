"""A subject pasted into a box of a scene, and painted there with the attention of scene and collage (TIGIC,
arXiv:2403.12658)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.errors import InputError
from limner.parts.augmentations.pasting import pasted
from limner.parts.augmentations.plain import on_plain
from limner.parts.encoders.looks import close_up, looked_at
from limner.parts.encoders.masks import LEAST
from limner.parts.encoders.scenes import GREY, MIDDLE
from limner.parts.sources.placing import box_masks, boxes_around

from .source_masks import MASK, WITHIN, at_latents, check_mask
from .source_picture import (
    SOURCE,
    SWAP,
    branch_rows,
    check_alone,
    check_whole_scale,
    outside_of_sampling,
    source_pixels,
)

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import LatentOperation, Moment
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, AttentionOp, Kind, References

CUT_OUT = "collage.subject"


def first_cut_out(base: Base, references: References) -> Tensor:
    """[B, 4, H, W]: each row's first picture, and its mask.

    base: the base
    references: the references, with masks
    """
    import torch

    assert references.masks is not None
    return torch.cat([references.pixels[:, 0], references.masks[:, 0].to(references.pixels)], 1)


LOOK = close_up(first_cut_out, 0.0)
"""The subject's first picture, cut to its mask."""


@dataclass
class Collage:
    """Scene and collage in one sampling; n is the number of pictures."""

    part: scene_collage
    scene: Tensor  # [steps + 1, n, C, h, w]: latents of the inverted scenes before each step and after the last
    collage: Tensor  # the same of the collages
    reference: Tensor  # the same of the subject alone, at its place
    box: Tensor  # [n, 1, h, w] of 0 and 1
    subject: Tensor  # [n, 1, h, w] of 0 and 1: where in the box the subject was pasted
    step: int = -1
    # layer -> queries and keys of scene and collage [2 n, H, N, d]
    recorded: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class scene_collage:
    """Self-attention of the decoder mixes its logits with those of the scene and of the collage, before the softmax and
    in the branch of the prompt.

    In steps of the background, logits are half the scene's; in steps of the reference, half of the result is the
    collage's. The scene is the condition "source", grey without it. Its box is that around the condition "mask", else
    around what the base's segmenter finds in the scene, else the MIDDLE. The subject is the first of its pictures, cut
    out by its mask, in the largest square in the middle of the box.

    subject: the subject
    background_until: share of the steps, from the first, in which the scene's logits take part
    reference_from: share of the steps from which the collage's logits take part
    reference_until: share of the steps up to which they do
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("self",)

    subject: Subject
    background_until: float = 0.5
    reference_from: float = 0.2
    reference_until: float = 0.5

    @property
    def handle(self) -> str:
        """The subject's word in prompts."""
        return self.subject.handle

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        check_whole_scale(self.handle, scale)
        shares = (self.background_until, self.reference_from, self.reference_until)
        if not all(0 <= share <= 1 for share in shares) or self.reference_from > self.reference_until:
            raise InputError(
                "background_until, reference_from and reference_until are shares from 0 to 1, the last two in this order, "
                f"not {', '.join(f'{share:g}' for share in shares)}"
            )
        cut_out = looked_at(base, self.subject, LOOK, stored, CUT_OUT)
        live = Live({CUT_OUT: cut_out}, may_read=frozenset({SOURCE, MASK}))

        def operation(call: AttentionCall) -> AttentionCall:
            state: Collage | None = call.run.sampling.state.get(SWAP)
            if state is None or not live.on or call.run.step != state.step or "text" not in call.run.branches:
                return call
            if call.site.name in state.recorded:
                _mix(call, state, self.weights(state.step, len(state.scene) - 1))
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def weights(self, step: int, total: int) -> tuple[float, float, float]:
        """The weights of the picture's own logits, of the scene's and of the collage's at a step.

        step: number of the step, from 0
        total: number of steps
        """
        scene = 0.5 if step < round(self.background_until * total) else 0.0
        inside = round(self.reference_from * total) <= step < round(self.reference_until * total)
        collage = 0.5 if inside else 0.0
        return (1 - collage) * (1 - scene), (1 - collage) * scene, collage


def _mix(call: AttentionCall, state: Collage, weights: tuple[float, float, float]) -> None:
    """Give the prompt's rows the weighted sum of three attention logits: queries and keys are joined along the width of
    the heads, so that their products add up."""
    import torch

    rows = branch_rows(call, "text")
    queries, keys = (x.chunk(2) for x in state.recorded[call.site.name])
    own = call.query.new_ones(len(call.query), 1, 1, 1)
    own[rows] = weights[0]
    parts_q, parts_k = [own * call.query], [call.key]
    for weight, query, key in zip(weights[1:], queries, keys, strict=True):
        if weight:
            wide_q, wide_k = torch.zeros_like(call.query), torch.zeros_like(call.key)
            wide_q[rows], wide_k[rows] = weight * query, key
            parts_q.append(wide_q)
            parts_k.append(wide_k)
    # attention divides logits by the root of the width, which has grown
    call.query, call.key = len(parts_q) ** 0.5 * torch.cat(parts_q, -1), torch.cat(parts_k, -1)


def onto_scene(part: scene_collage) -> LatentOperation:
    """Sampling starts from the scene's noise outside of the box, and from the reference's where the subject was pasted;
    before each step, a run of scene and collage is recorded.

    part: the part with the subject
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        assert moment.sampling is not None
        latents, shared = moment.latents, moment.sampling.state
        state: Collage | None = shared.get(SWAP)
        if state is None:
            state = shared[SWAP] = _begun(part, moment)
            latents = torch.lerp(state.scene[moment.step], latents, state.box)
            latents = torch.lerp(latents, state.reference[moment.step], state.subject)
        check_alone(state.part, part, moment)
        state.step = moment.step
        state.recorded.clear()
        if sum(part.weights(moment.step, moment.total)[1:]):
            now = torch.cat([state.scene[moment.step], state.collage[moment.step]])
            prompts = [""] * len(now)
            states = moment.adapted.text_states(prompts)
            outside_of_sampling(moment, prompts, states, (_recording(state),))(now, moment.time.expand(len(now)))
        return latents

    return operation


def scene_around(part: scene_collage) -> LatentOperation:
    """After each step, the scene's latents replace those outside of the box.

    part: the part with the subject
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        assert moment.sampling is not None
        state: Collage = moment.sampling.state[SWAP]
        return torch.lerp(state.scene[moment.step], moment.latents, state.box)

    return operation


def _recording(state: Collage) -> AttentionOp:
    def operation(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "self" and call.site.block == "up":
            state.recorded[call.site.name] = call.query, call.key
        return call

    return operation


def _begun(part: scene_collage, moment: Moment) -> Collage:
    """Three inversions with DPM-Solver++ of order 2: the scene, the collage, and the subject alone at its place."""
    import torch

    from limner.engine.inversion import inverted_along

    adapted, base, count = moment.adapted, moment.adapted.base, len(moment.latents)
    assert moment.times is not None
    pixels = source_pixels(moment)
    scene = torch.full((count, 3, base.picture_size, base.picture_size), GREY) if pixels is None else pixels
    scene = scene.to(base.device)
    boxes = _boxes(base, moment, pixels)
    cut_out = adapted.live[part].tensors[CUT_OUT].float().expand(count, -1, -1, -1)
    squares = _squares(boxes)
    shown, alpha = pasted(cut_out[:, :3], squares, around=scene), pasted(cut_out[:, 3:], squares)
    pictures = torch.cat([scene, torch.lerp(scene, shown, alpha), on_plain(shown[:, None], alpha[:, None])[:, 0]])
    prompts = [""] * (2 * count) + list(moment.prompts)
    with torch.no_grad():
        clean = base.encode(pictures)[0].to(base.dtype)
        predict = outside_of_sampling(moment, prompts, adapted.text_states(prompts))
        way = torch.stack(inverted_along(base, predict, clean, moment.times, order=2))
    box = box_masks(boxes, clean.shape[-1]).to(clean)
    inside = at_latents((alpha > WITHIN).float(), clean.shape[-2:]).to(clean) * box
    scenes, collages, references = way.chunk(3, 1)
    return Collage(part, scenes, collages, references, box, inside)


def _boxes(base: Base, moment: Moment, pixels: Tensor | None) -> Tensor:
    """[n, 4]: left, top, right and bottom of each scene's box, as shares."""
    import torch

    middle = torch.tensor([MIDDLE], device=base.device).expand(len(moment.latents), -1)
    if MASK in moment.conditions:
        mask = (moment.conditions[MASK].mean(1, keepdim=True) >= WITHIN).float()
        check_mask(mask)
        return boxes_around(mask)
    if pixels is None or base.segmenter is None:
        return middle
    masks = (base.segmenter(pixels) > WITHIN).float()[:, None].to(base.device)
    there = (masks.mean((1, 2, 3)) >= LEAST) & (masks.mean((1, 2, 3)) < 1)
    return torch.where(there[:, None], boxes_around(masks), middle)


def _squares(boxes: Tensor) -> Tensor:
    """[n, 4]: the largest square in the middle of each box."""
    import torch

    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    half = size.amin(1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], 1)
