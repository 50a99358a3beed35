"""Many concepts painted at once: batches in which each row has its own concept attached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from limner.core.adapted import Lives
from limner.core.concept import Concept
from limner.core.picture import Picture, Pictures
from limner.core.pixels import to_images
from limner.core.recipe import Painting
from limner.core.types import Pass
from limner.core.wording import in_place
from limner.engine.attach import AdaptedBase
from limner.engine.sample import PaintSettings
from limner.engine.stacked.parameters import attach_parameters, why_not_by_rows
from limner.engine.stacked.rows import Rows, alias, attach_rows
from limner.errors import InputError
from limner.library.concepts import Concepts, read_concepts
from limner.library.opening import adapter_of

from .paint import check_prompts, check_scale, painted

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from limner.core.base import Base
    from limner.engine.attach import Adapter


@dataclass(frozen=True)
class Order:
    """One picture to paint: a prompt, the concept that it names (or the concept's file; None for none), a seed and a
    strength."""

    prompt: str
    concept: Concept | Path | str | None = None
    seed: int = 0
    scale: float = 1.0


def paint_many(
    base: Base, orders: Sequence[Order], *, settings: PaintSettings | None = None, hot: Concepts | None = None
) -> Pictures:
    """Paint pictures of different concepts in the same batches, each row with its own concept.

    The pictures are those of `paint` for each order, up to rounding, since a few sums are taken in another order.
    Concepts given as files are read through the cache `hot`. Raises `InputError` for a concept whose recipe has no
    stacked form or acts during sampling.
    """
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
            with _ordered(base, wanted, hot) as adapted:
                prompts = [adapted.aliased(k, order.prompt) for k, order in enumerate(part)]
                pictures += to_images(painted(adapted, prompts, [order.seed for order in part], settings))
    return Pictures(
        Picture(
            image,
            order.prompt,
            order.seed,
            (concept.handle,) if concept else (),
            base.name,
            settings.metadata | {"scale": order.scale},
        )
        for image, order, concept in zip(pictures, orders, whose, strict=True)
    )


class AdaptedRows(AdaptedBase):
    """A base in which row k of every branch has the concept of order k attached. A number tells equal handles and words
    of different concepts apart."""

    rows: Rows
    places: list[int]  # index of each order's concept; -1 for none
    own: list[Lives]  # attached modifiers of each concept

    def aliased(self, k: int, prompt: str) -> str:
        """The prompt of order k, in which its concept's handle has the concept's number."""
        place = self.places[k]
        if place < 0:
            return prompt
        handle = self.adapters[place].handle
        return prompt.replace(handle, alias(handle, place))

    @property
    def words(self) -> dict[str, Tensor]:
        vectors: dict[str, Tensor] = {}
        for place, lives in enumerate(self.own):
            for live in lives.values():
                vectors |= {alias(w, place): v() if callable(v) else v for w, v in live.words.items()}
        return vectors

    def expand_prompt(self, prompt: str) -> str:
        for place, adapter in enumerate(self.adapters):
            text = adapter.recipe.words(self.base)
            for live in self.own[place].values():
                for word in live.words:
                    text = text.replace(word, alias(word, place))
            prompt = in_place(prompt, alias(adapter.handle, place), text)
        return prompt

    def check_together(self) -> None:
        """Check nothing, because rows of different concepts do not interact."""

    def run(self, **about: Any) -> Pass:
        branches = len(about["branches"])
        self.rows.assign(self.places * branches, self.base.device)
        return super().run(**about)


@contextmanager
def _ordered(
    base: Base, wanted: Sequence[tuple[Concept | None, float]], hot: Concepts | None = None
) -> Iterator[AdaptedRows]:
    """Attach these concepts at their scales, each to its rows."""
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
    adapters = [adapter_of(concept, base, scale=scale, hot=hot) for concept, scale in distinct]
    for adapter in adapters:
        why = why_alone(base, adapter)
        if why:
            raise InputError(f"{adapter.handle} cannot be painted in a batch with others: {why}")
    adapted = AdaptedRows(base, tuple(adapters))
    adapted.rows, adapted.places = Rows(), places
    # values of parameters first: changes beside a layer are added to the output that these give
    with attach_parameters(base, adapters, adapted.rows), attach_rows(base, adapters, adapted.rows) as adapted.own:
        for place, lives in enumerate(adapted.own):
            for (_, index), modifier, live in lives.items():
                adapted.live.add(place, index, modifier, live)
        yield adapted


def why_alone(base: Base, adapter: Adapter) -> str:
    """The reason why an adapter cannot be painted in a batch with others; empty where it can."""
    recipe = adapter.recipe
    alone = [m for m in recipe.modifiers if not hasattr(m, "stacked")]
    if alone:
        return f"{type(alone[0]).__name__} has no stacked form"
    if recipe.also:
        return "it answers to several handles"
    return why_not_by_rows(base, adapter) if recipe.painting == Painting() else "its recipe acts while painting"
