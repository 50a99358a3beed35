"""The sentences that change concepts and references: more like this, less like that, keep this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limner.core.wording import in_place
from limner.errors import InputError

from .accepting import why_not_accepted
from .edits import Edit
from .means import Means, Reply, new_turn, picture_of
from .painting import concept_of, paint_state
from .preferring import Pair, prefer
from .states import Thing
from .tree import Conversation, Turn

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.concept import Concept


def follow_preference(means: Means, conversation: Conversation, edits: Sequence[Edit], words: str) -> Reply:
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
    reply = new_turn(means, conversation, replace(state, part="all", onto=""), words, answer, ())
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


def accept_picture(means: Means, conversation: Conversation, edits: Sequence[Edit]) -> Reply:
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
