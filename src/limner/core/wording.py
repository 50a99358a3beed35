"""English in messages: numbers with nouns, articles, and the shortening of long texts and lists."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

LONGEST = 120  # characters of a user's text that a message repeats
_A = ("uni", "use", "usu", "ute", "uto", "eu", "ewe", "one", "once", "ouija", "u-")
_AN = ("hour", "honest", "honour", "honor", "heir", "herb garden")


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    >>> counted(1, "picture"), counted(3, "picture"), counted(2, "class")
    ('1 picture', '3 pictures', '2 classes')
    """
    if count == 1:
        return f"1 {noun}"
    if not plural:
        ends = noun.endswith(("s", "x", "ch", "sh"))
        plural = f"{noun}es" if ends else f"{noun[:-1]}ies" if _consonant_y(noun) else f"{noun}s"
    return f"{count} {plural}"


def with_article(noun: str) -> str:
    """A noun with "a" or "an", by the pronunciation that its first letters suggest.

    >>> with_article("dog"), with_article("action"), with_article("unicorn"), with_article("hourglass")
    ('a dog', 'an action', 'a unicorn', 'an hourglass')
    """
    word = noun.lower()
    vowel = word.startswith(("a", "e", "i", "o", "u")) and not word.startswith(_A)
    return f"{'an' if vowel or word.startswith(_AN) else 'a'} {noun}"


def in_place(prompt: str, handle: str, words: str, *, of: str = "") -> str:
    """A prompt with words in the place of a handle. Words that end with "style" replace "the style of <sty>" whole.

    >>> in_place("a dog in the style of <sty>", "<sty>", "watercolour style")
    'a dog in watercolour style'
    >>> in_place("a dog in the style of <sty>", "<sty>", "an old map")
    'a dog in the style of an old map'

    prompt: the prompt
    handle: the handle
    words: words that replace it
    of: the handle's words, where `words` stand for them; empty: `words`
    """
    if (of or words).endswith("style"):
        prompt = prompt.replace(f"the style of {handle}", handle)
    return prompt.replace(handle, words)


def shortened(text: str, limit: int = LONGEST) -> str:
    """A text of at most `limit` characters: in a longer one, the number of characters left out replaces the middle.

    >>> shortened("x" * 300, 40)
    'xxxxxxxxxxxx … 276 more … xxxxxxxxxxxx'
    """
    if len(text) <= limit:
        return text
    end = max((limit - 16) // 2, 1)
    return f"{text[:end]} … {len(text) - 2 * end} more … {text[-end:]}"


def listed(names: Iterable[object], limit: int = 5) -> str:
    """The first names of a list, and the number of others.

    >>> listed("abcdefg", 3)
    'a, b, c and 4 more'
    """
    every = [str(name) for name in names]
    rest = len(every) - limit
    return ", ".join(every) if rest <= 0 else f"{', '.join(every[:limit])} and {rest} more"


def first_of(lines: Sequence[str], most: int = 8) -> list[str]:
    """The first `most` of many lines, and a line with the number of others; a single further line is included
    instead."""
    rest = len(lines) - most
    return list(lines) if rest <= 1 else [*lines[:most], f"… and {rest} more like these"]


def _consonant_y(noun: str) -> bool:
    return noun.endswith("y") and noun[-2:-1] not in ("a", "e", "i", "o", "u", "")


def words_not_in(known: Collection[str], text: str) -> list[str]:
    """The words of a text that are not `known`, in order. Handles such as <rex> are skipped, and "close-up" counts as
    two words.

    >>> words_not_in({"a", "dog", "close", "up"}, "a close-up of <rex>, a dog")
    ['of']
    """
    plain = re.sub(r"<[^<>]*>", " ", text.lower())
    met = dict.fromkeys(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", plain))
    return [word for word in met if not all(part in known for part in word.split("-"))]
