"""A corpus: pictures of many subjects, which encoders are trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Corpus(Protocol):
    """Numbered pictures, several or one of each subject. No subject that is judged is among them.

    Some know more: `looks(picture)` says what a subject looks like, `text(number)` any text of their language,
    `landmarks(pictures)` gives [n, K, 2] as shares of width and height (NaN where unknown), `landmark_names` which
    they are (without it, `faces.FIVE`), and `mirror` which landmark each becomes in a mirrored picture.
    """

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...  # of everything that is in it
    @property
    def record(self) -> Mapping[str, Any]: ...  # what is in it and what was left out, as JSON holds it
    @property
    def subjects(self) -> Sequence[Sequence[int]]: ...  # the pictures of each subject
    def noun(self, picture: int) -> str: ...  # what its subject is
    def said(self, picture: int, name: str, *, seed: int) -> str: ...  # its caption, the subject called by a name
    def drawn(
        self, pictures: Sequence[int], size: int
    ) -> tuple[
        Tensor, Tensor | None
    ]: ...  # uint8 [n, 3, size, size]; and where the subject is, uint8 [n, 1, size, size]
