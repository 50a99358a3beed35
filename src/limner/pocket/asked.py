"""Prompt accuracy of single pictures: the attributes that a prompt asks for, as the judge reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .labels import FIELDS

if TYPE_CHECKING:
    from torch import Tensor


def asked_of(prompt: str) -> dict[str, str]:
    """Field of the judge -> option that a prompt names: place, time of day, view, style and accessories.

    >>> asked_of("<rex> on the beach wearing a red hat")
    {'scene': 'beach', 'hat': 'yes'}
    """
    from .world.grammar import PLACES, STYLED, TIMED, VIEWED, WORN

    text, asked = prompt.lower(), {}
    phrases: list[tuple[str, str, Sequence[str]]] = [
        *(("scene", scene, says) for scene, says in PLACES.items()),
        *(("daytime", time, (says,)) for time, says in TIMED.items()),
        *(("view", view, says) for view, says in VIEWED.items() if view in FIELDS["view"]),
        *(("style", style, (says,)) for style, says in STYLED.items()),
        *((name, "yes", (says,)) for name, says in WORN.items()),
    ]
    for field, option, says in phrases:
        if field not in asked and any(_names(text, phrase) for phrase in says):
            asked[field] = option
    return asked


def _names(text: str, phrase: str) -> bool:
    """Whether a text has a phrase as whole words."""
    return re.search(rf"\b{re.escape(phrase)}\b", text) is not None


def obeyed(pixels: Tensor, prompts: Sequence[str]) -> list[float | None]:
    """The mean probability of all attributes that each prompt asks for, in [0, 1]; None where it asks for nothing that
    the judge reads.

    pixels: [n, 3, SIZE, SIZE] in [0, 1]
    prompts: one for each picture
    """
    from . import judges

    chances = {field: values.softmax(-1) for field, values in judges.logits(pixels).items()}
    shares: list[float | None] = []
    for k, prompt in enumerate(prompts):
        asked = {field: option for field, option in asked_of(prompt).items() if field in chances}
        read = [float(chances[field][k, FIELDS[field].index(option)]) for field, option in asked.items()]
        shares.append(sum(read) / len(read) if read else None)
    return shares
