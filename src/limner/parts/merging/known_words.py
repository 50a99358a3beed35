"""Captions of words that a base knows: for outputs to be preserved, and for words beside a concept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.streams import stream
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.core.base import Base

CAPTIONS = ("a photo of a {}", "a {} in the background", "a picture of a {} and a {}", "a {} next to a {}")
BESIDE = ("{{}} next to a {}", "a photo of {{}} and a {}", "a {} and {{}}")


def captions(base: Base, count: int) -> list[str]:
    """Captions of one or two known words each.

    base: the base
    count: number of captions
    """
    pairs = zip(_drawn(base, count, "first"), _drawn(base, count, "second"), strict=True)
    return [CAPTIONS[k % len(CAPTIONS)].format(*pair) for k, pair in enumerate(pairs)]


def beside_known(base: Base, count: int) -> list[str]:
    """Prompts with {} for a concept and a known word before or behind it.

    base: the base
    count: number of prompts
    """
    return [BESIDE[k % len(BESIDE)].format(word) for k, word in enumerate(_drawn(base, count, "beside"))]


def _drawn(base: Base, count: int, purpose: str) -> list[str]:
    """Random words that the base knows as one token."""
    import torch

    known = sorted(word for word in base.vocabulary if word.isalpha() and len(word) > 2)
    if not known:
        raise InputError(f"{base.name} knows no whole words as one token, from which captions could be made")
    which = torch.randint(len(known), (count,), generator=stream(0, f"words of a merging, {purpose}")).tolist()
    return [known[k] for k in which]
