"""A sentence to edits that can be followed, or a question back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from limner.core.wording import shortened
from limner.errors import InputError

from .edits import MOVES, Edit
from .grammar import read_sentence
from .means import Means
from .moves import read_moves
from .naming import resolve
from .phrases import normalised
from .tree import Choice, Conversation, Question
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Understood:
    """Edits with names as targets. Without any, the conversation has moved to another turn."""

    conversation: Conversation  # after moves through its turns
    edits: tuple[Edit, ...]
    notes: tuple[str, ...] = ()
    words: str = ""  # for the turn, where the sentence answers a question; else empty


def understand(means: Means, conversation: Conversation, words: str) -> Understood | Question:
    """The edits that a sentence asks for, checked and with names as targets; or a question."""
    if chosen := _chosen(conversation.question, words):
        about = conversation.question.words if conversation.question else ""
        asked = replace(conversation, question=None)
        return Understood(asked, chosen.edits, words=f"{about} ({chosen.text})" if about else "")
    conversation = replace(conversation, question=None)
    moves, rest = read_moves(words, conversation), words
    notes: list[str] = []
    if moves is not None:
        if not moves.rest:
            return moved_by(conversation, moves.edits)
        conversation, rest = moved_by(conversation, moves.edits).conversation, moves.rest
    edits: tuple[Edit, ...] | None = None
    if means.model is not None and moves is None:
        try:
            edits = means.model.read(words, conversation)
        except InputError as error:
            notes.append(f"{error}; the words are read by the grammar instead")
    if edits is None:
        sentence = read_sentence(rest, conversation.state, conversation.subjects)
        if sentence.strange or not sentence.edits:
            return _not_understood(sentence.strange or [rest], tuple(sentence.edits), words)
        edits = tuple(sentence.edits)
    if edits and all(edit.op in MOVES for edit in edits):
        return moved_by(conversation, edits)
    vocabulary = Vocabulary.of(means.base)
    names = {thing.name for thing in conversation.cast}
    edits, more, question = vocabulary.fit(edits, words, names=names)
    if question is not None:
        return question
    turn = conversation.turn
    resolved = resolve(
        edits,
        conversation.state,
        named=turn.named if turn else (),
        subjects=conversation.subjects,
        alike=vocabulary.cosines,
        words=words,
    )
    return resolved.question or Understood(conversation, resolved.edits, (*notes, *more))


def _chosen(question: Question | None, words: str) -> Choice | None:
    """The choice that an answer names, by its number or by its words."""
    text = normalised(words).removeprefix("the ").removeprefix("number ").removeprefix("make it ")
    if question is None:
        return None
    ordinals = ("first", "second", "third", "fourth")
    for number, choice in enumerate(question.choices, 1):
        names = {
            choice.text,
            str(number),
            *(f"{w}{one}" for w in ordinals[number - 1 : number] for one in ("", " one")),
        }
        if text in names:
            return choice
    named = [choice for choice in question.choices if choice.text in text.split()]
    return named[0] if len(named) == 1 and len(text.split()) <= 3 else None


def moved_by(conversation: Conversation, edits: Sequence[Edit]) -> Understood:
    """The conversation after moves through its turns; edits of concepts stay to be done."""
    rest = []
    for edit in edits:
        if edit.op == "undo":
            conversation = conversation.undo(round(edit.number or 1))
        elif edit.op == "redo":
            conversation = conversation.redo()
        elif edit.op == "return":
            conversation = conversation.back_to(conversation.numbered(round(edit.number or 0)).id)
        else:
            rest.append(edit)
    return Understood(conversation, tuple(rest))


def _not_understood(strange: Sequence[str], edits: tuple[Edit, ...], words: str) -> Question:
    shown = " and ".join(repr(shortened(text, 60)) for text in strange)
    text = (
        f'I do not understand {shown}. Say what to change, as in "put him in the snow", "give him a red hat", "as a '
        'watercolour", "back to the first one" or "more like this"'
    )
    return Question(text=text, choices=(), words=words)
