"""A saved concept as a recipe and as an adapter of a base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.artefact import PREFIX as ARTEFACT
from limner.core.headers import MERGED
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.errors import FileError, WrongBase

if TYPE_CHECKING:
    from typing import Any

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.recipe import Recipe

    from .concepts import Concepts


def recipe_of(concept: Concept) -> Recipe:
    """Make a concept's recipe from its method and settings.

    Raises `FileError` for settings that the method does not accept, and for a method from a Python file, or a network
    to open, that only the concept's own file names (see `load`).
    """
    from limner.core.concept import IMPORTED, RUNS, setting_kinds
    from limner.methods import find, named

    from .imported import imported
    from .merged import merged_recipe
    from .settings import check_setting

    if concept.method == MERGED:
        return merged_recipe(concept, recipe_of)
    if concept.method == IMPORTED:
        make: Any = imported
    elif concept.trusted:
        make = find(concept.method)
    else:
        make = named(concept.method, concept.method_sha256, by=concept.handle)
    known = setting_kinds(make)
    try:
        chosen = {name: check_setting(name, value, known[name]) for name, value in concept.settings.items()}
        concept.check_opens(chosen)
        plain = {name: value for name, value in chosen.items() if name not in RUNS or ".py" not in str(value)}
        return make(Subject.from_card(concept.subject), **plain)  # type: ignore[no-any-return]
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise FileError(
            f"{concept.handle} was learned by another version of {concept.method}: its settings do not fit ({error}); "
            "learn it again"
        ) from error


def adapter_of(
    concept: Concept, base: Base, *, scale: float = 1.0, any_base: bool = False, hot: Concepts | None = None
) -> Adapter:
    """Make the adapter of a concept: its recipe and tensors, to attach to a base.

    concept: the concept to open
    base: the base to attach it to
    scale: strength of the adapter
    any_base: allow every base of the family that the concept was learned on, such as a distilled one
    hot: cache that holds the pre-trained weights of methods; None reads them from their files

    Raises `WrongBase` for another base than the one it was learned on, or, with `any_base`, for another family.
    """
    if base.fingerprint != concept.base["fingerprint"] and not (any_base and base.family == concept.base["family"]):
        raise WrongBase(
            f"{concept.handle} was learned on {concept.base['name']} (fingerprint {concept.base['fingerprint']}), but "
            f"this is {base.name} (fingerprint {base.fingerprint}): load that base, or learn the subject on this one"
            + (
                "; if this base was made from that one, --any-base attaches the concept to it"
                if base.family == concept.base["family"]
                else ""
            )
        )
    from limner.core.weights import shipped

    recipe = recipe_of(concept)
    own_base = base.fingerprint == concept.base["fingerprint"]
    if recipe.weights and recipe.portable and not own_base:
        start = shipped(recipe.weights, base, made_for=concept.base["fingerprint"])
    else:
        start = (hot.shipped if hot else shipped)(recipe.weights, base) if recipe.weights else {}
    if recipe.weights:
        concept._check_weights(recipe.weights, base)
    own = {name: tensor for name, tensor in concept.tensors.items() if not name.startswith(ARTEFACT)}
    plain, tuned = frozenset(start.keys() - own.keys()), frozenset(start.keys() & own.keys())
    stored = {**start, **own}
    style = concept.subject.get("kind") == "style"
    return Adapter(recipe, concept.handle, stored, scale, concept.seed, concept.subject["noun"], plain, tuned, style)
