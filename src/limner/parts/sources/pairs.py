"""References and a target picture of one subject: batches for pre-training encoders."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from limner.core.landmarks import mirrored, moved
from limner.core.recipe import Source
from limner.core.types import Batch, References
from limner.core.views import move_between
from limner.parts.augmentations.plain import on_plain
from limner.parts.encoders.keypoints import keypoint_image

from .placing import boxes_around

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Streams

    from .corpus import Shelf
    from .placing import Hole


Ground: TypeAlias = Literal["own", "plain", "swapped", "shared"]
"""Background of a reference: its own; one plain colour; the background of another subject; "shared": that of a
subject of another class, which stands beside it."""


class Shots(NamedTuple):
    """Reference images, as augmentations take and return them."""

    pixels: Tensor  # [n, 3, H, W] in [0, 1]
    masks: Tensor | None  # [n, 1, H, W] in [0, 1]
    landmarks: Tensor | None = None  # [n, K, 2] shares of width and height; NaN where unknown
    mirror: Sequence[int] = ()  # for each landmark the one it becomes in a mirrored picture; empty: itself


Change: TypeAlias = "Callable[[Shots, Generator], Shots]"
"""An augmentation of reference images."""


class Truth(NamedTuple):
    """Target pictures, with everything that the corpus knows of them."""

    pixels: Tensor  # [n, 3, H, W] in [0, 1]
    masks: Tensor | None  # [n, 1, H, W] in [0, 1]
    depths: Tensor | None  # [n, 1, H, W] in [0, 1], 1 at the nearest point


Mapped: TypeAlias = "Callable[[Truth], Tensor | None]"
"""A condition of target pictures [n, 1 or 3, H, W] in [0, 1]; None where the corpus does not tell enough."""


def pairs(
    *,
    batch: int = 32,
    references: int = 1,
    named: str = "a {noun}",
    target: Literal["another", "same"] = "another",
    ground: Ground = "own",
    masked: bool = False,
    boxes: bool = False,
    keypoints: bool = False,
    outlined: bool = False,
    moves: bool = False,
    hole: Hole | None = None,
    conditions: Mapping[str, Mapped] = MappingProxyType({}),
    alike: int = 1,
    drop_image: float = 0.05,
    drop_text: float = 0.05,
    drop_both: float = 0.05,
    changes: Sequence[Change] = (),
    corpus: Corpus | None = None,
    name: str = "pairs",
) -> Source:
    """Batches of targets, each with references of its subject.

    Probabilities of dropping the picture, the text or both are IP-Adapter's (Sec. 4.1 of arXiv:2308.06721). Raises
    `InputError` where masks or viewpoints are needed and the corpus has none.

    batch: targets in an update
    references: references for each target; a subject with too few pictures lends one twice
    named: the subject in the target's caption, with {noun} for its class: its looks can only come from the references
    target: "another" picture of the subject than its references, or the "same"
    ground: background of the references
    masked: whether the loss counts on the subject alone
    boxes: whether references give the box of the subject in the target
    keypoints: whether the batch has the condition "keypoints": a drawing of the five points of the target's face
    outlined: whether the batch has the condition "mask": where the subject is in the target
    moves: whether references give the move of the camera from each of them to the target
    hole: draws the part of the target where the subject is to be put; the batch then has the conditions "source", the
        target picture, and "mask", this part. None leaves both out
    conditions: name -> the condition of the batch, computed from the targets
    alike: neighbouring rows of one subject, with other pictures
    drop_image: probability of no references, from 0 to 1
    drop_text: probability of an empty caption, from 0 to 1
    drop_both: probability of neither, from 0 to 1
    changes: augmentations of the references, applied in order
    corpus: pictures to draw from; None is the base's own
    name: name of the source; sources of another name draw other pictures
    """
    again = functools.partial(
        pairs,
        batch=batch,
        references=references,
        named=named,
        target=target,
        ground=ground,
        masked=masked,
        boxes=boxes,
        keypoints=keypoints,
        outlined=outlined,
        moves=moves,
        hole=hole,
        conditions=conditions,
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

        training_corpus = corpus_of(base, corpus)
        shelf, subjects = Shelf(training_corpus, base), [list(pictures) for pictures in training_corpus.subjects]
        if (masked or boxes or outlined or hole or ground != "own") and shelf.masks(subjects[0][:1]) is None:
            raise InputError(
                f"this method needs to know where the subject is, and the corpus {training_corpus.name} has masks for "
                f"{training_corpus.record['masks']} of {training_corpus.record['pictures']} pictures: put a mask beside every one (NAME.mask.png, "
                "white where the subject is)"
            )

        def draw(step: int, at: Streams) -> Batch:
            chosen, which = [], at("pictures")
            for who in torch.randint(len(subjects), (-(-batch // alike),), generator=at("who")).tolist():
                chosen += [_chosen(subjects[who], references, target, which) for _ in range(alike)]
            chosen = chosen[:batch]
            targets, seen = [line[0] for line in chosen], [line[1:] for line in chosen]
            quiet, dropped = dropped_rows(batch, drop_image, drop_text, drop_both, at("drop"))
            captions = [
                ""
                if silent
                else training_corpus.caption(k, named.format(noun=training_corpus.noun(k)), seed=step * batch + n)
                for n, (k, silent) in enumerate(zip(targets, quiet, strict=True))
            ]
            flat = [k for line in seen for k in line]
            pixels, masks = shelf.pixels(flat), shelf.masks(flat)
            if masks is not None and ground == "plain":
                pixels = on_plain(pixels, masks)
            if masks is not None and ground == "swapped":
                others = _others([subjects_of[k] for k in flat], subjects, at("ground"))
                pixels = on_ground_of(shelf.pixels(others), shelf.masks(others), pixels, masks)
            if masks is not None and ground == "shared":
                others = others_of_class(flat, subjects_of, subjects, training_corpus, at("ground"))
                pixels, masks = side_by_side(shelf.pixels(others), shelf.masks(others), pixels, masks, at("sides"))
            shots = Shots(pixels, masks, shelf.landmarks(flat), shelf.mirror)
            for number, change in enumerate(changes):
                shots = change(shots, at(f"changes, {number}" if number else "changes"))
            pixels, masks, marks, _ = shots
            shown = References(
                pixels.unflatten(0, (batch, references)),
                None if masks is None else masks.unflatten(0, (batch, references)),
                tuple(
                    tuple(training_corpus.caption(k, f"a {training_corpus.noun(k)}", seed=k) for k in line)
                    for line in seen
                ),
                tuple(training_corpus.noun(k) for k in targets),
                torch.tensor([subjects_of[k] for k in targets]),
                dropped,
                tuple(looks(training_corpus, k) for k in targets),
                None if marks is None else marks.unflatten(0, (batch, references)),
                boxes_around(_known(shelf.masks(targets))) if boxes else None,
                _moves(shelf, seen, targets) if moves else None,
            )
            where = shelf.masks(targets) if masked else None
            if where is not None:
                where = F.interpolate(where, base.latent_shape[1:], mode="area").to(base.dtype)
            about: dict[str, Any] = {"references": shown, "landmarks": shelf.landmarks(targets)}
            if keypoints:
                drawn = keypoint_image(shelf.points(targets), base.picture_size)
                about["conditions"] = {"keypoints": drawn.to(base.device, base.dtype)}
            if outlined:
                outline = _known(shelf.masks(targets)).to(base.device, base.dtype)
                about["conditions"] = {**about.get("conditions", {}), "mask": outline}
            if hole:
                scene = hole.scene(shelf.pixels(targets), at("scene"))
                to_paint = {"source": scene, "mask": hole(_known(shelf.masks(targets)), at("hole"))}
                given = {key: condition.to(base.device, base.dtype) for key, condition in to_paint.items()}
                about["conditions"] = about.get("conditions", {}) | given
            if conditions:
                truth = Truth(shelf.pixels(targets), shelf.masks(targets), shelf.depths(targets))
                mapped = {key: make(truth) for key, make in conditions.items()}
                known = {key: c.to(base.device, base.dtype) for key, c in mapped.items() if c is not None}
                about["conditions"] = about.get("conditions", {}) | known
            return Batch(shelf.latents(targets), tuple(captions), mask=where, **about)

        subjects_of = {k: who for who, pictures in enumerate(subjects) for k in pictures}
        return draw

    return Source(name, "corpus", prepare, over=lambda other: again(corpus=other))


def _known(masks: Tensor | None) -> Tensor:
    assert masks is not None  # checked before the first batch
    return masks


def _moves(shelf: Shelf, seen: Sequence[Sequence[int]], targets: Sequence[int]) -> Tensor:
    """[B, R, 3]: the move of the camera from each reference to the target."""
    start = shelf.views([k for line in seen for k in line]).unflatten(0, (len(seen), len(seen[0])))
    return move_between(start, shelf.views(targets)[:, None].expand_as(start))


def _chosen(pictures: Sequence[int], references: int, target: str, generator: Generator) -> list[int]:
    """Numbers of the target and, behind it, its references."""
    import torch

    order = [pictures[k] for k in torch.randperm(len(pictures), generator=generator).tolist()]
    if target == "same":
        order = [order[0], *order]
    return [order[k % len(order)] for k in range(references + 1)]


def dropped_rows(batch: int, image: float, text: float, both: float, generator: Generator) -> tuple[list[bool], Tensor]:
    """Rows without a text [batch], and rows without references [batch], from one draw for each row.

    batch: number of rows
    image: probability of no references, from 0 to 1
    text: probability of no text, from 0 to 1
    both: probability of neither, from 0 to 1
    generator: random stream
    """
    import torch

    chance = torch.rand(batch, generator=generator)
    quiet = (chance >= image) & (chance < image + text + both)
    dropped = (chance < image) | ((chance >= image + text) & (chance < image + text + both))
    return quiet.tolist(), dropped


def _others(subjects: Sequence[int], pictures: Sequence[Sequence[int]], generator: Generator) -> list[int]:
    """For each of these subjects, a picture of another one."""
    import torch

    others, count = [], len(pictures)
    for subject in subjects:
        whose, which = torch.rand(2, generator=generator).tolist()
        own = pictures[(subject + 1 + int(whose * (count - 1))) % count]
        others.append(own[int(which * len(own))])
    return others


def on_ground_of(others: Tensor, theirs: Tensor | None, pixels: Tensor, masks: Tensor) -> Tensor:
    """[n, 3, H, W]: subjects pasted on the background of other pictures.

    The other pictures' own subjects are replaced by their mean surroundings.

    others: pictures that lend the background [n, 3, H, W]
    theirs: masks of their subjects [n, 1, H, W], or None
    pixels: pictures of the subjects [n, 3, H, W]
    masks: masks of the subjects [n, 1, H, W]
    """
    import torch

    assert theirs is not None
    return torch.lerp(erased_ground(others, theirs), pixels, masks)


def erased_ground(pixels: Tensor, masks: Tensor) -> Tensor:
    """[n, 3, H, W]: pictures whose subjects are replaced by the mean of their surroundings.

    pixels: pictures [n, 3, H, W]
    masks: masks of their subjects [n, 1, H, W]
    """
    import torch

    mean = (pixels * (1 - masks)).sum((2, 3), keepdim=True) / (1 - masks).sum((2, 3), keepdim=True).clamp_min(1)
    return torch.lerp(pixels, mean.expand_as(pixels), masks)


def others_of_class(
    pictures: Sequence[int],
    subjects_of: Mapping[int, int],
    subjects: Sequence[Sequence[int]],
    corpus: Corpus,
    generator: Generator,
) -> list[int]:
    """For each of these pictures, one of a subject of another class. Raises `InputError` where a class has the corpus
    to itself.

    pictures: numbers of the pictures
    subjects_of: picture -> number of its subject
    subjects: pictures of each subject
    corpus: the corpus
    generator: random stream
    """
    from limner.errors import InputError

    others = []
    for picture in pictures:
        for _ in range(TRIES):
            (other,) = _others([subjects_of[picture]], subjects, generator)
            if corpus.noun(other) != corpus.noun(picture):
                break
        else:
            raise InputError(
                f"this method shows two things of different classes in one picture, and {TRIES} draws from the corpus "
                f"{corpus.name} found no other class than {corpus.noun(picture)!r}: give a corpus of several classes"
            )
        others.append(other)
    return others


TRIES = 64


def side_by_side(
    others: Tensor, theirs: Tensor | None, pixels: Tensor, masks: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Subjects beside those of other pictures, each at half its size, on the other pictures' background.

    The subject stands left or right at random. The other pictures' own subjects are first replaced by their mean
    surroundings. Returns the pictures [n, 3, H, W] and the masks of the subjects in them [n, 1, H, W].

    others: other pictures [n, 3, H, W]
    theirs: masks of their subjects [n, 1, H, W]
    pixels: pictures of the subjects [n, 3, H, W]
    masks: masks of the subjects [n, 1, H, W]
    generator: draws the sides
    """
    import torch
    import torch.nn.functional as F

    assert theirs is not None
    side = torch.where(torch.rand(len(pixels), generator=generator) < 0.5, -1.0, 1.0)

    def halved(what: Tensor, sides: Tensor) -> Tensor:
        """At half the size, its centre at a quarter of the width from that side."""
        zero, two = torch.zeros_like(sides), torch.full_like(sides, 2.0)
        how = torch.stack([torch.stack([two, zero, -sides], 1), torch.stack([zero, two, zero], 1)], 1)
        grid = F.affine_grid(how, list(what.shape), align_corners=False).to(what)
        return F.grid_sample(what, grid, align_corners=False)

    ground = on_ground_of(others, theirs, pixels, torch.zeros_like(masks))
    with_other = torch.lerp(ground, halved(others, -side), halved(theirs, -side))
    where = halved(masks, side)
    return torch.lerp(with_other, halved(pixels, side), where), where


def jittered(*, turn: float = 20.0, zoom: float = 0.15, flip: float = 0.5) -> Change:
    """Pictures mirrored, rotated and scaled at random about their middle; edges are extended.

    turn: largest rotation, degrees
    zoom: largest change of size, as a share
    flip: probability of mirroring
    """
    return functools.partial(_jittered, turn, zoom, flip)


def _jittered(turn: float, zoom: float, flip: float, shots: Shots, generator: Generator) -> Shots:
    import math

    import torch
    import torch.nn.functional as F

    pixels, masks, marks, mirror = shots
    count = len(pixels)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.radians(turn)
    size = 1 + (torch.rand(count, generator=generator) * 2 - 1) * zoom
    side = torch.where(torch.rand(count, generator=generator) < flip, -1.0, 1.0)
    cos, sin, zero = angle.cos() * size, angle.sin() * size, torch.zeros(count)
    how = torch.stack([torch.stack([cos * side, -sin, zero], 1), torch.stack([sin * side, cos, zero], 1)], 1)
    grid = F.affine_grid(how, [count, 1, *pixels.shape[2:]], align_corners=False).to(pixels)
    turned = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    where = None if masks is None else F.grid_sample(masks, grid, align_corners=False)
    return Shots(
        turned, where, None if marks is None else mirrored(moved(marks, how), side < 0, mirror, flip=False), mirror
    )
