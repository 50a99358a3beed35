"""A corpus: pictures of many subjects, for training encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Corpus(Protocol):
    """Numbered pictures, one or several of each subject. It holds no subject of a benchmark.

    Some corpora have further attributes: `looks(picture)` describes the appearance of a subject, `text(number)` returns
    a text in the corpus's language, `landmarks(pictures)` returns [n, K, 2] as shares of width and height (NaN where
    unknown), `landmark_names` names them (without it, `faces.FIVE`), and `mirror` lists the landmark that each becomes
    in a mirrored picture. `views(pictures)` returns the camera's viewpoints [n, 3] (`core.views`), and
    `depths(pictures, size)` returns inverse depth, uint8 [n, 1, size, size], largest at each picture's nearest point.
    """

    @property
    def name(self) -> str: ...

    # hash of its whole content
    @property
    def fingerprint(self) -> str: ...

    # summary of its content and of the pictures left out, in values that JSON can hold
    @property
    def record(self) -> Mapping[str, Any]: ...

    # numbers of the pictures of each subject
    @property
    def subjects(self) -> Sequence[Sequence[int]]: ...

    # class noun of the subject in a picture
    def noun(self, picture: int) -> str: ...

    # caption of a picture, with the subject called by this name
    def caption(self, picture: int, name: str, *, seed: int) -> str: ...

    # pixels, uint8 [n, 3, size, size], and masks of the subjects, uint8 [n, 1, size, size]
    def drawn(self, pictures: Sequence[int], size: int) -> tuple[Tensor, Tensor | None]: ...
