"""The recipe of a concept that was imported from another tool's file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Recipe
from limner.parts.modifiers.stored_changes import stored_changes
from limner.parts.modifiers.stored_words import stored_word

if TYPE_CHECKING:
    from limner.core.subject import Subject


def imported(subject: Subject, *, says: str = "", words: int = 0) -> Recipe:
    """The recipe of an imported concept: stored changes of layers and parameters, and a learned word if the file has
    one.

    subject: the concept's subject
    says: words that replace the handle in prompts: those of the file's training; empty takes the learned word, or the
        class noun without one
    words: number of vectors of the learned word; 0 for none
    """
    modifiers = (stored_changes(), *((stored_word(subject.handle, subject.noun),) if words else ()))
    return Recipe(says=says or (subject.handle if words else subject.noun), modifiers=modifiers)
