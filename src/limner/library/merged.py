"""Merged concepts: one change of the base's weights, and the learned words of each subject beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Answer, Recipe
from limner.core.streams import stream
from limner.errors import FileError
from limner.parts.modifiers.stored_changes import stored_changes

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Modifier
    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.recipe import Need
    from limner.core.types import Kind, Live


@dataclass(frozen=True)
class as_taught:
    """A modifier of one member of a merged concept, with the random draws of the member's training."""

    modifier: Modifier
    seed: int  # the member's seed
    place: int  # index among the modifiers of the member's own recipe

    @property
    def acts_in(self) -> tuple[Kind, ...]:
        """Kinds of attention in which the modifier acts."""
        kinds: tuple[Kind, ...] = getattr(self.modifier, "acts_in", ())
        return kinds

    @property
    def needs(self) -> tuple[Need, ...]:
        """Capabilities that the modifier needs of a base."""
        needs: tuple[Need, ...] = getattr(self.modifier, "needs", ())
        return needs

    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> AbstractContextManager[Live]:
        own = stream(self.seed, "modifier", self.place)
        return self.modifier(base, stored=stored, generator=own, scale=scale)


def merged_recipe(concept: Concept, recipe_of: Callable[[Concept], Recipe]) -> Recipe:
    """The recipe of a merged concept, which answers to the handle of every member.

    concept: a merged concept
    recipe_of: makes the recipe of one member

    Raises `FileError` where a member's recipe lacks a modifier that the header lists.
    """
    modifiers: list[Any] = [stored_changes()]
    answers = []
    for member in members_of(concept):
        recipe, keeps = recipe_of(member), _keeps(concept, member.handle)
        if any(place >= len(recipe.modifiers) for place in keeps):
            raise FileError(
                f"{concept.handle} keeps a part of {member.handle} that {member.method} no longer has; merge the "
                "concepts again"
            )
        modifiers += [as_taught(recipe.modifiers[place], member.seed, place) for place in keeps]
        answers += [Answer(member.handle, recipe.says, str(member.subject["noun"])), *recipe.also]
    return Recipe(says=answers[0].says, modifiers=tuple(modifiers), also=tuple(answers[1:]))


def members_of(concept: Concept) -> list[Concept]:
    """The members of a merged concept, without their tensors; the concept itself where it was not merged."""
    return [
        replace(
            concept,
            **{name: member[name] for name in ("handle", "method", "settings", "subject", "seed", "method_sha256")},
            tensors={},
            members=(),
        )
        for member in concept.members
    ] or [concept]


def _keeps(concept: Concept, handle: str) -> list[int]:
    return next(list(member["keeps"]) for member in concept.members if member["handle"] == handle)
