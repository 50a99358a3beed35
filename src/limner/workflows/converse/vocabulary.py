"""The words that a base can show, and the nearest ones to a word that it cannot."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from limner.core.word_classes import word_class
from limner.core.wording import words_not_in

from .edits import Edit
from .lexicon import ACCESSORIES, COLOURS, LOOKS, PLACE_NOUNS, SYNONYMS
from .tree import Choice, Question

if TYPE_CHECKING:
    from limner.core.base import Base

SPELLED = 0.8
"""Least ratio of `difflib` at which an unknown word counts as a known one with a slip of the pen."""
OFFERED = 3
"""Number of near words that a question offers."""


@dataclass(frozen=True)
class Vocabulary:
    """The words of a base: all of English where it names none."""

    known: frozenset[str] | None = None
    base: Base | None = None
    _cosines: dict[tuple[str, str], float] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, base: Any) -> Vocabulary:
        words = base.capabilities.known_words
        return cls(frozenset(words() - set(base.rare_words)) if words else None, base)

    def fit(
        self, edits: Sequence[Edit], words: str, *, names: Collection[str] = ()
    ) -> tuple[tuple[Edit, ...], list[str], Question | None]:
        """The edits in words that the base knows, beside the names of learned subjects; notes about the words that were
        exchanged; and a question about the first word that none of the base's comes near to."""
        if self.known is None:
            return tuple(edits), [], None
        fitted: list[Edit] = []
        notes: list[str] = []
        for place, edit in enumerate(edits):
            if edit.op in FREE or (edit.op == "add" and edit.value in names):
                fitted.append(edit)
                continue
            for name in ("value", "colour"):
                for word in words_not_in(self.known, getattr(edit, name)):
                    new = self.instead_of(word)
                    if new is None:
                        return (), notes, self._question(edits, place, name, word, words)
                    edit = _with_word(edit, name, word, new)
                    notes.append(f"{word!r} is read as {new!r}, which the base knows")
            fitted.append(edit)
        return tuple(fitted), list(dict.fromkeys(notes)), None

    def instead_of(self, word: str) -> str | None:
        """A known word of nearly the same meaning or spelling; None where there is none."""
        assert self.known is not None
        synonym = [w for w in SYNONYMS.get(word, ()) if not words_not_in(self.known, w)]
        if synonym:
            return synonym[0]
        stems = [word.removesuffix("s"), f"{word}s", word.removesuffix("es"), word.replace("-", " ")]
        same = [stem for stem in stems if stem != word and not words_not_in(self.known, stem) and len(stem) > 2]
        if same:
            return same[0]
        near = difflib.get_close_matches(word, sorted(w for w in self.known if len(w) > 2), n=1, cutoff=SPELLED)
        return near[0] if near else None

    def cosines(self, word: str, others: Sequence[str]) -> list[float]:
        """The cosines of a word's hidden state with those of others, by the base's text encoder."""
        import torch

        from limner.parts.objectives.contrast import pooled

        base = self.base
        assert base is not None
        new = [other for other in dict.fromkeys(others) if (word, other) not in self._cosines]
        if new:
            with torch.no_grad():
                states = pooled(base, [word, *new], words={}).float()
                states = states - pooled(base, ["a photo"], words={}).float()
            alike = torch.cosine_similarity(states[:1], states[1:]).tolist()
            self._cosines.update({(word, other): float(cosine) for other, cosine in zip(new, alike, strict=True)})
        return [self._cosines[word, other] for other in others]

    def nearest(self, word: str, kind: str = "") -> list[str]:
        """The known words of a kind of edit, or else of the word's own class, that the text encoder finds nearest."""
        assert self.known is not None
        wanted = KINDS.get(kind)
        same = [w for w in sorted(self.known) if len(w) > 2 and (not wanted or w in wanted)]
        same = same if wanted else [w for w in same if word_class(w) == word_class(word)]
        if not same or self.base is None:
            return same[:OFFERED]
        near = self.cosines(word, same)
        return [w for _, w in sorted(zip(near, same, strict=True), reverse=True)[:OFFERED]]

    def _question(self, edits: Sequence[Edit], place: int, name: str, word: str, words: str) -> Question:
        near = self.nearest(word, "colour" if name == "colour" else edits[place].op)
        choices = []
        for other in near:
            changed = _with_word(edits[place], name, word, other)
            choices.append(Choice(text=other, edits=(*edits[:place], changed, *edits[place + 1 :])))
        rest = (*edits[:place], *edits[place + 1 :])
        if rest:
            choices.append(Choice(text="leave it out", edits=rest))
        offered = ", ".join(choice.text for choice in choices)
        asked = f"shall it be one of these: {offered}?" if offered else "say it in other words"
        return Question(text=f"the base does not know the word {word!r}; {asked}", choices=tuple(choices), words=words)


KINDS = {"scene": PLACE_NOUNS, "dress": ACCESSORIES, "colour": COLOURS, "looks": LOOKS}
"""Kind of edit -> the words that its value may be."""
FREE = ("recall", "return", "undo", "redo", "prefer", "reject", "accept", "undress", "remove", "allow", "region")
"""Edits whose words no base reads."""


def _with_word(edit: Edit, name: str, word: str, new: str) -> Edit:
    """The edit with another word in the place of one in its field `name`, "value" or "colour"."""
    text = " ".join(new if each == word else each for each in getattr(edit, name).split())
    return replace(edit, colour=text) if name == "colour" else replace(edit, value=text)
