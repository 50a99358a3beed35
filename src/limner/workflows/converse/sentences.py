"""A sentence while it is read: the edits so far, and the steps that several rules of the grammar share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .edits import Edit
from .lexicon import PLACES, SCENE_WORDS
from .phrases import NounPhrase, noun_phrase
from .states import State, Thing, singular


@dataclass
class Sentence:
    """The edits of one sentence while it is read; `strange` are clauses that nothing understands."""

    state: State
    subjects: tuple[Thing, ...] = ()
    edits: list[Edit] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    verb: str = ""  # verb of the clause before: a bare noun phrase goes on with it
    target: str = ""  # target of the clause before

    @property
    def names(self) -> set[str]:
        """Words for the learned subjects and the things in the picture."""
        every = (*self.subjects, *self.state.things)
        return {word for thing in every for word in (thing.name, thing.noun)}

    @property
    def accessories(self) -> set[str]:
        in_state = {each.noun for thing in self.state.things for each in thing.accessories}
        return in_state | {edit.value for edit in self.edits if edit.op == "dress"}

    def is_thing(self, noun: str) -> bool:
        return noun in self.names or singular(noun) in self.names

    def edit(self, op: str, **values: object) -> None:
        self.edits.append(Edit(op=op, **values))  # type: ignore[arg-type]  # callers give the fields of Edit


def enter(sentence: Sentence, phrase: NounPhrase, relation: str = "") -> None:
    sentence.verb = "add"
    noun = singular(phrase.noun) if phrase.count > 1 else phrase.noun
    sentence.edit("add", value=noun, colour=phrase.colour, target=relation.replace("beside", "next to"))
    if phrase.count > 1:
        sentence.edit("count", target=noun, number=phrase.count)
    for look in phrase.looks:
        sentence.edit("looks", target=noun, value=look)


def subject_of(sentence: Sentence, phrase: NounPhrase, noun: str) -> str:
    """The name of the learned subject that a phrase means: "the dog" is rex; "a dog" is any dog."""
    if phrase.count > 1 or phrase.article in ("a", "an", "another", "some"):
        return next((t.name for t in sentence.subjects if noun == t.name), noun)
    return next((t.name for t in sentence.subjects if noun in (t.name, t.noun)), noun)


def dress(sentence: Sentence, phrase: NounPhrase, target: str) -> None:
    sentence.verb, sentence.target = "dress", target
    sentence.edit("dress", target=target, value=phrase.noun, colour=phrase.adjectives)


def owner_of(sentence: Sentence, noun: str) -> str:
    """The name of the one thing that has an accessory; "" where several have it or none."""
    owners = [t.name for t in sentence.state.things if noun in [each.noun for each in t.accessories]]
    return owners[0] if len(owners) == 1 else ""


def take_away(sentence: Sentence, text: str, target: str) -> None:
    phrase = noun_phrase(text)
    if phrase is None:
        sentence.strange.append(text)
    elif phrase.noun in sentence.accessories:
        sentence.edit("undress", target=target or owner_of(sentence, phrase.noun), value=phrase.noun)
    elif phrase.noun in SCENE_WORDS:
        sentence.edit("scene", value="in the studio")
    elif phrase.noun == "style":
        sentence.edit("style", value="")
    elif sentence.is_thing(phrase.noun) and not phrase.adjectives:
        sentence.edit("remove", target=name_of(text))
    else:
        sentence.edit("avoid", value=" ".join(filter(None, (phrase.adjectives, phrase.noun))))


def recolour(sentence: Sentence, phrase: NounPhrase, kind: str, word: str) -> None:
    if phrase.noun in sentence.accessories or phrase.is_accessory:
        sentence.edit("colour", target=owner_of(sentence, phrase.noun), part=phrase.noun, value=word)
    else:
        sentence.edit(
            kind, target=name_of(" ".join(filter(None, (phrase.article, phrase.adjectives, phrase.noun)))), value=word
        )


def place_of(text: str) -> str:
    """A place with its preposition: "a desert" is "in a desert"."""
    return text if text.split()[0] in PLACES else f"in {text}"


def name_of(text: str) -> str:
    """Words for a thing, without verbs around it."""
    return re.sub(r"^(?:make|let|have) | should$", "", text).strip()
