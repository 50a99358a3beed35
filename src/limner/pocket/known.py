"""Words that mean something to the pocket base that ships: those its tokenizer has tokens of their own for."""

from __future__ import annotations

import functools
import json

from limner.core.wording import words_not_in
from limner.pocket.world.grammar import phrases

from .judges import WEIGHTS

END = "</w>"


@functools.cache
def words() -> frozenset[str]:
    """Every word that training captions of the shipped edition said."""
    file = WEIGHTS / "base" / "tokenizer" / "tokenizer.json"
    vocabulary = json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]
    return frozenset(token.removesuffix(END) for token in vocabulary if token.endswith(END))


def known() -> dict[str, tuple[str, ...]]:
    """Words and phrases that mean something to the shipped base, by kind; those of a later world are left out."""
    phrases_by_kind = {
        kind: tuple(phrase for phrase in group if not words_not_in(words(), phrase))
        for kind, group in phrases().items()
    }
    return {kind: group for kind, group in phrases_by_kind.items() if group}
