"""Captions that state a relation or an action of the things that they name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from limner.core.word_classes import ARTICLES, content_words, word_class
from limner.core.wording import shortened
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.core.subject import Subject


class Statement(NamedTuple):
    """The parts of a caption "a photo of a dog <rel> a car on the beach"."""

    start: str  # "a photo of"
    first: str  # "a dog"
    second: str  # "a car"
    end: str  # "on the beach"

    def expanded(self, word: str, inverse: str) -> str:
        """The caption with the inverse statement behind its own: "a photo of a dog <rel> a car, a car <rel-inverse> a
        dog on the beach".

        word: the relation's word
        inverse: the inverse relation's word
        """
        both = f"{self.first} {word} {self.second}, {self.second} {inverse} {self.first}"
        return " ".join(part for part in (self.start, both, self.end) if part)


def statement_of(caption: str, handle: str) -> Statement:
    """The parts of a relation's caption.

    The first thing begins at the last article before the handle, and the second ends before the next preposition or
    comma. Raises `InputError` where one of them is missing.

    caption: the caption
    handle: the relation's word
    """
    before, _, after = (part.split() for part in caption.partition(handle))
    begins = max((k for k, word in enumerate(before) if word.lower() in ARTICLES), default=0)
    ends = next((k for k, word in enumerate(after) if word_class(word.lower()) == "preposition"), len(after))
    comma = next((k + 1 for k, word in enumerate(after) if word.endswith(",")), len(after))
    ends = min(ends, comma)
    start, first = " ".join(before[:begins]), " ".join(before[begins:])
    second, end = " ".join(after[:ends]).rstrip(".,"), " ".join(after[ends:])
    if not (content_words(first) and content_words(second)):
        raise InputError(
            f"the caption {shortened(caption)!r} does not say what {handle} relates: expected a thing before it and one "
            f"behind it, as in 'a photo of a dog {handle} a car'"
        )
    return Statement(start, first, second, end)


def check_statements(subject: Subject, *, least: int = 1) -> None:
    """Raise `InputError` where pictures of a relation or an action are too few, or not captioned with what they show.

    A relation's caption names a thing on each side of the handle; an action's names who acts. A subject without
    pictures, as of a card, is not checked.

    subject: the relation or action
    least: smallest number of pictures
    """
    if not subject.pictures:
        return
    acts = subject.kind == "action"
    example = f"a photo of a dog {subject.handle}" + (" on the beach" if acts else " a car")
    for picture in subject.pictures:
        if not content_words(picture.caption):
            stem = re.sub(r"\.\w+$", "", picture.name)
            raise InputError(
                f"{picture.name} has no caption that names what it shows, so {subject.handle} would take on the looks of "
                f"its things: write a caption such as '{example}' into {stem}.txt beside it (in Python: "
                "Subject.of(…, captions=[…]))"
            )
        if not acts:
            statement_of(picture.caption, subject.handle)
    if len(subject.pictures) < least:
        raise InputError(
            f"there is {len(subject.pictures)} picture of {subject.handle}, and this method compares pictures of it with one "
            f"another: give {least} or more, of different things"
        )
