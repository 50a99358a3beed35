"""The networks and facts that come with a base beside its generator.

Parts, workflows and evaluation ask for a capability, never for the name of the base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from .corpus import Corpus
    from .faces import FaceNetworks
    from .subject import Subject

PixelEncoder: TypeAlias = "Callable[[Tensor], Tensor]"
"""Pixels [n, 3, H, W] in [0, 1], of any size, to one row for each picture. Gradients pass to the pixels."""
Segmenter: TypeAlias = "Callable[[Tensor], Tensor]"
"""Pixels [n, 3, H, W] in [0, 1], of the base's picture size, to [n, H, W]: probability that a pixel is a subject's."""
Estimator: TypeAlias = "Callable[[Tensor], Tensor]"
"""Pixels [n, 3, H, W] in [0, 1], of the base's picture size, to a condition of each picture [n, 1 or 3, H, W] in
[0, 1]."""
Captioner: TypeAlias = "Callable[[Tensor], list[str]]"
"""Pixels [n, 3, H, W] in [0, 1], of the base's picture size, to a caption for each picture, with {} for the subject."""


@dataclass(frozen=True)
class Judge:
    """A network that scores are computed with: it embeds pictures, and texts where it has a text encoder."""

    see: Callable[[Tensor], Tensor]  # pixels [n, 3, size, size] in [0, 1] -> [n, D]
    weights: Path  # file of its weights
    size: int  # side of its input, in pixels
    read: Callable[[Sequence[str]], Tensor] | None = None  # texts -> [n, D]


@dataclass(frozen=True)
class Bench:
    """The benchmark that comes with a base: judges, prompts, and subjects that no network was trained on."""

    name: str
    judges: Mapping[str, Judge]  # by role, as in `evaluation.encoders`
    prompts: Callable[[], Sequence[Any]]
    """Prompts (`.text`) with {} for the subject, and the facts about a picture that judges check for each."""
    prompts_elsewhere: tuple[str, ...]  # prompts without the subject, which drift is measured on
    example: Callable[[], Subject]  # a subject of the development split: in neither the training nor the test split
    # a class noun -> pictures of individuals of this class that are nobody's subject; none for an unknown class
    others: Callable[[str], Sequence[Image.Image]] | None = None
    # pixels [n, 3, H, W] and their prompts -> share of what each asks for that a judge finds; None where it asks for
    # nothing that the judge reads
    obeyed: Callable[[Tensor, Sequence[str]], list[float | None]] | None = None


@dataclass(frozen=True)
class Facts:
    """Facts about a base that are known without opening it, and without loading torch."""

    # whether methods need the settings of a full-size base (`Card.full_size`) rather than those of a small one
    full_size: bool = True
    photographs: bool = True  # whether it was trained on photographs
    results: Path | None = None  # scores and times of methods on this base: JSON, a row for each method
    estimators: tuple[str, ...] = ()  # the conditions that its own networks compute from a picture


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of a base. The default of a field means that the base lacks it."""

    encoders: Mapping[str, PixelEncoder] = field(default_factory=dict)
    """Image encoders by role. "face": unit embeddings [n, D] of a face's identity; "object": the same of an object's;
    "landmarks": x and y of K landmarks of a face [n, K, 2], as shares of the picture's width and height; "w_plus":
    codes [n, L, D] in the space W+ of a face GAN."""
    faces: FaceNetworks | None = None
    """Networks that find faces in pictures of any size; they provide the encoders "face" and "landmarks"."""
    segmenter: Segmenter | None = None
    # condition -> the network that computes it from pictures
    estimators: Mapping[str, Estimator] = field(default_factory=dict)
    captioner: Captioner | None = None
    multimodal: str = ""  # folder of a language model that reads pictures
    # pictures of many subjects, for training encoders where the user names no other corpus
    corpus: Corpus | None = None
    people: Corpus | None = None  # the same of people, for methods of faces
    styles: Corpus | None = None  # the same of styles, for methods of styles: each subject is a style
    garments: Corpus | None = None  # the same of garments, each on several people, for try-on
    known_words: Callable[[], frozenset[str]] | None = None  # its whole vocabulary, where that is small
    weights: Path | None = None  # folder of the methods' pre-trained weights that ship with it
    # whether methods need the settings of a full-size base (`Card.full_size`) rather than those of a small one
    full_size: bool = True
    photographs: bool = True  # whether it was trained on photographs
    bench: Bench | None = None


NONE = Capabilities()
