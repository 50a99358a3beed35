"""The networks and facts that come with a base beside its generator.

Parts, workflows and measuring ask for one of these and never for the name of the base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from .corpus import Corpus
    from .faces import FaceNetworks
    from .subject import Subject

PixelEncoder: TypeAlias = "Callable[[Tensor], Tensor]"
"""Pixels [n, 3, H, W] in [0, 1], of any size, to one row for each picture. Gradients pass to the pixels."""
Segmenter: TypeAlias = "Callable[[Tensor], Tensor]"
"""Pixels [n, 3, H, W] in [0, 1], of the base's picture size, to [n, H, W] in [0, 1]: how surely a subject is there."""
Captioner: TypeAlias = "Callable[[Tensor], list[str]]"
"""Pixels [n, 3, H, W] in [0, 1], of the base's picture size, to a caption for each picture, with {} for the subject."""


@dataclass(frozen=True)
class Judge:
    """A network that measures pictures, and texts where it reads them."""

    see: Callable[[Tensor], Tensor]  # pixels [n, 3, size, size] in [0, 1] -> [n, D]
    weights: Path  # its file
    size: int  # pixels of a side
    read: Callable[[Sequence[str]], Tensor] | None = None  # texts -> [n, D]


@dataclass(frozen=True)
class Bench:
    """The means to measure a base on a world of its own: judges, prompts and subjects that nothing was trained on."""

    name: str
    judges: Mapping[str, Judge]  # by role, as in `evaluation.encoders`
    prompts: Callable[[], Sequence[Any]]
    """Prompts with {} for the subject and with the truth that the judges can read off a picture (`.text`)."""
    prompts_elsewhere: tuple[str, ...]  # prompts without the subject, by which drift is measured
    example: Callable[[], Subject]  # a subject of the development split: neither trained on nor judged by
    results: Path  # scores and times of methods on this base: JSON, a row for each method


@dataclass(frozen=True)
class Capabilities:
    """Each field's default says that the base has no such thing."""

    encoders: Mapping[str, PixelEncoder] = field(default_factory=dict)
    """By role. "face": unit embeddings [n, D] of a face's identity; "object": the same of a thing's; "landmarks": x and
    y of K landmarks of a face [n, K, 2], as shares of the picture's width and height; "w_plus": codes [n, L, D] in the
    space W+ of a face GAN."""
    faces: FaceNetworks | None = None
    """Networks that find faces in pictures of any size; the roles "face" and "landmarks" are theirs."""
    segmenter: Segmenter | None = None
    captioner: Captioner | None = None
    multimodal: str = ""  # folder of a language model that reads pictures
    corpus: Corpus | None = (
        None  # pictures of many subjects that encoders are trained on where no other corpus is named
    )
    people: Corpus | None = None  # the same of people, for methods of faces
    known_words: Callable[[], frozenset[str]] | None = None  # all words that mean something to it, where they are few
    weights: Path | None = None  # folder of the methods' pre-trained weights that ship with it
    full_size: bool = True  # methods need the settings of a full-size base (`Card.full_size`), not those of a small one
    photographs: bool = True  # it was trained on photographs
    bench: Bench | None = None


NONE = Capabilities()
