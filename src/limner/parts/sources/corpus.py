"""Corpora: pictures of many subjects for pre-training, and a shelf that prepares them for a base."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limner.core.types import References
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus


KEPT = 1_000_000_000
"""Bytes of memory for a corpus. One that fits is read and encoded once and kept in the cache; of a larger one, the
pictures used last are kept."""


GROUP = 8  # pictures encoded at once


def corpus_of(base: Base, given: Corpus | None) -> Corpus:
    """The given corpus, else the one that comes with the base. Raises `InputError` where there is neither.

    base: the base
    given: the user's corpus, or None
    """
    corpus = given or base.corpus
    if corpus is None:
        raise InputError(
            f"this method is trained on pictures of many subjects, and none come with {base.name}: name a corpus "
            "(--corpus FOLDER)"
        )
    return corpus


def looks(corpus: Corpus, picture: int) -> str:
    """A description of a picture's subject, "a red spotted dog", where the corpus has one (`looks`); else its class
    noun.

    corpus: the corpus
    picture: the picture's number
    """
    say: Callable[[int], str] | None = getattr(corpus, "looks", None)
    return say(picture) if say else f"a {corpus.noun(picture)}"


def text(corpus: Corpus, number: int) -> str:
    """A text of the corpus: any of its texts where it has more than captions (`text`); else a caption.

    corpus: the corpus
    number: the text's number
    """
    say: Callable[[int], str] | None = getattr(corpus, "text", None)
    picture = number % _count(corpus)
    return say(number) if say else corpus.caption(picture, looks(corpus, picture), seed=number)


class Shelf:
    """A corpus prepared for a base: pixels, masks and latents, by number of the picture.

    corpus: the corpus
    base: the base
    few: whether few of the pictures will be asked for: each is then made when it first is, not all beforehand
    """

    def __init__(self, corpus: Corpus, base: Base, *, few: bool = False) -> None:
        self.corpus, self.base = corpus, base
        each = 4 * base.picture_size**2 + 4 * math.prod(base.latent_shape)
        self.most = max(GROUP, KEPT // each)  # pictures that are kept
        self.whole = not few and _count(corpus) <= self.most
        self._cache: OrderedDict[int, dict[str, Tensor]] = OrderedDict()
        self._all = self._everything() if self.whole else {}

    def pixels(self, pictures: Sequence[int]) -> Tensor:
        """[n, 3, H, W] in [0, 1]"""
        return self._of("pixels", pictures).to(self.base.device).float() / 255

    def masks(self, pictures: Sequence[int]) -> Tensor | None:
        """[n, 1, H, W] in [0, 1]: masks of the subjects; None where the corpus has none."""
        masks = self._of("masks", pictures)
        return None if masks.shape[1] == 0 else masks.to(self.base.device).float() / 255

    def depths(self, pictures: Sequence[int]) -> Tensor | None:
        """[n, 1, H, W] in [0, 1]: inverse depth; None where the corpus has none."""
        say: Callable[[Sequence[int], int], Tensor] | None = getattr(self.corpus, "depths", None)
        return say(pictures, self.base.picture_size).to(self.base.device).float() / 255 if say else None

    def latents(self, pictures: Sequence[int]) -> Tensor:
        """[n, C, h, w]"""
        return self._of("latents", pictures).to(self.base.device, self.base.dtype)

    def landmarks(self, pictures: Sequence[int]) -> Tensor | None:
        """[n, K, 2] shares of width and height, NaN where unknown; None where the corpus has none."""
        say: Callable[[Sequence[int]], Tensor] | None = getattr(self.corpus, "landmarks", None)
        return say(pictures).to(self.base.device) if say else None

    def views(self, pictures: Sequence[int]) -> Tensor:
        """[n, 3]: the camera's viewpoints (`core.views`), NaN where unknown. Raises `InputError` for a corpus without
        them."""
        say: Callable[[Sequence[int]], Tensor] | None = getattr(self.corpus, "views", None)
        if say is None:
            raise InputError(
                f"this method learns from the viewpoint of every picture, and the corpus {self.corpus.name} has none: "
                "give a corpus with `views`, such as renders of objects from known cameras"
            )
        return say(pictures).to(self.base.device)

    def points(self, pictures: Sequence[int]) -> Tensor:
        """[n, 5, 2]: the five points of each picture's face (`core.faces.FIVE`), x and y as shares, NaN where unknown:
        the corpus's own, or those that the base's landmark detector finds. Raises `InputError` where there is neither.
        """
        import torch

        from limner.core.faces import FIVE
        from limner.parts.encoders.faces import face_points

        landmarks, names = self.landmarks(pictures), tuple(getattr(self.corpus, "landmark_names", FIVE))
        if landmarks is not None and set(FIVE) <= set(names):
            return landmarks[:, [names.index(name) for name in FIVE]]
        with torch.no_grad():
            return face_points(self.base, self.pixels(pictures))

    @property
    def mirror(self) -> Sequence[int]:
        """For each landmark the one it becomes in a mirrored picture; empty: itself."""
        return tuple(getattr(self.corpus, "mirror", ()))

    def references(
        self, lines: Sequence[Sequence[int]], *, nouns: Sequence[str] = (), dropped: Tensor | None = None
    ) -> References:
        """Reference images, as many in each line, with masks, and captions that name subjects by their class alone.

        lines: numbers of the pictures of each row
        nouns: class noun of each row; empty are the corpus's own
        dropped: [rows] bool, rows without references; None drops none
        """
        flat = [k for line in lines for k in line]
        masks, marks, shape = self.masks(flat), self.landmarks(flat), (len(lines), len(lines[0]))
        captions = tuple(
            tuple(self.corpus.caption(k, f"a {self.corpus.noun(k)}", seed=k) for k in line) for line in lines
        )
        return References(
            self.pixels(flat).unflatten(0, shape),
            None if masks is None else masks.unflatten(0, shape),
            captions,
            tuple(nouns) or tuple(self.corpus.noun(line[0]) for line in lines),
            dropped=dropped,
            landmarks=None if marks is None else marks.unflatten(0, shape),
        )

    def features(self, name: str, encoder: Callable[[Base, Tensor], Tensor], *, plain: bool = False) -> Tensor:
        """[pictures, …]: features of every picture by an encoder of pixels, cached.

        name: name of the features in the cache
        encoder: base and pixels [n, 3, H, W] in [0, 1] -> features [n, …]
        plain: whether the subjects are shown on a plain background, where the corpus has masks
        """
        import torch

        from limner.core.cache import cached_tensors

        def make() -> dict[str, Tensor]:
            every = range(_count(self.corpus))
            parts = [self._seen(every[start : start + 64], plain) for start in range(0, len(every), 64)]
            return {"features": torch.cat([encoder(self.base, part).float().cpu() for part in parts])}

        return cached_tensors(("features", name, *(("plain",) if plain else ()), *self._key()), make)["features"]

    def _seen(self, pictures: Sequence[int], plain: bool) -> Tensor:
        from limner.parts.augmentations.plain import on_plain

        pixels, masks = self.pixels(pictures), self.masks(pictures) if plain else None
        return pixels if masks is None else on_plain(pixels, masks)

    def _of(self, what: str, pictures: Sequence[int]) -> Tensor:
        import torch

        if self.whole:
            return self._all[what][list(pictures)]
        new = [k for k in dict.fromkeys(pictures) if what not in self._cache.get(k, {})]
        for name, rows in (self._made(what, new) if new else {}).items():
            for row, k in zip(rows, new, strict=True):
                self._cache.setdefault(k, {})[name] = row
        for k in pictures:
            self._cache.move_to_end(k)
        tensor = torch.stack([self._cache[k][what] for k in pictures])
        while len(self._cache) > self.most:
            self._cache.popitem(last=False)
        return tensor

    def _made(self, what: str, pictures: Sequence[int]) -> dict[str, Tensor]:
        """Tensors of these pictures, in their order."""
        if what == "latents":
            return {what: self.encoded(self._of("pixels", pictures))}
        pixels, masks = self.corpus.drawn(pictures, self.base.picture_size)
        return {"pixels": pixels, "masks": pixels[:, :0] if masks is None else masks}

    def encoded(self, pixels: Tensor) -> Tensor:
        """Pixels, uint8 [n, 3, H, W] -> latents [n, C, h, w] in single precision, GROUP at a time: the bits of one
        picture must not depend on the batch's size."""
        import torch

        short = -len(pixels) % GROUP
        padded = torch.cat([pixels, pixels[:1].expand(short, -1, -1, -1)])
        device = self.base.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            parts = [self.base.encode(part.to(device).float() / 255)[0].float().cpu() for part in padded.split(GROUP)]
        return torch.cat(parts)[: len(pixels)]

    def _everything(self) -> dict[str, Tensor]:
        from limner.core.cache import cached_tensors

        return cached_tensors(("corpus", *self._key()), self._read_all)

    def _read_all(self) -> dict[str, Tensor]:
        import torch

        count = _count(self.corpus)
        parts = [self._made("pixels", range(k, min(k + 64, count))) for k in range(0, count, 64)]
        tensors = {name: torch.cat([part[name] for part in parts]) for name in ("pixels", "masks")}
        return tensors | {"latents": self.encoded(tensors["pixels"])}

    def _key(self) -> tuple[object, ...]:
        base = self.base
        return self.corpus.fingerprint, base.fingerprint, str(base.dtype), base.picture_size


def _count(corpus: Corpus) -> int:
    return sum(len(pictures) for pictures in corpus.subjects)
