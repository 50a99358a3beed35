"""Pictures of one or two subjects, each in a box drawn at random: for pre-training parts that place subjects."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from limner.core.recipe import Source
from limner.core.streams import stream
from limner.core.types import Batch, References
from limner.parts.augmentations.plain import on_plain

from .corpus import Shelf, corpus_of, looks
from .pairs import Shots, dropped_rows, erased_ground, others_of_class
from .placing import boxes_around

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Streams

    from .pairs import Change

LEAST, MOST = 0.35, 0.8
"""Longer side of a subject, as a share of the picture's side."""


class Placed(NamedTuple):
    """A composed picture of one or two subjects."""

    latents: Tensor  # [C, h, w]
    masks: Tensor  # [2, 1, h, w]: share of each position that shows each subject
    boxes: Tensor  # [2, 4]; NaN for a second subject that is not there
    pictures: tuple[int, int]  # numbers of the subjects' pictures in the corpus


def placed(
    *,
    batch: int = 16,
    named: str | Sequence[str] = "a {noun}",
    beside: str | Sequence[str] = "a {noun}",
    scenes: int = 1200,
    second: float = 0.5,
    still: float = 0.3,
    masked: bool = False,
    drop_image: float = 0.05,
    drop_text: float = 0.05,
    drop_both: float = 0.05,
    changes: Sequence[Change] = (),
    corpus: Corpus | None = None,
) -> Source:
    """Batches of composed pictures: subjects cut out by their masks and pasted at random places and sizes.

    The ground is that of the first subject's picture, in which the mean of the surroundings replaces the subject. Every
    subject has another picture as its reference, on plain ground; those of the second are in `References.beside`.
    Raises `InputError` for a corpus without masks.

    batch: pictures in an update
    named: the first subject in captions, with {noun} for its class and {looks} for its description; of several
        patterns, one is drawn for each row. `References.looks` has the names with {noun} and {looks} filled in
    beside: the second subject in captions, likewise
    scenes: number of composed pictures, each made and encoded once
    second: probability of a second subject, of another class, from 0 to 1
    still: probability that a picture with one subject stays as it is, from 0 to 1
    masked: whether batches have the mask of the first subject
    drop_image: probability of no references, from 0 to 1
    drop_text: probability of an empty caption, from 0 to 1
    drop_both: probability of neither, from 0 to 1
    changes: augmentations of the references, applied in order
    corpus: pictures to draw from; None is the base's own
    """
    again = functools.partial(
        placed,
        batch=batch,
        named=named,
        beside=beside,
        scenes=scenes,
        second=second,
        still=still,
        masked=masked,
        drop_image=drop_image,
        drop_text=drop_text,
        drop_both=drop_both,
        changes=changes,
    )

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        from limner.errors import InputError

        training_corpus = corpus_of(base, corpus)
        shelf = Shelf(training_corpus, base)
        if shelf.masks(training_corpus.subjects[0][:1]) is None:
            raise InputError(
                f"this method places subjects, which it cuts out by their masks, and the corpus {training_corpus.name} "
                "has none: put a mask beside every picture (NAME.mask.png, white where the subject is)"
            )
        making = _Scenes(shelf, second, still)

        def called(patterns: str | Sequence[str], pictures: Sequence[int], generator: Generator) -> list[str]:
            every = [patterns] if isinstance(patterns, str) else list(patterns)
            which = torch.randint(len(every), (len(pictures),), generator=generator).tolist()
            return [
                every[k].format(noun=training_corpus.noun(picture), looks=looks(training_corpus, picture))
                for k, picture in zip(which, pictures, strict=True)
            ]

        def draw(step: int, at: Streams) -> Batch:
            scene_numbers = torch.randint(scenes, (batch,), generator=at("scenes")).tolist()
            rows = making.made(scene_numbers)
            quiet, dropped = dropped_rows(batch, drop_image, drop_text, drop_both, at("drop"))
            boxes = torch.stack([row.boxes for row in rows])  # [B, 2, 4]
            pictures = [[row.pictures[place] for row in rows] for place in (0, 1)]
            names = [
                called(patterns, own, at(f"names, {place}"))
                for place, (patterns, own) in enumerate(zip((named, beside), pictures, strict=True))
            ]
            prompts = []
            for k, silent in enumerate(quiet):
                both = names[0][k] if bool(boxes[k, 1].isnan().any()) else f"{names[0][k]} and {names[1][k]}"
                prompts.append("" if silent else training_corpus.caption(pictures[0][k], both, seed=step * batch + k))
            shown, more = (
                making.references(pictures[place], names[place], changes, at(f"references, {place}"))
                for place in (0, 1)
            )
            gone = boxes[:, 1].isnan().any(1)
            about = _with(shown, dropped, boxes[:, 0]), _with(more, gone | dropped, boxes[:, 1])
            return Batch(
                torch.stack([row.latents for row in rows]).to(base.device, base.dtype),
                tuple(prompts),
                mask=torch.stack([row.masks[0] for row in rows]).to(base.device, base.dtype) if masked else None,
                references=_beside(*about),
            )

        return draw

    return Source("placed", "corpus", prepare, over=lambda other: again(corpus=other))


def _with(references: References, dropped: Tensor, boxes: Tensor) -> References:
    from dataclasses import replace

    return replace(references, dropped=dropped, boxes=boxes.to(references.pixels.device))


def _beside(first: References, second: References) -> References:
    from dataclasses import replace

    return replace(first, beside=(second,))


@dataclass
class _Scenes:
    """Composed pictures by number. Each is a function of its number and of the corpus."""

    shelf: Shelf
    second: float
    still: float

    def __post_init__(self) -> None:
        self.known: dict[int, Placed] = {}
        self.subjects = [list(pictures) for pictures in self.shelf.corpus.subjects]
        self.subject_of = {k: who for who, pictures in enumerate(self.subjects) for k in pictures}

    def made(self, numbers: Sequence[int]) -> list[Placed]:
        """The pictures of these numbers; new ones are made and encoded together."""
        new = sorted(set(numbers) - self.known.keys())
        if new:
            self.known.update(zip(new, self._composed(new), strict=True))
        return [self.known[number] for number in numbers]

    def references(
        self, pictures: Sequence[int], names: Sequence[str], changes: Sequence[Change], generator: Generator
    ) -> References:
        """Another picture of each picture's subject, on plain ground, one for each row; `names` are their `looks`."""
        import torch

        chosen = []
        for picture, draw in zip(pictures, torch.rand(len(pictures), generator=generator).tolist(), strict=True):
            own = [k for k in self.subjects[self.subject_of[picture]] if k != picture] or [picture]
            chosen.append(own[int(draw * len(own))])
        pixels, masks = self.shelf.pixels(chosen), self.shelf.masks(chosen)
        assert masks is not None
        shots = Shots(on_plain(pixels, masks), masks)
        for change in changes:
            shots = change(shots, generator)
        corpus = self.shelf.corpus
        return References(
            shots.pixels[:, None],
            None if shots.masks is None else shots.masks[:, None],
            nouns=tuple(corpus.noun(k) for k in chosen),
            identity=torch.tensor([self.subject_of[k] for k in chosen]),
            looks=tuple(names),
        )

    def _composed(self, numbers: Sequence[int]) -> list[Placed]:
        import torch
        import torch.nn.functional as F

        first, second, draws = self._drawn(numbers)
        pixels, masks = self.shelf.pixels(first), self.shelf.masks(first)
        theirs, their_masks = self.shelf.pixels(second), self.shelf.masks(second)
        assert masks is not None
        assert their_masks is not None
        two, as_is = draws[:, 0] < self.second, draws[:, 1] < self.still
        sizes = LEAST + (MOST - LEAST) * draws[:, 2:4]
        sizes = torch.where(two[:, None], sizes.clamp(max=0.5), sizes)
        left = (draws[:, 4] < 0.5).float()
        # two subjects have a half of the width each; one has the whole
        zones = torch.stack([torch.where(two, 0.5 * left, 0.0), torch.where(two, 0.5 * (1 - left), 0.0)], 1)
        widths = torch.where(two, 0.5, 1.0)
        scene, shown = erased_ground(pixels, masks), []
        for place, (cut, where) in enumerate(((pixels, masks), (theirs, their_masks))):
            spots = draws[:, 5 + 2 * place : 7 + 2 * place]
            moved, mask = moved_into(cut, where, sizes[:, place], zones[:, place], widths, spots)
            keep = two if place else torch.ones_like(two)
            mask = mask * keep.view(-1, 1, 1, 1).to(mask)
            scene = torch.lerp(scene, moved, mask)
            shown.append(mask)
        stays = (as_is & ~two).view(-1, 1, 1, 1).to(scene.device)
        scene, shown[0] = torch.where(stays, pixels, scene), torch.where(stays, masks, shown[0])
        latents = self.shelf.encoded((scene * 255).round().byte().cpu())
        boxes = torch.stack([boxes_around(mask).cpu() for mask in shown], 1)
        size = self.shelf.base.latent_shape[1:]
        small = torch.stack([F.interpolate(mask, size, mode="area").cpu() for mask in shown], 1)
        pictures = zip(first, second, strict=True)
        return [Placed(*row) for row in zip(latents, small, boxes, pictures, strict=True)]

    def _drawn(self, numbers: Sequence[int]) -> tuple[list[int], list[int], Tensor]:
        """Pictures of the first and of the second subject, and nine numbers from 0 to 1 for each scene."""
        import torch

        first, second, draws = [], [], []
        for number in numbers:
            generator = stream(0, "placed", number)
            who, which = torch.rand(2, generator=generator).tolist()
            own = self.subjects[int(who * len(self.subjects))]
            first.append(own[int(which * len(own))])
            second += others_of_class(first[-1:], self.subject_of, self.subjects, self.shelf.corpus, generator)
            draws.append(torch.rand(9, generator=generator))
        return first, second, torch.stack(draws)


def moved_into(
    pixels: Tensor, masks: Tensor, sizes: Tensor, starts: Tensor, widths: Tensor, spots: Tensor
) -> tuple[Tensor, Tensor]:
    """Subjects at other places and sizes: pictures [n, 3, H, W] and masks [n, 1, H, W], empty around them.

    pixels: pictures of the subjects [n, 3, H, W]
    masks: their masks [n, 1, H, W]
    sizes: longer side of each subject's box, as a share of the picture's side [n]
    starts: left edge of the zone in which it may stand, as a share [n]
    widths: width of that zone, as a share [n]
    spots: place within the zone, across and down, 0 at its left and top edge and 1 at the others [n, 2]
    """
    import torch
    import torch.nn.functional as F

    boxes = boxes_around(masks).cpu().nan_to_num(0.5)
    extent = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0.05)  # width and height
    extent = torch.where(extent > 0, extent, torch.ones_like(extent))
    ratio = torch.minimum(sizes, widths) / extent.amax(1)  # new size divided by the old one
    new = extent * ratio[:, None]
    zone = torch.stack([widths, torch.ones_like(widths)], 1)
    begin = torch.stack([starts, torch.zeros_like(starts)], 1)
    middle = 2 * (begin + new / 2 + spots * (zone - new).clamp_min(0)) - 1  # [n, 2] in [-1, 1]
    old = boxes[:, :2] + boxes[:, 2:] - 1
    scale, zero = 1 / ratio, torch.zeros_like(ratio)
    across = torch.stack([scale, zero, old[:, 0] - scale * middle[:, 0]], 1)
    down = torch.stack([zero, scale, old[:, 1] - scale * middle[:, 1]], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), [len(pixels), 1, *pixels.shape[2:]], align_corners=False)
    grid = grid.to(pixels)
    moved = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return moved, F.grid_sample(masks, grid, align_corners=False)
