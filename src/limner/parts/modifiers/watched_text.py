"""Words of a prompt whose cross-attention is kept in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .states import next_place, other_words
from .watched import READ_AT, watched_word

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.types import Pass


@dataclass(frozen=True)
class watched_text(watched_word):
    """As `watched_word`, for the first of several words that a row's prompt has.

    word: name of the kept maps
    words: words to search for, each as a whole word
    """

    words: tuple[str, ...] = ()

    def note(self, base: Base, run: Pass) -> None:
        """Register the words' positions in the run, once."""
        import re

        if (READ_AT, self.word) in run.cache:
            return
        places = {}
        for row, prompt in enumerate(run.prompts):
            word = next((word for word in self.words if re.search(rf"\b{re.escape(word)}\b", prompt)), None)
            if word is not None:
                before = re.split(rf"\b{re.escape(word)}\b", prompt, maxsplit=1)[0]
                places[row] = next_place(base, before, other_words(run, row))
        run.cache[READ_AT, self.word] = places
