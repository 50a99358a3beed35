"""Many concepts painted at once: batches in which each row wears its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from .bases.attention import Pass
from .concept import Concept
from .errors import InputError
from .keeping import Concepts, read_concepts
from .painting import PaintSettings, check_prompts, check_scale, painted, to_images
from .picture import Picture, Pictures
from .recipe import Lives, Painting, Recipe
from .rows import Rows, alias, worn_by_rows
from .wearing import Worn

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from .bases.protocol import Base


@dataclass(frozen=True)
class Order:
    """One picture to paint: a prompt, the concept it names if it names one, or that concept's file, and its seed."""

    prompt: str
    concept: Concept | Path | str | None = None
    seed: int = 0
    scale: float = 1.0


def paint_many(
    base: Base, orders: Sequence[Order], *, settings: PaintSettings | None = None, hot: Concepts | None = None
) -> Pictures:
    """Paint pictures of different concepts in the same batches: each row wears its own. What comes out is what `paint` paints for
    each, but for the order in which a few sums are added up. Concepts named by their files are read from `hot` where they are
    there already. Raises `InputError` for a concept whose recipe has no stacked form or does something of its own while
    painting."""
    settings = settings or PaintSettings()
    if settings.subject_from:
        raise InputError("subject_from is not for batches of different concepts; paint them one concept at a time")
    asked = [order.concept for order in orders if order.concept is not None]
    read = iter(read_concepts(asked, hot))
    whose = [next(read) if order.concept is not None else None for order in orders]
    for order, concept in zip(orders, whose, strict=True):
        check_scale(order.scale)
        check_prompts([order.prompt], handles=[concept.handle] if concept else [])
    pictures: list[Any] = []
    with torch.no_grad():
        for start in range(0, len(orders), settings.batch):
            part = orders[start : start + settings.batch]
            wanted = [
                (concept, order.scale)
                for concept, order in zip(whose[start : start + settings.batch], part, strict=True)
            ]
            with _ordered(base, wanted, hot) as worn:
                prompts = [worn.aliased(k, order.prompt) for k, order in enumerate(part)]
                pictures += to_images(painted(worn, prompts, [order.seed for order in part], settings))
    return Pictures(
        Picture(
            image,
            order.prompt,
            order.seed,
            (concept.handle,) if concept else (),
            base.name,
            settings.told | {"scale": order.scale},
        )
        for image, order, concept in zip(pictures, orders, whose, strict=True)
    )


class RowsWorn(Worn):
    """A base in which row k of every branch wears the concept of order k. Handles and words are told apart by a number."""

    rows: Rows
    places: list[int]  # of each order's concept; -1 for none
    own: list[Lives]  # what each concept wears

    def aliased(self, k: int, prompt: str) -> str:
        place = self.places[k]
        return (
            prompt
            if place < 0
            else prompt.replace(self.outfits[place].handle, alias(self.outfits[place].handle, place))
        )

    @property
    def words(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for place, lives in enumerate(self.own):
            for live in lives.values():
                found |= {alias(w, place): v() if callable(v) else v for w, v in live.words.items()}
        return found

    def said(self, prompt: str) -> str:
        for place, outfit in enumerate(self.outfits):
            says = outfit.recipe.says
            text = says if isinstance(says, str) else says(self.base)
            for live in self.own[place].values():
                for word in live.words:
                    text = text.replace(word, alias(word, place))
            prompt = prompt.replace(alias(outfit.handle, place), text)
        return prompt

    def check_together(self) -> None:
        """Nothing: rows of different concepts do not meet."""

    def run(self, **about: Any) -> Pass:
        branches = len(about["branches"])
        self.rows.told(self.places * branches, self.base.device)
        return super().run(**about)


@contextmanager
def _ordered(
    base: Base, wanted: Sequence[tuple[Concept | None, float]], hot: Concepts | None = None
) -> Iterator[RowsWorn]:
    """These concepts at their scales, worn by rows."""
    distinct: list[tuple[Concept, float]] = []
    places = []
    for concept, scale in wanted:
        if concept is None:
            places.append(-1)
            continue
        at = next((k for k, (c, s) in enumerate(distinct) if c is concept and s == scale), len(distinct))
        if at == len(distinct):
            distinct.append((concept, scale))
        places.append(at)
    outfits = [concept.outfit(base, scale=scale, hot=hot) for concept, scale in distinct]
    for outfit in outfits:
        why = _paints_alone(outfit.recipe)
        if why:
            raise InputError(f"{outfit.handle} cannot be painted in a batch with others: {why}")
    worn = RowsWorn(base, tuple(outfits))
    worn.rows, worn.places = Rows(), places
    with worn_by_rows(base, outfits, worn.rows) as worn.own:
        for place, lives in enumerate(worn.own):
            for (_, index), modifier, live in lives.items():
                worn.live.add(place, index, modifier, live)
        yield worn


def _paints_alone(recipe: Recipe) -> str:
    alone = [m for m in recipe.modifiers if not hasattr(m, "stacked")]
    if alone:
        return f"{type(alone[0]).__name__} has no stacked form"
    return "" if recipe.painting == Painting() else "its recipe acts while painting"
