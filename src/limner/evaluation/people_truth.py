"""Ground truth for painted people: the attributes that a prompt asks for, and those that the judge reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.pocket import SIZE

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.pocket.world.prompts_people import PeoplePrompt

NAMED = {"action": "gesture"}
"""A field's name in prompts -> its name for the judge."""


def fields() -> frozenset[str]:
    """Fields that the judge of this edition reads."""
    from limner.pocket import judges

    return frozenset(judges.network("judge").heads)


def asked_of(prompt: PeoplePrompt) -> dict[str, str]:
    """Field of the judge -> option that the prompt names, for fields that this edition's judge reads."""
    accessories = dict.fromkeys((name for name, _ in prompt.accessories), "yes")
    options = {NAMED.get(name, name): option for name, option in prompt.asked.items() if name not in accessories}
    known = fields()
    return {name: option for name, option in {**accessories, **options}.items() if name in known}


def obeyed(images: Sequence[Image.Image], prompts: Sequence[PeoplePrompt]) -> Tensor:
    """[N] of 0 and 1: 1 where the judge reads everything that the prompt asks for."""
    import torch

    rows = [
        all(row[name] == option for name, option in asked_of(p).items())
        for row, p in zip(read(images), prompts, strict=True)
    ]
    return torch.tensor([float(row) for row in rows])


def read(images: Sequence[Image.Image]) -> list[dict[str, str]]:
    """Field -> option that the judge reads, for each picture."""
    from limner.core.pixels import to_tensor
    from limner.pocket import judges

    return judges.read(to_tensor(images, SIZE))
