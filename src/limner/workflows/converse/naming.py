"""The things that words mean: "the dog" is <rex>, "it" is the thing named last. Words that may mean several things have
a probability for each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from limner.errors import InputError

from .asking import Guess, gain_of_asking, shares
from .edits import Edit
from .lexicon import ALL, PRONOUNS
from .phrases import noun_phrase
from .states import State, Thing, singular
from .tree import Choice, Question

MENTIONED = 6.0
"""Weight of the thing that was named last, for a pronoun; any other thing has 1."""
ALIKE = 0.93
"""Least cosine of two nouns' hidden states at which one stands for the other. On the pocket base, words for one thing
have 0.98 and more (puppy and dog, lorry and truck), and words for two kinds at most 0.88 (car and truck, kitty and
dog)."""

Alike = Callable[[str, Sequence[str]], Sequence[float]]
"""A noun and other nouns -> the cosine of the base's text encoder with each."""


@dataclass(frozen=True)
class Resolved:
    """Edits with the names of things as targets, or the question that is to be answered first."""

    edits: tuple[Edit, ...] = ()
    question: Question | None = None


TARGETED = ("dress", "undress", "colour", "looks", "action", "remove", "count", "strength", "region")


def resolve(
    edits: Sequence[Edit],
    state: State,
    *,
    named: Sequence[str] = (),
    subjects: Sequence[Thing] = (),
    alike: Alike | None = None,
    words: str = "",
) -> Resolved:
    """The edits with names as targets. `named` are the things and accessories that the words before named, the last
    first; `subjects` may enter the picture by "add".

    Raises `InputError` for words that mean nothing in the picture.
    """
    every: list[list[list[Edit]]] = []
    asked: dict[str, str] = {}
    known = list(state.things)
    for edit in edits:
        if edit.op == "new":
            known = []
        if edit.op == "add":
            entering = [each for each in subjects if each.name == edit.value]
            known.append(entering[0] if entering else Thing(name=edit.value, noun=edit.value))
        if edit.op not in TARGETED:
            every.append([[edit]])
            continue
        if edit.target in asked:  # one phrase means one thing in a sentence
            every.append([[replace(edit, target=asked[edit.target])]])
            continue
        guesses = _guesses(edit, known, named, alike)
        if len(guesses) > 1 and gain_of_asking(guesses) > 0:
            every.append([guess.reading for guess in guesses])
        else:
            best = guesses[0].reading
            every.append([best])
            if len(best) == 1 and edit.target:
                asked[edit.target] = best[0].target
    open_ones = [options for options in every if len(options) > 1]
    if not open_ones:
        return Resolved(tuple(edit for options in every for edit in options[0]))
    return Resolved(question=_question(every, words))


def _guesses(edit: Edit, things: Sequence[Thing], named: Sequence[str], alike: Alike | None) -> list[Guess[list[Edit]]]:
    """The readings of an edit's target."""
    phrase = edit.target.removesuffix("'s").strip()
    if not things:
        raise InputError('there is nothing in the picture yet: say what to show, as in "rex on the beach"')
    if edit.part:
        owners = [t for t in things if edit.part in [each.noun for each in t.accessories]] or list(things)
        if not phrase:
            return shares([([replace(edit, target=t.name)], _weight(t.name, named)) for t in owners])
    if phrase in ALL:
        return [Guess([replace(edit, target=thing.name) for thing in things], 1.0)]
    if phrase and phrase not in PRONOUNS:
        return [Guess([replace(edit, target=t.name)], g) for t, g in _by_noun(phrase, things, named, alike)]
    weights = [([replace(edit, target=thing.name)], _weight(thing.name, named)) for thing in things]
    if phrase in ("", "it", "that", "this") and edit.op == "colour":
        weights += [
            ([replace(edit, target=t.name, part=each.noun)], _weight(each.noun, named))
            for t in things
            for each in t.accessories
            if each.noun in named
        ]
    if phrase == "it" and edit.op == "remove" and named and named[0] not in [t.name for t in things]:
        owners = [t for t in things if named[0] in [each.noun for each in t.accessories]]
        if owners:
            return [Guess([Edit(op="undress", target=owners[0].name, value=named[0])], 1.0)]
    return shares(weights)


def _weight(name: str, named: Sequence[str]) -> float:
    return MENTIONED if named and named[0] == name else 1.0


def _by_noun(
    phrase: str, things: Sequence[Thing], named: Sequence[str], alike: Alike | None
) -> list[tuple[Thing, float]]:
    """Things that a name or noun means, with probabilities."""
    by_name = [thing for thing in things if phrase in (thing.name, f"the {thing.name}")]
    if by_name:
        return [(by_name[0], 1.0)]
    words = noun_phrase(phrase)
    noun = singular(words.noun) if words else phrase
    chosen = [thing for thing in things if noun in (thing.noun, thing.name, singular(thing.noun))]
    if words and words.adjectives:
        narrower = [t for t in chosen if words.colour in (t.colour, *t.looks)]
        chosen = narrower or chosen
    if not chosen and alike is not None:
        near = alike(noun, [thing.noun for thing in things])
        chosen = [thing for thing, cosine in zip(things, near, strict=True) if cosine >= ALIKE and cosine == max(near)]
    if not chosen:
        names = ", ".join(thing.name for thing in things)
        raise InputError(f"there is no {noun} in the picture, which shows {names}")
    guesses = shares([(thing, _weight(thing.name, named)) for thing in chosen])
    return [(guess.reading, guess.probability) for guess in guesses]


def _question(every: Sequence[Sequence[Sequence[Edit]]], words: str) -> Question:
    """Which one do you mean? Choices are the combinations of all open readings."""
    choices = []
    for chosen in itertools.islice(itertools.product(*every), 8):
        edits = tuple(edit for group in chosen for edit in group)
        texts = [_label(group) for group, options in zip(chosen, every, strict=True) if len(options) > 1]
        choices.append(Choice(text=" and ".join(dict.fromkeys(texts)), edits=edits))
    unique = {choice.text: choice for choice in reversed(choices)}
    names = [choice.text for choice in choices if unique[choice.text] is choice]
    text = f"which one do you mean: {', '.join(names[:-1])} or {names[-1]}?"
    return Question(text=text, choices=tuple(unique[name] for name in names), words=words)


def _label(group: Sequence[Edit]) -> str:
    edit = group[0]
    return f"{edit.target}'s {edit.part}" if edit.part else edit.target
