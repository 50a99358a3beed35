"""The grammar: an English sentence to edits, with the words for their targets as the user wrote them.

Targets are resolved afterwards (`naming.py`), because one phrase may mean several things. No network reads anything
here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .describing import describe
from .lexicon import REST
from .phrases import normalised, one_of, without_fillers
from .rules import ANOTHER, RULES
from .sentences import Sentence
from .states import State, Thing


def read_sentence(words: str, state: State, subjects: Iterable[Thing] = ()) -> Sentence:
    """The edits that a sentence asks for, in its order."""
    sentence = Sentence(state, tuple(subjects))
    for clause in clauses(normalised(words)):
        plain = clause if ANOTHER.fullmatch(clause) else without_fillers(clause)
        if plain and plain not in REST and not re.fullmatch(rf"(?:keep|leave) {one_of(REST)}.*", plain):
            _read_clause(sentence, plain, first=not sentence.edits)
    return sentence


def clauses(text: str) -> list[str]:
    """A sentence cut at stops, "then", "but" and at those commas and "and"s that do not stand inside a noun phrase."""
    text = re.sub(rf",? \b(?:keep|leave|with|and keep|but keep) {one_of(REST)}[^;,]*", "", text)
    parts = re.split(r"\s*;\s*|,?\s+\bthen\b\s+|,?\s+\bbut\b\s+|\s*,\s*and\s+|\s*,\s*|\s+and\s+", text)
    return [part for part in parts if part]


def _read_clause(sentence: Sentence, text: str, *, first: bool) -> None:
    for pattern, rule in RULES:
        match = pattern.fullmatch(text)
        if match and rule(sentence, match) is not False:
            return
    if not describe(sentence, text, first=first):
        sentence.strange.append(text)
