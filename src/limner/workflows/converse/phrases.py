"""Pieces of sentences: noun phrases, and the parts of a clause that say where, when, how and in which action."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .lexicon import (
    ACCESSORIES,
    COLOURS,
    FILLERS,
    GERUNDS,
    LOOKS,
    PLACES,
    RELATIONS,
    STYLES,
    TIMES,
    VIEWS,
)
from .states import COUNTS

DETERMINERS = ("the", "a", "an", "some", "his", "her", "its", "their", "my", "any", "another", "that", "this", "no")
DOUBLE = ("bow tie", "teddy bear", "garden gnome", "potted plant", "night sky", "autumn forest")
"""Nouns of two words."""

FUNCTION = frozenset([
    "the", "a", "an", "some", "his", "her", "its", "their", "my", "any", "no", "is", "are", "was", "be", "been", "it",
    "him", "he", "she", "them", "they", "that", "this", "these", "those", "both", "me", "you", "i", "we", "us", "of",
    "in", "on", "at", "to", "from", "with", "without", "for", "by", "as", "into", "onto", "under", "over", "and", "or",
    "but", "not", "make", "give", "put", "let", "have", "paint", "draw", "show", "take", "set", "change", "turn",
    "add", "remove", "keep", "get", "go", "do", "does", "did", "should", "would", "could", "can", "will", "what",
    "who", "why", "how", "when", "where", "there", "here", "whole", "if", "than", "wearing", "wears",
])  # fmt: skip
"""Words that stand before no noun as an adjective."""


def one_of(words: Iterable[str]) -> str:
    """A pattern of any of these words or phrases, the longest first."""
    return "(?:" + "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) + ")"


def normalised(text: str) -> str:
    """A sentence in small letters, without handles' brackets, quotes, final stops and repeated spaces."""
    text = text.lower().replace("’", "'")
    text = re.sub(r"<([a-z][\w-]*)>", r"\1", text)
    text = re.sub(r"[\"“”*`()\[\]]", " ", text)
    text = re.sub(r"(?<!\d)[.!?]+|[.!?]+(?!\d)", " ; ", text)
    text = re.sub(r"\b(both|all) of (?:them|these|it)\b", r"\1", text)
    return re.sub(r"\s+", " ", text).strip(" ;,:-")


def without_fillers(text: str) -> str:
    """A clause without polite and empty words at its ends."""
    pattern = one_of(FILLERS)
    before = ""
    while before != text:
        before = text
        text = re.sub(rf"^(?:{pattern})\b,?\s*|\s*,?\b(?:{pattern})$", "", text).strip(" ,;")
    return text


@dataclass(frozen=True)
class NounPhrase:
    """ "two small red dogs": noun "dogs", colour "red", looks ("small",), count 2."""

    noun: str
    colour: str = ""
    looks: tuple[str, ...] = ()
    count: int = 1
    article: str = ""

    @property
    def is_accessory(self) -> bool:
        return self.noun in ACCESSORIES or self.noun.replace(" ", "-") in ACCESSORIES

    @property
    def adjectives(self) -> str:
        """Every word before the noun, as a prompt has them."""
        return " ".join((*self.looks, *filter(None, (self.colour,))))


def noun_phrase(text: str) -> NounPhrase | None:
    """The noun phrase that is the whole text; None where it is none."""
    words = text.split()
    article = words.pop(0) if words and words[0] in DETERMINERS else ""
    count = COUNTS.get(words[0], 0) if words else 0
    count = int(words[0]) if words and words[0].isdigit() and len(words[0]) < 3 else count
    words = words[1:] if count else words
    if not words or len(words) > 5 or any(not re.fullmatch(r"[^\W\d_][\w'-]*", word) for word in words):
        return None
    size = 2 if " ".join(words[-2:]) in DOUBLE else 1
    noun, before = " ".join(words[-size:]), words[:-size]
    before = [word for word in before if word != "and"]
    if noun.split()[-1] in FUNCTION - {"it", "him", "her", "he", "she", "them", "they", "both", "that", "this"}:
        return None
    if any(word in FUNCTION for word in before):
        return None
    colours = [word for word in before if word in COLOURS]
    looks = tuple(word for word in before if word not in colours[-1:])
    return NounPhrase(noun, colours[-1] if colours else "", looks, count or 1, article)


@dataclass(frozen=True)
class Rest:
    """A clause without the parts that say where, when and how, and these parts."""

    text: str
    place: str = ""
    time: str = ""
    view: str = ""
    style: str = ""
    action: str = ""


NP = r"[\w'-]+(?: [\w'-]+){0,5}?"
"""From one to six words. One word is one repetition, so that a long sentence is matched in a short time."""


def cut(text: str, *, things: Iterable[str]) -> Rest:
    """Take style, view, time, place and action out of a clause. `things` are words for what is in the picture: a phrase
    like "on the dog" is a relation then and stays."""
    text, style = _cut_style(text)
    text, view = _cut_table(text, VIEWS)
    text, time = _cut_table(text, {k: v for k, v in TIMES.items() if " " in k})
    text, place = _cut_place(text, set(things))
    text, action = _cut_action(text)
    return Rest(re.sub(r"\s+", " ", text).strip(" ,"), place, time, view, style, action)


def _cut_table(text: str, table: dict[str, str]) -> tuple[str, str]:
    match = re.search(rf"(?:,\s*)?\b({one_of(table)})\b", text)
    if match is None:
        return text, ""
    return re.sub(r"\s+", " ", text[: match.start()] + text[match.end() :]).strip(" ,"), table[match[1]]


def _cut_style(text: str) -> tuple[str, str]:
    match = re.search(r"\bin (?:the|a) style of ((?:an? |the )?[\w' -]+?)$", text)
    if match:
        return text[: match.start()].strip(), f"in the style of {match[1]}"
    names = one_of(STYLES)
    patterns = (
        rf"^({names}) of\b",
        rf"^(?:an? )({names}) of\b",
        rf"\b(?:as|into|in|like) (?:an? )?({names})(?: style)?$",
        rf"^(?:an? )?({names})(?: style)?$",
    )
    for pattern in patterns:
        if match := re.search(pattern, text):
            return (text[: match.start()] + text[match.end() :]).strip(), STYLES[match[1]]
    return text, ""


def _cut_place(text: str, things: set[str]) -> tuple[str, str]:
    """The first phrase of a place: a preposition, and a noun that is neither in the picture nor put on."""
    prepositions = one_of(PLACES)
    pattern = (
        rf"\b({prepositions}) ((?:the |an? )?(?:[\w'-]+ ){{0,3}}?[\w'-]+)(?=$| (?:wearing|with|{prepositions})\b|,)"
    )
    for match in re.finditer(pattern, text):
        phrase = noun_phrase(match[2])
        first = match[2].split()[0]
        if phrase is None or phrase.is_accessory or phrase.noun in things or first in GERUNDS:
            continue
        if phrase.noun in ("it", "him", "her", "them", "front", "top", "left", "right", "this", "that", "seed"):
            continue
        if match[1] == "in" and phrase.noun in COLOURS:
            continue
        start = text[: match.start()]
        if any(start.endswith(word) for word in ("next ", "in front ")):
            continue
        where = {"to": "in", "into": "in", "onto": "on"}.get(match[1], match[1])
        return f"{start.rstrip()} {text[match.end() :].lstrip()}".strip(), f"{where} {match[2]}"
    return text, ""


def _cut_action(text: str) -> tuple[str, str]:
    """A gerund, or a verb at the end: "let him sit"."""
    gerunds = one_of({word for word in GERUNDS if "ing" in word})
    if match := re.search(rf"\b({gerunds})(?: (?:down|up))?\b", text):
        return f"{text[: match.start()].rstrip()} {text[match.end() :].lstrip()}".strip(), GERUNDS[match[1]]
    if match := re.search(rf" ({one_of(GERUNDS)})$", text):
        return text[: match.start()], GERUNDS[match[1]]
    return text, ""


def adjective(text: str) -> tuple[str, str]:
    """("colour" or "looks", word) of a text that is one adjective; ("", "") for any other."""
    word = text.strip()
    if word in COLOURS:
        return "colour", word
    return ("looks", word) if word in LOOKS else ("", "")


RELATED = one_of(RELATIONS)
