"""One turn of a conversation: words in, a picture, an answer or a question out."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from limner.core.wording import shortened
from limner.errors import InputError

from .accepting import why_not_accepted
from .edits import MOVES, Edit, apply, part_of
from .grammar import read_sentence
from .language_model import LanguageModel
from .moves import read_moves
from .naming import resolve
from .painting import concept_of, hash_of_picture, paint_state, repaint
from .phrases import normalised
from .preferring import Pair, PreferenceSettings, prefer
from .states import State, Thing
from .summary import summary
from .tree import Choice, Conversation, Question, Turn
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.concept import Concept

LONGEST = 2_000
"""Characters of the longest sentence."""


@dataclass
class Means:
    """An open base, concepts and pictures at hand, with which a conversation paints.

    Calls add to `concepts` and `pictures`; both may be mappings of the caller's that read and write a store.
    """

    base: Base
    concepts: MutableMapping[str, Concept] = field(default_factory=dict)  # by the hash of their tensors
    pictures: MutableMapping[str, Image.Image] = field(default_factory=dict)  # by the id of their turn
    references: Mapping[str, Sequence[Image.Image]] = field(default_factory=dict)  # by handle
    model: LanguageModel | None = None
    preference: PreferenceSettings = field(default_factory=PreferenceSettings)


@dataclass(frozen=True)
class Reply:
    """The answer to one sentence. `picture` is that of the current turn, where it is new or was returned to."""

    conversation: Conversation
    answer: str
    picture: Image.Image | None = field(default=None, repr=False)
    is_new: bool = False  # whether the current turn is new
    concepts: tuple[Concept, ...] = ()  # new ones
    accepted: tuple[str, ...] = ()  # handles whose references the picture joined

    @property
    def question(self) -> Question | None:
        return self.conversation.question


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
        adapter_of(concept, base)
        key = hash_of(concept)
        means.concepts[key] = concept
        for handle in concept.handles:
            name = handle.strip("<>")
            if name in [thing.name for thing in cast]:
                raise InputError(f"two concepts answer to {handle}: give one of them another name")
            cast.append(Thing(name=name, noun=concept.subject["noun"], handle=handle, concept=key))
    return means, Conversation(cast=tuple(cast), start=State(seed=seed, steps=steps, guidance=guidance))


def say(means: Means, conversation: Conversation, words: str) -> Reply:
    """The reply to a sentence. A sentence that cannot be followed leaves the conversation as it is; the answer says
    why, or asks back.

    Raises a `LimnerError` where painting or training fails.
    """
    if not words.strip() or len(words) > LONGEST:
        return Reply(conversation, f"say something of at most {LONGEST:,} characters")
    try:
        understood = _understand(means, conversation, words)
    except InputError as error:
        return Reply(replace(conversation, question=None), str(error))
    if isinstance(understood, Question):
        return Reply(replace(conversation, question=understood), understood.text)
    return _follow(means, understood, words)


@dataclass(frozen=True)
class _Understood:
    conversation: Conversation  # after moves through its turns
    edits: tuple[Edit, ...]
    notes: tuple[str, ...] = ()
    moved: bool = False


def _understand(means: Means, conversation: Conversation, words: str) -> _Understood | Question:
    """The edits that a sentence asks for, checked and with names as targets; or a question."""
    if chosen := _chosen(conversation.question, words):
        return _Understood(replace(conversation, question=None), chosen.edits)
    conversation = replace(conversation, question=None)
    moves, rest, moved = read_moves(words, conversation), words, False
    notes: list[str] = []
    if moves is not None:
        if not moves.rest:
            return _moved(conversation, moves.edits)
        conversation, rest, moved = _moved(conversation, moves.edits).conversation, moves.rest, True
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
        return _moved(conversation, edits)
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
        alike=vocabulary.cosines if _reads_states(means.base) else None,
        words=words,
    )
    return resolved.question or _Understood(conversation, resolved.edits, (*notes, *more), moved)


def _reads_states(base: Any) -> bool:
    return hasattr(base, "text_states")


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


def _moved(conversation: Conversation, edits: Sequence[Edit]) -> _Understood:
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
    return _Understood(conversation, tuple(rest), moved=len(rest) < len(edits))


def _not_understood(strange: Sequence[str], edits: tuple[Edit, ...], words: str) -> Question:
    shown = " and ".join(repr(shortened(text, 60)) for text in strange)
    text = (
        f'I do not understand {shown}. Say what to change, as in "put him in the snow", "give him a red hat", "as a '
        'watercolour", "back to the first one" or "more like this"'
    )
    return Question(text=text, choices=(), words=words)


# ---------------------------------------------------------------------------------------------------------- following


def _follow(means: Means, understood: _Understood, words: str) -> Reply:
    conversation, edits = understood.conversation, understood.edits
    if not edits:
        turn = conversation.turn
        assert turn is not None
        return Reply(conversation, f"picture {turn.number} again", picture_of(means, conversation, turn))
    try:
        if any(edit.op in ("prefer", "reject") for edit in edits):
            return _prefer(means, conversation, edits, words)
        if any(edit.op == "accept" for edit in edits):
            return _accept(means, conversation, edits)
        earlier = lambda number: conversation.numbered(number).state  # noqa: E731
        state = apply(conversation.state, edits, earlier=earlier, cast=conversation.subjects)
        state.prompt  # noqa: B018  # raises for a state without anything to show
    except InputError as error:
        return Reply(conversation, str(error))
    if state.content() == conversation.state.content() and conversation.turn:
        return Reply(conversation, "that is what the picture shows already", picture_of(means, conversation))
    fresh = any(edit.op == "new" for edit in edits) or conversation.turn is None
    part = "all" if fresh else part_of(edits)
    state = replace(state, part=part, onto="" if part == "all" else conversation.current)
    answer = ". ".join([summary(conversation.state, state, fresh=fresh), *understood.notes])
    return _painted(means, conversation, state, words, answer, _named(edits))


def _painted(
    means: Means, conversation: Conversation, state: State, words: str, answer: str, named: tuple[str, ...]
) -> Reply:
    """A new turn with its picture."""
    onto = None
    if state.onto:
        before = conversation.by_id(state.onto)
        onto = before.state, picture_of(means, conversation, before)
    image = paint_state(means.base, state, means.concepts, onto=onto).image
    conversation = conversation.add(state, words=words, named=named)
    conversation = conversation.changed(conversation.current, sha256=hash_of_picture(image), answer=answer)
    means.pictures[conversation.current] = image
    return Reply(conversation, answer, image, is_new=True)


def picture_of(means: Means, conversation: Conversation, turn: Turn | None = None) -> Image.Image:
    """The picture of a turn (the current one where none is given): the one at hand, else painted again to the same
    bits."""
    turn = turn or conversation.turn
    if turn is None:
        raise InputError("there is no picture yet: say what to show")
    if turn.id not in means.pictures:
        means.pictures[turn.id] = repaint(
            means.base, conversation, turn, means.concepts, lambda other: means.pictures.get(other.id)
        )
    return means.pictures[turn.id]


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


# ------------------------------------------------------------------------------------------- preferences, accepted ones


def _prefer(means: Means, conversation: Conversation, edits: Sequence[Edit], words: str) -> Reply:
    """A new state of each learned subject's concept, from pairs of liked and disliked pictures."""
    from limner.library.after import hash_of

    if any(edit.op not in ("prefer", "reject") for edit in edits):
        raise InputError("say what you like, and what to change, in two sentences")
    liked = [conversation.numbered(round(e.number or -1)) for e in edits if e.op == "prefer"]
    disliked = [conversation.numbered(round(e.number or -1)) for e in edits if e.op == "reject"]
    state = conversation.state
    learned = [thing for thing in state.things if thing.handle]
    if not learned:
        raise InputError("there is no learned subject in the picture whose concept a preference could change")
    if {turn.id for turn in liked} & {turn.id for turn in disliked}:
        raise InputError("one picture cannot be liked and disliked at once")
    liked, disliked, extra = _both_sides(means, conversation, liked, disliked)
    new: list[Concept] = []
    for thing in learned:
        pairs = _pairs(means, conversation, liked, disliked, extra, thing)
        concept = prefer(
            means.base,
            concept_of(thing, means.concepts),
            pairs,
            seed=len(conversation.turns),
            settings=means.preference,
        )
        key = hash_of(concept)
        means.concepts[key] = concept
        new.append(concept)
        state = state.with_thing(replace(thing, concept=key))
    names = " and ".join(thing.name for thing in learned)
    answer = f"the concept of {names} moved by {means.preference.steps} updates; undo brings the earlier one back"
    reply = _painted(means, conversation, replace(state, part="all", onto=""), words, answer, ())
    return replace(reply, concepts=tuple(new))


def _both_sides(
    means: Means, conversation: Conversation, liked: list[Turn], disliked: list[Turn]
) -> tuple[list[Turn], list[Turn], Image.Image | None]:
    """Liked and disliked turns. Where one side was not named, it is the other pictures of the same prompt, or else a
    picture of the same state from another seed, which is returned."""
    if liked and disliked:
        return liked, disliked, None
    given = liked or disliked
    accepted = {turn for turns in conversation.accepted.values() for turn in turns}
    others = [
        turn
        for turn in conversation.turns
        if turn not in given and turn.state.prompt == given[0].state.prompt and (not disliked or turn.id in accepted)
    ]
    if others:
        return (liked, others, None) if liked else (others, disliked, None)
    state = replace(given[0].state, seed=given[0].state.seed + 1, onto="", part="all")
    return liked, disliked, paint_state(means.base, state, means.concepts).image


def _pairs(
    means: Means, conversation: Conversation, liked: list[Turn], disliked: list[Turn], extra: Any, thing: Thing
) -> list[Pair]:
    """All pairs of liked and disliked pictures that show a thing; other subjects of a prompt have their classes."""
    from limner.core.wording import in_place

    good = [(picture_of(means, conversation, turn), turn.state) for turn in liked]
    bad = [picture_of(means, conversation, turn) for turn in disliked]
    state = (liked or disliked)[0].state
    good, bad = good or [(extra, state)], bad or [extra]
    pairs = []
    for image, own in good:
        prompt = own.prompt
        for other in own.things:
            if other.handle and other.handle != thing.handle:
                prompt = in_place(prompt, other.handle, other.noun)
        pairs += [(image, worse, prompt) for worse in bad]
    return pairs


def _accept(means: Means, conversation: Conversation, edits: Sequence[Edit]) -> Reply:
    """The current picture joins the references of subjects that it shows, unless it is a copy."""
    turn = conversation.turn
    if turn is None:
        raise InputError("there is no picture yet to keep")
    image, answers, joined = picture_of(means, conversation), [], []
    for edit in edits:
        thing = next((t for t in turn.state.things if t.name == edit.target and t.handle), None)
        if thing is None:
            raise InputError(f"{edit.target} is not in this picture")
        before = conversation.accepted.get(thing.handle, ())
        if turn.id in before:
            answers.append(f"picture {turn.number} is among the references of {thing.name} already")
            continue
        pictures = {
            conversation.by_id(k).number: picture_of(means, conversation, conversation.by_id(k)) for k in before
        }
        references = means.references.get(thing.handle, ())
        if reason := why_not_accepted(image, references, pictures):
            answers.append(f"picture {turn.number} does not join the references of {thing.name}: {reason}")
            continue
        accepted = {**conversation.accepted, thing.handle: (*before, turn.id)}
        conversation = replace(conversation, accepted=accepted)
        joined.append(thing.handle)
        checked = "" if references else "; its photos are not at hand, so it was compared with kept pictures alone"
        answers.append(f"picture {turn.number} joins the references of {thing.name}{checked}")
    return Reply(conversation, ". ".join(answers), image, accepted=tuple(joined))
