"""Painting the orders of one batch: each row with its own user's concept, where its recipe has a stacked form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from limner.core.concept import Concept
from limner.core.prompts import check_prompts
from limner.engine.attach import Adapter
from limner.errors import InputError
from limner.library.concepts import Concepts, read_concepts
from limner.library.opening import adapter_of
from limner.workflows.opening import choice_for
from limner.workflows.paint import check_scale, painting
from limner.workflows.paint_many import Order, has_whole_weights, paint_many, why_alone
from limner.workflows.paint_request import base_choice, paint_settings, painting_arguments

from .partials import Watcher

if TYPE_CHECKING:
    from limner.core.picture import Picture
    from limner.workflows.requests import BaseChoice

    from .gather import PaintOrder
    from .partials import Partials


class Outcome(NamedTuple):
    """The result of the order with this number: its picture, or an error of its own."""

    number: int
    result: Picture | Exception
    rows: int  # pictures in its run


@dataclass(eq=False)
class _Checked:
    """An order that can be painted."""

    number: int
    order: PaintOrder
    concepts: list[Concept]
    together: str  # the kind of run in which it can be a row beside other concepts; empty for none
    mixes: bool = True  # whether its picture does not depend on other pictures of the same concepts

    @property
    def same(self) -> tuple[Any, ...]:
        """Equal for orders with the same concepts at the same scales."""
        return tuple((id(c), scale) for c, (_, scale) in zip(self.concepts, self.order.concepts, strict=True))


def paint_batch(
    orders: Sequence[PaintOrder],
    *,
    open_base: Callable[[BaseChoice], Any],
    hot: Concepts,
    most: int,
    partials: Mapping[int, Partials] = MappingProxyType({}),
) -> Iterator[Outcome]:
    """Paint orders with equal settings, at most `most` pictures in a run, and yield each as it is done. An error of one
    order, such as a damaged file, does not stop the others. `partials` are wanted while orders are painted, by their
    numbers."""
    by_choice: dict[BaseChoice, list[tuple[int, PaintOrder, list[Concept]]]] = {}
    for number, order in enumerate(orders):
        try:
            concepts = read_concepts([path for path, _ in order.concepts], hot)
            choice = _choice(order, concepts)
        except Exception as error:  # whatever it is, it belongs to this order alone
            yield Outcome(number, error, 1)
        else:
            by_choice.setdefault(choice, []).append((number, order, concepts))
    for choice, own in by_choice.items():
        try:
            base = open_base(choice)
        except Exception as error:  # it belongs to the orders on this base
            yield from (Outcome(number, error, 1) for number, _, _ in own)
        else:
            yield from _paint_on(base, own, hot, most, partials)


def _choice(order: PaintOrder, concepts: Sequence[Concept]) -> BaseChoice:
    if order.base.name or not concepts:
        return base_choice(order.request, ())
    return choice_for(concepts[0], order.base)


def _paint_on(
    base: Any,
    orders: Iterable[tuple[int, PaintOrder, list[Concept]]],
    hot: Concepts,
    most: int,
    partials: Mapping[int, Partials],
) -> Iterator[Outcome]:
    together: dict[str, list[_Checked]] = {}
    alike: dict[tuple[Any, ...], list[_Checked]] = {}
    for number, order, concepts in orders:
        try:
            checked = _check(base, number, order, concepts, hot)
        except Exception as error:  # it belongs to this order alone
            yield Outcome(number, error, 1)
            continue
        if checked.together:
            together.setdefault(checked.together, []).append(checked)
        else:
            alike.setdefault(checked.same if checked.mixes else (number,), []).append(checked)
    for group in together.values():
        for start in range(0, len(group), most):
            yield from _halved(lambda part: _rows(base, part, hot, partials), group[start : start + most])
    for group in alike.values():
        for start in range(0, len(group), most):
            yield from _halved(lambda part: _one_concept(base, part, hot, partials), group[start : start + most])


def _check(base: Any, number: int, order: PaintOrder, concepts: list[Concept], hot: Concepts) -> _Checked:
    """Check an order by itself, before it joins others. Raises what painting it would raise."""
    if order.size not in (0, base.picture_size):
        raise InputError(
            f"{base.name} paints pictures of {base.picture_size} x {base.picture_size} pixels, not of {order.size}; "
            "leave the size out"
        )
    for _, scale in order.concepts:
        check_scale(scale)
    adapters = [
        adapter_of(concept, base, scale=scale, any_base=order.any_base, hot=hot)
        for concept, (_, scale) in zip(concepts, order.concepts, strict=True)
    ]
    handles = [answer.handle for adapter in adapters for answer in adapter.answers]
    check_prompts([order.prompt, *([order.negative] if order.negative.strip() else [])], handles=handles)
    paint_settings(order.request)
    plain = not (order.onto or order.regions or order.conditions or order.like or order.views or order.subject_from)
    plain &= len(concepts) < 2 and not order.any_base and not any(handle in order.negative for handle in handles)
    together = ""
    if plain and not any(why_alone(base, adapter) for adapter in adapters):
        # apart as `paint_many` has them, so that the first pictures are ready sooner
        together = "whole weights" if any(map(has_whole_weights, adapters)) else "beside the base"
    return _Checked(number, order, concepts, together, not _shows_others(adapters))


def _shows_others(adapters: Sequence[Adapter]) -> bool:
    """Whether pictures of one run share a row, so that one picture would depend on another user's."""
    return any(adapter.recipe.painting.reference_stream for adapter in adapters)


def _halved(paint: Callable[[Sequence[_Checked]], list[Picture]], part: Sequence[_Checked]) -> Iterator[Outcome]:
    """Paint these orders in one run. Where it fails, paint each half by itself: the error remains with the order that
    causes it, and a run that is too large for the memory gets smaller."""
    try:
        pictures = paint(part)
    except Exception as error:  # it belongs to one of these orders, which halving finds
        if isinstance(error, torch.OutOfMemoryError) and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(part) == 1:
            yield Outcome(part[0].number, error, 1)
            return
    else:
        yield from (Outcome(one.number, picture, len(part)) for one, picture in zip(part, pictures, strict=True))
        return
    middle = len(part) // 2
    yield from _halved(paint, part[:middle])
    yield from _halved(paint, part[middle:])


def _rows(base: Any, part: Sequence[_Checked], hot: Concepts, partials: Mapping[int, Partials]) -> list[Picture]:
    """Pictures of different concepts, in one run."""
    settings = replace(paint_settings(part[0].order.request), batch=len(part))
    orders = [
        Order(one.order.prompt, one.concepts[0] if one.concepts else None, one.order.seed, one.order.scale)
        for one in part
    ]
    wanted = _wanted(part, partials)
    return paint_many(base, orders, settings=settings, hot=hot, watch=Watcher(base, wanted) if wanted else None)


def _wanted(part: Sequence[_Checked], partials: Mapping[int, Partials]) -> dict[int, Partials]:
    """The partial pictures that these orders want, by their place among them."""
    return {place: partials[one.number] for place, one in enumerate(part) if one.number in partials}


def _one_concept(base: Any, part: Sequence[_Checked], hot: Concepts, partials: Mapping[int, Partials]) -> list[Picture]:
    """Pictures of the same concepts, in one run."""
    order = part[0].order
    arguments, region = painting_arguments(order.request, base, part[0].concepts)
    arguments["settings"] = replace(arguments["settings"], batch=len(part))
    if wanted := _wanted(part, partials):
        watcher = Watcher(base, wanted, region.put_back if region else lambda image: image)
        arguments["watch"] = lambda at: watcher(at, range(len(part)))
    pictures = painting(
        base,
        [one.order.prompt for one in part],
        concepts=part[0].concepts,
        seed=[one.order.seed for one in part],
        scale=[scale for _, scale in order.concepts] or 1.0,
        hot=hot,
        **arguments,
    )
    return [replace(p, image=region.put_back(p.image)) if region else p for p in pictures]
