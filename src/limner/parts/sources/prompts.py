"""Prompts without pictures, for objectives that sample the pictures they score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch, References
from limner.parts.encoders.looks import subject_references

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams


def prompts(texts: Sequence[str], *, batch: int = 8, subject: Subject | None = None) -> Source:
    """In every update one of the texts, `batch` times; the latents are empty.

    texts: the prompts
    batch: rows in an update
    subject: whose pictures are the references of every row; None: no references
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        shown = None
        if subject is not None:
            one = subject_references(base, subject)
            shown = References(one.pixels.expand(batch, *one.pixels.shape[1:]), nouns=one.nouns * batch)
        empty = torch.zeros(batch, *base.latent_shape, device=base.device, dtype=base.dtype)

        def draw(step: int, at: Streams) -> Batch:
            text = texts[int(torch.randint(len(texts), (), generator=at("order")))]
            return Batch(empty, (text,) * batch, references=shown)

        return draw

    return Source("prompts", "prompts", prepare)
