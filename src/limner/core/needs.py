"""Capabilities that a part needs of a base: `needs`, an attribute of a modifier, an objective, a source or a part of
sampling, names them, and a recipe asks for them before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from limner.errors import InputError

if TYPE_CHECKING:
    from .base import Base
    from .recipe import Recipe


def unchanged_states(base: Base) -> None:
    """Cross-attention that reads every hidden state of a prompt as it is."""
    if not base.reads_states_unchanged:
        raise InputError(
            f"this method puts other hidden states in place of a prompt's, and the cross-attention of {base.name} "
            f"({base.family}) does not read hidden states as they are: a projection, a mask or a cut stands in between; "
            "use a base that always reads all, such as Stable Diffusion or SDXL"
        )


def states_alone(base: Base) -> None:
    """A denoiser that reads hidden states of prompts and nothing else that is computed from a prompt."""
    unchanged_states(base)
    if base.states_shape[0] != base.text_positions:
        raise InputError(
            f"this method runs the denoiser on the states that attention reads, and that of {base.name} ({base.family}) "
            "reads a global vector of the prompt, too: use a base like Stable Diffusion 1 or 2"
        )


def cross_attention(base: Base) -> None:
    """Cross-attention, whose maps tell the words of a prompt apart."""
    kinds = sorted({site.kind for site in base.sites})
    if "cross" not in kinds:
        raise InputError(
            f"this method reads maps of cross-attention, and {base.name} ({base.family}) has {' and '.join(kinds)} "
            "attention only: use a base with cross-attention, such as Stable Diffusion or SDXL"
        )


def separate_attention(base: Base) -> None:
    """Self- and cross-attention in layers of their own."""
    joint = sorted({site.kind for site in base.sites} - {"self", "cross"})
    if joint:
        raise InputError(
            f"this method changes the heads of self- and cross-attention, and in {base.name} ({base.family}) text and "
            f"picture have {' and '.join(joint)} attention: use a base with a layer for each, such as Stable Diffusion"
        )


def text_attention(base: Base) -> None:
    """A single CLIP as text encoder, whose attention can be read."""
    base.text_attention()


def text_features(base: Base) -> None:
    """Embeddings of texts, comparable with those of pictures."""
    base.text_features(["a"], words={})


def check_needs(base: Base, recipe: Recipe) -> None:
    """Raise `InputError` where a part of a recipe needs a capability that the base lacks.

    base: the base
    recipe: the recipe, with all its stages
    """
    for part in (*acting_parts(recipe), *_learning_parts(recipe)):
        check_part(base, part)


def check_part(base: Base, part: Any) -> None:
    """Raise `InputError` where this part needs a capability that the base lacks."""
    for need in getattr(part, "needs", ()):
        need(base)


def acting_parts(recipe: Recipe) -> Iterator[Any]:
    """The parts of a recipe that act while it is attached: modifiers and parts of sampling."""
    yield from recipe.modifiers
    for part in fields(recipe.painting):
        value = getattr(recipe.painting, part.name)
        yield from value if isinstance(value, tuple) else (value,)


def _learning_parts(recipe: Recipe) -> Iterator[Any]:
    """The objectives of all stages that count, and their sources."""
    for stage in recipe.stages:
        for term in stage.loss:
            if term.weight:
                yield from (term, term.source)
