"""Near-duplicates among pictures, in two ways: a quick one for pictures of one size and cut, a thorough one for
copies that were mirrored, shifted or saved again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.errors import PictureError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Slopes: TypeAlias = "np.ndarray[Any, Any]"
LIKE = 6
"""Of 64 bits: two pictures whose difference hashes are this near are near-duplicates."""


def near_pairs(images: Sequence[Image.Image]) -> list[tuple[int, int]]:
    """Pairs of pictures that look nearly the same, by their difference hashes."""
    signs = [difference_signs(image) for image in images]
    pairs = ((one, other) for one in range(len(signs)) for other in range(one + 1, len(signs)))
    return [(one, other) for one, other in pairs if (signs[one] ^ signs[other]).bit_count() <= LIKE]


def difference_signs(image: Image.Image) -> int:
    """64 bits: whether a picture's grey rises from each of 9 x 8 places to the next in its row."""
    import numpy as np

    small = np.asarray(image.convert("L").resize((9, 8)), dtype=int)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def split(images: Sequence[Image.Image], *, held_out: int = 1) -> tuple[list[int], list[int]]:
    """Indices of the pictures to learn from and of those held out, so that no picture has its double on the other side.

    Doubles are found by `doubles`. With too few different pictures to hold any out, all are learned from.
    """
    groups = doubles(images)
    if len(groups) < 2:
        return sorted(k for g in groups for k in g), []
    kept: list[int] = []
    out: list[int] = []
    for group in reversed(groups):  # the last pictures are held out
        (out if len(out) < held_out and len(groups) > 1 and group is not groups[0] else kept).extend(group)
    return sorted(kept), sorted(out)


def doubles(images: Sequence[Image.Image], *, alike: float = 0.7) -> list[list[int]]:
    """Pictures grouped so that mirrored, shifted or newly saved copies of one photograph are together.

    Two are one where the best normalised correlation of the slopes of their 64-pixel grey versions, over mirroring and
    shifts of up to three eighths, is at least `alike`. Raises `PictureError` for no pictures.
    """
    if not images:
        raise PictureError("there are no pictures to compare")
    slopes = [_slopes(image) for image in images]
    groups: list[list[int]] = []
    for k, one in enumerate(slopes):
        home = next((g for g in groups if any(_correlation(one, slopes[j]) >= alike for j in g)), None)
        if home is None:
            groups.append([k])
        else:
            home.append(k)
    return groups


def likeness(first: Image.Image, second: Image.Image) -> float:
    """How nearly two pictures are one, from -1 to 1 (see `doubles`)."""
    return _correlation(_slopes(first), _slopes(second))


SIDE, MOST = 64, 24


def _slopes(image: Image.Image) -> Slopes:
    """Differences to the right and down, of the picture and of its mirror image. [2 (plain, mirrored), 2, SIDE,
    SIDE]"""
    import numpy as np
    from PIL import Image

    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    return np.stack([np.stack(list(np.gradient(side))) for side in (grey, grey[:, ::-1])])


def _correlation(first: Slopes, second: Slopes) -> float:
    """The greatest normalised correlation of what overlaps, over shifts and mirroring, by Fourier transform."""
    import numpy as np

    def spectrum(x: Slopes) -> Slopes:
        return np.fft.rfft2(x, s=(2 * SIDE, 2 * SIDE))

    one = np.ones((SIDE, SIDE))
    a, b = first[0], second  # [2, S, S], [2 (mirror), 2, S, S]
    product = np.fft.irfft2((spectrum(a) * spectrum(b).conj()).sum(1))
    of_a = np.fft.irfft2(spectrum((a * a).sum(0)) * spectrum(one).conj())
    of_b = np.fft.irfft2(spectrum(one) * spectrum((b * b).sum(1)).conj())
    shifts = np.r_[0 : MOST + 1, -MOST:0]
    near = (slice(None), shifts[:, None], shifts[None, :])
    scale = np.sqrt(np.maximum(of_a[None][near] * of_b[near], 1e-9))
    if scale.max() < 1.0:  # two plain surfaces
        return 1.0
    return float((product[near] / np.maximum(scale, 1.0)).max())
