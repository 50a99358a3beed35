"""Accepted pictures join a subject's references, unless they are copies of what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from limner.data.duplicates import likeness

if TYPE_CHECKING:
    from PIL import Image

COPY = 0.7
"""Correlation of gradients from which on a picture is a copy, as among a subject's photos (`data.duplicates`)."""


def why_not_accepted(image: Image.Image, references: Sequence[Image.Image], accepted: Mapping[int, Image.Image]) -> str:
    """The reason why a picture cannot join the references; empty where it can. `accepted` are the pictures that joined
    them before, by the number of their turn."""
    for number, other in enumerate(references, 1):
        alike = likeness(image, other)
        if alike >= COPY:
            return (
                f"it is a near copy of reference {number} (correlation {alike:.2f}; {COPY} is a copy): learning from "
                "it would teach nothing but that picture"
            )
    for number, other in accepted.items():
        alike = likeness(image, other)
        if alike >= COPY:
            return f"it is nearly picture {number} (correlation {alike:.2f}; {COPY} is a copy), which was kept before"
    return ""
