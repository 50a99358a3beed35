"""Pictures to see and a picture to paint, of one subject: what encoders are trained on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from limner.core.recipe import Source
from limner.core.types import Batch, References
from limner.parts.augmentations.plain import on_plain

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Streams


Ground: TypeAlias = Literal["own", "plain", "swapped"]
"""What is around the subject on pictures to see: what was there; one plain colour; the surroundings of another subject."""


Change: TypeAlias = "Callable[[Tensor, Tensor | None, Generator], tuple[Tensor, Tensor | None]]"
"""An augmentation of pictures to see: pixels [n, 3, H, W] and masks [n, 1, H, W] -> the same, changed."""


def pairs(
    *,
    batch: int = 32,
    references: int = 1,
    named: str = "a {noun}",
    target: Literal["another", "same"] = "another",
    ground: Ground = "own",
    masked: bool = False,
    alike: int = 1,
    drop_image: float = 0.05,
    drop_text: float = 0.05,
    drop_both: float = 0.05,
    changes: Sequence[Change] = (),
    corpus: Corpus | None = None,
    name: str = "pairs",
) -> Source:
    """Batches of targets, each with `references` pictures of its subject to see.

    `named` is what the target's caption calls the subject ({noun} is its class), so that what it looks like can only come from
    the references. The target is another picture of the subject than those, or the same; a subject with too few pictures
    lends one twice. With `masked`, the loss counts where the subject is. `alike` neighbouring rows are of one subject,
    with other pictures. Chances of leaving the picture, the text or both out are IP-Adapter's (Sec. 4.1 of arXiv:2308.06721).
    Without a `corpus`, the base's own. Sources of another `name` draw other pictures. Raises `InputError` where masks
    are wanted and the corpus has none.
    """
    again = functools.partial(
        pairs,
        batch=batch,
        references=references,
        named=named,
        target=target,
        ground=ground,
        masked=masked,
        alike=alike,
        drop_image=drop_image,
        drop_text=drop_text,
        drop_both=drop_both,
        changes=changes,
        name=name,
    )

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch
        import torch.nn.functional as F

        from limner.errors import InputError

        from .corpus import Shelf, corpus_of, looks

        found = corpus_of(base, corpus)
        shelf, subjects = Shelf(found, base), [list(pictures) for pictures in found.subjects]
        if (masked or ground != "own") and shelf.masks(subjects[0][:1]) is None:
            raise InputError(
                f"this method wants to know where the subject is, and the corpus {found.name} has masks for "
                f"{found.record['masks']} of {found.record['pictures']} pictures: put a mask beside every one (NAME.mask.png, "
                "white where the subject is)"
            )

        def draw(step: int, at: Streams) -> Batch:
            chosen, which = [], at("pictures")
            for who in torch.randint(len(subjects), (-(-batch // alike),), generator=at("who")).tolist():
                chosen += [_chosen(subjects[who], references, target, which) for _ in range(alike)]
            chosen = chosen[:batch]
            targets, seen = [line[0] for line in chosen], [line[1:] for line in chosen]
            quiet, dropped = _dropped(batch, drop_image, drop_text, drop_both, at("drop"))
            said = [
                "" if silent else found.said(k, named.format(noun=found.noun(k)), seed=step * batch + n)
                for n, (k, silent) in enumerate(zip(targets, quiet, strict=True))
            ]
            flat = [k for line in seen for k in line]
            pixels, masks = shelf.pixels(flat), shelf.masks(flat)
            if masks is not None and ground == "plain":
                pixels = on_plain(pixels, masks)
            if masks is not None and ground == "swapped":
                others = _others([subjects_of[k] for k in flat], subjects, at("ground"))
                pixels = on_ground_of(shelf.pixels(others), shelf.masks(others), pixels, masks)
            for number, change in enumerate(changes):
                pixels, masks = change(pixels, masks, at(f"changes, {number}" if number else "changes"))
            shown = References(
                pixels.unflatten(0, (batch, references)),
                None if masks is None else masks.unflatten(0, (batch, references)),
                tuple(tuple(found.said(k, f"a {found.noun(k)}", seed=k) for k in line) for line in seen),
                tuple(found.noun(k) for k in targets),
                torch.tensor([subjects_of[k] for k in targets]),
                dropped,
                tuple(looks(found, k) for k in targets),
            )
            where = shelf.masks(targets) if masked else None
            if where is not None:
                where = F.interpolate(where, base.latent_shape[1:], mode="area").to(base.dtype)
            return Batch(shelf.latents(targets), tuple(said), mask=where, references=shown)

        subjects_of = {k: who for who, pictures in enumerate(subjects) for k in pictures}
        return draw

    return Source(name, "corpus", prepare, over=lambda other: again(corpus=other))


def _chosen(pictures: Sequence[int], references: int, target: str, generator: Generator) -> list[int]:
    """The target and the pictures to see, by number."""
    import torch

    order = [pictures[k] for k in torch.randperm(len(pictures), generator=generator).tolist()]
    if target == "same":
        order = [order[0], *order]
    return [order[k % len(order)] for k in range(references + 1)]


def _dropped(batch: int, image: float, text: float, both: float, generator: Generator) -> tuple[list[bool], Tensor]:
    """Which rows have no text, and which see no picture."""
    import torch

    chance = torch.rand(batch, generator=generator)
    quiet = (chance >= image) & (chance < image + text + both)
    dropped = (chance < image) | ((chance >= image + text) & (chance < image + text + both))
    return quiet.tolist(), dropped


def _others(subjects: Sequence[int], pictures: Sequence[Sequence[int]], generator: Generator) -> list[int]:
    """For each of these subjects, a picture of another one."""
    import torch

    found, count = [], len(pictures)
    for subject in subjects:
        whose, which = torch.rand(2, generator=generator).tolist()
        own = pictures[(subject + 1 + int(whose * (count - 1))) % count]
        found.append(own[int(which * len(own))])
    return found


def on_ground_of(others: Tensor, theirs: Tensor | None, pixels: Tensor, masks: Tensor) -> Tensor:
    """[n, 3, H, W]: subjects put on the ground of other pictures, whose own subjects are painted over with their mean
    surroundings."""
    import torch

    assert theirs is not None
    mean = (others * (1 - theirs)).sum((2, 3), keepdim=True) / (1 - theirs).sum((2, 3), keepdim=True).clamp_min(1)
    return torch.lerp(torch.lerp(others, mean.expand_as(others), theirs), pixels, masks)


def jittered(*, turn: float = 20.0, zoom: float = 0.15, flip: float = 0.5) -> Change:
    """Pictures mirrored with a chance, turned by up to `turn` degrees and made larger or smaller by up to `zoom`, about their
    middle; what comes in at the edges is what is there."""
    return functools.partial(_jittered, turn, zoom, flip)


def _jittered(
    turn: float, zoom: float, flip: float, pixels: Tensor, masks: Tensor | None, generator: Generator
) -> tuple[Tensor, Tensor | None]:
    import math

    import torch
    import torch.nn.functional as F

    count = len(pixels)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.radians(turn)
    size = 1 + (torch.rand(count, generator=generator) * 2 - 1) * zoom
    side = torch.where(torch.rand(count, generator=generator) < flip, -1.0, 1.0)
    cos, sin, zero = angle.cos() * size, angle.sin() * size, torch.zeros(count)
    how = torch.stack([torch.stack([cos * side, -sin, zero], 1), torch.stack([sin * side, cos, zero], 1)], 1)
    grid = F.affine_grid(how, [count, 1, *pixels.shape[2:]], align_corners=False).to(pixels)
    turned = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return turned, None if masks is None else F.grid_sample(masks, grid, align_corners=False)
