"""Several concepts merged into one: functions that make a `Merging`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .average import average, weighted
from .changes import Member, Merging, computed_weight, member_of, over_all, stored_of
from .closed_form import closed_form
from .continual import continual
from .gradient_fusion import gradient_fusion
from .neurons import neuron_union
from .orthogonal import orthogonal

MERGINGS: dict[str, Callable[..., Any]] = {
    "average": average,
    "weighted": weighted,
    "closed-form": closed_form,
    "gradient-fusion": gradient_fusion,
    "neurons": neuron_union,
    "orthogonal": orthogonal,
    "continual": continual,
}
"""Mergings by the name that `limner merge --by` takes."""

__all__ = [
    "MERGINGS",
    "Member",
    "Merging",
    "average",
    "closed_form",
    "computed_weight",
    "continual",
    "gradient_fusion",
    "member_of",
    "neuron_union",
    "orthogonal",
    "over_all",
    "stored_of",
    "weighted",
]
