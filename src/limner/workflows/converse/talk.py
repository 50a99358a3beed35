"""One sentence of a conversation: words in, a picture, an answer or a question out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.errors import InputError

from .edits import Edit, apply, part_of
from .liking import accept_picture, follow_preference
from .means import Means, Reply, new_turn, picture_of
from .states import State, Thing
from .summary import summary
from .tree import Conversation, Question
from .understanding import Understood, understand

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.concept import Concept

LONGEST = 2_000
"""Characters of the longest sentence."""


def begin(
    base: Base, concepts: Sequence[Concept] = (), *, seed: int = 0, steps: int = 25, guidance: float = 4.0
) -> tuple[Means, Conversation]:
    """A new conversation about the subjects of some concepts. Raises `InputError` for two concepts of one handle, and
    `WrongBase` for a concept of another base."""
    from limner.library.after import hash_of
    from limner.library.opening import adapter_of

    means = Means(base)
    cast: list[Thing] = []
    for concept in concepts:
        key = hash_of(concept)
        means.concepts[key] = concept
        for answer in adapter_of(concept, base).answers:
            name = answer.handle.strip("<>")
            if name in [thing.name for thing in cast]:
                raise InputError(f"two concepts answer to {answer.handle}: give one of them another name")
            cast.append(Thing(name=name, noun=answer.noun, handle=answer.handle, concept=key))
    return means, Conversation(cast=tuple(cast), start=State(seed=seed, steps=steps, guidance=guidance))


def say(means: Means, conversation: Conversation, words: str) -> Reply:
    """The reply to a sentence. A sentence that cannot be followed leaves the conversation as it is; the answer says
    why, or asks back.

    Raises a `LimnerError` where painting or training fails.
    """
    if not words.strip() or len(words) > LONGEST:
        return Reply(conversation, f"say something of at most {LONGEST:,} characters")
    try:
        understood = understand(means, conversation, words)
    except InputError as error:
        return Reply(replace(conversation, question=None), str(error))
    if isinstance(understood, Question):
        return Reply(replace(conversation, question=understood), understood.text)
    return _follow(means, understood, understood.words or words)


def _follow(means: Means, understood: Understood, words: str) -> Reply:
    conversation, edits = understood.conversation, understood.edits
    if not edits:
        turn = conversation.turn
        assert turn is not None
        return Reply(conversation, f"picture {turn.number} again", picture_of(means, conversation, turn))
    try:
        if any(edit.op in ("prefer", "reject") for edit in edits):
            return follow_preference(means, conversation, edits, words)
        if any(edit.op == "accept" for edit in edits):
            return accept_picture(means, conversation, edits)
        state = apply(
            conversation.state,
            edits,
            earlier=lambda number: conversation.numbered(number).state,
            cast=conversation.subjects,
        )
        state.prompt  # noqa: B018  # raises for a state without anything to show
    except InputError as error:
        return Reply(conversation, str(error))
    if state.content() == conversation.state.content() and conversation.turn:
        return Reply(conversation, "that is what the picture shows already", picture_of(means, conversation))
    fresh = any(edit.op == "new" for edit in edits) or conversation.turn is None
    part = "all" if fresh else part_of(edits)
    state = replace(state, part=part, onto="" if part == "all" else conversation.current)
    answer = ". ".join([summary(conversation.state, state, fresh=fresh), *understood.notes])
    return new_turn(means, conversation, state, words, answer, _named(edits))


def _named(edits: Sequence[Edit]) -> tuple[str, ...]:
    """Things and accessories that edits name, the last first: "it" is then the first of them."""
    names: list[str] = []
    for edit in edits:
        if edit.op == "dress":
            names += [edit.target, edit.value]
        elif edit.op == "add":
            names += [edit.value]
        else:
            names += [name for name in (edit.target, edit.part) if name]
    return tuple(dict.fromkeys(reversed([name for name in names if name])))
