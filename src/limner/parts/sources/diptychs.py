"""Two pictures of one subject side by side, as one wide picture."""

from __future__ import annotations

from collections.abc import Callable
from string import Formatter
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch
from limner.errors import InputError
from limner.parts.encoders.latents import encoded

from .pairs import pairs

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Streams


def diptychs(
    template: str, *, batch: int = 16, named: str = "a {noun}", drop_text: float = 0.1, corpus: Corpus | None = None
) -> Source:
    """Batches of latents [B, C, h, 2w]: on the left the subject on a plain background, on the right another picture of
    it.

    The loss counts on the right alone.

    template: caption, with {noun} for the class noun and {prompt} for the right picture's own caption
    batch: pictures in an update
    named: the subject in {prompt}, with {noun} for its class
    drop_text: probability of an empty caption, from 0 to 1
    corpus: pictures to draw from; None draws from the base's own
    """
    check_template(template)
    source = pairs(
        batch=batch, named=named, ground="plain", drop_image=0.0, drop_text=drop_text, drop_both=0.0, corpus=corpus
    )

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        single = source.prepare(base)

        def draw(step: int, at: Streams) -> Batch:
            one = single(step, at)
            assert one.references is not None
            left = encoded(base, one.references, plain=True)[0][:, 0]
            counts = torch.cat([torch.zeros_like(left[:, :1]), torch.ones_like(left[:, :1])], -1)
            captions = tuple(
                template.format(noun=noun, prompt=prompt) if prompt else ""
                for noun, prompt in zip(one.references.nouns, one.prompts, strict=True)
            )
            return Batch(torch.cat([left, one.latents], -1), captions, mask=counts)

        return draw

    return Source(
        "diptychs",
        "corpus",
        prepare,
        over=lambda other: diptychs(template, batch=batch, named=named, drop_text=drop_text, corpus=other),
    )


def check_template(template: str) -> None:
    """Raise `InputError` for a template with anything in braces but {noun} and {prompt}.

    template: the caption's template
    """
    try:
        within = [(name, form, how) for _, name, form, how in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InputError(f"the template {template[:200]!r} cannot be filled in: {error}") from error
    if any(field not in (("noun", "", None), ("prompt", "", None)) for field in within):
        raise InputError(
            f"in the template {template[:200]!r} braces may hold noun and prompt alone: {{noun}}, {{prompt}}"
        )
