"""One subject learned after another: a concept as the starting point of the next, which answers to both handles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from limner.core.artefact import PREFIX as ARTEFACT
from limner.core.concept import IMPORTED
from limner.core.headers import MERGED, MOST_MEMBERS
from limner.core.subject import BESIDE, Subject
from limner.core.untrusted import content_hash
from limner.errors import InputError, WrongBase
from limner.methods import named

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.recipe import Recipe


def subject_after(subject: Subject, concept: Concept, base: Base, method: str) -> Subject:
    """The subject with those of a concept before it, as a method that learns subjects in sequence reads them.

    subject: the subject to learn
    concept: the concept that was learned before
    base: the base to learn on
    method: the method to learn with

    Raises `WrongBase` for a concept of another base, and `InputError` for one of another method, for one that answers
    to the subject's handle already, and for one with as many subjects as a concept may have.
    """
    if concept.base["fingerprint"] != base.fingerprint:
        raise WrongBase(
            f"{concept.handle} was learned on {concept.base['name']} (fingerprint {concept.base['fingerprint']}), but "
            f"this is {base.name} (fingerprint {base.fingerprint}): {subject.handle} can follow it on that base alone"
        )
    _check_trained(concept)
    if concept.subject.get(BESIDE):
        raise InputError(
            f"{concept.handle} was learned together with {concept.handles[1]} in one concept, and no subject can be learned "
            f"after several: learn {subject.handle} by itself"
        )
    if concept.method != method:
        raise InputError(
            f"{concept.handle} was learned by {concept.method}, and {subject.handle} is to be learned by {method}: both "
            f"need one method; name it (--method {concept.method}), or learn {subject.handle} by itself and merge both"
        )
    if subject.handle in concept.handles:
        raise InputError(
            f"the concept learned before answers to {subject.handle} already; give the new subject another --name"
        )
    if len(concept.handles) >= MOST_MEMBERS:
        raise InputError(f"the concept learned before has {MOST_MEMBERS} subjects, the most for one concept")
    last = Subject.from_card(concept.subject)
    return replace(subject, before=(*last.before, replace(last, before=())))


def method_after(concept: Concept) -> str:
    """The method for subjects that are learned after a concept: its own.

    concept: the concept that was learned before

    Raises `InputError` for a concept that no method trained, and `FileError` for a method in a Python file that no one
    but the concept's own file names.
    """
    _check_trained(concept)
    named(concept.method, concept.method_sha256, by=concept.handle)
    return concept.method


def _check_trained(concept: Concept) -> None:
    origin = {MERGED: "was merged from several concepts", IMPORTED: "was imported from a file of another tool"}
    if concept.method in origin:
        raise InputError(
            f"{concept.handle} {origin[concept.method]}, and a subject can only be learned after a concept that a method "
            "trained: learn the subject by itself, and merge both"
        )


def check_answers(recipe: Recipe, subject: Subject, method: str) -> None:
    """Raise `InputError` where a method's recipe does not answer to the handles of the subjects before and beside its
    own.

    recipe: the recipe that the method makes of the subject
    subject: the subject, with those before and beside it
    method: the method's name
    """
    answers = {answer.handle for answer in recipe.also}
    lost = [each.handle for each in subject.before if each.handle not in answers]
    if lost:
        raise InputError(
            f"{method} learns every subject by itself: it would lose {lost[0]}. Learn {subject.handle} without a concept "
            "before it and merge both, or use a method for subjects in sequence, such as continual_diffusion"
        )
    missing = [each.handle for each in subject.beside if each.handle not in answers]
    if missing:
        raise InputError(
            f"{method} learns one subject at a time: it would leave out {missing[0]}. Learn each on its own and merge them, "
            "or use a method that learns several into one concept, such as magictailor"
        )


def tensors_of(concept: Concept) -> dict[str, Tensor]:
    """The tensors of a concept that training can start from: all but its artefacts."""
    return {name: tensor for name, tensor in concept.tensors.items() if not name.startswith(ARTEFACT)}


def hash_of(concept: Concept) -> str:
    """Hash of a concept's tensors, by which the next concept names the one that it started from."""
    return content_hash("", tensors_of(concept))
