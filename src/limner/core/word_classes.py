"""Word classes of English, as plain lists: for methods that treat words for relations, looks and things differently.

A word outside of all lists counts as a noun.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

WordClass: TypeAlias = Literal["preposition", "verb", "adjective", "noun", "stop word"]

PREPOSITIONS = (
    "aboard", "about", "above", "across", "after", "against", "along", "alongside", "amid", "among", "around", "at",
    "atop", "before", "behind", "below", "beneath", "beside", "besides", "between", "beyond", "by", "down", "for",
    "from", "in", "inside", "into", "like", "near", "next", "of", "off", "on", "onto", "opposite", "out", "outside",
    "over", "past", "round", "through", "throughout", "to", "toward", "towards", "under", "underneath", "until", "up",
    "upon", "versus", "via", "with", "within", "without",
)  # fmt: skip
"""ReVersion (arXiv:2303.13495) draws from 56 prepositions; these 56 are our own list."""

VERBS = (
    "biting", "bowing", "carrying", "carved", "chasing", "cheering", "climbing", "covering", "crossing", "cutting",
    "dancing", "drinking", "eating", "facing", "feeding", "fighting", "floating", "flying", "following",
    "hanging", "hiding", "hitting", "holding", "hugging", "jumping", "kicking", "kissing", "leading", "leaning",
    "lifting", "looking", "lying", "meeting", "passing", "playing", "pointing", "pulling", "pushing", "reading",
    "riding", "running", "shaking", "sitting", "sleeping", "standing", "swimming", "throwing", "touching", "walking",
    "watching", "waving", "wearing",
)  # fmt: skip

ADJECTIVES: dict[str, tuple[str, ...]] = {
    "colour": (
        "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black", "gray", "grey", "teal",
        "golden", "silver", "colorful", "bright", "dark", "pale",
    ),
    "pattern": ("plain", "striped", "spotted", "checkered", "patched", "starred", "dotted", "floral"),
    "material": (
        "wooden", "metal", "plastic", "glass", "stone", "paper", "leather", "ceramic", "woolen", "clay", "fluffy", "shiny",
        "rusty", "furry", "knitted",
    ),
    "age": ("old", "new", "young", "ancient", "modern", "worn", "antique", "broken", "cracked", "dented", "mossy"),
    "size": ("big", "small", "large", "little", "tall", "short", "tiny", "huge", "round", "long", "thin", "wide"),
    "style": ("abstract", "cubist", "realistic", "minimal", "vintage", "gothic", "cartoon", "futuristic", "classical"),
    "mood": ("happy", "sad", "angry", "calm", "beautiful", "quiet", "busy", "dirty", "clean", "wet", "empty", "glowing"),
}  # fmt: skip
"""Kind of attribute -> adjectives for it."""

STOP_WORDS = (
    "a", "all", "an", "and", "are", "as", "be", "being", "both", "but", "each", "four", "front", "has", "have", "he", "her",
    "his", "is", "it", "its", "many", "one", "or", "other", "she", "some", "that", "the", "their", "them", "there",
    "they", "this", "three", "two", "was", "were", "which", "while",
    "close-up", "image", "photo", "photograph", "picture", "view",
)  # fmt: skip
"""Words of little meaning, and words for the picture itself."""

ARTICLES = ("a", "an", "the", "one", "two", "three", "four", "some", "many", "his", "her", "its", "their")
"""Words that begin a noun phrase."""

_LISTS: dict[WordClass, tuple[str, ...]] = {
    "adjective": tuple(word for words in ADJECTIVES.values() for word in words),
    "verb": VERBS,
    "preposition": PREPOSITIONS,
    "stop word": STOP_WORDS,
}
_CLASSES = {word: kind for kind, words in _LISTS.items() for word in words}


def word_class(word: str) -> WordClass:
    """The class of a word in small letters.

    >>> word_class("behind"), word_class("dog"), word_class("the")
    ('preposition', 'noun', 'stop word')
    """
    return _CLASSES.get(word, "noun")


def content_words(text: str) -> list[str]:
    """The nouns, adjectives and verbs of a text in small letters, each once. Handles such as <rex> are skipped.

    >>> content_words("a photo of a red dog <rel> a car on the beach")
    ['red', 'dog', 'car', 'beach']
    """
    plain = re.sub(r"<[^<>]*>", " ", text.lower())
    words = dict.fromkeys(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", plain))
    return [word for word in words if word_class(word) not in ("stop word", "preposition")]
