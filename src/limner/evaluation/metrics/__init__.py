"""Every number limner reports: plain functions over features, each with a versioned card.

A metric's parameters are named after the evidence that it needs, so that whoever has it can call it:

`pictures` [N, D]     features of what was painted
`texts` [N, D]        features of each picture's canonical prompt: the handle said as the class noun, nothing more
`plain_text` [D]      of "a photo of a {class noun}"
`groups` [N]          which prompt each picture answers, as numbers from 0
`base` [N, D]         what the unpersonalised base painted for the same prompts and seeds
`training` [R, D]     the references that were learned from
`held_out` [H, D]     references that were not
`references` [H, D]   the held-out references, or, where there are none, those learned from (the record says which)
`gallery` [M, D]      real pictures of other subjects of the same class
`before`, `after`     [K, D] prompts without the subject, painted before and after it was learned
`*_background`        the same features of the picture around the subject
`real` [K, D]         real pictures of anything the prompts may ask for, to compare whole sets with
`answers` [N, D]      a true answer to each picture's prompt
`described_texts`     [N, D] each picture's prompt with the subject's looks for the handle
`logits` [N, C]       of a classifier

A metric returns a value for each picture [N], or one for the set [].
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Metric = Callable[..., "Tensor"]
M = TypeVar("M", bound=Metric)


@dataclass(frozen=True)
class Card:
    """The card of a metric. `id` changes when values would."""

    name: str
    version: int
    encoder: str  # the role of the encoder whose features it is given: clip, dino, dinov2, identity, face, judge
    masked: bool  # the subject alone: what is around it is replaced by grey
    better: str  # "higher", "lower", or "" where neither is
    source: str  # paper and formula, or "ours"
    says: str

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"


def metric(
    *, encoder: str, source: str, name: str = "", better: str = "higher", version: int = 1, masked: bool = False
) -> Callable[[M], M]:
    """Attach a card to a metric; the function itself is unchanged. `name` is the metric's name in results files; empty
    for the function's."""

    def attach(function: M) -> M:
        says = (inspect.getdoc(function) or "").split("\n")[0]
        function.card = Card(name or function.__name__, version, encoder, masked, better, source, says)  # type: ignore[attr-defined]  # as `method` does
        return function

    return attach


def metrics() -> dict[str, Metric]:
    """Every metric of this folder by name."""
    metrics_by_name: dict[str, Metric] = {}
    for module in pkgutil.iter_modules(__path__):
        named = vars(importlib.import_module(f"{__name__}.{module.name}")).values()
        metrics_by_name |= {v.card.name: v for v in named if hasattr(v, "card") and v.__module__.endswith(module.name)}
    return metrics_by_name


def card(function: Metric) -> Card:
    metric_card: Card = function.card  # type: ignore[attr-defined]  # put there by `metric`
    return metric_card


def evidence(function: Metric) -> tuple[str, ...]:
    """The names of what the metric must be given."""
    return tuple(n for n, p in inspect.signature(function).parameters.items() if p.default is inspect.Parameter.empty)
