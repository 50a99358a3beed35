"""Many concepts painted at once: batches in which each row has its own concept attached."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from limner.core.adapted import Lives
from limner.core.concept import Concept
from limner.core.picture import Picture, Pictures
from limner.core.pixels import to_images
from limner.core.prompts import check_prompts
from limner.core.recipe import Painting
from limner.core.types import Pass
from limner.core.wording import in_place
from limner.engine.attach import AdaptedBase, Adapter
from limner.engine.sample import PaintSettings
from limner.engine.stacked.parameters import attach_parameters, why_not_by_rows
from limner.engine.stacked.rows import Rows, alias, attach_rows
from limner.errors import InputError
from limner.library.concepts import Concepts, read_concepts
from limner.library.opening import adapter_of
from limner.parts.modifiers.weight_changes import changed_weights

from .paint import check_scale, painted

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from limner.core.base import Base
    from limner.engine.steps import PaintStep


@dataclass(frozen=True)
class Order:
    """One picture to paint: a prompt, the concept that it names (or the concept's file; None for none), a seed and a
    strength."""

    prompt: str
    concept: Concept | Path | str | None = None
    seed: int = 0
    scale: float = 1.0


def paint_many(
    base: Base,
    orders: Sequence[Order],
    *,
    settings: PaintSettings | None = None,
    hot: Concepts | None = None,
    watch: Callable[[PaintStep, Sequence[int]], object] | None = None,
) -> Pictures:
    """Paint pictures of different concepts in the same batches, each row with its own concept.

    The pictures are those of `paint` for each order, up to rounding, since a few sums are taken in another order.
    Concepts given as files are read through the cache `hot`. `watch` gets every step of sampling, with the numbers of
    the orders whose pictures are its rows. Raises `InputError` for a concept whose recipe has no
    stacked form or acts during sampling.
    """
    settings = settings or PaintSettings()
    if settings.subject_from:
        raise InputError("subject_from is not for batches of different concepts; paint them one concept at a time")
    if settings.negative.strip():  # one for all rows, so that no concept is meant by it
        check_prompts([settings.negative], handles=[])
    asked = [order.concept for order in orders if order.concept is not None]
    read = iter(read_concepts(asked, hot))
    whose = [next(read) if order.concept is not None else None for order in orders]
    for order, concept in zip(orders, whose, strict=True):
        check_scale(order.scale)
        check_prompts([order.prompt], handles=[concept.handle] if concept else [])
    adapters = _adapters(base, [(c, order.scale) for c, order in zip(whose, orders, strict=True)], hot)
    images: dict[int, Any] = {}
    with torch.no_grad():
        for part in _batches(adapters, settings.batch):
            with attach_orders(base, [adapters[k] for k in part]) as adapted:
                prompts = [adapted.aliased(place, orders[k].prompt) for place, k in enumerate(part)]
                seen = functools.partial(_seen, watch, part) if watch else None
                pixels = painted(adapted, prompts, [orders[k].seed for k in part], settings, watch=seen)
                images.update(zip(part, to_images(pixels), strict=True))
    return Pictures(
        Picture(
            image,
            order.prompt,
            order.seed,
            (concept.handle,) if concept else (),
            base.name,
            settings.metadata | {"scale": order.scale},
        )
        for image, order, concept in zip((images[k] for k in range(len(orders))), orders, whose, strict=True)
    )


def _seen(watch: Callable[[PaintStep, Sequence[int]], object], part: Sequence[int], at: PaintStep) -> None:
    watch(at, part)


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


def _adapters(base: Base, wanted: Sequence[tuple[Concept | None, float]], hot: Concepts | None) -> list[Adapter | None]:
    """The adapter of each order, the same one for the same concept at the same scale."""
    distinct: dict[tuple[int, float], Adapter] = {}
    for concept, scale in wanted:
        if concept is not None and (id(concept), scale) not in distinct:
            adapter = adapter_of(concept, base, scale=scale, hot=hot)
            if why := why_alone(base, adapter):
                raise InputError(f"{adapter.handle} cannot be painted in a batch with others: {why}")
            distinct[id(concept), scale] = adapter
    return [distinct[id(concept), scale] if concept is not None else None for concept, scale in wanted]


def _batches(adapters: Sequence[Adapter | None], most: int) -> Iterator[list[int]]:
    """The numbers of the orders of each batch. Concepts with whole weights of their own are in batches apart: beside
    others, every layer would run for their rows twice."""
    whole = [adapter is not None and has_whole_weights(adapter) for adapter in adapters]
    for kind in (False, True):
        own = [number for number, each in enumerate(whole) if each == kind]
        yield from (own[start : start + most] for start in range(0, len(own), most))


@contextmanager
def attach_orders(base: Base, adapters: Sequence[Adapter | None]) -> Iterator[AdaptedRows]:
    """Attach the adapter of each order (None for none) to its row. An adapter may stand there several times."""
    distinct = list({id(adapter): adapter for adapter in adapters if adapter is not None}.values())
    adapted = AdaptedRows(base, tuple(distinct))
    places = {id(adapter): place for place, adapter in enumerate(distinct)}
    adapted.rows, adapted.places = Rows(), [places.get(id(adapter), -1) for adapter in adapters]
    # values of parameters first: changes beside a layer are added to the output that these give
    with attach_parameters(base, distinct, adapted.rows), attach_rows(base, distinct, adapted.rows) as adapted.own:
        for place, lives in enumerate(adapted.own):
            for (_, index), modifier, live in lives.items():
                adapted.live.add(place, index, modifier, live)
        yield adapted


def has_whole_weights(adapter: Adapter) -> bool:
    """Whether a layer with the adapter's change is computed with another weight, not with a change beside it."""
    return any(isinstance(modifier, changed_weights) for modifier in adapter.recipe.modifiers)


def why_alone(base: Base, adapter: Adapter) -> str:
    """The reason why an adapter cannot be painted in a batch with others; empty where it can."""
    recipe = adapter.recipe
    alone = [m for m in recipe.modifiers if not hasattr(m, "stacked")]
    if alone:
        return f"{type(alone[0]).__name__} has no stacked form"
    if recipe.also:
        return "it answers to several handles"
    if other := re.search(r"<[^<>\s]*\.\d+>", recipe.words(base)):  # written as `alias` writes them
        return f"its words have {other.group()} among them, which would be read as a word of another row"
    return why_not_by_rows(base, adapter) if recipe.painting == Painting() else "its recipe acts while painting"
