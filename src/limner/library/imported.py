"""What a concept that came from another tool's file wears."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Recipe
from limner.parts.modifiers.stored_changes import stored_changes
from limner.parts.modifiers.stored_words import stored_word

if TYPE_CHECKING:
    from limner.core.subject import Subject


def imported(subject: Subject, *, says: str = "", words: int = 0) -> Recipe:
    """Changes of layers and values of parameters as they were read, and a word of so many vectors. In prompts the
    handle becomes `says`, the words the file was taught with; where there is a word of its own, that word stands for
    itself."""
    modifiers = (stored_changes(), *((stored_word(subject.handle, subject.noun),) if words else ()))
    return Recipe(says=says or (subject.handle if words else subject.noun), modifiers=modifiers)
