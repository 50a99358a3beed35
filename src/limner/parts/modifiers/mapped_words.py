"""Tokens made from pictures: one for each picture and attribute, by a small network that all pictures share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live

from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject


@dataclass(frozen=True)
class mapped_words:
    """Tokens `<rex-pose-0>`, `<rex-pose-1>`, …: one for every attribute and picture of the subject.

    Each is the vector v + W2 gelu(W1 f) of the picture's features f, with v the vector of the attribute's name and W2
    zero at first (the attribute mappers of arXiv:2312.11826).

    subject: the subject with its pictures
    attributes: names of the attributes
    encoder: base and pixels [n, 3, H, W] in [0, 1] -> features [n, F]
    """

    subject: Subject
    attributes: tuple[str, ...]
    encoder: Callable[[Base, Tensor], Tensor]

    def name(self, attribute: str, picture: int) -> str:
        return f"{self.subject.handle[:-1]}-{attribute}-{picture}>"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        place = f"mapped.{self.subject.handle}.features"
        if place in stored:
            features = stored[place].to(base.device, base.dtype)
        else:
            features = self.encoder(base, self.subject.tensor(base.picture_size))
        dim, wide = features.shape[-1], base.word_vectors("a").shape[-1]
        live = Live({place: features})
        for attribute in self.attributes:
            prefix = f"mapped.{self.subject.handle}.{attribute}."
            start = {
                f"{prefix}in": torch.randn(wide, dim, generator=generator) / dim**0.5,
                f"{prefix}out": torch.zeros(wide, wide),
            }
            own = taken(start, stored, base, what="the attribute mapper")
            live.tensors |= own
            plain = base.word_vectors(attribute)[:1]

            first, second = own.values()
            for k, seen in enumerate(features):
                live.words[self.name(attribute, k)] = functools.partial(_mapped, plain, seen, first, second, scale)
        yield live


def _mapped(plain: Tensor, features: Tensor, first: Tensor, second: Tensor, scale: float) -> Tensor:
    """[1, D]"""
    import torch.nn.functional as F

    return plain + scale * (F.gelu(features @ first.T) @ second.T)[None]
