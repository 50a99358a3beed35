"""Words in captions: the subject's rare token, its class noun, and the handle that replaces them."""

from __future__ import annotations

import re
from collections.abc import Sequence

HANDLE_WORDS = ("sks", "ohwx", "<new1>", "<s1>", "<sks>", "<v>", "TOK")
"""Rare tokens that data sets commonly use for the subject."""


def noun_of(prompt: str) -> str:
    """The class noun in a prompt: "photo of a dog" -> "dog"."""
    return re.sub(
        r"^(a |an |the )?(photo|picture|image) of (a |an |the )?", "", prompt.strip(), flags=re.IGNORECASE
    ).strip()


def token_of(prompt: str, noun: str) -> str:
    """The word before the class noun in a prompt; empty for an article."""
    words = prompt.split()
    if noun and noun.split()[0] in words:
        before = words[: words.index(noun.split()[0])]
        if before and before[-1].lower() not in ("a", "an", "the", "of"):
            return before[-1]
    return ""


def token_in(captions: Sequence[str]) -> str:
    """The word of `HANDLE_WORDS` that most captions contain; empty where none does."""
    texts = [text for text in captions if text]
    counts = {word: sum(bool(whole_word(word).search(text)) for text in texts) for word in HANDLE_WORDS}
    word = max(counts, key=lambda each: counts[each])
    return word if counts[word] else ""


def whole_word(token: str) -> re.Pattern[str]:
    """A pattern for the token as a whole word, in upper or lower case."""
    return re.compile(rf"(?<![\w<]){re.escape(token)}(?![\w>])", re.IGNORECASE)


def usable(token: str) -> str:
    letters = re.sub(r"[^A-Za-z0-9_-]", "", token)
    return letters if letters[:1].isalpha() else ""


def handled(caption: str, tokens: Sequence[str], noun: str, handle: str) -> str:
    """Put the subject's handle into a caption.

    The handle replaces the first of the tokens in the caption, together with the noun after it, with or without a
    comma; without a token, it replaces the noun; without both, it goes before the caption.

    caption: the caption
    tokens: the data set's words for the subject, in order of preference
    noun: the class noun
    handle: the subject's handle
    """
    for token in tokens:
        word = whole_word(token).pattern
        behind = rf"(?:\s*,?\s+{re.escape(noun)}\b)?" if noun else ""
        changed = re.sub(word + behind, lambda _: handle, caption, flags=re.IGNORECASE)
        if changed != caption or handle in caption:
            return changed
    changed = re.sub(rf"\b{re.escape(noun)}\b", handle, caption, count=1)
    return changed if handle in changed else f"{handle}, {caption}"
