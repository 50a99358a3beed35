"""A token restricted to few directions, for learning without gradients (arXiv:2304.05818)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live
from limner.errors import InputError
from limner.parts.encoders.clip import word_similarities

from .parameters import taken
from .words import resized

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject

SHARP = 100.0  # CLIP's own factor of similarities
MOST_WORDS = 5000  # words that are compared with the pictures, at most


@dataclass(frozen=True)
class subspace_word:
    """p = p_0 + z A: the rows of A [dims, D] are principal directions of the vocabulary, and z [1, dims] is learned.

    Each row is as long as the standard deviation along it (Eq. 3 of arXiv:2304.05818). p_0 is the mean over the
    pictures of softmax(picture . words) E: words weighted by CLIP's similarity to the picture (Eq. 5), as long as the
    class noun's vector. In a large vocabulary, the MOST_WORDS words nearest to the noun's vector are compared. On a
    base that cannot compare texts with pictures, p_0 is the noun's vector itself.

    subject: the subject with its pictures
    dims: number of directions, at most the vocabulary's own
    """

    subject: Subject
    dims: int

    @property
    def like(self) -> str:
        return self.subject.noun

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        name, noun = f"word.{self.subject.handle}", resized(base.word_vectors(self.like), 1)
        keys = (f"{name}.start", f"{name}.directions")
        if keys[0] in stored:
            start, directions = (stored[key].to(noun) for key in keys)
        else:
            start, directions = _seen(base, self.subject, noun), _directions(base, self.dims).to(noun)
        parameters = taken({f"{name}.z": torch.zeros(1, self.dims)}, stored, base, what="the word")
        (z,) = parameters.values()

        def read() -> Tensor:
            now = start + z.to(noun) @ directions
            return now if scale == 1 else noun + scale * (now - noun)

        tensors = {**parameters, keys[0]: start, keys[1]: directions}
        yield Live(tensors=tensors, words={self.subject.handle: read})


def _directions(base: Base, dims: int) -> Tensor:
    import torch

    table = base.word_table().float()
    if not 0 < dims <= min(table.shape):
        raise InputError(f"the vocabulary's vectors have {min(table.shape)} directions, not {dims}")
    values, axes = torch.linalg.eigh((table - table.mean(0)).T.cov())
    return (axes[:, -dims:] * values[-dims:].clamp_min(0).sqrt()).T.flip(0).contiguous()


def _seen(base: Base, subject: Subject, noun: Tensor) -> Tensor:
    import torch

    if not subject.pictures:
        return noun
    known = [(word, vector) for word in sorted(base.vocabulary) if len(vector := base.word_vectors(word)) == 1]
    vectors = torch.cat([vector for _, vector in known]).float()
    near = torch.cosine_similarity(vectors, noun.float()).topk(min(MOST_WORDS, len(known))).indices
    vectors = vectors[near]
    try:
        pictures = subject.tensor(base.picture_size)
        alike = SHARP * word_similarities(base, pictures, [known[k][0] for k in near.tolist()])
    except InputError:
        return noun
    mean = (torch.softmax(alike, -1) @ vectors).mean(0, keepdim=True)
    return (mean / mean.norm() * noun.norm()).to(noun)
