"""Word pieces as BERT reads them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

UNKNOWN = "[UNK]"


def wordpieces(text: str, vocabulary: Sequence[str]) -> list[int]:
    """Numbers of a text's pieces between those of [CLS] and [SEP] (Sec. 4 of arXiv:2012.15524).

    Words are lower-case without accents. A word is cut from its beginning, each time at the longest known piece. Pieces
    within a word begin with ##.

    text: the text
    vocabulary: the pieces, by number
    """
    known = {piece: number for number, piece in enumerate(vocabulary)}
    bare = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    pieces = [piece for word in re.findall(r"\w+|[^\w\s]", bare) for piece in _cut(word, known)]
    return [known[piece] for piece in ("[CLS]", *pieces, "[SEP]")]


def _cut(word: str, known: dict[str, int]) -> list[str]:
    pieces, start = [], 0
    while start < len(word):
        before = "##" if start else ""
        end = next((e for e in range(len(word), start, -1) if before + word[start:e] in known), 0)
        if not end:
            return [UNKNOWN]
        pieces.append(before + word[start:end])
        start = end
    return pieces
