"""Ways in which a concept's subject is put into a source picture, taken from methods made for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limner.core.method import settings as settings_of
from limner.core.recipe import Painting
from limner.core.subject import Subject
from limner.errors import InputError, UnknownName

from .opening import recipe_of
from .settings import checked_settings

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.engine.attach import Adapter

USUAL = "photoswap"
"""The method for concepts that have no way of their own."""


def ways() -> list[str]:
    """Names of the methods whose way into a source picture fits concepts of others: it learns nothing itself."""
    from limner.methods import card, methods

    made_for_it = [name for name, function in methods().items() if card(function).scope[0] == "condition"]
    recipes = {name: methods()[name](Subject("<nobody>", "dog")) for name in made_for_it}
    return [name for name, recipe in recipes.items() if recipe.painting.after_steps and recipe.tuning]


def into_source(
    concept: Concept, base: Base, *, how: str = "", settings: Mapping[str, Any] | None = None
) -> tuple[Concept, Callable[[Adapter], Adapter] | None]:
    """The concept as it is put into a source picture, and what gives its adapter another method's way; None where it
    has its own.

    concept: the concept
    base: the base that it is attached to
    how: one of `ways`, or the concept's own method; empty takes the concept's own way, and USUAL where it has none
    settings: settings of that method for sampling

    Raises `UnknownName` for another method or setting, and `InputError` for a concept whose own way of sampling leaves
    no room for another.
    """
    from limner.methods import methods

    recipe = recipe_of(concept)
    if recipe.painting.after_steps or recipe.weights:
        how = how or concept.method
    how = how or USUAL
    if how == concept.method:
        # a concept of an earlier version lacks newer settings of its method
        newer = settings_of(methods()[how]) if how in methods() else ()
        known = {*concept.settings, *(setting.name for setting in newer)}
        unknown = [name for name in settings or {} if name not in known]
        if unknown:
            raise UnknownName(f"setting of {how}", unknown[0], known)
        return replace(concept, settings={**concept.settings, **(settings or {})}), None
    if how not in ways():
        raise UnknownName("way into a picture", how, ways())
    swaps = bool(recipe.painting.after_steps)
    plain = replace(recipe.painting, latents=(), after_steps=()) if swaps else recipe.painting
    if recipe.weights or plain != Painting():
        raise InputError(
            f"{concept.handle} was learned by {concept.method}, which has a way of sampling of its own, so {how} cannot "
            f"put it into a picture: learn the subject with {USUAL}, dreambooth or another method that samples plainly"
        )
    function = methods()[how]
    chosen = checked_settings(function, settings or {}, base=base.name)
    borrowed = function(Subject(concept.handle, concept.subject["noun"]), **chosen)
    own = () if swaps else recipe.modifiers  # those that were made for a source picture are replaced
    changed = replace(recipe, modifiers=(*own, *borrowed.modifiers), painting=borrowed.painting)
    return concept, lambda adapter: replace(adapter, recipe=changed)
