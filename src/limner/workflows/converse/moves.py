"""Sentences about the turns themselves: undo, back to, as in the second one, more like this, keep this one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .edits import Edit
from .lexicon import ORDINALS
from .phrases import NP, normalised, noun_phrase, one_of
from .states import COUNTS
from .tree import Conversation, Turn

ONE = r"(?: (?:one|picture|turn|version|image|try))?"
ORDINAL = rf"(?:(?:the |turn |picture |number |no )*({one_of(ORDINALS)}|\d{{1,4}}){ONE})"
THIS = r"(?:this|that|it|these|the current|these ones)(?: one| picture)?"


@dataclass(frozen=True)
class Moves:
    """Moves at the start of a sentence, and the words that follow them."""

    edits: tuple[Edit, ...]
    rest: str = ""


def read_moves(words: str, conversation: Conversation) -> Moves | None:
    """The moves that a sentence asks for; None where it asks for a change of the picture. Raises `InputError` for the
    number of a turn that does not exist."""
    text = re.sub(r"^(?:please|now|okay|ok|yes|no|hmm|actually),? (?!that)", "", normalised(words)).removesuffix(
        " please"
    )
    for read in (_through_turns, _preferences, _accepted):
        moves = read(text, conversation)
        if moves is not None:
            return moves
    return None


def _through_turns(text: str, conversation: Conversation) -> Moves | None:
    steps = rf"(?: (?:by )?({one_of(COUNTS)}|\d+))?(?: (?:steps?|turns?|times|pictures?))?"
    if match := re.fullmatch(
        rf"(?:undo|go back|back|step back|undo (?:that|it|this)|take (?:that|it) back|never mind|revert){steps}", text
    ):
        count = match[1] or "1"
        return Moves((Edit(op="undo", number=int(count) if count.isdigit() else COUNTS[count]),))
    if re.fullmatch(r"(?:redo|forward|go forward|redo (?:that|it))", text):
        return Moves((Edit(op="redo"),))
    if re.fullmatch(r"start (?:over|again|anew)|from the (?:start|beginning)", text):
        return Moves((Edit(op="return", number=1),))
    to = r"(?:(?:go |take me |step )?back to|return to|go to|use|take|continue (?:with|from)|branch (?:off )?from|from)"
    same = r"(?:(?:exactly )?(?:as|like)(?: in)?|the same as(?: in)?|as it was in|again)"
    if match := re.fullmatch(rf"(?:{to}|{same}) {ORDINAL}(?:(?:,| but| and|, but|, and) (.+))?", text):
        return Moves((Edit(op="return", number=_turn(match[1], conversation).number),), match[2] or "")
    if match := re.fullmatch(
        rf"(?:with |and |give (?:it|him|her) )?({NP}),? (?:as|like|from|of)(?: in)? {ORDINAL}", text
    ):
        return _recall(match[1], _turn(match[2], conversation), conversation)
    if match := re.fullmatch(rf"(?:(?:go )?back to|return to) ({NP})(?:(?:,| but| and|, but|, and) (.+))?", text):
        turn = _showing(match[1], conversation)
        return Moves((Edit(op="return", number=turn.number),), match[2] or "") if turn else None
    return None


def _turn(word: str, conversation: Conversation) -> Turn:
    return conversation.numbered(int(word) if word.isdigit() else ORDINALS[word])


def _recall(words: str, turn: Turn, conversation: Conversation) -> Moves | None:
    """A part of an earlier turn: "the hat as in the second one"."""
    phrase = noun_phrase(words)
    if phrase is None:
        return None
    named = {"background": "scene", "place": "scene", "setting": "scene", "light": "time", "pose": "action"}
    part = named.get(phrase.noun, phrase.noun)
    if part in ("scene", "time", "view", "style", "seed"):
        return Moves((Edit(op="recall", number=turn.number, value=part),))
    if part in ("colour", "color", "action", "looks", "accessories"):
        target = next((t.name for t in turn.state.things), "")
        part = "colour" if part == "color" else part
        return Moves((Edit(op="recall", number=turn.number, value=part, target=target),))
    owners = [t.name for t in turn.state.things if part in [each.noun for each in t.accessories]]
    here = [t.name for t in conversation.state.things]
    if owners and here:
        target = owners[0] if owners[0] in here else here[0]
        return Moves((Edit(op="recall", number=turn.number, value=part, target=target),))
    return None


def _showing(words: str, conversation: Conversation) -> Turn | None:
    """The newest turn before the current one whose scene, style or accessory has these words."""
    phrase = noun_phrase(words)
    if phrase is None:
        return None
    for turn in reversed(conversation.turns):
        state = turn.state
        has = " ".join(each.text for thing in state.things for each in thing.accessories)
        shown = f"{state.scene} {state.style} {state.time} {has}".split()
        wanted = (phrase.noun, *phrase.adjectives.split())
        if turn.id != conversation.current and all(word in shown for word in wanted):
            return turn
    return None


def _preferences(text: str, conversation: Conversation) -> Moves | None:
    """More like this, less like the third."""
    edits, here = [], conversation.turn
    more = (
        rf"(?:more like|i (?:really )?(?:like|love|prefer)|better like|i like) (?:{ORDINAL}|{THIS})(?: better| more)?"
    )
    less = rf"(?:less like|not like|unlike|i (?:don't|do not) like|i (?:dislike|hate)|rather than|not) (?:{ORDINAL}|{THIS})"
    for part in re.split(r",\s*(?:and |but )?| and | but |\s*;\s*| than ", text):
        liked, disliked = re.fullmatch(more, part), re.fullmatch(less, part)
        match = liked or disliked
        if match is None or here is None:
            return None
        turn = _turn(match[1], conversation) if match[1] else here
        edits.append(Edit(op="prefer" if liked else "reject", number=turn.number))
    return Moves(tuple(edits)) if edits else None


def _accepted(text: str, conversation: Conversation) -> Moves | None:
    """Keep this one; yes, that is rex."""
    here, names = conversation.turn, [thing.name for thing in conversation.cast]
    if here is None:
        return None
    subject = one_of(names) if names else "(?!)"
    if match := re.fullmatch(
        rf"(?:yes,? )?(?:that's|that is|this is|it's|it is) (?:really |exactly |definitely )?({subject})(?: indeed)?",
        text,
    ):
        return Moves((Edit(op="accept", target=match[1]),))
    shown = [thing.name for thing in here.state.things if thing.handle]
    if re.fullmatch(rf"(?:keep|accept|save|i keep) (?:{THIS}|this one|it)|yes,? keep it", text) and shown:
        return Moves(tuple(Edit(op="accept", target=name) for name in shown))
    return None
