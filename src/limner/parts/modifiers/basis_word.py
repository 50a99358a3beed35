"""A token within the span of people's names (Celeb Basis, arXiv:2306.00926)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live
from limner.errors import InputError
from limner.parts.encoders.looks import subject_references

from .names import name_vectors
from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.parts.encoders.looks import Look

SPREAD = 0.1
"""Standard deviation of coefficients at their start, in units of the names' own along a direction."""


@dataclass(frozen=True)
class basis_word:
    """Two vectors, v_k = m_k + w_k B_k, one for a first and one for a last name (Eq. 3 and 4 of arXiv:2306.00926).

    m_k [D] is the mean of the names' vectors at that position and B_k [dims, D] the principal directions around it,
    each as long as the names' standard deviation along it. Only the coefficients w [2, dims] are trained and stored.
    They start as a random linear map of the face embedding of the subject's pictures.

    subject: the subject with pictures of its face
    look: base and references -> features [1, F] of the subject's pictures, such as the mean of `face_embedding`
    dims: directions at each position, at most one fewer than names
    names: names with commas between them, as in `name_vectors`
    """

    subject: Subject
    look: Look
    dims: int = 512
    names: str = ""
    num_vectors = 2

    @property
    def like(self) -> str:
        return self.subject.noun

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        known, key = name_vectors(base, self.names), f"word.{self.subject.handle}.coefficients"
        mean, directions = name_basis(known, self.dims)
        start = stored.get(key)
        if start is None:
            with torch.no_grad():
                seen = self.look(base, subject_references(base, self.subject))[0].float().cpu()
            start = SPREAD * torch.randn(*directions.shape[:2], len(seen), generator=generator) @ seen
        own = taken({key: start}, {}, base, what="the coefficients of a name")
        if own[key].shape != directions.shape[:2]:
            raise InputError(
                f"{key} is {tuple(own[key].shape)} and this base has directions {tuple(directions.shape[:2])}"
            )
        plain = base.word_vectors(self.like)
        plain = plain[torch.arange(2) % len(plain)]

        def read() -> Tensor:
            now = mean + torch.einsum("kn,knd->kd", own[key].to(mean), directions)
            return now if scale == 1 else plain + scale * (now - plain)

        yield Live(tensors=dict(own), words={self.subject.handle: read})


def name_basis(known: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """The mean of names [places, D], and their principal directions [places, k, D], as long as the standard deviation
    there.

    known: vectors of n names [n, places, D]
    dims: largest number k of directions; k is n - 1 or D where that is fewer
    """
    import torch

    mean = known.mean(0)
    count = min(dims, len(known) - 1, known.shape[-1])
    _, values, axes = torch.linalg.svd((known - mean).float().transpose(0, 1), full_matrices=False)
    spread = values[:, :count, None] / (len(known) - 1) ** 0.5
    return mean, (axes[:, :count] * spread).to(known)
