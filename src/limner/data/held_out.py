"""Keep pictures of held-out subjects out of a corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from limner.errors import InputError

from .duplicates import LIKE, difference_signs, likeness
from .listed import Tally

if TYPE_CHECKING:
    from .listed import Listed


ONE = 0.6
"""Least similarity (see `limner.data.duplicates.likeness`) of two pictures that count as one, where their difference
hashes are near."""


def without_held_out(
    corpus: Listed, judged: Listed, folder: Path, *, duplicates: Literal["error", "leave-out"] = "error"
) -> Listed:
    """The corpus without its held-out subjects: those with a near-duplicate, mirrored or not, of a held-out picture.

    Pictures whose difference hashes are near are compared by the correlation of their gradients.

    corpus: the corpus to train on
    judged: the held-out pictures
    folder: the folder of the held-out pictures, for messages
    duplicates: such a subject is an error, or is left out

    Raises `InputError` for such a subject with "error", and where no subject is left.
    """
    pairs = _nearly_equal(corpus, judged)
    if not pairs:
        return corpus
    subjects = {corpus.entries[k].identity for k, _ in pairs}
    if duplicates == "error":
        k, other = pairs[0]
        raise InputError(
            f"{len(pairs)} pictures of {corpus.name} are near-duplicates of those held out in {folder}, such as "
            f"{corpus.entries[k].name} of {judged.entries[other].name}: subjects of a benchmark must not be trained "
            f"on. Remove the {len(subjects)} subjects, or add --duplicates leave-out"
        )
    left_out = Tally(dict(corpus.left_out.counts), dict(corpus.left_out.examples))
    for entry in corpus.entries:
        if entry.identity in subjects:
            left_out.add("of subjects that are held out", entry.name)
    entries = tuple(entry for entry in corpus.entries if entry.identity not in subjects)
    if not entries:
        raise InputError(f"every subject of {corpus.name} is held out in {folder}: no picture is left to train on")
    return replace(corpus, entries=entries, left_out=left_out)


def _nearly_equal(corpus: Listed, judged: Listed) -> list[tuple[int, int]]:
    """Pairs (index in the corpus, index among the held-out pictures) of near-duplicates."""
    import numpy as np

    own = np.array([int(e.signs, 16) for e in corpus.entries], dtype=np.uint64)
    pairs: dict[int, int] = {}
    for n, entry in enumerate(judged.entries):
        image = judged.read(entry.place).image
        assert image is not None
        signs = np.array([int(entry.signs, 16), _mirrored(image)], dtype=np.uint64)
        near = (np.bitwise_count(own[:, None] ^ signs) <= LIKE).any(1)
        for k in np.flatnonzero(near).tolist():
            other = corpus.read(corpus.entries[k].place).image
            if other is not None and k not in pairs and likeness(image, other) >= ONE:
                pairs[k] = n
    return sorted(pairs.items())


def _mirrored(image: Any) -> int:
    from PIL import ImageOps

    return difference_signs(ImageOps.mirror(image))
