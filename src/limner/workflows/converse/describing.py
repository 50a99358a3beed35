"""Clauses without a verb of change: a thing with its looks, action and accessories, a place, a time, a style."""

from __future__ import annotations

import re
from dataclasses import replace

from .lexicon import GERUNDS, TIMES
from .phrases import NP, RELATED, NounPhrase, adjective, cut, noun_phrase
from .sentences import Sentence, dress, enter, name_of, subject_of, take_away
from .states import singular

VERBS = (
    "put|move|bring|send|take|place|set|go|let's go|paint|draw|show|show me|make|let|have|do|create|a picture of|use"
)


def describe(sentence: Sentence, text: str, *, first: bool) -> bool:
    """Read a clause that describes: a thing with its looks, action and accessories, a place, a time, a style. Returns
    whether all of it was understood."""
    before, empty = len(sentence.edits), not sentence.state.things
    paints = re.match(r"(?:paint|draw|show(?: me)?|create|generate|make me)\b ?(?:me )?", text)
    asks = bool(paints) and not sentence.edits
    text = re.sub(rf"^(?:{VERBS})\b ?(?:me )?", "", text) if not text.startswith("a picture") else text
    text = re.sub(r"^(?:a |the )?(?:picture|photo|image|photograph)s? of ", "", text)
    text = re.sub(r"^(?:is|are|be|should be|to) ", "", text)
    rest = cut(text, things=sentence.names | sentence.accessories)
    rest = replace(rest, text=re.sub(r"(?:^| )(?:is|are|should be|should|be|is now)$", "", rest.text))
    head, accessories, relation, other = _head(rest.text)
    phrase = noun_phrase(head) if head else None
    target = ""
    if phrase is not None:
        target = _describe_thing(sentence, phrase, head, first=first, asks=asks, empty=empty)
        if target == "?":
            return False
    elif head:
        return False
    if rest.action:
        sentence.edit("action", target=target, value=rest.action)
    for accessory in accessories:
        dress(sentence, accessory, target)
    if other is not None:
        _other(sentence, other, relation)
    for op in ("place", "time", "view", "style"):
        if value := getattr(rest, op):
            sentence.edit("scene" if op == "place" else op, value=value)
    return len(sentence.edits) > before or bool(phrase and target)


def _head(text: str) -> tuple[str, list[NounPhrase], str, NounPhrase | None]:
    """The head of a clause, its accessories, and a second thing with its relation."""
    accessories, relation, other = [], "", None
    if match := re.search(rf"(?:^| )(?:wearing|with|wears|in) ({NP})$", text):
        phrase = noun_phrase(match[1])
        if phrase is not None and phrase.is_accessory:
            accessories, text = [phrase], text[: match.start()]
    if match := re.search(rf"(?:^| )({RELATED}) ({NP})$", text):
        other = noun_phrase(match[2])
        if other is not None:
            relation, text = match[1].replace("beside", "next to"), text[: match.start()]
    return text.strip(), accessories, relation, other


def _describe_thing(sentence: Sentence, phrase: NounPhrase, head: str, *, first: bool, asks: bool, empty: bool) -> str:
    """The edits that name the thing a clause is about; returns its words, or "?" where the clause is not understood."""
    in_picture = {word for t in sentence.state.things for word in (t.name, t.noun)}
    added = {edit.value for edit in sentence.edits if edit.op == "add"}
    noun = singular(phrase.noun) if singular(phrase.noun) in sentence.names or phrase.count > 1 else phrase.noun
    if phrase.noun in ("it", "him", "her", "he", "she", "them", "they", "both", "that"):
        return phrase.noun
    if noun in added:
        return noun
    kind, word = adjective(head)
    if kind and not empty:
        sentence.edit(kind, target=sentence.target if sentence.verb == "paint" else "", value=word)
        return head
    if head in TIMES:
        sentence.edit("time", value=TIMES[head])
        return head
    if head in GERUNDS:
        sentence.edit("action", value=GERUNDS[head])
        return head
    if phrase.is_accessory and (not empty or added):
        if sentence.verb == "remove":
            take_away(sentence, head, sentence.target)
        else:
            dress(sentence, phrase, sentence.target)
        return head
    if sentence.verb == "remove":
        take_away(sentence, head, "")
        return head
    if noun in in_picture and not asks:
        name = name_of(f"the {noun}" if phrase.article else noun)
        for look in phrase.looks:
            sentence.edit("looks", target=name, value=look)
        if phrase.colour:
            sentence.edit("colour", target=name, value=phrase.colour)
        return name
    fresh = (empty or asks) and first and not added
    if not (fresh or sentence.verb == "add" or noun in sentence.names or added):
        return "?"
    if fresh and not empty:
        sentence.edit("new")
    subject = subject_of(sentence, phrase, noun)
    enter(sentence, replace(phrase, noun=subject))
    return singular(subject) if phrase.count > 1 else subject


def _other(sentence: Sentence, other: NounPhrase, relation: str) -> None:
    shown = {word for thing in sentence.state.things for word in (thing.name, thing.noun)}
    if other.noun in shown and other.article != "a":
        sentence.edit("relation", value=relation)
    elif other.noun not in ("it", "him", "her", "them"):
        enter(sentence, replace(other, noun=subject_of(sentence, other, other.noun)), relation)


def style_of(text: str) -> str:
    """The words of a style for a prompt; "" for a text that is no style."""
    rest = cut(f"as {text}" if not text.startswith(("as ", "in ")) else text, things=())
    return rest.style if not rest.text and not rest.place else ""
